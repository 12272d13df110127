//! The list of recorded events: what `log` prints, one short block an event.

use super::effects;
use super::escape::terminal;
use super::style::{ADDED, BAD, DIM, GOOD, HEADING, MOVED, WARN, marker, paint};
use super::time::{duration, utc};
use super::wording::{clip, count, ends, one_line, path, short};
use super::{Options, pretty, who, wording};
use crate::model::{Event, EventKind, LedgerEntry};
use anstyle::Style;
use chrono::{DateTime, Utc};
use serde::Serialize;

/// Changes of one event that are shown; the others are counted.
const CHANGES: usize = 4;
/// Columns before the summary of a change.
const INDENT: usize = 8;

/// The events as text, in the order given (the command line gives them newest first). A summary of a
/// change that is longer than the terminal ends in `…`; `show` has it whole.
pub fn text(host: &str, entries: &[LedgerEntry], now: DateTime<Utc>, options: &Options<'_>) -> String {
    let host = terminal(host);
    let Some(newest) = entries.iter().max_by_key(|entry| entry.event.seq) else {
        return format!("{host}: no recorded events\n");
    };
    let ago = duration(now - newest.event.recorded_at);
    let events = count(entries.len(), "event", "events");
    let mut out = format!("{}, the newest recorded {ago} ago\n", paint(HEADING, format!("{host}: {events}")));
    let digits = entries.iter().map(|e| e.event.seq.to_string().len()).max().unwrap_or(1);
    for entry in entries {
        push_entry(&mut out, entry, digits, options);
    }
    out
}

/// The events as `fwdrift.log/1`, in the order given.
pub fn json(host: &str, entries: &[LedgerEntry]) -> String {
    #[derive(Serialize)]
    struct Log<'a> {
        schema: &'static str,
        host: &'a str,
        events: &'a [LedgerEntry],
    }
    pretty(&Log { schema: "fwdrift.log/1", host, events: entries })
}

/// The colour of a kind of event.
pub(super) fn kind_style(kind: EventKind) -> Style {
    match kind {
        EventKind::Drift => BAD,
        EventKind::Reverted | EventKind::Approved => GOOD,
        EventKind::Applied => ADDED,
        EventKind::Transient | EventKind::Gap => WARN,
        EventKind::Checkpoint => MOVED,
    }
}

fn push_entry(out: &mut String, entry: &LedgerEntry, digits: usize, options: &Options<'_>) {
    let event = &entry.event;
    let kind = paint(kind_style(event.kind), format!("{:<10}", event.kind.as_str()));
    let commit = paint(DIM, short(&entry.commit));
    let by = match event.author.is_known() {
        true => format!("{} ({})", who::name(&event.author), event.author.evidence.as_str()),
        false if event.kind == EventKind::Checkpoint => wording::checkpoint(event),
        false => who::name(&event.author),
    };
    out.push_str(&format!("\n{:>digits$}  {}  {kind}  {commit}  {by}\n", event.seq, utc(event.time)));
    let room = options.width.map(|w| w.saturating_sub(INDENT).max(20));
    for change in event.changes.iter().take(CHANGES) {
        let (style, _) = marker(change.kind);
        let ended = if ends(event.kind) { "ended: " } else { "" };
        let summary = clip(&format!("{ended}{}", one_line(change)), room);
        let place = path(change);
        let fits = room.is_none_or(|room| summary.chars().count() + 2 + place.chars().count() <= room);
        let gap = if fits { "  ".to_owned() } else { format!("\n{:INDENT$}  ", "") };
        let place = paint(DIM, format!("in {place}"));
        out.push_str(&format!("{:INDENT$}{}{gap}{place}\n", "", paint(style, summary)));
    }
    let hidden = event.changes.len().saturating_sub(CHANGES);
    if hidden > 0 {
        let more = count(hidden, "more change", "more changes");
        out.push_str(&format!("{:INDENT$}{}\n", "", paint(DIM, format!("… {more}: show {}", event.seq))));
    }
    if let Some((severity, told)) = effects::worst(&event.changes, room) {
        let word = paint(effects::severity_style(severity), severity);
        let told = if told.is_empty() { String::new() } else { format!(": {told}") };
        out.push_str(&format!("{:INDENT$}{word}{told}\n", ""));
    }
    for line in remarks(event) {
        out.push_str(&format!("{:INDENT$}{}\n", "", paint(DIM, line)));
    }
}

/// What an event says beside its changes.
fn remarks(event: &Event) -> Vec<String> {
    let mut lines = vec![];
    if let Some(approval) = &event.approval {
        let reason = approval.reason.as_deref().map(|r| format!(": {}", terminal(r))).unwrap_or_default();
        let ticket = approval.ticket.as_deref().map(|t| format!(" [{}]", terminal(t))).unwrap_or_default();
        lines.push(format!("approved by {}{ticket}{reason}", terminal(&approval.approver)));
    }
    if event.kind == EventKind::Transient {
        let commits = count(event.generations.len(), "transaction", "transactions");
        lines.push(format!("{commits} left no difference"));
    }
    let is_checkpoint = event.kind == EventKind::Checkpoint;
    if (!event.author.is_known() && !is_checkpoint) || event.kind == EventKind::Gap {
        lines.push(who::window(event.window));
    }
    if !event.author.candidates.is_empty() {
        let names: Vec<String> = event.author.candidates.iter().map(|c| terminal(&c.name)).collect();
        lines.push(format!("candidates: {}", names.join(", ")));
    }
    for gap in &event.gaps {
        lines.push(format!("not seen: {}: {}", terminal(&gap.source), terminal(&gap.reason)));
    }
    if !event.open.is_empty() {
        lines.push(format!("{} open afterwards", count(event.open.len(), "difference", "differences")));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Approval, Author, ChangeKind, Evidence};
    use crate::report::fixture::*;

    fn check(entries: &[LedgerEntry], width: usize, expect: &str) {
        assert_eq!(plain(&text("web-01", entries, at(6, 15, 30), &options(Some(width)))), expect);
    }

    #[test]
    fn an_empty_ledger_says_so() {
        check(&[], 80, "web-01: no recorded events\n");
        let expect = "{\n  \"schema\": \"fwdrift.log/1\",\n  \"host\": \"web-01\",\n  \"events\": []\n}\n";
        assert_eq!(json("web-01", &[]), expect);
    }

    #[test]
    fn each_event_is_a_short_block() {
        let mut unknown = entry(10, EventKind::Drift, vec![added(); 6]);
        unknown.event.author = nobody();
        let mut approved = entry(9, EventKind::Approved, vec![added()]);
        approved.event.author = Author { name: "ada".into(), evidence: Evidence::Git, ..Author::default() };
        approved.event.approval = Some(Approval {
            commit: COMMIT.into(),
            approver: "Ada <ada@example.org>".into(),
            reason: Some("office moved".into()),
            ticket: Some("NET-12".into()),
        });
        let mut gap_event = entry(8, EventKind::Gap, vec![]);
        gap_event.event.gaps = vec![gap(true)];
        check(
            &[unknown, approved, gap_event],
            80,
            "\
web-01: 3 events, the newest recorded 4 h ago

10  2026-11-20T02:14:09Z  drift       0000000ad0d0  unknown
        + tcp dport 3306 drop  in inet filter input
        + tcp dport 3306 drop  in inet filter input
        + tcp dport 3306 drop  in inet filter input
        + tcp dport 3306 drop  in inet filter input
        … 2 more changes: show 10
        between 2026-11-20T02:10:00Z and 2026-11-20T02:15:00Z
        candidates: ops1, ops2
        6 differences open afterwards

 9  2026-11-20T02:14:09Z  approved    00000009d0d0  ada (git)
        ended: + tcp dport 3306 drop  in inet filter input
        approved by Ada <ada@example.org> [NET-12]: office moved

 8  2026-11-20T02:14:09Z  gap         00000008d0d0  ops1 as root (audit-log)
        between 2026-11-20T02:10:00Z and 2026-11-20T02:15:00Z
        not seen: iptables-legacy: iptables-legacy-save is not installed, and /proc/net/ip_tables_names lists: filter
",
        );
    }

    #[test]
    fn a_long_rule_is_summed_up_to_the_width() {
        let long = rule(ChangeKind::Added, None, Some(&"192.0.2.1, ".repeat(20)));
        let text = text("web-01", &[entry(1, EventKind::Drift, vec![long])], at(3, 0, 0), &options(Some(80)));
        let text = plain(&text);
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("…\n          in inet filter input\n"), "{text}");
    }

    #[test]
    fn an_event_in_json_has_its_commit_beside_its_fields() {
        let json = json("web-01", &[entry(1, EventKind::Drift, vec![added()])]);
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let event = &value["events"][0];
        assert_eq!(event["commit"], "00000001d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0");
        assert_eq!(event["seq"], 1);
        assert_eq!(event["kind"], "drift");
        assert_eq!(event["author"]["evidence"], "audit-log");
        assert_eq!(event["changes"][0]["after"], "tcp dport 3306 drop");
    }
}
