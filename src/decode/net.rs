//! What the deeds of one transaction amount to in one table. Pure.
//!
//! A transaction is atomic: what it makes and deletes again was never there.

use crate::model::{Anonymous, Element, ElementKey, Name, Rule, Set, Table};
use crate::normalise::deeds::{Act, Deed, DoneRule, On, may_be_owned, names_devices};
use crate::normalise::touched::Renamed;
use crate::normalise::{devices, owned_by};
use std::collections::{BTreeMap, BTreeSet};

/// A definition before and after.
#[derive(Clone, Debug)]
pub(super) struct Pair<T> {
    pub before: Option<T>,
    pub after: Option<T>,
}

/// What the deeds in one table amount to.
pub(super) struct Net<'c> {
    pub context: Option<&'c Table>,
    /// The old names of chains by the new ones.
    pub old_names: BTreeMap<&'c Name, &'c Name>,
    pub existed: bool,
    pub exists: bool,
    pub attrs: Option<Vec<u8>>,
    pub chains: BTreeMap<Name, Pair<Vec<u8>>>,
    pub removed: Vec<(Name, Rule, Anonymous)>,
    pub added: Vec<DoneRule>,
    pub sets: BTreeMap<Name, Pair<Set>>,
    /// Sets that went with all their elements, which are not announced.
    pub removed_sets: BTreeSet<Name>,
    pub removed_elements: BTreeMap<Name, BTreeMap<ElementKey, Element>>,
    pub added_elements: BTreeMap<Name, BTreeMap<ElementKey, Element>>,
    pub objects: BTreeMap<(u32, Name), Pair<Vec<u8>>>,
    pub flowtables: BTreeMap<Name, Pair<Vec<u8>>>,
    pub unknown: usize,
}

impl<'c> Net<'c> {
    pub fn new(context: Option<&'c Table>, first: &Deed, renamed: &'c [Renamed]) -> Self {
        let is_made = matches!((&first.on, first.act), (On::Table(_), Act::Put));
        let existed = context.is_some() || !is_made;
        let here = renamed.iter().filter(|renamed| renamed.table == first.table);
        Self {
            context,
            old_names: here.map(|renamed| (&renamed.new, &renamed.old)).collect(),
            existed,
            exists: existed,
            attrs: context.map(|table| table.attrs.clone()),
            chains: BTreeMap::new(),
            removed: Vec::new(),
            added: Vec::new(),
            sets: BTreeMap::new(),
            removed_sets: BTreeSet::new(),
            removed_elements: BTreeMap::new(),
            added_elements: BTreeMap::new(),
            objects: BTreeMap::new(),
            flowtables: BTreeMap::new(),
            unknown: 0,
        }
    }

    pub fn add(&mut self, deed: &Deed) {
        let context = self.context;
        match (&deed.on, deed.act) {
            (On::Table(attrs), act) => {
                self.exists = act == Act::Put;
                self.attrs.clone_from(attrs);
            }
            (On::Chain(done), act) => {
                let known = context.and_then(|table| table.chains.get(&done.name)).map(|c| c.attrs.clone());
                self.unknown += usize::from(
                    act == Act::Removed && known.is_none() && !self.chains.contains_key(&done.name),
                );
                let known = known.or_else(|| (act == Act::Removed).then(Vec::new));
                let pair = self.chains.entry(done.name.clone());
                let pair = pair.or_insert_with(|| Pair { after: known.clone(), before: known });
                pair.after = match (&done.attrs, &pair.after) {
                    (Some(attrs), Some(before)) if names_devices(attrs) => {
                        devices::OF_CHAIN.updated(before, attrs, act)
                    }
                    (attrs, _) => attrs.clone(),
                };
            }
            (On::Rule(done), Act::Put) => self.added.push(done.clone()),
            (On::Rule(done), Act::Removed) => self.remove_rule(done),
            (On::Set(name, new), act) => {
                let known = context.and_then(|table| table.sets.get(name)).map(head);
                // It went with its rule.
                if act == Act::Removed && known.is_none() && may_be_owned(name) {
                    return;
                }
                self.unknown +=
                    usize::from(act == Act::Removed && known.is_none() && !self.sets.contains_key(name));
                if act == Act::Removed {
                    self.removed_sets.insert(name.clone());
                }
                let pair = self.sets.entry(name.clone());
                let pair = pair.or_insert_with(|| Pair { after: known.clone(), before: known });
                pair.after.clone_from(new);
                if new.is_none() {
                    self.added_elements.remove(name);
                }
            }
            (On::Element(name, key, element), Act::Put) => {
                self.added_elements.entry(name.clone()).or_default().insert(key.clone(), element.clone());
            }
            (On::Element(name, key, element), Act::Removed) => {
                let added = self.added_elements.get_mut(name).and_then(|added| added.remove(key));
                if added.is_none() {
                    self.removed_elements
                        .entry(name.clone())
                        .or_default()
                        .insert(key.clone(), element.clone());
                }
            }
            (On::Object(kind, name, attrs), _) => {
                let id = (*kind, name.clone());
                let known = context.and_then(|table| table.objects.get(&id)).map(|o| o.attrs.clone());
                self.unknown +=
                    usize::from(attrs.is_none() && known.is_none() && !self.objects.contains_key(&id));
                let pair = self.objects.entry(id).or_insert_with(|| Pair { before: known, after: None });
                pair.after.clone_from(attrs);
            }
            (On::Flowtable(name, attrs), act) => {
                let known = context.and_then(|table| table.flowtables.get(name)).map(|f| f.attrs.clone());
                self.unknown += usize::from(
                    act == Act::Removed && known.is_none() && !self.flowtables.contains_key(name),
                );
                let pair = self.flowtables.entry(name.clone());
                let pair = pair.or_insert_with(|| Pair { after: known.clone(), before: known });
                pair.after = match (attrs, &pair.after) {
                    (Some(attrs), Some(before)) => devices::OF_FLOWTABLE.updated(before, attrs, act),
                    (attrs, _) => attrs.clone(),
                };
            }
        }
    }

    fn remove_rule(&mut self, done: &DoneRule) {
        let Some(rule) = &done.rule else {
            self.unknown += 1;
            return;
        };
        let is_it = |added: &DoneRule| {
            let same = |known: &Rule| known.attrs == rule.attrs;
            added.handle == done.handle && added.chain == done.chain && added.rule.as_ref().is_some_and(same)
        };
        if let Some(place) = self.added.iter().position(is_it) {
            self.added.remove(place);
            return;
        }
        let (mut rule, mut own) = (rule.clone(), done.own.clone());
        if !done.whole {
            // It is announced by the name that its chain then has.
            let old = self.old_names.get(&done.chain).copied();
            let chain = |table: &'c Table| table.chains.get(old.unwrap_or(&done.chain));
            let rules = self.context.and_then(|table| Some((table, chain(table)?)));
            let known = rules.and_then(|(table, chain)| {
                Some((table, chain.rules.iter().find(|known| known.attrs == rule.attrs)?))
            });
            match known {
                Some((table, known)) => {
                    rule.digest = known.digest;
                    own = owned_by(&rule.attrs, &table.anonymous);
                }
                None => self.unknown += 1,
            }
        }
        self.removed.push((done.chain.clone(), rule, own));
    }

    /// A chain with another name is another chain, as a comparison sees it: the old one went with all its rules, and the
    /// new one came with those that are left and those that were added, in no order.
    pub fn rename(&mut self, renamed: &Renamed) {
        let Renamed { old, new, .. } = renamed;
        let known = self.context.and_then(|table| Some((table, table.chains.get(old)?)));
        let announced = self.chains.get(new).and_then(|pair| pair.after.clone());
        let attrs = known.map(|(_, chain)| chain.attrs.clone()).or(announced);
        self.chains.insert(old.clone(), Pair { before: attrs, after: None });
        for done in self.added.iter_mut().filter(|done| done.chain == *old) {
            done.chain.clone_from(new);
        }
        let Some((table, chain)) = known else { return };
        let is_its = |(chain, ..): &(Name, Rule, Anonymous)| chain == old || chain == new;
        let (mut gone, others) = std::mem::take(&mut self.removed).into_iter().partition::<Vec<_>, _>(is_its);
        self.removed = others;
        for rule in &chain.rules {
            let own = owned_by(&rule.attrs, &table.anonymous);
            self.removed.push((old.clone(), rule.clone(), own.clone()));
            if let Some(place) = gone.iter().position(|(_, removed, _)| removed.attrs == rule.attrs) {
                gone.swap_remove(place);
                continue;
            }
            let (chain, rule) = (new.clone(), Some(rule.clone()));
            self.added.push(DoneRule { chain, handle: 0, rule, own, whole: true });
        }
    }
}

/// A set without its elements.
pub(super) fn head(set: &Set) -> Set {
    let Set { flags, written_by_rules, .. } = *set;
    Set { flags, written_by_rules, attrs: set.attrs.clone(), ..Set::default() }
}
