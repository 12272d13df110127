//! A ruleset in outline: digests stand for its rules and for the elements of its sets.
//!
//! Role: what a live reading is compared with while it arrives. A rule takes 32 bytes here, an element 16; what
//! differs is looked up in full afterwards.

use super::ruleset::{Chain, Digest, Name, Ruleset, TableKey};
use std::collections::{BTreeMap, BTreeSet};

/// The outline of a ruleset.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// Its tables: rules without `attrs`; sets without elements where [`Self::elements`] has their digests, and
    /// where the packet path writes them; no anonymous sets.
    pub ruleset: Ruleset,
    /// The digests of the netlink elements of each set that is compared by them, in order.
    pub elements: BTreeMap<SetName, Vec<Digest>>,
    /// [`Ruleset::digest`] of the whole.
    pub state: Option<Digest>,
}

/// A set by its table and its name.
pub type SetName = (TableKey, Name);

/// What a live reading shares with an outline.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Chains with the same rules in the same order; the reading has none for them.
    pub chains: BTreeMap<TableKey, BTreeSet<Name>>,
    /// Sets in the outline's `elements` that the reading has in full, because they differ.
    pub other_elements: Vec<SetName>,
    /// Sets of ipset to which the reading's rules add members.
    pub written_ipsets: BTreeSet<Name>,
}

impl Outline {
    /// The chain of that name, if there is one.
    pub fn chain(&self, table: &TableKey, name: &Name) -> Option<&Chain> {
        self.ruleset.tables.get(table)?.chains.get(name)
    }

    /// Leaves out the rules of chains that a reading shares, as the reading does: both are then empty there.
    pub fn without(&mut self, shared: &Shared) {
        for (key, names) in &shared.chains {
            let Some(table) = self.ruleset.tables.get_mut(key) else { continue };
            for (_, chain) in table.chains.iter_mut().filter(|(name, _)| names.contains(name)) {
                chain.rules = Vec::new();
            }
        }
    }
}
