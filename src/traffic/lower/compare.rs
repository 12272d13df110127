//! Expressions that work on registers: `immediate`, `bitwise`, `byteorder`, `cmp`, `range`.

use super::load::from_host;
use super::machine::{Cell, bits, host_order};
use super::rule::{Flow, Lowering, Making};
use crate::model::Name;
use crate::netlink::nft::expr;
use crate::netlink::{Attr, Attrs};
use crate::traffic::bdd::Bit;
use crate::traffic::program::{Step, Verdict};
use crate::traffic::space::{NamePattern, Side};
use crate::traffic::test::Test;

/// `enum nft_cmp_attributes`, `enum nft_range_attributes`, `enum nft_bitwise_attributes`, `enum nft_byteorder_attributes`.
mod attr {
    pub const SREG: u16 = 1;
    pub const OP: u16 = 2;
    pub const CMP_DATA: u16 = 3;
    pub const RANGE_FROM: u16 = 3;
    pub const RANGE_TO: u16 = 4;
    pub const DREG: u16 = 2;
    pub const BITWISE_LEN: u16 = 3;
    pub const BITWISE_MASK: u16 = 4;
    pub const BITWISE_XOR: u16 = 5;
    pub const BITWISE_OP: u16 = 6;
    pub const BITWISE_DATA: u16 = 7;
    pub const BYTEORDER_LEN: u16 = 4;
    pub const BYTEORDER_SIZE: u16 = 5;
}

/// The bytes of a `NFTA_DATA_VALUE` in an attribute.
fn value<'a>(attr: Attr<'a>) -> Option<&'a [u8]> {
    Some(attr.nested().find(expr::DATA_VALUE)?.payload)
}

impl Lowering<'_> {
    pub(super) fn immediate(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let content = data.find(expr::IMMEDIATE_DATA)?;
        if let Some(verdict) = content.nested().find(expr::DATA_VERDICT) {
            let verdict = self.verdict(verdict.nested())?;
            making.steps.push(Step::Verdict(verdict));
            return Some(Flow::End);
        }
        let cells: Vec<Cell> = value(content)?.iter().map(|byte| Cell::constant(*byte)).collect();
        making.registers.store(data.find(expr::IMMEDIATE_DREG)?.be32()?, &cells)?;
        Some(Flow::On)
    }

    /// `enum nft_verdicts`, `NF_*`.
    pub(super) fn verdict(&mut self, verdict: Attrs<'_>) -> Option<Verdict> {
        let mut chain = || {
            let name = verdict.find(expr::VERDICT_CHAIN)?.string();
            Some(self.common.id(self.key, &Name(name.to_vec())))
        };
        Some(match verdict.find(expr::VERDICT_CODE)?.be32()?.cast_signed() {
            0 => Verdict::Drop,
            1 => Verdict::Accept,
            -1 | -2 => Verdict::Continue,
            -3 => Verdict::Jump(chain()?),
            -4 => Verdict::Goto(chain()?),
            -5 => Verdict::Return,
            _ => return None,
        })
    }

    pub(super) fn bitwise(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        let length = number(attr::BITWISE_LEN)? as usize;
        let cells = making.registers.load(number(attr::SREG)?, length)?.to_vec();
        let cells = match number(attr::BITWISE_OP).unwrap_or(0) {
            0 => {
                let mask = value(data.find(attr::BITWISE_MASK)?)?;
                let xor = value(data.find(attr::BITWISE_XOR)?)?;
                masked(&cells, mask, xor)?
            }
            operation @ (1 | 2) => {
                let by = value(data.find(attr::BITWISE_DATA)?)?;
                let by = u32::from_ne_bytes(by.get(..4)?.try_into().ok()?) as usize;
                shifted(&cells, by, operation == 1)?
            }
            _ => return None,
        };
        making.registers.store(number(attr::DREG)?, &cells)?;
        Some(Flow::On)
    }

    pub(super) fn byteorder(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        let (length, size) = (number(attr::BYTEORDER_LEN)? as usize, number(attr::BYTEORDER_SIZE)? as usize);
        let mut cells = making.registers.load(number(attr::SREG)?, length)?.to_vec();
        if !matches!(size, 2 | 4 | 8) {
            return None;
        }
        if cfg!(target_endian = "little") {
            cells.chunks_exact_mut(size).for_each(<[Cell]>::reverse);
        }
        making.registers.store(number(attr::DREG)?, &cells)?;
        Some(Flow::On)
    }

    pub(super) fn cmp(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let wanted = value(data.find(attr::CMP_DATA)?)?;
        let cells = making.registers.load(data.find(attr::SREG)?.be32()?, wanted.len())?.to_vec();
        let least = vec![0; wanted.len()];
        let most = vec![0xff; wanted.len()];
        let test = match data.find(attr::OP)?.be32()? {
            0 => self.equals(&cells, wanted)?,
            1 => self.equals(&cells, wanted)?.negated(),
            2 => Test::between(&bits(&cells)?, wanted, &most).negated(),
            3 => Test::between(&bits(&cells)?, &least, wanted),
            4 => Test::between(&bits(&cells)?, &least, wanted).negated(),
            5 => Test::between(&bits(&cells)?, wanted, &most),
            _ => return None,
        };
        Some(making.test(test))
    }

    pub(super) fn range(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let from = value(data.find(attr::RANGE_FROM)?)?;
        let to = value(data.find(attr::RANGE_TO)?)?;
        let cells = making.registers.load(data.find(attr::SREG)?.be32()?, from.len())?.to_vec();
        let test = Test::between(&bits(&cells)?, from, to);
        match data.find(attr::OP)?.be32()? {
            0 => Some(making.test(test)),
            1 => Some(making.test(test.negated())),
            _ => None,
        }
    }

    /// Whether cells have this value; also names and indices of interfaces.
    pub(super) fn equals(&mut self, cells: &[Cell], wanted: &[u8]) -> Option<Test> {
        if let Some(bits) = bits(cells) {
            return Some(Test::equals(&bits, wanted));
        }
        let (side, pattern) = self.asked_interface(cells, wanted)?;
        Some(Test::interface(self.space, side, pattern))
    }

    /// What cells that are the name or the index of an interface are compared with.
    pub(super) fn asked_interface(&self, cells: &[Cell], wanted: &[u8]) -> Option<(Side, NamePattern)> {
        match *cells.first()? {
            Cell::Name(side, 0) => {
                let whole = cells.len() == 16;
                let end = wanted.iter().position(|byte| *byte == 0).unwrap_or(wanted.len());
                Some((
                    side,
                    NamePattern { name: wanted[..end].to_vec(), is_prefix: !whole && end == wanted.len() },
                ))
            }
            Cell::Index(side, 0) if cells.len() == 4 => {
                let index = u32::from_ne_bytes(wanted.try_into().ok()?);
                Some((side, self.interface_at(index)))
            }
            Cell::Name(..) | Cell::Index(..) | Cell::Bits(_) => None,
        }
    }

    /// The interface with an index; one that is not there has a name that no interface can have.
    pub(super) fn interface_at(&self, index: u32) -> NamePattern {
        match self.ruleset.interfaces.get(&index) {
            Some(name) => NamePattern::exact(name),
            None if index == 0 => NamePattern::exact(b""),
            None => NamePattern::exact(format!("index {index}").as_bytes()),
        }
    }
}

/// `(register & mask) ^ xor` (nft_bitwise.c).
fn masked(cells: &[Cell], mask: &[u8], xor: &[u8]) -> Option<Vec<Cell>> {
    let mut out = Vec::with_capacity(cells.len());
    for (at, cell) in cells.iter().enumerate() {
        let (mask, xor) = (*mask.get(at)?, *xor.get(at)?);
        out.push(match cell {
            cell if mask == 0xff && xor == 0 => *cell,
            _ if mask == 0 => Cell::constant(xor),
            Cell::Bits(bits) => Cell::Bits(std::array::from_fn(|bit| {
                let is_set = |byte: u8| byte >> (7 - bit) & 1 == 1;
                match (is_set(mask), is_set(xor), bits[bit]) {
                    (false, xor, _) => Bit::Const(xor),
                    (true, false, bit) => bit,
                    (true, true, Bit::Const(is)) => Bit::Const(!is),
                    (true, true, Bit::Var(var)) => Bit::NotVar(var),
                    (true, true, Bit::NotVar(var)) => Bit::Var(var),
                }
            })),
            Cell::Name(..) | Cell::Index(..) => return None,
        });
    }
    Some(out)
}

/// Shifts, over words of 32 bits in the host's byte order of which the first is the most significant
/// (nft_bitwise.c, `nft_bitwise_eval_lshift`).
fn shifted(cells: &[Cell], by: usize, left: bool) -> Option<Vec<Cell>> {
    let mut padded = cells.to_vec();
    padded.resize(cells.len().next_multiple_of(4), Cell::constant(0));
    let mut all: Vec<Bit> = Vec::new();
    for word in padded.chunks_exact(4) {
        all.extend(from_host(word.to_vec())?);
    }
    let zeros = vec![Bit::Const(false); by.min(all.len())];
    let moved: Vec<Bit> = if left {
        all[zeros.len()..].iter().copied().chain(zeros).collect()
    } else {
        zeros.iter().copied().chain(all[..all.len() - zeros.len()].iter().copied()).collect()
    };
    let mut out: Vec<Cell> = moved.chunks_exact(32).flat_map(host_order).collect();
    out.truncate(cells.len());
    Some(out)
}
