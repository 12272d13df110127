//! The service manager's side: sd_notify(3) and its watchdog. Without NOTIFY_SOCKET everything is silent.

use crate::report::escape;
use sd_notify::NotifyState;
use std::time::{Duration, Instant};

/// The manager drops a datagram of more than 4096 bytes whole (`NOTIFY_BUFFER_MAX` in src/core/manager.c).
const LONGEST_STATUS: usize = 1000;

/// Whoever started this process.
#[derive(Debug)]
pub(super) struct Manager {
    watchdog: Option<Watchdog>,
}

impl Manager {
    /// As the environment says: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID.
    pub(super) fn of_this_process(now: Instant) -> Self {
        // Half of the time that the manager waits, as sd_watchdog_enabled(3) recommends.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|every| !every.is_zero());
        Self { watchdog: every.map(|every| Watchdog { every, next: now + every }) }
    }

    pub(super) fn ready(&self) {
        notify(&[NotifyState::Ready]);
    }

    pub(super) fn status(&self, text: &str) {
        notify(&[NotifyState::Status(&status_line(text))]);
    }

    pub(super) fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => notify(&[NotifyState::Reloading, now]),
            Err(_) => notify(&[NotifyState::Reloading]),
        }
    }

    pub(super) fn stopping(&self) {
        notify(&[NotifyState::Stopping]);
    }

    pub(super) fn failed(&self, error: &std::io::Error) {
        if let Some(number) = error.raw_os_error().and_then(|number| u32::try_from(number).ok()) {
            notify(&[NotifyState::Errno(number)]);
        }
    }

    pub(super) fn tend(&mut self, now: Instant) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.is_due(now)) {
            notify(&[NotifyState::Watchdog]);
        }
    }

    pub(super) fn next_ping(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }
}

/// When the next ping is due.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Watchdog {
    /// Counts from `now`, not from when it was due: a late loop does not ping twice.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.every;
        }
        due
    }
}

/// One line: a line break would begin another assignment, such as `STOPPING=1`.
fn status_line(text: &str) -> String {
    let line = escape::terminal(text);
    match line.char_indices().nth(LONGEST_STATUS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn notify(states: &[NotifyState<'_>]) {
    // A manager that cannot be told is no reason to stop working.
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ping_is_due_at_half_of_the_time_and_then_half_of_it_later() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut watchdog = Watchdog { every: Duration::from_millis(500), next: after(500) };
        assert!(!watchdog.is_due(after(499)));
        assert!(watchdog.is_due(after(500)));
        assert!(!watchdog.is_due(after(999)));
        assert!(watchdog.is_due(after(4000)), "a late turn pings");
        assert!(!watchdog.is_due(after(4499)), "and only once");
        assert_eq!(watchdog.next, after(4500));
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(status_line("by ops1\nSTOPPING=1"), "by ops1\\nSTOPPING=1");
        let long = status_line(&"\u{e4}".repeat(5000));
        assert!(long.len() < 4000, "{}", long.len());
        assert!(long.ends_with('…'));
    }
}
