//! Pairs of objects with other bytes and the same meaning, as an earlier comparison found them. Pure.
//!
//! Decoding both sides of such a pair at each look would tell the same again. A pair is remembered by what its texts
//! depended on: the bytes of both sides, and their surroundings (the table, what its sets are, and where an index of
//! an interface may be in the bytes, which interface has which). Which program made the texts is for who keeps the
//! pairs. What depends on still more is not remembered.

use super::fingerprint::digest;
use super::pairs::Pair;
use crate::model::{ChangeKind, Digest, Item, Ruleset, Table, TableKey};
use crate::normalise::xt_recent::uses_list;
use crate::normalise::{is_iptables_shaped, loads_interface};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One such pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Equivalence {
    /// Of what the texts depended on besides.
    pub surroundings: Digest,
    /// Of the approved object.
    pub before: Digest,
    /// Of the live object.
    pub after: Digest,
}

/// All that are remembered.
#[derive(Clone, Debug, Default)]
pub struct Alike {
    pairs: BTreeSet<Equivalence>,
}

impl Alike {
    /// These pairs.
    pub fn new(pairs: impl IntoIterator<Item = Equivalence>) -> Self {
        Self { pairs: pairs.into_iter().collect() }
    }

    /// The approved objects of a table that mean the same as a live one.
    pub(super) fn within(&self, OfTable { plain, indexed }: OfTable) -> HashMap<Digest, Vec<Digest>> {
        let mut found: HashMap<Digest, Vec<Digest>> = HashMap::new();
        for surroundings in [plain, indexed] {
            let [from, to] = [0, u8::MAX].map(|byte| {
                let end = Digest([byte; 16]);
                Equivalence { surroundings, before: end, after: end }
            });
            for pair in self.pairs.range(from..=to) {
                found.entry(pair.after).or_default().push(pair.before);
            }
        }
        found
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// The surroundings of the tables of two rulesets, each worked out once.
pub(super) struct Surroundings<'a> {
    baseline: &'a Ruleset,
    live: &'a Ruleset,
    interfaces: Digest,
    tables: BTreeMap<TableKey, Option<OfTable>>,
}

/// Of one table that is on both sides.
#[derive(Clone, Copy)]
pub(super) struct OfTable {
    /// Of what holds no index of an interface.
    pub(super) plain: Digest,
    /// Of what may hold one.
    pub(super) indexed: Digest,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(baseline: &'a Ruleset, live: &'a Ruleset) -> Self {
        let sides = [baseline, live].map(|side| {
            let pairs =
                side.interfaces.iter().map(|(index, name)| [&index.to_le_bytes(), &name[..]].concat());
            Digest::of(pairs.collect::<Vec<_>>().iter().map(Vec::as_slice))
        });
        let interfaces = Digest::of(sides.iter().map(|side| &side.0[..]));
        Self { baseline, live, interfaces, tables: BTreeMap::new() }
    }

    /// Of a table; none if one side does not have it.
    pub(super) fn of(&mut self, key: &TableKey) -> Option<OfTable> {
        if let Some(known) = self.tables.get(key) {
            return *known;
        }
        let sides = [self.baseline, self.live].map(|side| Some(surroundings_of(key, side.tables.get(key)?)));
        let found = match sides {
            [Some(old), Some(new)] => {
                let plain = Digest::of([&old.0[..], &new.0]);
                Some(OfTable { plain, indexed: Digest::of([&plain.0[..], &self.interfaces.0]) })
            }
            _ => None,
        };
        self.tables.insert(key.clone(), found);
        found
    }

    /// Whether a pair is known to mean the same.
    pub(super) fn knows(&mut self, alike: &Alike, pair: &Pair) -> bool {
        let mut knows = || {
            let (before, after) = self.digests(pair)?;
            let OfTable { plain, indexed } = self.of(pair.before.as_ref()?.table())?;
            let is_known = |surroundings| alike.pairs.contains(&Equivalence { surroundings, before, after });
            // Which of the two it is, is a matter of these very bytes.
            Some(is_known(plain) || is_known(indexed))
        };
        knows().unwrap_or(false)
    }

    /// A pair that was found to mean the same, if that is worth to be remembered: not of whole tables, chains and
    /// sets, and not of rules whose meaning depends on rules of other tables.
    pub(super) fn equivalence(&mut self, pair: &Pair) -> Option<Equivalence> {
        let (before, after) = self.digests(pair)?;
        let (old, new) = (pair.before.as_ref()?, pair.after.as_ref()?);
        let holds = [holds_index(self.baseline, old)?, holds_index(self.live, new)?];
        let OfTable { plain, indexed } = self.of(old.table())?;
        let surroundings = if holds == [false, false] { plain } else { indexed };
        Some(Equivalence { surroundings, before, after })
    }

    fn digests(&self, pair: &Pair) -> Option<(Digest, Digest)> {
        let (old, new) = (pair.before.as_ref()?, pair.after.as_ref()?);
        let is_change = pair.kind == ChangeKind::Modified;
        is_change.then_some((digest(self.baseline, old)?, digest(self.live, new)?))
    }
}

/// Whether an item's bytes may hold the index of an interface; none of items that are not remembered.
fn holds_index(ruleset: &Ruleset, item: &Item) -> Option<bool> {
    match item {
        Item::Table(_) | Item::Chain(..) | Item::Set(..) => None,
        Item::Rule(key, name, place) => {
            let rule = ruleset.tables.get(key)?.chains.get(name)?.rules.get(*place)?;
            // Of some rules only the digest is at hand.
            (!rule.attrs.is_empty() && !uses_list(rule)).then(|| loads_interface(rule))
        }
        Item::TableHead(_)
        | Item::ChainHead(..)
        | Item::SetHead(..)
        | Item::Element(..)
        | Item::Object(..)
        | Item::Flowtable(..) => Some(true),
    }
}

/// A table's name, whether iptables can print it, and the definitions of its sets and objects: a rule is printed by
/// the types of what it refers to.
pub(super) fn surroundings_of(key: &TableKey, table: &Table) -> Digest {
    let name = key.to_string();
    let backend = format!("{:?} {}", key.backend, is_iptables_shaped(key, table));
    let mut parts: Vec<&[u8]> = vec![backend.as_bytes(), name.as_bytes(), &table.attrs];
    for (name, set) in &table.sets {
        parts.extend([&name.0[..], &set.attrs]);
    }
    parts.push(b"objects");
    for ((_, name), object) in &table.objects {
        parts.extend([&name.0[..], &object.attrs]);
    }
    Digest::of(parts)
}
