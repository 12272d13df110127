//! What `init` and `approve` did, for programs.

use super::pretty;
use crate::model::{BaselineRef, Change, Verdict};
use serde::Serialize;

/// `fwdrift.init/1`: a baseline was made.
#[derive(Debug, Serialize)]
pub struct Initialised {
    /// The host's name in the repository.
    pub host: String,
    /// The repository's directory.
    pub repo: String,
    /// What is approved.
    pub baseline: BaselineRef,
    /// How the live state compares with it.
    pub verdict: Verdict,
}

/// `fwdrift.approve/1`: changes became part of the baseline.
#[derive(Debug, Serialize)]
pub struct Approved {
    /// The host's name in the repository.
    pub host: String,
    /// The approving commit and the directory; `null` if there was nothing to approve.
    pub baseline: Option<BaselineRef>,
    /// Who approved, `name <email>`; `null` if there was nothing to approve.
    pub approver: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Under which ticket.
    pub ticket: Option<String>,
    /// What was approved.
    pub changes: Vec<Change>,
}

#[derive(Serialize)]
struct WithSchema<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// The object of `init --format json`.
pub fn init_json(outcome: &Initialised) -> String {
    pretty(&WithSchema { schema: "fwdrift.init/1", value: outcome })
}

/// The object of `approve --format json`.
pub fn approve_json(outcome: &Approved) -> String {
    pretty(&WithSchema { schema: "fwdrift.approve/1", value: outcome })
}
