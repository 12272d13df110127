//! Rules made by iptables: through nf_tables, and through the older x_tables interface.

use crate::support::{Host, each, hold, of};
use serde_json::Value;

fn sources(changes: &[Value]) -> Vec<&str> {
    changes.iter().map(|change| change["source"].as_str().unwrap()).collect()
}

#[test]
fn iptables_nft_rules_are_shown_in_iptables_syntax_also_where_nft_is_blind() {
    hold(
        &[
            (
                "added beside others",
                "iptables-nft -P INPUT DROP; iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT",
                "iptables-nft -I INPUT -p tcp --dport 3306 -j DROP",
                &["added rule ip filter/INPUT: - -> -A INPUT -p tcp -m tcp --dport 3306 -j DROP"],
            ),
            (
                "a port inside multiport",
                "iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT",
                "iptables-nft -R INPUT 1 -p tcp -m multiport --dports 22,443 -j ACCEPT",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT -> -A INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT",
                ],
            ),
            (
                "the pattern of a string match",
                "iptables-nft -A INPUT -m string --algo bm --string good -j ACCEPT",
                "iptables-nft -R INPUT 1 -m string --algo bm --string evil -j ACCEPT",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m string --string \"good\" --algo bm -j ACCEPT -> -A INPUT -m string --string \"evil\" --algo bm -j ACCEPT",
                ],
            ),
            (
                "a comment",
                "ip6tables-nft -A INPUT -p tcp -m comment --comment one -j ACCEPT",
                "ip6tables-nft -R INPUT 1 -p tcp -m comment --comment two -j ACCEPT",
                &[
                    "modified rule ip6 filter/INPUT: -A INPUT -p tcp -m comment --comment one -j ACCEPT -> -A INPUT -p tcp -m comment --comment two -j ACCEPT",
                ],
            ),
            (
                "a policy",
                "iptables-nft -P FORWARD ACCEPT; iptables-nft -A INPUT -i lo -j ACCEPT",
                "iptables-nft -P FORWARD DROP",
                &["modified chain ip filter/FORWARD: :FORWARD ACCEPT -> :FORWARD DROP"],
            ),
            (
                "removed from a chain of its own",
                "iptables-nft -N OWN; iptables-nft -A INPUT -j OWN; iptables-nft -A OWN -s 10.0.0.1/32 -j DROP; iptables-nft -A OWN -j RETURN",
                "iptables-nft -D OWN -s 10.0.0.1/32 -j DROP",
                &["removed rule ip filter/OWN: -A OWN -s 10.0.0.1/32 -j DROP -> -"],
            ),
        ],
        of("iptables-nft"),
    );
}

#[test]
fn iptables_legacy_rules_added_removed_changed_and_policies_are_named() {
    hold(
        &[
            (
                "added",
                "iptables-legacy -A INPUT -p tcp --dport 22 -j ACCEPT",
                "iptables-legacy -I INPUT -p tcp --dport 3306 -j DROP",
                &["added rule ip filter/INPUT: - -> -A INPUT -p tcp -m tcp --dport 3306 -j DROP"],
            ),
            (
                "removed, v6",
                "ip6tables-legacy -A INPUT -s fd00::1/128 -j DROP; ip6tables-legacy -A INPUT -i lo -j ACCEPT",
                "ip6tables-legacy -D INPUT 1",
                &["removed rule ip6 filter/INPUT: -A INPUT -s fd00::1/128 -j DROP -> -"],
            ),
            (
                "changed",
                "iptables-legacy -t nat -A PREROUTING -p tcp --dport 80 -j REDIRECT --to-ports 8080",
                "iptables-legacy -t nat -R PREROUTING 1 -p tcp --dport 80 -j REDIRECT --to-ports 8081",
                &[
                    "modified rule ip nat/PREROUTING: -A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8080 -> -A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 8081",
                ],
            ),
            (
                "a policy",
                "iptables-legacy -A INPUT -i lo -j ACCEPT",
                "iptables-legacy -P INPUT DROP",
                &["modified chain ip filter/INPUT: :INPUT ACCEPT -> :INPUT DROP"],
            ),
            (
                "a chain of its own",
                "iptables-legacy -A INPUT -i lo -j ACCEPT",
                "iptables-legacy -N OWN",
                &["added chain ip filter/OWN: - -> :OWN -"],
            ),
        ],
        of("iptables-legacy"),
    );
}

#[test]
fn a_host_with_legacy_rules_does_not_look_clean() {
    let host = Host::new("");
    host.sh("iptables-legacy -P INPUT DROP");
    let changes = host.changes();
    assert_eq!(sources(&changes), ["iptables-legacy"], "{changes:#?}");
    assert_eq!((&changes[0]["kind"], &changes[0]["object"]), (&"added".into(), &"table".into()));
    assert!(changes[0]["after"].as_str().unwrap().contains(":INPUT DROP"), "{changes:#?}");
}

#[test]
fn looking_registers_no_legacy_table() {
    const NAMES: &str = "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2>/dev/null || true";
    let host = Host::new("table ip t {}");
    host.record();
    host.check(0);
    assert_eq!(host.sh(NAMES), "");
}

#[test]
fn a_change_that_some_printed_form_does_not_show_says_which() {
    let cases: [(&str, &str, &str, &[&str]); 5] = [
        (
            "nft -j prints only the name of multiport",
            "iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT",
            "iptables-nft -R INPUT 1 -p tcp -m multiport --dports 22,443 -j ACCEPT",
            &["nft -j"],
        ),
        (
            "neither form of nft prints a string",
            "iptables-nft -A INPUT -m string --algo bm --string good -j ACCEPT",
            "iptables-nft -R INPUT 1 -m string --algo bm --string evil -j ACCEPT",
            &["nft", "nft -j"],
        ),
        (
            "both print a port",
            "iptables-nft -A INPUT -p tcp --dport 22 -m string --algo bm --string x -j ACCEPT",
            "iptables-nft -R INPUT 1 -p tcp --dport 23 -m string --algo bm --string x -j ACCEPT",
            &[],
        ),
        (
            "nor the type of a message of spanning tree",
            "ebtables-nft -A FORWARD -d BGA --stp-type 1 -j DROP",
            "ebtables-nft -F FORWARD; ebtables-nft -A FORWARD -d BGA --stp-type 2 -j DROP",
            &["nft", "nft -j"],
        ),
        (
            "nor what arptables writes into an answer",
            "arptables-nft -A OUTPUT -j mangle --mangle-ip-s 10.9.9.9",
            "arptables-nft -F OUTPUT; arptables-nft -A OUTPUT -j mangle --mangle-ip-s 10.9.9.8",
            &["nft", "nft -j"],
        ),
    ];
    each(
        &cases,
        |case| case.0,
        |(claim, approved, made, blind)| {
            let host = Host::bare();
            host.sh(approved);
            host.run(&["init"]).ended(0);
            host.sh(made);
            let changes = host.changes();
            assert_eq!(
                (changes.len(), &changes[0]["kind"]),
                (1, &"modified".into()),
                "{claim}: {changes:#?}"
            );
            let found = changes[0].get("blind").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
            assert_eq!(found, serde_json::json!(blind), "{claim}");
            let text = host.run(&["check"]).ended(1);
            let said = text.contains("both alike, but the bytes differ");
            assert_eq!(said, !blind.is_empty(), "{claim}: {text}");
        },
    );
}
