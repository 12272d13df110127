//! The match `u32`: numbers at places of the packet, masked and shifted. Pure.
//!
//! Places are counted from the network header. Those behind an `@`, which moves to where a number in the packet says,
//! are known only if that number is: each such test is a free variable with its own text.

use super::{Asked, Info};
use crate::traffic::bdd::Bit;
use crate::traffic::space::{Base, Space};
use crate::traffic::test::{Range, Test};

/// `struct xt_u32_test`: 11 locations and 11 values of 8 bytes each, and two counts.
const TEST: usize = 180;
const VALUES: usize = 88;
const COUNTS: usize = 176;
/// `XT_U32_MAXSIZE` + 1.
const LONGEST: usize = 11;
/// Beyond this place, bits of a packet would be too many variables for what they tell.
const FARTHEST: u32 = 1500;

/// `struct xt_u32`.
pub(super) fn matched(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let count = usize::from(info.u8(TEST * LONGEST)?).min(LONGEST);
    let inverted = info.u8(TEST * LONGEST + 1)? != 0;
    let mut tests = Vec::new();
    for at in (0..count).map(|n| TEST * n) {
        let part = Info(info.bytes(at, TEST)?);
        let ranges = values(part)?;
        let test = match location(space, part)? {
            Some(word) => Test::in_ranges(&word, ranges),
            None => Test::free(space, &format!("u32 {}", text(part)?)),
        };
        tests.push(test);
    }
    Some(Test::all(tests).inverted_if(inverted))
}

fn counts(part: Info<'_>) -> Option<(usize, usize)> {
    Some((usize::from(part.u8(COUNTS)?).min(LONGEST), usize::from(part.u8(COUNTS + 1)?).min(LONGEST)))
}

fn values(part: Info<'_>) -> Option<Vec<Range>> {
    let (_, count) = counts(part)?;
    let mut ranges = Vec::new();
    for at in (0..count).map(|n| VALUES + 8 * n) {
        let (low, high) = (part.u32(at)?, part.u32(at + 4)?);
        if low <= high {
            ranges.push((low.to_be_bytes().to_vec(), high.to_be_bytes().to_vec()));
        }
    }
    ranges.sort();
    Some(ranges)
}

/// The bits that are compared (`u32_match_it` in net/netfilter/xt_u32.c); none within if the place is not fixed.
fn location(space: &mut Space, part: Info<'_>) -> Option<Option<Vec<Bit>>> {
    let (count, _) = counts(part)?;
    let load =
        |space: &mut Space, place: u32| (place <= FARTHEST).then(|| space.payload(Base::Network, place, 4));
    let mut base = 0u32;
    let Some(mut word) = load(space, part.u32(0)?) else { return Some(None) };
    for at in (1..count).map(|n| 8 * n) {
        let number = part.u32(at)?;
        let shift = usize::try_from(number).ok()?.min(32);
        match part.u8(at + 4)? {
            0 => {
                for (place, bit) in word.iter_mut().rev().enumerate() {
                    if number >> place & 1 == 0 {
                        *bit = Bit::Const(false);
                    }
                }
            }
            1 => {
                word.drain(..shift);
                word.resize(32, Bit::Const(false));
            }
            2 => {
                word.truncate(32 - shift);
                word.splice(..0, vec![Bit::Const(false); shift]);
            }
            3 => {
                let Some(moved) = fixed(&word).and_then(|value| base.checked_add(value)) else {
                    return Some(None);
                };
                base = moved;
                let place = base.checked_add(number)?;
                match load(space, place) {
                    Some(bits) => word = bits,
                    None => return Some(None),
                }
            }
            _ => return None,
        }
    }
    Some(Some(word))
}

/// The number that these bits are in each packet.
fn fixed(word: &[Bit]) -> Option<u32> {
    word.iter().try_fold(0, |value, bit| match bit {
        Bit::Const(is) => Some(value << 1 | u32::from(*is)),
        Bit::Var(_) | Bit::NotVar(_) => None,
    })
}

/// As iptables-save writes it.
fn text(part: Info<'_>) -> Option<String> {
    let (numbers, values) = counts(part)?;
    let mut text = format!("{:#x}", part.u32(0)?);
    for at in (1..numbers).map(|n| 8 * n) {
        let operator = ["&", "<<", ">>", "@"].get(usize::from(part.u8(at + 4)?))?;
        text.push_str(&format!("{operator}{:#x}", part.u32(at)?));
    }
    for (n, at) in (0..values).map(|n| VALUES + 8 * n).enumerate() {
        let (low, high) = (part.u32(at)?, part.u32(at + 4)?);
        text.push(if n == 0 { '=' } else { ',' });
        text.push_str(&if low == high { format!("{low:#x}") } else { format!("{low:#x}:{high:#x}") });
    }
    Some(text)
}
