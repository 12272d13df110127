//! What happens to `record` when two run at once, one is killed, its memory is lost, the machine reboots, or
//! another version of a tool prints other words.

use crate::support::{Host, NAME, RULES, ids, kinds};
use serde_json::Value;
use std::time::Duration;

const DROP: &str = "insert rule inet filter input tcp dport 3306 drop";

/// Rewrites the memory of the last look.
fn edit(host: &Host, change: impl FnOnce(&mut Value)) {
    let mut memory: Value = serde_json::from_slice(&std::fs::read(host.memory()).unwrap()).unwrap();
    change(&mut memory);
    std::fs::write(host.memory(), serde_json::to_vec(&memory).unwrap()).unwrap();
}

/// Every difference is opened once, ended at most once after that, and the numbers have no hole.
#[track_caller]
fn assert_whole(host: &Host) {
    let events = host.events();
    let mut open: Vec<String> = Vec::new();
    for (place, event) in events.iter().enumerate() {
        assert_eq!(event["seq"], place + 1);
        for id in ids(event["changes"].as_array().unwrap()) {
            if event["kind"] == "drift" {
                assert!(!open.contains(&id), "{id} is opened twice");
                open.push(id);
            } else {
                let known = open.iter().position(|other| *other == id);
                open.remove(known.unwrap_or_else(|| panic!("{id} ends and was not open")));
            }
        }
    }
    open.sort();
    let last: Vec<String> = serde_json::from_value(events.last().unwrap()["open"].clone()).unwrap();
    let mut last = last;
    last.sort();
    assert_eq!(open, last);
    assert_eq!(open, ids(&host.changes()), "the ledger's open changes are what check finds");
    host.git(&["fsck", "--strict"]);
}

#[test]
fn two_records_at_once_append_an_event_once() {
    let host = Host::new(RULES);
    for round in 0..4 {
        host.nft(&format!("add rule inet filter input tcp dport {} accept", 8000 + round));
        let running: Vec<_> = (0..4).map(|_| host.spawn(&["record", "-q"])).collect();
        let mut printed = 0;
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            printed += usize::from(!output.stdout.is_empty());
        }
        assert_eq!(printed, 1, "one of them has the news");
        assert_eq!(host.events().len(), 2 + round);
    }
    assert_whole(&host);
}

#[test]
fn record_killed_at_any_instant_loses_nothing_and_writes_nothing_twice() {
    let host = Host::audited(RULES);
    let started = std::time::Instant::now();
    host.record();
    let usual = started.elapsed().as_micros() as u64;
    let rounds = 24;
    for round in 0..rounds {
        // Two authors: two events of one look.
        host.login(3_100_005, &format!("nft add rule inet filter input tcp dport {} accept", 8000 + round));
        host.login(3_100_006, &format!("nft add table ip own{round}"));
        if round % 3 == 0 {
            host.login(3_100_006, "nft flush chain inet filter input");
        }
        let mut child = host.spawn(&["record", "-q"]);
        std::thread::sleep(Duration::from_micros(usual * 5 / 4 * round / rounds));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 2 == 0 {
            host.run(&["record", "-q"]).ended(1);
            assert_whole(&host);
        }
    }
    host.run(&["record", "-q"]).ended(1);
    assert_whole(&host);
    assert!(host.record().is_empty());
    let unknown: Vec<Value> = host
        .events()
        .into_iter()
        .filter(|e| e["kind"] == "drift" && e["author"]["name"] == "unknown")
        .collect();
    let flushed = |event: &Value| event["author"]["candidates"].as_array().is_some_and(|c| c.len() == 2);
    assert!(unknown.iter().all(flushed), "a killed run costs no author: {unknown:#?}");
}

#[test]
fn a_lost_memory_costs_a_wider_window_and_no_event() {
    let host = Host::audited(RULES);
    host.login(3_100_005, &format!("nft {DROP:?}"));
    host.record();
    host.run(&["record", "-q"]);
    std::fs::remove_file(host.memory()).unwrap();
    assert!(host.record().is_empty());
    std::fs::remove_file(host.memory()).unwrap();
    host.login(3_100_006, "nft add table ip late");
    let seen = host.check(1);
    let logins = [0, 1].map(|place| &seen["changes"][place]["author"]["auid"]);
    assert_eq!(logins, [3_100_005, 3_100_006]);
    let events = host.record();
    assert_eq!(kinds(&events), ["drift"]);
    assert_eq!(events[0]["author"]["auid"], 3_100_006, "{events:#?}");
    std::fs::write(host.memory(), "{ damaged").unwrap();
    assert!(host.record().is_empty());
    assert_whole(&host);
}

#[test]
fn after_a_reboot_generations_of_the_last_boot_name_nobody() {
    let host = Host::audited(RULES);
    edit(&host, |memory| memory["boot_id"] = "another boot".into());
    host.login(3_100_005, &format!("nft {DROP:?}"));
    let events = host.record();
    assert_eq!(kinds(&events), ["drift"]);
    let author = &events[0]["author"];
    assert_eq!((&author["name"], &author["evidence"]), (&"unknown".into(), &"none".into()));
    assert!(author["window"]["from"].is_string());
    assert_eq!(events[0]["generations"], serde_json::json!([]));
    // The same rules loaded at boot are no event at all.
    edit(&host, |memory| {
        memory["boot_id"] = "another boot".into();
        memory["generation"] = 1.into();
    });
    assert!(host.record().is_empty());
    assert_whole(&host);
}

#[test]
fn another_version_of_a_tool_with_other_words_is_no_event() {
    let host = Host::new(RULES);
    host.nft(DROP);
    let drift = host.record();
    let id = ids(drift[0]["changes"].as_array().unwrap());
    // As if the words had been others at the last look: another id, the same bytes.
    let other_words = |memory: &mut Value| {
        let prints = memory["fingerprints"].as_object_mut().unwrap();
        let (_, print) = std::mem::take(prints).into_iter().next().unwrap();
        prints.insert("0123456789ab".to_owned(), print);
        let change = &mut memory["open"][0];
        (change["id"], change["after"]) = ("0123456789ab".into(), "th dport mysql drop".into());
    };
    edit(&host, other_words);
    assert!(host.record().is_empty());
    edit(&host, other_words);
    host.nft("add table ip beside");
    let events = host.record();
    assert_eq!(kinds(&events), ["drift"], "{events:#?}");
    assert_eq!(events[0]["changes"].as_array().unwrap().len(), 1);
    assert_ne!(ids(events[0]["changes"].as_array().unwrap()), id);
}

#[test]
fn a_ledger_that_another_program_moved_is_followed() {
    let host = Host::new(RULES);
    host.nft(DROP);
    host.record();
    // Somebody set the branch back: the drift is recorded anew, not lost.
    host.git(&["update-ref", &format!("refs/heads/live/{NAME}"), &format!("live/{NAME}~1")]);
    assert_eq!(kinds(&host.record()), ["drift"]);
    assert_whole(&host);
}
