//! Sets of packets in words: fields as text, samples, sentences.
//!
//! Input: a [`Region`] over a [`Space`]; output: texts in nft's words. Nothing is escaped here.

use super::bdd::Var;
use super::bdd::boxes::Region;
use super::space::{Key, Kind, NamePattern, Nature, STATES, Side, Space, Word};
use super::walk::Way;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// More ranges than this are counted, not listed.
const LISTED: usize = 16;

/// Inclusive ranges of a field's values, sorted, disjoint.
type Ranges = [(u128, u128)];

/// A region, field by field; a field that may have any value is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Described {
    /// `tcp`, or several.
    pub proto: Option<String>,
    /// Source addresses.
    pub src: Option<String>,
    /// Destination addresses.
    pub dst: Option<String>,
    /// Source ports.
    pub sport: Option<String>,
    /// Destination ports.
    pub dport: Option<String>,
    /// By which interfaces they come in.
    pub iif: Option<String>,
    /// By which they go out.
    pub oif: Option<String>,
    /// States of the connection.
    pub state: Option<String>,
    /// Other fields by nft's names.
    pub other: BTreeMap<String, String>,
    /// What has no model.
    pub conditions: Vec<String>,
}

/// Describes a region of a space's fields.
pub fn describe(space: &mut Space, region: &Region) -> Described {
    let mut described = Described::default();
    let words: Vec<Word> = space.words().to_vec();
    let icmp = is_icmp(&words, region);
    for (word, ranges) in words.iter().zip(&region.fields) {
        let Some(ranges) = ranges.as_deref() else { continue };
        match &word.key {
            Key::State => described.state = states(ranges),
            Key::Direction => {
                let which =
                    if ranges.first().is_some_and(|range| range.0 == 0) { "original" } else { "reply" };
                described.other.insert("ct direction".to_owned(), which.to_owned());
            }
            Key::Protocol => {
                described.proto = Some(listed(word, ranges, |value| protocol_name(value as u8)));
            }
            Key::Iif => described.iif = Some(interfaces(space, ranges)),
            Key::Oif => described.oif = Some(interfaces(space, ranges)),
            Key::Saddr => described.src = Some(addresses(space.kind(), ranges)),
            Key::Daddr => described.dst = Some(addresses(space.kind(), ranges)),
            Key::Sport if icmp => icmp_words(space.kind(), ranges, &mut described.other),
            Key::Sport => described.sport = Some(numbers(word, ranges)),
            Key::Dport => described.dport = Some(numbers(word, ranges)),
            Key::Header(..) | Key::Meta(_) | Key::Ct(..) | Key::Free(_) => match word.nature {
                Nature::Modelled => {
                    described.other.insert(word.name.clone(), value_text(word, ranges));
                }
                Nature::Free => described.conditions.push(condition(word, ranges)),
            },
        }
    }
    described
}

fn is_icmp(words: &[Word], region: &Region) -> bool {
    let protocol = words.iter().zip(&region.fields).find(|(word, _)| word.key == Key::Protocol);
    let ranges = protocol.and_then(|(_, ranges)| ranges.as_deref());
    matches!(ranges, Some([(1, 1)] | [(58, 58)] | [(1, 1), (58, 58)]))
}

impl Described {
    /// `tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, in by eth0`: what the packets are, for a sentence.
    pub fn phrase(&self, kind: Kind) -> String {
        let any = |text: &Option<String>| text.clone().unwrap_or_else(|| "any".to_owned());
        let mut icmp = String::new();
        if let Some(kind) = self.other.get("icmp type") {
            icmp = format!(" {kind}");
        }
        let proto = self.proto.clone().unwrap_or_else(|| match kind {
            Kind::Ip4 | Kind::Ip6 => "any protocol".to_owned(),
            Kind::Arp => "ARP".to_owned(),
            Kind::Other => "frames that are neither IP nor ARP".to_owned(),
        });
        let mut out = match kind {
            Kind::Ip4 | Kind::Ip6 => {
                let (from, to) =
                    (with_port(&any(&self.src), &self.sport), with_port(&any(&self.dst), &self.dport));
                match (&self.src, &self.sport, &self.dst, &self.dport) {
                    (None, None, None, None) if self.proto.is_none() => "all traffic".to_owned(),
                    _ => format!("{proto}{icmp} {from} → {to}"),
                }
            }
            Kind::Arp | Kind::Other => proto,
        };
        if let Some(state) = &self.state {
            out.push_str(&age(state));
        }
        for (name, value) in [("in by", &self.iif), ("out by", &self.oif)] {
            match value.as_deref().map(|value| (value, value.strip_prefix("not "))) {
                Some((_, Some(excluded))) => out.push_str(&format!(", {name} any but {excluded}")),
                Some((value, None)) => out.push_str(&format!(", {name} {value}")),
                None => {}
            }
        }
        for (name, value) in self.other.iter().filter(|(name, _)| *name != "icmp type") {
            out.push_str(&format!(", {name} {value}"));
        }
        out
    }

    /// How many fields are not free: broader statements come first.
    pub fn narrowness(&self) -> usize {
        let fields =
            [&self.proto, &self.src, &self.dst, &self.sport, &self.dport, &self.iif, &self.oif, &self.state];
        fields.into_iter().filter(|field| field.is_some()).count() + self.other.len() + self.conditions.len()
    }
}

/// States of a connection in a sentence: a rule without a word about them, behind one that accepts what is
/// established, is about new connections; the exact states stand in [`Described::state`].
fn age(states: &str) -> String {
    let has = |state: &str| states.split(", ").any(|named| named == state);
    match (has("new"), has("established")) {
        (true, false) => ", new connections".to_owned(),
        (false, true) => ", established connections".to_owned(),
        (true, true) | (false, false) => format!(", state {states}"),
    }
}

fn with_port(address: &str, port: &Option<String>) -> String {
    match port {
        None => address.to_owned(),
        Some(port) if port.contains(", ") || port.starts_with("not ") => format!("{address}:{{{port}}}"),
        Some(port) if address.contains(':') && !address.contains(", ") => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
    }
}

/// The value of each field in one packet. Fields that a person would not ask for are left out, and interfaces that a
/// packet on this way does not have.
pub fn sample(space: &mut Space, way: Way, value: &dyn Fn(Var) -> bool) -> BTreeMap<String, String> {
    let words: Vec<Word> = space.words().to_vec();
    let number = |word: &Word| {
        (word.start..word.start + word.width).fold(0u128, |number, var| number << 1 | u128::from(value(var)))
    };
    let protocol = words.iter().find(|word| word.key == Key::Protocol).map_or(0, number);
    let mut sample = BTreeMap::new();
    for word in &words {
        let one = number(word);
        let range = [(one, one)];
        let (name, text) = match &word.key {
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
    let mut ones: std::collections::BTreeSet<Var> = std::collections::BTreeSet::new();
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
            Key::Header(super::space::Base::Network, 64) => put(word, 64),
            Key::Header(super::space::Base::Network, 56) if space.kind() == Kind::Ip6 => put(word, 64),
            Key::Header(super::space::Base::Network, 4) if space.kind() == Kind::Ip4 => put(word, 5),
            // A SYN.
            Key::Header(super::space::Base::Transport, 104) => put(word, 2),
            _ => {}
        }
    }
    move |var| ones.contains(&var)
}

fn states(ranges: &Ranges) -> Option<String> {
    let contains = |value: u128| ranges.iter().any(|(low, high)| (*low..=*high).contains(&value));
    let named: Vec<&str> = STATES
        .iter()
        .enumerate()
        .filter(|(at, _)| contains(1 << (STATES.len() - 1 - at)))
        .map(|(_, (name, _))| *name)
        .collect();
    (named.len() < STATES.len()).then(|| named.join(", "))
}

fn interfaces(space: &mut Space, ranges: &Ranges) -> String {
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

fn numbers(word: &Word, ranges: &Ranges) -> String {
    listed(word, ranges, |value| value.to_string())
}

fn listed(word: &Word, ranges: &Ranges, text: impl Fn(u128) -> String) -> String {
    either(ranges, word.width, |(low, high)| match high - low {
        0 => text(low),
        _ => format!("{}-{}", text(low), text(high)),
    })
}

fn value_text(word: &Word, ranges: &Ranges) -> String {
    match &word.key {
        Key::Ct(8 | 9, _) => {
            let kind = if word.width == 128 { Kind::Ip6 } else { Kind::Ip4 };
            addresses(kind, ranges)
        }
        Key::Header(..) if word.width == 48 => listed(word, ranges, |value| {
            let bytes = (value as u64).to_be_bytes();
            bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        }),
        Key::Meta(super::space::asked::META_MARK) | Key::Ct(super::space::asked::CT_MARK, _) => {
            listed(word, ranges, |value| format!("{value:#x}"))
        }
        Key::Meta(19) => listed(word, ranges, |value| match value {
            0 => "host".to_owned(),
            1 => "broadcast".to_owned(),
            2 => "multicast".to_owned(),
            3 => "other".to_owned(),
            value => value.to_string(),
        }),
        Key::Header(super::space::Base::Transport, 104) => listed(word, ranges, tcp_flags),
        _ => numbers(word, ranges),
    }
}

fn tcp_flags(value: u128) -> String {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let set: Vec<&str> =
        names.iter().enumerate().filter(|(at, _)| value >> at & 1 == 1).map(|(_, name)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join("|") }
}

fn condition(word: &Word, ranges: &Ranges) -> String {
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

/// `IPPROTO_*` by name (the numbers that IANA assigned).
pub fn protocol_name(number: u8) -> String {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// The number of a protocol.
pub fn protocol_number(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    known.or_else(|| name.parse().ok())
}

const PROTOCOLS: [(u8, &str); 14] = [
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipencap"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (112, "vrrp"),
    (132, "sctp"),
    (136, "udplite"),
];

fn icmp_words(kind: Kind, ranges: &Ranges, other: &mut BTreeMap<String, String>) {
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

/// The names that nft has for the types people meet (RFC 792, RFC 4443, RFC 4861).
fn icmp_type(kind: Kind, number: u8) -> String {
    icmp_types(kind)
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// The number of a type of ICMP, by its name or as a number.
pub fn icmp_type_number(kind: Kind, name: &str) -> Option<u8> {
    let known = icmp_types(kind).iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    known.or_else(|| name.parse().ok())
}

fn icmp_types(kind: Kind) -> &'static [(u8, &'static str)] {
    match kind {
        Kind::Ip6 => &[
            (1, "destination-unreachable"),
            (2, "packet-too-big"),
            (3, "time-exceeded"),
            (4, "parameter-problem"),
            (128, "echo-request"),
            (129, "echo-reply"),
            (133, "nd-router-solicit"),
            (134, "nd-router-advert"),
            (135, "nd-neighbor-solicit"),
            (136, "nd-neighbor-advert"),
        ],
        _ => &[
            (0, "echo-reply"),
            (3, "destination-unreachable"),
            (5, "redirect"),
            (8, "echo-request"),
            (11, "time-exceeded"),
            (12, "parameter-problem"),
            (13, "timestamp-request"),
            (14, "timestamp-reply"),
        ],
    }
}
