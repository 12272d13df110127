//! Two sides compared, and the live state compared with the next boot's.

use super::change::{Change, ChangeKind, Gap, Summary, Verdict};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What one side of a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideKind {
    /// What the kernel holds now.
    Live,
    /// What is approved at the tip of `main`.
    Baseline,
    /// What the host would load at its next boot.
    Boot,
    /// This host's baseline at a commit.
    Revision,
    /// What a commit of a ledger recorded.
    Ledger,
    /// A file.
    File,
    /// A directory in the layout of a baseline.
    Directory,
}

/// One side of a comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideRef {
    /// As it was asked for.
    pub given: String,
    /// What that is.
    pub kind: SideKind,
    /// The commit; `null` for what is in none.
    pub commit: Option<String>,
    /// The directory in the commit, or the file; `null` where there is none.
    pub path: Option<String>,
    /// When the live state was read; `null` for the other kinds.
    pub captured_at: Option<DateTime<Utc>>,
    /// The nf_tables generation of the live state; `null` for the other kinds.
    pub generation: Option<u32>,
    /// Of a boot, the services that load rules; else empty.
    pub providers: Vec<Provider>,
}

/// A service that has a part in what a boot loads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provider {
    /// The service's name: `nftables`, `ufw`.
    pub name: String,
    /// The link that enables it, a path of the host.
    pub enabled_by: String,
    /// The rule files that it loads, in their order; empty where they are not known.
    pub files: Vec<String>,
}

/// The result of a comparison of two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sameness {
    /// No difference, nothing unseen.
    Same,
    /// At least one difference.
    Different,
    /// No difference in what could be seen, but something could not be.
    Unknown,
}

impl Sameness {
    /// The process exit code of `diff`.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Same => 0,
            Self::Different => 1,
            Self::Unknown => 2,
        }
    }
}

/// What `diff` found: the object of `diff --format json` (`fwdrift.diff/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DiffResult {
    /// Always `fwdrift.diff/1`.
    pub schema: String,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for; `null` for the one that fwdrift runs in.
    pub netns: Option<String>,
    /// The first side: `before` of each change.
    pub from: SideRef,
    /// The second side: `after` of each change.
    pub to: SideRef,
    /// Same, different, or could not determine.
    pub verdict: Sameness,
    /// What could not be seen of either side.
    pub gaps: Vec<Gap>,
    /// The differences, as `check` gives them.
    pub changes: Vec<Change>,
    /// How many of each kind.
    pub summary: Summary,
}

/// Why live state and boot state differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootState {
    /// The live state was changed, and the files at boot do not say so: a boot undoes it.
    NotSaved,
    /// The files at boot say it, and it was never loaded: a boot brings it.
    NotLoaded,
    /// The files at boot and the live state both differ from what is approved, each in its own way.
    BothChanged,
}

impl BootState {
    /// Of an object that differs in this way from boot (before) to live (after): the side that left what is
    /// approved is the one that was changed.
    pub fn of(kind: ChangeKind, approved: Approves) -> Self {
        match (kind, approved) {
            (_, Approves::Boot) | (ChangeKind::Added, _) => Self::NotSaved,
            (_, Approves::Live) | (ChangeKind::Removed, _) => Self::NotLoaded,
            (ChangeKind::Modified | ChangeKind::Moved, Approves::Neither) => Self::BothChanged,
        }
    }
}

/// With which of the two the baseline agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approves {
    /// The live state is what is approved.
    Live,
    /// What the next boot brings is what is approved.
    Boot,
    /// Neither is.
    Neither,
}

/// A difference between the boot state (`before`) and the live state (`after`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootChange {
    /// Why they differ.
    pub state: BootState,
    /// Which of them is approved.
    pub approved: Approves,
    /// What differs; an `added` object is in the live state only.
    #[serde(flatten)]
    pub change: Change,
}

/// What the next boot would change: the field `boot` of `check --boot`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BootResult {
    /// Whether a boot would bring the approved state.
    pub verdict: Verdict,
    /// The differences between boot state and live state.
    pub changes: Vec<BootChange>,
    /// How many objects of the boot state differ from the baseline.
    pub unapproved: usize,
    /// What could not be seen of the boot state.
    pub gaps: Vec<Gap>,
    /// The services that load rules at boot.
    pub providers: Vec<Provider>,
}
