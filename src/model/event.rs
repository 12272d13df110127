//! One entry of the ledger: `event.json` (`fwdrift.event/1`).
//!
//! Role: what `record` decides happened between two looks, and what `log`, `show` and `report` read
//! back. Fields are only ever added within a version.

use super::author::{Author, Window};
use super::change::{BaselineRef, Change, Gap};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// New differences from the baseline.
    Drift,
    /// Differences that ended because the live state went back to the baseline.
    Reverted,
    /// The live state now follows a newer approved baseline.
    Applied,
    /// Transactions were committed between two looks, without a difference that is left.
    Transient,
    /// Differences that ended because the baseline now contains them.
    Approved,
    /// fwdrift could not see for a time.
    Gap,
    /// A regular statement that nothing happened.
    Checkpoint,
}

impl EventKind {
    /// All kinds, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::Drift,
        Self::Reverted,
        Self::Applied,
        Self::Transient,
        Self::Approved,
        Self::Gap,
        Self::Checkpoint,
    ];

    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drift => "drift",
            Self::Reverted => "reverted",
            Self::Applied => "applied",
            Self::Transient => "transient",
            Self::Approved => "approved",
            Self::Gap => "gap",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// Why and under which ticket something was approved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// The commit on `main` that approved.
    pub commit: String,
    /// The commit's author, as git shows it: `name <email>`.
    pub approver: String,
    /// The reason given with `-m`.
    pub reason: Option<String>,
    /// The ticket given with `--ticket`.
    pub ticket: Option<String>,
}

/// A statement that fwdrift was looking, so that silence is evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Since when: the checkpoint before, or the first look that counted.
    pub from: DateTime<Utc>,
    /// How often it looked.
    pub looks: u64,
    /// How many of these looks could not see something that the verdict depends on.
    pub blind_looks: u64,
    /// Whether the live state is as approved.
    pub in_sync: bool,
    /// The time of the oldest difference that is open; `null` in sync, and where it is not known.
    pub drift_since: Option<DateTime<Utc>>,
}

/// The content of `event.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Always `fwdrift.event/1`.
    pub schema: String,
    /// Position in the host's ledger, from 1.
    pub seq: u64,
    /// What the event says.
    pub kind: EventKind,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace watched; `null` for the host's own.
    pub netns: Option<String>,
    /// When it happened by the kernel's clock; else the time of the look that showed it.
    pub time: DateTime<Utc>,
    /// When it was written down.
    pub recorded_at: DateTime<Utc>,
    /// The last look before and the look that showed it.
    pub window: Window,
    /// Who did it.
    pub author: Author,
    /// nf_tables generations joined with this event; for an unknown author, all since the last look.
    pub generations: Vec<u32>,
    /// The generation at the time of the look.
    pub generation: u32,
    /// The boot that the generations belong to (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// The namespace that the generations belong to (`SO_NETNS_COOKIE`); `null` before Linux 5.14.
    #[serde(default)]
    pub netns_cookie: Option<u64>,
    /// Digest of the whole live state, in hexadecimal.
    pub state: String,
    /// The approved state that was in force.
    pub baseline: BaselineRef,
    /// The git tree of that directory: the same tree, the same approved state.
    #[serde(default)]
    pub baseline_tree: String,
    /// For `drift`, what is new; for `reverted`, `applied` and `approved`, what ended.
    pub changes: Vec<Change>,
    /// Ids of all differences that are open after this event.
    pub open: Vec<String>,
    /// For `approved`: who approved, why, and the ticket.
    #[serde(default)]
    pub approval: Option<Approval>,
    /// For `checkpoint`: how often fwdrift looked.
    #[serde(default)]
    pub checkpoint: Option<Checkpoint>,
    /// What could not be seen at that look.
    pub gaps: Vec<Gap>,
}

impl Event {
    /// The version of `event.json` that is written and read.
    pub const SCHEMA: &str = "fwdrift.event/1";
}

/// An event as read from the ledger, with the commit that holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// The ledger commit, in hexadecimal.
    pub commit: String,
    /// The content of its `event.json`.
    #[serde(flatten)]
    pub event: Event,
}
