//! Approving part of a drift, over arbitrary chains: what is left is the rest of it, told as before. And comparing only
//! what was touched, over arbitrary tables.

use super::{
    Commons, Comparison, Difference, Earlier, Fingerprint, Known, Texts, apply, compare, compare_as,
};
use crate::model::{
    Backend, Chain, Digest, Element, ElementKey, Family, Item, Name, Rule, Ruleset, Set, Table, TableKey,
    Text,
};
use crate::normalise::scope::{Part, Parts, Scope, SetPart};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn ruleset(rules: &[u8]) -> Ruleset {
    let key = TableKey { backend: Backend::NfTables, family: Family::Inet, name: Name(b"t".to_vec()) };
    let rules =
        rules.iter().map(|rule| Rule { digest: Digest::of([&[*rule][..]]), attrs: Arc::default() }).collect();
    let chain = Chain { attrs: vec![], rules };
    let table = Table { chains: [(Name(b"c".to_vec()), chain)].into(), ..Table::default() };
    Ruleset { tables: [(key, table)].into(), ..Ruleset::default() }
}

fn rules(ruleset: &Ruleset) -> Vec<Digest> {
    let chains = ruleset.tables.values().flat_map(|table| table.chains.values());
    chains.flat_map(|chain| chain.rules.iter().map(|rule| rule.digest)).collect()
}

/// Kind and bytes of each difference, in no order.
fn told(differences: &[Difference], before: &Ruleset, after: &Ruleset) -> Vec<String> {
    let tell = |d: &Difference| format!("{:?} {:?}", d.change.kind, Fingerprint::of(d, before, after));
    let mut told: Vec<String> = differences.iter().map(tell).collect();
    told.sort();
    told
}

/// Chains without two equal rules.
fn distinct() -> impl Strategy<Value = Vec<u8>> {
    let all: Vec<u8> = (0..12).collect();
    (Just(all).prop_shuffle(), 0..10_usize).prop_map(|(all, length)| all[..length].to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn what_is_not_approved_stays_and_is_told_as_before(
        old in distinct(),
        new in distinct(),
        choice in any::<u32>(),
    ) {
        let (baseline, live) = (ruleset(&old), ruleset(&new));
        let none = Texts::new();
        let all = compare(&baseline, &live, &none, &none).differences;
        let taken = |d: &Difference| {
            all.iter().position(|o| (&o.before, &o.after) == (&d.before, &d.after)).is_some_and(|n| choice >> n & 1 == 1)
        };
        let target = apply(&baseline, &live, &all, taken);
        let left: Vec<Difference> = all.iter().filter(|d| !taken(d)).cloned().collect();
        let prints: Vec<Fingerprint> = left.iter().map(|d| Fingerprint::of(d, &baseline, &live)).collect();
        let known = Known::new(left.iter().map(|d| &d.change).zip(&prints));
        let now = compare_as(&target, &live, &none, &none, &known).differences;
        prop_assert_eq!(told(&now, &target, &live), told(&left, &baseline, &live));
    }

    #[test]
    fn a_new_rule_beside_known_drift_is_one_addition(
        old in distinct(),
        new in distinct(),
        place in any::<prop::sample::Index>(),
    ) {
        let (baseline, live) = (ruleset(&old), ruleset(&new));
        let none = Texts::new();
        let all = compare(&baseline, &live, &none, &none).differences;
        let prints: Vec<Fingerprint> = all.iter().map(|d| Fingerprint::of(d, &baseline, &live)).collect();
        let known = Known::new(all.iter().map(|d| &d.change).zip(&prints));
        let mut later = new;
        later.insert(place.index(later.len() + 1), 99);
        let later = ruleset(&later);
        let now = compare_as(&baseline, &later, &none, &none, &known).differences;
        let added = Fingerprint { before: None, after: Some(rules(&ruleset(&[99]))[0].to_string()) };
        let mut expected = told(&all, &baseline, &live);
        expected.push(format!("{:?} {added:?}", crate::model::ChangeKind::Added));
        expected.sort();
        prop_assert_eq!(told(&now, &baseline, &later), expected);
    }

    #[test]
    fn all_approved_is_the_live_state_and_nothing_approved_the_baseline(
        old in prop::collection::vec(0_u8..6, 0..9),
        new in prop::collection::vec(0_u8..6, 0..9),
    ) {
        let (baseline, live) = (ruleset(&old), ruleset(&new));
        let all = compare(&baseline, &live, &Texts::new(), &Texts::new()).differences;
        prop_assert_eq!(rules(&apply(&baseline, &live, &all, |_| true)), rules(&live));
        prop_assert_eq!(rules(&apply(&baseline, &live, &all, |_| false)), rules(&baseline));
    }
}

/// Rules by chain, and elements of one set.
type Content = (Vec<Vec<u8>>, Vec<u8>);

/// A table with three chains, and a set with elements of one byte.
fn table((chains, elements): &Content) -> Ruleset {
    let mut all = ruleset(&[]);
    let table = all.tables.values_mut().next().unwrap();
    for (number, rules) in chains.iter().enumerate().filter(|(_, rules)| !rules.is_empty()) {
        let chain = ruleset(rules).tables.into_values().next().unwrap().chains.into_values().next().unwrap();
        table.chains.insert(Name(vec![b'c', number as u8]), chain);
    }
    let key = |element: u8| ElementKey { key: vec![element / 2], end: vec![], flags: 0 };
    let content = |element: u8| Element { expires: false, attrs: vec![vec![element]] };
    let elements = elements.iter().map(|element| (key(*element), content(*element))).collect();
    table.sets.insert(Name(b"s".to_vec()), Set { elements, ..Set::default() });
    all
}

/// Texts by which every other rule is only another spelling of the one before.
fn words(ruleset: &Ruleset) -> Texts {
    let all: Vec<Digest> = (0..12).map(|rule: u8| Digest::of([&[rule][..]])).collect();
    let mut texts = Texts::new();
    for (key, table) in &ruleset.tables {
        for (name, chain) in &table.chains {
            for (place, rule) in chain.rules.iter().enumerate() {
                let number = all.iter().position(|digest| *digest == rule.digest).unwrap();
                let text = Text::new(format!("rule {}", number / 2), true);
                texts.insert(Item::Rule(key.clone(), name.clone(), place), text);
            }
            texts.insert(Item::Chain(key.clone(), name.clone()), Text::new(format!("chain {name}"), true));
        }
        for (name, set) in &table.sets {
            for (element, content) in &set.elements {
                let text = Text::new(format!("{:?} {:?}", element.key, content.attrs), true);
                texts.insert(Item::Element(key.clone(), name.clone(), element.clone()), text);
            }
        }
    }
    texts
}

fn contents() -> impl Strategy<Value = Content> {
    let chain = || prop::collection::vec(0_u8..12, 0..5);
    (prop::collection::vec(chain(), 3), prop::collection::vec(0_u8..12, 0..5))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    /// What was compared before stands for what was not touched.
    #[test]
    fn a_comparison_of_what_was_touched_completed_is_a_whole_one(
        old in contents(),
        then in contents(),
        new in contents(),
        touched in prop::collection::vec(any::<bool>(), 3),
        of_set in 0..3,
    ) {
        let (baseline, before) = (table(&old), table(&then));
        let key = before.tables.keys().next().unwrap().clone();
        // What is not touched is as it was.
        let mut now = then.clone();
        for (chain, rules) in new.0.iter().enumerate().filter(|(chain, _)| touched[*chain]) {
            now.0[chain].clone_from(rules);
        }
        if of_set > 0 {
            now.1.clone_from(&new.1);
        }
        let live = table(&now);
        let name = |number: usize| Name(vec![b'c', number as u8]);
        let elements = |side: &'_ Ruleset| side.tables[&key].sets[&Name(b"s".to_vec())].elements.clone();
        let (was, is) = (elements(&before), elements(&live));
        let changed = was.keys().chain(is.keys()).filter(|key| was.get(key) != is.get(key)).cloned().collect();
        let sets = match of_set {
            0 => BTreeMap::new(),
            1 => [(Name(b"s".to_vec()), SetPart::Whole)].into(),
            _ => [(Name(b"s".to_vec()), SetPart::Elements(changed))].into(),
        };
        let chains = (0..3).filter(|chain| touched[*chain]).map(name).collect();
        let parts = Parts { chains, sets, ..Parts::default() };
        let scope = Scope { tables: [(key, Part::Parts(parts))].into(), ..Scope::default() };

        let first = compare(&baseline, &before, &words(&baseline), &words(&before));
        let commons = Commons::of(&before, &scope);
        let earlier = Earlier::new((first.differences, first.re_encoded_in), scope, BTreeSet::new(), &commons, &live);
        let known = Known::default().with_earlier(Some(earlier.clone()));
        let part = compare_as(&baseline, &live, &words(&baseline), &words(&live), &known);
        let whole = compare(&baseline, &live, &words(&baseline), &words(&live));
        let ids = |found: &Comparison| found.differences.iter().map(|d| d.change.clone()).collect::<Vec<_>>();
        let complete = earlier.complete(part).unwrap();
        prop_assert_eq!(ids(&complete), ids(&whole));
        prop_assert_eq!((complete.re_encoded, complete.re_encoded_in), (whole.re_encoded, whole.re_encoded_in));
    }
}
