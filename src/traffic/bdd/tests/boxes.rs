//! Regions: disjoint, exact, as few as joining makes them, and quick when they cannot be all.

use super::{Formula, VARS, ample, formula};
use crate::traffic::bdd::boxes::{Field, Region, Regions};
use crate::traffic::bdd::{Bdd, Exhausted, Node, Var};
use proptest::prelude::*;

const FIELDS: [Field; 3] =
    [Field { start: 0, width: 3 }, Field { start: 3, width: 4 }, Field { start: 7, width: 3 }];

/// The regions are within `f`, disjoint, in the one form and the largest first; all of `f` if they are complete.
fn check(bdd: &mut Bdd, f: Node, found: &Regions) -> Result<(), TestCaseError> {
    let mut union = Node::FALSE;
    let mut last = f64::INFINITY;
    for region in &found.regions {
        prop_assert_eq!(region.fields.len(), found.fields.len());
        for (field, ranges) in found.fields.iter().zip(&region.fields) {
            let Some(ranges) = ranges else { continue };
            prop_assert!(!ranges.is_empty());
            prop_assert!(ranges.iter().all(|(low, high)| low <= high));
            prop_assert!(ranges.windows(2).all(|two| two[0].1 < u128::MAX && two[0].1 + 1 < two[1].0));
            prop_assert!(ranges[ranges.len() - 1].1 <= u128::MAX >> (128 - field.width));
            prop_assert_ne!(ranges, &vec![(0, u128::MAX >> (128 - field.width))]);
        }
        let node = bdd.to_node(&found.fields, region).unwrap();
        prop_assert!(bdd.implies(node, f).unwrap() && bdd.is_disjoint(node, union).unwrap());
        let share = bdd.share(node);
        prop_assert!(share <= last * (1.0 + 1e-9));
        last = share;
        union = bdd.or(union, node).unwrap();
    }
    if found.complete {
        prop_assert_eq!(union, f);
    }
    Ok(())
}

/// In how many fields they differ.
fn difference(one: &Region, other: &Region) -> usize {
    one.fields.iter().zip(&other.fields).filter(|(one, other)| one != other).count()
}

proptest! {
    #[test]
    fn regions_are_disjoint_and_exact(f in formula()) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let before = bdd.len();
        let found = bdd.regions(node, &FIELDS, usize::MAX).unwrap();
        prop_assert_eq!(bdd.len(), before);
        prop_assert!(found.complete);
        prop_assert_eq!(&found.fields, &FIELDS);
        check(&mut bdd, node, &found)?;
    }

    #[test]
    fn no_two_regions_differ_in_one_field_only(f in formula()) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let found = bdd.regions(node, &FIELDS, usize::MAX).unwrap().regions;
        for (at, one) in found.iter().enumerate() {
            prop_assert!(found[at + 1..].iter().all(|other| difference(one, other) > 1));
        }
    }

    #[test]
    fn variables_of_no_field_are_fields_of_one_bit(f in formula()) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let found = bdd.regions(node, &[FIELDS[1]], usize::MAX).unwrap();
        let loose = bdd.support(node).into_iter().filter(|var| !(3..7).contains(var));
        let mut expected: Vec<Field> = loose.map(|start| Field { start, width: 1 }).chain([FIELDS[1]]).collect();
        expected.sort_by_key(|field| field.start);
        prop_assert_eq!(&found.fields, &expected);
        prop_assert!(found.complete);
        check(&mut bdd, node, &found)?;
    }

    #[test]
    fn a_limit_keeps_the_largest(f in formula(), limit in 0usize..6) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let all = bdd.regions(node, &FIELDS, usize::MAX).unwrap();
        let some = bdd.regions(node, &FIELDS, limit).unwrap();
        prop_assert_eq!(some.complete, all.regions.len() <= limit);
        prop_assert_eq!(&some.regions[..], &all.regions[..limit.min(all.regions.len())]);
        check(&mut bdd, node, &some)?;
    }

    #[test]
    fn regions_out_of_steps_are_exhausted(f in formula()) {
        let mut bdd = ample();
        let node = Formula::Two(super::Operation::Or, Box::new(f), Box::new(Formula::Literal(VARS, true)));
        let node = node.build(&mut bdd).unwrap();
        prop_assume!(!node.is_true());
        bdd.set_max_steps(bdd.steps());
        prop_assert_eq!(bdd.regions(node, &FIELDS, 10), Err(Exhausted));
    }
}

#[test]
fn everything_is_one_region_and_nothing_is_none() {
    let mut bdd = ample();
    let all = bdd.regions(Node::TRUE, &FIELDS, 1).unwrap();
    assert_eq!(all.regions, [Region { fields: vec![None, None, None] }]);
    assert!(all.complete);
    let nothing = bdd.regions(Node::FALSE, &FIELDS, 0).unwrap();
    assert!(nothing.regions.is_empty() && nothing.complete);
}

#[test]
fn ports_of_two_addresses_are_one_statement() -> Result<(), Exhausted> {
    let mut bdd = ample();
    let fields = [Field { start: 0, width: 32 }, Field { start: 32, width: 16 }];
    let meant = Region {
        fields: vec![
            Some(vec![(0x0a00_0001, 0x0a00_0001), (0x0a00_0100, 0x0a00_01ff)]),
            Some(vec![(80, 80), (443, 445)]),
        ],
    };
    let node = bdd.to_node(&fields, &meant)?;
    let found = bdd.regions(node, &fields, 5)?;
    assert_eq!(found.regions, [meant]);
    assert!(found.complete);
    Ok(())
}

/// Addresses of 128 bits, of which the last bit decides: 2^127 ranges.
#[test]
fn a_set_of_too_many_ranges_to_list_is_listed_in_part() {
    let mut bdd = ample();
    let fields = [Field { start: 0, width: 128 }, Field { start: 128, width: 16 }];
    let odd = bdd.literal(127, true).unwrap();
    let found = bdd.regions(odd, &fields, 10).unwrap();
    assert!(!found.complete && found.regions.len() == 1);
    let ranges = found.regions[0].fields[0].as_ref().unwrap();
    assert!(ranges.len() > 1_000 && ranges.iter().all(|(low, high)| low == high && low % 2 == 1));
}

/// Rules as a firewall's, of addresses and ports of fixed pseudo-random numbers.
fn rules(bdd: &mut Bdd, count: u32) -> Node {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    let cubes: Vec<Vec<(Var, bool)>> = (0..count)
        .map(|_| {
            let (address, port, length) = (next(), next(), 8 + next() % 25);
            let address = (0..length).map(|at| (at, address >> (31 - at) & 1 == 1));
            address.chain((0..16).map(|at| (32 + at, port >> (15 - at) & 1 == 1))).collect()
        })
        .collect();
    bdd.union_of_cubes(cubes).unwrap()
}

#[test]
fn of_too_many_regions_the_largest_are_told() {
    let mut bdd = ample();
    let fields = [Field { start: 0, width: 32 }, Field { start: 32, width: 16 }];
    let rest = rules(&mut bdd, 3_000).not();
    let few = bdd.regions(rest, &fields, 20).unwrap();
    assert_eq!((few.regions.len(), few.complete), (20, false));
    check(&mut bdd, rest, &few).unwrap();
    let all = bdd.regions(rest, &fields, 100_000).unwrap();
    assert!(all.complete && all.regions.len() > 1_000);
    check(&mut bdd, rest, &all).unwrap();
}
