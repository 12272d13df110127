//! One recorded event in full.

use super::changes::{Detail, blocks};
use super::escape::terminal;
use super::log::kind_style;
use super::style::{DIM, paint};
use super::time::{Reference, duration, utc};
use super::wording::{count, host, ranges};
use super::{Options, gaps, pretty, who, wording};
use crate::model::{Approval, Author, Event, EventKind, LedgerEntry};
use serde::Serialize;

/// The event as text: nothing is cut.
pub fn text(entry: &LedgerEntry, options: &Options<'_>) -> String {
    let event = &entry.event;
    let kind = paint(kind_style(event.kind), event.kind.as_str());
    let host = host(&event.host, event.netns.as_deref());
    let mut out = format!("event {} of {host}: {kind}\n\n", event.seq);
    out.push_str(&fields(&rows(entry)));
    if !event.changes.is_empty() {
        out.push_str(&wording::ended_heading(event.kind));
        let reference = Reference { time: event.recorded_at, name: "this entry" };
        out.push_str(&blocks(&event.changes, Detail { reference: Some(reference), ..Detail::FULL }));
    }
    out.push_str(&gaps::block(&event.gaps, options));
    out
}

/// The event as `fwdrift.show/1`: the object `event` holds all its fields and the `commit`.
pub fn json(entry: &LedgerEntry) -> String {
    #[derive(Serialize)]
    struct Show<'a> {
        schema: &'static str,
        event: &'a LedgerEntry,
    }
    pretty(&Show { schema: "fwdrift.show/1", event: entry })
}

/// A label and what it labels; an empty label continues the one above.
type Row = (&'static str, String);

/// Aligned rows: labels dim, values as they are (already escaped).
fn fields(rows: &[Row]) -> String {
    let mut out = String::new();
    for (label, value) in rows {
        out.push_str(&format!("  {}  {value}\n", paint(DIM, format!("{label:<11}"))));
    }
    out
}

fn rows(entry: &LedgerEntry) -> Vec<Row> {
    let event = &entry.event;
    let late = duration(event.recorded_at - event.time);
    let mut rows = vec![
        ("commit", terminal(&entry.commit)),
        ("time", utc(event.time)),
        ("recorded", format!("{} ({late} later)", utc(event.recorded_at))),
        ("window", who::window(event.window)),
    ];
    match event.kind {
        EventKind::Checkpoint => rows.push(("states", wording::checkpoint(event))),
        _ => rows.extend(author(&event.author)),
    }
    rows.extend(approval(event.approval.as_ref()));
    rows.extend(state(event));
    rows
}

fn author(author: &Author) -> Vec<Row> {
    let evidence = author.evidence;
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    let text = |t: &Option<String>| t.as_deref().map(terminal);
    let known: [(&'static str, Option<String>); 13] = [
        ("author", Some(who::name(author))),
        ("evidence", Some(format!("{}: {}", evidence.as_str(), who::meaning(evidence)))),
        ("login uid", number(author.auid)),
        ("session", number(author.session)),
        ("terminal", text(&author.tty)),
        ("from", text(&author.remote)),
        (
            "sudo",
            text(&author.sudo_user).map(|caller| format!("called by {caller}, as the process was told")),
        ),
        ("unit", text(&author.unit)),
        ("container", text(&author.container)),
        ("process", process(author)),
        ("executable", text(&author.exe)),
        ("command", text(&author.cmdline)),
        ("through", who::chain(author)),
    ];
    let mut rows: Vec<Row> = known.into_iter().filter_map(|(label, value)| Some((label, value?))).collect();
    for (at, candidate) in author.candidates.iter().enumerate() {
        let label = if at == 0 { "candidates" } else { "" };
        let ran = candidate.cmdline.as_deref().map(|c| format!(", ran: {}", terminal(c))).unwrap_or_default();
        rows.push((label, format!("{}{ran}", terminal(&candidate.name))));
    }
    rows
}

fn process(author: &Author) -> Option<String> {
    let comm = author.comm.as_deref().map(terminal);
    match (author.pid, comm) {
        (Some(pid), Some(comm)) => Some(format!("{comm} (pid {pid})")),
        (Some(pid), None) => Some(format!("pid {pid}")),
        (None, comm) => comm,
    }
}

fn approval(approval: Option<&Approval>) -> Vec<Row> {
    let Some(approval) = approval else { return vec![] };
    let text = |t: &Option<String>| t.as_deref().map_or("none given".to_owned(), terminal);
    vec![
        ("approver", terminal(&approval.approver)),
        ("reason", text(&approval.reason)),
        ("ticket", text(&approval.ticket)),
        ("approved in", terminal(&approval.commit)),
    ]
}

fn state(event: &Event) -> Vec<Row> {
    let generations = match event.generations.as_slice() {
        [] => "none joined".to_owned(),
        some => ranges(some),
    };
    let ids: Vec<String> = event.open.iter().map(|id| terminal(id)).collect();
    let open = match ids.len() {
        0 => "nothing".to_owned(),
        n => format!("{}: {}", count(n, "difference", "differences"), ids.join(" ")),
    };
    vec![
        ("generations", format!("{generations}, at the look {}", event.generation)),
        ("boot", terminal(&event.boot_id)),
        ("state", terminal(&event.state)),
        ("baseline", format!("{} {}", terminal(&event.baseline.commit), terminal(&event.baseline.path))),
        ("open after", open),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ChangeKind;
    use crate::report::fixture::*;

    #[test]
    fn an_event_in_full() {
        let expect = "\
event 1 of web-01: drift

  commit       00000001d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0
  time         2026-11-20T02:14:09Z
  recorded     2026-11-20T02:15:00Z (51 s later)
  window       between 2026-11-20T02:10:00Z and 2026-11-20T02:15:00Z
  author       ops1 as root
  evidence     audit-log: audit history; only one login changed the table then
  login uid    1001
  session      3
  terminal     pts0
  from         10.0.0.9
  process      nft (pid 4242)
  executable   /usr/sbin/nft
  command      nft insert rule inet filter input tcp dport 3306 drop
  generations  41 42, at the look 42
  boot         5c4e7bd0-0000-4000-8000-000000000001
  state        77aa
  baseline     3f2a91c04d5e6f708192a3b4c5d6e7f801234567 baselines/web-01
  open after   1 difference: a1b2c3d4e5f6

table inet filter
  chain input
    + tcp dport 3306 drop
      by ops1 as root at 2026-11-20T02:14:09Z (51 s before this entry)
      evidence: audit-log, on pts0, from 10.0.0.9
      ran: nft insert rule inet filter input tcp dport 3306 drop
      rule 4, id a1b2c3d4e5f6
";
        let entry = entry(1, EventKind::Drift, vec![added()]);
        assert_eq!(plain(&text(&entry, &options(Some(80)))), expect);
    }

    #[test]
    fn nothing_is_cut() {
        let lines = "\tx\n".repeat(5_000);
        let mut changes = vec![object(crate::model::ObjectKind::Table, ChangeKind::Removed, "t", &lines)];
        changes.extend(vec![added(); 100]);
        let text = plain(&text(&entry(1, EventKind::Drift, changes), &options(None)));
        assert!(!text.contains('…'));
        assert_eq!(text.matches("\n  -     x").count(), 5_000);
        assert_eq!(text.matches("+ tcp dport 3306 drop").count(), 100);
    }

    #[test]
    fn an_unknown_author_names_the_candidates() {
        let mut entry = entry(1, EventKind::Drift, vec![]);
        entry.event.author = nobody();
        let text = plain(&text(&entry, &options(None)));
        let expect = "  author       unknown
  evidence     none: nothing decides it
  candidates   ops1, ran: nft -f /root/a.nft
               ops2, ran: ufw reload
";
        assert!(text.contains(expect), "{text}");
    }

    #[test]
    fn json_holds_the_whole_event() {
        let entry = entry(1, EventKind::Drift, vec![added()]);
        let value: serde_json::Value = serde_json::from_str(&json(&entry)).expect("JSON");
        assert_eq!(value["schema"], "fwdrift.show/1");
        let back: LedgerEntry = serde_json::from_value(value["event"].clone()).expect("an entry");
        assert_eq!(back, entry);
    }
}
