//! `watch`: follows every transaction as it happens, until it is asked to end.
//!
//! One thread, one loop. Transactions come from nf_tables' announcements, their authors from the witness; what
//! came is looked at in turns (`pipeline::turn`), at once where it is quiet, at intervals where it never is. What
//! announces nothing (legacy tables, ipset, settings, programs) is polled, and looked at as soon as an audit record
//! says that a legacy table was replaced.

mod ear;
mod pace;
mod telling;

use crate::collect::transactions::TransactionsError;
use crate::config::Settings;
use crate::model::{EventKind, Gap, LedgerEntry};
use crate::pipeline::{self, Beside, Effects, Kept, PipelineError, Recorded, Telling};
use crate::service::{Order, Service};
use crate::sys;
use crate::sys::usage::processor_time;
use ear::Ear;
use pace::Pace;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::time::{Duration, Instant};
use telling::Teller;

/// A turn that failed is tried again after this time, and each time later, up to the second.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Why `watch` cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// Transactions cannot be heard of.
    #[error(transparent)]
    Transactions(#[from] TransactionsError),
    /// The first look failed: what a person has to mend first.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// Waiting failed.
    #[error("cannot wait for events: {0}")]
    Wait(std::io::Error),
}

impl WatchError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Transactions(error) => error.hint(),
            Self::Pipeline(error) => error.hint(),
            Self::Wait(_) => None,
        }
    }
}

/// What `watch` tells the one that runs it.
pub trait Report {
    /// A turn ended well; it may have recorded events.
    fn looked(&mut self, recorded: &Recorded);
    /// A turn failed; it will be tried again.
    fn failed(&mut self, error: &PipelineError);
    /// Something cannot be seen, or can be seen again.
    fn gaps(&mut self, gaps: &[Gap]);
    /// The settings as they are now; none if they cannot be used.
    fn reload(&mut self) -> Option<Settings>;
}

/// Watches until somebody asks it to end.
///
/// # Errors
/// If it cannot start. Once it runs, a look that fails is told, and tried again.
pub fn watch(settings: Settings, service: &mut Service, report: &mut dyn Report) -> Result<(), WatchError> {
    let mut watch = Watch::start(settings, report)?;
    service.ready();
    let mut said = String::new();
    loop {
        let status = watch.status();
        if status != said {
            service.status(&status);
            said = status;
        }
        service.tend(Instant::now());
        watch.wait(service)?;
        match service.take() {
            Some(Order::Stop) => break,
            Some(Order::Reload) => {
                service.reloading();
                watch.reload(report)?;
                service.ready();
            }
            None => {}
        }
        watch.ear.listen(Instant::now())?;
        watch.follow(report);
    }
    service.stopping();
    // What was heard is written down; what comes from now on is found by the next start.
    watch.ear.wait_for_authors(Instant::now());
    watch.follow_now(report, false);
    Ok(())
}

struct Watch {
    settings: Settings,
    ear: Ear,
    kept: Option<Kept>,
    pace: Pace,
    teller: Teller,
    next_poll: Instant,
    next_full: Instant,
    retry: Duration,
    gaps: Vec<Gap>,
    last: Last,
}

/// For the status line.
#[derive(Default)]
struct Last {
    verdict: &'static str,
    transactions: u64,
    event: Option<u64>,
}

impl Watch {
    fn start(settings: Settings, report: &mut dyn Report) -> Result<Self, WatchError> {
        let now = Instant::now();
        sys::memory::use_one_arena();
        // Heard from before the first look: what changes meanwhile is not lost.
        let ear = Ear::open(&settings)?;
        let mut watch = Self {
            ear,
            kept: None,
            pace: Pace::new(now),
            teller: Teller::new(now),
            next_poll: now + settings.poll_every,
            next_full: now + settings.full_look_every,
            retry: RETRY.0,
            gaps: Vec::new(),
            last: Last::default(),
            settings,
        };
        let recorded = watch.turn(true)?;
        watch.done(recorded, report);
        Ok(watch)
    }

    /// When there is something to do, whatever comes.
    fn due(&self) -> Instant {
        let turn =
            self.pace.due().map(|due| self.ear.resolved_by().map_or(due, |resolved| due.max(resolved)));
        [turn, Some(self.next_poll), self.ear.deadline()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(self.next_poll)
    }

    fn wait(&mut self, service: &Service) -> Result<(), WatchError> {
        let end = service.next_ping().map_or(self.due(), |ping| ping.min(self.due()));
        let mut sources = vec![PollFd::new(service, PollFlags::IN)];
        sources.extend(self.ear.fds().into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut sources, Some(&until(end))) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(WatchError::Wait(error.into())),
        }
    }

    /// Looks, if it is time.
    fn follow(&mut self, report: &mut dyn Report) {
        let now = Instant::now();
        for _ in 0..self.ear.news() {
            self.pace.arrived(now);
        }
        if self.ear.x_tables_replaced() {
            self.next_poll = self.next_poll.min(now);
        }
        let poll = now >= self.next_poll;
        let turn = self.pace.due().is_some_and(|due| due <= now)
            && self.ear.resolved_by().is_none_or(|resolved| resolved <= now);
        if poll || turn {
            self.follow_now(report, poll);
        }
    }

    fn follow_now(&mut self, report: &mut dyn Report, poll: bool) {
        let before = processor_time();
        match self.turn(poll) {
            Ok(recorded) => {
                self.retry = RETRY.0;
                self.done(recorded, report);
            }
            Err(error) => {
                report.failed(&error);
                self.kept = None;
                self.next_poll = Instant::now() + self.retry;
                self.retry = (self.retry * 2).min(RETRY.1);
            }
        }
        self.pace.looked(processor_time().saturating_sub(before), Instant::now());
    }

    fn turn(&mut self, poll: bool) -> Result<Recorded, PipelineError> {
        let now = Instant::now();
        let full = self.ear.take_lost() || now >= self.next_full;
        if full {
            self.next_full = now + self.settings.full_look_every;
        }
        if poll && self.ear.is_elsewhere(&self.settings) {
            match Ear::open(&self.settings) {
                Ok(ear) => (self.ear, self.kept) = (ear, None),
                Err(error) => tracing::warn!("the new namespace cannot be listened to: {error}"),
            }
        }
        if poll || full {
            self.ear.learn(&self.settings, full || self.kept.is_none());
        }
        if poll {
            self.next_poll = now + self.settings.poll_every;
        }
        let heard = self.ear.take_beside(now);
        let effects = if self.pace.is_busy() { Effects::Later } else { Effects::Now };
        let beside = Beside {
            x_tables: heard.x_tables,
            heard_all: heard.heard_all,
            gaps: heard.gaps,
            ipset: self.ear.ipset().clone(),
            poll: poll || full,
            full,
            telling: Telling { effects, ..self.teller.telling(now) },
        };
        let mut waiting = self.ear.take();
        let ear = &mut self.ear;
        let recorded = pipeline::turn(
            &self.settings,
            &mut self.kept,
            &mut waiting,
            &mut |generation| ear.up_to(generation),
            beside,
        );
        // What came too late for this turn, or all of it if the turn failed.
        self.ear.give_back(waiting);
        recorded
    }

    fn done(&mut self, recorded: Recorded, report: &mut dyn Report) {
        let events: &[LedgerEntry] = &recorded.events;
        let passing = events.iter().filter(|entry| entry.event.kind == EventKind::Transient);
        self.teller.told(passing.flat_map(|entry| entry.event.changes.clone()).collect(), Instant::now());
        self.last.verdict = recorded.result.verdict.as_str();
        self.last.transactions +=
            events.iter().map(|entry| entry.event.generations.len() as u64).sum::<u64>();
        self.last.event = events.last().map(|entry| entry.event.seq).or(self.last.event);
        if recorded.result.gaps != self.gaps {
            report.gaps(&recorded.result.gaps);
            self.gaps.clone_from(&recorded.result.gaps);
        }
        report.looked(&recorded);
    }

    fn reload(&mut self, report: &mut dyn Report) -> Result<(), WatchError> {
        if let Some(settings) = report.reload() {
            if settings.netns != self.settings.netns {
                self.ear = Ear::open(&settings)?;
            }
            self.settings = settings;
            self.kept = None;
        }
        self.next_poll = Instant::now();
        Ok(())
    }

    fn status(&self) -> String {
        let Last { verdict, transactions, event } = &self.last;
        let event = event.map_or_else(String::new, |seq| format!(", newest event {seq}"));
        format!("watching {}: {verdict}, {transactions} transactions recorded{event}", self.settings.host)
    }
}

fn until(end: Instant) -> Timespec {
    let left = end.saturating_duration_since(Instant::now());
    Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() }
}
