//! Reads nf_tables along an outline: what is the same is not kept.
//!
//! The same consistency as in [`super::nftables`], and the same requests; the rules are looked at on a second
//! thread while the kernel writes the next ones.

use super::nftables::{
    ATTEMPTS, NftablesError, READ_ONCE, Wanted, dump, elements, generation, is_gone, pause,
};
use super::rules;
use crate::model::outline::Shared;
use crate::model::{Outline, RawMessage, Ruleset};
use crate::netlink::nft::{self, kind, msg, nfgenmsg};
use crate::netlink::{Attrs, Message};
use crate::normalise::{Follower, Members, Unfit};
use crate::sys::socket::{Dump, Socket, SocketError};

/// A reading that followed an outline.
#[derive(Debug)]
pub struct Followed {
    /// `NFTA_GEN_ID` at the time of the reading.
    pub generation: u32,
    /// What was read, as far as it differs.
    pub live: Ruleset,
    /// What does not.
    pub shared: Shared,
}

/// Why one attempt did not end.
enum Stop {
    /// Something changed meanwhile.
    Interrupted,
    /// The ruleset is one that has to be read in full.
    Unfit,
    /// The kernel.
    Failed(NftablesError),
}

impl From<NftablesError> for Stop {
    fn from(error: NftablesError) -> Self {
        Self::Failed(error)
    }
}

impl From<SocketError> for Stop {
    fn from(error: SocketError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Unfit> for Stop {
    fn from(_: Unfit) -> Self {
        Self::Unfit
    }
}

/// A consistent reading of the calling thread's namespace; none if it cannot follow an outline (see [`Unfit`]).
pub fn follow(outline: &Outline, ipset: &[RawMessage]) -> Result<Option<Followed>, NftablesError> {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    for attempt in 1..=ATTEMPTS {
        let before = generation(&mut socket)?;
        match attempt_once(&mut socket, outline, ipset) {
            Ok((live, shared)) if generation(&mut socket)? == before => {
                return Ok(Some(Followed { generation: before, live, shared }));
            }
            Ok(_) | Err(Stop::Interrupted) => pause(attempt),
            Err(Stop::Unfit) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error),
        }
    }
    Err(NftablesError::Torn)
}

fn attempt_once(
    socket: &mut Socket,
    outline: &Outline,
    ipset: &[RawMessage],
) -> Result<(Ruleset, Shared), Stop> {
    let mut follower = Follower::new(outline, ipset);
    let (mut sets, mut rules) = (Vec::new(), Vec::new());
    for request in [msg::GETTABLE, msg::GETCHAIN, msg::GETSET] {
        let mut messages = Vec::new();
        whole(dump(socket, request, &nfgenmsg(0), &[], &mut messages)?)?;
        if request == msg::GETCHAIN {
            rules = rules::requests(&messages);
        }
        for message in messages {
            follower.add(message.family, message.kind, Attrs(&message.attrs))?;
            if message.kind == msg::NEWSET {
                sets.push(message);
            }
        }
    }
    for set in sets {
        if follower.needs_elements(set.family, Attrs(&set.attrs)) {
            add_elements(socket, &mut follower, &set)?;
        }
    }
    for request in [msg::GETOBJ, msg::GETFLOWTABLE] {
        let mut messages = Vec::new();
        whole(dump(socket, request, &nfgenmsg(0), &[], &mut messages)?)?;
        for message in messages {
            follower.add(message.family, message.kind, Attrs(&message.attrs))?;
        }
    }
    let mut unfit = None;
    for request in rules {
        let each = |message: Message<'_>| {
            let Some((header, attrs)) = message.payload.split_at_checked(nft::NFGENMSG) else { return };
            if unfit.is_none() {
                unfit = follower.add_rule(header[0], Attrs(attrs)).err();
            }
        };
        let body: [&[u8]; 2] = [&request.header, &request.attrs];
        let state = match request.large {
            true => socket.dump_beside(kind(msg::GETRULE), &body, each),
            false => socket.dump(kind(msg::GETRULE), &body, each),
        };
        whole(state.map_err(|error| gone(error.into()))?)?;
    }
    match unfit {
        Some(unfit) => Err(unfit.into()),
        None => Ok(follower.finish()?),
    }
}

fn whole(state: Dump) -> Result<(), Stop> {
    if state == Dump::Whole { Ok(()) } else { Err(Stop::Interrupted) }
}

/// One set's elements: by their digests, or in full where these do not do.
fn add_elements(socket: &mut Socket, follower: &mut Follower<'_>, set: &RawMessage) -> Result<(), Stop> {
    let Some(wanted) = Wanted::of(set.family, &set.attrs) else { return Err(Stop::Unfit) };
    if let Some(members) = follower.members(set.family, Attrs(&set.attrs)) {
        let members = read_members(socket, members, &wanted)?;
        if !follower.add_members(members)? {
            return Ok(());
        }
    }
    let (messages, state) = elements(socket, &wanted).map_err(gone)?;
    whole(state)?;
    for message in messages {
        follower.add(message.family, message.kind, Attrs(&message.attrs))?;
    }
    Ok(())
}

/// A set that went away between two dumps was changed meanwhile.
fn gone(error: NftablesError) -> Stop {
    if is_gone(&error) { Stop::Interrupted } else { Stop::Failed(error) }
}

/// The digests of a set's elements; read again until they are as many as the kernel counts, or two readings agree
/// (see [`elements`]).
fn read_members(socket: &mut Socket, mut members: Members, wanted: &Wanted) -> Result<Members, Stop> {
    let mut last = None;
    for attempt in 1..=ATTEMPTS {
        members.clear();
        let each = |message: Message<'_>| {
            let list = message.payload.get(nft::NFGENMSG..).map(Attrs);
            let list = list.and_then(|attrs| attrs.find(nft::elem::LIST_ELEMENTS));
            list.iter()
                .flat_map(|list| list.nested().flatten())
                .for_each(|element| members.add(element.nested()));
        };
        let header = nfgenmsg(wanted.family);
        let body: [&[u8]; 2] = [&header, &wanted.request];
        let request = kind(msg::GETSETELEM);
        let many = wanted.count.is_some_and(|count| count as usize > READ_ONCE);
        let state = match many {
            true => socket.dump_beside(request, &body, each),
            false => socket.dump(request, &body, each),
        };
        whole(state.map_err(|error| gone(error.into()))?)?;
        if !wanted.steady || members.len() <= READ_ONCE {
            return Ok(members);
        }
        let (count, digest) = members.distinct();
        if count == members.len() && (wanted.count == Some(count as u32) || last == Some(digest)) {
            return Ok(members);
        }
        last = Some(digest);
        if attempt > 1 {
            pause(attempt);
        }
    }
    Err(NftablesError::Torn.into())
}
