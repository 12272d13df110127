//! What a transaction touched: where a new look is needed, and each thing with its digest. Pure.
//!
//! The digests are those of a full reading, so that a difference found there can be given to the transaction that
//! made it.

use super::deeds::{self, Act as Wire, Deed, DoneChain, DoneRule, On};
use super::elements;
use super::scope::{Part, Parts, Scope, SetPart};
use crate::model::{Digest, ElementKey, Name, RawMessage, Set, TableKey, Transaction};
use crate::netlink::nft::{elem, set};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a transaction touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// At least all that can look different now.
    pub scope: Scope,
    /// Each thing as often as it was touched: rules and definitions in the transaction's order, then elements.
    pub objects: Vec<Touch>,
    /// Chains that have another name now, which are among the objects by both.
    pub renamed: Vec<Renamed>,
}

/// A chain that was renamed. The rules and the elements that lead to it look different since, and are not announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Where.
    pub table: TableKey,
    /// The name before.
    pub old: Name,
    /// The name now.
    pub new: Name,
}

/// One thing that was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    /// Where.
    pub table: TableKey,
    /// What was done.
    pub act: Act,
    /// To what.
    pub thing: Thing,
    /// The digest that a full reading gives it ([`crate::model::Rule::digest`],
    /// [`crate::model::Element::digest`]; of a definition, the digest of its `attrs`): of what was put there, or of
    /// what was removed. None where the announcement does not tell: of removed definitions, of chains with devices, of
    /// flowtables, of a removed rule whose own set is not known, of one end of an interval.
    pub digest: Option<Digest>,
}

/// What was done to a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A rule or an element that was not there. (An element with a timeout may have been there with another one, since
    /// Linux 6.12.)
    Added,
    /// A definition that was made or altered: the kernel announces both alike.
    Stated,
    /// It is gone. A rule that was replaced was removed, and another one with the same handle was added.
    Removed,
}

/// What a touch is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// The table itself: made, deleted, its flags altered.
    Table,
    /// A chain's definition.
    Chain(Name),
    /// A rule of a chain, by the kernel's handle.
    Rule(Name, u64),
    /// A set's or map's definition.
    Set(Name),
    /// An element of a set or map.
    Element(Name, ElementKey),
    /// A stateful object by type (`NFT_OBJECT_*`) and name.
    Object(u32, Name),
    /// A flowtable.
    Flowtable(Name),
}

/// Rules with sets of their own that are remembered at most.
const REMEMBERED: usize = 1 << 14;

/// What transactions touch one after the other. What one announcement leaves out is remembered from earlier ones: of
/// a rule that is removed, what its own sets held; of a chain that is renamed, its old name.
#[derive(Clone, Debug, Default)]
pub struct Touches {
    /// By table, handle and the digest of the bytes alone.
    rules: BTreeMap<(TableKey, u64, Digest), Digest>,
    order: VecDeque<(TableKey, u64, Digest)>,
    /// By handle.
    chains: BTreeMap<TableKey, BTreeMap<u64, Name>>,
    /// Whether these were all chains.
    knows: bool,
}

impl Touches {
    /// Takes over what is there now, from the messages of a dump; to be called with each full reading, as after a loss.
    /// Its chains are needed: without them, a chain that is renamed cannot be told from one that is made or stated again,
    /// and the whole table is in the scope. Its sets, elements and rules (all of them, or none) tell what belongs to
    /// rules that will be removed.
    pub fn know(&mut self, dump: &[RawMessage], ipset: &BTreeMap<u16, Name>) {
        *self = Self { knows: true, ..Self::default() };
        for Deed { table, act, on } in deeds::of_dump(dump, ipset) {
            match on {
                On::Chain(chain) => {
                    self.chains.entry(table).or_default().insert(chain.handle, chain.name);
                }
                On::Rule(rule) => drop(self.rule(&table, act, &rule)),
                On::Table(_) | On::Set(..) | On::Element(..) | On::Object(..) | On::Flowtable(..) => {}
            }
        }
    }

    /// What the next transaction touched, in a namespace where the sets of ipset have these names (by index). They must
    /// come in the kernel's order.
    pub fn touched(&mut self, transaction: &Transaction, ipset: &BTreeMap<u16, Name>) -> Touched {
        let read = deeds::deeds(&transaction.messages, ipset);
        let mut touched = Touched::default();
        touched.scope.everything = !read.complete || transaction.left_out > 0;
        let mut members: BTreeMap<(TableKey, Name, Wire), Set> = BTreeMap::new();
        for deed in read.deeds {
            add_to_scope(&mut touched.scope, &deed);
            let Deed { table, act, on } = deed;
            if let On::Element(name, key, element) = on {
                let set = members
                    .entry((table, name, act))
                    .or_insert_with(|| Set { flags: set::F_INTERVAL, ..Set::default() });
                set.elements.insert(key, element);
                continue;
            }
            let is_chain = matches!(&on, On::Chain(_)) && act == Wire::Put;
            if is_chain && !self.knows {
                touched.scope.tables.insert(table.clone(), Part::Whole);
            }
            if let On::Chain(chain) = &on
                && let Some(old) = self.chain(&table, act, chain)
            {
                touched.scope.tables.insert(table.clone(), Part::Whole);
                let thing = Thing::Chain(old.clone());
                touched.objects.push(Touch { table: table.clone(), act: Act::Removed, thing, digest: None });
                touched.renamed.push(Renamed { table: table.clone(), old, new: chain.name.clone() });
            }
            let (thing, digest) = self.thing(&table, act, on);
            let act = match (act, &thing) {
                (Wire::Put, Thing::Rule(..)) => Act::Added,
                (Wire::Put, _) => Act::Stated,
                (Wire::Removed, _) => Act::Removed,
            };
            touched.objects.push(Touch { table, act, thing, digest });
        }
        for ((table, name, act), mut set) in members {
            elements::pair(&mut set);
            for (key, element) in set.elements {
                // An end whose start is not among them is part of an interval that is not known.
                let is_whole = key.flags & elem::F_INTERVAL_END == 0;
                let digest = is_whole.then(|| element.digest(&key));
                let act = if act == Wire::Put { Act::Added } else { Act::Removed };
                let thing = Thing::Element(name.clone(), key);
                touched.objects.push(Touch { table: table.clone(), act, thing, digest });
            }
        }
        touched
    }

    fn thing(&mut self, table: &TableKey, act: Wire, on: On) -> (Thing, Option<Digest>) {
        let of = |attrs: Option<&Vec<u8>>| attrs.filter(|_| act == Wire::Put).map(|a| Digest::of([&a[..]]));
        match on {
            On::Table(attrs) => {
                if act == Wire::Removed {
                    // Handles begin anew in a table that is made again.
                    self.rules.retain(|(of, ..), _| of != table);
                    self.order.retain(|(of, ..)| of != table);
                    self.chains.remove(table);
                }
                (Thing::Table, of(attrs.as_ref()))
            }
            On::Chain(chain) => {
                let whole = chain.attrs.as_ref().filter(|attrs| !deeds::names_devices(attrs));
                let digest = of(whole);
                (Thing::Chain(chain.name), digest)
            }
            On::Rule(rule) => {
                let digest = self.rule(table, act, &rule);
                (Thing::Rule(rule.chain, rule.handle), digest)
            }
            On::Set(name, set) => (Thing::Set(name), of(set.as_ref().map(|set| &set.attrs))),
            On::Element(name, key, element) => {
                let digest = element.digest(&key);
                (Thing::Element(name, key), Some(digest))
            }
            On::Object(kind, name, attrs) => (Thing::Object(kind, name), of(attrs.as_ref())),
            On::Flowtable(name, _) => (Thing::Flowtable(name), None),
        }
    }

    /// Follows the chains' names. The old one of a chain that was renamed.
    fn chain(&mut self, table: &TableKey, act: Wire, chain: &DoneChain) -> Option<Name> {
        let known = self.chains.entry(table.clone()).or_default();
        if act == Wire::Removed && chain.attrs.is_none() {
            known.remove(&chain.handle);
            return None;
        }
        known.insert(chain.handle, chain.name.clone()).filter(|old| *old != chain.name)
    }

    fn rule(&mut self, table: &TableKey, act: Wire, done: &DoneRule) -> Option<Digest> {
        let rule = done.rule.as_ref()?;
        let key = || (table.clone(), done.handle, Digest::of([&rule.attrs[..]]));
        let owns = !done.own.sets.is_empty() || !done.own.chains.is_empty();
        match act {
            Wire::Put if owns && done.whole => {
                self.rules.insert(key(), rule.digest);
                self.order.push_back(key());
                if self.order.len() > REMEMBERED
                    && let Some(oldest) = self.order.pop_front()
                {
                    self.rules.remove(&oldest);
                }
            }
            Wire::Removed if !done.whole => return self.rules.get(&key()).copied(),
            Wire::Put | Wire::Removed => {}
        }
        done.whole.then_some(rule.digest)
    }
}

fn add_to_scope(scope: &mut Scope, deed: &Deed) {
    let part = scope.tables.entry(deed.table.clone()).or_insert_with(|| Part::Parts(Parts::default()));
    let Part::Parts(parts) = part else { return };
    match &deed.on {
        On::Table(_) => *part = Part::Whole,
        On::Chain(chain) => drop(parts.chains.insert(chain.name.clone())),
        On::Rule(rule) => drop(parts.chains.insert(rule.chain.clone())),
        On::Set(name, _) => drop(parts.sets.insert(name.clone(), SetPart::Whole)),
        // It may belong to a rule that this transaction does not speak of.
        On::Element(name, ..) if deeds::may_be_owned(name) => *part = Part::Whole,
        On::Element(name, key, _) => {
            let elements =
                parts.sets.entry(name.clone()).or_insert_with(|| SetPart::Elements(BTreeSet::new()));
            if let SetPart::Elements(keys) = elements {
                keys.insert(key.clone());
            }
        }
        On::Object(kind, name, _) => drop(parts.objects.insert((*kind, name.clone()))),
        On::Flowtable(name, _) => drop(parts.flowtables.insert(name.clone())),
    }
}
