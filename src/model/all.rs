//! Many network namespaces looked at in one run. Pure.

use super::change::{Gap, Verdict};
use serde::Serialize;

/// Why a namespace has no result of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Without {
    /// It holds no rules, and nothing is approved for it.
    Empty,
    /// It holds rules, and nothing is approved for it.
    NoBaseline,
    /// It holds rules and is called otherwise each time that it is made: no baseline could follow it.
    NoStableName,
    /// Something is approved for it, and it is not there.
    Gone,
    /// It could not be looked at.
    Failed,
    /// `init` found a baseline.
    Initialised,
}

impl Without {
    /// What it means for the whole. What is not there is no drift, nor is what has no name.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::NoBaseline | Self::Failed => Verdict::Unknown,
            Self::Empty | Self::NoStableName | Self::Gone | Self::Initialised => Verdict::InSync,
        }
    }
}

/// A namespace without a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Other {
    /// Its name, its file, or a process in it; `null` for the present one.
    pub netns: Option<String>,
    /// Its name in the repository; `null` where it can have none that lasts.
    pub host: Option<String>,
    /// Why.
    pub state: Without,
    /// The same, for people.
    pub reason: String,
    /// What to do next.
    pub hint: Option<String>,
}

/// The outcome of a command for all namespaces.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct All<T> {
    /// The host's name in the repository.
    pub host: String,
    /// The worst one: drift, else unknown, else in sync.
    pub verdict: Verdict,
    /// Of each namespace with a baseline.
    pub results: Vec<T>,
    /// The others.
    pub others: Vec<Other>,
    /// What could not be looked at in finding them.
    pub gaps: Vec<Gap>,
}
