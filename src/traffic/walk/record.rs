//! What each rule saw while packets were followed: who reached it, and whom it was about.
//!
//! Role: for questions about single rules (`lint`). Sets are over the packets as they begin the way, as everywhere in
//! `walk`; a set that is kept costs nothing, as none is ever thrown away.

use super::super::bdd::{Exhausted, Node};
use super::super::program::{ChainId, Hook, Step, Verdict};
use super::super::test::Test;
use super::nodes::At;
use super::way::Way;
use super::{Rewrite, State, WalkError, Walker};

/// Packets that went through a chain once: by its hook, or by one jump.
#[derive(Clone, Debug)]
pub struct Passage {
    /// The chain.
    pub chain: ChainId,
    /// The way that the packets are on.
    pub way: Way,
    /// The hook at which they are.
    pub hook: Hook,
    /// By which jump they came; none if by the hook.
    pub from: Option<Caller>,
    /// Whether these are connections that a nat chain knows already.
    pub translates_only: bool,
    /// The packets at the first rule.
    pub entered: Vec<State>,
    /// What happened at each rule, up to the last one that was reached.
    pub arrivals: Vec<Arrival>,
}

/// A jump on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The passage in which it is, by its place in the record.
    pub passage: usize,
    /// The place of its rule in that chain.
    pub rule: usize,
    /// Where packets go that the chain does not decide about.
    pub returns: Returns,
}

/// Where packets go that leave a chain undecided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// To the rule after the jump.
    Back,
    /// Past the rest of the chain of the `goto`.
    Past,
}

/// Packets at one rule.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Those that reached it.
    pub reached: Vec<State>,
    /// Those that fulfilled its conditions, with the verdict; none where the rule has none.
    pub matched: Vec<(State, Option<Verdict>)>,
}

impl Walker<'_> {
    /// From now on, [`Walker::follow`] records.
    pub fn start_record(&mut self) {
        self.record = Some(Vec::new());
    }

    /// What was recorded since, also by a `follow` that did not end; callers come before the chains they jump to.
    pub fn take_record(&mut self) -> Vec<Passage> {
        self.record.take().unwrap_or_default()
    }

    pub(super) fn record_passage(
        &mut self,
        chain: ChainId,
        (way, hook): (Way, Hook),
        translates_only: bool,
        from: Option<Caller>,
        entered: &[State],
    ) -> Option<usize> {
        let record = self.record.as_mut()?;
        let (entered, arrivals) = (entered.to_vec(), Vec::new());
        record.push(Passage { chain, way, hook, from, translates_only, entered, arrivals });
        Some(record.len() - 1)
    }

    pub(super) fn record_arrival(&mut self, passage: Option<usize>, arrival: Arrival) {
        if let Some(passage) = passage.and_then(|at| self.record.as_mut()?.get_mut(at)) {
            passage.arrivals.push(arrival);
        }
    }

    /// The packets of a state that fulfil all conditions of a rule, at a hook of a way.
    pub fn about(&mut self, steps: &[Step], state: State, way: Way, hook: Hook) -> Result<Node, WalkError> {
        let State { mut rewrite, mut packets } = state;
        for step in steps {
            match step {
                Step::Test(test) => packets = self.restrict(packets, test, At { way, hook, rewrite })?,
                Step::Set(changes) | Step::Translate(changes) => {
                    rewrite = self.rewrites.then(rewrite, changes)
                }
                Step::Branch(alternatives) => {
                    let mut all = Node::FALSE;
                    for (test, steps) in alternatives {
                        let inside = self.restrict(packets, test, At { way, hook, rewrite })?;
                        let more = self.about(steps, State { rewrite, packets: inside }, way, hook)?;
                        all = self.bdd.or(all, more)?;
                    }
                    return Ok(all);
                }
                Step::Verdict(_) => break,
            }
            if packets.is_false() {
                break;
            }
        }
        Ok(packets)
    }

    /// All packets that pass a test at a hook of a way, in terms of the packet as it is there.
    pub fn passing(&mut self, test: &Test, way: Way, hook: Hook) -> Result<Node, WalkError> {
        self.restrict(Node::TRUE, test, At { way, hook, rewrite: Rewrite::NONE })
    }

    /// A set of packets as they are after changes, as that of the packets as they began.
    pub fn as_begun(&mut self, node: Node, rewrite: Rewrite) -> Result<Node, Exhausted> {
        self.after(node, rewrite)
    }

    /// The packets of some states, whatever was changed about them.
    pub fn joined(&mut self, states: &[State]) -> Result<Node, Exhausted> {
        let mut all = Node::FALSE;
        for state in states {
            all = self.bdd.or(all, state.packets)?;
        }
        Ok(all)
    }
}
