//! The bits of a packet, and what else a rule can ask about it, as variables of decision diagrams.
//!
//! Role: one [`Space`] describes one kind of packet (IPv4, IPv6, ARP, any other frame), for both rulesets of a
//! comparison, so that equal questions are equal variables. The fields that matter most come first, in the order
//! that keeps diagrams small (state, protocol, interfaces, destination, source, ports); all others get variables when a
//! rule first asks for them. What has no model is a *free* word, named by its exact text.

use super::bdd::boxes::Field;
use super::bdd::{Bit, Var};
use super::test::Test;
use crate::model::Digest;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub mod asked;
mod layout;

/// What kind of frame is looked at. IPv4 and IPv6 are apart, because their addresses have other sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// An IPv4 packet.
    Ip4,
    /// An IPv6 packet.
    Ip6,
    /// An ARP packet.
    Arp,
    /// Any other Ethernet frame.
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ip4, Self::Ip6, Self::Arp, Self::Other];

    /// `ETH_P_*` (linux/if_ether.h); none where it is not fixed.
    pub fn ether_type(self) -> Option<u16> {
        match self {
            Self::Ip4 => Some(0x0800),
            Self::Ip6 => Some(0x86dd),
            Self::Arp => Some(0x0806),
            Self::Other => None,
        }
    }

    /// Bytes of an address; none where there is none.
    pub fn address_length(self) -> Option<usize> {
        match self {
            Self::Ip4 => Some(4),
            Self::Ip6 => Some(16),
            Self::Arp | Self::Other => None,
        }
    }

    /// In JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip4 => "ip",
            Self::Ip6 => "ip6",
            Self::Arp => "arp",
            Self::Other => "other",
        }
    }
}

/// Where a packet came in, or goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The interface that it came in by.
    In,
    /// The interface that it goes out by.
    Out,
}

/// From where the bytes of a packet are counted: `enum nft_payload_bases`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Base {
    /// The link layer's header.
    Link,
    /// The network header.
    Network,
    /// The transport header.
    Transport,
    /// What follows the transport header.
    Inner,
}

/// What a word of a space is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The state of its connection: one bit each of [`STATES`], of which one is set.
    State,
    /// The direction within its connection: 0 original, 1 reply.
    Direction,
    /// The protocol of the transport header (`IPPROTO_*`).
    Protocol,
    /// The interface that it came in by.
    Iif,
    /// The interface that it goes out by.
    Oif,
    /// Its destination address.
    Daddr,
    /// Its source address.
    Saddr,
    /// Bits 16 to 31 of the transport header.
    Dport,
    /// Bits 0 to 15 of the transport header: a source port, or ICMP's type and code.
    Sport,
    /// Other bits of a header, by their place.
    Header(Base, u32),
    /// `NFT_META_*` (linux/netfilter/nf_tables.h).
    Meta(u32),
    /// `NFT_CT_*`, and for which direction (`IP_CT_DIR_*`) where that is asked.
    Ct(u32, Option<u8>),
    /// What has no model, by its text.
    Free(String),
}

/// How a word is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Part of the packet, or of what the kernel always knows about it.
    Modelled,
    /// What fwdrift cannot tell from the packet: results that depend on it say so.
    Free,
}

/// Consecutive variables that mean one thing, most significant bit first.
#[derive(Clone, Debug)]
pub struct Word {
    /// What it is about.
    pub key: Key,
    /// In nft's words, for people: `ip ttl`, `meta mark`, `limit rate 10/minute`.
    pub name: String,
    /// The first variable.
    pub start: Var,
    /// How many variables, 1 to 128.
    pub width: u32,
    /// Modelled or free.
    pub nature: Nature,
}

/// The states of a connection, by the bits of the register that `ct state` loads
/// (include/uapi/linux/netfilter/nf_conntrack_common.h, `NF_CT_STATE_BIT`), in the order of their variables.
pub const STATES: [(&str, u32); 5] =
    [("new", 3), ("established", 1), ("related", 2), ("invalid", 0), ("untracked", 6)];

/// Variables of an interface: codes of names; see [`Space::interfaces`].
const INTERFACE_WIDTH: u32 = 12;

/// A name of an interface as rules give it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern {
    /// The name, or how it begins.
    pub name: Vec<u8>,
    /// Whether only the beginning is given (`eth*`).
    pub is_prefix: bool,
}

impl NamePattern {
    /// Exactly this name.
    pub fn exact(name: &[u8]) -> Self {
        Self { name: name.to_vec(), is_prefix: false }
    }

    /// Whether a name is meant; the empty one is that of no interface.
    pub fn matches(&self, name: &[u8]) -> bool {
        if self.is_prefix { name.starts_with(&self.name) } else { name == self.name }
    }

    /// As nft writes it.
    pub fn text(&self) -> String {
        let name = crate::model::text_from_kernel(&self.name);
        if self.is_prefix { format!("{name}*") } else { name }
    }
}

/// What follows it in the text of a free word, [`HIDDEN_LENGTH`] characters, tells apart what people would call the
/// same: the tokens of two rules with the same limit. It is not shown.
pub const HIDDEN: char = '\u{1f}';
/// Characters after [`HIDDEN`].
pub const HIDDEN_LENGTH: usize = 6;

/// A text without its hidden parts.
fn shown(text: &str) -> String {
    let mut parts = text.split(HIDDEN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.extend(part.chars().skip(HIDDEN_LENGTH));
    }
    out
}

/// The variables of one kind of packet.
#[derive(Debug)]
pub struct Space {
    kind: Kind,
    words: Vec<Word>,
    by_key: HashMap<Key, usize>,
    next: Var,
    patterns: BTreeSet<NamePattern>,
    /// Names of interfaces by their codes; made when first asked for. Code 0 is any other interface.
    atoms: Vec<NamePattern>,
    /// The free variables of rates, quotas and counts, each with its value while nothing is exceeded.
    limits: BTreeMap<Var, bool>,
    /// What large sets mean, by their content and by what is looked up: many rules ask for the same.
    lookups: HashMap<Digest, Test>,
}

impl Space {
    /// With the fields that every packet of this kind has.
    pub fn new(kind: Kind) -> Self {
        let mut space = Self {
            kind,
            words: Vec::new(),
            by_key: HashMap::new(),
            next: 0,
            patterns: BTreeSet::new(),
            atoms: Vec::new(),
            limits: BTreeMap::new(),
            lookups: HashMap::new(),
        };
        let address = kind.address_length().map_or(0, |length| 8 * length as u32);
        let family = kind.as_str();
        let fixed = [
            (Key::State, "ct state".to_owned(), STATES.len() as u32),
            (Key::Direction, "ct direction".to_owned(), 1),
            (Key::Protocol, "meta l4proto".to_owned(), 8),
            (Key::Iif, "iifname".to_owned(), INTERFACE_WIDTH),
            (Key::Oif, "oifname".to_owned(), INTERFACE_WIDTH),
            (Key::Daddr, format!("{family} daddr"), address),
            (Key::Saddr, format!("{family} saddr"), address),
            (Key::Dport, "th dport".to_owned(), 16),
            (Key::Sport, "th sport".to_owned(), 16),
        ];
        for (key, name, width) in fixed.into_iter().filter(|(_, _, width)| *width > 0) {
            space.word(key, &name, width, Nature::Modelled);
        }
        space
    }

    /// The kind of packet.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// All words so far, by their variables.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// The word about something, made if there is none yet. `width` is in bits, at most 128.
    pub fn word(&mut self, key: Key, name: &str, width: u32, nature: Nature) -> usize {
        if let Some(at) = self.by_key.get(&key) {
            return *at;
        }
        let at = self.words.len();
        self.words.push(Word { key: key.clone(), name: name.to_owned(), start: self.next, width, nature });
        self.by_key.insert(key, at);
        self.next += width;
        at
    }

    /// The word about something, if a rule has asked for it.
    pub fn find(&self, key: &Key) -> Option<&Word> {
        self.by_key.get(key).map(|at| &self.words[*at])
    }

    /// The word that a variable belongs to.
    pub fn word_of(&self, var: Var) -> Option<&Word> {
        let at = self.words.partition_point(|word| word.start <= var).checked_sub(1)?;
        self.words.get(at).filter(|word| var < word.start + word.width)
    }

    /// The bits of one of [`Self::word`]'s words, most significant first.
    pub fn bits_at(&self, at: usize) -> Vec<Bit> {
        let word = &self.words[at];
        (word.start..word.start + word.width).map(Bit::Var).collect()
    }

    /// The bits of a word that is made if there is none yet.
    pub fn bits(&mut self, key: Key, name: &str, width: u32, nature: Nature) -> Vec<Bit> {
        let at = self.word(key, name, width, nature);
        self.bits_at(at)
    }

    /// What has no model, as bits: the same text is the same thing, also in the other ruleset.
    pub fn free(&mut self, text: &str, width: u32) -> Vec<Bit> {
        if width <= 128 {
            return self.bits(Key::Free(text.to_owned()), &shown(text), width, Nature::Free);
        }
        let mut bits = self.free(text, 128);
        for part in 1..width.div_ceil(128) {
            let more = format!("{text}, part {}", part + 1);
            bits.extend(self.free(&more, (width - 128 * part).min(128)));
        }
        bits
    }

    /// As [`Self::free`], one bit that says whether a rate, a quota or a count is exceeded; `within` is its value while
    /// it is not.
    pub fn limit(&mut self, text: &str, within: bool) -> Vec<Bit> {
        let bits = self.free(text, 1);
        if let [Bit::Var(var)] = bits[..] {
            self.limits.insert(var, within);
        }
        bits
    }

    /// What the variables of all limits are while none is exceeded.
    pub fn within_limits(&self) -> Vec<(Var, bool)> {
        self.limits.iter().map(|(var, within)| (*var, *within)).collect()
    }

    /// A lookup that has been made before, by a digest of all that it depends on.
    pub fn lookup(&self, digest: &Digest) -> Option<Test> {
        self.lookups.get(digest).cloned()
    }

    /// Keeps a lookup: rules that make the same one then share its elements.
    pub fn keep_lookup(&mut self, digest: Digest, test: Test) {
        self.lookups.insert(digest, test);
    }

    /// The fields of [`super::bdd::Bdd::regions`].
    pub fn fields(&self) -> Vec<Field> {
        self.words.iter().map(|word| Field { start: word.start, width: word.width }).collect()
    }

    /// The protocol's bits (`meta l4proto`).
    pub fn protocol(&mut self) -> Vec<Bit> {
        self.bits(Key::Protocol, "meta l4proto", 8, Nature::Modelled)
    }

    /// The bit of a connection's state, by its name in [`STATES`].
    pub fn state(&self, name: &str) -> Option<Var> {
        let start = self.find(&Key::State)?.start;
        STATES.iter().position(|(state, _)| *state == name).map(|at| start + at as Var)
    }

    /// `length` bytes of a header from `offset` on, as bits in the order of the wire.
    pub fn payload(&mut self, base: Base, offset: u32, length: u32) -> Vec<Bit> {
        let (mut at, end) = (offset * 8, (offset + length) * 8);
        let mut bits = Vec::with_capacity((end - at) as usize);
        while at < end {
            let (first, part) = self.part(base, at);
            let (from, to) = ((at - first) as usize, ((end - first) as usize).min(part.len()));
            bits.extend_from_slice(&part[from..to]);
            at = first + to as u32;
        }
        bits
    }

    /// The field of a header that a bit belongs to: its first bit, and its bits.
    fn part(&mut self, base: Base, bit: u32) -> (u32, Vec<Bit>) {
        if let Some(part) =
            layout::of(self.kind, base).iter().find(|part| (part.bit..part.end()).contains(&bit))
        {
            let bits = match part.what {
                layout::What::Is(ref key) => self.bits(key.clone(), part.name, part.width, Nature::Modelled),
                layout::What::Const(value) => {
                    (0..part.width).rev().map(|n| Bit::Const(value >> n & 1 == 1)).collect()
                }
                layout::What::Bits => {
                    self.bits(Key::Header(base, part.bit), part.name, part.width, Nature::Modelled)
                }
            };
            return (part.bit, bits);
        }
        let first = bit / 8 * 8;
        let letters = match base {
            Base::Link => "ll",
            Base::Network => "nh",
            Base::Transport => "th",
            Base::Inner => "ih",
        };
        let name = format!("@{letters},{first},8");
        (first, self.bits(Key::Header(base, first), &name, 8, Nature::Modelled))
    }

    /// Takes note that a rule asks for an interface by this name: all are to be known before one is looked up.
    pub fn ask_interface(&mut self, pattern: &NamePattern) {
        if !self.patterns.contains(pattern) {
            self.patterns.insert(pattern.clone());
            self.atoms.clear();
        }
    }

    /// The interfaces that rules tell apart: each name, each beginning of names, and (code 0) any other one. `None`
    /// if there are more than [`Space::codes`] can tell apart.
    pub fn interfaces(&mut self) -> Option<&[NamePattern]> {
        if self.atoms.is_empty() {
            self.atoms.push(NamePattern { name: Vec::new(), is_prefix: true });
            let whole = |pattern: &&NamePattern| !pattern.is_prefix && !pattern.name.is_empty();
            self.atoms.extend(self.patterns.iter().filter(whole).cloned());
            let begun = |pattern: &&NamePattern| pattern.is_prefix && !pattern.name.is_empty();
            self.atoms.extend(self.patterns.iter().filter(begun).cloned());
        }
        (self.atoms.len() <= 1 << INTERFACE_WIDTH).then_some(&self.atoms)
    }

    /// The codes that a pattern means, as numbers of 12 bits; code 0 also stands for all numbers
    /// that are no code.
    pub fn codes(&mut self, pattern: &NamePattern) -> Option<Vec<u32>> {
        let atoms = self.interfaces()?;
        let longer = |atom: &NamePattern| atom.is_prefix && atom.name.len() >= pattern.name.len();
        let meant = |atom: &NamePattern| match (pattern.is_prefix, atom.is_prefix) {
            (true, false) => pattern.matches(&atom.name),
            (true, true) => longer(atom) && atom.name.starts_with(&pattern.name),
            (false, is_prefix) => !is_prefix && atom.name == pattern.name,
        };
        Some((0..).zip(atoms).filter(|(_, atom)| meant(atom)).map(|(code, _)| code).collect())
    }

    /// The word of one side's interface.
    pub fn interface(&mut self, side: Side) -> Vec<Bit> {
        match side {
            Side::In => self.bits(Key::Iif, "iifname", INTERFACE_WIDTH, Nature::Modelled),
            Side::Out => self.bits(Key::Oif, "oifname", INTERFACE_WIDTH, Nature::Modelled),
        }
    }
}
