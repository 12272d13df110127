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
mod tests {
    use super::*;
    use crate::evidence::record::parse_message;

    const CFG: &[u8] =
        b"audit(1795179312.272:3): table=a:2 family=1 entries=1 op=nft_register_table pid=77 comm=\"nft\"";
    const CALL: &[u8] = b"audit(1795179312.272:3): arch=c000003e syscall=46 success=yes pid=77 auid=1005 uid=0 ses=4 comm=\"nft\" exe=\"/n\"";
    const TITLE: &[u8] = b"audit(1795179312.272:3): proctitle=6E6674";
    const END: &[u8] = b"audit(1795179312.272:3): ";

    fn committed(generation: u32, thread: u32, process: Option<u32>) -> Committed {
        Committed { generation, thread, process }
    }

    fn take(join: &mut Join<()>, kind: u32, text: &[u8], now: Instant) {
        join.record(parse_message(kind, text).unwrap(), (kind, text.to_vec()), now);
    }

    fn event(join: &mut Join<()>, now: Instant) {
        take(join, 1325, CFG, now);
        take(join, 1320, END, now);
    }

    fn ready(join: &mut Join<()>, now: Instant) -> usize {
        join.ready(now, |_, _| false).len()
    }

    #[test]
    fn an_event_is_joined_whichever_of_the_two_comes_first() {
        let now = Instant::now();
        let mut join = Join::default();
        event(&mut join, now);
        assert_eq!(ready(&mut join, now), 0);
        join.commit(committed(2, 77, Some(77)), (), now);
        assert_eq!(ready(&mut join, now), 1);
        join.commit(committed(2, 77, Some(77)), (), now);
        event(&mut join, now);
        assert_eq!(ready(&mut join, now), 1);
        assert!(join.is_idle());
    }

    #[test]
    fn records_are_joined_in_any_order_and_between_those_of_other_events() {
        let now = Instant::now();
        let records: [(u32, &[u8]); 4] = [(1325, CFG), (1300, CALL), (1327, TITLE), (1320, END)];
        for order in [[0, 1, 2, 3], [1, 0, 2, 3], [2, 1, 0, 3], [1, 2, 0, 3]] {
            let mut join = Join::default();
            join.commit(committed(2, 77, None), (), now);
            for at in order {
                let other = format!("audit(1795179312.272:{}): pid=9 auid=1 uid=0 ses=1", 10 + at);
                take(&mut join, 1105, other.as_bytes(), now);
                take(&mut join, records[at].0, records[at].1, now);
            }
            let joined = join.ready(now, |_, _| false);
            let kinds: Vec<u32> = joined[0].records.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, order.map(|at| records[at].0), "{order:?}");
        }
    }

    #[test]
    fn another_namespaces_event_with_the_same_generation_is_not_joined() {
        let now = Instant::now();
        let mut join = Join::default();
        event(&mut join, now);
        join.commit(committed(2, 78, Some(78)), (), now);
        join.commit(committed(3, 77, Some(77)), (), now);
        assert_eq!(ready(&mut join, now), 0);
        assert_eq!(ready(&mut join, now + HOLD), 0);
        assert_eq!(join.overdue(|(), since| now + HOLD >= since + HOLD).len(), 2);
        assert!(join.is_idle());
    }

    #[test]
    fn of_two_claims_to_a_generation_the_one_that_the_kernel_named_counts() {
        let now = Instant::now();
        let mut join = Join::default();
        let foreign =
            String::from_utf8(CFG.to_vec()).unwrap().replace(":3)", ":2)").replace("pid=77", "pid=66");
        take(&mut join, 1325, foreign.as_bytes(), now);
        take(&mut join, 1320, b"audit(1795179312.272:2): ", now);
        event(&mut join, now);
        join.commit(committed(2, 77, Some(77)), (), now);
        let joined = join.ready(now, |_, _| false);
        assert_eq!((joined.len(), &joined[0].records[0].1), (1, &CFG.to_vec()));
    }

    #[test]
    fn a_thread_is_joined_with_its_process() {
        let now = Instant::now();
        let mut join = Join::default();
        event(&mut join, now);
        join.commit(committed(2, 90, Some(77)), (), now);
        assert_eq!(ready(&mut join, now), 1);
        take(&mut join, 1325, CFG, now);
        join.commit(committed(2, 90, None), (), now);
        assert_eq!(join.ready(now + QUIET, |pid, tid| (pid, tid) == (77, 90)).len(), 1);
    }

    #[test]
    fn an_event_without_an_end_is_taken_when_quiet() {
        let now = Instant::now();
        let mut join = Join::default();
        take(&mut join, 1325, CFG, now);
        join.commit(committed(2, 77, None), (), now);
        assert_eq!((ready(&mut join, now), join.next_quiet()), (0, Some(now + QUIET)));
        assert_eq!(ready(&mut join, now + QUIET), 1);
    }

    #[test]
    fn whoever_is_in_a_hurry_does_not_wait_for_the_end() {
        let now = Instant::now();
        let mut join = Join::default();
        join.commit(committed(2, 77, None), (), now);
        take(&mut join, 1325, CFG, now);
        take(&mut join, 1300, CALL, now);
        assert_eq!(join.ready_early(now, |_, _| false).len(), 0);
        take(&mut join, 1327, TITLE, now);
        assert_eq!(ready(&mut join, now), 0);
        assert_eq!(join.ready_early(now, |_, _| false).len(), 1);
        take(&mut join, 1320, END, now);
        assert!(join.is_idle());
    }

    #[test]
    fn one_system_call_may_commit_twice() {
        let now = Instant::now();
        let mut join = Join::default();
        take(&mut join, 1325, CFG, now);
        let second = String::from_utf8(CFG.to_vec()).unwrap().replace("a:2", "a:3");
        take(&mut join, 1325, second.as_bytes(), now);
        take(&mut join, 1320, END, now);
        join.commit(committed(2, 77, None), (), now);
        let first = join.ready(now, |_, _| false);
        assert_eq!((first.len(), first[0].again), (1, false));
        join.commit(committed(3, 77, None), (), now);
        let second = join.ready(now, |_, _| false);
        assert_eq!((second.len(), second[0].again), (1, true));
        join.commit(committed(3, 77, None), (), now);
        assert_eq!(ready(&mut join, now), 0, "a generation is joined once");
    }

    #[test]
    fn x_tables_and_started_programs_are_given_whole_and_the_rest_is_not_kept() {
        let now = Instant::now();
        let mut join = Join::default();
        let xt = b"audit(1.000:1): table=filter family=2 entries=4 op=xt_replace pid=7 comm=\"iptables\"";
        take(&mut join, 1325, xt, now);
        take(&mut join, 1300, b"audit(1.000:2): arch=c000003e", now);
        take(&mut join, 1309, b"audit(1.000:2): argc=1 a0=\"nft\"", now);
        take(&mut join, 1300, b"audit(1.000:4): arch=c000003e", now);
        for serial in [2, 4] {
            take(&mut join, 1320, format!("audit(1.000:{serial}): ").as_bytes(), now);
        }
        let of = |join: &mut Join<()>| join.finished().map(|records| records[0].0).collect::<Vec<u32>>();
        assert_eq!(of(&mut join), [1300]);
        join.ready(now + QUIET, |_, _| false);
        assert_eq!(of(&mut join), [1325], "without a system call's end it is taken when quiet");
        assert!(join.is_idle());
    }

    #[test]
    fn what_has_waited_too_long_is_taken_back() {
        let now = Instant::now();
        let mut join = Join::default();
        join.commit(committed(2, 77, None), "first", now);
        join.commit(committed(3, 77, None), "second", now + QUIET);
        assert_eq!(join.first_waiting(), Some((&"first", now)));
        let late = join.overdue(|_, since| now + QUIET >= since + QUIET);
        assert_eq!(late, [(committed(2, 77, None), "first", now)]);
        assert_eq!(join.commits_waiting(), 1);
    }

    #[test]
    fn a_flood_of_other_namespaces_drives_no_event_out_that_a_commit_waits_for() {
        let now = Instant::now();
        let mut join = Join::default();
        join.commit(committed(2, 77, None), (), now);
        take(&mut join, 1325, CFG, now);
        for serial in 0..(3 * BOUND) {
            let message = format!(
                "audit(1795179313.000:{serial}): table=a:9 family=1 entries=1 op=nft_x pid=7 comm=\"n\""
            );
            take(&mut join, 1325, message.as_bytes(), now);
        }
        take(&mut join, 1320, END, now);
        assert_eq!((ready(&mut join, now), join.events.len() <= BOUND), (1, true));
        for _ in 0..ROUNDS {
            ready(&mut join, now + QUIET);
        }
        assert!(join.is_idle(), "events of other namespaces are not held for long");
    }

    #[test]
    fn what_is_held_stays_bounded_and_a_flood_of_others_drives_no_commit_out() {
        let now = Instant::now();
        let mut join = Join::default();
        event(&mut join, now);
        for serial in 0..(BOUND + 10) {
            let other = format!("audit(2.000:{serial}): pid=1 uid=0 auid=0 ses=1");
            take(&mut join, 1105, other.as_bytes(), now);
        }
        join.commit(committed(2, 77, None), (), now);
        assert_eq!((ready(&mut join, now), join.others.len(), join.dropped), (1, BOUND, 0));
        for serial in 0..(BOUND + 10) {
            let message =
                format!("audit(1.000:{serial}): table=a:2 family=1 entries=1 op=nft_x pid=7 comm=\"n\"");
            take(&mut join, 1325, message.as_bytes(), now);
            join.commit(committed(9, 9, None), (), now);
        }
        assert!(join.events.len() <= BOUND && join.commits.len() == BOUND && join.dropped >= 10);
        assert_eq!(join.overdue(|(), _| false).len(), 10, "no commit is forgotten");
    }
}
