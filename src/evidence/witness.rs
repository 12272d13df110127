//! Who made generation G: asked of the kernel's audit, else of the process that the kernel named, else of nobody.
//!
//! In: the transactions of one network namespace as they are announced, the audit multicast group, the process
//! connector, /proc. Out: an [`Attested`] author for each transaction, as soon as it is certain. What is missing is a
//! gap, and the next rung of the ladder is taken: audit → process → unknown. Must not block, nor turn anything on;
//! what is held is bounded.

mod auditing;
mod connector;
mod follower;
mod judge;
mod tasks;

use super::EvidenceError;
use super::assemble::{Subject, subject};
use super::background::{COARSE, background, since_boot_at};
use super::collector::is_thread_of;
use super::join::{Committed, Join, Joined, Message};
use super::lore::Lore;
use super::people::People;
use super::process::{Ancestry, Claims, Proc, Sight, since_boot};
use super::record::{self, Body};
use crate::attribute;
use crate::model::{AuditEvent, Author, Gap, Transaction};
use auditing::Auditing;
use chrono::{DateTime, Utc};
use follower::Follower;
use judge::{Found, Question};
use rustix::fd::BorrowedFd;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tasks::Tasks;

/// How long the process connector stays open after it was last needed.
const LINGER: Duration = Duration::from_secs(60);
/// How many events about x_tables wait to be asked for.
const BOUND: usize = 1024;
/// Processes that change the firewall again and again are not looked at anew each time.
const REMEMBERED: usize = 64;
const THREADS: usize = 1024;
const FRESH: Duration = Duration::from_secs(1);
/// How old the count of tasks may be where it is not likely to be needed.
const RECENT: Duration = Duration::from_millis(500);

/// The author of one transaction.
#[derive(Clone, Debug, PartialEq)]
pub struct Attested {
    /// The generation that it made.
    pub generation: u32,
    /// By whom: of grade `audit`, `process`, or unknown.
    pub author: Author,
    /// When, by the kernel's clock; `None` where no audit record says so.
    pub time: Option<DateTime<Utc>>,
}

/// Listens, and says who it was. One for each network namespace that is watched.
#[derive(Debug)]
pub struct Witness {
    auditing: Auditing,
    follower: Option<Follower>,
    follower_needed_until: Option<Instant>,
    is_follower_refused: bool,
    proc: Option<Proc>,
    join: Join<Question>,
    lore: Lore,
    people: People,
    own_exe: Vec<u8>,
    x_tables: VecDeque<AuditEvent>,
    sights: VecDeque<(Arc<Sight>, Instant)>,
    /// Processes of threads that made changes before.
    threads: HashMap<u32, u32>,
    /// Before this, since boot, every transaction has been told of.
    told_until: Duration,
    /// How many tasks had ever been started, at `told_until` or not long before.
    forks: Option<u64>,
    forks_counted: Option<Instant>,
    gaps: Vec<Gap>,
}

impl Witness {
    /// Begins to listen, with whatever is to be had; what is not is told. Transactions have to be listened to from
    /// before this on, or from right after.
    pub fn open(now: Instant) -> (Self, Vec<Gap>) {
        let mut gaps = Vec::new();
        let proc = Proc::open().inspect_err(|error| {
            let hint = "run fwdrift on the host itself: numbers of processes are the host's";
            gaps.push(gap("process", error.to_string(), Some(hint.to_owned())));
        });
        let mut witness = Self {
            auditing: Auditing::open(now),
            follower: None,
            follower_needed_until: None,
            is_follower_refused: false,
            proc: proc.ok(),
            join: Join::default(),
            lore: Lore::default(),
            people: People::in_a_hurry(),
            own_exe: std::env::current_exe()
                .map(|path| path.into_os_string().into_encoded_bytes())
                .unwrap_or_default(),
            x_tables: VecDeque::new(),
            sights: VecDeque::new(),
            threads: HashMap::new(),
            told_until: since_boot(),
            forks: None,
            forks_counted: None,
            gaps,
        };
        witness.follow_processes(now);
        let gaps = witness.gaps();
        (witness, gaps)
    }

    /// What is to be polled for reading; nothing where audit cannot be listened to, or no longer.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        self.auditing.fd().into_iter().collect()
    }

    /// Tells of a transaction; each is to be told of as soon as it is announced, in the kernel's order. Looks at the
    /// process that the kernel named, which may be gone in a moment.
    pub fn commit(&mut self, transaction: &Transaction, now: Instant) {
        let thread = transaction.thread;
        let fresh = self.look_at(thread, now);
        let read_at = since_boot();
        let process = transaction.process.or(fresh.as_ref().map(|sight| sight.process.pid));
        let process = self.process_of(thread, process);
        let committed = Committed { generation: transaction.generation, thread, process };
        let question = Question {
            thread,
            comm: transaction.comm.clone(),
            seen_at: transaction.seen_at,
            after: self.told_until,
            read_at,
            fresh,
            came_round: self.may_have_come_round(),
            committed_at: None,
        };
        self.join.commit(committed, question, now);
    }

    /// Reads all that has come, without waiting. `now` is a time before which every transaction that was announced
    /// has been told of with [`Self::commit`]: take it, read the transactions, tell of them, then call this.
    pub fn receive(&mut self, now: Instant) {
        let told_until = since_boot().saturating_sub(now.elapsed());
        self.hear_audit(now);
        self.follow_processes(now);
        if let Some(follower) = &self.follower {
            let oldest = self.join.first_waiting().map_or(told_until, |(question, _)| question.after);
            follower.forget(oldest.min(self.told_until));
        }
        self.told_until = told_until;
        self.count_forks(now);
    }

    /// The authors that are certain by now, or will never be.
    pub fn resolved(&mut self, now: Instant) -> Vec<Attested> {
        let joined = self.join.ready_early(now, is_thread_of);
        let mut found: Vec<Attested> =
            joined.into_iter().flat_map(|joined| self.by_record(joined, now)).collect();
        let auditing = &self.auditing;
        let late = |question: &Question, since| now >= auditing.patience(now, question.seen_at, since);
        let left = self.join.overdue(late);
        if let Some(since) = left.first().map(|(.., since)| *since).filter(|_| self.auditing.is_speaking(now))
        {
            self.auditing.kept_silent(now, since);
        }
        let (commits, questions): (Vec<_>, Vec<_>) =
            left.into_iter().map(|(commit, question, _)| (commit, question)).unzip();
        let authors = self.by_processes(&questions);
        found.extend(attested(&commits, authors, None));
        self.take_finished();
        found
    }

    /// When [`Self::resolved`] has to be asked again though nothing was received; `None` if nothing waits.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let overdue = self.join.first_waiting();
        let overdue = overdue.map(|(question, since)| self.auditing.patience(now, question.seen_at, since));
        [overdue, self.join.next_quiet()].into_iter().flatten().min()
    }

    /// What changed tables of x_tables or ebtables since this was last asked, in whatever namespace: these records
    /// name none. Not fwdrift's own work in scratch namespaces, as far as the records tell it apart.
    pub fn x_tables(&mut self) -> Vec<AuditEvent> {
        self.x_tables.drain(..).collect()
    }

    /// What was missed since this was last asked, or will be.
    pub fn gaps(&mut self) -> Vec<Gap> {
        let mut gaps = self.auditing.take_gaps();
        gaps.append(&mut self.gaps);
        gaps
    }

    /// Whether audit tells of everything at present.
    pub fn hears_all(&self, now: Instant) -> bool {
        self.auditing.is_whole(now)
    }

    /// Asks the kernel whether auditing is on, and whether it lost records: for every now and then, as being turned on
    /// leaves no record.
    pub fn ask(&mut self, now: Instant) {
        self.auditing.ask(now);
        self.follow_processes(now);
    }

    fn hear_audit(&mut self, now: Instant) {
        if !self.auditing.is_speaking(now) && self.join.commits_waiting() > 0 {
            self.auditing.ask_again(now);
        }
        let (join, lore) = (&mut self.join, &mut self.lore);
        let mut switched = false;
        self.auditing.receive(|auditing, message| {
            let Some(record) = record::parse_in_short(message.0, &message.1) else { return };
            auditing.heard(now, record.time());
            match record.body {
                Body::Enabled(on) => {
                    auditing.switched(on, record.time());
                    switched = true;
                }
                Body::Session(start) => lore.session(start),
                Body::Netfilter(_) => {
                    auditing.spoke(now, record.time());
                    join.record(record, message, now);
                }
                _ => join.record(record, message, now),
            }
        });
        if switched {
            self.auditing.ask(now);
        }
    }

    /// Follows processes where audit does not tell who it was, and no longer where it does again.
    fn follow_processes(&mut self, now: Instant) {
        if !self.auditing.is_whole(now) {
            self.follower_needed_until = Some(now + LINGER);
        }
        let is_needed = self.follower_needed_until.is_some_and(|until| now < until);
        if !is_needed {
            self.follower = None;
        } else if self.follower.is_none() && self.proc.is_some() && !self.is_follower_refused {
            // A second one, which the thread can keep.
            let started = Proc::open().map_err(|_| EvidenceError::Thread).and_then(Follower::start);
            self.follower = started.map_err(|error| self.lose_follower(&error)).ok();
        }
        let Some(follower) = &self.follower else { return };
        if follower.take_losses() > 0 {
            let until = auditing::at(Utc::now());
            let reason = format!("processes began faster than they were looked at, until {until}");
            self.gaps.push(gap("process", reason, None));
        }
        if let Some(error) = follower.take_failure() {
            self.lose_follower(&error);
        }
    }

    fn lose_follower(&mut self, error: &EvidenceError) {
        self.follower = None;
        self.is_follower_refused = true;
        let hint = "without it, the author of a short-lived program is often unknown while auditing is off";
        self.gaps.push(gap("process", error.to_string(), Some(hint.to_owned())));
    }

    /// The thread's process as it is now; of one that was there a moment ago, only what may have changed.
    fn look_at(&mut self, thread: u32, now: Instant) -> Option<Arc<Sight>> {
        let proc = self.proc.as_ref()?;
        self.sights.retain(|(_, since)| now.saturating_duration_since(*since) < FRESH);
        let known = self.sights.iter().find(|(sight, _)| sight.process.thread == thread);
        if let Some((sight, _)) = known {
            let short = proc.task_in_short(thread)?;
            let (before, mut after) = (&sight.process, short);
            after.cmdline.clone_from(&before.cmdline);
            after.claims.clone_from(&before.claims);
            if after == *before {
                return Some(Arc::clone(sight));
            }
        }
        let sight = Arc::new(proc.sight(thread)?);
        self.sights.retain(|(sight, _)| sight.process.thread != thread);
        if self.sights.len() >= REMEMBERED {
            self.sights.pop_front();
        }
        self.sights.push_back((Arc::clone(&sight), now));
        Some(sight)
    }

    /// The process of a thread, which may be gone by now. One from earlier does no harm: it has to be the one that
    /// an audit record of the same generation names.
    fn process_of(&mut self, thread: u32, process: Option<u32>) -> Option<u32> {
        match process {
            Some(process) if process != thread => {
                if self.threads.len() >= THREADS {
                    self.threads.clear();
                }
                self.threads.insert(thread, process);
            }
            Some(_) => drop(self.threads.remove(&thread)),
            None => return self.threads.get(&thread).copied(),
        }
        process
    }

    /// Seldom while audit is all that is needed: it takes a moment on machines with many interrupts.
    fn count_forks(&mut self, now: Instant) {
        let is_recent = |counted: Instant| now.saturating_duration_since(counted) < RECENT;
        if self.auditing.is_whole(now) && self.forks_counted.is_some_and(is_recent) {
            return;
        }
        self.forks_counted = Some(now);
        self.forks = self.proc.as_ref().and_then(Proc::forks);
    }

    fn may_have_come_round(&self) -> bool {
        let numbers = self.proc.as_ref().and_then(|proc| Some((self.forks?, proc.forks()?, proc.numbers()?)));
        numbers.is_none_or(|(before, after, numbers)| after.saturating_sub(before) >= numbers)
    }

    fn by_record(&mut self, joined: Joined<Question>, now: Instant) -> Vec<Attested> {
        let (commits, mut questions): (Vec<_>, Vec<_>) = joined.commits.into_iter().unzip();
        let (time, authors) = match subject(&joined.records) {
            Some(Subject::Filter(mut event)) => {
                self.lore.complete(&mut event);
                let committed_at = since_boot_at(event.time);
                questions.iter_mut().for_each(|question| question.committed_at = Some(committed_at));
                let authors = match event.syscall {
                    Some(_) => questions
                        .iter()
                        .map(|question| self.by_event(&event, question, committed_at))
                        .collect(),
                    None => {
                        self.auditing.told_half(now);
                        self.by_processes(&questions)
                    }
                };
                (Some(event.time), authors)
            }
            _ => (None, self.by_processes(&questions)),
        };
        attested(&commits, authors, time)
    }

    fn by_event(&self, event: &AuditEvent, question: &Question, committed_at: Duration) -> Author {
        let ancestry = |ppid, session| match &self.proc {
            Some(proc) => proc.ancestry(ppid, session, committed_at + COARSE, &Claims::default()),
            None => Ancestry::default(),
        };
        let background = background(event, question.fresh.as_deref(), committed_at, ancestry);
        attribute::witnessed(&AuditEvent { background, ..event.clone() }, &|uid| self.people.name(uid))
    }

    /// Waits, if at all, once for all of them.
    fn by_processes(&self, questions: &[Question]) -> Vec<Author> {
        let find = |tasks: &Tasks| questions.iter().map(|question| judge::find(question, tasks)).collect();
        let found: Vec<Found> =
            match (&self.follower, questions.iter().map(|question| question.read_at).max()) {
                (Some(follower), Some(read_at)) => follower.ask(read_at, find),
                _ => find(&Tasks::default()),
            };
        questions.iter().zip(found).map(|(question, found)| self.by_process(question, &found)).collect()
    }

    fn by_process(&self, question: &Question, found: &Found) -> Author {
        let ancestry = match (found, &question.fresh, &self.proc) {
            (Found::Certain { process, .. }, Some(fresh), _) if **process == fresh.process => {
                fresh.ancestry.clone()
            }
            (Found::Certain { process, .. }, _, Some(proc)) => {
                proc.ancestry(process.ppid, process.session, process.start, &process.claims)
            }
            _ => Ancestry::default(),
        };
        judge::author(question, found, &ancestry, &self.lore, &|uid| self.people.name(uid))
    }

    /// Whole events that belong to no transaction of the watched namespace.
    fn take_finished(&mut self) {
        let finished: Vec<Vec<Message>> = self.join.finished().collect();
        for messages in finished {
            match subject(&messages) {
                Some(Subject::Program(serial, call, arguments)) => self.lore.program(serial, call, arguments),
                Some(Subject::Filter(event)) if attribute::is_scratch(&event, &self.own_exe) => {}
                Some(Subject::Filter(mut event)) => {
                    self.lore.complete(&mut event);
                    if self.x_tables.len() >= BOUND {
                        self.x_tables.pop_front();
                    }
                    self.x_tables.push_back(event);
                }
                None => {}
            }
        }
    }
}

fn attested(commits: &[Committed], authors: Vec<Author>, time: Option<DateTime<Utc>>) -> Vec<Attested> {
    let of =
        |(commit, author): (&Committed, Author)| Attested { generation: commit.generation, author, time };
    commits.iter().zip(authors).map(of).collect()
}

/// A gap in the evidence never alters the verdict.
fn gap(source: &str, reason: String, hint: Option<String>) -> Gap {
    Gap { source: source.to_owned(), reason, hint, blinds_verdict: false }
}
