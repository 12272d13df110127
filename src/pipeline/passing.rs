//! Transactions that left nothing behind, and those that nobody heard, as events.
//!
//! In: what `watch` heard since the last look, and the events that this look makes anyway. Out: events for the rest of the
//! generations, so that each is in one. What a passing transaction did is told in words where it may be: an author who
//! does such things without pause is not told about at length.

use super::history::Watched;
use super::look::Checked;
use super::turn::generation_of;
use crate::attribute::{self, Deed, is_same};
use crate::decode;
use crate::model::{Author, Change, Event, EventKind, Gap, Name, Ruleset, Witnessed};
use crate::normalise::advance::advance;
use crate::normalise::deeds;
use std::collections::{BTreeMap, BTreeSet};

/// How many passing transactions may be told in words: each takes a scratch namespace, some 15 ms.
#[derive(Clone, Debug, Default)]
pub struct Telling {
    /// Of all authors together.
    pub all: usize,
    /// Of each author that has no number of its own.
    pub each: usize,
    /// Of those who have made some lately. All who are unknown are one.
    pub authors: Vec<(Author, usize)>,
    /// Whether it is told at once what changes do to traffic.
    pub effects: Effects,
}

/// When it is told what changes do to traffic: that takes the whole ruleset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Effects {
    /// With the look that shows them.
    #[default]
    Now,
    /// With a later one: the rules change without pause.
    Later,
}

impl Telling {
    /// Whether two authors share one number: what may be told of them.
    pub fn is_one(a: &Author, b: &Author) -> bool {
        !a.is_known() && !b.is_known() || is_same(a, b)
    }

    /// Takes one of an author's, if there is one left.
    fn take(&mut self, author: &Author) -> bool {
        let place = self.authors.iter().position(|(known, _)| Self::is_one(known, author));
        let place = place.unwrap_or_else(|| {
            self.authors.push((author.clone(), self.each));
            self.authors.len() - 1
        });
        let left = &mut self.authors[place].1;
        if *left == 0 || self.all == 0 {
            return false;
        }
        (*left, self.all) = (*left - 1, self.all - 1);
        true
    }
}

/// The events of transactions that left nothing behind, and of those that nobody heard.
pub(super) fn transients(
    checked: &Checked,
    watched: &Watched,
    events: &[Event],
    make: impl Fn(EventKind) -> Event,
) -> Vec<Event> {
    let used: BTreeSet<u32> = events.iter().flat_map(|event| event.generations.iter().copied()).collect();
    let is_passing = |deed: &Deed| !used.contains(&generation_of(deed));
    // A copy of the ruleset is needed for them: not made where nothing is to be told.
    let texts = if watched.telling.all == 0 || !watched.deeds.iter().any(|deed| is_passing(deed)) {
        BTreeMap::new()
    } else {
        let context = if watched.before.tables.is_empty() { checked.live() } else { &watched.before };
        let telling = watched.telling.clone();
        let mut words = Words { context: context.clone(), ipset: &watched.ipset, telling };
        words.of(watched.deeds.iter().map(AsRef::as_ref), is_passing)
    };
    let mut found = Vec::new();
    let passing = watched.deeds.iter().map(AsRef::as_ref).filter(|deed| is_passing(deed));
    for (author, deeds) in attribute::deeds_by_author(passing) {
        let time = deeds.iter().map(|deed| deed.witnessed.at()).max();
        let generations = deeds.iter().map(|deed| generation_of(deed)).collect();
        let by_this = |deed: &&Deed, change: &Change| Change {
            author: author.clone(),
            time: Some(deed.witnessed.at()),
            ..change.clone()
        };
        let told = deeds.iter().filter_map(|deed| Some((deed, texts.get(&generation_of(deed))?)));
        let changes =
            told.flat_map(|(deed, changes)| changes.iter().map(move |change| by_this(deed, change)));
        let changes = changes.collect();
        let event = make(EventKind::Transient);
        let time = time.unwrap_or(event.time);
        found.push(Event { author, time, generations, changes, ..event });
    }
    found.extend(unheard(checked, watched, &used, make));
    found
}

/// Transactions that nobody heard, and that no event accounts for: the history may know who made them; else there is a
/// gap.
fn unheard(
    checked: &Checked,
    watched: &Watched,
    used: &BTreeSet<u32>,
    make: impl Fn(EventKind) -> Event,
) -> Option<Event> {
    let generations: Vec<u32> =
        watched.missing.iter().filter(|missing| !used.contains(missing)).copied().collect();
    let (first, last) = (generations.first()?, generations.last()?);
    let (author, time, _) = checked.trail.of_everything();
    if author.is_known() || !author.candidates.is_empty() {
        let event = make(EventKind::Transient);
        let time = time.unwrap_or(event.time);
        return Some(Event { author, time, generations, ..event });
    }
    let gap = Gap {
        source: "nf_tables".to_owned(),
        reason: match generations.len() {
            1 => format!("one transaction was not seen by itself (generation {first})"),
            count => format!("{count} transactions were not seen one by one (generations {first} to {last})"),
        },
        hint: Some("what they left behind is compared all the same".to_owned()),
        blinds_verdict: false,
    };
    let event = make(EventKind::Gap);
    let gaps = event.gaps.iter().cloned().chain([gap]).collect();
    Some(Event { author: Author::unknown(Some(event.window), Vec::new()), generations, gaps, ..event })
}

/// What transactions did, in words: of those that left nothing behind, as many as may be told.
struct Words<'c> {
    /// The ruleset before each of them, as far as it is known.
    context: Ruleset,
    ipset: &'c BTreeMap<u16, Name>,
    telling: Telling,
}

impl Words<'_> {
    /// Goes over all transactions of a turn, in order; gives the changes of those that are passing.
    fn of<'d>(
        &mut self,
        deeds: impl Iterator<Item = &'d Deed>,
        is_passing: impl Fn(&Deed) -> bool,
    ) -> BTreeMap<u32, Vec<Change>> {
        let mut found = BTreeMap::new();
        for deed in deeds {
            let Deed { witnessed: Witnessed { transaction, author, .. }, renamed, .. } = deed;
            if self.telling.all == 0 {
                break;
            }
            if is_passing(deed) && self.telling.take(author) {
                match decode::tell(transaction, renamed, self.ipset, &self.context) {
                    Ok(told) => drop(found.insert(transaction.generation, with_note(told))),
                    Err(error) => tracing::warn!("a passing transaction cannot be shown: {error}"),
                }
            }
            advance(&mut self.context, &deeds::deeds(&transaction.messages, self.ipset).deeds, renamed);
        }
        found
    }
}

fn with_note(told: decode::Told) -> Vec<Change> {
    let mut changes = told.changes;
    if let Some(last) = changes.last_mut() {
        last.note = last.note.take().or(told.note);
    }
    changes
}
