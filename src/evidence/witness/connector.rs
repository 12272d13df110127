//! The process connector: the kernel tells of each process that begins, starts a program, or ends.
//!
//! In: netlink NETLINK_CONNECTOR, group CN_IDX_PROC (drivers/connector/cn_proc.c, include/uapi/linux/cn_proc.h). Out:
//! [`Happened`]. Works in the first network, pid and user namespaces only. Each program on the host that starts wakes
//! whoever listens, so it is opened only where audit does not say who made a change.

use crate::evidence::EvidenceError;
use crate::evidence::namespaces::in_first;
use crate::netlink;
use crate::sys::multicast::{Multicast, Received};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::netlink::{CONNECTOR, SocketAddrNetlink};
use rustix::net::{SendFlags, sendto};
use std::ops::ControlFlow;
use std::time::Duration;

/// CN_IDX_PROC as a bit of `nl_groups`, and in the header of a message; CN_VAL_PROC is the same number.
const PROCESSES: u32 = 1;
/// Connector messages are all of this type.
const NLMSG_DONE: u16 = 3;
/// `struct cn_msg`: id (two numbers), seq, ack, len and flags (16 bits each).
const HEADER: usize = 20;
/// `enum proc_cn_mcast_op`.
const LISTEN: u32 = 1;
const IGNORE: u32 = 2;
/// `enum proc_cn_event`.
const NONE: u32 = 0;
const FORK: u32 = 1;
const EXEC: u32 = 2;
const EXIT: u32 = 1 << 31;
/// Our mark in the request; the kernel answers with the next number.
const MARK: u32 = 0x6677_0001;
/// The answer is there before the request returns (`cn_rx_skb`), behind at most so much that came for others.
const BEFORE_ANSWER: usize = 4096;

/// What a task did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Began: as a process of its own if `thread` is `process`, else as a thread.
    Began,
    /// Started a program.
    Started,
    /// Ended.
    Ended,
}

/// One announcement. The numbers are those of the first pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Happened {
    pub(super) thread: u32,
    pub(super) process: u32,
    pub(super) deed: Deed,
    /// `timestamp_ns`: CLOCK_MONOTONIC.
    pub(super) at: Duration,
}

/// A socket that is told of processes.
#[derive(Debug)]
pub(super) struct Connector {
    socket: Multicast,
}

impl Connector {
    /// Begins to listen.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, without CONFIG_PROC_EVENTS, or in a container (where the kernel keeps silent).
    pub(super) fn open() -> Result<Self, EvidenceError> {
        const OPERATION: &str = "listen to the process connector";
        let failed = |source| EvidenceError::Netlink { operation: OPERATION, source };
        let socket = in_first(|| Multicast::open(CONNECTOR, PROCESSES).map_err(failed))?;
        let mut connector = Self { socket };
        connector.ask(&[LISTEN]).map_err(failed)?;
        for _ in 0..BEFORE_ANSWER {
            let answer = match connector.socket.receive().map_err(failed)? {
                Received::Datagram(bytes) => answer(bytes),
                Received::Lost => None,
                Received::Empty => break,
            };
            match answer {
                Some(0) => {
                    // Since Linux 6.6 only what is wanted; before, the kernel passes over a request of this length.
                    connector.ask(&[LISTEN, FORK | EXEC | EXIT]).map_err(failed)?;
                    return Ok(connector);
                }
                Some(error) => return Err(failed(Errno::from_raw_os_error(error.cast_signed()))),
                None => {}
            }
        }
        Err(EvidenceError::Answer { operation: OPERATION })
    }

    fn ask(&self, words: &[u32]) -> Result<(), Errno> {
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>();
        let (id, data) = (bytes(&[PROCESSES, PROCESSES, MARK, MARK]), bytes(words));
        let length = u16::try_from(data.len()).unwrap_or(0).to_ne_bytes();
        let mut request = Vec::new();
        netlink::put_message(&mut request, NLMSG_DONE, 0, 0, &[&id, &length, &[0; 2], &data]);
        sendto(&self.socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).map(drop)
    }

    /// Hands over what has come, without waiting; whether something was lost.
    ///
    /// # Errors
    /// Of a socket that had worked.
    pub(super) fn receive(&mut self, mut each: impl FnMut(Happened)) -> Result<bool, EvidenceError> {
        let failed = |source| EvidenceError::Netlink { operation: "hear of processes", source };
        let mut lost = false;
        loop {
            match self.socket.receive().map_err(failed)? {
                Received::Datagram(bytes) => happened(bytes).into_iter().for_each(&mut each),
                Received::Lost => lost = true,
                Received::Empty => return Ok(lost),
            }
        }
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // Older kernels count listeners, and do not see one go.
        let _ = self.ask(&[IGNORE]);
    }
}

impl AsFd for Connector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads the `struct cn_msg` of a datagram and the `struct proc_event` in it: `what`, `cpu`, `timestamp_ns`, a union.
fn event<T>(datagram: &[u8], read: impl Fn(&[u8], &[u8]) -> Option<T>) -> Option<T> {
    let found = netlink::for_each_message(datagram, |message| {
        let is_process = |at| word(message.payload, at) == Some(PROCESSES);
        let event = message.payload.get(HEADER..).filter(|_| is_process(0) && is_process(4));
        match event.and_then(|event| read(message.payload, event)) {
            Some(found) => ControlFlow::Break(found),
            None => ControlFlow::Continue(()),
        }
    });
    // A cut message is none.
    found.ok()?.break_value()
}

/// The error number with which the kernel answers us.
fn answer(datagram: &[u8]) -> Option<u32> {
    event(datagram, |header, event| {
        let ours = word(header, 12) == Some(MARK.wrapping_add(1)) && word(event, 0) == Some(NONE);
        ours.then(|| word(event, 16)).flatten()
    })
}

fn happened(datagram: &[u8]) -> Option<Happened> {
    event(datagram, |_, event| {
        // Of a fork, the first two numbers are the parent's.
        let (deed, at) = match word(event, 0)? {
            FORK => (Deed::Began, 24),
            EXEC => (Deed::Started, 16),
            EXIT => (Deed::Ended, 16),
            _ => return None,
        };
        let nanoseconds = u64::from_ne_bytes(event.get(8..16)?.try_into().ok()?);
        let (thread, process) = (word(event, at)?, word(event, at + 4)?);
        Some(Happened { thread, process, deed, at: Duration::from_nanos(nanoseconds) })
    })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(ack: u32, words: &[u32]) -> Vec<u8> {
        let header = [PROCESSES, PROCESSES, 7, ack, 40];
        let body: Vec<u8> = header.iter().chain(words).flat_map(|word| word.to_ne_bytes()).collect();
        let mut bytes = Vec::new();
        netlink::put_message(&mut bytes, NLMSG_DONE, 0, 0, &[&body]);
        bytes
    }

    #[test]
    fn what_the_kernel_tells_is_read() {
        let told = |words: &[u32]| happened(&datagram(0, words));
        let (one, two) = if cfg!(target_endian = "big") { (1, 5) } else { (5, 1) };
        let at = Duration::from_nanos((1 << 32) + 5);
        let fork = Happened { thread: 9, process: 8, deed: Deed::Began, at };
        assert_eq!(told(&[FORK, 0, one, two, 7, 7, 9, 8]), Some(fork));
        assert_eq!(told(&[EXEC, 0, one, two, 9, 8]), Some(Happened { deed: Deed::Started, ..fork }));
        let ended = Happened { deed: Deed::Ended, ..fork };
        assert_eq!(told(&[EXIT, 0, one, two, 9, 8, 0, 17, 7, 7]), Some(ended));
        assert_eq!(told(&[0x200, 0, one, two, 9, 8]), None, "a new name");
        assert_eq!(told(&[EXEC, 0, one, two, 9]), None, "cut short");
        assert_eq!(happened(b"rubbish"), None);
    }

    #[test]
    fn the_answer_to_another_listener_is_not_ours() {
        assert_eq!(answer(&datagram(MARK + 1, &[NONE, u32::MAX, 0, 0, 1])), Some(1));
        assert_eq!(answer(&datagram(MARK + 2, &[NONE, u32::MAX, 0, 0, 1])), None);
        assert_eq!(answer(&datagram(MARK + 1, &[EXEC, 0, 0, 0, 1, 1])), None);
    }
}
