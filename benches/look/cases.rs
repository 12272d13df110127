//! The rulesets, made by counting.

use std::fmt::Write;

/// One case.
pub struct Case {
    /// For the table.
    pub name: String,
    /// nft scripts that make it, loaded one after another.
    pub scripts: Vec<String>,
    /// What is done to it after it was approved; nothing if it stays in sync.
    pub change: Option<String>,
    /// Whether the look is one after which nothing was committed.
    pub unchanged: bool,
}

/// All of them, `scale` times smaller than the goals name.
pub fn all(scale: usize) -> Vec<Case> {
    let rules = 100_000 / scale;
    vec![
        Case {
            name: format!("unchanged since the last look, {rules} rules"),
            unchanged: true,
            ..one_chain(rules)
        },
        one_chain(rules),
        many_chains(rules, 10_000 / scale),
        Case {
            name: format!("one rule changed among {rules}"),
            change: Some(format!(
                "insert rule inet bench input position {} tcp dport 31337 accept\n",
                // The first rule's handle, after the table's and the chain's, is 2 or more.
                rules / 2
            )),
            ..one_chain(rules)
        },
        elements(1_000_000 / scale),
        anonymous_sets(5_000 / scale),
    ]
}

/// All rules in one chain.
pub fn one_chain(rules: usize) -> Case {
    let mut script =
        "table inet bench {\n\tchain input {\n\t\ttype filter hook input priority 0;\n".to_owned();
    (0..rules).for_each(|number| rule(&mut script, number));
    script.push_str("\t}\n}\n");
    named(format!("in sync, {rules} rules in one chain"), vec![script])
}

/// The rules spread over chains.
pub fn many_chains(rules: usize, chains: usize) -> Case {
    let mut script = "table inet bench {\n".to_owned();
    let each = rules.div_ceil(chains.max(1));
    for chain in 0..chains {
        let _ = writeln!(script, "\tchain c{chain} {{");
        (chain * each..((chain + 1) * each).min(rules)).for_each(|number| rule(&mut script, number));
        script.push_str("\t}\n");
    }
    script.push_str("}\n");
    named(format!("in sync, {rules} rules in {chains} chains"), vec![script])
}

fn elements(count: usize) -> Case {
    let mut scripts = vec!["table inet bench {\n\tset blocked {\n\t\ttype ipv4_addr\n\t}\n}\n".to_owned()];
    for start in (0..count).step_by(50_000) {
        let list: Vec<String> = (start..(start + 50_000).min(count)).map(address).collect();
        scripts.push(format!("add element inet bench blocked {{ {} }}\n", list.join(", ")));
    }
    named(format!("in sync, {count} elements in one set"), scripts)
}

fn anonymous_sets(count: usize) -> Case {
    let mut script =
        "table inet bench {\n\tchain input {\n\t\ttype filter hook input priority 0;\n".to_owned();
    for number in 0..count {
        let port = 1 + number % 60_000;
        let _ =
            writeln!(script, "\t\tip saddr {} tcp dport {{ {port}, {} }} accept", address(number), port + 1);
    }
    script.push_str("\t}\n}\n");
    named(format!("in sync, {count} anonymous sets"), vec![script])
}

fn named(name: String, scripts: Vec<String>) -> Case {
    Case { name, scripts, change: None, unchanged: false }
}

fn rule(script: &mut String, number: usize) {
    let verdict = if number % 3 == 0 { "drop" } else { "accept" };
    let _ = writeln!(script, "\t\tip saddr {} tcp dport {} {verdict}", address(number), 1 + number % 60_000);
}

fn address(number: usize) -> String {
    let number = number as u32 + 0x0a00_0000;
    std::net::Ipv4Addr::from(number).to_string()
}
