//! What is in a set: a packet of it, whether one is, how much of all, by which variables.

use super::hash::{QuickMap, QuickSet};
use super::{Bdd, Node, Var};
use std::collections::BTreeSet;

impl Bdd {
    /// A packet of `f`, with the preferred value of each variable wherever `f` has such a packet (the variables nearer
    /// to the root are served first). Only the variables that matter on the way; `None` if `f` is empty.
    pub fn one(&self, f: Node, preferred: &dyn Fn(Var) -> bool) -> Option<Vec<(Var, bool)>> {
        if f.is_false() {
            return None;
        }
        let mut way = Vec::new();
        let mut at = f;
        while !at.is_true() {
            let var = self.var(at);
            let (low, high) = self.branches(at);
            // Only the empty set is FALSE, so that one of the two always leads on.
            let value = if preferred(var) { !high.is_false() } else { low.is_false() };
            way.push((var, value));
            at = if value { high } else { low };
        }
        Some(way)
    }

    /// Whether a packet is in `f`.
    pub fn contains(&self, f: Node, packet: &dyn Fn(Var) -> bool) -> bool {
        let mut at = f;
        while !at.regular().is_true() {
            let (low, high) = self.branches(at);
            at = if packet(self.var(at)) { high } else { low };
        }
        at.is_true()
    }

    /// The share of all packets that are in `f`, from 0 to 1, every value of every variable counted alike.
    pub fn share(&self, f: Node) -> f64 {
        self.share_from(f, &mut QuickMap::default())
    }

    /// The variables on which `f` depends.
    pub fn support(&self, f: Node) -> BTreeSet<Var> {
        let mut seen = QuickSet::default();
        let mut ahead = vec![f.regular()];
        let mut support = BTreeSet::new();
        while let Some(node) = ahead.pop() {
            if node.is_true() || !seen.insert(node.0) {
                continue;
            }
            support.insert(self.var(node));
            let (low, high) = self.branches(node);
            ahead.extend([low.regular(), high.regular()]);
        }
        support
    }

    /// `known` is by node with its mark: the share of a small set must not come out of a subtraction from 1.
    pub(super) fn share_from(&self, f: Node, known: &mut QuickMap<u32, f64>) -> f64 {
        if f.regular().is_true() {
            return if f.is_true() { 1.0 } else { 0.0 };
        }
        if let Some(share) = known.get(&f.0) {
            return *share;
        }
        let (low, high) = self.branches(f);
        let share = 0.5 * (self.share_from(low, known) + self.share_from(high, known));
        known.insert(f.0, share);
        share
    }
}
