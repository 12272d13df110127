//! Edge: reads a host's live packet filter state.
//!
//! Role: the first stage. Input: a network namespace. Output: a [`Capture`] and the gaps in it. It
//! never writes to the namespace that it reads, and never loads a module.

pub mod addresses;
pub mod bpf;
mod containers;
mod follow;
pub mod ipset;
pub mod legacy;
pub mod links;
pub mod namespaces;
pub mod nftables;
mod rules;
mod scoped;
pub mod sysctl;
pub mod transactions;

use crate::model::{Capture, Gap, Outline, RawMessage, SettingsList};
use crate::sys::netns::{Netns, NetnsError};
use crate::sys::socket::{Socket, SocketError};
pub use follow::Followed;
use nftables::NftablesError;
pub use scoped::{chains, scoped};

/// Why a namespace could not be captured at all.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The namespace itself.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// nf_tables.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
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

/// Reads all of a namespace; with a list, also these kernel settings and the BPF programs. Of a scratch namespace,
/// those say nothing.
pub fn capture(netns: &Netns, context: Option<&SettingsList>) -> Result<(Capture, Vec<Gap>), CollectError> {
    netns.run(|| {
        let (rules, mut gaps) = rules_and_sets()?;
        let (beside, unread) = read_beside(context)?;
        gaps.extend(unread);
        let Capture { generation, messages, ipset, .. } = rules;
        Ok((Capture { generation, messages, ipset, ..beside }, gaps))
    })?
}

/// What a look needs first: all but the rulesets of nf_tables, and their generation.
#[derive(Debug)]
pub struct Glance {
    /// Everything but the messages of nf_tables.
    pub beside: Capture,
    /// What of it could not be read.
    pub gaps: Vec<Gap>,
    /// `NFTA_GEN_ID`, read after the rest.
    pub generation: u32,
    /// See [`Socket::netns_cookie`].
    pub netns_cookie: Option<u64>,
}

/// Reads what the generation does not cover, and the generation.
pub fn glance(netns: &Netns, list: &SettingsList) -> Result<Glance, CollectError> {
    netns.run(|| {
        let (mut beside, mut gaps) = read_beside(Some(list))?;
        match ipset::capture() {
            Ok(sets) => beside.ipset = Some(sets),
            Err(error) => gaps.push(error.gap()),
        }
        let mut socket =
            Socket::open(Some(rustix::net::netlink::NETFILTER)).map_err(NftablesError::Socket)?;
        let generation = nftables::generation(&mut socket)?;
        Ok(Glance { beside, gaps, generation, netns_cookie: socket.netns_cookie() })
    })?
}

/// Which namespace this is: see [`Socket::netns_cookie`].
pub fn netns_cookie(netns: &Netns) -> Option<u64> {
    netns.run(|| Socket::open(None).ok()?.netns_cookie()).ok().flatten()
}

/// Reads nf_tables along an outline, in a namespace with these sets of ipset; none if that cannot be done (see
/// [`crate::normalise::Unfit`]).
pub fn follow(
    netns: &Netns,
    outline: &Outline,
    ipset: &[RawMessage],
) -> Result<Option<Followed>, CollectError> {
    Ok(netns.run(|| follow::follow(outline, ipset))??)
}

/// Everything but nf_tables and the sets of ipset, of the calling thread's namespace.
fn read_beside(context: Option<&SettingsList>) -> Result<(Capture, Vec<Gap>), CollectError> {
    let interfaces = links::interfaces().map_err(CollectError::Links)?;
    let (legacy, mut gaps) = legacy::capture();
    let mut capture = Capture { interfaces, legacy, ..Capture::default() };
    if let Some(list) = context {
        let (settings, unread) = sysctl::capture(list);
        let (programs, unseen) = bpf::capture();
        // A namespace without any program is as one whose baseline has no file of them.
        (capture.sysctl, capture.bpf) = (Some(settings), Some(programs).filter(|found| !found.is_empty()));
        gaps.extend(unread.into_iter().chain(unseen));
    }
    Ok((capture, gaps))
}
