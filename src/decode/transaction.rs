//! What one transaction changed, in words: from the bytes that its announcement carried.
//!
//! Edge: the objects are made anew in a scratch namespace, as for any other text. What was made and undone a moment
//! later can be told so, when no reading shows it any more.

use super::sides::{Sides, sides};
use super::{DecodeError, decode};
use crate::compare::{self, Comparison, Texts};
use crate::model::{Change, Item, Name, Ruleset, Transaction};
use crate::normalise::deeds::deeds;
use crate::normalise::references;
use crate::normalise::touched::Renamed;
use std::collections::{BTreeMap, BTreeSet};

/// How many things of one transaction are shown; a table that is put or removed is as many as it holds.
const SHOWN: usize = 200;
/// Comparisons are repeated with more texts at most this often, as for a look.
const ROUNDS: usize = 4;

/// What a transaction changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// With the ids that a comparison gives, without author, time and place in the chain.
    pub changes: Vec<Change>,
    /// What these do not show.
    pub note: Option<String>,
}

/// What a transaction changed, at most 200 things of it. `context` is the ruleset before it, as far as it is known: for
/// what the rules refer to, and for what was removed without being said again (an [`crate::model::Outline`]'s
/// ruleset will do for the most part; [`crate::normalise::advance::advance`] brings it up to date with a
/// transaction). `renamed` is [`crate::normalise::touched::Touched::renamed`], `ipset` the names of ipset's sets by
/// their indices. What a transaction makes and deletes again is no change.
///
/// # Errors
/// Of the scratch namespace and of nft. An object that no tool can show becomes a text that says so.
pub fn tell(
    transaction: &Transaction,
    renamed: &[Renamed],
    ipset: &BTreeMap<u16, Name>,
    context: &Ruleset,
) -> Result<Told, DecodeError> {
    let read = deeds(&transaction.messages, ipset);
    let found = sides(&read.deeds, renamed, context, SHOWN);
    let mut notes = Vec::new();
    match found.left_out + transaction.left_out {
        0 => {}
        1 => notes.push("one more thing was changed and is not shown".to_owned()),
        count => notes.push(format!("{count} more things were changed and are not shown")),
    }
    if found.unknown > 0 || !read.complete {
        notes.push("what some of the removed things were is not known".to_owned());
    }
    let mut changes: Vec<Change> =
        compared(&found)?.differences.into_iter().map(|found| found.change).collect();
    changes.iter_mut().for_each(|change| change.position = None);
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Ok(Told { changes, note })
}

fn compared(Sides { before, after, .. }: &Sides) -> Result<Comparison, DecodeError> {
    let unmatched = compare::unmatched(before, after);
    let (mut old, mut new) = match decoded_together(before, after, &unmatched)? {
        Some(texts) => texts,
        None => (decode(before, &unmatched.baseline)?, decode(after, &unmatched.live)?),
    };
    let mut comparison = compare::compare(before, after, &old, &new);
    for _ in 1..ROUNDS {
        let (more_old, more_new) = compare::without_text(&comparison, &old, &new);
        if more_old.is_empty() && more_new.is_empty() {
            break;
        }
        old.extend(decode(before, &more_old)?);
        new.extend(decode(after, &more_new)?);
        comparison = compare::compare(before, after, &old, &new);
    }
    Ok(comparison)
}

/// The texts of both sides from one scratch namespace, where the removed things are rules that can stand behind those
/// that were put there.
fn decoded_together(
    before: &Ruleset,
    after: &Ruleset,
    unmatched: &compare::Unmatched,
) -> Result<Option<(Texts, Texts)>, DecodeError> {
    if unmatched.baseline.is_empty() || unmatched.live.is_empty() {
        return Ok(None);
    }
    let mut both = after.clone();
    let mut places: BTreeMap<Item, Item> = BTreeMap::new();
    for item in &unmatched.baseline {
        let Item::Rule(key, name, place) = item else { return Ok(None) };
        let rule = before.tables.get(key).and_then(|table| table.chains.get(name)?.rules.get(*place));
        let table = both.tables.get_mut(key);
        let (Some(rule), Some(table)) = (rule, table) else { return Ok(None) };
        // Not what belongs to a rule: names may stand for two things.
        let there = |name: &Name| table.chains.contains_key(name) || table.sets.contains_key(name);
        let refers = references(&rule.attrs).iter().all(there);
        let Some(chain) = table.chains.get_mut(name).filter(|_| refers) else { return Ok(None) };
        places.insert(Item::Rule(key.clone(), name.clone(), chain.rules.len()), item.clone());
        chain.rules.push(rule.clone());
    }
    if compare::missing(&both).is_some() {
        return Ok(None);
    }
    let items: BTreeSet<Item> = unmatched.live.iter().chain(places.keys()).cloned().collect();
    let (mut old, mut new) = (Texts::new(), Texts::new());
    for (item, text) in decode(&both, &items)? {
        match places.get(&item) {
            Some(place) => drop(old.insert(place.clone(), text)),
            None => drop(new.insert(item, text)),
        }
    }
    Ok(Some((old, new)))
}
