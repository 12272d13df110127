//! `record` appends one commit an event, tells the kinds of events apart, and appends nothing twice.

use crate::support::{Host, NAME, RULES, ids, kinds, lines, time};
use chrono::Utc;
use serde_json::Value;

const DROP: &str = "insert rule inet filter input tcp dport 3306 drop";
const RELOAD: &str = "flush ruleset";

fn reload(host: &Host) {
    host.nft(&format!("{RELOAD}; {RULES}"));
}

#[test]
fn an_event_is_one_commit_that_plain_git_can_read() {
    let host = Host::audited(RULES);
    let before = Utc::now();
    host.login(3_100_005, &format!("nft {DROP:?}"));
    let after = Utc::now();
    let events = host.record();
    assert_eq!(kinds(&events), ["drift"]);
    let live = format!("live/{NAME}");
    assert_eq!(host.git(&["rev-list", "--count", &live]).trim(), "2", "the first baseline, and this");
    let header = host.git(&["log", "-1", "--format=%an|%ae|%at|%cn", &live]);
    let fields: Vec<&str> = header.trim().split('|').collect();
    assert_eq!((fields[0], fields[3]), ("uid 3100005", "fwdrift"));
    let kernel = time(&events[0]["time"]);
    assert_eq!(fields[2], kernel.timestamp().to_string());
    let coarse = chrono::TimeDelta::milliseconds(20);
    assert!(before - coarse <= kernel && kernel <= after, "{before} {kernel} {after}");
    let stored: Value = serde_json::from_str(&host.git(&["show", &format!("{live}:event.json")])).unwrap();
    for (field, value) in stored.as_object().unwrap() {
        assert_eq!(&events[0][field], value, "{field}");
    }
    assert_eq!((&stored["schema"], &stored["seq"]), (&"fwdrift.event/1".into(), &2.into()));
    let drift = host.git(&["diff", &format!("main:baselines/{NAME}"), &live, "--", ".", ":!event.json"]);
    let changed: Vec<&str> = drift
        .lines()
        .filter(|line| line.starts_with(['+', '-']) && !line.starts_with("+++") && !line.starts_with("---"))
        .collect();
    assert_eq!(changed, ["+\t\ttcp dport 3306 drop"], "{drift}");
    host.git(&["fsck", "--strict"]);
}

#[test]
fn a_second_look_without_change_appends_nothing() {
    let host = Host::new(RULES);
    let head = || host.git(&["rev-parse", &format!("live/{NAME}")]);
    let first = head();
    let quiet = host.run(&["record", "-q"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(0), "", ""));
    assert_eq!(head(), first);
    host.nft(DROP);
    assert_eq!(host.run(&["record", "-q"]).code, Some(1));
    let second = head();
    let quiet = host.run(&["record", "-q"]);
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (Some(1), "", ""));
    assert_eq!(head(), second);
}

#[test]
fn what_was_put_back_is_reverted_by_whoever_put_it_back() {
    let host = Host::audited(RULES);
    host.login(3_100_005, &format!("nft {DROP:?}"));
    let drift = host.record();
    host.login(3_100_006, "nft delete rule inet filter input handle $(nft -a list chain inet filter input | sed -n 's/.*3306 drop # handle //p')");
    let events = host.record();
    assert_eq!(kinds(&events), ["reverted"]);
    let reverted = &events[0];
    assert_eq!(reverted["author"]["auid"], 3_100_006);
    let change = &reverted["changes"][0];
    assert_eq!(change["id"], drift[0]["changes"][0]["id"]);
    assert_eq!(change["author"]["auid"], 3_100_005, "the change keeps the author who made it");
    assert_eq!(reverted["open"], serde_json::json!([]));
    host.check(0);
}

#[test]
fn a_baseline_commit_that_the_live_state_then_follows_is_applied() {
    let host = Host::audited(RULES);
    let file = format!("baselines/{NAME}/nft/inet-filter.nft");
    let path = host.repo().join(&file);
    let text = std::fs::read_to_string(&path).unwrap();
    let with_web = "tcp dport 22 accept\n\t\ttcp dport 443 accept";
    std::fs::write(&path, text.replace("tcp dport 22 accept", with_web)).unwrap();
    host.git(&["commit", "-qam", "web: open 443"]);
    let wanted = host.record();
    assert_eq!(kinds(&wanted), ["drift"], "the live state does not follow yet");
    let author = &wanted[0]["author"];
    assert_eq!((&author["name"], &author["evidence"]), (&"Ada".into(), &"git".into()));
    host.login(3_100_005, &format!("(echo flush ruleset; cat {}) | nft -f -", path.display()));
    let events = host.record();
    assert_eq!(kinds(&events), ["applied"]);
    assert_eq!(events[0]["author"]["auid"], 3_100_005);
    host.check(0);
    assert!(host.record().is_empty());
}

#[test]
fn a_baseline_commit_that_was_applied_before_the_next_look_is_applied_too() {
    let host = Host::audited(RULES);
    let path = host.repo().join(format!("baselines/{NAME}/nft/inet-filter.nft"));
    let text =
        std::fs::read_to_string(&path).unwrap().replace("tcp dport 3306 accept", "tcp dport 5432 accept");
    std::fs::write(&path, text).unwrap();
    host.git(&["commit", "-qam", "db: move to 5432"]);
    host.login(3_100_005, &format!("(echo flush ruleset; cat {}) | nft -f -", path.display()));
    let events = host.record();
    assert_eq!(kinds(&events), ["applied"], "{events:#?}");
    assert_eq!(events[0]["author"]["auid"], 3_100_005);
    assert!(host.record().is_empty());
}

#[test]
fn a_baseline_commit_that_takes_the_drift_in_is_approved_by_its_author() {
    let host = Host::new(RULES);
    host.nft("add rule inet filter input tcp dport 443 accept");
    let drift = host.record();
    let path = host.repo().join(format!("baselines/{NAME}/nft/inet-filter.nft"));
    let text = std::fs::read_to_string(&path).unwrap();
    let with_web = "tcp dport 3306 accept\n\t\ttcp dport 443 accept";
    std::fs::write(&path, text.replace("tcp dport 3306 accept", with_web)).unwrap();
    host.git(&["commit", "-qam", "web: keep 443"]);
    let events = host.record();
    assert_eq!(kinds(&events), ["approved"], "{events:#?}");
    assert_eq!(events[0]["author"]["name"], "Ada");
    assert_eq!(events[0]["approval"]["commit"], host.git(&["rev-parse", "main"]).trim());
    assert_eq!(ids(events[0]["changes"].as_array().unwrap()), ids(drift[0]["changes"].as_array().unwrap()));
    host.check(0);
}

#[test]
fn what_was_made_and_undone_between_two_looks_is_transient() {
    let host = Host::audited(RULES);
    host.login(3_100_005, "nft add table ip gone; nft delete table ip gone");
    let events = host.record();
    assert_eq!(kinds(&events), ["transient"]);
    assert_eq!(events[0]["author"]["auid"], 3_100_005);
    assert_eq!(events[0]["generations"].as_array().unwrap().len(), 2);
    assert_eq!(events[0]["changes"], serde_json::json!([]));
    reload(&host);
    assert_eq!(kinds(&host.record()), ["transient"], "a reload of the same rules");
    assert!(host.record().is_empty());
    assert_eq!(host.run(&["record", "-q"]).stdout, "");
}

#[test]
fn transactions_by_two_logins_without_effect_are_nobodys() {
    let host = Host::audited(RULES);
    host.login(3_100_005, "nft add table ip gone");
    host.login(3_100_006, "nft delete table ip gone");
    let events = host.record();
    assert_eq!(kinds(&events), ["transient"]);
    assert_eq!(events[0]["author"]["name"], "unknown");
    let candidates = events[0]["author"]["candidates"].as_array().unwrap();
    let logins: Vec<&Value> = candidates.iter().map(|candidate| &candidate["auid"]).collect();
    assert_eq!(logins, [3_100_005, 3_100_006]);
}

#[test]
fn an_element_that_came_and_one_that_expired_between_two_looks_are_both_told() {
    let host = Host::new("table ip t { set s { type ipv4_addr; flags timeout; }; }");
    host.nft("add element ip t s { 10.0.0.1 timeout 1s }");
    assert_eq!(kinds(&host.record()), ["drift"]);
    std::thread::sleep(std::time::Duration::from_millis(1300));
    host.nft("add element ip t s { 10.0.0.2 timeout 1h }");
    let events = host.record();
    assert_eq!(kinds(&events), ["reverted", "drift"], "{events:#?}");
    assert_eq!(events[0]["changes"][0]["after"], "10.0.0.1 timeout 1s");
    assert_eq!(events[1]["changes"][0]["after"], "10.0.0.2 timeout 1h");
}

/// Runs the program where `iptables-legacy-save` fails, in a mount namespace of its own.
fn blind(host: &Host, args: &str) -> std::process::Output {
    let tools = host.path("tools");
    let script = format!(
        "mkdir -p {tools}; real=$(readlink -f /usr/sbin/iptables-legacy)
         test -e {tools}/multi || cp $real {tools}/multi
         for name in iptables-legacy iptables-legacy-restore; do ln -sf multi {tools}/$name; done
         printf '#!/bin/sh\\ncase $0 in *-save) echo no save >&2; exit 1;; esac\\n[ \"$1\" != \"${{0##*/}}\" ] || shift\\nexec {tools}/${{0##*/}} \"$@\"\\n' > {tools}/wrapper
         chmod +x {tools}/wrapper; mount --bind {tools}/wrapper $real
         exec {} --config {} --netns {} {args}",
        env!("CARGO_BIN_EXE_fwdrift"),
        host.path("config.toml").display(),
        host.netns_path(),
        tools = tools.display(),
    );
    std::process::Command::new("/usr/bin/unshare").args(["-m", "/bin/sh", "-ec", &script]).output().unwrap()
}

#[test]
fn a_source_that_cannot_be_read_is_one_gap_and_what_it_holds_is_not_called_removed() {
    let host = Host::bare();
    host.nft(RULES);
    host.sh("iptables-legacy -A INPUT -i lo -j ACCEPT");
    host.run(&["init"]).ended(0);
    for _ in 0..2 {
        let output = blind(&host, "record");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("iptables-legacy") && said.contains("no save"), "{said}");
    }
    let events = host.events();
    assert_eq!(kinds(&events), ["approved", "gap"], "{events:#?}");
    assert_eq!(events[1]["gaps"][0]["source"], "iptables-legacy");
    assert_eq!(events[1]["open"], serde_json::json!([]));
    assert_eq!(blind(&host, "check").status.code(), Some(2));
    assert_eq!(blind(&host, "approve --yes").status.code(), Some(2));
    host.check(0);
    assert!(host.record().is_empty(), "seen again, and the same as before");
    // Drift that was known stays known while it cannot be seen; drift elsewhere is found meanwhile.
    host.sh("iptables-legacy -A INPUT -j DROP");
    assert_eq!(kinds(&host.record()), ["drift"]);
    host.nft(DROP);
    assert_eq!(blind(&host, "record").status.code(), Some(1));
    let events = host.events();
    assert_eq!(kinds(&events)[3..], ["drift", "gap"], "{events:#?}");
    assert_eq!(events[4]["open"].as_array().unwrap().len(), 2);
    assert!(host.record().is_empty());
    assert_eq!(host.changes().len(), 2);
}

#[test]
fn a_host_whose_legacy_rules_cannot_be_read_does_not_look_clean() {
    let host = Host::new(RULES);
    host.sh("iptables-legacy -A INPUT -j DROP");
    assert_eq!(blind(&host, "check").status.code(), Some(2));
}

#[test]
fn a_look_that_fails_altogether_is_one_gap_and_exit_2() {
    let host = Host::new(RULES);
    let weak = |args: &[&str]| {
        let mut command = std::process::Command::new("/usr/bin/setpriv");
        command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]);
        command.arg(env!("CARGO_BIN_EXE_fwdrift")).arg("--config").arg(host.path("config.toml"));
        command.args(["--netns", &host.netns_path()]).args(args).output().unwrap()
    };
    for _ in 0..2 {
        let output = weak(&["record", "-q"]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("CAP_NET_ADMIN"), "{output:?}");
    }
    let events = host.events();
    assert_eq!(kinds(&events), ["approved", "gap"], "{events:#?}");
    assert!(events[1]["gaps"][0]["reason"].as_str().unwrap().contains("nf_tables"), "{events:#?}");
    assert!(host.record().is_empty());
    host.nft(DROP);
    assert_eq!(lines(host.record()[0]["changes"].as_array().unwrap()).len(), 1);
    assert_eq!(weak(&["record"]).status.code(), Some(2));
    assert_eq!(kinds(&host.events()), ["approved", "gap", "drift", "gap"], "blind again is a new gap");
    assert!(host.record().is_empty(), "the drift is still the same");
}
