//! Whether a test holds for one packet. Pure.
//!
//! Role: the meaning of [`Test`] for a single assignment of the variables, without decision diagrams. Bits that
//! nobody has set are 0, and an interface that nobody has named is none.

use super::bdd::{Bit, Var};
use super::program::Hook;
use super::space::Side;
use super::test::{Part, Range, Slot, Test};
use std::collections::HashMap;

/// One packet, and what else is known about it.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    bits: HashMap<Var, bool>,
    /// The name of the interface that it came in by; empty if none.
    pub iif: Vec<u8>,
    /// The name of the interface that it goes out by; empty if none.
    pub oif: Vec<u8>,
    /// Where it is; none if that was not said.
    pub hook: Option<Hook>,
}

impl Packet {
    /// A bit's value.
    pub fn bit(&self, bit: Bit) -> bool {
        let is = |var| self.bits.get(&var).copied().unwrap_or(false);
        match bit {
            Bit::Const(value) => value,
            Bit::Var(var) => is(var),
            Bit::NotVar(var) => !is(var),
        }
    }

    /// Sets a variable.
    pub fn put_var(&mut self, var: Var, value: bool) {
        self.bits.insert(var, value);
    }

    /// Sets a word to a value, whose bytes are in the order of the word's bits.
    pub fn put(&mut self, word: &[Bit], value: &[u8]) {
        for (at, bit) in word.iter().enumerate() {
            let is = value.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
            match bit {
                Bit::Const(_) => {}
                Bit::Var(var) => self.put_var(*var, is),
                Bit::NotVar(var) => self.put_var(*var, !is),
            }
        }
    }

    /// A word's value; bits that fill its last byte up are 0.
    pub fn value(&self, word: &[Bit]) -> Vec<u8> {
        let mut bytes = vec![0; word.len().div_ceil(8)];
        for (at, bit) in word.iter().enumerate() {
            bytes[at / 8] |= u8::from(self.bit(*bit)) << (7 - at % 8);
        }
        bytes
    }

    /// Writes over bits, all at once, as [`super::program::Step::Set`] does.
    pub fn change(&mut self, changes: &[(Var, Bit)]) {
        let values: Vec<(Var, bool)> = changes.iter().map(|(var, bit)| (*var, self.bit(*bit))).collect();
        self.bits.extend(values);
    }

    fn interface(&self, side: Side) -> &[u8] {
        match side {
            Side::In => &self.iif,
            Side::Out => &self.oif,
        }
    }
}

impl Test {
    /// Whether it is true of this packet.
    pub fn holds(&self, packet: &Packet) -> bool {
        let within = |value: &[u8], (low, high): &Range| &low[..] <= value && value <= &high[..];
        match self {
            Self::Cube(literals) => literals.iter().all(|(var, is)| packet.bit(Bit::Var(*var)) == *is),
            Self::In(word, ranges) => {
                let value = packet.value(word);
                ranges.iter().any(|range| within(&value, range))
            }
            Self::Interface(side, pattern) => pattern.matches(packet.interface(*side)),
            Self::Member(parts, elements) => {
                let fits = |(part, slot): (&Part, &Slot)| match (part, slot) {
                    (Part::Bits(word), Slot::Range(range)) => within(&packet.value(word), range),
                    (Part::Interface(side), Slot::Name(pattern)) => pattern.matches(packet.interface(*side)),
                    (Part::Bits(_), Slot::Name(_)) | (Part::Interface(_), Slot::Range(_)) => false,
                };
                elements.iter().any(|element| parts.iter().zip(element).all(fits))
            }
            Self::Hook(hooks) => packet.hook.is_some_and(|hook| hooks.contains(&hook)),
            Self::Not(test) => !test.holds(packet),
            Self::All(tests) => tests.iter().all(|test| test.holds(packet)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(packet)),
        }
    }
}
