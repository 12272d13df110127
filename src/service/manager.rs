//! The service manager's side: sd_notify(3) and its watchdog. Without NOTIFY_SOCKET everything is silent.
//!
//! The messages are `sd_notify`'s; they are sent here, because its own `notify` waits as long as the manager does not
//! read. An auditor must not stop looking because somebody else has stopped listening.

use crate::report::escape;
use sd_notify::NotifyState;
use std::ffi::OsStr;
use std::fmt::Write;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The manager drops a datagram of more than 4096 bytes whole (`NOTIFY_BUFFER_MAX` in src/core/manager.c).
const LONGEST_STATUS: usize = 1000;
/// How long a change of state waits for a manager that is busy.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whoever started this process.
#[derive(Debug)]
pub(super) struct Manager {
    address: Option<SocketAddr>,
    watchdog: Option<Watchdog>,
    /// What it was told last.
    status: String,
}

impl Manager {
    /// As the environment says: NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID.
    pub(super) fn of_this_process(now: Instant) -> Self {
        // Half of the time that the manager waits, as sd_watchdog_enabled(3) recommends.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|every| !every.is_zero());
        Self {
            address: std::env::var_os("NOTIFY_SOCKET").and_then(|name| address(&name)),
            watchdog: every.map(|every| Watchdog { every, next: now + every }),
            status: String::new(),
        }
    }

    pub(super) fn ready(&self) {
        self.tell(&[NotifyState::Ready], Some(PATIENCE));
    }

    /// Told only if it is new, and again at the next call if it could not be told.
    pub(super) fn status(&mut self, text: &str) {
        let line = status_line(text);
        if line != self.status && self.tell(&[NotifyState::Status(&line)], None) {
            self.status = line;
        }
    }

    pub(super) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        let states: Vec<NotifyState<'_>> = [NotifyState::Reloading].into_iter().chain(now).collect();
        self.tell(&states, Some(PATIENCE));
    }

    pub(super) fn stopping(&self) {
        self.tell(&[NotifyState::Stopping], Some(PATIENCE));
    }

    pub(super) fn failed(&self, error: &std::io::Error) {
        if let Some(number) = error.raw_os_error().and_then(|number| u32::try_from(number).ok()) {
            self.tell(&[NotifyState::Errno(number)], Some(PATIENCE));
        }
    }

    pub(super) fn tend(&mut self, now: Instant) {
        if self.watchdog.as_ref().is_none_or(|watchdog| now < watchdog.next) {
            return;
        }
        let told = self.tell(&[NotifyState::Watchdog], None);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.pinged(now, told);
        }
    }

    pub(super) fn next_ping(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Sends one datagram, waiting for room at most so long. Whether it was sent, or nobody wants it.
    fn tell(&self, states: &[NotifyState<'_>], patience: Option<Duration>) -> bool {
        let Some(address) = &self.address else { return true };
        let mut message = String::new();
        for state in states {
            // Writing to a String cannot fail.
            let _ = writeln!(message, "{state}");
        }
        let sent = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(patience.is_none())?;
            socket.set_write_timeout(patience)?;
            socket.connect_addr(address)?;
            socket.send(message.as_bytes())
        });
        // A manager that cannot be told is no reason to stop working.
        if let Err(error) = &sent {
            tracing::debug!(%error, "the service manager could not be told: {}", message.trim_end());
        }
        !sent.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
        _ => SocketAddr::from_pathname(name).ok(),
    }
}

/// When the next ping is due.
#[derive(Debug)]
struct Watchdog {
    every: Duration,
    next: Instant,
}

impl Watchdog {
    /// Counts from `now`, not from when it was due: a late loop does not ping twice. A ping that found no room is tried
    /// again well before the manager's time is up.
    fn pinged(&mut self, now: Instant, told: bool) {
        self.next = now + if told { self.every } else { self.every / 8 };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A manager that listens at an abstract name, and as yet has read nothing.
    fn managed(name: &str, every: Option<Duration>, now: Instant) -> (UnixDatagram, Manager) {
        let name = format!("@fwdrift-test-{name}-{}", std::process::id());
        let address = address(OsStr::new(&name)).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let watchdog = every.map(|every| Watchdog { every, next: now + every });
        (socket, Manager { address: Some(address), watchdog, status: String::new() })
    }

    fn heard(socket: &UnixDatagram) -> Vec<String> {
        let mut bytes = [0; 4096];
        let next = || socket.recv(&mut bytes).ok().map(|n| String::from_utf8_lossy(&bytes[..n]).into_owned());
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn a_ping_is_sent_at_half_of_the_time_and_then_half_of_it_later() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let (socket, mut manager) = managed("ping", Some(Duration::from_millis(500)), start);
        for (at, pings) in [(499, 0), (500, 1), (999, 0), (4000, 1), (4499, 0)] {
            manager.tend(after(at));
            assert_eq!(heard(&socket), vec!["WATCHDOG=1\n"; pings], "after {at} ms");
        }
        assert_eq!(manager.next_ping(), Some(after(4500)));
    }

    #[test]
    fn a_manager_that_does_not_read_delays_nothing_and_is_told_as_soon_as_it_does() {
        let start = Instant::now();
        let every = Duration::from_secs(80);
        let (socket, mut manager) = managed("deaf", Some(every), start);
        // More than any queue holds (net.unix.max_dgram_qlen).
        for number in 0..5000 {
            manager.status(&format!("turn {number}"));
        }
        manager.tend(start + every);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(manager.next_ping(), Some(start + every + every / 8));

        assert!(heard(&socket).len() < 5000);
        manager.status("turn 4999");
        manager.tend(start + every + every / 8);
        manager.status("turn 4999");
        assert_eq!(heard(&socket), ["STATUS=turn 4999\n", "WATCHDOG=1\n"]);
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(status_line("by ops1\nSTOPPING=1"), "by ops1\\nSTOPPING=1");
        let long = status_line(&"\u{e4}".repeat(5000));
        assert!(long.len() < 4000, "{}", long.len());
        assert!(long.ends_with('…'));
    }
}
