//! Questions as sets of packets.

use super::super::bdd::{Bit, Exhausted, Node, Var};
use super::super::program::Hook;
use super::super::space::{NamePattern, Side};
use super::super::test::{Elements, Part, Range, Slot, Test};
use super::rewrite::Rewrite;
use super::way::Way;
use super::{WalkError, Walker};
use std::collections::HashMap;
use std::sync::Arc;

/// More cubes than this are not made of one element of a concatenation.
const MOST_CUBES: usize = 2_000;

/// A set of packets, and what it was made of: while that is held, no other one has its address.
type Held<T> = (Node, Arc<[T]>);
/// Bits with their values, all of which have to be so.
type Cube = Vec<(Var, bool)>;

/// Sets that were made already, of questions that several rules ask, or that are asked again.
#[derive(Default)]
pub struct Nodes {
    ranges: HashMap<(Vec<Bit>, usize), Held<Range>>,
    members: HashMap<(usize, usize), Held<Vec<Slot>>>,
    interfaces: HashMap<(Side, NamePattern), Node>,
}

/// Where a question is asked.
#[derive(Clone, Copy)]
pub struct At {
    pub way: Way,
    pub hook: Hook,
    pub rewrite: Rewrite,
}

impl Walker<'_> {
    /// The packets of `within` for which the answer is yes.
    pub(super) fn restrict(&mut self, within: Node, test: &Test, at: At) -> Result<Node, WalkError> {
        if within.is_false() {
            return Ok(within);
        }
        match test {
            Test::Cube(literals) if at.rewrite == Rewrite::NONE => {
                if self.is_excluded(within, literals)? {
                    return Ok(Node::FALSE);
                }
                Ok(self.bdd.and_cube(within, literals)?)
            }
            Test::Cube(literals) => match self.rewritten(literals, at.rewrite) {
                Some(literals) => Ok(self.bdd.and_cube(within, &literals)?),
                None => Ok(Node::FALSE),
            },
            Test::All(tests) => tests.iter().try_fold(within, |within, test| self.restrict(within, test, at)),
            Test::Not(test) => {
                let inside = self.restrict(within, test, at)?;
                Ok(self.bdd.minus(within, inside)?)
            }
            Test::Any(tests) => {
                let mut found = Node::FALSE;
                for test in tests {
                    let more = self.restrict(within, test, at)?;
                    found = self.bdd.or(found, more)?;
                    if found == within {
                        break;
                    }
                }
                Ok(found)
            }
            Test::In(word, ranges) => {
                let node = self.ranges(word, ranges)?;
                let node = self.after(node, at.rewrite)?;
                Ok(self.bdd.and(within, node)?)
            }
            Test::Interface(side, pattern) => {
                let node = self.interface(*side, pattern, at)?;
                Ok(self.bdd.and(within, node)?)
            }
            Test::Member(parts, slots) => {
                let node = self.member(parts, slots, at)?;
                let node = self.after(node, at.rewrite)?;
                Ok(self.bdd.and(within, node)?)
            }
            Test::Hook(hooks) => Ok(if hooks.contains(&at.hook) { within } else { Node::FALSE }),
        }
    }

    /// Literals about the changed packet as literals about the packet as it began; none if they cannot hold.
    fn rewritten(&self, literals: &[(Var, bool)], rewrite: Rewrite) -> Option<Vec<(Var, bool)>> {
        let mut out: Vec<(Var, bool)> = Vec::with_capacity(literals.len());
        for (var, value) in literals {
            match self.rewrites.of(rewrite, *var) {
                Bit::Const(is) if is == *value => {}
                Bit::Const(_) => return None,
                Bit::Var(var) => out.push((var, *value)),
                Bit::NotVar(var) => out.push((var, !*value)),
            }
        }
        out.sort_unstable();
        out.dedup();
        let contradicts = out.windows(2).any(|pair| pair[0].0 == pair[1].0);
        (!contradicts).then_some(out)
    }

    /// A set of changed packets as the set of the packets as they began.
    pub(super) fn after(&mut self, node: Node, rewrite: Rewrite) -> Result<Node, Exhausted> {
        if rewrite == Rewrite::NONE {
            return Ok(node);
        }
        let rewrites = &self.rewrites;
        self.bdd.substitute(node, &|var| rewrites.of(rewrite, var))
    }

    fn ranges(&mut self, word: &[Bit], ranges: &Arc<[Range]>) -> Result<Node, Exhausted> {
        let key = (word.to_vec(), Arc::as_ptr(ranges).cast::<()>() as usize);
        if let Some((node, _)) = self.nodes.ranges.get(&key) {
            return Ok(*node);
        }
        let node = match &ranges[..] {
            [(low, high)] => self.bdd.between(word, low, high)?,
            ranges => self.bdd.union_of_ranges(word, ranges)?,
        };
        self.nodes.ranges.insert(key, (node, Arc::clone(ranges)));
        Ok(node)
    }

    /// The packets that come in or go out by such an interface, where that is known.
    pub(super) fn interface(&mut self, side: Side, pattern: &NamePattern, at: At) -> Result<Node, WalkError> {
        if !at.way.knows(at.hook, side) {
            return Ok(if pattern.matches(b"") { Node::TRUE } else { Node::FALSE });
        }
        let key = (side, pattern.clone());
        if let Some(node) = self.nodes.interfaces.get(&key) {
            return Ok(*node);
        }
        let codes = self.space.codes(pattern).ok_or(WalkError::Interfaces)?;
        let count = self.space.interfaces().ok_or(WalkError::Interfaces)?.len() as u32;
        let word = self.space.interface(side);
        let meant = |code: u32| codes.contains(&code);
        // Code 0 stands for itself and for all numbers that are no code.
        let others = meant(0);
        let listed = (1..count).filter(|code| meant(*code) != others);
        let cubes = listed.map(|code| literals_of(&word, code)).collect();
        let union = self.bdd.union_of_cubes(cubes)?;
        let node = if others { union.not() } else { union };
        self.nodes.interfaces.insert(key, node);
        Ok(node)
    }

    fn member(&mut self, parts: &[Part], slots: &Elements, at: At) -> Result<Node, WalkError> {
        let known = |side: &Side| at.way.knows(at.hook, *side);
        let is_whole = parts.iter().all(|part| match part {
            Part::Bits(_) => true,
            Part::Interface(side) => known(side),
        });
        // One array of elements belongs to one set and one order of parts (`lower::sets`); the words may differ.
        let key = (Arc::as_ptr(slots).cast::<()>() as usize, word_digest(parts));
        if is_whole && let Some((node, _)) = self.nodes.members.get(&key) {
            return Ok(*node);
        }
        let mut cubes = Vec::new();
        let mut others = Node::FALSE;
        for element in slots.iter() {
            match self.cubes_of(parts, element, at)? {
                Some(more) => cubes.extend(more),
                None => {
                    let node = self.conjunction(parts, element, at)?;
                    others = self.bdd.or(others, node)?;
                }
            }
        }
        let node = self.bdd.union_of_cubes(cubes)?;
        let node = self.bdd.or(node, others)?;
        if is_whole {
            self.nodes.members.insert(key, (node, Arc::clone(slots)));
        }
        Ok(node)
    }

    /// An element as cubes; none if there would be too many, or one of its bits is not simply a variable.
    fn cubes_of(&mut self, parts: &[Part], element: &[Slot], at: At) -> Result<Option<Vec<Cube>>, WalkError> {
        let mut cubes: Vec<Cube> = vec![Cube::new()];
        for (part, slot) in parts.iter().zip(element) {
            let alternatives = match (part, slot) {
                (Part::Bits(word), Slot::Range((low, high))) => match prefixes(word, low, high) {
                    Some(alternatives) => alternatives,
                    None => return Ok(None),
                },
                (Part::Interface(side), Slot::Name(pattern)) if at.way.knows(at.hook, *side) => {
                    let codes = self.space.codes(pattern).ok_or(WalkError::Interfaces)?;
                    if codes.contains(&0) {
                        return Ok(None);
                    }
                    let word = self.space.interface(*side);
                    codes.into_iter().map(|code| literals_of(&word, code)).collect()
                }
                (Part::Bits(_) | Part::Interface(_), Slot::Range(_) | Slot::Name(_)) => return Ok(None),
            };
            if cubes.len() * alternatives.len() > MOST_CUBES {
                return Ok(None);
            }
            let joined =
                |cube: &Cube| alternatives.iter().map(|more| [&cube[..], more].concat()).collect::<Vec<_>>();
            cubes = cubes.iter().flat_map(joined).collect();
        }
        Ok(Some(cubes))
    }

    fn conjunction(&mut self, parts: &[Part], element: &[Slot], at: At) -> Result<Node, WalkError> {
        let mut node = Node::TRUE;
        for (part, slot) in parts.iter().zip(element) {
            let of_part = match (part, slot) {
                (Part::Bits(word), Slot::Range((low, high))) => self.bdd.between(word, low, high)?,
                (Part::Interface(side), Slot::Name(pattern)) => self.interface(*side, pattern, at)?,
                (Part::Bits(_), Slot::Name(_)) | (Part::Interface(_), Slot::Range(_)) => Node::FALSE,
            };
            node = self.bdd.and(node, of_part)?;
        }
        Ok(node)
    }
}

/// The variables of parts, as a number that differs where they do.
fn word_digest(parts: &[Part]) -> usize {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for part in parts {
        match part {
            Part::Bits(word) => word.hash(&mut hasher),
            Part::Interface(side) => side.hash(&mut hasher),
        }
    }
    hasher.finish() as usize
}

/// The literals that say that a word is a number.
pub(in crate::traffic) fn literals_of(word: &[Bit], number: u32) -> Vec<(Var, bool)> {
    let value = |at: usize| number >> (word.len() - 1 - at) & 1 == 1;
    word.iter()
        .enumerate()
        .filter_map(|(at, bit)| match bit {
            Bit::Var(var) => Some((*var, value(at))),
            Bit::NotVar(var) => Some((*var, !value(at))),
            Bit::Const(_) => None,
        })
        .collect()
}

/// A range as prefixes of a word; none if there would be too many.
fn prefixes(word: &[Bit], low: &[u8], high: &[u8]) -> Option<Vec<Cube>> {
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let mut found = Vec::new();
    // Parts of the range still to be covered: how many bits are fixed as in `of`, and which ends still bind.
    let mut open: Vec<(Vec<bool>, bool, bool)> = vec![(Vec::new(), true, true)];
    while let Some((fixed, binds_low, binds_high)) = open.pop() {
        let at = fixed.len();
        let rest_is = |bytes: &[u8], value: bool| (at..word.len()).all(|at| bit(bytes, at) == value);
        let covered = (!binds_low || rest_is(low, false)) && (!binds_high || rest_is(high, true));
        if covered {
            found.extend(literals_of_prefix(word, &fixed)?);
            if found.len() > MOST_CUBES {
                return None;
            }
            continue;
        }
        for value in [false, true] {
            if (binds_low && !value && bit(low, at)) || (binds_high && value && !bit(high, at)) {
                continue;
            }
            let more = fixed.iter().copied().chain([value]).collect();
            open.push((more, binds_low && value == bit(low, at), binds_high && value == bit(high, at)));
        }
    }
    Some(found)
}

/// The literals that fix the first bits of a word; an empty list if a constant bit contradicts. None if one variable
/// stands in two places of the word.
#[allow(clippy::option_option)] // none: not to be had as a cube; some of none: no packet
fn literals_of_prefix(word: &[Bit], fixed: &[bool]) -> Option<Option<Cube>> {
    let mut literals = Cube::with_capacity(fixed.len());
    for (bit, value) in word.iter().zip(fixed) {
        let literal = match bit {
            Bit::Const(is) if is == value => continue,
            Bit::Const(_) => return Some(None),
            Bit::Var(var) => (*var, *value),
            Bit::NotVar(var) => (*var, !*value),
        };
        if literals.iter().any(|(var, _)| *var == literal.0) {
            return None;
        }
        literals.push(literal);
    }
    Some(Some(literals))
}
