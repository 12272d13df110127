//! Many namespaces in one output: a block each, then those without a result.

use super::escape::terminal;
use super::outcome::Initialised;
use super::style::{DIM, WARN, paint};
use super::{Options, gaps, pretty};
use crate::model::{All, CheckResult, Gap, LedgerEntry, Other, Verdict, Without};
use serde::Serialize;

/// What `record` did for one namespace.
#[derive(Debug, Serialize)]
pub struct RecordedOne {
    /// The name in the repository.
    pub host: String,
    /// The namespace; `null` for the present one.
    pub netns: Option<String>,
    /// As `check` says it.
    pub verdict: Verdict,
    /// The events that were appended, oldest first.
    pub events: Vec<LedgerEntry>,
}

/// The blocks as they are, apart from each other where one has more than a line; then what has no result.
pub fn text(blocks: &[String], others: &[Other], gaps: &[Gap], options: &Options<'_>) -> String {
    let mut out = String::new();
    let mut was_long = false;
    for block in blocks {
        let is_long = block.trim_end().contains('\n');
        if !out.is_empty() && (is_long || was_long) {
            out.push('\n');
        }
        out.push_str(block);
        was_long = is_long;
    }
    // What is empty, and what was approved before, is no news.
    let told = |other: &&Other| !matches!(other.state, Without::Empty | Without::Initialised);
    for other in others.iter().filter(told) {
        if was_long {
            out.push('\n');
        }
        was_long = false;
        out.push_str(&line(other));
    }
    out.push_str(&gaps::block(gaps, options));
    out
}

fn line(other: &Other) -> String {
    let name = match (&other.host, &other.netns) {
        (Some(host), _) => terminal(host),
        (None, Some(netns)) => format!("netns {}", terminal(netns)),
        (None, None) => "the present namespace".to_owned(),
    };
    let word = match other.state.verdict() {
        Verdict::InSync => paint(DIM, "NOTE"),
        Verdict::Unknown | Verdict::Drift => paint(WARN, "UNKNOWN"),
    };
    let hint = other.hint.as_ref().map(|hint| format!("; {}", terminal(hint))).unwrap_or_default();
    format!("{word}  {name}: {}{hint}\n", terminal(&other.reason))
}

#[derive(Serialize)]
struct WithSchema<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// The object of `check --all-netns --format json`.
pub fn check_json(all: &All<CheckResult>) -> String {
    pretty(&WithSchema { schema: "fwdrift.check-all/1", value: all })
}

/// The object of `record --all-netns --format json`.
pub fn record_json(all: &All<RecordedOne>) -> String {
    pretty(&WithSchema { schema: "fwdrift.record-all/1", value: all })
}

/// The object of `init --all-netns --format json`.
pub fn init_json(all: &All<Initialised>) -> String {
    pretty(&WithSchema { schema: "fwdrift.init-all/1", value: all })
}
