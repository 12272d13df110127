//! From the ledger into the queue, and out of the queue to every sink.

use super::alert::Alert;
use super::background::Background;
use super::deliver::{Delivered, Target, run_once};
use super::error::NotifyError;
use super::metrics::{self, Summary};
use super::store::{BATCH, Store};
use super::tracking::{State, Through};
use crate::config::{NotifySettings, Settings};
use crate::ledger::{CommitId, HostName, Repository};
use crate::model::LedgerEntry;
use crate::report::Options;
use chrono::Utc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Unchanged numbers are not written more often than this.
const METRICS_EVERY: Duration = Duration::from_secs(15);

/// The alerts of one host name.
pub struct Notifier {
    settings: NotifySettings,
    host: HostName,
    store: Store,
    targets: Vec<Arc<Target>>,
    written: Mutex<Option<Written>>,
}

/// The numbers as they were written last.
struct Written {
    when: Instant,
    look: Option<Summary>,
    unattributed: u64,
}

impl Notifier {
    /// Prepares the queue. A host that was never told of begins with what is recorded from now on, and so does a sink
    /// that is new: so open it before the look whose events are to be told.
    ///
    /// # Errors
    /// The disk's; the ledger's, if its newest event cannot be read.
    pub fn open(settings: &Settings, repository: &Repository) -> Result<Self, NotifyError> {
        let host = settings.host.clone();
        let store = Store::of(repository, &host, settings.notify.bounds);
        let new_target = |sink| Target::new(sink, &host).map(Arc::new);
        let targets: Vec<_> = settings.notify.sinks.iter().filter_map(new_target).collect();
        let notify = settings.notify.clone();
        let notifier = Self { settings: notify, host, store, targets, written: Mutex::default() };
        let is_known = |target: &Arc<Target>| notifier.store.position(target.name()).is_some();
        let is_ready = notifier.store.state().is_some() && notifier.targets.iter().all(is_known);
        if !notifier.is_silent() && !is_ready && repository.head(&notifier.host)?.is_some() {
            notifier.prepare(repository, &[])?;
        }
        Ok(notifier)
    }

    /// The host whose alerts these are.
    pub fn host(&self) -> &HostName {
        &self.host
    }

    /// Whether nobody is to be told of anything.
    pub fn is_silent(&self) -> bool {
        self.settings.is_silent()
    }

    /// Makes alerts of what the ledger has that was not queued yet, and writes the metrics. `entries` are the events of
    /// this look, if it made any; `look` is what it found, none if it failed. Returns how many alerts are new.
    ///
    /// When this returns, the alerts are on the disk; if it fails or the process is killed, the next call makes up for it.
    ///
    /// # Errors
    /// The disk's, the ledger's; [`NotifyError::Locked`].
    pub fn queue(
        &self,
        repository: &Repository,
        entries: &[LedgerEntry],
        look: Option<&Summary>,
        options: &Options<'_>,
    ) -> Result<u64, NotifyError> {
        if self.is_silent() {
            return Ok(0);
        }
        let mut state = match self.store.state() {
            Some(state) => state,
            None => self.prepare(repository, entries)?,
        };
        let mut queued = 0;
        if self.has_news(repository, &state, look)? {
            let writer = self.store.lock()?;
            // Another process may have been faster.
            state = self.store.state().unwrap_or(state);
            let (mut news, first) = (self.news(repository, &state)?, state.next);
            let most = usize::try_from(self.settings.bounds.alerts).unwrap_or(usize::MAX);
            let too_many = news.len().saturating_sub(most);
            state.skip(too_many as u64);
            for commits in news.split_off(too_many).chunks(BATCH) {
                let mut alerts: Vec<Alert> = Vec::new();
                for commit in commits {
                    alerts.extend(state.follow(&repository.event_at(commit)?, options));
                }
                writer.append(&state, &alerts)?;
            }
            if let Some(summary) = look {
                let ended = state.settle(summary, Utc::now());
                if !ended.is_empty() {
                    writer.append(&state, &ended)?;
                }
            }
            queued = state.next - first;
        }
        self.write_metrics(look, state.unattributed)?;
        Ok(queued)
    }

    /// Delivers what waits, all sinks at once, until `deadline`; what is left stays queued. A sink that hangs is left
    /// behind: its thread ends with the process.
    pub fn deliver(&self, deadline: Instant) -> Vec<Delivered> {
        let (send, results) = channel();
        let mut expected = 0;
        for target in &self.targets {
            let (target, store, send) = (Arc::clone(target), self.store.clone(), send.clone());
            let name = target.name().to_owned();
            let work = move || {
                let result = run_once(&target, &store, deadline);
                let _ = send.send((target.name().to_owned(), result));
            };
            match thread::Builder::new().name(format!("alerts {name}")).spawn(work) {
                Ok(_) => expected += 1,
                Err(error) => tracing::warn!("cannot start a thread for {name}: {error}"),
            }
        }
        let mut delivered = Vec::new();
        // Attempts end at the deadline; the rest is writing down how far they got.
        let patience = deadline + Duration::from_secs(1);
        while expected > 0 {
            match results.recv_timeout(patience.saturating_duration_since(Instant::now())) {
                Ok((_, Ok(Some(report)))) => delivered.push(report),
                Ok((_, Ok(None))) => {}
                Ok((sink, Err(error))) => delivered.push(self.failed(sink, error.to_string())),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
            expected -= 1;
        }
        delivered.sort_by_key(|report| self.targets.iter().position(|target| target.name() == report.sink));
        delivered
    }

    /// Delivers in the background, on a thread for each sink, until the value that this returns is stopped or dropped.
    pub fn start(&self) -> Background {
        Background::start(&self.targets, &self.store)
    }

    fn failed(&self, sink: String, error: String) -> Delivered {
        let position = self.store.position(&sink).map_or(0, |position| position.number);
        let waiting = self.store.last().saturating_sub(position);
        Delivered { sink, sent: 0, refused: 0, dropped: 0, waiting, error: Some(error), is_news: true }
    }

    /// Makes the state, if there is none, and the positions of new sinks. Before `entries`, if there are any.
    fn prepare(&self, repository: &Repository, entries: &[LedgerEntry]) -> Result<State, NotifyError> {
        let writer = self.store.lock()?;
        let state = match self.store.state() {
            Some(state) => state,
            None => {
                let state = State::from(self.beginning(repository, entries)?, writer.next_free());
                writer.append(&state, &[])?;
                state
            }
        };
        self.targets.iter().try_for_each(|target| writer.enrol(target.name(), &state))?;
        Ok(state)
    }

    /// The newest event, or the one before `entries`.
    fn beginning(
        &self,
        repository: &Repository,
        entries: &[LedgerEntry],
    ) -> Result<Option<Through>, NotifyError> {
        let (commits, _) = repository.commits_after(&self.host, None)?;
        let first = entries.first().map(|entry| entry.commit.as_str());
        let before = match commits.iter().position(|commit| Some(commit.as_str()) == first) {
            Some(first) => first,
            None => commits.len(),
        };
        let newest = before.checked_sub(1).and_then(|at| commits.get(at));
        Ok(newest.map(|commit| repository.event_at(commit)).transpose()?.as_ref().map(Through::of))
    }

    fn has_news(
        &self,
        repository: &Repository,
        state: &State,
        look: Option<&Summary>,
    ) -> Result<bool, NotifyError> {
        let ends = look.is_some_and(|summary| !state.clone().settle(summary, Utc::now()).is_empty());
        Ok(ends || !self.news(repository, state)?.is_empty())
    }

    /// The commits that were not queued yet, oldest first. Where somebody moved the ledger's branch, those that were
    /// written after the last one that was queued.
    fn news(&self, repository: &Repository, state: &State) -> Result<Vec<CommitId>, NotifyError> {
        let known = state.through.as_ref().map(|through| through.commit.as_str());
        let (mut commits, found) = repository.commits_after(&self.host, known)?;
        if let Some(through) = state.through.as_ref().filter(|_| !found) {
            let mut kept = commits.len();
            while kept > 0 && repository.event_at(&commits[kept - 1])?.event.recorded_at > through.recorded_at
            {
                kept -= 1;
            }
            commits.drain(..kept);
        }
        Ok(commits)
    }

    fn write_metrics(&self, look: Option<&Summary>, unattributed: u64) -> Result<(), NotifyError> {
        let Some(directory) = &self.settings.textfile else { return Ok(()) };
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = written.as_ref().is_some_and(|last| {
            let same_look = match (&last.look, look) {
                (Some(last), Some(now)) => *last == Summary { looked_at: last.looked_at, ..now.clone() },
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            same_look && last.unattributed == unattributed && last.when.elapsed() < METRICS_EVERY
        });
        if is_same {
            return Ok(());
        }
        metrics::write(directory, self.store.directory(), &self.host, look, unattributed)
            .map_err(|source| NotifyError::Metrics { directory: directory.clone(), source })?;
        *written = Some(Written { when: Instant::now(), look: look.cloned(), unattributed });
        Ok(())
    }
}
