//! Chains that no packet can enter, what nobody uses, and ways into chains without rules.

use super::{Found, RuleRef};
use crate::model::{Backend, Chain, Item, LintCode, Name, Ruleset, Set, Table, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::{chain, elem, expr, set};
use crate::normalise::{expressions, jumps, references, used_sets, verdict_chains};
use crate::traffic::lower;
use std::collections::{BTreeMap, BTreeSet};

/// What is found in all tables.
pub(super) fn findings(ruleset: &Ruleset) -> Vec<Found> {
    let mut found = Vec::new();
    for (key, table) in &ruleset.tables {
        match key.backend {
            Backend::NfTables | Backend::Legacy => {
                unused_chains(key, table, &mut found);
                unused_objects(key, table, &mut found);
                empty_chains(key, table, &mut found);
            }
            Backend::Ipset => unused_ipsets(ruleset, key, table, &mut found),
            Backend::Sysctl | Backend::Bpf => {}
        }
    }
    found
}

fn one(code: LintCode, item: Item, message: String) -> Found {
    Found { code, item, message, related: Vec::new(), packets: Vec::new() }
}

fn all_chains(table: &Table) -> impl Iterator<Item = (&Name, &Chain)> {
    table.chains.iter().chain(&table.anonymous.chains)
}

fn set_named<'a>(table: &'a Table, name: &Name) -> Option<&'a Set> {
    table.sets.get(name).or_else(|| table.anonymous.sets.get(name))
}

/// The chains to which a chain leads, by its rules and by the maps that they ask.
fn led_to(table: &Table, chain: &Chain) -> BTreeSet<Name> {
    let mut found = BTreeSet::new();
    for rule in &chain.rules {
        found.extend(jumps(&rule.attrs));
        for set in used_sets(&rule.attrs) {
            found.extend(set_named(table, &set).into_iter().flat_map(verdict_chains));
        }
    }
    found
}

fn is_base(chain: &Chain) -> bool {
    Attrs(&chain.attrs).find(chain::HOOK).is_some()
}

fn unused_chains(key: &TableKey, table: &Table, found: &mut Vec<Found>) {
    let led: BTreeMap<&Name, BTreeSet<Name>> =
        all_chains(table).map(|(name, chain)| (name, led_to(table, chain))).collect();
    let mut open: Vec<&Name> =
        table.chains.iter().filter(|(_, chain)| is_base(chain)).map(|(name, _)| name).collect();
    let mut reached: BTreeSet<&Name> = BTreeSet::new();
    while let Some(name) = open.pop() {
        if reached.insert(name) {
            open.extend(led.get(name).into_iter().flatten());
        }
    }
    let mut callers: BTreeMap<&Name, &Name> = BTreeMap::new();
    for (from, to) in &led {
        for to in to {
            callers.entry(to).or_insert(from);
        }
    }
    let in_maps: BTreeSet<Name> = table.sets.values().flat_map(verdict_chains).collect();
    for (name, chain) in table.chains.iter().filter(|(name, _)| !reached.contains(name)) {
        let why = match callers.get(name) {
            None if in_maps.contains(name) => "only a map that no rule asks leads to it".to_owned(),
            None => "no rule and no map leads to it".to_owned(),
            Some(from) => format!("only chains that no packet enters lead to it, as {from}"),
        };
        let rules = match chain.rules.len() {
            0 => "it has no rules".to_owned(),
            1 => "its one rule does nothing".to_owned(),
            more => format!("its {more} rules do nothing"),
        };
        let item = Item::ChainHead(key.clone(), name.clone());
        found.push(one(LintCode::UnusedChain, item, format!("{why}; {rules}")));
    }
}

fn unused_objects(key: &TableKey, table: &Table, found: &mut Vec<Found>) {
    let (mut names, mut objects, mut flowtables) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for rule in all_chains(table).flat_map(|(_, chain)| &chain.rules) {
        names.extend(references(&rule.attrs));
        for expression in expressions(&rule.attrs) {
            let Some(data) = expression.find(expr::DATA).map(|data| data.nested()) else { continue };
            match expression.find(expr::NAME).map(|name| name.string()) {
                Some(b"objref") => {
                    let kind = data.find(expr::OBJREF_IMM_TYPE).and_then(|attr| attr.be32());
                    let name = data.find(expr::OBJREF_IMM_NAME).map(|attr| Name(attr.string().to_vec()));
                    objects.extend(kind.zip(name));
                }
                Some(b"flow_offload") => {
                    flowtables
                        .extend(data.find(expr::FLOW_TABLE_NAME).map(|attr| Name(attr.string().to_vec())));
                }
                _ => {}
            }
        }
    }
    for set in table.sets.values().chain(table.anonymous.sets.values()) {
        let kind = Attrs(&set.attrs).find(set::OBJ_TYPE).and_then(|attr| attr.be32());
        let elements = set.elements.values().flat_map(|element| &element.attrs);
        let named = elements.filter_map(|attrs| Attrs(attrs).find(elem::OBJREF));
        objects.extend(named.filter_map(|attr| Some((kind?, Name(attr.string().to_vec())))));
    }
    for (name, set) in table.sets.iter().filter(|(name, _)| !names.contains(*name)) {
        let count = match set.elements.len() {
            0 => "it is empty".to_owned(),
            1 => "its one element means nothing".to_owned(),
            more => format!("its {more} elements mean nothing"),
        };
        let item = Item::SetHead(key.clone(), name.clone());
        found.push(one(LintCode::Unused, item, format!("no rule asks it; {count}")));
    }
    for (kind, name) in table.objects.keys().filter(|object| !objects.contains(*object)) {
        let item = Item::Object(key.clone(), *kind, name.clone());
        found.push(one(LintCode::Unused, item, "no rule and no map uses it".to_owned()));
    }
    for name in table.flowtables.keys().filter(|name| !flowtables.contains(*name)) {
        let item = Item::Flowtable(key.clone(), name.clone());
        found.push(one(LintCode::Unused, item, "no rule adds a connection to it".to_owned()));
    }
}

/// Rules and named maps that lead to chains without rules.
fn empty_chains(key: &TableKey, table: &Table, found: &mut Vec<Found>) {
    let is_empty = |name: &Name| table.chains.get(name).is_some_and(|chain| chain.rules.is_empty());
    let told = |names: BTreeSet<Name>| {
        let listed: Vec<String> = names.iter().take(super::NAMED).map(Name::to_string).collect();
        let has = if names.len() == 1 { "which has no rules" } else { "which have no rules" };
        format!("it leads to {}, {has}", listed.join(", "))
    };
    for (name, chain) in all_chains(table) {
        for (place, rule) in chain.rules.iter().enumerate() {
            let mut names: BTreeSet<Name> = jumps(&rule.attrs).collect();
            for set in used_sets(&rule.attrs).filter_map(|name| table.anonymous.sets.get(&name)) {
                names.extend(verdict_chains(set));
            }
            names.retain(is_empty);
            if !names.is_empty() {
                let at = RuleRef { table: key.clone(), chain: name.clone(), place };
                found.push(one(LintCode::EmptyChain, at.item(), told(names)));
            }
        }
    }
    for (name, set) in &table.sets {
        let names: BTreeSet<Name> = verdict_chains(set).filter(is_empty).collect();
        if !names.is_empty() {
            found.push(one(LintCode::EmptyChain, Item::SetHead(key.clone(), name.clone()), told(names)));
        }
    }
}

/// Sets of ipset that no rule asks or writes to, not even by way of a list.
fn unused_ipsets(ruleset: &Ruleset, key: &TableKey, table: &Table, found: &mut Vec<Found>) {
    let rules: Vec<_> = ruleset
        .tables
        .iter()
        .filter(|(key, _)| key.backend.has_tables())
        .flat_map(|(_, table)| all_chains(table).flat_map(|(_, chain)| &chain.rules))
        .filter(|rule| super::beside::uses_ipset(&rule.attrs))
        .collect();
    for name in table.sets.keys() {
        if !rules.iter().any(|rule| lower::names_ipset(&rule.attrs, name, ruleset)) {
            let item = Item::SetHead(key.clone(), name.clone());
            found.push(one(LintCode::Unused, item, "no rule asks it".to_owned()));
        }
    }
}
