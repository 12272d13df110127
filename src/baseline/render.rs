//! A ruleset into a baseline's files, proved by loading them again.
//!
//! Each table, and each set of ipset, is written in the native syntax of the tool that shows it whole. One that the
//! text does not give back, whoever prints it, gets an `.exact` file beside its text.

use super::compile::{CompileError, compile};
use super::context;
use super::layout::{
    Role, captured, captured_set, commented, context_path, exact, iptables_path, loadable, role, set_stem,
    table_stem,
};
use super::portable::portable;
use crate::compare;
use crate::decode::{self, DecodeError};
use crate::model::{Backend, Capture, Family, Files, Item, Name, Ruleset, Table, TableKey, Text};
use crate::normalise::xt_recent::uses_list;
use crate::normalise::{denormalise, ipset, normalise, xt_recent};
use std::collections::{BTreeMap, BTreeSet};

/// The file of a host without rules.
const EMPTY: &str = "nft/empty.nft";

/// Why a ruleset cannot be written as files.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// No text.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The text was written, but what it loads to could not be examined.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

impl RenderError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Decode(error) => error.hint(),
            Self::Compile(error) => error.hint(),
        }
    }
}

/// What does not come back from its text.
#[derive(Default)]
struct NeedsExact {
    tables: BTreeSet<TableKey>,
    /// Sets of ipset.
    sets: BTreeSet<Name>,
}

/// The files that say what `ruleset` is.
pub fn render(ruleset: &Ruleset) -> Result<Files, RenderError> {
    let items: BTreeSet<Item> = ruleset.tables.iter().flat_map(|(key, table)| items(key, table)).collect();
    let texts = decode::decode(ruleset, &items)?;
    let mut needs_exact = NeedsExact::default();
    let inexact = texts.iter().filter(|(_, text)| !text.exact);
    needs_exact.sets.extend(inexact.filter_map(|(item, _)| set_of_ipset(item)));
    let (files, loaded) = loop {
        let files = write(ruleset, &texts, &needs_exact);
        match compiled(&files, ruleset) {
            // A set whose text does not load is made from its exact form; each has one chance.
            Err(CompileError::Refused { path, .. })
                if ruleset_sets(ruleset).any(|name| {
                    path == format!("{}.ipset", set_stem(name)) && needs_exact.sets.insert(name.clone())
                }) => {}
            other => break (files, other),
        }
    };
    match loaded {
        Ok(capture) => {
            let lost = not_given_back(ruleset, &capture, &texts)?;
            if lost.tables.is_empty() && lost.sets.is_subset(&needs_exact.sets) {
                return Ok(files);
            }
            needs_exact.tables.extend(lost.tables);
            needs_exact.sets.extend(lost.sets);
        }
        // One table's text does not load, or cannot be read again: each is tried alone. Only nf_tables has an
        // exact form; what x_tables holds is what its tool printed.
        Err(CompileError::Refused { .. } | CompileError::Gap(_)) => {
            for key in ruleset.tables.keys().filter(|key| key.backend == Backend::NfTables) {
                if !loads_alone(ruleset, key, &texts, &needs_exact)? {
                    needs_exact.tables.insert(key.clone());
                }
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(write(ruleset, &texts, &needs_exact))
}

/// What the files load to. Where the tools of x_tables fail, nothing is proved of its tables: their text is what was
/// read, and nothing that was made from it.
fn compiled(files: &Files, ruleset: &Ruleset) -> Result<Capture, CompileError> {
    match compile(files, &ruleset.interfaces) {
        Err(CompileError::Gap(_)) => {
            let is_legacy = |path: &str| matches!(role(path), Role::Iptables(Backend::Legacy, _));
            let others = files.iter().filter(|(path, _)| !is_legacy(path));
            let mut others: Files = others.map(|(path, content)| (path.clone(), content.clone())).collect();
            others.entry(EMPTY.to_owned()).or_insert_with(|| captured("# no tables"));
            compile(&others, &ruleset.interfaces)
        }
        result => result,
    }
}

/// What has a text of its own in the files.
fn items(key: &TableKey, table: &Table) -> Vec<Item> {
    match key.backend {
        Backend::Ipset => table.sets.keys().map(|name| Item::Set(key.clone(), name.clone())).collect(),
        _ => vec![Item::Table(key.clone())],
    }
}

fn ruleset_sets(ruleset: &Ruleset) -> impl Iterator<Item = &Name> {
    ruleset.tables.get(&TableKey::of_all(Backend::Ipset)).into_iter().flat_map(|table| table.sets.keys())
}

/// The set of ipset that an item is, or is of.
fn set_of_ipset(item: &Item) -> Option<Name> {
    match item {
        Item::Set(key, name) | Item::SetHead(key, name) | Item::Element(key, name, _)
            if key.backend == Backend::Ipset =>
        {
            Some(name.clone())
        }
        _ => None,
    }
}

/// With the sets of ipset, which rules name.
fn loads_alone(
    ruleset: &Ruleset,
    key: &TableKey,
    texts: &BTreeMap<Item, Text>,
    needs_exact: &NeedsExact,
) -> Result<bool, RenderError> {
    // What a list's mask means is not seen in one table alone.
    let rules = ruleset.tables.get(key).into_iter().flat_map(|table| table.chains.values());
    if rules.flat_map(|chain| &chain.rules).any(uses_list) {
        return Ok(false);
    }
    let kept = ruleset.tables.iter().filter(|(other, _)| *other == key || other.backend == Backend::Ipset);
    let tables = kept.map(|(key, table)| (key.clone(), table.clone())).collect();
    let alone = Ruleset { tables, interfaces: ruleset.interfaces.clone() };
    let sets = NeedsExact { sets: needs_exact.sets.clone(), ..NeedsExact::default() };
    match compile(&write(&alone, texts, &sets), &ruleset.interfaces) {
        Ok(capture) => Ok(!not_given_back(&alone, &capture, texts)?.tables.contains(key)),
        Err(CompileError::Refused { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The tables and sets that the files do not give back.
fn not_given_back(
    ruleset: &Ruleset,
    capture: &Capture,
    texts: &BTreeMap<Item, Text>,
) -> Result<NeedsExact, RenderError> {
    let loaded = normalise(capture).map_err(CompileError::Normalise)?;
    let unmatched = compare::unmatched(&loaded, ruleset);
    let before = decode::decode(&loaded, &unmatched.baseline)?;
    let after = decode::decode(ruleset, &unmatched.live)?;
    let different = compare::compare(&loaded, ruleset, &before, &after);
    let differences = different.differences.iter();
    let items = differences.filter_map(|found| found.after.as_ref().or(found.before.as_ref()));
    let mut keys: BTreeSet<TableKey> = items.clone().map(|item| item.table().clone()).collect();
    let sets = items.filter_map(set_of_ipset).collect();
    let inexact = ruleset.tables.keys().filter(|key| {
        key.backend == Backend::NfTables
            && !texts.get(&Item::Table((*key).clone())).is_some_and(|text| text.exact)
    });
    keys.extend(inexact.cloned());
    // What means the same only as long as the tool's words are to be had.
    keys.extend(
        unmatched
            .live
            .iter()
            .filter(|item| uses_list_of_recent(ruleset, item))
            .map(|item| item.table().clone()),
    );
    keys.retain(|key| key.backend == Backend::NfTables);
    Ok(NeedsExact { tables: keys, sets })
}

fn uses_list_of_recent(ruleset: &Ruleset, item: &Item) -> bool {
    let Item::Rule(key, chain, place) = item else { return false };
    let rule = ruleset.tables.get(key).and_then(|table| table.chains.get(chain)?.rules.get(*place));
    rule.is_some_and(xt_recent::uses_list)
}

fn write(ruleset: &Ruleset, texts: &BTreeMap<Item, Text>, needs_exact: &NeedsExact) -> Files {
    let mut files = Files::new();
    let mut saves: BTreeMap<(Backend, Family), Vec<&str>> = BTreeMap::new();
    for (key, table) in &ruleset.tables {
        if key.backend == Backend::Ipset {
            write_sets(key, table, texts, &needs_exact.sets, &mut files);
        }
        let Some(text) = texts.get(&Item::Table(key.clone())) else { continue };
        if let Some(path) = context_path(key.backend) {
            files.insert(path.to_owned(), context::file(&text.text));
            continue;
        }
        let is_save = text.text.starts_with('*');
        if is_save && !needs_exact.tables.contains(key) {
            saves.entry((key.backend, key.family)).or_default().push(&text.text);
            continue;
        }
        let stem = table_stem(key);
        let listing =
            if is_save { commented(&text.text) } else { portable(&loadable(&text.text)).into_owned() };
        files.insert(format!("{stem}.nft"), captured(&listing));
        if needs_exact.tables.contains(key) {
            let messages = denormalise(key, table);
            let interfaces = ruleset.interfaces.clone();
            let capture = Capture { messages, interfaces, ..Capture::default() };
            files.insert(format!("{stem}.exact"), exact(&capture));
        }
    }
    for ((backend, family), tables) in saves {
        files.insert(iptables_path(backend, family), format!("{}\n", tables.join("\n")).into_bytes());
    }
    if !ruleset.tables.keys().any(|key| key.backend.has_tables()) {
        // A host without any rule has a baseline, too: the approved state is "nothing".
        files.insert(EMPTY.to_owned(), captured("# no tables"));
    }
    files
}

fn write_sets(
    key: &TableKey,
    table: &Table,
    texts: &BTreeMap<Item, Text>,
    needs_exact: &BTreeSet<Name>,
    files: &mut Files,
) {
    for (name, set) in &table.sets {
        let Some(text) = texts.get(&Item::Set(key.clone(), name.clone())) else { continue };
        let stem = set_stem(name);
        files.insert(format!("{stem}.ipset"), captured_set(&loadable(&text.text)));
        if needs_exact.contains(name) {
            let capture = Capture { ipset: Some(ipset::messages(name, set)), ..Capture::default() };
            files.insert(format!("{stem}.exact"), exact(&capture));
        }
    }
}
