//! A reading of a part of a ruleset, and the whole ruleset brought up to date with it. Pure.
//!
//! A set whose elements a rule writes is the packet path's, whatever chain that rule is in: [`Writers`] knows it of
//! the chains that were not read.

use super::handles::Handles;
use super::scope::{Part, Parts, Scope, SetPart};
use super::{NormaliseError, add, anonymous, describe, xt_set};
use crate::model::outline::SetName;
use crate::model::{Anonymous, Backend, Chain, Family, Name, RawMessage, Ruleset, Table, TableKey};
use crate::netlink::{Attrs, Malformed};
use std::collections::{BTreeMap, BTreeSet};

/// A consistent reading of a part of nf_tables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scoped {
    /// `NFTA_GEN_ID` at the time of the reading.
    pub generation: u32,
    /// What was read: at least what was asked for.
    pub scope: Scope,
    /// What is there of it. Sets are marked as written by rules only as far as these rules tell: see
    /// [`Writers::mark`].
    pub ruleset: Ruleset,
    /// The kernel's handles of the rules.
    pub handles: Handles,
}

/// Normalises the messages of a reading in part: each table with what was read of it.
pub fn scoped(
    generation: u32,
    scope: Scope,
    interfaces: BTreeMap<u32, Vec<u8>>,
    messages: &[RawMessage],
    ipset: &BTreeMap<u16, Name>,
) -> Result<Scoped, NormaliseError> {
    let mut ruleset = Ruleset { interfaces, ..Ruleset::default() };
    for message in messages {
        let error = || NormaliseError { what: describe(message.kind) };
        let (family, attrs) = (Family::from_number(message.family).ok_or_else(error)?, Attrs(&message.attrs));
        add(&mut ruleset, family, message.kind, attrs).map_err(|Malformed| error())?;
    }
    let handles = Handles::of(messages, &ruleset)?;
    for table in ruleset.tables.values_mut() {
        super::complete(table, ipset);
    }
    Ok(Scoped { generation, scope, ruleset, handles })
}

/// The ruleset is not the one from which the part that was read came about: it has to be read in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ruleset is not the one that was changed")]
pub struct Stale;

/// Brings a ruleset up to date with a reading of all that was touched since. What is gone is removed. Gives the sets that
/// are the packet path's now and were not, or the other way round: they look different, though nobody touched them. After
/// an error the ruleset is not to be used.
pub fn put(
    ruleset: &mut Ruleset,
    writers: &mut Writers,
    scoped: &Scoped,
) -> Result<BTreeSet<SetName>, Stale> {
    if scoped.scope.everything {
        return Err(Stale);
    }
    ruleset.interfaces.clone_from(&scoped.ruleset.interfaces);
    for (key, part) in &scoped.scope.tables {
        match (scoped.ruleset.tables.get(key), part) {
            (None, _) => drop(ruleset.tables.remove(key)),
            (Some(new), Part::Whole) => drop(ruleset.tables.insert(key.clone(), new.clone())),
            (Some(new), Part::Parts(parts)) => {
                let table = ruleset.tables.get_mut(key).ok_or(Stale)?;
                put_parts(table, parts, new)?;
            }
        }
    }
    let turned = writers.update(scoped);
    let mut doubtful = turned.clone();
    for (key, part) in &scoped.scope.tables {
        let sets: Vec<&Name> = match part {
            Part::Whole => {
                scoped.ruleset.tables.get(key).map(|t| t.sets.keys().collect()).unwrap_or_default()
            }
            Part::Parts(parts) => parts.sets.keys().collect(),
        };
        doubtful.extend(sets.into_iter().map(|name| (key.clone(), name.clone())));
    }
    for name in doubtful {
        writers.mark_one(ruleset, &name);
    }
    Ok(turned)
}

fn put_parts(table: &mut Table, parts: &Parts, new: &Table) -> Result<(), Stale> {
    table.attrs.clone_from(&new.attrs);
    // All that goes first: the kernel uses the names of anonymous sets again.
    for name in &parts.chains {
        for rule in table.chains.remove(name).iter().flat_map(|chain| &chain.rules) {
            let gone = anonymous::owned_by(&rule.attrs, &table.anonymous);
            gone.sets.keys().for_each(|name| drop(table.anonymous.sets.remove(name)));
            gone.chains.keys().for_each(|name| drop(table.anonymous.chains.remove(name)));
        }
    }
    for name in &parts.chains {
        table.chains.extend(new.chains.get(name).map(|chain| (name.clone(), chain.clone())));
    }
    let Anonymous { sets, chains } = new.anonymous.clone();
    table.anonymous.sets.extend(sets);
    table.anonymous.chains.extend(chains);
    for (name, part) in &parts.sets {
        match (new.sets.get(name), part) {
            (None, _) => drop(table.sets.remove(name)),
            (Some(set), SetPart::Whole) => drop(table.sets.insert(name.clone(), set.clone())),
            (Some(set), SetPart::Elements(keys)) => {
                let known = table.sets.get_mut(name).ok_or(Stale)?;
                (known.flags, known.attrs) = (set.flags, set.attrs.clone());
                for key in keys {
                    match set.elements.get(key) {
                        Some(element) => drop(known.elements.insert(key.clone(), element.clone())),
                        None => drop(known.elements.remove(key)),
                    }
                }
            }
        }
    }
    for id in &parts.objects {
        match new.objects.get(id) {
            Some(object) => drop(table.objects.insert(id.clone(), object.clone())),
            None => drop(table.objects.remove(id)),
        }
    }
    for name in &parts.flowtables {
        match new.flowtables.get(name) {
            Some(found) => drop(table.flowtables.insert(name.clone(), found.clone())),
            None => drop(table.flowtables.remove(name)),
        }
    }
    Ok(())
}

/// Which chains have rules that write to which sets, of nf_tables and of ipset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writers {
    by_chain: BTreeMap<(TableKey, Name), BTreeSet<SetName>>,
    /// How many chains write to a set.
    counts: BTreeMap<SetName, usize>,
}

impl Writers {
    /// Of a full reading: a ruleset whose rules have their bytes.
    pub fn of(ruleset: &Ruleset) -> Self {
        let mut writers = Self::default();
        for (key, table) in &ruleset.tables {
            for (name, chain) in &table.chains {
                writers.set(key, name, written_by(key, chain, &table.anonymous));
            }
        }
        writers
    }

    /// Takes over what a reading in part shows. The sets that are written now and were not, or the other way round.
    pub fn update(&mut self, scoped: &Scoped) -> BTreeSet<SetName> {
        let mut before = BTreeMap::new();
        let mut change = |writers: &mut Self, key: &TableKey, name: &Name, written: BTreeSet<SetName>| {
            let old = writers.by_chain.get(&(key.clone(), name.clone()));
            for set in old.into_iter().flatten().chain(&written) {
                before.entry(set.clone()).or_insert_with(|| writers.counts.contains_key(set));
            }
            writers.set(key, name, written);
        };
        for (key, part) in &scoped.scope.tables {
            let table = scoped.ruleset.tables.get(key);
            let is_parts = matches!(part, Part::Parts(_)) && table.is_some();
            let mut chains: BTreeSet<Name> = match part {
                Part::Parts(parts) if is_parts => parts.chains.clone(),
                _ => table.iter().flat_map(|table| table.chains.keys().cloned()).collect(),
            };
            if !is_parts {
                let start = (key.clone(), Name::default());
                let known = self.by_chain.range(start..).take_while(|((table, _), _)| table == key);
                chains.extend(known.map(|((_, name), _)| name.clone()));
            }
            for name in chains {
                let chain = table.and_then(|table| Some((table.chains.get(&name)?, table)));
                let written = chain.map(|(chain, table)| written_by(key, chain, &table.anonymous));
                change(self, key, &name, written.unwrap_or_default());
            }
        }
        before
            .into_iter()
            .filter(|(set, was)| self.counts.contains_key(set) != *was)
            .map(|(set, _)| set)
            .collect()
    }

    /// Whether a rule writes to a set.
    pub fn writes(&self, set: &SetName) -> bool {
        self.counts.contains_key(set)
    }

    /// Says of each set in a ruleset whether a rule writes to it, also a rule that the ruleset does not have.
    pub fn mark(&self, ruleset: &mut Ruleset) {
        for (key, table) in &mut ruleset.tables {
            for (name, set) in &mut table.sets {
                set.written_by_rules = self.writes(&(key.clone(), name.clone()));
            }
        }
    }

    fn mark_one(&self, ruleset: &mut Ruleset, name: &SetName) {
        let set = ruleset.tables.get_mut(&name.0).and_then(|table| table.sets.get_mut(&name.1));
        if let Some(set) = set {
            set.written_by_rules = self.writes(name);
        }
    }

    fn set(&mut self, key: &TableKey, chain: &Name, written: BTreeSet<SetName>) {
        for set in &written {
            *self.counts.entry(set.clone()).or_default() += 1;
        }
        let id = (key.clone(), chain.clone());
        let old =
            if written.is_empty() { self.by_chain.remove(&id) } else { self.by_chain.insert(id, written) };
        for set in old.into_iter().flatten() {
            if let Some(count) = self.counts.get_mut(&set) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&set);
                }
            }
        }
    }
}

/// The sets to which the rules of a chain write, and those of the chains that belong to these.
fn written_by(key: &TableKey, chain: &Chain, anonymous: &Anonymous) -> BTreeSet<SetName> {
    let of_ipset = |name: Name| (TableKey::of_all(Backend::Ipset), name);
    let mut written = BTreeSet::new();
    if key.backend != Backend::NfTables {
        let lines = chain.rules.iter().flat_map(|rule| xt_set::written_by_line(&rule.attrs));
        return lines.map(of_ipset).collect();
    }
    let mut chains = vec![chain];
    let mut seen: BTreeSet<Name> = BTreeSet::new();
    while let Some(chain) = chains.pop() {
        for rule in &chain.rules {
            if memchr::memmem::find(&rule.attrs, b"dynset\0").is_some() {
                written.extend(anonymous::written_sets(&rule.attrs).map(|name| (key.clone(), name)));
            }
            written.extend(xt_set::written(&rule.attrs).into_iter().map(of_ipset));
            if anonymous.chains.is_empty() {
                continue;
            }
            let bound = anonymous::owned_by(&rule.attrs, anonymous).chains.into_keys();
            let new: Vec<Name> = bound.filter(|name| seen.insert(name.clone())).collect();
            chains.extend(new.iter().filter_map(|name| anonymous.chains.get(name)));
        }
    }
    written
}
