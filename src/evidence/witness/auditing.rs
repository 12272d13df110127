//! The audit multicast group, and whether the kernel says anything there.
//!
//! In: the group READLOG in the first network namespace, the audit status. Out: messages, and gaps wherever records
//! are missing or will be. Must not turn anything on or off.

use super::gap;
use crate::evidence::audit_control::{self, AuditStatus};
use crate::evidence::join::{HOLD, Message};
use crate::evidence::namespaces::in_first;
use crate::evidence::{EvidenceError, READLOG};
use crate::model::Gap;
use crate::netlink::whole_datagram;
use crate::sys::multicast::{Multicast, Received};
use chrono::{DateTime, TimeDelta, Utc};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::netlink::AUDIT;
use std::time::{Duration, Instant};

/// How often the kernel is asked while something seems wrong.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a doubt lasts: whoever changes the firewall once without leaving a record may do so again.
const DOUBT: Duration = Duration::from_secs(60);
/// How long a transaction waits for its audit record; the kernel writes it a moment after the announcement.
const PATIENCE: Duration = Duration::from_millis(500);
/// How much later than the announcement that moment may be, with audit's coarse clock.
const MOMENT: TimeDelta = TimeDelta::milliseconds(50);

/// What the kernel says of auditing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    On,
    Off,
    /// It may not be asked.
    Untold,
}

/// The group and what is known of it.
#[derive(Debug)]
pub(super) struct Auditing {
    socket: Option<Multicast>,
    state: State,
    /// A rule hides who makes a system call.
    hides: bool,
    lost: Option<u32>,
    asked: Option<Instant>,
    /// Whether a transaction had no record since the kernel said how many it had lost.
    missed: bool,
    /// When a record of a packet filter came last.
    spoke: Option<Instant>,
    /// When anything came last, and of what time it was.
    heard: Option<(Instant, DateTime<Utc>)>,
    /// Until when it is not relied on, after a commit without a record.
    silent_until: Option<Instant>,
    /// Until when it is not relied on to name a process's login.
    partial_until: Option<Instant>,
    /// When the listening began.
    opened: DateTime<Utc>,
    gaps: Vec<Gap>,
}

impl Auditing {
    /// Begins to listen, as far as that is possible.
    pub(super) fn open(now: Instant) -> Self {
        let failed =
            |source| EvidenceError::Netlink { operation: "listen to the audit multicast group", source };
        let socket = in_first(|| Multicast::open(AUDIT, READLOG).map_err(failed));
        let mut auditing = Self {
            socket: None,
            state: State::Untold,
            hides: false,
            lost: None,
            asked: None,
            missed: false,
            spoke: None,
            heard: None,
            silent_until: None,
            partial_until: None,
            opened: Utc::now(),
            gaps: Vec::new(),
        };
        match socket {
            Ok(socket) => auditing.socket = Some(socket),
            Err(error) => auditing.gaps.push(gap("audit", error.to_string(), error.hint())),
        }
        auditing.ask(now);
        if auditing.state == State::Off {
            let reason = "auditing is off: authors are looked up in /proc, and some stay unknown".to_owned();
            auditing.gaps.push(gap("audit", reason, Some(TURN_ON.to_owned())));
        }
        auditing
    }

    /// Hands over what has come, without waiting; whether something was lost.
    pub(super) fn receive(&mut self, mut each: impl FnMut(&mut Self, Message)) -> bool {
        let mut lost = false;
        // It is put back but for a failure.
        while let Some(mut socket) = self.socket.take() {
            let received = match socket.receive() {
                Ok(Received::Datagram(bytes)) => {
                    whole_datagram(bytes).map(|message| (u32::from(message.kind), message.payload.to_vec()))
                }
                Ok(Received::Lost) => {
                    lost = true;
                    None
                }
                Ok(Received::Empty) => {
                    self.socket = Some(socket);
                    break;
                }
                Err(error) => {
                    let reason =
                        format!("audit records can no longer be received, from {}: {error}", at(Utc::now()));
                    self.gaps.push(gap("audit", reason, None));
                    break;
                }
            };
            self.socket = Some(socket);
            if let Some(message) = received {
                each(self, message);
            }
        }
        if lost {
            let reason = format!("audit records came faster than they were read, until {}", at(Utc::now()));
            self.gaps.push(gap(
                "audit",
                reason,
                Some("authors of changes before that may be missing".to_owned()),
            ));
        }
        lost
    }

    /// Asks the kernel how auditing stands, and takes note of what has changed.
    pub(super) fn ask(&mut self, now: Instant) {
        let is_first = self.asked.replace(now).is_none();
        match audit_control::status() {
            Ok(status) => self.take_status(&status),
            Err(error) => {
                self.state = State::Untold;
                if is_first && self.socket.is_some() {
                    self.gaps.push(gap("audit", error.to_string(), error.hint()));
                }
            }
        }
        let hid = std::mem::replace(&mut self.hides, audit_control::never_task_rule().unwrap_or(false));
        if self.hides && !hid {
            let reason =
                format!("the audit rule `-a never,task` hides who runs a program, at {}", at(Utc::now()));
            self.gaps.push(gap(
                "audit",
                reason,
                Some("`auditctl -d never,task`; see `fwdrift doctor`".to_owned()),
            ));
        }
    }

    /// As [`Self::ask`], unless it was asked a moment ago.
    pub(super) fn ask_again(&mut self, now: Instant) {
        if self.asked.is_none_or(|asked| now.duration_since(asked) >= AGAIN) {
            self.ask(now);
        }
    }

    fn take_status(&mut self, status: &AuditStatus) {
        self.switched(status.enabled != 0, Utc::now());
        let before = *self.lost.get_or_insert(status.lost);
        let lost = status.lost.wrapping_sub(before);
        if status.lost < before {
            // The counter was set to 0 (`auditctl --reset-lost`).
            self.lost = Some(status.lost);
            return;
        }
        // Without auditd, the kernel also counts what nobody fetches but this group's listeners got (kernel/audit.c
        // `kauditd_hold_skb`).
        if lost > 0 && (status.auditd_pid != 0 || std::mem::take(&mut self.missed)) {
            self.lost = Some(status.lost);
            let reason = format!("the kernel lost {lost} audit records, until {}", at(Utc::now()));
            let hint = "a longer queue helps: `auditctl -b 8192`; see `fwdrift doctor`";
            self.gaps.push(gap("audit", reason, Some(hint.to_owned())));
        }
    }

    /// Auditing was found on or off. A record of a time before the listening began may come late, and is no news.
    pub(super) fn switched(&mut self, on: bool, when: DateTime<Utc>) {
        if when < self.opened {
            return;
        }
        let state = if on { State::On } else { State::Off };
        match (std::mem::replace(&mut self.state, state), state) {
            (State::On, State::Off) => {
                let reason = format!("auditing was turned off at {}", at(when));
                self.gaps.push(gap("audit", reason, Some(TURN_ON.to_owned())));
            }
            (State::Off, State::On) => {
                self.gaps.push(gap("audit", format!("auditing is on again at {}", at(when)), None));
            }
            _ => {}
        }
    }

    /// Anything came.
    pub(super) fn heard(&mut self, now: Instant, time: DateTime<Utc>) {
        self.heard = Some((now, time));
    }

    /// Until when to wait for the record of a transaction that was announced at `seen_at`, and has waited since.
    /// Records come in the order of time: while older ones still come, its own is yet to come.
    pub(super) fn patience(&self, now: Instant, seen_at: DateTime<Utc>, since: Instant) -> Instant {
        if !self.is_speaking(now) {
            return since;
        }
        let behind = self.heard.filter(|(_, time)| *time < seen_at + MOMENT);
        let lagging = behind.map_or(since, |(heard, _)| heard.min(since + HOLD - PATIENCE));
        lagging.max(since) + PATIENCE
    }

    /// A record of a packet filter came, so the kernel speaks.
    pub(super) fn spoke(&mut self, now: Instant, when: DateTime<Utc>) {
        self.spoke = Some(now);
        self.silent_until = None;
        if self.state == State::Off {
            self.switched(true, when);
        }
    }

    /// No record came of a transaction that waited since then. Where others came meanwhile, it is that record which
    /// is missing, or could not be joined; those of the next ones are still waited for.
    pub(super) fn kept_silent(&mut self, now: Instant, since: Instant) {
        self.missed = true;
        self.partial_until = Some(now + DOUBT);
        if self.spoke.is_none_or(|spoke| spoke < since) {
            self.silent_until = Some(now + DOUBT);
        }
        self.ask_again(now);
    }

    /// A record came that names no login.
    pub(super) fn told_half(&mut self, now: Instant) {
        self.partial_until = Some(now + DOUBT);
        self.ask_again(now);
    }

    /// Whether a record is to be expected of each transaction.
    pub(super) fn is_speaking(&self, now: Instant) -> bool {
        let silent = self.silent_until.is_some_and(|until| now < until);
        self.socket.is_some() && self.state != State::Off && !silent
    }

    /// Whether each record is to be expected to name a login.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        let partial = self.partial_until.is_some_and(|until| now < until);
        self.is_speaking(now) && !self.hides && !partial
    }

    /// What was missed, or will be, since it was last asked for.
    pub(super) fn take_gaps(&mut self) -> Vec<Gap> {
        std::mem::take(&mut self.gaps)
    }

    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}

const TURN_ON: &str = "`auditctl -e 1` turns auditing on; see `fwdrift doctor`";

pub(super) fn at(when: DateTime<Utc>) -> String {
    when.format("%F %T%.3f UTC").to_string()
}
