//! Each kind of receiver: how an alert becomes a message, and what an answer means.

mod command;
mod journald;
mod syslog;

#[cfg(feature = "http")]
mod alertmanager;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "mail")]
mod mail;
#[cfg(feature = "http")]
mod webhook;

use super::alert::{Alert, AlertKind, Status};
use super::error::Failure;
use super::tracking::Open;
use crate::config::notify::{SinkKind, SinkSettings};
use crate::model::Severity;
use std::sync::Arc;
use std::time::Duration;

/// A receiver. One attempt at a time; an attempt may be abandoned, and then its answer is lost.
pub(super) trait Sink: Send + Sync {
    /// Sends alerts, in order; all of them or none counts.
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure>;

    /// Whether alerts that were queued together are sent together.
    fn takes_batches(&self) -> bool {
        false
    }

    /// How often open alerts are sent again; none if never.
    fn refreshes(&self) -> Option<Duration> {
        None
    }

    /// Sends open alerts again.
    fn refresh(&self, _open: &[Open]) -> Result<(), Failure> {
        Ok(())
    }

    /// Whether it must hear what ended, whatever kinds it was asked to be told of.
    fn needs_ends(&self) -> bool {
        false
    }
}

/// The sink that the settings describe; none for one that was not built in, which the configuration refuses.
pub(super) fn sink(settings: &SinkSettings) -> Option<Arc<dyn Sink>> {
    let timeout = settings.timeout;
    Some(match &settings.kind {
        SinkKind::Journald { socket } => Arc::new(journald::Journald::new(socket, timeout)),
        SinkKind::Syslog { to, facility } => Arc::new(syslog::Syslog::new(to, *facility, timeout)),
        SinkKind::Command(command) => Arc::new(command::Command::new(command, timeout)),
        #[cfg(feature = "http")]
        SinkKind::Webhook(webhook) => Arc::new(webhook::Webhook::new(webhook, timeout)),
        #[cfg(feature = "http")]
        SinkKind::Alertmanager(settings) => Arc::new(alertmanager::Alertmanager::new(settings, timeout)),
        #[cfg(feature = "mail")]
        SinkKind::Mail(mail) => Arc::new(mail::Mail::new(mail, timeout)),
        #[cfg(not(all(feature = "http", feature = "mail")))]
        _ => return None,
    })
}

/// The severities of syslog(3) that are used.
#[derive(Clone, Copy)]
enum Priority {
    Critical = 2,
    Error = 3,
    Warning = 4,
    Notice = 5,
    Info = 6,
}

impl Priority {
    fn of(alert: &Alert) -> Self {
        match (alert.status, alert.kind) {
            (Status::Open, _) if alert.severity == Some(Severity::Critical) => Self::Critical,
            (Status::Open, _) if alert.severity == Some(Severity::High) => Self::Error,
            (Status::Open, _) | (_, AlertKind::Transient | AlertKind::Dropped) => Self::Warning,
            (_, AlertKind::Checkpoint) => Self::Info,
            (Status::Ended | Status::Notice, _) => Self::Notice,
        }
    }
}

/// Socket errors in a few words.
fn socket_failure(what: &str, to: &dyn std::fmt::Display, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            Failure::later(format!("{what} {to}: no answer in time"))
        }
        _ => Failure::later(format!("{what} {to}: {error}")),
    }
}
