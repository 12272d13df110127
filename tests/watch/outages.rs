//! Killed, stopped, refused: nothing is lost.

use crate::support::{Host, RULES, kinds, line};
use crate::watching::{Watching, generation, generations};
use std::collections::BTreeSet;

#[test]
fn what_happens_while_it_is_down_is_found_at_the_next_start() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    host.login(1001, "nft add rule inet filter input tcp dport 1001 accept");
    watching.events_up_to_now();
    watching.kill();
    host.login(1002, "nft add rule inet filter input tcp dport 1002 accept");
    let watching = Watching::start(&host);
    let events = watching.events_up_to_now();
    assert_eq!(kinds(&events[1..]), ["drift", "drift"]);
    assert_eq!(
        (&events[1]["author"]["auid"], &events[1]["author"]["evidence"]),
        (&1001.into(), &"audit".into())
    );
    assert_eq!(
        (&events[2]["author"]["auid"], &events[2]["author"]["evidence"]),
        (&1002.into(), &"audit-log".into())
    );
    watching.stop();
}

#[test]
fn a_ledger_that_cannot_be_written_is_written_later_with_the_same_author() {
    let host = Host::audited(RULES);
    let watching = Watching::start(&host);
    // Somebody holds the branch.
    let lock = host.path("repo/.git/refs/heads/live/db-01.lock");
    std::fs::write(&lock, "").unwrap();
    host.login(1001, "nft add rule inet filter input tcp dport 1001 accept");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(kinds(&host.events()), ["approved"]);
    std::fs::remove_file(&lock).unwrap();
    let events = watching.events_up_to_now();
    assert_eq!(kinds(&events[1..]), ["drift"]);
    assert_eq!(
        (&events[1]["author"]["auid"], &events[1]["author"]["evidence"]),
        (&1001.into(), &"audit".into())
    );
    watching.stop();
}

/// More than its receive buffer holds comes while the program does not run.
#[test]
fn announcements_that_were_lost_are_accounted_for_by_generation() {
    let host = Host::audited(
        "table inet filter {\n set s { type ipv4_addr; }\n chain input { type filter hook input priority 0; }\n}\n",
    );
    let watching = Watching::start(&host);
    let before = generation(&host);
    watching.signal("-STOP");
    let elements = |first: u32| {
        let list: Vec<String> =
            (first..first + 60_000).map(|n| std::net::Ipv4Addr::from(n + 0x0a00_0000).to_string()).collect();
        list.join(", ")
    };
    for round in 0..14 {
        let list = elements(0);
        host.nft(&format!(
            "add element inet filter s {{ {list} }}\ndelete element inet filter s {{ {list} }}"
        ));
        if round == 7 {
            host.login(1001, "nft add rule inet filter input tcp dport 1001 accept");
        }
    }
    watching.signal("-CONT");
    let events = watching.events_up_to_now();
    let all: BTreeSet<u64> = (before + 1..=generation(&host)).collect();
    assert!(all.is_subset(&generations(&events)), "{all:?} in {events:#?}");
    let drift = events.iter().find(|event| event["kind"] == "drift").unwrap();
    assert_eq!(line(&drift["changes"][0]), "added rule inet filter/input: - -> tcp dport 1001 accept");
    // Known by the history at least, and never as somebody else's.
    assert!(drift["author"]["auid"] == 1001 || drift["author"]["name"] == "unknown", "{drift:#?}");
    // What comes after the loss is followed as before.
    host.login(1002, "nft add rule inet filter input tcp dport 1002 accept");
    let events = watching.events_up_to_now();
    let last = events.last().unwrap();
    assert_eq!((&last["author"]["auid"], &last["author"]["evidence"]), (&1002.into(), &"audit".into()));
    watching.stop();
}

#[test]
fn a_checkpoint_states_that_it_was_looking() {
    let host = Host::new(RULES);
    let watching = Watching::start(&host);
    watching.stop();
    // The last checkpoint was two days ago.
    let memory = std::fs::read_to_string(host.memory()).unwrap();
    let mut memory: serde_json::Value = serde_json::from_str(&memory).unwrap();
    memory["tally"]["since"] = (chrono::Utc::now() - chrono::TimeDelta::days(2)).to_rfc3339().into();
    memory["tally"]["looks"] = 17_280.into();
    std::fs::write(host.memory(), memory.to_string()).unwrap();
    let watching = Watching::start(&host);
    let events = watching.events_when("a checkpoint", |events| kinds(events).contains(&"checkpoint"));
    let checkpoint = &events.last().unwrap()["checkpoint"];
    assert_eq!((&checkpoint["looks"], &checkpoint["in_sync"]), (&17_280.into(), &true.into()));
    watching.stop();
    let shown = host.run(&["show", "2"]).ended(0);
    assert!(shown.contains("looked 17280 times since") && shown.contains("in sync"), "{shown}");
    let log = host.run(&["log"]).ended(0);
    assert!(log.contains("looked 17280 times since"), "{log}");
    assert_eq!(host.record().len(), 0, "and not again");
}

/// The program with this host's configuration, which names the namespace.
fn plain(host: &Host, args: &[&str]) -> std::process::Command {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_fwdrift"));
    program.env_clear().env("TMPDIR", host.path("")).arg("--config").arg(host.path("config.toml")).args(args);
    program
}

/// Its name is there again, and is another namespace.
#[test]
fn a_namespace_that_vanishes_is_a_gap_and_its_successor_is_watched() {
    let host = Host::bare();
    let name = format!("fwdrift-watch-{}", std::process::id());
    let ip = |arguments: &[&str]| {
        let status = std::process::Command::new("ip").arg("netns").args(arguments).status().unwrap();
        assert!(status.success(), "{arguments:?}");
    };
    let inside = |script: &str| ip(&["exec", &name, "nft", script]);
    struct Gone(String);
    impl Drop for Gone {
        fn drop(&mut self) {
            let _ = std::process::Command::new("ip").args(["netns", "del", &self.0]).output();
        }
    }
    let _gone = Gone(name.clone());
    ip(&["add", &name]);
    inside("add table inet t");
    let config = std::fs::read_to_string(host.path("config.toml")).unwrap();
    host.file("config.toml", &format!("{config}netns = {name:?}\n[watch]\npoll_seconds = 1\n"));
    assert!(plain(&host, &["init"]).output().unwrap().status.success());
    let watching = Watching::start_with(&host, plain(&host, &["watch"]));
    let log = || -> serde_json::Value {
        serde_json::from_slice(&plain(&host, &["log", "--format", "json"]).output().unwrap().stdout).unwrap()
    };
    let wait = |what: &str, is_there: &dyn Fn(&str) -> bool| {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while !is_there(&log().to_string()) {
            assert!(std::time::Instant::now() < end, "{what}: {:#}\n{}", log(), watching.complaints());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    };
    ip(&["del", &name]);
    wait("a gap", &|log| log.contains("\"kind\":\"gap\""));
    ip(&["add", &name]);
    inside("add table inet t");
    inside("add table inet other");
    wait("drift", &|log| log.contains("table inet other"));
    watching.stop();
}

/// Order comes from generations and numbers; a clock that was set back makes the last look one of the future.
#[test]
fn a_clock_that_was_set_does_no_harm() {
    let host = Host::audited(RULES);
    Watching::start(&host).stop();
    for (round, days) in [2, -400].into_iter().enumerate() {
        let memory = std::fs::read_to_string(host.memory()).unwrap();
        let mut memory: serde_json::Value = serde_json::from_str(&memory).unwrap();
        let then: serde_json::Value =
            (chrono::Utc::now() + chrono::TimeDelta::days(days)).to_rfc3339().into();
        for field in ["time", "full_look"] {
            memory[field] = then.clone();
        }
        memory["tally"]["since"] = then;
        std::fs::write(host.memory(), memory.to_string()).unwrap();
        let watching = Watching::start(&host);
        let uid = 1001 + round as u32;
        host.login(uid, &format!("nft add rule inet filter input tcp dport {uid} accept"));
        let events = watching.events_up_to_now();
        let drift = events.iter().rfind(|event| event["kind"] == "drift").unwrap();
        assert_eq!((&drift["author"]["auid"], &drift["author"]["evidence"]), (&uid.into(), &"audit".into()));
        let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        watching.stop();
    }
}
