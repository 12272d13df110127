//! Reads the sets of ipset of the calling thread's network namespace over netlink.
//!
//! A request to a kernel that has not loaded ip_set makes it load the module (nfnetlink.c,
//! `request_module`), so /sys is asked first: ip_set has a parameter (`max_sets`), and so a directory
//! there, as a module and built in.
//!
//! Consistency: the kernel holds a set while it lists it, but not all of them, and marks no dump as
//! interrupted. So the heads are read before and after. They tell a set that was made, destroyed,
//! renamed, swapped (by the random `initval`) or changed in size; then the reading is repeated.

use crate::model::{Gap, RawMessage};
use crate::netlink::ipset::{self, attr, data, kind, msg};
use crate::netlink::nft::{NFGENMSG, nfgenmsg};
use crate::netlink::{AttrWriter, Attrs};
use crate::sys::socket::{Socket, SocketError};
use std::path::Path;
use std::time::Duration;

/// Readings before giving up; 20 ms, 40 ms, … lie between them.
const ATTEMPTS: u32 = 6;

/// Why the sets could not be read.
#[derive(Debug, thiserror::Error)]
pub enum IpsetError {
    /// The socket, or a refusal.
    #[error("cannot read the sets of ipset: {0}")]
    Socket(#[from] SocketError),
    /// Sets came, went or were swapped during every reading.
    #[error("sets were made, destroyed or swapped during each of {ATTEMPTS} readings")]
    Torn,
    /// Nothing tells whether asking would load the module.
    #[error("cannot tell whether the kernel has loaded ip_set: there is no /sys/module")]
    NoSysfs,
}

impl IpsetError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Socket(_) => None,
            Self::Torn => Some("a program is rewriting the sets without pause; try again".into()),
            Self::NoSysfs => Some("mount sysfs: mount -t sysfs sysfs /sys".into()),
        }
    }

    /// The gap that it leaves.
    pub fn gap(&self) -> Gap {
        Gap { source: "ipset".into(), reason: self.to_string(), hint: self.hint(), blinds_verdict: true }
    }
}

/// All sets with their members: for each set one `IPSET_CMD_CREATE` message with the attributes of its head,
/// then `IPSET_CMD_ADD` messages with its name and lists of members, as the kernel gave them.
pub fn capture() -> Result<Vec<RawMessage>, IpsetError> {
    if !is_loaded(Path::new("/sys/module"))? {
        return Ok(Vec::new());
    }
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    let (mut before, protocol) = list_heads(&mut socket)?;
    for attempt in 1..=ATTEMPTS {
        let found = list(&mut socket, protocol, 0)?;
        let after = list(&mut socket, protocol, attr::F_LIST_HEADER)?;
        let same_sets = found.has_sets_of(&before) && found.has_sets_of(&after);
        let counted = found.has_counts_of(&before) && found.has_counts_of(&after) && found.is_complete();
        // Members that come and go all the time (a rule adds them) are there or not: each reading is as true.
        if same_sets && (counted || attempt == ATTEMPTS) {
            return Ok(found.messages);
        }
        before = after;
        std::thread::sleep(Duration::from_millis(20) * attempt);
    }
    Err(IpsetError::Torn)
}

/// The heads of all sets, without members: enough for [`crate::normalise::ipset::names`].
pub fn heads() -> Result<Vec<RawMessage>, IpsetError> {
    if !is_loaded(Path::new("/sys/module"))? {
        return Ok(Vec::new());
    }
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    Ok(list_heads(&mut socket)?.0.messages)
}

/// The heads, and the version of the protocol that the kernel speaks.
fn list_heads(socket: &mut Socket) -> Result<(Listing, u8), IpsetError> {
    match list(socket, ipset::PROTOCOL, attr::F_LIST_HEADER) {
        Err(SocketError::Refused(error)) if error.raw_os_error() == Some(ipset::ERR_PROTOCOL) => {
            Ok((list(socket, ipset::PROTOCOL_MIN, attr::F_LIST_HEADER)?, ipset::PROTOCOL_MIN))
        }
        other => Ok((other?, ipset::PROTOCOL)),
    }
}

fn is_loaded(modules: &Path) -> Result<bool, IpsetError> {
    if !modules.exists() {
        return Err(IpsetError::NoSysfs);
    }
    Ok(modules.join("ip_set").exists())
}

/// One answer to `IPSET_CMD_LIST`.
#[derive(Debug, Default)]
struct Listing {
    messages: Vec<RawMessage>,
    heads: Vec<Head>,
}

/// A set's head, apart from what changes with its members.
#[derive(Debug, Default)]
struct Head {
    identity: Vec<u8>,
    /// `IPSET_ATTR_ELEMENTS`; none before Linux 4.10, and of no use in a set whose members expire.
    count: Option<u32>,
    /// Members that came.
    members: u32,
}

impl Listing {
    fn has_sets_of(&self, other: &Self) -> bool {
        self.heads.iter().map(|head| &head.identity).eq(other.heads.iter().map(|head| &head.identity))
    }

    fn has_counts_of(&self, other: &Self) -> bool {
        self.heads.iter().map(|head| head.count).eq(other.heads.iter().map(|head| head.count))
    }

    fn is_complete(&self) -> bool {
        self.heads.iter().all(|head| head.count.is_none_or(|count| count == head.members))
    }

    fn add(&mut self, family: u8, attrs: Attrs<'_>) {
        if attrs.find(attr::TYPENAME).is_some() {
            let mut head = AttrWriter::new();
            for found in attrs.flatten().filter(|found| found.kind != attr::ADT) {
                head.put(found.kind, found.payload);
            }
            self.heads.push(Head::of(Attrs(head.as_bytes())));
            self.messages.push(RawMessage { kind: msg::CREATE, family, attrs: head.into_bytes() });
        }
        let (Some(name), Some(members)) = (attrs.find(attr::SETNAME), attrs.find(attr::ADT)) else { return };
        if let Some(head) = self.heads.last_mut() {
            head.members += members.nested().flatten().count() as u32;
        }
        let mut list = AttrWriter::new();
        list.put(attr::SETNAME, name.payload).put(attr::ADT, members.payload);
        self.messages.push(RawMessage { kind: msg::ADD, family, attrs: list.into_bytes() });
    }
}

impl Head {
    fn of(attrs: Attrs<'_>) -> Self {
        let mut head = Self::default();
        for found in attrs.flatten() {
            if found.kind != attr::DATA {
                head.keep(found.kind, found.payload);
                continue;
            }
            for option in found.nested().flatten() {
                match option.kind {
                    data::ELEMENTS => head.count = option.be32(),
                    data::HASHSIZE | data::MEMSIZE | data::REFERENCES => {}
                    kind => head.keep(kind, option.payload),
                }
            }
            if found.nested().find(data::TIMEOUT).is_some() {
                head.count = None;
            }
        }
        head
    }

    fn keep(&mut self, kind: u16, payload: &[u8]) {
        self.identity.extend_from_slice(&kind.to_ne_bytes());
        self.identity.extend_from_slice(&(payload.len() as u32).to_ne_bytes());
        self.identity.extend_from_slice(payload);
    }
}

fn list(socket: &mut Socket, protocol: u8, flags: u32) -> Result<Listing, SocketError> {
    let mut request = AttrWriter::new();
    request.put(attr::PROTOCOL, &[protocol]);
    if flags != 0 {
        request.net(attr::FLAGS, &flags.to_be_bytes());
    }
    let mut listing = Listing::default();
    socket.dump(kind(msg::LIST), &[&nfgenmsg(0), request.as_bytes()], |message| {
        if let Some((header, attrs)) = message.payload.split_at_checked(NFGENMSG) {
            listing.add(header[0], Attrs(attrs));
        }
    })?;
    Ok(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_the_module_is_not_asked_and_without_sysfs_nothing_is_known() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_loaded(directory.path()).unwrap());
        std::fs::create_dir(directory.path().join("ip_set")).unwrap();
        assert!(is_loaded(directory.path()).unwrap());
        let error = is_loaded(&directory.path().join("absent")).unwrap_err();
        assert!(matches!(error, IpsetError::NoSysfs));
        assert!(error.gap().blinds_verdict && error.gap().source == "ipset");
    }
}
