//! Cubes: conjunctions of single bits, and unions of many of them.

use super::hash::QuickMap;
use super::{Bdd, Exhausted, Node, Var};

impl Bdd {
    /// The packets in which this variable has this value.
    pub fn literal(&mut self, var: Var, value: bool) -> Result<Node, Exhausted> {
        self.decide(var, Node::TRUE.complement_if(value), Node::FALSE.complement_if(value))
    }

    /// The packets that have all of these values. In any order; a contradiction is no packet.
    pub fn cube(&mut self, literals: &[(Var, bool)]) -> Result<Node, Exhausted> {
        let mut sorted = literals.to_vec();
        match sort_cube(&mut sorted) {
            Consistency::Contradiction => Ok(Node::FALSE),
            Consistency::Consistent => self.whole(|bdd| bdd.conjunction(&sorted, Node::TRUE)),
        }
    }

    /// The packets of `f` that have all of these values, which are in ascending order of their variables, each only
    /// once. The cube alone is not built, and where `f` has no such packet nothing is.
    pub fn and_cube(&mut self, f: Node, sorted: &[(Var, bool)]) -> Result<Node, Exhausted> {
        debug_assert!(sorted.windows(2).all(|two| two[0].0 < two[1].0));
        let mut known = QuickMap::default();
        self.whole(|bdd| bdd.and_cube_from(f, sorted, &mut known))
    }

    /// The packets that are in any of the cubes. Built from the root by splitting at the smallest variable: no
    /// intermediate result is thrown away while all cubes name that variable.
    pub fn union_of_cubes(&mut self, cubes: Vec<Vec<(Var, bool)>>) -> Result<Node, Exhausted> {
        let mut sorted = cubes;
        sorted.retain_mut(|cube| match sort_cube(cube) {
            Consistency::Consistent => true,
            Consistency::Contradiction => false,
        });
        sorted.sort_unstable();
        sorted.dedup();
        self.whole(|bdd| bdd.union_from(&sorted, 0))
    }

    /// `literals` and `rest`, whose variables are below those of the ascending `literals`.
    pub(super) fn conjunction(&mut self, literals: &[(Var, bool)], rest: Node) -> Result<Node, Exhausted> {
        if rest.is_false() {
            return Ok(rest);
        }
        literals.iter().rev().try_fold(rest, |below, (var, value)| {
            if *value { self.decide(*var, Node::FALSE, below) } else { self.decide(*var, below, Node::FALSE) }
        })
    }

    /// `known` is by node and by how many literals are left.
    fn and_cube_from(
        &mut self,
        f: Node,
        literals: &[(Var, bool)],
        known: &mut QuickMap<(u32, u32), Node>,
    ) -> Result<Node, Exhausted> {
        if f.is_false() {
            return Ok(f);
        }
        let var = self.var(f);
        let above = literals.iter().take_while(|literal| literal.0 < var).count();
        let (above, rest) = literals.split_at(above);
        let Some((next, after)) = rest.split_first() else {
            return self.conjunction(above, f);
        };
        self.step()?;
        let (low, high) = self.branches(f);
        if next.0 == var {
            let below = self.and_cube_from(if next.1 { high } else { low }, after, known)?;
            let kept = self.conjunction(std::slice::from_ref(next), below)?;
            return self.conjunction(above, kept);
        }
        let key = (f.0, rest.len() as u32);
        let kept = match known.get(&key) {
            Some(kept) => *kept,
            None => {
                let low = self.and_cube_from(low, rest, known)?;
                let high = self.and_cube_from(high, rest, known)?;
                let kept = self.decide(var, low, high)?;
                known.insert(key, kept);
                kept
            }
        };
        self.conjunction(above, kept)
    }

    /// The union of cubes in ascending order that have their first `used` literals in common, without these.
    fn union_from(&mut self, cubes: &[Vec<(Var, bool)>], used: usize) -> Result<Node, Exhausted> {
        let Some(first) = cubes.first() else {
            return Ok(Node::FALSE);
        };
        let Some((var, _)) = first.get(used).copied() else {
            return Ok(Node::TRUE);
        };
        self.step()?;
        if cubes.len() == 1 {
            return self.conjunction(&first[used..], Node::TRUE);
        }
        let without = cubes.partition_point(|cube| cube[used] == (var, false));
        let with = without + cubes[without..].partition_point(|cube| cube[used] == (var, true));
        let low = self.union_from(&cubes[..without], used + 1)?;
        let high = self.union_from(&cubes[without..with], used + 1)?;
        let split = self.decide(var, low, high)?;
        let others = self.union_from(&cubes[with..], used)?;
        self.or_from(split, others)
    }
}

impl Node {
    /// The complement if asked for.
    pub(super) fn complement_if(self, wanted: bool) -> Node {
        if wanted { self.not() } else { self }
    }
}

/// Whether a cube has any packet.
enum Consistency {
    Consistent,
    Contradiction,
}

/// Brings a cube's literals into ascending order, each once.
fn sort_cube(literals: &mut Vec<(Var, bool)>) -> Consistency {
    if !literals.windows(2).all(|two| two[0].0 < two[1].0) {
        literals.sort_unstable();
        literals.dedup();
    }
    if literals.windows(2).any(|two| two[0].0 == two[1].0) {
        Consistency::Contradiction
    } else {
        Consistency::Consistent
    }
}
