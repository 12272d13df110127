//! From events to alerts: which are news, which are open, what ends them. Pure.
//!
//! The same open drift is told once, whatever happens to the ledger or to fwdrift; one that ended and came back is told
//! again. Everything that this depends on is in [`State`], which is written in one piece.

use super::alert::{Alert, AlertKind, Brief};
use super::bounded;
use super::metrics::Summary;
use crate::model::{EventKind, LedgerEntry};
use crate::report::{Options, escape, time::utc};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes of an open alert's details that are kept to be sent again.
const DETAILS: usize = 2_000;
/// More open alerts than these are more than anybody reads: the oldest are told as they were, and no more followed.
const FOLLOWED: usize = 1_000;

/// The queue's own memory: `state.json` (`fwdrift.alerts/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) schema: String,
    /// The last event that was turned into an alert, or was no news.
    pub(super) through: Option<Through>,
    /// The number of the next alert.
    pub(super) next: u64,
    /// What was told and is not over.
    pub(super) open: Vec<Open>,
    /// Changes without a known author, ever since.
    pub(super) unattributed: u64,
}

/// A place in the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Through {
    pub(super) commit: String,
    pub(super) recorded_at: DateTime<Utc>,
}

impl Through {
    pub(super) fn of(entry: &LedgerEntry) -> Self {
        Self { commit: entry.commit.clone(), recorded_at: entry.event.recorded_at }
    }
}

/// An alert that is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) alert: Brief,
    pub(super) recorded_at: DateTime<Utc>,
    /// The beginning of its details.
    pub(super) details: String,
    /// The ids of its changes that are still open; empty for a gap.
    pub(super) changes: BTreeSet<String>,
}

impl State {
    pub(super) const SCHEMA: &str = "fwdrift.alerts/1";

    /// Begins after an event: what was recorded before is no news.
    pub(super) fn from(through: Option<Through>, next: u64) -> Self {
        Self { schema: Self::SCHEMA.to_owned(), through, next, open: Vec::new(), unattributed: 0 }
    }

    /// The alert of the next event, numbered; none if it is no news.
    pub(super) fn follow(&mut self, entry: &LedgerEntry, options: &Options<'_>) -> Option<Alert> {
        let event = &entry.event;
        self.through = Some(Through::of(entry));
        let alert = match event.kind {
            EventKind::Drift => {
                let is_open = |id: &String| self.open.iter().any(|open| open.changes.contains(id));
                let news: Vec<_> = event.changes.iter().filter(|c| !is_open(&c.id)).cloned().collect();
                if news.is_empty() && !event.changes.is_empty() {
                    return None;
                }
                self.count_unattributed(news.iter().filter(|change| !change.author.is_known()).count());
                let alert = Alert::of(entry, &news, options);
                let ids = news.into_iter().map(|change| change.id).collect();
                self.open.push(Open::of(&alert, ids));
                self.open.drain(..self.open.len().saturating_sub(FOLLOWED));
                alert
            }
            EventKind::Gap => {
                let mut alert = Alert::of(entry, &event.changes, options);
                // It tells all that cannot be seen now.
                alert.resolves = self.close(|open| open.alert.kind == AlertKind::Gap);
                self.open.push(Open::of(&alert, BTreeSet::new()));
                alert
            }
            EventKind::Reverted | EventKind::Applied | EventKind::Approved => {
                let mut alert = Alert::of(entry, &event.changes, options);
                let ended: BTreeSet<&String> = event.changes.iter().map(|change| &change.id).collect();
                alert.resolves = self.close(|open| {
                    let before = open.changes.len();
                    open.changes.retain(|id| !ended.contains(id));
                    before > 0 && open.changes.is_empty()
                });
                alert
            }
            EventKind::Transient => {
                let changes = event.changes.iter().filter(|change| !change.author.is_known()).count();
                let alone = usize::from(event.changes.is_empty() && !event.author.is_known());
                self.count_unattributed(changes + alone);
                Alert::of(entry, &event.changes, options)
            }
            EventKind::Checkpoint => Alert::of(entry, &event.changes, options),
        };
        Some(self.numbered(alert))
    }

    /// What a look ends without an event of its own: a gap, once everything is seen again; and whatever is told as open
    /// where nothing is. `now` tells of a clock that was set back since.
    pub(super) fn settle(&mut self, summary: &Summary, now: DateTime<Utc>) -> Vec<Alert> {
        if !summary.complete {
            return Vec::new();
        }
        let in_sync = summary.open.values().all(|n| *n == 0);
        let is_over = |open: &Open| {
            let ends = open.alert.kind == AlertKind::Gap || in_sync;
            // Another process may have recorded it after this look.
            ends && (open.recorded_at < summary.looked_at || now < open.recorded_at)
        };
        let ended = self.close(|open| is_over(open));
        let at = utc(summary.looked_at);
        let alert = |brief: Brief| {
            let host = escape::terminal(&brief.host);
            let message = match brief.kind {
                AlertKind::Gap => format!("{host}: fwdrift sees everything again at {at}"),
                _ => format!("{host}: what differed from the baseline is gone at {at}"),
            };
            let seq = brief.seq.map(|seq| format!(" (fwdrift show {seq})")).unwrap_or_default();
            Alert::end_of(&brief, summary.looked_at, format!("{message}{seq}"))
        };
        ended.into_iter().map(alert).map(|alert| self.numbered(alert)).collect()
    }

    /// Counts alerts that will never be stored.
    pub(super) fn skip(&mut self, n: u64) {
        self.next += n;
    }

    fn numbered(&mut self, alert: Alert) -> Alert {
        let number = self.next;
        self.next += 1;
        Alert { number, ..alert }
    }

    fn close(&mut self, mut is_over: impl FnMut(&mut Open) -> bool) -> Vec<Brief> {
        self.open.extract_if(.., |open| is_over(open)).map(|open| open.alert).collect()
    }

    fn count_unattributed(&mut self, n: usize) {
        self.unattributed += n as u64;
    }
}

impl Open {
    fn of(alert: &Alert, changes: BTreeSet<String>) -> Self {
        Self {
            alert: alert.brief(),
            recorded_at: alert.recorded_at,
            details: bounded::both_ends(&alert.details, DETAILS),
            changes,
        }
    }
}

#[cfg(test)]
mod tests;
