//! Whose process the kernel named, where no audit record says so. Pure.
//!
//! In: what NEWGEN said, what /proc said a moment later, and what the process connector told. Out: the process, or
//! that it is not certain. Must not guess: a number that may have been given to two tasks is nobody's.

use super::tasks::{TICK, Tasks};
use crate::attribute;
use crate::evidence::background::{COARSE, chain};
use crate::evidence::lore::Lore;
use crate::evidence::process::{Ancestry, Process, Sight};
use crate::model::{Author, Evidence};
use chrono::{DateTime, Utc};
use std::sync::Arc;
use std::time::Duration;

/// What is known of a transaction. Times are since boot.
#[derive(Clone, Debug)]
pub(super) struct Question {
    /// The thread that NEWGEN named, and what it called itself.
    pub(super) thread: u32,
    pub(super) comm: Vec<u8>,
    /// The clock when it was announced.
    pub(super) seen_at: DateTime<Utc>,
    /// It was committed after this, because everything before had been heard of; and before `read_at`.
    pub(super) after: Duration,
    /// When /proc was asked, and what it said.
    pub(super) read_at: Duration,
    pub(super) fresh: Option<Arc<Sight>>,
    /// Whether the numbers of tasks may have come round between `after` and `read_at`.
    pub(super) came_round: bool,
    /// When it was committed, where an audit record says so.
    pub(super) committed_at: Option<Duration>,
}

/// What is made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This process made the transaction.
    Certain {
        process: Box<Process>,
        /// Whether its program is the one that did: it may have started another one since.
        same_program: bool,
    },
    /// One of these may have, or somebody else.
    Doubtful(Vec<Process>),
}

/// Finds the process.
pub(super) fn find(question: &Question, tasks: &Tasks) -> Found {
    let Question { thread, comm, after, read_at, fresh, came_round, committed_at, .. } = question;
    // Nobody else can have had the number without being known.
    let is_complete = tasks.is_whole_since(*after) || !came_round;
    let lives = tasks.with_number(*thread, *after, *read_at);
    let fresh = fresh.as_deref().map(|sight| &sight.process);
    // Of a process that is gone, a reading tells what its first thread was like, not another one.
    let from_memory = || match lives.as_slice() {
        [one] if is_complete && one.process() == *thread => one.seen(),
        _ => None,
    };
    let has_its_number_alone = |process: &Process| {
        // Who had it before the commit and has it after has had it all the time.
        process.start + TICK <= *after
            || committed_at.is_some_and(|at| process.start <= at + COARSE)
            || (is_complete && lives.len() <= 1)
    };
    match fresh.filter(|process| has_its_number_alone(process)).or_else(from_memory) {
        Some(process) => {
            Found::Certain { process: Box::new(process.clone()), same_program: process.comm == *comm }
        }
        None => {
            let seen = lives.iter().filter_map(|life| life.seen());
            Found::Doubtful(fresh.into_iter().chain(seen).cloned().collect())
        }
    }
}

/// The author that a process stands for; `names` gives the login name of a uid. Unknown where the process is doubtful,
/// or where a service is known by nothing but a program that may be another one by now.
pub(super) fn author(
    question: &Question,
    found: &Found,
    ancestry: &Ancestry,
    lore: &Lore,
    names: &dyn Fn(u32) -> Option<String>,
) -> Author {
    let candidates = match found {
        Found::Certain { process, same_program } => {
            let author = describe(process, *same_program, names);
            let comm = Some(lossy(&question.comm));
            let parents = chain(ancestry, &question.comm);
            let sudo_user = author.sudo_user.clone().or_else(|| ancestry.sudo_user.clone());
            let told = lore.remote(author.session, author.auid).map(str::to_owned);
            let remote = told.or_else(|| ancestry.ssh.clone());
            let author = Author { comm, parents, sudo_user, remote, ..author };
            if author.name != Author::UNKNOWN {
                return Author { evidence: Evidence::Process, ..author };
            }
            vec![author]
        }
        Found::Doubtful(processes) if processes.is_empty() => vec![unseen(question)],
        Found::Doubtful(processes) => {
            processes.iter().map(|process| describe(process, true, names)).collect()
        }
    };
    Author::unknown(None, candidates)
}

/// All that is left of a process that nobody saw.
fn unseen(question: &Question) -> Author {
    Author {
        name: Author::UNKNOWN.to_owned(),
        pid: Some(question.thread),
        comm: Some(lossy(&question.comm)),
        ..Author::default()
    }
}

fn describe(process: &Process, same_program: bool, names: &dyn Fn(u32) -> Option<String>) -> Author {
    let exe = process.exe.as_deref().filter(|_| same_program).map(lossy);
    let cmdline = process.cmdline.as_deref().filter(|_| same_program).map(attribute::command_line);
    let unit = process.place.unit.clone();
    let name = match process.auid {
        Some(auid) => Some(attribute::login(auid, None, names)),
        None => attribute::service(exe.as_deref(), unit.as_deref()),
    };
    Author {
        name: name.unwrap_or_else(|| Author::UNKNOWN.to_owned()),
        auid: process.auid,
        uid: Some(process.uid),
        session: process.session,
        tty: process.tty.clone(),
        pid: Some(process.pid),
        comm: Some(lossy(&process.comm)),
        exe,
        cmdline,
        unit,
        sudo_user: process.claims.sudo_user.clone().filter(|_| same_program),
        container: process.place.container.clone(),
        ..Author::default()
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
