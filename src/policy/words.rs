//! Protocols, ports, interfaces and levels as they are written.

use super::addresses::in_order;
use super::error::{Lines, PolicyError, value};
use super::flow::InterfaceName;
use super::raw::{Word, Words, each};
use crate::model::Severity;
use toml::Spanned;

/// Names of protocols (IANA's numbers, as in /etc/protocols).
const PROTOCOLS: [(&str, u8); 20] = [
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("ipv6-icmp", 58),
    ("ospf", 89),
    ("pim", 103),
    ("vrrp", 112),
    ("l2tp", 115),
    ("sctp", 132),
    ("udplite", 136),
    ("mpls", 137),
];
/// Those with ports.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
/// The longest name of an interface (`IFNAMSIZ`, include/uapi/linux/if.h), in bytes.
const LONGEST_NAME: usize = 15;

/// Whether packets of the protocol have ports.
pub(super) fn has_ports(protocol: u8) -> bool {
    WITH_PORTS.contains(&protocol)
}

/// The protocol of that name or number.
pub(super) fn protocol(text: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == text).map(|(_, number)| *number);
    named.or_else(|| text.parse().ok())
}

/// Those with ports.
pub(super) fn with_ports() -> impl Iterator<Item = u8> {
    WITH_PORTS.into_iter()
}

/// Its name, or its number.
pub(super) fn protocol_name(protocol: u8) -> String {
    let named = PROTOCOLS.iter().find(|(_, number)| *number == protocol);
    named.map_or_else(|| protocol.to_string(), |(name, _)| (*name).to_owned())
}

/// Protocol numbers in order; empty for `any`.
pub(super) fn protocols(
    words: &Spanned<Words>,
    place: &str,
    lines: Lines<'_>,
) -> Result<Vec<u8>, PolicyError> {
    let place = format!("{place}: proto");
    let all = each(words);
    if let [(_, Word::Text(text))] = all.as_slice()
        && text == "any"
    {
        return Ok(Vec::new());
    }
    let number = |(offset, word): &(usize, &Word)| {
        let named = match word {
            Word::Text(text) => protocol(text),
            Word::Number(number) => u8::try_from(*number).ok(),
        };
        named.ok_or_else(|| {
            let why = match word {
                Word::Text(text) if text == "any" => "`any` stands beside other protocols".to_owned(),
                Word::Text(_) | Word::Number(_) => format!("there is no protocol \"{word}\""),
            };
            let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
            let instead =
                format!("write `any` alone, a number from 0 to 255, or of these names: {}", names.join(", "));
            value(lines.at(*offset), place.as_str(), why, instead)
        })
    };
    let mut numbers: Vec<u8> = all.iter().map(number).collect::<Result<_, _>>()?;
    numbers.sort_unstable();
    numbers.dedup();
    match numbers.is_empty() {
        true => Err(value(
            lines.at(words.span().start),
            place.as_str(),
            "the list is empty",
            "write the protocols, or leave `proto` out for any",
        )),
        false => Ok(numbers),
    }
}

/// Ranges of ports, in order and apart.
pub(super) fn ports(
    words: &Spanned<Words>,
    place: &str,
    lines: Lines<'_>,
) -> Result<Vec<(u16, u16)>, PolicyError> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let range = |word: &Word| {
        let text = word.to_string();
        let (low, high) = text.split_once('-').unwrap_or((&text, &text));
        let (low, high) = (port(low)?, port(high)?);
        (low <= high).then_some((low, high))
    };
    let mut ranges = Vec::new();
    for (offset, word) in each(words) {
        ranges.push(range(word).ok_or_else(|| {
            let instead = "write a number from 1 to 65535, a range `\"8000-8099\"`, or a list of these; no names of services";
            value(lines.at(offset), place, format!("\"{word}\" is no port"), instead)
        })?);
    }
    match ranges.is_empty() {
        true => Err(value(
            lines.at(words.span().start),
            place,
            "the list is empty",
            "write the ports, or leave the key out for any",
        )),
        false => Ok(in_order(ranges)),
    }
}

/// Names of interfaces.
pub(super) fn interfaces(
    words: &Spanned<Words>,
    place: &str,
    lines: Lines<'_>,
) -> Result<Vec<InterfaceName>, PolicyError> {
    let name = |word: &Word| {
        let Word::Text(text) = word else { return None };
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (text.as_str(), false),
        };
        let is_bad =
            |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':' | '*' | '!' | '"');
        let fits = !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains(is_bad);
        fits.then(|| InterfaceName { name: name.to_owned(), is_prefix })
    };
    let mut names = Vec::new();
    for (offset, word) in each(words) {
        names.push(name(word).ok_or_else(|| {
            let instead =
                "write its name, as in `eth0`, or how it begins, as in `wg*`; leave the key out for any";
            value(lines.at(offset), place, format!("\"{word}\" is no name of an interface"), instead)
        })?);
    }
    match names.is_empty() {
        true => {
            let line = lines.at(words.span().start);
            Err(value(line, place, "the list is empty", "write the interfaces, or leave the key out for any"))
        }
        false => Ok(names),
    }
}

/// One of a few words.
pub(super) fn choice<T: Copy>(
    word: &Spanned<String>,
    place: &str,
    choices: &[(&str, T)],
    lines: Lines<'_>,
) -> Result<T, PolicyError> {
    let found = choices.iter().find(|(name, _)| name == word.get_ref()).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<String> = choices.iter().map(|(name, _)| format!("`{name}`")).collect();
        let why = format!("there is no \"{}\"", word.get_ref());
        value(lines.at(word.span().start), place, why, format!("write one of {}", names.join(", ")))
    })
}

/// A level of severity.
pub(super) fn level(word: &Spanned<String>, place: &str, lines: Lines<'_>) -> Result<Severity, PolicyError> {
    choice(word, place, &Severity::ALL.map(|level| (level.as_str(), level)), lines)
}
