//! Extensions of ebtables and arptables. Pure.
//!
//! A target of ebtables has a verdict of its own (linux/netfilter_bridge/ebtables.h, `EBT_*`). The kernel takes the
//! matches `ip`, `ip6` and `arp` only in rules that ask for frames of that kind.

use super::{Asked, Info, any_bit, assign, constant, masked, masked32, number, service_field, short_digest};
use crate::traffic::program::{Step, Verdict};
use crate::traffic::space::{Base, Kind, Space};
use crate::traffic::test::Test;

/// `NFT_META_PKTTYPE`.
const PKTTYPE: u32 = 19;

/// What a match of a bridge asks; none if it is not one of ebtables' own.
pub(super) fn matched(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    match asked.name {
        b"ip" => ip(space, info, Kind::Ip4),
        b"ip6" => ip(space, info, Kind::Ip6),
        b"arp" => arp(space, info),
        b"mark_m" => mark(space, info),
        b"pkttype" => {
            let kind = u64::from(info.u8(0)?);
            Some(number(&space.meta(PKTTYPE)?, kind, kind).inverted_if(info.u8(1)? != 0))
        }
        b"vlan" => vlan(space, info),
        b"802_3" | b"stp" | b"among" => {
            let name = String::from_utf8_lossy(asked.name);
            Some(Test::free(space, &format!("ebtables {name} #{}", short_digest(asked.info))))
        }
        _ => None,
    }
}

/// `struct ebt_ip_info`, `struct ebt_ip6_info`: the same after the addresses, but for IGMP.
fn ip(space: &mut Space, info: Info<'_>, kind: Kind) -> Option<Test> {
    const SERVICE: u8 = 4;
    const PROTOCOL: u8 = 8;
    const FURTHER: u8 = 0xf0;
    let length = kind.address_length()?;
    let at = 4 * length;
    let (asks, inverted) = (info.u8(at + 2)?, info.u8(at + 3)?);
    if space.kind() != kind {
        return Some(Test::never());
    }
    let mut tests = Vec::new();
    for (bit, end, place) in [(1, super::End::Source, 0), (2, super::End::Destination, length)] {
        if asks & bit != 0 {
            let word = super::address(space, end)?;
            let (value, mask) = (info.bytes(place, length)?, info.bytes(place + 2 * length, length)?);
            let test = match kind {
                Kind::Ip4 => masked(&word, mask, value),
                Kind::Ip6 | Kind::Arp | Kind::Other => Test::masked(&word, mask, value),
            };
            tests.push(test.inverted_if(inverted & bit != 0));
        }
    }
    if asks & SERVICE != 0 {
        let value = u64::from(info.u8(at)?);
        tests.push(number(&service_field(space)?, value, value).inverted_if(inverted & SERVICE != 0));
    }
    if asks & PROTOCOL != 0 {
        let protocol = u64::from(info.u8(at + 1)?);
        tests.push(number(&space.protocol(), protocol, protocol).inverted_if(inverted & PROTOCOL != 0));
        if asks & FURTHER != 0 {
            tests.push(super::has_transport(space));
            tests.extend(transport(space, info, at + 4, asks, inverted)?);
        }
    }
    Some(Test::all(tests))
}

/// Ports, or types and codes.
fn transport(space: &mut Space, info: Info<'_>, at: usize, asks: u8, inverted: u8) -> Option<Vec<Test>> {
    let mut tests = Vec::new();
    for (bit, end, place) in [(0x10, super::End::Source, at), (0x20, super::End::Destination, at + 4)] {
        if asks & bit != 0 {
            let (low, high) = (info.u16(place)?, info.u16(place + 2)?);
            let test = number(&super::port(space, end), low.into(), high.into());
            tests.push(test.inverted_if(inverted & bit != 0));
        }
    }
    let kind = |space: &mut Space| -> Option<Test> {
        Some(number(&space.payload(Base::Transport, 0, 1), info.u8(at)?.into(), info.u8(at + 1)?.into()))
    };
    if asks & 0x40 != 0 {
        let code = space.payload(Base::Transport, 1, 1);
        let code = number(&code, info.u8(at + 4)?.into(), info.u8(at + 5)?.into());
        tests.push(Test::all([kind(space)?, code]).inverted_if(inverted & 0x40 != 0));
    }
    if asks & 0x80 != 0 {
        tests.push(kind(space)?.inverted_if(inverted & 0x80 != 0));
    }
    Some(tests)
}

/// `struct ebt_arp_info`.
fn arp(space: &mut Space, info: Info<'_>) -> Option<Test> {
    const ETHER: u64 = 1;
    let (asks, inverted) = (info.u8(48)?, info.u8(49)?);
    if space.kind() != Kind::Arp {
        return Some(Test::never());
    }
    let mut tests = Vec::new();
    let mut put = |bit: u8, test: Test| {
        if asks & bit != 0 {
            tests.push(test.inverted_if(inverted & bit != 0));
        }
    };
    put(1, Test::equals(&space.payload(Base::Network, 6, 2), info.bytes(4, 2)?));
    put(2, Test::equals(&space.payload(Base::Network, 0, 2), info.bytes(0, 2)?));
    put(4, Test::equals(&space.payload(Base::Network, 2, 2), info.bytes(2, 2)?));
    put(8, masked(&space.payload(Base::Network, 14, 4), info.bytes(12, 4)?, info.bytes(8, 4)?));
    put(0x10, masked(&space.payload(Base::Network, 24, 4), info.bytes(20, 4)?, info.bytes(16, 4)?));
    // ether_addr_equal_masked looks at no bit of either beside the mask.
    put(0x20, Test::masked(&space.payload(Base::Network, 8, 6), info.bytes(30, 6)?, info.bytes(24, 6)?));
    put(0x40, Test::masked(&space.payload(Base::Network, 18, 6), info.bytes(42, 6)?, info.bytes(36, 6)?));
    if asks & 0x80 != 0 {
        put(0x80, Test::free(space, "arp saddr ip == arp daddr ip"));
    }
    if asks & 0x98 != 0 {
        tests.push(number(&space.payload(Base::Network, 5, 1), 4, 4));
        tests.push(number(&space.payload(Base::Network, 2, 2), 0x0800, 0x0800));
    }
    if asks & 0x60 != 0 {
        tests.push(number(&space.payload(Base::Network, 4, 1), 6, 6));
        tests.push(number(&space.payload(Base::Network, 0, 2), ETHER, ETHER));
    }
    Some(Test::all(tests))
}

/// A number of C's `unsigned long`, of which a mark has 32 bits.
fn long(info: Info<'_>, at: usize) -> Option<u64> {
    info.u64(at)
}

/// `struct ebt_mark_m_info`.
fn mark(space: &mut Space, info: Info<'_>) -> Option<Test> {
    const OR: u8 = 2;
    let (value, mask) = (long(info, 0)?, long(info, 8)?);
    let (inverted, how) = (info.u8(16)? != 0, info.u8(17)?);
    let word = space.mark();
    let low = |number: u64| u32::try_from(number & u64::from(u32::MAX)).ok();
    let test = match (how & OR, low(value)?) {
        (0, _) if value >> 32 != 0 => Test::never(),
        (0, value) => masked32(&word, low(mask)?, value),
        _ => any_bit(&word, low(mask)?),
    };
    Some(test.inverted_if(inverted))
}

/// `struct ebt_vlan_info`: of a tag, which is beside the packet.
fn vlan(space: &mut Space, info: Info<'_>) -> Option<Test> {
    let (asks, inverted) = (info.u8(6)?, info.u8(7)?);
    let mut tests = vec![Test::free(space, "vlan tag exists")];
    let words = [
        (1, format!("vlan id {}", info.u16(0)?)),
        (2, format!("vlan pcp {}", info.u8(2)?)),
        (4, format!("vlan type {:#06x}", info.be16(4)?)),
    ];
    for (bit, text) in words {
        if asks & bit != 0 {
            tests.push(Test::free(space, &text).inverted_if(inverted & bit != 0));
        }
    }
    Some(Test::all(tests))
}

/// What a target of a bridge does; none if it is not one of ebtables' own.
pub(super) fn target(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    match asked.name {
        b"log" | b"nflog" | b"ulog" => Some(Vec::new()),
        b"mark" => {
            let code = info.u32(8)?;
            let word = space.mark();
            let value = u32::try_from(long(info, 0)? & u64::from(u32::MAX)).ok()?;
            // The operation is above the verdict's four bits.
            let (mask, change) = match code & !0xf {
                0xffff_fff0 => (u32::MAX, value),
                0xffff_ffe0 => (value, value),
                0xffff_ffd0 => (!value, 0),
                0xffff_ffc0 => (0, value),
                _ => return None,
            };
            ended(assign(&word, &super::replaced(&word, mask, change)), code)
        }
        b"snat" => {
            let code = info.u32(8)?;
            let mac = constant(info.bytes(0, 6)?);
            let source = space.payload(Base::Link, 6, 6);
            let mut steps = assign(&source, &mac);
            // `NAT_ARP_BIT`: the address within ARP is let be.
            if code & 0x10 == 0 && space.kind() == Kind::Arp {
                let sender = space.payload(Base::Network, 8, 6);
                steps.extend(assign(&sender, &mac));
            }
            ended(steps, code)
        }
        b"dnat" => {
            let mac = info.bytes(0, 6)?;
            let target = space.payload(Base::Link, 0, 6);
            let mut steps = assign(&target, &constant(mac));
            let kind = space.meta(PKTTYPE)?;
            let new = match mac {
                [0xff, 0xff, 0xff, 0xff, 0xff, 0xff] => constant(&[1]),
                [first, ..] if first & 1 == 1 => constant(&[2]),
                _ => space.free("meta pkttype after dnat", 8),
            };
            steps.extend(assign(&kind, &new));
            ended(steps, info.u32(8)?)
        }
        b"redirect" => {
            let target = space.payload(Base::Link, 0, 6);
            let own = space.free("ether address of the receiving interface", 48);
            let mut steps = assign(&target, &own);
            let kind = space.meta(PKTTYPE)?;
            steps.extend(assign(&kind, &constant(&[0])));
            ended(steps, info.u32(0)?)
        }
        b"arpreply" => {
            if space.kind() != Kind::Arp {
                return Some(Vec::new());
            }
            // Only requests are answered.
            let request = number(&space.payload(Base::Network, 6, 2), 1, 1);
            Some(vec![Step::Branch(vec![(request, ended(Vec::new(), info.u32(8)?)?)])])
        }
        _ => None,
    }
}

/// Steps, and the verdict of an `EBT_*` code, which is negative; bits above the lowest four are the target's own.
fn ended(mut steps: Vec<Step>, code: u32) -> Option<Vec<Step>> {
    steps.push(Step::Verdict(match (code | 0xffff_fff0).cast_signed() {
        -1 => Verdict::Accept,
        -2 => Verdict::Drop,
        -3 => Verdict::Continue,
        -4 => Verdict::Return,
        _ => return None,
    }));
    Some(steps)
}

/// `struct arpt_mangle`; none if the target is another one.
pub(super) fn mangle_arp(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    if asked.name != b"mangle" || space.kind() != Kind::Arp {
        return None;
    }
    let info = asked.info();
    let flags = info.u8(40)?;
    let mut steps = Vec::new();
    // The flag, the field in the structure, and its place and length in the packet.
    for (bit, from, at, length) in [(1, 0, 8, 6), (2, 16, 18, 6), (4, 32, 14, 4), (8, 36, 24, 4)] {
        if flags & bit != 0 {
            let word = space.payload(Base::Network, at, length);
            steps.extend(assign(&word, &constant(info.bytes(from, length as usize)?)));
        }
    }
    steps.push(Step::Verdict(match info.u32(44)? {
        0 => Verdict::Drop,
        1 => Verdict::Accept,
        u32::MAX => Verdict::Continue,
        _ => return None,
    }));
    Some(steps)
}
