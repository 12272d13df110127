//! Random formulas over a few variables, against their truth tables.

mod boxes;
mod budget;
mod words;

use super::{Bdd, Bit, Exhausted, Node, Var};
use proptest::prelude::*;
use std::collections::BTreeSet;

pub(super) const VARS: u32 = 10;
const PACKETS: u32 = 1 << VARS;

/// A formula, as data.
#[derive(Clone, Debug)]
pub(super) enum Formula {
    Literal(Var, bool),
    Not(Box<Formula>),
    Two(Operation, Box<Formula>, Box<Formula>),
    Ite(Box<Formula>, Box<Formula>, Box<Formula>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Operation {
    And,
    Or,
    Minus,
    Xor,
}

/// The value of a variable in the packet of this number.
pub(super) fn value(packet: u32, var: Var) -> bool {
    packet >> var & 1 == 1
}

pub(super) fn formula() -> impl Strategy<Value = Formula> {
    let literal = (0..VARS, any::<bool>()).prop_map(|(var, value)| Formula::Literal(var, value));
    let operation =
        prop::sample::select(vec![Operation::And, Operation::Or, Operation::Minus, Operation::Xor]);
    literal.prop_recursive(6, 40, 3, move |inner| {
        prop_oneof![
            inner.clone().prop_map(|a| Formula::Not(Box::new(a))),
            (operation.clone(), inner.clone(), inner.clone()).prop_map(|(op, a, b)| Formula::Two(
                op,
                Box::new(a),
                Box::new(b)
            )),
            (inner.clone(), inner.clone(), inner).prop_map(|(a, b, c)| Formula::Ite(
                Box::new(a),
                Box::new(b),
                Box::new(c)
            )),
        ]
    })
}

impl Formula {
    pub(super) fn holds(&self, packet: u32) -> bool {
        match self {
            Formula::Literal(var, wanted) => value(packet, *var) == *wanted,
            Formula::Not(a) => !a.holds(packet),
            Formula::Two(Operation::And, a, b) => a.holds(packet) && b.holds(packet),
            Formula::Two(Operation::Or, a, b) => a.holds(packet) || b.holds(packet),
            Formula::Two(Operation::Minus, a, b) => a.holds(packet) && !b.holds(packet),
            Formula::Two(Operation::Xor, a, b) => a.holds(packet) != b.holds(packet),
            Formula::Ite(a, b, c) => {
                if a.holds(packet) {
                    b.holds(packet)
                } else {
                    c.holds(packet)
                }
            }
        }
    }

    pub(super) fn build(&self, bdd: &mut Bdd) -> Result<Node, Exhausted> {
        match self {
            Formula::Literal(var, wanted) => bdd.literal(*var, *wanted),
            Formula::Not(a) => a.build(bdd).map(Node::not),
            Formula::Two(operation, a, b) => {
                let (a, b) = (a.build(bdd)?, b.build(bdd)?);
                match operation {
                    Operation::And => bdd.and(a, b),
                    Operation::Or => bdd.or(a, b),
                    Operation::Minus => bdd.minus(a, b),
                    Operation::Xor => bdd.xor(a, b),
                }
            }
            Formula::Ite(a, b, c) => {
                let (a, b, c) = (a.build(bdd)?, b.build(bdd)?, c.build(bdd)?);
                bdd.ite(a, b, c)
            }
        }
    }
}

pub(super) fn table(holds: impl Fn(u32) -> bool) -> Vec<bool> {
    (0..PACKETS).map(holds).collect()
}

pub(super) fn table_of(bdd: &Bdd, f: Node) -> Vec<bool> {
    table(|packet| bdd.contains(f, &|var| value(packet, var)))
}

pub(super) fn ample() -> Bdd {
    Bdd::new(1 << 20)
}

/// The sum of products of a truth table: another way to the same function.
fn from_table(bdd: &mut Bdd, table: &[bool]) -> Node {
    let cubes = (0..PACKETS)
        .filter(|packet| table[*packet as usize])
        .map(|packet| (0..VARS).map(|var| (var, value(packet, var))).collect());
    bdd.union_of_cubes(cubes.collect()).unwrap()
}

fn literals(most: usize) -> impl Strategy<Value = Vec<(Var, bool)>> {
    prop::collection::vec((0..VARS, any::<bool>()), 0..most)
}

fn in_cube(packet: u32, cube: &[(Var, bool)]) -> bool {
    cube.iter().all(|(var, wanted)| value(packet, *var) == *wanted)
}

pub(super) fn bit() -> impl Strategy<Value = Bit> {
    prop_oneof![
        any::<bool>().prop_map(Bit::Const),
        (0..VARS).prop_map(Bit::Var),
        (0..VARS).prop_map(Bit::NotVar),
    ]
}

pub(super) fn known(bit: Bit, packet: u32) -> bool {
    match bit {
        Bit::Const(known) => known,
        Bit::Var(var) => value(packet, var),
        Bit::NotVar(var) => !value(packet, var),
    }
}

proptest! {
    #[test]
    fn operations_agree_with_truth_tables(f in formula()) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        prop_assert_eq!(table_of(&bdd, node), table(|packet| f.holds(packet)));
    }

    #[test]
    fn equal_functions_are_one_node(f in formula(), g in formula()) {
        let mut bdd = ample();
        let (a, b) = (f.build(&mut bdd).unwrap(), g.build(&mut bdd).unwrap());
        let (of_f, of_g) = (table(|packet| f.holds(packet)), table(|packet| g.holds(packet)));
        prop_assert_eq!(from_table(&mut bdd, &of_f), a);
        prop_assert_eq!(a == b, of_f == of_g);
    }

    #[test]
    fn each_node_is_reduced_and_ordered(f in formula()) {
        let mut bdd = ample();
        f.build(&mut bdd).unwrap();
        for entry in &bdd.nodes[1..] {
            prop_assert!(!entry.high.is_complement() && entry.low != entry.high);
            prop_assert!(entry.var < bdd.var(entry.low) && entry.var < bdd.var(entry.high));
        }
    }

    #[test]
    fn disjoint_and_implies_make_no_node(f in formula(), g in formula()) {
        let mut bdd = ample();
        let (a, b) = (f.build(&mut bdd).unwrap(), g.build(&mut bdd).unwrap());
        let before = bdd.len();
        let disjoint = (0..PACKETS).all(|packet| !(f.holds(packet) && g.holds(packet)));
        let implies = (0..PACKETS).all(|packet| !f.holds(packet) || g.holds(packet));
        prop_assert_eq!(bdd.is_disjoint(a, b), Ok(disjoint));
        prop_assert_eq!(bdd.implies(a, b), Ok(implies));
        prop_assert_eq!(bdd.len(), before);
        prop_assert_eq!(bdd.and(a, b).unwrap().is_false(), disjoint);
    }

    #[test]
    fn and_cube_is_and_with_the_cube(f in formula(), cube in literals(8)) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let whole = bdd.cube(&cube).unwrap();
        prop_assert_eq!(table_of(&bdd, whole), table(|packet| in_cube(packet, &cube)));
        let mut sorted = cube;
        sorted.sort();
        sorted.dedup_by_key(|literal| literal.0);
        let first_of_each = bdd.cube(&sorted).unwrap();
        let both = bdd.and(node, first_of_each).unwrap();
        prop_assert_eq!(bdd.and_cube(node, &sorted), Ok(both));
    }

    #[test]
    fn a_union_of_cubes_is_in_any_of_them(cubes in prop::collection::vec(literals(7), 0..30)) {
        let mut bdd = ample();
        let union = bdd.union_of_cubes(cubes.clone()).unwrap();
        let expected = table(|packet| cubes.iter().any(|cube| in_cube(packet, cube)));
        prop_assert_eq!(table_of(&bdd, union), expected);
    }

    #[test]
    fn the_first_match_counts(entries in prop::collection::vec((formula(), formula()), 0..6), otherwise in formula()) {
        let mut bdd = ample();
        let mut build = |formula: &Formula| formula.build(&mut bdd).unwrap();
        let nodes: Vec<(Node, Node)> = entries.iter().map(|(one, other)| (build(one), build(other))).collect();
        let last = build(&otherwise);
        let result = bdd.first_match(&nodes, last).unwrap();
        let expected = table(|packet| {
            let first = entries.iter().find(|(matched, _)| matched.holds(packet));
            first.map_or(&otherwise, |(_, said)| said).holds(packet)
        });
        prop_assert_eq!(table_of(&bdd, result), expected);
    }

    #[test]
    fn exists_holds_for_some_value_of_the_forgotten(f in formula(), forgotten in 0..PACKETS) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let result = bdd.exists(node, &|var| value(forgotten, var)).unwrap();
        let expected = table(|packet| {
            (0..PACKETS).any(|other| (other ^ packet) & !forgotten == 0 && f.holds(other))
        });
        prop_assert_eq!(table_of(&bdd, result), expected);
    }

    #[test]
    fn substitution_is_simultaneous(f in formula(), with in prop::collection::vec(bit(), VARS as usize)) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let result = bdd.substitute(node, &|var| with[var as usize]).unwrap();
        let expected = table(|packet| {
            let replaced = (0..VARS).filter(|var| known(with[*var as usize], packet)).map(|var| 1 << var);
            f.holds(replaced.sum())
        });
        prop_assert_eq!(table_of(&bdd, result), expected);
    }

    #[test]
    fn one_is_in_the_set_and_as_preferred_from_the_root(f in formula(), preferred in 0..PACKETS) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let Some(way) = bdd.one(node, &|var| value(preferred, var)) else {
            prop_assert!((0..PACKETS).all(|packet| !f.holds(packet)));
            return Ok(());
        };
        let cube = bdd.cube(&way).unwrap();
        prop_assert!(!cube.is_false() && bdd.implies(cube, node).unwrap());
        for (at, (var, chosen)) in way.iter().enumerate() {
            if *chosen != value(preferred, *var) {
                let mut other = way[..at].to_vec();
                other.push((*var, !chosen));
                let other = bdd.cube(&other).unwrap();
                prop_assert!(bdd.is_disjoint(other, node).unwrap(), "variable {} could have been as preferred", var);
            }
        }
    }

    #[test]
    fn share_counts_and_support_names_what_matters(f in formula()) {
        let mut bdd = ample();
        let node = f.build(&mut bdd).unwrap();
        let of_f = table(|packet| f.holds(packet));
        let count = of_f.iter().filter(|holds| **holds).count();
        prop_assert_eq!(bdd.share(node), count as f64 / f64::from(PACKETS));
        let matters = |var: &Var| (0..PACKETS).any(|packet| f.holds(packet) != f.holds(packet ^ (1 << *var)));
        prop_assert_eq!(bdd.support(node), (0..VARS).filter(matters).collect::<BTreeSet<Var>>());
    }
}

#[test]
fn the_share_of_one_packet_in_many_is_not_lost() {
    let mut bdd = ample();
    let cube: Vec<(Var, bool)> = (0..300).map(|var| (var, var % 3 == 0)).collect();
    let node = bdd.cube(&cube).unwrap();
    assert_eq!(bdd.share(node), 0.5f64.powi(300));
    assert_eq!(bdd.share(node.not()), 1.0);
}
