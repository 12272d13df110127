//! Values of fields as text.

use super::arp;
use super::names::icmp_type;
use super::{LISTED, Ranges};
use crate::traffic::space::{Base, Key, Kind, NamePattern, STATES, Space, Word, asked};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) fn states(ranges: &Ranges) -> Option<String> {
    let contains = |value: u128| ranges.iter().any(|(low, high)| (*low..=*high).contains(&value));
    let named: Vec<&str> = STATES
        .iter()
        .enumerate()
        .filter(|(at, _)| contains(1 << (STATES.len() - 1 - at)))
        .map(|(_, (name, _))| *name)
        .collect();
    (named.len() < STATES.len()).then(|| named.join(", "))
}

pub(super) fn interfaces(space: &mut Space, ranges: &Ranges) -> String {
    let contains = |value: usize| ranges.iter().any(|(low, high)| (*low..=*high).contains(&(value as u128)));
    let Some(atoms) = space.interfaces() else { return "some".to_owned() };
    let texts = |meant: bool| {
        let named = atoms.iter().enumerate().skip(1).filter(|(code, _)| contains(*code) == meant);
        named.map(|(_, atom)| NamePattern::text(atom)).collect::<Vec<_>>().join(", ")
    };
    // The numbers above all codes mean the same as code 0.
    let others = contains(0) || ranges.iter().any(|(_, high)| *high >= atoms.len() as u128);
    match (others, texts(false)) {
        (true, none) if none.is_empty() => "any interface".to_owned(),
        (true, excluded) => format!("not {excluded}"),
        (false, _) => texts(true),
    }
}

/// Addresses as CIDR where that is exact.
pub fn addresses(kind: Kind, ranges: &Ranges) -> String {
    let width = kind.address_length().map_or(32, |length| 8 * length as u32);
    let write = |value: u128| match kind {
        Kind::Ip6 => Ipv6Addr::from(value).to_string(),
        _ => Ipv4Addr::from(value as u32).to_string(),
    };
    let one = |(low, high): (u128, u128)| {
        let size = high - low;
        let host = (size.wrapping_add(1)).trailing_zeros().min(width);
        if low == high {
            write(low)
        } else if (size.wrapping_add(1) == 0 || size.wrapping_add(1).is_power_of_two()) && low & size == 0 {
            let length = if size == u128::MAX { 0 } else { width - host };
            format!("{}/{length}", write(low))
        } else {
            format!("{}-{}", write(low), write(high))
        }
    };
    either(ranges, width, one)
}

/// The ranges, or what is left out of them: whichever is shorter to say.
fn either(ranges: &Ranges, width: u32, one: impl Fn((u128, u128)) -> String) -> String {
    let last = if width >= 128 { u128::MAX } else { (1 << width) - 1 };
    let mut left_out = Vec::new();
    let mut next = Some(0);
    for (low, high) in ranges {
        if let Some(from) = next.filter(|from| from < low) {
            left_out.push((from, low - 1));
        }
        next = high.checked_add(1).filter(|next| *next <= last);
    }
    left_out.extend(next.map(|from| (from, last)));
    let list = |ranges: &Ranges| {
        let mut texts: Vec<String> = ranges.iter().take(LISTED).map(|range| one(*range)).collect();
        if ranges.len() > LISTED {
            texts.push(format!("… {} more", ranges.len() - LISTED));
        }
        texts.join(", ")
    };
    if !left_out.is_empty() && left_out.len() < ranges.len() {
        format!("not {}", list(&left_out))
    } else {
        list(ranges)
    }
}

pub(super) fn numbers(word: &Word, ranges: &Ranges) -> String {
    listed(word, ranges, |value| value.to_string())
}

pub(super) fn listed(word: &Word, ranges: &Ranges, text: impl Fn(u128) -> String) -> String {
    either(ranges, word.width, |(low, high)| match high - low {
        0 => text(low),
        _ => format!("{}-{}", text(low), text(high)),
    })
}

pub(super) fn value_text(word: &Word, ranges: &Ranges) -> String {
    match &word.key {
        Key::Ct(8 | 9, _) => {
            let kind = if word.width == 128 { Kind::Ip6 } else { Kind::Ip4 };
            addresses(kind, ranges)
        }
        Key::Header(..) if word.width == 48 => listed(word, ranges, |value| {
            let bytes = (value as u64).to_be_bytes();
            bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        }),
        Key::Meta(asked::META_MARK) | Key::Ct(asked::CT_MARK, _) => {
            listed(word, ranges, |value| format!("{value:#x}"))
        }
        Key::Meta(19) => listed(word, ranges, |value| match value {
            0 => "host".to_owned(),
            1 => "broadcast".to_owned(),
            2 => "multicast".to_owned(),
            3 => "other".to_owned(),
            value => value.to_string(),
        }),
        Key::Header(Base::Transport, 104) => listed(word, ranges, tcp_flags),
        Key::Header(Base::Link, 96) => listed(word, ranges, |value| format!("{value:#06x}")),
        Key::Header(Base::Network, 48) if word.name == arp::OPERATION => listed(word, ranges, arp::operation),
        _ => numbers(word, ranges),
    }
}

fn tcp_flags(value: u128) -> String {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let set: Vec<&str> =
        names.iter().enumerate().filter(|(at, _)| value >> at & 1 == 1).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join("|") }
}

pub(super) fn condition(word: &Word, ranges: &Ranges) -> String {
    match (word.width, ranges) {
        (1, [(1, 1)]) => word.name.clone(),
        (1, _) => format!("not: {}", word.name),
        _ if word.name.ends_with(" type") => format!("{} {}", word.name, listed(word, ranges, route_type)),
        _ => format!("{} {}", word.name, numbers(word, ranges)),
    }
}

/// `RTN_*` (linux/rtnetlink.h).
fn route_type(value: u128) -> String {
    const NAMES: [&str; 12] = [
        "unspec",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
        "xresolve",
    ];
    NAMES.get(value as usize).map_or_else(|| value.to_string(), |name| (*name).to_owned())
}

pub(super) fn icmp_words(kind: Kind, ranges: &Ranges, other: &mut BTreeMap<String, String>) {
    let types: Vec<(u128, u128)> = ranges.iter().map(|(low, high)| (low >> 8, high >> 8)).collect();
    let name = |value: u128| icmp_type(kind, value as u8);
    let texts = types.iter().map(|(low, high)| match high - low {
        0 => name(*low),
        _ => format!("{}-{}", name(*low), name(*high)),
    });
    other.insert("icmp type".to_owned(), texts.take(LISTED).collect::<Vec<_>>().join(", "));
    let whole = ranges.iter().all(|(low, high)| low & 0xff == 0 && high & 0xff == 0xff);
    if let ([(low, high)], false) = (ranges, whole) {
        let (low, high) = (low & 0xff, high & 0xff);
        let code = if low == high { low.to_string() } else { format!("{low}-{high}") };
        other.insert("icmp code".to_owned(), code);
    }
}
