//! Who is answerable for a rule: whoever approved it, by git blame of the baseline, or whoever made it as drift. Reads
//! only. Where that cannot be told, nothing is said.

use super::last::{known, remembered};
use super::sides::Sides;
use super::words::compared;
use crate::baseline::{self, Access, Cache, Located};
use crate::compare::{Difference, Known};
use crate::config::Settings;
use crate::ledger::{Baseline, Repository};
use crate::model::{Author, Change, Files, Item, Name, Provenance, Ruleset, SideKind, SideRef, TableKey};
use crate::traffic::effects::DeciderRef;
use std::collections::BTreeMap;

/// Answers for the rules of one side.
pub(super) enum Provenances<'s> {
    /// The side is not of this repository.
    Unknown,
    /// It is what is approved, or was at a commit.
    Approved(Approved<'s>),
    /// It is live: what does not differ is approved.
    Live(Box<Live<'s>>),
}

/// Approved files, and how many rules each chain has.
pub(super) struct Approved<'s> {
    repository: &'s Repository,
    commit: String,
    directory: String,
    files: Files,
    counts: BTreeMap<(TableKey, Name), usize>,
}

/// The live state beside what is approved.
pub(super) struct Live<'s> {
    approved: Approved<'s>,
    differences: Vec<Difference>,
    /// The same, with their authors as far as they are known.
    changes: Vec<Change>,
}

impl<'s> Provenances<'s> {
    /// Of a side as `diff` finds it.
    pub(super) fn of(sides: &'s Sides<'_>, settings: &Settings, side: &SideRef, ruleset: &Ruleset) -> Self {
        let Some(repository) = sides.repository() else { return Self::Unknown };
        let found = repository.baseline(&settings.host).ok().flatten();
        let Some(baseline) = found else { return Self::Unknown };
        match side.kind {
            SideKind::Baseline => Self::Approved(Approved::new(repository, baseline, ruleset)),
            SideKind::Live => {
                let memory = remembered(repository, &settings.host).ok().flatten();
                let cache = Cache::new(repository.cache_dir(), Access::Read);
                let approved = cache.approved(&baseline.tree, &baseline.files, &ruleset.interfaces);
                let Ok(approved) = approved else { return Self::Unknown };
                let known = memory.as_ref().map_or_else(Known::default, |memory| known(Some(memory)));
                let Ok(found) = compared(&approved, ruleset, &known) else { return Self::Unknown };
                let approved = Approved::new(repository, baseline, &approved);
                let changes = memory.map_or_else(Vec::new, |memory| memory.open);
                Self::Live(Box::new(Live { approved, differences: found.differences, changes }))
            }
            SideKind::Revision | SideKind::Ledger | SideKind::Boot | SideKind::File | SideKind::Directory => {
                Self::Unknown
            }
        }
    }

    /// Of the live side of a look.
    pub(super) fn of_look(
        repository: &'s Repository,
        baseline: &Baseline,
        approved: &Ruleset,
        differences: &[Difference],
        changes: &[Change],
    ) -> Self {
        let approved = Approved::new(repository, baseline.clone(), approved);
        Self::Live(Box::new(Live { approved, differences: differences.to_vec(), changes: changes.to_vec() }))
    }

    /// Who is answerable for a rule or a policy.
    pub(super) fn of_rule(&self, of: &DeciderRef) -> Option<Provenance> {
        match self {
            Self::Unknown => None,
            Self::Approved(approved) => approved.of(&of.table, &of.chain, of.rule),
            Self::Live(live) => live.of(of),
        }
    }
}

impl<'s> Approved<'s> {
    fn new(repository: &'s Repository, baseline: Baseline, ruleset: &Ruleset) -> Self {
        let mut counts = BTreeMap::new();
        for (key, table) in &ruleset.tables {
            counts.extend(
                table.chains.iter().map(|(name, chain)| ((key.clone(), name.clone()), chain.rules.len())),
            );
        }
        let Baseline { commit, path: directory, files, .. } = baseline;
        Self { repository, commit, directory, files, counts }
    }

    fn of(&self, table: &TableKey, chain: &Name, place: Option<usize>) -> Option<Provenance> {
        let count = *self.counts.get(&(table.clone(), chain.clone()))?;
        let Located { path, line } = baseline::locate(&self.files, table, chain, place, count)?;
        let (line, path) = (line?, format!("{}/{path}", self.directory));
        let blamed = self.repository.blame(&self.commit, &path, &[line]).ok()?.into_iter().next()??;
        Some(Provenance::Approved { by: blamed.by, time: blamed.time, commit: blamed.commit, path, line })
    }
}

impl Live<'_> {
    fn of(&self, of: &DeciderRef) -> Option<Provenance> {
        if let Some(difference) = self
            .differences
            .iter()
            .find(|difference| difference.after.as_ref().is_some_and(|item| of.is_in(item)))
        {
            let id = difference.change.id.clone();
            let open = self.changes.iter().find(|open| open.id == id);
            let author = open.map_or_else(Author::default, |open| open.author.clone());
            let time = open.and_then(|open| open.time);
            return Some(Provenance::Drift { id, author: Box::new(author), time });
        }
        let place = match of.rule {
            Some(place) => Some(self.approved_place(of, place)?),
            None => None,
        };
        self.approved.of(&of.table, &of.chain, place)
    }

    /// Where a rule that did not change stands in the approved chain: such rules keep their order.
    fn approved_place(&self, of: &DeciderRef, place: usize) -> Option<usize> {
        let places = |side: fn(&Difference) -> &Option<Item>| -> Vec<usize> {
            let of_chain = self.differences.iter().filter_map(|difference| match side(difference) {
                Some(Item::Rule(key, chain, place)) if *key == of.table && *chain == of.chain => Some(*place),
                _ => None,
            });
            of_chain.collect()
        };
        let (changed, gone) =
            (places(|difference| &difference.after), places(|difference| &difference.before));
        let number = (0..place).filter(|at| !changed.contains(at)).count();
        let count = *self.approved.counts.get(&(of.table.clone(), of.chain.clone()))?;
        (0..count).filter(|at| !gone.contains(at)).nth(number)
    }
}
