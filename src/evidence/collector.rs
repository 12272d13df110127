//! A small audit log of one network namespace, where no auditd runs: for `demo` and tests.
//!
//! In: the audit multicast group of the first network namespace and the nf_tables events of the watched
//! one. Out: the watched namespace's audit events, appended to a file in `audit.log`'s own format. Records
//! of other namespaces are never written. x_tables records name neither namespace nor generation, so they
//! aren't written either. Must not turn auditing on or off: that is [`super::enable_guard`]'s.

use super::pending::{Committed, Pending};
use super::{EvidenceError, audit_control};
use crate::collect::transactions::{self, Commit};
use crate::netlink::nft;
use crate::netlink::{self, Malformed, whole_datagram};
use crate::sys::netns::{Netns, NetnsError};
use chrono::Utc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// AUDIT_NLGRP_READLOG, as a bit of `nl_groups`.
const READLOG: u32 = 1;
/// 64 MB: what lost nothing with a reader stalled for 1.5 s under 44,000 messages.
const RECEIVE_BUFFER: usize = 64 << 20;
/// How long a stop or settle waits for the audit records of commits already seen.
const GRACE: Duration = Duration::from_secs(1);

/// What a collector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CollectorReport {
    /// Audit events written.
    pub events: u64,
    /// Commits of the watched namespace whose audit event never came: auditing was off, or a short-lived
    /// thread's process could not be told.
    pub unmatched: u64,
    /// Events and commits given up because too many waited.
    pub dropped: u64,
    /// How often messages were lost: the kernel said so for a full buffer (ENOBUFS), or one came cut.
    pub overflows: u64,
}

enum Order {
    Settle(Sender<bool>),
    Stop,
}

/// A running collector. Dropping it stops it, without a report.
#[derive(Debug)]
pub struct Collector {
    orders: Sender<Order>,
    wake: OwnedFd,
    worker: Option<JoinHandle<Result<CollectorReport, EvidenceError>>>,
}

impl Collector {
    /// Watches the network namespace `watched` (an open `/proc/PID/ns/net` or `/run/netns/NAME`) and appends
    /// to `out`. A change made after this returns is seen, if auditing is on. The file begins with a
    /// DAEMON_START record, as auditd's does: the history covers what comes after. Call it from the first network
    /// namespace: where `/proc/1/ns/net` can't be opened, fwdrift can't find that by itself.
    ///
    /// # Errors
    /// Without CAP_AUDIT_READ and CAP_SYS_ADMIN in the first namespaces, or if `out` can't be opened.
    pub fn start(watched: BorrowedFd<'_>, out: PathBuf) -> Result<Self, EvidenceError> {
        let failed = |operation| move |source| EvidenceError::Netlink { operation, source };
        let listen =
            || audit_control::open_socket(READLOG).map_err(failed("listen to the audit multicast group"));
        // Where process 1 may not be looked at, the caller is taken to be where the host's processes are.
        let audit = match File::open("/proc/1/ns/net") {
            Ok(first) => inside("first", first.as_fd(), listen)?,
            Err(_) => listen()?,
        };
        let nft =
            inside("watched", watched, || open_nftables().map_err(failed("listen to the nf_tables events")))?;
        for socket in [&audit, &nft] {
            if let Err(error) =
                rustix::net::sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER)
            {
                tracing::warn!(%error, "the receive buffer stays small; messages may be lost");
            }
        }
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&out);
        let log =
            log.map_err(|source| EvidenceError::File { operation: "open", path: out.clone(), source })?;
        let (woken, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(failed("make a pipe for the collector"))?;
        let (orders, inbox) = channel();
        let (pending, report) = (Pending::default(), CollectorReport::default());
        let buffer = vec![0; 1 << 20];
        let mut worker = Worker { audit, nft, woken, inbox, log, out, pending, report, buffer };
        worker.note("type=DAEMON_START", "op=start res=success")?;
        let worker =
            std::thread::Builder::new().name("audit-collector".to_owned()).spawn(move || worker.run());
        let worker = worker.map_err(|_| EvidenceError::Thread)?;
        Ok(Self { orders, wake, worker: Some(worker) })
    }

    /// Waits until the audit events of all changes made so far are in the file, at most a second. `false`
    /// if some did not come (then auditing is off, or they were lost).
    ///
    /// # Errors
    /// [`EvidenceError::Thread`] if the collector has ended on an error; `stop` tells which.
    pub fn settle(&self) -> Result<bool, EvidenceError> {
        let (reply, answer) = channel();
        self.order(Order::Settle(reply))?;
        answer.recv().map_err(|_| EvidenceError::Thread)
    }

    /// Stops, after the events of all changes made so far are in the file (at most a second).
    ///
    /// # Errors
    /// The error that ended the collector, if one did: a file that can't be written, a socket that failed.
    pub fn stop(mut self) -> Result<CollectorReport, EvidenceError> {
        self.end()
    }

    fn order(&self, order: Order) -> Result<(), EvidenceError> {
        self.orders.send(order).map_err(|_| EvidenceError::Thread)?;
        rustix::io::write(&self.wake, b"!").map_err(|_| EvidenceError::Thread)?;
        Ok(())
    }

    fn end(&mut self) -> Result<CollectorReport, EvidenceError> {
        let Some(worker) = self.worker.take() else { return Ok(CollectorReport::default()) };
        // A worker that ended by itself has its own error to tell.
        let _ = self.order(Order::Stop);
        worker.join().map_err(|_| EvidenceError::Thread)?
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "the audit collector");
        }
    }
}

/// Runs `work` in a thread of its own inside a network namespace: sockets stay in the one they were made in.
fn inside<T: Send>(
    which: &'static str,
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, EvidenceError> + Send,
) -> Result<T, EvidenceError> {
    let failed = |source| EvidenceError::Namespace { which, source };
    let namespace = namespace.try_clone_to_owned().map_err(|error| failed(NetnsError::Enter(error)))?;
    let namespace = Netns::from(namespace);
    let here = Netns::current().and_then(|here| here.identity().map_err(NetnsError::Enter));
    if here.is_ok_and(|here| namespace.identity().is_ok_and(|there| here == there)) {
        return work();
    }
    namespace.run(work).map_err(failed)?
}

fn open_nftables() -> Result<OwnedFd, Errno> {
    let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(family, SocketType::RAW, flags, Some(NETFILTER))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, nft::GROUP))?;
    Ok(socket)
}

struct Worker {
    audit: OwnedFd,
    nft: OwnedFd,
    woken: OwnedFd,
    inbox: Receiver<Order>,
    log: File,
    out: PathBuf,
    pending: Pending,
    report: CollectorReport,
    buffer: Vec<u8>,
}

impl Worker {
    fn run(mut self) -> Result<CollectorReport, EvidenceError> {
        let mut waiting: Option<(Order, Instant)> = None;
        loop {
            if waiting.is_none() {
                waiting = self.inbox.try_recv().ok().map(|order| (order, Instant::now() + GRACE));
            }
            self.sleep(waiting.is_some())?;
            let news = self.receive()?;
            self.write_ready()?;
            // What was in the sockets before the order has been read once a look finds nothing new.
            let done = !news && self.pending.commits_waiting() == 0;
            let Some((order, _)) = waiting.take_if(|(_, deadline)| done || Instant::now() >= *deadline)
            else {
                continue;
            };
            match order {
                // Who asked may have gone.
                Order::Settle(reply) => drop(reply.send(self.pending.commits_waiting() == 0)),
                Order::Stop => return self.close(),
            }
        }
    }

    fn sleep(&self, ordered: bool) -> Result<(), EvidenceError> {
        let short = Timespec { tv_sec: 0, tv_nsec: if ordered { 2_000_000 } else { 50_000_000 } };
        let limit = (ordered || !self.pending.is_idle()).then_some(&short);
        let mut sources = [&self.audit, &self.nft, &self.woken].map(|fd| PollFd::new(fd, PollFlags::IN));
        match poll(&mut sources, limit) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(source) => {
                return Err(EvidenceError::Netlink { operation: "wait for audit records", source });
            }
        }
        if !sources[2].revents().is_empty() {
            // One byte an order; the pipe is only there to wake this thread.
            let _ = rustix::io::read(&self.woken, &mut [0u8; 1]);
        }
        Ok(())
    }

    /// Reads all that is there. Commits first: an audit event of theirs is then at hand or yet to come.
    fn receive(&mut self) -> Result<bool, EvidenceError> {
        let mut news = false;
        while let Some(length) = self.datagram(false)? {
            news = true;
            let now = Instant::now();
            let whole = netlink::for_each_message(&self.buffer[..length], |message| {
                if message.kind == nft::kind(nft::msg::NEWGEN)
                    && let Some(commit) = committed(message.payload)
                {
                    self.pending.commit(commit, now);
                }
                ControlFlow::<()>::Continue(())
            });
            if whole == Err(Malformed) {
                self.lost()?;
            }
        }
        while let Some(length) = self.datagram(true)? {
            news = true;
            let Some(message) = whole_datagram(&self.buffer[..length]) else { continue };
            let line = self.pending.record(message.kind.into(), message.payload, Instant::now());
            if let Some(line) = line {
                self.write(&line)?;
            }
        }
        Ok(news)
    }

    fn datagram(&mut self, audit: bool) -> Result<Option<usize>, EvidenceError> {
        let socket = if audit { &self.audit } else { &self.nft };
        loop {
            match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _)) => return Ok(Some(length)),
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => {
                    self.lost()?;
                    return Ok(Some(0));
                }
                Err(source) => return Err(EvidenceError::Netlink { operation: "receive", source }),
            }
        }
    }

    /// Something came that is now gone: the history gets a gap here.
    fn lost(&mut self) -> Result<(), EvidenceError> {
        self.report.overflows += 1;
        self.note("type=DAEMON_ERR", "op=overflow res=failed")
    }

    fn write_ready(&mut self) -> Result<(), EvidenceError> {
        for lines in self.pending.ready(Instant::now(), is_thread_of) {
            self.write(&lines)?;
            self.report.events += 1;
        }
        Ok(())
    }

    /// One write an event, appended: a reader sees whole lines.
    fn write(&mut self, lines: &[u8]) -> Result<(), EvidenceError> {
        let failed = |source| EvidenceError::File { operation: "write to", path: self.out.clone(), source };
        self.log.write_all(lines).map_err(failed)
    }

    /// A record of the collector's own, as auditd makes them.
    fn note(&mut self, head: &str, text: &str) -> Result<(), EvidenceError> {
        let (now, program) = (Utc::now(), env!("CARGO_PKG_NAME"));
        let (seconds, millis) = (now.timestamp(), now.timestamp_subsec_millis());
        let line = format!("{head} msg=audit({seconds}.{millis:03}:0): {text} exe=\"{program}\"\n");
        self.write(line.as_bytes())
    }

    fn close(mut self) -> Result<CollectorReport, EvidenceError> {
        self.note("type=DAEMON_END", "op=terminate res=success")?;
        let waiting = self.pending.commits_waiting() as u64;
        Ok(CollectorReport {
            unmatched: self.pending.unmatched + waiting,
            dropped: self.pending.dropped,
            ..self.report
        })
    }
}

fn committed(payload: &[u8]) -> Option<Committed> {
    let Commit { generation, thread, .. } = transactions::committed(payload)?;
    Some(Committed { generation, thread, process: transactions::process_of(thread) })
}

fn is_thread_of(process: u32, thread: u32) -> bool {
    std::fs::symlink_metadata(format!("/proc/{process}/task/{thread}")).is_ok()
}
