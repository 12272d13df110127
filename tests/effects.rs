//! What changes do to traffic, on rulesets that the real kernel loaded.

use fwdrift::collect;
use fwdrift::compare::Known;
use fwdrift::model::Ruleset;
use fwdrift::normalise::normalise;
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use fwdrift::traffic::effects::{Answer, Budget, effects};

fn load(script: &str) -> Ruleset {
    let netns = Netns::create().unwrap();
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
    netns.run(run).unwrap().unwrap();
    normalise(&collect::capture(&netns, None).unwrap().0).unwrap()
}

fn between(before: &str, after: &str) -> Answer {
    let (before, after) = (load(before), load(after));
    let differences = pipeline::compared(&before, &after, &Known::default()).unwrap().differences;
    effects(&before, &after, &differences, &[], Budget::default())
}

fn told(answer: &Answer) -> Vec<String> {
    let mut told: Vec<String> = answer
        .found
        .iter()
        .map(|found| {
            let by = |decider: &Option<fwdrift::traffic::effects::DeciderRef>| match decider {
                None => "-".to_owned(),
                Some(decider) => format!(
                    "{} {} {:?}",
                    decider.chain,
                    decider.fate.as_str(),
                    decider.rule.map(|rule| rule + 1)
                ),
            };
            let conditions = found.effect.conditions.join("; ");
            format!(
                "{} {} at {} [{}] -> [{}] {}",
                found.effect.effect.as_str(),
                found.phrase,
                found.effect.hook,
                by(&found.was),
                by(&found.now),
                conditions
            )
        })
        .collect();
    told.sort();
    told
}

#[track_caller]
fn check(before: &str, after: &str, expected: &[&str]) {
    let answer = between(before, after);
    assert_eq!(told(&answer), expected);
    assert_eq!(answer.incomplete, Vec::<String>::new());
}

const BASE: &str =
    "table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\nRULES\n }\n }";

fn input(rules: &str) -> String {
    BASE.replace("RULES", &rules.replace("; ", "\n").replace(';', ""))
}

#[test]
fn an_added_drop_cuts_what_it_matches_and_was_accepted() {
    check(
        &input("ip saddr 10.0.1.0/24 tcp dport 3306 accept;"),
        &input("tcp dport 3306 drop; ip saddr 10.0.1.0/24 tcp dport 3306 accept;"),
        &["cut tcp 10.0.1.0/24 → any:3306 at input [input accept Some(1)] -> [input drop Some(1)] "],
    );
}

#[test]
fn a_shadowed_rule_has_no_effect() {
    check(&input("tcp dport 22 accept;"), &input("tcp dport 22 accept; tcp dport 22 drop;"), &[]);
}

#[test]
fn a_policy_flip_opens_the_rest() {
    check(
        &input("tcp dport 22 accept;"),
        &input("tcp dport 22 accept;").replace("policy drop", "policy accept"),
        &[
            "opened not tcp any → any at input [input drop None] -> [input accept None] ",
            "opened tcp any → any:{not 22} at input [input drop None] -> [input accept None] ",
        ],
    );
}

#[test]
fn an_element_of_a_set_has_the_effect_of_the_rules_that_ask_the_set() {
    let rules = |elements: &str| {
        format!(
            "table ip t {{\n set bad {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}\n chain input \
             {{\n type filter hook input priority 0;\n ip saddr @bad drop\n }}\n }}"
        )
    };
    check(
        &rules("192.0.2.0/24"),
        &rules("192.0.2.0/24, 198.51.100.0/24"),
        &["cut any protocol 198.51.100.0/24 → any at input [input accept None] -> [input drop Some(1)] "],
    );
}

#[test]
fn a_verdict_map_of_50_000_elements_is_followed_element_by_element() {
    let rules = |last: &str| {
        let mut elements: Vec<String> = (0..49_999_u32)
            .map(|n| format!("10.{}.{}.{} : accept", n >> 16, n >> 8 & 255, n & 255))
            .collect();
        elements.push(format!("192.0.2.1 : {last}"));
        format!(
            "table ip t {{\n map m {{ type ipv4_addr : verdict; elements = {{ {} }}; }}\n chain input {{\n type filter \
             hook input priority 0; policy drop;\n ip saddr vmap @m\n }}\n }}",
            elements.join(", ")
        )
    };
    check(
        &rules("accept"),
        &rules("drop"),
        &["cut any protocol 192.0.2.1 → any at input [input accept Some(1)] -> [input drop Some(1)] "],
    );
}

#[test]
fn jumps_are_followed_as_deep_as_the_kernel_takes_them() {
    // `NFT_JUMP_STACK_SIZE` is 16: the base chain, and fifteen below it.
    let rules = |port: u16| {
        let mut text = String::from("table ip t {\n");
        text.push_str(&format!("chain c15 {{\n tcp dport {port} accept\n }}\n"));
        for n in (1..15).rev() {
            text.push_str(&format!("chain c{n} {{\n jump c{}\n }}\n", n + 1));
        }
        text + "chain input {\n type filter hook input priority 0; policy drop;\n jump c1\n }\n }"
    };
    let told = told(&between(&rules(22), &rules(23)));
    assert_eq!(
        told,
        [
            "cut tcp any → any:22 at input [c15 accept Some(1)] -> [input drop None] ",
            "opened tcp any → any:23 at input [input drop None] -> [c15 accept Some(1)] ",
        ]
    );
    let deeper = rules(22)
        .replace("tcp dport 22 accept", "jump c16")
        .replace("chain c15", "chain c16 { accept; }\nchain c15");
    let netns = Netns::create().unwrap();
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(deeper.into_bytes()).run();
    let refused = netns.run(run).unwrap().unwrap_err().to_string();
    assert!(refused.contains("Too many links"), "{refused}");
}

#[test]
fn an_empty_set_matches_nothing_and_its_first_element_does() {
    let rules = |elements: &str| {
        format!(
            "table ip t {{\n set s {{ type ipv4_addr; {elements} }}\n chain input {{\n type filter hook input priority 0; \
             policy drop;\n ip saddr @s accept\n }}\n }}"
        )
    };
    check(&rules(""), &rules("").replace("accept", "counter accept"), &[]);
    check(
        &rules(""),
        &rules("elements = { 192.0.2.1 }"),
        &["opened any protocol 192.0.2.1 → any at input [input drop None] -> [input accept Some(1)] "],
    );
}
