//! The JSON of `check` is what docs/formats.md says; the exit code is the verdict; stdout is the result alone.

use crate::support::{Host, NAME, RULES, snapshot, time};
use serde_json::Value;

#[test]
fn every_field_is_there_with_its_type() {
    let host = Host::new(RULES);
    host.nft(
        "insert rule inet filter input tcp dport 3306 drop; chain inet filter forward { policy accept; }",
    );
    let result = host.check(1);
    assert_eq!(result["schema"], "fwdrift.check/1");
    assert_eq!(result["host"], NAME);
    assert_eq!(result["netns"], host.netns_path());
    assert_eq!(result["baseline"]["commit"], host.git(&["rev-parse", "main"]).trim());
    assert_eq!(result["baseline"]["path"], format!("baselines/{NAME}"));
    assert!((chrono::Utc::now() - time(&result["captured_at"])).num_seconds() < 60);
    assert!(result["captured_at"].as_str().unwrap().ends_with('Z'));
    assert!(result["generation"].is_u64());
    assert_eq!(result["verdict"], "drift");
    assert!(result["review_id"].is_string());
    for gap in result["gaps"].as_array().unwrap() {
        assert!(gap["source"].is_string() && gap["reason"].is_string() && gap["blinds_verdict"].is_boolean());
        assert!(gap["hint"].is_string() || gap["hint"].is_null());
    }
    for (field, count) in [("added", 1), ("removed", 0), ("modified", 1), ("moved", 0), ("re_encoded", 0)] {
        assert_eq!(result["summary"][field], count, "{field}");
    }
    let changes = result["changes"].as_array().unwrap();
    for change in changes {
        every_field_of_a_change(change);
    }
    let [chain, rule] = changes.as_slice() else { panic!("{changes:#?}") };
    let (rule, chain) = if rule["object"] == "rule" { (rule, chain) } else { (chain, rule) };
    assert_eq!((&rule["kind"], &rule["source"]), (&"added".into(), &"nft".into()));
    assert_eq!((&rule["family"], &rule["table"]), (&"inet".into(), &"filter".into()));
    assert_eq!((&rule["chain"], &rule["name"]), (&"input".into(), &Value::Null));
    assert_eq!(rule["position"], serde_json::json!({ "before": null, "after": 1 }));
    assert_eq!((&rule["before"], &rule["after"]), (&Value::Null, &"tcp dport 3306 drop".into()));
    assert_eq!((&chain["object"], &chain["position"]), (&"chain".into(), &Value::Null));
}

fn every_field_of_a_change(change: &Value) {
    let words = ["id", "kind", "source", "family", "table", "object"];
    assert!(words.iter().all(|field| change[field].is_string()), "{change:#}");
    let id = change["id"].as_str().unwrap();
    assert!(id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    let fields = change.as_object().unwrap();
    for field in ["chain", "name", "before", "after"] {
        assert!(fields[field].is_string() || fields[field].is_null(), "{field} of {change:#}");
    }
    for field in ["position", "severity", "impact", "author", "time"] {
        assert!(fields.contains_key(field), "{field} of {change:#}");
    }
    let author = change["author"].as_object().unwrap();
    for field in ["auid", "uid", "session", "pid"] {
        assert!(author[field].is_u64() || author[field].is_null(), "{field} of {author:#?}");
    }
    for field in ["tty", "comm", "exe", "cmdline", "unit", "remote"] {
        assert!(author[field].is_string() || author[field].is_null(), "{field} of {author:#?}");
    }
    assert_eq!((&author["name"], &author["evidence"]), (&"unknown".into(), &"none".into()));
    assert!(author["candidates"].is_array() && author["window"]["from"].is_string());
}

#[test]
fn the_exit_code_is_the_verdict_and_check_writes_nothing() {
    let host = Host::new(RULES);
    let before = snapshot(&host.repo());
    assert_eq!(host.check(0)["verdict"], "in_sync");
    host.nft("add rule inet filter input tcp dport 80 accept");
    assert_eq!(host.check(1)["verdict"], "drift");
    let text = host.run(&["check"]);
    assert_eq!((text.code, text.stderr.as_str()), (Some(1), ""));
    assert!(text.stdout.contains("tcp dport 80 accept"), "{}", text.stdout);
    assert_eq!(snapshot(&host.repo()), before, "check has no write path");
}

#[test]
fn what_cannot_be_determined_ends_with_2_and_prints_no_result() {
    let host = Host::bare();
    assert!(host.run(&["check"]).failed().contains("hint: "));
    host.run(&["init"]).ended(0);
    let elsewhere = ["--host", "web-77", "check", "--format", "json"];
    assert!(host.run(&elsewhere).failed().contains("no baseline for web-77"));
    assert_eq!(host.run(&["check", "--no-such-option"]).code, Some(2));
    assert_eq!(host.run(&["check", "--format", "markdown"]).code, Some(2));
}

#[test]
fn the_printed_way_back_of_a_flipped_policy_puts_it_back_and_touches_nothing_else() {
    let host = Host::new(RULES);
    host.nft("chain inet filter input { policy accept; }");
    let said = host.run(&["check"]).ended(1);
    let command = said.lines().find_map(|line| {
        let command = line.trim_start();
        command.contains("{ policy drop; }'").then(|| command.split("  #").next().unwrap().to_owned())
    });
    let command = command.unwrap_or_else(|| panic!("{said}"));
    // It is printed for the test's `--netns` path; here it is run inside.
    let inside = command.split_once("nft '").map(|(_, rest)| format!("nft '{rest}")).unwrap();
    host.sh(&inside);
    host.check(0);
}
