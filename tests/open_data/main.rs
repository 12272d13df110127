//! Every ruleset of the open collection against the real kernel, git and nft: what is in sync is reported
//! as in sync, and each single mutation is found and named exactly, with nothing else beside it.
//!
//! The oracle is nft's own listing of the live namespace, read by the test's own parser.
//!
//! `OPEN_DATA_ONLY=part/of/a/path` restricts it to some rulesets.

mod expect;
mod listing;
mod live;
mod manifest;
mod mutate;
mod raw;
mod table;
mod translate;

use fwdrift::model::{Change, Verdict};
use live::{EXPIRING, Live};
use manifest::Entry;
use std::collections::VecDeque;
use std::io::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use table::{Outcome, Results};

/// Workers: more than cores, as one that waits for an element to expire needs none.
const WORKERS: usize = 3;

#[test]
fn every_mutation_of_every_open_ruleset_is_found_and_named_exactly() {
    let Some(folder) = manifest::folder() else {
        say("\nSKIPPED: the open rulesets (../shared/data/open beside the checkout) are not here.\n");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "nothing is skipped in CI");
        return;
    };
    let begun = Instant::now();
    let only = std::env::var("OPEN_DATA_ONLY").unwrap_or_default();
    let entries: Vec<Entry> =
        manifest::read(&folder).into_iter().filter(|entry| entry.name.contains(&only)).collect();
    let expected = entries.iter().filter(|entry| entry.should_load).count();
    let queue = Mutex::new(VecDeque::from(entries));
    let results = Mutex::new(Results::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(entry) = queue.lock().unwrap().pop_front() else { break };
                    let name = entry.name.clone();
                    let outcomes = std::panic::catch_unwind(|| examine(&entry)).unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                        let why = panic.downcast_ref::<String>().cloned().or(text);
                        Some((false, vec![("the test itself", Outcome::Wrong(why.unwrap_or_default()))]))
                    });
                    results.lock().unwrap().add(&name, outcomes);
                }
            });
        }
    });
    let results = results.into_inner().unwrap();
    say(&format!("\n{}{:.0?}\n", results.table(), begun.elapsed()));
    assert!(results.loaded * 2 > expected, "only {} of {expected} rulesets load here", results.loaded);
    assert!(results.wrong.is_empty(), "{}", results.wrong.join("\n\n"));
}

/// Written past the test harness, which keeps what passing tests print.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether a table of the baseline needed its exact form, and what became of each claim. None if the
/// ruleset does not load here.
fn examine(entry: &Entry) -> Option<(bool, Vec<(&'static str, Outcome)>)> {
    // An element with a timeout must live until the baseline is made, and not much longer.
    for timeout in [400, 3_000, 20_000].map(Duration::from_millis) {
        let live = Live::load(entry)?;
        live.add_expiring(Some(timeout));
        let added = Instant::now();
        let base = live.listing();
        let exact = match live.init() {
            Ok(exact) => exact,
            Err(error) => return Some((false, vec![("init, check", Outcome::Wrong(error))])),
        };
        let (result, approved) = match live.check() {
            Ok(checked) => checked,
            Err(error) => return Some((exact, vec![("init, check", Outcome::Wrong(error))])),
        };
        let is_approved = approved
            .tables
            .iter()
            .filter(|(key, _)| key.name.0 == EXPIRING.as_bytes())
            .any(|(_, table)| table.sets.values().any(|set| !set.elements.is_empty()));
        if !is_approved {
            continue;
        }
        let mut outcomes = vec![("init, check", in_sync(result.verdict, &result.changes))];
        outcomes.push(("counters moved", count(&live, exact)));
        std::thread::sleep(timeout.saturating_sub(added.elapsed()));
        // The kernel counts in ticks.
        while live.is_expiring_present() {
            assert!(added.elapsed() < timeout + Duration::from_secs(10), "the element does not expire");
            std::thread::sleep(Duration::from_millis(20));
        }
        outcomes.push(("element expired", check(&live)));
        live.reload();
        outcomes.push(("flushed, loaded again", check(&live)));
        let mut before = live.listing();
        for (name, mutation) in mutate::ALL {
            if live.restore() {
                before = live.listing();
            }
            let expected = mutation(&live, &before);
            outcomes.push((name, judge(&live, &base, &before, expected)));
        }
        return Some((exact, outcomes));
    }
    Some((false, vec![("element expired", Outcome::Wrong("never in the baseline".to_owned()))]))
}

fn judge(
    live: &Live,
    base: &listing::Listing,
    before: &listing::Listing,
    expected: Option<Vec<expect::Expected>>,
) -> Outcome {
    let Some(expected) = expected else { return Outcome::NotApplicable };
    let changes = match live.check() {
        Ok((result, _)) => result.changes,
        Err(error) => return Outcome::Wrong(error),
    };
    // The element that expires is in the baseline still.
    let mut before = before.clone();
    for table in before.tables.iter_mut().filter(|table| table.name == EXPIRING) {
        table.clone_from(base.table(&table.family, &table.name).unwrap());
    }
    let before = before.without_dynamic_elements();
    let objections = expect::objections(&expected, &changes, &before, &live.listing());
    if objections.is_empty() {
        Outcome::Right
    } else {
        Outcome::Wrong(format!("{}\nreported: {}", objections.join("\n"), described(&changes)))
    }
}

fn check(live: &Live) -> Outcome {
    match live.check() {
        Ok((result, _)) => in_sync(result.verdict, &result.changes),
        Err(error) => Outcome::Wrong(error),
    }
}

fn in_sync(verdict: Verdict, changes: &[Change]) -> Outcome {
    match verdict {
        Verdict::InSync => Outcome::Right,
        verdict => Outcome::Wrong(format!("{verdict:?}: {}", described(changes))),
    }
}

fn described(changes: &[Change]) -> String {
    let lines = changes.iter().take(4).map(|change| {
        let Change { kind, object, family, table, chain, name, before, after, position, .. } = change;
        format!(
            "{kind:?} {object:?} {family} {table} {chain:?} {name:?} {position:?}\n  {before:?}\n  {after:?}"
        )
    });
    format!("{} changes\n{}", changes.len(), lines.collect::<Vec<_>>().join("\n"))
}

/// Moves counters, by packets and by loading the listing with other numbers in it.
fn count(live: &Live, exact: bool) -> Outcome {
    let list = || live.nft(&["list", "ruleset"]).unwrap();
    let before = list();
    live.send_packets();
    let by_packets = check(live);
    if matches!(by_packets, Outcome::Wrong(_)) {
        return by_packets;
    }
    // What nft prints of a table that needs its exact form is another table.
    let counted = list().replace("packets 0 bytes 0", "packets 4711 bytes 47110");
    if !exact && live.script(&format!("flush ruleset\n{counted}")).is_ok() {
        let by_numbers = check(live);
        if matches!(by_numbers, Outcome::Wrong(_)) {
            return by_numbers;
        }
    }
    if list() == before { Outcome::NotApplicable } else { Outcome::Right }
}
