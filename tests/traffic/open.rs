//! The open collection: rulesets that nobody on the project wrote, read in place through its manifests.

use crate::agreement::{self, Tally, compare, say};
use crate::kernel::{Backend, Lab};
#[allow(dead_code)] // what it knows besides is for the tests of drift
#[path = "../open_data/manifest.rs"]
mod manifest;
use crate::sampling::{Dice, Wanted};
use fwdrift::model::{Digest, Ruleset};
use fwdrift::traffic::lower::coverage::{Coverage, coverage};
use manifest::{Entry, Loader};
use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

/// Workers: each has a lab of its own.
const WORKERS: usize = 2;
/// Interfaces of one lab.
const MOST_INTERFACES: usize = 10;
/// Of a short run, this many rulesets are asked about.
const SHORT: usize = 60;

#[test]
fn open_rulesets_do_to_packets_what_the_kernel_does() {
    let Some(entries) = entries_or_skip() else { return };
    let budget = agreement::budget() * 2 / 5;
    let is_short = agreement::budget() < 50_000 && agreement::only().is_empty();
    let step = if is_short { entries.len().div_ceil(SHORT) } else { 1 };
    let chosen: VecDeque<Entry> = entries.into_iter().step_by(step).collect();
    let most = (budget / chosen.len().max(1) / 3).max(6);
    let (queue, tally, known) =
        (Mutex::new(chosen), Mutex::new(Tally::default()), Mutex::new(BTreeSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(entry) = queue.lock().unwrap().pop_front() else { break };
                    let one = std::panic::catch_unwind(AssertUnwindSafe(|| examine(&entry, &known, most)));
                    let one = one.unwrap_or_else(|_| Tally {
                        wrong: vec![format!("{}: the test itself", entry.name)],
                        ..Tally::default()
                    });
                    tally.lock().unwrap().add(one);
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    assert!(is_short || tally.rulesets > 300 || !agreement::only().is_empty(), "{}", tally.rulesets);
    agreement::conclude(&[("open collection", tally)]);
}

/// Prints the tables of docs/coverage.md with `TRAFFIC_COVERAGE=all`, of each tenth ruleset without.
#[test]
fn most_expressions_of_the_open_collection_have_a_model() {
    let Some(entries) = entries_or_skip() else { return };
    let is_short = std::env::var("TRAFFIC_COVERAGE").as_deref() != Ok("all");
    let entries = entries.into_iter().step_by(if is_short { 10 } else { 1 });
    let mut all = Coverage::default();
    let (mut rulesets, mut seen) = (0, BTreeSet::new());
    for entry in entries {
        let mut lab = Lab::new(&[]);
        let Ok(ruleset) = load(&mut lab, &entry) else { continue };
        if seen.insert(ruleset.digest()) {
            rulesets += 1;
            all.add(coverage(&ruleset));
        }
    }
    let mut text = format!("\n{rulesets} rulesets, {} rules\n", all.rules);
    for (title, of_xt) in [("nf_tables expression", false), ("x_tables extension", true)] {
        writeln!(text, "\n| {title} | with a model | free |\n|---|---:|---:|").unwrap();
        let rows = all.counts.iter().filter(|(name, _)| name.starts_with("xt ") == of_xt);
        let (mut modelled, mut free) = (0, 0);
        for (name, count) in rows {
            writeln!(text, "| {name} | {} | {} |", count.modelled, count.free).unwrap();
            modelled += count.modelled;
            free += count.free;
        }
        writeln!(text, "| **all** | **{modelled}** | **{free}** |").unwrap();
        assert!(modelled >= 4 * free, "{title}: {modelled} with a model, {free} without");
    }
    say(&text);
}

/// The collection; none, loudly, where it is not.
fn entries_or_skip() -> Option<Vec<Entry>> {
    let Some(folder) = manifest::folder() else {
        say("\nSKIPPED: the open rulesets (../shared/data/open beside the checkout) are not here.\n");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "nothing is skipped in CI");
        return None;
    };
    let only = agreement::only();
    let wanted = |entry: &Entry| entry.should_load && entry.name.contains(&only);
    Some(manifest::read(&folder).into_iter().filter(wanted).collect())
}

fn examine(entry: &Entry, known: &Mutex<BTreeSet<Digest>>, most: usize) -> Tally {
    let mut tally = Tally::default();
    let text = String::from_utf8_lossy(&std::fs::read(&entry.path).unwrap()).into_owned();
    let names = interfaces(&text);
    let mut lab = Lab::new(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let ruleset = match load(&mut lab, entry) {
        Ok(ruleset) => ruleset,
        Err(_) => {
            tally.skip("does not load in a lab");
            return tally;
        }
    };
    // The two backends of iptables are asked apart, although the engine reads the same of both.
    let program = format!("{:?}", entry.is_legacy());
    let digest = ruleset.digest();
    if !known.lock().unwrap().insert(Digest::of([&digest.0[..], program.as_bytes()])) {
        tally.skip("the same as another one");
        return tally;
    }
    let most = if ruleset
        .tables
        .values()
        .map(|table| table.chains.values().map(|c| c.rules.len()).sum::<usize>())
        .sum::<usize>()
        > 3_000
    {
        most.min(12)
    } else {
        most
    };
    let inside = most.div_ceil(3).max(3);
    let wanted = Wanted { inside, beside: 2, most };
    tally.add(compare(&mut lab, &entry.name, &ruleset, wanted, &mut Dice(digest.0[0].into())));
    tally
}

/// Loads a file into the lab, and says what the engine reads.
fn load(lab: &mut Lab, entry: &Entry) -> Result<Ruleset, String> {
    let text = String::from_utf8_lossy(&std::fs::read(&entry.path).unwrap()).into_owned();
    match entry.loader {
        Loader::Nft => lab.load_nft(&text)?,
        Loader::NftJson => lab.load_json(&text)?,
        Loader::Restore(program) => {
            let family = if program.starts_with("ip6") { 6 } else { 4 };
            let sets = ipsets(&text, family);
            lab.load_ipset(&sets)?;
            if !entry.is_legacy() {
                lab.load_iptables(family, &text, Backend::Nft)?;
                return Ok(lab.ruleset());
            }
            lab.load_iptables(family, &text, Backend::Legacy)?;
            // What iptables-legacy holds is read as iptables-nft loads it.
            let mut scratch = Lab::new(&[]);
            scratch.load_ipset(&sets)?;
            scratch.load_iptables(family, &text, Backend::Nft)?;
            return Ok(scratch.ruleset());
        }
    }
    Ok(lab.ruleset())
}

fn ipsets(text: &str, family: u8) -> String {
    let family = if family == 6 { "inet6" } else { "inet" };
    let names = manifest::ipsets(text);
    names.iter().map(|name| format!("create {name} hash:ip family {family}\n")).collect()
}

/// Names of interfaces that a ruleset tells apart, and one more; of a beginning, one that begins so.
fn interfaces(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || "\"{},;=():[]".contains(c)).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let after = ["iifname", "oifname", "iif", "oif", "-i", "-o", "device", "devices", "dev"];
    let mut names: Vec<String> = manifest::devices(text);
    for pair in words.windows(3).filter(|words| after.contains(&words[0])) {
        let word = if matches!(pair[1], "!=" | "!") { pair[2] } else { pair[1] };
        let name = match word.strip_suffix(['*', '+']) {
            Some(beginning) => format!("{beginning}7"),
            None => word.to_owned(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.retain(|name| {
        name.len() < 16
            && name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
            && !matches!(name.as_str(), "lo" | "all" | "default")
    });
    names.truncate(MOST_INTERFACES);
    if !names.iter().any(|name| name == "zz0") {
        names.push("zz0".to_owned());
    }
    names
}
