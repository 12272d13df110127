//! The report for a forge, a wiki or a document: no field of it can become HTML, a link or a heading.

use super::{AuditReport, Coverage, Disposition, GRADES, Row, seconds, spread, stood_open};
use crate::model::{Approval, Author, Change};
use crate::report::changes::shown_lines;
use crate::report::effects;
use crate::report::escape::{markdown as safe, markdown_fence, markdown_span};
use crate::report::time::utc;
use crate::report::who;
use crate::report::wording::{count, path, thousands, what};
use std::fmt::Write as _;

/// The report as Markdown (CommonMark with GitHub's tables).
pub fn markdown(report: &AuditReport) -> String {
    let scope = &report.scope;
    let mut out = format!("# Firewall changes on {}\n\n", safe(&scope.host));
    let period = format!("{} to {}", utc(scope.since), utc(scope.until));
    out.push_str(&format!("Period: {period}. Made: {}.\n", utc(scope.generated_at)));
    out.push_str(&summary(report));
    out.push_str(&coverage(&report.coverage));
    out.push_str("\n## Changes\n");
    if report.changes.is_empty() {
        out.push_str("\nNone recorded in this period.\n");
    }
    for (at, row) in report.changes.iter().enumerate() {
        out.push_str(&change(at + 1, row));
    }
    out.push_str(&others(report));
    out.push_str(&approvals(report));
    out.push_str("\n## How authors are known\n\n");
    for evidence in GRADES {
        bullet(&mut out, &format!("**{}**: {}", evidence.as_str(), who::meaning(evidence)));
    }
    out.push_str("\n## Not covered\n\n");
    for line in &report.not_covered {
        bullet(&mut out, line);
    }
    out.push_str("\n## Sign-off\n\n| | Name | Date | Signature |\n|---|---|---|---|\n");
    out.push_str("| Reviewed by | | | |\n| Accepted by | | | |\n");
    out
}

fn bullet(out: &mut String, line: &str) {
    let _infallible = writeln!(out, "- {line}");
}

fn table_row(out: &mut String, label: &str, value: &str) {
    let _infallible = writeln!(out, "| {label} | {value} |");
}

fn summary(report: &AuditReport) -> String {
    let s = &report.summary;
    let mut out = "\n## Summary\n\n| | |\n|---|---|\n".to_owned();
    let numbers = [
        ("Changes", s.changes),
        ("of these carried over from before", s.carried_over),
        ("**Open at the end of the period**", s.open),
        ("Reverted", s.reverted),
        ("Ended by loading a newer baseline", s.applied),
        ("Approved", s.approved),
        ("Author unknown", s.unattributed),
    ];
    for (label, n) in numbers {
        table_row(&mut out, label, &thousands(n));
    }
    table_row(&mut out, "Time to detect", &spread(s.time_to_detect));
    table_row(&mut out, "Time to resolve", &spread(s.time_to_resolve));
    let baseline = &report.baseline;
    let commit = format!("{} {}", safe(&baseline.baseline.commit), safe(&baseline.baseline.path));
    table_row(&mut out, "Baseline", &commit);
    let by = baseline.approver.as_deref().map_or("not known".to_owned(), safe);
    let at = baseline.approved_at.map(|t| format!(" at {}", utc(t))).unwrap_or_default();
    table_row(&mut out, "Baseline approved by", &format!("{by}{at}"));
    match &report.ledger {
        Some(head) => {
            table_row(&mut out, "Ledger head", &format!("{} (entry {})", safe(&head.commit), head.seq));
            if let Some(command) = &head.command {
                out.push_str("\nThe ledger up to that entry:\n\n");
                out.push_str(&markdown_fence(command, "sh"));
            }
        }
        None => table_row(&mut out, "Ledger head", "no entry up to the end of this period"),
    }
    out
}

fn coverage(coverage: &Coverage) -> String {
    let mut out = format!("\n## Coverage\n\n{}\n\n", coverage.statement);
    let look = |time: Option<_>| time.map_or("none that an entry tells of".to_owned(), utc);
    bullet(&mut out, &format!("First look: {}", look(coverage.first_look)));
    bullet(&mut out, &format!("Last look: {}", look(coverage.last_look)));
    let points = count(coverage.checkpoints, "checkpoint", "checkpoints");
    bullet(&mut out, &format!("Entries: {}, of these {points}", thousands(coverage.events)));
    if coverage.gaps.is_empty() {
        bullet(&mut out, "Gaps: none recorded");
    }
    for span in &coverage.gaps {
        bullet(&mut out, &format!("Gap {} (entry {})", who::window(span.window), span.seq));
        for gap in &span.gaps {
            out.push_str(&format!("  - {}: {}\n", safe(&gap.source), safe(&gap.reason)));
        }
    }
    for finding in &coverage.findings {
        bullet(&mut out, &format!("**Finding:** {}", safe(finding)));
    }
    out
}

fn change(number: usize, row: &Row) -> String {
    let (kind, state) = (row.change.kind.as_str(), row.disposition.as_str());
    let title = safe(&format!("{} in {}", what(&row.change), path(&row.change)));
    let severity = row.change.severity.map(|severity| format!(", {severity}")).unwrap_or_default();
    let mut out = format!("\n### {number}. {title}: {kind}, {state}{severity}\n\n");
    out.push_str(&markdown_fence(&diff(&row.change), "diff"));
    out.push('\n');
    let traffic = effects::lines(&row.change, effects::BRIEF, "the report as JSON");
    if !traffic.is_empty() {
        let lines = anstream::adapter::strip_str(&traffic.join("\n")).to_string();
        out.push_str(&format!("Traffic:\n\n{}\n", markdown_fence(&lines, "text")));
    }
    let made = row.change.time.map(|time| format!("{} ", utc(time))).unwrap_or_default();
    bullet(&mut out, &format!("Made: {made}{}", by(&row.change.author)));
    bullet(&mut out, &seen(row));
    let carried = if row.carried_over { ", carried over from before the period" } else { "" };
    bullet(&mut out, &format!("Stood open: {}{carried}", stood_open(row)));
    ended(&mut out, &row.disposition);
    bullet(&mut out, &format!("Change id: {}", markdown_span(&row.change.id)));
    if let Some(note) = &row.change.note {
        bullet(&mut out, &format!("Note: {}", safe(note)));
    }
    out
}

/// The lines of before and after, each with its gutter.
fn diff(change: &Change) -> String {
    let side = |text: &Option<String>, gutter: &str| {
        let lines = text.as_deref().map(|text| shown_lines(change, text)).unwrap_or_default();
        lines.iter().map(|line| format!("{gutter} {line}\n")).collect::<String>()
    };
    if change.before == change.after {
        return side(&change.after, " ");
    }
    side(&change.before, "-") + &side(&change.after, "+")
}

fn by(author: &Author) -> String {
    if !author.is_known() {
        let span = author.window.map(|w| format!(", {}", who::window(w))).unwrap_or_default();
        let names: Vec<String> = author.candidates.iter().map(|c| safe(&c.name)).collect();
        let candidates =
            if names.is_empty() { String::new() } else { format!("; candidates: {}", names.join(", ")) };
        return format!("by **unknown**{span}{candidates}");
    }
    let ran = [&author.cmdline, &author.exe, &author.comm].into_iter().flatten().next();
    let ran = ran.map(|ran| format!(", ran {}", markdown_span(ran))).unwrap_or_default();
    let from = author.remote.as_deref().map(|r| format!(", from {}", safe(r))).unwrap_or_default();
    let name = safe(&who::name(author));
    format!("by **{name}**{from}{ran} (evidence: {})", author.evidence.as_str())
}

fn seen(row: &Row) -> String {
    let (Some(seen), Some(seq)) = (row.first_seen, row.seq) else {
        return "First seen: the entry is not in the ledger".to_owned();
    };
    let after = row.detect_seconds.map(|n| format!(", {} after it was made", seconds(n)));
    format!("First seen: {} (entry {seq}{})", utc(seen), after.unwrap_or_default())
}

fn ended(out: &mut String, disposition: &Disposition) {
    let Some(ending) = disposition.ending() else { return };
    let word = match disposition {
        Disposition::Open => "Open",
        Disposition::Reverted(_) => "Reverted",
        Disposition::Applied(_) => "Applied",
        Disposition::Approved(_) => "Approved",
    };
    bullet(out, &format!("{word}: {} (entry {}) {}", utc(ending.time), ending.seq, by(&ending.author)));
    if let Some(given) = &ending.approval {
        bullet(out, &approval(given));
    }
    if ending.approver_is_author == Some(true) {
        bullet(out, "**The approver bears the name of the change's author**");
    }
}

fn approval(approval: &Approval) -> String {
    let text = |t: &Option<String>| t.as_deref().map_or("none given".to_owned(), safe);
    let (ticket, reason) = (text(&approval.ticket), text(&approval.reason));
    format!("Approver: {}; ticket: {ticket}; reason: {reason}", safe(&approval.approver))
}

fn others(report: &AuditReport) -> String {
    if report.other_events.is_empty() {
        return String::new();
    }
    let mut out = "\n## Events that left no change\n\n".to_owned();
    for event in &report.other_events {
        let joined = count(event.transactions, "transaction", "transactions");
        let (kind, seq) = (event.kind.as_str(), event.seq);
        let span = who::window(event.window);
        let name = safe(&who::name(&event.author));
        bullet(&mut out, &format!("Entry {seq}: {kind} by **{name}**, {joined}, {span}"));
    }
    out
}

fn approvals(report: &AuditReport) -> String {
    let mut out = "\n## Approvals in the period\n\n".to_owned();
    if report.approvals.is_empty() {
        out.push_str("None.\n");
    }
    for dated in &report.approvals {
        let commit = safe(&dated.approval.commit);
        bullet(&mut out, &format!("{} {commit}: {}", utc(dated.time), approval(&dated.approval)));
    }
    out
}
