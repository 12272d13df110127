//! Matches of the network header, of marks, interfaces and sockets. Pure.

use super::{Asked, End, Info, address, hops_field, masked, masked32, number, service_field, short_digest};
use crate::traffic::space::{Base, Kind, Space};
use crate::traffic::test::Test;

/// `NFT_META_*` (linux/netfilter/nf_tables.h).
mod meta {
    pub const IIFTYPE: u32 = 8;
    pub const SKUID: u32 = 10;
    pub const SKGID: u32 = 11;
    pub const RTCLASSID: u32 = 13;
    pub const PKTTYPE: u32 = 19;
    pub const CPU: u32 = 20;
    pub const IIFGROUP: u32 = 21;
    pub const OIFGROUP: u32 = 22;
    pub const CGROUP: u32 = 23;
    pub const SECPATH: u32 = 25;
}

/// A number that is asked for exactly.
fn equal(space: &mut Space, key: u32, value: u32) -> Option<Test> {
    Some(number(&space.meta(key)?, value.into(), value.into()))
}

/// `struct xt_mark_mtinfo1`.
pub(super) fn mark(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    if asked.revision != 1 {
        return None;
    }
    Some(masked32(&space.mark(), info.u32(4)?, info.u32(0)?).inverted_if(info.u8(8)? != 0))
}

/// `struct xt_iprange_mtinfo`.
pub(super) fn iprange(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let flags = info.u8(64)?;
    let length = space.kind().address_length()?;
    let mut tests = Vec::new();
    for (end, at, bit) in [(End::Source, 0, 1), (End::Destination, 32, 2)] {
        if flags & bit != 0 {
            let word = address(space, end)?;
            let test = Test::between(&word, info.bytes(at, length)?, info.bytes(at + 16, length)?);
            tests.push(test.inverted_if(flags & bit << 4 != 0));
        }
    }
    Some(Test::all(tests))
}

/// `struct xt_addrtype_info`, `struct xt_addrtype_info_v1`.
pub(super) fn addrtype(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let (source, destination) = (info.u16(0)?, info.u16(2)?);
    let (inverted, interface) = match asked.revision {
        0 => ([info.u32(4)? != 0, info.u32(8)? != 0], ""),
        1 => {
            let flags = info.u32(4)?;
            let interface = match flags & 0xc {
                0 => "",
                4 => " . iif",
                _ => " . oif",
            };
            ([flags & 1 != 0, flags & 2 != 0], interface)
        }
        _ => return None,
    };
    let ends = [(End::Source, source, "saddr"), (End::Destination, destination, "daddr")];
    let mut tests = Vec::new();
    for ((end, mask, name), inverted) in ends.into_iter().zip(inverted) {
        if mask != 0 {
            let test = address_type(space, end, mask, &format!("{name}{interface}"))?;
            tests.push(test.inverted_if(inverted));
        }
    }
    Some(Test::all(tests))
}

/// An address is of one of these types (`match_type`); in IPv6, of all that are no matter of routes, and of one of
/// those that are (`match_type6`).
fn address_type(space: &mut Space, end: End, mask: u16, asked: &str) -> Option<Test> {
    const UNSPEC: u16 = 1;
    const UNICAST: u16 = 1 << 1;
    const MULTICAST: u16 = 1 << 5;
    // Local, anycast, unreachable.
    const ROUTED: u16 = 1 << 2 | 1 << 4 | 1 << 7;
    let types = |space: &mut Space, mask: u16| {
        let word = space.fib_type(asked);
        Test::any((0..12).filter(|n| mask >> n & 1 == 1).map(|n| number(&word, n, n)))
    };
    if space.kind() != Kind::Ip6 {
        return Some(types(space, mask));
    }
    let word = address(space, end)?;
    let starts = |bytes: &[u8]| Test::masked(&word[..8 * bytes.len()], &vec![0xff; bytes.len()], bytes);
    let mut tests = Vec::new();
    if mask & MULTICAST != 0 {
        tests.push(starts(&[0xff]));
    }
    if mask & UNICAST != 0 {
        // __ipv6_addr_type: not multicast, not ::, not an IPv4 address mapped to IPv6.
        let mapped = [&[0; 10][..], &[0xff; 2]].concat();
        tests.push(Test::any([starts(&[0xff]), starts(&[0; 16]), starts(&mapped)]).negated());
    }
    if mask & UNSPEC != 0 {
        tests.push(starts(&[0; 16]));
    }
    if mask & ROUTED != 0 {
        tests.push(types(space, mask & ROUTED));
    }
    Some(Test::all(tests))
}

/// `struct xt_mac_info`: of Ethernet alone.
pub(super) fn mac(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const ARPHRD_ETHER: u32 = 1;
    let info = asked.info();
    let test = Test::equals(&space.payload(Base::Link, 6, 6), info.bytes(0, 6)?);
    Some(Test::all([equal(space, meta::IIFTYPE, ARPHRD_ETHER)?, test.inverted_if(info.u32(8)? != 0)]))
}

/// `struct xt_physdev_info`: ports of a bridge, which nothing in the packet tells.
pub(super) fn physdev(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let (inverted, asks) = (info.u8(64)?, info.u8(65)?);
    let name = |at: usize| -> Option<String> {
        let (name, mask) = (info.string(at, 16)?, info.bytes(at + 16, 16)?);
        // A mask that ends before the name's zero means a beginning.
        let length = mask.iter().take_while(|byte| **byte == 0xff).count();
        Some(if length <= name.len() { format!("{}+", name.get(..length)?) } else { name })
    };
    let mut tests = Vec::new();
    for (bit, text) in [
        (1, format!("physdev --physdev-in {}", name(0)?)),
        (2, format!("physdev --physdev-out {}", name(32)?)),
        (4, "physdev --physdev-is-bridged".to_owned()),
        (8, "physdev --physdev-is-in".to_owned()),
        (16, "physdev --physdev-is-out".to_owned()),
    ] {
        if asks & bit != 0 {
            tests.push(Test::free(space, &text).inverted_if(inverted & bit != 0));
        }
    }
    Some(Test::all(tests))
}

/// `struct xt_owner_match_info`. A packet without a socket matches if everything is inverted, as one whose owner is
/// nobody that can be named (4294967295) does.
pub(super) fn owner(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const UID: u8 = 1;
    const GID: u8 = 2;
    const SOCKET: u8 = 4;
    const GROUPS: u8 = 8;
    let info = asked.info();
    let (asks, inverted) = (info.u8(16)?, info.u8(17)?);
    let mut tests = Vec::new();
    if asks & UID != 0 {
        let (low, high) = (info.u32(0)?, info.u32(4)?);
        let test = number(&space.meta(meta::SKUID)?, low.into(), high.into());
        tests.push(test.inverted_if(inverted & UID != 0));
    }
    if asks & GID != 0 {
        let (low, high) = (info.u32(8)?, info.u32(12)?);
        let test = if asks & GROUPS == 0 {
            number(&space.meta(meta::SKGID)?, low.into(), high.into())
        } else {
            Test::free(space, &format!("owner --gid-owner {low}-{high} --suppl-groups"))
        };
        tests.push(test.inverted_if(inverted & GID != 0));
    }
    if asks & SOCKET != 0 {
        tests.push(Test::free(space, "owner --socket-exists").inverted_if(inverted & SOCKET != 0));
    }
    Some(Test::all(tests))
}

/// `struct xt_pkttype_info`.
pub(super) fn pkttype(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    Some(equal(space, meta::PKTTYPE, info.u32(0)?)?.inverted_if(info.u32(4)? != 0))
}

/// `struct ipt_ttl_info`, `struct ip6t_hl_info`.
pub(super) fn hops(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let field = hops_field(space)?;
    let value = u64::from(info.u8(1)?);
    match info.u8(0)? {
        0 => Some(number(&field, value, value)),
        1 => Some(number(&field, value, value).negated()),
        2 => Some(value.checked_sub(1).map_or_else(Test::never, |high| number(&field, 0, high))),
        3 => Some(number(&field, value + 1, 255)),
        _ => None,
    }
}

/// `struct xt_length_info`: of the packet; an IPv6 header counts what follows it.
pub(super) fn length(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const HEADER: u64 = 40;
    let info = asked.info();
    let (low, high) = (u64::from(info.u16(0)?), u64::from(info.u16(2)?));
    let test = match space.kind() {
        Kind::Ip4 => number(&space.payload(Base::Network, 2, 2), low, high),
        Kind::Ip6 => {
            let field = space.payload(Base::Network, 4, 2);
            let high = high.checked_sub(HEADER);
            high.map_or_else(Test::never, |high| number(&field, low.saturating_sub(HEADER), high))
        }
        Kind::Arp | Kind::Other => return None,
    };
    Some(test.inverted_if(info.u8(4)? != 0))
}

/// `struct xt_dscp_info`, `struct xt_tos_match_info`.
pub(super) fn service(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let field = service_field(space)?;
    match (asked.name, asked.revision) {
        (b"dscp", 0) => {
            let value = u64::from(info.u8(0)?);
            Some(number(&field[..6], value, value).inverted_if(info.u8(1)? != 0))
        }
        (b"tos", 1) => Some(masked(&field, &[info.u8(0)?], &[info.u8(1)?]).inverted_if(info.u8(2)? != 0)),
        _ => None,
    }
}

/// `struct xt_ecn_info`.
pub(super) fn ecn(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const IP: u8 = 1;
    let info = asked.info();
    let (asks, inverted) = (info.u8(0)?, info.u8(1)?);
    let mut tests = Vec::new();
    if asks & IP != 0 {
        let value = u64::from(info.u8(2)?);
        tests.push(number(&service_field(space)?[6..], value, value).inverted_if(inverted & IP != 0));
    }
    // The operation, and the bit of the flags: ECE and CWR.
    for (bit, flag) in [(0x10, 0x40), (0x20, 0x80)] {
        if asks & bit != 0 {
            let flags = space.payload(Base::Transport, 13, 1);
            tests.push(masked(&flags, &[flag], &[flag]).inverted_if(inverted & bit != 0));
        }
    }
    Some(Test::all(tests))
}

/// `struct xt_realm_info`.
pub(super) fn realm(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let word = space.meta(meta::RTCLASSID)?;
    Some(masked32(&word, info.u32(4)?, info.u32(0)?).inverted_if(info.u8(8)? != 0))
}

/// `struct xt_cpu_info`.
pub(super) fn cpu(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    Some(equal(space, meta::CPU, info.u32(0)?)?.inverted_if(info.u32(4)? != 0))
}

/// `struct xt_devgroup_info`.
pub(super) fn devgroup(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let flags = info.u32(0)?;
    let mut tests = Vec::new();
    for (bit, at, key) in [(1, 4, meta::IIFGROUP), (4, 12, meta::OIFGROUP)] {
        if flags & bit != 0 {
            let word = space.meta(key)?;
            let (group, mask) = (info.u32(at)?, info.u32(at + 4)?);
            let test = Test::masked(&word, &mask.to_be_bytes(), &group.to_be_bytes());
            tests.push(test.inverted_if(flags & bit << 1 != 0));
        }
    }
    Some(Test::all(tests))
}

/// `struct xt_cgroup_info_v0`, `v1` and `v2`. A packet without a local socket fails it, also if it is inverted.
pub(super) fn cgroup(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let socket = Test::free(space, "owner --socket-exists");
    let (class, path, class_inverted, path_inverted) = match asked.revision {
        0 => (Some(info.u32(0)?), None, info.u32(4)? != 0, false),
        1 | 2 => {
            let (path, class) = if asked.revision == 1 { (4096, 4100) } else { (512, 4) };
            let path = if info.u8(0)? != 0 { Some(info.string(4, path)?) } else { None };
            let class = if info.u8(1)? != 0 { Some(info.u32(class)?) } else { None };
            (class, path, info.u8(3)? != 0, info.u8(2)? != 0)
        }
        _ => return None,
    };
    let mut tests = vec![socket];
    if let Some(class) = class {
        tests.push(equal(space, meta::CGROUP, class)?.inverted_if(class_inverted));
    }
    if let Some(path) = path {
        tests.push(Test::free(space, &format!("cgroup --path {path}")).inverted_if(path_inverted));
    }
    Some(Test::all(tests))
}

/// `struct xt_policy_info`. Without any property, it asks whether IPsec is used at all.
pub(super) fn policy(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const ELEMENT: usize = 76;
    const IN: u16 = 1;
    const NONE: u16 = 4;
    const STRICT: u16 = 8;
    let info = asked.info();
    let (flags, count) = (info.u16(304)?, usize::from(info.u16(306)?).min(4));
    let way = if flags & IN != 0 { "in" } else { "out" };
    let asks_nothing = count <= 1 && info.u8(74)? & 0x3f == 0;
    let ipsec = match (way, space.meta(meta::SECPATH)) {
        ("in", Some(word)) => number(&word, 0, 0).negated(),
        _ => Test::free(space, &format!("policy --dir {way} --pol ipsec")),
    };
    if flags & NONE != 0 {
        return Some(ipsec.negated());
    }
    if asks_nothing && flags & STRICT == 0 {
        return Some(ipsec);
    }
    let strict = if flags & STRICT != 0 { " --strict" } else { "" };
    let elements = words_of_policy(info, count)?;
    let digest = short_digest(info.bytes(0, ELEMENT * count)?);
    let text = format!("policy --dir {way} --pol ipsec{strict} {elements} #{digest}");
    Some(Test::all([ipsec, Test::free(space, &text)]))
}

fn words_of_policy(info: Info<'_>, count: usize) -> Option<String> {
    let mut words = Vec::new();
    for at in (0..count).map(|n| 76 * n) {
        let (asks, inverted) = (info.u8(at + 74)?, info.u8(at + 75)?);
        let not = |bit: u8| if inverted & bit != 0 { "! " } else { "" };
        if asks & 0x20 != 0 {
            words.push(format!("{}--reqid {}", not(0x20), info.u32(at + 68)?));
        }
        if asks & 0x10 != 0 {
            words.push(format!("{}--spi {:#x}", not(0x10), info.u32(at + 64).map(u32::from_be)?));
        }
        if asks & 4 != 0 {
            words.push(format!("{}--proto {}", not(4), info.u8(at + 72)?));
        }
        if asks & 8 != 0 {
            let mode = if info.u8(at + 73)? == 0 { "transport" } else { "tunnel" };
            words.push(format!("{}--mode {mode}", not(8)));
        }
        if asks & 3 != 0 {
            words.push("--tunnel".to_owned());
        }
    }
    Some(words.join(" "))
}
