//! Compares two rulesets by their bytes, and names the differences. Pure.
//!
//! Two steps, because bytes may differ and mean the same: [`unmatched`] says which objects have other
//! bytes on the two sides; their texts are decoded (by `decode`, an edge); [`compare`] then takes equal
//! exact texts as *re-encoded*, which is not drift, and names what is left.

mod align;
mod apply;
mod describe;
mod fingerprint;
#[cfg(test)]
mod properties;
mod settings;

pub use apply::{apply, missing};
pub use fingerprint::{Fingerprint, Known};
pub use settings::settle;

use crate::model::{
    Backend, Chain, Change, ChangeKind, Digest, Element, Item, Name, ObjectKind, Position, Rule, Ruleset,
    Set, Table, TableKey, Text,
};
use crate::netlink::nft::object;
use crate::normalise::{ipset, is_idle, is_iptables_shaped};
use align::{Step, TWO, align, align_as, word_similarity};
use describe::{describe, id_of_bytes};
use fingerprint::KnownRules;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Texts by object, of one side.
pub type Texts = BTreeMap<Item, Text>;

/// The objects of each side whose bytes have no equal on the other.
#[derive(Debug, Default)]
pub struct Unmatched {
    /// Of the approved side.
    pub baseline: BTreeSet<Item>,
    /// Of the live side.
    pub live: BTreeSet<Item>,
}

/// One difference: a change for people, and the objects it is about.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The approved object.
    pub before: Option<Item>,
    /// The live object.
    pub after: Option<Item>,
    /// The change, with an unknown author.
    pub change: Change,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// In the order of tables and chains.
    pub differences: Vec<Difference>,
    /// How many objects have other bytes but the same exact text.
    pub re_encoded: usize,
}

/// The objects whose texts [`compare`] needs.
pub fn unmatched(baseline: &Ruleset, live: &Ruleset) -> Unmatched {
    let mut found = Unmatched::default();
    for pair in pairs(baseline, live, &Texts::new(), &Texts::new(), &Known::default()) {
        found.baseline.extend(pair.before);
        found.live.extend(pair.after);
    }
    found
}

/// Names the differences. `before` and `after` hold the texts of what [`unmatched`] asked for.
pub fn compare(baseline: &Ruleset, live: &Ruleset, before: &Texts, after: &Texts) -> Comparison {
    compare_as(baseline, live, before, after, &Known::default())
}

/// As [`compare`], with differences of rules told as they are `known`, where that explains them as well.
pub fn compare_as(
    baseline: &Ruleset,
    live: &Ruleset,
    before: &Texts,
    after: &Texts,
    known: &Known,
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut seen: HashMap<String, u32> = HashMap::new();
    for pair in pairs(baseline, live, before, after, known) {
        let old = pair.before.as_ref().and_then(|item| before.get(item));
        let new = pair.after.as_ref().and_then(|item| after.get(item));
        if same_text(old, new) && pair.kind == ChangeKind::Modified {
            comparison.re_encoded += 1;
            continue;
        }
        let change = describe(baseline, live, &pair, old, new, &mut seen);
        let mut difference = Difference { before: pair.before, after: pair.after, change };
        let alike = matches!((old, new), (Some(old), Some(new)) if old.text == new.text);
        if alike && pair.kind == ChangeKind::Modified
            || [old, new].into_iter().flatten().any(|text| !text.exact)
        {
            // Words that do not say all cannot name a change: another one may have the same.
            let print = Fingerprint::of(&difference, baseline, live);
            difference.change.id = id_of_bytes(&difference.change.id, &print);
        }
        comparison.differences.push(difference);
    }
    comparison
}

/// The objects of a comparison whose texts were not given to it, of each side.
pub fn without_text(
    comparison: &Comparison,
    before: &Texts,
    after: &Texts,
) -> (BTreeSet<Item>, BTreeSet<Item>) {
    let missing = |item: Option<&Item>, texts: &Texts| item.filter(|item| !texts.contains_key(item)).cloned();
    let differences = &comparison.differences;
    (
        differences.iter().filter_map(|d| missing(d.before.as_ref(), before)).collect(),
        differences.iter().filter_map(|d| missing(d.after.as_ref(), after)).collect(),
    )
}

fn same_text(old: Option<&Text>, new: Option<&Text>) -> bool {
    matches!((old.and_then(Text::meaning), new.and_then(Text::meaning)), (Some(old), Some(new)) if old == new)
}

/// Objects that belong together, or one that has no counterpart.
struct Pair {
    kind: ChangeKind,
    object: ObjectKind,
    chain: Option<Name>,
    name: Option<Name>,
    before: Option<Item>,
    after: Option<Item>,
    position: Option<Position>,
}

impl Pair {
    fn new(kind: ChangeKind, object: ObjectKind, item: impl Fn() -> Item) -> Self {
        let before = (kind != ChangeKind::Added).then(&item);
        let after = (kind != ChangeKind::Removed).then(&item);
        Self { kind, object, chain: None, name: None, before, after, position: None }
    }

    fn named(self, name: &Name) -> Self {
        Self { name: Some(name.clone()), ..self }
    }
}

/// All pairs that differ in bytes. With texts, rules that are only re-encoded count as equal.
fn pairs(baseline: &Ruleset, live: &Ruleset, before: &Texts, after: &Texts, known: &Known) -> Vec<Pair> {
    let mut found = Vec::new();
    let nothing = Table::default();
    for (key, kind) in keys(&baseline.tables, &live.tables) {
        let implied = (!key.backend.has_tables()).then_some(&nothing);
        match (baseline.tables.get(key).or(implied), live.tables.get(key).or(implied)) {
            (Some(old), Some(new)) => Tables { key, old, new, before, after, known }.compare(&mut found),
            _ => found.push(Pair::new(kind, ObjectKind::Table, || Item::Table(key.clone())).named(&key.name)),
        }
    }
    found
}

/// The keys of both maps in order, each with how it differs if it is on one side only.
fn keys<'a, K: Ord, V>(old: &'a BTreeMap<K, V>, new: &'a BTreeMap<K, V>) -> Vec<(&'a K, ChangeKind)> {
    let all: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    let kind = |key: &K| match (old.contains_key(key), new.contains_key(key)) {
        (true, false) => ChangeKind::Removed,
        (false, true) => ChangeKind::Added,
        _ => ChangeKind::Modified,
    };
    all.into_iter().map(|key| (key, kind(key))).collect()
}

/// A table that is on both sides.
struct Tables<'a> {
    key: &'a TableKey,
    old: &'a Table,
    new: &'a Table,
    before: &'a Texts,
    after: &'a Texts,
    known: &'a Known,
}

impl Tables<'_> {
    fn compare(&self, found: &mut Vec<Pair>) {
        if self.old.attrs != self.new.attrs {
            let head =
                Pair::new(ChangeKind::Modified, ObjectKind::Table, || Item::TableHead(self.key.clone()));
            found.push(head.named(&self.key.name));
        }
        self.sets(found);
        self.objects(found);
        for (name, kind) in keys(&self.old.flowtables, &self.new.flowtables) {
            if self.old.flowtables.get(name) != self.new.flowtables.get(name) {
                let item = || Item::Flowtable(self.key.clone(), name.clone());
                found.push(Pair::new(kind, ObjectKind::Flowtable, item).named(name));
            }
        }
        self.chains(found);
    }

    fn objects(&self, found: &mut Vec<Pair>) {
        for (id @ (number, name), kind) in keys(&self.old.objects, &self.new.objects) {
            if self.old.objects.get(id) != self.new.objects.get(id) {
                let item = || Item::Object(self.key.clone(), *number, name.clone());
                found.push(Pair::new(kind, object_kind(self.key.backend, *number), item).named(name));
            }
        }
    }

    fn sets(&self, found: &mut Vec<Pair>) {
        for (name, kind) in keys(&self.old.sets, &self.new.sets) {
            let (old, new) = (self.old.sets.get(name), self.new.sets.get(name));
            let (Some(old), Some(new)) = (old, new) else {
                let object = set_kind(old.or(new));
                let whole = Pair::new(kind, object, || Item::Set(self.key.clone(), name.clone()));
                found.push(whole.named(name));
                continue;
            };
            if old.has_other_order(new) {
                // Only the whole shows it.
                let whole =
                    Pair::new(kind, set_kind(Some(new)), || Item::Set(self.key.clone(), name.clone()));
                found.push(whole.named(name));
                continue;
            }
            if old.attrs != new.attrs {
                let item = || Item::SetHead(self.key.clone(), name.clone());
                found.push(Pair::new(ChangeKind::Modified, set_kind(Some(new)), item).named(name));
            }
            if !old.is_dynamic() && !new.is_dynamic() {
                self.elements(name, old, new, found);
            }
        }
    }

    fn elements(&self, name: &Name, old: &Set, new: &Set, found: &mut Vec<Pair>) {
        for (key, kind) in keys(&old.elements, &new.elements) {
            let (old, new) = (old.elements.get(key), new.elements.get(key));
            let expired = new.is_none() && old.is_some_and(|element| element.expires);
            let same = match (old, new) {
                (Some(old), Some(new)) => old.attrs == new.attrs || self.is_completed(old, new),
                _ => false,
            };
            if !expired && !same {
                let item = || Item::Element(self.key.clone(), name.clone(), key.clone());
                found.push(Pair::new(kind, ObjectKind::Element, item).named(name));
            }
        }
    }

    fn is_completed(&self, old: &Element, new: &Element) -> bool {
        self.key.backend == Backend::Ipset && ipset::is_completed(old, new)
    }

    fn chains(&self, found: &mut Vec<Pair>) {
        for (name, kind) in keys(&self.old.chains, &self.new.chains) {
            let (old, new) = (self.old.chains.get(name), self.new.chains.get(name));
            let (Some(old), Some(new)) = (old, new) else {
                if old.or(new).is_some_and(is_idle) && self.is_iptables_shaped() {
                    continue;
                }
                let item = || Item::Chain(self.key.clone(), name.clone());
                let pair = Pair::new(kind, ObjectKind::Chain, item).named(name);
                found.push(Pair { chain: Some(name.clone()), ..pair });
                continue;
            };
            if old.attrs != new.attrs {
                let item = || Item::ChainHead(self.key.clone(), name.clone());
                let pair = Pair::new(ChangeKind::Modified, ObjectKind::Chain, item).named(name);
                found.push(Pair { chain: Some(name.clone()), ..pair });
            }
            self.rules(name, old, new, found);
        }
    }

    fn is_iptables_shaped(&self) -> bool {
        is_iptables_shaped(self.key, self.old) && is_iptables_shaped(self.key, self.new)
    }

    fn rules(&self, chain: &Name, old: &Chain, new: &Chain, found: &mut Vec<Pair>) {
        let same = |(old, new): (&Rule, &Rule)| old.digest == new.digest;
        let known = self.known.of_chain(self.key, &chain.to_string());
        let (mut start, mut end) = (0, 0);
        if known.is_empty() {
            // Most of a chain is as it was, and need not be aligned.
            start = old.rules.iter().zip(&new.rules).take_while(|pair| same(*pair)).count();
            let rest = old.rules[start..].iter().rev().zip(new.rules[start..].iter().rev());
            end = rest.take_while(|pair| same(*pair)).count();
        }
        let middle = |chain: &Chain| start..chain.rules.len() - end;
        for step in self.steps(chain, (old, middle(old)), (new, middle(new)), &known) {
            let (kind, from, to) = match step.behind(start) {
                Step::Keep(from, to) if old.rules[from].digest == new.rules[to].digest => continue,
                // Kept by its text: shown as modified here, and counted as re-encoded by the caller.
                Step::Keep(from, to) | Step::Modify(from, to) => (ChangeKind::Modified, Some(from), Some(to)),
                Step::Move(from, to) => (ChangeKind::Moved, Some(from), Some(to)),
                Step::Remove(from) => (ChangeKind::Removed, Some(from), None),
                Step::Add(to) => (ChangeKind::Added, None, Some(to)),
            };
            let item = |place: usize| Item::Rule(self.key.clone(), chain.clone(), place);
            found.push(Pair {
                kind,
                object: ObjectKind::Rule,
                chain: Some(chain.clone()),
                name: None,
                before: from.map(item),
                after: to.map(item),
                position: Some(Position { before: from.map(|p| p + 1), after: to.map(|p| p + 1) }),
            });
        }
    }

    /// The alignment of parts of a chain, in which rules with equal exact texts count as equal. Its places count from
    /// the start of the parts.
    fn steps(
        &self,
        chain: &Name,
        (old, old_part): (&Chain, Range<usize>),
        (new, new_part): (&Chain, Range<usize>),
        known: &KnownRules,
    ) -> Vec<Step> {
        let text = |texts: &'_ Texts, place: usize| {
            texts.get(&Item::Rule(self.key.clone(), chain.clone(), place)).cloned()
        };
        let mut numbers: HashMap<Digest, u32> = HashMap::new();
        let mut by_text: HashMap<String, u32> = HashMap::new();
        let mut number = |digest: Digest, text: Option<Text>| {
            let next = numbers.len() as u32;
            let known = *numbers.entry(digest).or_insert(next);
            match text.as_ref().and_then(Text::meaning) {
                Some(text) => *by_text.entry(text.to_owned()).or_insert(known),
                None => known,
            }
        };
        let start = old_part.start;
        let old_numbers: Vec<u32> =
            old_part.map(|place| number(old.rules[place].digest, text(self.before, place))).collect();
        let new_numbers: Vec<u32> =
            new_part.map(|place| number(new.rules[place].digest, text(self.after, place))).collect();
        let similarity = |from: usize, to: usize| {
            let (from, to) = (from + start, to + start);
            if known.is_told(old.rules[from].digest, new.rules[to].digest) {
                return TWO;
            }
            match (text(self.before, from), text(self.after, to)) {
                (Some(old), Some(new)) => word_similarity(&old.text, &new.text),
                _ => 0.0,
            }
        };
        let steps = align(&old_numbers, &new_numbers, similarity);
        if known.is_empty() {
            return steps;
        }
        let sides = [(&old.rules, &old_numbers), (&new.rules, &new_numbers)];
        let told = known.numbered(sides.map(|(rules, numbers)| {
            let digests = rules.iter().map(|rule| rule.digest.to_string());
            digests.zip(numbers.iter().copied()).collect()
        }));
        let told = align_as(&old_numbers, &new_numbers, &told, similarity);
        let changed = |steps: &[Step]| steps.iter().filter(|step| !matches!(step, Step::Keep(..))).count();
        if changed(&told) <= changed(&steps) { told } else { steps }
    }
}

fn set_kind(set: Option<&Set>) -> ObjectKind {
    if set.is_some_and(Set::is_map) { ObjectKind::Map } else { ObjectKind::Set }
}

fn object_kind(backend: Backend, number: u32) -> ObjectKind {
    match backend {
        Backend::Sysctl => return ObjectKind::Sysctl,
        Backend::Bpf => return ObjectKind::BpfProgram,
        Backend::NfTables | Backend::Legacy | Backend::Ipset => {}
    }
    match number {
        object::T_COUNTER => ObjectKind::Counter,
        object::T_QUOTA => ObjectKind::Quota,
        object::T_CT_HELPER => ObjectKind::CtHelper,
        object::T_LIMIT => ObjectKind::Limit,
        object::T_CONNLIMIT => ObjectKind::CtLimit,
        object::T_TUNNEL => ObjectKind::Tunnel,
        object::T_CT_TIMEOUT => ObjectKind::CtTimeout,
        object::T_SECMARK => ObjectKind::Secmark,
        object::T_CT_EXPECT => ObjectKind::CtExpectation,
        object::T_SYNPROXY => ObjectKind::Synproxy,
        _ => ObjectKind::Object,
    }
}
