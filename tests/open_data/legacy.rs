//! Rulesets in x_tables: mutations are made in the save format and loaded with iptables-legacy-restore. The
//! oracle is what iptables-legacy-save prints before and after.

use crate::Claims;
use crate::live::Live;
use crate::manifest::{Entry, Loader};
use crate::restart;
use crate::saved;
use crate::table::Outcome;
use fwdrift::model::{Change, ChangeKind, ObjectKind, Position, Verdict};

/// A table of a save: its name, its chains with their policies, and its rules with their chains.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    name: String,
    chains: Vec<(String, String)>,
    rules: Vec<String>,
}

/// One change: the tables after it, and what must be reported.
struct Way {
    tables: Vec<Table>,
    table: String,
    kind: ChangeKind,
    object: ObjectKind,
    chain: String,
    /// From 0, before and after.
    place: (Option<usize>, Option<usize>),
}

type Edit = fn(&[Table]) -> Vec<Way>;

const BATTERY: [(&str, Edit); 13] = [
    ("legacy: rule added at the end", |is| in_chains(is, |rules, chain| insert(rules, rules.len(), chain))),
    ("legacy: rule added at the start", |is| in_chains(is, |rules, chain| insert(rules, 0, chain))),
    ("legacy: rule added in the middle", |is| {
        in_chains(
            is,
            |rules, chain| if rules.len() < 2 { None } else { insert(rules, rules.len() / 2, chain) },
        )
    }),
    ("legacy: rule deleted", |is| in_chains(is, removed)),
    ("legacy: comment added to a rule", |is| in_chains(is, |rules, _| changed(rules, commented))),
    ("legacy: verdict changed", |is| in_chains(is, |rules, _| changed(rules, other_verdict))),
    ("legacy: a number changed", |is| in_chains(is, |rules, _| changed(rules, other_number))),
    ("legacy: match inverted", |is| in_chains(is, |rules, _| changed(rules, inverted))),
    ("legacy: rule duplicated", |is| in_chains(is, duplicated)),
    ("legacy: two rules swapped", |is| in_chains(is, swapped)),
    ("legacy: policy flipped", other_policy),
    ("legacy: chain added", added_chain),
    ("legacy: chain removed", removed_chain),
];

/// What became of each claim. None if the ruleset does not load here.
pub fn examine(entry: &Entry) -> Claims {
    let live = Live::load(entry)?;
    let mut outcomes = Vec::new();
    if let Err(error) = live.init() {
        return Some((false, vec![("legacy: init, check", Outcome::Wrong(error))]));
    }
    let mut check = |name: &'static str| match live.check() {
        Ok((result, approved)) => {
            let right = result.verdict == Verdict::InSync;
            let told = || format!("{:?}: {}", result.verdict, crate::described(&result.changes));
            outcomes.push((name, if right { Outcome::Right } else { Outcome::Wrong(told()) }));
            Some(approved)
        }
        Err(error) => {
            outcomes.push((name, Outcome::Wrong(error)));
            None
        }
    };
    let approved = check("legacy: init, check")?;
    live.reload();
    check("legacy: loaded again")?;
    live.send_packets();
    check("legacy: counters moved")?;
    outcomes.push(("legacy: saved and restored", saved::whole(&live)));
    live.reload();
    live.add_expiring(None);
    if let Err(error) = live.keep(approved.clone()) {
        outcomes.push(("legacy: the test itself", Outcome::Wrong(error)));
        return Some((false, outcomes));
    }
    if !live.is_first_of_its_kind() {
        return Some((false, outcomes));
    }
    outcomes.push(("legacy: approved, restarted from the files", restart::approved(&live)));
    live.script("flush ruleset").unwrap();
    let original = saved(&live);
    for (name, edit) in BATTERY {
        outcomes.push((name, tried(&live, &original, edit)));
    }
    Some((false, outcomes))
}

fn tried(live: &Live, original: &[Table], edit: Edit) -> Outcome {
    for way in edit(original).into_iter().take(6) {
        if restore(live, &way.tables).is_err() {
            continue;
        }
        let after = saved(live);
        let objection = if after == original { None } else { Some(objection(live, &way, original, &after)) };
        match objection {
            None => continue,
            Some(None) => return Outcome::Right,
            Some(Some(why)) => return Outcome::Wrong(why),
        }
    }
    Outcome::NotApplicable
}

fn objection(live: &Live, way: &Way, before: &[Table], after: &[Table]) -> Option<String> {
    let changes = match live.drift() {
        Ok(changes) => changes,
        Err(error) => return Some(error),
    };
    let [change] = &changes[..] else { return Some(format!("not one: {}", crate::described(&changes))) };
    let told = |change: &Change| (change.kind, change.object, change.table.clone(), change.chain.clone());
    let wanted = (way.kind, way.object, way.table.clone(), Some(way.chain.clone()));
    let rules = |side: &[Table]| -> Vec<String> {
        let table = side.iter().find(|table| table.name == way.table).unwrap();
        table.rules.iter().filter(|rule| chain_of(rule) == way.chain).cloned().collect()
    };
    let head = |side: &[Table]| {
        let table = side.iter().find(|table| table.name == way.table)?;
        let (name, policy) = table.chains.iter().find(|(name, _)| *name == way.chain)?;
        Some(format!(":{name} {policy}"))
    };
    if told(change) != wanted {
        return Some(format!("it should be {wanted:?}: {}", crate::described(&changes)));
    }
    if way.object == ObjectKind::Chain {
        let first =
            |text: &Option<String>| text.as_ref().and_then(|text| text.lines().next().map(str::to_owned));
        let right = (first(&change.before), first(&change.after)) == (head(before), head(after));
        return (!right).then(|| format!("the texts are wrong: {}", crate::described(&changes)));
    }
    let Some(Position { before: from, after: to }) = change.position else {
        return Some("it has no position".to_owned());
    };
    let (old, new) = (rules(before), rules(after));
    let at = |place: Option<usize>| place.and_then(|place| place.checked_sub(1));
    let texts = (at(from).and_then(|at| old.get(at)), at(to).and_then(|at| new.get(at)));
    if (change.before.as_ref(), change.after.as_ref()) != texts {
        return Some(format!("the texts are wrong: {}", crate::described(&changes)));
    }
    let mut made = old.clone();
    at(from).into_iter().for_each(|at| drop(made.remove(at)));
    at(to).into_iter().for_each(|at| made.insert(at, new[at].clone()));
    let exactly = way.kind != ChangeKind::Modified || (at(from), at(to)) == way.place;
    (made != new || !exactly).then(|| format!("the position is wrong: {}", crate::described(&changes)))
}

fn program(live: &Live, verb: &str) -> String {
    let Loader::Restore(program) = live.entry.loader else { panic!("not a save") };
    program.replace("restore", verb)
}

/// What the tool prints, without counters.
fn saved(live: &Live) -> Vec<Table> {
    let text = live.run(&program(live, "save"), &[], None).unwrap();
    let mut tables: Vec<Table> = Vec::new();
    for line in text.lines() {
        let last = tables.last_mut();
        match (line.as_bytes().first(), last) {
            (Some(b'*'), _) => {
                tables.push(Table { name: line[1..].to_owned(), chains: Vec::new(), rules: Vec::new() });
            }
            (Some(b':'), Some(table)) => {
                let mut words = line[1..].split(' ').map(str::to_owned);
                table.chains.push((words.next().unwrap(), words.next().unwrap()));
            }
            (Some(b'-'), Some(table)) => table.rules.push(line.to_owned()),
            _ => {}
        }
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    tables
}

fn restore(live: &Live, tables: &[Table]) -> Result<String, String> {
    let mut text = String::new();
    for table in tables {
        text += &format!("*{}\n", table.name);
        table.chains.iter().for_each(|(name, policy)| text += &format!(":{name} {policy} [0:0]\n"));
        table.rules.iter().for_each(|rule| text += &format!("{rule}\n"));
        text += "COMMIT\n";
    }
    live.run(&program(live, "restore"), &[], Some(text.into_bytes()))
}

fn chain_of(rule: &str) -> &str {
    rule.split(' ').nth(1).unwrap()
}

/// What an edit makes of a chain's rules: the new ones, the kind of change, the places before and after.
type Edited = (Vec<String>, ChangeKind, (Option<usize>, Option<usize>));

/// All ways to edit one chain's rules, the longest chain first.
fn in_chains(is: &[Table], edit: impl Fn(&[String], &str) -> Option<Edited>) -> Vec<Way> {
    let mut chains: Vec<(usize, &str, Vec<String>)> = Vec::new();
    for (number, table) in is.iter().enumerate() {
        for (name, _) in &table.chains {
            let rules = table.rules.iter().filter(|rule| chain_of(rule) == name).cloned().collect();
            chains.push((number, name, rules));
        }
    }
    chains.sort_by_key(|(_, _, rules)| std::cmp::Reverse(rules.len()));
    let ways = chains.into_iter().filter_map(|(number, chain, rules)| {
        let (new, kind, place) = edit(&rules, chain)?;
        let mut tables = is.to_vec();
        let table = &mut tables[number];
        table.rules.retain(|rule| chain_of(rule) != chain);
        table.rules.extend(new);
        let (table, chain) = (table.name.clone(), chain.to_owned());
        Some(Way { tables, table, kind, object: ObjectKind::Rule, chain, place })
    });
    ways.collect()
}

fn insert(rules: &[String], at: usize, chain: &str) -> Option<Edited> {
    let mut new = rules.to_vec();
    new.insert(at, format!("-A {chain} -m comment --comment \"fwdrift was here\""));
    Some((new, ChangeKind::Added, (None, Some(at))))
}

fn removed(rules: &[String], _: &str) -> Option<Edited> {
    let mut new = rules.to_vec();
    let at = new.len() / 2;
    (at < new.len()).then(|| new.remove(at))?;
    Some((new, ChangeKind::Removed, (Some(at), None)))
}

fn duplicated(rules: &[String], _: &str) -> Option<Edited> {
    let mut new = rules.to_vec();
    let at = new.len() / 2;
    let copy = new.get(at)?.clone();
    new.insert(at, copy);
    Some((new, ChangeKind::Added, (None, Some(at))))
}

fn swapped(rules: &[String], _: &str) -> Option<Edited> {
    let at = rules.windows(2).position(|pair| pair[0] != pair[1])?;
    let mut new = rules.to_vec();
    new.swap(at, at + 1);
    Some((new, ChangeKind::Moved, (Some(at), Some(at + 1))))
}

/// The first rule that the change fits, changed where it stands.
fn changed(rules: &[String], change: fn(&str) -> Option<String>) -> Option<Edited> {
    let (at, rule) = rules.iter().enumerate().find_map(|(at, rule)| Some((at, change(rule)?)))?;
    let mut new = rules.to_vec();
    new[at] = rule;
    Some((new, ChangeKind::Modified, (Some(at), Some(at))))
}

fn commented(rule: &str) -> Option<String> {
    (!rule.contains("--comment")).then(|| format!("{rule} -m comment --comment \"fwdrift was here\""))
}

fn other_verdict(rule: &str) -> Option<String> {
    let other = |from, to| rule.strip_suffix(from).map(|rest| format!("{rest}{to}"));
    other("-j ACCEPT", "-j DROP").or_else(|| other("-j DROP", "-j ACCEPT"))
}

/// Another port, mark or limit: the first number of a rule that may be the next one.
fn other_number(rule: &str) -> Option<String> {
    let options =
        ["--dport ", "--sport ", "--dports ", "--set-xmark 0x", "--icmp-type ", "--hitcount ", "--limit "];
    let at = options.iter().find_map(|option| Some(rule.find(option)? + option.len()))?;
    let digits = rule[at..].bytes().take_while(u8::is_ascii_digit).count();
    let number: u32 = rule[at..at + digits].parse().ok()?;
    Some(format!("{}{}{}", &rule[..at], number + 1, &rule[at + digits..]))
}

fn inverted(rule: &str) -> Option<String> {
    let option = [" -s ", " -d ", " -i ", " -o "].into_iter().find(|option| rule.contains(option))?;
    Some(match rule.split_once(&format!(" !{option}")) {
        Some((before, after)) => format!("{before}{option}{after}"),
        None => rule.replacen(option, &format!(" !{option}"), 1),
    })
}

fn other_policy(is: &[Table]) -> Vec<Way> {
    chains(is, |table, at| {
        let policy = &mut table.chains[at].1;
        *policy = match policy.as_str() {
            "ACCEPT" => "DROP".to_owned(),
            "DROP" => "ACCEPT".to_owned(),
            _ => return None,
        };
        Some(ChangeKind::Modified)
    })
}

fn removed_chain(is: &[Table]) -> Vec<Way> {
    chains(is, |table, at| {
        let (name, policy) = table.chains.remove(at);
        let jumps = table.rules.iter().any(|rule| rule.split(' ').skip(2).any(|word| word == name));
        table.rules.retain(|rule| chain_of(rule) != name);
        (policy == "-" && !jumps).then_some(ChangeKind::Removed)
    })
}

/// All ways to edit one chain itself.
fn chains(is: &[Table], edit: impl Fn(&mut Table, usize) -> Option<ChangeKind>) -> Vec<Way> {
    let mut ways = Vec::new();
    for (number, table) in is.iter().enumerate() {
        for (at, (chain, _)) in table.chains.iter().enumerate() {
            let mut tables = is.to_vec();
            if let Some(kind) = edit(&mut tables[number], at) {
                let (table, chain) = (table.name.clone(), chain.clone());
                ways.push(Way { tables, table, kind, object: ObjectKind::Chain, chain, place: (None, None) });
            }
        }
    }
    ways
}

fn added_chain(is: &[Table]) -> Vec<Way> {
    let Some(first) = is.first() else { return Vec::new() };
    let mut tables = is.to_vec();
    tables[0].chains.push(("fwdrift_added".to_owned(), "-".to_owned()));
    tables[0].rules.push("-A fwdrift_added -j ACCEPT".to_owned());
    let chain = "fwdrift_added".to_owned();
    let (kind, object) = (ChangeKind::Added, ObjectKind::Chain);
    vec![Way { tables, table: first.name.clone(), kind, object, chain, place: (None, None) }]
}
