//! Approving part of a drift, over arbitrary chains: what is left is the rest of it, told as before.

use super::{Difference, Fingerprint, Known, Texts, apply, compare, compare_as};
use crate::model::{Backend, Chain, Digest, Family, Name, Rule, Ruleset, Table, TableKey};
use proptest::prelude::*;

fn ruleset(rules: &[u8]) -> Ruleset {
    let key = TableKey { backend: Backend::NfTables, family: Family::Inet, name: Name(b"t".to_vec()) };
    let rules =
        rules.iter().map(|rule| Rule { digest: Digest::of([&[*rule][..]]), attrs: Box::default() }).collect();
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
