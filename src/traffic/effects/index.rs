//! Which difference a decider is part of, without asking each of thousands.

use super::DeciderRef;
use crate::compare::Difference;
use crate::model::{Item, Name, TableKey};
use std::collections::HashMap;

/// A chain by its table and name.
type ChainKey = (TableKey, Name);

/// The differences of one side by what decides in them.
#[derive(Debug, Default)]
pub struct DeciderIndex {
    rules: HashMap<ChainKey, HashMap<usize, usize>>,
    policies: HashMap<ChainKey, usize>,
    chains: HashMap<ChainKey, usize>,
    tables: HashMap<TableKey, usize>,
}

impl DeciderIndex {
    /// Of what differs in the ruleset before.
    pub fn before(differences: &[Difference]) -> Self {
        Self::of(differences.iter().map(|difference| &difference.before))
    }

    /// Of what differs in the ruleset after.
    pub fn after(differences: &[Difference]) -> Self {
        Self::of(differences.iter().map(|difference| &difference.after))
    }

    fn of<'d>(items: impl Iterator<Item = &'d Option<Item>>) -> Self {
        let mut index = Self::default();
        for (at, item) in items.enumerate() {
            let Some(item) = item else { continue };
            // The first one counts.
            match item {
                Item::Rule(key, chain, place) => {
                    let places = index.rules.entry((key.clone(), chain.clone())).or_default();
                    places.entry(*place).or_insert(at);
                }
                Item::ChainHead(key, chain) => {
                    index.policies.entry((key.clone(), chain.clone())).or_insert(at);
                }
                Item::Chain(key, chain) => {
                    index.chains.entry((key.clone(), chain.clone())).or_insert(at);
                }
                Item::Table(key) => {
                    index.tables.entry(key.clone()).or_insert(at);
                }
                Item::TableHead(_)
                | Item::Set(..)
                | Item::SetHead(..)
                | Item::Element(..)
                | Item::Object(..)
                | Item::Flowtable(..) => {}
            }
        }
        index
    }

    /// The place of the first difference whose part the decider is: the rule itself, the chain whose policy it is, or a
    /// whole chain or table with it.
    pub fn find(&self, decider: &DeciderRef) -> Option<usize> {
        let chain = (decider.table.clone(), decider.chain.clone());
        let alone = match decider.rule {
            Some(place) => self.rules.get(&chain).and_then(|places| places.get(&place)),
            None => self.policies.get(&chain),
        };
        let with_it = [self.chains.get(&chain), self.tables.get(&decider.table)];
        alone.into_iter().chain(with_it.into_iter().flatten()).min().copied()
    }
}
