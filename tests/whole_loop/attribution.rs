//! Who made a change, from the audit history: exactly, or `unknown` with the window and the candidates.

use crate::support::{Host, RULES, kinds, time};
use chrono::Utc;
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const DROP: &str = "nft insert rule inet filter input tcp dport 3306 drop";

fn author(event: &Value) -> &Value {
    &event["author"]
}

#[test]
fn two_changes_by_two_logins_are_two_events() {
    let host = Host::audited(&format!("{RULES}table ip other {{ chain c {{}}; }}"));
    host.login(3_100_005, DROP);
    host.login(3_100_006, "nft add rule ip other c drop");
    let events = host.record();
    assert_eq!(kinds(&events), ["drift", "drift"]);
    let mut logins: Vec<(u64, &str)> = events
        .iter()
        .map(|event| {
            assert_eq!(event["changes"].as_array().unwrap().len(), 1);
            assert_eq!(author(event)["evidence"], "audit-log");
            (author(event)["auid"].as_u64().unwrap(), event["changes"][0]["table"].as_str().unwrap())
        })
        .collect();
    logins.sort_unstable();
    assert_eq!(logins, [(3_100_005, "filter"), (3_100_006, "other")]);
}

#[test]
fn a_table_that_two_logins_changed_is_unknown_with_both_and_the_window() {
    let host = Host::audited(RULES);
    let from = time(&host.events()[0]["window"]["to"]);
    host.login(3_100_005, DROP);
    host.login(3_100_006, "nft add rule inet filter input udp dport 53 accept");
    let events = host.record();
    assert_eq!(kinds(&events), ["drift"]);
    assert_eq!(
        (&author(&events[0])["name"], &author(&events[0])["evidence"]),
        (&"unknown".into(), &"none".into())
    );
    let candidates = author(&events[0])["candidates"].as_array().unwrap();
    let logins: Vec<&Value> = candidates.iter().map(|candidate| &candidate["auid"]).collect();
    assert_eq!(logins, [3_100_005, 3_100_006]);
    let window = &author(&events[0])["window"];
    assert!(time(&window["from"]) >= from && time(&window["to"]) <= Utc::now());
    assert_eq!(events[0]["changes"][0]["time"], Value::Null);
    assert_eq!(events[0]["generations"].as_array().unwrap().len(), 2);
}

#[test]
fn the_login_is_named_behind_another_uid() {
    let host = Host::audited(RULES);
    // As sudo -u does: another uid, the login stays.
    host.login(
        3_100_005,
        &format!("/usr/bin/setpriv --reuid=65534 --inh-caps=+net_admin --ambient-caps=+net_admin {DROP}"),
    );
    let events = host.record();
    let author = author(&events[0]);
    assert_eq!(
        (&author["name"], &author["auid"], &author["uid"]),
        (&"uid 3100005".into(), &3_100_005.into(), &65534.into())
    );
    assert!(author["exe"].as_str().unwrap().ends_with("/nft"), "{author:#}");
    assert_eq!(author["comm"], "nft");
    assert!(author["pid"].is_u64() && author["cmdline"].is_string());
}

#[test]
fn a_service_is_named_by_its_program_where_no_login_is_behind_it() {
    let host = Host::audited(RULES);
    host.sh(DROP);
    let events = host.record();
    let author = author(&events[0]);
    assert_eq!(author["evidence"], "audit-log", "{author:#}");
    // Where the tests themselves run inside a login, that is the author.
    if author["auid"].is_null() {
        assert_eq!(author["name"], "nft (no login)");
    }
}

#[test]
fn a_service_that_goes_on_is_named_by_its_unit() {
    let host = Host::audited(RULES);
    let roots = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let root = roots.into_iter().find(|root| root.join("cgroup.procs").is_file()).unwrap();
    let slice = root.join(format!("fwdriftloop{}.slice", std::process::id()));
    let unit = slice.join("fwdriftloop.service");
    std::fs::create_dir_all(&unit).unwrap();
    let enter = format!("echo $$ > {}/cgroup.procs; exec /usr/sbin/nft -i", unit.display());
    let mut sh = Command::new("/bin/sh");
    sh.args(["-ec", &enter]).stdin(Stdio::piped());
    let mut service = host.inside(|| sh.spawn().unwrap());
    let mut orders = service.stdin.take().unwrap();
    orders.write_all(b"insert rule inet filter input tcp dport 3306 drop\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let events = host.record();
    drop(orders);
    service.wait().unwrap();
    std::fs::remove_dir(&unit).unwrap();
    std::fs::remove_dir(&slice).unwrap();
    let author = author(&events[0]);
    assert_eq!((&author["unit"], &author["evidence"]), (&"fwdriftloop.service".into(), &"audit-log".into()));
    // Where the tests themselves run inside a login, that is the author.
    if author["auid"].is_null() {
        assert_eq!(author["name"], "fwdriftloop.service");
    }
}

#[test]
fn without_audit_the_author_is_unknown_with_the_window_and_no_candidates() {
    let host = Host::new(RULES);
    let from = time(&host.events()[0]["window"]["to"]);
    host.sh(DROP);
    let events = host.record();
    let author = author(&events[0]);
    assert_eq!((&author["name"], &author["evidence"]), (&"unknown".into(), &"none".into()));
    assert_eq!(author["candidates"], serde_json::json!([]));
    assert!(time(&author["window"]["from"]) >= from && time(&author["window"]["to"]) <= Utc::now());
    let git = host.git(&["log", "-1", "--format=%an <%ae>", "live/db-01"]);
    assert_eq!(git.trim(), "unknown <unknown@db-01>");
}

#[test]
fn an_author_stays_the_same_at_later_looks_though_the_log_is_gone() {
    let host = Host::audited(RULES);
    host.login(3_100_005, DROP);
    host.record();
    std::fs::remove_file(host.path("audit.log")).unwrap();
    host.record();
    assert_eq!(host.changes()[0]["author"]["auid"], 3_100_005);
}

#[test]
fn an_element_that_expired_is_nobodys_work() {
    let host = Host::audited("table ip t { chain c {}; set s { type ipv4_addr; flags timeout; }; }");
    host.login(3_100_005, "nft 'add element ip t s { 10.0.0.1 timeout 1s }'");
    let drift = host.record();
    assert_eq!(author(&drift[0])["auid"], 3_100_005);
    std::thread::sleep(std::time::Duration::from_millis(1300));
    host.login(3_100_006, "nft add rule ip t c drop");
    let events = host.record();
    assert_eq!(kinds(&events), ["reverted", "drift"]);
    assert_eq!(author(&events[0])["name"], "unknown");
    assert_eq!(author(&events[1])["auid"], 3_100_006);
}

#[test]
fn a_change_by_iptables_nft_is_named_and_one_that_no_record_shows_is_not() {
    let host = Host::audited("");
    host.login(3_100_005, "iptables-nft -A INPUT -p tcp --dport 3306 -j DROP");
    host.login(3_100_006, "iptables-legacy -A INPUT -p tcp --dport 22 -j DROP");
    let events = host.record();
    let of = |source: &str| {
        let event = events.iter().find(|event| event["changes"][0]["source"] == source).unwrap();
        author(event).clone()
    };
    assert_eq!(of("iptables-nft")["auid"], 3_100_005);
    // x_tables has no generations, and the collector follows those: nobody is named rather than somebody.
    let legacy = of("iptables-legacy");
    assert_eq!((&legacy["name"], &legacy["evidence"]), (&"unknown".into(), &"none".into()));
}

#[test]
fn looking_itself_leaves_no_trace_among_the_authors() {
    // Scratch namespaces make generations of their own while a host's are as small as theirs.
    let host = Host::audited(RULES);
    for _ in 0..3 {
        host.run(&["check"]).ended(0);
    }
    host.login(3_100_005, DROP);
    for _ in 0..3 {
        host.run(&["check"]).ended(1);
    }
    let events = host.record();
    assert_eq!(author(&events[0])["auid"], 3_100_005, "{:#}", events[0]);
}

#[test]
fn a_second_login_beside_the_first_ones_drift_gets_its_own_change_alone() {
    // Each first drift could be told in another way once there is more of it.
    let chain = |rules: &str| format!("flush chain ip t c; table ip t {{ chain c {{ {rules} }}; }}");
    for (claim, approved, first, second, new) in [
        (
            "a replaced rule",
            "tcp dport 1 accept;",
            "udp sport 9 drop;",
            "udp sport 9 drop; icmp type 8 accept;",
            "icmp",
        ),
        (
            "a removed and an added rule",
            "tcp dport 1 accept; tcp dport 2 accept;",
            "tcp dport 3 accept; udp dport 7 drop; ip saddr 10.0.0.1 drop;",
            "tcp dport 3 accept; udp dport 7 drop; tcp dport 1 drop; ip saddr 10.0.0.1 drop;",
            "tcp dport 1 drop",
        ),
        (
            "two swapped rules",
            "tcp dport 1 accept; tcp dport 2 accept;",
            "tcp dport 2 accept; tcp dport 1 accept;",
            "tcp dport 2 accept; udp dport 9 drop; tcp dport 1 accept;",
            "udp dport 9",
        ),
    ] {
        let host = Host::audited(&format!("table ip t {{ chain c {{ {approved} }}; }}"));
        for (login, rules) in [(3_100_005, first), (3_100_006, second)] {
            let file = host.file("made.nft", &chain(rules));
            host.login(login, &format!("nft -f {file}"));
            let events = host.record();
            assert_eq!(kinds(&events), ["drift"], "{claim}: {events:#?}");
            assert_eq!(author(&events[0])["auid"], login, "{claim}");
        }
        let events = host.events();
        let added = events.last().unwrap()["changes"].as_array().unwrap();
        assert_eq!(added.len(), 1, "{claim}: {added:#?}");
        assert!(added[0]["after"].as_str().unwrap().contains(new), "{claim}: {added:#?}");
    }
}
