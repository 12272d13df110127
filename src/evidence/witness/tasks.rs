//! The tasks that the process connector told of, with what /proc said of them while they lived. Pure; bounded.
//!
//! In: announcements, readings. Out: who had a number, within a span of time. A number is given again after its task
//! ended, so each task is a life of its own. All times are since boot.

use super::connector::{Deed, Happened};
use crate::evidence::process::Process;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How many lives are remembered.
const BOUND: usize = 16 * 1024;
/// What a start in /proc is cut to.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// One task, from its beginning to its end, as far as it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Its process.
    process: u32,
    /// When it began; `None` if nobody listened then.
    born: Option<Duration>,
    /// When it last started a program.
    started: Option<Duration>,
    /// When it ended.
    died: Option<Duration>,
    /// What /proc said last, and when it was asked.
    seen: Option<(Box<Process>, Duration)>,
}

impl Life {
    /// Its process's number.
    pub(super) fn process(&self) -> u32 {
        self.process
    }

    /// What is known of its present program. A reading from before the program began is worth nothing: the login
    /// may have been set in between.
    pub(super) fn seen(&self) -> Option<&Process> {
        let (process, when) = self.seen.as_ref()?;
        self.started.is_none_or(|started| started <= *when).then_some(process)
    }
}

/// All lives that are known.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    lives: HashMap<u32, Vec<Life>>,
    /// Who ended, and when, in this order.
    ended: VecDeque<(u32, Duration)>,
    /// How many lives there are.
    count: usize,
    /// Since when nothing is missing; `None` if nobody listens.
    whole_since: Option<Duration>,
}

impl Tasks {
    /// Listening begins, or begins again after a loss.
    pub(super) fn begin(&mut self, at: Duration) {
        *self = Self { whole_since: Some(at), ..Self::default() };
    }

    /// Whether everything is known that happened after `when`.
    pub(super) fn is_whole_since(&self, when: Duration) -> bool {
        self.whole_since.is_some_and(|since| since <= when)
    }

    /// Takes an announcement, whose time has been made one since boot. `read` asks /proc, and says when it did.
    pub(super) fn take(
        &mut self,
        happened: &Happened,
        read: impl FnOnce(u32) -> Option<(Process, Duration)>,
    ) {
        let Happened { thread, process, deed, at } = *happened;
        if self.count >= BOUND {
            self.begin(at);
        }
        let blank = Life { process, born: None, started: None, died: None, seen: None };
        let lives = self.lives.entry(thread).or_default();
        let before = lives.len();
        let living = lives.pop_if(|life| deed != Deed::Began && life.died.is_none());
        let mut life = living.unwrap_or(blank);
        match deed {
            Deed::Began => life.born = Some(at),
            Deed::Started => {
                life.started = Some(at);
                // Without a reading, an earlier one may still be from after this: `Life::seen` knows.
                let seen = read(thread).filter(|(process, _)| process.start <= at);
                life.seen = seen.map(|(process, when)| (Box::new(process), when)).or(life.seen);
            }
            Deed::Ended => {
                life.died = Some(at);
                self.ended.push_back((thread, at));
            }
        }
        lives.push(life);
        self.count = self.count + lives.len() - before;
    }

    /// Those that had this number at any time after `after` and up to `until`, in their order.
    pub(super) fn with_number(&self, thread: u32, after: Duration, until: Duration) -> Vec<&Life> {
        let within = |life: &&Life| {
            life.died.is_none_or(|died| died > after) && life.born.is_none_or(|born| born <= until)
        };
        self.lives.get(&thread).map(|lives| lives.iter().filter(within).collect()).unwrap_or_default()
    }

    /// Forgets those that ended before.
    pub(super) fn forget(&mut self, before: Duration) {
        while let Some((thread, _)) = self.ended.front().copied().filter(|(_, at)| *at < before) {
            self.ended.pop_front();
            let Some(lives) = self.lives.get_mut(&thread) else { continue };
            let kept = lives.len();
            lives.retain(|life| life.died.is_none_or(|died| died >= before));
            self.count -= kept - lives.len();
            if lives.is_empty() {
                self.lives.remove(&thread);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn happened(thread: u32, process: u32, deed: Deed, at: u64) -> Happened {
        Happened { thread, process, deed, at: ms(at) }
    }

    fn process(pid: u32, auid: u32, start: u64) -> Process {
        Process { pid, thread: pid, auid: Some(auid), start: ms(start), ..Process::default() }
    }

    fn listening() -> Tasks {
        let mut tasks = Tasks::default();
        tasks.begin(ms(0));
        tasks
    }

    fn nobody(_: u32) -> Option<(Process, Duration)> {
        None
    }

    #[test]
    fn a_number_that_was_given_again_is_two_lives() {
        let mut tasks = listening();
        for (auid, from) in [(1005, 100), (1006, 300)] {
            tasks.take(&happened(7, 7, Deed::Began, from), nobody);
            let read = |_| Some((process(7, auid, from), ms(from + 2)));
            tasks.take(&happened(7, 7, Deed::Started, from + 1), read);
            tasks.take(&happened(7, 7, Deed::Ended, from + 10), nobody);
        }
        let logins = |after, until| {
            let lives = tasks.with_number(7, ms(after), ms(until));
            lives.iter().map(|life| life.seen().and_then(|seen| seen.auid)).collect::<Vec<_>>()
        };
        assert_eq!(logins(50, 400), [Some(1005), Some(1006)]);
        assert_eq!(logins(110, 400), [Some(1006)], "the first had ended");
        assert_eq!(logins(50, 299), [Some(1005)]);
        tasks.forget(ms(111));
        assert_eq!(tasks.with_number(7, ms(0), ms(400)).len(), 1);
        tasks.forget(ms(1000));
        assert_eq!((tasks.count, tasks.lives.len(), tasks.ended.len()), (0, 0, 0));
    }

    #[test]
    fn a_reading_from_before_the_program_began_is_worth_nothing() {
        let mut tasks = listening();
        tasks.take(&happened(7, 7, Deed::Started, 100), |_| Some((process(7, 1005, 90), ms(101))));
        let seen = |tasks: &Tasks| tasks.with_number(7, ms(0), ms(900))[0].seen().and_then(|seen| seen.auid);
        assert_eq!(seen(&tasks), Some(1005));
        tasks.take(&happened(7, 7, Deed::Started, 200), nobody);
        assert_eq!(seen(&tasks), None, "the login may have been set between the two");
        tasks.take(&happened(7, 7, Deed::Started, 300), |_| Some((process(7, 1006, 90), ms(350))));
        tasks.take(&happened(7, 7, Deed::Started, 340), nobody);
        assert_eq!(seen(&tasks), Some(1006), "read late, after both");
    }

    #[test]
    fn a_process_that_began_after_the_announcement_is_another_one() {
        let mut tasks = listening();
        tasks.take(&happened(7, 7, Deed::Started, 100), |_| Some((process(7, 1005, 110), ms(120))));
        assert_eq!(tasks.with_number(7, ms(0), ms(900))[0].seen(), None);
    }

    #[test]
    fn whose_beginning_nobody_saw_may_have_been_there_all_along() {
        let mut tasks = listening();
        tasks.take(&happened(7, 7, Deed::Ended, 100), nobody);
        tasks.take(&happened(7, 7, Deed::Began, 200), nobody);
        assert_eq!(tasks.with_number(7, ms(50), ms(300)).len(), 2);
        assert_eq!(tasks.with_number(7, ms(50), ms(150)).len(), 1);
    }

    #[test]
    fn what_is_remembered_stays_bounded_and_says_since_when_it_is_whole() {
        let mut tasks = Tasks::default();
        assert!(!tasks.is_whole_since(ms(5)));
        tasks.begin(ms(3));
        assert!(tasks.is_whole_since(ms(5)) && !tasks.is_whole_since(ms(2)));
        for number in 0..=u32::try_from(BOUND).unwrap() {
            tasks.take(&happened(number, number, Deed::Began, 10), nobody);
        }
        assert_eq!(tasks.count, 1);
        assert!(!tasks.is_whole_since(ms(5)) && tasks.is_whole_since(ms(10)));
    }
}
