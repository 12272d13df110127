//! When the transactions that wait are looked at. Pure: the caller says what time it is.
//!
//! A lone change is looked at as soon as it is quiet for a moment, because a program may commit several
//! transactions in a row. Work is paid for out of a budget that refills slowly: single changes are followed at once.
//! Where many transactions come in a second, what was saved is left for quieter times, and each look waits until it has
//! been earned, and then for a lull: churn costs a small share of one core whatever its pace, and what is made and undone
//! within it is mostly over when it is looked at.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A program's next transaction comes within this time, or is another matter.
const QUIET: Duration = Duration::from_millis(3);
/// Nothing waits longer than this for quiet, while there is budget.
const LONGEST: Duration = Duration::from_millis(20);
/// While it is busy, a lull is this long; it is waited for at most so much longer.
const LULL: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));
/// The share of one core that looking may take for ever.
const SHARE: f64 = 0.015;
/// The work that may be done at once: some 250 changes one after another.
const BURST: Duration = Duration::from_secs(6);
/// However busy it is, nothing waits longer than this.
const PATIENCE: Duration = Duration::from_secs(10);
/// It is busy while this many transactions come within this time.
const BUSY: (usize, Duration) = (10, Duration::from_secs(1));

/// Decides when it is time.
#[derive(Debug)]
pub struct Pace {
    first: Option<Instant>,
    /// When the last ones came, as many as decide whether it is busy.
    last: VecDeque<Instant>,
    /// How many seconds of work may be done; less than none after more was done.
    budget: f64,
    counted: Instant,
    /// The work of the last look.
    spent: f64,
}

impl Pace {
    /// With a full budget.
    pub fn new(now: Instant) -> Self {
        let last = VecDeque::with_capacity(BUSY.0);
        Self { first: None, last, budget: BURST.as_secs_f64(), counted: now, spent: 0.0 }
    }

    /// Something came that has to be looked at.
    pub fn arrived(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        if self.last.len() == BUSY.0 {
            self.last.pop_front();
        }
        self.last.push_back(now);
    }

    /// When to look; none if nothing waits.
    pub fn due(&self) -> Option<Instant> {
        let (first, last) = (self.first?, *self.last.back()?);
        let paid_at = |owed: f64| self.counted + Duration::from_secs_f64((owed / SHARE).max(0.0));
        let due = if self.is_busy() {
            let paid = paid_at(self.spent.max(-self.budget)).max(first);
            (last + LULL.0).clamp(paid, paid + LULL.1)
        } else {
            paid_at(-self.budget).max((last + QUIET).min(first + LONGEST))
        };
        Some(due.min(first + PATIENCE))
    }

    /// Whether there is no quiet between transactions.
    pub fn is_busy(&self) -> bool {
        let (Some(first), Some(last)) = (self.last.front(), self.last.back()) else { return false };
        self.last.len() == BUSY.0 && last.duration_since(*first) < BUSY.1
    }

    /// What waited was looked at; that took `work` of processor time, and was over at `end`. On a busy machine a look
    /// takes longer, and costs no more.
    pub fn looked(&mut self, work: Duration, end: Instant) {
        let earned = end.saturating_duration_since(self.counted).as_secs_f64() * SHARE;
        self.spent = work.as_secs_f64();
        self.budget = (self.budget + earned).min(BURST.as_secs_f64()) - self.spent;
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
        pace.looked(now + ms(40) - (now + QUIET), now + ms(40));
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn a_row_of_changes_does_not_wait_for_its_end() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for step in 0..9 {
            pace.arrived(now + ms(2) * step);
        }
        assert_eq!(pace.due(), Some(now + ms(16) + QUIET));
        pace.arrived(now + ms(18));
        assert_eq!(pace.due(), Some(now + ms(18) + LULL.0));
        pace.looked(now + ms(70) - (now + ms(50)), now + ms(70));
        assert_eq!(pace.due(), None);
    }

    #[test]
    fn endless_changes_cost_their_share_and_no_more() {
        for every in [ms(50), ms(400)] {
            let share = share_of_looking(every, Duration::from_secs(3600));
            assert!((0.01..0.02).contains(&share), "{every:?}: {share}");
        }
    }

    #[test]
    fn churn_costs_its_share_from_its_first_seconds_on() {
        let share = share_of_looking(ms(50), Duration::from_secs(20));
        assert!(share < 0.03, "{share}");
    }

    #[test]
    fn churn_is_looked_at_in_a_lull_or_a_second_later() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        churn(&mut pace, start, start + Duration::from_secs(10), ms(50));
        pace.looked(
            start + Duration::from_secs(10) - (start + Duration::from_secs(10)),
            start + Duration::from_secs(10),
        );
        let now = start + Duration::from_secs(20);
        for step in 0..10 {
            pace.arrived(now + ms(10) * step);
        }
        assert_eq!(pace.due(), Some(now + ms(90) + LULL.0));
        for step in 10..200 {
            pace.arrived(now + ms(10) * step);
        }
        assert_eq!(pace.due(), Some(now + LULL.1));
    }

    #[test]
    fn what_was_saved_is_there_again_after_churn() {
        let start = Instant::now();
        let (mut pace, end) = (Pace::new(start), start + Duration::from_secs(60));
        churn(&mut pace, start, end, ms(20));
        pace.looked(end + ms(20) - (end), end + ms(20));
        let later = end + Duration::from_secs(2);
        for step in 0..5 {
            let now = later + ms(300) * step;
            pace.arrived(now);
            assert_eq!(pace.due(), Some(now + QUIET));
            pace.looked(now + ms(30) - (now + QUIET), now + ms(30));
        }
    }

    /// Of one core, where a transaction comes at these intervals and a look takes 20 ms.
    fn share_of_looking(every: Duration, time: Duration) -> f64 {
        let start = Instant::now();
        churn(&mut Pace::new(start), start, start + time, every).as_secs_f64() / time.as_secs_f64()
    }

    /// The work that is done.
    fn churn(pace: &mut Pace, start: Instant, end: Instant, every: Duration) -> Duration {
        let (mut next, mut free, mut worked) = (start, start, Duration::ZERO);
        while next < end {
            pace.arrived(next);
            next += every;
            if let Some(due) = pace.due().map(|due| due.max(free)).filter(|due| *due < next) {
                pace.looked(due + ms(20) - (due), due + ms(20));
                (free, worked) = (due + ms(20), worked + ms(20));
            }
        }
        worked
    }

    #[test]
    fn changes_one_after_another_are_followed_at_once() {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(start), start);
        for _ in 0..100 {
            pace.arrived(now);
            assert_eq!(pace.due(), Some(now + QUIET));
            pace.looked(now + QUIET + ms(25) - (now + QUIET), now + QUIET + ms(25));
            now += ms(150);
        }
    }
}
