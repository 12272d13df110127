//! The tables of pairs: what is no drift although it reads otherwise, and what is drift although it reads
//! the same.

use crate::live::Live;
use crate::manifest::{self, Entry, Loader};
use crate::table::{Outcome, Results};
use crate::{Claims, check, described};
use fwdrift::model::{Change, ChangeKind, ObjectKind, Verdict};
use std::collections::BTreeMap;
use std::path::Path;

type Row = BTreeMap<String, String>;

#[test]
fn pairs_of_rulesets_are_told_apart_where_they_differ_and_only_there() {
    let Some(folder) = crate::folder_or_skip() else { return };
    let mut jobs: Vec<(String, Box<dyn FnOnce() -> Claims + Send>)> = Vec::new();
    for (table, examine) in [
        ("runtime-pairs", runtime as fn(&Path, &Row) -> Claims),
        ("noop-pairs", noop),
        ("blind-pairs", blind),
    ] {
        let rows = manifest::rows(&folder.join("generated").join(format!("{table}.tsv")));
        assert!(!rows.is_empty(), "{table} is empty");
        for (number, row) in rows.into_iter().enumerate() {
            let folder = folder.clone();
            let name = format!("{table}.tsv, line {}: {:?}", number + 2, row);
            jobs.push((name, Box::new(move || examine(&folder, &row))));
        }
    }
    let results: Results = crate::in_parallel(jobs);
    crate::say(&format!("\n{}", results.table()));
    assert!(results.wrong.is_empty(), "{}", results.wrong.join("\n\n"));
    assert!(
        results.loaded * 10 > results.of() * 9,
        "only {} of {} rows load here",
        results.loaded,
        results.of()
    );
}

/// The same policy before and after traffic.
fn runtime(folder: &Path, row: &Row) -> Claims {
    let loader = match row["family"].as_str() {
        "v4" => Loader::Restore("iptables-nft-restore"),
        "v6" => Loader::Restore("ip6tables-nft-restore"),
        _ => Loader::Nft,
    };
    let (before, after) = (folder.join(&row["before"]), folder.join(&row["after"]));
    let live = loaded(&before, loader)?;
    let mut outcomes = vec![("runtime: in sync", after_loading(&live, &after, loader))];
    if let Loader::Restore(program) = loader {
        let legacy = Loader::Restore(match program {
            "iptables-nft-restore" => "iptables-legacy-restore",
            _ => "ip6tables-legacy-restore",
        });
        let outcome = match loaded(&before, legacy) {
            Some(live) => after_loading(&live, &after, legacy),
            None => Outcome::NotApplicable,
        };
        outcomes.push(("runtime, in x_tables: in sync", outcome));
    }
    Some((false, outcomes))
}

/// A namespace with a file loaded, counters as well, and approved.
fn loaded(path: &Path, loader: Loader) -> Option<Live> {
    let live = Live::empty(&Entry::of_file(path.to_owned(), loader));
    let text = std::fs::read_to_string(path).unwrap();
    for name in manifest::ipsets(&text) {
        let family = if format!("{loader:?}").contains("ip6") { "inet6" } else { "inet" };
        live.run("ipset", &["create", &name, "hash:ip", "family", family], None).unwrap();
    }
    load_counted(&live, path, loader).ok()?;
    live.init().unwrap_or_else(|error| panic!("init: {error}"));
    Some(live)
}

fn load_counted(live: &Live, path: &Path, loader: Loader) -> Result<String, String> {
    match loader {
        Loader::Restore(program) => live.run(program, &["-c"], Some(std::fs::read(path).unwrap())),
        Loader::Nft | Loader::NftJson => {
            live.script("flush ruleset")?;
            live.load_path(path, loader)
        }
    }
}

fn after_loading(live: &Live, path: &Path, loader: Loader) -> Outcome {
    let before = check(live);
    if matches!(before, Outcome::Wrong(_)) {
        return before;
    }
    match load_counted(live, path, loader) {
        Ok(_) => check(live),
        Err(error) => Outcome::Wrong(error),
    }
}

/// A tool's own reload, with what the collection says of it.
fn noop(folder: &Path, row: &Row) -> Claims {
    let place = folder.join("generated/noop").join(&row["tool"]);
    let (before, after) = (place.join(&row["before"]), place.join(&row["after"]));
    let loader = match before.extension().and_then(|e| e.to_str()) {
        Some("iptables-save") => Loader::Restore("iptables-nft-restore"),
        Some("ip6tables-save") => Loader::Restore("ip6tables-nft-restore"),
        Some("json") => Loader::NftJson,
        _ => Loader::Nft,
    };
    // What the tool did not print in this form it did not change in this form.
    let live = loaded(&before, loader)?;
    load_counted(&live, &after, loader).ok()?;
    let (result, _) = match live.check() {
        Ok(checked) => checked,
        Err(error) => return Some((false, vec![("noop: checked", Outcome::Wrong(error))])),
    };
    let differing: usize = row["differing_lines_without_counters_handles"].parse().unwrap();
    let wanted: &[(ChangeKind, ObjectKind)] = match (row["tool"].as_str(), row["expected"].as_str()) {
        _ if differing == 0 => &[],
        ("fail2ban", expected) if expected.starts_with("CHANGE") => {
            &[(ChangeKind::Removed, ObjectKind::Table)]
        }
        // Its two rules in the other order; the order of sets means nothing.
        ("fail2ban", _) => &[(ChangeKind::Moved, ObjectKind::Rule)],
        // It adds two rules once more at each reload.
        ("ufw", _) => &[(ChangeKind::Added, ObjectKind::Rule), (ChangeKind::Added, ObjectKind::Rule)],
        _ => &[],
    };
    let told: Vec<_> = result.changes.iter().map(|change| (change.kind, change.object)).collect();
    let right = told == wanted && (result.verdict == Verdict::InSync) == wanted.is_empty();
    let claim = if wanted.is_empty() { "noop: in sync" } else { "noop: only what the tool changed" };
    let outcome = if right { Outcome::Right } else { Outcome::Wrong(described(&result.changes)) };
    Some((false, vec![(claim, outcome)]))
}

/// Programs of a family, with the tables and chains in which its rules may stand.
pub fn homes(family: &str) -> (&'static str, Vec<(&'static str, &'static str)>) {
    let (program, tables): (_, &[(&str, &[&str])]) = match family {
        "arp" => ("arptables-nft-restore", &[("filter", &["OUTPUT", "INPUT"])]),
        "eb" => (
            "ebtables-nft-restore",
            &[("filter", &["INPUT", "FORWARD", "OUTPUT"]), ("nat", &["PREROUTING", "OUTPUT", "POSTROUTING"])],
        ),
        family => (
            if family == "v6" { "ip6tables-nft-restore" } else { "iptables-nft-restore" },
            &[
                ("filter", &["INPUT", "OUTPUT", "FORWARD"]),
                ("mangle", &["PREROUTING", "OUTPUT"]),
                ("nat", &["PREROUTING", "POSTROUTING", "OUTPUT"]),
                ("raw", &["PREROUTING", "OUTPUT"]),
                ("security", &["INPUT"]),
            ],
        ),
    };
    let all = tables.iter().flat_map(|(table, chains)| chains.iter().map(|chain| (*table, *chain)));
    (program, all.collect())
}

/// Two rules that some tool prints alike.
fn blind(_: &Path, row: &Row) -> Claims {
    let (program, homes) = homes(&row["family"]);
    let (a, b) = (row["rule_a"].as_str(), row["rule_b"].as_str());
    let entry = Entry::of_file("/dev/null".into(), Loader::Restore(program));
    let live = Live::empty(&entry);
    let with = |rules: &[&str], (table, chain): (&str, &str)| {
        let lines: String = rules.iter().map(|rule| format!("-A {chain} {rule}\n")).collect();
        let script = format!("*{table}\n:{chain} ACCEPT [0:0]\n{lines}COMMIT\n");
        live.run(program, &[], Some(script.into_bytes()))
    };
    let home = homes.into_iter().find(|home| with(&[a, b], *home).is_ok() && with(&[a], *home).is_ok())?;
    live.init().unwrap_or_else(|error| panic!("init: {error}"));
    let mut outcomes = vec![("blind: in sync with itself", check(&live))];
    let mut claim = |name, rules: &[&str], wanted: Wanted| {
        with(rules, home).unwrap();
        let outcome = match live.check() {
            Ok((result, _)) => match wanted.objection(&result.changes, home) {
                None => Outcome::Right,
                Some(why) => Outcome::Wrong(format!("{why}: {}", described(&result.changes))),
            },
            Err(error) => Outcome::Wrong(error),
        };
        outcomes.push((name, outcome));
    };
    claim("blind: one in place of the other", &[b], Wanted(ChangeKind::Modified, Some(1), Some(1)));
    claim("blind: the other one added", &[a, b], Wanted(ChangeKind::Added, None, Some(2)));
    claim("blind: the other one put before it", &[b, a], Wanted(ChangeKind::Added, None, Some(1)));
    claim("blind: back again, in sync", &[a], Wanted(ChangeKind::Moved, None, None));
    with(&[a, b], home).unwrap();
    live.approve().unwrap_or_else(|error| panic!("approve: {error}"));
    claim("blind: the two swapped", &[b, a], Wanted(ChangeKind::Moved, Some(2), Some(1)));
    claim("blind: the first one gone", &[b], Wanted(ChangeKind::Removed, Some(1), None));
    claim("blind: the second one gone", &[a], Wanted(ChangeKind::Removed, Some(2), None));
    Some((false, outcomes))
}

/// The one rule that must be named: kind, and place before and after. No place at all: nothing is to be told.
struct Wanted(ChangeKind, Option<usize>, Option<usize>);

impl Wanted {
    fn objection(&self, changes: &[Change], (table, chain): (&str, &str)) -> Option<String> {
        if (self.1, self.2) == (None, None) {
            return (!changes.is_empty()).then(|| "it should be in sync".to_owned());
        }
        let [change] = changes else { return Some("it should be one change".to_owned()) };
        let place = change.position.map(|position| (position.before, position.after));
        let is_it = (change.kind, change.object, place) == (self.0, ObjectKind::Rule, Some((self.1, self.2)))
            && change.table == table
            && change.chain.as_deref() == Some(chain);
        // Of two swapped neighbours either one moved.
        let is_other = self.0 == ChangeKind::Moved
            && change.kind == ChangeKind::Moved
            && place == Some((Some(1), Some(2)));
        let told = change.before != change.after || change.note.is_some() || change.kind == ChangeKind::Moved;
        (!(is_it || is_other) || !told).then(|| "it is named wrongly".to_owned())
    }
}
