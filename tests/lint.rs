//! What `lint` says of rulesets that the real kernel loaded: each code, and what must not be found.

use fwdrift::collect;
use fwdrift::model::{Expect, Item, LintCode, Ruleset};
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use fwdrift::traffic::effects::Budget;
use fwdrift::traffic::flows::Wanted;
use fwdrift::traffic::lint::{Known, Report, lint};
use fwdrift::traffic::packets::{Ends, Interfaces};
use fwdrift::traffic::walk::Path;
use std::collections::BTreeSet;

fn load(script: &str) -> Ruleset {
    let netns = Netns::create().unwrap();
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
    netns.run(run).unwrap().unwrap();
    normalise(&collect::capture(&netns, None).unwrap().0).unwrap()
}

fn load_iptables(script: &str) -> Ruleset {
    let netns = Netns::create().unwrap();
    let run = || Tool::find("sh").unwrap().args(["-ec", script]).run();
    netns.run(run).unwrap().unwrap();
    normalise(&collect::capture(&netns, None).unwrap().0).unwrap()
}

fn place(item: &Item) -> String {
    match item {
        Item::Rule(_, chain, place) => format!("{chain} {}", place + 1),
        Item::ChainHead(_, name)
        | Item::SetHead(_, name)
        | Item::Object(_, _, name)
        | Item::Flowtable(_, name) => name.to_string(),
        Item::Table(_) | Item::TableHead(_) | Item::Chain(..) | Item::Set(..) | Item::Element(..) => {
            panic!("{item:?}")
        }
    }
}

fn told(report: &Report) -> Vec<String> {
    assert_eq!(report.unjudged, Vec::<String>::new());
    let line = |found: &fwdrift::traffic::lint::Found| {
        let packets = found.packets.join("; ");
        let packets = if packets.is_empty() { packets } else { format!(" [{packets}]") };
        format!("{} {}: {}{packets}", found.code, place(&found.item), found.message)
    };
    report.findings.iter().map(line).collect()
}

#[track_caller]
fn check(script: &str, expected: &[&str]) {
    assert_eq!(told(&lint(&load(script), Known::default(), Budget::default())), expected, "{script}");
}

/// An inet table with an input chain that drops, and more.
fn input_and(rules: &str, more: &str) -> String {
    let rules = rules.replace("; ", "\n");
    format!(
        "table inet filter {{\n {more}\n chain input {{\n type filter hook input priority 0; policy drop;\n{rules}\n }}\n }}"
    )
}

fn input(rules: &str) -> String {
    input_and(rules, "")
}

const ORDINARY: &str = "ct state established,related accept; ct state invalid drop; iifname lo accept; \
    ip saddr { 192.0.2.0/24, 198.51.100.7 } drop; meta l4proto { icmp, ipv6-icmp } accept; \
    tcp dport { 22, 80, 443 } ct state new accept; udp dport 53 limit rate 10/second accept; \
    ip6 saddr fe80::/10 udp dport 546 accept; limit rate 5/minute log prefix \"dropped \"; counter";

#[test]
fn an_ordinary_ruleset_has_no_findings() {
    check(&input(ORDINARY), &[]);
}

#[test]
fn fw001_a_rule_that_contradicts_itself_never_matches() {
    check(
        &input(
            "tcp dport 22 tcp dport 23 accept; meta nfproto ipv4 meta nfproto ipv6 drop; \
             meta l4proto { tcp, udp } ct state new ct state established accept",
        ),
        &[
            "FW001 input 1: no packet fulfils all its conditions",
            "FW001 input 2: no packet fulfils all its conditions",
            "FW001 input 3: no packet fulfils all its conditions",
        ],
    );
    check(
        &input("oifname eth0 tcp dport 22 accept"),
        &[
            "FW001 input 1: no packet fulfils all its conditions: at its hook, one of the interfaces is not known",
        ],
    );
    check(
        &input("ct state new ct direction reply accept"),
        &["FW001 input 1: no packet fulfils all its conditions"],
    );
    // One family is enough.
    check(&input("ip saddr 10.0.0.1 accept; ip6 saddr ::2 accept; tcp dport 1-65535 accept"), &[]);
}

#[test]
fn fw001_a_mark_that_was_changed_is_no_longer_met() {
    let rules = "meta mark set 1; meta mark 2 accept; meta mark 1 tcp dport 22 accept";
    check(
        &input(rules),
        &[
            "FW001 input 2: no packet fulfils its conditions any more: earlier rules change what it asks about",
        ],
    );
}

#[test]
fn fw002_a_rule_behind_others_that_decide_otherwise_is_shadowed() {
    check(
        &input("tcp dport 22 accept; udp dport 53 accept; ip saddr 10.0.0.0/8 tcp dport 22 drop"),
        &["FW002 input 3: rule 1 decides about all its packets before it"],
    );
    check(
        &input(
            "tcp dport 1-1000 drop; tcp dport 1001-65535 drop; tcp dport 0 drop; tcp dport 22 counter accept",
        ),
        &[
            "FW004 input 1: without it, the end of the chain does the same with all its packets",
            "FW004 input 2: without it, the end of the chain does the same with all its packets",
            "FW004 input 3: without it, the end of the chain does the same with all its packets",
            "FW002 input 4: rule 1 decides about all its packets before it",
        ],
    );
    check(
        &input("ip saddr 10.0.0.0/9 reject; ip saddr 10.128.0.0/9 reject; ip saddr 10.0.0.0/8 accept"),
        &["FW002 input 3: rules 1 and 2 decide about all its packets before it"],
    );
}

#[test]
fn a_rule_that_lives_for_one_family_or_on_one_way_is_not_dead() {
    check(
        &input("ip saddr 0.0.0.0/0 tcp dport 22 accept; tcp dport 22 drop; udp dport 1 accept"),
        &["FW004 input 2: without it, the end of the chain does the same with all its packets"],
    );
    let two = "table inet t {
        chain shared { tcp dport 22 accept; udp dport 53 accept; }
        chain input { type filter hook input priority 0; policy drop; meta l4proto tcp jump shared; }
        chain forward { type filter hook forward priority 0; policy drop; meta l4proto udp jump shared; }
    }";
    check(two, &[]);
}

#[test]
fn a_condition_that_only_the_time_knows_is_judged_exactly_in_it() {
    check(&input("tcp dport 22 limit rate 3/minute accept; tcp dport 22 reject; udp dport 5 accept"), &[]);
    check(
        &input("tcp dport 22 accept; tcp dport 22 limit rate 3/minute drop; udp dport 5 accept"),
        &["FW002 input 2: rule 1 decides about all its packets before it"],
    );
}

#[test]
fn fw003_a_rule_that_says_what_was_said_is_repeated() {
    check(
        &input("tcp dport { 22, 80 } accept; tcp dport 22 accept"),
        &["FW003 input 2: rule 1 does the same with all its packets"],
    );
    // What logs is not just a repetition.
    check(
        &input("tcp dport { 22, 80 } accept; tcp dport 22 log accept"),
        &["FW002 input 2: rule 1 decides about all its packets before it"],
    );
}

#[test]
fn fw004_a_rule_whose_packets_fare_alike_without_it_is_redundant() {
    check(
        &input("tcp dport 22 accept; tcp dport { 22, 80 } accept; udp dport 53 drop"),
        &[
            "FW004 input 1: without it, rule 2 does the same with all its packets",
            "FW004 input 3: without it, the end of the chain does the same with all its packets",
        ],
    );
    check(
        &input(
            "tcp dport 22 counter accept; tcp dport 22-23 accept; tcp dport 80 log drop; tcp dport 25 reject",
        ),
        &["FW004 input 1: without it, rule 2 does the same with all its packets"],
    );
}

#[test]
fn a_rule_that_spares_its_packets_what_comes_later_is_not_redundant() {
    // A log, a mark, a counter, a jump that stops some.
    for later in [
        "log prefix \"x\"",
        "meta mark set 7",
        "counter",
        "ip saddr 10.0.0.1 tcp dport 1-65535 counter continue",
    ] {
        check(&input(&format!("tcp dport 22 accept; {later}; tcp dport {{ 22, 80 }} accept")), &[][..]);
    }
    let script = input_and(
        "tcp dport 22 accept; jump more; tcp dport { 22, 80 } accept",
        "chain more { meta mark 7 drop; }",
    );
    check(&script, &[]);
    let harmless = input_and(
        "tcp dport 22 accept; jump more; tcp dport { 22, 80 } accept",
        "chain more { udp dport 53 accept; }",
    );
    check(&harmless, &["FW004 input 1: without it, rule 3 does the same with all its packets"]);
}

#[test]
fn a_rule_of_a_chain_is_needed_if_one_of_its_callers_needs_it() {
    let script = "table inet t {
        chain web { tcp dport 80 accept; }
        chain input { type filter hook input priority 0; policy accept; jump web; }
        chain forward { type filter hook forward priority 0; policy drop; jump web; }
    }";
    check(script, &[]);
    check(
        &script.replace("policy drop", "policy accept"),
        &["FW004 web 1: without it, the end of the chain does the same with all its packets"],
    );
}

#[test]
fn fw005_a_rule_whose_packets_never_get_to_its_chain_is_not_reached() {
    let script = input_and(
        "tcp dport { 80, 443 } jump web",
        "chain web { tcp dport 80 accept; tcp dport 8080 accept; }",
    );
    check(&script, &["FW005 web 2: none of its packets gets to chain web"]);
    let two = "table inet early { chain c { type filter hook input priority -10; tcp dport 23 drop; }
 }
        table inet late { chain c { type filter hook input priority 10; policy drop; tcp dport 23 accept; udp dport 9 accept; }
 }";
    check(two, &["FW005 c 1: none of its packets gets to chain c"]);
}

#[test]
fn fw006_a_stop_of_which_a_part_is_accepted_before_is_told() {
    check(
        &input("tcp dport 22 accept; ip saddr 203.0.113.0/24 reject; udp dport 53 accept"),
        &["FW006 input 2: rule 1 accepts a part of what this rule is to stop [tcp 203.0.113.0/24 → any:22]"],
    );
}

#[test]
fn the_usual_orders_of_accepts_and_stops_are_not_told() {
    for rules in [
        "ip saddr 203.0.113.0/24 reject; tcp dport 22 accept",
        "ct state established,related accept; iifname lo accept; ip saddr 203.0.113.0/24 reject; tcp dport 22 accept",
        "ip saddr 203.0.113.5 tcp dport 22 accept; ip saddr 203.0.113.0/24 reject; tcp dport 22 accept",
        "tcp dport 22 accept; reject",
    ] {
        check(&input(rules), &[]);
    }
}

#[test]
fn fw007_a_chain_that_no_packet_enters_is_unused() {
    let script = input_and(
        "tcp dport vmap { 22 : jump ssh, 80 : goto web }; udp dport 1 accept",
        "chain ssh { accept; }\n chain web { ip saddr 10.0.0.1 accept; }\n chain lost { jump deeper; }\n \
         chain deeper { accept; }\n chain bare { }",
    );
    check(
        &script,
        &[
            "FW007 bare: no rule and no map leads to it; it has no rules",
            "FW007 deeper: only chains that no packet enters lead to it, as lost; its one rule does nothing",
            "FW007 lost: no rule and no map leads to it; its one rule does nothing",
        ],
    );
}

#[test]
fn fw008_what_nobody_uses_is_unused_and_what_a_map_or_rule_uses_is_not() {
    let script = "table inet t {
        set asked { type ipv4_addr; elements = { 10.0.0.1 }; }
        set alone { type ipv4_addr; elements = { 10.0.0.2, 10.0.0.3 }; }
        set written { type ipv4_addr; size 100; flags dynamic,timeout; timeout 1m; }
        map verdicts { type inet_service : verdict; elements = { 22 : accept }; }
        map counted { type inet_service : counter; elements = { 22 : \"ssh\" }; }
        counter ssh { }
        counter direct { }
        counter nobody { }
        quota nightly { 10 mbytes }
        chain input {
            type filter hook input priority 0; policy drop;
            ip saddr @asked accept
            counter name tcp dport map @counted
            tcp dport 23 counter name direct accept
            tcp dport 24 update @written { ip saddr }
            tcp dport vmap @verdicts
        }
    }";
    check(
        script,
        &[
            "FW008 alone: no rule asks it; its 2 elements mean nothing",
            "FW008 nobody: no rule and no map uses it",
            "FW008 nightly: no rule and no map uses it",
        ],
    );
}

#[test]
fn fw009_a_way_into_a_chain_without_rules_is_told() {
    let script = input_and(
        "tcp dport 22 jump later; udp dport vmap { 53 : jump later, 54 : accept }; tcp dport 80 accept",
        "chain later { }",
    );
    check(
        &script,
        &[
            "FW009 input 1: it leads to later, which has no rules",
            "FW009 input 2: it leads to later, which has no rules",
        ],
    );
}

fn flow(to: [u8; 4], port: u128) -> Wanted {
    let address = u128::from(u32::from_be_bytes(to));
    Wanted {
        from: Ends { any: true, ..Ends::default() },
        to: Ends { v4: vec![(address, address)], ..Ends::default() },
        protocols: vec![6],
        ports: vec![(port, port)],
        iif: Interfaces::OneOf(Vec::new()),
        oif: Interfaces::OneOf(Vec::new()),
        path: Path::Input,
        expect: Expect::Allow,
        within_limits: false,
    }
}

#[test]
fn fw010_an_accept_beyond_the_required_flows_is_told_with_what_is_beyond() {
    let ruleset = load(
        "table ip t { chain input { type filter hook input priority 0; policy drop;
            ct state established,related accept
            iifname lo accept
            ip daddr 192.0.2.1 tcp dport 22 accept
            ip daddr 192.0.2.1 tcp dport { 80, 443 } accept
        }
 }",
    );
    let flows = [flow([192, 0, 2, 1], 22), flow([192, 0, 2, 1], 443)];
    let known = Known { flows: Some(&flows), interfaces: None };
    assert_eq!(
        told(&lint(&ruleset, known, Budget::default())),
        ["FW010 input 4: it accepts new connections that no required flow needs [tcp any → 192.0.2.1:80]"],
    );
    assert_eq!(told(&lint(&ruleset, Known::default(), Budget::default())), Vec::<String>::new());
}

#[test]
fn fw011_an_interface_that_does_not_exist_is_told_where_it_is_known_which_do() {
    let ruleset = load(&input(
        "iifname { lo, eth7 } tcp dport 22 accept; iifname \"veth*\" accept; iifname lo udp dport 1 accept",
    ));
    let existing: BTreeSet<Vec<u8>> = [b"lo".to_vec()].into();
    let known = Known { flows: None, interfaces: Some(&existing) };
    assert_eq!(
        told(&lint(&ruleset, known, Budget::default())),
        ["FW011 input 1: it names eth7, which does not exist here"],
    );
    assert_eq!(told(&lint(&ruleset, Known::default(), Budget::default())), Vec::<String>::new());
}

#[test]
fn fw012_an_accept_of_an_empty_set_is_told_and_a_block_list_that_is_empty_is_not() {
    let script = input_and(
        "ip saddr @friends tcp dport 22 accept; ip saddr @foes drop; ip saddr @guests accept; tcp dport 80 accept",
        "set friends { type ipv4_addr; }\n set foes { type ipv4_addr; }\n \
         set guests { type ipv4_addr; flags timeout; timeout 1h; }",
    );
    check(&script, &["FW012 input 1: it accepts what is in friends, and that is empty"]);
}

#[test]
fn rules_of_iptables_are_judged_like_others() {
    let ruleset = load_iptables(
        "iptables-nft -P INPUT DROP; iptables-nft -N web; iptables-nft -N lost
         iptables-nft -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
         iptables-nft -A INPUT -p tcp -m multiport --dports 80,443 -j web
         iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT
         iptables-nft -A INPUT -s 10.0.0.0/8 -p tcp --dport 22 -j REJECT
         iptables-nft -A web -p tcp --dport 443 -j ACCEPT
         iptables-nft -A web -p tcp --dport 8443 -j ACCEPT",
    );
    assert_eq!(
        told(&lint(&ruleset, Known::default(), Budget::default())),
        [
            "FW007 lost: no rule and no map leads to it; it has no rules",
            "FW002 INPUT 4: rule 3 decides about all its packets before it",
            "FW005 web 2: none of its packets gets to chain web",
        ],
    );
}

#[test]
fn ten_thousand_rules_are_judged_in_about_a_second() {
    let mut rules = String::new();
    for number in 0..10_000u32 {
        let (a, b, port) = (number.wrapping_mul(2_654_435_761) >> 24, number >> 8 & 255, number % 997 + 1);
        let verdict = if number % 5 == 0 { "drop" } else { "accept" };
        rules.push_str(&format!("ip saddr 10.{a}.{b}.{} tcp dport {port} {verdict}\n", number & 255));
    }
    // One in ten is there twice.
    for number in (0..10_000u32).step_by(10) {
        let (a, b, port) = (number.wrapping_mul(2_654_435_761) >> 24, number >> 8 & 255, number % 997 + 1);
        rules.push_str(&format!("ip saddr 10.{a}.{b}.{} tcp dport {port} accept\n", number & 255));
    }
    let ruleset = load(&input(&rules));
    let begun = std::time::Instant::now();
    let report = lint(&ruleset, Known::default(), Budget::default());
    let took = begun.elapsed();
    let of = |code| report.findings.iter().filter(|found| found.code == code).count();
    assert_eq!(report.unjudged, Vec::<String>::new());
    assert_eq!(of(LintCode::Shadowed), 1_000);
    // Without optimisation it is some twenty times slower.
    assert!(took.as_secs() < if cfg!(debug_assertions) { 60 } else { 10 }, "{took:?}");
    eprintln!("{} findings in {took:?}", report.findings.len());
}

#[test]
fn two_thousand_chains_behind_two_thousand_jumps_are_judged() {
    let address = |number: u32| format!("{}.{}", number >> 8, number & 255);
    let chains: String = (0..2_000)
        .map(|number| {
            let (at, port) = (address(number), number % 1_000 + 1);
            format!("chain c{number} {{ ip saddr 10.7.{at} accept; tcp dport {port} meta mark set 5; }}\n")
        })
        .collect();
    let jumps: String = (0..2_000)
        .map(|number| format!("ip daddr 172.16.{} counter jump c{number}\n", address(number)))
        .collect();
    let rules = format!("udp dport 53 accept\n{jumps}tcp dport 22 meta mark 5 accept\nudp dport 53 accept");
    check(&input_and(&rules, &chains), &["FW003 input 2003: rule 1 does the same with all its packets"]);
}

#[test]
fn what_the_budget_does_not_do_for_is_said_and_never_found() {
    let ruleset =
        load(&input("tcp dport 22 accept; tcp dport 22 drop; tcp dport { 22, 24 } tcp dport 23 accept"));
    for nodes in [1, 20, 60] {
        let report = lint(&ruleset, Known::default(), Budget { nodes, ..Budget::default() });
        assert!(!report.unjudged.is_empty(), "{nodes}");
        let whole = lint(&ruleset, Known::default(), Budget::default());
        assert!(report.findings.iter().all(|found| whole.findings.contains(found)), "{nodes}: {report:#?}");
    }
}

#[test]
fn a_chain_that_belongs_to_a_rule_is_judged_too() {
    let script = input(
        "tcp dport { 22, 80 } jump { ip saddr 10.0.0.1 accept; tcp dport 23 accept; }; udp dport 5 accept",
    );
    let report = lint(
        &load(&script.replace(
            "{ ip saddr 10.0.0.1 accept\ntcp dport 23 accept; }",
            "{ ip saddr 10.0.0.1 accept; tcp dport 23 accept; }",
        )),
        Known::default(),
        Budget::default(),
    );
    let codes: Vec<LintCode> = report.findings.iter().map(|found| found.code).collect();
    assert_eq!(codes, [LintCode::NotReached], "{report:#?}");
}

#[test]
fn rules_about_tagged_frames_and_about_arp_are_not_called_dead() {
    check(
        "table bridge t { chain forward { type filter hook forward priority 0; policy drop;
            vlan id 5 accept
            vlan id 6 ip saddr 10.0.0.1 accept
            ether type arp arp operation request accept
            ether saddr 02:00:00:00:00:01 ip daddr 10.0.0.2 accept
            ip6 daddr 2001:db8::1 tcp dport 22 accept
        }
        }
        table netdev n { chain in { type filter hook ingress device lo priority 0; policy accept;
            vlan id 7 ip saddr 10.0.0.9 drop
            ip saddr 10.0.0.9 drop
            arp operation reply drop
        }
        }",
        &[],
    );
}

#[test]
fn a_jump_that_iptables_counts_does_not_make_what_is_before_it_needed() {
    let ruleset = load_iptables(
        "iptables-nft -P INPUT DROP; iptables-nft -N web
         iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT
         iptables-nft -A INPUT -p tcp --dport 80 -j web
         iptables-nft -A INPUT -p tcp --dport 20:30 -j ACCEPT
         iptables-nft -A web -s 10.0.0.0/8 -j ACCEPT",
    );
    assert_eq!(
        told(&lint(&ruleset, Known::default(), Budget::default())),
        ["FW004 INPUT 1: without it, rule 3 does the same with all its packets"],
    );
}

#[test]
fn address_translation_is_never_called_redundant() {
    check(
        "table ip nat { chain post { type nat hook postrouting priority 100;
            ip saddr 10.0.0.1 accept
            ip saddr 10.0.0.0/8 snat to 192.0.2.1
            ip saddr 10.0.0.0/8 masquerade
        }
 }",
        &["FW002 post 3: rule 2 decides about all its packets before it"],
    );
}
