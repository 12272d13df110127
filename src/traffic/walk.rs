//! Packets on their way through a ruleset, as sets: who is let through, and what decides.
//!
//! Input: a [`Program`], a way (hooks in order) and a region of packets; output: [`Outcome`]. Sets are over the packets
//! *as they begin the way*: what rules change on it (marks, addresses) is kept as a [`Rewrite`] of later questions.
//! Only the region is followed, so that a small question costs little in a large ruleset.

mod chains;
mod connections;
mod cover;
mod nodes;
mod record;
mod rewrite;
mod stretch;
mod way;

pub(super) use nodes::literals_of;
pub use record::{Arrival, Caller, Passage, Returns};
pub use rewrite::{Rewrite, Rewrites};
pub use way::{Layer, Path, Way};

use super::bdd::{Bdd, Bit, Exhausted, Node, Var};
use super::program::{ChainId, ChainKind, Hook, Program, Verdict};
use super::space::Space;
use crate::model::Name;
use cover::Cover;
use nodes::Nodes;
use std::collections::BTreeMap;

/// Why packets could not be followed to the end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WalkError {
    /// The budget of nodes or steps is used up.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Chains jump in a circle, or deeper than the kernel allows. No kernel loads that, but a file can hold it.
    #[error("chain {0} jumps in a circle, or deeper than 16 chains")]
    TooDeep(Name),
    /// More names of interfaces than can be told apart.
    #[error("the rules name more than 4,095 interfaces")]
    Interfaces,
}

/// What becomes of packets at a place that decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// The base chain lets them pass.
    Accepted,
    /// They are gone silently.
    Dropped,
    /// They are gone, and the sender is told.
    Rejected,
    /// They leave the stack here on another way.
    Taken,
}

impl Fate {
    /// Whether they get on.
    pub fn passes(self) -> bool {
        match self {
            Self::Accepted | Self::Taken => true,
            Self::Dropped | Self::Rejected => false,
        }
    }

    /// The word for people and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accept",
            Self::Dropped => "drop",
            Self::Rejected => "reject",
            Self::Taken => "taken",
        }
    }
}

/// Packets that one rule, or a policy, decided about.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The base chain in which it happened.
    pub base: ChainId,
    /// Its hook.
    pub hook: Hook,
    /// The chain of the rule, and its place from 0; none if the policy decided.
    pub rule: Option<(ChainId, usize)>,
    /// What became of them.
    pub fate: Fate,
    /// Which packets; those of an earlier piece of the same base chain are decided there (see `stretch`).
    pub packets: Node,
}

/// What became of a region.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Those that got through all hooks, by what was changed about them.
    pub through: Vec<State>,
    /// Decisions in the order of the way.
    pub pieces: Vec<Piece>,
}

/// Packets with the same changes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// What was changed.
    pub rewrite: Rewrite,
    /// Which packets.
    pub packets: Node,
}

/// Packets that matched a rule on their way.
#[derive(Clone, Copy, Debug)]
pub struct Met {
    /// The base chain from which they came to it.
    pub base: ChainId,
    /// Its hook.
    pub hook: Hook,
    /// The chain of the rule, and its place from 0.
    pub rule: (ChainId, usize),
    /// The verdict of the rule; none if it has none.
    pub verdict: Option<Verdict>,
    /// Which packets.
    pub packets: Node,
}

/// Whether a packet's connection is known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Conntrack {
    WillSee,
    HasSeen,
}

/// Follows packets. Keeps what questions mean as sets, so that one walker is for all ways of both programs.
pub struct Walker<'s> {
    /// All sets.
    pub bdd: Bdd,
    /// What the variables mean.
    pub space: &'s mut Space,
    /// Each rule that packets match, in order; none if nobody asked for that.
    pub met: Option<Vec<Met>>,
    nodes: Nodes,
    cover: Cover,
    rewrites: Rewrites,
    /// What is being recorded, if anything is.
    record: Option<Vec<Passage>>,
}

impl<'s> Walker<'s> {
    /// All programs must have been lowered into this space before.
    pub fn new(space: &'s mut Space, max_nodes: usize) -> Self {
        let (nodes, cover, rewrites) = (Nodes::default(), Cover::default(), Rewrites::default());
        Self { bdd: Bdd::new(max_nodes), space, met: None, nodes, cover, rewrites, record: None }
    }

    /// The packets that can exist: a connection is in one state, and a new one has no answer yet.
    pub fn domain(&mut self) -> Result<Node, Exhausted> {
        let states: Vec<u32> =
            super::space::STATES.iter().filter_map(|(name, _)| self.space.state(name)).collect();
        let one = |chosen: &u32| states.iter().map(|var| (*var, var == chosen)).collect();
        let valid = self.bdd.union_of_cubes(states.iter().map(one).collect())?;
        let (Some(new), Some(direction)) =
            (self.space.state("new"), self.space.find(&super::space::Key::Direction).map(|word| word.start))
        else {
            return Ok(valid);
        };
        let answer_to_nothing = self.bdd.cube(&[(new, true), (direction, true)])?;
        self.bdd.minus(valid, answer_to_nothing)
    }

    /// The same part of `whole`, without a word about those variables (ranges, the end excluded) that do not matter to
    /// it: what is outside of `whole` does not count.
    pub fn without_needless(
        &mut self,
        part: Node,
        whole: Node,
        words: &[(Var, Var)],
    ) -> Result<Node, Exhausted> {
        let inside = self.bdd.and(part, whole)?;
        let mut part = part;
        for (start, end) in words {
            let broader = self.bdd.exists(part, &|var| (*start..*end).contains(&var))?;
            if self.bdd.and(broader, whole)? == inside {
                part = broader;
            }
        }
        Ok(part)
    }

    /// Follows a region of packets through all hooks of a way.
    pub fn follow(&mut self, program: &Program, way: Way, region: Node) -> Result<Outcome, WalkError> {
        let mut outcome = Outcome { through: self.beginning(region)?, pieces: Vec::new() };
        let mut seen = Conntrack::HasSeen;
        for hook in way.hooks() {
            // Packets that a nat chain of this hook has translated: the others are not asked about them.
            let mut translated = Vec::new();
            for id in way.bases(program, *hook) {
                let Some(base) = program.chain(id).and_then(|chain| chain.base.as_ref()) else { continue };
                let mut states = std::mem::take(&mut outcome.through);
                match (way.is_before_conntrack(base), seen) {
                    (true, Conntrack::HasSeen) => {
                        states = self.before_conntrack(states)?;
                        seen = Conntrack::WillSee;
                    }
                    (false, Conntrack::WillSee) => {
                        states = self.after_conntrack(states)?;
                        seen = Conntrack::HasSeen;
                    }
                    (true, Conntrack::WillSee) | (false, Conntrack::HasSeen) => {}
                }
                if base.kind != ChainKind::Nat {
                    states.extend(self.translated(&mut translated));
                }
                let states = self.base_chain(program, way, id, states, &mut outcome.pieces)?;
                let (done, states) = states.into_iter().partition(|state| self.is_translated(*state));
                translated.extend::<Vec<State>>(done);
                outcome.through = states;
            }
            if seen == Conntrack::WillSee && matches!(hook, Hook::Prerouting | Hook::Output) {
                let states = std::mem::take(&mut outcome.through);
                outcome.through = self.after_conntrack(states)?;
                seen = Conntrack::HasSeen;
            }
            outcome.through.extend(self.translated(&mut translated));
            outcome.through = self.merged(std::mem::take(&mut outcome.through))?;
        }
        Ok(outcome)
    }

    /// What was changed about packets.
    pub fn changes(&self, rewrite: Rewrite) -> &BTreeMap<Var, Bit> {
        self.rewrites.changes(rewrite)
    }

    /// All packets of an outcome that got through, whatever was changed about them.
    pub fn passed(&mut self, outcome: &Outcome) -> Result<Node, Exhausted> {
        let mut all = Node::FALSE;
        for state in &outcome.through {
            all = self.bdd.or(all, state.packets)?;
        }
        for piece in outcome.pieces.iter().filter(|piece| piece.fate == Fate::Taken) {
            all = self.bdd.or(all, piece.packets)?;
        }
        Ok(all)
    }
}
