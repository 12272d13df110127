//! Delivery on threads of its own, one a sink, for a process that stays.
//!
//! A thread sleeps until something is queued, a failed attempt is due again, or open alerts are to be sent again: while
//! nothing is open and nothing waits, it does not wake at all.

use super::deliver::{Delivery, Step, Target, pause};
use super::error::NotifyError;
use super::store::Store;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// The pause after the first failed attempt, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// While another process delivers to the sink.
const OTHERS_TURN: Duration = Duration::from_secs(5);

/// Threads that deliver. Dropping it tells them to end and does not wait.
pub struct Background {
    bell: Arc<Bell>,
    threads: Vec<JoinHandle<()>>,
}

/// What wakes the threads.
#[derive(Default)]
struct Bell {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct Rung {
    times: u64,
    ends: bool,
}

impl Background {
    pub(super) fn start(targets: &[Arc<Target>], store: &Store) -> Self {
        let bell = Arc::new(Bell::default());
        let start = |target: &Arc<Target>| {
            let (target, store, bell) = (Arc::clone(target), store.clone(), Arc::clone(&bell));
            let name = format!("alerts {}", target.name());
            match thread::Builder::new().name(name.clone()).spawn(move || run(&target, &store, &bell)) {
                Ok(thread) => Some(thread),
                Err(error) => {
                    tracing::warn!("cannot start the thread {name:?}: {error}");
                    None
                }
            }
        };
        let threads = targets.iter().filter_map(start).collect();
        Self { bell, threads }
    }

    /// Says that something was queued.
    pub fn wake(&self) {
        self.bell.ring(|rung| rung.times += 1);
    }

    /// Lets the threads finish what they are sending, for as long as `patience`. What is not delivered stays queued.
    pub fn stop(mut self, patience: Duration) {
        self.bell.ring(|rung| rung.ends = true);
        let deadline = Instant::now() + patience;
        for thread in self.threads.drain(..) {
            while !thread.is_finished() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.bell.ring(|rung| rung.ends = true);
    }
}

impl Bell {
    fn ring(&self, change: impl FnOnce(&mut Rung)) {
        change(&mut self.look());
        self.changed.notify_all();
    }

    fn look(&self) -> MutexGuard<'_, Rung> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps until the time is over, or until `is_enough`.
    fn wait(&self, time: Option<Duration>, is_enough: impl Fn(&Rung) -> bool) {
        let sleeping = |rung: &mut Rung| !rung.ends && !is_enough(rung);
        let rung = self.look();
        match time {
            Some(time) => drop(self.changed.wait_timeout_while(rung, time, sleeping)),
            None => drop(self.changed.wait_while(rung, sleeping)),
        }
    }
}

/// How a round ended.
enum Round {
    /// Nothing waits.
    Idle,
    /// Somebody else delivers.
    Taken,
    /// The last attempt failed.
    Failed(Option<Duration>),
}

fn run(target: &Target, store: &Store, bell: &Bell) {
    let mut failed = 0;
    let mut refreshed = None;
    loop {
        let rung = *bell.look();
        if rung.ends {
            return;
        }
        let round = match round(target, store, bell, &mut refreshed) {
            Ok(round) => round,
            Err(error) => {
                tracing::warn!("{}: {error}", target.name());
                Round::Failed(None)
            }
        };
        match round {
            Round::Idle => {
                failed = 0;
                bell.wait(until_refresh(target, store, refreshed), |now| now.times != rung.times);
            }
            Round::Taken => bell.wait(Some(OTHERS_TURN), |_| false),
            Round::Failed(after) => {
                let wait = pause(failed, FIRST_PAUSE, LONGEST_PAUSE);
                failed += 1;
                // New alerts wait behind the one that failed.
                bell.wait(Some(after.map_or(wait, |after| after.min(LONGEST_PAUSE).max(wait))), |_| false);
            }
        }
    }
}

/// Delivers until nothing waits or an attempt fails; then others may have the sink.
fn round(
    target: &Target,
    store: &Store,
    bell: &Bell,
    refreshed: &mut Option<Instant>,
) -> Result<Round, NotifyError> {
    let Some(mut delivery) = Delivery::begin(target, store)? else { return Ok(Round::Taken) };
    while !bell.look().ends {
        let is_new = delivery.report.error.is_none();
        let step = match delivery.step(target.settings.timeout * 2)? {
            Step::Idle if until_refresh(target, store, *refreshed) == Some(Duration::ZERO) => {
                *refreshed = Some(Instant::now());
                let open = store.state().map(|state| state.open).unwrap_or_default();
                delivery.refresh(open, target.settings.timeout * 2)?
            }
            step => step,
        };
        if let Some(error) = delivery.report.error.as_ref().filter(|_| is_new && delivery.report.is_news) {
            tracing::warn!("alerts to {}: {}", target.name(), crate::report::escape::terminal(error));
        }
        match step {
            Step::Idle => return Ok(Round::Idle),
            Step::Done => {}
            Step::Failed { after } => return Ok(Round::Failed(after)),
        }
    }
    Ok(Round::Idle)
}

/// How long until open alerts are to be sent again; none where they never are, or none is open.
fn until_refresh(target: &Target, store: &Store, refreshed: Option<Instant>) -> Option<Duration> {
    let every = target.refreshes()?;
    store.state().filter(|state| !state.open.is_empty())?;
    Some(refreshed.map_or(Duration::ZERO, |last| every.saturating_sub(last.elapsed())))
}
