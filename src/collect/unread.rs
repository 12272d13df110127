//! What holds packet filter state that this version does not compare: named, so that nobody takes it for
//! looked at. Nothing is loaded or created by asking.

use crate::model::Gap;
use crate::netlink::nft::{NFGENMSG, nfgenmsg};
use crate::netlink::{AttrWriter, Attrs};
use crate::sys::socket::{Socket, SocketError};
use std::path::Path;

/// `NFNL_SUBSYS_IPSET`, `IPSET_CMD_LIST` (linux/netfilter/ipset/ip_set.h).
const IPSET_LIST: u16 = 6 << 8 | 7;
const IPSET_ATTR_PROTOCOL: u16 = 1;
const IPSET_ATTR_SETNAME: u16 = 2;
const IPSET_ATTR_FLAGS: u16 = 6;
/// `IPSET_PROTOCOL` of kernels since 4.19.
const IPSET_PROTOCOL: u8 = 7;
/// `IPSET_FLAG_LIST_SETNAME`: names only, no members.
const LIST_SETNAME: u32 = 1 << 1;

/// A gap for each kind of state that the calling thread's namespace holds and that is not compared. The
/// verdict is about the rest, so these do not alter it.
pub fn gaps() -> Vec<Gap> {
    let mut gaps = Vec::new();
    match sets() {
        Ok(0) => {}
        Ok(1) => gaps.push(gap("ipset", "1 set exists and is not compared by this version")),
        Ok(count) => {
            gaps.push(gap("ipset", &format!("{count} sets exist and are not compared by this version")))
        }
        Err(error) => gaps.push(gap("ipset", &format!("cannot tell whether there are sets: {error}"))),
    }
    gaps
}

fn gap(source: &str, reason: &str) -> Gap {
    Gap { source: source.to_owned(), reason: reason.to_owned(), hint: None, blinds_verdict: false }
}

/// How many sets there are. Asking a kernel that has not loaded ip_set would make it load it.
fn sets() -> Result<usize, SocketError> {
    if !Path::new("/sys/module/ip_set").exists() {
        return Ok(0);
    }
    let mut request = AttrWriter::new();
    request.put(IPSET_ATTR_PROTOCOL, &[IPSET_PROTOCOL]).be32(IPSET_ATTR_FLAGS, LIST_SETNAME);
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    let mut count = 0;
    socket.dump(IPSET_LIST, &[&nfgenmsg(0), request.as_bytes()], |message| {
        let attrs = message.payload.get(NFGENMSG..).map(Attrs);
        count += usize::from(attrs.is_some_and(|attrs| attrs.find(IPSET_ATTR_SETNAME).is_some()));
    })?;
    Ok(count)
}
