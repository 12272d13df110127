//! Texts in iptables' syntax, for tables that have the shape that iptables makes.
//!
//! `iptables-save` prints whole what nft prints only by name (xt extensions), but it also prints native
//! rules wrongly (`ip saddr @set drop` as `-j DROP`). So its lines are used only where loading
//! them again gives the same bytes; for other rules nft's text stands.

use super::scratch;
use super::selection::TableSelection;
use crate::collect::nftables;
use crate::model::{Capture, Chain, Family, Item, Name, Ruleset, Table, TableKey, Text};
use crate::normalise::{is_iptables_shaped, normalise, parse_save};
use crate::tool::{Tool, ToolError};
use std::collections::{BTreeMap, BTreeSet};

/// What iptables-save printed for a table, and for which rules it is exact.
pub struct Saved {
    key: TableKey,
    text: String,
    chains: BTreeMap<Name, Vec<String>>,
    policies: BTreeMap<Name, String>,
    places: BTreeMap<Name, BTreeSet<usize>>,
    exact: BTreeSet<(Name, usize)>,
    /// Chains whose line says all: iptables knows no comments, and only one type for each of its own.
    exact_heads: BTreeSet<Name>,
    all_exact: bool,
}

/// Saves a table of the calling thread's (scratch) namespace with iptables-nft; none if the table is
/// not iptables' or the tool cannot print it.
pub fn save(key: &TableKey, table: &Table, selection: &TableSelection) -> Option<Saved> {
    if !is_iptables_shaped(key, table) {
        return None;
    }
    let text = match run_save(key) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!("iptables-nft-save cannot print {key}: {error}");
            return None;
        }
    };
    let parsed = parse_save(&text);
    let again = reload(key, &text);
    let mut saved = Saved {
        key: key.clone(),
        text: crate::model::text_from_kernel(&text),
        chains: BTreeMap::new(),
        policies: BTreeMap::new(),
        places: selection.chains.clone(),
        exact: BTreeSet::new(),
        exact_heads: BTreeSet::new(),
        // iptables-save prints all built-in chains of a table, also those that do not exist (nft.c,
        // nft_xt_fake_builtin_chains), and loading that makes them.
        all_exact: again.as_ref().is_some_and(|again| again.chains.keys().eq(table.chains.keys())),
    };
    for (name, places) in &selection.chains {
        let lines = parsed.chains.get(name)?;
        if lines.rules.len() != places.len() {
            return None;
        }
        let copies = again.as_ref().and_then(|again| again.chains.get(name));
        if copies.is_some_and(|copy| table.chains.get(name).is_some_and(|chain| chain.attrs == copy.attrs)) {
            saved.exact_heads.insert(name.clone());
        } else {
            saved.all_exact = false;
        }
        for (number, place) in places.iter().enumerate() {
            let original = table.chains.get(name).and_then(|chain| chain.rules.get(*place))?;
            let copy = copies.and_then(|chain| chain.rules.get(number));
            if copy.is_some_and(|copy| copy.digest == original.digest) {
                saved.exact.insert((name.clone(), *place));
            } else {
                saved.all_exact = false;
            }
        }
        let text = |bytes: &[u8]| crate::model::text_from_kernel(bytes);
        saved.chains.insert(name.clone(), lines.rules.iter().map(|rule| text(&rule.attrs)).collect());
        saved.policies.insert(name.clone(), text(&lines.attrs));
    }
    Some(saved)
}

impl Saved {
    /// The item's text, if iptables-save's is exact.
    pub fn text(&self, item: &Item) -> Option<Text> {
        let exact = |text: String| Some(Text::new(text, true));
        match item {
            Item::Rule(_, name, place) if self.exact.contains(&(name.clone(), *place)) => {
                let number = self.places.get(name)?.iter().position(|other| other == place)?;
                exact(self.chains.get(name)?.get(number)?.clone())
            }
            Item::Chain(_, name) | Item::ChainHead(_, name) if !self.exact_heads.contains(name) => None,
            Item::Chain(_, name) => {
                let places = self.places.get(name)?;
                let whole = places.iter().all(|place| self.exact.contains(&(name.clone(), *place)));
                let mut lines = vec![format!(":{name} {}", self.policies.get(name)?)];
                lines.extend(self.chains.get(name)?.iter().cloned());
                if whole { exact(lines.join("\n")) } else { None }
            }
            Item::ChainHead(_, name) => exact(format!(":{name} {}", self.policies.get(name)?)),
            Item::Table(_) if self.all_exact => exact(without_stamps(&self.text)),
            Item::Table(_) => {
                tracing::debug!("iptables-save does not print {} whole", self.key);
                None
            }
            Item::Rule(..)
            | Item::TableHead(_)
            | Item::Set(..)
            | Item::SetHead(..)
            | Item::Element(..)
            | Item::Object(..)
            | Item::Flowtable(..) => None,
        }
    }
}

/// A save without its comment lines, which carry the time.
pub fn without_stamps(save: &str) -> String {
    let lines: Vec<&str> = save.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    lines.join("\n")
}

fn run_save(key: &TableKey) -> Result<Vec<u8>, ToolError> {
    let program = program(key.family, "save");
    let output = Tool::find(program)?.scratch().args(["-t".to_owned(), key.name.to_string()]).run()?;
    let text = String::from_utf8_lossy(&output.stdout);
    // It exits 0 and says in a comment that it gave up.
    if text.contains("incompatible, use 'nft' tool") || !text.contains("\nCOMMIT") {
        let stderr = "the table is not one that iptables can show".to_owned();
        return Err(ToolError::Failed { command: program.to_owned(), status: 0, stderr });
    }
    // Counters are packets of the past.
    let lines = output.stdout.split(|byte| *byte == b'\n').map(without_chain_counters);
    Ok(lines.collect::<Vec<_>>().join(&b'\n'))
}

fn without_chain_counters(line: &[u8]) -> &[u8] {
    match line.iter().rposition(|byte| *byte == b'[') {
        Some(bracket) if line.starts_with(b":") => line[..bracket].trim_ascii_end(),
        _ => line,
    }
}

fn program(family: Family, verb: &str) -> &'static str {
    match (family, verb) {
        (Family::Ip6, "save") => "ip6tables-nft-save",
        (Family::Ip6, _) => "ip6tables-nft-restore",
        (_, "save") => "iptables-nft-save",
        (_, _) => "iptables-nft-restore",
    }
}

/// What the text gives when it is loaded again, in another scratch namespace.
fn reload(key: &TableKey, text: &[u8]) -> Option<Table> {
    let attempt = || -> Result<Ruleset, Box<dyn std::error::Error + Send + Sync>> {
        let netns = scratch(&BTreeMap::new())?;
        let capture = netns.run(|| -> Result<Capture, Box<dyn std::error::Error + Send + Sync>> {
            let text = text.split(|b| *b == b'\n').map(|line| match line.first() {
                Some(b':') => [line, b" [0:0]"].concat(),
                _ => line.to_vec(),
            });
            let text = text.collect::<Vec<_>>().join(&b'\n');
            Tool::find(program(key.family, "restore"))?.scratch().input(text).run()?;
            Ok(nftables::capture()?)
        })??;
        Ok(normalise(&capture)?)
    };
    match attempt() {
        Ok(mut ruleset) => ruleset.tables.remove(key),
        Err(error) => {
            tracing::debug!("iptables-nft-restore does not load {key} again: {error}");
            None
        }
    }
}

/// An item of a legacy table: its text is what was captured.
pub fn legacy_text(ruleset: &Ruleset, item: &Item) -> Option<String> {
    let table = ruleset.tables.get(item.table())?;
    let line = |bytes: &[u8]| crate::model::text_from_kernel(bytes);
    let chain_text = |name: &Name, chain: &Chain| {
        let head = format!(":{name} {}", line(&chain.attrs));
        let rules = chain.rules.iter().map(|rule| line(&rule.attrs));
        std::iter::once(head).chain(rules).collect::<Vec<_>>().join("\n")
    };
    match item {
        Item::Table(key) => Some(legacy_table_text(key, table)),
        Item::Chain(_, name) => Some(chain_text(name, table.chains.get(name)?)),
        Item::ChainHead(_, name) => Some(format!(":{name} {}", line(&table.chains.get(name)?.attrs))),
        Item::Rule(_, name, place) => Some(line(&table.chains.get(name)?.rules.get(*place)?.attrs)),
        Item::TableHead(_)
        | Item::Set(..)
        | Item::SetHead(..)
        | Item::Element(..)
        | Item::Object(..)
        | Item::Flowtable(..) => None,
    }
}

/// A legacy table in the save format, without counters.
fn legacy_table_text(key: &TableKey, table: &Table) -> String {
    let text = |bytes: &[u8]| crate::model::text_from_kernel(bytes);
    let mut lines = vec![format!("*{}", key.name)];
    lines.extend(table.chains.iter().map(|(name, chain)| format!(":{name} {}", text(&chain.attrs))));
    lines.extend(table.chains.values().flat_map(|chain| &chain.rules).map(|rule| text(&rule.attrs)));
    lines.push("COMMIT".to_owned());
    lines.join("\n")
}
