//! What an approver chooses, and the files that it makes. Pure.

use super::PipelineError;
use crate::baseline;
use crate::model::{Change, Files, Ruleset};
use std::collections::BTreeSet;

/// Which of the differences are approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those with these ids, or unambiguous beginnings of ids.
    Ids(Vec<String>),
}

/// What an approver says.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which differences.
    pub selection: Selection,
    /// The id that `check` printed for the state that was reviewed.
    pub reviewed: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Under which ticket.
    pub ticket: Option<String>,
    /// Whether files that a person wrote may be replaced by captured ones.
    pub replace_authored: bool,
}

/// The ids that a selection means.
pub(super) fn choose(changes: &[Change], selection: &Selection) -> Result<BTreeSet<String>, PipelineError> {
    let Selection::Ids(wanted) = selection else {
        return Ok(changes.iter().map(|change| change.id.clone()).collect());
    };
    let mut chosen = BTreeSet::new();
    for id in wanted {
        let mut fitting = changes.iter().filter(|change| change.id.starts_with(id.as_str()));
        match (fitting.next(), fitting.next()) {
            (Some(change), None) if id.len() >= 4 => drop(chosen.insert(change.id.clone())),
            (Some(_), Some(_)) => return Err(PipelineError::AmbiguousChange(id.clone())),
            _ => return Err(PipelineError::UnknownChange(id.clone())),
        }
    }
    Ok(chosen)
}

/// The ruleset without what the packet path put into dynamic sets: nobody approves that.
pub(super) fn lasting(ruleset: &Ruleset) -> Ruleset {
    let mut kept = ruleset.clone();
    for set in kept.tables.values_mut().flat_map(|table| table.sets.values_mut()) {
        if set.is_dynamic() {
            set.elements.clear();
        }
    }
    kept
}

/// Rendered files, with those of the old baseline that are no rulesets (a README).
pub(super) fn with_other_files(mut files: Files, old: &Files) -> Files {
    for (path, content) in old {
        if !baseline::is_ruleset(path) {
            files.insert(path.clone(), content.clone());
        }
    }
    files
}

/// What an approval is of: its changes, and the settings that a baseline gets for the first time.
pub fn subject(changes: usize, adds_settings: bool) -> String {
    match (changes, adds_settings) {
        (0, true) => "the kernel settings".to_owned(),
        (_, true) => format!("{} and the kernel settings", counted(changes)),
        (_, false) => counted(changes),
    }
}

/// `1 change`, `2 changes`.
pub fn counted(changes: usize) -> String {
    if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") }
}
