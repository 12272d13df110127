//! Packets that somebody asks for: a flow, or one packet. What is not said is that of a usual packet.
//!
//! Role: turns addresses, ports and states into a region of a [`Walker`]. A usual packet has no mark, no options, is
//! whole, and, if it begins a TCP connection, is a SYN; routing gives its addresses the types that go with its path. Of
//! all else (hardware addresses, users, what has no model) nothing is said: a result may depend on it.

use super::bdd::{Node, Var};
use super::space::{Base, Key, Kind, NamePattern, Nature, Side, Space};
use super::walk::{Path, WalkError, Walker, Way};
use super::words;
use std::collections::BTreeMap;

/// Inclusive ranges of numbers; empty means any.
pub type Numbers = Vec<(u128, u128)>;

/// One end of connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// IPv4 addresses as numbers; empty if there are none, unless `any`.
    pub v4: Numbers,
    /// IPv6 addresses.
    pub v6: Numbers,
    /// Whether all addresses of both families are meant.
    pub any: bool,
}

impl Ends {
    /// The addresses of a kind; none if there are none, empty if any.
    pub fn of(&self, kind: Kind) -> Option<&[(u128, u128)]> {
        let ranges = match kind {
            Kind::Ip4 => &self.v4,
            Kind::Ip6 => &self.v6,
            Kind::Arp | Kind::Other => return None,
        };
        match (self.any, ranges.is_empty()) {
            (true, _) => Some(&[]),
            (false, true) => None,
            (false, false) => Some(ranges),
        }
    }
}

/// Where a packet stands in its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    /// It begins it.
    First,
    /// It answers.
    Answer,
    /// As given: a state, and whether it is an answer.
    Given(&'static str, Direction),
}

/// The direction of a packet within its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// As the first packet.
    Original,
    /// The other way.
    Reply,
}

/// The interfaces of packets that are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Interfaces {
    /// These were named: all of them are meant.
    Named(Vec<NamePattern>),
    /// Nobody named one, and it is one of these; if there are none, any but the loopback interface.
    OneOf(Vec<NamePattern>),
}

impl Interfaces {
    /// The ones that were named, or else those of the host that lead anywhere.
    pub fn named_or(named: &[NamePattern], host: &[Vec<u8>]) -> Self {
        if !named.is_empty() {
            return Self::Named(named.to_vec());
        }
        Self::OneOf(
            host.iter().filter(|name| *name != LOOPBACK).map(|name| NamePattern::exact(name)).collect(),
        )
    }

    /// All that are listed.
    pub fn patterns(&self) -> &[NamePattern] {
        match self {
            Self::Named(patterns) | Self::OneOf(patterns) => patterns,
        }
    }

    /// Whether it is certain which ones are meant.
    fn is_certain(&self) -> bool {
        match self {
            Self::Named(_) => true,
            Self::OneOf(patterns) => patterns.len() == 1,
        }
    }
}

/// The loopback interface: packets between hosts do not use it.
const LOOPBACK: &[u8] = b"lo";

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Source addresses.
    pub from: Ends,
    /// Destination addresses.
    pub to: Ends,
    /// `IPPROTO_*`; empty means any.
    pub protocols: Vec<u8>,
    /// Source ports; of ICMP, type and code.
    pub sports: Numbers,
    /// Destination ports.
    pub dports: Numbers,
    /// By which interfaces it comes in, as somebody said, or as far as is possible.
    pub iif: Interfaces,
    /// By which it goes out.
    pub oif: Interfaces,
    /// First packet, or answer.
    pub age: Age,
    /// The way through the host.
    pub path: Path,
    /// Whether only packets are meant that exceed no rate, quota or count.
    pub within_limits: bool,
}

const TCP: u128 = 6;
/// `RTN_UNICAST`, `RTN_LOCAL` (linux/rtnetlink.h).
const UNICAST: u128 = 1;
const LOCAL: u128 = 2;

impl Asked {
    /// Takes note of the interfaces that are asked for, before rules are lowered.
    pub fn ask_interfaces(&self, space: &mut Space) {
        let named = self.iif.patterns().iter().chain(self.oif.patterns());
        named.for_each(|pattern| space.ask_interface(pattern));
        space.ask_interface(&NamePattern::exact(LOOPBACK));
    }
}

impl Walker<'_> {
    /// One packet of a set, by the values of its variables: those that a person would use, wherever the set allows it.
    pub fn example(&mut self, packets: Node) -> impl Fn(Var) -> bool + use<> {
        let preferred = words::preferred(self.space);
        let chosen: BTreeMap<Var, bool> =
            self.bdd.one(packets, &preferred).unwrap_or_default().into_iter().collect();
        move |var| chosen.get(&var).copied().unwrap_or_else(|| preferred(var))
    }

    /// The packets that are asked for; none if no packet of this kind is.
    pub fn region(&mut self, asked: &Asked) -> Result<Option<Node>, WalkError> {
        let kind = self.space.kind();
        let (Some(from), Some(to)) = (asked.from.of(kind), asked.to.of(kind)) else { return Ok(None) };
        let mut region = self.domain()?;
        let protocols: Numbers =
            asked.protocols.iter().map(|number| (u128::from(*number), u128::from(*number))).collect();
        let fields = [
            (Key::Saddr, from),
            (Key::Daddr, to),
            (Key::Protocol, &protocols),
            (Key::Sport, &asked.sports),
            (Key::Dport, &asked.dports),
        ];
        for (key, ranges) in fields {
            region = self.within(region, &key, ranges)?;
        }
        for (side, interfaces) in [(Side::In, &asked.iif), (Side::Out, &asked.oif)] {
            let has = Way::host(asked.path).has(side);
            let node = match interfaces.patterns() {
                _ if !has => continue,
                [] => self.interfaces(side, &[NamePattern::exact(LOOPBACK)])?.not(),
                patterns => self.interfaces(side, patterns)?,
            };
            region = self.bdd.and(region, node)?;
        }
        let (state, direction) = match asked.age {
            Age::First => ("new", Direction::Original),
            Age::Answer => ("established", Direction::Reply),
            Age::Given(state, direction) => (state, direction),
        };
        if let Some(var) = self.space.state(state) {
            region = self.bdd.and_cube(region, &[(var, true)])?;
        }
        if asked.within_limits {
            region = self.bdd.and_cube(region, &self.space.within_limits())?;
        }
        region = self.within(region, &Key::Direction, &single(u128::from(direction == Direction::Reply)))?;
        Ok(Some(self.usual(region, asked, state)?))
    }

    /// Restricts a field, if a rule asks for it.
    fn within(&mut self, region: Node, key: &Key, ranges: &[(u128, u128)]) -> Result<Node, WalkError> {
        let Some(word) = self.space.find(key).filter(|_| !ranges.is_empty()) else { return Ok(region) };
        let width = word.width;
        let bits: Vec<_> = (word.start..word.start + width).map(super::bdd::Bit::Var).collect();
        // Bytes from the left: a word of less than whole bytes is filled up with zeros before it.
        let padding = (8 - width % 8) % 8;
        let padded: Vec<_> =
            std::iter::repeat_n(super::bdd::Bit::Const(false), padding as usize).chain(bits).collect();
        let bytes = |value: u128| value.to_be_bytes()[16 - padded.len() / 8..].to_vec();
        let ranges: Vec<_> = ranges.iter().map(|(low, high)| (bytes(*low), bytes(*high))).collect();
        let node = self.bdd.union_of_ranges(&padded, &ranges)?;
        Ok(self.bdd.and(region, node)?)
    }

    /// The packets that come in or go out by one of these interfaces.
    pub fn interfaces(&mut self, side: Side, patterns: &[NamePattern]) -> Result<Node, WalkError> {
        let word = self.space.interface(side);
        let count = self.space.interfaces().ok_or(WalkError::Interfaces)?.len() as u32;
        let mut codes = std::collections::BTreeSet::new();
        for pattern in patterns {
            codes.extend(self.space.codes(pattern).ok_or(WalkError::Interfaces)?);
        }
        let others = codes.contains(&0);
        let listed = (1..count).filter(|code| codes.contains(code) != others);
        let cubes = listed.map(|code| super::walk::literals_of(&word, code)).collect();
        let union = self.bdd.union_of_cubes(cubes)?;
        Ok(if others { union.not() } else { union })
    }

    /// What is usual of such a packet, as far as rules ask for it.
    fn usual(&mut self, region: Node, asked: &Asked, state: &str) -> Result<Node, WalkError> {
        let (from_type, to_type) = match asked.path {
            Path::Input => (UNICAST, LOCAL),
            Path::Forward => (UNICAST, UNICAST),
            Path::Output => (LOCAL, UNICAST),
        };
        let mut region = region;
        for (key, value) in usual_values(self.space, from_type, to_type) {
            region = self.within(region, &key, &single(value))?;
        }
        let flags = Key::Header(Base::Transport, 104);
        if let (Some(protocol), Some(_)) = (self.space.find(&Key::Protocol).cloned(), self.space.find(&flags))
        {
            let bits = (0..8).map(|at| (protocol.start + at, TCP >> (7 - at) & 1 == 1)).collect::<Vec<_>>();
            let tcp = self.bdd.cube(&bits)?;
            let (is_tcp, others) = (self.bdd.and(region, tcp)?, self.bdd.minus(region, tcp)?);
            // SYN; or SYN and ACK, ACK, PSH and ACK.
            let usual: &[(u128, u128)] =
                if state == "new" { &[(0x02, 0x02)] } else { &[(0x10, 0x10), (0x18, 0x18)] };
            let mut flagged = self.within(is_tcp, &flags, usual)?;
            if matches!(asked.age, Age::Answer) {
                let first = self.within(is_tcp, &flags, &single(0x12))?;
                flagged = self.bdd.or(flagged, first)?;
            }
            region = self.bdd.or(flagged, others)?;
        }
        Ok(region)
    }

    /// The variables of which nothing is known about a packet that is asked for: what has no model, and what a packet
    /// does not say (hardware addresses, users, interfaces that nobody named).
    pub fn unknown(&self, asked: &Asked) -> Vec<(Var, Var)> {
        let unknown = |key: &Key, nature: Nature| match key {
            Key::Iif => !asked.iif.is_certain(),
            Key::Oif => !asked.oif.is_certain(),
            Key::Header(Base::Link | Base::Inner, _) | Key::Meta(_) | Key::Ct(..) => true,
            Key::Free(_) => true,
            Key::State
            | Key::Direction
            | Key::Protocol
            | Key::Daddr
            | Key::Saddr
            | Key::Dport
            | Key::Sport
            | Key::Header(Base::Network | Base::Transport, _) => nature == Nature::Free,
        };
        let words = self.space.words().iter();
        words
            .filter(|word| unknown(&word.key, word.nature))
            .map(|word| (word.start, word.start + word.width))
            .collect()
    }
}

fn single(value: u128) -> Numbers {
    vec![(value, value)]
}

/// Fields that a usual packet has at one value.
fn usual_values(space: &Space, from_type: u128, to_type: u128) -> Vec<(Key, u128)> {
    let mut values = vec![
        (Key::Meta(super::space::asked::META_MARK), 0),
        (Key::Ct(super::space::asked::CT_MARK, None), 0),
        (Key::Meta(19), 0),
        (Key::Free("fib saddr type".to_owned()), from_type),
        (Key::Free("fib daddr type".to_owned()), to_type),
        (Key::Free("fib daddr . iif type".to_owned()), to_type),
        (Key::Free("fib saddr . iif oif exists".to_owned()), 1),
        (Key::Free("fib saddr . mark . iif oif exists".to_owned()), 1),
    ];
    match space.kind() {
        Kind::Ip4 => values.extend([
            (Key::Header(Base::Network, 4), 5),
            (Key::Header(Base::Network, 51), 0),
            (Key::Header(Base::Network, 64), 64),
        ]),
        Kind::Ip6 => values.push((Key::Header(Base::Network, 56), 64)),
        Kind::Arp | Kind::Other => {}
    }
    values
}
