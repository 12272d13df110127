//! From events to rows: which changes opened and ended, and what the numbers are.

use super::{
    AuditReport, AuditSummary, BaselineState, Coverage, DatedApproval, Disposition, Ending, GapSpan,
    LedgerHead, OtherEvent, Row, Scope, Spread,
};
use crate::model::{Approval, Author, Change, EventKind, LedgerEntry};
use crate::report::escape::shell_word;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, BTreeSet};

/// What this version does not know, said in every report.
const NOT_COVERED: [&str; 3] = [
    "The effect of a change on traffic is not computed by this version.",
    "Tables of ebtables-legacy are read only where that cannot create them (kernels before 5.14).",
    "The report repeats what the ledger holds; it does not prove that the ledger is whole.",
];

const SILENCE: &str = "The ledger holds an entry where something happened. A look that found nothing new \
leaves none, so the time between two entries, and after the last one, is not by itself proof that fwdrift \
was looking.";
const CHECKPOINTS: &str = "Checkpoints state that fwdrift was looking and found nothing new. Time that no \
entry and no checkpoint accounts for is not by itself proof that fwdrift was looking.";

/// Builds the report from a host's whole ledger up to the end of the period, in any order (changes that
/// opened before the period can still be open in it), and from the approvals on `main`, of which those in
/// the period are kept. Entries recorded at or after the end of the period are not used.
pub fn build(
    scope: Scope,
    entries: &[LedgerEntry],
    baseline: BaselineState,
    approvals: &[DatedApproval],
) -> AuditReport {
    let mut past: Vec<&LedgerEntry> =
        entries.iter().filter(|entry| entry.event.recorded_at < scope.until).collect();
    past.sort_by_key(|entry| entry.event.seq);
    let (rows, mut findings) = follow(&past, &scope);
    findings.extend(missing_entries(&past));
    let within = |time: DateTime<Utc>| time >= scope.since && time < scope.until;
    let present: Vec<&LedgerEntry> = past.iter().copied().filter(|e| within(e.event.recorded_at)).collect();
    AuditReport {
        schema: "fwdrift.report/1",
        ledger: past.last().map(|entry| head(entry, &scope.repo)),
        summary: summarise(&rows),
        coverage: cover(&present, findings, scope.since),
        changes: rows,
        other_events: present.iter().filter_map(|entry| other(entry)).collect(),
        approvals: approvals.iter().filter(|a| within(a.time)).cloned().collect(),
        not_covered: NOT_COVERED.to_vec(),
        baseline,
        scope,
    }
}

/// Walks the ledger from its start: an id opens with `drift` and ends with the next event that lists it;
/// afterwards it may open again, as a row of its own.
fn follow(past: &[&LedgerEntry], scope: &Scope) -> (Vec<Row>, Vec<String>) {
    let mut rows: Vec<Row> = vec![];
    let mut ended_at: Vec<Option<DateTime<Utc>>> = vec![];
    let mut open: BTreeMap<&str, usize> = BTreeMap::new();
    let mut findings = vec![];
    for entry in past {
        let event = &entry.event;
        for change in &event.changes {
            let ends: Option<fn(Ending) -> Disposition> = match event.kind {
                EventKind::Drift => None,
                EventKind::Reverted => Some(Disposition::Reverted),
                EventKind::Applied => Some(Disposition::Applied),
                EventKind::Approved => Some(Disposition::Approved),
                EventKind::Transient | EventKind::Gap | EventKind::Checkpoint => continue,
            };
            match (ends, open.get(change.id.as_str()).copied()) {
                (None, Some(_)) => {
                    findings.push(format!("entry {} opens {} again, which was open", event.seq, change.id));
                }
                (None, None) => {
                    open.insert(&change.id, rows.len());
                    rows.push(opened(entry, change, scope));
                    ended_at.push(None);
                }
                (Some(how), known) => {
                    let at = known.unwrap_or_else(|| {
                        findings
                            .push(format!("entry {} ends {}, which no entry opened", event.seq, change.id));
                        rows.push(unopened(change));
                        ended_at.push(None);
                        rows.len() - 1
                    });
                    open.remove(change.id.as_str());
                    rows[at].disposition = how(ending(entry, change));
                    ended_at[at] = Some(event.recorded_at);
                }
            }
        }
    }
    findings.extend(disagreement(past.last().copied(), &open));
    for row in &mut rows {
        measure(row, scope.until);
    }
    let kept = rows.into_iter().zip(ended_at).filter(|(_, end)| end.is_none_or(|end| end >= scope.since));
    (kept.map(|(row, _)| row).collect(), findings)
}

fn opened(entry: &LedgerEntry, change: &Change, scope: &Scope) -> Row {
    let event = &entry.event;
    Row {
        change: change.clone(),
        seq: Some(event.seq),
        commit: Some(entry.commit.clone()),
        first_seen: Some(event.window.to),
        recorded_at: Some(event.recorded_at),
        carried_over: event.recorded_at < scope.since,
        disposition: Disposition::Open,
        open_seconds: None,
        open_at_least: change.time.is_none(),
        detect_seconds: None,
    }
}

fn unopened(change: &Change) -> Row {
    Row {
        change: change.clone(),
        seq: None,
        commit: None,
        first_seen: None,
        recorded_at: None,
        carried_over: false,
        disposition: Disposition::Open,
        open_seconds: None,
        open_at_least: change.time.is_none(),
        detect_seconds: None,
    }
}

fn ending(entry: &LedgerEntry, change: &Change) -> Ending {
    let event = &entry.event;
    Ending {
        seq: event.seq,
        commit: entry.commit.clone(),
        time: event.time,
        author: event.author.clone(),
        approval: event.approval.clone(),
        approver_is_author: event.approval.as_ref().and_then(|a| bears_name(a, &change.author)),
    }
}

/// Compares the approver, `name <email>`, with the author's login name.
fn bears_name(approval: &Approval, author: &Author) -> Option<bool> {
    if !author.is_known() || approval.approver.trim().is_empty() {
        return None;
    }
    let (name, rest) = approval.approver.split_once('<').unwrap_or((&approval.approver, ""));
    let mailbox = rest.split('@').next().unwrap_or_default();
    Some(name.trim() == author.name || mailbox == author.name)
}

fn measure(row: &mut Row, until: DateTime<Utc>) {
    let end = row.disposition.ending().map_or(until, |ending| ending.time);
    let start = row.change.time.or(row.first_seen);
    row.open_seconds = start.map(|start| clamp(end - start));
    row.detect_seconds = match (row.recorded_at, row.change.time) {
        (Some(recorded), Some(time)) => Some(clamp(recorded - time)),
        _ => None,
    };
}

fn clamp(delta: TimeDelta) -> i64 {
    delta.num_seconds().max(0)
}

/// The last entry names all that is open after it; that must be what the entries before add up to.
fn disagreement(last: Option<&LedgerEntry>, open: &BTreeMap<&str, usize>) -> Vec<String> {
    let Some(last) = last else { return vec![] };
    let said: BTreeSet<&str> = last.event.open.iter().map(String::as_str).collect();
    let counted: BTreeSet<&str> = open.keys().copied().collect();
    let seq = last.event.seq;
    let unopened = said
        .difference(&counted)
        .map(|id| format!("entry {seq} says that {id} is open, which no entry opened"));
    let unended = counted
        .difference(&said)
        .map(|id| format!("entry {seq} says that {id} is not open, but no entry ended it"));
    unopened.chain(unended).collect()
}

fn missing_entries(past: &[&LedgerEntry]) -> Vec<String> {
    let mut findings = vec![];
    let mut expected = 1;
    for seq in past.iter().map(|entry| entry.event.seq) {
        if seq > expected {
            let last = seq - 1;
            let which = if expected == last {
                format!("entry {last} is")
            } else {
                format!("entries {expected} to {last} are")
            };
            findings.push(format!("{which} missing"));
        } else if seq < expected {
            findings.push(format!("entry {seq} occurs twice"));
        }
        expected = seq.saturating_add(1);
    }
    findings
}

fn head(entry: &LedgerEntry, repo: &str) -> LedgerHead {
    let event = &entry.event;
    let words = (shell_word(repo), shell_word(&entry.commit));
    let command = match words {
        (Some(repo), Some(commit)) => Some(format!("git -C {repo} log --stat {commit}")),
        _ => None,
    };
    LedgerHead { commit: entry.commit.clone(), seq: event.seq, command }
}

fn cover(present: &[&LedgerEntry], findings: Vec<String>, since: DateTime<Utc>) -> Coverage {
    let looks = || {
        present
            .iter()
            .flat_map(|e| [e.event.window.from, Some(e.event.window.to)])
            .flatten()
            .filter(|t| *t >= since)
    };
    let checkpoints = present.iter().filter(|e| e.event.kind == EventKind::Checkpoint).count();
    let gaps = present.iter().filter(|e| e.event.kind == EventKind::Gap || !e.event.gaps.is_empty());
    Coverage {
        first_look: looks().min(),
        last_look: looks().max(),
        events: present.len(),
        checkpoints,
        gaps: gaps
            .map(|e| GapSpan { seq: e.event.seq, window: e.event.window, gaps: e.event.gaps.clone() })
            .collect(),
        findings,
        statement: if checkpoints > 0 { CHECKPOINTS } else { SILENCE }.to_owned(),
    }
}

fn other(entry: &LedgerEntry) -> Option<OtherEvent> {
    let event = &entry.event;
    let listed = match event.kind {
        EventKind::Transient => true,
        EventKind::Drift | EventKind::Reverted | EventKind::Applied => event.changes.is_empty(),
        // Approvals have their own section; gaps and checkpoints are in the coverage.
        EventKind::Approved | EventKind::Gap | EventKind::Checkpoint => false,
    };
    listed.then(|| OtherEvent {
        seq: event.seq,
        kind: event.kind,
        commit: entry.commit.clone(),
        time: event.time,
        window: event.window,
        transactions: event.generations.len(),
        author: event.author.clone(),
    })
}

fn summarise(rows: &[Row]) -> AuditSummary {
    let count = |want: &str| rows.iter().filter(|row| row.disposition.as_str() == want).count();
    let detect = rows.iter().filter(|row| !row.carried_over).filter_map(|row| row.detect_seconds);
    let resolve = rows
        .iter()
        .filter(|row| row.disposition != Disposition::Open && !row.open_at_least)
        .filter_map(|row| row.open_seconds);
    AuditSummary {
        changes: rows.len(),
        carried_over: rows.iter().filter(|row| row.carried_over).count(),
        open: count("open"),
        reverted: count("reverted"),
        applied: count("applied"),
        approved: count("approved"),
        unattributed: rows.iter().filter(|row| !row.change.author.is_known()).count(),
        time_to_detect: spread_of(detect.collect()),
        time_to_resolve: spread_of(resolve.collect()),
    }
}

/// The median of an even number of durations is the mean of the middle two.
fn spread_of(mut seconds: Vec<i64>) -> Option<Spread> {
    seconds.sort_unstable();
    let max_seconds = *seconds.last()?;
    let middle = seconds.len() / 2;
    let median_seconds =
        if seconds.len() % 2 == 1 { seconds[middle] } else { (seconds[middle - 1] + seconds[middle]) / 2 };
    Some(Spread { of: seconds.len(), median_seconds, max_seconds })
}
