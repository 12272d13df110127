//! One alert: `fwdrift.alert/1`, what every receiver gets in a form of its own. Pure.
//!
//! Texts are as the kernel and processes gave them, but for `message` and `details`, which are escaped for people.
//! Every part has a bound: an alert is a few kilobytes whatever somebody put into a rule.

use super::bounded;
use crate::model::{Approval, Author, Change, Event, EventKind, Gap, LedgerEntry, Severity, Window};
use crate::report;
use crate::report::Options;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What an alert is about: an event of the ledger, or the queue itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "as the kinds of events, but for the last")]
pub enum AlertKind {
    Drift,
    Reverted,
    Applied,
    Transient,
    Approved,
    Gap,
    Checkpoint,
    /// Alerts were dropped because the queue was full.
    Dropped,
}

impl AlertKind {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self.event() {
            Some(kind) => kind.as_str(),
            None => "dropped",
        }
    }

    /// The kind of event; none for what no event is behind.
    pub fn event(self) -> Option<EventKind> {
        Some(match self {
            Self::Drift => EventKind::Drift,
            Self::Reverted => EventKind::Reverted,
            Self::Applied => EventKind::Applied,
            Self::Transient => EventKind::Transient,
            Self::Approved => EventKind::Approved,
            Self::Gap => EventKind::Gap,
            Self::Checkpoint => EventKind::Checkpoint,
            Self::Dropped => return None,
        })
    }
}

impl From<EventKind> for AlertKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::Drift => Self::Drift,
            EventKind::Reverted => Self::Reverted,
            EventKind::Applied => Self::Applied,
            EventKind::Transient => Self::Transient,
            EventKind::Approved => Self::Approved,
            EventKind::Gap => Self::Gap,
            EventKind::Checkpoint => Self::Checkpoint,
        }
    }
}

/// Whether something is wrong from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is, until an alert with `ended` resolves it.
    Open,
    /// Something that was open is over.
    Ended,
    /// It happened, and leaves nothing open.
    Notice,
}

impl Status {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ended => "ended",
            Self::Notice => "notice",
        }
    }
}

/// As much of an alert as names it and says what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brief {
    /// The alert's id.
    pub id: String,
    /// `drift` or `gap`.
    pub kind: AlertKind,
    /// The event's number in the ledger.
    pub seq: Option<u64>,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for.
    pub netns: Option<String>,
    /// Since when.
    pub time: DateTime<Utc>,
    /// How much it matters; null: not computed.
    pub severity: Option<Severity>,
    /// The alert's first line.
    pub message: String,
}

/// An alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Always `fwdrift.alert/1`.
    pub schema: String,
    /// The same at every attempt: who has seen it, drops it. `HOST-SEQ-COMMIT`.
    pub id: String,
    /// Counts the alerts of this host from 1; a hole means that some were dropped.
    pub number: u64,
    /// What it is about.
    pub kind: AlertKind,
    /// Whether something is wrong from now on.
    pub status: Status,
    /// How much the worst of its changes matters; null: computed of none.
    pub severity: Option<Severity>,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for; null for the one that fwdrift runs in.
    pub netns: Option<String>,
    /// Who, what, since when, and how to approve or undo it: one line of visible characters.
    pub message: String,
    /// A shorter line, as for a mail's subject.
    pub subject: String,
    /// What `record` prints: several lines, without colours; cut at 32 KiB.
    pub details: String,
    /// When it happened by the kernel's clock; else the time of the look that showed it.
    pub time: DateTime<Utc>,
    /// When it was written down.
    pub recorded_at: DateTime<Utc>,
    /// The last look before and the look that showed it; null where no look is behind it.
    pub window: Option<Window>,
    /// Who did it.
    pub author: Author,
    /// The event's number in the ledger.
    pub seq: Option<u64>,
    /// The ledger's commit.
    pub commit: Option<String>,
    /// nf_tables' generation at the look.
    pub generation: Option<u32>,
    /// What is new or what ended, as far as there is room.
    pub changes: Vec<Change>,
    /// How many changes there are.
    pub changes_total: usize,
    /// How many differences are open after it.
    pub open: usize,
    /// The alerts that were open, and are over with this one.
    pub resolves: Vec<Brief>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// For `approved`: who approved, why, and the ticket.
    pub approval: Option<Approval>,
    /// The command that shows the event in full.
    pub show: Option<String>,
    /// The command that approves what is new.
    pub approve: Option<String>,
    /// The commands that put it back, one a step.
    pub undo: Vec<String>,
}

impl Alert {
    /// The version that is written.
    pub const SCHEMA: &str = "fwdrift.alert/1";

    /// The alert of an event. `changes` are those of it that are news; its number is set when it is queued.
    pub(super) fn of(entry: &LedgerEntry, changes: &[Change], options: &Options<'_>) -> Self {
        let event = Event { changes: changes.to_vec(), ..entry.event.clone() };
        let commands = report::alert::commands(&event, options);
        let commit: String = entry.commit.chars().take(12).collect();
        Self {
            schema: Self::SCHEMA.to_owned(),
            id: format!("{}-{}-{commit}", event.host, event.seq),
            number: 0,
            kind: event.kind.into(),
            status: match event.kind {
                EventKind::Drift | EventKind::Gap => Status::Open,
                EventKind::Reverted | EventKind::Applied | EventKind::Approved => Status::Ended,
                EventKind::Transient | EventKind::Checkpoint => Status::Notice,
            },
            severity: event.changes.iter().filter_map(|change| change.severity).max(),
            host: event.host.clone(),
            netns: event.netns.clone(),
            message: bounded::line(&report::alert::headline(&event, options)),
            subject: bounded::line(&report::event::subject(&event)),
            details: bounded::block(&report::alert::details(&event, options)),
            time: event.time,
            recorded_at: event.recorded_at,
            window: Some(event.window),
            author: bounded::author(&event.author),
            seq: Some(event.seq),
            commit: Some(entry.commit.clone()),
            generation: Some(event.generation),
            changes: bounded::changes(&event.changes),
            changes_total: event.changes.len(),
            open: event.open.len(),
            resolves: Vec::new(),
            gaps: bounded::gaps(&event.gaps),
            approval: event.approval.as_ref().map(bounded::approval),
            show: Some(commands.show),
            approve: commands.approve,
            undo: commands.undo,
        }
    }

    /// The alert that something which was open is over, without an event that says so.
    pub(super) fn end_of(open: &Brief, now: DateTime<Utc>, message: String) -> Self {
        Self {
            id: format!("{}-end", open.id),
            kind: open.kind,
            status: Status::Ended,
            resolves: vec![open.clone()],
            seq: open.seq,
            severity: open.severity,
            netns: open.netns.clone(),
            ..Self::without_event(&open.host, now, message)
        }
    }

    /// The alert that alerts `first` to `last` will never come.
    pub(super) fn dropped(host: &str, now: DateTime<Utc>, (first, last): (u64, u64)) -> Self {
        let n = last.saturating_sub(first) + 1;
        let were = if n == 1 { "alert was" } else { "alerts were" };
        let message =
            format!("{host}: {n} {were} dropped, as too many waited; `fwdrift log` has every event");
        Self {
            id: format!("{host}-dropped-{first}-{last}"),
            number: last,
            ..Self::without_event(host, now, message)
        }
    }

    fn without_event(host: &str, now: DateTime<Utc>, message: String) -> Self {
        let message = bounded::line(&message);
        Self {
            schema: Self::SCHEMA.to_owned(),
            id: String::new(),
            number: 0,
            kind: AlertKind::Dropped,
            status: Status::Notice,
            severity: None,
            host: host.to_owned(),
            netns: None,
            subject: message.clone(),
            details: format!("{message}\n"),
            message,
            time: now,
            recorded_at: now,
            window: None,
            author: Author::unknown(None, Vec::new()),
            seq: None,
            commit: None,
            generation: None,
            changes: Vec::new(),
            changes_total: 0,
            open: 0,
            resolves: Vec::new(),
            gaps: Vec::new(),
            approval: None,
            show: None,
            approve: None,
            undo: Vec::new(),
        }
    }

    /// As much as names it.
    pub fn brief(&self) -> Brief {
        Brief {
            id: self.id.clone(),
            kind: self.kind,
            seq: self.seq,
            host: self.host.clone(),
            netns: self.netns.clone(),
            time: self.time,
            severity: self.severity,
            message: self.message.clone(),
        }
    }

    /// The machine that it is about, without the namespace's name.
    pub(super) fn machine(&self) -> &str {
        self.host.split('@').next().unwrap_or(&self.host)
    }

    /// One line of JSON, in which every character is visible.
    pub(super) fn json(&self) -> String {
        // A value of `model` has string keys only and serialises without I/O.
        report::escape::json(&serde_json::to_string(self).unwrap_or_default())
    }
}
