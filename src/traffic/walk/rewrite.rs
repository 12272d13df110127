//! What was changed about packets on their way: later questions are asked of the changed packet, and answered for
//! the packet as it began.

use super::super::bdd::{Bit, Var};
use std::collections::{BTreeMap, HashMap};

/// The number of a set of changes; equal changes have equal numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rewrite(usize);

impl Rewrite {
    /// Nothing was changed.
    pub const NONE: Self = Self(0);
}

/// All changes that were met.
#[derive(Debug)]
pub struct Rewrites {
    all: Vec<BTreeMap<Var, Bit>>,
    numbers: HashMap<BTreeMap<Var, Bit>, usize>,
}

impl Default for Rewrites {
    fn default() -> Self {
        Self { all: vec![BTreeMap::new()], numbers: [(BTreeMap::new(), 0)].into() }
    }
}

impl Rewrites {
    /// What a variable of the changed packet is, in those of the packet as it began.
    pub fn of(&self, rewrite: Rewrite, var: Var) -> Bit {
        self.all[rewrite.0].get(&var).copied().unwrap_or(Bit::Var(var))
    }

    /// The same for a bit.
    pub fn bit(&self, rewrite: Rewrite, bit: Bit) -> Bit {
        match bit {
            Bit::Const(_) => bit,
            Bit::Var(var) => self.of(rewrite, var),
            Bit::NotVar(var) => match self.of(rewrite, var) {
                Bit::Const(is) => Bit::Const(!is),
                Bit::Var(var) => Bit::NotVar(var),
                Bit::NotVar(var) => Bit::Var(var),
            },
        }
    }

    /// Further changes, whose new values are in terms of the packet as it is now.
    pub fn then(&mut self, rewrite: Rewrite, changes: &[(Var, Bit)]) -> Rewrite {
        let mut map = self.all[rewrite.0].clone();
        for (var, value) in changes {
            match self.bit(rewrite, *value) {
                Bit::Var(same) if same == *var => map.remove(var),
                value => map.insert(*var, value),
            };
        }
        self.number(map)
    }

    /// The changes without those of some variables.
    pub fn without(&mut self, rewrite: Rewrite, undone: impl Fn(Var) -> bool) -> Rewrite {
        let map = &self.all[rewrite.0];
        self.number(map.iter().filter(|(var, _)| !undone(**var)).map(|(var, bit)| (*var, *bit)).collect())
    }

    fn number(&mut self, map: BTreeMap<Var, Bit>) -> Rewrite {
        if let Some(number) = self.numbers.get(&map) {
            return Rewrite(*number);
        }
        self.all.push(map.clone());
        self.numbers.insert(map, self.all.len() - 1);
        Rewrite(self.all.len() - 1)
    }

    /// What is changed.
    pub fn changes(&self, rewrite: Rewrite) -> &BTreeMap<Var, Bit> {
        &self.all[rewrite.0]
    }
}
