//! What the members of one ipset say about a packet. Pure.
//!
//! The kernel looks a packet up with the longest prefixes first; the first member that it finds decides, and one with
//! `nomatch` decides that the packet is not in the set (net/netfilter/ipset/ip_set_hash_gen.h, `mtype_test_cidrs`).

use super::ipset::Asks;
use super::{End, address, has_transport, number, port};
use crate::model::{Element, ElementKey, Family, Name, Set};
use crate::netlink::ipset::{attr, data};
use crate::netlink::{Attr, Attrs};
use crate::normalise::ipset as form;
use crate::traffic::bdd::Bit;
use crate::traffic::space::{Base, Kind, NamePattern, Side, Space};
use crate::traffic::test::{Part, Range, Slot, Test};
use std::collections::BTreeMap;

/// `IPSET_ATTR_NETMASK`, of a definition.
const NETMASK: u16 = 20;
/// `IPSET_FLAG_NOMATCH`, `IPSET_FLAG_IFACE_WILDCARD`: of a member.
const NOMATCH: u32 = 1 << 2;
const WILDCARD: u32 = 1 << 7;
/// `IPSET_FLAG_RETURN_NOMATCH`: of a command.
const RETURN_NOMATCH: u32 = 1 << 7;

/// Who looks, and how.
pub(super) struct Look {
    pub family: Family,
    pub asks: Asks,
}

/// The set that a member of a `list:set` is.
pub(super) fn name(key: &ElementKey) -> Option<Name> {
    Some(Name(Attrs(&key.key).find(data::NAME)?.string().to_vec()))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dimension {
    Ip,
    Net,
    Port,
    Interface,
    Mark,
    Mac,
}

/// Where the kernel takes a port from (`ip_set_get_ip4_port`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ports {
    /// There is none to compare.
    None,
    /// From the transport header's end.
    Transport,
    /// Type and code of ICMP.
    Icmp,
}

/// Members that one lookup finds: with equal prefix lengths, and ports from the same place.
#[derive(Default)]
struct Level {
    found: BTreeMap<Ports, Vec<Vec<Slot>>>,
    excepted: BTreeMap<Ports, Vec<Vec<Slot>>>,
}

/// Whether a set that is no list has the packet; none if its type is not known here.
pub(super) fn test(space: &mut Space, set: &Set, look: &Look) -> Option<Test> {
    let dimensions = dimensions(form::type_name(set))?;
    if usize::from(look.asks.dimensions) < dimensions.len() || !is_of_family(set, look, space) {
        return Some(Test::never());
    }
    let reader = Reader { set, dimensions: &dimensions, space_kind: space.kind() };
    let mut levels: BTreeMap<Vec<u8>, Level> = BTreeMap::new();
    for (key, element) in &set.elements {
        let member = reader.read(key, element)?;
        let Some((mut level, ports, slots)) = member.place else { continue };
        if !member.excepted && look.asks.flags & RETURN_NOMATCH == 0 && !reader.has_exceptions() {
            level.clear();
        }
        let is_net = dimensions.contains(&Dimension::Net);
        let excepted = member.excepted != (is_net && look.asks.flags & RETURN_NOMATCH != 0);
        let level = levels.entry(level).or_default();
        let list = if excepted { &mut level.excepted } else { &mut level.found };
        list.entry(ports).or_default().push(slots);
    }
    for pattern in levels.values().flat_map(|level| level.found.values().chain(level.excepted.values())) {
        for slot in pattern.iter().flatten() {
            if let Slot::Name(pattern) = slot {
                space.ask_interface(pattern);
            }
        }
    }
    let mut test = Test::never();
    // From the shortest prefixes to the longest, which have the last word.
    for level in levels.into_values() {
        let found = reader.any(space, look, level.found)?;
        let excepted = reader.any(space, look, level.excepted)?;
        test = Test::any([found, Test::all([excepted.negated(), test])]);
    }
    Some(test)
}

fn dimensions(type_name: &[u8]) -> Option<Vec<Dimension>> {
    let (_, parts) = std::str::from_utf8(type_name).ok()?.split_once(':')?;
    let dimension = |part: &str| match part {
        "ip" => Some(Dimension::Ip),
        "net" => Some(Dimension::Net),
        "port" => Some(Dimension::Port),
        "iface" => Some(Dimension::Interface),
        "mark" => Some(Dimension::Mark),
        "mac" => Some(Dimension::Mac),
        _ => None,
    };
    parts.split(',').map(dimension).collect()
}

/// `ip_set_test`: a set of the other family has no packet.
fn is_of_family(set: &Set, look: &Look, space: &Space) -> bool {
    let family = Attrs(&set.attrs).find(attr::FAMILY).and_then(|attr| attr.payload.first().copied());
    let asked = match (look.family, space.kind()) {
        (Family::Inet, Kind::Ip4) => Family::Ip,
        (Family::Inet, Kind::Ip6) => Family::Ip6,
        (family, _) => family,
    };
    family.is_none_or(|family| family == 0 || family == asked.number())
}

/// A member: whether it is an exception, and where it stands; none if no packet can find it.
struct Member {
    excepted: bool,
    place: Option<(Vec<u8>, Ports, Vec<Slot>)>,
}

struct Reader<'a> {
    set: &'a Set,
    dimensions: &'a [Dimension],
    space_kind: Kind,
}

impl Reader<'_> {
    fn is_bitmap(&self) -> bool {
        form::type_name(self.set).starts_with(b"bitmap:")
    }

    fn option(&self, kind: u16) -> Option<Attr<'_>> {
        Attrs(&self.set.attrs).find(attr::DATA)?.nested().find(kind)
    }

    fn has_exceptions(&self) -> bool {
        self.set.elements.values().any(|element| flags(element) & NOMATCH != 0)
    }

    fn read(&self, key: &ElementKey, element: &Element) -> Option<Member> {
        let parts = [&key.key].into_iter().chain(&element.attrs);
        let attrs: Vec<Attr<'_>> = parts.flat_map(|part| Attrs(part).flatten()).collect();
        let find = |kind: u16| attrs.iter().find(|attr| attr.kind == kind);
        let byte = |kind: u16| find(kind).and_then(|attr| attr.payload.first().copied());
        let excepted = flags(element) & NOMATCH != 0;
        let nowhere = Member { excepted, place: None };
        // A rule of iptables does not ask for ports of bridges.
        if Attrs(&key.key).find(data::CADT_FLAGS).is_some() {
            return Some(nowhere);
        }
        let (mut level, mut ports, mut slots) = (Vec::new(), Ports::None, Vec::new());
        let mut addresses = 0;
        for dimension in self.dimensions {
            match dimension {
                Dimension::Ip | Dimension::Net => {
                    let (range, length) = self.network(&attrs, addresses)?;
                    addresses += 1;
                    if *dimension == Dimension::Net {
                        level.push(length);
                    }
                    slots.push(Slot::Range(range));
                }
                Dimension::Port => {
                    let number = find(data::PORT)?.payload;
                    if !self.is_bitmap() {
                        let protocol = byte(data::PROTO)?;
                        ports = self.ports_of(protocol);
                        // Of another protocol, the kernel takes 0 for the port.
                        if ports == Ports::None && number != [0, 0] {
                            return Some(nowhere);
                        }
                        slots.push(one(&[protocol]));
                    }
                    if ports != Ports::None || self.is_bitmap() {
                        slots.push(one(number));
                    }
                }
                Dimension::Interface => {
                    let name = find(data::IFACE)?.string();
                    let is_prefix = flags(element) & WILDCARD != 0;
                    slots.push(Slot::Name(NamePattern { name: name.to_vec(), is_prefix }));
                }
                Dimension::Mark => slots.push(one(find(data::MARK)?.payload)),
                Dimension::Mac => slots.push(match find(data::ETHER) {
                    Some(mac) => one(mac.payload),
                    // The first packet completes it, whatever its address is.
                    None => Slot::Range((vec![0; 6], vec![0xff; 6])),
                }),
            }
        }
        Some(Member { excepted, place: Some((level, ports, slots)) })
    }

    /// The first or the second address of a member, and the length of its prefix.
    fn network(&self, attrs: &[Attr<'_>], number: usize) -> Option<(Range, u8)> {
        let find = |kind: u16| attrs.iter().find(|attr| attr.kind == kind);
        let (ip, to, cidr, mask) = match number {
            0 => (data::IP, data::IP_TO, data::CIDR, self.option(NETMASK)),
            _ => (data::IP2, data::IP2_TO, data::CIDR2, None),
        };
        let low = plain_address(find(ip)?)?;
        let full = 8 * low.len() as u8;
        let length = find(cidr).copied().or(mask).and_then(|attr| attr.payload.first().copied());
        let length = length.unwrap_or(full).min(full);
        let high = match find(to) {
            Some(to) => plain_address(to)?,
            None => last_of(&low, length),
        };
        Some(((low, high), length))
    }

    fn ports_of(&self, protocol: u8) -> Ports {
        match (protocol, self.space_kind) {
            // TCP, UDP, SCTP, UDP-Lite.
            (6 | 17 | 132 | 136, _) => Ports::Transport,
            (1, Kind::Ip4) | (58, Kind::Ip6) => Ports::Icmp,
            _ => Ports::None,
        }
    }

    /// The packet is one of these.
    fn any(&self, space: &mut Space, look: &Look, members: BTreeMap<Ports, Vec<Vec<Slot>>>) -> Option<Test> {
        let mut tests = Vec::new();
        for (ports, elements) in members {
            let parts = self.parts(space, look, ports)?;
            let whole =
                if self.dimensions.contains(&Dimension::Port) { has_transport(space) } else { Test::ALWAYS };
            // A bitmap has ports of TCP and UDP alone (`ip_set_get_ip_port`).
            let protocol = match self.dimensions {
                [Dimension::Port] if self.is_bitmap() => {
                    let protocol = space.protocol();
                    Test::any([6, 17].map(|known| number(&protocol, known, known)))
                }
                _ => Test::ALWAYS,
            };
            let test = match &parts[..] {
                [Part::Bits(word)] => Test::in_ranges(word, merged(elements)),
                [Part::Interface(_)] | [] | [_, _, ..] => Test::Member(parts, elements.into()),
            };
            tests.push(Test::all([whole, protocol, test]));
        }
        Some(Test::any(tests))
    }

    /// What the kernel compares with a member, in the order of [`Self::read`].
    fn parts(&self, space: &mut Space, look: &Look, ports: Ports) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        let mut addresses = 0;
        for (place, dimension) in self.dimensions.iter().enumerate() {
            let is_source = look.asks.sources >> (place + 1) & 1 == 1;
            let end = if is_source { End::Source } else { End::Destination };
            match dimension {
                Dimension::Ip | Dimension::Net => {
                    let mut word = address(space, end)?;
                    if let Some(mask) = self.option(data::BITMASK).filter(|_| addresses == 0) {
                        hide(&mut word, &plain_address(&mask)?);
                    }
                    addresses += 1;
                    parts.push(Part::Bits(word));
                }
                Dimension::Port => {
                    if !self.is_bitmap() {
                        parts.push(Part::Bits(space.protocol()));
                    }
                    match ports {
                        Ports::None if !self.is_bitmap() => {}
                        Ports::None | Ports::Transport => parts.push(Part::Bits(port(space, end))),
                        Ports::Icmp => parts.push(Part::Bits(port(space, End::Source))),
                    }
                }
                Dimension::Interface => {
                    parts.push(Part::Interface(if is_source { Side::In } else { Side::Out }));
                }
                Dimension::Mark => {
                    let mut word = space.mark();
                    if let Some(mask) = self.option(data::MARKMASK) {
                        hide(&mut word, mask.payload);
                    }
                    parts.push(Part::Bits(word));
                }
                Dimension::Mac => {
                    parts.push(Part::Bits(space.payload(Base::Link, if is_source { 6 } else { 0 }, 6)));
                }
            }
        }
        Some(parts)
    }
}

fn flags(element: &Element) -> u32 {
    let lists = element.attrs.iter().flat_map(|part| Attrs(part).flatten());
    lists
        .filter(|attr| attr.kind == data::CADT_FLAGS)
        .filter_map(|attr| attr.be32())
        .fold(0, |all, more| all | more)
}

fn plain_address(attr: &Attr<'_>) -> Option<Vec<u8>> {
    Some(attr.nested().next()?.ok()?.payload.to_vec())
}

fn one(value: &[u8]) -> Slot {
    Slot::Range((value.to_vec(), value.to_vec()))
}

/// The last address of a network.
fn last_of(address: &[u8], length: u8) -> Vec<u8> {
    let host = |at: usize| match usize::from(length).saturating_sub(8 * at) {
        0 => 0xff,
        kept @ 1..8 => 0xff >> kept,
        _ => 0,
    };
    address.iter().enumerate().map(|(at, byte)| byte | host(at)).collect()
}

/// Bits beside the mask count as 0.
fn hide(word: &mut [Bit], mask: &[u8]) {
    for (at, bit) in word.iter_mut().enumerate() {
        if mask.get(at / 8).is_none_or(|byte| byte >> (7 - at % 8) & 1 == 0) {
            *bit = Bit::Const(false);
        }
    }
}

/// Ranges in order, without those that overlap.
fn merged(elements: Vec<Vec<Slot>>) -> Vec<Range> {
    let ranges = elements.into_iter().flatten().filter_map(|slot| match slot {
        Slot::Range(range) => Some(range),
        Slot::Name(_) => None,
    });
    let mut ranges: Vec<Range> = ranges.collect();
    ranges.sort();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some((_, end)) if low <= *end => *end = high.max(std::mem::take(end)),
            _ => merged.push((low, high)),
        }
    }
    merged
}
