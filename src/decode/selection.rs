//! Which objects a person will read, and what those need to exist at all. Pure.
//!
//! A rule cannot be loaded without the sets, chains and objects that it names, so a selection is
//! closed over references before it is sent to a scratch namespace.

use crate::model::{Element, ElementKey, Item, Name, Rule, Ruleset, Table};
use crate::netlink::nft::{elem, expr, set};
use crate::netlink::{Attrs, nft};
use crate::normalise::{META_INDEX_KEYS, references};
use std::collections::{BTreeMap, BTreeSet};

/// What has to be made of one table so that its wanted items can be listed.
#[derive(Debug, Default)]
pub struct TableSelection {
    /// Chains, with the places of the rules to make.
    pub chains: BTreeMap<Name, BTreeSet<usize>>,
    /// Named sets, and whether with their elements.
    pub sets: BTreeMap<Name, bool>,
    /// Single elements, each to be made in a set of its own.
    pub elements: Vec<(Name, ElementKey)>,
    /// Stateful objects.
    pub objects: BTreeSet<(u32, Name)>,
    /// Flowtables.
    pub flowtables: BTreeSet<Name>,
}

/// The closure of all items of one table.
pub fn close<'a>(table: &Table, items: impl Iterator<Item = &'a Item>) -> TableSelection {
    let mut selection = TableSelection::default();
    for item in items {
        match item {
            Item::TableHead(_) => {}
            Item::Table(_) => selection.add_all(table),
            Item::Chain(_, name) => {
                let count = table.chains.get(name).map_or(0, |chain| chain.rules.len());
                (0..count).for_each(|place| selection.add_rule(table, name, place));
                selection.chains.entry(name.clone()).or_default();
            }
            Item::ChainHead(_, name) => {
                selection.chains.entry(name.clone()).or_default();
            }
            Item::Rule(_, chain, place) => selection.add_rule(table, chain, *place),
            Item::Set(_, name) => selection.add_set(table, name),
            Item::SetHead(_, name) => {
                selection.sets.entry(name.clone()).or_default();
            }
            Item::Element(_, name, key) => selection.add_element(table, name, key),
            Item::Object(_, kind, name) => {
                selection.objects.insert((*kind, name.clone()));
            }
            Item::Flowtable(_, name) => {
                selection.flowtables.insert(name.clone());
            }
        }
    }
    selection
}

impl TableSelection {
    fn add_all(&mut self, table: &Table) {
        for (name, chain) in &table.chains {
            self.chains.insert(name.clone(), (0..chain.rules.len()).collect());
        }
        self.sets.extend(table.sets.keys().map(|name| (name.clone(), true)));
        self.objects.extend(table.objects.keys().cloned());
        self.flowtables.extend(table.flowtables.keys().cloned());
    }

    fn add_rule(&mut self, table: &Table, chain: &Name, place: usize) {
        let Some(rule) = table.chains.get(chain).and_then(|chain| chain.rules.get(place)) else { return };
        self.chains.entry(chain.clone()).or_default().insert(place);
        self.add_references(table, rule);
    }

    fn add_references(&mut self, table: &Table, rule: &Rule) {
        for name in references(&rule.attrs) {
            if let Some(set) = table.anonymous.sets.get(&name) {
                set.elements.values().for_each(|element| self.add_targets(element, object_type(&set.attrs)));
            } else if let Some(bound) = table.anonymous.chains.get(&name) {
                bound.rules.iter().for_each(|inner| self.add_references(table, inner));
            } else {
                // A set and a chain of one table may share a name (nf_tables_api.c looks each up in a list of
                // its own): one too many costs nothing, one too few is a rule that cannot be made.
                if table.chains.contains_key(&name) {
                    self.chains.entry(name.clone()).or_default();
                }
                if table.sets.contains_key(&name) {
                    self.sets.entry(name).or_default();
                }
            }
        }
        for expression in crate::normalise::expressions(&rule.attrs) {
            let (Some(name), Some(data)) = (expression.find(expr::NAME), expression.find(expr::DATA)) else {
                continue;
            };
            let data = data.nested();
            match name.string() {
                b"objref" => {
                    let kind = data.find(expr::OBJREF_IMM_TYPE).and_then(|attr| attr.be32());
                    if let (Some(kind), Some(name)) = (kind, data.find(expr::OBJREF_IMM_NAME)) {
                        self.objects.insert((kind, Name(name.string().to_vec())));
                    }
                }
                b"flow_offload" => {
                    let name = data.find(expr::FLOW_TABLE_NAME).map(|attr| Name(attr.string().to_vec()));
                    self.flowtables.extend(name);
                }
                _ => {}
            }
        }
    }

    fn add_set(&mut self, table: &Table, name: &Name) {
        let Some(set) = table.sets.get(name) else { return };
        self.sets.insert(name.clone(), true);
        set.elements.values().for_each(|element| self.add_targets(element, object_type(&set.attrs)));
    }

    fn add_element(&mut self, table: &Table, name: &Name, key: &ElementKey) {
        let Some(set) = table.sets.get(name) else { return };
        if let Some(element) = set.elements.get(key) {
            self.elements.push((name.clone(), key.clone()));
            self.add_targets(element, object_type(&set.attrs));
        }
    }

    /// The chain or the object that a map's element leads to.
    fn add_targets(&mut self, element: &Element, object_type: Option<u32>) {
        for attrs in &element.attrs {
            let attrs = Attrs(attrs);
            if let Some(chain) = attrs.find(elem::DATA).and_then(crate::normalise::verdict_chain) {
                self.chains.entry(chain).or_default();
            }
            if let (Some(kind), Some(name)) = (object_type, attrs.find(elem::OBJREF)) {
                self.objects.insert((kind, Name(name.string().to_vec())));
            }
        }
    }
}

/// The sets of ipset that the selected rules name.
pub fn sets_of_ipset(table: &Table, selection: &TableSelection) -> BTreeSet<Name> {
    let selected = selection.chains.iter().filter_map(|(name, places)| {
        let chain = table.chains.get(name)?;
        Some(places.iter().filter_map(|place| chain.rules.get(*place)))
    });
    let bound = table.anonymous.chains.values().flat_map(|chain| &chain.rules);
    selected.flatten().chain(bound).flat_map(crate::normalise::xt_set::used).collect()
}

fn object_type(set_attrs: &[u8]) -> Option<u32> {
    Attrs(set_attrs).find(set::OBJ_TYPE)?.be32()
}

/// The interfaces, by index (0: any) and name, that must exist for these tables to load and to be
/// listed as they are: devices of hooks, and the indices that `iif` and `oif` compare with.
pub fn interfaces<'a>(
    ruleset: &Ruleset,
    tables: impl Iterator<Item = (&'a Table, &'a TableSelection)>,
) -> BTreeMap<Vec<u8>, u32> {
    let mut needed = BTreeMap::new();
    let index_of = |name: &[u8]| {
        ruleset.interfaces.iter().find(|(_, known)| known.as_slice() == name).map_or(0, |(index, _)| *index)
    };
    for (table, selection) in tables {
        let mut indices = BTreeSet::new();
        for (name, places) in &selection.chains {
            let Some(chain) = table.chains.get(name) else { continue };
            for device in devices(&chain.attrs, nft::chain::HOOK, nft::chain::HOOK_DEVS) {
                needed.insert(device.clone(), index_of(&device));
            }
            for rule in places.iter().filter_map(|place| chain.rules.get(*place)) {
                indices.extend(indices_in(rule, table));
            }
        }
        for name in &selection.flowtables {
            let Some(flowtable) = table.flowtables.get(name) else { continue };
            for device in devices(&flowtable.attrs, nft::flowtable::HOOK, nft::flowtable::HOOK_DEVS) {
                needed.insert(device.clone(), index_of(&device));
            }
        }
        let named = selection.sets.keys().chain(selection.elements.iter().map(|(name, _)| name));
        for set in named.filter_map(|name| table.sets.get(name)).filter(|set| holds_indices(&set.attrs)) {
            set.elements.keys().for_each(|key| indices.extend(words(&key.key)));
        }
        for index in indices {
            if let Some(name) = ruleset.interfaces.get(&index) {
                needed.insert(name.clone(), index);
            }
        }
    }
    needed
}

/// Device names of a hook (`NFTA_HOOK_DEVS`, or the older single `NFTA_HOOK_DEV`).
fn devices(attrs: &[u8], hook: u16, list: u16) -> Vec<Vec<u8>> {
    let Some(hook) = Attrs(attrs).find(hook) else { return Vec::new() };
    match hook.nested().find(list) {
        Some(list) => list.nested().flatten().map(|device| device.string().to_vec()).collect(),
        None => hook
            .nested()
            .find(nft::chain::HOOK_DEV)
            .map(|device| device.string().to_vec())
            .into_iter()
            .collect(),
    }
}

/// The numbers in a rule that may be interface indices: all words that it compares with, if it
/// loads an index at all. One too many costs an interface in the scratch namespace, no more.
fn indices_in(rule: &Rule, table: &Table) -> BTreeSet<u32> {
    let mut loads_index = false;
    let mut found = BTreeSet::new();
    for expression in crate::normalise::expressions(&rule.attrs) {
        let (Some(name), Some(data)) = (expression.find(expr::NAME), expression.find(expr::DATA)) else {
            continue;
        };
        let data = data.nested();
        match name.string() {
            b"meta" => {
                let key = data.find(expr::META_KEY).and_then(|attr| attr.be32());
                loads_index |= key.is_some_and(|key| META_INDEX_KEYS.contains(&key));
            }
            b"fib" | b"dup" | b"fwd" => loads_index = true,
            b"cmp" => {
                if let Some(value) = data.find(expr::CMP_DATA).and_then(|d| d.nested().find(expr::DATA_VALUE))
                {
                    found.extend(words(value.payload));
                }
            }
            b"immediate" => {
                let value = data.find(expr::IMMEDIATE_DATA).and_then(|d| d.nested().find(expr::DATA_VALUE));
                found.extend(value.iter().flat_map(|value| words(value.payload)));
            }
            _ => {}
        }
    }
    for set in references(&rule.attrs).iter().filter_map(|name| table.anonymous.sets.get(name)) {
        if holds_indices(&set.attrs) {
            loads_index = true;
            set.elements.keys().for_each(|key| found.extend(words(&key.key)));
        }
    }
    if loads_index { found } else { BTreeSet::new() }
}

/// `TYPE_IFINDEX` of nft's include/datatype.h; a concatenation holds one type in each six bits.
const TYPE_IFINDEX: u32 = 20;

fn holds_indices(set_attrs: &[u8]) -> bool {
    let key_type = Attrs(set_attrs).find(set::KEY_TYPE).and_then(|attr| attr.be32()).unwrap_or(0);
    (0..5).any(|field| (key_type >> (6 * field)) & 0x3f == TYPE_IFINDEX)
}

fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]))
}
