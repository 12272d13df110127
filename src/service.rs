//! What a command that keeps running owes to those who run it: signals as orders, the service manager informed, its
//! watchdog fed.
//!
//! In: SIGTERM, SIGINT and SIGHUP, and the environment that systemd sets (sd_notify(3), sd_watchdog_enabled(3)). Out:
//! a file descriptor for poll(2), an [`Order`] when one came, datagrams to the manager; without a manager, none. It
//! starts no thread and knows nothing of firewalls: the caller's loop polls, takes orders, and calls
//! [`Service::tend`] at each turn. A loop that no longer turns sends no ping, and that is the point.

mod manager;
mod signals;

use manager::Manager;
use signals::Signals;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

/// What somebody wants the service to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// End, soon and cleanly: SIGTERM, SIGINT, or the terminal is gone.
    Stop,
    /// Read the configuration anew: SIGHUP.
    Reload,
}

/// Why a process cannot be a service.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
}

/// A process as a service, from its start to its end. One a process.
#[derive(Debug)]
pub struct Service {
    signals: Signals,
    manager: Manager,
}

impl Service {
    /// From here on signals are orders, and the watchdog's time runs. A second SIGTERM or SIGINT ends the process
    /// at once, as it would have without this.
    ///
    /// # Errors
    /// [`ServiceError::Signals`].
    pub fn start() -> Result<Self, ServiceError> {
        Ok(Self {
            signals: Signals::catch().map_err(ServiceError::Signals)?,
            manager: Manager::of_this_process(Instant::now()),
        })
    }

    /// The next order, if there is one; never waits. Signals that come while one is pending are one order, and
    /// [`Order::Stop`] comes before [`Order::Reload`].
    pub fn take(&mut self) -> Option<Order> {
        self.signals.take()
    }

    /// Tells the manager that the service does its work now; also the end of a reload.
    pub fn ready(&self) {
        self.manager.ready();
    }

    /// One line for `systemctl status`. Control characters become visible ones, and a long text is cut.
    pub fn status(&self, text: &str) {
        self.manager.status(text);
    }

    /// Tells the manager that the configuration is being read anew. [`Service::ready`] must follow, also if it could
    /// not be used.
    pub fn reloading(&self) {
        self.manager.reloading();
    }

    /// Tells the manager that the service is about to end.
    pub fn stopping(&self) {
        self.manager.stopping();
    }

    /// Tells the manager why the service ends, where the kernel said so.
    pub fn failed(&self, error: &std::io::Error) {
        self.manager.failed(error);
    }

    /// To be called at each turn of the loop: pings the watchdog if it is time. `now` is what the caller's clock says.
    pub fn tend(&mut self, now: Instant) {
        self.manager.tend(now);
    }

    /// When [`Service::tend`] is to be called at the latest; none without a watchdog.
    pub fn next_ping(&self) -> Option<Instant> {
        self.manager.next_ping()
    }
}

impl AsFd for Service {
    /// Readable when there may be an order to [`take`](Service::take).
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
