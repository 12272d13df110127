//! Audit events as an author: the login, or the service where there is no login.

use crate::model::{AuditEvent, Author, Background, Evidence, Syscall, Window};

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

/// Whether the units and containers that are known of these events are one and the same.
pub(super) fn is_one_service(events: &[&AuditEvent]) -> bool {
    fn differ<'a>(mut known: impl Iterator<Item = &'a String>) -> bool {
        let first = known.next();
        known.any(|other| Some(other) != first)
    }
    let without_login = || {
        let is_service =
            |event: &&&AuditEvent| event.syscall.as_ref().is_some_and(|call| call.auid.is_none());
        events.iter().filter(is_service).map(|event| &event.background)
    };
    !differ(without_login().filter_map(|background| background.unit.as_ref()))
        && !differ(without_login().filter_map(|background| background.container.as_ref()))
}

/// The author of one event that was joined with its transaction while it happened; unknown, with what is left,
/// where the event has no system call.
pub fn witnessed(event: &AuditEvent, names: &dyn Fn(u32) -> Option<String>) -> Author {
    let described = Author { window: None, ..describe(&[event], names) };
    match Who::of(event) {
        Some(_) => Author { evidence: Evidence::Audit, ..described },
        None => Author::unknown(None, vec![described]),
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
    Who(Who, Option<String>),
    Comm(Vec<u8>),
}

impl Distinct {
    fn of(event: &AuditEvent) -> Self {
        let comm = || event.netfilter.first().map(|cfg| cfg.comm.clone()).unwrap_or_default();
        match Who::of(event) {
            Some(who @ Who::Login(_)) => Self::Who(who, None),
            Some(who) => Self::Who(who, event.background.unit.clone()),
            None => Self::Comm(comm()),
        }
    }
}

fn describe(events: &[&AuditEvent], names: &dyn Fn(u32) -> Option<String>) -> Author {
    let syscall = |of: fn(&Syscall) -> Option<Vec<u8>>| {
        text(agreed(events.iter().map(|event| event.syscall.as_ref().and_then(of))))
    };
    let number = |of: fn(&Syscall) -> Option<u32>| {
        agreed(events.iter().map(|event| event.syscall.as_ref().and_then(of)))
    };
    let known = |of: fn(&Background) -> Option<String>| agreed(events.iter().map(|e| of(&e.background)));
    let (exe, unit) = (syscall(|s| s.exe.clone()), known(|b| b.unit.clone()));
    let comm = text(agreed(events.iter().map(|e| e.netfilter.first().map(|cfg| cfg.comm.clone()))));
    let ran = |event: &&AuditEvent| {
        let whole = event.background.cmdline.as_deref().or(event.proctitle.as_deref());
        whole.map(command_line)
    };
    let mut times = events.iter().map(|event| event.time);
    Author {
        name: name(events, exe.as_deref(), unit.as_deref(), names),
        auid: number(|s| s.auid),
        uid: number(|s| Some(s.uid)),
        session: number(|s| s.session),
        tty: syscall(|s| s.tty.clone()),
        pid: agreed(events.iter().map(|event| event.netfilter.first().map(|cfg| cfg.pid))),
        comm,
        exe,
        cmdline: agreed(events.iter().map(ran)),
        unit,
        remote: known(|b| b.remote.clone()),
        sudo_user: known(|b| b.sudo_user.clone()),
        container: known(|b| b.container.clone()),
        parents: agreed(events.iter().map(|e| Some(e.background.parents.clone()))).unwrap_or_default(),
        window: times.next_back().map(|to| Window { from: events.first().map(|e| e.time), to }),
        ..Author::default()
    }
}

fn name(
    events: &[&AuditEvent],
    exe: Option<&str>,
    unit: Option<&str>,
    names: &dyn Fn(u32) -> Option<String>,
) -> String {
    let syscalls = || events.iter().filter_map(|event| event.syscall.as_ref());
    if let Some(auid) = syscalls().find_map(|s| s.auid) {
        return login(auid, syscalls().find_map(|s| s.login_name.clone()), names);
    }
    service(exe, unit).unwrap_or_else(|| Author::UNKNOWN.to_owned())
}

/// What a login is called: the name at the time, where the record brought it along. One that reads like a service's
/// is not used.
pub fn login(auid: u32, at_the_time: Option<String>, names: &dyn Fn(u32) -> Option<String>) -> String {
    let name = at_the_time.or_else(|| names(auid));
    name.filter(|name| !reads_like_a_service(name)).unwrap_or_else(|| format!("uid {auid}"))
}

/// What is called if no login is behind it: its unit, which only root can name; else the executable's file name, short
/// enough for a commit's author. Anyone may name an executable like a login, so it is marked with what no login's
/// name can hold.
pub fn service(exe: Option<&str>, unit: Option<&str>) -> Option<String> {
    if let Some(unit) = unit.filter(|unit| unit.ends_with(UNIT)) {
        return Some(unit.to_owned());
    }
    let path = exe.map(|path| path.strip_suffix(" (deleted)").unwrap_or(path))?;
    let file = path.rsplit('/').next().filter(|name| !name.is_empty())?;
    Some(format!("{file}{NO_LOGIN}"))
}

const UNIT: &str = ".service";
const NO_LOGIN: &str = " (no login)";

fn reads_like_a_service(name: &str) -> bool {
    name.ends_with(UNIT) || name.ends_with(NO_LOGIN)
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
pub fn command_line(title: &[u8]) -> String {
    let end = title.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    let spaced: Vec<u8> = title[..end].iter().map(|b| if *b == 0 { b' ' } else { *b }).collect();
    String::from_utf8_lossy(&spaced).into_owned()
}
