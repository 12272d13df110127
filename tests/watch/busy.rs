//! Many transactions, and none.

use crate::support::{Host, RULES};
use crate::watching::{Watching, generation, generations, generations_of};
use std::collections::BTreeSet;
use std::time::Duration;

/// About a thousand transactions a second, of two logins, that leave nothing behind.
#[test]
fn in_a_storm_every_generation_is_accounted_for_with_its_author() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    let before = generation(&host);
    let each = 2500;
    std::thread::scope(|scope| {
        for uid in [1001u32, 1002] {
            let host = &host;
            scope.spawn(move || {
                let (add, delete) =
                    (format!("add chain inet filter c{uid}"), format!("delete chain inet filter c{uid}"));
                host.login(
                    uid,
                    &format!(
                        "for n in $(seq {}); do echo '{add}'; echo '{delete}'; done | nft -i >/dev/null",
                        each / 2
                    ),
                );
            });
        }
    });
    let events = watching.events_up_to_now();
    let all: BTreeSet<u64> = (before + 1..=generation(&host)).collect();
    assert_eq!(all.len(), 2 * each);
    let seen = generations(&events);
    let missed: Vec<&u64> = all.difference(&seen).collect();
    assert!(missed.is_empty(), "{} not accounted for: {missed:?}", missed.len());
    for uid in [1001, 1002] {
        let of: BTreeSet<u64> =
            events.iter().filter(|event| event["author"]["auid"] == uid).flat_map(generations_of).collect();
        assert_eq!(of.intersection(&all).count(), each, "of {uid}");
    }
    assert!(events.len() < 400, "{} events", events.len());
    watching.stop();
}

#[test]
fn when_nothing_happens_it_sleeps() {
    let host = Host::new(RULES);
    let config = std::fs::read_to_string(host.path("config.toml")).unwrap();
    host.file("config.toml", &format!("{config}[watch]\npoll_seconds = 3600\n"));
    let watching = Watching::start(&host);
    let wakes = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", watching.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    // The tests beside this one may switch auditing.
    let quietest = (0..5)
        .map(|_| {
            let before = wakes();
            std::thread::sleep(Duration::from_millis(500));
            wakes() - before
        })
        .min();
    assert!(quietest <= Some(1), "woke up {quietest:?} times in half a second");
    watching.stop();
}
