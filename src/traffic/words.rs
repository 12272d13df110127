//! Sets of packets in words: fields as text, samples, sentences.
//!
//! Input: a [`Region`] over a [`Space`]; output: texts in nft's words. Nothing is escaped here.

mod arp;
mod names;
mod sample;
mod values;

use super::bdd::boxes::Region;
use super::space::{Key, Kind, Nature, Space, Word};
pub use names::{icmp_type_number, protocol_name, protocol_number};
pub use sample::{preferred, sample};
use std::collections::BTreeMap;
pub use values::addresses;
use values::{condition, icmp_words, interfaces, listed, numbers, states, value_text};

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
                Nature::Modelled if is_usual(word, ranges) => {}
                Nature::Modelled if word.name == arp::SENDER => {
                    described.src = Some(addresses(space.kind(), ranges));
                }
                Nature::Modelled if word.name == arp::TARGET => {
                    described.dst = Some(addresses(space.kind(), ranges));
                }
                Nature::Modelled => {
                    described.other.insert(word.name.clone(), value_text(word, ranges));
                }
                Nature::Free => described.conditions.push(condition(word, ranges)),
            },
        }
    }
    described
}

/// Whether a field is as in each packet of its kind.
fn is_usual(word: &Word, ranges: &Ranges) -> bool {
    arp::usual(word).is_some_and(|value| ranges == [(value, value)])
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
            Kind::Arp if self.src.is_some() || self.dst.is_some() => {
                format!("{proto} {} → {}", any(&self.src), any(&self.dst))
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
