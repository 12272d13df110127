//! Where rules stand in a baseline's files. Pure.
//!
//! Of an approved ruleset it is known which rules each chain has; a live rule that is no difference has its line, too.
//! A line that is not certain is none.

use crate::baseline::{self, LocatedChain};
use crate::compare::Difference;
use crate::ledger::Baseline;
use crate::model::{BaselineLine, Files, Item, Name, Ruleset, TableKey};
use crate::traffic::effects::DeciderRef;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// A chain by its table and name.
type ChainKey = (TableKey, Name);

/// The lines of an approved ruleset.
pub(super) struct Lines {
    /// Relative to the repository.
    directory: String,
    files: Files,
    /// How many rules each chain has.
    counts: BTreeMap<ChainKey, usize>,
    /// Chains that were looked for: a file is read from its beginning each time.
    located: RefCell<BTreeMap<ChainKey, Option<LocatedChain>>>,
}

impl Lines {
    /// Of the ruleset that was made of these files.
    pub(super) fn new(baseline: &Baseline, ruleset: &Ruleset) -> Self {
        let mut counts = BTreeMap::new();
        for (key, table) in &ruleset.tables {
            let of_table = table.chains.iter();
            counts.extend(of_table.map(|(name, chain)| ((key.clone(), name.clone()), chain.rules.len())));
        }
        let (directory, files) = (baseline.path.clone(), baseline.files.clone());
        Self { directory, files, counts, located: RefCell::default() }
    }

    /// The line of an approved rule, or of the chain whose policy decides.
    pub(super) fn of(&self, of: &DeciderRef) -> Option<BaselineLine> {
        self.at(&(of.table.clone(), of.chain.clone()), of.rule)
    }

    /// The line of a live rule, if it is none of the differences between what is approved and what is live.
    pub(super) fn of_live(&self, of: &DeciderRef, differences: &[Difference]) -> Option<BaselineLine> {
        let is_new = |difference: &Difference| difference.after.as_ref().is_some_and(|item| of.is_in(item));
        if differences.iter().any(is_new) {
            return None;
        }
        let chain = (of.table.clone(), of.chain.clone());
        let place = match of.rule {
            Some(place) => Some(self.approved_place(&chain, place, differences)?),
            None => None,
        };
        self.at(&chain, place)
    }

    fn at(&self, chain: &ChainKey, place: Option<usize>) -> Option<BaselineLine> {
        let count = *self.counts.get(chain)?;
        let mut located = self.located.borrow_mut();
        let locate = || baseline::locate_chain(&self.files, &chain.0, &chain.1, count);
        let found = located.entry(chain.clone()).or_insert_with(locate).as_ref()?;
        let line = match place {
            Some(place) => found.rules.get(place).copied(),
            None => found.head,
        };
        Some(BaselineLine { path: format!("{}/{}", self.directory, found.path), line: line? })
    }

    /// Where a rule that did not change stands in the approved chain: such rules keep their order.
    fn approved_place(&self, chain: &ChainKey, place: usize, differences: &[Difference]) -> Option<usize> {
        let places = |side: fn(&Difference) -> &Option<Item>| -> Vec<usize> {
            let of_chain = differences.iter().filter_map(|difference| match side(difference) {
                Some(Item::Rule(key, name, place)) if (key, name) == (&chain.0, &chain.1) => Some(*place),
                _ => None,
            });
            of_chain.collect()
        };
        let (new, gone) = (places(|difference| &difference.after), places(|difference| &difference.before));
        let number = (0..place).filter(|at| !new.contains(at)).count();
        let count = *self.counts.get(chain)?;
        (0..count).filter(|at| !gone.contains(at)).nth(number)
    }
}
