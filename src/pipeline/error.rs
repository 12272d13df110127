//! What can stop the main flow, each with the next step.

use super::sides::SideError;
use crate::baseline::{AdoptError, CompileError, RenderError};
use crate::boot::BootError;
use crate::collect::CollectError;
use crate::decode::DecodeError;
use crate::ledger::{HostName, LedgerError};
use crate::model::Gap;
use crate::normalise::NormaliseError;
use crate::policy::PolicyError;
use std::path::PathBuf;

/// Why a command could not do its work. Nothing is half done then.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The live state could not be read.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// The live state could not be understood.
    #[error(transparent)]
    Normalise(#[from] NormaliseError),
    /// What differs could not be shown.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The baseline does not load.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The live state could not be written as files.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// Files could not be taken as a baseline.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The repository.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A side that cannot be used.
    #[error(transparent)]
    Side(#[from] SideError),
    /// The boot state could not be made.
    #[error("cannot tell what the next boot would load: {0}")]
    Boot(#[from] BootError),
    /// What a side does to traffic.
    #[error("cannot compute what the rules do to traffic: {0}")]
    Traffic(String),
    /// The policy on `main`.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Nothing is approved for this host.
    #[error("{} has no baseline for {host}", repo.display())]
    NoBaseline {
        /// The host.
        host: HostName,
        /// The repository.
        repo: PathBuf,
    },
    /// `init` on a host that has a baseline.
    #[error("{host} already has an approved baseline: {path} in {}", repo.display())]
    AlreadyInitialised {
        /// The host.
        host: HostName,
        /// The directory on `main`.
        path: String,
        /// The repository.
        repo: PathBuf,
    },
    /// The live state or the baseline changed since the review.
    #[error("what was reviewed ({reviewed}) is not what is live now ({present})")]
    NotReviewed {
        /// The id that was given.
        reviewed: String,
        /// The present one.
        present: String,
    },
    /// Approving or adopting without seeing everything.
    #[error("cannot approve what could not be seen: {}: {}", .0.source, .0.reason)]
    Blind(Gap),
    /// The baseline was written by hand.
    #[error("{path} holds files that a person wrote; fwdrift does not rewrite them unasked")]
    Authored {
        /// The directory on `main`.
        path: String,
    },
    /// Some of the drift without what it refers to.
    #[error("the chosen changes need others that are not approved: {needed}")]
    NeedsOthers {
        /// What is missing, or the tool's own message.
        needed: String,
    },
    /// An id that no present change has.
    #[error("no present change has the id {0:?}")]
    UnknownChange(String),
    /// The beginning of more than one id.
    #[error("several changes have ids that begin with {0:?}")]
    AmbiguousChange(String),
    /// The person at the terminal said no.
    #[error("nothing was approved")]
    Declined,
    /// The terminal could not be asked.
    #[error("cannot ask for confirmation: {0}")]
    Terminal(std::io::Error),
}

impl PipelineError {
    /// What could not be seen because of it; none where the live state is not the reason.
    pub fn blinded(&self) -> Option<&'static str> {
        match self {
            Self::Collect(_) | Self::Normalise(_) => Some("nf_tables"),
            Self::Decode(_) => Some("nft"),
            _ => None,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Collect(error) => error.hint(),
            Self::Normalise(_) => Some("this kernel may be newer than fwdrift; please report it".to_owned()),
            Self::Decode(error) => error.hint(),
            Self::Compile(error) => error.hint(),
            Self::Render(error) => error.hint(),
            Self::Adopt(error) => error.hint(),
            Self::Ledger(error) => error.hint(),
            Self::Side(error) => error.hint(),
            Self::Boot(error) => error.hint(),
            Self::Policy(error) => error.hint(),
            Self::NoBaseline { host, .. } if host.netns().is_some() => Some(format!(
                "`fwdrift init --netns {}` approves its live state as the first one",
                host.netns().unwrap_or_default()
            )),
            Self::NoBaseline { .. } => Some(
                "`fwdrift init` approves the live state as the first one; --host NAME names another host"
                    .to_owned(),
            ),
            Self::AlreadyInitialised { .. } => {
                Some("`fwdrift check` compares with it, `fwdrift approve` changes it".to_owned())
            }
            Self::Traffic(_) => None,
            Self::NotReviewed { .. } => Some("run `fwdrift check` and review again".to_owned()),
            Self::Blind(gap) => gap.hint.clone(),
            Self::Authored { .. } => Some(
                "edit them on main and commit, or pass --replace-authored to store the tables as captured"
                    .to_owned(),
            ),
            Self::NeedsOthers { .. } => {
                Some("approve them together: name their ids as well, or approve all".to_owned())
            }
            Self::UnknownChange(_) | Self::AmbiguousChange(_) => {
                Some("`fwdrift check` shows the ids; four characters are the least".to_owned())
            }
            Self::Declined | Self::Terminal(_) => None,
        }
    }
}
