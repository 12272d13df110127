//! Follows processes in a thread of its own, while audit does not tell who made a change.
//!
//! In: the process connector, /proc. Out: [`Tasks`]. A program such as nft is there for two milliseconds: whoever looks
//! at it when other work is done, comes too late.

use super::connector::{Connector, Deed, Happened};
use super::tasks::Tasks;
use crate::evidence::EvidenceError;
use crate::evidence::process::{Proc, Process, since_boot};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long an answer waits for what is still to be heard.
const PATIENCE: Duration = Duration::from_millis(100);

/// What both threads see.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    heard: Condvar,
}

#[derive(Debug, Default)]
struct State {
    tasks: Tasks,
    /// Everything that was announced before this, since boot, is in `tasks`.
    heard_until: Duration,
    losses: usize,
    failure: Option<EvidenceError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic: the state is replaced in whole steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    shared: Arc<Shared>,
    wake: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Begins to follow.
    ///
    /// # Errors
    /// Of the process connector, which is to be had on the host itself only; without a thread.
    pub(super) fn start(proc: Proc) -> Result<Self, EvidenceError> {
        let connector = Connector::open()?;
        let failed = |source| EvidenceError::Netlink { operation: "make a pipe", source };
        let (woken, wake) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(failed)?;
        let shared = Arc::new(Shared::default());
        shared.lock().tasks.begin(since_boot());
        let worker = Worker { shared: Arc::clone(&shared), connector, proc, woken };
        let thread = std::thread::Builder::new().name("processes".to_owned()).spawn(move || worker.run());
        let thread = thread.map_err(|_| EvidenceError::Thread)?;
        Ok(Self { shared, wake: Some(wake), thread: Some(thread) })
    }

    /// Gives all that was announced before `when` to `find`.
    pub(super) fn ask<T>(&self, when: Duration, find: impl FnOnce(&Tasks) -> T) -> T {
        let mut state = self.shared.lock();
        if state.heard_until < when
            && let Some(wake) = &self.wake
        {
            // A full pipe wakes it as well.
            let _ = rustix::io::write(wake, b"!");
            let waited = self.shared.heard.wait_timeout_while(state, PATIENCE, |state| {
                state.heard_until < when && state.failure.is_none()
            });
            state = waited.map_or_else(|poisoned| poisoned.into_inner().0, |(state, _)| state);
        }
        if state.heard_until < when {
            return find(&Tasks::default());
        }
        find(&state.tasks)
    }

    /// Forgets who ended before.
    pub(super) fn forget(&self, before: Duration) {
        self.shared.lock().tasks.forget(before);
    }

    /// How often something was missed since this was last asked.
    pub(super) fn take_losses(&self) -> usize {
        std::mem::take(&mut self.shared.lock().losses)
    }

    /// Why it has ended, if it has.
    pub(super) fn take_failure(&self) -> Option<EvidenceError> {
        self.shared.lock().failure.take()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // The other end sees the pipe close.
        drop(self.wake.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed.
            let _ = thread.join();
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    connector: Connector,
    proc: Proc,
    woken: OwnedFd,
}

impl Worker {
    fn run(mut self) {
        loop {
            match self.wait().and_then(|go_on| if go_on { self.hear().map(|()| true) } else { Ok(false) }) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    self.shared.lock().failure = Some(error);
                    self.shared.heard.notify_all();
                    return;
                }
            }
        }
    }

    /// Until there is something to do; `false` if it is to end.
    fn wait(&self) -> Result<bool, EvidenceError> {
        let mut fds = [self.connector.as_fd(), self.woken.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(source) => return Err(EvidenceError::Netlink { operation: "wait for processes", source }),
        }
        Ok(!matches!(rustix::io::read(&self.woken, &mut [0u8; 64]), Ok(0)))
    }

    fn hear(&mut self) -> Result<(), EvidenceError> {
        let heard_until = since_boot();
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let monotonic = Duration::new(monotonic.tv_sec.cast_unsigned(), monotonic.tv_nsec as u32);
        // Time spent suspended, which only one of the two clocks counts.
        let suspended = heard_until.saturating_sub(monotonic);
        let mut news: Vec<Happened> = Vec::new();
        let lost = self.connector.receive(|happened| {
            news.push(Happened { at: happened.at + suspended, ..happened });
        })?;
        let readings = self.look(&news);
        let mut state = self.shared.lock();
        for happened in &news {
            state.tasks.take(happened, |thread| readings.get(&thread).cloned());
        }
        if lost {
            state.losses += 1;
            state.tasks.begin(since_boot());
        }
        state.heard_until = heard_until;
        drop(state);
        self.shared.heard.notify_all();
        Ok(())
    }

    /// Looks at those that started a program and have not ended since; the last first, as it may end next.
    fn look(&self, news: &[Happened]) -> HashMap<u32, (Process, Duration)> {
        let mut done = HashSet::new();
        let mut readings = HashMap::new();
        for happened in news.iter().rev() {
            match happened.deed {
                Deed::Began => {}
                Deed::Ended => drop(done.insert(happened.thread)),
                Deed::Started if done.insert(happened.thread) => {
                    let process = self.proc.changer(happened.thread);
                    readings.extend(process.map(|process| (happened.thread, (process, since_boot()))));
                }
                Deed::Started => {}
            }
        }
        readings
    }
}
