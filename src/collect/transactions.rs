//! The transactions of nf_tables in one network namespace, as the kernel announces them.
//!
//! In: the multicast group NFNLGRP_NFTABLES. Out: [`Transaction`]s with their messages, in bounded memory. The kernel
//! sends what a transaction did first, and NFT_MSG_NEWGEN last; no other transaction comes between
//! (net/netfilter/nf_tables_api.c `nf_tables_commit`). What was lost is told, and a transaction that may lack
//! a message never looks whole.

use super::nftables::{self, NftablesError};
use crate::model::{RawMessage, Transaction};
use crate::netlink::nft::{self, NFGENMSG, msg};
use crate::netlink::{self, Attrs, Malformed, Message};
use crate::sys::multicast::{Multicast, Received};
use crate::sys::netns::{Netns, NetnsError};
use crate::sys::socket::Socket;
use chrono::Utc;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::ops::ControlFlow;

/// Why the announcements cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum TransactionsError {
    /// The namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The multicast group.
    #[error("cannot listen to nf_tables' announcements: {0}")]
    Listen(std::io::Error),
    /// A socket that had worked.
    #[error("cannot receive nf_tables' announcements: {0}")]
    Receive(std::io::Error),
    /// The generation.
    #[error(transparent)]
    Nftables(#[from] NftablesError),
}

impl TransactionsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Netns(error) => error.hint(),
            Self::Nftables(error) => error.hint(),
            Self::Listen(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as root (listening to nf_tables needs CAP_NET_ADMIN)".to_owned())
            }
            Self::Listen(_) | Self::Receive(_) => None,
        }
    }
}

/// How many bytes of messages are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of one transaction.
    pub transaction: usize,
    /// Of all that wait: in the news, unfinished, and still with the caller (see [`Transactions::hold`]).
    pub waiting: usize,
}

impl Default for Budget {
    /// 4 MB and 32 MB: a reload of some 10,000 rules is kept whole.
    fn default() -> Self {
        Self { transaction: 4 << 20, waiting: 32 << 20 }
    }
}

/// What one reading brought.
#[derive(Debug, Default)]
pub struct News {
    /// In the kernel's order. One with `left_out` has not all of its messages.
    pub transactions: Vec<Transaction>,
    /// Whether announcements were lost: a transaction may be missing here, or its messages. The kernel's state has to
    /// be read in full to know it.
    pub lost: bool,
}

/// A socket that hears of the transactions of one namespace.
#[derive(Debug)]
pub struct Transactions {
    socket: Multicast,
    /// Asks for the generation.
    asker: Socket,
    budget: Budget,
    held: usize,
    /// What has come of the transaction whose NEWGEN has not.
    open: Unfinished,
    /// The last generation that is accounted for.
    last: u32,
    /// Transactions up to this generation may have begun before the socket heard of them.
    blind_until: Option<u32>,
    /// After an overrun: how often the kernel could not deliver, and whether what came before is still being read.
    dropped: Option<u32>,
    draining: bool,
}

#[derive(Debug, Default)]
struct Unfinished {
    messages: Vec<RawMessage>,
    bytes: usize,
    left_out: usize,
}

impl Transactions {
    /// Listens in a namespace. Whatever is committed there after [`Self::generation`] will be heard.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN in the namespace, or if the kernel has no nf_tables.
    pub fn open(netns: &Netns) -> Result<Self, TransactionsError> {
        netns.run(|| {
            let socket = Multicast::open(NETFILTER, nft::GROUP)
                .map_err(|error| TransactionsError::Listen(error.into()))?;
            let mut asker = Socket::open(Some(NETFILTER)).map_err(NftablesError::Socket)?;
            let last = nftables::generation(&mut asker)?;
            let dropped = socket.dropped();
            Ok(Self {
                socket,
                asker,
                budget: Budget::default(),
                held: 0,
                open: Unfinished::default(),
                last,
                blind_until: Some(last),
                dropped,
                draining: false,
            })
        })?
    }

    /// The last generation that is accounted for: that of the last transaction that was given, or the kernel's when
    /// the listening began, or began again after a loss.
    pub fn generation(&self) -> u32 {
        self.last
    }

    /// Keeps more or less than by default.
    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// Tells how many bytes of earlier messages the caller still has (see [`weight`]).
    pub fn hold(&mut self, bytes: usize) {
        self.held = bytes;
    }

    /// Reads all that is there, without waiting.
    ///
    /// # Errors
    /// Of the socket. A loss is no error: see [`News::lost`].
    pub fn receive(&mut self) -> Result<News, TransactionsError> {
        let mut news = News::default();
        let mut kept = self.held;
        loop {
            match self.socket.receive().map_err(failed)? {
                Received::Datagram(bytes) => {
                    let mut ended = Vec::new();
                    let (open, budget) = (&mut self.open, self.budget);
                    let whole = netlink::for_each_message(bytes, |message| {
                        if message.kind == nft::kind(msg::NEWGEN) {
                            let messages = std::mem::take(open);
                            kept += messages.bytes;
                            ended.extend(committed(message.payload).map(|commit| (commit, messages)));
                        } else if message.port != 0 {
                            open.add(message, budget, kept);
                        }
                        ControlFlow::<()>::Continue(())
                    });
                    if whole == Err(Malformed) {
                        news.lost = true;
                        self.open.left_out += 1;
                    }
                    for (commit, messages) in ended {
                        self.end(commit, messages, &mut news);
                    }
                }
                Received::Lost => {
                    news.lost = true;
                    self.lose()?;
                }
                Received::Empty if self.draining => self.resume()?,
                Received::Empty => return Ok(news),
            }
        }
    }

    /// ENOBUFS has two causes. Either the buffer was full: then the kernel delivers nothing until all that waits
    /// has been read (af_netlink.c, NETLINK_S_CONGESTED), so what waits is from before the hole. That has an end
    /// that can be told only if nothing new may follow it. Or the kernel could not make one announcement, say of a rule
    /// that does not fit into a page (`nfnetlink_set_err`): then one message of a transaction up to the present
    /// generation is missing, and nothing else.
    fn lose(&mut self) -> Result<(), TransactionsError> {
        let dropped = self.socket.dropped();
        let is_overrun = dropped.is_none() || dropped != self.dropped;
        self.dropped = dropped;
        if is_overrun {
            self.socket.leave().map_err(failed)?;
            self.draining = true;
        } else {
            self.blind_until = Some(nftables::generation(&mut self.asker)?);
        }
        Ok(())
    }

    /// All from before the hole has been read.
    fn resume(&mut self) -> Result<(), TransactionsError> {
        self.open = Unfinished::default();
        self.draining = false;
        self.socket.join().map_err(failed)?;
        self.last = nftables::generation(&mut self.asker)?;
        self.blind_until = Some(self.last);
        Ok(())
    }

    fn end(&mut self, commit: Commit, messages: Unfinished, news: &mut News) {
        let Commit { generation, thread, comm } = commit;
        let mut is_blind = self.blind_until.is_some_and(|until| !is_after(generation, until));
        if is_after(generation, self.last) {
            if generation != following(self.last) {
                tracing::warn!(generation, last = self.last, "the kernel did not announce a transaction");
                (news.lost, is_blind) = (true, true);
            }
            self.last = generation;
        }
        let Unfinished { mut messages, mut left_out, .. } = messages;
        if is_blind {
            left_out = (left_out + messages.len()).max(1);
            messages = Vec::new();
        } else {
            self.blind_until = None;
        }
        news.transactions.push(Transaction {
            generation,
            thread,
            process: process_of(thread),
            comm,
            seen_at: Utc::now(),
            messages,
            left_out,
        });
    }
}

impl AsFd for Transactions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Unfinished {
    fn add(&mut self, message: Message<'_>, budget: Budget, kept: usize) {
        let Some((header, attrs)) = message.payload.split_at_checked(NFGENMSG) else {
            self.left_out += 1;
            return;
        };
        let bytes = self.bytes + attrs.len() + size_of::<RawMessage>();
        // After one that was left out, the rest would be read in a wrong light.
        if self.left_out > 0 || bytes > budget.transaction || kept + bytes > budget.waiting {
            self.left_out += 1;
            return;
        }
        self.bytes = bytes;
        let kind = (message.kind & 0xff) as u8;
        self.messages.push(RawMessage { kind, family: header[0], attrs: attrs.to_vec() });
    }
}

/// The bytes that a transaction's messages take.
pub fn weight(transaction: &Transaction) -> usize {
    let of = |message: &RawMessage| message.attrs.len() + size_of::<RawMessage>();
    transaction.messages.iter().map(of).sum()
}

/// What NFT_MSG_NEWGEN says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// `NFTA_GEN_ID`.
    pub generation: u32,
    /// `NFTA_GEN_PROC_PID`: the *thread* that sent the transaction (`task_pid_nr`), in the first pid namespace.
    pub thread: u32,
    /// `NFTA_GEN_PROC_NAME`: the thread's name.
    pub comm: Vec<u8>,
}

/// Reads the payload of a NFT_MSG_NEWGEN.
pub fn committed(payload: &[u8]) -> Option<Commit> {
    let attrs = Attrs(payload.get(NFGENMSG..)?);
    let generation = attrs.find(nft::GEN_ID)?.be32()?;
    let thread = attrs.find(nft::GEN_PROC_PID)?.be32()?;
    let comm = attrs.find(nft::GEN_PROC_NAME).map(|name| name.string().to_vec()).unwrap_or_default();
    Some(Commit { generation, thread, comm })
}

/// The process of a thread that is still there.
pub fn process_of(thread: u32) -> Option<u32> {
    let status = std::fs::read(format!("/proc/{thread}/status")).ok()?;
    let line = status.split(|b| *b == b'\n').find_map(|line| line.strip_prefix(b"Tgid:"))?;
    std::str::from_utf8(line).ok()?.trim().parse().ok()
}

fn failed(error: Errno) -> TransactionsError {
    TransactionsError::Receive(error.into())
}

/// The generation that the next transaction makes: 0 is left out (`nf_tables_commit`).
pub fn following(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

/// Whether a generation came after another one. Half of the numbers are before, half after: the counter wraps.
pub fn is_after(generation: u32, other: u32) -> bool {
    generation.wrapping_sub(other).cast_signed() > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_wraps_and_leaves_0_out() {
        assert_eq!((following(7), following(u32::MAX)), (8, 1));
        assert!(is_after(8, 7) && is_after(1, u32::MAX) && is_after(3, u32::MAX - 3));
        assert!(!is_after(7, 7) && !is_after(7, 8) && !is_after(u32::MAX, 1));
    }
}
