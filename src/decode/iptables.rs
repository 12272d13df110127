//! Texts in iptables', arptables' and ebtables' syntax, for tables that have the shape that these tools make.
//!
//! `iptables-save` and its siblings print whole what nft prints only by name (xt extensions), but they also
//! print native rules wrongly (`ip saddr @set drop` as `-j DROP`). So their lines are used only where loading
//! them again gives the same bytes; for other rules nft's text stands.

use super::selection::{self, TableSelection};
use super::{ipset, scratch};
use crate::collect;
use crate::model::{Capture, Chain, Family, Item, Name, Ruleset, Table, TableKey, Text};
use crate::normalise::xt_recent::{self, Ipv6Lists};
use crate::normalise::{is_ebtables_policy, is_idle, is_iptables_shaped, normalise, parse_save};
use crate::tool::{Tool, ToolError};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

/// What iptables-save (or a sibling) printed for a table, and for which rules it is exact.
pub struct Saved {
    key: TableKey,
    text: String,
    chains: BTreeMap<Name, Vec<String>>,
    policies: BTreeMap<Name, String>,
    places: BTreeMap<Name, BTreeSet<usize>>,
    exact: BTreeSet<(Name, usize)>,
    /// Rules of which the line does not say one thing: see [`xt_recent`].
    masked: BTreeSet<(Name, usize)>,
    /// Chains whose line says all: iptables knows no comments, and only one type for each of its own.
    exact_heads: BTreeSet<Name>,
    all_exact: bool,
}

/// Saves a table of the calling thread's (scratch) namespace with iptables-nft; none if the table is
/// not iptables' or the tool cannot print it.
pub fn save(ruleset: &Ruleset, key: &TableKey, table: &Table, selection: &TableSelection) -> Option<Saved> {
    let sets = selection::sets_of_ipset(table, selection);
    if !is_iptables_shaped(key, table) {
        return None;
    }
    let text = match run_save(key) {
        Ok(text) if has_commit(key.family) => text,
        Ok(text) => without_chains_that_are_not_there(&text, table),
        Err(error) => {
            tracing::debug!("{} cannot print {key}: {error}", program(key.family, Verb::Save));
            return None;
        }
    };
    let parsed = parse_save(&text);
    let lists = LazyCell::new(|| Ipv6Lists::of(ruleset));
    let again = reload(key, &text, &sets);
    let mut saved = Saved {
        key: key.clone(),
        text: crate::model::text_from_kernel(&text),
        chains: BTreeMap::new(),
        policies: BTreeMap::new(),
        places: selection.chains.clone(),
        exact: BTreeSet::new(),
        masked: BTreeSet::new(),
        exact_heads: BTreeSet::new(),
        all_exact: again.as_ref().is_some_and(|again| {
            let mut made = again.chains.iter().filter(|(name, _)| !table.chains.contains_key(name));
            made.all(|(_, chain)| is_idle(chain) && !has_commit(key.family))
                && table.chains.keys().all(|name| again.chains.contains_key(name))
        }),
    };
    for (name, places) in &selection.chains {
        let text = |bytes: &[u8]| crate::model::text_from_kernel(bytes);
        let lines = parsed.chains.get(name)?;
        let policy = text(&lines.attrs);
        let mut rules: Vec<String> = lines.rules.iter().map(|rule| text(&rule.attrs)).collect();
        let policy_rule = policy_rule(key, table, name);
        if policy_rule.is_some_and(|place| places.contains(&place)) {
            rules.push(format!(":{name} {policy}"));
        }
        if rules.len() != places.len() {
            return None;
        }
        let copies = again.as_ref().and_then(|again| again.chains.get(name));
        let same_head =
            copies.is_some_and(|copy| table.chains.get(name).is_some_and(|chain| chain.attrs == copy.attrs));
        if same_head && policy_rule.is_none_or(|place| places.contains(&place)) {
            saved.exact_heads.insert(name.clone());
        } else {
            saved.all_exact = false;
        }
        for (number, place) in places.iter().enumerate() {
            let original = table.chains.get(name).and_then(|chain| chain.rules.get(*place))?;
            let copy = copies.and_then(|chain| chain.rules.get(number));
            let is_masked = key.family == Family::Ip && xt_recent::uses_list(original);
            let alike = |lists: &Ipv6Lists| {
                copy.is_some_and(|copy| is_masked && xt_recent::are_alike(copy, original, lists))
            };
            if copy.is_some_and(|copy| copy.digest == original.digest) || is_masked && alike(&lists) {
                saved.exact.insert((name.clone(), *place));
                continue;
            }
            saved.all_exact = false;
            if alike(&Ipv6Lists::default()) {
                saved.masked.insert((name.clone(), *place));
            }
        }
        saved.chains.insert(name.clone(), rules);
        saved.policies.insert(name.clone(), policy);
    }
    Some(saved)
}

/// These tools print all built-in chains of a table, also those that do not exist (iptables/nft.c
/// `nft_xt_fake_builtin_chains`). iptables-save's text is then not the table's; ebtables and arptables, which mostly
/// have only a chain or two of theirs, load it without those lines. What a restore makes besides is idle.
fn without_chains_that_are_not_there(text: &[u8], table: &Table) -> Vec<u8> {
    let is_there = |line: &&[u8]| {
        let name =
            line.strip_prefix(b":").map(|rest| rest.split(|byte| *byte == b' ').next().unwrap_or(rest));
        name.is_none_or(|name| table.chains.keys().any(|chain| chain.0.starts_with(name)))
    };
    text.split(|byte| *byte == b'\n').filter(is_there).collect::<Vec<_>>().join(&b'\n')
}

/// Where the rule stands that is the policy of one of the user's own ebtables chains. ebtables-save prints it on
/// the chain's line, not among the rules.
fn policy_rule(key: &TableKey, table: &Table, name: &Name) -> Option<usize> {
    let rules = table.chains.get(name).filter(|_| key.family == Family::Bridge).map(|chain| &chain.rules)?;
    rules.len().checked_sub(1).filter(|last| rules.get(*last).is_some_and(is_ebtables_policy))
}

impl Saved {
    /// The item's text, if iptables-save's is exact, or as exact as any.
    pub fn text(&self, item: &Item) -> Option<Text> {
        let exact = |text: String| Some(Text::new(text, true));
        match item {
            Item::Rule(_, name, place) => {
                let key = (name.clone(), *place);
                let is_exact = self.exact.contains(&key);
                let number = self.places.get(name)?.iter().position(|other| other == place)?;
                let line =
                    self.chains.get(name)?.get(number).filter(|_| is_exact || self.masked.contains(&key));
                line.map(|line| Text::new(line.clone(), is_exact))
            }
            Item::Chain(_, name) | Item::ChainHead(_, name) if !self.exact_heads.contains(name) => None,
            Item::Chain(_, name) => {
                let places = self.places.get(name)?;
                let whole = places.iter().all(|place| self.exact.contains(&(name.clone(), *place)));
                let mut lines = vec![format!(":{name} {}", self.policies.get(name)?)];
                lines.extend(self.chains.get(name)?.iter().filter(|line| !line.starts_with(':')).cloned());
                if whole { exact(lines.join("\n")) } else { None }
            }
            Item::ChainHead(_, name) => exact(format!(":{name} {}", self.policies.get(name)?)),
            Item::Table(_) if self.all_exact => exact(without_stamps(&self.text)),
            Item::Table(_) => {
                tracing::debug!("{} does not print {} whole", program(self.key.family, Verb::Save), self.key);
                None
            }
            Item::TableHead(_)
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
    let program = program(key.family, Verb::Save);
    let tool = Tool::find(program)?.scratch();
    // arptables has one table, and no option to name it.
    let tool = if key.family == Family::Arp { tool } else { tool.args(["-t", &key.name.to_string()]) };
    let output = tool.run()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let end = if has_commit(key.family) { "\nCOMMIT" } else { "\n# Completed on" };
    // It exits 0 and says in a comment that it gave up.
    if text.contains("incompatible, use 'nft' tool") || !text.contains(end) {
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

#[derive(Clone, Copy)]
enum Verb {
    Save,
    Restore,
}

fn program(family: Family, verb: Verb) -> &'static str {
    match (family, verb) {
        (Family::Ip6, Verb::Save) => "ip6tables-nft-save",
        (Family::Ip6, Verb::Restore) => "ip6tables-nft-restore",
        (Family::Arp, Verb::Save) => "arptables-nft-save",
        (Family::Arp, Verb::Restore) => "arptables-nft-restore",
        (Family::Bridge, Verb::Save) => "ebtables-nft-save",
        (Family::Bridge, Verb::Restore) => "ebtables-nft-restore",
        (_, Verb::Save) => "iptables-nft-save",
        (_, Verb::Restore) => "iptables-nft-restore",
    }
}

/// Whether the family's save format has counters on a chain's line and ends with COMMIT. arptables' and ebtables'
/// formats have neither.
fn has_commit(family: Family) -> bool {
    !matches!(family, Family::Arp | Family::Bridge)
}

/// What the text gives when it is loaded again, in another scratch namespace.
fn reload(key: &TableKey, text: &[u8], sets: &BTreeSet<Name>) -> Option<Table> {
    let attempt = || -> Result<Ruleset, Box<dyn std::error::Error + Send + Sync>> {
        let netns = scratch(&BTreeMap::new())?;
        let capture = netns.run(|| -> Result<Capture, Box<dyn std::error::Error + Send + Sync>> {
            let text = text.split(|b| *b == b'\n').map(|line| match line.first() {
                Some(b':') if has_commit(key.family) => [line, b" [0:0]"].concat(),
                _ => line.to_vec(),
            });
            let text = text.collect::<Vec<_>>().join(&b'\n');
            ipset::stand_ins(sets)?;
            Tool::find(program(key.family, Verb::Restore))?.scratch().input(text).run()?;
            Ok(collect::rules_and_sets()?.0)
        })??;
        Ok(normalise(&capture)?)
    };
    match attempt() {
        Ok(mut ruleset) => ruleset.tables.remove(key),
        Err(error) => {
            tracing::debug!("{} does not load {key} again: {error}", program(key.family, Verb::Restore));
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
    if has_commit(key.family) {
        lines.push("COMMIT".to_owned());
    }
    lines.join("\n")
}
