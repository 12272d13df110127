//! A ruleset into a baseline's files, proved by loading them again.
//!
//! Each table is written in the native syntax of the tool that shows it whole. A table that the text
//! does not give back, whoever prints it, gets an `.exact` file beside its text.

use super::compile::{CompileError, compile};
use super::context;
use super::layout::{captured, commented, context_path, exact, iptables_path, loadable, table_stem};
use crate::compare;
use crate::decode::{self, DecodeError};
use crate::model::{Backend, Capture, Family, Files, Item, Ruleset, TableKey, Text};
use crate::normalise::{denormalise, normalise};
use std::collections::{BTreeMap, BTreeSet};

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

/// The files that say what `ruleset` is.
pub fn render(ruleset: &Ruleset) -> Result<Files, RenderError> {
    let items: BTreeSet<Item> = ruleset.tables.keys().map(|key| Item::Table(key.clone())).collect();
    let texts = decode::decode(ruleset, &items)?;
    let mut needs_exact = BTreeSet::new();
    let files = write(ruleset, &texts, &needs_exact);
    match compile(&files, &ruleset.interfaces) {
        Ok(capture) => needs_exact.extend(not_given_back(ruleset, &capture, &texts)?),
        // One table's text does not load, or cannot be read again: each is tried alone. Only nf_tables has an
        // exact form; what x_tables holds is what its tool printed.
        Err(CompileError::Refused { .. } | CompileError::Gap(_)) => {
            for key in ruleset.tables.keys().filter(|key| key.backend == Backend::NfTables) {
                if !loads_alone(ruleset, key, &texts)? {
                    needs_exact.insert(key.clone());
                }
            }
        }
        Err(error) => return Err(error.into()),
    }
    Ok(write(ruleset, &texts, &needs_exact))
}

fn loads_alone(ruleset: &Ruleset, key: &TableKey, texts: &BTreeMap<Item, Text>) -> Result<bool, RenderError> {
    let table = ruleset.tables.get(key).map(|table| (key.clone(), table.clone()));
    let alone = Ruleset { tables: table.into_iter().collect(), interfaces: ruleset.interfaces.clone() };
    match compile(&write(&alone, texts, &BTreeSet::new()), &ruleset.interfaces) {
        Ok(capture) => Ok(not_given_back(&alone, &capture, texts)?.is_empty()),
        Err(CompileError::Refused { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The tables that the files do not give back.
fn not_given_back(
    ruleset: &Ruleset,
    capture: &Capture,
    texts: &BTreeMap<Item, Text>,
) -> Result<BTreeSet<TableKey>, RenderError> {
    let loaded = normalise(capture).map_err(CompileError::Normalise)?;
    let unmatched = compare::unmatched(&loaded, ruleset);
    let before = decode::decode(&loaded, &unmatched.baseline)?;
    let after = decode::decode(ruleset, &unmatched.live)?;
    let different = compare::compare(&loaded, ruleset, &before, &after);
    let mut keys: BTreeSet<TableKey> = different
        .differences
        .iter()
        .filter_map(|difference| difference.after.as_ref().or(difference.before.as_ref()))
        .map(|item| item.table().clone())
        .collect();
    let inexact = ruleset.tables.keys().filter(|key| {
        key.backend == Backend::NfTables
            && !texts.get(&Item::Table((*key).clone())).is_some_and(|text| text.exact)
    });
    keys.extend(inexact.cloned());
    keys.retain(|key| key.backend == Backend::NfTables);
    Ok(keys)
}

fn write(ruleset: &Ruleset, texts: &BTreeMap<Item, Text>, needs_exact: &BTreeSet<TableKey>) -> Files {
    let mut files = Files::new();
    let mut saves: BTreeMap<(Backend, Family), Vec<&str>> = BTreeMap::new();
    for (key, table) in &ruleset.tables {
        let Some(text) = texts.get(&Item::Table(key.clone())) else { continue };
        if let Some(path) = context_path(key.backend) {
            files.insert(path.to_owned(), context::file(&text.text));
            continue;
        }
        let is_save = text.text.starts_with('*');
        if is_save && !needs_exact.contains(key) {
            saves.entry((key.backend, key.family)).or_default().push(&text.text);
            continue;
        }
        let stem = table_stem(key);
        let listing = if is_save { commented(&text.text) } else { loadable(&text.text) };
        files.insert(format!("{stem}.nft"), captured(&listing));
        if needs_exact.contains(key) {
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
        files.insert("nft/empty.nft".to_owned(), captured("# no tables"));
    }
    files
}
