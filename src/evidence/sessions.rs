//! Where sessions came from, of a history.
//!
//! In: events, and the log files or the journal that they are from. Out: the same events with the addresses of their
//! sessions. Of a session's records the first counts, which is from when it was let in; whoever is in it may write
//! others. Its number is given again after a boot, so only records of the present one count. Reads a bounded part.

use super::lore::Lore;
use super::record::{Body, USER_LOGIN, USER_START, parse_line, split_line};
use super::seek;
use super::{journal, process::since_boot};
use crate::model::AuditEvent;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

/// How much of the logs is read, at most: four of auditd's usual files.
const BOUND: u64 = 32 << 20;
/// How far the clock may have been set since boot.
const SLACK: TimeDelta = TimeDelta::seconds(60);

/// A session: its number and its login.
type Key = (u32, u32);

/// Since when the machine runs.
fn booted_at() -> DateTime<Utc> {
    let uptime = TimeDelta::from_std(since_boot()).unwrap_or_default();
    Utc::now() - uptime
}

/// The sessions of these events. Of an event from before this boot, nothing can be told.
fn wanted(events: &[AuditEvent]) -> BTreeSet<Key> {
    let since = booted_at();
    let of_this_boot = events.iter().filter(|event| event.time > since);
    of_this_boot
        .filter_map(|event| {
            let call = event.syscall.as_ref()?;
            Some((call.session?, call.auid?))
        })
        .collect()
}

/// Looks for them in log files, of which the newest is the first.
pub(super) fn from_files(events: &mut [AuditEvent], files: &[&Path]) {
    let mut wanted = wanted(events);
    if wanted.is_empty() {
        return;
    }
    let mut left = BOUND;
    let mut parts = Vec::new();
    for path in files {
        // What cannot be read was told when the window was read.
        let Ok(file) = File::open(path) else { continue };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let start = length.saturating_sub(left);
        left -= length - start;
        parts.push((file, start, length));
    }
    let mut lore = Lore::default();
    for (file, start, length) in parts.iter().rev() {
        let _ = seek::lines(file, *start, *length, |line| {
            take(line, &mut wanted, &mut lore);
            if wanted.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
    }
    complete(events, &lore);
}

fn take(line: &[u8], wanted: &mut BTreeSet<Key>, lore: &mut Lore) {
    // Most lines are about something else, and not worth parsing.
    const MARK: &[u8] = b"type=USER_";
    let is_candidate =
        line.starts_with(MARK) || (line.starts_with(b"node=") && memchr::memmem::find(line, MARK).is_some());
    let head = split_line(line).filter(|_| is_candidate).map(|(head, _)| head);
    if !head.is_some_and(|head| matches!(head.number, USER_START | USER_LOGIN)) {
        return;
    }
    if let Some(record) = parse_line(line)
        && record.time() > booted_at() - SLACK
        && let Body::Session(start) = record.body
        && wanted.remove(&(start.session, start.auid))
    {
        lore.session(start);
    }
}

/// Looks for them in the journal, of this boot.
pub(super) fn from_journal(events: &mut [AuditEvent], dir: Option<&Path>) {
    let wanted = wanted(events);
    let sessions: BTreeSet<u32> = wanted.iter().map(|(session, _)| *session).collect();
    if sessions.is_empty() {
        return;
    }
    let mut lore = Lore::default();
    for record in journal::sessions(dir, &sessions) {
        if let Body::Session(start) = record.body
            && wanted.contains(&(start.session, start.auid))
        {
            lore.session(start);
        }
    }
    complete(events, &lore);
}

fn complete(events: &mut [AuditEvent], lore: &Lore) {
    events.iter_mut().for_each(|event| lore.complete(event));
}
