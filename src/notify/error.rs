//! What can go wrong with alerts. Nothing of it stops the recording.

use crate::ledger::LedgerError;
use std::path::PathBuf;
use std::time::Duration;

/// Why alerts could not be queued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The ledger could not be read, or a file of the queue not written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Another fwdrift holds the queue.
    #[error("another fwdrift has been writing to the queue of alerts for {} s ({})", waited.as_secs(), path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The file for node_exporter could not be written.
    #[error("cannot write the metrics in {}: {source}", directory.display())]
    Metrics {
        /// The collector's directory.
        directory: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
}

impl NotifyError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ledger(error) => error.hint(),
            Self::Locked { .. } => Some("wait for it to end; the next run queues what is missing".to_owned()),
            Self::Metrics { directory, source } if source.kind() == std::io::ErrorKind::NotFound => {
                Some(format!("make it: install -d {}", directory.display()))
            }
            Self::Metrics { .. } => None,
        }
    }
}

/// Why an alert was not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may work later: the receiver is away, busy, or not yet set up.
    Later {
        /// What happened.
        reason: String,
        /// When the receiver wants to be asked again.
        after: Option<Duration>,
    },
    /// The receiver refuses this very alert.
    Refused {
        /// What it said.
        reason: String,
    },
}

impl Failure {
    pub(super) fn later(reason: impl Into<String>) -> Self {
        Self::Later { reason: reason.into(), after: None }
    }

    pub(super) fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    pub(super) fn reason(&self) -> &str {
        match self {
            Self::Later { reason, .. } | Self::Refused { reason } => reason,
        }
    }
}
