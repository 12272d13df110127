//! One nf_tables transaction, as the kernel announced it, and who is known to have made it.
//!
//! Role: what `watch` collects. Messages come before the NFT_MSG_NEWGEN that ends their transaction
//! (net/netfilter/nf_tables_api.c `nf_tables_commit`), and carry the objects as a dump would.

use super::author::Author;
use super::capture::RawMessage;
use chrono::{DateTime, Utc};

/// A committed transaction of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// `NFTA_GEN_ID` that it made.
    pub generation: u32,
    /// `NFTA_GEN_PROC_PID`: the *thread* that sent it, as the first pid namespace numbers it.
    pub thread: u32,
    /// That thread's process, where it could still be found when the announcement came.
    pub process: Option<u32>,
    /// `NFTA_GEN_PROC_NAME`: the thread's name, which anyone can set.
    pub comm: Vec<u8>,
    /// The clock when the announcement was read.
    pub seen_at: DateTime<Utc>,
    /// What it did, in the kernel's order: `NFT_MSG_NEW*` and `NFT_MSG_DEL*`.
    pub messages: Vec<RawMessage>,
    /// How many messages were not kept, because too much waited.
    pub left_out: usize,
}

/// A transaction with its author.
#[derive(Clone, Debug, PartialEq)]
pub struct Witnessed {
    /// What was committed.
    pub transaction: Transaction,
    /// By whom; `unknown` where nothing decides it.
    pub author: Author,
    /// When, by the kernel's clock; none where only the arrival is known.
    pub time: Option<DateTime<Utc>>,
}

impl Witnessed {
    /// When it was committed, as closely as it is known.
    pub fn at(&self) -> DateTime<Utc> {
        self.time.unwrap_or(self.transaction.seen_at)
    }
}
