//! Commit messages: one readable line, the changes, trailers for programs. Pure.

use super::text::{columns, cut, one_line, paragraphs};
use crate::model::{Change, ChangeKind, Event, EventKind, HostName};
use chrono::SecondsFormat;
use git2::Signature;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The widest subject line, in columns.
const SUBJECT_WIDTH: usize = 72;
/// The most lines of changes in a body; all of them are in `event.json`.
const MOST_LINES: usize = 400;
/// The widest line of a change in a body.
const LINE_WIDTH: usize = 400;

/// What an approval's commit says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApprovalMessage {
    /// One line, for example `approve: 2 changes on web-01`.
    pub subject: String,
    /// Why, as the approver put it; several lines are kept.
    pub reason: Option<String>,
    /// The ticket or change request.
    pub ticket: Option<String>,
    /// The ids of the approved changes.
    pub changes: Vec<String>,
}

impl ApprovalMessage {
    /// The whole commit message; `login` is the account behind the process, whatever git's name says.
    pub(super) fn render(&self, host: &HostName, login: &str) -> String {
        let subject = cut(&one_line(&self.subject), SUBJECT_WIDTH);
        let subject = if subject.is_empty() { format!("approve: {host}") } else { subject };
        let mut text = format!("{subject}\n\n");
        let reason = self.reason.as_deref().map(paragraphs).unwrap_or_default();
        if !reason.is_empty() {
            let _ = write!(text, "{reason}\n\n");
        }
        let mut trailer = |key: &str, value: &str| {
            let _ = writeln!(text, "{key}: {}", one_line(value));
        };
        trailer("Fwdrift-Host", host.as_str());
        if !self.changes.is_empty() {
            trailer("Fwdrift-Changes", &self.changes.join(" "));
        }
        trailer("Fwdrift-Login", login);
        if let Some(ticket) = self.ticket.as_deref().filter(|t| !t.trim().is_empty()) {
            trailer("Ticket", ticket);
        }
        text
    }
}

/// Reason and ticket of a commit on `main`.
///
/// Of a commit that fwdrift did not make (a merge request, a hand-written one), the subject is the reason
/// where there is no body.
pub(super) fn reason_and_ticket(message: &str) -> (Option<String>, Option<String>) {
    let (subject, rest) = message.split_once('\n').unwrap_or((message, ""));
    let rest = rest.trim();
    let (body, last) = rest.rsplit_once("\n\n").unwrap_or(("", rest));
    let trailers: Vec<(&str, &str)> = last.lines().filter_map(trailer).collect();
    let has_trailers = !trailers.is_empty() && trailers.len() == last.lines().count();
    let body = if has_trailers { body } else { rest };
    let value = |key: &str| {
        let found = trailers.iter().find(|(k, _)| has_trailers && k.eq_ignore_ascii_case(key));
        found.map(|(_, value)| (*value).to_owned())
    };
    let is_ours = value("Fwdrift-Host").is_some();
    let reason = match body.trim() {
        "" if is_ours => None,
        "" => Some(subject.trim().to_owned()).filter(|s| !s.is_empty()),
        body => Some(body.to_owned()),
    };
    (reason, value("Ticket"))
}

fn trailer(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(": ")?;
    let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    is_key.then_some((key, value.trim()))
}

/// `name <email>`, as git shows it.
pub(super) fn signature_text(signature: &Signature<'_>) -> String {
    let name = String::from_utf8_lossy(signature.name_bytes());
    format!("{name} <{}>", String::from_utf8_lossy(signature.email_bytes()))
}

/// The message of a ledger commit.
pub(super) fn of_event(event: &Event) -> String {
    let mut text = format!("{}\n\n", subject(event));
    let mut lines: Vec<String> = event.changes.iter().flat_map(change_lines).collect();
    lines.extend(event.gaps.iter().map(|gap| format!("not seen: {}: {}", gap.source, gap.reason)));
    for line in lines.iter().take(MOST_LINES) {
        let _ = writeln!(text, "{}", cut(line, LINE_WIDTH));
    }
    if lines.len() > MOST_LINES {
        let _ = writeln!(text, "({} more lines; event.json has them all)", lines.len() - MOST_LINES);
    }
    if !lines.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "Fwdrift-Host: {}\nFwdrift-Seq: {}", one_line(&event.host), event.seq);
    text
}

/// For example `drift: inet filter input: rule added (ops1)`.
fn subject(event: &Event) -> String {
    let who = match (&event.approval, event.kind) {
        (Some(approval), EventKind::Approved) => {
            approval.approver.split(" <").next().unwrap_or_default().to_owned()
        }
        _ => event.author.name.clone(),
    };
    let who = cut(&one_line(&who), 24);
    let who = if who.is_empty() { String::new() } else { format!(" ({who})") };
    let kind = event.kind.as_str();
    let room = SUBJECT_WIDTH - columns(kind) - columns(": ") - columns(&who);
    format!("{kind}: {}{who}", cut(&one_line(&what(event)), room))
}

fn what(event: &Event) -> String {
    match event.changes.as_slice() {
        [] => without_changes(event),
        [change] => headline(change),
        changes => {
            let tables: BTreeSet<String> = changes.iter().map(Change::table_path).collect();
            match tables.first() {
                Some(table) if tables.len() == 1 => format!("{table}: {} changes", changes.len()),
                _ => format!("{} changes in {} tables", changes.len(), tables.len()),
            }
        }
    }
}

fn without_changes(event: &Event) -> String {
    match event.kind {
        EventKind::Gap => match event.gaps.first() {
            Some(gap) => format!("{}: {}", gap.source, gap.reason),
            None => "fwdrift could not see".to_owned(),
        },
        EventKind::Transient => "made and undone between two looks".to_owned(),
        EventKind::Checkpoint => match &event.checkpoint {
            Some(point) => format!(
                "{} looks since {}, open differences: {}",
                point.looks,
                point.from.to_rfc3339_opts(SecondsFormat::Secs, true),
                event.open.len()
            ),
            None => format!("open differences: {}", event.open.len()),
        },
        EventKind::Drift | EventKind::Reverted | EventKind::Applied | EventKind::Approved => {
            format!("live state {}", cut(&event.state, 12))
        }
    }
}

/// For example `inet filter input: rule added`.
fn headline(change: &Change) -> String {
    let mut place = change.table_path();
    for part in [&change.chain, &change.name].into_iter().flatten() {
        // A chain's own change gives its name in both fields.
        if !place.ends_with(&format!(" {part}")) {
            let _ = write!(place, " {part}");
        }
    }
    format!("{place}: {} {}", change.object, change.kind.as_str())
}

/// The headline, then `-` and `+` lines in native syntax.
fn change_lines(change: &Change) -> Vec<String> {
    let mut lines = vec![one_line(&headline(change))];
    let side = |sign: char, text: &Option<String>| -> Vec<String> {
        let text = text.as_deref().unwrap_or_default();
        paragraphs(text).lines().map(|line| format!("{sign} {line}")).collect()
    };
    if change.kind != ChangeKind::Moved {
        lines.extend(side('-', &change.before));
    }
    lines.extend(side('+', &change.after));
    lines.extend(change.note.iter().map(|note| format!("  {}", one_line(note))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approvals_reason_and_ticket_are_read_back_as_given() {
        let host = HostName::parse("web-01").unwrap();
        let message = ApprovalMessage {
            subject: "approve: 2 changes on web-01".into(),
            reason: Some("Open the\nreplica.\n\nTicket: FAKE-1\nFwdrift-Host: other".into()),
            ticket: Some("CHG-7".into()),
            changes: vec!["0123456789ab".into(), "ba9876543210".into()],
        };
        let text = message.render(&host, "ops1");
        assert_eq!(reason_and_ticket(&text), (message.reason.clone(), message.ticket.clone()));
        assert!(text.ends_with(
            "Fwdrift-Host: web-01\nFwdrift-Changes: 0123456789ab ba9876543210\n\
             Fwdrift-Login: ops1\nTicket: CHG-7\n"
        ));
    }

    #[test]
    fn a_ticket_cannot_smuggle_a_trailer() {
        let host = HostName::parse("web-01").unwrap();
        let ticket = Some("1\nFwdrift-Login: root\x1b[2J".into());
        let text = ApprovalMessage { ticket, ..ApprovalMessage::default() }.render(&host, "ops1");
        assert_eq!(text.lines().filter(|l| l.starts_with("Fwdrift-Login")).count(), 1);
        assert!(!text.contains('\x1b'));
        assert_eq!(reason_and_ticket(&text).0, None);
    }

    #[test]
    fn of_a_hand_written_commit_the_subject_is_the_reason() {
        let merged = "Let the replica in\n\nTicket: CHG-9\n";
        assert_eq!(reason_and_ticket(merged), (Some("Let the replica in".into()), Some("CHG-9".into())));
        assert_eq!(reason_and_ticket("one line"), (Some("one line".into()), None));
        assert_eq!(reason_and_ticket(""), (None, None));
        let body = "Subject\n\nA reason: with a colon\nand more.\n";
        assert_eq!(reason_and_ticket(body).0.as_deref(), Some("A reason: with a colon\nand more."));
    }
}
