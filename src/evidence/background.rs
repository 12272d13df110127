//! What /proc adds to an audit event.
//!
//! In: an event, what /proc says of its process and of those above it. Out: its [`Background`]. The record decides who
//! it was; /proc describes, and only where it is certain to be the same process: a number that is in use since before
//! the event was in use by the same process then.

use super::process::{Ancestry, Claims, Proc, Process, Sight, since_boot};
use crate::model::{AuditEvent, Background};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use std::time::Duration;

/// Of how many processes and parents /proc is asked for one history.
const ASKED: usize = 512;

/// How much later than its audit record a process may seem to have begun: both times are cut, to 10 ms each.
pub(super) const COARSE: Duration = Duration::from_millis(20);

/// What /proc adds to an audit event: what it said of the process that the record names, if it is that one; else what
/// it says of the parent. `committed_at` is the record's time, since boot.
pub(super) fn background(
    event: &AuditEvent,
    sight: Option<&Sight>,
    committed_at: Duration,
    ancestry_of: impl FnOnce(u32, Option<u32>) -> Ancestry,
) -> Background {
    let known = event.background.clone();
    let Some(call) = &event.syscall else { return known };
    let comm = call.comm.as_deref().unwrap_or_default();
    let is_it = |process: &Process| {
        process.pid == call.pid
            && process.start <= committed_at + COARSE
            && (process.auid, process.session) == (call.auid, call.session)
    };
    let Some(sight) = sight.filter(|sight| is_it(&sight.process)) else {
        let ancestry = call.ppid.map(|ppid| ancestry_of(ppid, call.session)).unwrap_or_default();
        return Background {
            parents: chain(&ancestry, comm),
            remote: known.remote.or(ancestry.ssh),
            sudo_user: ancestry.sudo_user,
            ..known
        };
    };
    let Process { exe, cmdline, claims, place, .. } = &sight.process;
    let same_program = if exe.is_some() { *exe == call.exe } else { sight.process.comm == comm };
    let sudo_user = claims.sudo_user.clone().filter(|_| same_program);
    Background {
        remote: known.remote.or_else(|| sight.ancestry.ssh.clone()),
        sudo_user: sudo_user.or_else(|| sight.ancestry.sudo_user.clone()),
        cmdline: cmdline.clone().filter(|_| same_program).or(known.cmdline),
        unit: place.unit.clone(),
        container: place.container.clone(),
        parents: chain(&sight.ancestry, comm),
    }
}

/// The names of the processes above one, and its own; none if there are none above it.
pub(super) fn chain(ancestry: &Ancestry, comm: &[u8]) -> Vec<String> {
    let mut names = ancestry.names.clone();
    if !names.is_empty() {
        names.push(String::from_utf8_lossy(comm).into_owned());
    }
    names
}

/// When an event happened, on the clock of [`Process::start`].
pub(super) fn since_boot_at(time: DateTime<Utc>) -> Duration {
    let age = Utc::now().signed_duration_since(time).to_std().unwrap_or_default();
    since_boot().saturating_sub(age)
}

/// Adds to past events what can still be seen: of a service that goes on, its unit; the processes above.
pub fn of_the_living(events: &mut [AuditEvent]) {
    let Ok(proc) = Proc::open() else { return };
    let mut sights: HashMap<u32, Option<Sight>> = HashMap::new();
    for event in events {
        let Some(call) = &event.syscall else { continue };
        if sights.len() >= ASKED && !sights.contains_key(&call.pid) {
            return;
        }
        let sight = sights.entry(call.pid).or_insert_with(|| proc.sight(call.pid));
        let committed_at = since_boot_at(event.time);
        let ancestry =
            |ppid, session| proc.ancestry(ppid, session, committed_at + COARSE, &Claims::default());
        event.background = background(event, sight.as_ref(), committed_at, ancestry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::process::Place;
    use crate::model::{NetfilterCfg, Syscall};

    fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    fn event(auid: Option<u32>) -> AuditEvent {
        let cfg = NetfilterCfg {
            table: b"t".to_vec(),
            generation: Some(2),
            family: 1,
            op: "nft_register_rule".to_owned(),
            pid: 7,
            comm: b"nft".to_vec(),
        };
        let call = Syscall {
            auid,
            uid: 0,
            session: Some(4),
            tty: None,
            pid: 7,
            ppid: Some(3),
            comm: Some(b"nft".to_vec()),
            exe: Some(b"/usr/sbin/nft".to_vec()),
            success: Some(true),
            login_name: None,
            uid_name: None,
        };
        AuditEvent {
            time: DateTime::default(),
            serial: 3,
            netfilter: vec![cfg],
            syscall: Some(call),
            proctitle: None,
            background: Background::default(),
        }
    }

    #[test]
    fn proc_adds_only_what_is_the_records_own_process() {
        let place = Place { unit: Some("u.service".to_owned()), container: None };
        let claims = Claims { sudo_user: Some("ops5".to_owned()), ssh: None };
        let ssh = Some("192.0.2.7".to_owned());
        let ancestry = Ancestry { names: vec!["sh".to_owned()], ssh, sudo_user: None };
        let fitting = Process { place, claims, ..Process::of_nft(1005, 1000) };
        let add = |process: &Process| {
            let sight = Sight { process: process.clone(), ancestry: ancestry.clone() };
            let parent = |ppid, session| {
                assert_eq!((ppid, session), (3, Some(4)));
                Ancestry { names: vec!["parent".to_owned()], ..Ancestry::default() }
            };
            background(&event(Some(1005)), Some(&sight), ms(1005), parent)
        };
        let whole = add(&fitting);
        assert_eq!((whole.unit.as_deref(), whole.remote.as_deref()), (Some("u.service"), Some("192.0.2.7")));
        assert_eq!(
            (whole.parents, whole.sudo_user),
            (vec!["sh".to_owned(), "nft".to_owned()], Some("ops5".to_owned()))
        );
        assert_eq!(whole.cmdline.as_deref(), Some(b"nft\0-f\0/etc/x\0".as_slice()));
        for (claim, other) in [
            ("began later", Process { start: ms(1040), ..fitting.clone() }),
            ("another login", Process { auid: Some(1006), ..fitting.clone() }),
            ("another session", Process { session: None, ..fitting.clone() }),
            ("another process", Process { pid: 8, ..fitting.clone() }),
        ] {
            let added = add(&other);
            let expected =
                Background { parents: vec!["parent".to_owned(), "nft".to_owned()], ..Background::default() };
            assert_eq!(added, expected, "{claim}");
        }
        let since = Process { exe: Some(b"/bin/sh".to_vec()), ..fitting };
        let added = add(&since);
        assert_eq!((added.cmdline, added.sudo_user), (None, None), "another program by now");
        assert_eq!(added.unit.as_deref(), Some("u.service"));
    }
}
