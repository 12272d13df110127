//! Matches of the transport header: ports, ICMP types, flags, indices of IPsec. Pure.
//!
//! None of them asks for the protocol: a rule does that with an expression of its own. A later fragment fails all of
//! them, whatever is inverted (net/netfilter/xt_tcpudp.c and others: `par->fragoff`).

use super::{Asked, End, Info, has_transport, masked, number, port};
use crate::traffic::space::{Base, Kind, Space};
use crate::traffic::test::Test;

/// Ports in the host's byte order, from one to another.
fn ports(space: &mut Space, info: Info<'_>, at: usize, end: End) -> Option<Test> {
    let (low, high) = (info.u16(at)?, info.u16(at + 2)?);
    Some(number(&port(space, end), low.into(), high.into()))
}

/// `struct xt_tcp`.
pub(super) fn tcp(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let inverted = info.u8(11)?;
    let flags = space.payload(Base::Transport, 13, 1);
    let mut tests = vec![
        has_transport(space),
        ports(space, info, 0, End::Source)?.inverted_if(inverted & 1 != 0),
        ports(space, info, 4, End::Destination)?.inverted_if(inverted & 2 != 0),
        masked(&flags, &[info.u8(9)?], &[info.u8(10)?]).inverted_if(inverted & 4 != 0),
    ];
    match info.u8(8)? {
        0 => {}
        option => {
            let found = Test::free(space, &format!("tcp option {option} exists"));
            tests.push(found.inverted_if(inverted & 8 != 0));
        }
    }
    Some(Test::all(tests))
}

/// `struct xt_udp`.
pub(super) fn udp(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let inverted = info.u8(8)?;
    Some(Test::all([
        has_transport(space),
        ports(space, info, 0, End::Source)?.inverted_if(inverted & 1 != 0),
        ports(space, info, 4, End::Destination)?.inverted_if(inverted & 2 != 0),
    ]))
}

/// `struct xt_sctp_info`. Its map of chunks has 64 words, of which eight are used.
pub(super) fn sctp(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const SOURCE: u32 = 1;
    const DESTINATION: u32 = 2;
    const CHUNKS: u32 = 4;
    let info = asked.info();
    let (flags, inverted) = (info.u32(284)?, info.u32(288)?);
    let mut tests = vec![has_transport(space)];
    if flags & SOURCE != 0 {
        tests.push(ports(space, info, 4, End::Source)?.inverted_if(inverted & SOURCE != 0));
    }
    if flags & DESTINATION != 0 {
        tests.push(ports(space, info, 0, End::Destination)?.inverted_if(inverted & DESTINATION != 0));
    }
    if flags & CHUNKS != 0 {
        let text = chunks(info)?;
        tests.push(Test::free(space, &text).inverted_if(inverted & CHUNKS != 0));
    }
    Some(Test::all(tests))
}

/// The chunks that are asked for, as iptables writes them, but by numbers.
fn chunks(info: Info<'_>) -> Option<String> {
    let how = match info.u32(264)? {
        1 => "any",
        2 => "all",
        4 => "only",
        _ => return None,
    };
    let mut found = Vec::new();
    for kind in 0..256 {
        if info.u32(8 + 4 * (kind / 32))? >> (kind % 32) & 1 == 0 {
            continue;
        }
        let conditions = usize::try_from(info.u32(280)?).ok()?.min(4);
        let mut text = kind.to_string();
        for at in (0..conditions).map(|condition| 268 + 3 * condition) {
            if usize::from(info.u8(at)?) == kind {
                text.push_str(&format!(":{:#x}/{:#x}", info.u8(at + 1)?, info.u8(at + 2)?));
            }
        }
        found.push(text);
    }
    Some(format!("sctp --chunk-types {how} {}", found.join(",")))
}

/// `struct xt_dccp_info`.
pub(super) fn dccp(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const SOURCE: u16 = 1;
    const DESTINATION: u16 = 2;
    const TYPE: u16 = 4;
    const OPTION: u16 = 8;
    let info = asked.info();
    let (flags, inverted) = (info.u16(8)?, info.u16(10)?);
    let mut tests = vec![has_transport(space)];
    if flags & SOURCE != 0 {
        tests.push(ports(space, info, 4, End::Source)?.inverted_if(inverted & SOURCE != 0));
    }
    if flags & DESTINATION != 0 {
        tests.push(ports(space, info, 0, End::Destination)?.inverted_if(inverted & DESTINATION != 0));
    }
    if flags & TYPE != 0 {
        // RFC 4340: three reserved bits, the type, and X.
        let kind = space.payload(Base::Transport, 8, 1)[3..7].to_vec();
        let mask = info.u16(12)?;
        let kinds = (0..16).filter(|n| mask >> n & 1 == 1).map(|n| number(&kind, n, n));
        tests.push(Test::any(kinds).inverted_if(inverted & TYPE != 0));
    }
    if flags & OPTION != 0 {
        let found = Test::free(space, &format!("dccp option {} exists", info.u8(14)?));
        tests.push(found.inverted_if(inverted & OPTION != 0));
    }
    Some(Test::all(tests))
}

/// `struct xt_multiport`, `struct xt_multiport_v1`.
pub(super) fn multiport(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const RANGES: usize = 32;
    const INVERT: usize = 47;
    let info = asked.info();
    let ends: &[End] = match info.u8(0)? {
        0 => &[End::Source],
        1 => &[End::Destination],
        2 => &[End::Source, End::Destination],
        _ => return None,
    };
    let count = usize::from(info.u8(1)?).min(15);
    let begins = |at: usize| -> Option<bool> {
        Some(asked.revision > 0 && at + 1 < count && info.u8(RANGES + at)? != 0)
    };
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < count {
        let low = info.bytes(2 + 2 * at, 2).and_then(|_| info.u16(2 + 2 * at))?;
        at += usize::from(begins(at)?);
        let high = info.u16(2 + 2 * at)?;
        at += 1;
        if low <= high {
            ranges.push((low.to_be_bytes().to_vec(), high.to_be_bytes().to_vec()));
        }
    }
    ranges.sort();
    let inverted = asked.revision > 0 && info.u8(INVERT)? != 0;
    let tests: Vec<Test> =
        ends.iter().map(|end| Test::in_ranges(&port(space, *end), ranges.clone())).collect();
    Some(Test::all([has_transport(space), Test::any(tests).inverted_if(inverted)]))
}

/// Which type stands for all.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum IcmpAny {
    /// Of ICMP, this one (`icmp_type_code_match`).
    Is255,
    /// Of ICMPv6, none.
    None,
}

/// `struct ipt_icmp`, `struct ip6t_icmp`.
pub(super) fn icmp(space: &mut Space, asked: &Asked<'_>, any: IcmpAny) -> Option<Test> {
    let info = asked.info();
    let (kind, inverted) = (info.u8(0)?, info.u8(3)? & 1 != 0);
    let codes = number(&space.payload(Base::Transport, 1, 1), info.u8(1)?.into(), info.u8(2)?.into());
    let test = if kind == 0xff && any == IcmpAny::Is255 {
        Test::ALWAYS
    } else {
        Test::all([number(&space.payload(Base::Transport, 0, 1), kind.into(), kind.into()), codes])
    };
    Some(Test::all([has_transport(space), test.inverted_if(inverted)]))
}

/// `struct xt_esp`, `struct ipt_ah`, `struct xt_ipcomp`: the index of a security association. In IPv6, AH is no
/// transport header but one before it.
pub(super) fn index(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let (low, high) = (info.u32(0)?, info.u32(4)?);
    let (offset, length) = match asked.name {
        b"esp" => (0, 4),
        b"ipcomp" => (2, 2),
        _ if space.kind() == Kind::Ip6 => return authentication(space, info),
        _ => (4, 4),
    };
    let spi = space.payload(Base::Transport, offset, length);
    let test = number(&spi, low.into(), high.into()).inverted_if(info.u8(8)? & 1 != 0);
    Some(Test::all([has_transport(space), test]))
}

/// `struct ip6t_ah`.
fn authentication(space: &mut Space, info: Info<'_>) -> Option<Test> {
    let (low, high, length) = (info.u32(0)?, info.u32(4)?, info.u32(8)?);
    let (reserved, inverted) = (info.u8(12)?, info.u8(13)?);
    let mut tests = vec![Test::free(space, "ah exists")];
    if (low, high) != (0, u32::MAX) {
        tests.push(Test::free(space, &format!("ah spi {low}:{high}")).inverted_if(inverted & 1 != 0));
    }
    if length != 0 {
        tests.push(Test::free(space, &format!("ah --ahlen {length}")).inverted_if(inverted & 2 != 0));
    }
    if reserved != 0 {
        tests.push(Test::free(space, "ah --ahres"));
    }
    Some(Test::all(tests))
}

/// `struct ip6t_mh`, RFC 6275.
pub(super) fn mobility(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let kind = space.payload(Base::Transport, 2, 1);
    let test = number(&kind, info.u8(0)?.into(), info.u8(1)?.into());
    Some(Test::all([has_transport(space), test.inverted_if(info.u8(2)? & 1 != 0)]))
}
