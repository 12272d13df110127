//! Reads all of nf_tables of the calling thread's network namespace over netlink.
//!
//! Consistency: the generation is read before and after, and the kernel marks a dump that a
//! transaction interrupted (NLM_F_DUMP_INTR); the reading is repeated until both are clean. Under
//! constant writes it gives up with an error rather than return a torn state.

use crate::model::{Capture, RawMessage};
use crate::netlink::nft::{self, kind, msg, nfgenmsg};
use crate::netlink::{AttrWriter, Attrs};
use crate::sys::socket::{Dump, Socket, SocketError};
use std::time::Duration;

/// Readings before giving up; 20 ms, 40 ms, … lie between them.
const ATTEMPTS: u32 = 10;

/// Why nf_tables could not be read.
#[derive(Debug, thiserror::Error)]
pub enum NftablesError {
    /// The socket, or a refusal.
    #[error("cannot read nf_tables: {0}")]
    Socket(#[from] SocketError),
    /// It changed during every reading.
    #[error("the ruleset changed during each of {ATTEMPTS} readings")]
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
        std::thread::sleep(Duration::from_millis(20) * attempt);
    }
    Err(NftablesError::Torn)
}

fn read(socket: &mut Socket) -> Result<(Vec<RawMessage>, Dump), NftablesError> {
    let mut messages = Vec::new();
    for request in [msg::GETTABLE, msg::GETCHAIN, msg::GETSET] {
        if dump(socket, request, &nfgenmsg(0), &[], &mut messages)? == Dump::Interrupted {
            return Ok((messages, Dump::Interrupted));
        }
    }
    let sets: Vec<(u8, Vec<u8>)> = messages
        .iter()
        .filter(|message| message.kind == msg::NEWSET)
        .filter_map(|message| Some((message.family, elements_of(&message.attrs)?)))
        .collect();
    for (family, attrs) in sets {
        match dump(socket, msg::GETSETELEM, &nfgenmsg(family), &attrs, &mut messages) {
            Ok(Dump::Whole) => {}
            Ok(Dump::Interrupted) => return Ok((messages, Dump::Interrupted)),
            // The set went away between the two dumps.
            Err(NftablesError::Socket(SocketError::Refused(error))) if error.raw_os_error() == Some(2) => {
                return Ok((messages, Dump::Interrupted));
            }
            Err(error) => return Err(error),
        }
    }
    for request in [msg::GETOBJ, msg::GETFLOWTABLE, msg::GETRULE] {
        match dump(socket, request, &nfgenmsg(0), &[], &mut messages) {
            Ok(Dump::Whole) => {}
            Ok(Dump::Interrupted) => return Ok((messages, Dump::Interrupted)),
            Err(error) => return Err(error),
        }
    }
    Ok((messages, Dump::Whole))
}

/// The request that dumps one set's elements: its table and its name.
fn elements_of(set: &[u8]) -> Option<Vec<u8>> {
    let mut request = AttrWriter::new();
    request.put(nft::elem::LIST_TABLE, Attrs(set).find(nft::set::TABLE)?.payload);
    request.put(nft::elem::LIST_SET, Attrs(set).find(nft::set::NAME)?.payload);
    Some(request.into_bytes())
}

fn dump(
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
