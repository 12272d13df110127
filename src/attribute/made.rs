//! Changes joined with the transactions that made them, by what each of these touched. Pure.
//!
//! A transaction is a change's own if it put there what is there now, or took away what is gone: a rule by its
//! kernel handle or its digest, anything else by its name. Where none is (a rule that another one stands for in
//! the comparison), all transactions near it must have one author. All else is unknown, with those as candidates.

use super::group::{is_same, merged};
use crate::compare::{Difference, Fingerprint};
use crate::model::{
    Author, Backend, Change, ChangeKind, Item, Name, ObjectKind, Ruleset, TableKey, Window, Witnessed,
};
use crate::normalise::handles::Handles;
use crate::normalise::touched::{Act, Renamed, Thing, Touch};
use chrono::{DateTime, Utc};
use std::sync::Arc;

/// A transaction, and what it touched.
#[derive(Clone, Debug)]
pub struct Deed {
    /// The transaction with its author.
    pub witnessed: Witnessed,
    /// What it touched; not all if messages were left out.
    pub touches: Vec<Touch>,
    /// The chains that got other names by it.
    pub renamed: Vec<Renamed>,
}

/// Who made a change, and in which transactions.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    /// `unknown` where the transactions near it do not agree.
    pub author: Author,
    /// When the last of them was committed; none for an unknown author.
    pub time: Option<DateTime<Utc>>,
    /// Their generations.
    pub generations: Vec<u32>,
}

/// What a transaction must have done to be a change's own.
#[derive(Clone, Debug)]
pub struct Aim {
    family: String,
    table: String,
    chain: Option<String>,
    name: Option<String>,
    object: ObjectKind,
    /// Whether something was put there (true) or taken away (false); none where either may be.
    put: Option<bool>,
    /// Of what was put there or taken away, in hexadecimal.
    digest: Option<String>,
    /// The handles that the rule has, or had.
    handles: Vec<u64>,
}

/// A ruleset with the handles of its rules.
#[derive(Clone, Copy, Debug)]
pub struct Handled<'r> {
    /// The rules.
    pub ruleset: &'r Ruleset,
    /// Their handles; none of a chain that was not read with them.
    pub handles: &'r Handles,
}

impl Handled<'_> {
    /// The handle of the rule at a place.
    fn at(&self, key: &TableKey, chain: &Name, place: usize) -> Option<u64> {
        self.handles.of_chain(key, chain).get(place).copied()
    }

    /// The handles of the rules with a digest, in a chain that a change names.
    fn with_digest(&self, change: &Change, digest: &str) -> Vec<u64> {
        let is_table = |key: &&TableKey| {
            key.backend == Backend::NfTables
                && key.family.as_str() == change.family
                && key.name.to_string() == change.table
        };
        let mut found = Vec::new();
        for key in self.ruleset.tables.keys().filter(is_table) {
            for (name, chain) in &self.ruleset.tables[key].chains {
                if Some(name.to_string()) != change.chain {
                    continue;
                }
                let places = chain.rules.iter().enumerate();
                let same = places.filter(|(_, rule)| rule.digest.to_string() == digest);
                found.extend(same.filter_map(|(place, _)| self.at(key, name, place)));
            }
        }
        found
    }
}

impl Aim {
    /// Of a difference that has appeared: the live state was `before` and is `now`.
    pub fn of_new(
        difference: &Difference,
        print: &Fingerprint,
        before: Handled<'_>,
        now: Handled<'_>,
    ) -> Self {
        let change = &difference.change;
        let there = difference.after.is_some();
        let handles = match &difference.after {
            Some(Item::Rule(key, chain, place)) => now.at(key, chain, *place).into_iter().collect(),
            None => print.before.as_ref().map_or_else(Vec::new, |digest| before.with_digest(change, digest)),
            Some(_) => Vec::new(),
        };
        let digest = if there { print.after.clone() } else { print.before.clone() };
        Self::new(change, Some(there).filter(|_| is_exact(change)), digest, handles)
    }

    /// Of a difference that has ended: the live state was `before` and is `now`.
    pub fn of_end(change: &Change, print: &Fingerprint, before: Handled<'_>, now: Handled<'_>) -> Self {
        let there = print.before.is_some();
        let (digest, side) = if there { (&print.before, now) } else { (&print.after, before) };
        let handles = digest.as_ref().map_or_else(Vec::new, |digest| side.with_digest(change, digest));
        Self::new(change, Some(there).filter(|_| is_exact(change)), digest.clone(), handles)
    }

    fn new(change: &Change, put: Option<bool>, digest: Option<String>, handles: Vec<u64>) -> Self {
        Self {
            family: change.family.clone(),
            table: change.table.clone(),
            chain: change.chain.clone(),
            name: change.name.clone(),
            object: change.object,
            put,
            digest,
            handles,
        }
    }

    fn is_table(&self, key: &TableKey) -> bool {
        key.family.as_str() == self.family && key.name.to_string() == self.table
    }

    /// Whether this is the very thing, put or taken away as it must have been.
    fn is_own(&self, touch: &Touch) -> bool {
        let done = match touch.act {
            Act::Added | Act::Stated => true,
            Act::Removed => false,
        };
        if !self.is_table(&touch.table) || self.put.is_some_and(|put| put != done) {
            return false;
        }
        let named = |name: &Name, wanted: &Option<String>| Some(name.to_string()) == *wanted;
        let has_digest = || match (touch.digest, &self.digest) {
            (Some(digest), Some(wanted)) => digest.to_string() == *wanted,
            _ => false,
        };
        match &touch.thing {
            Thing::Rule(chain, handle) => {
                let by_handle = self.handles.contains(handle) && touch.digest.is_none_or(|_| has_digest());
                self.object == ObjectKind::Rule
                    && named(chain, &self.chain)
                    && (by_handle || self.handles.is_empty() && has_digest())
            }
            Thing::Chain(name) => self.object == ObjectKind::Chain && named(name, &self.chain),
            Thing::Table => self.object == ObjectKind::Table,
            Thing::Element(name, _) => {
                self.object == ObjectKind::Element && named(name, &self.name) && has_digest()
            }
            Thing::Set(name) => {
                matches!(self.object, ObjectKind::Set | ObjectKind::Map) && named(name, &self.name)
            }
            Thing::Object(_, name) => self.is_object() && named(name, &self.name),
            Thing::Flowtable(name) => self.object == ObjectKind::Flowtable && named(name, &self.name),
        }
    }

    fn is_object(&self) -> bool {
        !matches!(
            self.object,
            ObjectKind::Table
                | ObjectKind::Chain
                | ObjectKind::Rule
                | ObjectKind::Set
                | ObjectKind::Map
                | ObjectKind::Element
                | ObjectKind::Flowtable
        )
    }

    /// Whether this is near: in the same chain or set.
    fn is_near(&self, touch: &Touch) -> bool {
        let name = match &touch.thing {
            Thing::Rule(name, _) | Thing::Chain(name) => {
                return self.is_table(&touch.table) && Some(name.to_string()) == self.chain;
            }
            Thing::Set(name) | Thing::Element(name, _) | Thing::Object(_, name) | Thing::Flowtable(name) => {
                name
            }
            Thing::Table => return false,
        };
        self.is_table(&touch.table) && self.chain.is_none() && Some(name.to_string()) == self.name
    }

    /// Whether a change of this stands for all that is in it.
    fn is_whole(&self) -> bool {
        self.object == ObjectKind::Table
            || self.put.is_some()
                && matches!(self.object, ObjectKind::Chain | ObjectKind::Set | ObjectKind::Map)
    }
}

/// Whether it must have been put, or taken away: what is modified is put anew, a table's and a chain's definition
/// too, but an element of a map may be taken away and put again.
fn is_exact(change: &Change) -> bool {
    matches!(change.kind, ChangeKind::Added | ChangeKind::Removed) || change.object == ObjectKind::Rule
}

/// Who made a change, if the transactions since the last look decide it. `complete` says that there are no others;
/// `may_expire`, that the change may have come about without any.
pub fn made(
    aim: &Aim,
    deeds: &[Arc<Deed>],
    window: Window,
    complete: bool,
    may_expire: bool,
) -> Option<Made> {
    let all_with = |wanted: &dyn Fn(&Touch) -> bool| -> Vec<&Deed> {
        deeds.iter().map(AsRef::as_ref).filter(|deed: &&Deed| deed.touches.iter().any(wanted)).collect()
    };
    let own = all_with(&|touch| aim.is_own(touch));
    let within =
        |touch: &Touch| aim.is_near(touch) || aim.object == ObjectKind::Table && aim.is_table(&touch.table);
    if let Some(last) = own.last() {
        let by_handle = aim.object == ObjectKind::Rule && aim.handles.len() == 1;
        let by_name = aim.object != ObjectKind::Rule && complete;
        if aim.is_whole() {
            return Some(agreed(&all_with(&within), window, complete));
        }
        if by_handle || by_name {
            return Some(agreed(&[last], window, true));
        }
        return Some(agreed(&own, window, complete));
    }
    if may_expire {
        return None;
    }
    let near = all_with(&within);
    let table = || all_with(&|touch| aim.is_table(&touch.table));
    let found = if near.is_empty() { table() } else { near };
    (!found.is_empty()).then(|| agreed(&found, window, complete))
}

/// One author, if these transactions have one.
fn agreed(deeds: &[&Deed], window: Window, complete: bool) -> Made {
    let generations = deeds.iter().map(|deed| deed.witnessed.transaction.generation).collect();
    let mut authors: Vec<Author> = Vec::new();
    for deed in deeds {
        let author = &deed.witnessed.author;
        match authors.iter_mut().find(|known| is_same(known, author)) {
            Some(known) => *known = merged(known, author),
            None => authors.push(author.clone()),
        }
    }
    match authors.as_slice() {
        [one] if complete && one.is_known() => {
            let time = deeds.iter().map(|deed| deed.witnessed.at()).max();
            Made { author: one.clone(), time, generations }
        }
        _ => {
            let known = authors.iter().filter(|author| author.is_known()).cloned();
            let others = authors.iter().flat_map(|author| author.candidates.clone());
            let candidates = known.chain(others).collect();
            Made { author: Author::unknown(Some(window), candidates), time: None, generations }
        }
    }
}
