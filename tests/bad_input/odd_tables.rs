//! Tables, chains and sets that are unusual and allowed.

use crate::raw::{Raw, accept, jump};
use crate::support::Host;
use serde_json::Value;

fn changes(host: &Host) -> Vec<Value> {
    let run = host.fwdrift(&["--format", "json", "check"]);
    let check: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}", run.stderr));
    check["changes"].as_array().unwrap().clone()
}

#[test]
fn names_that_nft_cannot_say_are_approved_checked_and_watched() {
    let long = vec![b'n'; 255];
    let names: [&[u8]; 7] = [b"accept", b"a b", &long, b"\xff\xfe", b"../../etc/x", b"1", b"{"];
    for name in names {
        let host = Host::new();
        let raw = Raw::new().table(name, b"").set(name, name, b"", b"").chain(name, name, b"");
        let raw = raw.chain(name, b"other", b"").rule(name, b"other", &[jump(name)], b"");
        raw.rule(name, name, &[accept()], b"").send(&host);
        host.fwdrift(&["init"]).succeeded(0);
        host.fwdrift(&["check"]).succeeded(0);
        host.fwdrift(&["record"]).succeeded(0);
        Raw::new().rule(name, name, &[accept()], b"added").send(&host);
        let found = changes(&host);
        assert_eq!(found.len(), 1, "{name:?} {found:#?}");
        assert_eq!((&found[0]["kind"], &found[0]["object"]), (&"added".into(), &"rule".into()), "{found:#?}");
        host.fwdrift(&["record"]).succeeded(1);
        assert_eq!(host.fwdrift(&["approve", "-y", "-m", "why"]).code, Some(0));
        host.fwdrift(&["check"]).succeeded(0);
        host.state();
    }
}

#[test]
fn a_table_that_a_process_owns_is_approved_and_missed_when_it_ends() {
    let host = Host::new();
    let owner = Raw::new().owned_table(b"owned").chain(b"owned", b"c", b"").send(&host);
    host.fwdrift(&["init"]).succeeded(0);
    host.fwdrift(&["check"]).succeeded(0);
    drop(owner);
    let found = changes(&host);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["kind"], &found[0]["table"]), (&"removed".into(), &"owned".into()));
    host.fwdrift(&["record"]).succeeded(1);
}

#[test]
fn waking_a_dormant_table_is_a_change() {
    let host = Host::new();
    host.nft("add table inet d { flags dormant; }\nadd chain inet d c { type filter hook input priority 5; policy drop; }");
    host.fwdrift(&["init"]).succeeded(0);
    host.fwdrift(&["check"]).succeeded(0);
    host.nft("add table inet d");
    let found = changes(&host);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["kind"], &found[0]["object"]), (&"modified".into(), &"table".into()));
}

#[test]
fn a_rule_on_an_interface_that_went_away_is_looked_at_not_forgotten() {
    let host = Host::new();
    host.sh("ip link add v0 type veth peer name v1; nft add rule inet t c iif v0 tcp dport 23 drop");
    host.fwdrift(&["init"]).succeeded(0);
    host.fwdrift(&["check"]).succeeded(0);
    host.sh("ip link del v0");
    // The rule names an index that no interface has: the same bytes, with another meaning.
    let gone = host.fwdrift(&["check"]);
    assert!(matches!(gone.code, Some(0 | 1)), "{}{}", gone.stdout, gone.stderr);
    host.nft("add rule inet t c tcp dport 24 drop");
    let found = changes(&host);
    assert!(found.iter().any(|c| c["after"] == "tcp dport 24 drop"), "{found:#?}");
    assert!(host.fwdrift(&["record"]).code == Some(1));
    // And a first baseline of such a state.
    let other = host.path("other");
    host.fwdrift(&["--repo", &other, "init"]).succeeded(0);
    host.fwdrift(&["--repo", &other, "check"]).succeeded(0);
}

#[test]
fn a_host_without_rules_is_approved_and_its_first_table_is_a_change() {
    let host = Host::empty();
    host.fwdrift(&["init"]).succeeded(0);
    host.fwdrift(&["check"]).succeeded(0);
    host.nft("table ip new { chain c { accept; }; }");
    let found = changes(&host);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!((&found[0]["kind"], &found[0]["object"]), (&"added".into(), &"table".into()));
    host.fwdrift(&["record"]).succeeded(1);
    host.nft("delete table ip new");
    host.fwdrift(&["record"]).succeeded(0);
}
