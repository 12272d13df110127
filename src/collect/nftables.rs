//! Reads all of nf_tables of the calling thread's network namespace over netlink.
//!
//! Consistency: the generation is read before and after, and the kernel marks a dump that a
//! transaction interrupted (NLM_F_DUMP_INTR); the reading is repeated until both are clean. Under
//! constant writes it gives up with an error rather than return a torn state.

use super::rules;
use crate::model::{Capture, RawMessage};
use crate::netlink::nft::{self, kind, msg, nfgenmsg};
use crate::netlink::{AttrWriter, Attrs};
use crate::sys::socket::{Dump, Socket, SocketError};
use std::collections::BTreeSet;
use std::time::Duration;

/// Readings before giving up; 20 ms, 40 ms, … lie between them.
pub(super) const ATTEMPTS: u32 = 10;

/// Why nf_tables could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NftablesError {
    /// The socket, or a refusal.
    #[error("cannot read nf_tables: {0}")]
    Socket(#[from] SocketError),
    /// It changed during every reading.
    #[error("the ruleset changed during each reading, {ATTEMPTS} times and more")]
    Torn,
    /// The kernel did not tell its generation.
    #[error("the kernel did not tell the ruleset's generation")]
    NoGeneration,
}

impl NftablesError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        const EPERM: i32 = 1;
        const EPROTONOSUPPORT: i32 = 93;
        match self {
            Self::Socket(error) => match error.errno() {
                Some(EPERM) => Some("run as root (reading nf_tables needs CAP_NET_ADMIN)".into()),
                Some(EPROTONOSUPPORT) => {
                    Some("this kernel has no nfnetlink (CONFIG_NETFILTER_NETLINK)".into())
                }
                _ => None,
            },
            Self::Torn => Some("a program is rewriting the firewall without pause; try again".into()),
            Self::NoGeneration => None,
        }
    }
}

/// The present generation (`NFT_MSG_GETGEN`): it moves with every committed transaction.
pub fn generation(socket: &mut Socket) -> Result<u32, NftablesError> {
    let mut id = None;
    socket.request(kind(msg::GETGEN), 0, &[&nfgenmsg(0)], |message| {
        id = message.payload.get(nft::NFGENMSG..).and_then(|attrs| Attrs(attrs).find(nft::GEN_ID)?.be32());
    })?;
    id.ok_or(NftablesError::NoGeneration)
}

/// A consistent reading of tables, chains, sets, elements, objects, flowtables and rules.
pub fn capture() -> Result<Capture, NftablesError> {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    for attempt in 1..=ATTEMPTS {
        let before = generation(&mut socket)?;
        let (messages, state) = read(&mut socket)?;
        if state == Dump::Whole && generation(&mut socket)? == before {
            return Ok(Capture { generation: before, messages, ..Capture::default() });
        }
        pause(attempt);
    }
    Err(NftablesError::Torn)
}

/// Lets the writer finish, each time for longer.
pub(super) fn pause(attempt: u32) {
    std::thread::sleep(Duration::from_millis(20) * attempt);
}

fn read(socket: &mut Socket) -> Result<(Vec<RawMessage>, Dump), NftablesError> {
    let mut messages = Vec::new();
    for request in [msg::GETTABLE, msg::GETCHAIN, msg::GETSET] {
        if dump(socket, request, &nfgenmsg(0), &[], &mut messages)? == Dump::Interrupted {
            return Ok((messages, Dump::Interrupted));
        }
    }
    let sets: Vec<Wanted> = messages
        .iter()
        .filter(|message| message.kind == msg::NEWSET)
        .filter_map(|message| Wanted::of(message.family, &message.attrs))
        .collect();
    for set in sets {
        match elements(socket, &set) {
            Ok((found, Dump::Whole)) => messages.extend(found),
            Ok((_, Dump::Interrupted)) => return Ok((messages, Dump::Interrupted)),
            // The set went away between the two dumps.
            Err(error) if is_gone(&error) => {
                return Ok((messages, Dump::Interrupted));
            }
            Err(error) => return Err(error),
        }
    }
    let rules = rules::requests(&messages);
    for request in [msg::GETOBJ, msg::GETFLOWTABLE] {
        if dump(socket, request, &nfgenmsg(0), &[], &mut messages)? == Dump::Interrupted {
            return Ok((messages, Dump::Interrupted));
        }
    }
    for request in rules {
        match dump(socket, msg::GETRULE, &request.header, &request.attrs, &mut messages) {
            Ok(Dump::Whole) => {}
            // A chain that went away between the two dumps.
            Err(error) if !is_gone(&error) => return Err(error),
            Ok(Dump::Interrupted) | Err(_) => return Ok((messages, Dump::Interrupted)),
        }
    }
    Ok((messages, Dump::Whole))
}

/// Whether the kernel says that there is no such set or chain.
pub(super) fn is_gone(error: &NftablesError) -> bool {
    const ENOENT: i32 = 2;
    matches!(error, NftablesError::Socket(SocketError::Refused(reason)) if reason.raw_os_error() == Some(ENOENT))
}

/// A set whose elements are to be read.
pub(super) struct Wanted {
    pub(super) family: u8,
    /// The request: the set's table and its name.
    pub(super) request: Vec<u8>,
    /// Whether only transactions change it: no packet path that adds elements, no timeout that removes them.
    pub(super) steady: bool,
    /// How many elements the kernel says that it has (`NFTA_SET_COUNT`, since Linux 6.16).
    pub(super) count: Option<u32>,
}

impl Wanted {
    /// By the set's definition.
    pub(super) fn of(family: u8, set: &[u8]) -> Option<Self> {
        let number = |kind| Attrs(set).find(kind).and_then(|attr| attr.be32());
        let flags = number(nft::set::FLAGS).unwrap_or(0);
        Some(Self {
            family,
            request: elements_of(set)?,
            steady: flags & (nft::set::F_EVAL | nft::set::F_TIMEOUT) == 0,
            count: number(nft::set::COUNT),
        })
    }
}

/// Steady sets with more elements than this are read until a reading has as many as the kernel counts, or
/// two readings agree.
pub(super) const READ_ONCE: usize = 100;

/// One set's elements. While the kernel moves a large set to a larger hash table, as it does just after
/// such a set was loaded, a dump leaves elements out or repeats them, and is not marked as interrupted
/// (nft_set_hash.c counts entries to find its place again).
pub(super) fn elements(socket: &mut Socket, set: &Wanted) -> Result<(Vec<RawMessage>, Dump), NftablesError> {
    let mut last: Option<BTreeSet<Vec<u8>>> = None;
    for attempt in 1..=ATTEMPTS {
        let mut messages = Vec::new();
        let state = dump(socket, msg::GETSETELEM, &nfgenmsg(set.family), &set.request, &mut messages)?;
        if state == Dump::Interrupted || !set.steady {
            return Ok((messages, state));
        }
        let lists =
            messages.iter().filter_map(|message| Attrs(&message.attrs).find(nft::elem::LIST_ELEMENTS));
        let all: Vec<_> = lists.flat_map(|list| list.nested().flatten()).collect();
        if all.len() <= READ_ONCE {
            return Ok((messages, state));
        }
        let keys: BTreeSet<Vec<u8>> = all.iter().map(|element| key_of(element.nested())).collect();
        let counted = set.count.is_some_and(|count| count as usize == keys.len());
        if keys.len() == all.len() && (counted || last.as_ref() == Some(&keys)) {
            return Ok((messages, state));
        }
        last = Some(keys);
        if attempt > 1 {
            pause(attempt);
        }
    }
    Err(NftablesError::Torn)
}

/// What tells an element from the others of its set.
fn key_of(element: Attrs<'_>) -> Vec<u8> {
    let parts = [nft::elem::KEY, nft::elem::KEY_END, nft::elem::FLAGS];
    parts.into_iter().filter_map(|kind| element.find(kind)).flat_map(|attr| attr.payload).copied().collect()
}

/// The request that dumps one set's elements: its table and its name.
fn elements_of(set: &[u8]) -> Option<Vec<u8>> {
    let mut request = AttrWriter::new();
    request.put(nft::elem::LIST_TABLE, Attrs(set).find(nft::set::TABLE)?.payload);
    request.put(nft::elem::LIST_SET, Attrs(set).find(nft::set::NAME)?.payload);
    Some(request.into_bytes())
}

pub(super) fn dump(
    socket: &mut Socket,
    request: u8,
    header: &[u8],
    attrs: &[u8],
    messages: &mut Vec<RawMessage>,
) -> Result<Dump, NftablesError> {
    let state = socket.dump(kind(request), &[header, attrs], |message| {
        if let Some((header, attrs)) = message.payload.split_at_checked(nft::NFGENMSG) {
            let kind = (message.kind & 0xff) as u8;
            messages.push(RawMessage { kind, family: header[0], attrs: attrs.to_vec() });
        }
    })?;
    Ok(state)
}
