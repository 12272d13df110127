//! Packets as bytes: a [`Packet`] with its tag becomes an IP packet that conntrack sees in the state asked for.
//!
//! The tag is the IPv4 identification or the IPv6 flow label: address translation leaves both alone. Pure.

use super::{L4, Packet, State};
use std::net::IpAddr;

/// What makes a packet invalid to conntrack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Nothing.
    None,
    /// A wrong checksum. Conntrack looks at it in prerouting only (`nf_conntrack_checksum`).
    Checksum,
    /// A length that cannot be: the only flaw that is looked at in output.
    Length,
}

/// Both ends' verification tag in SCTP packets of a connection, also put into the conntrack entry.
pub const VTAG: u32 = 0x1234_5678;
/// Ports of the UDP connection that an ICMP error is about: (of the one who gets the error, of the other).
pub const QUOTED_PORTS: (u16, u16) = (40_000, 40_001);

/// ICMP types that report an error and quote the packet (RFC 792; RFC 4443: below 128).
pub fn is_error(l4: &L4) -> bool {
    match *l4 {
        L4::Icmp { kind, .. } => matches!(kind, 3 | 4 | 5 | 11 | 12),
        L4::Icmp6 { kind, .. } => kind < 128,
        L4::Tcp { .. } | L4::Udp { .. } | L4::Sctp { .. } | L4::Other(_) => false,
    }
}

/// The protocol number.
pub fn protocol(l4: &L4) -> u8 {
    match *l4 {
        L4::Tcp { .. } => 6,
        L4::Udp { .. } => 17,
        L4::Icmp { .. } => 1,
        L4::Icmp6 { .. } => 58,
        L4::Sctp { .. } => 132,
        L4::Other(number) => number,
    }
}

/// The IP packet, from its first header byte on.
pub fn ip_packet(packet: &Packet, tag: u32, flaw: Flaw) -> Vec<u8> {
    let payload = transport(packet, flaw);
    with_header(packet, protocol(&packet.l4), tag, &payload)
}

fn with_header(packet: &Packet, protocol: u8, tag: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(40 + payload.len());
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let length = (20 + payload.len()) as u16;
            out.extend([0x45, packet.tos]);
            out.extend(length.to_be_bytes());
            out.extend((tag as u16).to_be_bytes());
            out.extend([0, 0, packet.ttl, protocol, 0, 0]);
            out.extend(src.octets());
            out.extend(dst.octets());
            let sum = checksum(&[&out]);
            out[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            out.extend((6 << 28 | u32::from(packet.tos) << 20 | tag).to_be_bytes());
            out.extend((payload.len() as u16).to_be_bytes());
            out.extend([protocol, packet.ttl]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => unreachable!("checked before"),
    }
    out.extend(payload);
    out
}

fn transport(packet: &Packet, flaw: Flaw) -> Vec<u8> {
    let mut out = Vec::new();
    match packet.l4 {
        L4::Tcp { sport, dport, flags } => {
            out.extend(ports(sport, dport));
            out.extend([0, 0, 0, 1, 0, 0, 0, if flags & 0x10 != 0 { 1 } else { 0 }]);
            let words = if flaw == Flaw::Length { 4 } else { 5 };
            out.extend([words << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
            sum_into(packet, &mut out, 16, flaw);
        }
        L4::Udp { sport, dport } => {
            out.extend(ports(sport, dport));
            out.extend(if flaw == Flaw::Length { [0xff, 0xff] } else { [0, 8] });
            out.extend([0, 0]);
            sum_into(packet, &mut out, 6, flaw);
        }
        L4::Icmp { kind, code, id } | L4::Icmp6 { kind, code, id } => {
            out.extend([kind, code, 0, 0]);
            if is_error(&packet.l4) {
                out.extend([0; 4]);
                out.extend(quoted(packet));
            } else {
                out.extend(id.to_be_bytes());
                out.extend([0, 1]);
            }
            sum_into(packet, &mut out, 2, flaw);
            if flaw == Flaw::Length {
                out.truncate(4);
            }
        }
        L4::Sctp { sport, dport } => sctp(packet, sport, dport, flaw, &mut out),
        // GRE version 0 without options (RFC 2784) says its payload's protocol; nothing else is read.
        L4::Other(47) => out.extend([0, 0, 8, 0, 0, 0, 0, 0]),
        L4::Other(_) => out.extend([0; 8]),
    }
    out
}

/// The packet that an ICMP error is about: it went from the error's destination to its source.
fn quoted(packet: &Packet) -> Vec<u8> {
    let (sport, dport) = QUOTED_PORTS;
    let l4 = L4::Udp { sport, dport };
    let inner = Packet { src: packet.dst, dst: packet.src, l4, tos: 0, ttl: 64, ..packet.clone() };
    with_header(&inner, 17, 1, &transport(&inner, Flaw::None))
}

/// A first packet carries INIT, which alone may open an association, and a later one DATA (RFC 9260).
fn sctp(packet: &Packet, sport: u16, dport: u16, flaw: Flaw, out: &mut Vec<u8>) {
    let opens = !matches!(packet.state, State::Established(_));
    out.extend(ports(sport, dport));
    out.extend(if opens { 0 } else { VTAG }.to_be_bytes());
    out.extend([0; 4]);
    if flaw == Flaw::Length {
        // No chunk at all.
    } else if opens {
        out.extend([1, 0, 0, 20]);
        out.extend(VTAG.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    } else {
        out.extend([0, 3, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    }
    let sum = crc32c(out) ^ if flaw == Flaw::Checksum { 1 } else { 0 };
    out[8..12].copy_from_slice(&sum.to_le_bytes());
}

fn ports(sport: u16, dport: u16) -> [u8; 4] {
    let (s, d) = (sport.to_be_bytes(), dport.to_be_bytes());
    [s[0], s[1], d[0], d[1]]
}

/// Writes the checksum over pseudo header and payload; ICMP of IPv4 has no pseudo header.
fn sum_into(packet: &Packet, out: &mut [u8], at: usize, flaw: Flaw) {
    let number = protocol(&packet.l4);
    let mut pseudo = Vec::new();
    match (packet.src, packet.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) if number != 1 => {
            pseudo.extend(src.octets());
            pseudo.extend(dst.octets());
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            pseudo.extend(src.octets());
            pseudo.extend(dst.octets());
        }
        (IpAddr::V4(_) | IpAddr::V6(_), _) => {}
    }
    if !pseudo.is_empty() {
        pseudo.extend((out.len() as u16).to_be_bytes());
        pseudo.extend([0, number]);
    }
    let sum = match checksum(&[&pseudo, out]) {
        // To UDP, zero is "no checksum"; both are zero in ones' complement.
        0 if number == 17 => 0xffff,
        sum => sum,
    };
    let sum = if flaw == Flaw::Checksum { sum ^ 0x0100 } else { sum };
    out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071. All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// RFC 9260, appendix A, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
