//! Joins audit events with the generations that one network namespace committed.
//!
//! In: audit messages and NEWGEN notifications, in any order. Out: the events that made those generations, and whole
//! events that are of use otherwise. Joined by generation and process, never by time: another namespace's event may
//! bear the same generation. Holds both for a bounded time and number. No I/O, no clock: callers say what time it is.

use super::record::{Body, EXECVE, PROCTITLE, Record, SYSCALL};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// How long an event without its end (EOE) may get further records: tasks without an audit context have none.
const QUIET: Duration = Duration::from_millis(200);
/// How long an event waits for its generation; no commit need wait longer for its event.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// How often it is tried in any case.
const ROUNDS: u8 = 3;
/// How many of each are held.
const BOUND: usize = 8192;
/// How many records of one event are kept: a commit has one a table.
const RECORDS: usize = 4096;

/// A commit, as NFT_MSG_NEWGEN tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    /// NFTA_GEN_ID.
    pub(super) generation: u32,
    /// NFTA_GEN_PROC_PID, which is a *thread's* id (`task_pid_nr`), while audit gives the process's.
    pub(super) thread: u32,
    /// The process of that thread, where it was still to be found.
    pub(super) process: Option<u32>,
}

impl Committed {
    /// Whether the process that audit names made it. `belongs(pid, tid)` says whether a thread is one of a process.
    fn is_by(&self, pid: u32, belongs: &impl Fn(u32, u32) -> bool) -> bool {
        pid == self.thread
            || self.process == Some(pid)
            || (self.process.is_none() && belongs(pid, self.thread))
    }
}

/// An event's time and serial number.
type Key = (i64, u64);

/// One audit message: its type and its text.
pub(super) type Message = (u32, Vec<u8>);

/// An event and the commits that it is joined with.
#[derive(Debug)]
pub(super) struct Joined<C> {
    /// Never empty.
    pub(super) commits: Vec<(Committed, C)>,
    /// The event's records.
    pub(super) records: Vec<Message>,
    /// Whether it was given before, with other commits of the same system call.
    pub(super) again: bool,
}

#[derive(Debug)]
struct Held {
    records: Vec<Message>,
    /// (generation, pid), each once; those not yet joined.
    claims: Vec<(u32, u32)>,
    is_filters: bool,
    is_of_use: bool,
    /// EOE came.
    ended: bool,
    /// SYSCALL came.
    called: bool,
    /// PROCTITLE came, the last record but EOE.
    titled: bool,
    given: bool,
    since: Instant,
    /// How often it was looked at.
    rounds: u8,
}

impl Held {
    fn new(since: Instant) -> Self {
        Self {
            records: Vec::new(),
            claims: Vec::new(),
            is_filters: false,
            is_of_use: false,
            ended: false,
            called: false,
            titled: false,
            given: false,
            since,
            rounds: 0,
        }
    }

    fn is_whole(&self, now: Instant) -> bool {
        self.ended || now.duration_since(self.since) >= QUIET
    }
}

/// Events and generations that wait for each other. `C` is what a caller keeps with a commit.
#[derive(Debug)]
pub(super) struct Join<C> {
    /// Not about a packet filter, so far.
    others: BTreeMap<Key, Held>,
    /// About one.
    events: BTreeMap<Key, Held>,
    commits: VecDeque<(Committed, C, Instant)>,
    finished: VecDeque<Vec<Message>>,
    /// Commits that no longer wait, because too many did.
    displaced: Vec<(Committed, C, Instant)>,
    /// Events given up because too many waited.
    pub(super) dropped: u64,
}

impl<C> Default for Join<C> {
    fn default() -> Self {
        Self {
            others: BTreeMap::new(),
            events: BTreeMap::new(),
            commits: VecDeque::new(),
            finished: VecDeque::new(),
            displaced: Vec::new(),
            dropped: 0,
        }
    }
}

impl<C> Join<C> {
    /// Takes one audit record, and the message that it was read from.
    pub(super) fn record(&mut self, record: Record, message: Message, now: Instant) {
        let key = (record.millis, record.serial);
        let is_filters = matches!(record.body, Body::Netfilter(_));
        // An event of which another record came first moves over.
        let moved = if is_filters { self.others.remove(&key) } else { None };
        let there = self.events.contains_key(&key);
        let side = if is_filters || there { &mut self.events } else { &mut self.others };
        if side.len() >= BOUND && !side.contains_key(&key) {
            self.make_room(is_filters || there);
        }
        let side = if is_filters || there { &mut self.events } else { &mut self.others };
        let held = side.entry(key).or_insert_with(|| moved.unwrap_or_else(|| Held::new(now)));
        held.is_filters |= is_filters;
        held.is_of_use |= message.0 == EXECVE;
        held.called |= message.0 == SYSCALL;
        held.titled |= message.0 == PROCTITLE;
        match record.body {
            Body::Netfilter(cfg) => match cfg.generation {
                Some(generation) if !held.claims.contains(&(generation, cfg.pid)) => {
                    held.claims.push((generation, cfg.pid));
                }
                Some(_) => {}
                None => held.is_of_use = true,
            },
            Body::End => held.ended = true,
            _ => {}
        }
        if held.records.len() < RECORDS {
            held.records.push(message);
        }
        if held.ended && held.claims.is_empty() && !held.given {
            self.retire(key, is_filters || there);
        }
    }

    /// Gives up the oldest events, but not those that a commit waits for, as long as there are others.
    fn make_room(&mut self, is_filters: bool) {
        if !is_filters {
            self.others.pop_first();
            return;
        }
        let wanted: HashSet<u32> = self.commits.iter().map(|(commit, ..)| commit.generation).collect();
        let is_wanted = |held: &Held| held.claims.iter().any(|(generation, _)| wanted.contains(generation));
        let unwanted = self.events.iter().filter(|(_, held)| !is_wanted(held)).map(|(key, _)| *key);
        // Several at once: the search is long.
        let mut given_up: Vec<Key> = unwanted.take(BOUND / 16).collect();
        if given_up.is_empty() {
            given_up.extend(self.events.keys().next());
        }
        self.dropped += given_up.len() as u64;
        given_up.iter().for_each(|key| drop(self.events.remove(key)));
    }

    /// An event that no commit will be joined with.
    fn retire(&mut self, key: Key, is_filters: bool) {
        let side = if is_filters { &mut self.events } else { &mut self.others };
        let Some(held) = side.remove(&key) else { return };
        if held.is_of_use {
            if self.finished.len() >= BOUND {
                self.finished.pop_front();
            }
            self.finished.push_back(held.records);
        }
    }

    /// Takes one commit of the watched namespace.
    pub(super) fn commit(&mut self, commit: Committed, kept: C, now: Instant) {
        if self.commits.len() >= BOUND
            && let Some(oldest) = self.commits.pop_front()
        {
            self.displaced.push(oldest);
        }
        self.commits.push_back((commit, kept, now));
    }

    /// The events that are whole and joined, oldest first; forgets what waited too long. `belongs(pid, tid)`
    /// says whether a thread is one of a process, where neither message told.
    pub(super) fn ready(&mut self, now: Instant, belongs: impl Fn(u32, u32) -> bool) -> Vec<Joined<C>> {
        self.ready_when(now, belongs, Held::is_whole)
    }

    /// As [`Join::ready`], but an event is also taken with its last record but EOE.
    pub(super) fn ready_early(&mut self, now: Instant, belongs: impl Fn(u32, u32) -> bool) -> Vec<Joined<C>> {
        self.ready_when(now, belongs, |held, now| (held.called && held.titled) || held.is_whole(now))
    }

    fn ready_when(
        &mut self,
        now: Instant,
        belongs: impl Fn(u32, u32) -> bool,
        is_ready: impl Fn(&Held, Instant) -> bool,
    ) -> Vec<Joined<C>> {
        let mut claimed: HashMap<u32, Vec<(Key, u32)>> = HashMap::new();
        if !self.commits.is_empty() {
            for (key, held) in self.events.iter().filter(|(_, held)| is_ready(held, now)) {
                for (generation, pid) in &held.claims {
                    claimed.entry(*generation).or_default().push((*key, *pid));
                }
            }
        }
        let mut joined: BTreeMap<Key, Vec<(Committed, C)>> = BTreeMap::new();
        let mut waiting = VecDeque::with_capacity(self.commits.len());
        for (commit, kept, since) in self.commits.drain(..) {
            let claims = claimed.get(&commit.generation).map_or(&[][..], Vec::as_slice);
            match claims.iter().find(|(_, pid)| commit.is_by(*pid, &belongs)) {
                Some((key, _)) => joined.entry(*key).or_default().push((commit, kept)),
                None => waiting.push_back((commit, kept, since)),
            }
        }
        self.commits = waiting;
        let ready = joined.into_iter().filter_map(|(key, commits)| self.give(key, commits)).collect();
        self.forget(now);
        ready
    }

    /// One system call may commit several times: its event stays until all its generations are joined.
    fn give(&mut self, key: Key, commits: Vec<(Committed, C)>) -> Option<Joined<C>> {
        let held = self.events.get_mut(&key)?;
        held.claims
            .retain(|(generation, _)| commits.iter().all(|(commit, _)| commit.generation != *generation));
        let again = std::mem::replace(&mut held.given, true);
        let records =
            if held.claims.is_empty() { self.events.remove(&key)?.records } else { held.records.clone() };
        Some(Joined { commits, records, again })
    }

    /// Whole events that are about x_tables, or about a program that was started; oldest first.
    pub(super) fn finished(&mut self) -> impl Iterator<Item = Vec<Message>> + '_ {
        self.finished.drain(..)
    }

    /// Takes back the commits that have waited long enough, and those for which there was no room; each commit is either
    /// joined or given back here, with the time since when it waited.
    pub(super) fn overdue(&mut self, is_late: impl Fn(&C, Instant) -> bool) -> Vec<(Committed, C, Instant)> {
        let late = self.commits.iter().take_while(|(_, kept, since)| is_late(kept, *since)).count();
        let mut overdue = std::mem::take(&mut self.displaced);
        overdue.extend(self.commits.drain(..late));
        overdue
    }

    fn forget(&mut self, now: Instant) {
        let age = |held: &Held| now.duration_since(held.since);
        let quiet = |(key, held): (&Key, &Held)| (age(held) >= QUIET).then_some(*key);
        let others: Vec<_> = self.others.iter().filter_map(quiet).collect();
        // Of x_tables, without a system call's end.
        let without_claims = |(_, held): &(&Key, &Held)| held.claims.is_empty() && !held.given;
        let events: Vec<_> = self.events.iter().filter(without_claims).filter_map(quiet).collect();
        others.into_iter().for_each(|key| self.retire(key, false));
        events.into_iter().for_each(|key| self.retire(key, true));
        // A commit is announced before its record is written, and told of before records are taken: an event that no
        // commit has joined by the second time is another namespace's.
        self.events.retain(|_, held| {
            held.rounds = held.rounds.saturating_add(1);
            age(held) < HOLD && (held.rounds <= ROUNDS || age(held) < QUIET || held.given)
        });
    }

    /// Whether nothing waits at all.
    pub(super) fn is_idle(&self) -> bool {
        self.events.is_empty() && self.others.is_empty() && self.commits.is_empty()
    }

    /// How many commits of the watched namespace wait for their event.
    pub(super) fn commits_waiting(&self) -> usize {
        self.commits.len()
    }

    /// What was kept with the first of them, and since when it waits.
    pub(super) fn first_waiting(&self) -> Option<(&C, Instant)> {
        self.commits.front().map(|(_, kept, since)| (kept, *since))
    }

    /// When the next event about a packet filter will be taken as whole, though its end has not come.
    pub(super) fn next_quiet(&self) -> Option<Instant> {
        let open = self.events.values().filter(|held| !held.ended && !held.given);
        open.map(|held| held.since + QUIET).min()
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
