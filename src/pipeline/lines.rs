//! Where rules stand in a baseline's files. Pure.
//!
//! Of an approved ruleset it is known which rules each chain has; a live rule that is no difference has its line, too.
//! A line that is not certain is none.

use crate::baseline::{self, LocatedChain};
use crate::compare::Difference;
use crate::ledger::Baseline;
use crate::model::{BaselineLine, Files, Item, Name, Ruleset, TableKey};
use crate::traffic::effects::{DeciderIndex, DeciderRef};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

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

    /// The lines of what is live, with these differences from what is approved.
    pub(super) fn live<'l>(&'l self, differences: &[Difference]) -> LiveLines<'l> {
        let mut live =
            LiveLines { lines: self, differs: DeciderIndex::after(differences), moved: BTreeMap::new() };
        for difference in differences {
            for (item, side) in [(&difference.after, 0), (&difference.before, 1)] {
                if let Some(Item::Rule(key, name, place)) = item {
                    let moved = live.moved.entry((key.clone(), name.clone())).or_default();
                    [&mut moved.new, &mut moved.gone][side].insert(*place);
                }
            }
        }
        live
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
}

/// The places of a chain's rules that differ.
#[derive(Debug, Default)]
struct Moved {
    /// In the live chain.
    new: BTreeSet<usize>,
    /// In the approved one.
    gone: BTreeSet<usize>,
}

/// The lines of live rules that are none of the differences.
pub(super) struct LiveLines<'l> {
    lines: &'l Lines,
    differs: DeciderIndex,
    moved: BTreeMap<ChainKey, Moved>,
}

impl LiveLines<'_> {
    /// The line of an approved rule, or of the chain whose policy decides.
    pub(super) fn of_approved(&self, of: &DeciderRef) -> Option<BaselineLine> {
        self.lines.of(of)
    }

    /// The line of a live rule, or of the chain whose policy decides, if it is none of the differences.
    pub(super) fn of(&self, of: &DeciderRef) -> Option<BaselineLine> {
        if self.differs.find(of).is_some() {
            return None;
        }
        let chain = (of.table.clone(), of.chain.clone());
        let place = match of.rule {
            Some(place) => Some(self.approved_place(&chain, place)?),
            None => None,
        };
        self.lines.at(&chain, place)
    }

    /// Where a rule that did not change stands in the approved chain: such rules keep their order.
    fn approved_place(&self, chain: &ChainKey, place: usize) -> Option<usize> {
        let Some(Moved { new, gone }) = self.moved.get(chain) else { return Some(place) };
        let number = place - new.range(..place).count();
        let count = *self.lines.counts.get(chain)?;
        (0..count).filter(|at| !gone.contains(at)).nth(number)
    }
}
