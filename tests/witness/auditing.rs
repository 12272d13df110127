//! Auditing of the whole machine, as a test needs it: on (shared with others), or as it likes (alone).

use super::support::{ask, error_of, message, skipped};
use fwdrift::evidence::status;
use rustix::fs::{FlockOperation, flock};
use rustix::net::netlink::AUDIT;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// Where `fwdrift::evidence::enable_guard` keeps its locks.
const STATE: &str = "/run/fwdrift";
/// A field of `struct audit_status` (linux/audit.h): its place, and its bit in the mask of what is set.
type Field = (usize, u32);
const ENABLED: Field = (1, 0x1);
const BACKLOG_LIMIT: Field = (5, 0x10);
const BACKLOG_WAIT_TIME: Field = (9, 0x20);

/// Nobody uses auditing while this lives: it is off, and this test may turn it on and off. Everything is put back.
pub struct Alone {
    before: Settings,
    _turn: File,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    enabled: u32,
    backlog_limit: u32,
    backlog_wait_time: u32,
}

impl Alone {
    /// `None` where an audit daemon runs, which is not to be disturbed; said loudly.
    pub fn new() -> Option<Self> {
        if status().unwrap().auditd_pid != 0 {
            skipped("an audit daemon runs here, and this test would turn auditing off");
            return None;
        }
        // Who uses auditing holds the second lock, and takes the first to begin and to end.
        loop {
            let _ = std::fs::create_dir(STATE);
            let Some(turn) = open("audit.turn") else { continue };
            flock(&turn, FlockOperation::LockExclusive).unwrap();
            // The last user takes both files away.
            let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
            let there = std::fs::metadata(Path::new(STATE).join("audit.turn")).map(inode).ok();
            let has_turn = there == turn.metadata().map(inode).ok();
            let Some(users) = open("audit.users").filter(|_| has_turn) else { continue };
            if flock(&users, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let mut before = settings();
                // What a test that was killed left behind: how auditing was before it.
                let left = std::fs::read_to_string(Path::new(STATE).join("audit.users")).unwrap_or_default();
                before.enabled =
                    left.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(before.enabled);
                set(ENABLED, 0);
                assert_eq!(status().unwrap().enabled, 0, "auditing is locked on; this test needs it off");
                return Some(Self { before, _turn: turn });
            }
            drop(turn);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn turn(&self, on: bool) {
        set(ENABLED, u32::from(on));
    }

    /// A queue so short that records are lost.
    pub fn shorten_queue(&self) {
        set(BACKLOG_LIMIT, 1);
        set(BACKLOG_WAIT_TIME, 0);
    }

    pub fn restore_queue(&self) {
        set(BACKLOG_LIMIT, self.before.backlog_limit);
        set(BACKLOG_WAIT_TIME, self.before.backlog_wait_time);
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.restore_queue();
        set(ENABLED, self.before.enabled);
        assert_eq!(settings(), self.before);
        // As the last guard does: whoever waits for the turn sees that its file is gone.
        for name in ["audit.users", "audit.turn"] {
            let _ = std::fs::remove_file(Path::new(STATE).join(name));
        }
        let _ = std::fs::remove_dir(STATE);
    }
}

fn open(name: &str) -> Option<File> {
    let path = Path::new(STATE).join(name);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).ok()
}

fn settings() -> Settings {
    let answer = ask(AUDIT, &message(1000, 1, &[]));
    let word = |(at, _): Field| u32::from_ne_bytes(answer[16 + at * 4..20 + at * 4].try_into().unwrap());
    Settings {
        enabled: word(ENABLED),
        backlog_limit: word(BACKLOG_LIMIT),
        backlog_wait_time: word(BACKLOG_WAIT_TIME),
    }
}

fn set((at, mask): Field, value: u32) {
    let mut words = [0u32; 11];
    (words[0], words[at]) = (mask, value);
    let payload: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
    assert_eq!(error_of(&ask(AUDIT, &message(1001, 5, &payload))), 0, "AUDIT_SET");
}

/// An audit rule `-a never,task -F uid=N`, deleted when dropped: no task that N forks has a system call's record.
pub struct HidesTasksOf(Vec<u8>);

impl HidesTasksOf {
    pub fn new(uid: u32) -> Self {
        // struct audit_rule_data: flags, action, field_count, mask[64], fields[64], values[64], fieldflags[64], buflen
        let mut words = vec![0u32; 3 + 4 * 64 + 1];
        words[..3].copy_from_slice(&[1, 0, 1]);
        words[3..67].fill(u32::MAX);
        words[67] = 1; // AUDIT_UID
        words[131] = uid;
        words[195] = 0x4000_0000; // AUDIT_EQUAL
        let rule: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        change(1011, &rule);
        Self(rule)
    }
}

impl Drop for HidesTasksOf {
    fn drop(&mut self) {
        change(1012, &self.0);
    }
}

fn change(kind: u16, rule: &[u8]) {
    assert_eq!(error_of(&ask(AUDIT, &message(kind, 5, rule))), 0, "a rule");
}
