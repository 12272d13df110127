//! What `watch` hears: transactions, who made them, and what touches no transaction.
//!
//! Transactions leave here in the kernel's order, each with its author: one that waits for its author holds
//! back those after it, for a bounded time.

use super::{WatchError, until};
use crate::attribute::Deed;
use crate::collect::Transactions;
use crate::config::Settings;
use crate::evidence::Witness;
use crate::model::{AuditEvent, Author, Gap, Name, Transaction, Witnessed};
use crate::normalise::touched::Touches;
use crate::pipeline::{Heard, open_netns};
use chrono::{DateTime, Utc};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd};
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a turn waits for the announcement of what it has read already.
const PATIENCE: Duration = Duration::from_millis(300);

/// What touches no transaction.
#[derive(Debug, Default)]
pub struct BesideHeard {
    /// Audit events of x_tables.
    pub x_tables: Vec<AuditEvent>,
    /// Whether each audit event was heard.
    pub heard_all: bool,
}

/// The open ears.
pub struct Ear {
    transactions: Transactions,
    witness: Witness,
    touches: Touches,
    /// The sets of ipset by index, for rules that name them so.
    ipset: BTreeMap<u16, Name>,
    /// Without an author yet, or behind one.
    unresolved: VecDeque<(Transaction, Option<(Author, Option<DateTime<Utc>>)>)>,
    ready: Vec<Heard>,
    x_tables: Vec<AuditEvent>,
    lost: bool,
    news: usize,
    gaps: Vec<Gap>,
}
