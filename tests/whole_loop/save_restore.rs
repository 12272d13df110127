//! `iptables-save | iptables-restore`, as netfilter-persistent does it at each boot: the same rules in bytes that are not
//! always the same.

use crate::support::{Host, each, hold, lines, of};

/// Rules that iptables-restore writes in other bytes than iptables did. The kernel reads none of these bytes, or
/// makes nothing of them: see `normalise::xt_info` and `normalise::xt_recent`.
const OTHERWISE: [(&str, &str); 13] = [
    ("a list without a mask", "iptables-nft -A INPUT -m recent --set"),
    (
        "a list's name",
        "iptables-nft -A INPUT -m recent --rcheck --seconds 60 --hitcount 3 --name ssh --rdest",
    ),
    ("the same for IPv6", "ip6tables-nft -A INPUT -m recent --set --name x"),
    ("several lists in one rule", "iptables-nft -A INPUT -m recent --set --name a -m recent --set --name b"),
    (
        "connections of an address",
        "iptables-nft -A INPUT -p tcp --syn -m connlimit --connlimit-above 3 -j DROP",
    ),
    (
        "the same for IPv6",
        "ip6tables-nft -A INPUT -p tcp -m connlimit --connlimit-above 3 --connlimit-mask 17",
    ),
    (
        "a mark by address",
        "iptables-nft -t mangle -A INPUT -j HMARK --hmark-tuple src,dst --hmark-mod 5 --hmark-rnd 7",
    ),
    ("any type of ICMP", "iptables-nft -A INPUT -p icmp -m icmp --icmp-type 255/255"),
    ("any fragment", "ip6tables-nft -A INPUT -m frag --fragid : --fragmore"),
    ("any number of segments", "ip6tables-nft -A INPUT -m rt --rt-type 0 --rt-segsleft :"),
    ("any interface", "iptables-nft -A INPUT -i + -p tcp; iptables-nft -A INPUT -i +"),
    (
        "a chain of its own",
        "iptables-nft -N own; iptables-nft -A own -m recent --set; iptables-nft -A INPUT -j own",
    ),
    ("a legacy rule", "iptables-legacy -A INPUT -m recent --set"),
];

/// Saves and restores with the program that made the rules.
fn restored(rules: &str) -> String {
    let program = rules.split(' ').next().unwrap();
    format!("{program}-save | {program}-restore")
}

#[test]
fn rules_that_were_saved_and_restored_are_in_sync() {
    each(
        &OTHERWISE,
        |case| case.0,
        |(claim, rules)| {
            let host = Host::bare();
            host.sh(rules);
            host.run(&["init"]).ended(0);
            host.sh(&restored(rules));
            host.check(0);
            assert_eq!(host.record(), Vec::<serde_json::Value>::new(), "{claim}");
            host.check(0);
        },
    );
}

#[test]
fn rules_that_were_approved_as_restored_are_in_sync_when_they_are_made_by_hand() {
    each(
        &OTHERWISE,
        |case| case.0,
        |(claim, rules)| {
            let host = Host::bare();
            host.sh(rules);
            host.sh(&restored(rules));
            host.run(&["init"]).ended(0);
            host.sh(if rules.contains("legacy") { "iptables-legacy -F" } else { "nft flush ruleset" });
            host.sh(rules);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{claim}");
        },
    );
}

#[test]
fn a_change_beside_such_bytes_is_found() {
    hold(
        &[
            (
                "a list's mask",
                "iptables-nft -A INPUT -m recent --set",
                "iptables-nft -R INPUT 1 -m recent --set --mask 255.255.255.0",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m recent --set --name DEFAULT --mask 255.255.255.255 --rsource -> -A INPUT -m recent --set --name DEFAULT --mask 255.255.255.0 --rsource",
                ],
            ),
            (
                "another list, saved and restored",
                "iptables-nft -A INPUT -m recent --set --name a",
                "iptables-nft -R INPUT 1 -m recent --set --name b; iptables-nft-save | iptables-nft-restore",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m recent --set --name a --mask 255.255.255.255 --rsource -> -A INPUT -m recent --set --name b --mask 255.255.255.255 --rsource",
                ],
            ),
            (
                "the mask of a list of IPv6",
                "ip6tables-nft -A INPUT -m recent --set",
                "ip6tables-nft -R INPUT 1 -m recent --set --mask ffff:ffff::",
                &[
                    "modified rule ip6 filter/INPUT: -A INPUT -m recent --set --name DEFAULT --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -> -A INPUT -m recent --set --name DEFAULT --mask ffff:ffff:: --rsource",
                ],
            ),
            (
                "whose connections count as one",
                "iptables-nft -A INPUT -m connlimit --connlimit-above 3",
                "iptables-nft -R INPUT 1 -m connlimit --connlimit-above 3 --connlimit-mask 31",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m connlimit --connlimit-above 3 --connlimit-mask 32 --connlimit-saddr -> -A INPUT -m connlimit --connlimit-above 3 --connlimit-mask 31 --connlimit-saddr",
                ],
            ),
            (
                "the same of IPv6, far behind",
                "ip6tables-nft -A INPUT -m connlimit --connlimit-above 3",
                "ip6tables-nft -R INPUT 1 -m connlimit --connlimit-above 3 --connlimit-mask 127",
                &[
                    "modified rule ip6 filter/INPUT: -A INPUT -m connlimit --connlimit-above 3 --connlimit-mask 128 --connlimit-saddr -> -A INPUT -m connlimit --connlimit-above 3 --connlimit-mask 127 --connlimit-saddr",
                ],
            ),
            (
                "a code of ICMP",
                "iptables-nft -A INPUT -p icmp -m icmp --icmp-type 254/255",
                "iptables-nft -R INPUT 1 -p icmp -m icmp --icmp-type 254/254",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -p icmp -m icmp --icmp-type 254/255 -> -A INPUT -p icmp -m icmp --icmp-type 254/254",
                ],
            ),
            (
                "a flag beside another one",
                "ip6tables-nft -A INPUT -m frag --fragid 5 --fragmore",
                "ip6tables-nft -R INPUT 1 -m frag --fragid 5 --fraglast",
                &[
                    "modified rule ip6 filter/INPUT: -A INPUT -m frag --fragid 5 --fragmore -> -A INPUT -m frag --fragid 5 --fraglast",
                ],
            ),
        ],
        of("iptables-nft"),
    );
}

/// After a restore the IPv4 rule makes the list with a mask that has only zeroes where IPv4 has nothing, and
/// addresses of IPv6 count by their first 32 bits (tests/kernel_facts.rs).
#[test]
fn a_restored_list_that_ipv6_rules_use_too_is_drift() {
    each(
        &[
            ("of nf_tables", "ip6tables-nft -A INPUT -m recent --rcheck --name x"),
            ("of x_tables", "ip6tables-legacy -A INPUT -m recent --rcheck --name x"),
        ],
        |case| case.0,
        |(claim, rule)| {
            let host = Host::bare();
            host.sh("iptables-nft -A INPUT -m recent --set --name x; iptables-nft -A INPUT -m recent --set --name y");
            host.sh(rule);
            host.run(&["init"]).ended(0);
            host.check(0);
            host.sh(&restored("iptables-nft"));
            let changes = host.changes();
            assert_eq!(changes.len(), 1, "{claim}: {changes:#?}");
            assert_eq!((&changes[0]["kind"], &changes[0]["family"]), (&"modified".into(), &"ip".into()));
            let note = changes[0]["note"].as_str().unwrap();
            assert!(note.contains("other bytes"), "{claim}: {note}");
            host.run(&["approve", "--yes"]).ended(0);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{claim}: in sync once approved");
        },
    );
}
