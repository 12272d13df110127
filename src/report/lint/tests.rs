use super::*;
use crate::model::{Gap, LintRule, SideKind, SideRef};
use serde_json::Value;

fn finding(code: LintCode) -> LintFinding {
    LintFinding {
        code,
        level: code.level(),
        message: "rule 1 decides about all its packets before it".to_owned(),
        family: "inet".to_owned(),
        table: "filter\x1b[2J".to_owned(),
        object: ObjectKind::Rule,
        chain: Some("input".to_owned()),
        name: None,
        position: Some(3),
        text: Some("tcp dport 22 drop comment \"\u{202e}\"".to_owned()),
        related: vec![LintRule {
            chain: "input".to_owned(),
            position: 1,
            text: Some("tcp dport 22 accept".to_owned()),
            line: Some(6),
        }],
        packets: vec!["tcp any → any:22".to_owned()],
        file: Some("baselines/web-01/nft/inet-filter.nft".to_owned()),
        line: Some(8),
        fingerprint: "0123456789abcdef".to_owned(),
    }
}

fn result(findings: Vec<LintFinding>, gaps: Vec<Gap>) -> LintResult {
    LintResult {
        schema: "fwdrift.lint/1".to_owned(),
        host: "web-01".to_owned(),
        netns: None,
        side: SideRef {
            given: "baseline".to_owned(),
            kind: SideKind::Baseline,
            commit: Some("539ff31ab012aa".to_owned()),
            path: Some("baselines/web-01".to_owned()),
            captured_at: None,
            generation: None,
            providers: Vec::new(),
        },
        findings,
        gaps,
    }
}

fn options() -> Options<'static> {
    Options { width: None, repo: std::path::Path::new("/srv/fw repo"), program: "fwdrift" }
}

fn gap() -> Gap {
    let reason =
        "not judged: ip packets, input: the packet sets are larger than the budget for them".to_owned();
    Gap { source: "lint".to_owned(), reason, hint: None, blinds_verdict: true }
}

fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

#[test]
fn a_finding_is_told_with_its_place_its_rule_and_what_is_wrong() {
    let text = plain(&text(&result(vec![finding(LintCode::Shadowed)], Vec::new()), &options()));
    assert_eq!(
        text,
        "FINDINGS  web-01: 1 warning in baseline 539ff31ab012

inet filter\\x1b[2J, chain input, rule 3  FW002 shadowed
    tcp dport 22 drop comment \"\\u{202e}\"
    rule 1 decides about all its packets before it
      tcp any → any:22
      rule 1: tcp dport 22 accept
    baselines/web-01/nft/inet-filter.nft:8

1 finding: 1 FW002 shadowed; docs/findings.md explains the codes
"
    );
}

#[test]
fn the_first_line_and_the_exit_code_say_whether_there_is_something_to_do() {
    let check = |findings: Vec<LintFinding>, gaps: Vec<Gap>, line: &str, code: u8| {
        let result = result(findings, gaps);
        assert_eq!(plain(&text(&result, &options())).lines().next(), Some(line));
        assert_eq!(result.exit_code(), code);
    };
    check(Vec::new(), Vec::new(), "CLEAN  web-01: no findings in baseline 539ff31ab012", 0);
    let note = || finding(LintCode::Unused);
    check(vec![note()], Vec::new(), "CLEAN  web-01: no warnings in baseline 539ff31ab012, 1 note", 0);
    check(
        vec![note()],
        vec![gap()],
        "UNKNOWN  web-01: 1 note in what could be judged of baseline 539ff31ab012",
        2,
    );
    check(
        vec![note(), finding(LintCode::EmptySet)],
        vec![gap()],
        "FINDINGS  web-01: 1 warning and 1 note in baseline 539ff31ab012; not everything could be judged",
        1,
    );
}

#[test]
fn sarif_shows_nothing_that_a_terminal_would_act_on_and_names_each_code_once() {
    let text = sarif(&result(vec![finding(LintCode::Shadowed)], vec![gap()]), &options());
    assert!(!text.contains('\x1b') && !text.contains('\u{202e}'));
    let log: Value = serde_json::from_str(&text).unwrap();
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let ids: std::collections::BTreeSet<&str> =
        rules.iter().map(|rule| rule["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), LintCode::ALL.len());
    let one = &run["results"][0];
    assert_eq!(rules[one["ruleIndex"].as_u64().unwrap() as usize]["id"], "FW002");
    let physical = &one["locations"][0]["physicalLocation"];
    assert_eq!(physical["artifactLocation"]["uri"], "baselines/web-01/nft/inet-filter.nft");
    assert_eq!(physical["region"]["startLine"], 8);
    assert_eq!(run["originalUriBaseIds"]["REPOSITORY"]["uri"], "file:///srv/fw%20repo/");
    assert_eq!(run["invocations"][0]["executionSuccessful"], false);
    assert_eq!(one["relatedLocations"][0]["physicalLocation"]["region"]["startLine"], 6);
}

#[test]
fn each_code_is_explained_and_each_explained_code_exists() {
    let documented: Vec<&str> = include_str!("../../../docs/findings.md")
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .filter(|heading| heading.starts_with("FW"))
        .collect();
    let expected: Vec<String> = LintCode::ALL
        .iter()
        .map(|code| format!("{code}: {} ({})", code.name(), code.level().as_str()))
        .collect();
    assert_eq!(documented, expected);
}
