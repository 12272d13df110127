//! The report for a terminal or a mail.

use super::{AuditReport, Coverage, Disposition, GRADES, Row, seconds, spread, stood_open};
use crate::model::Approval;
use crate::report::changes::{Detail, blocks};
use crate::report::escape::terminal;
use crate::report::style::{BAD, DIM, GOOD, HEADING, WARN, paint};
use crate::report::time::utc;
use crate::report::wording::{count, thousands, wrap};
use crate::report::{Options, who};

/// The report as text.
pub fn text(report: &AuditReport, options: &Options<'_>) -> String {
    let scope = &report.scope;
    let title = format!("Firewall changes on {}", terminal(&scope.host));
    let mut out = format!("{}\n", paint(HEADING, title));
    out.push_str(&format!(
        "{} to {}, made {}\n",
        utc(scope.since),
        utc(scope.until),
        utc(scope.generated_at)
    ));
    push_summary(&mut out, report);
    push_coverage(&mut out, &report.coverage, options.width);
    heading(&mut out, "changes");
    if report.changes.is_empty() {
        out.push_str("  none recorded in this period\n");
    }
    for (at, row) in report.changes.iter().enumerate() {
        push_row(&mut out, at + 1, row);
    }
    push_others(&mut out, report);
    push_approvals(&mut out, report);
    heading(&mut out, "how authors are known");
    for evidence in GRADES {
        field(&mut out, evidence.as_str(), who::meaning(evidence));
    }
    heading(&mut out, "not covered");
    for line in &report.not_covered {
        prose(&mut out, line, options.width);
    }
    heading(&mut out, "sign-off");
    for role in ["reviewed by", "accepted by"] {
        out.push_str(&format!("  {role:<14}{:_<28}   date {:_<14}\n", "", ""));
    }
    out
}

fn heading(out: &mut String, title: &str) {
    out.push_str(&format!("\n{}\n", paint(HEADING, title)));
}

fn field(out: &mut String, label: &str, value: &str) {
    out.push_str(&format!("  {}  {value}\n", paint(DIM, format!("{label:<16}"))));
}

fn prose(out: &mut String, text: &str, width: Option<usize>) {
    for line in wrap(text, width.map(|w| w.saturating_sub(2).max(20))) {
        out.push_str(&format!("  {line}\n"));
    }
}

fn push_summary(out: &mut String, report: &AuditReport) {
    let s = &report.summary;
    heading(out, "summary");
    let carried = match s.carried_over {
        0 => String::new(),
        n => format!(", {} carried over from before", thousands(n)),
    };
    field(out, "changes", &format!("{}{carried}", thousands(s.changes)));
    let open = format!("{} open", thousands(s.open));
    let open = if s.open > 0 { paint(BAD, open) } else { paint(GOOD, open) };
    let ended = [(s.reverted, "reverted"), (s.applied, "applied"), (s.approved, "approved")]
        .map(|(n, word)| format!("{} {word}", thousands(n)));
    field(out, "at the end", &format!("{open}, {}", ended.join(", ")));
    field(out, "unknown author", &thousands(s.unattributed));
    field(out, "time to detect", &spread(s.time_to_detect));
    field(out, "time to resolve", &spread(s.time_to_resolve));
    let baseline = &report.baseline;
    field(
        out,
        "baseline",
        &format!("{} {}", terminal(&baseline.baseline.commit), terminal(&baseline.baseline.path)),
    );
    let by = baseline.approver.as_deref().map_or("not known".to_owned(), terminal);
    let at = baseline.approved_at.map(|t| format!(" at {}", utc(t))).unwrap_or_default();
    field(out, "approved by", &format!("{by}{at}"));
    match &report.ledger {
        Some(head) => {
            field(out, "ledger head", &format!("{} (entry {})", terminal(&head.commit), head.seq));
            field(out, "to see it", head.command.as_deref().unwrap_or("git log of that commit"));
        }
        None => field(out, "ledger head", "no entry up to the end of this period"),
    }
}

fn push_coverage(out: &mut String, coverage: &Coverage, width: Option<usize>) {
    heading(out, "coverage");
    let look = |time: Option<_>| time.map_or("none that an entry tells of".to_owned(), utc);
    field(out, "first look", &look(coverage.first_look));
    field(out, "last look", &look(coverage.last_look));
    let points = count(coverage.checkpoints, "checkpoint", "checkpoints");
    field(out, "entries", &format!("{}, of these {points}", thousands(coverage.events)));
    for span in &coverage.gaps {
        field(out, "gap", &format!("{} (entry {})", who::window(span.window), span.seq));
        for gap in &span.gaps {
            field(out, "", &format!("{}: {}", terminal(&gap.source), terminal(&gap.reason)));
        }
    }
    if coverage.gaps.is_empty() {
        field(out, "gaps", "none recorded");
    }
    for finding in &coverage.findings {
        field(out, "finding", &paint(WARN, terminal(finding)));
    }
    prose(out, &coverage.statement, width);
}

fn push_row(out: &mut String, number: usize, row: &Row) {
    let state = match row.disposition {
        Disposition::Open => paint(BAD, "open"),
        Disposition::Reverted(_) | Disposition::Applied(_) | Disposition::Approved(_) => {
            paint(GOOD, row.disposition.as_str())
        }
    };
    let carried = if row.carried_over { ", carried over" } else { "" };
    out.push_str(&format!("\n  {number}. {state}, stood open {}{carried}\n", stood_open(row)));
    for line in blocks(std::slice::from_ref(&row.change), Detail::BRIEF).lines().filter(|l| !l.is_empty()) {
        out.push_str(&format!("     {line}\n"));
    }
    for line in facts(row) {
        out.push_str(&format!("     {line}\n"));
    }
}

/// When it was seen, and how it ended.
fn facts(row: &Row) -> Vec<String> {
    let mut lines = vec![match (row.first_seen, row.seq) {
        (Some(seen), Some(seq)) => {
            let after = row.detect_seconds.map(|n| format!(", {} after it was made", seconds(n)));
            format!("first seen {} (entry {seq}{})", utc(seen), after.unwrap_or_default())
        }
        _ => "first seen: the entry is not in the ledger".to_owned(),
    }];
    if let Some(ending) = row.disposition.ending() {
        let word = row.disposition.as_str();
        let by = who::by(&ending.author);
        let evidence = ending.author.evidence.as_str();
        lines.push(format!(
            "{word} {by} (evidence: {evidence}) at {} (entry {})",
            utc(ending.time),
            ending.seq
        ));
        lines.extend(ending.approval.as_ref().map(approval));
        if ending.approver_is_author == Some(true) {
            lines.push(paint(WARN, "the approver bears the name of the change's author"));
        }
    }
    lines
}

fn approval(approval: &Approval) -> String {
    let text = |t: &Option<String>| t.as_deref().map_or("none given".to_owned(), terminal);
    let (ticket, reason) = (text(&approval.ticket), text(&approval.reason));
    format!("approver {}, ticket: {ticket}, reason: {reason}", terminal(&approval.approver))
}

fn push_others(out: &mut String, report: &AuditReport) {
    if report.other_events.is_empty() {
        return;
    }
    heading(out, "events that left no change");
    for event in &report.other_events {
        let joined = count(event.transactions, "transaction", "transactions");
        let (kind, by) = (event.kind.as_str(), who::name(&event.author));
        out.push_str(&format!("  entry {}: {kind} by {by}, {joined}\n", event.seq));
        out.push_str(&format!("    {}\n", paint(DIM, who::window(event.window))));
    }
}

fn push_approvals(out: &mut String, report: &AuditReport) {
    heading(out, "approvals in the period");
    for dated in &report.approvals {
        out.push_str(&format!("  {}  {}\n", utc(dated.time), terminal(&dated.approval.commit)));
        out.push_str(&format!("    {}\n", approval(&dated.approval)));
    }
    if report.approvals.is_empty() {
        out.push_str("  none\n");
    }
}
