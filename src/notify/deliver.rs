//! One sink's way through the queue: what is next, one attempt, how far it got.

use super::alert::{Alert, AlertKind};
use super::error::{Failure, NotifyError};
use super::sink::Sink;
use super::store::{Position, Store};
use super::tracking::Open;
use crate::config::notify::SinkSettings;
use crate::model::HostName;
use chrono::Utc;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Characters of an error that are kept.
const ERROR: usize = 500;

/// What came of delivering to a sink for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The sink's name.
    pub sink: String,
    /// How many alerts it got.
    pub sent: u64,
    /// How many it refused for good.
    pub refused: u64,
    /// How many were dropped before it could get them.
    pub dropped: u64,
    /// How many wait.
    pub waiting: u64,
    /// What went wrong last, if anything did.
    pub error: Option<String>,
    /// Whether it went wrong for the first time since the last success.
    pub is_news: bool,
}

/// A sink with what is under way to it.
pub(super) struct Target {
    pub(super) settings: SinkSettings,
    pub(super) host: HostName,
    sink: Arc<dyn Sink>,
    /// An attempt that did not answer in time, and up to which alert it went.
    abandoned: Mutex<Option<Abandoned>>,
    /// The last alert that this process delivered.
    through: AtomicU64,
}

/// The last alert of an attempt, and where its answer will come.
type Abandoned = (u64, Receiver<Result<(), Failure>>);

/// What one step did.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing waits.
    Idle,
    /// Something was delivered, or was not of the sink's concern.
    Done,
    /// An attempt failed.
    Failed {
        /// When the receiver wants to be asked again.
        after: Option<Duration>,
    },
}

impl Target {
    pub(super) fn new(settings: &SinkSettings, host: &HostName) -> Option<Self> {
        let sink = super::sink::sink(settings)?;
        let (settings, host) = (settings.clone(), host.clone());
        Some(Self { settings, host, sink, abandoned: Mutex::default(), through: AtomicU64::new(0) })
    }

    pub(super) fn name(&self) -> &str {
        &self.settings.name
    }

    /// How often open alerts are sent again; none if never.
    pub(super) fn refreshes(&self) -> Option<Duration> {
        self.sink.refreshes()
    }

    fn concerns(&self, alert: &Alert) -> bool {
        let wanted = alert.kind.event().is_none_or(|kind| self.settings.kinds.contains(&kind));
        wanted || (self.sink.needs_ends() && !alert.resolves.is_empty())
    }

    /// Makes an attempt, and waits for its end for as long as the sink and `budget` allow. One that takes longer goes on
    /// alone; until it has ended no other is made, and if it ended well, it counts.
    fn attempt(
        &self,
        through: u64,
        budget: Duration,
        work: impl FnOnce(&dyn Sink) -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let mut abandoned = self.abandoned.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((was_through, answer)) = abandoned.take() {
            match answer.try_recv() {
                Err(TryRecvError::Empty) => {
                    *abandoned = Some((was_through, answer));
                    return Err(Failure::later("the last attempt still waits for an answer"));
                }
                Ok(Ok(())) if was_through == through => return Ok(()),
                Ok(_) | Err(TryRecvError::Disconnected) => {}
            }
        }
        let (send, answer) = channel();
        let sink = Arc::clone(&self.sink);
        let attempt = move || {
            // Nobody listens any more where this took too long.
            let _ = send.send(work(sink.as_ref()));
        };
        let thread = thread::Builder::new().name(format!("to {}", self.name()));
        thread.spawn(attempt).map_err(|error| Failure::later(format!("cannot start a thread: {error}")))?;
        // A moment more than the sink's own limit, whose words are better.
        let limit = (self.settings.timeout + Duration::from_millis(500)).min(budget);
        match answer.recv_timeout(limit) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                *abandoned = Some((through, answer));
                Err(Failure::later(format!("no answer within {:.0} s", limit.as_secs_f64())))
            }
            Err(RecvTimeoutError::Disconnected) => Err(Failure::later("the attempt ended without a result")),
        }
    }
}

/// Delivers to one sink. Only one can exist for a sink and a host, in all processes.
pub(super) struct Delivery<'t> {
    target: &'t Target,
    store: &'t Store,
    position: Position,
    next: VecDeque<Alert>,
    /// What this delivery did, for whoever asked for it.
    pub(super) report: Delivered,
    _lock: File,
}

impl<'t> Delivery<'t> {
    /// Begins; none while another thread or process delivers to the sink.
    pub(super) fn begin(target: &'t Target, store: &'t Store) -> Result<Option<Self>, NotifyError> {
        let Some(lock) = store.lock_sink(target.name())? else { return Ok(None) };
        let Some(mut position) = store.position(target.name()) else { return Ok(None) };
        position.number = position.number.max(target.through.load(Ordering::Relaxed));
        let report = Delivered {
            sink: target.name().to_owned(),
            sent: 0,
            refused: 0,
            dropped: 0,
            waiting: 0,
            error: None,
            is_news: false,
        };
        Ok(Some(Self { target, store, position, next: VecDeque::new(), report, _lock: lock }))
    }

    /// Delivers what is next, in one attempt of at most `budget`.
    pub(super) fn step(&mut self, budget: Duration) -> Result<Step, NotifyError> {
        if self.next.is_empty() {
            self.load();
        }
        let unwanted = self.next.iter().take_while(|alert| !self.target.concerns(alert));
        if let Some((at, alert)) = unwanted.enumerate().last() {
            let number = alert.number;
            return self.advance(number, at + 1, |_| {});
        }
        let together = if self.target.sink.takes_batches() { self.next.len() } else { 1 };
        let Some(last) = self.next.iter().take(together).next_back() else { return Ok(Step::Idle) };
        let through = last.number;
        let wanted = self.next.iter().take(together).filter(|alert| self.target.concerns(alert));
        let wanted: Vec<Alert> = wanted.cloned().collect();
        let (n, dropped) = (wanted.len() as u64, dropped_by(&wanted, self.position.number));
        match self.target.attempt(through, budget, move |sink| sink.send(&wanted)) {
            Ok(()) => {
                self.report.sent += n;
                self.report.dropped += dropped;
                if self.report.refused == 0 {
                    (self.report.error, self.report.is_news) = (None, false);
                }
                self.advance(through, together, |position| {
                    position.delivered += n;
                    position.dropped += dropped;
                    position.last_success = Some(Utc::now());
                    position.failing_since = None;
                    position.last_error = None;
                })
            }
            Err(Failure::Refused { reason }) => {
                self.report.refused += n;
                self.report.is_news = true;
                let reason = super::bounded::text(&reason, ERROR);
                self.report.error = Some(reason.clone());
                self.advance(through, together, |position| {
                    position.refused += n;
                    position.last_error = Some(reason);
                })
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// Sends again what is open.
    pub(super) fn refresh(&mut self, open: Vec<Open>, budget: Duration) -> Result<Step, NotifyError> {
        match self.target.attempt(0, budget, move |sink| sink.refresh(&open)) {
            Ok(()) => {
                if self.position.failing_since.take().is_some() {
                    self.position.last_error = None;
                    self.store.keep_position(self.target.name(), &self.position)?;
                }
                Ok(Step::Done)
            }
            Err(failure) => self.failed(failure),
        }
    }

    /// Gives the sink back to others.
    pub(super) fn end(mut self) -> Delivered {
        self.report.waiting = self.store.last().saturating_sub(self.position.number);
        self.report
    }

    fn failed(&mut self, failure: Failure) -> Result<Step, NotifyError> {
        let after = match &failure {
            Failure::Later { after, .. } => *after,
            Failure::Refused { .. } => None,
        };
        let reason = super::bounded::text(failure.reason(), ERROR);
        self.report.is_news |= self.position.failing_since.is_none();
        self.report.error = Some(reason.clone());
        let changed =
            self.position.failing_since.is_none() || self.position.last_error.as_ref() != Some(&reason);
        if changed {
            self.position.failing_since.get_or_insert_with(Utc::now);
            self.position.last_error = Some(reason);
            self.store.keep_position(self.target.name(), &self.position)?;
        }
        Ok(Step::Failed { after })
    }

    /// Goes on after `through`; on the disk, before anything else is delivered.
    fn advance(
        &mut self,
        through: u64,
        alerts: usize,
        note: impl FnOnce(&mut Position),
    ) -> Result<Step, NotifyError> {
        self.next.drain(..alerts.min(self.next.len()));
        self.position.number = through;
        note(&mut self.position);
        // Where the disk is full, this process at least delivers nothing twice.
        self.target.through.store(through, Ordering::Relaxed);
        self.store.keep_position(self.target.name(), &self.position)?;
        Ok(Step::Done)
    }

    /// Reads the next file of the queue; a hole before it becomes an alert of its own.
    fn load(&mut self) {
        let at = self.position.number;
        let (batch, last) = self.store.next_after(at);
        let Some(batch) = batch else {
            if last > at {
                self.next.push_back(self.dropped_until(last));
            }
            return;
        };
        if batch.first > at + 1 {
            self.next.push_back(self.dropped_until(batch.first - 1));
        }
        match batch.read() {
            Some(alerts) => self.next.extend(alerts.into_iter().filter(|alert| alert.number > at)),
            // Made room for others in this moment, or damaged: either way it will never come.
            None => self.next.push_back(self.dropped_until(batch.last)),
        }
    }

    fn dropped_until(&self, last: u64) -> Alert {
        Alert::dropped(self.target.host.as_str(), Utc::now(), (self.position.number + 1, last))
    }
}

/// How many alerts the first of these says were dropped.
fn dropped_by(alerts: &[Alert], position: u64) -> u64 {
    let first = alerts.first().filter(|alert| alert.kind == AlertKind::Dropped);
    first.map_or(0, |alert| alert.number.saturating_sub(position))
}

/// How long to wait before the next attempt: doubled each time, half of it left to chance, so that a thousand hosts do
/// not come back in the same second.
pub(super) fn pause(attempt: u32, first: Duration, longest: Duration) -> Duration {
    let full = first.saturating_mul(1 << attempt.min(16)).min(longest);
    let mut bytes = [0; 2];
    let chance = match rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(_) => f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX),
        Err(_) => 0.5,
    };
    full.mul_f64(0.5 + chance / 2.0)
}

/// Delivers what waits until `deadline`, with few attempts: for a run that has other things to do.
pub(super) fn run_once(
    target: &Target,
    store: &Store,
    deadline: Instant,
) -> Result<Option<Delivered>, NotifyError> {
    const ATTEMPTS: u32 = 3;
    let left = || deadline.saturating_duration_since(Instant::now());
    let Some(mut delivery) = Delivery::begin(target, store)? else { return Ok(None) };
    let mut failed = 0;
    while !left().is_zero() {
        match delivery.step(left())? {
            Step::Idle => break,
            Step::Done => failed = 0,
            Step::Failed { after } => {
                failed += 1;
                let wait = pause(failed, Duration::from_millis(250), Duration::from_secs(2));
                let wait = after.map_or(wait, |after| after.max(wait));
                if failed >= ATTEMPTS || wait >= left() {
                    return Ok(Some(delivery.end()));
                }
                thread::sleep(wait);
            }
        }
    }
    let open = store.state().map(|state| state.open).unwrap_or_default();
    if target.refreshes().is_some() && !open.is_empty() && !left().is_zero() {
        delivery.refresh(open, left())?;
    }
    Ok(Some(delivery.end()))
}

#[cfg(test)]
mod tests;
