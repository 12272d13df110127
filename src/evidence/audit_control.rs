//! Asks the kernel's audit how it stands, and turns it on for as long as a guard lives.
//!
//! In and out: netlink NETLINK_AUDIT (include/uapi/linux/audit.h). Leaves auditing as it found it, also when
//! several processes ask at once or one of them is killed; must not change any rule.

use super::EvidenceError;
use crate::netlink::{self, Malformed, Message, control, flags};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const AUDIT_GET: u16 = 1000;
const AUDIT_SET: u16 = 1001;
const AUDIT_LIST_RULES: u16 = 1013;
/// `AUDIT_STATUS_ENABLED`, the bit of `mask` that says "set this field only".
const STATUS_ENABLED: u32 = 1;
/// Locked by whoever looks at or changes who uses auditing.
const TURN: &str = "audit.turn";
/// Locked by every user; says how auditing was before the first.
const USERS: &str = "audit.users";
/// How long the kernel may take to answer.
const PATIENCE: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// `struct audit_status`, as far as fwdrift needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditStatus {
    /// 0 off, 1 on, 2 on and locked until the next boot.
    pub enabled: u32,
    /// The process id of auditd, 0 if there is none.
    pub auditd_pid: u32,
    /// Records lost since boot (or since the counter was reset).
    pub lost: u32,
    /// Records waiting for auditd.
    pub backlog: u32,
    /// How many may wait.
    pub backlog_limit: u32,
}

/// How the kernel's audit stands. Needs CAP_AUDIT_CONTROL in the first namespaces.
///
/// # Errors
/// [`EvidenceError::Netlink`] without the permission, in a container, or where the kernel has no audit.
pub fn status() -> Result<AuditStatus, EvidenceError> {
    const OPERATION: &str = "ask for the audit status";
    let mut found = None;
    exchange(OPERATION, AUDIT_GET, flags::REQUEST, &[], |message| {
        found = (message.kind == AUDIT_GET).then(|| parse_status(message.payload)).flatten();
        found.is_some()
    })?;
    found.ok_or(EvidenceError::Answer { operation: OPERATION })
}

fn parse_status(payload: &[u8]) -> Option<AuditStatus> {
    let field = |index: usize| word(payload, index);
    Some(AuditStatus {
        enabled: field(1)?,
        auditd_pid: field(3)?,
        backlog_limit: field(5)?,
        lost: field(6)?,
        backlog: field(7)?,
    })
}

/// A 32-bit field of a structure in this machine's byte order.
fn word(structure: &[u8], index: usize) -> Option<u32> {
    let bytes = structure.get(index * 4..index * 4 + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// Whether a rule `-a never,task` for all tasks is loaded: then no process forked since has SYSCALL records,
/// and no login is known. The same rule with conditions (`-F …`) hides some tasks only, and is not counted.
///
/// # Errors
/// As [`status`].
pub fn never_task_rule() -> Result<bool, EvidenceError> {
    let mut found = false;
    exchange("list the audit rules", AUDIT_LIST_RULES, flags::REQUEST, &[], |message| {
        found |= message.kind == AUDIT_LIST_RULES && hides_all_tasks(message.payload);
        message.kind == control::DONE
    })?;
    Ok(found)
}

/// `struct audit_rule_data`: flags (the list; bit 4 is "prepend"), action, field_count, …
fn hides_all_tasks(rule: &[u8]) -> bool {
    const AUDIT_FILTER_TASK: u32 = 1;
    const AUDIT_NEVER: u32 = 0;
    let field = |index: usize| word(rule, index);
    field(0).is_some_and(|list| list & !0x10 == AUDIT_FILTER_TASK)
        && field(1) == Some(AUDIT_NEVER)
        && field(2) == Some(0)
}

fn set_enabled(value: u32) -> Result<(), EvidenceError> {
    let mut payload = STATUS_ENABLED.to_ne_bytes().to_vec();
    payload.extend(value.to_ne_bytes());
    payload.resize(44, 0);
    let acknowledged = |message: Message<'_>| message.kind == control::ERROR;
    exchange("turn auditing on or off", AUDIT_SET, flags::REQUEST | flags::ACK, &payload, acknowledged)
}

/// Sends one request and hands each answer to `done` until it says so. An error message ends it.
fn exchange(
    operation: &'static str,
    kind: u16,
    flags: u16,
    payload: &[u8],
    mut done: impl FnMut(Message<'_>) -> bool,
) -> Result<(), EvidenceError> {
    let failed = |source| EvidenceError::Netlink { operation, source };
    let socket = open_socket(0).map_err(failed)?;
    let kernel = SocketAddrNetlink::new(0, 0);
    let mut request = Vec::new();
    netlink::put_message(&mut request, kind, flags, 1, &[payload]);
    rustix::net::sendto(&socket, &request, SendFlags::empty(), &kernel).map_err(failed)?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&PATIENCE)).map_err(failed)? == 0 {
            return Err(failed(rustix::io::Errno::TIMEDOUT));
        }
        let (length, _) = rustix::net::recv(&socket, &mut buffer[..], RecvFlags::empty()).map_err(failed)?;
        let flow = netlink::for_each_message(&buffer[..length], |message| {
            if message.kind == control::ERROR {
                match netlink::error_code(message.payload) {
                    Ok(0) => {}
                    Ok(code) => {
                        let source = rustix::io::Errno::from_raw_os_error(code.saturating_neg());
                        return ControlFlow::Break(Err(failed(source)));
                    }
                    Err(Malformed) => return ControlFlow::Break(Err(EvidenceError::Answer { operation })),
                }
            }
            if done(message) { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
        });
        match flow {
            Ok(ControlFlow::Break(result)) => return result,
            Ok(ControlFlow::Continue(())) => {}
            Err(Malformed) => return Err(EvidenceError::Answer { operation }),
        }
    }
}

/// An audit socket in the calling thread's network namespace, a member of `groups` (bit 0 is READLOG).
pub(super) fn open_socket(groups: u32) -> Result<OwnedFd, rustix::io::Errno> {
    let family = AddressFamily::NETLINK;
    let socket = rustix::net::socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(AUDIT))?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Auditing is on while one of these lives, on the whole machine; the last to be dropped puts back what was
/// there before the first. It survives panics (drop) and kills (the next guard knows what was there).
#[derive(Debug)]
pub struct EnableGuard {
    users: Option<File>,
    dir: PathBuf,
}

/// Turns auditing on if it is off, until the guard is dropped. The last guard takes its two files in
/// `/run/fwdrift` with it.
///
/// # Errors
/// [`EvidenceError::Netlink`] as [`status`]; [`EvidenceError::File`] if `/run/fwdrift` can't be used.
pub fn enable_guard() -> Result<EnableGuard, EvidenceError> {
    enable_guard_in(Path::new("/run/fwdrift"))
}

fn enable_guard_in(dir: &Path) -> Result<EnableGuard, EvidenceError> {
    let failed = |operation| {
        move |source: std::io::Error| EvidenceError::File { operation, path: dir.to_owned(), source }
    };
    let _turn = take_turn(dir).map_err(failed("lock"))?;
    let mut users = lock_file(dir, USERS).map_err(failed("open"))?;
    if flock(&users, FlockOperation::NonBlockingLockExclusive).is_ok() {
        // The first user. What a killed one left behind says how things were before it.
        let status = status()?;
        if read_before(&mut users).is_none() {
            let before = format!("{} {}\n", status.enabled, status.auditd_pid);
            rewrite(&mut users, before.as_bytes()).map_err(failed("write to"))?;
        }
        if status.enabled == 0 {
            set_enabled(1)?;
        }
    }
    flock(&users, FlockOperation::LockShared).map_err(|e| failed("lock")(e.into()))?;
    Ok(EnableGuard { users: Some(users), dir: dir.to_owned() })
}

impl Drop for EnableGuard {
    fn drop(&mut self) {
        let Some(mut users) = self.users.take() else { return };
        let _turn = match take_turn(&self.dir) {
            Ok(turn) => turn,
            Err(error) => {
                tracing::error!(%error, "auditing stays on: the lock is gone");
                return;
            }
        };
        if flock(&users, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        if let Err(error) = put_back(&mut users) {
            tracing::error!(%error, "auditing could not be put back as it was");
        }
        if let Err(error) = self.clear() {
            tracing::warn!(%error, "the note on how auditing was could not be removed");
        }
    }
}

impl EnableGuard {
    /// To be called by the last user, who holds the turn: whoever waits for it sees that its file is gone.
    fn clear(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.dir.join(USERS))?;
        std::fs::remove_file(self.dir.join(TURN))?;
        // Refused where somebody else has put something there, or waits already.
        let _ = std::fs::remove_dir(&self.dir);
        Ok(())
    }
}

fn put_back(users: &mut File) -> Result<(), EvidenceError> {
    let Some((enabled, auditd)) = read_before(users) else { return Ok(()) };
    let now = status()?;
    // An auditd that came meanwhile wants auditing on, whatever was there before it.
    let wanted_by_another = now.auditd_pid != 0 && now.auditd_pid != auditd;
    if enabled == 0 && now.enabled == 1 && !wanted_by_another {
        set_enabled(0)?;
    }
    Ok(())
}

/// Only one process at a time looks at or changes who uses auditing.
fn take_turn(dir: &Path) -> std::io::Result<File> {
    // Each further round means that somebody else has had a turn and was the last user.
    loop {
        match std::fs::create_dir(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let turn = match lock_file(dir, TURN) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        flock(&turn, FlockOperation::LockExclusive)?;
        let there = std::fs::metadata(dir.join(TURN)).ok().map(|there| (there.dev(), there.ino()));
        let held = turn.metadata()?;
        if there == Some((held.dev(), held.ino())) {
            return Ok(turn);
        }
    }
}

fn lock_file(dir: &Path, name: &str) -> std::io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(name))
}

/// `enabled` and auditd's pid as they were before the first user.
fn read_before(users: &mut File) -> Option<(u32, u32)> {
    let mut text = String::new();
    users.seek(SeekFrom::Start(0)).ok()?;
    users.take(64).read_to_string(&mut text).ok()?;
    let (enabled, auditd) = text.trim().split_once(' ')?;
    Some((enabled.parse().ok()?, auditd.parse().ok()?))
}

fn rewrite(file: &mut File, content: &[u8]) -> std::io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(list: u32, action: u32, fields: u32) -> Vec<u8> {
        let mut bytes: Vec<u8> = [list, action, fields].iter().flat_map(|n| n.to_ne_bytes()).collect();
        bytes.resize(1056, 0);
        bytes
    }

    #[test]
    fn only_an_unconditional_never_task_rule_hides_all_tasks() {
        assert!(hides_all_tasks(&rule(1, 0, 0)));
        assert!(hides_all_tasks(&rule(0x11, 0, 0)), "-A prepends");
        assert!(!hides_all_tasks(&rule(1, 0, 1)), "with a condition");
        assert!(!hides_all_tasks(&rule(4, 0, 0)), "never,exit");
        assert!(!hides_all_tasks(&rule(1, 2, 0)), "always,task");
        assert!(!hides_all_tasks(b"short"));
    }

    #[test]
    fn a_status_is_read_as_this_kernel_sends_it() {
        let words = [0u32, 1, 1, 812, 0, 64, 3, 2, 127, 15000, 0];
        let payload: Vec<u8> = words.iter().flat_map(|n| n.to_ne_bytes()).collect();
        let expected = AuditStatus { enabled: 1, auditd_pid: 812, lost: 3, backlog: 2, backlog_limit: 64 };
        assert_eq!(parse_status(&payload), Some(expected));
        assert_eq!(parse_status(&payload[..12]), None);
    }

    #[test]
    fn one_has_the_turn_though_its_file_comes_and_goes() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let inside = std::sync::atomic::AtomicU32::new(0);
        let play = || {
            for _ in 0..200 {
                let turn = take_turn(&dir).unwrap();
                assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                std::fs::remove_file(dir.join(TURN)).unwrap();
                let _ = std::fs::remove_dir(&dir);
                drop(turn);
            }
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(play))));
        assert!(!dir.exists());
    }
}
