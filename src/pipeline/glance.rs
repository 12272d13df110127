//! The quick look: as much as an answer needs, and no more. Reads only.
//!
//! Two ways, both with the same answer as the full look of `look`: if nf_tables' generation is the remembered one,
//! nothing was committed, and the remembered answer holds; else the reading follows the outline of the
//! approved state, and only what differs is held and decoded. What the generation does not cover (legacy
//! tables, ipset, settings, programs) is read each time.

use super::PipelineError;
use super::context::{self, Context};
use super::history::{self, Trail};
use super::impact::{self, Pair};
use super::last::{keep_names, known};
use super::look::{self, attribute_new, beside_digest, blinding, open_netns, result_of, review_id};
use super::place::Judged;
use super::words::ROUNDS;
use crate::attribute::Look;
use crate::baseline::{self, Access, Bodies, Cache, Stored};
use crate::collect::{self, Followed, Glance};
use crate::compare::{self, Comparison, Known, Texts};
use crate::config::Settings;
use crate::decode;
use crate::ledger::{Baseline, BaselineId, Repository};
use crate::model::{
    Backend, BaselineRef, Change, CheckResult, Gap, Item, Outline, Ruleset, SettingsList, Summary, TableKey,
};
use crate::normalise::normalise;
use crate::normalise::xt_recent::uses_list;
use crate::policy::{self, Policy};
use crate::record::{Memory, Tally};
use crate::sys::netns::Netns;
use chrono::Utc;
use std::collections::{BTreeMap, BTreeSet};

/// What a quick look saw.
#[derive(Debug)]
pub struct Glanced {
    /// What `check` prints.
    pub result: CheckResult,
    /// What to remember, if the look showed nothing that has to be recorded.
    pub(super) nothing_new: Option<Memory>,
}

/// A quick look; none if only a full one can tell.
pub(super) fn glance(
    settings: &Settings,
    repository: &Repository,
    access: Access,
) -> Result<Option<Glanced>, PipelineError> {
    let host = &settings.host;
    let settings_path = baseline::context_path(Backend::Sysctl).unwrap_or_default();
    let Some(id) = repository.baseline_id(host, settings_path)? else { return Ok(None) };
    let memory = Memory::read(repository, host, repository.head_id(host)?.as_deref());
    let Some(memory) = memory.filter(|memory| memory.baseline == id.tree) else { return Ok(None) };
    let is_due = |tally: Tally| tally.is_due(Utc::now(), settings.checkpoint_every);
    if access == Access::ReadWrite && memory.tally.is_some_and(is_due) {
        return Ok(None);
    }
    let netns = open_netns(settings)?;
    // Before anything is read: what changes meanwhile belongs to the next window.
    let audited = history::is_auditing();
    let now = Utc::now();
    let settings_file = id.file.clone().map(|content| (settings_path.to_owned(), content));
    let list = context::listed(&settings_file.into_iter().collect(), &id.policy)?;
    let mut glance = collect::glance(&netns, &list)?;
    if !memory.gaps.is_empty() || !blinding(&glance.gaps).is_empty() {
        return Ok(None);
    }
    let beside = normalise(&glance.beside)?;
    let (boot_id, netns_cookie) = (history::boot_id(), glance.netns_cookie);
    let look = Look { boot_id, netns_cookie, generation: glance.generation, time: now };
    let gaps = std::mem::take(&mut glance.gaps);
    let policy = policy::parse(&id.policy)?;
    let judged = Judged::of(settings, &policy, &id.policy)?;
    let is_judged = judged.is_of(Some(&memory));
    let seen = Sight { settings, id, list, memory, look, audited, gaps, policy, judged };
    if is_judged && seen.is_unchanged(&glance, &beside) {
        return Ok(Some(seen.unchanged()));
    }
    // Whether flows hold is told by whole rulesets only.
    if !seen.policy.flows.is_empty() {
        return Ok(None);
    }
    let cache = Cache::new(repository.cache_dir(), access);
    seen.followed(repository, &cache, access, &netns, glance, beside)
}

/// What is known before the rules are read.
struct Sight<'s> {
    settings: &'s Settings,
    id: BaselineId,
    list: SettingsList,
    memory: Memory,
    look: Look,
    audited: bool,
    gaps: Vec<Gap>,
    policy: Policy,
    judged: Judged,
}

impl Sight<'_> {
    /// Whether nothing was committed since the last look, nothing else differs, and a full look is not due.
    fn is_unchanged(&self, glance: &Glance, beside: &Ruleset) -> bool {
        let memory = &self.memory;
        let age = memory.full_look.map(|time| (self.look.time - time).to_std());
        // A clock that was set back makes a full look due.
        let is_fresh = matches!(age, Some(Ok(age)) if age < self.settings.full_look_every);
        is_fresh
            && memory.boot_id == self.look.boot_id
            && memory.generation == glance.generation
            && glance.netns_cookie.is_some()
            && memory.netns_cookie == glance.netns_cookie
            && memory.beside.as_ref() == Some(&beside_digest(beside, &glance.beside.interfaces))
    }

    fn unchanged(mut self) -> Glanced {
        if self.id.file.is_none() {
            self.gaps.push(context::no_settings());
        }
        let (changes, review_id) = (self.memory.open.clone(), self.memory.review_id.clone());
        let flows = self.memory.flows.clone();
        let result = self.result(changes, self.memory.re_encoded, review_id, self.gaps.clone());
        let result = CheckResult { flows, ..result };
        let tally = Some(Tally::with(self.memory.tally, self.look.time, false));
        let nothing_new = Some(Memory { time: self.look.time, audited: self.audited, tally, ..self.memory });
        Glanced { result, nothing_new }
    }

    /// Compares along the outline of the approved state.
    fn followed(
        mut self,
        repository: &Repository,
        cache: &Cache,
        access: Access,
        netns: &Netns,
        glance: Glance,
        beside: Ruleset,
    ) -> Result<Option<Glanced>, PipelineError> {
        let interfaces = glance.beside.interfaces.clone();
        let files = || -> Result<_, PipelineError> {
            let baseline = repository.baseline(&self.settings.host)?;
            Ok(baseline.map(|baseline| baseline.files).unwrap_or_default())
        };
        let Some(stored) = cache.stored(&self.id.tree, &interfaces, files)? else { return Ok(None) };
        let ipset = glance.beside.ipset.as_deref().unwrap_or_default();
        let Some(followed) = collect::follow(netns, stored.outline(), ipset)? else { return Ok(None) };
        let Followed { generation, mut live, shared } = followed;
        // A rule names a set by its index, which another set may have by now.
        if !ipset.is_empty() && generation != glance.generation {
            return Ok(None);
        }
        let remembered = Memory {
            time: self.look.time,
            audited: self.audited,
            full_look: Some(self.look.time),
            netns_cookie: glance.netns_cookie,
            tally: Some(Tally::with(self.memory.tally, self.look.time, false)),
            beside: look::beside(&live, &beside_digest(&beside, &interfaces)),
            ..self.memory.clone()
        };
        self.look.generation = generation;
        live.interfaces = interfaces;
        live.tables.extend(beside.tables);
        let sets = live.tables.get_mut(&TableKey::of_all(Backend::Ipset));
        for (name, set) in sets.into_iter().flat_map(|table| &mut table.sets) {
            set.written_by_rules |= shared.written_ipsets.contains(name);
        }
        let (mut outline, bodies) = stored.into_parts();
        outline.without(&shared);
        // What could not be seen is kept open from the look before, which only a full look does.
        if !look::stand_in(&mut live, &outline.ruleset, &self.gaps).is_empty() {
            return Ok(None);
        }
        Context::settle(self.list.clone(), &mut live, &mut outline.ruleset, &mut self.gaps);
        if shared.other_elements.is_empty() && is_same(&outline.ruleset, &live) {
            let review_id = review_id(&self.id.tree, &[], &[], &live, &live);
            let result = self.result(Vec::new(), 0, review_id, self.gaps.clone());
            let memory = &self.memory;
            let same = history::look_of(memory).same_count(&self.look);
            let committed = !same || memory.generation != self.look.generation;
            let nothing_new = !committed && memory.open.is_empty();
            return Ok(Some(Glanced { result, nothing_new: nothing_new.then_some(remembered) }));
        }
        // Who records it needs a full look for that.
        if access == Access::ReadWrite {
            return Ok(None);
        }
        let mut approved = outline_with(outline, &bodies, &shared.other_elements);
        let Some(approved) = approved.as_mut() else { return Ok(None) };
        let tree = self.id.tree.clone();
        let whole = || -> Result<_, PipelineError> {
            let stored = cache.stored(&tree, &live.interfaces, files)?;
            let baseline = repository.baseline(&self.settings.host)?;
            Ok(stored.and_then(Stored::into_ruleset).zip(baseline))
        };
        self.differing(cache, approved, &bodies, &live, whole)
    }

    fn differing(
        mut self,
        cache: &Cache,
        approved: &mut Ruleset,
        bodies: &Bodies,
        live: &Ruleset,
        whole: impl FnOnce() -> Result<Option<(Ruleset, Baseline)>, PipelineError>,
    ) -> Result<Option<Glanced>, PipelineError> {
        let known = known(Some(&self.memory)).with(cache.alike());
        let Some(found) = compared(approved, bodies, live, &known)? else { return Ok(None) };
        let Comparison { mut differences, re_encoded, alike, re_encoded_in: _ } = found;
        cache.keep_alike(&alike);
        keep_names(&mut differences, approved, live, Some(&self.memory));
        let mut changes: Vec<Change> = differences.iter().map(|d| d.change.clone()).collect();
        let trail = Trail::new(self.settings, Some(&self.memory), &self.look);
        attribute_new(&mut changes, &[], Some(&self.memory), None, &trail);
        let same = self.judged.is_of(Some(&self.memory));
        if !same || !impact::remembered(&mut changes, &self.memory.open) {
            // Outline and reading leave out what both have: what is approved, with all differences made in it, is live.
            let Some((approved, baseline)) = whole()? else { return Ok(None) };
            let live = compare::apply(&approved, live, &differences, |_| true);
            let judges = self.judged.judges(&self.policy);
            let open = if same { &self.memory.open[..] } else { &[] };
            let pair = Pair {
                before: &approved,
                after: &live,
                differences: &differences,
                baseline: Some(&baseline),
            };
            impact::assess(pair, &mut changes, open, &judges);
        }
        self.gaps.extend(trail.gaps());
        let review_id = review_id(&self.id.tree, &changes, &differences, approved, live);
        let gaps = std::mem::take(&mut self.gaps);
        Ok(Some(Glanced { result: self.result(changes, re_encoded, review_id, gaps), nothing_new: None }))
    }

    fn result(
        &self,
        changes: Vec<Change>,
        re_encoded: usize,
        review_id: String,
        gaps: Vec<Gap>,
    ) -> CheckResult {
        let baseline = BaselineRef { commit: self.id.commit.clone(), path: self.id.path.clone() };
        let summary = Summary::of(&changes, re_encoded);
        result_of(self.settings, baseline, &self.look, changes, gaps, summary, review_id)
    }
}

/// The approved side, with the elements of the sets that differ.
fn outline_with(
    outline: Outline,
    bodies: &Bodies,
    sets: &[crate::model::outline::SetName],
) -> Option<Ruleset> {
    let mut approved = outline.ruleset;
    let items: Vec<Item> = sets.iter().map(|(key, name)| Item::Set(key.clone(), name.clone())).collect();
    bodies.fill(&mut approved, &items).ok()?;
    Some(approved)
}

/// Whether an outline and a reading along it hold the same. Anonymous objects are part of the rules' digests.
fn is_same(approved: &Ruleset, live: &Ruleset) -> bool {
    let same = |(old, new): (&crate::model::Table, &crate::model::Table)| {
        old.attrs == new.attrs
            && old.chains == new.chains
            && old.sets == new.sets
            && old.objects == new.objects
            && old.flowtables == new.flowtables
    };
    approved.tables.keys().eq(live.tables.keys())
        && approved.tables.values().zip(live.tables.values()).all(same)
}

/// As `words::compared`, with what is decoded taken from the bodies first; none if they cannot be read.
fn compared(
    approved: &mut Ruleset,
    bodies: &Bodies,
    live: &Ruleset,
    known: &Known,
) -> Result<Option<Comparison>, PipelineError> {
    let unmatched = compare::unmatched_as(approved, live, known);
    let (mut before, mut after) = (Texts::new(), Texts::new());
    let mut missing = (unmatched.baseline, unmatched.live);
    for _ in 0..ROUNDS {
        let aliases = aliases(approved, live, &missing.1);
        let old: BTreeSet<Item> = missing.0.into_iter().chain(aliases.values().cloned()).collect();
        if bodies.fill(approved, &old).is_err() {
            return Ok(None);
        }
        before.extend(decode::decode(approved, &old)?);
        let new: BTreeSet<Item> = missing.1.into_iter().filter(|item| !aliases.contains_key(item)).collect();
        if old.iter().any(|item| depends_on_others(approved, item))
            || new.iter().any(|item| depends_on_others(live, item))
        {
            return Ok(None);
        }
        after.extend(decode::decode(live, &new)?);
        for (item, alias) in aliases {
            after.extend(before.get(&alias).cloned().map(|text| (item, text)));
        }
        let comparison = compare::compare_as(approved, live, &before, &after, known);
        missing = compare::without_text(&comparison, &before, &after);
        if missing.0.is_empty() && missing.1.is_empty() {
            return Ok(Some(comparison));
        }
    }
    Ok(None)
}

/// Whether what an item means may depend on rules that are not at hand here (see `normalise::xt_recent`).
fn depends_on_others(ruleset: &Ruleset, item: &Item) -> bool {
    let Some(table) = ruleset.tables.get(item.table()) else { return false };
    let in_chain = |name| table.chains.get(name).is_some_and(|chain| chain.rules.iter().any(uses_list));
    match item {
        Item::Table(_) => table.chains.keys().any(in_chain),
        Item::Chain(_, name) => in_chain(name),
        Item::Rule(_, name, place) => {
            table.chains.get(name).and_then(|chain| chain.rules.get(*place)).is_some_and(uses_list)
        }
        Item::TableHead(_)
        | Item::ChainHead(..)
        | Item::Set(..)
        | Item::SetHead(..)
        | Item::Element(..)
        | Item::Object(..)
        | Item::Flowtable(..) => false,
    }
}

/// The live rules that were not kept because the approved chain has them, too, each with its approved twin.
fn aliases(approved: &Ruleset, live: &Ruleset, items: &BTreeSet<Item>) -> BTreeMap<Item, Item> {
    let twin = |item: &Item| {
        let Item::Rule(key, name, place) = item else { return None };
        let rule = live.tables.get(key)?.chains.get(name)?.rules.get(*place)?;
        if !rule.attrs.is_empty() || key.backend != Backend::NfTables {
            return None;
        }
        let rules = &approved.tables.get(key)?.chains.get(name)?.rules;
        let twin = rules.iter().position(|other| other.digest == rule.digest)?;
        Some(Item::Rule(key.clone(), name.clone(), twin))
    };
    items.iter().filter_map(|item| Some((item.clone(), twin(item)?))).collect()
}
