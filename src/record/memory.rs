//! What is remembered from one look to the next, beside the ledger: `<gitdir>/fwdrift/look-<host>.json`.
//!
//! A look that shows nothing new makes no commit, but it bounds the window of the next change. Losing the
//! file costs a wider window (the last event's look stands in), never an event.

use crate::compare::Fingerprint;
use crate::ledger::{HostName, LedgerError, Repository, write_atomic};
use crate::model::{Change, FlowOutcome, Gap};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

const SCHEMA: &str = "fwdrift.look/1";

/// The last look of `record`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Always `fwdrift.look/1`.
    pub schema: String,
    /// When the look began.
    pub time: DateTime<Utc>,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// The nf_tables generation.
    pub generation: u32,
    /// Digest of the live state.
    pub state: String,
    /// The tree of the baseline it was compared with.
    pub baseline: String,
    /// The ledger's head after the look.
    pub head: Option<String>,
    /// The differences that were open after it, with their authors.
    pub open: Vec<Change>,
    /// The fingerprint of each open difference by its id: a tool's next version may have other words for it.
    #[serde(default)]
    pub fingerprints: BTreeMap<String, Fingerprint>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// Whether auditing was on: changes of x_tables leave no other trace.
    #[serde(default)]
    pub audited: bool,
    /// When everything was last read and compared; later looks may have found an unchanged generation.
    #[serde(default)]
    pub full_look: Option<DateTime<Utc>>,
    /// `SO_NETNS_COOKIE` of the namespace: no other one has it until the next boot.
    #[serde(default)]
    pub netns_cookie: Option<u64>,
    /// Digest of what the generation does not cover.
    #[serde(default)]
    pub beside: Option<String>,
    /// What `check` then said.
    #[serde(default)]
    pub review_id: String,
    /// How many objects had other bytes but the same text.
    #[serde(default)]
    pub re_encoded: usize,
    /// The required flows, as they then were.
    #[serde(default)]
    pub flows: Vec<FlowOutcome>,
    /// Digest of the policy by which effects and flows were judged, and of the host's addresses if it asks for them.
    #[serde(default)]
    pub judged: Option<String>,
    /// The looks since the last checkpoint.
    #[serde(default)]
    pub tally: Option<Tally>,
}

/// How often there was a look since the last checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Since when it is counted.
    pub since: DateTime<Utc>,
    /// Looks.
    pub looks: u64,
    /// Those among them that could not see something that the verdict depends on.
    pub blind: u64,
}

impl Tally {
    /// With one more look, or the first one.
    pub fn with(tally: Option<Self>, time: DateTime<Utc>, is_blind: bool) -> Self {
        let Self { since, looks, blind } = tally.unwrap_or(Self { since: time, looks: 0, blind: 0 });
        Self { since, looks: looks + 1, blind: blind + u64::from(is_blind) }
    }

    /// Whether a checkpoint is due after this time. A clock that was set back does not put it off.
    pub fn is_due(&self, now: DateTime<Utc>, every: Duration) -> bool {
        (now - self.since).to_std().map_or(true, |age| age >= every)
    }
}

impl Memory {
    /// The memory of a host; none if there is none, or it is damaged, or the ledger has moved on without it.
    pub fn read(repository: &Repository, host: &HostName, head: Option<&str>) -> Option<Self> {
        let bytes = std::fs::read(Self::path(repository, host)).ok()?;
        let memory: Self = serde_json::from_slice(&bytes).ok()?;
        (memory.schema == SCHEMA && memory.head.as_deref() == head).then_some(memory)
    }

    /// Keeps it, atomically.
    pub fn write(&self, repository: &Repository, host: &HostName) -> Result<(), LedgerError> {
        let text = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_atomic(&Self::path(repository, host), &text)
    }

    /// Where it is kept.
    pub fn path(repository: &Repository, host: &HostName) -> PathBuf {
        repository.state_dir().join(format!("look-{host}.json"))
    }

    /// The schema's name, for making one.
    pub fn schema() -> String {
        SCHEMA.to_owned()
    }
}
