//! Words of bits, as header fields are: equal to a value, within a range, within any of many ranges.
//!
//! The bits of a word may be variables in any order, opposites of them and constants, as address translation makes
//! them. The quick case is that of ascending variables.

use super::{Bdd, Bit, Exhausted, Node, Var};

/// Two ends, both included; big-endian, of one length.
type Range = (Vec<u8>, Vec<u8>);

impl Bdd {
    /// The packets in which `word` (most significant bit first) has this value (big-endian). The shorter of the two
    /// is taken to have zeros in front.
    pub fn equals(&mut self, word: &[Bit], value: &[u8]) -> Result<Node, Exhausted> {
        let (word, length) = aligned(word, value.len());
        let value = extended(value, length);
        let mut literals: Vec<(Var, bool)> = Vec::with_capacity(word.len());
        for (place, bit) in word.iter().enumerate() {
            let wanted = bit_of(&value, place);
            match *bit {
                Bit::Const(known) if known == wanted => {}
                Bit::Const(_) => return Ok(Node::FALSE),
                Bit::Var(var) => literals.push((var, wanted)),
                Bit::NotVar(var) => literals.push((var, !wanted)),
            }
        }
        self.cube(&literals)
    }

    /// The packets in which `word` (most significant bit first) is at least `low` and at most `high` (big-endian).
    /// What is shorter is taken to have zeros in front; a range whose ends are the wrong way round is empty.
    pub fn between(&mut self, word: &[Bit], low: &[u8], high: &[u8]) -> Result<Node, Exhausted> {
        let (word, length) = aligned(word, low.len().max(high.len()));
        let (low, high) = (extended(low, length), extended(high, length));
        if low > high {
            return Ok(Node::FALSE);
        }
        self.whole(|bdd| bdd.within(&word, 0, Some(&low), Some(&high)))
    }

    /// The packets in which `word` is within any of the ranges, as [`Bdd::between`] has them. In any order; they may
    /// overlap.
    pub fn union_of_ranges(&mut self, word: &[Bit], ranges: &[Range]) -> Result<Node, Exhausted> {
        let longest = ranges.iter().map(|range| range.0.len().max(range.1.len())).max().unwrap_or(0);
        let (word, length) = aligned(word, longest);
        let extended = ranges.iter().map(|(low, high)| (extended(low, length), extended(high, length)));
        let merged = merge(extended.collect());
        self.whole(|bdd| bdd.any_range(&word, 0, Block { ranges: &merged, before: false, after: false }))
    }

    /// What `bit` decides between.
    pub(super) fn choose(&mut self, bit: Bit, low: Node, high: Node) -> Result<Node, Exhausted> {
        let (var, low, high) = match bit {
            Bit::Const(value) => return Ok(if value { high } else { low }),
            Bit::Var(var) => (var, low, high),
            Bit::NotVar(var) => (var, high, low),
        };
        if var < self.var(low) && var < self.var(high) {
            return self.decide(var, low, high);
        }
        let condition = self.literal(var, true)?;
        self.ite_from(condition, high, low)
    }

    /// The bits of `word` from `from` on are within these ends; `None` is no bound. `low` is at most `high`.
    fn within(
        &mut self,
        word: &[Bit],
        from: usize,
        low: Option<&[u8]>,
        high: Option<&[u8]>,
    ) -> Result<Node, Exhausted> {
        // Down to the first bit in which they differ, a value is within both bounds only if it has their bits.
        let fork = match (low, high) {
            (Some(low), Some(high)) => {
                (from..word.len()).find(|at| bit_of(low, *at) != bit_of(high, *at)).unwrap_or(word.len())
            }
            (None, Some(_)) | (Some(_), None) | (None, None) => from,
        };
        let below = match (low, high) {
            (None, None) => Node::TRUE,
            (Some(low), None) => self.at_least(word, fork, low)?,
            (None, Some(high)) => self.at_most(word, fork, high)?,
            (Some(_), Some(_)) if fork == word.len() => Node::TRUE,
            (Some(low), Some(high)) => {
                let upper = self.at_most(word, fork + 1, high)?;
                let lower = self.at_least(word, fork + 1, low)?;
                self.choose(word[fork], lower, upper)?
            }
        };
        let common = low.or(high).unwrap_or(&[]);
        (from..fork).rev().try_fold(below, |below, at| {
            if bit_of(common, at) {
                self.choose(word[at], Node::FALSE, below)
            } else {
                self.choose(word[at], below, Node::FALSE)
            }
        })
    }

    fn at_least(&mut self, word: &[Bit], from: usize, low: &[u8]) -> Result<Node, Exhausted> {
        self.step()?;
        (from..word.len()).rev().try_fold(Node::TRUE, |below, at| {
            if bit_of(low, at) {
                self.choose(word[at], Node::FALSE, below)
            } else {
                self.choose(word[at], below, Node::TRUE)
            }
        })
    }

    fn at_most(&mut self, word: &[Bit], from: usize, high: &[u8]) -> Result<Node, Exhausted> {
        self.step()?;
        (from..word.len()).rev().try_fold(Node::TRUE, |below, at| {
            if bit_of(high, at) {
                self.choose(word[at], Node::TRUE, below)
            } else {
                self.choose(word[at], below, Node::FALSE)
            }
        })
    }

    /// The bits of `word` from `from` on are within any of the block's ranges.
    fn any_range(&mut self, word: &[Bit], from: usize, block: Block<'_>) -> Result<Node, Exhausted> {
        let ranges = block.ranges;
        if ranges.is_empty() {
            return Ok(Node::FALSE);
        }
        self.step()?;
        if let [(low, high)] = ranges {
            let low = (!block.before).then_some(low.as_slice());
            let high = (!block.after).then_some(high.as_slice());
            return self.within(word, from, low, high);
        }
        let (lower, upper) = block.halves(from);
        // Of a constant bit only one half is of interest.
        let (lower, upper) = match word[from] {
            Bit::Const(true) => (Node::FALSE, self.any_range(word, from + 1, upper)?),
            Bit::Const(false) => (self.any_range(word, from + 1, lower)?, Node::FALSE),
            Bit::Var(_) | Bit::NotVar(_) => {
                (self.any_range(word, from + 1, lower)?, self.any_range(word, from + 1, upper)?)
            }
        };
        self.choose(word[from], lower, upper)
    }
}

/// The ranges that meet the values with one prefix: ascending and disjoint.
#[derive(Clone, Copy)]
struct Block<'a> {
    ranges: &'a [Range],
    /// The first range begins before the block.
    before: bool,
    /// The last range ends after the block.
    after: bool,
}

impl<'a> Block<'a> {
    /// The ranges that meet the values in which this bit is zero, and those in which it is one.
    fn halves(self, bit: usize) -> (Block<'a>, Block<'a>) {
        let ranges = self.ranges;
        let last = ranges.len() - 1;
        let begins_upper = |at: usize| !(self.before && at == 0) && bit_of(&ranges[at].0, bit);
        let ends_upper = |at: usize| (self.after && at == last) || bit_of(&ranges[at].1, bit);
        let lower_end = first_that(ranges.len(), begins_upper);
        let upper_start = first_that(ranges.len(), ends_upper);
        // At most one range is in both halves.
        let crosses = upper_start < lower_end;
        let lower =
            Block { ranges: &ranges[..lower_end], before: self.before && lower_end > 0, after: crosses };
        let upper = Block {
            ranges: &ranges[upper_start..],
            before: crosses,
            after: self.after && upper_start < ranges.len(),
        };
        (lower, upper)
    }
}

/// The first number below `count` of which `holds` is true, as it then is of all after it; `count` if there is none.
fn first_that(count: usize, holds: impl Fn(usize) -> bool) -> usize {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        if holds(middle) { to = middle } else { from = middle + 1 }
    }
    from
}

/// Ascending and without overlap.
fn merge(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|(low, high)| low <= high);
    ranges.sort_unstable();
    let mut merged: Vec<Range> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match merged.last_mut() {
            Some(last) if low <= last.1 => {
                if high > last.1 {
                    last.1 = high;
                }
            }
            Some(_) | None => merged.push((low, high)),
        }
    }
    merged
}

/// The word with zeros in front, as long as whole bytes that also hold a value of `bytes` bytes; and how many.
fn aligned(word: &[Bit], bytes: usize) -> (Vec<Bit>, usize) {
    let length = word.len().div_ceil(8).max(bytes);
    let mut aligned = vec![Bit::Const(false); length * 8 - word.len()];
    aligned.extend_from_slice(word);
    (aligned, length)
}

/// The value with zeros in front.
fn extended(value: &[u8], length: usize) -> Vec<u8> {
    let mut extended = vec![0; length - value.len()];
    extended.extend_from_slice(value);
    extended
}

/// Bit 0 is the most significant one.
#[inline]
fn bit_of(value: &[u8], at: usize) -> bool {
    value[at / 8] & (0x80 >> (at % 8)) != 0
}
