//! How many passing transactions are told in words. Pure: the caller says what time it is.
//!
//! Words cost a scratch namespace for each transaction. What an author does again and again is told a few times and then
//! only counted, so that churn is not put into words, but somebody else's transaction amid the churn still is.

use crate::attribute::by_author;
use crate::model::{Author, Change, EventKind, LedgerEntry};
use crate::pipeline::Telling;
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
        Telling { all: self.all.left, each: EACH.0, authors }
    }

    /// What was told, as recorded.
    pub fn told(&mut self, events: &[LedgerEntry], now: Instant) {
        let passing = events.iter().filter(|entry| entry.event.kind == EventKind::Transient);
        for (author, changes) in passing.flat_map(|entry| by_author(entry.event.changes.clone())) {
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
