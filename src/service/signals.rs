//! Signals as bytes in a socket, so that one poll(2) waits for them and for everything else.

use super::Order;
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level};
use std::io::{IsTerminal, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The signals of a service, as long as this lives; afterwards they are ignored.
#[derive(Debug)]
pub(super) struct Signals {
    woken: UnixStream,
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
    on_terminal: bool,
    registered: Vec<SigId>,
}

impl Signals {
    pub(super) fn catch() -> std::io::Result<Self> {
        let (woken, wake) = UnixStream::pair()?;
        woken.set_nonblocking(true)?;
        let (stop, reload) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut signals = Self { woken, stop, reload, on_terminal: has_terminal(), registered: Vec::new() };
        let asked_before = Arc::new(AtomicBool::new(false));
        // Actions run in the order of their registration: the flag is up before the byte is there.
        for signal in [SIGTERM, SIGINT] {
            signals.keep(flag::register_conditional_default(signal, Arc::clone(&asked_before))?);
            signals.keep(flag::register(signal, Arc::clone(&asked_before))?);
            signals.keep(flag::register(signal, Arc::clone(&signals.stop))?);
            signals.keep(low_level::pipe::register(signal, wake.try_clone()?)?);
        }
        signals.keep(flag::register(SIGHUP, Arc::clone(&signals.reload))?);
        signals.keep(low_level::pipe::register(SIGHUP, wake)?);
        Ok(signals)
    }

    fn keep(&mut self, id: SigId) {
        self.registered.push(id);
    }

    /// Empties the socket first: a signal that comes after it leaves a byte, and so at most one turn too many.
    pub(super) fn take(&mut self) -> Option<Order> {
        let mut bytes = [0; 64];
        while self.woken.read(&mut bytes).is_ok_and(|length| length > 0) {}
        if self.stop.swap(false, Ordering::SeqCst) {
            return Some(Order::Stop);
        }
        if !self.reload.swap(false, Ordering::SeqCst) {
            return None;
        }
        // The kernel sends SIGHUP as well when a terminal is closed; nobody then wants a reload.
        Some(if self.on_terminal && !has_terminal() { Order::Stop } else { Order::Reload })
    }
}

/// Whether one of the three streams is a terminal that is still there.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal()
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(signals: &Signals) -> bool {
        let mut fds = [PollFd::new(signals, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    /// Signals are the process's own, so all that is claimed of them stands in one test.
    #[test]
    fn a_signal_wakes_the_poll_is_taken_once_and_stop_comes_first() {
        let mut signals = Signals::catch().unwrap();
        // A test that was started from a terminal keeps it.
        assert!(!is_readable(&signals));
        assert_eq!(signals.take(), None);

        low_level::raise(SIGHUP).unwrap();
        assert!(is_readable(&signals));
        assert_eq!(signals.take(), Some(Order::Reload));
        assert!(!is_readable(&signals));
        assert_eq!(signals.take(), None);

        for _ in 0..1000 {
            low_level::raise(SIGHUP).unwrap();
        }
        low_level::raise(SIGTERM).unwrap();
        assert_eq!(signals.take(), Some(Order::Stop));
        assert_eq!(signals.take(), Some(Order::Reload));
        assert_eq!(signals.take(), None);
        assert!(!is_readable(&signals));
    }
}
