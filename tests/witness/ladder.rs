//! The rungs: audit, the process, nobody. Many changes by several logins, under load.

use crate::auditing::{Alone, HidesTasksOf};
use crate::support::{Load, Person, Told, Watched, add_table, shell};
use fwdrift::evidence::enable_guard;
use fwdrift::model::Evidence;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LOGINS: [u32; 5] = [3_100_005, 3_100_006, 3_100_007, 3_100_008, 3_100_009];
const CHANGES: usize = 1000;

/// How many authors are right, wrong and unknown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Shares {
    right: usize,
    wrong: usize,
    unknown: usize,
}

fn shares(told: &[Told], grade: Evidence) -> Shares {
    let mut shares = Shares::default();
    for told in told {
        let author = &told.attested.author;
        match (author.is_known(), author.auid == Some(told.truth())) {
            (false, _) => shares.unknown += 1,
            (true, true) if author.evidence == grade => shares.right += 1,
            _ => shares.wrong += 1,
        }
    }
    shares
}

fn slowest(told: &[Told]) -> String {
    let mut times: Vec<Duration> = told.iter().map(|told| told.after).collect();
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100];
    format!("answered after {:?} (median), {:?} (99%), {:?} (longest)", at(50), at(99), at(100))
}

/// Changes by several logins in turn, or all at once, on the same table.
fn change(watched: &mut Watched, count: usize, at_once: bool) {
    watched.prepare();
    let path = watched.path();
    watched.during(|| {
        let mut people: Vec<Person> = LOGINS.iter().map(|login| Person::new(&path, *login)).collect();
        let next = AtomicUsize::new(0);
        if at_once {
            std::thread::scope(|scope| {
                for person in &mut people {
                    scope.spawn(|| {
                        while next.fetch_add(1, Ordering::Relaxed) < count {
                            person.change(0);
                        }
                    });
                }
            });
        } else {
            (0..count).for_each(|number| people[number % LOGINS.len()].change(number));
        }
    });
    assert_eq!(watched.told.len(), count);
}

#[test]
fn a_thousand_changes_by_logins_in_turn_under_load_have_a_thousand_right_authors() {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    let _load = Load::new(4);
    change(&mut watched, CHANGES, false);
    println!(
        "in turn, 4 busy loops: {:?}; {}",
        shares(&watched.told, Evidence::Audit),
        slowest(&watched.told)
    );
    assert_eq!(shares(&watched.told, Evidence::Audit), Shares { right: CHANGES, ..Shares::default() });
    assert!(watched.told.iter().all(|told| told.attested.time.is_some()));
    let times: Vec<_> = watched.told.iter().map(|told| told.attested.time).collect();
    assert!(times.is_sorted(), "the kernel's own times, in the order of commits");
    assert_eq!(watched.gaps, []);
}

#[test]
fn logins_that_change_at_the_same_time_are_told_apart() {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    let _load = Load::new(2);
    change(&mut watched, CHANGES / 2, true);
    println!("at once: {:?}; {}", shares(&watched.told, Evidence::Audit), slowest(&watched.told));
    assert_eq!(shares(&watched.told, Evidence::Audit), Shares { right: CHANGES / 2, ..Shares::default() });
}

#[test]
fn without_auditing_every_author_is_right_or_unknown() {
    let Some(_alone) = Alone::new() else { return };
    let mut watched = Watched::new();
    assert!(watched.gaps.iter().any(|gap| gap.reason.starts_with("auditing is off")), "{:?}", watched.gaps);
    change(&mut watched, CHANGES / 4, false);
    let idle = shares(&watched.told, Evidence::Process);
    println!("auditing off, idle: {idle:?}; {}", slowest(&watched.told));
    let mut watched = Watched::new();
    let _load = Load::new(4);
    change(&mut watched, CHANGES / 2, false);
    let busy = shares(&watched.told, Evidence::Process);
    println!("auditing off, 4 busy loops: {busy:?}; {}", slowest(&watched.told));
    let mut watched = Watched::new();
    change(&mut watched, CHANGES / 4, true);
    let at_once = shares(&watched.told, Evidence::Process);
    println!("auditing off, at once: {at_once:?}; {}", slowest(&watched.told));
    assert_eq!((idle.wrong, busy.wrong, at_once.wrong), (0, 0, 0));
    // A floor, so that a rung that never answers is seen.
    assert!(idle.right > CHANGES / 8, "{idle:?}");
}

#[test]
fn where_a_rule_hides_who_calls_the_process_is_looked_up() {
    let hidden = 3_200_000 + std::process::id();
    let _rule = HidesTasksOf::new(hidden);
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    watched.prepare();
    let path = watched.path();
    let change = |login: u32, number: usize| {
        let script = format!(
            "exec /usr/bin/setpriv --reuid={hidden} --inh-caps=+net_admin --ambient-caps=+net_admin \
             /bin/sh -c 'nft add rule inet t c counter comment \\\"by {login} {number}\\\"; true'"
        );
        crate::support::run(&mut shell(&path, Some(login), &script));
    };
    watched.during(|| (0..60).for_each(|number| change(LOGINS[number % LOGINS.len()], number)));
    let shares = shares(&watched.told, Evidence::Process);
    println!("hidden by a rule: {shares:?}");
    assert_eq!((shares.wrong, shares.right + shares.unknown), (0, 60));
    assert!(shares.right > 30, "{shares:?}");
    let known: Vec<&Told> = watched.told.iter().filter(|told| told.attested.author.is_known()).collect();
    assert!(known.iter().all(|told| told.attested.time.is_some()), "the record says when");
    // Others are still told by audit.
    watched
        .during(|| crate::support::run(&mut shell(&path, Some(LOGINS[0]), "nft 'add chain inet t d'; true")));
    assert_eq!(watched.last().attested.author.evidence, Evidence::Audit);
}

#[test]
fn a_thread_is_known_by_its_process_while_it_is_there() {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    let path = std::path::PathBuf::from(watched.path());
    let netns = fwdrift::sys::netns::Netns::open(&path).unwrap();
    let (made, seen) = (std::sync::Barrier::new(2), std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            netns.run(|| {
                add_table(b"by_a_thread");
                made.wait();
                seen.wait();
            })
        });
        made.wait();
        watched.turn(Duration::from_millis(100));
        seen.wait();
    });
    watched.settle();
    let told = watched.last();
    assert_ne!(told.transaction.thread, std::process::id());
    let author = &told.attested.author;
    assert_eq!((author.evidence, author.pid), (Evidence::Audit, Some(std::process::id())));
}

#[test]
fn a_storm_by_several_logins_is_followed_to_the_end_in_bounded_memory() {
    const SECONDS: u64 = 5;
    const EACH: usize = 1250;
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    let netns = watched.netns.again().unwrap();
    let before = resident();
    let begun = std::time::Instant::now();
    watched.during(|| {
        std::thread::scope(|scope| {
            let (netns, begun) = (&netns, &begun);
            for login in &LOGINS[..4] {
                scope.spawn(move || {
                    netns.run(|| {
                        std::fs::write("/proc/thread-self/loginuid", login.to_string()).unwrap();
                        for number in 0..EACH {
                            add_table(format!("by {login} {number}").as_bytes());
                            let due =
                                Duration::from_micros(SECONDS * 1_000_000 / EACH as u64 * number as u64);
                            std::thread::sleep(due.saturating_sub(begun.elapsed()));
                        }
                        // The last one is looked at while its thread is there.
                        std::thread::sleep(Duration::from_millis(300));
                    })
                });
            }
        });
    });
    let pace = watched.told.len() as f64 / begun.elapsed().as_secs_f64();
    let grown = resident().saturating_sub(before) / 1024;
    let found = shares(&watched.told, Evidence::Audit);
    println!("{pace:.0} transactions a second: {found:?}; {}; {grown} MB more", slowest(&watched.told));
    assert_eq!(found, Shares { right: 4 * EACH, ..Shares::default() });
    let mut generations: Vec<u32> = watched.told.iter().map(|told| told.transaction.generation).collect();
    generations.sort_unstable();
    assert!(generations.windows(2).all(|pair| pair[1] == pair[0] + 1), "each generation, once");
    assert!(grown < 60, "{grown} MB, most of it the test's own list of transactions");
}

/// The resident memory of this process, in kB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
