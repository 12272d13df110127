//! Audit events as an author: the login, or the service where there is no login.

use crate::model::{AuditEvent, Author, Evidence, Syscall, Window};

/// What makes two events the work of the same author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// A login uid, which survives sudo and su.
    Login(u32),
    /// An executable and its uid, with no login behind it.
    Service { exe: Vec<u8>, uid: u32 },
}

impl Who {
    /// `None` where the event has no SYSCALL part, or names neither login nor executable.
    pub(super) fn of(event: &AuditEvent) -> Option<Self> {
        let syscall = event.syscall.as_ref()?;
        match (syscall.auid, &syscall.exe) {
            (Some(auid), _) => Some(Self::Login(auid)),
            (None, Some(exe)) => Some(Self::Service { exe: exe.clone(), uid: syscall.uid }),
            (None, None) => None,
        }
    }
}

/// The author of events that are all the work of the same [`Who`]; a field in which they differ is `None`.
pub(super) fn author(events: &[&AuditEvent], names: &dyn Fn(u32) -> Option<String>) -> Author {
    Author { evidence: Evidence::AuditLog, ..describe(events, names) }
}

/// The distinct authors of these events, in order of their first.
pub(super) fn candidates(events: &[&AuditEvent], names: &dyn Fn(u32) -> Option<String>) -> Vec<Author> {
    let mut groups: Vec<(Distinct, Vec<&AuditEvent>)> = Vec::new();
    for event in events {
        let who = Distinct::of(event);
        match groups.iter_mut().find(|(known, _)| *known == who) {
            Some((_, group)) => group.push(event),
            None => groups.push((who, vec![event])),
        }
    }
    groups.iter().map(|(_, group)| describe(group, names)).collect()
}

/// As [`Who`]; without a SYSCALL part all that is left is the name that the process gave itself.
#[derive(PartialEq)]
enum Distinct {
    Who(Who),
    Comm(Vec<u8>),
}

impl Distinct {
    fn of(event: &AuditEvent) -> Self {
        let comm = || event.netfilter.first().map(|cfg| cfg.comm.clone()).unwrap_or_default();
        Who::of(event).map_or_else(|| Self::Comm(comm()), Self::Who)
    }
}

fn describe(events: &[&AuditEvent], names: &dyn Fn(u32) -> Option<String>) -> Author {
    let syscall = |of: fn(&Syscall) -> Option<Vec<u8>>| {
        text(agreed(events.iter().map(|event| event.syscall.as_ref().and_then(of))))
    };
    let number = |of: fn(&Syscall) -> Option<u32>| {
        agreed(events.iter().map(|event| event.syscall.as_ref().and_then(of)))
    };
    let exe = syscall(|s| s.exe.clone());
    let comm = text(agreed(events.iter().map(|e| e.netfilter.first().map(|cfg| cfg.comm.clone()))));
    let mut times = events.iter().map(|event| event.time);
    Author {
        name: name(events, exe.as_deref(), names),
        auid: number(|s| s.auid),
        uid: number(|s| Some(s.uid)),
        session: number(|s| s.session),
        tty: syscall(|s| s.tty.clone()),
        pid: agreed(events.iter().map(|event| event.netfilter.first().map(|cfg| cfg.pid))),
        comm,
        exe,
        cmdline: agreed(events.iter().map(|event| event.proctitle.as_deref().map(command_line))),
        window: times.next_back().map(|to| Window { from: events.first().map(|e| e.time), to }),
        ..Author::default()
    }
}

/// The login's name; else the executable's file name, short enough for a commit's author. Anyone may name an
/// executable like a login, so it is marked with what no login's name can hold.
fn name(events: &[&AuditEvent], exe: Option<&str>, names: &dyn Fn(u32) -> Option<String>) -> String {
    let syscalls = || events.iter().filter_map(|event| event.syscall.as_ref());
    if let Some(auid) = syscalls().find_map(|s| s.auid) {
        let at_the_time = syscalls().find_map(|s| s.login_name.clone());
        return at_the_time.or_else(|| names(auid)).unwrap_or_else(|| format!("uid {auid}"));
    }
    let file =
        exe.map(|path| path.strip_suffix(" (deleted)").unwrap_or(path).rsplit('/').next().unwrap_or(path));
    match file.filter(|name| !name.is_empty()) {
        Some(name) => format!("{name} (no login)"),
        None => Author::UNKNOWN.to_owned(),
    }
}

/// A value that all have, if they have the same.
fn agreed<T: PartialEq>(mut values: impl Iterator<Item = Option<T>>) -> Option<T> {
    let first = values.next()??;
    values.all(|other| other.as_ref() == Some(&first)).then_some(first)
}

fn text(bytes: Option<Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Arguments are separated by NUL.
fn command_line(title: &[u8]) -> String {
    let end = title.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let spaced: Vec<u8> = title[..end].iter().map(|b| if *b == 0 { b' ' } else { *b }).collect();
    String::from_utf8_lossy(&spaced).into_owned()
}
