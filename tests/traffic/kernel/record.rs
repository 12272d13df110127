//! Where packets were seen: tables of our own whose chains come before and after all others at each hook and put
//! each packet's tag into sets, and the reading of these sets.
//!
//! The ruleset under test is not touched: every chain here accepts each packet asked about. What the host sends by
//! itself (resets, unreachables, group reports) is dropped before anything sees it: its identifications are random and
//! would be taken for tags when it comes back by `lo`, and a reset would end a connection.

use super::{Packet, Path};
use fwdrift::netlink::nft::{NFGENMSG, elem, expr, kind, msg, nfgenmsg};
use fwdrift::netlink::{AttrWriter, Attrs, Message};
use fwdrift::sys::socket::Socket;
use std::collections::HashMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// How long packets sent may be on their way.
const PATIENCE: Duration = Duration::from_secs(2);

/// The name of both tables, in family inet and in family netdev.
pub const TABLE: &str = "fwdrift_oracle";
const NFPROTO_INET: u8 = 1;
const NFPROTO_NETDEV: u8 = 5;
/// Tags that a set can hold: far fewer than IPv4 has, as each reading walks all buckets of the hash tables.
pub const TAGS: u32 = 0x3fff;

/// A place that packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// netdev, before everything else.
    Ingress,
    Prerouting,
    Input,
    Forward,
    Output,
    Postrouting,
}

impl Hook {
    fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// Which of our chains at a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before all other chains. At forward and output, with the index of the outgoing interface.
    First,
    /// Right after conntrack (prerouting and output only), with the state as the kernel numbers it.
    State,
    /// After all other chains.
    Last,
}

/// The tags seen at one place; each with the interface or state, or 0.
pub type Tags = HashMap<u32, u32>;

/// The commands that make our tables anew; `interfaces` are those with an ingress hook.
pub fn tables<'a>(interfaces: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    for family in ["inet", "netdev"] {
        writeln!(text, "table {family} {TABLE}\ndelete table {family} {TABLE}").unwrap();
    }
    writeln!(text, "table inet {TABLE} {{").unwrap();
    for hook in [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting] {
        for place in [Place::First, Place::State, Place::Last] {
            chain(&mut text, hook, place, hook.name());
        }
    }
    let devices: Vec<String> = interfaces.map(|name| format!("{name:?}")).collect();
    let ingress = format!("ingress devices = {{ {} }}", devices.join(", "));
    writeln!(text, "}}\ntable netdev {TABLE} {{").unwrap();
    chain(&mut text, Hook::Ingress, Place::First, &ingress);
    chain(&mut text, Hook::Ingress, Place::Last, &ingress);
    text.push_str("}\n");
    text
}

fn chain(text: &mut String, hook: Hook, place: Place, at: &str) {
    let priority = match place {
        Place::First => i32::MIN,
        Place::State if matches!(hook, Hook::Prerouting | Hook::Output) => -199,
        Place::State => return,
        Place::Last => i32::MAX,
    };
    let beside = match place {
        Place::First if matches!(hook, Hook::Forward | Hook::Output) => " . oif",
        Place::State => " . ct state",
        Place::First | Place::Last => "",
    };
    let name = name(hook, place);
    for (version, field) in [('4', "ip id"), ('6', "ip6 flowlabel")] {
        let key = format!("{field}{beside}");
        writeln!(text, "set {name}{version} {{ typeof {key}; size 16384; flags dynamic; }}").unwrap();
    }
    writeln!(text, "chain {name} {{ type filter hook {at} priority {priority}; policy accept;").unwrap();
    // What the kernel sends has no socket with an owner, and a match on the owner does not hold.
    let (ours, rest) = match (hook, place) {
        (Hook::Output, Place::First) => ("meta skuid 0 ", "meta skuid 0 accept\ndrop\n"),
        _ => ("", ""),
    };
    for (version, field) in [('4', "ip id"), ('6', "ip6 flowlabel")] {
        writeln!(text, "{ours}{field} != 0 update @{name}{version} {{ {field}{beside} }}").unwrap();
    }
    text.push_str(rest);
    text.push_str("}\n");
}

fn name(hook: Hook, place: Place) -> String {
    let place = match place {
        Place::First => "first",
        Place::State => "state",
        Place::Last => "last",
    };
    format!("{}_{place}", hook.name())
}

/// The tags from `first` on that were seen at a place; `version` is `'4'` or `'6'`.
///
/// The kernel finds its place in a hash table again by counting (net/netfilter/nft_set_hash.c): while packets come or the
/// table is resized, elements can be left out.
fn read(socket: &mut Socket, hook: Hook, place: Place, version: char, first: u32) -> Tags {
    let family = if hook == Hook::Ingress { NFPROTO_NETDEV } else { NFPROTO_INET };
    let mut attrs = AttrWriter::new();
    attrs.string(elem::LIST_TABLE, TABLE.as_bytes());
    attrs.string(elem::LIST_SET, format!("{}{version}", name(hook, place)).as_bytes());
    let mut tags = Tags::new();
    let body = [&nfgenmsg(family)[..], attrs.as_bytes()];
    socket.dump(kind(msg::GETSETELEM), &body, |message| collect(message, version, &mut tags)).unwrap();
    tags.retain(|tag, _| *tag >= first);
    tags
}

fn collect(message: Message<'_>, version: char, tags: &mut Tags) {
    let Some(list) = Attrs(&message.payload[NFGENMSG..]).find(elem::LIST_ELEMENTS) else { return };
    for element in list.nested().flatten() {
        let key = element.nested().find(elem::KEY).unwrap().nested().find(expr::DATA_VALUE).unwrap().payload;
        // In network order; of a concatenation, each part is padded to four bytes.
        let tag = match version {
            '4' => u32::from(u16::from_be_bytes([key[0], key[1]])),
            _ => u32::from_be_bytes([0, key[0], key[1], key[2]]),
        };
        let beside = key.get(4..8).map_or(0, |bytes| u32::from_ne_bytes(bytes.try_into().unwrap()));
        tags.insert(tag, beside);
    }
}

/// Empties all sets.
pub fn forget() -> String {
    let mut text = String::new();
    for hook in [Hook::Ingress, Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting]
    {
        let family = if hook == Hook::Ingress { "netdev" } else { "inet" };
        for place in [Place::First, Place::State, Place::Last] {
            if place == Place::State && !matches!(hook, Hook::Prerouting | Hook::Output) {
                continue;
            }
            for version in ['4', '6'] {
                writeln!(text, "flush set {family} {TABLE} {}{version}", name(hook, place)).unwrap();
            }
        }
    }
    text
}

/// All that was recorded of one wave.
#[derive(PartialEq, Eq)]
pub struct Sightings(HashMap<(Hook, Place, char), Tags>);

impl Sightings {
    /// Reads until all packets sent have come and two readings are alike: what comes in may still be in the backlog.
    pub fn read(socket: &mut Socket, path: Path, versions: &[char], first: u32, sent: usize) -> Self {
        let until = Instant::now() + PATIENCE;
        let begin = (path.hooks()[0], Place::First);
        let mut come = |version: &char| read(socket, begin.0, begin.1, *version, first).len();
        while versions.iter().map(&mut come).sum::<usize>() < sent && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut last = Self::once(socket, path, versions, first);
        loop {
            let now = Self::once(socket, path, versions, first);
            if now == last {
                return now;
            }
            last = now;
        }
    }

    fn once(socket: &mut Socket, path: Path, versions: &[char], first: u32) -> Self {
        let mut all = HashMap::new();
        for hook in path.hooks() {
            for place in [Place::First, Place::State, Place::Last] {
                if place == Place::State && !matches!(hook, Hook::Prerouting | Hook::Output) {
                    continue;
                }
                for version in versions {
                    all.insert((*hook, place, *version), read(socket, *hook, place, *version, first));
                }
            }
        }
        Self(all)
    }

    /// What was recorded beside the tag there; None if the packet was not seen there.
    pub fn at(&self, hook: Hook, place: Place, packet: &Packet, tag: u32) -> Option<u32> {
        let version = if packet.dst.is_ipv6() { '6' } else { '4' };
        self.0[&(hook, place, version)].get(&tag).copied()
    }
}
