//! Applies chosen differences to a ruleset: the approved state with some of the drift in it. Pure.

use super::Difference;
use crate::model::{
    Anonymous, Backend, Chain, ChangeKind, ElementKey, Item, Name, Rule, Ruleset, Set, Table, TableKey,
};
use crate::netlink::Attrs;
use crate::netlink::nft::{elem, expr};
use crate::normalise::{expressions, references, rename_references, verdict_chain};
use std::collections::{BTreeMap, BTreeSet};

/// `baseline` with the `chosen` of all `differences` to `live` made in it.
pub fn apply(
    baseline: &Ruleset,
    live: &Ruleset,
    differences: &[Difference],
    chosen: impl Fn(&Difference) -> bool,
) -> Ruleset {
    let mut target = baseline.clone();
    target.interfaces.extend(live.interfaces.clone());
    let mut rules: BTreeMap<(TableKey, Name), Vec<(&Difference, bool)>> = BTreeMap::new();
    for difference in differences {
        let take = chosen(difference);
        match difference.after.as_ref().or(difference.before.as_ref()) {
            Some(Item::Rule(key, chain, _)) => {
                rules.entry((key.clone(), chain.clone())).or_default().push((difference, take));
            }
            Some(item) if take => take_object(&mut target, live, item, difference.change.kind),
            Some(_) | None => {}
        }
    }
    for ((key, name), changes) in rules {
        merge_rules(&mut target, live, &key, &name, &changes);
    }
    target
}

/// What a rule or an element of an nf_tables table refers to that the table does not have: the ruleset cannot be
/// loaded then. None if all is there.
pub fn missing(ruleset: &Ruleset) -> Option<String> {
    let native = ruleset.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables);
    native.into_iter().find_map(|(key, table)| {
        let kept = table.chains.values().chain(table.anonymous.chains.values());
        let of_rules = kept.flat_map(|chain| &chain.rules).flat_map(|rule| references(&rule.attrs));
        let elements = table.sets.values().chain(table.anonymous.sets.values()).flat_map(|set| &set.elements);
        let of_elements = elements
            .flat_map(|(_, element)| &element.attrs)
            .filter_map(|attrs| Attrs(attrs).find(elem::DATA).and_then(verdict_chain));
        let there = |name: &Name| {
            table.chains.contains_key(name)
                || table.sets.contains_key(name)
                || table.anonymous.chains.contains_key(name)
                || table.anonymous.sets.contains_key(name)
        };
        let absent = of_rules.chain(of_elements).find(|name| !there(name));
        let object =
            |rule: &Rule| objects(rule).into_iter().find(|object| !table.objects.contains_key(object));
        let absent_object = || {
            let kept = table.chains.values().chain(table.anonymous.chains.values());
            kept.flat_map(|chain| &chain.rules).find_map(object).map(|(_, name)| name)
        };
        Some(format!("{} in table {key}", absent.or_else(absent_object)?))
    })
}

/// The stateful objects that a rule names, as a table keys them.
fn objects(rule: &Rule) -> Vec<(u32, Name)> {
    let named = expressions(&rule.attrs).filter_map(|expression| {
        let data = expression.find(expr::DATA)?.nested();
        let is_objref = expression.find(expr::NAME)?.string() == b"objref";
        let kind = data.find(expr::OBJREF_IMM_TYPE).filter(|_| is_objref)?.be32()?;
        Some((kind, Name(data.find(expr::OBJREF_IMM_NAME)?.string().to_vec())))
    });
    named.collect()
}

fn take_object(target: &mut Ruleset, live: &Ruleset, item: &Item, kind: ChangeKind) {
    let gone = kind == ChangeKind::Removed;
    let key = item.table();
    if let Item::Table(_) = item {
        match live.tables.get(key) {
            Some(table) if !gone => drop(target.tables.insert(key.clone(), table.clone())),
            _ => drop(target.tables.remove(key)),
        }
        return;
    }
    let nothing = Table::default();
    if !key.backend.has_tables() {
        target.tables.entry(key.clone()).or_default();
    }
    let source = live.tables.get(key).or((!key.backend.has_tables()).then_some(&nothing));
    let (Some(table), Some(source)) = (target.tables.get_mut(key), source) else { return };
    match item {
        Item::Table(_) | Item::Rule(..) => {}
        Item::TableHead(_) => table.attrs.clone_from(&source.attrs),
        Item::Chain(_, name) if gone => drop(table.chains.remove(name)),
        Item::Chain(_, name) => take_chain(table, source, name),
        Item::ChainHead(_, name) => {
            if let (Some(chain), Some(from)) = (table.chains.get_mut(name), source.chains.get(name)) {
                chain.attrs.clone_from(&from.attrs);
            }
        }
        Item::Set(_, name) if gone => drop(table.sets.remove(name)),
        Item::Set(_, name) => {
            drop(source.sets.get(name).map(|set| table.sets.insert(name.clone(), set.clone())))
        }
        Item::SetHead(_, name) => {
            if let (Some(set), Some(from)) = (table.sets.get_mut(name), source.sets.get(name)) {
                set.attrs.clone_from(&from.attrs);
                set.flags = from.flags;
            }
        }
        Item::Element(_, name, element) => {
            let from = source.sets.get(name).and_then(|set| set.elements.get(element)).filter(|_| !gone);
            if let Some(set) = table.sets.get_mut(name) {
                set.order.retain(|key| key != element);
                match from {
                    Some(found) => {
                        place_in_order(set, source.sets.get(name), element);
                        set.elements.insert(element.clone(), found.clone());
                    }
                    None => drop(set.elements.remove(element)),
                }
            }
        }
        Item::Object(_, number, name) => {
            let id = (*number, name.clone());
            match source.objects.get(&id).filter(|_| !gone) {
                Some(found) => drop(table.objects.insert(id, found.clone())),
                None => drop(table.objects.remove(&id)),
            }
        }
        Item::Flowtable(_, name) => match source.flowtables.get(name).filter(|_| !gone) {
            Some(found) => drop(table.flowtables.insert(name.clone(), found.clone())),
            None => drop(table.flowtables.remove(name)),
        },
    }
}

/// Where elements have an order: after the nearest one that stands before it in the live set.
fn place_in_order(set: &mut Set, live: Option<&Set>, element: &ElementKey) {
    let order = live.map_or(&[][..], |live| &live.order[..]);
    let Some(place) = order.iter().position(|key| key == element) else { return };
    let before = order[..place].iter().rev().find_map(|key| set.order.iter().position(|known| known == key));
    set.order.insert(before.map_or(0, |before| before + 1), element.clone());
}

fn take_chain(table: &mut Table, source: &Table, name: &Name) {
    let Some(from) = source.chains.get(name) else { return };
    let rules = from.rules.iter().map(|rule| adopt(&mut table.anonymous, &source.anonymous, rule)).collect();
    table.chains.insert(name.clone(), Chain { attrs: from.attrs.clone(), rules });
}

/// Rebuilds one chain: approved rules in order, each with its own fate, and the chosen live ones before
/// the approved rule that follows them in the live chain.
fn merge_rules(
    target: &mut Ruleset,
    live: &Ruleset,
    key: &TableKey,
    name: &Name,
    changes: &[(&Difference, bool)],
) {
    let (Some(table), Some(source)) = (target.tables.get_mut(key), live.tables.get(key)) else { return };
    let Some(live_chain) = source.chains.get(name) else { return };
    let Some(old_chain) = table.chains.get(name).cloned() else { return };
    let place = |item: &Option<Item>| match item {
        Some(Item::Rule(_, _, place)) => Some(*place),
        _ => None,
    };
    // Every changed rule of either side; what is not named here is kept, in order.
    let olds: BTreeMap<usize, bool> =
        changes.iter().filter_map(|(d, take)| Some((place(&d.before)?, *take))).collect();
    let news: BTreeMap<usize, bool> =
        changes.iter().filter_map(|(d, take)| Some((place(&d.after)?, *take))).collect();
    let in_place: BTreeSet<usize> = changes
        .iter()
        .filter(|(d, take)| d.change.kind == ChangeKind::Modified && !take)
        .filter_map(|(d, _)| place(&d.after))
        .collect();
    let mut merged = Vec::new();
    let mut old = 0;
    for new in 0..live_chain.rules.len() {
        match news.get(&new) {
            Some(true) => {
                merged.push(adopt(&mut table.anonymous, &source.anonymous, &live_chain.rules[new]));
            }
            Some(false) if !in_place.contains(&new) => {}
            Some(false) | None => {
                // A rule that stays on both sides, or one whose change was not chosen: the approved rules
                // up to and with it.
                while let Some(rule) = old_chain.rules.get(old) {
                    let fate = olds.get(&old);
                    old += 1;
                    match fate {
                        None => {
                            merged.push(rule.clone());
                            break;
                        }
                        Some(true) => {}
                        Some(false) => {
                            merged.push(rule.clone());
                            if in_place.contains(&new) {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
    for (place, rule) in old_chain.rules.iter().enumerate().skip(old) {
        if olds.get(&place) != Some(&true) {
            merged.push(rule.clone());
        }
    }
    if let Some(chain) = table.chains.get_mut(name) {
        chain.rules = merged;
    }
}

/// A live rule for the target: what it owns gets names that no approved rule uses.
fn adopt(anonymous: &mut Anonymous, source: &Anonymous, rule: &Rule) -> Rule {
    let mut names = BTreeMap::new();
    for name in references(&rule.attrs) {
        let fresh = || Name(format!("__live-{name}").into_bytes());
        if let Some(set) = source.sets.get(&name) {
            anonymous.sets.insert(fresh(), set.clone());
            names.insert(name.clone(), fresh());
        } else if let Some(chain) = source.chains.get(&name) {
            let rules = chain.rules.iter().map(|inner| adopt(anonymous, source, inner)).collect();
            anonymous.chains.insert(fresh(), Chain { attrs: chain.attrs.clone(), rules });
            names.insert(name.clone(), fresh());
        }
    }
    if names.is_empty() {
        return rule.clone();
    }
    Rule { digest: rule.digest, attrs: rename_references(&rule.attrs, &names).into() }
}
