//! `[notify]` in the configuration file: which alerts go where.
//!
//! Role: the checked values behind the alerts. Nothing here opens a file or a connection: a secret is only named,
//! and is read when it is used, so that one that is missing costs an alert and not the record.

mod http;
mod mail;
mod read;
mod secret;
mod sinks;
mod table;

pub use http::{HttpUrl, Proof};
pub use mail::{MailSettings, MailTls};
pub(super) use read::read;
pub use secret::{Secret, SecretError};
pub use sinks::{
    AlertmanagerSettings, CommandSettings, SinkKind, SinkSettings, SyslogTarget, WebhookSettings,
};

use std::path::PathBuf;
use std::time::Duration;

/// Everything that `[notify]` decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifySettings {
    /// Where alerts are sent, in the order of the documentation; webhooks in the order of the file.
    pub sinks: Vec<SinkSettings>,
    /// The directory that node_exporter's textfile collector reads.
    pub textfile: Option<PathBuf>,
    /// How long one run of `record` may deliver; what is left stays queued.
    pub time_limit: Duration,
    /// How much may wait.
    pub bounds: QueueBounds,
}

/// How much may wait on the disk, for each host name. The oldest alerts make room, and that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// Number of alerts.
    pub alerts: u64,
    /// Bytes of all files of waiting alerts.
    pub bytes: u64,
}

impl Default for NotifySettings {
    fn default() -> Self {
        let bounds = QueueBounds { alerts: 10_000, bytes: 64 << 20 };
        Self { sinks: Vec::new(), textfile: None, time_limit: Duration::from_secs(10), bounds }
    }
}

impl NotifySettings {
    /// Whether nobody is to be told of anything.
    pub fn is_silent(&self) -> bool {
        self.sinks.is_empty() && self.textfile.is_none()
    }
}
