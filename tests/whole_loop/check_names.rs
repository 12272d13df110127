//! `check` finds each kind of change, names it exactly, and reports nothing else.

use crate::support::{Host, RULES, each, id_of, ids, lines};

/// A change made by nft commands to an approved ruleset, and the lines that name it.
struct Case {
    claim: &'static str,
    approved: &'static str,
    made: &'static str,
    found: &'static [&'static str],
}

fn hold(cases: &[Case]) {
    each(
        cases,
        |case| case.claim,
        |case| {
            let host = Host::new(case.approved);
            host.nft(case.made);
            let changes = host.changes();
            assert_eq!(lines(&changes), case.found, "{}", case.claim);
            assert_eq!(ids(&host.changes()), ids(&changes), "{}: the same ids again", case.claim);
        },
    );
}

const CHAIN: &str = "table ip t { chain c { tcp dport 1 accept; tcp dport 2 accept; tcp dport 3 accept; }; }";

#[test]
fn rules_that_were_added_removed_changed_or_moved_are_named() {
    let reload = |rules: &str| {
        Box::leak(format!("flush chain ip t c; table ip t {{ chain c {{ {rules} }}; }}").into_boxed_str())
    };
    hold(&[
        Case {
            claim: "added at the end",
            approved: CHAIN,
            made: "add rule ip t c udp dport 9 drop",
            found: &["added rule ip t/c: - -> udp dport 9 drop"],
        },
        Case {
            claim: "added at the start",
            approved: CHAIN,
            made: "insert rule ip t c udp dport 9 drop",
            found: &["added rule ip t/c: - -> udp dport 9 drop"],
        },
        Case {
            claim: "added in the middle, by a reload that renumbers all handles",
            approved: CHAIN,
            made: reload("tcp dport 1 accept; tcp dport 2 accept; udp dport 9 drop; tcp dport 3 accept;"),
            found: &["added rule ip t/c: - -> udp dport 9 drop"],
        },
        Case {
            claim: "a second one of the same",
            approved: CHAIN,
            made: "add rule ip t c tcp dport 2 accept",
            found: &["added rule ip t/c: - -> tcp dport 2 accept"],
        },
        Case {
            claim: "removed",
            approved: CHAIN,
            made: reload("tcp dport 1 accept; tcp dport 3 accept;"),
            found: &["removed rule ip t/c: tcp dport 2 accept -> -"],
        },
        Case {
            claim: "changed",
            approved: CHAIN,
            made: reload("tcp dport 1 accept; tcp dport 2 drop; tcp dport 3 accept;"),
            found: &["modified rule ip t/c: tcp dport 2 accept -> tcp dport 2 drop"],
        },
        Case {
            claim: "moved",
            approved: CHAIN,
            made: reload("tcp dport 3 accept; tcp dport 1 accept; tcp dport 2 accept;"),
            found: &["moved rule ip t/c: tcp dport 3 accept -> tcp dport 3 accept"],
        },
        Case {
            claim: "a comment",
            approved: "table ip t { chain c { tcp dport 1 accept comment \"web\"; }; }",
            made: reload("tcp dport 1 accept comment \"mail\";"),
            found: &[
                "modified rule ip t/c: tcp dport 1 accept comment \"web\" -> tcp dport 1 accept comment \"mail\"",
            ],
        },
        Case {
            claim: "an anonymous set",
            approved: "table ip t { chain c { tcp dport { 80, 443 } accept; }; }",
            made: reload("tcp dport { 80, 8443 } accept;"),
            found: &["modified rule ip t/c: tcp dport { 80, 443 } accept -> tcp dport { 80, 8443 } accept"],
        },
        Case {
            claim: "inside a chain binding",
            approved: "table ip t { chain c { tcp dport 1 jump { counter accept; }; }; }",
            made: reload("tcp dport 1 jump { counter drop; };"),
            found: &[
                "modified rule ip t/c: tcp dport 1 jump {\n\tcounter accept\n} -> tcp dport 1 jump {\n\tcounter drop\n}",
            ],
        },
        Case {
            claim: "an interface by index",
            approved: "table ip t { chain c { iif \"lo\" accept; }; }",
            made: reload("iif \"lo\" drop;"),
            found: &["modified rule ip t/c: iif \"lo\" accept -> iif \"lo\" drop"],
        },
        Case {
            claim: "a verdict map in a rule",
            approved: "table ip t { chain c { tcp dport vmap { 22 : accept, 80 : drop }; }; }",
            made: reload("tcp dport vmap { 22 : accept, 80 : accept };"),
            found: &[
                "modified rule ip t/c: tcp dport vmap { 22 : accept, 80 : drop } -> tcp dport vmap { 22 : accept, 80 : accept }",
            ],
        },
    ]);
}

#[test]
fn policy_hook_priority_and_comment_of_chains_are_named() {
    let again = |chain: &str| {
        Box::leak(format!("delete chain ip t c; table ip t {{ chain c {{ {chain} }}; }}").into_boxed_str())
    };
    const BASE: &str = "table ip t { chain c { type filter hook input priority 0; policy accept; }; }";
    const SHOWN: &str = "type filter hook input priority filter; policy accept;";
    let modified = |after: &str| -> &'static [&'static str] {
        let line = format!("modified chain ip t/c: {SHOWN} -> {after}");
        Box::leak(Box::new([&*Box::leak(line.into_boxed_str())]))
    };
    hold(&[
        Case {
            claim: "policy",
            approved: BASE,
            made: "chain ip t c { policy drop; }",
            found: modified("type filter hook input priority filter; policy drop;"),
        },
        Case {
            claim: "hook",
            approved: BASE,
            made: again("type filter hook output priority 0; policy accept;"),
            found: modified("type filter hook output priority filter; policy accept;"),
        },
        Case {
            claim: "priority",
            approved: BASE,
            made: again("type filter hook input priority 10; policy accept;"),
            found: modified("type filter hook input priority filter + 10; policy accept;"),
        },
        Case {
            claim: "comment",
            approved: BASE,
            made: again("comment \"new\"; type filter hook input priority 0; policy accept;"),
            found: modified("comment \"new\"\ntype filter hook input priority filter; policy accept;"),
        },
        Case {
            claim: "a chain with its rules, added",
            approved: BASE,
            made: "add chain ip t new; add rule ip t new tcp dport { 1, 2 } accept",
            found: &["added chain ip t/new: - -> chain new {\n\ttcp dport { 1, 2 } accept\n}"],
        },
        Case {
            claim: "a chain, removed",
            approved: BASE,
            made: "delete chain ip t c",
            found: &[
                "removed chain ip t/c: chain c {\n\ttype filter hook input priority filter; policy accept;\n} -> -",
            ],
        },
        Case {
            claim: "a netdev chain on a device",
            approved: "table netdev t { chain c { type filter hook ingress device \"lo\" priority 0; policy accept; }; }",
            made: "chain netdev t c { policy drop; }",
            found: &[
                "modified chain netdev t/c: type filter hook ingress device \"lo\" priority filter; policy accept; -> type filter hook ingress device \"lo\" priority filter; policy drop;",
            ],
        },
        Case {
            claim: "an ingress chain of family inet",
            approved: "table inet t { chain c { type filter hook ingress device \"lo\" priority 0; policy accept; }; }",
            made: "add rule inet t c ip saddr 10.0.0.1 drop",
            found: &["added rule inet t/c: - -> ip saddr 10.0.0.1 drop"],
        },
    ]);
}

#[test]
fn definitions_and_elements_of_sets_and_maps_are_named() {
    const SETS: &str = "table ip t {
        set s { type ipv4_addr; comment \"blocked\"; elements = { 10.0.0.1, 10.0.0.2 }; }
        set i { type ipv4_addr; flags interval; elements = { 10.1.0.0/16 }; }
        map m { type inet_service : ipv4_addr; elements = { 80 : 10.0.0.80 }; }
        map v { type inet_service : verdict; elements = { 22 : accept }; }
    }";
    hold(&[
        Case {
            claim: "an element added",
            approved: SETS,
            made: "add element ip t s { 10.0.0.3 }",
            found: &["added element ip t s: - -> 10.0.0.3"],
        },
        Case {
            claim: "an element removed",
            approved: SETS,
            made: "delete element ip t s { 10.0.0.2 }",
            found: &["removed element ip t s: 10.0.0.2 -> -"],
        },
        Case {
            claim: "an interval added",
            approved: SETS,
            made: "add element ip t i { 10.2.0.0-10.2.0.9 }",
            found: &["added element ip t i: - -> 10.2.0.0-10.2.0.9"],
        },
        Case {
            claim: "an element's comment",
            approved: SETS,
            made: "delete element ip t s { 10.0.0.2 }; add element ip t s { 10.0.0.2 comment \"ada\" }",
            found: &["modified element ip t s: 10.0.0.2 -> 10.0.0.2 comment \"ada\""],
        },
        Case {
            claim: "a map's element",
            approved: SETS,
            made: "delete element ip t m { 80 : 10.0.0.80 }; add element ip t m { 80 : 10.0.0.81 }",
            found: &["modified element ip t m: 80 : 10.0.0.80 -> 80 : 10.0.0.81"],
        },
        Case {
            claim: "a verdict map's element",
            approved: SETS,
            made: "delete element ip t v { 22 : accept }; add element ip t v { 22 : drop }",
            found: &["modified element ip t v: 22 : accept -> 22 : drop"],
        },
        Case {
            claim: "a set's comment",
            approved: SETS,
            made: "delete set ip t s; add set ip t s { type ipv4_addr; comment \"allowed\"; elements = { 10.0.0.1, 10.0.0.2 }; }",
            found: &[
                "modified set ip t s: set s {\n\ttype ipv4_addr\n\tcomment \"blocked\"\n} -> set s {\n\ttype ipv4_addr\n\tcomment \"allowed\"\n}",
            ],
        },
        Case {
            claim: "a set's flags",
            approved: SETS,
            made: "delete set ip t i; add set ip t i { type ipv4_addr; flags interval; auto-merge; elements = { 10.1.0.0/16 }; }",
            found: &[
                "modified set ip t i: set i {\n\ttype ipv4_addr\n\tflags interval\n} -> set i {\n\ttype ipv4_addr\n\tflags interval\n\tauto-merge\n}",
            ],
        },
        Case {
            claim: "a set added with its elements",
            approved: SETS,
            made: "add set ip t n { type inet_service; elements = { 25 }; }",
            found: &["added set ip t n: - -> set n {\n\ttype inet_service\n\telements = { 25 }\n}"],
        },
        Case {
            claim: "a map removed",
            approved: SETS,
            made: "delete map ip t v",
            found: &[
                "removed map ip t v: map v {\n\ttype inet_service : verdict\n\telements = { 22 : accept }\n} -> -",
            ],
        },
    ]);
}

#[test]
fn tables_their_flags_and_their_comments_are_named() {
    hold(&[
        Case {
            claim: "a table added",
            approved: RULES,
            made: "add table arp new",
            found: &["added table arp new: - -> table arp new {\n}"],
        },
        Case {
            claim: "a table removed",
            approved: "table bridge b {}\ntable ip t {}",
            made: "delete table bridge b",
            found: &["removed table bridge b: table bridge b {\n} -> -"],
        },
        Case {
            claim: "put to sleep",
            approved: "table ip t { chain c { type filter hook input priority 0; }; }",
            made: "add table ip t { flags dormant; }",
            found: &["modified table ip t:  -> flags dormant"],
        },
        Case {
            claim: "a comment",
            approved: "table ip t { comment \"a\"; }",
            made: "delete table ip t; add table ip t { comment \"b\"; }",
            found: &["modified table ip t: comment \"a\" -> comment \"b\""],
        },
        Case {
            claim: "everything flushed",
            approved: "table ip a { chain c { accept; }; }\ntable ip6 b {}",
            made: "flush ruleset",
            found: &[
                "removed table ip a: table ip a {\n\tchain c {\n\t\taccept\n\t}\n} -> -",
                "removed table ip6 b: table ip6 b {\n} -> -",
            ],
        },
    ]);
}

#[test]
fn stateful_objects_are_named() {
    const OBJECTS: &str = "table inet t {
        counter k { comment \"web\"; }
        quota q { over 1 mbytes; }
        limit l { rate 10/second; }
        ct helper h { type \"ftp\" protocol tcp; }
        ct timeout o { protocol tcp; policy = { established : 100 }; }
    }";
    hold(&[
        Case {
            claim: "a quota",
            approved: OBJECTS,
            made: "delete quota inet t q; add quota inet t q { over 2 mbytes; }",
            found: &[
                "modified quota inet t q: quota q {\n\tover 1 mbytes\n} -> quota q {\n\tover 2 mbytes\n}",
            ],
        },
        Case {
            claim: "a limit",
            approved: OBJECTS,
            made: "delete limit inet t l; add limit inet t l { rate 20/second; }",
            found: &[
                "modified limit inet t l: limit l {\n\trate 10/second\n} -> limit l {\n\trate 20/second\n}",
            ],
        },
        Case {
            claim: "a counter added",
            approved: OBJECTS,
            made: "add counter inet t n",
            found: &["added counter inet t n: - -> counter n {\n}"],
        },
        Case {
            claim: "a helper removed",
            approved: OBJECTS,
            made: "delete ct helper inet t h",
            found: &[
                "removed ct_helper inet t h: ct helper h {\n\ttype \"ftp\" protocol tcp\n\tl3proto inet\n} -> -",
            ],
        },
        Case {
            claim: "a timeout policy added",
            approved: OBJECTS,
            made: "table inet t { ct timeout p { protocol udp; policy = { replied : 9 }; }; }",
            found: &[
                "added ct_timeout inet t p: - -> ct timeout p {\n\tprotocol udp\n\tl3proto inet\n\tpolicy = { replied : 9 }\n}",
            ],
        },
    ]);
}

#[test]
fn a_change_has_the_same_id_in_a_namespace_with_other_handles() {
    const MADE: &str = "insert rule inet filter input tcp dport 3306 drop; add table ip6 extra;
        chain inet filter forward { policy accept; }; add set inet filter s { type inet_service; }";
    let one = Host::new(RULES);
    one.nft(MADE);
    let other = Host::bare();
    other.nft("add table ip gone; add chain ip gone c; add rule ip gone c accept; delete table ip gone");
    other.nft(RULES);
    other.run(&["init"]).ended(0);
    for _ in 0..3 {
        other.nft("insert rule inet filter input tcp dport 3306 drop");
        other.nft(&format!("flush ruleset; {RULES}"));
    }
    other.nft(MADE);
    let (first, second) = (one.changes(), other.changes());
    assert_eq!(first.len(), 4);
    assert_eq!(ids(&first), ids(&second));
    // Other drift beside it does not alter an id.
    let before = id_of(&first, "3306 drop");
    one.nft("insert rule inet filter input udp dport 53 accept");
    assert_eq!(id_of(&one.changes(), "3306 drop"), before);
}
