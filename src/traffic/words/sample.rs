//! One packet of a set, for people.

use super::arp;
use super::names::protocol_name;
use super::values::{addresses, icmp_words, interfaces, states, value_text};
use crate::traffic::bdd::Var;
use crate::traffic::space::{Base, Key, Kind, NamePattern, STATES, Side, Space, Word};
use crate::traffic::walk::Way;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// The value of each field in one packet. Fields that a person would not ask for are left out, and interfaces that a
/// packet on this way does not have.
pub fn sample(space: &mut Space, way: Way, value: &dyn Fn(Var) -> bool) -> BTreeMap<String, String> {
    let words: Vec<Word> = space.words().to_vec();
    let number = |word: &Word| {
        (word.start..word.start + word.width).fold(0u128, |number, var| number << 1 | u128::from(value(var)))
    };
    let protocol = words.iter().find(|word| word.key == Key::Protocol).map_or(0, number);
    let kind = space.kind();
    let is_ip = matches!(kind, Kind::Ip4 | Kind::Ip6);
    let mut sample = BTreeMap::new();
    if kind == Kind::Arp {
        sample.insert("proto".to_owned(), "arp".to_owned());
    }
    for word in &words {
        let one = number(word);
        let range = [(one, one)];
        let (name, text) = match &word.key {
            Key::State
            | Key::Direction
            | Key::Protocol
            | Key::Saddr
            | Key::Daddr
            | Key::Sport
            | Key::Dport
                if !is_ip =>
            {
                continue;
            }
            Key::State => ("state", states(&range).unwrap_or_default()),
            Key::Protocol => ("proto", protocol_name(one as u8)),
            Key::Iif if !way.has(Side::In) || is_any_interface(space, one) => continue,
            Key::Oif if !way.has(Side::Out) || is_any_interface(space, one) => continue,
            Key::Iif => ("iif", interfaces(space, &range)),
            Key::Oif => ("oif", interfaces(space, &range)),
            Key::Saddr => ("src", addresses(space.kind(), &range)),
            Key::Daddr => ("dst", addresses(space.kind(), &range)),
            Key::Sport if matches!(protocol, 1 | 58) => {
                icmp_words(space.kind(), &range, &mut sample);
                continue;
            }
            Key::Dport if matches!(protocol, 1 | 58) => continue,
            Key::Sport => ("sport", one.to_string()),
            Key::Dport => ("dport", one.to_string()),
            Key::Direction if one == 0 => continue,
            Key::Direction => ("direction", "reply".to_owned()),
            Key::Header(..) | Key::Meta(_) | Key::Ct(..) if one == 0 => continue,
            Key::Header(..) if arp::usual(word) == Some(one) => continue,
            Key::Header(..) if word.name == arp::SENDER => ("src", addresses(kind, &range)),
            Key::Header(..) if word.name == arp::TARGET => ("dst", addresses(kind, &range)),
            Key::Header(..) | Key::Meta(_) | Key::Ct(..) => (word.name.as_str(), value_text(word, &range)),
            Key::Free(_) => continue,
        };
        sample.insert(name.to_owned(), text);
    }
    sample
}

/// Whether a number stands for an interface that nothing is known of.
fn is_any_interface(space: &mut Space, code: u128) -> bool {
    code == 0 || space.interfaces().is_none_or(|atoms| code >= atoms.len() as u128)
}

/// A value that a person would use as an example, wherever a set leaves the choice.
pub fn preferred(space: &mut Space) -> impl Fn(Var) -> bool + use<> {
    let is_real = |atom: &NamePattern| !atom.is_prefix && !atom.name.is_empty() && atom.name != b"lo";
    let interface = space.interfaces().and_then(|atoms| atoms.iter().position(is_real)).unwrap_or(0) as u128;
    let mut ones: BTreeSet<Var> = BTreeSet::new();
    let mut put = |word: &Word, number: u128| {
        ones.extend(
            (0..word.width).filter(|at| number >> (word.width - 1 - at) & 1 == 1).map(|at| word.start + at),
        );
    };
    let (source, destination) = match space.kind() {
        Kind::Ip6 => (0x2001_0db8_u128 << 96 | 0x10, 0x2001_0db8_u128 << 96 | 0x20),
        _ => (
            u128::from(u32::from(Ipv4Addr::new(192, 0, 2, 10))),
            u128::from(u32::from(Ipv4Addr::new(192, 0, 2, 20))),
        ),
    };
    for word in space.words() {
        match &word.key {
            // A new connection, or else an established one.
            Key::State => put(word, 3 << (STATES.len() - 2)),
            Key::Iif | Key::Oif => put(word, interface),
            Key::Protocol => put(word, 6),
            Key::Saddr => put(word, source),
            Key::Daddr => put(word, destination),
            Key::Sport => put(word, 40_000),
            Key::Dport => put(word, 1024),
            Key::Header(Base::Network, 64) => put(word, 64),
            Key::Header(Base::Network, 56) if space.kind() == Kind::Ip6 => put(word, 64),
            Key::Header(Base::Network, 4) if space.kind() == Kind::Ip4 => put(word, 5),
            Key::Header(..) if word.name == arp::SENDER => put(word, source),
            Key::Header(..) if word.name == arp::TARGET => put(word, destination),
            Key::Header(..) if word.name == arp::OPERATION => put(word, 1),
            Key::Header(..) if arp::usual(word).is_some() => put(word, arp::usual(word).unwrap_or_default()),
            // A SYN.
            Key::Header(Base::Transport, 104) => put(word, 2),
            _ => {}
        }
    }
    move |var| ones.contains(&var)
}
