//! Which objects of two rulesets belong together and differ in bytes, and which have no counterpart. Pure.

use super::Texts;
use super::align::{Step, TWO, align, align_as, word_similarity};
use super::alike::Surroundings;
use super::fingerprint::{Known, KnownRules};
use super::within::Earlier;
use crate::model::{
    Backend, Chain, ChangeKind, Digest, Element, Item, Name, ObjectKind, Position, Rule, Ruleset, Set, Table,
    TableKey, Text,
};
use crate::netlink::nft::object;
use crate::normalise::scope::{Part, Parts, SetPart};
use crate::normalise::{ipset, is_idle, is_iptables_shaped};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Objects that belong together, or one that has no counterpart.
pub(super) struct Pair {
    pub(super) kind: ChangeKind,
    pub(super) object: ObjectKind,
    pub(super) chain: Option<Name>,
    pub(super) name: Option<Name>,
    pub(super) before: Option<Item>,
    pub(super) after: Option<Item>,
    pub(super) position: Option<Position>,
    /// Whether the two are known to mean the same.
    pub(super) is_alike: bool,
}

impl Pair {
    fn new(kind: ChangeKind, object: ObjectKind, item: impl Fn() -> Item) -> Self {
        let before = (kind != ChangeKind::Added).then(&item);
        let after = (kind != ChangeKind::Removed).then(&item);
        Self { kind, object, chain: None, name: None, before, after, position: None, is_alike: false }
    }

    fn named(self, name: &Name) -> Self {
        Self { name: Some(name.clone()), ..self }
    }
}

/// All pairs that differ in bytes, of what is to be compared. With texts, rules that are only re-encoded count as equal.
/// `told` is how differences of rules were told, where that matters.
pub(super) fn pairs(
    baseline: &Ruleset,
    live: &Ruleset,
    [before, after]: [&Texts; 2],
    told: &Known,
    known: &Known,
) -> Vec<Pair> {
    let mut found = Vec::new();
    let nothing = Table::default();
    let mut surroundings = Surroundings::new(baseline, live);
    let scope = known.earlier.as_ref().map(Earlier::scope).filter(|scope| !scope.everything);
    let alike = &known.alike;
    for (key, kind) in keys(&baseline.tables, &live.tables, scope.map(|scope| scope.tables.keys())) {
        let parts = scope.and_then(|scope| match scope.tables.get(key)? {
            Part::Whole => None,
            Part::Parts(parts) => Some(parts),
        });
        let implied = (!key.backend.has_tables()).then_some(&nothing);
        match (baseline.tables.get(key).or(implied), live.tables.get(key).or(implied)) {
            (Some(old), Some(new)) => {
                let of_table = if alike.is_empty() { None } else { surroundings.of(key) };
                let alike = of_table.map_or_else(HashMap::new, |of_table| alike.within(of_table));
                Tables { key, old, new, before, after, known: told, alike, parts }.compare(&mut found);
            }
            _ => found.push(Pair::new(kind, ObjectKind::Table, || Item::Table(key.clone())).named(&key.name)),
        }
    }
    if !alike.is_empty() {
        found.iter_mut().for_each(|pair| pair.is_alike = surroundings.knows(alike, pair));
    }
    found
}

/// The keys of both maps in order, each with how it differs if it is on one side only; just the wanted ones.
fn keys<'a, K: Ord, V>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
    wanted: Option<impl Iterator<Item = &'a K>>,
) -> Vec<(&'a K, ChangeKind)> {
    let all: BTreeSet<&K> = match wanted {
        Some(wanted) => wanted.filter(|key| old.contains_key(key) || new.contains_key(key)).collect(),
        None => old.keys().chain(new.keys()).collect(),
    };
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
    /// The approved objects that a live one is known to mean the same as.
    alike: HashMap<Digest, Vec<Digest>>,
    /// What of it is to be compared, if that is not all.
    parts: Option<&'a Parts>,
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
        for (name, kind) in
            keys(&self.old.flowtables, &self.new.flowtables, self.parts.map(|parts| parts.flowtables.iter()))
        {
            if self.old.flowtables.get(name) != self.new.flowtables.get(name) {
                let item = || Item::Flowtable(self.key.clone(), name.clone());
                found.push(Pair::new(kind, ObjectKind::Flowtable, item).named(name));
            }
        }
        self.chains(found);
    }

    fn objects(&self, found: &mut Vec<Pair>) {
        for (id @ (number, name), kind) in
            keys(&self.old.objects, &self.new.objects, self.parts.map(|parts| parts.objects.iter()))
        {
            if self.old.objects.get(id) != self.new.objects.get(id) {
                let item = || Item::Object(self.key.clone(), *number, name.clone());
                found.push(Pair::new(kind, object_kind(self.key.backend, *number), item).named(name));
            }
        }
    }

    fn sets(&self, found: &mut Vec<Pair>) {
        for (name, kind) in keys(&self.old.sets, &self.new.sets, self.parts.map(|parts| parts.sets.keys())) {
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
        let wanted = self.parts.and_then(|parts| match parts.sets.get(name)? {
            SetPart::Whole => None,
            SetPart::Elements(keys) => Some(keys.iter()),
        });
        for (key, kind) in keys(&old.elements, &new.elements, wanted) {
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
        for (name, kind) in
            keys(&self.old.chains, &self.new.chains, self.parts.map(|parts| parts.chains.iter()))
        {
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
                is_alike: false,
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
        let mut number = |digest: Digest, alike: &[Digest], text: Option<Text>| {
            let next = numbers.len() as u32;
            let same = alike.iter().find_map(|other| numbers.get(other).copied());
            let known = *numbers.entry(digest).or_insert(same.unwrap_or(next));
            match text.as_ref().and_then(Text::meaning) {
                Some(text) => *by_text.entry(text.to_owned()).or_insert(known),
                None => known,
            }
        };
        let start = old_part.start;
        let old_numbers: Vec<u32> =
            old_part.map(|place| number(old.rules[place].digest, &[], text(self.before, place))).collect();
        let new_numbers: Vec<u32> = new_part
            .map(|place| {
                let digest = new.rules[place].digest;
                let alike = self.alike.get(&digest).map_or(&[][..], Vec::as_slice);
                number(digest, alike, text(self.after, place))
            })
            .collect();
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

/// What a stateful object is, by `NFT_OBJECT_*`, or by its backend alone.
pub fn object_kind(backend: Backend, number: u32) -> ObjectKind {
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
