//! Turns a [`Capture`] into a [`Ruleset`]: what moves by itself is dropped here, and nowhere else.
//!
//! Dropped: handles, positions, use counts, packet and byte counters, consumed quota, `last` times,
//! element expiry, and the names that the kernel gives to anonymous sets and chains. Kept: everything
//! else, also attributes that this version has no name for. Pure.

mod anonymous;
mod context;
mod denormalise;
mod elements;
mod legacy;
mod shape;
mod strip;

pub use anonymous::{expressions, map_expressions, references, rename_references, verdict_chain};
pub use denormalise::{denormalise, element_lists};
pub use legacy::parse as parse_save;
pub use shape::{hides_bytes, is_idle, is_iptables_shaped, keys_of_own_sets};

use crate::model::{
    Backend, Capture, Chain, Digest, Family, Name, Object, Rule, Ruleset, Set, Table, TableKey,
};
use crate::netlink::nft::{self, msg};
use crate::netlink::{Attrs, Malformed};
use std::collections::BTreeSet;

/// A message that does not have the form that the kernel documents.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel sent an nf_tables {what} that cannot be understood")]
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
    for table in ruleset.tables.values_mut() {
        elements::pair_intervals(table);
        anonymous::fold(table);
        mark_written_sets(table);
    }
    for legacy in &capture.legacy {
        let key =
            TableKey { backend: Backend::Legacy, family: legacy.family, name: Name(legacy.table.clone()) };
        ruleset.tables.insert(key, legacy::parse(&legacy.text));
    }
    for backend in [Backend::Sysctl, Backend::Bpf] {
        if let Some(objects) = capture.context(backend) {
            ruleset.tables.insert(TableKey::of_all(backend), context::table(objects));
        }
    }
    Ok(ruleset)
}

/// Finds the sets whose elements are the packet path's.
fn mark_written_sets(table: &mut Table) {
    let rules = table.chains.values().chain(table.anonymous.chains.values()).flat_map(|chain| &chain.rules);
    let written: BTreeSet<Name> = rules.flat_map(|rule| anonymous::written_sets(&rule.attrs)).collect();
    for (_, set) in table.sets.iter_mut().filter(|(name, _)| written.contains(name)) {
        set.written_by_rules = true;
    }
}

fn describe(kind: u8) -> &'static str {
    match kind {
        msg::NEWTABLE => "table",
        msg::NEWCHAIN => "chain",
        msg::NEWRULE => "rule",
        msg::NEWSET => "set",
        msg::NEWSETELEM => "set element",
        msg::NEWOBJ => "object",
        msg::NEWFLOWTABLE => "flowtable",
        _ => "message",
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
            let stripped = strip::rule(attrs)?;
            let table = table_of(ruleset, family, attrs, nft::rule::TABLE)?;
            let chain = match table.anonymous.chains.get_mut(&chain) {
                Some(bound) => bound,
                None => table.chains.get_mut(&chain).ok_or(Malformed)?,
            };
            chain.rules.push(Rule { digest: Digest::of([&stripped[..]]), attrs: stripped });
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
