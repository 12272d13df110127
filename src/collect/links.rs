//! Network interfaces: their names and indices, read and made over rtnetlink(7).
//!
//! Rules may match an interface by index, so a rule can be read only where the index has its name.

use crate::netlink::{AttrWriter, Attrs, flags};
use crate::sys::socket::{Socket, SocketError};
use std::collections::BTreeMap;

const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// Length of `struct ifinfomsg`.
const IFINFOMSG: usize = 16;

/// Kinds of interface that can be made without hardware, most fitting first; a kernel may lack any.
const KINDS: [&str; 4] = ["dummy", "ifb", "veth", "bridge"];

/// Index to name of all interfaces in the calling thread's namespace.
pub fn interfaces() -> Result<BTreeMap<u32, Vec<u8>>, SocketError> {
    let mut socket = Socket::open(None)?;
    let mut names = BTreeMap::new();
    socket.dump(RTM_GETLINK, &[&ifinfomsg(0)], |message| {
        let Some((header, attrs)) = message.payload.split_at_checked(IFINFOMSG) else { return };
        let index = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
        if let Some(name) = Attrs(attrs).find(IFLA_IFNAME) {
            names.insert(index, name.string().to_vec());
        }
    })?;
    Ok(names)
}

/// Makes an interface with this name and index in the calling thread's namespace (a scratch one).
/// An index of 0 lets the kernel choose. An interface of that name that exists already is fine.
pub fn make(index: u32, name: &[u8]) -> Result<(), SocketError> {
    const EEXIST: i32 = 17;
    const EOPNOTSUPP: i32 = 95;
    let mut socket = Socket::open(None)?;
    for kind in KINDS {
        let mut attrs = AttrWriter::new();
        attrs.string(IFLA_IFNAME, name);
        attrs.nested(IFLA_LINKINFO, |info| {
            info.put(IFLA_INFO_KIND, kind.as_bytes());
        });
        let body: [&[u8]; 2] = [&ifinfomsg(index), attrs.as_bytes()];
        match socket.request(RTM_NEWLINK, flags::CREATE | flags::EXCL, &body, |_| {}) {
            Ok(()) => return Ok(()),
            Err(error) if error.errno() == Some(EEXIST) => return Ok(()),
            Err(error) if error.errno() == Some(EOPNOTSUPP) => {}
            Err(error) => return Err(error),
        }
    }
    Err(SocketError::Refused(std::io::Error::from_raw_os_error(EOPNOTSUPP)))
}

/// `struct ifinfomsg` with an index.
fn ifinfomsg(index: u32) -> [u8; IFINFOMSG] {
    let mut header = [0; IFINFOMSG];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns::Netns;

    #[test]
    fn an_interface_gets_the_name_and_the_index_asked_for() {
        let scratch = Netns::create().unwrap();
        scratch
            .run(|| {
                make(4711, b"eth7").unwrap();
                let names = interfaces().unwrap();
                assert_eq!(names.get(&4711).map(Vec::as_slice), Some(&b"eth7"[..]));
                assert_eq!(names.get(&1).map(Vec::as_slice), Some(&b"lo"[..]));
            })
            .unwrap();
    }
}
