//! How many passing transactions are told in words. Pure: the caller says what time it is.
//!
//! Words cost a scratch namespace for each transaction. What an author does again and again is told a few times and then
//! only counted, so that churn is not put into words, but somebody else's transaction amid the churn still is.

use crate::attribute::by_author;
use crate::model::{Author, Change};
use crate::pipeline::{Effects, Telling};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Of one author: this many at once, and one more each time this has passed.
const EACH: (usize, Duration) = (5, Duration::from_secs(60));
/// Of all together.
const ALL: (usize, Duration) = (25, Duration::from_secs(2));

/// Counts what has been told.
#[derive(Debug)]
pub struct Teller {
    all: Allowance,
    /// Of authors who have used some of theirs.
    authors: Vec<(Author, Allowance)>,
}

/// A number that grows again with time.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: usize,
    since: Instant,
}

impl Allowance {
    fn grow(&mut self, (most, every): (usize, Duration), now: Instant) {
        let steps = now.saturating_duration_since(self.since).as_nanos() / every.as_nanos();
        let steps = u32::try_from(steps).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(steps as usize).min(most);
        self.since = if self.left == most { now } else { self.since + every * steps };
    }
}

impl Teller {
    /// Nothing has been told yet.
    pub fn new(now: Instant) -> Self {
        Self { all: Allowance { left: ALL.0, since: now }, authors: Vec::new() }
    }

    /// What may be told now.
    pub fn telling(&mut self, now: Instant) -> Telling {
        self.all.grow(ALL, now);
        self.authors.iter_mut().for_each(|(_, allowance)| allowance.grow(EACH, now));
        self.authors.retain(|(_, allowance)| allowance.left < EACH.0);
        let authors =
            self.authors.iter().map(|(author, allowance)| (author.clone(), allowance.left)).collect();
        Telling { all: self.all.left, each: EACH.0, authors, effects: Effects::default() }
    }

    /// What was told, as it was recorded: the changes that passing transactions made.
    pub fn told(&mut self, passing: Vec<Change>, now: Instant) {
        for (author, changes) in by_author(passing) {
            let count = transactions(&changes);
            self.all.left = self.all.left.saturating_sub(count);
            let place = self.authors.iter().position(|(known, _)| Telling::is_one(known, &author));
            let place = place.unwrap_or_else(|| {
                self.authors.push((author, Allowance { left: EACH.0, since: now }));
                self.authors.len() - 1
            });
            let left = &mut self.authors[place].1.left;
            *left = left.saturating_sub(count);
        }
    }
}

/// Transactions are told apart by their times.
fn transactions(changes: &[Change]) -> usize {
    changes.iter().filter_map(|change| change.time).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ChangeKind, Evidence, ObjectKind, Source};
    use chrono::{DateTime, Utc};

    fn author(auid: u32) -> Author {
        Author { auid: Some(auid), evidence: Evidence::Audit, ..Author::default() }
    }

    /// The changes of so many transactions.
    fn passing(auid: u32, count: i64) -> Vec<Change> {
        let change = |at: i64| Change {
            author: author(auid),
            time: DateTime::<Utc>::from_timestamp(at, 0),
            ..Change::new(ChangeKind::Added, Source::Nft, ("inet", "t"), ObjectKind::Chain)
        };
        (0..count).flat_map(|at| [change(at), change(at)]).collect()
    }

    /// How many more transactions of this login may be told.
    fn left(telling: &Telling, auid: u32) -> usize {
        let own = telling.authors.iter().find(|(known, _)| known.auid == Some(auid));
        own.map_or(telling.each, |(_, left)| *left).min(telling.all)
    }

    #[test]
    fn an_author_is_told_a_few_times_and_another_one_all_the_same() {
        let start = Instant::now();
        let mut teller = Teller::new(start);
        teller.told(passing(1001, 5), start);
        let telling = teller.telling(start + Duration::from_secs(1));
        assert_eq!((left(&telling, 1001), left(&telling, 1002)), (0, 5));
        let telling = teller.telling(start + Duration::from_secs(61));
        assert_eq!((left(&telling, 1001), left(&telling, 1002)), (1, 5));
        assert_eq!(left(&teller.telling(start + Duration::from_secs(3600)), 1001), 5);
    }

    #[test]
    fn many_authors_share_what_may_be_told_of_all() {
        let start = Instant::now();
        let mut teller = Teller::new(start);
        teller.told((0..5).flat_map(|auid| passing(auid, 5)).collect(), start);
        assert_eq!(left(&teller.telling(start), 77), 0);
        assert_eq!(left(&teller.telling(start + Duration::from_secs(4)), 77), 2);
    }
}
