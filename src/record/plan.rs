//! What happened between two looks, as the events that say so. Pure.
//!
//! Three sets of differences decide: `open` (live against baseline at the last look), `between` (the
//! live state of the last look against the present baseline) and `now`. What `between` lost, the
//! baseline took in; what `now` lost since, the live state did.

use crate::model::{Change, EventKind, Evidence};
use std::collections::HashSet;

/// Differences with one cause, before it is known who is behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// Which event.
    pub kind: EventKind,
    /// What it is about.
    pub changes: Vec<Change>,
    /// Where to look for the author.
    pub cause: Cause,
}

/// What made the differences appear or end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody changed the live state.
    Live,
    /// Somebody changed the baseline.
    Baseline,
}

/// The events between two looks, in the order in which they are recorded.
pub fn plan(open: &[Change], between: &[Change], now: &[Change]) -> Vec<Draft> {
    let ids = |changes: &[Change]| changes.iter().map(|change| change.id.clone()).collect::<HashSet<_>>();
    let (open_ids, between_ids, now_ids) = (ids(open), ids(between), ids(now));
    let pick = |changes: &[Change], wanted: &dyn Fn(&Change) -> bool| {
        changes.iter().filter(|change| wanted(change)).cloned().collect::<Vec<_>>()
    };
    let approved = pick(open, &|change| !between_ids.contains(&change.id));
    let asked_for = pick(between, &|change| !open_ids.contains(&change.id) && now_ids.contains(&change.id));
    let by_baseline = |change: &Change| change.author.evidence == Evidence::Git;
    let reverted = pick(open, &|change| {
        between_ids.contains(&change.id) && !now_ids.contains(&change.id) && !by_baseline(change)
    });
    let mut applied = pick(open, &|change| {
        between_ids.contains(&change.id) && !now_ids.contains(&change.id) && by_baseline(change)
    });
    applied.extend(pick(between, &|change| !open_ids.contains(&change.id) && !now_ids.contains(&change.id)));
    let drift = pick(now, &|change| !between_ids.contains(&change.id));
    [
        (EventKind::Approved, approved, Cause::Baseline),
        (EventKind::Drift, asked_for, Cause::Baseline),
        (EventKind::Reverted, reverted, Cause::Live),
        (EventKind::Applied, applied, Cause::Live),
        (EventKind::Drift, drift, Cause::Live),
    ]
    .into_iter()
    .filter(|(_, changes, _)| !changes.is_empty())
    .map(|(kind, changes, cause)| Draft { kind, changes, cause })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Author, ChangeKind, ObjectKind, Source};

    fn change(id: &str, evidence: Evidence) -> Change {
        Change {
            id: id.to_owned(),
            chain: Some("input".to_owned()),
            after: Some(format!("rule {id}")),
            author: Author { evidence, ..Author::default() },
            ..Change::new(ChangeKind::Added, Source::Nft, ("inet", "filter"), ObjectKind::Rule)
        }
    }

    /// Sets of one-letter ids; a capital one was opened by a commit on the baseline.
    fn check(open: &str, between: &str, now: &str, expect: &[(EventKind, &str, Cause)]) {
        let set = |letters: &str| -> Vec<Change> {
            let evidence = |c: char| if c.is_uppercase() { Evidence::Git } else { Evidence::None };
            letters.chars().map(|c| change(&c.to_lowercase().to_string(), evidence(c))).collect()
        };
        let found: Vec<(EventKind, String, Cause)> = plan(&set(open), &set(between), &set(now))
            .into_iter()
            .map(|d| (d.kind, d.changes.iter().map(|c| c.id.as_str()).collect(), d.cause))
            .collect();
        let expect: Vec<(EventKind, String, Cause)> =
            expect.iter().map(|(kind, ids, cause)| (*kind, (*ids).to_owned(), *cause)).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn nothing_new_is_no_event() {
        check("ab", "ab", "ab", &[]);
    }

    #[test]
    fn what_appears_with_the_same_baseline_is_drift() {
        check("a", "a", "ab", &[(EventKind::Drift, "b", Cause::Live)]);
    }

    #[test]
    fn what_goes_with_the_same_baseline_is_reverted() {
        check("ab", "ab", "a", &[(EventKind::Reverted, "b", Cause::Live)]);
    }

    #[test]
    fn what_goes_because_the_baseline_took_it_in_is_approved() {
        check("ab", "a", "a", &[(EventKind::Approved, "b", Cause::Baseline)]);
    }

    #[test]
    fn a_live_state_that_does_not_follow_a_new_baseline_is_drift_by_its_author() {
        check("", "n", "n", &[(EventKind::Drift, "n", Cause::Baseline)]);
    }

    #[test]
    fn a_live_state_that_follows_a_new_baseline_has_applied_it() {
        check("", "n", "", &[(EventKind::Applied, "n", Cause::Live)]);
        check("N", "N", "", &[(EventKind::Applied, "n", Cause::Live)]);
    }

    #[test]
    fn one_look_may_show_several_causes() {
        check(
            "ab",
            "bn",
            "d",
            &[
                (EventKind::Approved, "a", Cause::Baseline),
                (EventKind::Reverted, "b", Cause::Live),
                (EventKind::Applied, "n", Cause::Live),
                (EventKind::Drift, "d", Cause::Live),
            ],
        );
    }
}
