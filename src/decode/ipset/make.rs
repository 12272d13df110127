//! Makes sets of ipset in a scratch namespace, over netlink: no name and no comment passes through a tool.

use super::DecodeError;
use crate::collect;
use crate::model::{Name, RawMessage, Set};
use crate::netlink::ipset::{self as numbers, attr, kind, msg};
use crate::netlink::nft::{NFGENMSG, nfgenmsg};
use crate::netlink::{AttrWriter, Attrs, flags};
use crate::normalise::ipset;
use crate::sys::socket::{Socket, SocketError};
use crate::tool::Tool;
use std::collections::{BTreeMap, BTreeSet};

/// `NFPROTO_IPV4`, which ipset's messages carry whatever their set's family.
const FAMILY: u8 = 2;

/// Makes sets, one after the other, in the calling thread's namespace.
pub struct Maker {
    socket: Socket,
    /// Revisions of types, by type and family.
    revisions: BTreeMap<(Vec<u8>, Vec<u8>), u8>,
}

impl Maker {
    /// For the calling thread's namespace.
    pub fn new() -> Result<Self, DecodeError> {
        let socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
        Ok(Self { socket, revisions: BTreeMap::new() })
    }

    /// Makes a set with its members. The sets that a `list:set` names must be there.
    pub fn make(&mut self, name: &Name, set: &Set) -> Result<(), SocketError> {
        let revision = self.revision(set)?;
        for message in ipset::messages(name, set) {
            let mut request = AttrWriter::new();
            request.put(attr::PROTOCOL, &[numbers::PROTOCOL]).raw(&message.attrs);
            match message.kind {
                msg::CREATE => request.put(attr::REVISION, &[revision]),
                // A list of members has to say from which line it comes.
                _ => request.net(attr::LINENO, &0_u32.to_be_bytes()),
            };
            let flags = flags::CREATE | flags::EXCL;
            self.socket.request(
                kind(message.kind),
                flags,
                &[&nfgenmsg(FAMILY), request.as_bytes()],
                |_| {},
            )?;
        }
        Ok(())
    }

    /// The revision that `ipset` would take: the newest that it and the kernel know. It cannot list another one.
    fn revision(&mut self, set: &Set) -> Result<u8, SocketError> {
        let family = Attrs(&set.attrs).find(attr::FAMILY).map_or(&[][..], |family| family.payload);
        let key = (ipset::type_name(set).to_vec(), family.to_vec());
        if let Some(revision) = self.revisions.get(&key) {
            return Ok(*revision);
        }
        let found = match revision_of_tool(&key.0) {
            Some(revision) => revision,
            None => self.revision_of_kernel(set, family)?,
        };
        self.revisions.insert(key, found);
        Ok(found)
    }

    fn revision_of_kernel(&mut self, set: &Set, family: &[u8]) -> Result<u8, SocketError> {
        let mut request = AttrWriter::new();
        request.put(attr::PROTOCOL, &[numbers::PROTOCOL]);
        request.string(attr::TYPENAME, ipset::type_name(set)).put(attr::FAMILY, family);
        let mut revision = None;
        self.socket.request(kind(msg::TYPE), 0, &[&nfgenmsg(FAMILY), request.as_bytes()], |message| {
            let attrs = message.payload.get(NFGENMSG..).map(Attrs);
            revision = attrs.and_then(|attrs| attrs.find(attr::REVISION)?.payload.first().copied());
        })?;
        Ok(revision.unwrap_or(0))
    }
}

/// The revision of a set that the tool makes; none if there is no tool, or it does not know the type.
fn revision_of_tool(type_name: &[u8]) -> Option<u8> {
    const PROBE: &str = "fwdrift-probe";
    let name = std::str::from_utf8(type_name).ok()?;
    let range: &[&str] = match name {
        "bitmap:port" => &["range", "0-1"],
        _ if name.starts_with("bitmap:") => &["range", "192.0.2.0-192.0.2.1"],
        _ => &[],
    };
    let run = |words: &[&str]| {
        let tool = Tool::find("ipset").ok()?.scratch();
        tool.args(words.iter().copied()).run().inspect_err(|error| tracing::debug!("{error}")).ok()
    };
    run(&[&["create", PROBE, name], range].concat())?;
    let sets = collect::ipset::capture().ok()?;
    run(&["destroy", PROBE])?;
    let named = |message: &&RawMessage| {
        let name = Attrs(&message.attrs).find(attr::SETNAME).map(|name| name.string());
        message.kind == msg::CREATE && name == Some(PROBE.as_bytes())
    };
    let probe = sets.iter().find(named)?;
    Attrs(&probe.attrs).find(attr::REVISION)?.payload.first().copied()
}

/// Empty sets with these names, for rules that need them to exist; gives their indices. Rules name sets of any type,
/// but iptables asks for one of its own family, and a `list:set` is of none. A set that is there is left as it is.
pub fn stand_ins(names: &BTreeSet<Name>) -> Result<BTreeMap<Name, u16>, DecodeError> {
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let mut maker = Maker::new()?;
    for name in names {
        match maker.make(name, &empty(b"list:set", 0)) {
            Err(SocketError::Refused(error)) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            made => made.map_err(|error| refused(name, error))?,
        }
    }
    let sets = collect::ipset::capture().map_err(|error| DecodeError::Unreadable(Box::new(error.into())))?;
    Ok(ipset::names(&sets).into_iter().map(|(index, name)| (name, index)).collect())
}

/// A set that a list can have as its member, which another list cannot be.
pub fn stand_in_member() -> Set {
    empty(b"hash:ip", FAMILY)
}

fn empty(type_name: &[u8], family: u8) -> Set {
    let mut attrs = AttrWriter::new();
    attrs.string(attr::TYPENAME, type_name).put(attr::FAMILY, &[family]).nested(attr::DATA, |_| {});
    Set { attrs: attrs.into_bytes(), ..Set::default() }
}

/// What could not be made.
pub fn refused(name: &Name, error: SocketError) -> DecodeError {
    match error {
        SocketError::Refused(source) => {
            let words = source.raw_os_error().and_then(numbers::error_text);
            let source = words.map_or(source, std::io::Error::other);
            DecodeError::Refused { what: format!("set {name} of ipset"), source }
        }
        other => other.into(),
    }
}
