//! Equivalences that comparisons found, kept beside the cache: a file of digests.
//!
//! They hold for one version of this program, one kernel and the tools that are here; the file says which, and another
//! one's is read as "nothing". A damaged or missing file costs a decoding, nothing else. Layout: magic, digest of the
//! surroundings and of all that follows: three digests for each pair (`compare::Equivalence`), the newest pairs first.

use crate::compare::Equivalence;
use crate::model::Digest;
use std::collections::BTreeSet;

const MAGIC: &[u8] = b"fwdrift-alike/1\n";
const DIGEST: usize = 16;

/// How many pairs are kept: some 400 kB.
const KEPT: usize = 8192;

/// The pairs in a file; none if it is of other surroundings, or not of this form.
pub fn read(bytes: &[u8], surroundings: Digest) -> Vec<Equivalence> {
    let pairs = || {
        let (seal, pairs) = bytes.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
        (seal == sealed(pairs, surroundings).0).then_some(pairs)
    };
    let pair = |bytes: &[u8]| {
        let mut digests = bytes.chunks_exact(DIGEST).map(|digest| Some(Digest(digest.try_into().ok()?)));
        let mut next = || digests.next().flatten();
        Some(Equivalence { surroundings: next()?, before: next()?, after: next()? })
    };
    pairs().unwrap_or_default().chunks_exact(3 * DIGEST).filter_map(pair).collect()
}

/// The file with `found` in it, and what is left of `before`; none if that changes nothing.
pub fn with(before: &[Equivalence], found: &[Equivalence], surroundings: Digest) -> Option<Vec<u8>> {
    let known: BTreeSet<&Equivalence> = before.iter().collect();
    if found.iter().all(|pair| known.contains(pair)) {
        return None;
    }
    let mut taken = BTreeSet::new();
    let mut pairs = Vec::new();
    for pair in found.iter().chain(before).filter(|pair| taken.insert(**pair)).take(KEPT) {
        for digest in [pair.surroundings, pair.before, pair.after] {
            pairs.extend_from_slice(&digest.0);
        }
    }
    Some([MAGIC, &sealed(&pairs, surroundings).0, &pairs].concat())
}

fn sealed(pairs: &[u8], surroundings: Digest) -> Digest {
    Digest::of([&surroundings.0, pairs])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(number: u32) -> Equivalence {
        let digest = |what: &[u8]| Digest::of([what, &number.to_le_bytes()]);
        Equivalence { surroundings: digest(b"s"), before: digest(b"b"), after: digest(b"a") }
    }

    const HERE: Digest = Digest([1; 16]);

    #[test]
    fn what_was_found_is_read_again_newest_first_and_no_more_than_a_few_thousand() {
        let first = with(&[], &[pair(1), pair(2), pair(1)], HERE).unwrap();
        let first = read(&first, HERE);
        assert_eq!(first, [pair(1), pair(2)]);
        assert_eq!(with(&first, &[pair(2)], HERE), None);
        let second = read(&with(&first, &[pair(3), pair(2)], HERE).unwrap(), HERE);
        assert_eq!(second, [pair(3), pair(2), pair(1)]);
        let many: Vec<Equivalence> = (10..10 + KEPT as u32).map(pair).collect();
        let bytes = with(&second, &many, HERE).unwrap();
        assert_eq!(read(&bytes, HERE), many);
        assert!(bytes.len() < 400_000);
    }

    #[test]
    fn other_surroundings_and_damage_are_nothing() {
        let bytes = with(&[], &[pair(1), pair(2)], HERE).unwrap();
        assert_eq!(read(&bytes, Digest([2; 16])), []);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length], HERE), []);
            let mut flipped = bytes.clone();
            flipped[length] ^= 1;
            assert_eq!(read(&flipped, HERE), []);
        }
        assert_eq!(read(&[&bytes[..], &[1; 48]].concat(), HERE), []);
        assert_eq!(read(b"something else", HERE), []);
    }
}
