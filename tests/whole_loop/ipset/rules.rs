//! Rules of iptables that match sets, or write to them.

use super::approved;
use crate::support::{hold, of};

#[test]
fn a_rule_that_matches_a_set_is_shown_as_iptables_text_and_found_by_the_sets_name() {
    hold(
        &[
            (
                "another set of the same type",
                "ipset create a hash:ip; ipset create b hash:ip; iptables-nft -A INPUT -m set --match-set a src -j DROP",
                "iptables-nft -R INPUT 1 -m set --match-set b src -j DROP",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m set --match-set a src -j DROP -> -A INPUT -m set --match-set b src -j DROP",
                ],
            ),
            (
                "another direction",
                "ipset create a hash:ip,port family inet6; ip6tables-nft -A INPUT -m set ! --match-set a src,dst -j DROP",
                "ip6tables-nft -R INPUT 1 -m set ! --match-set a dst,dst -j DROP",
                &[
                    "modified rule ip6 filter/INPUT: -A INPUT -m set ! --match-set a src,dst -j DROP -> -A INPUT -m set ! --match-set a dst,dst -j DROP",
                ],
            ),
            (
                "a target's set",
                "ipset create a hash:ip timeout 9; ipset create b hash:ip timeout 9; iptables-nft -A INPUT -p tcp -j SET --add-set a src --exist --timeout 5",
                "iptables-nft -R INPUT 1 -p tcp -j SET --add-set a src --del-set b dst --exist --timeout 5",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -p tcp -j SET --add-set a src --exist --timeout 5 -> -A INPUT -p tcp -j SET --add-set a src --exist --timeout 5 --del-set b dst",
                ],
            ),
            (
                "counters of a match",
                "ipset create a hash:ip counters; iptables-nft -A INPUT -m set --match-set a src --packets-gt 5 -j DROP",
                "iptables-nft -R INPUT 1 -m set --match-set a src --packets-gt 6 -j DROP",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m set --match-set a src --packets-gt 5 -j DROP -> -A INPUT -m set --match-set a src --packets-gt 6 -j DROP",
                ],
            ),
        ],
        of("iptables-nft"),
    );
    hold(
        &[(
            "legacy",
            "ipset create a hash:ip; ipset create b hash:ip; iptables-legacy -A INPUT -m set --match-set a src -j DROP",
            "iptables-legacy -R INPUT 1 -m set --match-set b src -j DROP",
            &[
                "modified rule ip filter/INPUT: -A INPUT -m set --match-set a src -j DROP -> -A INPUT -m set --match-set b src -j DROP",
            ],
        )],
        of("iptables-legacy"),
    );
}

#[test]
fn a_rule_is_the_same_rule_when_its_set_has_another_index() {
    const RULES: &str = "iptables-nft -P FORWARD DROP; iptables-nft -A INPUT -m set --match-set a src -j DROP; iptables-nft -A INPUT -m set --match-set b src -j ACCEPT; iptables-nft -A OUTPUT -j SET --add-set c dst";
    let host = approved(&format!("for s in a b c; do ipset create $s hash:ip; done; {RULES}"));
    let rules = host.git(&["show", "main:baselines/db-01/iptables/nft-v4.rules"]);
    assert!(rules.contains("\n-A INPUT -m set --match-set b src -j ACCEPT\n"), "{rules}");
    let files = host.git(&["ls-tree", "-r", "--name-only", "main"]);
    assert!(!files.contains(".exact") && !files.contains(".nft"), "{files}");
    // As after a reboot: the sets come back in another order, and so with other indices.
    host.sh(&format!("iptables-nft -F; ipset destroy; for s in pad c b a; do ipset create $s hash:ip; done; ipset destroy pad; {RULES}"));
    host.check(0);
    // And the other way round: the same indices, now of other sets.
    host.sh("iptables-nft -F; ipset destroy; for s in b a c; do ipset create $s hash:ip; done");
    host.sh("iptables-nft -A INPUT -m set --match-set b src -j DROP; iptables-nft -A INPUT -m set --match-set a src -j ACCEPT; iptables-nft -A OUTPUT -j SET --add-set c dst");
    assert_eq!(host.changes().len(), 2, "{:#?}", host.changes());
}
