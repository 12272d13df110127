//! When the transactions that wait are looked at. Pure: the caller says what time it is.
//!
//! A lone change is looked at as soon as it is quiet for a moment, because a program may commit several
//! transactions in a row. Work is paid for out of a budget that refills slowly: a burst is followed at once,
//! endless churn is looked at less often, so that it costs a small share of one core whatever its pace.

use std::time::{Duration, Instant};

/// A program's next transaction comes within this time, or is another matter.
const QUIET: Duration = Duration::from_millis(3);
/// Nothing waits longer than this for quiet, while there is budget.
const LONGEST: Duration = Duration::from_millis(20);
/// The share of one core that looking may take for ever.
const SHARE: f64 = 0.03;
/// The work that may be done at once.
const BURST: Duration = Duration::from_secs(6);
/// However busy it is, nothing waits longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Decides when it is time.
#[derive(Debug)]
pub struct Pace {
    first: Option<Instant>,
    last: Instant,
    /// How many seconds of work may be done; less than none after more was done.
    budget: f64,
    counted: Instant,
}

impl Pace {
    /// With a full budget.
    pub fn new(now: Instant) -> Self {
        Self { first: None, last: now, budget: BURST.as_secs_f64(), counted: now }
    }

    /// Something came that has to be looked at.
    pub fn arrived(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = now;
    }

    /// When to look; none if nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let first = self.first?;
        let calm = (self.last + QUIET).min(first + LONGEST);
        let paid = self.counted + Duration::from_secs_f64((-self.budget / SHARE).max(0.0));
        Some(paid.max(calm).min(first + PATIENCE))
    }

    /// Whether there is so much to do that details have to wait.
    pub fn is_busy(&self) -> bool {
        self.budget < 0.0
    }

    /// What waited was looked at, from `start` to `end`.
    pub fn looked(&mut self, start: Instant, end: Instant) {
        let earned = end.saturating_duration_since(self.counted).as_secs_f64() * SHARE;
        let spent = end.saturating_duration_since(start).as_secs_f64();
        self.budget = (self.budget + earned).min(BURST.as_secs_f64()) - spent;
        self.counted = end;
        self.first = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_lone_change_waits_for_a_moment_of_quiet() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        assert_eq!(pace.due(), None);
        pace.arrived(now);
        assert_eq!(pace.due(), Some(now + QUIET));
        pace.looked(now + QUIET, now + ms(40));
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn a_row_of_changes_does_not_wait_for_its_end() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for step in 0..100 {
            pace.arrived(now + ms(step));
        }
        assert_eq!(pace.due(), Some(now + LONGEST));
    }

    #[test]
    fn endless_churn_costs_its_share_and_no_more() {
        let start = Instant::now();
        let (mut pace, mut now, mut worked) = (Pace::new(start), start, Duration::ZERO);
        while now < start + Duration::from_secs(3600) {
            pace.arrived(now);
            let due = pace.due().unwrap().max(now);
            let end = due + ms(40);
            pace.looked(due, end);
            worked += ms(40);
            now = end;
        }
        let share = worked.as_secs_f64() / 3600.0;
        assert!(share < 0.05, "{share}");
    }

    #[test]
    fn a_burst_is_followed_at_once() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(start), start);
        for _ in 0..100 {
            pace.arrived(now);
            assert_eq!(pace.due(), Some(now + QUIET));
            pace.looked(now + QUIET, now + QUIET + ms(40));
            now += ms(100);
        }
        assert!(!pace.is_busy());
    }
}
