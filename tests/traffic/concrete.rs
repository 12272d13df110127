//! A packet of the lab as values of the engine's variables: what the bytes that are sent hold, what the lab's host is
//! known to say about them (routes, interfaces, connections), and which variables nobody can tell.

use crate::kernel::{self, Direction, L4, Lab, State};
use fwdrift::traffic::bdd::{Bit, Var};
use fwdrift::traffic::evaluate::Packet;
use fwdrift::traffic::space::{Base, Key, Kind, STATES, Side, Space, Word};
use std::net::IpAddr;

/// A packet in variables.
#[derive(Clone, Debug)]
pub struct Concrete {
    pub packet: Packet,
    /// Variables that no one knows.
    pub unknown: Vec<Var>,
}

/// What is asked of, and on which way.
pub struct Asked<'a> {
    pub path: kernel::Path,
    pub packet: &'a kernel::Packet,
    /// The network header and all that follows.
    pub bytes: Vec<u8>,
    /// Of the link; none on the way out.
    pub link: Option<[u8; 14]>,
}

impl<'a> Asked<'a> {
    pub fn new(lab: &Lab, path: kernel::Path, packet: &'a kernel::Packet) -> Self {
        let bytes = kernel::as_sent(path, packet);
        Self { path, packet, bytes, link: lab.link_header(path, packet) }
    }

    fn kind(&self) -> Kind {
        if self.packet.dst.is_ipv4() { Kind::Ip4 } else { Kind::Ip6 }
    }

    fn transport(&self) -> usize {
        if self.packet.dst.is_ipv4() { 20 } else { 40 }
    }

    fn has(&self, side: Side) -> bool {
        crate::naive::way(self.path).has(side)
    }

    fn name(&self, side: Side) -> Vec<u8> {
        let name = match side {
            Side::In => &self.packet.iif,
            Side::Out => &self.packet.oif,
        };
        if self.has(side) { name.clone().unwrap_or_default().into_bytes() } else { Vec::new() }
    }

    fn is_lo(&self, side: Side) -> bool {
        self.name(side) == b"lo"
    }

    fn is_reply(&self) -> bool {
        // An error goes the other way than the packet that it is about.
        let is_error = matches!(self.packet.l4, L4::Icmp { .. } | L4::Icmp6 { .. })
            && self.packet.state == State::Related;
        is_error || self.packet.state == State::Established(Direction::Reply)
    }
}

/// The values.
pub fn concrete(space: &mut Space, asked: &Asked<'_>) -> Concrete {
    let mut packet = Packet::default();
    (packet.iif, packet.oif) = (asked.name(Side::In), asked.name(Side::Out));
    let mut of = Concrete { packet, unknown: Vec::new() };
    for word in space.words().to_vec() {
        match value(space, asked, &word) {
            Some(number) => put(&mut of.packet, &word, number),
            None => of.unknown.extend(word.start..word.start + word.width),
        }
    }
    of
}

/// Sets a word to a number.
pub fn put(packet: &mut Packet, word: &Word, number: u128) {
    for at in 0..word.width {
        packet.put_var(word.start + at, number >> (word.width - 1 - at) & 1 == 1);
    }
}

/// The code of an interface: its own, or that of the longest beginning.
pub fn code(space: &mut Space, name: &[u8]) -> u128 {
    let atoms = space.interfaces().expect("few interfaces");
    let exact = atoms.iter().position(|atom| !atom.is_prefix && atom.name == name);
    let begun = || {
        let fits =
            atoms.iter().enumerate().filter(|(_, atom)| atom.is_prefix && name.starts_with(&atom.name));
        fits.max_by_key(|(_, atom)| atom.name.len()).map_or(0, |(code, _)| code)
    };
    exact.unwrap_or_else(begun) as u128
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

fn value(space: &mut Space, asked: &Asked<'_>, word: &Word) -> Option<u128> {
    let packet = asked.packet;
    match &word.key {
        Key::State => {
            let is = |bit: u32| 1 << bit == packet.state.bit();
            let at = STATES.iter().position(|(_, bit)| is(*bit))?;
            Some(1 << (STATES.len() - 1 - at))
        }
        Key::Direction => Some(u128::from(asked.is_reply())),
        Key::Protocol => {
            let at = if asked.kind() == Kind::Ip4 { 9 } else { 6 };
            Some(u128::from(asked.bytes[at]))
        }
        Key::Iif => Some(code(space, &asked.name(Side::In))),
        Key::Oif => Some(code(space, &asked.name(Side::Out))),
        Key::Daddr => Some(number(packet.dst)),
        Key::Saddr => Some(number(packet.src)),
        Key::Sport => bits(&asked.bytes[asked.transport()..], 0, 16),
        Key::Dport => bits(&asked.bytes[asked.transport()..], 16, 16),
        Key::Header(base, bit) => header(asked, *base, *bit, word.width),
        Key::Meta(key) => meta(asked, *key),
        Key::Ct(key, direction) => ct(asked, *key, *direction),
        Key::Free(text) => free(asked, text),
    }
}

fn bits(bytes: &[u8], from: u32, width: u32) -> Option<u128> {
    (from..from + width).try_fold(0, |number, at| {
        let byte = bytes.get(at as usize / 8)?;
        Some(number << 1 | u128::from(byte >> (7 - at % 8) & 1))
    })
}

fn header(asked: &Asked<'_>, base: Base, bit: u32, width: u32) -> Option<u128> {
    let (tag, hops) = if asked.kind() == Kind::Ip4 { (32, 64) } else { (12, 56) };
    match base {
        Base::Network if bit == tag => None,
        // The forward hook and those behind it see one hop less; the caller looks for rules before that.
        Base::Network if bit == hops && asked.path == kernel::Path::Forward => {
            Some(u128::from(asked.packet.ttl) - 1)
        }
        Base::Network => bits(&asked.bytes, bit, width),
        Base::Transport => bits(&asked.bytes[asked.transport()..], bit, width),
        Base::Link => asked.link.and_then(|link| bits(&link, bit, width)),
        Base::Inner => None,
    }
}

fn meta(asked: &Asked<'_>, key: u32) -> Option<u128> {
    let device = |side, of_lo: u128, of_other: u128| {
        asked.has(side).then_some(if asked.is_lo(side) { of_lo } else { of_other })
    };
    match key {
        0 => Some(asked.bytes.len() as u128),
        3 | 14 | 25 => Some(0),
        8 => device(Side::In, 772, 1),
        9 => device(Side::Out, 772, 1),
        10 | 11 if asked.path == kernel::Path::Output => Some(0),
        19 => match asked.packet.dst {
            _ if asked.path == kernel::Path::Output => Some(0),
            IpAddr::V4(dst) if dst.is_broadcast() => Some(1),
            dst if dst.is_multicast() => Some(2),
            _ => Some(0),
        },
        21 => device(Side::In, 0, 0),
        22 => device(Side::Out, 0, 0),
        _ => None,
    }
}

fn ct(asked: &Asked<'_>, key: u32, direction: Option<u8>) -> Option<u128> {
    let packet = asked.packet;
    let same = direction.map(|direction| (direction == 1) == asked.is_reply());
    let (source, destination) = match packet.l4 {
        L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport } | L4::Sctp { sport, dport } => {
            (u128::from(sport), u128::from(dport))
        }
        L4::Icmp { .. } | L4::Icmp6 { .. } | L4::Other(_) => {
            return match (key, same) {
                (3 | 4 | 13 | 17, _) => Some(0),
                // The lab's errors are about UDP.
                (10, _) if packet.state == State::Related => Some(17),
                (8, Some(true)) | (9, Some(false)) => Some(number(packet.src)),
                (9, Some(true)) | (8, Some(false)) => Some(number(packet.dst)),
                _ => None,
            };
        }
    };
    match (key, same) {
        (3 | 4 | 13 | 17, _) => Some(0),
        (8, Some(true)) | (9, Some(false)) => Some(number(packet.src)),
        (9, Some(true)) | (8, Some(false)) => Some(number(packet.dst)),
        (11, Some(true)) | (12, Some(false)) => Some(source),
        (12, Some(true)) | (11, Some(false)) => Some(destination),
        _ => None,
    }
}

/// What has no model, but is known here.
fn free(asked: &Asked<'_>, text: &str) -> Option<u128> {
    const UNICAST: u128 = 1;
    const LOCAL: u128 = 2;
    const BROADCAST: u128 = 3;
    const MULTICAST: u128 = 5;
    let exists = ["exthdr ", "tcp option ", "ip option ", "dccp option "];
    if text.ends_with(" exists") && exists.iter().any(|word| text.starts_with(word)) {
        return Some(0);
    }
    let inside = asked.path != kernel::Path::Output;
    match text {
        "fib daddr type" => Some(match asked.packet.dst {
            IpAddr::V4(dst) if dst.is_broadcast() => BROADCAST,
            dst if dst.is_multicast() => MULTICAST,
            dst if dst.is_loopback() => LOCAL,
            // A route of the lab's for such an address is not by the interface that is asked about.
            IpAddr::V6(dst) if dst.is_unicast_link_local() => return None,
            _ if asked.path == kernel::Path::Input => LOCAL,
            _ if asked.path == kernel::Path::Forward => UNICAST,
            _ => return None,
        }),
        "fib saddr . iif oif exists" | "fib saddr . mark . iif oif exists" if inside => {
            // An address of the host's own is behind no interface.
            (!asked.is_lo(Side::In) && asked.packet.src != asked.packet.dst).then_some(1)
        }
        "ah exists" => Some(0),
        "owner --socket-exists" if !inside => Some(1),
        _ => None,
    }
}

/// The bits of a packet for [`fwdrift::traffic::bdd::Bdd::contains`].
pub fn bit_of(packet: &Packet) -> impl Fn(Var) -> bool + '_ {
    |var| packet.bit(Bit::Var(var))
}
