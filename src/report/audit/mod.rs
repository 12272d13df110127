//! The periodic audit report: every unapproved change of a period, who made it and what became of it.
//!
//! Input: a host's whole ledger up to the end of the period, the baseline in force and the approvals;
//! output: an [`AuditReport`], and its text, Markdown and JSON. It states what the ledger proves and
//! says where that ends: nothing is estimated, and silence is not presented as evidence.

mod build;
mod markdown;
#[cfg(test)]
mod tests;
mod text;

pub use build::build;
pub use markdown::markdown;
pub use text::text;

use super::time::duration;
use crate::model::{Approval, Author, BaselineRef, Change, EventKind, Evidence, Gap, Window};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

/// The grades of evidence, from the strongest to the weakest.
const GRADES: [Evidence; 5] =
    [Evidence::Audit, Evidence::Process, Evidence::AuditLog, Evidence::Git, Evidence::None];

/// What the report is about.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scope {
    /// The host's name in the repository.
    pub host: String,
    /// The repository's directory, for the git commands in the report.
    pub repo: String,
    /// Start of the period. An event belongs to the period in which it was recorded.
    pub since: DateTime<Utc>,
    /// End of the period, itself not included.
    pub until: DateTime<Utc>,
    /// When the report was made.
    pub generated_at: DateTime<Utc>,
}

/// The approved state at the end of the period, and who approved it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaselineState {
    /// Commit and directory.
    #[serde(flatten)]
    pub baseline: BaselineRef,
    /// The author of that commit, as git shows it; `null` if not known.
    pub approver: Option<String>,
    /// The author date of that commit.
    pub approved_at: Option<DateTime<Utc>>,
}

/// An approval on `main`, with its time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DatedApproval {
    /// When the approving commit was made.
    pub time: DateTime<Utc>,
    /// Who, why, under which ticket.
    #[serde(flatten)]
    pub approval: Approval,
}

/// What became of a change by the end of the period.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Disposition {
    /// Still there.
    Open,
    /// The live state went back to the baseline.
    Reverted(Ending),
    /// The live state followed a newer approved baseline.
    Applied(Ending),
    /// The baseline took it over.
    Approved(Ending),
}

impl Disposition {
    /// The word for text and tables.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Reverted(_) => "reverted",
            Self::Applied(_) => "applied",
            Self::Approved(_) => "approved",
        }
    }

    /// How it ended, if it did.
    pub fn ending(&self) -> Option<&Ending> {
        match self {
            Self::Open => None,
            Self::Reverted(ending) | Self::Applied(ending) | Self::Approved(ending) => Some(ending),
        }
    }
}

/// How and by whom a change ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ending {
    /// Sequence number of the event.
    pub seq: u64,
    /// The ledger commit of the event.
    pub commit: String,
    /// When it ended.
    pub time: DateTime<Utc>,
    /// Who ended it.
    pub author: Author,
    /// For approvals: by whom, why, under which ticket.
    pub approval: Option<Approval>,
    /// Whether the approver bears the name of the change's author; `null` where one is not known. Two
    /// names are no proof of two people.
    pub approver_is_author: Option<bool>,
}

/// One change in the period.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The change, with its author and the kernel's time.
    pub change: Change,
    /// Sequence number of the event that opened it; `null` if that event is not in the ledger.
    pub seq: Option<u64>,
    /// The ledger commit of that event.
    pub commit: Option<String>,
    /// When fwdrift first saw it.
    pub first_seen: Option<DateTime<Utc>>,
    /// When that was written down.
    pub recorded_at: Option<DateTime<Utc>>,
    /// Opened before the period.
    pub carried_over: bool,
    /// Open, reverted, applied or approved.
    pub disposition: Disposition,
    /// How long it stood open, until its end or the end of the period.
    pub open_seconds: Option<i64>,
    /// The time of the change is not known, so that it stood open for at least `open_seconds`.
    pub open_at_least: bool,
    /// From the kernel's time of the change to the record of it.
    pub detect_seconds: Option<i64>,
}

/// Median and largest of some durations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many durations there are.
    pub of: usize,
    /// The median, in seconds.
    pub median_seconds: i64,
    /// The largest, in seconds.
    pub max_seconds: i64,
}

/// A time in which something could not be seen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GapSpan {
    /// Sequence number of the event that says so.
    pub seq: u64,
    /// From the look before to the look that said so.
    pub window: Window,
    /// What, why, and what to do.
    pub gaps: Vec<Gap>,
}

/// An event that opened or ended no change.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OtherEvent {
    /// Sequence number.
    pub seq: u64,
    /// `transient`, or `applied` and `reverted` without changes of their own.
    pub kind: EventKind,
    /// The ledger commit.
    pub commit: String,
    /// When, by the kernel's clock or by the look.
    pub time: DateTime<Utc>,
    /// The looks before and after.
    pub window: Window,
    /// How many transactions are joined with it.
    pub transactions: usize,
    /// Who.
    pub author: Author,
}

/// How far the ledger can be trusted to show everything.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Coverage {
    /// The first look that an event of the period tells of.
    pub first_look: Option<DateTime<Utc>>,
    /// The last one.
    pub last_look: Option<DateTime<Utc>>,
    /// Events recorded in the period.
    pub events: usize,
    /// Regular statements that nothing happened.
    pub checkpoints: usize,
    /// Where fwdrift could not see.
    pub gaps: Vec<GapSpan>,
    /// Where the ledger contradicts itself or lacks an entry.
    pub findings: Vec<String>,
    /// What silence between two events means.
    pub statement: String,
}

/// The numbers at the top.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AuditSummary {
    /// Changes in the report.
    pub changes: usize,
    /// Of these, opened before the period.
    pub carried_over: usize,
    /// Open at the end of the period.
    pub open: usize,
    /// Ended by going back.
    pub reverted: usize,
    /// Ended by a newer baseline being loaded.
    pub applied: usize,
    /// Ended by approval.
    pub approved: usize,
    /// Changes whose author no evidence decides.
    pub unattributed: usize,
    /// From change to record, over changes of the period whose kernel time is known.
    pub time_to_detect: Option<Spread>,
    /// From change to end, over changes that ended and whose kernel time is known.
    pub time_to_resolve: Option<Spread>,
}

/// The ledger at the time of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerHead {
    /// The commit of its newest entry up to the end of the period.
    pub commit: String,
    /// That entry's sequence number.
    pub seq: u64,
    /// The plain git command that shows it; `null` if a name in it cannot be typed as shown.
    pub command: Option<String>,
}

/// The periodic audit report (`fwdrift.report/1`).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AuditReport {
    /// Always `fwdrift.report/1`.
    pub schema: &'static str,
    /// Host and period.
    #[serde(flatten)]
    pub scope: Scope,
    /// The approved state.
    pub baseline: BaselineState,
    /// The newest entry; `null` for an empty ledger.
    pub ledger: Option<LedgerHead>,
    /// The numbers.
    pub summary: AuditSummary,
    /// What was looked at, and what was not.
    pub coverage: Coverage,
    /// Every change, in the order in which they were recorded.
    pub changes: Vec<Row>,
    /// Events of the period that left no change.
    pub other_events: Vec<OtherEvent>,
    /// Approvals on `main` in the period.
    pub approvals: Vec<DatedApproval>,
    /// What this version cannot say.
    pub not_covered: Vec<&'static str>,
}

/// The report as JSON.
pub fn json(report: &AuditReport) -> String {
    super::pretty(report)
}

fn seconds(n: i64) -> String {
    duration(TimeDelta::seconds(n))
}

/// `median 45 s, longest 3 h 12 min (of 7)`.
fn spread(spread: Option<Spread>) -> String {
    match spread {
        Some(s) => {
            format!("median {}, longest {} (of {})", seconds(s.median_seconds), seconds(s.max_seconds), s.of)
        }
        None => "no change to compute it from".to_owned(),
    }
}

/// `3 h 12 min`, `at least 5 min`, `not known`.
fn stood_open(row: &Row) -> String {
    match row.open_seconds {
        Some(n) if row.open_at_least && n > 0 => format!("at least {}", seconds(n)),
        Some(n) => seconds(n),
        None => "not known".to_owned(),
    }
}
