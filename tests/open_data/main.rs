//! Every ruleset of the open collection against the real kernel, git and nft: what is in sync is reported
//! as in sync, and each single mutation is found and named exactly, with nothing else beside it.
//!
//! The oracle is nft's own listing of the live namespace, read by the test's own parser.
//!
//! `OPEN_DATA_ONLY=part/of/a/path` restricts it to some rulesets. To keep it short, each ruleset gets every third
//! one of the mutations that are made over netlink; `OPEN_DATA_ALL=1` makes all.

mod edit;
mod edit_objects;
mod expect;
mod legacy;
mod listing;
mod live;
mod manifest;
mod mutate;
mod other_nft;
mod pairs;
mod raw;
mod restart;
mod saved;
mod table;
mod translate;
mod words;
mod writers;

use fwdrift::model::{Change, Verdict};
use listing::Listing;
use live::{EXPIRING, Live};
use manifest::{Entry, Loader};
use std::collections::VecDeque;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use table::{Outcome, Results};

/// Workers: more than cores, as one that waits for an element to expire needs none.
const WORKERS: usize = 3;

#[test]
fn every_mutation_of_every_open_ruleset_is_found_and_named_exactly() {
    let Some(folder) = folder_or_skip() else { return };
    let begun = Instant::now();
    let only = std::env::var("OPEN_DATA_ONLY").unwrap_or_default();
    let entries: Vec<Entry> =
        manifest::read(&folder).into_iter().filter(|entry| entry.name.contains(&only)).collect();
    let expected = entries.iter().filter(|entry| entry.should_load).count();
    let results = in_parallel(entries.into_iter().map(|entry| (entry.name.clone(), move || examine(&entry))));
    say(&format!("\n{}{:.0?}\n", results.table(), begun.elapsed()));
    assert!(results.loaded * 20 > expected * 19, "only {} of {expected} rulesets load here", results.loaded);
    assert!(results.wrong.is_empty(), "{}", results.wrong.join("\n\n"));
}

/// The collection; none, loudly, where it is not.
fn folder_or_skip() -> Option<PathBuf> {
    let folder = manifest::folder();
    if folder.is_none() {
        say("\nSKIPPED: the open rulesets (../shared/data/open beside the checkout) are not here.\n");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "nothing is skipped in CI");
    }
    folder
}

/// What became of each claim for each ruleset; none of those that do not load here.
type Claims = Option<(bool, Vec<(&'static str, Outcome)>)>;

/// Works through all jobs, each with the name of what it is about.
fn in_parallel<J: FnOnce() -> Claims + Send>(jobs: impl IntoIterator<Item = (String, J)>) -> Results {
    let queue = Mutex::new(jobs.into_iter().collect::<VecDeque<(String, J)>>());
    let results = Mutex::new(Results::default());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((name, job)) = queue.lock().unwrap().pop_front() else { break };
                    let outcomes = std::panic::catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                        let why = panic.downcast_ref::<String>().cloned().or(text);
                        Some((false, vec![("the test itself", Outcome::Wrong(why.unwrap_or_default()))]))
                    });
                    results.lock().unwrap().add(&name, outcomes);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// Written past the test harness, which keeps what passing tests print.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Whether a table of the baseline needed its exact form, and what became of each claim. None if the
/// ruleset does not load here.
fn examine(entry: &Entry) -> Claims {
    if entry.is_legacy() {
        return legacy::examine(entry);
    }
    // An element with a timeout must live until the baseline is made, and not much longer.
    for timeout in [400, 3_000, 20_000].map(Duration::from_millis) {
        let live = Live::load(entry)?;
        live.add_expiring(Some(timeout));
        let added = Instant::now();
        let base = live.listing();
        let files = match live.init() {
            Ok(files) => files,
            Err(error) => return Some((false, vec![("init, check", Outcome::Wrong(error))])),
        };
        let exact = files.keys().any(|path| path.ends_with(".exact"));
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
        if let Loader::Restore(_) = live.entry.loader {
            outcomes.push(("saved and restored", saved::whole(&live)));
            live.reload();
        }
        match live.keep(approved) {
            Ok(()) => outcomes.push(("made anew over netlink", in_sync_by_bytes(&live))),
            Err(error) => {
                outcomes.push(("made anew over netlink", Outcome::Wrong(error)));
                return Some((exact, outcomes));
            }
        }
        outcomes.extend(from_json(entry));
        if live.is_first_of_its_kind() {
            outcomes.push(("approved, restarted from the files", restart::approved(&live)));
            live.reload();
            battery(&live, &base, &mut outcomes);
        }
        return Some((exact, outcomes));
    }
    Some((false, vec![("element expired", Outcome::Wrong("never in the baseline".to_owned()))]))
}

/// The ruleset from JSON against a baseline that the same ruleset in nft's syntax made: in sync where nft itself
/// lists the two alike. JSON that says less made another ruleset, and that is told.
fn from_json(entry: &Entry) -> Option<(&'static str, Outcome)> {
    let (text, json) = (Live::load(&entry.text_beside()?)?, Live::load(entry)?);
    let listed = |live: &Live| translate::canonical(&live.nft(&["-s", "list", "ruleset"]).unwrap());
    let alike = listed(&text) == listed(&json);
    let result = text.init().and_then(|_| text.check_other(&json.netns));
    let outcome = match result {
        Err(error) => Outcome::Wrong(error),
        Ok(result) if (result.verdict == Verdict::InSync) == alike => Outcome::Right,
        Ok(result) => Outcome::Wrong(described(&result.changes)),
    };
    let claim =
        if alike { "from JSON, baseline from text: in sync" } else { "from JSON that says less: told" };
    Some((claim, outcome))
}

/// All mutations, one at a time.
fn battery(live: &Live, base: &Listing, outcomes: &mut Vec<(&'static str, Outcome)>) {
    for (name, mutation) in mutate::ALL {
        let before = live.restore();
        let expected = mutation(live, &before).map(|expected| (expected, live.listing()));
        outcomes.push((name, judge(live, base, &before, expected)));
    }
    let all = std::env::var("OPEN_DATA_ALL").is_ok_and(|all| all == "1");
    let third = usize::from(live.kept().digest().0[0] % 3);
    let edits = edit::OF_RULES.into_iter().chain(edit_objects::OF_OBJECTS).enumerate();
    for (_, (name, edit)) in edits.filter(|(number, _)| all || number % 3 == third) {
        let before = live.restore();
        let expected = made(live, edit);
        outcomes.push((name, judge(live, base, &before, expected)));
    }
}

/// Ways of one edit that are tried before it counts as not applicable.
const WAYS: usize = 8;

/// Makes an edit in the first way that the kernel takes and nft can list; what must be reported, and that
/// listing.
fn made(live: &Live, edit: edit::Edit) -> Option<(Vec<expect::Expected>, Listing)> {
    let kept = live.kept();
    if !live.is_remakable() {
        return None;
    }
    edit(&kept).take(WAYS).find_map(|(changed, expected)| {
        live.keep_alive(live.remake(&changed).ok()?);
        // What the kernel does not keep is no change.
        let is_kept = live.ruleset().ok()?.digest() != kept.digest();
        let listing = if is_kept { live.try_listing().ok()? } else { return None };
        Some((expected, listing))
    })
}

fn in_sync_by_bytes(live: &Live) -> Outcome {
    match live.drift() {
        Ok(changes) if changes.is_empty() => Outcome::Right,
        Ok(changes) => Outcome::Wrong(described(&changes)),
        Err(error) => Outcome::Wrong(error),
    }
}

fn judge(
    live: &Live,
    base: &Listing,
    before: &Listing,
    expected: Option<(Vec<expect::Expected>, Listing)>,
) -> Outcome {
    let Some((expected, after)) = expected else { return Outcome::NotApplicable };
    let changes = match live.drift() {
        Ok(changes) => changes,
        Err(error) => return Outcome::Wrong(error),
    };
    // The element that expires is in the baseline still.
    let mut before = before.clone();
    for table in before.tables.iter_mut().filter(|table| table.name == EXPIRING) {
        table.clone_from(base.table(&table.family, &table.name).unwrap());
    }
    let before = before.without_dynamic_elements();
    let objections = expect::objections(&expected, &changes, &before, &after);
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

/// Moves counters, by packets and by loading the ruleset with other numbers in it.
fn count(live: &Live, exact: bool) -> Outcome {
    let list = || live.nft(&["list", "ruleset"]).unwrap();
    let before = list();
    live.send_packets();
    let by_packets = check(live);
    if matches!(by_packets, Outcome::Wrong(_)) {
        return by_packets;
    }
    let loaded = match live.entry.loader {
        Loader::Restore(program) => {
            let text = String::from_utf8_lossy(&std::fs::read(&live.entry.path).unwrap()).into_owned();
            let counted = |line: &str| match line.starts_with("-A ") {
                true => format!("[4711:47110] {line}\n"),
                false => format!("{}\n", line.replace("[0:0]", "[4711:47110]")),
            };
            let counted: String = text.lines().map(counted).collect();
            live.run(program, &["-c"], Some(counted.into_bytes())).is_ok()
        }
        // What nft prints of a table that needs its exact form is another table.
        Loader::Nft | Loader::NftJson if exact => false,
        Loader::Nft | Loader::NftJson => {
            let counted = list().replace("packets 0 bytes 0", "packets 4711 bytes 47110");
            live.script(&format!("flush ruleset\n{counted}")).is_ok()
        }
    };
    if loaded {
        let by_numbers = check(live);
        if matches!(by_numbers, Outcome::Wrong(_)) {
            return by_numbers;
        }
    }
    let counters = |listing: &str| -> Vec<String> {
        listing.lines().filter(|line| line.contains(" packets ")).map(str::to_owned).collect()
    };
    if counters(&list()) == counters(&before) { Outcome::NotApplicable } else { Outcome::Right }
}
