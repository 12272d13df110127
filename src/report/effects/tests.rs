use super::*;
use crate::report::fixture::*;
use crate::report::{Options, check, diff, event, log};

fn check_lines(change: &Change, limit: usize, expect: &str) {
    let text: String = lines(change, limit, "--format json").iter().map(|line| format!("{line}\n")).collect();
    assert_eq!(plain(&text), expect);
}

fn with(kind: EffectKind) -> Change {
    Change { impact: Some(vec![effect(kind)]), ..added() }
}

#[test]
fn a_statement_has_the_rules_before_and_after_and_a_packet() {
    check_lines(
        &cutting(),
        9,
        "severity: critical, cuts required flow \"web to db\"\n\
         cut     tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at input\n        \
         was accepted by \"tcp dport 3306 accept\" (rule 14), now dropped by \"tcp dport 3306 drop\" (rule 1)\n        \
         for example tcp 10.0.1.0:1024 → 10.0.2.9:3306\n",
    );
}

#[test]
fn a_rule_of_another_chain_and_a_policy_are_named_with_their_chain() {
    let mut change = with(EffectKind::Opened);
    change.severity = Some(Severity::High);
    for effect in change.impact.iter_mut().flatten() {
        effect.was = Some(decider("drop", None, "policy drop"));
        effect.conditions = vec!["meta skuid 33".into()];
        effect.now.as_mut().unwrap().chain = "web\x1b[2J".into();
    }
    check_lines(
        &change,
        9,
        "severity: high\n\
         opened  tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at input\n        \
         was dropped by policy drop of inet filter input, now accepted by \"tcp dport 3306 accept\" (rule 14 of inet \
         filter web\\x1b[2J)\n        \
         for example tcp 10.0.1.0:1024 → 10.0.2.9:3306\n        \
         depends on meta skuid 33\n",
    );
}

#[test]
fn the_word_of_the_effect_is_said_once() {
    let mut cut = effect(EffectKind::Cut);
    for statement in ["tcp to x", "cut tcp to x", "cut  tcp to x", "cut: tcp to x"] {
        cut.statement = statement.into();
        assert_eq!(body(&cut), "tcp to x");
    }
    cut.statement =
        "cut  tcp to x, at input, if meta skuid 33; was accepted by \"a\", now dropped by \"b\"".into();
    assert_eq!(body(&cut), "tcp to x, at input, if meta skuid 33");
    cut.conditions = vec!["meta skuid 33".into()];
    assert!(of_effect(&cut, &added()).iter().all(|line| !line.contains("depends on")));
    cut.statement = "cutlery to x".into();
    assert_eq!(body(&cut), "cutlery to x");
}

#[test]
fn an_empty_list_is_no_effect_and_null_is_silence() {
    let change = |severity, impact| Change { severity, impact, ..added() };
    check_lines(&change(None, None), 9, "");
    check_lines(&change(None, Some(vec![])), 9, "no effect on traffic\n");
    check_lines(&change(Some(Severity::Info), Some(vec![])), 9, "severity: info, no effect on traffic\n");
    let unclear =
        |impact| Change { impact_incomplete: Some("inconclusive: a\nb".into()), ..change(None, impact) };
    check_lines(&unclear(None), 9, "traffic: inconclusive: a\\nb\n");
    check_lines(&unclear(Some(vec![])), 9, "traffic: inconclusive: a\\nb\n");
}

#[test]
fn what_is_not_shown_is_counted() {
    let change = Change { impact: Some(vec![effect(EffectKind::Cut); 12]), ..added() };
    let text = lines(&change, BRIEF, "--format json").join("\n");
    assert_eq!(plain(&text).matches("\ncut ").count() + 1, BRIEF);
    assert!(plain(&text).ends_with("\n… 7 more statements (--format json has all)"), "{text}");
    assert!(!lines(&change, usize::MAX, "").join("\n").contains('…'));
}

#[test]
fn a_packet_is_told_in_the_form_of_a_statement() {
    let check = |fields: &[(&str, &str)], expect: &str| {
        let sample = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(packet(&sample), expect);
    };
    check(
        &[("proto", "udp"), ("src", "2001:db8::1"), ("sport", "1"), ("dst", "fe80::2"), ("dport", "53")],
        "udp [2001:db8::1]:1 → [fe80::2]:53",
    );
    check(&[("dst", "10.0.0.1"), ("proto", "icmp"), ("icmp type", "8")], "icmp any → 10.0.0.1, icmp type 8");
    check(&[("iif", "eth0\n")], "iif eth0\\n");
    check(&[], "any packet");
}

#[test]
fn the_worst_statement_is_of_the_highest_severity_and_a_flow_comes_first() {
    let small = Change { severity: Some(Severity::Critical), ..with(EffectKind::Opened) };
    let mut large = small.clone();
    large.impact.as_mut().unwrap()[0].share = 0.5;
    large.impact.as_mut().unwrap()[0].statement = "everything".into();
    let mild = Change { severity: Some(Severity::Low), ..cutting() };
    let check = |changes: &[Change], expect: &str| assert_eq!(lead(changes, 60), expect);
    check(&[mild.clone(), small.clone(), large.clone()], "critical, opened everything: ");
    check(&[small.clone(), large, cutting()], "critical, cuts required flow \"web to db\": ");
    check(&[small], "critical, opened tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at…: ");
    let none = Change { severity: Some(Severity::Info), impact: Some(vec![]), ..added() };
    check(std::slice::from_ref(&none), "info, no effect on traffic: ");
    check(&[none.clone(), Change { severity: None, ..added() }], "info: ");
    check(
        &[none, Change { impact_incomplete: Some("x".into()), severity: Some(Severity::Medium), ..added() }],
        "medium: ",
    );
    check(&[added()], "");
}

#[test]
fn flows_are_named_each_once_and_many_are_counted() {
    let of = |kind, name: &str| Effect { flow: Some(name.into()), ..effect(kind) };
    let check =
        |effects: &[Effect], expect: Option<&str>| assert_eq!(of_flows(effects.iter()).as_deref(), expect);
    let cut = |name: &str| of(EffectKind::Cut, name);
    check(&[cut("a"), cut("a"), of(EffectKind::Opened, "b")], Some("cuts required flow \"a\""));
    check(&[of(EffectKind::Opened, "b\x1b")], Some("opens required flow \"b\\x1b\""));
    check(&["d", "c", "b", "a", "e"].map(cut), Some("cuts required flows \"a\", \"b\", \"c\" and 2 more"));
    check(&[effect(EffectKind::Cut)], None);
}

#[test]
fn every_first_line_has_the_severity_and_the_worst_statement() {
    let o: Options<'_> = options(None);
    let first = |text: &str| plain(text).lines().next().unwrap_or_default().to_owned();
    assert_eq!(
        first(&check::text(&result(vec![cutting()], vec![]), &o)),
        "DRIFT  web-01: 1 unapproved change against baseline 3f2a91c04d5e, critical: cuts required flow \"web to db\""
    );
    let drift = entry(12, crate::model::EventKind::Drift, vec![cutting()]);
    assert!(
        crate::report::alert::headline(&drift.event, &o).starts_with(
            "web-01: critical, cuts required flow \"web to db\": ops1 as root added 1 rule in inet filter input at "
        )
    );
    assert_eq!(
        event::subject(&drift.event),
        "web-01: critical, cuts required flow \"web to db\": firewall changed by ops1 as root: + tcp dport 3306 drop in \
         inet filter input"
    );
    let log = plain(&log::text("web-01", std::slice::from_ref(&drift), at(3, 0, 0), &o));
    assert!(log.contains("\n        critical: cuts required flow \"web to db\"\n"), "{log}");
    let side = |given: &str, kind| crate::model::SideRef {
        given: given.into(),
        kind,
        commit: None,
        path: None,
        captured_at: None,
        generation: None,
        providers: vec![],
    };
    let result = result(vec![cutting()], vec![]);
    let result = crate::model::DiffResult {
        schema: "fwdrift.diff/1".into(),
        host: result.host,
        netns: None,
        from: side("/a", crate::model::SideKind::File),
        to: side("/b", crate::model::SideKind::File),
        verdict: crate::model::Sameness::Different,
        gaps: vec![],
        changes: result.changes,
        summary: result.summary,
    };
    assert_eq!(
        first(&diff::text(&result, &o)),
        "DIFFERENT  web-01: 1 difference from /a to /b, critical: cuts required flow \"web to db\""
    );
}

#[test]
fn below_a_change_stands_who_made_it_and_then_what_it_did() {
    let text = plain(&check::text(&result(vec![cutting()], vec![]), &options(None)));
    let who = text.find("      by ops1 as root").unwrap_or_else(|| panic!("{text}"));
    let expect = "
      severity: critical, cuts required flow \"web to db\"
      cut     tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at input
              was accepted by \"tcp dport 3306 accept\" (rule 14), now dropped by \"tcp dport 3306 drop\" (rule 1)
              for example tcp 10.0.1.0:1024 → 10.0.2.9:3306
";
    assert!(text.contains("    + tcp dport 3306 drop\n      by ops1 as root"), "{text}");
    let text = &text[who..];
    assert!(text.contains(expect), "{text}");
}
