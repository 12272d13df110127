//! Targets: what they write, and what they decide.

use crate::support::{Fate, Host, Lowered};
use fwdrift::traffic::program::Verdict;
use fwdrift::traffic::space::Kind;

/// A rule, a packet, numbers of it afterwards, and what the rule decides.
type Case<'a> = (&'a str, &'a str, &'a [(&'a str, u128)], Option<Verdict>);

/// Loads rules; sends a packet to each, and looks at a number of it afterwards.
#[track_caller]
fn check(program: &str, table: &str, kind: Kind, cases: &[Case<'_>]) -> Lowered {
    let host = Host::new();
    let rules: Vec<&str> = cases.iter().map(|(rule, ..)| *rule).collect();
    host.load(program, table, &rules);
    let mut lowered = host.lowered(kind);
    for (at, (rule, before, after, verdict)) in cases.iter().enumerate() {
        let packet = lowered.packet(before);
        let (fate, packet) = lowered.send(&format!("c{at}"), packet);
        assert_eq!(fate, verdict.map_or(Fate::Passed, Fate::Decided), "{rule}");
        for (name, value) in *after {
            assert_eq!(lowered.number(&packet, name), *value, "{rule}: {name}");
        }
    }
    lowered
}

#[test]
fn marks_are_set_by_mask_and_copied_between_packet_and_connection() {
    check(
        "iptables-nft-restore",
        "mangle",
        Kind::Ip4,
        &[
            ("-j MARK --set-mark 5", "mark 0xff", &[("mark", 5)], None),
            ("-j MARK --set-mark 0x5/0xf", "mark 0xf3", &[("mark", 0xf5)], None),
            ("-j MARK --set-xmark 0x5/0", "mark 0x3", &[("mark", 6)], None),
            ("-j MARK --and-mark 0xf0", "mark 0xab", &[("mark", 0xa0)], None),
            ("-j MARK --or-mark 0xf0", "mark 0x0b", &[("mark", 0xfb)], None),
            ("-j MARK --xor-mark 0xff", "mark 0x0f", &[("mark", 0xf0)], None),
            ("-j CONNMARK --set-mark 7", "ctmark 9, mark 1", &[("ctmark", 7), ("mark", 1)], None),
            ("-j CONNMARK --save-mark", "ctmark 9, mark 0x12", &[("ctmark", 0x12)], None),
            ("-j CONNMARK --restore-mark", "ctmark 9, mark 0x12", &[("mark", 9)], None),
            ("-j CONNMARK --restore-mark", "ctmark 9, mark 0x12, state invalid", &[("mark", 0x12)], None),
            (
                "-j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf",
                "ctmark 0x99, mark 0x12",
                &[("ctmark", 0x92)],
                None,
            ),
            ("-j CONNMARK --and-mark 0xf", "ctmark 0x99", &[("ctmark", 9)], None),
            ("-j DSCP --set-dscp 0x2e", "service 3", &[("service", 0xbb)], None),
            ("-j TOS --set-tos 0x10/0x3f", "service 0xc1", &[("service", 0xd0)], None),
            ("-j TTL --ttl-set 9", "ttl 64", &[("ttl", 9)], None),
            ("-p tcp -j ECN --ecn-tcp-remove", "protocol 6, flags 0xc2", &[("flags", 2)], None),
            (
                "-j TCPMSS --clamp-mss-to-pmtu -p tcp --tcp-flags SYN,RST SYN",
                "protocol 6, flags 2, mark 3",
                &[("mark", 3)],
                None,
            ),
        ],
    );
}

#[test]
fn a_translation_is_known_as_far_as_its_range_is() {
    let lowered = check(
        "iptables-nft-restore",
        "nat",
        Kind::Ip4,
        &[
            (
                "-j DNAT --to-destination 10.0.0.1",
                "daddr 1.2.3.4",
                &[("daddr", 0x0a00_0001)],
                Some(Verdict::Accept),
            ),
            (
                "-p tcp -j DNAT --to-destination 10.0.0.1:8080",
                "protocol 6, dport 80",
                &[("daddr", 0x0a00_0001), ("dport", 8080)],
                Some(Verdict::Accept),
            ),
            (
                "-j SNAT --to-source 10.0.0.4-10.0.0.7",
                "saddr 1.2.3.4",
                &[("saddr", 0x0a00_0004)],
                Some(Verdict::Accept),
            ),
            (
                "-p tcp -j REDIRECT --to-ports 3128",
                "protocol 6, dport 80",
                &[("dport", 3128)],
                Some(Verdict::Accept),
            ),
            ("-j MASQUERADE", "saddr 1.2.3.4", &[("saddr", 0)], Some(Verdict::Accept)),
            (
                "-j NETMAP --to 10.1.0.0/16",
                "daddr 1.2.3.4, saddr 5.6.7.8",
                &[("daddr", 0x0a01_0304), ("saddr", 0x0506_0708)],
                Some(Verdict::Accept),
            ),
        ],
    );
    let free = lowered.free_words();
    assert!(free.contains(&"address of snat to 10.0.0.4-10.0.0.7"), "{free:?}");
}

#[test]
fn in_ipv6_a_translation_has_another_structure() {
    check(
        "ip6tables-nft-restore",
        "nat",
        Kind::Ip6,
        &[
            (
                "-p tcp -j DNAT --to-destination [2001:db8::1]:8080",
                "protocol 6, dport 80",
                &[("daddr", 0x2001_0db8 << 96 | 1), ("dport", 8080)],
                Some(Verdict::Accept),
            ),
            (
                "-j SNAT --to-source 2001:db8::7",
                "saddr ::1",
                &[("saddr", 0x2001_0db8 << 96 | 7)],
                Some(Verdict::Accept),
            ),
            (
                "-p udp -j REDIRECT --to-ports 53",
                "protocol 17, dport 5353",
                &[("dport", 53)],
                Some(Verdict::Accept),
            ),
        ],
    );
}

#[test]
fn what_a_rule_decides_is_said_and_what_only_watches_decides_nothing() {
    let host = Host::new();
    host.load(
        "iptables-nft-restore",
        "filter",
        &[
            "-j REJECT --reject-with icmp-port-unreachable",
            "-j LOG --log-prefix x",
            "-j NFLOG --nflog-group 3",
            "-j NFQUEUE --queue-num 3 --queue-bypass",
            "-j NFQUEUE --queue-balance 1:4",
        ],
    );
    let mut lowered = host.lowered(Kind::Ip4);
    let packet = lowered.packet("ttl 1");
    let fate = |lowered: &Lowered, at: usize| lowered.send(&format!("c{at}"), packet.clone()).0;
    assert_eq!(fate(&lowered, 0), Fate::Decided(Verdict::Reject));
    assert_eq!(fate(&lowered, 1), Fate::Passed);
    assert_eq!(fate(&lowered, 2), Fate::Passed);
    for (at, name) in [(3, "the program of queue 3 accepts"), (4, "the program of queues 1-4 accepts")] {
        let Fate::Decided(Verdict::Ask(var)) = fate(&lowered, at) else { panic!("{name}") };
        assert_eq!(lowered.space.word_of(var).unwrap().name, name);
    }
}

#[test]
fn notrack_takes_the_state_and_tproxy_marks_what_it_takes() {
    let host = Host::new();
    host.load(
        "iptables-nft-restore",
        "mangle",
        &["-j ACCEPT", "-j ACCEPT", "-j ACCEPT", "-p tcp -j TPROXY --on-port 3128 --tproxy-mark 0x1/0x1"],
    );
    let mut lowered = host.lowered(Kind::Ip4);
    // So do packets come to the table raw: conntrack has not seen them.
    let packet = lowered.packet("state invalid");
    let known = lowered.packet("state new");
    let untracked = lowered.packet("state untracked");
    for (table, expected) in [("c3", Verdict::Accept), ("c3", Verdict::Drop)] {
        let words = if expected == Verdict::Accept { "protocol 6, free TPROXY" } else { "protocol 6" };
        let packet = lowered.packet(words);
        let (fate, after) = lowered.send(table, packet);
        assert_eq!(fate, Fate::Decided(expected));
        assert_eq!(lowered.number(&after, "mark"), u128::from(expected == Verdict::Accept));
    }
    let raw = Host::new();
    raw.load("iptables-nft-restore", "raw", &["-j CT --notrack", "-j CT --zone 3", "-j NOTRACK"]);
    let lowered = raw.lowered(Kind::Ip4);
    let state = |packet: &fwdrift::traffic::evaluate::Packet, name: &str| {
        packet.bit(fwdrift::traffic::bdd::Bit::Var(lowered.space.state(name).unwrap()))
    };
    for (chain, expected) in [("c0", true), ("c1", false), ("c2", true)] {
        let (_, after) = lowered.send(chain, packet.clone());
        assert_eq!(state(&after, "untracked"), expected, "{chain}");
        assert_eq!(state(&after, "invalid"), !expected, "{chain}");
        assert!(state(&lowered.send(chain, known.clone()).1, "new"), "{chain}: conntrack has seen it");
    }
    assert!(state(&lowered.send("c0", untracked).1, "untracked"));
}
