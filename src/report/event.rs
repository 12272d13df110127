//! What `record` prints when it has written an event: cron mails it, so its first line says it all.

use super::changes::{Detail, blocks};
use super::log::kind_style;
use super::style::paint;
use super::time::{Reference, duration, utc};
use super::wording::{count, host, one_line, path};
use super::{Options, check, escape, gaps, who};
use crate::model::{Event, EventKind};

/// The subject of a mail: plain, one line, whatever the event holds.
pub fn subject(event: &Event) -> String {
    let host = host(&event.host, event.netns.as_deref());
    let by = who::name(&event.author);
    let n = event.changes.len();
    let changes = match event.changes.as_slice() {
        [one] => format!("{} in {}", one_line(one), path(one)),
        _ => count(n, "change", "changes"),
    };
    match event.kind {
        EventKind::Drift => format!("{host}: firewall changed by {by}: {changes}"),
        EventKind::Reverted => format!("{host}: firewall drift reverted by {by}: {changes}"),
        EventKind::Applied => format!("{host}: approved baseline applied by {by}: {changes}"),
        EventKind::Transient => format!("{host}: firewall changed and changed back by {by}"),
        EventKind::Approved => format!("{host}: firewall drift approved by {by}: {changes}"),
        EventKind::Gap => format!("{host}: fwdrift could not see the firewall for a time"),
        EventKind::Checkpoint => format!("{host}: firewall looked at, nothing new"),
    }
}

/// Subject, when, details, what is still open, what to do next.
pub fn text(event: &Event, options: &Options<'_>) -> String {
    let mut out = format!("{}\n", paint(kind_style(event.kind), subject(event)));
    out.push_str(&format!("{}\n", when(event)));
    if let Some(approval) = &event.approval {
        let ticket = approval.ticket.as_deref().map(|t| format!(", ticket {}", escape::terminal(t)));
        let reason = approval.reason.as_deref().map(|r| format!(": {}", escape::terminal(r)));
        let approver = escape::terminal(&approval.approver);
        out.push_str(&format!(
            "approved by {approver}{}{}\n",
            ticket.unwrap_or_default(),
            reason.unwrap_or_default()
        ));
    }
    if !event.changes.is_empty() {
        let reference = Reference { time: event.recorded_at, name: "this entry" };
        out.push_str(&blocks(&event.changes, Detail { reference: Some(reference), ..Detail::BRIEF }));
    }
    out.push_str(&gaps::block(&event.gaps, options));
    let open = match event.open.len() {
        0 => "nothing is open now".to_owned(),
        n => format!("{} now", count(n, "difference is open", "differences are open")),
    };
    let seq = event.seq;
    out.push_str(&format!("\nevent {seq}, {open}; in full: {} show {seq}\n", options.program));
    if event.kind == EventKind::Drift {
        let review = format!("{} check", options.program);
        out.push_str(&format!("to accept it: {review}, then the approve command that it prints\n"));
        out.push_str(&check::next(None, &event.changes, &event.baseline, event.netns.as_deref(), options));
    }
    out
}

fn when(event: &Event) -> String {
    let late = duration(event.recorded_at - event.time);
    let recorded = utc(event.recorded_at);
    if event.author.window.is_some() && !event.author.is_known() {
        return format!("{}; recorded {recorded}", who::window(event.window));
    }
    format!("at {}; recorded {recorded}, {late} later", utc(event.time))
}
