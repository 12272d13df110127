//! What a difference is about, in bytes: the same whatever words a tool has for it. Pure.

use super::Difference;
use super::align::Told;
use super::alike::Alike;
use super::within::Earlier;
use crate::model::{
    Backend, Chain, Change, ChangeKind, Digest, Item, ObjectKind, Ruleset, Set, Source, TableKey,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Digests of both sides of a difference, in hexadecimal; `None` where the object is absent. Without places in
/// chains: equal rules have equal digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Of the approved object.
    pub before: Option<String>,
    /// Of the live object.
    pub after: Option<String>,
}

impl Fingerprint {
    /// Of a difference between two rulesets.
    pub fn of(difference: &Difference, baseline: &Ruleset, live: &Ruleset) -> Self {
        let side = |ruleset: &Ruleset, item: &Option<Item>| {
            item.as_ref().and_then(|item| digest(ruleset, item)).map(|digest| digest.to_string())
        };
        Self { before: side(baseline, &difference.before), after: side(live, &difference.after) }
    }
}

/// What an earlier comparison found. How differences of rules were told: often several alignments of two chains explain the same drift; then
/// the known one is kept, so that a change keeps its name and its author when another one comes or is approved.
#[derive(Clone, Debug, Default)]
pub struct Known {
    chains: BTreeMap<ChainName, KnownRules>,
    pub(super) alike: Alike,
    pub(super) earlier: Option<Earlier>,
}

/// Legacy or not, family, table, chain, as a [`Change`] names them.
type ChainName = (bool, String, String, String);

/// The known differences of one chain, as digests.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownRules {
    told: Vec<(ChangeKind, Fingerprint)>,
}

impl Known {
    /// Known changes with their fingerprints; those that are not about rules do not matter.
    pub fn new<'a>(changes: impl Iterator<Item = (&'a Change, &'a Fingerprint)>) -> Self {
        let mut chains: BTreeMap<ChainName, KnownRules> = BTreeMap::new();
        for (change, print) in changes.filter(|(change, _)| change.object == ObjectKind::Rule) {
            let legacy = change.source == Source::IptablesLegacy || change.legacy;
            let chain = change.chain.clone().unwrap_or_default();
            let name = (legacy, change.family.clone(), change.table.clone(), chain);
            chains.entry(name).or_default().told.push((change.kind, print.clone()));
        }
        Self { chains, alike: Alike::default(), earlier: None }
    }

    /// The same, and what is known to mean the same.
    pub fn with(self, alike: Alike) -> Self {
        Self { alike, ..self }
    }

    /// The same, of a comparison of which most stands.
    pub fn with_earlier(self, earlier: Option<Earlier>) -> Self {
        Self { earlier, ..self }
    }

    /// What stands of an earlier comparison.
    pub fn earlier(&self) -> Option<&Earlier> {
        self.earlier.as_ref()
    }

    /// Says that a rule came, or went, by itself: whatever came and went beside it is another difference. Digests are in
    /// hexadecimal.
    pub fn tell(&mut self, table: &TableKey, chain: &str, kind: ChangeKind, digest: &str) {
        let name = (false, table.family.to_string(), table.name.to_string(), chain.to_owned());
        let digest = Some(digest.to_owned());
        let print = match kind {
            ChangeKind::Removed => Fingerprint { before: digest, after: None },
            _ => Fingerprint { before: None, after: digest },
        };
        self.chains.entry(name).or_default().told.push((kind, print));
    }

    pub(super) fn of_chain(&self, key: &TableKey, chain: &str) -> KnownRules {
        let legacy = key.backend == Backend::Legacy;
        let name = (legacy, key.family.to_string(), key.name.to_string(), chain.to_owned());
        self.chains.get(&name).cloned().unwrap_or_default()
    }
}

impl KnownRules {
    /// Whether either of two rules is known to be part of another difference than this pair.
    pub(super) fn is_told(&self, before: Digest, after: Digest) -> bool {
        if self.told.is_empty() {
            return false;
        }
        let (before, after) = (Some(before.to_string()), Some(after.to_string()));
        let about = self.told.iter().filter(|(kind, _)| *kind != ChangeKind::Moved);
        let mut about = about.filter(|(_, known)| known.before == before || known.after == after).peekable();
        about.peek().is_some() && !about.any(|(_, known)| known.before == before && known.after == after)
    }

    /// What is known, in the numbers that an alignment has for the digests of the old and the new rules.
    pub(super) fn numbered(&self, [old, new]: [BTreeMap<String, u32>; 2]) -> Told {
        let mut numbered = Told::default();
        for (kind, known) in &self.told {
            let before = known.before.as_ref().and_then(|digest| old.get(digest));
            let after = known.after.as_ref().and_then(|digest| new.get(digest));
            match (kind, before, after) {
                (ChangeKind::Moved, Some(number), Some(_)) => drop(numbered.moved.insert(*number)),
                (ChangeKind::Modified, Some(before), Some(after)) => numbered.changed.push((*before, *after)),
                _ => {}
            }
        }
        numbered
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

/// Of what an item is, in bytes.
pub(super) fn digest(ruleset: &Ruleset, item: &Item) -> Option<Digest> {
    let table = ruleset.tables.get(item.table())?;
    Some(match item {
        Item::Table(_) => table.digest(),
        Item::TableHead(_) => Digest::of([&table.attrs[..]]),
        Item::Chain(_, name) => whole_chain(table.chains.get(name)?),
        Item::ChainHead(_, name) => Digest::of([&table.chains.get(name)?.attrs[..]]),
        Item::Rule(_, name, place) => table.chains.get(name)?.rules.get(*place)?.digest,
        Item::Set(_, name) => whole_set(table.sets.get(name)?),
        Item::SetHead(_, name) => Digest::of([&table.sets.get(name)?.attrs[..]]),
        Item::Element(_, name, key) => table.sets.get(name)?.elements.get(key)?.digest(key),
        Item::Object(_, number, name) => {
            Digest::of([&table.objects.get(&(*number, name.clone()))?.attrs[..]])
        }
        Item::Flowtable(_, name) => Digest::of([&table.flowtables.get(name)?.attrs[..]]),
    })
}

fn whole_chain(chain: &Chain) -> Digest {
    let rules = chain.rules.iter().map(|rule| &rule.digest.0[..]);
    Digest::of([&chain.attrs[..]].into_iter().chain(rules))
}

fn whole_set(set: &Set) -> Digest {
    let elements: Vec<Digest> = set.lasting_elements().map(|(key, element)| element.digest(key)).collect();
    Digest::of([&set.attrs[..]].into_iter().chain(elements.iter().map(|element| &element.0[..])))
}
