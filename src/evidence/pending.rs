//! Joins audit events with the generations that one network namespace committed.
//!
//! In: audit messages and NEWGEN notifications, in any order. Out: the events of that namespace as lines
//! of `audit.log`. Holds both for a bounded time and number. No I/O, no clock: callers say what time it is.

use super::record::{self, Body, Record};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long an event without its end (EOE) may get further records: tasks without an audit context have none.
const QUIET: Duration = Duration::from_millis(200);
/// How long an event waits for its generation, and a generation for its event.
const HOLD: Duration = Duration::from_secs(5);
/// How many of each are held.
const BOUND: usize = 8192;

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

#[derive(Debug)]
struct Held {
    lines: Vec<u8>,
    /// (generation, pid) of each table.
    commits: Vec<(u32, u32)>,
    /// Not about a commit at all (so far).
    ended: bool,
    since: Instant,
}

/// Events and generations that wait for each other.
#[derive(Debug, Default)]
pub(super) struct Pending {
    events: BTreeMap<(i64, u64), Held>,
    commits: VecDeque<(Committed, Instant)>,
    /// Generations whose audit event never came.
    pub(super) unmatched: u64,
    /// Events and generations given up because too many waited.
    pub(super) dropped: u64,
}

impl Pending {
    /// Takes one audit message. A switch of auditing itself is given back as a line, as it needs no join.
    pub(super) fn record(&mut self, kind: u32, message: &[u8], now: Instant) -> Option<Vec<u8>> {
        let Record { millis, serial, body } = record::parse_message(kind, message)?;
        let line = line(kind, message);
        if matches!(body, Body::Enabled(_)) {
            return Some(line);
        }
        if self.events.len() >= BOUND && self.events.pop_first().is_some() {
            self.dropped += 1;
        }
        let fresh = || Held { lines: Vec::new(), commits: Vec::new(), ended: false, since: now };
        let held = self.events.entry((millis, serial)).or_insert_with(fresh);
        match body {
            Body::Netfilter(cfg) => {
                held.commits.extend(cfg.generation.map(|generation| (generation, cfg.pid)))
            }
            Body::End => held.ended = true,
            _ => {}
        }
        held.lines.extend(line);
        if held.ended && held.commits.is_empty() {
            self.events.remove(&(millis, serial));
        }
        None
    }

    /// Takes one commit of the watched namespace.
    pub(super) fn commit(&mut self, commit: Committed, now: Instant) {
        if self.commits.len() >= BOUND && self.commits.pop_front().is_some() {
            self.dropped += 1;
        }
        self.commits.push_back((commit, now));
    }

    /// The events that are whole and joined, oldest first; forgets what waited too long. `belongs(pid, tid)`
    /// says whether a thread is one of a process, where neither message told.
    pub(super) fn ready(&mut self, now: Instant, belongs: impl Fn(u32, u32) -> bool) -> Vec<Vec<u8>> {
        let mut joined = Vec::new();
        for (key, held) in &self.events {
            if !held.ended && now.duration_since(held.since) < QUIET {
                continue;
            }
            let same = |(commit, _): &(Committed, Instant)| {
                held.commits.iter().any(|&(generation, pid)| {
                    generation == commit.generation
                        && (pid == commit.thread
                            || Some(pid) == commit.process
                            || (commit.process.is_none() && belongs(pid, commit.thread)))
                })
            };
            let before = self.commits.len();
            // One system call may commit several times; each commit joins one event only.
            self.commits.retain(|waiting| !same(waiting));
            if self.commits.len() < before {
                joined.push(*key);
            }
        }
        let lines = joined.iter().filter_map(|key| self.events.remove(key)).map(|held| held.lines).collect();
        self.forget(now);
        lines
    }

    fn forget(&mut self, now: Instant) {
        self.events.retain(|_, held| {
            let age = now.duration_since(held.since);
            age < HOLD && !(held.commits.is_empty() && age >= QUIET)
        });
        let waiting = self.commits.len();
        self.commits.retain(|(_, since)| now.duration_since(*since) < HOLD);
        self.unmatched += (waiting - self.commits.len()) as u64;
    }

    /// Whether nothing waits at all.
    pub(super) fn is_idle(&self) -> bool {
        self.events.is_empty() && self.commits.is_empty()
    }

    /// How many commits of the watched namespace wait for their event.
    pub(super) fn commits_waiting(&self) -> usize {
        self.commits.len()
    }
}

/// A message as auditd writes it. A table's name may hold newlines: they must not make lines.
fn line(kind: u32, message: &[u8]) -> Vec<u8> {
    let mut line = format!("type={} msg=", record::type_name(kind)).into_bytes();
    line.extend(message.iter().map(|byte| if matches!(byte, b'\n' | b'\r' | 0) { b' ' } else { *byte }));
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &[u8] =
        b"audit(1795179312.272:3): table=a:2 family=1 entries=1 op=nft_register_table pid=77 comm=\"nft\"";
    const END: &[u8] = b"audit(1795179312.272:3): ";

    fn committed(generation: u32, thread: u32, process: Option<u32>) -> Committed {
        Committed { generation, thread, process }
    }

    fn ready(pending: &mut Pending, now: Instant) -> usize {
        pending.ready(now, |_, _| false).len()
    }

    #[test]
    fn an_event_is_joined_whichever_of_the_two_comes_first() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.record(1325, CFG, now);
        pending.record(1320, END, now);
        assert_eq!(ready(&mut pending, now), 0);
        pending.commit(committed(2, 77, Some(77)), now);
        assert_eq!(ready(&mut pending, now), 1);
        pending.commit(committed(2, 77, Some(77)), now);
        pending.record(1325, CFG, now);
        pending.record(1320, END, now);
        assert_eq!(ready(&mut pending, now), 1);
        assert!(pending.is_idle());
    }

    #[test]
    fn another_namespaces_event_with_the_same_generation_is_not_joined() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.record(1325, CFG, now);
        pending.record(1320, END, now);
        pending.commit(committed(2, 78, Some(78)), now);
        pending.commit(committed(3, 77, Some(77)), now);
        assert_eq!(ready(&mut pending, now), 0);
        assert_eq!(ready(&mut pending, now + HOLD), 0);
        assert!(pending.is_idle());
        assert_eq!(pending.unmatched, 2);
    }

    #[test]
    fn a_thread_is_joined_with_its_process() {
        let now = Instant::now();
        let mut pending = Pending::default();
        for _ in 0..2 {
            pending.record(1325, CFG, now);
            pending.record(1320, END, now);
        }
        pending.commit(committed(2, 90, Some(77)), now);
        assert_eq!(ready(&mut pending, now), 1);
        pending.record(1325, CFG, now);
        pending.commit(committed(2, 90, None), now);
        assert_eq!(pending.ready(now + QUIET, |pid, tid| (pid, tid) == (77, 90)).len(), 1);
    }

    #[test]
    fn an_event_without_an_end_is_taken_when_quiet() {
        let now = Instant::now();
        let mut pending = Pending::default();
        pending.record(1325, CFG, now);
        pending.commit(committed(2, 77, None), now);
        assert_eq!(ready(&mut pending, now), 0);
        assert_eq!(ready(&mut pending, now + QUIET), 1);
    }

    #[test]
    fn a_newline_in_a_tables_name_makes_no_line() {
        let now = Instant::now();
        let forged = b"audit(1.000:3): table=x\ntype=SYSCALL msg=audit(1.000:3): auid=7:2 family=1 entries=1 op=nft_register_table pid=77 comm=\"nft\"";
        let mut pending = Pending::default();
        pending.record(1325, forged, now);
        pending.commit(committed(2, 77, None), now);
        let lines = pending.ready(now + QUIET, |_, _| false).concat();
        assert_eq!(lines.iter().filter(|b| **b == b'\n').count(), 1);
        assert!(lines.starts_with(b"type=NETFILTER_CFG msg=audit(1.000:3): table=x type=SYSCALL"));
    }

    #[test]
    fn what_is_held_stays_bounded() {
        let now = Instant::now();
        let mut pending = Pending::default();
        for serial in 0..(BOUND + 10) {
            let message =
                format!("audit(1.000:{serial}): table=a:2 family=1 entries=1 op=nft_x pid=7 comm=\"n\"");
            pending.record(1325, message.as_bytes(), now);
            pending.commit(committed(9, 9, None), now);
        }
        assert_eq!((pending.events.len(), pending.commits.len(), pending.dropped), (BOUND, BOUND, 20));
    }
}
