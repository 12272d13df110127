//! Records into events: by time and serial, whatever their order.
//!
//! In: [`Record`]s. Out: the [`AuditEvent`]s that touched a packet filter, oldest first. Holds a bounded
//! number of open events. Must not believe a record that contradicts another of its event.

use super::join::Message;
use super::lore::{Lore, command_line};
use super::record::{Body, Record, parse_message};
use crate::model::{AuditEvent, Background, NetfilterCfg, Syscall};
use chrono::DateTime;
use std::collections::{HashMap, VecDeque};

/// How many events without a packet filter's record are held while others arrive between theirs.
const OPEN_EVENTS: usize = 4096;

#[derive(Debug, Default)]
struct Partial {
    netfilter: Vec<NetfilterCfg>,
    syscalls: Vec<Syscall>,
    proctitle: Option<Vec<u8>>,
    execve: Vec<(u32, Vec<u8>)>,
}

impl Partial {
    fn push(&mut self, body: Body) {
        match body {
            Body::Netfilter(cfg) if !self.netfilter.contains(&cfg) => self.netfilter.push(cfg),
            Body::Syscall(call) if !self.syscalls.contains(&call) => self.syscalls.push(call),
            Body::Proctitle(title) => self.proctitle = Some(title),
            Body::Execve(arguments) => self.execve.extend(arguments),
            _ => {}
        }
    }

    /// The program that was started, and its arguments.
    fn program(&self) -> Option<(Syscall, Vec<u8>)> {
        match self.syscalls.as_slice() {
            [one] if !self.execve.is_empty() => Some((one.clone(), command_line(&self.execve))),
            _ => None,
        }
    }
}

/// What the records of one event are about.
#[derive(Debug)]
pub(super) enum Subject {
    /// A packet filter.
    Filter(AuditEvent),
    /// A program that was started: the event's serial number, the call, the arguments.
    Program(u64, Syscall, Vec<u8>),
}

/// Reads the messages of one event.
pub(super) fn subject(messages: &[Message]) -> Option<Subject> {
    let records = messages.iter().filter_map(|(kind, text)| parse_message(*kind, text));
    let mut partial = Partial::default();
    let mut key = None;
    for record in records {
        key = Some((record.millis, record.serial));
        partial.push(record.body);
    }
    let (millis, serial) = key?;
    if !partial.netfilter.is_empty() {
        return Some(Subject::Filter(event(millis, serial, partial)));
    }
    let (call, arguments) = partial.program()?;
    Some(Subject::Program(serial, call, arguments))
}

/// Collects records until [`Assembler::finish`].
#[derive(Debug, Default)]
pub struct Assembler {
    events: HashMap<(i64, u64), Partial>,
    /// Keys in order of arrival, for forgetting those that turned out to be about something else.
    order: VecDeque<(i64, u64)>,
    lore: Lore,
    /// NETFILTER_CFG, SYSCALL, PROCTITLE or EXECVE records that were cut short.
    pub broken: usize,
}

impl Assembler {
    /// Takes one record.
    pub fn push(&mut self, record: Record) {
        let key = (record.millis, record.serial);
        match record.body {
            Body::Broken => self.broken += 1,
            Body::Netfilter(_) | Body::Syscall(_) | Body::Proctitle(_) | Body::Execve(_) => {
                self.open(key).push(record.body);
            }
            Body::Session(_)
            | Body::End
            | Body::Enabled(_)
            | Body::DaemonStart
            | Body::DaemonTrouble
            | Body::Other => {}
        }
    }

    fn open(&mut self, key: (i64, u64)) -> &mut Partial {
        if !self.events.contains_key(&key) {
            self.order.push_back(key);
            if self.order.len() > OPEN_EVENTS {
                self.forget_oldest();
            }
        }
        self.events.entry(key).or_default()
    }

    /// Stops waiting for the oldest event; it stays only if it is about a packet filter.
    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front()
            && self.events.get(&oldest).is_some_and(|event| event.netfilter.is_empty())
            && let Some(other) = self.events.remove(&oldest)
        {
            self.learn(oldest.1, other);
        }
    }

    /// An event that is not about a packet filter may tell what one of those was started with.
    fn learn(&mut self, serial: u64, partial: Partial) {
        if let Some((call, arguments)) = partial.program() {
            self.lore.program(serial, call, arguments);
        }
    }

    /// The events about packet filters, oldest first.
    pub fn finish(mut self) -> Vec<AuditEvent> {
        let mut keyed: Vec<_> = std::mem::take(&mut self.events).into_iter().collect();
        keyed.sort_by_key(|(key, _)| *key);
        let mut events = Vec::new();
        for ((millis, serial), partial) in keyed {
            if partial.netfilter.is_empty() {
                self.learn(serial, partial);
            } else {
                events.push(event(millis, serial, partial));
            }
        }
        for event in &mut events {
            self.lore.complete(event);
        }
        events
    }
}

fn event(millis: i64, serial: u64, partial: Partial) -> AuditEvent {
    // One task makes all records of an event. Two different system calls, or another task's, mean that one
    // of them was forged (a table's name may hold a newline and a whole record); then none is believed.
    let syscall = match partial.syscalls.as_slice() {
        [one] if partial.netfilter.iter().all(|cfg| cfg.pid == one.pid) => Some(one.clone()),
        _ => None,
    };
    AuditEvent {
        time: DateTime::from_timestamp_millis(millis).unwrap_or_default(),
        serial,
        netfilter: partial.netfilter,
        syscall,
        proctitle: partial.proctitle,
        background: Background::default(),
    }
}
