//! Packets from both sides of every boundary that the engine claims: of each decision and of what passes, packets at
//! the ends of its ranges, and neighbours of these.
//!
//! Input: a program in a walker's space; output: packets that the lab can send. Which side a packet is on is not said
//! here: it is asked of the engine again.

use crate::concrete::code;
use crate::kernel::{self, Direction, L4, Packet, Path, State};
use crate::naive::way;
use fwdrift::traffic::bdd::{Node, Var};
use fwdrift::traffic::program::Program;
use fwdrift::traffic::space::{Base, Key, Kind, Word};
use fwdrift::traffic::walk::{WalkError, Walker};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Numbers that look random, the same in each run (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ value >> 31
    }

    /// Below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// True once in `count` times.
    pub fn once_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

/// How many packets are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of each set of packets.
    pub inside: usize,
    /// Neighbours of each.
    pub beside: usize,
    /// In all of one way.
    pub most: usize,
}

/// Packets of one way that are worth asking about.
pub fn sample(
    walker: &mut Walker<'_>,
    program: &Program,
    path: Path,
    interfaces: &[String],
    wanted: Wanted,
    dice: &mut Dice,
) -> Result<Vec<Packet>, WalkError> {
    let domain = walker.domain()?;
    let outcome = walker.follow(program, way(path), domain)?;
    let mut sets: Vec<Node> = outcome.pieces.iter().map(|piece| piece.packets).collect();
    let passed = walker.passed(&outcome)?;
    sets.extend([passed, passed.not()]);
    // All sets have their turn before one has a second.
    for at in (1..sets.len()).rev() {
        sets.swap(at, dice.below(at + 1));
    }
    let sendable = sendable(walker, path, interfaces)?;
    let kinds = stations(walker.space.kind());
    let mut packets = Vec::new();
    let mut seen = BTreeSet::new();
    for round in 0..wanted.inside {
        for set in &sets {
            if packets.len() >= wanted.most {
                return Ok(packets);
            }
            let inside = walker.bdd.and(*set, sendable)?;
            if inside.is_false() {
                continue;
            }
            let Some(found) = pick(walker, inside, path, interfaces, &kinds, round, dice)? else { continue };
            let mut near = vec![found.clone()];
            for _ in 0..wanted.beside {
                near.push(neighbour(&found, path, interfaces, dice));
            }
            let new = |packet: &Packet| !is_doubtful(packet, path) && seen.insert(format!("{packet:?}"));
            packets.extend(near.into_iter().filter(new));
        }
    }
    Ok(packets)
}

/// Whether the kernel has its own doubts about such a packet of the lab. nf_nat drops a related one that is no error
/// about another packet, and a redirect if the connection's translation is not settled, as it is not of those that the lab
/// makes (net/netfilter/nf_nat_proto.c, `nf_nat_icmp_reply_translation`). An invalid one that is sent is too short for an
/// ICMP header, which x_tables drops (net/ipv4/netfilter/ip_tables.c, `icmp_match`). Of a
/// connection with oneself, by one port, nobody can tell the directions apart.
fn is_doubtful(packet: &Packet, path: Path) -> bool {
    let is_icmp = matches!(packet.l4, L4::Icmp { .. } | L4::Icmp6 { .. });
    match packet.state {
        State::Related => {
            is_icmp && (!kernel::is_error(&packet.l4) || matches!(packet.l4, L4::Icmp { kind: 5, .. }))
        }
        State::Invalid => is_icmp && path == Path::Output,
        State::Established(_) => packet.src == packet.dst && has_equal_ends(&packet.l4),
        State::New | State::Untracked => false,
    }
}

/// Whether a packet to its own sender looks the same in both directions.
fn has_equal_ends(l4: &L4) -> bool {
    match l4 {
        L4::Tcp { sport, dport, .. } | L4::Udp { sport, dport } | L4::Sctp { sport, dport } => sport == dport,
        L4::Icmp { .. } | L4::Icmp6 { .. } | L4::Other(_) => true,
    }
}

/// A state and what stands in the transport header.
#[derive(Clone, Copy, Debug)]
struct Station {
    state: State,
    protocol: u8,
    /// TCP flags, or ICMP type and code (none of which is any).
    flags: Option<u8>,
    icmp: Option<(u8, Option<u8>)>,
}

const ORIGINAL: State = State::Established(Direction::Original);
const REPLY: State = State::Established(Direction::Reply);

/// What the lab can bring about.
fn stations(kind: Kind) -> Vec<Station> {
    let mut all = Vec::new();
    let plain = |state, protocol| Station { state, protocol, flags: None, icmp: None };
    let tcp = |state, flags| Station { flags, ..plain(state, 6) };
    all.extend([tcp(State::New, Some(2)), tcp(State::Related, Some(2)), tcp(State::Invalid, None)]);
    all.extend([ORIGINAL, REPLY].into_iter().flat_map(|state| [tcp(state, Some(16)), tcp(state, Some(24))]));
    for state in [State::New, ORIGINAL, REPLY, State::Related, State::Invalid] {
        all.push(plain(state, 17));
        if state != State::Related {
            all.push(plain(state, 132));
        }
    }
    for protocol in [47, 50, 88, 2, 4, 103, 112, 136] {
        let is_header = kind == Kind::Ip6 && protocol == 50;
        all.extend(
            (!is_header)
                .then_some([State::New, ORIGINAL, REPLY].map(|state| plain(state, protocol)))
                .into_iter()
                .flatten(),
        );
    }
    let number = if kind == Kind::Ip4 { 1 } else { 58 };
    let icmp = |state, kind, code| Station { icmp: Some((kind, code)), ..plain(state, number) };
    let of_kind: &[(State, u8, Option<u8>)] = if kind == Kind::Ip4 {
        &[
            (State::New, 8, Some(0)),
            (State::New, 13, Some(0)),
            (ORIGINAL, 8, Some(0)),
            (REPLY, 0, Some(0)),
            (REPLY, 14, Some(0)),
            (State::Related, 3, None),
            (State::Related, 11, None),
            (State::Related, 12, None),
            (State::Invalid, 5, None),
        ]
    } else {
        &[
            (State::New, 128, Some(0)),
            (ORIGINAL, 128, Some(0)),
            (REPLY, 129, Some(0)),
            (State::Related, 1, None),
            (State::Related, 2, Some(0)),
            (State::Related, 3, None),
            (State::Untracked, 133, Some(0)),
            (State::Untracked, 135, Some(0)),
            (State::Untracked, 136, Some(0)),
            (State::Untracked, 143, Some(0)),
            (State::Invalid, 137, Some(0)),
        ]
    };
    all.extend(of_kind.iter().map(|(state, kind, code)| icmp(*state, *kind, *code)));
    all.push(Station { icmp: None, ..plain(State::Invalid, number) });
    all
}

/// The literals of a word's value.
fn literals(word: &Word, number: u128) -> impl Iterator<Item = (Var, bool)> + use<> {
    let (start, width) = (word.start, word.width);
    (0..width).map(move |at| (start + at, number >> (width - 1 - at) & 1 == 1))
}

/// Packets that can be sent as they are: whole, without options and marks, between addresses that routes exist for.
fn sendable(walker: &mut Walker<'_>, path: Path, interfaces: &[String]) -> Result<Node, WalkError> {
    let mut node = walker.domain()?;
    let v4 = |a: [u8; 4], b: [u8; 4]| (a.to_vec(), b.to_vec());
    let v6 = |a: u16, b: u16| {
        let (mut low, mut high) = (vec![0; 16], vec![0xff; 16]);
        low[..2].copy_from_slice(&a.to_be_bytes());
        high[..2].copy_from_slice(&b.to_be_bytes());
        (low, high)
    };
    let ranges = if walker.space.kind() == Kind::Ip4 {
        vec![v4([1, 0, 0, 0], [126, 255, 255, 255]), v4([128, 0, 0, 0], [223, 255, 255, 255])]
    } else {
        vec![v6(0x2000, 0x3fff), v6(0xfc00, 0xfdff), v6(0xfe80, 0xfebf)]
    };
    let mut groups = ranges.clone();
    if path == Path::Input {
        let group = if walker.space.kind() == Kind::Ip4 {
            v4([224, 0, 0, 1], [239, 255, 255, 255])
        } else {
            v6(0xff02, 0xff05)
        };
        groups.push(group);
    }
    for (key, ranges) in [(Key::Saddr, &ranges), (Key::Daddr, &groups)] {
        let Some(word) = walker.space.find(&key) else { continue };
        let bits: Vec<_> =
            (word.start..word.start + word.width).map(fwdrift::traffic::bdd::Bit::Var).collect();
        let within = walker.bdd.union_of_ranges(&bits, ranges)?;
        node = walker.bdd.and(node, within)?;
    }
    for key in [Key::Iif, Key::Oif] {
        let Some(word) = walker.space.find(&key).cloned() else { continue };
        let names = interfaces.iter().filter(|name| path != Path::Forward || *name != "lo");
        let codes: BTreeSet<u128> = names.map(|name| code(walker.space, name.as_bytes())).collect();
        let cubes = codes.into_iter().map(|code| literals(&word, code).collect()).collect();
        let known = walker.bdd.union_of_cubes(cubes)?;
        node = walker.bdd.and(node, known)?;
    }
    let ip4 = [(4, 5), (48, 0), (51, 0)];
    let ip4 = ip4.into_iter().filter(|_| walker.space.kind() == Kind::Ip4);
    let mut fixed: Vec<(Key, u128)> =
        ip4.map(|(bit, value)| (Key::Header(Base::Network, bit), value)).collect();
    fixed.extend([(Key::Meta(3), 0), (Key::Ct(3, None), 0), (Key::Meta(21), 0), (Key::Meta(22), 0)]);
    for (key, value) in fixed {
        if let Some(word) = walker.space.find(&key) {
            let cube: Vec<_> = literals(word, value).collect();
            node = walker.bdd.and_cube(node, &cube)?;
        }
    }
    let hops = if walker.space.kind() == Kind::Ip4 { 64 } else { 56 };
    if let Some(word) = walker.space.find(&Key::Header(Base::Network, hops)) {
        let bits: Vec<_> =
            (word.start..word.start + word.width).map(fwdrift::traffic::bdd::Bit::Var).collect();
        let enough = walker.bdd.between(&bits, &[2], &[250])?;
        node = walker.bdd.and(node, enough)?;
    }
    Ok(node)
}

/// A packet of a set, at one of its ends, in one of the states that it has.
fn pick(
    walker: &mut Walker<'_>,
    set: Node,
    path: Path,
    interfaces: &[String],
    stations: &[Station],
    round: usize,
    dice: &mut Dice,
) -> Result<Option<Packet>, WalkError> {
    let start = dice.below(stations.len());
    let mut found = None;
    for at in 0..stations.len() {
        let station = stations[(start + at) % stations.len()];
        let cube = cube_of(walker, station);
        let node = walker.bdd.and_cube(set, &cube)?;
        if !node.is_false() {
            found = Some((station, node));
            break;
        }
    }
    let Some((station, node)) = found else { return Ok(None) };
    let usual = usual(walker, interfaces, dice);
    let salt = dice.next();
    let prefers = |var: Var| match (round % 4, usual.get(&var)) {
        (0, Some(value)) => *value,
        (1, _) => false,
        (2, _) => true,
        (0 | 3, _) => Dice(salt ^ u64::from(var)).next() & 1 == 1,
        (4.., _) => unreachable!("the rest of a division by four"),
    };
    let Some(literals) = walker.bdd.one(node, &prefers) else { return Ok(None) };
    let chosen: HashMap<Var, bool> = literals.into_iter().collect();
    let number = |key: &Key| {
        let word = walker.space.find(key)?;
        let bit = |var| chosen.get(&var).copied().unwrap_or_else(|| prefers(var));
        Some((word.start..word.start + word.width).fold(0, |number, var| number << 1 | u128::from(bit(var))))
    };
    let address = |key: &Key| {
        let number = number(key).unwrap_or_default();
        match walker.space.kind() {
            Kind::Ip4 => IpAddr::V4(Ipv4Addr::from(number as u32)),
            _ => IpAddr::V6(Ipv6Addr::from(number)),
        }
    };
    let port = |key: &Key| number(key).unwrap_or_default() as u16;
    let byte = |base, bit| number(&Key::Header(base, bit)).map(|number| number as u8);
    let (sport, dport) = (port(&Key::Sport), port(&Key::Dport));
    let l4 = match station.protocol {
        6 => {
            let flags = byte(Base::Transport, 104).or(station.flags).unwrap_or(2);
            L4::Tcp { sport, dport, flags }
        }
        17 => L4::Udp { sport, dport },
        132 => L4::Sctp { sport, dport },
        1 => L4::Icmp { kind: (sport >> 8) as u8, code: sport as u8, id: dport },
        58 => L4::Icmp6 { kind: (sport >> 8) as u8, code: sport as u8, id: dport },
        other => L4::Other(other),
    };
    let (dscp, ecn) = match walker.space.kind() {
        Kind::Ip4 => (byte(Base::Network, 8), byte(Base::Network, 14)),
        _ => (byte(Base::Network, 4), byte(Base::Network, 10)),
    };
    let hops = byte(Base::Network, if walker.space.kind() == Kind::Ip4 { 64 } else { 56 }).unwrap_or(64);
    let mut packet = Packet {
        tos: dscp.unwrap_or(0) << 2 | ecn.unwrap_or(0),
        // What the forward hook sees is one less.
        ttl: if path == Path::Forward { hops + 1 } else { hops },
        state: station.state,
        ..Packet::new(address(&Key::Saddr), address(&Key::Daddr), l4)
    };
    let (iif, oif) = (number(&Key::Iif), number(&Key::Oif));
    packet.iif = named(walker, interfaces, path, iif, dice);
    packet.oif = named(walker, interfaces, path, oif, dice);
    Ok(Some(packet))
}

/// An interface of the lab with this code.
fn named(
    walker: &mut Walker<'_>,
    interfaces: &[String],
    path: Path,
    wanted: Option<u128>,
    dice: &mut Dice,
) -> Option<String> {
    let mut fitting = Vec::new();
    for name in interfaces.iter().filter(|name| path != Path::Forward || *name != "lo") {
        if wanted == Some(code(walker.space, name.as_bytes())) {
            fitting.push(name.clone());
        }
    }
    if fitting.is_empty() { None } else { Some(dice.one(&fitting).clone()) }
}

fn cube_of(walker: &Walker<'_>, station: Station) -> Vec<(Var, bool)> {
    let space = &walker.space;
    let mut cube = Vec::new();
    let mut put = |key: &Key, value: u128| {
        if let Some(word) = space.find(key) {
            cube.extend(literals(word, value));
        }
    };
    put(&Key::Protocol, station.protocol.into());
    let is_error = station.state == State::Related && matches!(station.protocol, 1 | 58);
    put(&Key::Direction, u128::from(station.state == REPLY || is_error));
    if let Some(flags) = station.flags {
        put(&Key::Header(Base::Transport, 104), flags.into());
    }
    if let Some((kind, Some(code))) = station.icmp {
        put(&Key::Sport, u128::from(kind) << 8 | u128::from(code));
    }
    if let (Some((kind, None)), Some(word)) = (station.icmp, space.find(&Key::Sport)) {
        cube.extend(literals(&Word { width: 8, ..word.clone() }, kind.into()));
    }
    let state = match station.state {
        State::New => "new",
        State::Established(_) => "established",
        State::Related => "related",
        State::Invalid => "invalid",
        State::Untracked => "untracked",
    };
    cube.extend(space.state(state).map(|var| (var, true)));
    cube.sort_unstable();
    cube
}

/// Values of a packet as one meets them.
fn usual(walker: &mut Walker<'_>, interfaces: &[String], dice: &mut Dice) -> HashMap<Var, bool> {
    let v4 = [0xc000_0205u128, 0x0a00_0001, 0x0a01_0203, 0xc0a8_0105, 0xac10_0001];
    let v6 = [0x2001_0db8u128 << 96 | 5, 0xfd00u128 << 112 | 1, 0xfe80u128 << 112 | 7];
    let is_v4 = walker.space.kind() == Kind::Ip4;
    let mut address = || if is_v4 { *dice.one(&v4) } else { *dice.one(&v6) };
    let (from, to) = (address(), address());
    let interface = code(walker.space, dice.one(interfaces).as_bytes());
    let values = [
        (Key::Saddr, from),
        (Key::Daddr, to),
        (Key::Iif, interface),
        (Key::Oif, interface),
        (Key::Sport, 30_000 + dice.below(30_000) as u128),
        (Key::Dport, *dice.one(&[22, 53, 80, 443, 1024, 8080, 65_535])),
        (Key::Header(Base::Network, 64), 64),
        (Key::Header(Base::Network, 56), 64),
    ];
    let mut usual = HashMap::new();
    for (key, value) in values {
        if let Some(word) = walker.space.find(&key) {
            usual.extend(literals(word, value));
        }
    }
    usual
}

/// A packet that differs in one field, mostly by as little as can be.
fn neighbour(of: &Packet, path: Path, interfaces: &[String], dice: &mut Dice) -> Packet {
    let mut packet = of.clone();
    let up = dice.once_in(2);
    match dice.below(12) {
        0 | 1 => packet.src = moved(packet.src, up, dice),
        2 | 3 => packet.dst = moved(packet.dst, up, dice),
        4 => {
            let name = Some(dice.one(interfaces).clone());
            let is_in = path == Path::Input || path == Path::Forward && dice.once_in(2);
            if is_in { packet.iif = name } else { packet.oif = name }
        }
        5 => {
            packet.state = *dice.one(&[State::New, ORIGINAL, REPLY, State::Related, State::Invalid]);
            if let L4::Tcp { flags, .. } = &mut packet.l4 {
                let begins = matches!(packet.state, State::New | State::Related);
                *flags = if begins { 2 } else { 16 };
            }
        }
        6 => {
            packet.l4 = match packet.l4 {
                L4::Tcp { sport, dport, .. } => L4::Udp { sport, dport },
                L4::Udp { sport, dport } => L4::Sctp { sport, dport },
                L4::Sctp { sport, dport } => L4::Tcp { sport, dport, flags: 2 },
                L4::Other(_) => L4::Other(*dice.one(&[47, 88, 103, 112])),
                L4::Icmp { .. } | L4::Icmp6 { .. } => L4::Udp { sport: 4000, dport: 53 },
            };
        }
        7 => packet.tos ^= 1 << dice.below(8),
        8 => packet.ttl = (packet.ttl ^ 1 << dice.below(7)).max(3),
        9.. => packet.l4 = moved_l4(packet.l4, up, dice),
    }
    packet
}

fn moved(address: IpAddr, up: bool, dice: &mut Dice) -> IpAddr {
    let flip = dice.once_in(2);
    match address {
        IpAddr::V4(address) => {
            let number = u32::from(address);
            let flipped = number ^ 1 << dice.below(29);
            let next = if up { number.wrapping_add(1) } else { number.wrapping_sub(1) };
            let moved = Ipv4Addr::from(if flip { flipped } else { next });
            let sends = !(moved.is_loopback() || moved.octets()[0] == 0 || moved.octets()[0] >= 240);
            IpAddr::V4(if sends { moved } else { address })
        }
        IpAddr::V6(address) => {
            let number = u128::from(address);
            let flipped = number ^ 1 << dice.below(112);
            let next = if up { number.wrapping_add(1) } else { number.wrapping_sub(1) };
            IpAddr::V6(Ipv6Addr::from(if flip { flipped } else { next }))
        }
    }
}

fn moved_l4(l4: L4, up: bool, dice: &mut Dice) -> L4 {
    let near = |port: u16| if up { port.wrapping_add(1) } else { port.wrapping_sub(1) };
    let flip = dice.below(16);
    let of_source = dice.once_in(3);
    let both = |sport: u16, dport: u16, flip: Option<usize>| {
        let moved = |port: u16| flip.map_or_else(|| near(port), |bit| port ^ 1 << bit);
        if of_source { (moved(sport), dport) } else { (sport, moved(dport)) }
    };
    let how = flip.is_multiple_of(2).then_some(flip);
    match l4 {
        L4::Tcp { sport, dport, flags } if dice.once_in(4) => {
            L4::Tcp { sport, dport, flags: flags ^ 1 << dice.below(8) }
        }
        L4::Tcp { sport, dport, flags } => {
            let (sport, dport) = both(sport, dport, how);
            L4::Tcp { sport, dport, flags }
        }
        L4::Udp { sport, dport } => {
            let (sport, dport) = both(sport, dport, how);
            L4::Udp { sport, dport }
        }
        L4::Sctp { sport, dport } => {
            let (sport, dport) = both(sport, dport, how);
            L4::Sctp { sport, dport }
        }
        L4::Icmp { kind, code, id } => {
            let delta = if up { 1 } else { 255 };
            if of_source {
                L4::Icmp { kind: kind.wrapping_add(delta), code, id }
            } else {
                L4::Icmp { kind, code: code.wrapping_add(delta), id }
            }
        }
        L4::Icmp6 { kind, code, id } => {
            let delta = if up { 1 } else { 255 };
            if of_source {
                L4::Icmp6 { kind: kind.wrapping_add(delta), code, id }
            } else {
                L4::Icmp6 { kind, code: code.wrapping_add(delta), id }
            }
        }
        L4::Other(_) => L4::Other(*dice.one(&[47, 50, 88, 103, 112, 4])),
    }
}
