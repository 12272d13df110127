//! Edge: reads a host's live packet filter state.
//!
//! Role: the first stage. Input: a network namespace. Output: a [`Capture`] and the gaps in it. It
//! never writes to the namespace that it reads, and never loads a module.

pub mod bpf;
pub mod legacy;
pub mod links;
pub mod nftables;
pub mod sysctl;
mod unread;

use crate::model::{Capture, Gap, SettingsList};
use crate::sys::netns::{Netns, NetnsError};
use crate::sys::socket::SocketError;

/// Why a namespace could not be captured at all.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The namespace itself.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// nf_tables.
    #[error(transparent)]
    Nftables(#[from] nftables::NftablesError),
    /// The interface list, without which rules cannot be read.
    #[error("cannot list the network interfaces: {0}")]
    Links(SocketError),
}

impl CollectError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Netns(error) => error.hint(),
            Self::Nftables(error) => error.hint(),
            Self::Links(_) => None,
        }
    }
}

/// Reads nf_tables and the legacy tables of a namespace; with a list, also these kernel settings and the BPF
/// programs. Of a scratch namespace, those say nothing.
pub fn capture(netns: &Netns, context: Option<&SettingsList>) -> Result<(Capture, Vec<Gap>), CollectError> {
    netns.run(|| {
        let mut capture = nftables::capture()?;
        capture.interfaces = links::interfaces().map_err(CollectError::Links)?;
        let (tables, mut gaps) = legacy::capture();
        capture.legacy = tables;
        if let Some(list) = context {
            let (settings, unread) = sysctl::capture(list);
            let (programs, unseen) = bpf::capture();
            // A namespace without any program is as one whose baseline has no file of them.
            (capture.sysctl, capture.bpf) =
                (Some(settings), Some(programs).filter(|found| !found.is_empty()));
            gaps.extend(unread.into_iter().chain(unseen));
        }
        Ok((capture, gaps))
    })?
}

/// What a namespace holds that is not captured: named as gaps that do not alter the verdict.
pub fn unread(netns: &Netns) -> Result<Vec<Gap>, CollectError> {
    Ok(netns.run(unread::gaps)?)
}
