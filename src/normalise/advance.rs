//! What is known of a ruleset, brought up to date with the announcements of a transaction. Pure.
//!
//! For what comes later in the same turn and refers to it: the order of rules is not kept, and what was not known does
//! not become known. A reading, not this, says what the state is.

use super::deeds::{Act, Deed, On, names_devices};
use super::touched::Renamed;
use super::{anonymous::owned_by, devices, elements};
use crate::model::{ElementKey, Name, Object, Ruleset, Set, Table, TableKey};
use crate::netlink::nft::{elem, set};
use std::collections::BTreeMap;

/// Applies a transaction's deeds, and the names that chains got by it.
pub fn advance(context: &mut Ruleset, deeds: &[Deed], renamed: &[Renamed]) {
    let mut members: BTreeMap<(TableKey, Name, Act), Set> = BTreeMap::new();
    for Renamed { table, old, new } in renamed {
        if let Some(table) = context.tables.get_mut(table)
            && let Some(chain) = table.chains.remove(old)
        {
            table.chains.insert(new.clone(), chain);
        }
    }
    for Deed { table: key, act, on } in deeds {
        let put = *act == Act::Put;
        if matches!(on, On::Table(_)) && !put {
            context.tables.remove(key);
            members.retain(|(table, ..), _| table != key);
            continue;
        }
        if !put && !context.tables.contains_key(key) {
            continue;
        }
        let table = context.tables.entry(key.clone()).or_default();
        match on {
            On::Table(attrs) => table.attrs = attrs.clone().unwrap_or_default(),
            On::Element(name, element, content) => {
                let fresh = || Set { flags: set::F_INTERVAL, ..Set::default() };
                let found = members.entry((key.clone(), name.clone(), *act)).or_insert_with(fresh);
                found.elements.insert(element.clone(), content.clone());
            }
            on => apply(table, *act, on),
        }
    }
    for ((key, name, act), mut found) in members {
        elements::pair(&mut found);
        let set = context.tables.get_mut(&key).and_then(|table| table.sets.get_mut(&name));
        let Some(set) = set else { continue };
        for (key, element) in found.elements {
            match act {
                Act::Put => drop(set.elements.insert(key, element)),
                Act::Removed => remove_element(set, &key),
            }
        }
    }
}

/// An end alone cannot be told from another one's.
fn remove_element(set: &mut Set, key: &ElementKey) {
    if key.flags & elem::F_INTERVAL_END == 0 {
        set.elements.remove(key);
    }
}

fn apply(table: &mut Table, act: Act, on: &On) {
    let put = act == Act::Put;
    match on {
        On::Table(_) | On::Element(..) => {}
        On::Chain(done) => {
            let known = table.chains.get(&done.name);
            let attrs = match (&done.attrs, known) {
                (Some(attrs), Some(known)) if names_devices(attrs) => {
                    devices::OF_CHAIN.updated(&known.attrs, attrs, act)
                }
                (attrs, _) => attrs.clone(),
            };
            match attrs {
                None => drop(table.chains.remove(&done.name)),
                Some(attrs) => table.chains.entry(done.name.clone()).or_default().attrs = attrs,
            }
        }
        On::Rule(done) => {
            let Some(rule) = &done.rule else { return };
            if put {
                table.anonymous.sets.extend(done.own.sets.clone());
                table.anonymous.chains.extend(done.own.chains.clone());
                table.chains.entry(done.chain.clone()).or_default().rules.push(rule.clone());
            } else if let Some(chain) = table.chains.get_mut(&done.chain)
                && let Some(place) = chain.rules.iter().position(|known| known.attrs == rule.attrs)
            {
                let gone = owned_by(&chain.rules.remove(place).attrs, &table.anonymous);
                gone.sets.keys().for_each(|name| drop(table.anonymous.sets.remove(name)));
                gone.chains.keys().for_each(|name| drop(table.anonymous.chains.remove(name)));
            }
        }
        On::Set(name, None) => drop(table.sets.remove(name)),
        On::Set(name, Some(new)) => {
            let set = table.sets.entry(name.clone()).or_default();
            (set.flags, set.attrs) = (new.flags, new.attrs.clone());
        }
        On::Object(kind, name, None) => drop(table.objects.remove(&(*kind, name.clone()))),
        On::Object(kind, name, Some(attrs)) => {
            table.objects.insert((*kind, name.clone()), Object { attrs: attrs.clone() });
        }
        On::Flowtable(name, attrs) => {
            let known = table.flowtables.get(name);
            let attrs = match (attrs, known) {
                (Some(attrs), Some(known)) => devices::OF_FLOWTABLE.updated(&known.attrs, attrs, act),
                (attrs, _) => attrs.clone(),
            };
            match attrs {
                None => drop(table.flowtables.remove(name)),
                Some(attrs) => drop(table.flowtables.insert(name.clone(), Object { attrs })),
            }
        }
    }
}
