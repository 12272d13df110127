use super::*;
use crate::model::{Decider, Gap, SideKind, SideRef, Verdict};
use crate::report::check;
use crate::report::fixture::*;

fn of(flows: Vec<FlowOutcome>, gaps: Vec<Gap>) -> FlowsResult {
    FlowsResult {
        schema: "fwdrift.flows/1".into(),
        host: "db-01".into(),
        netns: None,
        against: SideRef {
            given: "live".into(),
            kind: SideKind::Live,
            commit: None,
            path: None,
            captured_at: Some(at(2, 18, 9)),
            generation: Some(42),
            providers: vec![],
        },
        flows,
        gaps,
    }
}

fn check_text(result: &FlowsResult, expect: &str) {
    assert_eq!(plain(&text(result, &options(None))), expect);
}

#[test]
fn flows_that_hold_are_a_line_each() {
    let result = of(vec![flow("web to db", Some(true)), flow("backup", Some(true))], vec![]);
    check_text(
        &result,
        "\
OK  db-01: all 2 required flows hold in live

  ok  \"web to db\" (allow, both directions, at input)
  ok  \"backup\" (allow, both directions, at input)
",
    );
    assert_eq!(result.exit_code(), 0);
    check_text(&of(vec![], vec![]), "OK  db-01: fwdrift.toml on main has no required flow\n");
}

#[test]
fn a_broken_flow_comes_first_with_the_rule_who_put_it_there_and_whom_to_ask() {
    let flows = vec![flow("backup", Some(true)), flow("ntp", None), flow("web to db", Some(false))];
    let result = of(flows, vec![]);
    check_text(
        &result,
        "\
BROKEN  db-01: 1 of 3 required flows is broken in live: \"web to db\", dropped by \"tcp dport 3306 drop\" (rule 1 of \
         inet filter input), put there by ops1 as root at 2026-11-20T02:14:09Z, not approved

  BROKEN  \"web to db\" (allow, request, at input)
          tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections
          dropped by \"tcp dport 3306 drop\" (rule 1 of inet filter input)
          put there by ops1 as root at 2026-11-20T02:14:09Z, not approved (change a1b2c3d4e5f6)
          for example tcp 10.0.1.0:1024 → 10.0.2.9:3306
          owner: team-db, ticket: NET-12
  ?  \"ntp\" (allow, both directions, at input)
     depends on limit rate 3/second
     owner: team-db, ticket: NET-12
  ok  \"backup\" (allow, both directions, at input)
",
    );
    assert_eq!(result.exit_code(), 3);
}

#[test]
fn of_one_flow_and_an_unknown_author_no_more_is_said_than_is_known() {
    let mut broken = flow("web to db", Some(false));
    broken.broken_by.as_mut().unwrap().provenance =
        Some(Provenance::Drift { id: "a".into(), author: Box::default(), time: None });
    let text = plain(&text(&of(vec![broken], vec![]), &options(None)));
    let first = "BROKEN  db-01: the required flow is broken in live: \"web to db\", dropped by \"tcp dport 3306 drop\" (rule 1 \
                 of inet filter input), put there by an unknown author, not approved\n";
    assert!(text.starts_with(first), "{text}");
}

#[test]
fn an_approved_rule_that_breaks_a_flow_is_told_with_its_approval_and_its_line() {
    let mut broken = flow("web to db", Some(false));
    broken.broken_by.as_mut().unwrap().provenance = Some(Provenance::Approved {
        by: "Ada <ada@example.org>".into(),
        time: at(1, 0, 0),
        commit: COMMIT.into(),
        path: "nft/filter.nft".into(),
        line: 14,
    });
    let text = plain(&text(&of(vec![broken], vec![]), &options(None)));
    let expect = "approved by Ada <ada@example.org> at 2026-11-20T01:00:00Z (baseline 3f2a91c04d5e, nft/filter.nft line 14)";
    assert!(text.contains(expect), "{text}");
}

#[test]
fn what_could_not_be_seen_is_no_ok() {
    let result = of(vec![flow("web to db", Some(true))], vec![gap(true)]);
    let text = plain(&text(&result, &options(None)));
    let first = "UNKNOWN  db-01: the required flow holds in live, as far as could be seen; 1 source could not be looked at\n";
    assert!(text.starts_with(first), "{text}");
    assert_eq!(result.exit_code(), 2);
}

#[test]
fn check_names_broken_flows_first_and_its_exit_code_is_3() {
    let first = |result: &CheckResult| {
        plain(&check::text(result, &options(None))).lines().next().unwrap_or_default().to_owned()
    };
    let with = |changes: Vec<_>, flows: Vec<_>| CheckResult { flows, ..result(changes, vec![]) };
    let broken = || flow("web to db", Some(false));

    let drift = with(vec![cutting()], vec![broken(), flow("ntp", Some(false))]);
    assert_eq!(
        first(&drift),
        "DRIFT  web-01: 1 unapproved change against baseline 3f2a91c04d5e, critical: cuts required flow \"web to db\"; \
         required flow \"ntp\" is broken"
    );
    assert_eq!(drift.exit_code(), 3);
    let text = plain(&check::text(&drift, &options(None)));
    assert!(
        text.find("\nrequired flows\n  BROKEN  \"web to db\"") < text.find("\ntable inet filter\n"),
        "{text}"
    );

    let approved = with(vec![], vec![broken()]);
    assert_eq!(
        first(&approved),
        "BROKEN  web-01: required flow \"web to db\" is broken; no difference from baseline 3f2a91c04d5e"
    );
    assert_eq!((approved.verdict, approved.exit_code()), (Verdict::InSync, 3));

    let unclear = with(vec![], vec![flow("ntp", None), flow("a", Some(true))]);
    assert_eq!(
        first(&unclear),
        "UNKNOWN  web-01: required flow \"ntp\" is unclear; no difference from baseline 3f2a91c04d5e"
    );
    assert_eq!(unclear.exit_code(), 2);

    let good = with(vec![], vec![flow("a", Some(true)), flow("b", Some(true))]);
    check_one_line(
        &good,
        "IN SYNC  web-01: no difference from baseline 3f2a91c04d5e; 2 required flows hold\n",
    );
    assert_eq!(good.exit_code(), 0);
}

fn check_one_line(result: &CheckResult, expect: &str) {
    assert_eq!(plain(&check::text(result, &options(None))), expect);
}

#[test]
fn json_is_the_whole_result_and_without_flows_check_has_no_such_field() {
    let result = of(vec![flow("web to db", Some(false))], vec![gap(false)]);
    assert_eq!(serde_json::from_str::<FlowsResult>(&json(&result)).unwrap(), result);
    let check = crate::report::fixture::result(vec![], vec![]);
    let value: serde_json::Value = serde_json::from_str(&check::json(&check)).unwrap();
    assert_eq!(value.get("flows"), None);
}

#[test]
fn a_flow_is_a_test_case_for_ci() {
    let flows = vec![flow("backup", Some(true)), flow("web to db", Some(false)), flow("ntp", None)];
    let expect = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite id="0" package="fwdrift" name="required flows" hostname="db-01" timestamp="2026-11-20T02:18:09" time="0" tests="3" failures="1" errors="1">
    <properties>
      <property name="against" value="live"/>
    </properties>
    <testcase classname="fwdrift.db-01" name="backup" time="0"/>
    <testcase classname="fwdrift.db-01" name="web to db" time="0">
      <failure message="required flow &quot;web to db&quot; is broken: dropped by &quot;tcp dport 3306 drop&quot; (rule 1 of inet filter input), put there by ops1 as root at 2026-11-20T02:14:09Z, not approved" type="broken">expected: allow, request, at input
tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections
dropped by &quot;tcp dport 3306 drop&quot; (rule 1 of inet filter input)
put there by ops1 as root at 2026-11-20T02:14:09Z, not approved (change a1b2c3d4e5f6)
for example tcp 10.0.1.0:1024 → 10.0.2.9:3306
owner: team-db, ticket: NET-12</failure>
    </testcase>
    <testcase classname="fwdrift.db-01" name="ntp" time="0">
      <error message="required flow &quot;ntp&quot; cannot be determined: depends on limit rate 3/second" type="inconclusive">expected: allow, both directions, at input
depends on limit rate 3/second
owner: team-db, ticket: NET-12</error>
    </testcase>
    <system-out></system-out>
    <system-err></system-err>
  </testsuite>
</testsuites>
"#;
    assert_eq!(junit(&of(flows, vec![]), at(0, 0, 0)), expect);
}

#[test]
fn what_could_not_be_seen_is_a_test_case_with_an_error() {
    let xml = junit(&of(vec![flow("web to db", Some(true))], vec![gap(true), gap(false)]), at(0, 0, 0));
    assert!(xml.contains("tests=\"2\" failures=\"0\" errors=\"1\""), "{xml}");
    assert_eq!(xml.matches("type=\"unseen\"").count(), 1);
    let mut of_file = of(vec![], vec![gap(false)]);
    of_file.against.captured_at = None;
    let xml = junit(&of_file, at(1, 2, 3));
    assert!(xml.contains("timestamp=\"2026-11-20T01:02:03\"") && xml.contains("tests=\"0\""), "{xml}");
}

/// Each element that is opened is closed, and no text becomes one.
fn elements(xml: &str) -> Vec<String> {
    let mut open = vec![];
    let mut all = vec![];
    for tag in xml.split('<').skip(2) {
        let (tag, text) = tag.split_once('>').expect("a tag ends");
        assert!(!text.contains('>'), "{text}");
        let name = tag.split([' ', '/']).find(|word| !word.is_empty()).expect("a name").to_owned();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name)),
            (false, true) => all.push(name),
            (false, false) => {
                open.push(name.clone());
                all.push(name);
            }
        }
    }
    assert!(open.is_empty());
    all
}

#[test]
fn hostile_text_neither_acts_in_a_terminal_nor_becomes_an_element() {
    let evil = "x]]><failure a=\"'&\x1b[2J\n\r\0\u{202e}\u{fffe}\u{9b}";
    let provenance = Provenance::Drift {
        id: evil.into(),
        author: Box::new(crate::model::Author { name: evil.into(), ..ops1() }),
        time: None,
    };
    let decider = Decider {
        verdict: evil.into(),
        table: evil.into(),
        chain: evil.into(),
        position: Some(1),
        text: Some(evil.into()),
        baseline: None,
        provenance: Some(provenance),
    };
    let broken = FlowOutcome {
        name: evil.into(),
        path: evil.into(),
        broken_by: Some(decider),
        sample: Some([(evil.to_owned(), evil.to_owned()), ("src".into(), evil.into())].into()),
        packets: vec![evil.into()],
        owner: Some(evil.into()),
        ticket: Some(evil.into()),
        ..flow("x", Some(false))
    };
    let unclear = FlowOutcome { holds: None, ..broken.clone() };
    let mut gap = gap(true);
    (gap.source, gap.reason, gap.hint) = (evil.into(), evil.into(), Some(evil.into()));
    let mut result = of(vec![broken.clone(), unclear], vec![gap]);
    (result.host, result.netns, result.against.given) = (evil.into(), Some(evil.into()), evil.into());
    result.against.commit = Some(evil.into());
    let (text, xml) = (plain(&text(&result, &options(None))), junit(&result, at(0, 0, 0)));
    for shown in [
        &text,
        &xml,
        &json(&result),
        &check::text(
            &CheckResult { flows: vec![broken], ..crate::report::fixture::result(vec![], vec![]) },
            &options(None),
        ),
    ] {
        let bad = plain(shown).chars().find(|c| *c != '\n' && terminal(&c.to_string()) != c.to_string());
        assert_eq!(bad, None, "{shown}");
    }
    let names = elements(&xml);
    assert_eq!(names.iter().filter(|name| *name == "failure").count(), 1);
    assert_eq!(names.iter().filter(|name| *name == "error").count(), 2);
}
