//! A part of a ruleset: which tables, and what of them. Pure.

use crate::model::{Anonymous, ElementKey, Name, Ruleset, Set, Table, TableKey};
use crate::normalise::anonymous::owned_by;
use std::collections::{BTreeMap, BTreeSet};

/// What of nf_tables is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// All of it, whatever the rest says.
    pub everything: bool,
    /// By table.
    pub tables: BTreeMap<TableKey, Part>,
}

/// What of a table is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The table with all that is in it.
    Whole,
    /// Some of it, and the table's own flags and comment.
    Parts(Parts),
}

/// Things of one table, whether they exist or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Chains with their rules, and what belongs to these.
    pub chains: BTreeSet<Name>,
    /// Named sets and maps.
    pub sets: BTreeMap<Name, SetPart>,
    /// Stateful objects by type and name.
    pub objects: BTreeSet<(u32, Name)>,
    /// Flowtables.
    pub flowtables: BTreeSet<Name>,
}

/// What of a set is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetPart {
    /// Its definition and all its elements.
    Whole,
    /// Its definition and these elements, whether they exist or not. An interval may be named by one of its ends.
    Elements(BTreeSet<ElementKey>),
}

impl Scope {
    /// Whether nothing is meant.
    pub fn is_empty(&self) -> bool {
        !self.everything && self.tables.is_empty()
    }

    /// Adds what another scope means.
    pub fn extend(&mut self, other: Self) {
        self.everything |= other.everything;
        for (key, part) in other.tables {
            match (self.tables.entry(key).or_insert_with(|| Part::Parts(Parts::default())), part) {
                (Part::Whole, _) => {}
                (mine, Part::Whole) => *mine = Part::Whole,
                (Part::Parts(mine), Part::Parts(parts)) => mine.extend(parts),
            }
        }
    }
}

impl Parts {
    fn extend(&mut self, other: Self) {
        self.chains.extend(other.chains);
        self.objects.extend(other.objects);
        self.flowtables.extend(other.flowtables);
        for (name, part) in other.sets {
            match (self.sets.entry(name).or_insert_with(|| SetPart::Elements(BTreeSet::new())), part) {
                (SetPart::Whole, _) => {}
                (mine, SetPart::Whole) => *mine = SetPart::Whole,
                (SetPart::Elements(mine), SetPart::Elements(keys)) => mine.extend(keys),
            }
        }
    }
}

/// The ruleset without all that is not meant. Of a table in part, its flags and comment stay; of a set in part, its
/// definition. A set that is meant by elements should not be one of intervals.
pub fn restrict(ruleset: &Ruleset, scope: &Scope) -> Ruleset {
    if scope.everything {
        return ruleset.clone();
    }
    let part = |(key, part): (&TableKey, &Part)| {
        let table = ruleset.tables.get(key)?;
        let content = match part {
            Part::Whole => table.clone(),
            Part::Parts(parts) => restricted(table, parts),
        };
        Some((key.clone(), content))
    };
    let tables = scope.tables.iter().filter_map(part).collect();
    Ruleset { tables, interfaces: ruleset.interfaces.clone() }
}

fn restricted(table: &Table, parts: &Parts) -> Table {
    let mut kept = Table { attrs: table.attrs.clone(), ..Table::default() };
    for (name, chain) in parts.chains.iter().filter_map(|name| table.chains.get_key_value(name)) {
        for rule in &chain.rules {
            let Anonymous { sets, chains } = owned_by(&rule.attrs, &table.anonymous);
            kept.anonymous.sets.extend(sets);
            kept.anonymous.chains.extend(chains);
        }
        kept.chains.insert(name.clone(), chain.clone());
    }
    for (name, part) in &parts.sets {
        let Some(set) = table.sets.get(name) else { continue };
        let set = match part {
            SetPart::Whole => set.clone(),
            SetPart::Elements(keys) => Set {
                flags: set.flags,
                attrs: set.attrs.clone(),
                elements: keys
                    .iter()
                    .filter_map(|key| set.elements.get_key_value(key))
                    .map(|(key, element)| (key.clone(), element.clone()))
                    .collect(),
                written_by_rules: set.written_by_rules,
                order: Vec::new(),
            },
        };
        kept.sets.insert(name.clone(), set);
    }
    let objects = parts.objects.iter().filter_map(|id| table.objects.get_key_value(id));
    kept.objects = objects.map(|(id, object)| (id.clone(), object.clone())).collect();
    let flowtables = parts.flowtables.iter().filter_map(|name| table.flowtables.get_key_value(name));
    kept.flowtables = flowtables.map(|(name, found)| (name.clone(), found.clone())).collect();
    kept
}
