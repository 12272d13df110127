//! Aligns two sequences of rules. Pure.
//!
//! Input: one number for each rule, equal for equal rules. Output: which rules stay, which are new,
//! gone, moved or changed, so that an insertion is one addition and a moved rule is one move.

use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::{BTreeMap, BTreeSet};

/// What happened to one rule. Places count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The rule is on both sides, in order.
    Keep(usize, usize),
    /// Only in the old sequence.
    Remove(usize),
    /// Only in the new sequence.
    Add(usize),
    /// In both, at another place relative to the rules that stay.
    Move(usize, usize),
    /// The old rule became the new one.
    Modify(usize, usize),
}

impl Step {
    /// The same step of sequences that begin `places` later.
    pub fn behind(self, places: usize) -> Self {
        match self {
            Self::Keep(old, new) => Self::Keep(old + places, new + places),
            Self::Remove(old) => Self::Remove(old + places),
            Self::Add(new) => Self::Add(new + places),
            Self::Move(old, new) => Self::Move(old + places, new + places),
            Self::Modify(old, new) => Self::Modify(old + places, new + places),
        }
    }
}

/// Below this product of lengths the shortest edit script is searched; above it, Histogram (100,000
/// rules, all shuffled: under 300 ms).
const EXHAUSTIVE: usize = 4_000_000;

/// Aligns `old` with `new`. `similarity` (0 to 1) decides which removed and added neighbours are one
/// changed rule; [`TWO`] says that they are known not to be. Steps come in the order of the new sequence, removals
/// where they were.
pub fn align(old: &[u32], new: &[u32], similarity: impl Fn(usize, usize) -> f64) -> Vec<Step> {
    align_as(old, new, &Told::default(), similarity)
}

/// How some rules were told before.
#[derive(Debug, Default)]
pub struct Told {
    /// Rules that moved: they are not kept in place.
    pub moved: BTreeSet<u32>,
    /// Rules that became other ones, wherever both stand.
    pub changed: Vec<(u32, u32)>,
}

/// As [`align`], told as before.
pub fn align_as(
    old: &[u32],
    new: &[u32],
    told: &Told,
    similarity: impl Fn(usize, usize) -> f64,
) -> Vec<Step> {
    // A moved rule is like no other one until its new place is looked for.
    let apart = |numbers: &[u32], side: u64| -> Vec<u64> {
        let place = |(place, number): (usize, &u32)| match told.moved.contains(number) {
            true => (place as u64 + 1) << 33 | side << 32,
            false => u64::from(*number),
        };
        numbers.iter().enumerate().map(place).collect()
    };
    let (numbers, (old, new)) = ((old, new), (apart(old, 0), apart(new, 1)));
    let (old, new) = (&old[..], &new[..]);
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[prefix..], &new[prefix..]);
    let suffix = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_mid, new_mid) = (&old_rest[..old_rest.len() - suffix], &new_rest[..new_rest.len() - suffix]);

    let mut steps: Vec<Step> = (0..prefix).map(|place| Step::Keep(place, place)).collect();
    let algorithm = match old_mid.len().saturating_mul(new_mid.len()) {
        product if product <= EXHAUSTIVE => Algorithm::Myers,
        _ => Algorithm::Histogram,
    };
    let hunks = hunks(&capture_diff_slices(algorithm, old_mid, new_mid), prefix);
    let moves = moves(&hunks, numbers.0, numbers.1);
    let changed = changed(&hunks, numbers, told, &moves);
    for hunk in hunks {
        match hunk {
            Hunk::Equal { old, new, length } => {
                steps.extend((0..length).map(|offset| Step::Keep(old + offset, new + offset)));
            }
            Hunk::Changed { removed, added } => {
                let went = |place: &usize| moves.contains_key(place) || changed.contains_key(place);
                let removed: Vec<usize> = removed.into_iter().filter(|place| !went(place)).collect();
                let here = |places: &BTreeMap<usize, usize>| -> BTreeMap<usize, usize> {
                    let arrived = places.iter().filter(|(_, to)| added.contains(to));
                    arrived.map(|(from, to)| (*to, *from)).collect()
                };
                let (arrived, became) = (here(&moves), here(&changed));
                let came = |place: &usize| arrived.contains_key(place) || became.contains_key(place);
                let added: Vec<usize> = added.into_iter().filter(|place| !came(place)).collect();
                steps.extend(arrived.iter().map(|(to, from)| Step::Move(*from, *to)));
                steps.extend(became.iter().map(|(to, from)| Step::Modify(*from, *to)));
                steps.extend(pair(&removed, &added, &similarity));
            }
        }
    }
    steps.extend((0..suffix).map(|o| Step::Keep(old.len() - suffix + o, new.len() - suffix + o)));
    steps
}

enum Hunk {
    Equal { old: usize, new: usize, length: usize },
    Changed { removed: Vec<usize>, added: Vec<usize> },
}

impl Hunk {
    fn removed(&self) -> &[usize] {
        match self {
            Self::Equal { .. } => &[],
            Self::Changed { removed, .. } => removed,
        }
    }

    fn added(&self) -> &[usize] {
        match self {
            Self::Equal { .. } => &[],
            Self::Changed { added, .. } => added,
        }
    }
}

/// Joins neighbouring deletions and insertions into one hunk.
fn hunks(ops: &[DiffOp], shift: usize) -> Vec<Hunk> {
    let mut hunks: Vec<Hunk> = Vec::new();
    for op in ops {
        let (old, new) = (op.old_range(), op.new_range());
        if let DiffOp::Equal { len, .. } = op {
            hunks.push(Hunk::Equal { old: old.start + shift, new: new.start + shift, length: *len });
            continue;
        }
        let (gone, came) = (old.map(|i| i + shift), new.map(|i| i + shift));
        match hunks.last_mut() {
            Some(Hunk::Changed { removed, added }) => {
                removed.extend(gone);
                added.extend(came);
            }
            _ => hunks.push(Hunk::Changed { removed: gone.collect(), added: came.collect() }),
        }
    }
    hunks
}

/// Equal rules among what was removed here and added there, in order: old place to new place.
fn moves(hunks: &[Hunk], old: &[u32], new: &[u32]) -> BTreeMap<usize, usize> {
    let mut gone: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for hunk in hunks {
        if let Hunk::Changed { removed, .. } = hunk {
            removed.iter().for_each(|place| gone.entry(old[*place]).or_default().push(*place));
        }
    }
    gone.values_mut().for_each(|places| places.reverse());
    let mut moves = BTreeMap::new();
    for hunk in hunks {
        if let Hunk::Changed { added, .. } = hunk {
            for place in added {
                if let Some(from) = gone.get_mut(&new[*place]).and_then(Vec::pop) {
                    moves.insert(from, *place);
                }
            }
        }
    }
    moves
}

/// Rules that are known to have become others, which may stand in another hunk by now: old place to new place.
fn changed(
    hunks: &[Hunk],
    (old, new): (&[u32], &[u32]),
    told: &Told,
    moves: &BTreeMap<usize, usize>,
) -> BTreeMap<usize, usize> {
    let mut found = BTreeMap::new();
    if told.changed.is_empty() {
        return found;
    }
    let places = |side: fn(&Hunk) -> &[usize]| hunks.iter().flat_map(move |hunk| side(hunk).iter().copied());
    let arrived: BTreeSet<usize> = moves.values().copied().collect();
    let mut gone: Vec<usize> = places(Hunk::removed).filter(|place| !moves.contains_key(place)).collect();
    let mut came: Vec<usize> = places(Hunk::added).filter(|place| !arrived.contains(place)).collect();
    for (before, after) in &told.changed {
        let from = gone.iter().position(|place| old[*place] == *before);
        let to = came.iter().position(|place| new[*place] == *after);
        if let (Some(from), Some(to)) = (from, to) {
            found.insert(gone.remove(from), came.remove(to));
        }
    }
    found
}

/// Two rules are one changed rule if they share at least this much, or stand alone in the hunk.
const ALIKE: f64 = 0.5;
/// The similarity of two rules that are known not to be one.
pub const TWO: f64 = -1.0;
/// Pairs beyond this many are not compared: a rewritten chain is removals and additions.
const PAIRS: usize = 10_000;

/// Pairs removed with added rules, in order, for the greatest total similarity.
fn pair(removed: &[usize], added: &[usize], similarity: &impl Fn(usize, usize) -> f64) -> Vec<Step> {
    if let ([old], [new]) = (removed, added)
        && similarity(*old, *new) > TWO
    {
        return vec![Step::Modify(*old, *new)];
    }
    let separate = || removed.iter().map(|r| Step::Remove(*r)).chain(added.iter().map(|a| Step::Add(*a)));
    if removed.is_empty() || added.is_empty() || removed.len() * added.len() > PAIRS {
        return separate().collect();
    }
    let width = added.len() + 1;
    let mut best = vec![0.0_f64; (removed.len() + 1) * width];
    let alike: Vec<f64> =
        removed.iter().flat_map(|old| added.iter().map(|new| similarity(*old, *new))).collect();
    for i in (0..removed.len()).rev() {
        for j in (0..added.len()).rev() {
            let score = alike[i * added.len() + j];
            let paired = if score >= ALIKE { score + best[(i + 1) * width + j + 1] } else { 0.0 };
            best[i * width + j] = paired.max(best[(i + 1) * width + j]).max(best[i * width + j + 1]);
        }
    }
    let mut steps = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < removed.len() && j < added.len() {
        let score = alike[i * added.len() + j];
        let here = best[i * width + j];
        if score >= ALIKE && here == score + best[(i + 1) * width + j + 1] {
            steps.push(Step::Modify(removed[i], added[j]));
            (i, j) = (i + 1, j + 1);
        } else if here == best[(i + 1) * width + j] {
            steps.push(Step::Remove(removed[i]));
            i += 1;
        } else {
            steps.push(Step::Add(added[j]));
            j += 1;
        }
    }
    steps.extend(removed[i..].iter().map(|place| Step::Remove(*place)));
    steps.extend(added[j..].iter().map(|place| Step::Add(*place)));
    steps
}

/// The share of words that two texts have in common: 1 for the same words, 0 for none.
pub fn word_similarity(a: &str, b: &str) -> f64 {
    let mut words: BTreeMap<&str, i64> = BTreeMap::new();
    a.split_whitespace().for_each(|word| *words.entry(word).or_default() += 1);
    let total = a.split_whitespace().count() + b.split_whitespace().count();
    let mut common = 0_usize;
    for word in b.split_whitespace() {
        if let Some(left) = words.get_mut(word).filter(|left| **left > 0) {
            *left -= 1;
            common += 1;
        }
    }
    if total == 0 { 1.0 } else { 2.0 * common as f64 / total as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(old: &[u32], new: &[u32], expect: &[Step]) {
        let steps = align(old, new, |_, _| 0.0);
        let changed: Vec<Step> = steps.into_iter().filter(|s| !matches!(s, Step::Keep(..))).collect();
        assert_eq!(changed, expect);
    }

    #[test]
    fn an_insertion_is_one_addition() {
        check(&[1, 2, 3], &[1, 9, 2, 3], &[Step::Add(1)]);
        check(&[1, 2, 3], &[1, 2, 3, 9], &[Step::Add(3)]);
        check(&[], &[9], &[Step::Add(0)]);
    }

    #[test]
    fn swapping_two_neighbours_is_a_move() {
        let steps = align(&[1, 2, 3, 4], &[1, 3, 2, 4], |_, _| 0.0);
        let moves = steps.iter().filter(|step| matches!(step, Step::Move(..))).count();
        let keeps = steps.iter().filter(|step| matches!(step, Step::Keep(..))).count();
        assert_eq!((moves, keeps), (1, 3), "{steps:?}");
    }

    #[test]
    fn one_rule_in_place_of_another_is_a_modification() {
        check(&[1, 2, 3], &[1, 9, 3], &[Step::Modify(1, 1)]);
    }

    #[test]
    fn a_duplicate_rule_is_an_addition() {
        check(&[1, 1], &[1, 1, 1], &[Step::Add(2)]);
    }

    #[test]
    fn words_in_common_decide_who_became_whom() {
        let old = ["tcp dport 22 accept", "udp dport 53 accept"];
        let new = ["ip saddr 10.0.0.1 drop", "udp dport 5353 accept", "tcp dport 2222 accept comment x"];
        let steps = align(&[1, 2], &[3, 4, 5], |i, j| word_similarity(old[i], new[j]));
        assert!(steps.contains(&Step::Modify(1, 1)) || steps.contains(&Step::Modify(0, 2)), "{steps:?}");
    }

    proptest! {
        #[test]
        fn every_rule_of_both_sides_appears_exactly_once(
            old in prop::collection::vec(0_u32..6, 0..20),
            new in prop::collection::vec(0_u32..6, 0..20),
        ) {
            let steps = align(&old, &new, |i, j| f64::from(u32::from((i + j) % 2 == 0)));
            let (mut olds, mut news) = (Vec::new(), Vec::new());
            for step in &steps {
                match *step {
                    Step::Keep(o, n) | Step::Move(o, n) => {
                        prop_assert_eq!(old[o], new[n]);
                        olds.push(o);
                        news.push(n);
                    }
                    Step::Modify(o, n) => { olds.push(o); news.push(n); }
                    Step::Remove(o) => olds.push(o),
                    Step::Add(n) => news.push(n),
                }
            }
            olds.sort_unstable();
            news.sort_unstable();
            prop_assert_eq!(olds, (0..old.len()).collect::<Vec<_>>());
            prop_assert_eq!(news, (0..new.len()).collect::<Vec<_>>());
            if old == new {
                prop_assert!(steps.iter().all(|step| matches!(step, Step::Keep(..))));
            }
        }
    }
}
