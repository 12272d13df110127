//! What iptables-save and its siblings print, loaded again with the restore program, is the ruleset that was approved:
//! for each rule of iptables' own tests of its extensions, and for more rules of every extension that is here. Where
//! the tool loses a part of the rule, that is told.

use crate::live::Live;
use crate::manifest::{Entry, Loader};
use crate::pairs::homes;
use crate::table::{Outcome, Results};
use crate::{Claims, check, described, words};
use fwdrift::compare::Known;
use fwdrift::pipeline;
use std::collections::BTreeSet;
use std::path::Path;

/// Rules of which iptables 1.8.9 prints less than it loaded: of an inverted range that holds everything, which matches
/// nothing, only the match without the range, which matches everything; and of a masked address nothing.
const LOST: [(&str, &str); 6] = [
    ("v6", "-m ah ! --ahspi :"),
    ("v4", "-p ah -m ah ! --ahspi :"),
    ("v6", "-m frag ! --fragid :"),
    ("v6", "-p mobility-header -m mh ! --mh-type :"),
    ("v6", "-m rt ! --rt-segsleft :"),
    ("arp", "--destination-mac 02:00:00:00:00:01/ff:ff:00:00:00:00 -j ACCEPT"),
];

#[test]
fn a_rule_that_iptables_saved_and_restored_is_in_sync_unless_a_part_of_it_got_lost() {
    let Some(folder) = crate::folder_or_skip() else { return };
    let only = std::env::var("OPEN_DATA_ONLY").unwrap_or_default();
    let mut rules: BTreeSet<(&str, String)> = own().collect();
    let ours = rules.len();
    for release in ["1.8.9", "1.8.11"] {
        rules.extend(of_tests(&folder.join("iptables-tests").join(release).join("extensions")));
    }
    assert!(rules.len() > ours + 400, "the collection has only {} rules", rules.len() - ours);
    let rules = rules.into_iter().filter(|(_, rule)| rule.contains(&only));
    let jobs = rules.map(|(family, rule)| {
        let name = format!("{family}: {rule}");
        (name, move || examine(family, &rule))
    });
    let results: Results = crate::in_parallel(jobs);
    crate::say(&format!("\n{}", results.table()));
    assert!(results.wrong.is_empty(), "{}", results.wrong.join("\n\n"));
    assert!(!only.is_empty() || results.loaded > 1000, "only {} rules load here", results.loaded);
}

fn own() -> impl Iterator<Item = (&'static str, String)> {
    [("v4", words::IPTABLES), ("v6", words::IPTABLES), ("eb", words::EBTABLES), ("arp", words::ARPTABLES)]
        .into_iter()
        .flat_map(|(family, rules)| rules.iter().map(move |rule| (family, (*rule).to_owned())))
}

/// The rules of `*.t` files (iptables' iptables-test.py): `RULE;WHAT IS PRINTED;OK`, a rule a line.
fn of_tests(folder: &Path) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let families: &[&'static str] = match name.split_once('_') {
            _ if !name.ends_with(".t") => continue,
            Some(("libxt", _)) => &["v4", "v6"],
            Some(("libipt", _)) => &["v4"],
            Some(("libip6t", _)) => &["v6"],
            Some(("libebt", _)) => &["eb"],
            Some(("libarpt", _)) => &["arp"],
            _ => panic!("{name}: of which family?"),
        };
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| !line.starts_with(['#', ':', '*', '@', '%'])) {
            let mut parts = line.split(';');
            if let (Some(rule), Some(_), Some("OK")) = (parts.next(), parts.next(), parts.next()) {
                found.extend(families.iter().map(|family| (*family, rule.to_owned())));
            }
        }
    }
    found
}

fn examine(family: &'static str, rule: &str) -> Claims {
    let (program, homes) = homes(family);
    let live = Live::empty(&Entry::of_file("/dev/null".into(), Loader::Restore(program)));
    let load = |(table, chain): (&str, &str)| {
        let script = format!("*{table}\n:{chain} ACCEPT [0:0]\n-A {chain} {rule}\nCOMMIT\n");
        live.run(program, &[], Some(script.into_bytes())).is_ok()
    };
    homes.into_iter().find(|home| load(*home))?;
    let before = live.ruleset().unwrap();
    let count: usize = before.tables.values().map(|table| table.rule_count()).sum();
    assert_eq!(count, 1, "the rule is not there");
    let saved = save_and_restore(&live);
    let found = saved.map(|()| {
        let after = live.ruleset().unwrap();
        let found = pipeline::compared(&before, &after, &Known::default()).unwrap();
        (found.differences.into_iter().map(|one| one.change).collect::<Vec<_>>(), found.re_encoded)
    });
    let is_lost = LOST.contains(&(family, rule));
    let (claim, outcome) = match (found, is_lost) {
        (Err(error), _) => ("one rule, saved and restored: in sync", Outcome::Wrong(error)),
        (Ok((changes, _)), false) if changes.is_empty() => {
            ("one rule, saved and restored: in sync", Outcome::Right)
        }
        (Ok((changes, _)), true) if changes.len() == 1 => {
            ("one rule, of which the save lost a part: told", Outcome::Right)
        }
        (Ok((changes, re_encoded)), _) => {
            let what = format!("{} and {re_encoded} re-encoded", described(&changes));
            ("one rule, saved and restored: in sync", Outcome::Wrong(what))
        }
    };
    Some((false, vec![(claim, outcome)]))
}

/// Saves with the sibling of the program that loads, empties the namespace, and restores.
fn save_and_restore(live: &Live) -> Result<(), String> {
    let Loader::Restore(program) = live.entry.loader else { return Err("not a save".to_owned()) };
    let saved = live.run(&program.replace("restore", "save"), &[], None)?;
    if !live.entry.is_legacy() {
        live.script("flush ruleset")?;
    }
    live.run(program, &[], Some(saved.into_bytes())).map(drop)
}

/// A whole ruleset that is approved: saved and restored, it is in sync.
pub fn whole(live: &Live) -> Outcome {
    match save_and_restore(live) {
        Ok(()) => {
            if !live.entry.is_legacy() {
                live.add_expiring(None);
            }
            check(live)
        }
        // What the tool does not load again is no matter of ours.
        Err(_) => Outcome::NotApplicable,
    }
}
