//! What a turn of `watch` leaves to the next one, so that this has to look only at what was touched meanwhile.
//!
//! Both rulesets with the handles of their rules, what their comparison found, and the live state as the ledger's files.
//! None of it is needed: without it, a turn is a full look.

use super::history;
use super::look::{Checked, Reading};
use crate::baseline::{self, NewTexts};
use crate::compare::{self, Commons, Difference, Earlier, Texts};
use crate::ledger::{HostName, Repository};
use crate::model::{Backend, Capture, Files, Item, Name, Ruleset, TableKey};
use crate::normalise::handles::Handles;
use crate::normalise::scope::restrict;
use crate::normalise::scoped::{Scoped, Stale, Writers, put};
use crate::record::Memory;
use std::collections::BTreeMap;

/// What a turn leaves to the next one.
#[derive(Debug)]
pub struct Kept {
    pub(super) reading: Reading,
    pub(super) rules: Rules,
    /// The live state as the ledger's files; none if they are not known.
    pub(super) files: Option<Files>,
    /// The ledger's head.
    pub(super) head: Option<String>,
    pub(super) differences: Vec<Difference>,
    pub(super) re_encoded_in: BTreeMap<Item, usize>,
}

/// What is known of the rules of the live state besides their bytes.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) handles: Handles,
    writers: Writers,
    /// Whether the meaning of some rule may depend on any other one, on either side.
    has_lists: bool,
}

impl Rules {
    /// Of a full reading. Without handles, a rule is told from others by its bytes.
    pub(super) fn of(capture: &Capture, live: &Ruleset) -> Self {
        let handles = Handles::of(&capture.messages, live).unwrap_or_default();
        Self { handles, writers: Writers::of(live), has_lists: false }
    }

    /// Learns of both sides whether each rule means something by itself.
    pub(super) fn look_for_lists(&mut self, sides: [&Ruleset; 2]) {
        self.has_lists = sides.into_iter().any(compare::has_lists);
    }
}

/// What a reading in part changed.
pub(super) struct Advanced {
    /// What was read, as it was before.
    pub(super) before: Ruleset,
    /// What was read.
    pub(super) after: Ruleset,
    /// The handles of its rules before.
    pub(super) handles_before: Handles,
    /// What of the last comparison stands; none if nothing does.
    pub(super) earlier: Option<Earlier>,
}

impl Kept {
    /// Whether these are the rulesets of the last look, and of the present baseline.
    pub(super) fn is_current(
        &self,
        repository: &Repository,
        host: &HostName,
        memory: Option<&Memory>,
    ) -> bool {
        let path = baseline::context_path(Backend::Sysctl).unwrap_or_default();
        let tree = repository.baseline_id(host, path).ok().flatten().map(|id| id.tree);
        let Reading { state, baseline, look, .. } = &self.reading;
        tree.as_ref() == Some(&baseline.tree)
            && memory.is_some_and(|memory| {
                memory.head == self.head && memory.state == *state && memory.baseline == baseline.tree
            })
            && look.boot_id == history::boot_id()
    }

    /// Brings the live state up to date with a reading in part. After an error nothing of it is to be used.
    pub(super) fn advance(&mut self, scoped: &Scoped) -> Result<Advanced, Stale> {
        let Self { reading, rules, .. } = self;
        let scope = &scoped.scope;
        let before = restrict(&reading.live, scope);
        let handles_before = rules.handles.within(scope);
        let commons = Commons::of(&reading.live, scope);
        let turned = put(&mut reading.live, &mut rules.writers, scoped)?;
        rules.handles.put(scoped);
        let after = restrict(&reading.live, scope);
        if before != after || !turned.is_empty() {
            reading.state = reading.live.digest().to_string();
        }
        rules.has_lists |= compare::has_lists(&scoped.ruleset);
        let earlier = (!rules.has_lists).then(|| {
            let found = (std::mem::take(&mut self.differences), std::mem::take(&mut self.re_encoded_in));
            Earlier::new(found, scope.clone(), turned, &commons, &self.reading.live)
        });
        Ok(Advanced { before, after, handles_before, earlier })
    }
}

/// The files of the state after a turn, made from those before; none if they have to be written anew.
pub(super) fn files_after(
    mut files: Files,
    before: &Ruleset,
    after: &Ruleset,
    checked: &Checked,
) -> Option<Files> {
    if !before.tables.keys().eq(after.tables.keys()) {
        return None;
    }
    for (key, new) in &after.tables {
        let old = before.tables.get(key)?;
        if old == new {
            continue;
        }
        if files.contains_key(&baseline::exact_path(key)) {
            return None;
        }
        let content = files.get_mut(&baseline::table_path(key))?;
        *content = baseline::splice(content, old, new, &Exact { texts: &checked.texts, key })?;
    }
    Some(files)
}

/// The texts of one table's new objects, as far as they say all.
struct Exact<'t> {
    texts: &'t Texts,
    key: &'t TableKey,
}

impl Exact<'_> {
    fn of(&self, item: &Item) -> Option<String> {
        self.texts.get(item).filter(|text| text.exact).map(|text| text.text.clone())
    }
}

impl NewTexts for Exact<'_> {
    fn rule(&self, chain: &Name, place: usize) -> Option<String> {
        self.of(&Item::Rule(self.key.clone(), chain.clone(), place))
    }

    fn chain(&self, name: &Name) -> Option<String> {
        self.of(&Item::Chain(self.key.clone(), name.clone()))
    }
}
