//! Ranges of words, against comparison of numbers.

use super::{VARS, ample, bit, known, table, table_of};
use crate::traffic::bdd::{Bit, Exhausted, Node};
use proptest::prelude::*;

/// The number that a word has in a packet.
fn number(word: &[Bit], packet: u32) -> u32 {
    word.iter().fold(0, |number, bit| number << 1 | u32::from(known(*bit, packet)))
}

/// Any mix of bits, or a field as it mostly is: ascending variables behind constants.
fn word() -> impl Strategy<Value = Vec<Bit>> {
    let field = (0u16..64, 0..VARS).prop_map(|(high, from)| {
        let constants = (0..16 - (VARS - from)).map(|at| Bit::Const(high >> (at % 16) & 1 == 1));
        constants.chain((from..VARS).map(Bit::Var)).collect::<Vec<Bit>>()
    });
    prop_oneof![prop::collection::vec(bit(), 16), field]
}

/// An end near to what the word can be, as most random ones are trivial.
fn end(word: &[Bit], packet: u32, distance: i32) -> u16 {
    (number(word, packet) as i32 + distance).clamp(0, 0xffff) as u16
}

fn bytes(end: u16) -> Vec<u8> {
    end.to_be_bytes().to_vec()
}

proptest! {
    #[test]
    fn between_is_comparison_of_numbers(
        word in word(),
        (one, other) in (0u32..1024, 0u32..1024),
        (near, far) in (-40i32..40, -40i32..40),
    ) {
        let (low, high) = (end(&word, one, near), end(&word, other, far));
        let mut bdd = ample();
        let node = bdd.between(&word, &bytes(low), &bytes(high)).unwrap();
        let expected = table(|packet| (u32::from(low)..=u32::from(high)).contains(&number(&word, packet)));
        prop_assert_eq!(table_of(&bdd, node), expected);
        let exact = bdd.equals(&word, &bytes(low)).unwrap();
        prop_assert_eq!(table_of(&bdd, exact), table(|packet| number(&word, packet) == u32::from(low)));
        prop_assert_eq!(bdd.between(&word, &bytes(low), &bytes(low)), Ok(exact));
    }

    #[test]
    fn a_union_of_ranges_is_the_union_of_betweens(
        word in word(),
        ends in prop::collection::vec((0u32..1024, -40i32..40, 0u16..60), 0..20),
    ) {
        let ranges: Vec<(Vec<u8>, Vec<u8>)> = ends
            .iter()
            .map(|(packet, distance, length)| (end(&word, *packet, *distance), *length))
            .map(|(low, length)| (bytes(low), bytes(low.saturating_add(length))))
            .collect();
        let mut bdd = ample();
        let at_once = bdd.union_of_ranges(&word, &ranges).unwrap();
        let one_by_one = ranges.iter().try_fold(Node::FALSE, |union, (low, high)| {
            let range = bdd.between(&word, low, high)?;
            bdd.or(union, range)
        });
        prop_assert_eq!(one_by_one, Ok(at_once));
    }
}

#[test]
fn a_range_the_wrong_way_round_is_empty() -> Result<(), Exhausted> {
    let mut bdd = ample();
    let port: Vec<Bit> = (0..16).map(Bit::Var).collect();
    let backwards = (vec![0, 81], vec![0, 80]);
    assert_eq!(bdd.between(&port, &backwards.0, &backwards.1)?, Node::FALSE);
    assert_eq!(bdd.union_of_ranges(&port, &[backwards])?, Node::FALSE);
    assert_eq!(bdd.union_of_ranges(&port, &[])?, Node::FALSE);
    assert_eq!(bdd.between(&port, &[0, 0], &[255, 255])?, Node::TRUE);
    assert_eq!(bdd.between(&[], &[], &[])?, Node::TRUE);
    Ok(())
}

#[test]
fn a_word_of_four_bits_and_a_value_of_one_byte_are_aligned_at_their_ends() -> Result<(), Exhausted> {
    let mut bdd = ample();
    let nibble: Vec<Bit> = (0..4).map(Bit::Var).collect();
    let five = bdd.cube(&[(0, false), (1, true), (2, false), (3, true)])?;
    assert_eq!(bdd.equals(&nibble, &[5])?, five);
    assert_eq!(bdd.between(&nibble, &[5], &[0, 5])?, five);
    assert_eq!(bdd.equals(&nibble, &[0x15])?, Node::FALSE);
    assert_eq!(bdd.between(&nibble, &[0], &[0x15])?, Node::TRUE);
    assert_eq!(bdd.union_of_ranges(&nibble, &[(vec![5], vec![5]), (vec![16], vec![255])])?, five);
    Ok(())
}
