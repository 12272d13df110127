use super::*;
use crate::policy::parse;

fn change(object: &str, kind: &str, before: Option<&str>, after: Option<&str>) -> Change {
    serde_json::from_value(serde_json::json!({
        "id": "a1b2c3d4e5f6", "kind": kind, "source": "nft", "family": "inet", "table": "filter", "chain": "input",
        "object": object, "name": null, "before": before, "after": after, "position": null,
        "author": { "name": "ops1", "evidence": "none" }, "time": null,
    }))
    .unwrap()
}

fn rule() -> Change {
    change("rule", "added", None, Some("accept"))
}

/// New tcp connections from a private network to port 8080 of this host.
fn effect(kind: EffectKind) -> Effect {
    serde_json::from_value(serde_json::json!({
        "effect": kind, "statement": "", "hook": "input", "family": "ip", "proto": "tcp", "src": "10.0.1.0/24",
        "dst": "10.0.2.9", "dport": "8080", "state": "new", "sample": {}, "conditions": [], "share": 0.1,
    }))
    .unwrap()
}

/// Each situation with a level of its own.
fn policy() -> Severities {
    Severities {
        opened_to_world: Severity::Critical,
        management_port: Severity::High,
        opened: Severity::Low,
        cut: Severity::Medium,
        no_effect: Severity::Info,
        ..Severities::default()
    }
}

#[track_caller]
fn check(effects: &[Effect], expect: Severity) {
    assert_eq!(severity(&rule(), effects, &policy(), &[]), expect);
}

#[test]
fn the_highest_of_all_situations_counts() {
    let (opened, cut) = (effect(EffectKind::Opened), effect(EffectKind::Cut));
    check(&[], Severity::Info);
    check(std::slice::from_ref(&opened), Severity::Low);
    check(&[opened, cut], Severity::Medium);
}

#[test]
fn the_world_is_any_source_or_as_many_public_addresses_as_a_slash_8() {
    let of = |family: &str, src: Option<&str>| Effect {
        family: family.to_owned(),
        src: src.map(str::to_owned),
        ..effect(EffectKind::Opened)
    };
    let world = |src| check(&[of("ip", src)], Severity::Critical);
    world(None);
    world(Some("0.0.0.0/0"));
    world(Some("8.0.0.0/8"));
    world(Some("0.0.0.0-1.2.3.3, 1.2.3.5-255.255.255.255"));
    world(Some("8.0.0.0/9, 4.0.0.0/9"));
    world(Some("what nobody can read"));
    let some = |src| check(&[of("ip", Some(src))], Severity::Low);
    some("10.0.0.0/8, 192.168.0.0/16, 127.0.0.0/8");
    some("8.0.0.0/9");
    some("203.0.113.0/24, 198.51.100.7");
    some("224.0.0.0/3");
    check(&[of("ip6", Some("2000::/3"))], Severity::Critical);
    check(&[of("ip6", Some("::/0"))], Severity::Critical);
    check(&[of("ip6", Some("2001:db8::/32, fe80::/10, fc00::/7"))], Severity::Low);
    check(&[of("arp", None)], Severity::Low);
    // As the engine writes both families together, what is left out, and lists that it cuts.
    check(&[of("inet", None)], Severity::Critical);
    world(Some("not 10.0.0.0/8, 192.0.2.1"));
    check(&[of("ip", Some("not 0.0.0.0/1, 128.0.0.0-255.255.255.0"))], Severity::Low);
    check(&[of("ip6", Some("not 2001:db8::/32"))], Severity::Critical);
    check(&[of("ip6", Some("not 2000::/3"))], Severity::Low);
    some("192.0.2.1, 192.0.2.3, … 14 more");
}

#[test]
fn only_new_connections_from_elsewhere_are_the_worlds() {
    let any = || Effect { src: None, ..effect(EffectKind::Opened) };
    check(&[Effect { state: Some("established, related".into()), ..any() }], Severity::Low);
    check(&[Effect { state: Some("established, new".into()), ..any() }], Severity::Critical);
    check(&[Effect { state: Some("untracked".into()), ..any() }], Severity::Critical);
    check(&[Effect { state: None, ..any() }], Severity::Critical);
    check(&[Effect { hook: "output".into(), ..any() }], Severity::Low);
    check(&[Effect { iif: Some("lo".into()), ..any() }], Severity::Low);
    check(&[Effect { hook: "forward".into(), iif: Some("eth0".into()), ..any() }], Severity::Critical);
    check(&[Effect { src: None, ..effect(EffectKind::Cut) }], Severity::Medium);
}

#[test]
fn a_management_port_is_one_of_the_opened_ports() {
    let of = |proto: Option<&str>, dport: Option<&str>| Effect {
        proto: proto.map(str::to_owned),
        dport: dport.map(str::to_owned),
        ..effect(EffectKind::Opened)
    };
    let check = |proto, dport, expect| check(&[of(proto, dport)], expect);
    check(Some("tcp"), Some("22"), Severity::High);
    check(Some("tcp"), Some("80, 20-30"), Severity::High);
    check(Some("tcp, udp"), Some("3389"), Severity::High);
    check(Some("tcp"), None, Severity::High);
    check(None, None, Severity::High);
    check(Some("tcp"), Some("80, 443, 8000-8099"), Severity::Low);
    check(Some("icmp"), None, Severity::Low);
    check(Some("not tcp, udp"), None, Severity::High);
    check(Some("not tcp, udp, dccp, sctp, udplite"), None, Severity::Low);
    check(Some("icmp, esp, … 3 more"), None, Severity::Low);
    check(Some("tcp"), Some("not 80"), Severity::High);
    check(Some("tcp"), Some("not 1-30000"), Severity::Low);
    check(Some("tcp"), Some("8080, … 3 more"), Severity::Low);
    super::tests::check(&[Effect { dport: Some("22".into()), ..effect(EffectKind::Cut) }], Severity::Medium);
    let none = Severities { management_ports: vec![], ..policy() };
    assert_eq!(severity(&rule(), &[of(None, None)], &none, &[]), Severity::Low);
}

#[test]
fn a_flow_is_broken_by_what_goes_against_it_and_has_a_severity_of_its_own() {
    let text = "[[flow]]\nname = \"yes\"\nfrom = \"10.0.1.0/24\"\nto = \"self\"\n\
        [[flow]]\nname = \"no\"\nexpect = \"deny\"\nfrom = \"10.0.2.0/24\"\nto = \"self\"\n\
        [[flow]]\nname = \"mild\"\nfrom = \"10.0.3.0/24\"\nto = \"self\"\nseverity = \"info\"\n";
    let flows = parse(text.as_bytes()).unwrap().flows;
    let check = |kind, name: &str, expect| {
        let effect = Effect { flow: Some(name.to_owned()), ..effect(kind) };
        assert_eq!(severity(&rule(), &[effect], &policy(), &flows), expect, "{name}");
    };
    check(EffectKind::Cut, "yes", Severity::Critical);
    check(EffectKind::Opened, "yes", Severity::Low);
    check(EffectKind::Opened, "no", Severity::Critical);
    check(EffectKind::Cut, "no", Severity::Medium);
    check(EffectKind::Cut, "mild", Severity::Medium);
    check(EffectKind::Cut, "of another policy", Severity::Critical);
}

#[test]
fn a_policy_that_flips_is_seen_in_each_tools_words() {
    let flips =
        |before: &str, after: &str| is_policy_flip(&change("chain", "modified", Some(before), Some(after)));
    let nft = |policy: &str| format!("type filter hook input priority filter; policy {policy};");
    assert!(flips(&nft("drop"), &nft("accept")));
    assert!(flips(&nft("accept"), &format!("comment \"x\"\n{}", nft("drop"))));
    assert!(flips(":INPUT DROP [0:0]", ":INPUT ACCEPT [0:0]"));
    assert!(flips(":INPUT ACCEPT", ":INPUT DROP"));
    assert!(!flips(&nft("drop"), &format!("comment \"policy accept\"\n{}", nft("drop"))));
    assert!(!flips(&nft("drop"), &nft("drop").replace("filter;", "10;")));
    // A line break in a comment does not hide the real policy, which stands behind it.
    let hidden = format!("comment \"x\n{}\"\n{}", nft("drop"), nft("accept"));
    assert!(flips(&nft("drop"), &hidden));
    assert!(!is_policy_flip(&change("rule", "modified", Some(&nft("drop")), Some(&nft("accept")))));
    let flip = change("chain", "modified", Some(&nft("drop")), Some(&nft("accept")));
    assert_eq!(severity(&flip, &[], &policy(), &[]), Severity::Critical);
}

#[test]
fn a_table_or_chain_that_goes_with_its_rules_is_a_flush() {
    let flush = |object: &str, text: &str| is_flush(&change(object, "removed", Some(text), None));
    let head = "type filter hook input priority filter; policy drop;";
    assert!(flush("chain", &format!("chain input {{\n\t{head}\n\ttcp dport 22 accept\n}}")));
    assert!(!flush("chain", &format!("chain input {{\n\tcomment \"x\"\n\t{head}\n}}")));
    assert!(flush("table", &format!("table inet t {{\n\tchain input {{\n\t\t{head}\n\t\taccept\n\t}}\n}}")));
    let set = "\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1,\n\t\t\t     10.0.0.2 }\n\t}\n";
    assert!(!flush("table", &format!("table inet t {{\n\tflags dormant\n{set}\n\tchain c {{\n\t}}\n}}")));
    assert!(flush("table", &format!("table inet t {{\n{set}\n\tchain c {{\n\t\tdrop\n\t}}\n}}")));
    assert!(flush("table", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT"));
    assert!(!flush("chain", ":own -"));
    assert!(!is_flush(&change("chain", "added", None, Some("chain c {\n\taccept\n}"))));
    assert!(!is_flush(&change("set", "removed", Some("set s {\n}"), None)));
    let gone = change("chain", "removed", Some("chain c {\n\taccept\n}"), None);
    assert_eq!(severity(&gone, &[], &policy(), &[]), Severity::Critical);
}

#[test]
fn what_is_not_known_whole_matters_at_least_as_unknown() {
    let mut change = rule();
    change.impact_incomplete = Some("inconclusive: x".into());
    assert_eq!(severity(&change, &[], &policy(), &[]), Severity::Medium);
    let world = Effect { src: None, ..effect(EffectKind::Opened) };
    assert_eq!(severity(&change, &[world], &policy(), &[]), Severity::Critical);
}
