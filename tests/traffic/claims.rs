//! Claims about single expressions and hooks on which the engine once disagreed with the kernel, or might.

use crate::agreement::{check, check_loaded, check_packets};
use crate::asking::{ESTABLISHED, in_state, v4};
use crate::kernel::{Backend, L4, Lab, Path};

/// A ruleset of one chain that drops all but what these rules accept.
fn chain(hook: &str, priority: i32, rules: &str) -> String {
    format!(
        "chain c{hook}{} {{ type filter hook {hook} priority {priority}; policy drop;\n{rules}\n}}",
        priority + 400
    )
}

fn table(chains: &[String]) -> String {
    format!("table inet t {{\n{}\n}}", chains.join("\n"))
}

#[test]
fn a_packet_without_a_connection_breaks_a_rule_that_asks_for_one() {
    check(&table(&[chain("input", 0, "ct mark 0 accept\nct direction original udp dport 53 accept")]));
    check(&table(&[chain("forward", 0, "ct mark != 1 accept\nct original protocol 17 accept")]));
}

#[test]
fn before_conntrack_every_packet_is_invalid() {
    let raw = chain(
        "prerouting",
        -300,
        "ct state established drop\nct state invalid tcp dport 1-1000 accept\nct mark 0 accept",
    );
    check(&table(&[raw]));
    let out = chain("output", -300, "ct state new drop\nct state invalid accept");
    check(&table(&[out, chain("output", 0, "ct state { new, established } accept")]));
}

#[test]
fn notrack_is_for_packets_that_have_no_connection_yet() {
    let early = chain("prerouting", -300, "udp dport 1-1000 notrack\naccept");
    let late = chain("prerouting", -150, "tcp dport 1-1000 notrack\naccept");
    check(&table(&[
        early,
        late,
        chain("input", 0, "ct state untracked accept\nct state new tcp dport 80 accept"),
    ]));
}

#[test]
fn nat_chains_have_one_place_whatever_their_priority() {
    let nat = |priority: i32| {
        format!("chain n {{ type nat hook prerouting priority {priority}; udp dport 53 redirect to :5353; }}")
    };
    let filter = chain("prerouting", -120, "udp dport 53 accept\ntcp dport 1-100 accept");
    let input = chain("input", 0, "udp dport 5353 accept");
    check(&table(&[nat(-150), filter.clone(), input.clone()]));
    check(&table(&[nat(50), filter, input]));
}

#[test]
fn the_first_nat_chain_that_translates_is_the_last_one_asked() {
    let nat = |priority: i32, to: u16| {
        let rule = format!("tcp dport 1-{to} redirect to :{to}");
        format!("chain n{to} {{ type nat hook prerouting priority {priority}; {rule}; }}")
    };
    check(&table(&[
        nat(-110, 80),
        nat(-90, 90),
        chain("input", 0, "tcp dport 80 accept\ntcp dport 90 accept"),
    ]));
}

#[test]
fn what_is_sent_has_no_link_header() {
    check(&table(&[
        chain(
            "output",
            0,
            "ether saddr 02:00:00:00:00:01 accept\nether saddr != 02:00:00:00:00:01 udp dport 53 accept\ntcp dport 22 accept",
        ),
        chain("input", 0, "ether saddr 02:00:00:01:00:01 accept"),
    ]));
}

#[test]
fn an_interface_that_is_not_there_breaks_a_question_for_its_group() {
    check(&table(&[
        chain(
            "input",
            0,
            "oifgroup != 5 accept\niifgroup 0 udp dport 53 accept\niifgroup 7 accept\niiftype ether tcp dport 22 accept",
        ),
        chain("output", 0, "iifgroup != 5 accept\noifgroup 0 udp dport 53 accept\niiftype != ether accept"),
    ]));
}

#[test]
fn names_of_interfaces_that_are_not_there_are_empty() {
    check(&table(&[
        chain(
            "input",
            0,
            "oifname != \"eth0\" tcp dport 22 accept\noifname \"eth*\" accept\niifname \"eth1\" accept",
        ),
        chain("output", 0, "iifname \"eth0\" accept\niif != lo udp dport 53 accept"),
        chain("postrouting", 0, "iifname \"eth0\" accept\noifname \"eth0\" udp dport 1-100 accept"),
    ]));
}

#[test]
fn an_error_belongs_to_the_connection_that_it_is_about() {
    check(&table(&[
        chain(
            "input",
            0,
            "ct protocol udp accept\nct original ip saddr 10.0.0.0/8 accept\nct direction reply tcp dport 80 accept",
        ),
        chain(
            "forward",
            0,
            "ct protocol icmp accept\nmeta l4proto udp ct reply proto-dst 53 accept\nmeta l4proto tcp ct original proto-src 1-1024 accept",
        ),
    ]));
}

#[test]
fn an_address_of_a_connection_is_of_the_family_asked_for() {
    // 32.1.13.184 is how 2001:db8:: begins.
    check(&table(&[chain(
        "input",
        0,
        "ct original ip6 saddr 2001:db8::/32 accept\nct original ip saddr 32.1.0.0/16 udp dport 1-1000 accept\nct original ip daddr 10.0.0.0/8 drop\ntcp dport 22 accept",
    )]));
}

#[test]
fn a_translation_is_seen_in_the_answers_that_conntrack_expects() {
    let nat =
        "chain n { type nat hook prerouting priority -100; tcp dport 1-100 redirect to :8080; }".to_owned();
    let input = chain(
        "input",
        0,
        "meta l4proto tcp ct reply proto-src 8000-9000 accept\nmeta l4proto udp ct reply proto-src 53 accept",
    );
    check(&table(&[nat, input]));
}

#[test]
fn a_map_of_sources_translates_only_its_own() {
    let nat = "chain n { type nat hook postrouting priority 107; udp dport 1-1000 snat to ip saddr map { 10.1.0.0/16 : 10.8.0.1, 10.2.0.0/16 : 10.8.1.1 }; }";
    let filter = "chain f { type filter hook postrouting priority 207; ip saddr 10.8.0.61-10.8.3.88 drop; }";
    check(&format!("table ip t {{ {nat}\n{filter}\n}}"));
}

#[test]
fn a_mapped_network_keeps_the_rest_of_each_address() {
    let nat = |kind: &str, hook: &str, rule: &str| {
        format!("chain {kind} {{ type {kind} hook {hook}; policy accept;\n{rule}\n}}")
    };
    let prefix = "dnat ip prefix to ip daddr map { 10.1.0.0/16 : 10.9.0.0/16, 10.2.2.0/24 : 10.8.8.0/24 }";
    check(&format!(
        "table ip t {{ {}\n{}\n}}",
        nat("nat", "prerouting priority -100", prefix),
        nat(
            "filter",
            "forward priority 0",
            "ip daddr 10.9.7.0/24 drop\nip daddr 10.8.8.64/26 drop\nip daddr 10.1.0.0/16 drop"
        ),
    ));
    check(&format!(
        "table ip6 t {{ {}\n{}\n}}",
        nat("nat", "prerouting priority -100", "ip6 daddr 2001:db8:1::/64 dnat prefix to 2001:db8:9::/64"),
        nat("filter", "forward priority 0", "ip6 daddr & ::ff == ::7 drop\nip6 daddr 2001:db8:9::/112 drop"),
    ));
    check(&format!(
        "table ip t {{ {}\n{}\n}}",
        nat(
            "nat",
            "postrouting priority 100",
            "snat ip prefix to ip saddr map { 10.1.0.0/16 : 10.9.0.0/16 }"
        ),
        nat("filter", "postrouting priority 200", "ip saddr 10.9.7.0/24 drop\nip saddr 10.1.0.0/16 drop"),
    ));
}

#[test]
fn netmap_maps_the_end_that_its_hook_is_about() {
    let mut lab = Lab::new(&["eth0", "eth1"]);
    let rules = "*nat\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n:both - [0:0]\n\
         -A PREROUTING -p tcp -j both\n-A POSTROUTING -p tcp -j both\n-A both -m mark --mark 0 -j NETMAP --to 10.9.0.0/16\nCOMMIT\n\
         *filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
         -A FORWARD -d 10.9.3.0/24 -j DROP\n-A FORWARD -s 10.9.0.0/16 -j DROP\n-A FORWARD -p tcp ! -d 10.9.0.0/16 -j DROP\nCOMMIT\n\
         *mangle\n:PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\nCOMMIT\n";
    lab.load_iptables(4, rules, Backend::Nft).unwrap();
    check_loaded(&mut lab, rules);
}

#[test]
fn an_address_from_a_range_begins_as_the_range_does() {
    check(
        "table ip t { chain n { type nat hook prerouting priority -100; udp dport 1-1000 dnat to 10.9.9.4-10.9.9.7; }
             chain f { type filter hook forward priority 0; policy drop; ip daddr 10.9.9.0/24 accept; tcp dport 22 accept; }\n}",
    );
}

#[test]
fn what_is_neither_syn_nor_ack_goes_past_a_synproxy() {
    // An invalid packet of the lab has a wrong checksum, and synproxy drops it for that.
    let rules = table(&[chain(
        "input",
        0,
        "ct state invalid drop\n\
         tcp dport 1-1000 synproxy mss 1460 wscale 7 timestamp sack-perm\n\
         tcp dport 1-500 tcp flags & (syn | ack) == 0 accept\n\
         synproxy mss 1460 wscale 7\nudp dport 53 accept\ntcp dport 501-600 accept",
    )]);
    check(&rules);
    const RST: u8 = 4;
    let resets =
        [80, 550, 700].map(|dport| in_state(ESTABLISHED, v4(L4::Tcp { sport: 40_000, dport, flags: RST })));
    check_packets(&rules, Path::Input, &resets);
}

#[test]
fn at_postrouting_the_type_of_an_interface_is_that_of_the_outgoing_one() {
    check(&table(&[chain("postrouting", 0, "iiftype ether tcp dport 22 accept\nudp dport 53 accept")]));
}

#[test]
fn an_interval_of_a_map_ends_where_the_next_one_begins() {
    check(&table(&[
        chain(
            "input",
            0,
            "tcp dport vmap { 1-100 : accept, 101-200 : drop, 201-300 : accept, 65000-65535 : accept }",
        ),
        chain(
            "forward",
            0,
            "ip saddr vmap { 10.1.0.0/16 : accept, 10.2.0.0/16 : drop, 10.3.0.0/16 : accept }",
        ),
    ]));
}
