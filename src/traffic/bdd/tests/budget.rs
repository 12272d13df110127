//! What is out of budget is an error, never a wrong answer, and harms nothing.

use super::{Formula, ample, formula, table, table_of};
use crate::traffic::bdd::{Bdd, Bit, Exhausted, Node, Var};
use proptest::prelude::*;

/// A set whose diagram is exponential in this order of variables: the first half equals the second.
fn mirrored(bdd: &mut Bdd, half: Var) -> Result<Node, Exhausted> {
    let mut all = Node::TRUE;
    for var in 0..half {
        let (one, other) = (bdd.literal(var, true)?, bdd.literal(half + var, true)?);
        let differ = bdd.xor(one, other)?;
        all = bdd.minus(all, differ)?;
    }
    Ok(all)
}

/// Each formula is built in a store of this size; what was built must be right, and what was not must be undone.
fn check(formulas: &[Formula], max_nodes: usize, max_steps: u64) -> Result<(), TestCaseError> {
    let mut bdd = Bdd::new(max_nodes);
    bdd.set_max_steps(max_steps);
    let mut built = Vec::new();
    for formula in formulas {
        if let Ok(node) = formula.build(&mut bdd) {
            built.push((formula, node));
        }
        prop_assert!(bdd.len() <= max_nodes.max(1) && bdd.steps() <= max_steps);
    }
    for (formula, node) in &built {
        prop_assert_eq!(table_of(&bdd, *node), table(|packet| formula.holds(packet)));
    }
    // Nothing remembered and no slot may point to what was undone: again with more steps, and compared as nodes.
    bdd.set_max_steps(u64::MAX);
    for (formula, node) in &built {
        prop_assert_eq!(formula.build(&mut bdd), Ok(*node));
    }
    Ok(())
}

proptest! {
    #[test]
    fn with_few_nodes_an_answer_is_right_or_exhausted(
        formulas in prop::collection::vec(formula(), 1..12),
        max_nodes in 0usize..80,
    ) {
        check(&formulas, max_nodes, u64::MAX)?;
    }

    #[test]
    fn with_few_steps_an_answer_is_right_or_exhausted(
        formulas in prop::collection::vec(formula(), 1..12),
        max_steps in 0u64..300,
    ) {
        check(&formulas, 1 << 16, max_steps)?;
    }
}

#[test]
fn an_exhausted_operation_leaves_no_node_and_the_store_usable() {
    let mut bdd = Bdd::new(5_000);
    let before = bdd.len();
    assert_eq!(mirrored(&mut bdd, 20), Err(Exhausted));
    let after_failure = bdd.len();
    assert!(after_failure < 5_000, "the last, failed operation is undone");
    assert!(after_failure > before);
    let (a, b) = (bdd.literal(3, true).unwrap(), bdd.literal(40, false).unwrap());
    let both = bdd.and(a, b).unwrap();
    assert!(bdd.implies(both, a).unwrap() && bdd.implies(both, b).unwrap());
}

#[test]
fn every_operation_that_makes_nodes_can_be_exhausted() {
    let mut bdd = Bdd::new(4_000);
    let wide: Vec<Vec<(Var, bool)>> = (0..4_000u32)
        .map(|number| (0..32).map(|var| (var, number.wrapping_mul(0x9e37_79b9) >> var & 1 == 1)).collect())
        .collect();
    let word: Vec<Bit> = (0..32).map(Bit::Var).collect();
    let ranges: Vec<(Vec<u8>, Vec<u8>)> = (0..4_000u32)
        .map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes().to_vec())
        .map(|value| (value.clone(), value))
        .collect();
    assert_eq!(bdd.union_of_cubes(wide), Err(Exhausted));
    assert_eq!(bdd.union_of_ranges(&word, &ranges), Err(Exhausted));
    assert_eq!(bdd.len(), 1);
    let many: Vec<(Var, bool)> = (0..5_000).map(|var| (var, true)).collect();
    assert_eq!(bdd.cube(&many), Err(Exhausted));
    assert_eq!(bdd.and_cube(Node::TRUE, &many), Err(Exhausted));
    let mirror = mirrored(&mut bdd, 8).unwrap();
    let len = bdd.len();
    // Pairs that stood together come apart.
    let apart = |bdd: &mut Bdd| {
        let mut all = Node::TRUE;
        for pair in 0..14 {
            let (one, other) = (bdd.literal(1_000 + 2 * pair, true)?, bdd.literal(1_001 + 2 * pair, true)?);
            let differ = bdd.xor(one, other)?;
            all = bdd.minus(all, differ)?;
        }
        bdd.substitute(all, &|var| Bit::Var(2_000 + (var - 1_000) / 2 + if var % 2 == 0 { 0 } else { 100 }))
    };
    assert_eq!(apart(&mut bdd), Err(Exhausted));
    assert!(bdd.len() - len < 1_000);
    assert_eq!(mirrored(&mut bdd, 8), Ok(mirror));
}

#[test]
fn recursion_over_seven_hundred_variables_needs_little_stack() {
    let work = || {
        let mut bdd = ample();
        let even: Vec<(Var, bool)> = (0..350).map(|at| (2 * at, true)).collect();
        let odd: Vec<(Var, bool)> = (0..350).map(|at| (2 * at + 1, false)).collect();
        let (a, b) = (bdd.cube(&even).unwrap(), bdd.cube(&odd).unwrap());
        let both = bdd.and(a, b).unwrap();
        let either = bdd.or(a, b).unwrap();
        let differ = bdd.xor(a, b).unwrap();
        assert_eq!(bdd.minus(either, both), Ok(differ));
        assert_eq!(bdd.ite(a, b, either), Ok(b));
        assert_eq!(bdd.and_cube(a, &odd), Ok(both));
        assert_eq!(bdd.exists(both, &|var| var % 2 == 1), Ok(a));
        assert_eq!(bdd.substitute(both, &|var| Bit::NotVar(699 - var)), Ok(both));
        let cubes: Vec<Vec<(Var, bool)>> =
            (0..700).map(|at| (at..700).map(|var| (var, var > at)).collect()).collect();
        let union = bdd.union_of_cubes(cubes).unwrap();
        // The last variable that is false says which cube a packet is in: all but one packet are in one.
        let all: Vec<(Var, bool)> = (0..700).map(|var| (var, true)).collect();
        assert_eq!(bdd.cube(&all), Ok(union.not()));
        assert!(bdd.implies(both, either).unwrap());
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap().join().unwrap();
}
