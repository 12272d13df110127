//! Structures that today's programs no longer send, but that older ones and other kernels hold.

use crate::support::Lowered;
use fwdrift::model::Backend;
use fwdrift::model::{Chain, Digest, Family, Name, Rule, Ruleset, Table, TableKey};
use fwdrift::netlink::AttrWriter;
use fwdrift::netlink::nft::{expr, rule};
use fwdrift::traffic::program::Verdict;
use fwdrift::traffic::space::Kind;

/// `NFTA_LIST_ELEM`.
const LIST_ELEM: u16 = 1;

/// `match` or `target`, the extension's name, its revision and its structure.
type Extension<'a> = (&'a [u8], &'a [u8], u32, &'a [u8]);

/// A rule with extensions, in chain `c0`.
fn lowered(family: Family, kind: Kind, extensions: &[Extension<'_>]) -> Lowered {
    let mut attrs = AttrWriter::new();
    attrs.nested(rule::EXPRESSIONS, |list| {
        for (what, name, revision, info) in extensions {
            list.nested(LIST_ELEM, |expression| {
                expression.string(expr::NAME, what).nested(expr::DATA, |data| {
                    data.string(expr::XT_NAME, name).be32(expr::XT_REV, *revision).put(expr::XT_INFO, info);
                });
            });
        }
    });
    let rule = Rule { digest: Digest::of([attrs.as_bytes()]), attrs: attrs.into_bytes().into() };
    let mut table = Table::default();
    table.chains.insert(Name(b"c0".to_vec()), Chain { attrs: Vec::new(), rules: vec![rule] });
    let mut ruleset = Ruleset::default();
    let key = TableKey { backend: Backend::NfTables, family, name: Name(b"filter".to_vec()) };
    ruleset.tables.insert(key, table);
    Lowered::new(&ruleset, kind)
}

const REJECT: Extension<'_> = (b"target", b"REJECT", 0, &[0; 8]);

#[track_caller]
fn check(name: &[u8], revision: u32, info: &[u8], hits: &[&str], misses: &[&str]) {
    let mut lowered = lowered(Family::Ip, Kind::Ip4, &[(b"match", name, revision, info), REJECT]);
    for (words, expected) in hits.iter().map(|hit| (hit, true)).chain(misses.iter().map(|miss| (miss, false)))
    {
        let packet = lowered.packet(words);
        assert_eq!(lowered.matches(0, &packet), expected, "{words}");
    }
}

fn host(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
}

#[test]
fn ports_and_flags_of_the_tcp_match_are_inverted_one_by_one() {
    let tcp = |inverted: u8| [host(&[1, 9, 80, 90]), vec![0, 0x12, 0x02, inverted]].concat();
    check(
        b"tcp",
        0,
        &tcp(0),
        &["sport 1, dport 90, flags 2"],
        &["sport 10, dport 90, flags 2", "sport 1, dport 90, flags 0x12"],
    );
    check(b"tcp", 0, &tcp(1), &["sport 10, dport 90, flags 2"], &["sport 1, dport 90, flags 2"]);
    check(b"tcp", 0, &tcp(2), &["sport 1, dport 91, flags 2"], &["sport 1, dport 80, flags 2"]);
    check(b"tcp", 0, &tcp(4), &["sport 1, dport 80, flags 0x12"], &["sport 1, dport 80, flags 2"]);
    let option = [host(&[0, 0xffff, 0, 0xffff]), vec![2, 0, 0, 8]].concat();
    check(b"tcp", 0, &option, &["sport 1"], &["free tcp option 2 exists"]);
    let udp = [host(&[0, 0xffff, 53, 53]), vec![2, 0]].concat();
    check(b"udp", 0, &udp, &["dport 54"], &["dport 53"]);
}

#[test]
fn the_first_revision_of_multiport_has_no_ranges() {
    let info = [vec![1, 2], host(&[22, 80]), vec![0; 26]].concat();
    check(b"multiport", 0, &info, &["dport 22", "dport 80"], &["dport 50", "sport 22"]);
}

#[test]
fn the_first_revision_of_conntrack_has_states_of_one_byte() {
    let mut info = vec![0; 152];
    info[146..148].copy_from_slice(&1u16.to_ne_bytes());
    info[150] = 1 << 1 | 1 << 2;
    check(b"conntrack", 1, &info, &["state established", "state related"], &["state new", "state untracked"]);
    info[148..150].copy_from_slice(&1u16.to_ne_bytes());
    check(b"conntrack", 1, &info, &["state new", "state untracked"], &["state established"]);
}

#[test]
fn a_mark_beside_its_mask_never_matches() {
    let mark =
        |inverted: u8| [&0x13u32.to_ne_bytes()[..], &0x0fu32.to_ne_bytes(), &[inverted, 0, 0, 0]].concat();
    check(b"mark", 1, &mark(0), &[], &["mark 3", "mark 0x13"]);
    check(b"mark", 1, &mark(1), &["mark 3", "mark 0x13"], &[]);
}

#[test]
fn a_limit_is_told_as_iptables_prints_it() {
    for (average, text) in
        [(200_000u32, "3/min"), (10_000, "1/sec"), (12_000_000, "3/hour"), (1, "10000/sec")]
    {
        let info = [&average.to_ne_bytes()[..], &5u32.to_ne_bytes(), &[0; 32]].concat();
        let lowered = lowered(Family::Ip, Kind::Ip4, &[(b"match", b"limit", 0, &info), REJECT]);
        let start = format!("limit: avg {text} burst 5 (in chain c0)");
        assert!(
            lowered.free_words().iter().any(|word| word.starts_with(&start)),
            "{:?}",
            lowered.free_words()
        );
    }
}

#[test]
fn every_structure_that_is_cut_off_is_unknown_and_none_is_a_panic() {
    let names: [&[u8]; 40] = [
        b"tcp",
        b"udp",
        b"sctp",
        b"dccp",
        b"multiport",
        b"icmp",
        b"icmp6",
        b"esp",
        b"ah",
        b"mh",
        b"conntrack",
        b"state",
        b"connmark",
        b"connlabel",
        b"connbytes",
        b"u32",
        b"mark",
        b"iprange",
        b"addrtype",
        b"mac",
        b"physdev",
        b"owner",
        b"pkttype",
        b"ttl",
        b"length",
        b"dscp",
        b"tos",
        b"ecn",
        b"realm",
        b"cgroup",
        b"policy",
        b"statistic",
        b"recent",
        b"limit",
        b"hashlimit",
        b"string",
        b"time",
        b"bpf",
        b"osf",
        b"ip",
    ];
    for name in names {
        for family in [Family::Ip, Family::Bridge] {
            let short = lowered(family, Kind::Ip4, &[(b"match", name, 1, &[]), REJECT]);
            let unknown = format!("xt match {} rev 1 #", String::from_utf8_lossy(name));
            assert!(short.free_words().iter().any(|word| word.starts_with(&unknown)), "{unknown}");
            for (length, byte) in [(1, 0xff), (7, 1), (64, 0xff), (5000, 0xff), (5000, 1)] {
                for revision in 0..5 {
                    lowered(family, Kind::Ip4, &[(b"match", name, revision, &vec![byte; length])]);
                    lowered(family, Kind::Ip6, &[(b"match", name, revision, &vec![byte; length])]);
                }
            }
        }
    }
    let targets: [&[u8]; 14] = [
        b"MARK",
        b"CONNMARK",
        b"DSCP",
        b"TTL",
        b"ECN",
        b"CT",
        b"TPROXY",
        b"NFQUEUE",
        b"DNAT",
        b"NETMAP",
        b"SNPT",
        b"mark",
        b"snat",
        b"dnat",
    ];
    for name in targets {
        for (family, kind) in [(Family::Ip, Kind::Ip4), (Family::Ip6, Kind::Ip6), (Family::Bridge, Kind::Arp)]
        {
            for (length, byte) in [(0, 0), (1, 0xff), (7, 1), (64, 0xff), (64, 1)] {
                for revision in 0..4 {
                    lowered(family, kind, &[(b"target", name, revision, &vec![byte; length])]);
                }
            }
        }
    }
}

#[test]
fn a_target_of_ebtables_has_a_verdict_of_its_own() {
    for (code, expected) in [(-1i32, Verdict::Accept), (-2, Verdict::Drop), (-4, Verdict::Return)] {
        // The operation in the bits above the verdict's four: or.
        let code = (code & 0xf | 0xffff_ffe0u32.cast_signed()).to_ne_bytes();
        let info = [&0x10u64.to_ne_bytes()[..], &code, &[0; 4]].concat();
        let mut lowered = lowered(Family::Bridge, Kind::Ip4, &[(b"target", b"mark", 0, &info)]);
        let packet = lowered.packet("mark 1");
        let (fate, after) = lowered.send("c0", packet);
        assert_eq!(fate, crate::support::Fate::Decided(expected));
        assert_eq!(lowered.number(&after, "mark"), 0x11);
    }
}

#[test]
fn a_shorter_unknown_extension_may_do_anything() {
    let lowered = lowered(Family::Ip, Kind::Ip4, &[(b"target", b"NEWEST", 7, b"abc")]);
    assert!(lowered.free_words().iter().any(|word| word.starts_with("xt target NEWEST rev 7 #")));
}
