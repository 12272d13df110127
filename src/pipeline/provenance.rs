//! Who is answerable for a rule: whoever approved it, by git blame of the baseline, or whoever made it as drift. Reads
//! only. Where that cannot be told, nothing is said.

use super::last::{known, remembered};
use super::lines::Lines;
use super::sides::Sides;
use super::words::compared;
use crate::baseline::{Access, Cache};
use crate::compare::{Difference, Known};
use crate::config::Settings;
use crate::ledger::{Baseline, Repository};
use crate::model::{Author, BaselineLine, Change, Provenance, Ruleset, SideKind, SideRef};
use crate::traffic::effects::{DeciderIndex, DeciderRef};

/// Answers for the rules of one side.
pub(super) enum Provenances<'s> {
    /// The side is not of this repository.
    Unknown,
    /// It is what is approved, or was at a commit.
    Approved(Approved<'s>),
    /// It is live: what does not differ is approved.
    Live(Box<Live<'s>>),
}

/// Approved files.
pub(super) struct Approved<'s> {
    repository: &'s Repository,
    commit: String,
    lines: Lines,
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
            SideKind::Baseline => Self::Approved(Approved::new(repository, &baseline, ruleset)),
            SideKind::Live => {
                let memory = remembered(repository, &settings.host).ok().flatten();
                let cache = Cache::new(repository.cache_dir(), Access::Read);
                let approved = cache.approved(&baseline.tree, &baseline.files, &ruleset.interfaces);
                let Ok(approved) = approved else { return Self::Unknown };
                let known = memory.as_ref().map_or_else(Known::default, |memory| known(Some(memory)));
                let Ok(found) = compared(&approved, ruleset, &known) else { return Self::Unknown };
                let approved = Approved::new(repository, &baseline, &approved);
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
        let approved = Approved::new(repository, baseline, approved);
        Self::Live(Box::new(Live { approved, differences: differences.to_vec(), changes: changes.to_vec() }))
    }

    /// Who is answerable for a rule or a policy.
    pub(super) fn of_rule(&self, of: &DeciderRef) -> Option<Provenance> {
        match self {
            Self::Unknown => None,
            Self::Approved(approved) => approved.of(approved.lines.of(of)?),
            Self::Live(live) => live.of(of),
        }
    }
}

impl<'s> Approved<'s> {
    fn new(repository: &'s Repository, baseline: &Baseline, ruleset: &Ruleset) -> Self {
        let (commit, lines) = (baseline.commit.clone(), Lines::new(baseline, ruleset));
        Self { repository, commit, lines }
    }

    fn of(&self, at: BaselineLine) -> Option<Provenance> {
        let BaselineLine { path, line } = at;
        let blamed = self.repository.blame(&self.commit, &path, &[line]).ok()?.into_iter().next()??;
        Some(Provenance::Approved { by: blamed.by, time: blamed.time, commit: blamed.commit, path, line })
    }
}

impl Live<'_> {
    fn of(&self, of: &DeciderRef) -> Option<Provenance> {
        let differs = DeciderIndex::after(&self.differences).find(of);
        let Some(difference) = differs.map(|at| &self.differences[at]) else {
            return self.approved.of(self.approved.lines.live(&self.differences).of(of)?);
        };
        let id = difference.change.id.clone();
        let open = self.changes.iter().find(|open| open.id == id);
        let author = open.map_or_else(Author::default, |open| open.author.clone());
        let time = open.and_then(|open| open.time);
        Some(Provenance::Drift { id, author: Box::new(author), time })
    }
}
