//! `approve`: all of the drift, or chosen changes, become the baseline; the rest stays as it is.

use crate::support::{Host, NAME, RULES, each, id_of, ids, kinds, line, lines};
use serde_json::Value;

const MADE: &str = "insert rule inet filter input tcp dport 3306 drop;
    add rule inet filter input tcp dport 443 accept; chain inet filter forward { policy accept; }";

#[test]
fn all_of_the_drift_is_approved_with_reason_and_ticket() {
    let host = Host::audited(RULES);
    host.login(3_100_005, &format!("nft '{MADE}'"));
    host.record();
    let changes = host.changes();
    let said = host.run(&["approve", "--yes", "-m", "Replica\n\nneeds it", "--ticket", "CHG-42"]).ended(0);
    assert!(said.starts_with("Approved 3 changes on db-01 as "), "{said}");
    host.check(0);
    let message = host.git(&["log", "-1", "--format=%B", "main"]);
    assert!(message.contains("needs it") && message.contains("CHG-42"), "{message}");
    assert!(ids(&changes).iter().all(|id| message.contains(id)), "{message}");
    let events = host.events();
    assert_eq!(kinds(&events), ["approved", "drift", "approved"]);
    let approval = &events[2]["approval"];
    assert_eq!(approval["commit"], host.git(&["rev-parse", "main"]).trim());
    assert_eq!((&approval["reason"], &approval["ticket"]), (&"Replica\n\nneeds it".into(), &"CHG-42".into()));
    assert_eq!(events[2]["changes"][0]["author"]["auid"], 3_100_005, "who made it is not who approved it");
    assert!(host.git(&["status", "--porcelain"]).is_empty(), "the working tree follows");
    assert_eq!(
        host.git(&[
            "diff",
            "--stat",
            &format!("main:baselines/{NAME}"),
            &format!("live/{NAME}"),
            "--",
            ".",
            ":!event.json"
        ]),
        ""
    );
    assert!(host.run(&["approve", "--yes"]).ended(0).contains("nothing to approve"));
}

/// What is approved at first, what is done, which change is then approved, and how many there are.
struct Case {
    claim: &'static str,
    approved: &'static str,
    made: &'static str,
    chosen: &'static str,
    count: usize,
}

const CHAIN: &str = "table ip t { chain c { tcp dport 1 accept; tcp dport 2 accept; tcp dport 3 accept; tcp dport 4 accept; }; }";
const REBUILT: &str = "flush chain ip t c; table ip t { chain c { ";

#[test]
fn one_change_of_several_is_approved_and_the_others_stay_with_ids_and_authors() {
    let rebuilt = |rules: &str| &*Box::leak(format!("{REBUILT}{rules} }}; }}").into_boxed_str());
    let cases = [
        Case {
            claim: "a rule in the middle",
            approved: CHAIN,
            made: rebuilt(
                "udp dport 1 drop; tcp dport 1 accept; tcp dport 2 accept; udp dport 2 drop; tcp dport 3 accept; tcp dport 4 accept; udp dport 3 drop;",
            ),
            chosen: "udp dport 2",
            count: 3,
        },
        Case {
            claim: "a removed rule",
            approved: CHAIN,
            made: rebuilt("tcp dport 1 accept; tcp dport 3 accept; tcp dport 4 accept; udp dport 3 drop;"),
            chosen: "tcp dport 2",
            count: 2,
        },
        Case {
            claim: "not the removed rule",
            approved: CHAIN,
            made: rebuilt("tcp dport 1 accept; tcp dport 3 accept; tcp dport 4 accept; udp dport 3 drop;"),
            chosen: "udp dport 3",
            count: 2,
        },
        Case {
            claim: "a moved rule",
            approved: CHAIN,
            made: rebuilt(
                "tcp dport 4 accept; tcp dport 1 accept; udp dport 9 drop; tcp dport 2 accept; tcp dport 3 accept;",
            ),
            chosen: "moved",
            count: 2,
        },
        Case {
            claim: "not the moved rule",
            approved: CHAIN,
            made: rebuilt(
                "tcp dport 4 accept; tcp dport 1 accept; udp dport 9 drop; tcp dport 2 accept; tcp dport 3 accept;",
            ),
            chosen: "udp dport 9",
            count: 2,
        },
        Case {
            claim: "a changed rule beside another",
            approved: CHAIN,
            made: rebuilt("tcp dport 1 drop; tcp dport 2 drop; tcp dport 3 accept; tcp dport 4 accept;"),
            chosen: "tcp dport 2 drop",
            count: 2,
        },
        Case {
            claim: "one element",
            approved: "table ip t { set s { type ipv4_addr; elements = { 10.0.0.1, 10.0.0.2 }; }; }",
            made: "add element ip t s { 10.0.0.3, 10.0.0.4 }; delete element ip t s { 10.0.0.1 }",
            chosen: "10.0.0.4",
            count: 3,
        },
        Case {
            claim: "an element that is gone",
            approved: "table ip t { set s { type ipv4_addr; flags interval; elements = { 10.1.0.0/16, 10.2.0.0/16 }; }; }",
            made: "add element ip t s { 10.3.0.0/16 }; delete element ip t s { 10.1.0.0/16 }",
            chosen: "removed",
            count: 2,
        },
        Case {
            claim: "a chain with rules, anonymous sets and a chain of its own",
            approved: CHAIN,
            made: "table ip t { chain n { tcp dport { 22, 80 } accept; tcp dport vmap { 1 : accept, 2 : drop }; ip saddr 10.0.0.1 jump { udp dport { 53, 123 } accept; }; }; }; add rule ip t c drop",
            chosen: "added chain",
            count: 2,
        },
        Case {
            claim: "a rule with an anonymous set beside others",
            approved: "table ip t { chain c { tcp dport { 1, 2 } accept; tcp dport { 3, 4 } accept; }; }",
            made: rebuilt(
                "tcp dport { 1, 2 } accept; tcp dport { 5, 6 } accept; tcp dport { 3, 4 } accept; tcp dport { 7, 8 } drop;",
            ),
            chosen: "{ 5, 6 }",
            count: 2,
        },
        Case {
            claim: "a policy, not a rule",
            approved: "table ip t { chain c { type filter hook input priority 0; policy accept; }; }",
            made: "chain ip t c { policy drop; }; add rule ip t c accept",
            chosen: "modified chain",
            count: 2,
        },
        Case {
            claim: "a table, not another",
            approved: "",
            made: "table ip one { chain c { tcp dport { 1, 2 } accept; }; }; table ip6 two { set s { type inet_service; }; }",
            chosen: "ip one",
            count: 2,
        },
        Case {
            claim: "an object, not another",
            approved: "table ip t { quota q { over 1 mbytes; }; }",
            made: "add counter ip t k; delete quota ip t q; add quota ip t q { over 2 mbytes; }",
            chosen: "quota",
            count: 2,
        },
        Case {
            claim: "a removed chain",
            approved: "table ip t { chain a { accept; }; chain b { drop; }; }",
            made: "delete chain ip t a; delete chain ip t b",
            chosen: "ip t/a",
            count: 2,
        },
    ];
    each(
        &cases,
        |case| case.claim,
        |case| {
            let host = Host::audited(case.approved);
            let file = host.file("made.nft", case.made);
            host.login(3_100_005, &format!("nft -f {file}"));
            host.record();
            let before = host.changes();
            assert_eq!(before.len(), case.count, "{}: {:#?}", case.claim, lines(&before));
            let chosen = id_of(&before, case.chosen);
            host.run(&["approve", "--yes", &chosen]).ended(0);
            let left: Vec<Value> =
                before.iter().filter(|change| change["id"] != chosen.as_str()).cloned().collect();
            let now = host.changes();
            assert_eq!(lines(&now), lines(&left), "{}", case.claim);
            assert_eq!(ids(&now), ids(&left), "{}", case.claim);
            assert!(now.iter().all(|change| change["author"]["auid"] == 3_100_005), "{}", case.claim);
            assert!(host.record().is_empty(), "{}: approving recorded all there is", case.claim);
            // The rest put back by hand, from the baseline's own files: in sync.
            let files = host.repo().join(format!("baselines/{NAME}/nft"));
            host.sh(&format!("(echo flush ruleset; cat {}/*.nft) | nft -f -", files.display()));
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{}", case.claim);
            assert_eq!(kinds(&host.record()), ["reverted"], "{}", case.claim);
        },
    );
}

#[test]
fn chosen_one_after_the_other_in_any_order_the_drift_is_gone() {
    let made = format!(
        "{REBUILT}tcp dport 4 accept; udp dport 1 drop; tcp dport 1 drop; tcp dport 3 accept; udp dport 9 accept; }}; }}; add table ip6 n"
    );
    for backwards in [false, true] {
        let host = Host::new(CHAIN);
        host.nft(&made);
        let mut changes = host.changes();
        assert!(changes.len() >= 5, "{:#?}", lines(&changes));
        if backwards {
            changes.reverse();
        }
        for change in &changes {
            host.run(&["approve", "--yes", change["id"].as_str().unwrap()]).ended(0);
        }
        assert_eq!(lines(&host.changes()), Vec::<String>::new());
    }
}

#[test]
fn the_drift_that_was_reviewed_is_approved_and_no_other() {
    let host = Host::new(RULES);
    host.nft("add rule inet filter input tcp dport 443 accept");
    let reviewed = host.check(1)["review_id"].as_str().unwrap().to_owned();
    assert!(host.run(&["check"]).stdout.contains(&reviewed));
    host.nft("add rule inet filter input tcp dport 23 accept");
    let refs = || host.git(&["for-each-ref"]);
    let before = refs();
    let error = host.run(&["approve", "--reviewed", &reviewed]).failed();
    assert!(error.contains(&reviewed) && error.contains("hint: "), "{error}");
    assert_eq!(refs(), before);
    let reviewed = host.check(1)["review_id"].as_str().unwrap().to_owned();
    // A baseline that moved is another review, too.
    let chosen = id_of(&host.changes(), "dport 23");
    host.run(&["approve", "--yes", &chosen]).ended(0);
    host.run(&["approve", "--reviewed", &reviewed]).failed();
    let reviewed = host.check(1)["review_id"].as_str().unwrap().to_owned();
    host.run(&["approve", "--reviewed", &reviewed]).ended(0);
    host.check(0);
}

#[test]
fn drift_that_no_record_saw_is_written_down_with_its_author_before_it_is_approved() {
    let host = Host::audited(CHAIN);
    host.login(3_100_005, "nft insert rule ip t c udp dport 9 drop; nft add table ip6 n");
    host.login(3_100_006, "nft add table arp o");
    let chosen = id_of(&host.changes(), "udp dport 9");
    host.run(&["approve", "--yes", &chosen]).ended(0);
    let events = host.events();
    assert_eq!(kinds(&events), ["approved", "drift", "drift", "approved"], "{events:#?}");
    let approved = events[3]["changes"].as_array().unwrap();
    assert_eq!(ids(approved), [chosen]);
    assert_eq!(approved[0]["author"]["auid"], 3_100_005);
    assert_eq!(events[3]["open"].as_array().unwrap().len(), 2);
    assert!(host.record().is_empty());
}

#[test]
fn an_id_that_means_nothing_or_too_much_is_refused() {
    let host = Host::new(RULES);
    host.nft(MADE);
    let before = host.git(&["for-each-ref"]);
    let known = ids(&host.changes());
    for wrong in ["ffffffffffff", "", "abc", &known[0][..3], "../x"] {
        host.run(&["approve", "--yes", wrong]).failed();
        host.run(&["approve", "--yes", &known[1], wrong]).failed();
    }
    assert_eq!(host.git(&["for-each-ref"]), before);
    host.run(&["approve", "--yes", &known[0][..6]]).ended(0);
    assert_eq!(host.changes().len(), 2);
}

#[test]
fn a_change_that_needs_another_one_is_not_approved_alone() {
    for (claim, made, chosen) in [
        ("a jump to a new chain", "add chain ip t n; add rule ip t c jump n", "jump n"),
        (
            "a lookup in a new set",
            "add set ip t s { type ipv4_addr; }; add rule ip t c ip saddr @s drop",
            "@s",
        ),
    ] {
        let host = Host::new(CHAIN);
        host.nft(made);
        let refs = host.git(&["for-each-ref"]);
        let changes = host.changes();
        let error = host.run(&["approve", "--yes", &id_of(&changes, chosen)]).failed();
        assert!(error.contains("hint: "), "{claim}: {error}");
        assert_eq!(host.git(&["for-each-ref"]), refs, "{claim}");
        assert_eq!(ids(&host.changes()), ids(&changes), "{claim}");
        host.run(&["approve", "--yes"]).ended(0);
        host.check(0);
    }
}

#[test]
fn rules_of_iptables_are_approved_one_by_one() {
    for program in ["iptables-nft", "iptables-legacy"] {
        let host = Host::bare();
        host.sh(&format!(
            "{program} -P FORWARD DROP; {program} -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT"
        ));
        host.run(&["init"]).ended(0);
        host.sh(&format!("{program} -A INPUT -m string --algo bm --string evil -j DROP; {program} -A INPUT -s 10.0.0.1 -j DROP; {program} -P FORWARD ACCEPT"));
        let changes = host.changes();
        assert_eq!(changes.len(), 3, "{:#?}", lines(&changes));
        let chosen = id_of(&changes, "evil");
        host.run(&["approve", "--yes", &chosen]).ended(0);
        let left: Vec<String> = changes.iter().filter(|c| c["id"] != chosen.as_str()).map(line).collect();
        assert_eq!(lines(&host.changes()), left, "{program}");
        host.run(&["approve", "--yes"]).ended(0);
        host.check(0);
        assert!(host.record().is_empty());
    }
}

#[test]
fn the_approver_is_the_person_that_git_or_the_login_names() {
    let host = Host::new(RULES);
    host.nft(MADE);
    host.git(&["config", "user.name", "Grace"]);
    host.git(&["config", "user.email", "grace@example.org"]);
    host.run(&["approve", "--yes"]).ended(0);
    assert_eq!(host.git(&["log", "-1", "--format=%an <%ae>", "main"]).trim(), "Grace <grace@example.org>");
    host.git(&["config", "--unset", "user.name"]);
    host.git(&["config", "--unset", "user.email"]);
    host.nft("add table ip more");
    let mut behind_sudo = host.command(&["approve", "--yes"]);
    behind_sudo.env("SUDO_UID", "65534").env("SUDO_USER", "nobody");
    let output = behind_sudo.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let author = host.git(&["log", "-1", "--format=%an <%ae>", "main"]);
    // A login of the test's own, where there is one, is stronger than what sudo says.
    if std::fs::read_to_string("/proc/self/loginuid").unwrap().trim() == u32::MAX.to_string() {
        assert_eq!(author.trim(), format!("nobody <nobody@{NAME}>"));
    }
}

#[test]
fn what_init_and_approve_did_is_one_object_for_programs() {
    let host = Host::bare();
    host.nft(RULES);
    let made: Value = serde_json::from_str(&host.run(&["init", "--format", "json"]).ended(0)).unwrap();
    assert_eq!((&made["schema"], &made["verdict"]), (&"fwdrift.init/1".into(), &"in_sync".into()));
    assert_eq!(made["baseline"]["commit"], host.git(&["rev-parse", "main"]).trim());
    host.nft(MADE);
    let approve = ["approve", "--format", "json", "-m", "why", "--ticket", "CHG-1"];
    let approved: Value = serde_json::from_str(&host.run(&approve).ended(0)).unwrap();
    assert_eq!((&approved["schema"], &approved["ticket"]), (&"fwdrift.approve/1".into(), &"CHG-1".into()));
    assert_eq!(approved["baseline"]["commit"], host.git(&["rev-parse", "main"]).trim());
    assert_eq!(approved["changes"].as_array().map(Vec::len), Some(3));
    let again: Value = serde_json::from_str(&host.run(&approve).ended(0)).unwrap();
    assert_eq!((&again["baseline"], again["changes"].as_array().map(Vec::len)), (&Value::Null, Some(0)));
}
