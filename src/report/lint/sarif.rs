//! The findings as SARIF 2.1.0 (docs.oasis-open.org/sarif/sarif/v2.1.0), for code scanning.
//!
//! A finding of what is in no file has only a logical place: the table, chain and rule. What was not judged is a
//! notification of the run.

use super::place;
use crate::model::{Gap, LintCode, LintFinding, LintResult, LintRule, SideKind};
use crate::report::{Options, pretty};
use serde_json::{Value, json};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The name by which results refer to the repository's directory.
const REPOSITORY: &str = "REPOSITORY";

/// The result as a log with one run.
pub fn sarif(result: &LintResult, options: &Options<'_>) -> String {
    let in_repository =
        matches!(result.side.kind, SideKind::Baseline | SideKind::Revision | SideKind::Ledger);
    let base = in_repository.then_some(REPOSITORY);
    let mut run = json!({
        "tool": { "driver": {
            "name": "fwdrift",
            "version": env!("CARGO_PKG_VERSION"),
            "semanticVersion": env!("CARGO_PKG_VERSION"),
            "rules": LintCode::ALL.map(rule),
        } },
        "columnKind": "utf16CodeUnits",
        "invocations": [{
            "executionSuccessful": !result.gaps.iter().any(|gap| gap.blinds_verdict),
            "toolExecutionNotifications": result.gaps.iter().map(notification).collect::<Vec<_>>(),
        }],
        "automationDetails": { "id": format!("fwdrift-lint/{}/{}/", result.host, result.side.given) },
        "results": result.findings.iter().map(|finding| one(finding, base)).collect::<Vec<_>>(),
    });
    if in_repository {
        let repository = format!("{}/", options.repo.to_string_lossy().trim_end_matches('/'));
        run["originalUriBaseIds"] = json!({ REPOSITORY: { "uri": uri(&repository) } });
        if let Some(commit) = &result.side.commit {
            run["properties"] = json!({ "commit": commit });
        }
    }
    pretty(&json!({ "$schema": SCHEMA, "version": "2.1.0", "runs": [run] }))
}

fn rule(code: LintCode) -> Value {
    let help = format!("{} docs/findings.md says what to do about {code}.", code.summary());
    json!({
        "id": code.as_str(),
        "name": pascal_case(code.name()),
        "shortDescription": { "text": code.summary() },
        "help": { "text": help },
        "defaultConfiguration": { "level": code.level().as_str() },
    })
}

/// `never-matches` as `NeverMatches`, which is how SARIF's names are written.
fn pascal_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('-').map(word).collect()
}

fn notification(gap: &Gap) -> Value {
    let hint = gap.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    json!({
        "level": if gap.blinds_verdict { "error" } else { "note" },
        "message": { "text": format!("{}: {}{hint}", gap.source, gap.reason) },
    })
}

fn one(finding: &LintFinding, base: Option<&str>) -> Value {
    let index = LintCode::ALL.iter().position(|code| *code == finding.code);
    let mut location = json!({ "logicalLocations": [{
        "fullyQualifiedName": place(finding),
        "kind": finding.object.as_str(),
    }] });
    if let Some(file) = &finding.file {
        location["physicalLocation"] = physical(file, finding.line, base);
    }
    let related: Vec<Value> =
        finding.related.iter().zip(1..).map(|rule| related(rule, finding, base)).collect();
    let mut out = json!({
        "ruleId": finding.code.as_str(),
        "ruleIndex": index,
        "level": finding.level.as_str(),
        "message": { "text": message(finding) },
        "locations": [location],
        "partialFingerprints": { "fwdrift/v1": finding.fingerprint },
    });
    if !related.is_empty() {
        out["relatedLocations"] = Value::Array(related);
    }
    out
}

fn related((rule, id): (&LintRule, usize), finding: &LintFinding, base: Option<&str>) -> Value {
    let text = rule.text.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    let mut location = json!({
        "id": id,
        "message": { "text": format!("rule {} of chain {}{text}", rule.position, rule.chain) },
        "logicalLocations": [{ "fullyQualifiedName": format!(
            "{} {}, chain {}, rule {}", finding.family, finding.table, rule.chain, rule.position
        ) }],
    });
    if let (Some(file), Some(line)) = (&finding.file, rule.line) {
        location["physicalLocation"] = physical(file, Some(line), base);
    }
    location
}

fn message(finding: &LintFinding) -> String {
    let text = finding.text.as_ref().map_or_else(String::new, |text| format!(": {text}"));
    let packets = match finding.packets.is_empty() {
        true => String::new(),
        false => format!(" ({})", finding.packets.join("; ")),
    };
    // An asterisk or a bracket means something in SARIF's messages only behind a backslash or in a link.
    format!("{}{text}: {}{packets}", place(finding), finding.message).replace('[', "\\[").replace(']', "\\]")
}

fn physical(file: &str, line: Option<usize>, base: Option<&str>) -> Value {
    let mut artifact = json!({ "uri": uri(file) });
    if let Some(base) = base {
        artifact["uriBaseId"] = json!(base);
    }
    let mut physical = json!({ "artifactLocation": artifact });
    if let Some(line) = line {
        physical["region"] = json!({ "startLine": line });
    }
    physical
}

/// A path as a URI (RFC 3986): an absolute one with its scheme.
fn uri(path: &str) -> String {
    let path = path.strip_prefix("./").unwrap_or(path);
    let mut out = if path.starts_with('/') { "file://".to_owned() } else { String::new() };
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'@' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri() {
        assert_eq!(uri("/var/lib/a b/"), "file:///var/lib/a%20b/");
        assert_eq!(uri("./rules.nft"), "rules.nft");
        assert_eq!(uri("baselines/h@n/nft/inet-a%20.nft"), "baselines/h@n/nft/inet-a%2520.nft");
    }

    #[test]
    fn names_are_in_pascal_case() {
        assert_eq!(pascal_case("no-such-interface"), "NoSuchInterface");
    }
}
