//! The addresses of the host's interfaces, read over rtnetlink(7).

use crate::netlink::Attrs;
use crate::sys::socket::{Socket, SocketError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const RTM_NEWADDR_DUMP: u16 = 22;
/// `IFA_ADDRESS`, and `IFA_LOCAL` where the other end of a point-to-point link is the address.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Length of `struct ifaddrmsg`.
const IFADDRMSG: usize = 8;

/// All addresses of the calling thread's namespace.
pub fn addresses() -> Result<Vec<IpAddr>, SocketError> {
    let mut socket = Socket::open(None)?;
    let mut found = Vec::new();
    socket.dump(RTM_NEWADDR_DUMP, &[&[0; IFADDRMSG]], |message| {
        let Some((_, attrs)) = message.payload.split_at_checked(IFADDRMSG) else { return };
        let attrs = Attrs(attrs);
        let bytes = attrs.find(IFA_LOCAL).or_else(|| attrs.find(IFA_ADDRESS)).map(|attr| attr.payload);
        found.extend(bytes.and_then(address));
    })?;
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns::Netns;
    use crate::tool::Tool;

    #[test]
    fn addresses_of_both_families_are_read() {
        let scratch = Netns::create().unwrap();
        let found = scratch.run(|| {
            for address in ["10.9.8.7/24", "2001:db8::7/64"] {
                Tool::find("ip").unwrap().args(["address", "add", address, "dev", "lo"]).run().unwrap();
            }
            addresses().unwrap()
        });
        let found = found.unwrap();
        assert!(found.contains(&"10.9.8.7".parse().unwrap()), "{found:?}");
        assert!(found.contains(&"2001:db8::7".parse().unwrap()), "{found:?}");
    }
}
