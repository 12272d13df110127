//! The kernel's handles of rules, by chain and in order: what tells equal rules apart while nobody loads them anew. Pure.
//!
//! Input: the messages of a dump, or of a reading in part; what a part shows replaces what was known of it.

use super::scope::{Part, Scope};
use super::scoped::Scoped;
use super::{NormaliseError, describe};
use crate::model::{Backend, Family, Name, RawMessage, Ruleset, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::{msg, rule};
use std::collections::BTreeMap;

/// Handles of the rules of chains; not of those chains that belong to single rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handles {
    tables: BTreeMap<TableKey, BTreeMap<Name, Vec<u64>>>,
}

impl Handles {
    /// Of the rules among these messages whose chains the ruleset has.
    ///
    /// # Errors
    /// If a rule does not say where it is, or has no handle.
    pub fn of(messages: &[RawMessage], ruleset: &Ruleset) -> Result<Self, NormaliseError> {
        let mut found = Self::default();
        for message in messages.iter().filter(|message| message.kind == msg::NEWRULE) {
            let error = || NormaliseError { what: describe(message.kind) };
            let attrs = Attrs(&message.attrs);
            let text = |kind| attrs.find(kind).map(|attr| Name(attr.string().to_vec()));
            let family = Family::from_number(message.family).ok_or_else(error)?;
            let (name, chain) = text(rule::TABLE).zip(text(rule::CHAIN)).ok_or_else(error)?;
            let handle = attrs.find(rule::HANDLE).and_then(|attr| attr.be64()).ok_or_else(error)?;
            let key = TableKey { backend: Backend::NfTables, family, name };
            if ruleset.tables.get(&key).is_some_and(|table| table.chains.contains_key(&chain)) {
                found.tables.entry(key).or_default().entry(chain).or_default().push(handle);
            }
        }
        Ok(found)
    }

    /// Those of one chain; none if it has no rules, or was not read.
    pub fn of_chain(&self, key: &TableKey, chain: &Name) -> &[u64] {
        self.tables.get(key).and_then(|chains| chains.get(chain)).map_or(&[], Vec::as_slice)
    }

    /// Those within a scope.
    pub fn within(&self, scope: &Scope) -> Self {
        if scope.everything {
            return self.clone();
        }
        let part = |(key, part): (&TableKey, &Part)| {
            let chains = self.tables.get(key)?;
            let chains = match part {
                Part::Whole => chains.clone(),
                Part::Parts(parts) => {
                    let meant = parts.chains.iter().filter_map(|name| chains.get_key_value(name));
                    meant.map(|(name, handles)| (name.clone(), handles.clone())).collect()
                }
            };
            Some((key.clone(), chains))
        };
        Self { tables: scope.tables.iter().filter_map(part).collect() }
    }

    /// Takes over what a reading in part showed.
    pub fn put(&mut self, scoped: &Scoped) {
        for (key, part) in &scoped.scope.tables {
            match (part, self.tables.get_mut(key)) {
                (Part::Parts(parts), Some(chains)) if scoped.ruleset.tables.contains_key(key) => {
                    parts.chains.iter().for_each(|name| drop(chains.remove(name)));
                }
                (Part::Whole | Part::Parts(_), _) => drop(self.tables.remove(key)),
            }
        }
        for (key, chains) in &scoped.handles.tables {
            self.tables.entry(key.clone()).or_default().extend(chains.clone());
        }
        self.tables.retain(|_, chains| !chains.is_empty());
    }

    /// Of every chain that has rules.
    pub fn iter(&self) -> impl Iterator<Item = (&TableKey, &Name, &[u64])> {
        let of_table = |(key, chains)| {
            let chains: &BTreeMap<Name, Vec<u64>> = chains;
            chains.iter().map(move |(name, handles)| (key, name, handles.as_slice()))
        };
        self.tables.iter().flat_map(of_table)
    }
}
