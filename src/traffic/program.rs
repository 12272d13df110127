//! A ruleset as what it does to packets of one kind: hooks, chains, rules, and the steps of each rule.
//!
//! Role: what `lower` makes, and what `walk` follows. Rules keep the places that they have in the ruleset, so that a
//! result can name them.

use super::bdd::{Bit, Var};
use super::test::Test;
use crate::model::{Name, TableKey};
use std::sync::Arc;

/// All chains of a ruleset that packets of one kind can meet.
#[derive(Debug, Default)]
pub struct Program {
    chains: Vec<Option<Chain>>,
}

/// The number of a chain: the same in both rulesets of a comparison.
pub type ChainId = usize;

impl Program {
    /// Adds a chain under its number.
    pub fn put(&mut self, id: ChainId, chain: Chain) {
        if self.chains.len() <= id {
            self.chains.resize_with(id + 1, || None);
        }
        self.chains[id] = Some(chain);
    }

    /// The chain with a number; none if this ruleset has none.
    pub fn chain(&self, id: ChainId) -> Option<&Chain> {
        self.chains.get(id)?.as_ref()
    }

    /// All chains with their numbers.
    pub fn chains(&self) -> impl Iterator<Item = (ChainId, &Chain)> {
        self.chains.iter().enumerate().filter_map(|(id, chain)| Some((id, chain.as_ref()?)))
    }
}

/// A chain.
#[derive(Debug)]
pub struct Chain {
    /// The table that it is in.
    pub table: TableKey,
    /// Its name; of a chain that belongs to one rule, the one that the kernel gave it.
    pub name: Name,
    /// Where packets enter it by themselves; none if only by jumps.
    pub base: Option<BaseChain>,
    /// Its rules in order; the place is that of the ruleset's chain.
    pub rules: Vec<Arc<Rule>>,
}

/// Where a base chain is hooked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseChain {
    /// The place in the packet's way.
    pub hook: Hook,
    /// Chains of lower priority come first.
    pub priority: i32,
    /// `filter`, `nat` or `route`.
    pub kind: ChainKind,
    /// What becomes of packets that no rule decides: accept or drop.
    pub accepts: bool,
    /// The interfaces that it is bound to (netdev, and ingress of inet); empty if to none.
    pub devices: Vec<Vec<u8>>,
}

/// `NF_INET_*`, `NF_BR_*`, `NF_NETDEV_*`, `NF_ARP_*`: places in a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Right after the device.
    Ingress,
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
    /// Right before the device.
    Egress,
}

impl Hook {
    /// As nft writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
            Self::Egress => "egress",
        }
    }
}

/// The type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    /// `filter`.
    Filter,
    /// `nat`: sees only the first packet of a connection.
    Nat,
    /// `route`.
    Route,
}

/// A rule.
#[derive(Clone, Debug, Default)]
pub struct Rule {
    /// What it does, in order; empty means that it never does anything to this kind of packet.
    pub steps: Vec<Step>,
}

/// One step of a rule.
#[derive(Clone, Debug)]
pub enum Step {
    /// Packets that fail go on with the next rule.
    Test(Test),
    /// These bits of the packet, or of what is known about it, change.
    Set(Vec<(Var, Bit)>),
    /// As [`Self::Set`], for packets that begin a connection, when the chain has been left: an address translation.
    Translate(Vec<(Var, Bit)>),
    /// The packets of each alternative do its steps, those of none go on with the next rule. Alternatives do not
    /// overlap.
    Branch(Vec<(Test, Vec<Step>)>),
    /// The rule ends here.
    Verdict(Verdict),
}

/// What a rule decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This base chain lets it pass.
    Accept,
    /// It is gone, silently.
    Drop,
    /// It is gone, and the sender is told.
    Reject,
    /// Something outside of the ruleset decides: a program that reads a queue. The variable stands for its answer.
    Ask(Var),
    /// It leaves the stack here, to go on another way (`fwd`, `synproxy`): it is not dropped.
    Taken,
    /// The next rule.
    Continue,
    /// Back to where the jump was; in a base chain, its policy.
    Return,
    /// To a chain, and back.
    Jump(ChainId),
    /// To a chain, and not back.
    Goto(ChainId),
}
