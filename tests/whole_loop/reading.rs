//! `log`, `show` and `report` tell the whole story, in text and in JSON.

use crate::support::{Host, NAME, RULES, id_of, kinds, time};
use serde_json::Value;

/// The outage: `ops1` cuts the database off, it is put back; something else is approved; one change stays open.
fn story() -> Host {
    let host = Host::audited(RULES);
    host.login(3_100_005, "nft insert rule inet filter input tcp dport 3306 drop");
    host.record();
    host.login(3_100_006, "nft delete rule inet filter input handle $(nft -a list chain inet filter input | sed -n 's/.*3306 drop # handle //p')");
    host.record();
    host.login(3_100_005, "nft add rule inet filter input tcp dport 443 accept");
    host.record();
    host.login(3_100_005, "nft add table ip own");
    host.record();
    let chosen = id_of(&host.changes(), "443");
    host.run(&["approve", "--yes", &chosen, "-m", "the shop", "--ticket", "CHG-7"]).ended(0);
    host
}

#[track_caller]
fn json(host: &Host, args: &[&str]) -> Value {
    serde_json::from_str(&host.run(args).ended(0)).unwrap()
}

#[test]
fn log_lists_newest_first_and_filters() {
    let host = story();
    let log = |filters: &[&str]| {
        let all = json(&host, &[&["log", "--format", "json"], filters].concat());
        assert_eq!((&all["schema"], &all["host"]), (&"fwdrift.log/1".into(), &NAME.into()));
        all["events"].as_array().unwrap().clone()
    };
    let all = log(&[]);
    assert_eq!(kinds(&all), ["approved", "drift", "drift", "reverted", "drift", "approved"]);
    for event in &all {
        let fields = event.as_object().unwrap();
        for field in ["seq", "kind", "time", "recorded_at", "author", "generations", "commit", "changes"] {
            assert!(fields.contains_key(field), "{field}");
        }
    }
    assert_eq!(kinds(&log(&["--kind", "reverted"])), ["reverted"]);
    assert_eq!(kinds(&log(&["--kind", "drift,reverted"])).len(), 4);
    assert_eq!(kinds(&log(&["--author", "uid 3100006"])), ["reverted"]);
    assert_eq!(kinds(&log(&["-n", "2"])), ["approved", "drift"]);
    assert_eq!(kinds(&log(&["--since", "1h"])).len(), 6);
    assert!(log(&["--until", "1h"]).is_empty());
    let third = all[3]["time"].as_str().unwrap();
    assert!(log(&["--since", third]).iter().all(|event| time(&event["time"]) >= time(&all[3]["time"])));
    assert!(log(&["--until", third]).iter().all(|event| time(&event["time"]) < time(&all[3]["time"])));
    assert_eq!(host.run(&["log", "--since", "yesterday-ish"]).code, Some(2));
    let text = host.run(&["log"]).ended(0);
    assert!(text.contains("uid 3100005") && text.contains("tcp dport 3306 drop"), "{text}");
}

#[test]
fn show_gives_one_event_by_number_or_commit() {
    let host = story();
    let event = &json(&host, &["show", "2", "--format", "json"])["event"];
    assert_eq!((&event["kind"], &event["author"]["name"]), (&"drift".into(), &"uid 3100005".into()));
    let commit = event["commit"].as_str().unwrap();
    assert_eq!(&json(&host, &["show", &commit[..10], "--format", "json"])["event"], event);
    let text = host.run(&["show", "2"]).ended(0);
    for part in ["drift", "uid 3100005", "tcp dport 3306 drop", "3100005", commit] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let approved = host.run(&["show", "6"]).ended(0);
    assert!(approved.contains("the shop") && approved.contains("CHG-7"), "{approved}");
    for wrong in ["9", "0", "zzzz", ""] {
        host.run(&["show", wrong]).failed();
    }
}

#[test]
fn a_report_says_for_each_change_who_when_what_and_what_became_of_it() {
    let host = story();
    let report = json(&host, &["report", "--since", "1h", "--format", "json"]);
    assert_eq!(report["schema"], "fwdrift.report/1");
    let text = serde_json::to_string(&report).unwrap();
    let rows = report["changes"].as_array().unwrap_or_else(|| panic!("{report:#}"));
    assert_eq!(rows.len(), 3, "{report:#}");
    let row = |part: &str| {
        rows.iter().find(|row| row["change"].to_string().contains(part)).unwrap_or_else(|| panic!("{part}"))
    };
    let dropped = row("3306");
    assert_eq!(dropped["change"]["author"]["auid"], 3_100_005);
    assert_eq!(
        (&dropped["change"]["before"], &dropped["change"]["after"]),
        (&Value::Null, &"tcp dport 3306 drop".into())
    );
    assert!(dropped["change"]["time"].is_string());
    assert_eq!(dropped["disposition"]["state"], "reverted");
    assert_eq!(dropped["disposition"]["author"]["auid"], 3_100_006);
    let shop = row("443");
    assert_eq!(shop["disposition"]["state"], "approved");
    assert_eq!(shop["disposition"]["approval"]["reason"], "the shop");
    assert_eq!(shop["disposition"]["approval"]["ticket"], "CHG-7");
    assert_eq!(row("own")["disposition"]["state"], "open");
    assert!(text.contains(host.git(&["rev-parse", "main"]).trim()), "the baseline's commit");
    for format in ["text", "markdown"] {
        let said = host.run(&["report", "--since", "1h", "--format", format]).ended(0);
        for part in [
            "uid 3100005",
            "uid 3100006",
            "tcp dport 3306 drop",
            "reverted",
            "approved",
            "the shop",
            "CHG-7",
            "open",
        ] {
            assert!(said.contains(part), "{format}: {part}: {said}");
        }
    }
    let none = json(&host, &["report", "--since", "2020-01-01", "--until", "2020-02-01", "--format", "json"]);
    assert_eq!(none["changes"], serde_json::json!([]));
}

#[test]
fn the_durations_of_a_report_are_those_of_the_kernels_clock() {
    let host = story();
    let report = json(&host, &["report", "--format", "json"]);
    let events = host.events();
    let row = report["changes"].as_array().unwrap().iter().find(|row| row["seq"] == 2).unwrap();
    let open = time(&events[2]["time"]) - time(&events[1]["time"]);
    let told = row["open_seconds"].as_i64().unwrap_or_else(|| panic!("{row:#}"));
    assert!((told - open.num_seconds()).abs() <= 1, "{told} {open}");
}
