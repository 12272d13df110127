//! The kernel's audit records for the time of the demo, where they are to be had.

use crate::evidence::{Collector, EnableGuard, EvidenceError, enable_guard, never_task_rule};
use crate::sys::netns::Netns;
use std::os::fd::AsFd;
use std::path::PathBuf;

/// Auditing while this lives.
pub(super) struct Audit {
    // Dropped in this order: what is under way is collected before auditing is put back.
    collector: Option<Collector>,
    _guard: Option<EnableGuard>,
    /// Why authors will be unknown, if they will be.
    pub(super) shortfall: Option<String>,
}

impl Audit {
    /// Turns auditing on if it is off, and collects the records of one namespace into a file.
    pub(super) fn start(watched: &Netns, log: PathBuf) -> Self {
        let begin = || -> Result<(EnableGuard, Collector, bool), EvidenceError> {
            let guard = enable_guard()?;
            let hidden = never_task_rule()?;
            Ok((guard, Collector::start(watched.as_fd(), log)?, hidden))
        };
        match begin() {
            Ok((guard, collector, hidden)) => Self {
                collector: Some(collector),
                _guard: Some(guard),
                shortfall: hidden
                    .then(|| "the audit rule `-a never,task` hides who runs a program".to_owned()),
            },
            Err(error) => Self { collector: None, _guard: None, shortfall: Some(error.to_string()) },
        }
    }

    /// Waits until the records of all changes so far are in the file, at most a second.
    pub(super) fn settle(&self) {
        // What did not come shows as an unknown author, which is what fwdrift then says.
        if let Some(Err(error)) = self.collector.as_ref().map(Collector::settle) {
            tracing::warn!(%error, "the audit collector");
        }
    }
}
