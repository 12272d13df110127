//! Extensions of x_tables in rules of iptables-nft, ip6tables-nft, arptables-nft and ebtables-nft, as tests and steps.
//!
//! Input: an extension's name, revision and structure (include/uapi/linux/netfilter*/), as the kernel dumps it;
//! output: what the module of that name (net/netfilter/xt_*.c, net/bridge/netfilter/ebt_*.c) asks of a packet, or does
//! to it. What has no model becomes a free variable, whose text is as near as can be to what iptables-save prints. A
//! structure that is too short, and an extension that is not known, are free, too: nothing is skipped.

mod conntrack;
mod ebtables;
mod ipset;
mod marks;
mod members;
mod nat;
mod packet;
mod ports;
mod stateful;
mod u32;
mod words;

use crate::model::{Digest, Family, Name, Ruleset, text_from_kernel};
use crate::netlink::Attrs;
use crate::netlink::nft::expr;
use crate::normalise::expressions;
use crate::normalise::xt_set::NAMES;
use crate::traffic::bdd::{Bit, Var};
use crate::traffic::program::{Step, Verdict};
use crate::traffic::space::{Base, Key, Kind, Nature, Space};
use crate::traffic::test::Test;

/// An expression `match` or `target`.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The extension's name.
    pub name: &'a [u8],
    /// Its revision.
    pub revision: u32,
    /// Its structure.
    pub info: &'a [u8],
    /// The expression's attributes, where names of sets stand (`normalise::xt_set::NAMES`).
    pub data: Attrs<'a>,
    /// The family of the table.
    pub family: Family,
    /// The ruleset, whose ipsets can be asked for.
    pub ruleset: &'a Ruleset,
    /// Text that names the rule, for state that belongs to it alone.
    pub place: &'a str,
}

impl<'a> Asked<'a> {
    fn info(&self) -> Info<'a> {
        Info(self.info)
    }

    /// What the words of an extension without a model are.
    fn unknown(&self, what: &str) -> String {
        let name = text_from_kernel(self.name);
        format!("xt {what} {name} rev {} #{}", self.revision, short_digest(self.info))
    }

    /// Words about state that this rule alone has.
    fn own(&self, text: &str) -> String {
        format!("{text} ({})", self.place)
    }
}

/// What a `match` expression asks.
pub fn matched(space: &mut Space, asked: &Asked<'_>) -> Test {
    let test = if asked.family == Family::Bridge {
        ebtables::matched(space, asked).or_else(|| match_of(space, asked))
    } else {
        match_of(space, asked)
    };
    test.unwrap_or_else(|| Test::free(space, &asked.unknown("match")))
}

/// What a `target` expression does.
pub fn target(space: &mut Space, asked: &Asked<'_>) -> Vec<Step> {
    let steps = match asked.family {
        Family::Bridge => ebtables::target(space, asked).or_else(|| target_of(space, asked)),
        Family::Arp => ebtables::mangle_arp(space, asked).or_else(|| target_of(space, asked)),
        Family::Inet | Family::Ip | Family::Ip6 | Family::Netdev | Family::Unspec => target_of(space, asked),
    };
    steps.unwrap_or_else(|| undecided(space, &asked.unknown("target")))
}

/// Whether a rule looks into a set of ipset, or writes to one.
pub fn uses_set(rule_attrs: &[u8]) -> bool {
    let data = expressions(rule_attrs).filter_map(|expression| expression.find(expr::DATA));
    data.flat_map(|data| data.nested().flatten()).any(|attr| attr.kind >= NAMES)
}

/// Whether a rule looks into this set of ipset or writes to it, also by way of a list.
pub fn names_set(rule_attrs: &[u8], name: &Name, ruleset: &Ruleset) -> bool {
    let data = expressions(rule_attrs).filter_map(|expression| expression.find(expr::DATA));
    let mut names = data.flat_map(|data| data.nested().flatten()).filter(|attr| attr.kind >= NAMES);
    names.any(|attr| attr.string() == name.0 || ipset::lists(ruleset, &Name(attr.string().to_vec()), name))
}

/// Accepts, drops or does neither, as two free variables say.
fn undecided(space: &mut Space, text: &str) -> Vec<Step> {
    let decides = Test::free(space, &format!("{text} decides"));
    let accepts = Test::free(space, &format!("{text} accepts"));
    vec![Step::Branch(vec![
        (Test::all([decides.clone(), accepts.clone()]), vec![Step::Verdict(Verdict::Accept)]),
        (Test::all([decides, accepts.negated()]), vec![Step::Verdict(Verdict::Drop)]),
    ])]
}

fn match_of(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    match asked.name {
        b"tcp" => ports::tcp(space, asked),
        b"udp" | b"udplite" => ports::udp(space, asked),
        b"sctp" => ports::sctp(space, asked),
        b"dccp" => ports::dccp(space, asked),
        b"multiport" => ports::multiport(space, asked),
        b"icmp" => ports::icmp(space, asked, ports::IcmpAny::Is255),
        b"icmp6" => ports::icmp(space, asked, ports::IcmpAny::None),
        b"esp" | b"ah" | b"ipcomp" => ports::index(space, asked),
        b"mh" => ports::mobility(space, asked),
        b"conntrack" => conntrack::conntrack(space, asked),
        b"state" => conntrack::state(space, asked),
        b"connmark" => conntrack::connmark(space, asked),
        b"connlabel" => conntrack::connlabel(space, asked),
        b"connbytes" => conntrack::connbytes(space, asked),
        b"set" => ipset::matched(space, asked),
        b"u32" => u32::matched(space, asked),
        b"mark" => packet::mark(space, asked),
        b"iprange" => packet::iprange(space, asked),
        b"addrtype" => packet::addrtype(space, asked),
        b"mac" => packet::mac(space, asked),
        b"physdev" => packet::physdev(space, asked),
        b"owner" => packet::owner(space, asked),
        b"pkttype" => packet::pkttype(space, asked),
        b"ttl" | b"hl" => packet::hops(space, asked),
        b"length" => packet::length(space, asked),
        b"dscp" | b"tos" => packet::service(space, asked),
        b"ecn" => packet::ecn(space, asked),
        b"realm" => packet::realm(space, asked),
        b"cpu" => packet::cpu(space, asked),
        b"devgroup" => packet::devgroup(space, asked),
        b"cgroup" => packet::cgroup(space, asked),
        b"policy" => packet::policy(space, asked),
        // Objects of nfacct that have a quota also say whether it is used up; such objects are in no ruleset.
        b"comment" | b"nfacct" => Some(Test::ALWAYS),
        b"statistic" => stateful::statistic(space, asked),
        b"recent" => stateful::recent(space, asked),
        _ => stateful::words(asked).or_else(|| words::words(asked)).map(|free| free.test(space, asked)),
    }
}

fn target_of(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    match asked.name {
        b"REJECT" => Some(vec![Step::Verdict(Verdict::Reject)]),
        b"LOG" | b"NFLOG" | b"ULOG" | b"TRACE" | b"AUDIT" | b"ACCOUNT" | b"CHECKSUM" | b"TCPMSS"
        | b"TCPOPTSTRIP" | b"SECMARK" | b"CONNSECMARK" | b"LED" | b"IDLETIMER" | b"RATEEST" | b"TEE" => {
            Some(Vec::new())
        }
        b"SYNPROXY" => Some(marks::synproxy(space)),
        b"CLASSIFY" => marks::classify(space, asked),
        b"MARK" => marks::mark(space, asked),
        b"CONNMARK" => marks::connmark(space, asked),
        b"HMARK" => Some(marks::hmark(space, asked)),
        b"DSCP" | b"TOS" => marks::service(space, asked),
        b"TTL" | b"HL" => marks::hops(space, asked),
        b"ECN" => marks::ecn(space, asked),
        b"CT" | b"NOTRACK" => marks::ct(space, asked),
        b"TPROXY" => marks::tproxy(space, asked),
        b"NFQUEUE" => marks::nfqueue(space, asked),
        b"SET" => ipset::target(space, asked),
        b"DNAT" | b"SNAT" | b"REDIRECT" | b"MASQUERADE" => nat::translate(space, asked),
        b"NETMAP" => nat::netmap(space, asked),
        b"DNPT" | b"SNPT" => nat::prefix(space, asked),
        _ => None,
    }
}

/// What decides, where fwdrift has no model.
struct Free {
    text: String,
    inverted: bool,
    /// Whether each rule has its own.
    own: bool,
}

impl Free {
    fn test(self, space: &mut Space, asked: &Asked<'_>) -> Test {
        let text = if self.own { asked.own(&self.text) } else { self.text };
        let test = match stateful::within(asked.name) {
            Some(within) => Test::limit(space, &text, within),
            None => Test::free(space, &text),
        };
        test.inverted_if(self.inverted)
    }
}

/// An extension's bytes. Numbers are the host's; those of a packet are in network byte order and read as bytes.
#[derive(Clone, Copy)]
struct Info<'a>(&'a [u8]);

impl<'a> Info<'a> {
    fn bytes(self, at: usize, length: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(length)?)
    }

    fn u8(self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    fn u16(self, at: usize) -> Option<u16> {
        Some(u16::from_ne_bytes(self.bytes(at, 2)?.try_into().ok()?))
    }

    fn be16(self, at: usize) -> Option<u16> {
        self.u16(at).map(u16::from_be)
    }

    fn u32(self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(at, 4)?.try_into().ok()?))
    }

    fn u64(self, at: usize) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes(at, 8)?.try_into().ok()?))
    }

    /// Text that ends at its first zero, or with its field.
    fn string(self, at: usize, length: usize) -> Option<String> {
        let field = self.bytes(at, length)?;
        Some(text_from_kernel(field.split(|byte| *byte == 0).next()?))
    }
}

/// Which end of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

/// The bits of an address; none for packets without addresses.
fn address(space: &mut Space, end: End) -> Option<Vec<Bit>> {
    let at = match (space.kind(), end) {
        (Kind::Ip4, End::Source) => (12, 4),
        (Kind::Ip4, End::Destination) => (16, 4),
        (Kind::Ip6, End::Source) => (8, 16),
        (Kind::Ip6, End::Destination) => (24, 16),
        (Kind::Arp | Kind::Other, _) => return None,
    };
    Some(space.payload(Base::Network, at.0, at.1))
}

/// The bits of a port.
fn port(space: &mut Space, end: End) -> Vec<Bit> {
    let offset = match end {
        End::Source => 0,
        End::Destination => 2,
    };
    space.payload(Base::Transport, offset, 2)
}

/// The byte of an IP header that holds DSCP and ECN.
fn service_field(space: &mut Space) -> Option<Vec<Bit>> {
    match space.kind() {
        Kind::Ip4 => Some(space.payload(Base::Network, 1, 1)),
        Kind::Ip6 => Some(space.payload(Base::Network, 0, 2)[4..12].to_vec()),
        Kind::Arp | Kind::Other => None,
    }
}

/// The byte of an IP header that counts hops.
fn hops_field(space: &mut Space) -> Option<Vec<Bit>> {
    match space.kind() {
        Kind::Ip4 => Some(space.payload(Base::Network, 8, 1)),
        Kind::Ip6 => Some(space.payload(Base::Network, 7, 1)),
        Kind::Arp | Kind::Other => None,
    }
}

/// A packet of which the transport header can be read: no later fragment, where a rule tells fragments apart.
fn has_transport(space: &Space) -> Test {
    match (space.kind(), space.find(&Key::Header(Base::Network, 51))) {
        (Kind::Ip4, Some(word)) => {
            Test::Cube((word.start..word.start + word.width).map(|var| (var, false)).collect())
        }
        (Kind::Ip4, None) | (Kind::Ip6, _) => Test::ALWAYS,
        (Kind::Arp | Kind::Other, _) => Test::never(),
    }
}

/// The packet has a connection: it is neither invalid nor untracked.
fn has_connection(space: &Space) -> Test {
    let states: Vec<(Var, bool)> =
        ["invalid", "untracked"].iter().filter_map(|name| Some((space.state(name)?, false))).collect();
    Test::all([Test::Cube(states)])
}

fn direction(space: &mut Space) -> Vec<Bit> {
    space.bits(Key::Direction, "ct direction", 1, Nature::Modelled)
}

/// A word of at most 64 bits, as a number, is between two others.
fn number(word: &[Bit], low: u64, high: u64) -> Test {
    let bytes = word.len().div_ceil(8);
    let largest = if word.len() < 64 { (1 << word.len()) - 1 } else { u64::MAX };
    if low > high || low > largest {
        return Test::never();
    }
    // In front of bits that fill no byte.
    let mut whole = vec![Bit::Const(false); 8 * bytes - word.len()];
    whole.extend_from_slice(word);
    if (low, high.min(largest)) == (0, largest) {
        return Test::ALWAYS;
    }
    Test::between(&whole, &low.to_be_bytes()[8 - bytes..], &high.min(largest).to_be_bytes()[8 - bytes..])
}

/// `(word & mask) == value`, as the kernel compares: never, if the value has a bit beside the mask.
fn masked(word: &[Bit], mask: &[u8], value: &[u8]) -> Test {
    if mask.iter().zip(value).any(|(mask, value)| value & !mask != 0) {
        return Test::never();
    }
    Test::masked(word, mask, value)
}

/// The same of 32 bits.
fn masked32(word: &[Bit], mask: u32, value: u32) -> Test {
    masked(word, &mask.to_be_bytes(), &value.to_be_bytes())
}

/// Any of the bits of a number is set.
fn any_bit(word: &[Bit], mask: u32) -> Test {
    let bits = word.iter().rev().enumerate().filter(|(number, _)| *number < 32 && mask >> number & 1 == 1);
    Test::any(bits.map(|(_, bit)| Test::bit(*bit)))
}

/// Bits that are written over others.
fn assign(target: &[Bit], value: &[Bit]) -> Vec<Step> {
    let changes = changes(target, value);
    if changes.is_empty() { Vec::new() } else { vec![Step::Set(changes)] }
}

fn changes(target: &[Bit], value: &[Bit]) -> Vec<(Var, Bit)> {
    let changed = target.iter().zip(value).filter_map(|(target, value)| match target {
        Bit::Var(var) if *value != Bit::Var(*var) => Some((*var, *value)),
        Bit::Var(_) | Bit::NotVar(_) | Bit::Const(_) => None,
    });
    changed.collect()
}

/// A value as bits.
fn constant(value: &[u8]) -> Vec<Bit> {
    let bits = value.iter().flat_map(|byte| (0..8).rev().map(move |n| byte >> n & 1 == 1));
    bits.map(Bit::Const).collect()
}

fn opposite(bit: Bit) -> Bit {
    match bit {
        Bit::Const(value) => Bit::Const(!value),
        Bit::Var(var) => Bit::NotVar(var),
        Bit::NotVar(var) => Bit::Var(var),
    }
}

/// `(word & !mask) ^ value`.
fn replaced(word: &[Bit], mask: u32, value: u32) -> Vec<Bit> {
    let place = |at: usize| 1u32 << (word.len() - 1 - at);
    let new = word.iter().enumerate().map(|(at, bit)| {
        let kept = if mask & place(at) == 0 { *bit } else { Bit::Const(false) };
        if value & place(at) == 0 { kept } else { opposite(kept) }
    });
    new.collect()
}

/// Enough of a digest to tell structures apart in a text.
fn short_digest(bytes: &[u8]) -> String {
    Digest::of([bytes]).to_string()[..12].to_owned()
}
