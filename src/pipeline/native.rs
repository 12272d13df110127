//! Tables of x_tables in nf_tables' form, in which `traffic` reads them: iptables-nft, arptables-nft and ebtables-nft
//! load their lines in a scratch namespace, where each line becomes one rule.

use crate::baseline;
use crate::compare::Difference;
use crate::model::{Backend, Chain, Family, Files, Name, Ruleset, Table, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::chain;
use crate::normalise::normalise;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A ruleset as `traffic` reads it.
pub(super) struct Native<'r> {
    /// All tables in nf_tables' form; those of `unread` are not in it.
    pub(super) ruleset: Cow<'r, Ruleset>,
    /// Tables of x_tables that could not be loaded so, and why.
    pub(super) unread: BTreeMap<TableKey, String>,
}

/// Families whose tables one tool's files hold.
const TOGETHER: [&[Family]; 3] = [&[Family::Ip, Family::Ip6], &[Family::Arp], &[Family::Bridge]];

/// Puts a ruleset into that form.
pub(super) fn native(ruleset: &Ruleset) -> Native<'_> {
    let mut native = Native { ruleset: Cow::Borrowed(ruleset), unread: BTreeMap::new() };
    for families in TOGETHER {
        let is_meant = |key: &TableKey| key.backend == Backend::Legacy && families.contains(&key.family);
        let keys: Vec<&TableKey> = ruleset.tables.keys().filter(|key| is_meant(key)).collect();
        if keys.is_empty() {
            continue;
        }
        let whole = native.ruleset.to_mut();
        whole.tables.retain(|key, _| !is_meant(key));
        match loaded(ruleset, &keys) {
            Ok(tables) => whole.tables.extend(tables),
            Err(why) => native.unread.extend(keys.into_iter().map(|key| (key.clone(), why.clone()))),
        }
    }
    native
}

/// Both sides of a comparison: what one of them does not have in that form is left out of the other, too.
pub(super) fn both<'r>(before: &'r Ruleset, after: &'r Ruleset) -> [Native<'r>; 2] {
    let mut sides = [native(before), native(after)];
    let unread: Vec<TableKey> = sides.iter().flat_map(|side| side.unread.keys().cloned()).collect();
    for side in sides.iter_mut().filter(|_| !unread.is_empty()) {
        side.ruleset.to_mut().tables.retain(|key, _| !unread.contains(key));
    }
    sides
}

impl Native<'_> {
    /// Why the effect of a difference cannot be told, if what is unread decides about the same packets.
    pub(super) fn hides(&self, difference: &Difference) -> Option<&str> {
        let items = || [&difference.before, &difference.after].into_iter().flatten();
        let meets = |key: &TableKey| match key.family {
            Family::Ip | Family::Ip6 => true,
            family => items().any(|item| item.table().family == family),
        };
        self.unread.iter().find(|(key, _)| meets(key)).map(|(_, why)| &**why)
    }

    /// The ruleset, if all that packets of IP meet could be read.
    pub(super) fn for_ip(&self) -> Result<&Ruleset, String> {
        match self.unread.iter().find(|(key, _)| matches!(key.family, Family::Ip | Family::Ip6)) {
            Some((_, why)) => Err(why.clone()),
            None => Ok(&self.ruleset),
        }
    }
}

/// The tables of x_tables with these keys, as rules of nf_tables.
fn loaded(ruleset: &Ruleset, keys: &[&TableKey]) -> Result<BTreeMap<TableKey, Table>, String> {
    let kept = ruleset.tables.iter().filter(|(key, _)| keys.contains(key) || key.backend == Backend::Ipset);
    let part = Ruleset {
        tables: kept.map(|(key, table)| (key.clone(), table.clone())).collect(),
        interfaces: ruleset.interfaces.clone(),
    };
    let rendered = baseline::render(&part).map_err(|error| error.to_string())?;
    let renamed: Files =
        rendered.into_iter().map(|(path, content)| (path.replace("/legacy", "/nft"), content)).collect();
    let compiled = baseline::compile(&renamed, &ruleset.interfaces).map_err(|error| error.to_string())?;
    let loaded = normalise(&compiled).map_err(|error| error.to_string())?;
    let mut tables: BTreeMap<TableKey, Table> = loaded
        .tables
        .into_iter()
        .filter(|(key, _)| key.backend == Backend::NfTables)
        .map(|(key, table)| (TableKey { backend: Backend::Legacy, ..key }, table))
        .collect();
    for (key, table) in &mut tables {
        let Some(legacy) = ruleset.tables.get(key) else { continue };
        unhook(key, table, legacy)?;
    }
    match keys.iter().find(|key| lines(tables.get(**key)) != lines(ruleset.tables.get(**key))) {
        Some(key) => Err(format!("the tools of nf_tables read table {key} otherwise")),
        None => Ok(tables),
    }
}

/// Takes away the chains that x_tables always has and nf_tables' tools hook nowhere (FORWARD of arptables), if nothing is
/// in them.
fn unhook(key: &TableKey, table: &mut Table, legacy: &Table) -> Result<(), String> {
    // Of a user's own chain, the word for the policy is a dash.
    let always_there = legacy.chains.iter().filter(|(_, chain)| chain.attrs[..] != *b"-");
    for (name, of_legacy) in always_there {
        let hooked = |chain: &Chain| Attrs(&chain.attrs).find(chain::HOOK).is_some();
        if table.chains.get(name).is_some_and(hooked) {
            continue;
        }
        if !of_legacy.rules.is_empty() || of_legacy.attrs[..] != *b"ACCEPT" {
            return Err(format!("the tools of nf_tables give chain {name} of {key} no hook"));
        }
        table.chains.remove(name);
    }
    Ok(())
}

/// How many rules each chain has, if any.
fn lines(table: Option<&Table>) -> BTreeMap<&Name, usize> {
    let chains = table.into_iter().flat_map(|table| &table.chains);
    chains.map(|(name, chain)| (name, chain.rules.len())).filter(|(_, count)| *count > 0).collect()
}
