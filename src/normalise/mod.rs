//! Turns a [`Capture`] into a [`Ruleset`]: what moves by itself is dropped here, and nowhere else.
//!
//! Dropped: handles, positions, use counts, packet and byte counters, consumed quota, `last` times,
//! element expiry, and the names that the kernel gives to anonymous sets and chains. Kept: everything
//! else, also attributes that this version has no name for. Pure.

pub mod advance;
mod anonymous;
mod context;
pub mod deeds;
mod denormalise;
pub mod devices;
mod elements;
mod follow;
pub mod handles;
pub mod ipset;
mod legacy;
pub mod scope;
pub mod scoped;
mod shape;
mod strip;
pub mod touched;
mod xt_info;
pub mod xt_recent;
pub mod xt_set;

pub use anonymous::{
    expressions, jumps, map_expressions, owned_by, references, rename_references, used_sets, verdict_chain,
    verdict_chains,
};
pub use denormalise::{denormalise, element_lists};
pub use elements::{is_empty_boundary, pair as pair_elements};
pub use follow::{Follower, Members, Unfit};
pub use legacy::parse as parse_save;
pub use shape::{
    META_INDEX_KEYS, hides_bytes, is_ebtables_policy, is_idle, is_iptables_shaped, keys_of_own_sets,
    loads_interface,
};

use crate::model::{
    Backend, Capture, Chain, Digest, Family, Name, Object, Rule, Ruleset, Set, Table, TableKey,
};
use crate::netlink::nft::{self, msg};
use crate::netlink::{Attrs, Malformed};
use std::collections::{BTreeMap, BTreeSet};

/// A message that does not have the form that the kernel documents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel sent a {what} that cannot be understood")]
pub struct NormaliseError {
    /// The kind of object.
    what: &'static str,
}

/// Normalises a whole capture.
pub fn normalise(capture: &Capture) -> Result<Ruleset, NormaliseError> {
    let mut ruleset = Ruleset { interfaces: capture.interfaces.clone(), ..Ruleset::default() };
    for message in &capture.messages {
        let what = describe(message.kind);
        let error = || NormaliseError { what };
        let family = Family::from_number(message.family).ok_or_else(error)?;
        add(&mut ruleset, family, message.kind, Attrs(&message.attrs)).map_err(|Malformed| error())?;
    }
    let names = capture.ipset.as_deref().map(ipset::names).unwrap_or_default();
    for table in ruleset.tables.values_mut() {
        complete(table, &names);
    }
    for legacy in &capture.legacy {
        let key =
            TableKey { backend: Backend::Legacy, family: legacy.family, name: Name(legacy.table.clone()) };
        ruleset.tables.insert(key, legacy::parse(&legacy.text));
    }
    if let Some(messages) = capture.ipset.as_deref().filter(|messages| !messages.is_empty()) {
        let mut sets = ipset::table(messages).map_err(|Malformed| NormaliseError { what: "set of ipset" })?;
        mark_sets_written_by_iptables(&mut sets, &ruleset);
        ruleset.tables.insert(TableKey::of_all(Backend::Ipset), sets);
    }
    for backend in [Backend::Sysctl, Backend::Bpf] {
        if let Some(objects) = capture.context(backend) {
            ruleset.tables.insert(TableKey::of_all(backend), context::table(objects));
        }
    }
    Ok(ruleset)
}

/// What can be said of a table's parts only once all of them are there; ipset's sets have these names.
fn complete(table: &mut Table, ipset: &BTreeMap<u16, Name>) {
    elements::pair_intervals(table);
    if !ipset.is_empty() {
        xt_set::name_sets(table, ipset);
    }
    anonymous::fold(table);
    mark_written_sets(table);
}

/// Finds the sets whose elements are the packet path's.
fn mark_written_sets(table: &mut Table) {
    let rules = table.chains.values().chain(table.anonymous.chains.values()).flat_map(|chain| &chain.rules);
    let written: BTreeSet<Name> = rules.flat_map(|rule| anonymous::written_sets(&rule.attrs)).collect();
    for (_, set) in table.sets.iter_mut().filter(|(name, _)| written.contains(name)) {
        set.written_by_rules = true;
    }
}

/// Finds the sets of ipset whose members are the packet path's.
fn mark_sets_written_by_iptables(sets: &mut Table, ruleset: &Ruleset) {
    let mut written = BTreeSet::new();
    for (key, table) in &ruleset.tables {
        for rule in table.chains.values().chain(table.anonymous.chains.values()).flat_map(|c| &c.rules) {
            match key.backend {
                Backend::NfTables => written.extend(xt_set::written(&rule.attrs)),
                _ => written.extend(xt_set::written_by_line(&rule.attrs)),
            }
        }
    }
    for (_, set) in sets.sets.iter_mut().filter(|(name, _)| written.contains(name)) {
        set.written_by_rules = true;
    }
}

fn describe(kind: u8) -> &'static str {
    match kind {
        msg::NEWTABLE => "nf_tables table",
        msg::NEWCHAIN => "nf_tables chain",
        msg::NEWRULE => "nf_tables rule",
        msg::NEWSET => "nf_tables set",
        msg::NEWSETELEM => "nf_tables set element",
        msg::NEWOBJ => "nf_tables object",
        msg::NEWFLOWTABLE => "nf_tables flowtable",
        _ => "nf_tables message",
    }
}

fn add(ruleset: &mut Ruleset, family: Family, kind: u8, attrs: Attrs<'_>) -> Result<(), Malformed> {
    match kind {
        msg::NEWTABLE => {
            let table = table_of(ruleset, family, attrs, nft::table::NAME)?;
            table.attrs = strip::table(attrs)?;
        }
        msg::NEWCHAIN => {
            let name = name_in(attrs, nft::chain::NAME)?;
            let stripped = strip::chain(attrs)?;
            let flags = attrs.find(nft::chain::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
            let table = table_of(ruleset, family, attrs, nft::chain::TABLE)?;
            let chains = match flags & nft::chain::F_BINDING {
                0 => &mut table.chains,
                _ => &mut table.anonymous.chains,
            };
            chains.insert(name, Chain { attrs: stripped, rules: Vec::new() });
        }
        msg::NEWRULE => {
            let chain = name_in(attrs, nft::rule::CHAIN)?;
            let stripped = strip::rule(family, attrs)?;
            let table = table_of(ruleset, family, attrs, nft::rule::TABLE)?;
            let chain = match table.anonymous.chains.get_mut(&chain) {
                Some(bound) => bound,
                None => table.chains.get_mut(&chain).ok_or(Malformed)?,
            };
            chain.rules.push(Rule { digest: Digest::of([&stripped[..]]), attrs: stripped.into() });
        }
        msg::NEWSET => {
            let name = name_in(attrs, nft::set::NAME)?;
            let flags = attrs.find(nft::set::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
            let set = Set { flags, attrs: strip::set(attrs)?, ..Set::default() };
            let table = table_of(ruleset, family, attrs, nft::set::TABLE)?;
            let sets = match flags & nft::set::F_ANONYMOUS {
                0 => &mut table.sets,
                _ => &mut table.anonymous.sets,
            };
            sets.insert(name, set);
        }
        msg::NEWSETELEM => {
            let name = name_in(attrs, nft::elem::LIST_SET)?;
            let table = table_of(ruleset, family, attrs, nft::elem::LIST_TABLE)?;
            let set = match table.anonymous.sets.get_mut(&name) {
                Some(set) => set,
                None => table.sets.get_mut(&name).ok_or(Malformed)?,
            };
            if let Some(list) = attrs.find(nft::elem::LIST_ELEMENTS) {
                for element in list.nested() {
                    elements::add(set, element?.nested())?;
                }
            }
        }
        msg::NEWOBJ => {
            let name = name_in(attrs, nft::object::NAME)?;
            let kind = attrs.find(nft::object::TYPE).and_then(|attr| attr.be32()).ok_or(Malformed)?;
            let object = Object { attrs: strip::object(attrs, kind)? };
            table_of(ruleset, family, attrs, nft::object::TABLE)?.objects.insert((kind, name), object);
        }
        msg::NEWFLOWTABLE => {
            let name = name_in(attrs, nft::flowtable::NAME)?;
            let flowtable = Object { attrs: strip::flowtable(attrs)? };
            table_of(ruleset, family, attrs, nft::flowtable::TABLE)?.flowtables.insert(name, flowtable);
        }
        _ => return Err(Malformed),
    }
    Ok(())
}

fn name_in(attrs: Attrs<'_>, kind: u16) -> Result<Name, Malformed> {
    Ok(Name(attrs.find(kind).ok_or(Malformed)?.string().to_vec()))
}

fn table_of<'r>(
    ruleset: &'r mut Ruleset,
    family: Family,
    attrs: Attrs<'_>,
    kind: u16,
) -> Result<&'r mut Table, Malformed> {
    let key = TableKey { backend: Backend::NfTables, family, name: name_in(attrs, kind)? };
    Ok(ruleset.tables.entry(key).or_default())
}
