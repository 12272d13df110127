//! Edge: reads a host's live packet filter state.
//!
//! Role: the first stage. Input: a network namespace. Output: a [`Capture`] and the gaps in it. It
//! never writes to the namespace that it reads, and never loads a module.

pub mod ipset;
pub mod legacy;
pub mod links;
pub mod nftables;
mod unread;

use crate::model::{Capture, Gap};
use crate::sys::netns::{Netns, NetnsError};
use crate::sys::socket::{Socket, SocketError};
use nftables::NftablesError;

/// Why a namespace could not be captured at all.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The namespace itself.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// nf_tables.
    #[error(transparent)]
    Nftables(#[from] nftables::NftablesError),
    /// The sets of ipset.
    #[error(transparent)]
    Ipset(#[from] ipset::IpsetError),
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
            Self::Ipset(error) => error.hint(),
            Self::Links(_) => None,
        }
    }
}

/// Readings of rules and sets before giving up.
const ATTEMPTS: u32 = 5;

/// nf_tables and the sets of ipset, as they were at one time: a rule names a set by its index, which is another set's
/// once the rule and its set are gone.
pub fn rules_and_sets() -> Result<(Capture, Vec<Gap>), CollectError> {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).map_err(NftablesError::Socket)?;
    for _ in 0..ATTEMPTS {
        let mut capture = nftables::capture()?;
        let mut gaps = Vec::new();
        match ipset::capture() {
            Ok(sets) => capture.ipset = Some(sets),
            Err(error) => gaps.push(error.gap()),
        }
        let has_sets = capture.ipset.as_ref().is_some_and(|sets| !sets.is_empty());
        if !has_sets || nftables::generation(&mut socket)? == capture.generation {
            return Ok((capture, gaps));
        }
    }
    Err(NftablesError::Torn.into())
}

/// Reads nf_tables, the sets of ipset and the legacy tables of a namespace.
pub fn capture(netns: &Netns) -> Result<(Capture, Vec<Gap>), CollectError> {
    netns.run(|| {
        let (mut capture, mut gaps) = rules_and_sets()?;
        capture.interfaces = links::interfaces().map_err(CollectError::Links)?;
        let (tables, unread) = legacy::capture();
        gaps.extend(unread);
        capture.legacy = tables;
        Ok((capture, gaps))
    })?
}

/// What a namespace holds that is not captured: named as gaps that do not alter the verdict.
pub fn unread(netns: &Netns) -> Result<Vec<Gap>, CollectError> {
    Ok(netns.run(unread::gaps)?)
}
