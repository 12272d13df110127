//! What changes do to traffic, on rulesets that the real kernel loaded.

use fwdrift::collect;
use fwdrift::compare::Known;
use fwdrift::model::Ruleset;
use fwdrift::normalise::normalise;
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use fwdrift::traffic::effects::{Answer, Budget, effects};

fn load(script: &str) -> Ruleset {
    let netns = Netns::create().unwrap();
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
    netns.run(run).unwrap().unwrap();
    normalise(&collect::capture(&netns, None).unwrap().0).unwrap()
}

fn between(before: &str, after: &str) -> Answer {
    let (before, after) = (load(before), load(after));
    let differences = pipeline::compared(&before, &after, &Known::default()).unwrap().differences;
    effects(&before, &after, &differences, &[], Budget::default())
}

fn told(answer: &Answer) -> Vec<String> {
    let mut told: Vec<String> = answer
        .found
        .iter()
        .map(|found| {
            let by = |decider: &Option<fwdrift::traffic::effects::DeciderRef>| match decider {
                None => "-".to_owned(),
                Some(decider) => format!(
                    "{} {} {:?}",
                    decider.chain,
                    decider.fate.as_str(),
                    decider.rule.map(|rule| rule + 1)
                ),
            };
            let conditions = found.effect.conditions.join("; ");
            format!(
                "{} {} at {} [{}] -> [{}] {}",
                found.effect.effect.as_str(),
                found.phrase,
                found.effect.hook,
                by(&found.was),
                by(&found.now),
                conditions
            )
        })
        .collect();
    told.sort();
    told
}

#[track_caller]
fn check(before: &str, after: &str, expected: &[&str]) {
    let answer = between(before, after);
    assert_eq!(told(&answer), expected);
    assert_eq!(answer.incomplete, Vec::<String>::new());
}

const BASE: &str =
    "table inet filter {\n chain input {\n type filter hook input priority 0; policy drop;\nRULES\n }\n }";

fn input(rules: &str) -> String {
    BASE.replace("RULES", &rules.replace("; ", "\n").replace(';', ""))
}

#[test]
fn an_added_drop_cuts_what_it_matches_and_was_accepted() {
    check(
        &input("ip saddr 10.0.1.0/24 tcp dport 3306 accept;"),
        &input("tcp dport 3306 drop; ip saddr 10.0.1.0/24 tcp dport 3306 accept;"),
        &["cut tcp 10.0.1.0/24 → any:3306 at input [input accept Some(1)] -> [input drop Some(1)] "],
    );
}

#[test]
fn a_shadowed_rule_has_no_effect() {
    check(&input("tcp dport 22 accept;"), &input("tcp dport 22 accept; tcp dport 22 drop;"), &[]);
}

#[test]
fn a_policy_flip_opens_the_rest() {
    check(
        &input("tcp dport 22 accept;"),
        &input("tcp dport 22 accept;").replace("policy drop", "policy accept"),
        &[
            "opened not tcp any → any at input [input drop None] -> [input accept None] ",
            "opened tcp any → any:{not 22} at input [input drop None] -> [input accept None] ",
        ],
    );
}

#[test]
fn an_element_of_a_set_has_the_effect_of_the_rules_that_ask_the_set() {
    let rules = |elements: &str| {
        format!(
            "table ip t {{\n set bad {{ type ipv4_addr; flags interval; elements = {{ {elements} }}; }}\n chain input \
             {{\n type filter hook input priority 0;\n ip saddr @bad drop\n }}\n }}"
        )
    };
    check(
        &rules("192.0.2.0/24"),
        &rules("192.0.2.0/24, 198.51.100.0/24"),
        &["cut any protocol 198.51.100.0/24 → any at input [input accept None] -> [input drop Some(1)] "],
    );
}
