//! What `lint` found: for a terminal, for programs, for code scanning (SARIF).

mod sarif;

pub use sarif::sarif;

use super::diff::side;
use super::escape::terminal;
use super::style::{BAD, DIM, GOOD, HEADING, WARN, paint};
use super::wording::{count, host, wrap};
use super::{Options, gaps, pretty};
use crate::model::{LintCode, LintFinding, LintLevel, LintResult, ObjectKind};

/// The result as text. Without findings and with nothing unjudged, it is one line.
pub fn text(result: &LintResult, options: &Options<'_>) -> String {
    let mut out = format!("{}\n", headline(result));
    for finding in &result.findings {
        push_finding(&mut out, finding, options);
    }
    if !result.findings.is_empty() {
        out.push_str(&format!("\n{}\n", counts(result)));
    }
    out.push_str(&gaps::block(&result.gaps, options));
    out
}

/// The result as `fwdrift.lint/1`.
pub fn json(result: &LintResult) -> String {
    pretty(result)
}

fn headline(result: &LintResult) -> String {
    let (host, side) = (host(&result.host, result.netns.as_deref()), side(&result.side));
    let (warnings, notes) = (result.count(LintLevel::Warning), result.count(LintLevel::Note));
    let notes = if notes == 0 { None } else { Some(count(notes, "note", "notes")) };
    let blind = result.gaps.iter().any(|gap| gap.blinds_verdict);
    let also = if blind { "; not everything could be judged" } else { "" };
    match (warnings, notes) {
        (0, notes) if blind => {
            let found = notes.unwrap_or_else(|| "no findings".to_owned());
            format!("{}  {host}: {found} in what could be judged of {side}", paint(WARN, "UNKNOWN"))
        }
        (0, None) => format!("{}  {host}: no findings in {side}", paint(GOOD, "CLEAN")),
        (0, Some(notes)) => format!("{}  {host}: no warnings in {side}, {notes}", paint(GOOD, "CLEAN")),
        (warnings, notes) => {
            let warnings = count(warnings, "warning", "warnings");
            let notes = notes.map_or_else(String::new, |notes| format!(" and {notes}"));
            format!("{}  {host}: {warnings}{notes} in {side}{also}", paint(BAD, "FINDINGS"))
        }
    }
}

/// Where it is, what is wrong, and the rules that it is about. Rules are never wrapped.
fn push_finding(out: &mut String, finding: &LintFinding, options: &Options<'_>) {
    let style = match finding.level {
        LintLevel::Warning => WARN,
        LintLevel::Note => DIM,
    };
    let code = paint(style, format!("{} {}", finding.code, finding.code.name()));
    out.push_str(&format!("\n{}  {code}\n", paint(HEADING, place(finding))));
    if let Some(text) = &finding.text {
        out.push_str(&format!("    {}\n", terminal(text)));
    }
    let room = options.width.map(|width| width.saturating_sub(4).max(20));
    for line in wrap(&terminal(&finding.message), room) {
        out.push_str(&format!("    {line}\n"));
    }
    for packets in &finding.packets {
        out.push_str(&format!("      {}\n", terminal(packets)));
    }
    for rule in &finding.related {
        if let Some(text) = &rule.text {
            out.push_str(&format!("      rule {}: {}\n", rule.position, terminal(text)));
        }
    }
    if let Some(file) = &finding.file {
        let line = finding.line.map_or_else(String::new, |line| format!(":{line}"));
        out.push_str(&format!("    {}\n", paint(DIM, format!("{}{line}", terminal(file)))));
    }
}

/// `inet filter, chain input, rule 4`.
pub(super) fn place(finding: &LintFinding) -> String {
    let table = terminal(&format!("{} {}", finding.family, finding.table));
    let chain = finding.chain.as_deref().map(terminal).unwrap_or_default();
    let name = finding.name.as_deref().map(terminal).unwrap_or_default();
    match (finding.object, finding.position) {
        (ObjectKind::Rule, Some(position)) => format!("{table}, chain {chain}, rule {position}"),
        (ObjectKind::Chain, _) => format!("{table}, chain {chain}"),
        (object, _) => format!("{table}, {object} {name}"),
    }
}

/// `7 findings: 2 FW002 shadowed, 5 FW008 unused; docs/findings.md explains the codes`.
fn counts(result: &LintResult) -> String {
    let of = |code: LintCode| result.findings.iter().filter(|finding| finding.code == code).count();
    let counted: Vec<String> = LintCode::ALL
        .into_iter()
        .filter(|code| of(*code) > 0)
        .map(|code| format!("{} {code} {}", of(code), code.name()))
        .collect();
    let all = count(result.findings.len(), "finding", "findings");
    format!("{all}: {}; docs/findings.md explains the codes", counted.join(", "))
}

#[cfg(test)]
mod tests;
