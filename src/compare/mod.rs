//! Compares two rulesets by their bytes, and names the differences. Pure.
//!
//! Two steps, because bytes may differ and mean the same: [`unmatched`] says which objects have other
//! bytes on the two sides; their texts are decoded (by `decode`, an edge); [`compare`] then takes equal
//! exact texts as *re-encoded*, which is not drift, and names what is left.

mod align;
mod alike;
mod apply;
mod describe;
mod fingerprint;
mod pairs;
#[cfg(test)]
mod properties;
mod settings;
mod within;

pub use alike::{Alike, Equivalence};
pub use apply::{apply, missing};
pub use fingerprint::{Fingerprint, Known};
pub use pairs::object_kind;
pub use settings::settle;
pub use within::{Commons, Earlier, has_lists};

use crate::model::{Change, ChangeKind, Item, Ruleset, Text};
use alike::Surroundings;
use describe::{describe, id_of_bytes};
use pairs::pairs;
use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    /// The same by what is compared by itself: a chain, a set's definition, an element.
    pub re_encoded_in: BTreeMap<Item, usize>,
    /// Those of them that are worth to be remembered.
    pub alike: Vec<Equivalence>,
}

/// The objects whose texts [`compare`] needs.
pub fn unmatched(baseline: &Ruleset, live: &Ruleset) -> Unmatched {
    unmatched_as(baseline, live, &Known::default())
}

/// The objects whose texts [`compare_as`] needs: not those that are known to mean the same.
pub fn unmatched_as(baseline: &Ruleset, live: &Ruleset, known: &Known) -> Unmatched {
    let mut found = Unmatched::default();
    let none = Texts::new();
    let all = pairs(baseline, live, [&none, &none], &Known::default(), known);
    for pair in all.into_iter().filter(|pair| !pair.is_alike) {
        found.baseline.extend(pair.before);
        found.live.extend(pair.after);
    }
    found
}

/// Names the differences. `before` and `after` hold the texts of what [`unmatched`] asked for.
pub fn compare(baseline: &Ruleset, live: &Ruleset, before: &Texts, after: &Texts) -> Comparison {
    compare_as(baseline, live, before, after, &Known::default())
}

/// As [`compare`], with differences of rules told as they are `known`, where that explains them as well; only of what may
/// be different since an earlier comparison, if there is one ([`Earlier::complete`] adds the rest).
pub fn compare_as(
    baseline: &Ruleset,
    live: &Ruleset,
    before: &Texts,
    after: &Texts,
    known: &Known,
) -> Comparison {
    let mut comparison = Comparison::default();
    let mut surroundings = Surroundings::new(baseline, live);
    let mut seen: HashMap<String, u32> = HashMap::new();
    for pair in pairs(baseline, live, [before, after], known, known) {
        let old = pair.before.as_ref().and_then(|item| before.get(item));
        let new = pair.after.as_ref().and_then(|item| after.get(item));
        if pair.is_alike || same_text(old, new) && pair.kind == ChangeKind::Modified {
            comparison.re_encoded += 1;
            let place = pair.after.as_ref().or(pair.before.as_ref()).map(within::unit);
            place.into_iter().for_each(|unit| *comparison.re_encoded_in.entry(unit).or_default() += 1);
            comparison.alike.extend(surroundings.equivalence(&pair));
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

/// The objects of a comparison, before it is [completed](Earlier::complete), whose texts were not given to it, of each side.
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
