//! Rules that cannot match any packet that a question is about, told from their bytes.
//!
//! Input: what the packets have in common, from the changed rules; output: whether a rule is surely about others. To lower a
//! rule takes some ten times as long, and of ten thousand rules few have to do with a changed one. Only fields that no
//! rule changes are asked, so what a packet has when it comes, it has at each rule.

use super::super::space::{Base, Key, Kind, Space};
use super::super::test::Test;
use super::rule::Lowering;
use super::sets::Sets;
use super::{Common, meets};
use crate::compare::Difference;
use crate::model::{Backend, Family, Item, Ruleset};
use crate::netlink::Attrs;
use crate::netlink::nft::expr;
use crate::normalise::expressions;
use crate::traffic::program::Step;

/// With more changed rules than this, each rule is lowered.
const MOST: usize = 16;
/// Bytes of the fields that are asked: protocol, both addresses, both ports.
const LENGTH: usize = 1 + 16 + 16 + 2 + 2;
/// The fields, and where each begins.
const FIELDS: [(Key, usize); 5] =
    [(Key::Protocol, 0), (Key::Daddr, 1), (Key::Saddr, 17), (Key::Dport, 33), (Key::Sport, 35)];
/// Bytes of all registers (`NFT_REG32_NUM` of four bytes each).
const REGISTERS: usize = 64;

/// What some packets have in common: bits that are known, and their values.
#[derive(Clone, Copy)]
struct Pattern {
    known: [u8; LENGTH],
    value: [u8; LENGTH],
}

impl Pattern {
    const ANY: Self = Self { known: [0; LENGTH], value: [0; LENGTH] };
}

/// All packets that a question is about: each is of at least one pattern.
pub struct Outside {
    kind: Kind,
    patterns: Vec<Pattern>,
}

/// What a byte of a register holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cell {
    Unknown,
    Const(u8),
    /// A byte of [`Pattern`], of which only the bits in the mask are there.
    Field(u8, u8),
}

impl Outside {
    /// Of the packets that changed rules are about. None if something else than rules changed, or nothing is known of
    /// these packets.
    pub fn of<'d>(
        kind: Kind,
        before: &Ruleset,
        after: &Ruleset,
        differences: impl Iterator<Item = &'d Difference>,
    ) -> Option<Self> {
        let fixed = unchanged(kind, [before, after])?;
        let mut patterns = Vec::new();
        for difference in differences {
            for (item, ruleset) in [(&difference.before, before), (&difference.after, after)] {
                let Some(item) = item else { continue };
                let Item::Rule(..) = item else { return None };
                patterns.extend(pattern(kind, item, ruleset, fixed)?);
            }
            if patterns.len() > MOST {
                return None;
            }
        }
        (!patterns.is_empty()).then_some(Self { kind, patterns })
    }

    /// Whether no packet of any pattern gets past what the rule asks.
    pub(super) fn excludes(&self, family: Family, rule: &[u8]) -> bool {
        let mut possible: u32 = (1 << self.patterns.len()) - 1;
        let mut registers = [Cell::Unknown; REGISTERS];
        for expression in expressions(rule) {
            let name = expression.find(expr::NAME).map_or(&[][..], |name| name.string());
            let data = expression.find(expr::DATA).map_or(Attrs(&[]), |data| data.nested());
            let is_read = match name {
                b"cmp" => self.compare(data, &registers, &mut possible),
                b"payload" => self.payload(data, &mut registers),
                b"meta" => self.meta(family, data, &mut registers),
                b"bitwise" => mask(data, &mut registers),
                // They only ask, or only count.
                b"counter" | b"last" | b"log" | b"limit" | b"range" | b"match" => Some(()),
                b"ct" if number(data, attr::CT_SREG).is_none() => forget(data, attr::CT_DREG, &mut registers),
                b"lookup" if number(data, attr::LOOKUP_DREG).is_none() => Some(()),
                b"fib" => forget(data, attr::CT_DREG, &mut registers),
                // It may do something: what stands behind it does not make that undone.
                _ => None,
            };
            if possible == 0 {
                return true;
            }
            if is_read.is_none() {
                return false;
            }
        }
        false
    }

    /// Takes away the patterns whose packets all fail; none if the expression has another form.
    fn compare(&self, data: Attrs<'_>, registers: &[Cell; REGISTERS], possible: &mut u32) -> Option<()> {
        let wanted = data.find(attr::CMP_DATA)?.nested().find(expr::DATA_VALUE)?.payload;
        let cells = registers.get(start(number(data, attr::CMP_SREG)?)?..)?.get(..wanted.len())?;
        let is_equal = match number(data, attr::CMP_OP)? {
            0 => true,
            1 => false,
            _ => return Some(()),
        };
        for (at, pattern) in self.patterns.iter().enumerate() {
            let mut differs = false;
            let mut known = true;
            for (cell, wanted) in cells.iter().zip(wanted) {
                let (bits, value) = match *cell {
                    Cell::Unknown => (0, 0),
                    Cell::Const(value) => (0xff, value),
                    Cell::Field(byte, mask) => {
                        let byte = usize::from(byte);
                        // What the mask takes away is known to be zero.
                        (pattern.known[byte] | !mask, pattern.value[byte] & mask)
                    }
                };
                differs |= (value ^ wanted) & bits != 0;
                known &= bits == 0xff;
            }
            if if is_equal { differs } else { known && !differs } {
                *possible &= !(1 << at);
            }
        }
        Some(())
    }

    fn payload(&self, data: Attrs<'_>, registers: &mut [Cell; REGISTERS]) -> Option<()> {
        let base = match number(data, attr::PAYLOAD_BASE)? {
            1 => Base::Network,
            2 => Base::Transport,
            _ => return forget(data, attr::PAYLOAD_DREG, registers),
        };
        // Without it, it writes to the packet.
        let target = start(number(data, attr::PAYLOAD_DREG)?)?;
        let (offset, length) = (number(data, attr::PAYLOAD_OFFSET)?, number(data, attr::PAYLOAD_LEN)?);
        registers[target..].fill(Cell::Unknown);
        for (at, cell) in (offset..offset.checked_add(length)?).zip(&mut registers[target..]) {
            *cell = field(self.kind, base, at).map_or(Cell::Unknown, |byte| Cell::Field(byte, 0xff));
        }
        Some(())
    }

    fn meta(&self, family: Family, data: Attrs<'_>, registers: &mut [Cell; REGISTERS]) -> Option<()> {
        const NFPROTO: u32 = 15;
        const L4PROTO: u32 = 16;
        let target = start(number(data, attr::META_DREG)?)?;
        registers[target..].fill(Cell::Unknown);
        match (number(data, attr::META_KEY)?, self.kind, family) {
            (L4PROTO, Kind::Ip4 | Kind::Ip6, _) => registers[target] = Cell::Field(0, 0xff),
            (NFPROTO, Kind::Ip4, Family::Inet) => registers[target] = Cell::Const(Family::Ip.number()),
            (NFPROTO, Kind::Ip6, Family::Inet) => registers[target] = Cell::Const(Family::Ip6.number()),
            _ => {}
        }
        Some(())
    }
}

/// Attributes of expressions (linux/netfilter/nf_tables.h).
mod attr {
    pub const PAYLOAD_DREG: u16 = 1;
    pub const PAYLOAD_BASE: u16 = 2;
    pub const PAYLOAD_OFFSET: u16 = 3;
    pub const PAYLOAD_LEN: u16 = 4;
    pub const PAYLOAD_SREG: u16 = 5;
    pub const META_DREG: u16 = 1;
    pub const META_KEY: u16 = 2;
    pub const CT_DREG: u16 = 1;
    pub const CT_SREG: u16 = 4;
    pub const LOOKUP_DREG: u16 = 3;
    pub const CMP_SREG: u16 = 1;
    pub const CMP_OP: u16 = 2;
    pub const CMP_DATA: u16 = 3;
    pub const BITWISE_SREG: u16 = 1;
    pub const BITWISE_DREG: u16 = 2;
    pub const BITWISE_MASK: u16 = 4;
    pub const BITWISE_XOR: u16 = 5;
    pub const BITWISE_OP: u16 = 6;
}

fn number(data: Attrs<'_>, kind: u16) -> Option<u32> {
    data.find(kind)?.be32()
}

/// The first byte of a register.
fn start(register: u32) -> Option<usize> {
    match register {
        1..=4 => Some((register as usize - 1) * 16),
        8..=23 => Some((register as usize - 8) * 4),
        _ => None,
    }
}

/// Something else is in a register, and whatever else it takes.
fn forget(data: Attrs<'_>, target: u16, registers: &mut [Cell; REGISTERS]) -> Option<()> {
    let start = start(number(data, target)?)?;
    registers[start..].fill(Cell::Unknown);
    Some(())
}

/// `register & mask`, all other operations as what is not known.
fn mask(data: Attrs<'_>, registers: &mut [Cell; REGISTERS]) -> Option<()> {
    let bytes = |kind| Some(data.find(kind)?.nested().find(expr::DATA_VALUE)?.payload);
    let (from, to) = (start(number(data, attr::BITWISE_SREG)?)?, start(number(data, attr::BITWISE_DREG)?)?);
    let cells = *registers;
    registers[to..].fill(Cell::Unknown);
    let is_mask = number(data, attr::BITWISE_OP).unwrap_or(0) == 0
        && bytes(attr::BITWISE_XOR).is_some_and(|xor| xor.iter().all(|byte| *byte == 0));
    let mask = bytes(attr::BITWISE_MASK).filter(|_| is_mask).unwrap_or_default();
    for ((cell, mask), target) in cells[from..].iter().zip(mask).zip(&mut registers[to..]) {
        *target = match *cell {
            Cell::Field(byte, already) => Cell::Field(byte, already & mask),
            Cell::Const(value) => Cell::Const(value & mask),
            Cell::Unknown => Cell::Unknown,
        };
    }
    Some(())
}

/// Which byte of a pattern a byte of a header is (RFC 791, RFC 8200, RFC 9293).
fn field(kind: Kind, base: Base, at: u32) -> Option<u8> {
    let within = |first: u32, length: u32, place: u32| {
        (first..first + length).contains(&at).then(|| (place + at - first) as u8)
    };
    match (base, kind) {
        (Base::Network, Kind::Ip4) => {
            within(9, 1, 0).or_else(|| within(12, 4, 17)).or_else(|| within(16, 4, 1))
        }
        (Base::Network, Kind::Ip6) => {
            within(6, 1, 0).or_else(|| within(8, 16, 17)).or_else(|| within(24, 16, 1))
        }
        (Base::Transport, Kind::Ip4 | Kind::Ip6) => within(0, 2, 35).or_else(|| within(2, 2, 33)),
        _ => None,
    }
}

/// What a changed rule asks of these fields before anything else; none inside if it is about no packet of this kind, none
/// at all if it cannot be told.
fn pattern(kind: Kind, item: &Item, ruleset: &Ruleset, fixed: Fixed) -> Option<Option<Pattern>> {
    let Item::Rule(key, chain, place) = item else { return None };
    if !meets(kind, key.family) {
        return Some(None);
    }
    let table = ruleset.tables.get(key)?;
    let rule = table.chains.get(chain).or_else(|| table.anonymous.chains.get(chain))?.rules.get(*place)?;
    let (mut space, mut common, mut sets) = (Space::new(kind), Common::default(), Sets::default());
    let (space, common, sets) = (&mut space, &mut common, &mut sets);
    let steps = Lowering { space, ruleset, key, table, chain, common, sets }.rule(&rule.attrs).steps;
    let mut pattern = Pattern::ANY;
    for step in &steps {
        let Step::Test(test) = step else { break };
        if test.is_never() {
            return Some(None);
        }
        let Test::Cube(literals) = test else { continue };
        for (var, value) in literals {
            for (key, first) in FIELDS.iter().filter(|(key, _)| fixed.has(key)) {
                let Some(word) =
                    space.find(key).filter(|word| (word.start..word.start + word.width).contains(var))
                else {
                    continue;
                };
                let bit = (var - word.start) as usize;
                let mask = 0x80 >> (bit % 8);
                pattern.known[first + bit / 8] |= mask;
                pattern.value[first + bit / 8] |= if *value { mask } else { 0 };
            }
        }
    }
    Some(Some(pattern))
}

/// Which fields no rule changes.
#[derive(Clone, Copy)]
struct Fixed {
    ends: bool,
}

impl Fixed {
    fn has(self, key: &Key) -> bool {
        self.ends || *key == Key::Protocol
    }
}

/// None if a rule writes to packets, which may be anything.
fn unchanged(kind: Kind, rulesets: [&Ruleset; 2]) -> Option<Fixed> {
    /// Targets of iptables that change neither addresses nor ports (iptables-extensions(8)).
    const HARMLESS: [&[u8]; 8] =
        [b"LOG", b"NFLOG", b"REJECT", b"MARK", b"CONNMARK", b"CT", b"TCPMSS", b"CLASSIFY"];
    let mut fixed = Fixed { ends: true };
    for (key, table) in rulesets.into_iter().flat_map(|ruleset| &ruleset.tables) {
        if !matches!(key.backend, Backend::NfTables | Backend::Legacy) || !meets(kind, key.family) {
            continue;
        }
        let chains = table.chains.values().chain(table.anonymous.chains.values());
        for expression in chains.flat_map(|chain| &chain.rules).flat_map(|rule| expressions(&rule.attrs)) {
            let data = || expression.find(expr::DATA).map_or(Attrs(&[]), |data| data.nested());
            match expression.find(expr::NAME).map_or(&[][..], |name| name.string()) {
                b"payload" if data().find(attr::PAYLOAD_SREG).is_some() => return None,
                b"nat" | b"masq" | b"redir" | b"tproxy" => fixed.ends = false,
                b"target" => {
                    let name = data().find(expr::XT_NAME).map_or(&[][..], |name| name.string());
                    fixed.ends &= HARMLESS.contains(&name);
                }
                _ => {}
            }
        }
    }
    Some(fixed)
}
