//! Sets of packets as reduced ordered binary decision diagrams with complement edges. Pure; only `std`.
//!
//! Input: sets of values of a header's bits (cubes, ranges, words); output: [`Node`]s of one [`Bdd`], of which two are
//! equal exactly if they are the same set. Every operation is bounded in nodes and in steps, and says [`Exhausted`]
//! rather than anything wrong: it then leaves no node behind, so that smaller questions can still be asked. No
//! recursion is deeper than there are variables. Nodes are never collected: a `Bdd` lives as long as one comparison.

pub mod boxes;
mod cubes;
mod first;
mod hash;
mod operations;
mod questions;
mod rewrite;
#[cfg(test)]
mod tests;
mod words;

use hash::{mix, mix32};

/// A variable: one bit of a header, or a condition. The smaller, the nearer to the root. Less than `u32::MAX`.
pub type Var = u32;

/// The terminal's variable: below all others.
const TERMINAL: Var = Var::MAX;

/// A set of packets: a function of the variables. Means something only to the [`Bdd`] that made it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Node(u32);

impl Node {
    /// Every packet.
    pub const TRUE: Node = Node(0);
    /// No packet.
    pub const FALSE: Node = Node(1);

    /// Whether no packet is in it.
    pub fn is_false(self) -> bool {
        self == Node::FALSE
    }

    /// Whether every packet is in it.
    pub fn is_true(self) -> bool {
        self == Node::TRUE
    }

    /// The packets that are not in it. Costs nothing.
    #[must_use]
    #[allow(clippy::should_implement_trait)] // written as the other operations are, and `!` is easily overlooked
    pub fn not(self) -> Node {
        Node(self.0 ^ 1)
    }

    fn index(self) -> usize {
        (self.0 >> 1) as usize
    }

    fn is_complement(self) -> bool {
        self.0 & 1 == 1
    }

    /// The node without its complement mark.
    fn regular(self) -> Node {
        Node(self.0 & !1)
    }

    /// The complement if `other` is marked as one.
    fn complement_as(self, other: Node) -> Node {
        Node(self.0 ^ (other.0 & 1))
    }
}

/// The budget of nodes or of steps is used up. The operation did nothing.
#[derive(Debug, PartialEq, Eq, Clone, Copy, thiserror::Error)]
#[error("the packet sets are larger than the budget for them")]
pub struct Exhausted;

/// One bit of a header, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bit {
    /// It has this value.
    Const(bool),
    /// It is this variable.
    Var(Var),
    /// It is the opposite of this variable.
    NotVar(Var),
}

/// A node as it is stored: `high` is never a complement, which makes the form unique.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Entry {
    var: Var,
    low: Node,
    high: Node,
}

/// A result that is remembered: an operation of three operands (or of two and a mark).
#[derive(Clone, Copy)]
struct Remembered {
    key: [u32; 3],
    result: Node,
}

/// No node has this number, as there are at most [`Bdd::MOST_NODES`].
const NOTHING: Remembered = Remembered { key: [u32::MAX; 3], result: Node::FALSE };

/// All nodes, and the memory of what was computed.
pub struct Bdd {
    nodes: Vec<Entry>,
    /// Open addressing over `nodes`: the hash in the upper half, so that a look at a slot seldom needs one at the node,
    /// and the number in the lower. The terminal's, 0, is an empty slot.
    slots: Vec<u64>,
    /// Direct-mapped: a newer result takes an older one's place.
    remembered: Vec<Remembered>,
    max_nodes: usize,
    max_steps: u64,
    steps: u64,
}

impl Bdd {
    /// More nodes than this are never allowed, whatever the budget.
    pub const MOST_NODES: usize = 1 << 30;
    /// The largest memory of results, in entries of 16 bytes: 2 MiB, which the processor's caches hold. With 64 MiB a
    /// tenth of the steps was saved, and each took twice as long.
    const MOST_REMEMBERED: usize = 1 << 17;
    const FIRST_SLOTS: usize = 1 << 10;

    /// An empty store for at most `max_nodes` nodes (of which the terminal is one). A node costs 25 to 45 bytes with its
    /// share of the table, for an instant while that grows some 20 more; the memory of results is 2 MiB at most. The
    /// steps are bounded to 64 for each node of the budget, and at least 2^24; see [`Bdd::set_max_steps`].
    pub fn new(max_nodes: usize) -> Self {
        let max_nodes = max_nodes.min(Self::MOST_NODES);
        let terminal = Entry { var: TERMINAL, low: Node::TRUE, high: Node::TRUE };
        Bdd {
            nodes: vec![terminal],
            slots: vec![0; Self::FIRST_SLOTS],
            remembered: vec![NOTHING; Self::FIRST_SLOTS],
            max_nodes,
            max_steps: (max_nodes as u64).saturating_mul(64).max(1 << 24),
            steps: 0,
        }
    }

    /// How many nodes there are, the terminal included.
    #[allow(clippy::len_without_is_empty)] // it is never empty
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// How many steps were taken so far: 50 to 300 ns each, as far from the processor as the nodes are.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// From now on, operations end with [`Exhausted`] when [`Bdd::steps`] would pass `steps`.
    pub fn set_max_steps(&mut self, steps: u64) {
        self.max_steps = steps;
    }

    /// Counts one step.
    #[inline]
    fn step(&mut self) -> Result<(), Exhausted> {
        if self.steps >= self.max_steps {
            return Err(Exhausted);
        }
        self.steps += 1;
        Ok(())
    }

    /// Does all of `work` or leaves no node of it behind.
    fn whole<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Exhausted>) -> Result<T, Exhausted> {
        let before = self.nodes.len();
        let result = work(self);
        if result.is_err() {
            self.forget_after(before);
        }
        result
    }

    #[inline]
    fn var(&self, f: Node) -> Var {
        self.nodes[f.index()].var
    }

    /// The function where its variable is false and where it is true. The terminal's are itself.
    #[inline]
    fn branches(&self, f: Node) -> (Node, Node) {
        let entry = self.nodes[f.index()];
        (entry.low.complement_as(f), entry.high.complement_as(f))
    }

    /// The same for a variable that is not below the root of `f`.
    #[inline]
    fn branches_at(&self, f: Node, var: Var) -> (Node, Node) {
        if self.var(f) == var { self.branches(f) } else { (f, f) }
    }

    /// The one node for this decision; `var` is above `low` and `high`.
    #[inline]
    fn decide(&mut self, var: Var, low: Node, high: Node) -> Result<Node, Exhausted> {
        debug_assert!(var < self.var(low) && var < self.var(high));
        if low == high {
            return Ok(low);
        }
        let stored = Entry { var, low: low.complement_as(high), high: high.regular() };
        self.find_or_add(stored).map(|node| node.complement_as(high))
    }

    fn find_or_add(&mut self, entry: Entry) -> Result<Node, Exhausted> {
        let hash = hash_of(&entry);
        let mask = self.slots.len() - 1;
        let mut at = home(hash, self.slots.len());
        while self.slots[at] != 0 {
            let slot = self.slots[at];
            if slot >> 32 == hash && self.nodes[number(slot)] == entry {
                return Ok(Node((slot as u32) << 1));
            }
            at = (at + 1) & mask;
        }
        if self.nodes.len() >= self.max_nodes {
            return Err(Exhausted);
        }
        let index = self.nodes.len() as u32;
        self.nodes.push(entry);
        self.slots[at] = hash << 32 | u64::from(index);
        if self.nodes.len() > self.slots.len() / 4 * 3 {
            self.grow();
        }
        Ok(Node(index << 1))
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let mask = size - 1;
        let old = std::mem::replace(&mut self.slots, vec![0; size]);
        // A slot's place is by its highest bits, so that both tables are walked in order.
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = home(slot >> 32, size);
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = slot;
        }
        let wanted = size.min(Self::MOST_REMEMBERED);
        if wanted > self.remembered.len() {
            let old = std::mem::replace(&mut self.remembered, vec![NOTHING; wanted]);
            for entry in old.into_iter().filter(|entry| entry.key != NOTHING.key) {
                self.remember(entry.key, entry.result);
            }
        }
    }

    /// Takes back the newest nodes.
    fn forget_after(&mut self, len: usize) {
        if self.nodes.len() == len {
            return;
        }
        for index in len..self.nodes.len() {
            self.empty_slot_of(index);
        }
        self.nodes.truncate(len);
        let gone = |number: u32| (number >> 1) as usize >= len;
        for entry in &mut self.remembered {
            let [a, b, c] = entry.key;
            let third = c < operations::FIRST_MARK && gone(c);
            if gone(a) || gone(b) || third || gone(entry.result.0) {
                *entry = NOTHING;
            }
        }
    }

    /// Empties a node's slot, and moves up what stood behind it because of it.
    fn empty_slot_of(&mut self, index: usize) {
        let size = self.slots.len();
        let mask = size - 1;
        let mut empty = home(hash_of(&self.nodes[index]), size);
        while number(self.slots[empty]) != index {
            empty = (empty + 1) & mask;
        }
        let mut at = (empty + 1) & mask;
        while self.slots[at] != 0 {
            let from_home = at.wrapping_sub(home(self.slots[at] >> 32, size)) & mask;
            if from_home >= at.wrapping_sub(empty) & mask {
                self.slots[empty] = self.slots[at];
                empty = at;
            }
            at = (at + 1) & mask;
        }
        self.slots[empty] = 0;
    }

    #[inline]
    fn recall(&self, key: [u32; 3]) -> Option<Node> {
        let entry = &self.remembered[mix(key, self.remembered.len())];
        (entry.key == key).then_some(entry.result)
    }

    #[inline]
    fn remember(&mut self, key: [u32; 3], result: Node) {
        let place = mix(key, self.remembered.len());
        self.remembered[place] = Remembered { key, result };
    }
}

/// 32 bits.
#[inline]
fn hash_of(entry: &Entry) -> u64 {
    mix32([entry.var, entry.low.0, entry.high.0])
}

/// Where a node of this hash stands if nothing else does. There are at most 2^31 slots.
#[inline]
fn home(hash: u64, slots: usize) -> usize {
    (hash >> (32 - slots.trailing_zeros())) as usize
}

/// The number of the node in a slot.
#[inline]
fn number(slot: u64) -> usize {
    (slot & u64::from(u32::MAX)) as usize
}
