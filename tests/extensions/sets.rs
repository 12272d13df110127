//! Sets of ipset, made with ipset itself.

use crate::support::{Fate, Host, check};
use fwdrift::traffic::program::Step;
use fwdrift::traffic::space::Kind;
use fwdrift::traffic::test::Test;
use std::sync::Arc;

#[test]
fn a_set_is_asked_for_the_side_that_each_dimension_names() {
    let host = Host::new();
    host.ipset(
        "create addresses hash:ip\nadd addresses 10.0.0.1\nadd addresses 10.0.0.5\n\
         create masked hash:ip netmask 24\nadd masked 10.1.2.0\n\
         create services hash:ip,port\nadd services 10.0.0.1,tcp:80\nadd services 10.0.0.1,udp:53\n\
         add services 10.0.0.2,icmp:echo-request\n\
         create ports bitmap:port range 1-1000\nadd ports 22\nadd ports 100-200\n\
         create cards hash:net,iface\nadd cards 10.0.0.0/8,eth0\n\
         create triples hash:ip,port,net\nadd triples 10.0.0.1,tcp:80,192.168.0.0/16\n\
         create range bitmap:ip range 10.0.0.0/24\nadd range 10.0.0.7\n\
         create all list:set\nadd all addresses\nadd all ports\n",
    );
    check(
        &host,
        Kind::Ip4,
        &[
            ("-m set --match-set addresses src", &["saddr 10.0.0.5"], &["daddr 10.0.0.5", "saddr 10.0.0.2"]),
            ("-m set ! --match-set addresses dst", &["daddr 10.0.0.2"], &["daddr 10.0.0.1"]),
            ("-m set --match-set masked dst", &["daddr 10.1.2.200"], &["daddr 10.1.3.200"]),
            (
                "-m set --match-set services src,dst",
                &[
                    "saddr 10.0.0.1, protocol 6, dport 80",
                    "saddr 10.0.0.1, protocol 17, dport 53",
                    "saddr 10.0.0.2, protocol 1, type 8, code 0",
                ],
                &[
                    "saddr 10.0.0.1, protocol 6, sport 80",
                    "saddr 10.0.0.1, protocol 17, dport 80",
                    "saddr 10.0.0.1, protocol 1, type 8",
                    "saddr 10.0.0.2, protocol 1, type 0",
                ],
            ),
            (
                "-m set --match-set services dst,src",
                &["daddr 10.0.0.1, protocol 6, sport 80"],
                &["saddr 10.0.0.1, protocol 6, dport 80"],
            ),
            (
                "-m set --match-set ports dst",
                &["protocol 6, dport 22", "protocol 17, dport 150"],
                &["protocol 132, dport 22", "protocol 6, dport 23"],
            ),
            (
                "-m set --match-set cards src,src",
                &["saddr 10.1.1.1, iif eth0"],
                &["saddr 10.1.1.1, oif eth0", "saddr 11.1.1.1, iif eth0"],
            ),
            (
                "-m set --match-set cards dst,dst",
                &["daddr 10.1.1.1, oif eth0"],
                &["daddr 10.1.1.1, iif eth0"],
            ),
            (
                "-m set --match-set triples src,src,dst",
                &["saddr 10.0.0.1, protocol 6, sport 80, daddr 192.168.7.7"],
                &[
                    "saddr 10.0.0.1, protocol 6, dport 80, daddr 192.168.7.7",
                    "saddr 10.0.0.1, protocol 6, sport 80, daddr 192.169.7.7",
                ],
            ),
            ("-m set --match-set range src", &["saddr 10.0.0.7"], &["saddr 10.0.0.8", "saddr 10.0.1.7"]),
            // A set of more dimensions than the rule names has no packet.
            ("-m set --match-set services src", &[], &["saddr 10.0.0.1, protocol 6, sport 80"]),
            (
                "-m set --match-set all dst",
                &["daddr 10.0.0.5", "protocol 6, dport 22"],
                &["saddr 10.0.0.5", "protocol 6, dport 23"],
            ),
            (
                "-m set --match-set addresses src --packets-gt 5",
                &["saddr 10.0.0.5, free packets-gt 5"],
                &["saddr 10.0.0.5", "saddr 10.0.0.6, free packets-gt 5"],
            ),
        ],
    );
}

#[test]
fn a_set_of_ipv6_has_its_own_addresses_and_icmp_types() {
    let host = Host::new();
    host.ipset(
        "create six hash:net family inet6\nadd six 2001:db8::/32\n\
         create echo hash:ip,port family inet6\nadd echo 2001:db8::1,icmpv6:128/0\n",
    );
    check(
        &host,
        Kind::Ip6,
        &[
            (
                "-m set --match-set six src",
                &["saddr 2001:db8:7::1"],
                &["saddr 2001:db9::1", "daddr 2001:db8::1"],
            ),
            (
                "-m set --match-set echo dst,src",
                &["daddr 2001:db8::1, protocol 58, type 128"],
                &["daddr 2001:db8::1, protocol 1, type 128", "daddr 2001:db8::1, protocol 58, type 129"],
            ),
        ],
    );
}

#[test]
fn the_longest_prefix_decides_and_nomatch_excepts() {
    let host = Host::new();
    host.ipset(
        "create nets hash:net\nadd nets 10.0.0.0/8\nadd nets 10.1.0.0/16 nomatch\nadd nets 10.1.2.0/24\n\
         create pairs hash:net,port\nadd pairs 10.0.0.0/8,tcp:80\nadd pairs 10.1.0.0/16,tcp:80 nomatch\n",
    );
    check(
        &host,
        Kind::Ip4,
        &[
            (
                "-m set --match-set nets src",
                &["saddr 10.2.0.1", "saddr 10.1.2.3"],
                &["saddr 10.1.3.3", "saddr 11.0.0.1"],
            ),
            ("-m set ! --match-set nets src", &["saddr 10.1.3.3"], &["saddr 10.1.2.3"]),
            (
                "-m set --match-set nets src --return-nomatch",
                &["saddr 10.1.3.3"],
                &["saddr 10.1.2.3", "saddr 10.2.0.1", "saddr 11.0.0.1"],
            ),
            (
                "-m set --match-set pairs src,dst",
                &["saddr 10.2.0.1, protocol 6, dport 80"],
                &["saddr 10.1.0.1, protocol 6, dport 80", "saddr 10.2.0.1, protocol 17, dport 80"],
            ),
        ],
    );
}

#[test]
fn members_of_a_set_that_rules_write_to_come_and_go() {
    let host = Host::new();
    host.ipset("create seen hash:ip timeout 60\nadd seen 10.0.0.1 timeout 0\n");
    let cases = [
        (
            "-m set --match-set seen src",
            &["saddr 10.0.0.1", "saddr 10.0.0.2, free come and go"][..],
            &["saddr 10.0.0.2"][..],
        ),
        ("-j SET --add-set seen src --exist -m comment --comment x", &[], &[]),
    ];
    let rules = [format!("{} -j ACCEPT", cases[0].0), cases[1].0.to_owned()];
    host.load("iptables-nft-restore", "filter", &[&rules[0], &rules[1]]);
    let mut lowered = host.lowered(Kind::Ip4);
    for (words, expected) in
        cases[0].1.iter().map(|hit| (hit, true)).chain(cases[0].2.iter().map(|miss| (miss, false)))
    {
        let packet = lowered.packet(words);
        assert_eq!(lowered.matches(0, &packet), expected, "{words}");
    }
}

#[test]
fn rules_that_look_up_the_same_share_its_elements() {
    let host = Host::new();
    host.ipset("create s hash:net\nadd s 10.0.0.0/8\nadd s 192.0.2.0/24\n");
    let rules =
        ["src -j ACCEPT", "src -j DROP", "dst -j DROP"].map(|rest| format!("-m set --match-set s {rest}"));
    host.load("iptables-nft-restore", "filter", &[&rules[0], &rules[1], &rules[2]]);
    let lowered = host.lowered(Kind::Ip4);
    let ranges = |chain: &str| match lowered.steps(chain).first() {
        Some(Step::Test(Test::In(word, ranges))) => (word.clone(), Arc::clone(ranges)),
        other => panic!("{other:?}"),
    };
    let (first, second, other) = (ranges("c0"), ranges("c1"), ranges("c2"));
    assert!(Arc::ptr_eq(&first.1, &second.1) && first.0 == second.0);
    assert_ne!(first.0, other.0);
}

#[test]
fn what_is_kept_with_a_member_becomes_the_packets_mark() {
    let host = Host::new();
    host.ipset("create m hash:ip skbinfo\nadd m 10.0.0.1 skbmark 0x7\n");
    host.load("iptables-nft-restore", "mangle", &["-j SET --map-set m src --map-mark"]);
    let mut lowered = host.lowered(Kind::Ip4);
    for (words, expected) in [("saddr 10.0.0.1, mark 5", 0), ("saddr 10.0.0.2, mark 5", 5)] {
        let packet = lowered.packet(words);
        let (fate, after) = lowered.send("c0", packet);
        assert_eq!((fate, lowered.number(&after, "mark")), (Fate::Passed, expected), "{words}");
    }
    assert_eq!(lowered.free_words(), ["mark kept in set m"]);
}
