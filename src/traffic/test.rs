//! The questions that a rule asks about a packet.
//!
//! Role: what `lower` makes of bytes, and what `walk` turns into sets of packets. Words are bits of the packet *as it
//! is when the rule sees it*: an earlier rule, or NAT, may have changed them.

use super::bdd::{Bit, Var};
use super::program::Hook;
use super::space::{NamePattern, Side, Space};
use std::sync::Arc;

/// An inclusive range of byte strings of equal length, most significant byte first.
pub type Range = (Vec<u8>, Vec<u8>);

/// A question about a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// All of these bits have these values; an empty list is true of each packet.
    Cube(Vec<(Var, bool)>),
    /// A word is in one of the ranges.
    In(Vec<Bit>, Arc<[Range]>),
    /// An interface has such a name.
    Interface(Side, NamePattern),
    /// A concatenation is one of these elements.
    Member(Vec<Part>, Elements),
    /// The packet is at one of these hooks: some extensions do one thing here and another there.
    Hook(&'static [Hook]),
    /// Not so.
    Not(Box<Test>),
    /// All of them.
    All(Vec<Test>),
    /// At least one of them.
    Any(Vec<Test>),
}

/// A part of a concatenation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Bits of the packet.
    Bits(Vec<Bit>),
    /// The name of an interface.
    Interface(Side),
}

/// The elements of a set, each part by part; questions of several rules share them.
pub type Elements = Arc<[Vec<Slot>]>;

/// What an element says of one part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// It is in this range.
    Range(Range),
    /// It is such a name.
    Name(NamePattern),
}

impl Test {
    /// True of each packet.
    pub const ALWAYS: Self = Self::Cube(Vec::new());

    /// True of none.
    pub fn never() -> Self {
        Self::Any(Vec::new())
    }

    /// Whether it is true of each packet, as far as that can be seen at once.
    pub fn is_always(&self) -> bool {
        matches!(self, Self::Cube(literals) if literals.is_empty())
    }

    /// Whether it is true of none, as far as that can be seen at once.
    pub fn is_never(&self) -> bool {
        matches!(self, Self::Any(tests) if tests.is_empty())
    }

    /// A word is exactly this value, whose bytes are in the order of the word's bits.
    pub fn equals(word: &[Bit], value: &[u8]) -> Self {
        Self::masked(word, &vec![0xff; value.len()], value)
    }

    /// All of these bits have these values, given in any order.
    pub fn cube(mut literals: Vec<(Var, bool)>) -> Self {
        if !literals.is_sorted() {
            literals.sort_unstable();
        }
        literals.dedup();
        // Equal neighbours that were left want one bit to have both values.
        if literals.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Self::never();
        }
        Self::Cube(literals)
    }

    /// The bits of a word that are set in `mask` are as in `value`.
    pub fn masked(word: &[Bit], mask: &[u8], value: &[u8]) -> Self {
        let mut literals: Vec<(Var, bool)> = Vec::with_capacity(word.len());
        for (at, bit) in word.iter().enumerate() {
            let shift = 7 - at % 8;
            let byte = |bytes: &[u8]| bytes.get(at / 8).is_some_and(|byte| byte >> shift & 1 == 1);
            if !byte(mask) {
                continue;
            }
            let (var, wanted) = match bit {
                Bit::Const(is) if *is == byte(value) => continue,
                Bit::Const(_) => return Self::never(),
                Bit::Var(var) => (*var, byte(value)),
                Bit::NotVar(var) => (*var, !byte(value)),
            };
            literals.push((var, wanted));
        }
        Self::cube(literals)
    }

    /// A word is between two values, both included.
    pub fn between(word: &[Bit], low: &[u8], high: &[u8]) -> Self {
        if low > high {
            return Self::never();
        }
        if low == high {
            return Self::equals(word, low);
        }
        if low.iter().all(|byte| *byte == 0) && high.iter().all(|byte| *byte == 0xff) {
            return Self::ALWAYS;
        }
        Self::In(word.to_vec(), [(low.to_vec(), high.to_vec())].into())
    }

    /// A word is in one of these ranges.
    pub fn in_ranges(word: &[Bit], ranges: Vec<Range>) -> Self {
        match &ranges[..] {
            [] => Self::never(),
            [(low, high)] => Self::between(word, low, high),
            _ => Self::In(word.to_vec(), ranges.into()),
        }
    }

    /// A single bit is set.
    pub fn bit(bit: Bit) -> Self {
        match bit {
            Bit::Const(true) => Self::ALWAYS,
            Bit::Const(false) => Self::never(),
            Bit::Var(var) => Self::Cube(vec![(var, true)]),
            Bit::NotVar(var) => Self::Cube(vec![(var, false)]),
        }
    }

    /// What has no model: a free variable with this text decides.
    pub fn free(space: &mut Space, text: &str) -> Self {
        let bit = space.free(text, 1);
        bit.first().map_or(Self::ALWAYS, |bit| Self::bit(*bit))
    }

    /// A rate, a quota or a count decides; `within` is what it says while nothing is exceeded.
    pub fn limit(space: &mut Space, text: &str, within: bool) -> Self {
        let bit = space.limit(text, within);
        bit.first().map_or(Self::ALWAYS, |bit| Self::bit(*bit))
    }

    /// An interface has such a name.
    pub fn interface(space: &mut Space, side: Side, pattern: NamePattern) -> Self {
        space.ask_interface(&pattern);
        Self::Interface(side, pattern)
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Self {
        match self {
            Self::Not(test) => *test,
            test if test.is_always() => Self::never(),
            test if test.is_never() => Self::ALWAYS,
            Self::Cube(literals) if literals.len() == 1 => {
                Self::Cube(literals.into_iter().map(|(var, value)| (var, !value)).collect())
            }
            test => Self::Not(Box::new(test)),
        }
    }

    /// Negated if `inverted`.
    #[must_use]
    pub fn inverted_if(self, inverted: bool) -> Self {
        if inverted { self.negated() } else { self }
    }

    /// All of them hold.
    pub fn all(tests: impl IntoIterator<Item = Self>) -> Self {
        let mut left: Vec<Self> = Vec::new();
        for test in tests {
            match test {
                test if test.is_never() => return Self::never(),
                test if test.is_always() => {}
                Self::All(more) => left.extend(more),
                test => left.push(test),
            }
        }
        match left.len() {
            0 => Self::ALWAYS,
            1 => left.swap_remove(0),
            _ => Self::All(left),
        }
    }

    /// At least one of them holds.
    pub fn any(tests: impl IntoIterator<Item = Self>) -> Self {
        let mut left: Vec<Self> = Vec::new();
        for test in tests {
            match test {
                test if test.is_always() => return Self::ALWAYS,
                Self::Any(more) => left.extend(more),
                test => left.push(test),
            }
        }
        if left.len() == 1 { left.swap_remove(0) } else { Self::Any(left) }
    }
}
