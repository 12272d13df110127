//! What `watch` hears: transactions, who made them, and what touches no transaction.
//!
//! Transactions leave here in the kernel's order, each with its author: one that waits for its author holds
//! back those after it, for a bounded time.

use super::{WatchError, until};
use crate::attribute::Deed;
use crate::collect;
use crate::collect::transactions::{Transactions, is_after, weight};
use crate::config::Settings;
use crate::evidence::{Attested, Witness};
use crate::model::{AuditEvent, Gap, Name, Transaction, Witnessed};
use crate::normalise;
use crate::normalise::touched::Touches;
use crate::pipeline::{Heard, open_netns};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a turn waits for the announcements of what it has read already, and for their authors: longer than the
/// witness takes to say that it does not know, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// What touches no transaction.
#[derive(Debug, Default)]
pub struct BesideHeard {
    /// Audit events of x_tables.
    pub x_tables: Vec<AuditEvent>,
    /// Whether each audit event was heard.
    pub heard_all: bool,
    /// What was missed, or will be.
    pub gaps: Vec<Gap>,
}

/// The open ears.
pub struct Ear {
    transactions: Transactions,
    witness: Witness,
    touches: Touches,
    /// The sets of ipset by index, for rules that name them so.
    ipset: BTreeMap<u16, Name>,
    /// Without an author yet, or behind one.
    unresolved: VecDeque<(Transaction, Option<Attested>)>,
    ready: Vec<Heard>,
    /// The bytes of the messages of these two.
    held: usize,
    x_tables: Vec<AuditEvent>,
    lost: bool,
    news: usize,
    gaps: Vec<Gap>,
    /// Whether audit told of everything when that was last asked.
    was_whole: bool,
    /// Which namespace is listened to; none before Linux 5.14.
    cookie: Option<u64>,
}

impl Ear {
    /// Listens to the namespace that the settings name.
    ///
    /// # Errors
    /// If transactions cannot be heard of. Without authors it goes on: that is a gap.
    pub fn open(settings: &Settings) -> Result<Self, WatchError> {
        let netns = open_netns(settings)?;
        let transactions = Transactions::open(&netns)?;
        let (witness, gaps) = Witness::open(Instant::now());
        Ok(Self {
            transactions,
            witness,
            touches: Touches::default(),
            ipset: BTreeMap::new(),
            unresolved: VecDeque::new(),
            ready: Vec::new(),
            held: 0,
            x_tables: Vec::new(),
            lost: false,
            news: 0,
            gaps,
            was_whole: false,
            cookie: collect::netns_cookie(&netns),
        })
    }

    /// Whether the namespace that the settings name now is another one: one made anew under the name of one that is gone.
    pub fn is_elsewhere(&self, settings: &Settings) -> bool {
        let now = open_netns(settings).ok().and_then(|netns| collect::netns_cookie(&netns));
        now.is_some() && now != self.cookie
    }

    /// What poll(2) is to wait for.
    pub fn fds(&self) -> Vec<BorrowedFd<'_>> {
        [self.transactions.as_fd()].into_iter().chain(self.witness.fds()).collect()
    }

    /// Takes all that has come.
    ///
    /// # Errors
    /// A socket that had worked fails.
    pub fn listen(&mut self, now: Instant) -> Result<(), WatchError> {
        let news = self.transactions.receive()?;
        self.lost |= news.lost;
        self.news += news.transactions.len() + usize::from(news.lost);
        for transaction in news.transactions {
            self.witness.commit(&transaction, now);
            self.held += weight(&transaction);
            self.unresolved.push_back((transaction, None));
        }
        self.witness.receive(now);
        self.x_tables.extend(self.witness.x_tables());
        self.resolve(now);
        Ok(())
    }

    fn resolve(&mut self, now: Instant) {
        for resolved in self.witness.resolved(now) {
            let mut waiting = self.unresolved.iter_mut();
            if let Some(found) =
                waiting.find(|(transaction, _)| transaction.generation == resolved.generation)
            {
                found.1 = Some(resolved);
            }
        }
        while let Some((_, Some(_))) = self.unresolved.front() {
            let Some((transaction, Some(attested))) = self.unresolved.pop_front() else { break };
            let touched = self.touches.touched(&transaction, &self.ipset);
            let Attested { author, time, .. } = attested;
            let witnessed = Witnessed { transaction, author, time };
            let deed = Deed { witnessed, touches: touched.objects, renamed: touched.renamed };
            let deed = Arc::new(deed);
            self.ready.push(Heard { deed, scope: touched.scope });
        }
        self.gaps.extend(self.witness.gaps());
        self.transactions.hold(self.held);
    }

    /// How many transactions came since this was last asked; a loss counts as one.
    pub fn news(&mut self) -> usize {
        std::mem::take(&mut self.news)
    }

    /// When the authors of all that was heard are known at the latest; none if they are.
    pub fn resolved_by(&self) -> Option<Instant> {
        self.unresolved.front().and_then(|_| self.deadline())
    }

    /// When something is to be done even if nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.witness.deadline(Instant::now())
    }

    /// Whether a record of x_tables waits.
    pub fn x_tables_replaced(&self) -> bool {
        !self.x_tables.is_empty()
    }

    /// Whether announcements were lost since this was last asked.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// What touches no transaction, since this was last asked.
    pub fn take_beside(&mut self, now: Instant) -> BesideHeard {
        self.witness.ask(now);
        self.gaps.extend(self.witness.gaps());
        let whole = self.witness.hears_all(now);
        let heard_all = std::mem::replace(&mut self.was_whole, whole) && whole && self.gaps.is_empty();
        let (x_tables, gaps) = (std::mem::take(&mut self.x_tables), std::mem::take(&mut self.gaps));
        BesideHeard { x_tables, heard_all, gaps }
    }

    /// The transactions whose authors are known, in order.
    pub fn take(&mut self) -> Vec<Heard> {
        let taken = std::mem::take(&mut self.ready);
        self.held = self.held.saturating_sub(weight_of(&taken));
        taken
    }

    /// The sets of ipset by their indices.
    pub fn ipset(&self) -> &BTreeMap<u16, Name> {
        &self.ipset
    }

    /// Learns which sets of ipset there are now; before a full reading also which chains, without which a renamed one
    /// would make the whole table be read.
    pub fn learn(&mut self, settings: &Settings, chains: bool) {
        let Ok(netns) = open_netns(settings) else { return };
        let read = || collect::ipset::heads().unwrap_or_default();
        self.ipset = normalise::ipset::names(&netns.run(read).unwrap_or_default());
        if let (true, Ok((_, chains))) = (chains, collect::chains(&netns)) {
            self.touches.know(&chains, &self.ipset);
        }
    }

    /// Puts back what was not used.
    pub fn give_back(&mut self, mut heard: Vec<Heard>) {
        self.held += weight_of(&heard);
        heard.append(&mut self.ready);
        self.ready = heard;
    }

    /// Waits until every transaction up to a generation was heard, with its author, for a bounded time; takes them.
    pub fn up_to(&mut self, generation: u32) -> Vec<Heard> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end && !self.knows(generation) && self.wait(end) {}
        self.take()
    }

    /// Whether every transaction up to a generation was heard, with its author.
    fn knows(&self, generation: u32) -> bool {
        let is_open = |transaction: &Transaction| !is_after(transaction.generation, generation);
        !is_after(generation, self.transactions.generation())
            && !self.unresolved.iter().any(|(transaction, _)| is_open(transaction))
    }

    /// Waits until the authors of all that was heard are known, for a bounded time.
    pub fn wait_for_authors(&mut self, now: Instant) {
        let end = now + PATIENCE;
        while !self.unresolved.is_empty() && Instant::now() < end && self.wait(end) {}
    }

    /// Waits for the next news, until `end` at most; false if nothing can come any more.
    fn wait(&mut self, end: Instant) -> bool {
        let end = self.deadline().map_or(end, |deadline| deadline.min(end));
        {
            let mut sources: Vec<PollFd<'_>> =
                self.fds().into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            if poll(&mut sources, Some(&until(end))).is_err() {
                return false;
            }
        }
        self.listen(Instant::now()).is_ok()
    }
}

fn weight_of(heard: &[Heard]) -> usize {
    heard.iter().map(|heard| weight(&heard.deed.witnessed.transaction)).sum()
}
