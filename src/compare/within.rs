//! A comparison of what was touched, put together with what an earlier one found of the rest. Pure.
//!
//! Chains, sets and objects are compared each by itself, so that what nobody touched compares as before, as long as what
//! the two have in common is the same: the surroundings of their table. Where that is not so, the whole table is compared.

use super::alike::surroundings_of;
use super::{Comparison, Difference};
use crate::model::outline::SetName;
use crate::model::{Digest, ElementKey, Item, Name, Ruleset, TableKey};
use crate::normalise::scope::{Part, Parts, Scope, SetPart};
use crate::normalise::xt_recent::uses_list;
use std::collections::{BTreeMap, BTreeSet};

/// What of two rulesets is to be compared, and what an earlier comparison of them found.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// What may be different since.
    scope: Scope,
    differences: Vec<Difference>,
    re_encoded: BTreeMap<Item, usize>,
}

/// The digests of what the objects of some tables have in common, before something was changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Commons(BTreeMap<TableKey, Option<Digest>>);

impl Commons {
    /// Of the tables that a scope names.
    pub fn of(ruleset: &Ruleset, scope: &Scope) -> Self {
        let of = |key: &TableKey| ruleset.tables.get(key).map(|table| surroundings_of(key, table));
        Self(scope.tables.keys().map(|key| (key.clone(), of(key))).collect())
    }
}

/// Whether a rule's meaning may depend on rules anywhere else: then no part can be compared by itself.
pub fn has_lists(ruleset: &Ruleset) -> bool {
    let tables = ruleset.tables.values();
    let chains = tables.flat_map(|table| table.chains.values().chain(table.anonymous.chains.values()));
    chains.flat_map(|chain| &chain.rules).any(uses_list)
}

impl Earlier {
    /// What was found (differences, and what is only re-encoded) of the live state before `scope` of it was read anew.
    /// `before` are the commons of that time; `turned` the sets that rules write to now and did not, or the other way round.
    pub fn new(
        (differences, re_encoded): (Vec<Difference>, BTreeMap<Item, usize>),
        mut scope: Scope,
        turned: BTreeSet<SetName>,
        before: &Commons,
        live: &Ruleset,
    ) -> Self {
        let now = Commons::of(live, &scope);
        for (key, set) in turned {
            let sets = [(set, SetPart::Whole)].into();
            let part = Part::Parts(Parts { sets, ..Parts::default() });
            scope.extend(Scope { tables: [(key, part)].into(), ..Scope::default() });
        }
        for (key, part) in &mut scope.tables {
            if before.0.get(key).is_some_and(|before| Some(before) != now.0.get(key)) {
                *part = Part::Whole;
            }
        }
        Self { scope, differences, re_encoded }
    }

    /// What is to be compared.
    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Whether an item is to be compared.
    pub(super) fn holds(&self, item: &Item) -> bool {
        let Some(part) = self.scope.tables.get(item.table()) else { return self.scope.everything };
        let Part::Parts(parts) = part else { return true };
        match item {
            // Where there are both, only its own flags and comment; and they are always compared.
            Item::Table(_) | Item::TableHead(_) => true,
            Item::Chain(_, name) | Item::ChainHead(_, name) | Item::Rule(_, name, _) => {
                parts.chains.contains(name)
            }
            Item::Set(_, name) | Item::SetHead(_, name) => parts.sets.contains_key(name),
            Item::Element(_, name, key) => match parts.sets.get(name) {
                Some(SetPart::Whole) => true,
                Some(SetPart::Elements(keys)) => keys.contains(key),
                None => false,
            },
            Item::Object(_, number, name) => parts.objects.contains(&(*number, name.clone())),
            Item::Flowtable(_, name) => parts.flowtables.contains(name),
        }
    }

    /// The comparison of the scope with what stands of the earlier one, in the order of a whole comparison. None if
    /// two differences have one name: which is the first of them, only a whole comparison tells.
    pub fn complete(&self, of_scope: Comparison) -> Option<Comparison> {
        let Comparison { differences, re_encoded_in, alike, .. } = of_scope;
        let stands = |difference: &&Difference| {
            !difference.after.as_ref().or(difference.before.as_ref()).is_some_and(|item| self.holds(item))
        };
        let mut all: Vec<Difference> = self.differences.iter().filter(stands).cloned().collect();
        all.extend(differences);
        all.sort_by_cached_key(|difference| {
            difference.after.as_ref().or(difference.before.as_ref()).map(place)
        });
        let ids: BTreeSet<&str> = all.iter().map(|difference| difference.change.id.as_str()).collect();
        if ids.len() < all.len() {
            return None;
        }
        let mut re_encoded: BTreeMap<Item, usize> = self
            .re_encoded
            .iter()
            .filter(|(item, _)| !self.holds(item))
            .map(|(i, n)| (i.clone(), *n))
            .collect();
        re_encoded.extend(re_encoded_in);
        let count = re_encoded.values().sum();
        Some(Comparison { differences: all, re_encoded: count, re_encoded_in: re_encoded, alike })
    }
}

/// What is compared by itself and has this item in it.
pub(super) fn unit(item: &Item) -> Item {
    match item {
        Item::Chain(key, name) | Item::ChainHead(key, name) | Item::Rule(key, name, _) => {
            Item::Chain(key.clone(), name.clone())
        }
        Item::Table(_)
        | Item::TableHead(_)
        | Item::Set(..)
        | Item::SetHead(..)
        | Item::Element(..)
        | Item::Object(..)
        | Item::Flowtable(..) => item.clone(),
    }
}

/// Where a comparison comes to an item: a table's own, its sets, objects, flowtables, and then its chains. All of one
/// chain has one place: the order of its rules is that of the alignment.
fn place(item: &Item) -> (TableKey, u8, u32, Name, Option<ElementKey>) {
    let (rank, number, name, element) = match item {
        Item::Table(_) | Item::TableHead(_) => (0, 0, Name::default(), None),
        Item::Set(_, name) | Item::SetHead(_, name) => (1, 0, name.clone(), None),
        Item::Element(_, name, key) => (1, 0, name.clone(), Some(key.clone())),
        Item::Object(_, number, name) => (2, *number, name.clone(), None),
        Item::Flowtable(_, name) => (3, 0, name.clone(), None),
        Item::Chain(_, name) | Item::ChainHead(_, name) | Item::Rule(_, name, _) => {
            (4, 0, name.clone(), None)
        }
    };
    (item.table().clone(), rank, number, name, element)
}
