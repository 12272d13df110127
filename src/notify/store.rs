//! The queue on the disk, beside the ledger: `<gitdir>/fwdrift/alerts/<host>`.
//!
//! ```text
//! queue/state.json            what comes next; the one file whose replacement makes alerts part of the queue
//! queue/NUMBER-COUNT.json     alerts that were queued together, by the number of the first
//! sinks/NAME/position.json    the last alert that is no more of the sink's concern
//! metrics.json                the numbers of the last look
//! ```
//!
//! Each file is replaced whole and reaches the disk before the next step. A file of alerts that `state.json` does not
//! know of was left by a killed process: it is made anew from the ledger.

use super::alert::Alert;
use super::error::NotifyError;
use super::tracking::State;
use crate::config::notify::QueueBounds;
use crate::ledger::{HostName, LedgerError, Repository, write_atomic};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Alerts in one file, and so in one mail.
pub(super) const BATCH: usize = 100;
/// Bytes in one file: an alert alone may be larger.
const BATCH_BYTES: usize = 1 << 20;
/// How long a writer waits for another one.
const PATIENCE: Duration = Duration::from_secs(10);
/// The beginning of the names that [`write_atomic`] gives to what it has not finished.
const UNFINISHED: &str = ".fwdrift-tmp-";

/// How far a sink is: `position.json` (`fwdrift.alert-position/1`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Always `fwdrift.alert-position/1`.
    pub schema: String,
    /// The number of the last alert that was delivered, refused, dropped, or is not of the sink's kinds.
    pub number: u64,
    /// How many were delivered.
    pub delivered: u64,
    /// How many the receiver refused.
    pub refused: u64,
    /// How many were dropped before they could be delivered.
    pub dropped: u64,
    /// When one was delivered last.
    pub last_success: Option<DateTime<Utc>>,
    /// Since when nothing is delivered; none while all is well.
    pub failing_since: Option<DateTime<Utc>>,
    /// What happened last that should not have.
    pub last_error: Option<String>,
}

impl Position {
    const SCHEMA: &str = "fwdrift.alert-position/1";

    fn at(number: u64) -> Self {
        Self {
            schema: Self::SCHEMA.to_owned(),
            number,
            delivered: 0,
            refused: 0,
            dropped: 0,
            last_success: None,
            failing_since: None,
            last_error: None,
        }
    }
}

/// Alerts that were queued together: their file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) first: u64,
    pub(super) last: u64,
    path: PathBuf,
}

impl Batch {
    /// Its alerts; none if the file is gone or damaged.
    pub(super) fn read(&self) -> Option<Vec<Alert>> {
        serde_json::from_slice(&fs::read(&self.path).ok()?).ok()
    }
}

/// The queue of one host.
#[derive(Clone, Debug)]
pub(super) struct Store {
    directory: PathBuf,
    bounds: QueueBounds,
}

/// The right to change the queue; given back when dropped.
pub(super) struct Writer<'s> {
    store: &'s Store,
    _lock: File,
}

impl Store {
    pub(super) fn of(repository: &Repository, host: &HostName, bounds: QueueBounds) -> Self {
        Self::at(&repository.state_dir().join("alerts").join(host.as_str()), bounds)
    }

    /// The queue in a directory of its own.
    pub(super) fn at(directory: &Path, bounds: QueueBounds) -> Self {
        Self { directory: directory.to_owned(), bounds }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn queue(&self) -> PathBuf {
        self.directory.join("queue")
    }

    fn sink(&self, name: &str) -> PathBuf {
        self.directory.join("sinks").join(name)
    }

    /// What is next and what is open; none if nothing was ever queued, or the file is damaged.
    pub(super) fn state(&self) -> Option<State> {
        let state: State = serde_json::from_slice(&fs::read(self.queue().join("state.json")).ok()?).ok()?;
        (state.schema == State::SCHEMA).then_some(state)
    }

    /// Waits for the right to change the queue.
    pub(super) fn lock(&self) -> Result<Writer<'_>, NotifyError> {
        let path = self.queue().join("lock");
        let lock = open_lock(&path)?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(io_error("take the lock", &path, error).into()),
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => {
                    sleep(Duration::from_millis(10))
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(NotifyError::Locked { path, waited: start.elapsed() });
                }
            }
        }
        remove_unfinished(&self.queue());
        Ok(Writer { store: self, _lock: lock })
    }

    /// The right to deliver to a sink; none while another process or thread does.
    pub(super) fn lock_sink(&self, name: &str) -> Result<Option<File>, NotifyError> {
        let path = self.sink(name).join("lock");
        let lock = open_lock(&path)?;
        match lock.try_lock() {
            Ok(()) => {
                remove_unfinished(&self.sink(name));
                Ok(Some(lock))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error("take the lock", &path, error).into()),
        }
    }

    /// How far a sink is; none if it is new, or its file is damaged.
    pub(super) fn position(&self, name: &str) -> Option<Position> {
        let bytes = fs::read(self.sink(name).join("position.json")).ok()?;
        let position: Position = serde_json::from_slice(&bytes).ok()?;
        (position.schema == Position::SCHEMA).then_some(position)
    }

    pub(super) fn keep_position(&self, name: &str, position: &Position) -> Result<(), NotifyError> {
        let bytes = serde_json::to_vec_pretty(position).unwrap_or_default();
        Ok(write_atomic(&self.sink(name).join("position.json"), &bytes)?)
    }

    /// The first file with alerts after a number, and the number of the last alert of all. What `state.json` does not
    /// know of is left out: it is read first, as files are written before it.
    pub(super) fn next_after(&self, number: u64) -> (Option<Batch>, u64) {
        let last = self.last();
        let batch = self.batches().into_iter().find(|batch| batch.last > number && batch.last <= last);
        (batch, last)
    }

    /// The number of the last alert of all; 0 before the first.
    pub(super) fn last(&self) -> u64 {
        self.state().map_or(0, |state| state.next.saturating_sub(1))
    }

    /// All files with alerts, in order.
    fn batches(&self) -> Vec<Batch> {
        let Ok(entries) = fs::read_dir(self.queue()) else { return Vec::new() };
        let batch = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let (first, count) = name.strip_suffix(".json")?.split_once('-')?;
            let (first, count): (u64, u64) = (first.parse().ok()?, count.parse().ok()?);
            Some(Batch { first, last: first + count.checked_sub(1)?, path: entry.path() })
        };
        let mut batches: Vec<Batch> = entries.flatten().filter_map(batch).collect();
        batches.sort_unstable_by_key(|batch| batch.first);
        batches
    }

    /// The lowest position of all sinks that ever were; none if there is no sink.
    fn lowest_position(&self) -> Option<u64> {
        let sinks = fs::read_dir(self.directory.join("sinks")).ok()?;
        let names = sinks.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        names.filter_map(|name| self.position(&name)).map(|position| position.number).min()
    }
}

impl Writer<'_> {
    /// The number after every one that was ever given.
    pub(super) fn next_free(&self) -> u64 {
        let batches = self.store.batches();
        let last = batches.last().map_or(0, |batch| batch.last);
        let sinks = fs::read_dir(self.store.directory.join("sinks")).into_iter().flatten().flatten();
        let positions = sinks.filter_map(|sink| self.store.position(sink.file_name().to_str()?));
        1 + positions.map(|position| position.number).max().unwrap_or(0).max(last)
    }

    /// Makes alerts part of the queue, all or none, and keeps the state after them. The oldest ones make room.
    pub(super) fn append(&self, state: &State, alerts: &[Alert]) -> Result<(), NotifyError> {
        let known = self.store.state().map_or(state.next, |state| state.next);
        for left in self.store.batches().into_iter().filter(|batch| batch.last >= known) {
            remove(&left.path)?;
        }
        let mut alerts = alerts;
        while !alerts.is_empty() {
            let (batch, rest) = alerts.split_at(batch_size(alerts));
            let path = self.store.queue().join(format!("{:012}-{}.json", batch[0].number, batch.len()));
            write_atomic(&path, &serde_json::to_vec(batch).unwrap_or_default())?;
            alerts = rest;
        }
        let bytes = serde_json::to_vec_pretty(state).unwrap_or_default();
        write_atomic(&self.store.queue().join("state.json"), &bytes)?;
        self.make_room()
    }

    /// Removes what every sink has got.
    pub(super) fn prune(&self) -> Result<(), NotifyError> {
        let Some(lowest) = self.store.lowest_position() else { return Ok(()) };
        let done = self.store.batches().into_iter().filter(|batch| batch.last <= lowest);
        for batch in done {
            remove(&batch.path)?;
        }
        Ok(())
    }

    /// Removes the oldest files until the rest is within bounds. Sinks tell it from the hole in the numbers.
    fn make_room(&self) -> Result<(), NotifyError> {
        self.prune()?;
        let QueueBounds { alerts, bytes } = self.store.bounds;
        let batches = self.store.batches();
        let mut kept_alerts = 0;
        let mut kept_bytes = 0;
        for (at, batch) in batches.iter().enumerate().rev() {
            kept_alerts += batch.last + 1 - batch.first;
            kept_bytes += fs::metadata(&batch.path).map_or(0, |metadata| metadata.len());
            // The newest stays, however large.
            if (kept_alerts > alerts || kept_bytes > bytes) && at + 1 < batches.len() {
                remove(&batch.path)?;
            }
        }
        Ok(())
    }

    /// Lets a sink begin after the alerts that are there, if it is new.
    pub(super) fn enrol(&self, name: &str, state: &State) -> Result<(), NotifyError> {
        match self.store.position(name) {
            Some(_) => Ok(()),
            None => self.store.keep_position(name, &Position::at(state.next.saturating_sub(1))),
        }
    }
}

/// How many of the alerts go into the next file.
fn batch_size(alerts: &[Alert]) -> usize {
    let mut bytes = 0;
    let fits = |alert: &&Alert| {
        bytes += serde_json::to_vec(alert).map_or(0, |json| json.len());
        bytes <= BATCH_BYTES
    };
    alerts.iter().take(BATCH).take_while(fits).count().max(1)
}

fn open_lock(path: &Path) -> Result<File, LedgerError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| io_error("make the directory", directory, error))?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map_err(|error| io_error("open the lock", path, error))
}

fn remove(path: &Path) -> Result<(), LedgerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("remove", path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What a killed process was writing. Whoever holds the directory's lock is alone there.
fn remove_unfinished(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn io_error(action: &'static str, path: &Path, error: io::Error) -> LedgerError {
    LedgerError::Io { action, path: path.to_owned(), error }
}

#[cfg(test)]
mod tests;
