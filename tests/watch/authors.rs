//! Who it was, of each transaction.

use crate::support::{Host, RULES, kinds, line};
use crate::watching::{Watching, generation, generations, generations_of};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn each_change_of_one_table_has_its_own_author() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    watching.signal("-STOP");
    // All looked at together.
    host.login(1001, "nft add rule inet filter input tcp dport 1001 accept");
    host.login(1002, "nft insert rule inet filter input tcp dport 1002 accept");
    host.login(1003, "nft 'add chain inet filter forward { policy accept; }'");
    host.login(1001, "nft -a list chain inet filter input | sed -n 's/.*dport 3306 .*handle /delete rule inet filter input handle /p' | nft -f -");
    watching.signal("-CONT");
    watching.events_up_to_now();
    let mut found: Vec<(u64, String)> = host.check(1)["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            assert_eq!(change["author"]["evidence"], "audit");
            (change["author"]["auid"].as_u64().unwrap(), line(change))
        })
        .collect();
    found.sort();
    let of = |uid: u64| {
        found.iter().filter(|(auid, _)| *auid == uid).map(|(_, line)| line.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(1001).len(), 2, "{found:#?}");
    assert!(of(1001).iter().any(|line| line.starts_with("removed rule") && line.contains("3306")));
    assert_eq!(of(1002), ["added rule inet filter/input: - -> tcp dport 1002 accept"]);
    assert!(of(1003)[0].starts_with("modified chain inet filter/forward"), "{found:#?}");
    watching.stop();
}

#[test]
fn who_ended_a_difference_is_another_one_than_who_made_it() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    host.login(1001, "nft add rule inet filter input tcp dport 1001 accept");
    watching.events_up_to_now();
    host.login(1002, "nft -a list chain inet filter input | sed -n 's/.*dport 1001 .*handle /delete rule inet filter input handle /p' | nft -f -");
    let events = watching.events_up_to_now();
    assert_eq!(kinds(&events[1..]), ["drift", "reverted"]);
    assert_eq!((&events[1]["author"]["auid"], &events[2]["author"]["auid"]), (&1001.into(), &1002.into()));
    assert_eq!(events[2]["changes"][0]["author"]["auid"], 1001);
    watching.stop();
}

#[test]
fn equal_rules_have_their_own_authors() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    watching.signal("-STOP");
    for uid in [1001, 1002, 1003] {
        host.login(uid, "nft add rule inet filter input tcp dport 7 accept");
    }
    watching.signal("-CONT");
    watching.events_up_to_now();
    let check = host.check(1);
    let mut authors: Vec<u64> = check["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["author"]["auid"].as_u64().unwrap())
        .collect();
    authors.sort_unstable();
    assert_eq!(authors, [1001, 1002, 1003]);
    watching.stop();
}

/// 1,000 changes of the same table, by four logins at a time, beside two busy loops: 1,000 right authors.
#[test]
fn a_thousand_changes_under_load_have_a_thousand_right_authors() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    let before = generation(&host);
    let mut load: Vec<std::process::Child> = (0..2)
        .map(|_| {
            std::process::Command::new("/bin/sh")
                .args(["-c", "timeout 60 sh -c 'while :; do :; done'"])
                .spawn()
                .unwrap()
        })
        .collect();
    std::thread::scope(|scope| {
        for uid in 1001..=1004u32 {
            let host = &host;
            scope.spawn(move || {
                let first = (uid - 1000) * 10_000;
                host.login(uid, &format!("for n in $(seq {first} {}); do nft add rule inet filter input tcp dport $n accept; done", first + 249));
            });
        }
    });
    load.iter_mut().for_each(|child| drop(child.kill()));
    load.iter_mut().for_each(|child| drop(child.wait()));
    let events = watching.events_up_to_now();
    let all: BTreeSet<u64> = (before + 1..=generation(&host)).collect();
    assert_eq!(all.len(), 1000);
    assert_eq!(generations(&events).intersection(&all).count(), 1000, "every generation is accounted for");
    let check = host.check(1);
    let changes = check["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1000);
    let is_right = |change: &&Value| {
        let port: u64 = change["after"].as_str().unwrap().split(' ').nth(2).unwrap().parse().unwrap();
        change["author"]["auid"] == 1000 + port / 10_000 && change["author"]["evidence"] == "audit"
    };
    let wrong: Vec<&Value> = changes.iter().filter(|change| !is_right(change)).collect();
    assert!(wrong.is_empty(), "{} wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(3)]);
    for event in events.iter().filter(|event| event["kind"] == "drift") {
        let count = event["changes"].as_array().unwrap().len();
        assert_eq!(generations_of(event).len(), count, "one transaction, one rule");
    }
    watching.stop();
}
