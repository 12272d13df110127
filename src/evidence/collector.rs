//! A small audit log of one network namespace, where no auditd runs: for `demo` and tests.
//!
//! In: the audit multicast group of the first network namespace and the nf_tables events of the watched
//! one. Out: the watched namespace's audit events, appended to a file in `audit.log`'s own format. Records
//! of other namespaces are never written. x_tables records name neither namespace nor generation, so they
//! aren't written either. Must not turn auditing on or off: that is [`super::enable_guard`]'s.

use super::join::{Committed, HOLD, Join, Message};
use super::namespaces::{in_first, inside};
use super::record::{self, Body};
use super::{EvidenceError, READLOG};
use crate::collect::transactions::{self, Commit};
use crate::netlink::nft;
use crate::netlink::{self, Malformed, whole_datagram};
use crate::sys::multicast::{Multicast, Received};
use chrono::Utc;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::{AUDIT, NETFILTER};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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
    /// Events given up because too many waited.
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
        let listen = || Multicast::open(AUDIT, READLOG);
        let audit = in_first(|| listen().map_err(failed("listen to the audit multicast group")))?;
        let listen = || Multicast::open(NETFILTER, nft::GROUP);
        let nft = inside("watched", watched, || listen().map_err(failed("listen to the nf_tables events")))?;
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&out);
        let log =
            log.map_err(|source| EvidenceError::File { operation: "open", path: out.clone(), source })?;
        let (woken, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(failed("make a pipe for the collector"))?;
        let (orders, inbox) = channel();
        let (join, report) = (Join::default(), CollectorReport::default());
        let mut worker = Worker { audit, nft, woken, inbox, log, out, join, report };
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

struct Worker {
    audit: Multicast,
    nft: Multicast,
    woken: OwnedFd,
    inbox: Receiver<Order>,
    log: File,
    out: PathBuf,
    join: Join<()>,
    report: CollectorReport,
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
            let done = !news && self.join.commits_waiting() == 0;
            let Some((order, _)) = waiting.take_if(|(_, deadline)| done || Instant::now() >= *deadline)
            else {
                continue;
            };
            match order {
                // Who asked may have gone.
                Order::Settle(reply) => drop(reply.send(self.join.commits_waiting() == 0)),
                Order::Stop => return self.close(),
            }
        }
    }

    fn sleep(&self, ordered: bool) -> Result<(), EvidenceError> {
        let short = Timespec { tv_sec: 0, tv_nsec: if ordered { 2_000_000 } else { 50_000_000 } };
        let limit = (ordered || !self.join.is_idle()).then_some(&short);
        let fds = [self.audit.as_fd(), self.nft.as_fd(), self.woken.as_fd()];
        let mut sources = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
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
        let commits = self.receive_commits()?;
        Ok(self.receive_records()? || commits)
    }

    fn receive_commits(&mut self) -> Result<bool, EvidenceError> {
        let mut news = false;
        loop {
            let whole = match self.nft.receive().map_err(receiving)? {
                Received::Datagram(bytes) => netlink::for_each_message(bytes, |message| {
                    if message.kind == nft::kind(nft::msg::NEWGEN)
                        && let Some(commit) = committed(message.payload)
                    {
                        self.join.commit(commit, (), Instant::now());
                    }
                    ControlFlow::<()>::Continue(())
                }),
                Received::Lost => Err(Malformed),
                Received::Empty => return Ok(news),
            };
            news = true;
            if whole == Err(Malformed) {
                self.lost()?;
            }
        }
    }

    fn receive_records(&mut self) -> Result<bool, EvidenceError> {
        let mut news = false;
        loop {
            let message: Message = match self.audit.receive().map_err(receiving)? {
                Received::Datagram(bytes) => match whole_datagram(bytes) {
                    Some(message) => (message.kind.into(), message.payload.to_vec()),
                    None => continue,
                },
                Received::Lost => {
                    self.lost()?;
                    continue;
                }
                Received::Empty => return Ok(news),
            };
            news = true;
            let Some(record) = record::parse_in_short(message.0, &message.1) else { continue };
            if matches!(record.body, Body::Enabled(_)) {
                self.write(&line(&message))?;
            } else {
                self.join.record(record, message, Instant::now());
            }
        }
    }

    /// Something came that is now gone: the history gets a gap here.
    fn lost(&mut self) -> Result<(), EvidenceError> {
        self.report.overflows += 1;
        self.note("type=DAEMON_ERR", "op=overflow res=failed")
    }

    fn write_ready(&mut self) -> Result<(), EvidenceError> {
        for joined in self.join.ready(Instant::now(), is_thread_of).into_iter().filter(|joined| !joined.again)
        {
            let lines: Vec<u8> = joined.records.iter().flat_map(line).collect();
            self.write(&lines)?;
            self.report.events += 1;
        }
        // Nobody reads here what was joined with no commit.
        drop(self.join.finished());
        let now = Instant::now();
        self.report.unmatched += self.join.overdue(|(), since| now >= since + HOLD).len() as u64;
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
        let waiting = self.join.commits_waiting() as u64;
        Ok(CollectorReport {
            unmatched: self.report.unmatched + waiting,
            dropped: self.join.dropped,
            ..self.report
        })
    }
}

fn committed(payload: &[u8]) -> Option<Committed> {
    let Commit { generation, thread, .. } = transactions::committed(payload)?;
    Some(Committed { generation, thread, process: transactions::process_of(thread) })
}

fn receiving(source: Errno) -> EvidenceError {
    EvidenceError::Netlink { operation: "receive", source }
}

pub(super) fn is_thread_of(process: u32, thread: u32) -> bool {
    std::fs::symlink_metadata(format!("/proc/{process}/task/{thread}")).is_ok()
}

/// A message as auditd writes it. A table's name may hold newlines: they must not make lines.
fn line((kind, text): &Message) -> Vec<u8> {
    let mut line = format!("type={} msg=", record::type_name(*kind)).into_bytes();
    line.extend(text.iter().map(|byte| if matches!(byte, b'\n' | b'\r' | 0) { b' ' } else { *byte }));
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newline_in_a_tables_name_makes_no_line() {
        let forged = b"audit(1.000:3): table=x\ntype=SYSCALL msg=audit(1.000:3): auid=7:2 family=1 entries=1 op=nft_register_table pid=77 comm=\"nft\"";
        let line = line(&(1325, forged.to_vec()));
        assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
        assert!(line.starts_with(b"type=NETFILTER_CFG msg=audit(1.000:3): table=x type=SYSCALL"));
    }
}
