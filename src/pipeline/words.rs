//! A comparison with the words that it needs: bytes decide what differs, texts whether it means the same.
//!
//! In: two rulesets, and what is known of them. Out: the comparison, in as many rounds as it takes to have each text.

use crate::compare::{self, Comparison, Known, Texts};
use crate::decode::{self, DecodeError};
use crate::model::Ruleset;

/// Comparisons are repeated with more texts at most this often: equal texts can shift an alignment.
pub(super) const ROUNDS: usize = 4;

/// Compares two rulesets, decoding just what differs and is not known to mean the same.
pub fn compared(approved: &Ruleset, live: &Ruleset, known: &Known) -> Result<Comparison, DecodeError> {
    Ok(compared_in_words(approved, live, known)?.0)
}

/// As [`compared`], with the texts of the live objects that differ.
pub(super) fn compared_in_words(
    approved: &Ruleset,
    live: &Ruleset,
    known: &Known,
) -> Result<(Comparison, Texts), DecodeError> {
    let unmatched = compare::unmatched_as(approved, live, known);
    let mut before = decode::decode(approved, &unmatched.baseline)?;
    let mut after = decode::decode(live, &unmatched.live)?;
    let mut comparison = compare::compare_as(approved, live, &before, &after, known);
    for _ in 1..ROUNDS {
        let (old, new) = compare::without_text(&comparison, &before, &after);
        if old.is_empty() && new.is_empty() {
            break;
        }
        before.extend(decode::decode(approved, &old)?);
        after.extend(decode::decode(live, &new)?);
        comparison = compare::compare_as(approved, live, &before, &after, known);
    }
    let Some(earlier) = known.earlier() else { return Ok((comparison, after)) };
    match earlier.complete(comparison) {
        Some(comparison) => Ok((comparison, after)),
        None => compared_in_words(approved, live, &known.clone().with_earlier(None)),
    }
}
