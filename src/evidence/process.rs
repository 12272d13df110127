//! One process, as /proc describes it while it is there.
//!
//! In: the number of a thread, as the host's first pid namespace counts it (as NEWGEN and audit do). Out: a
//! [`Process`], all of it one task's: its files are read through one open directory, which stays with its task when
//! the number is given to another one (fs/proc/base.c: an inode of /proc holds `struct pid`). What may not be read
//! is left out; without a login uid nothing is given at all. Must not decide who made a change.

mod cgroup;
mod files;

pub use cgroup::Place;
pub use files::Claims;

pub(in crate::evidence) use files::address;

use files::Stat;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// The inode numbers of the first namespaces never change (include/uapi/linux/nsfs.h, `enum init_ns_ino`).
const FIRST_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Of a longer command line, the rest is dropped; it is kept with the change.
const LONGEST_COMMAND: usize = 16 * 1024;
/// As much as the kernel passes on by default.
const LONGEST_ENVIRONMENT: usize = 128 * 1024;
/// How far up a chain of parents is followed.
const GENERATIONS: usize = 32;
/// How many processes above others are remembered.
const FOREBEARS: usize = 512;

/// A task and its process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// The thread that was asked for.
    pub thread: u32,
    /// Its process.
    pub pid: u32,
    /// The process's parent.
    pub ppid: u32,
    /// When the *thread* started, since boot (suspended time included), cut to 10 ms.
    pub start: Duration,
    /// The thread's name, which anyone can set.
    pub comm: Vec<u8>,
    /// The login uid of the thread; `None` where no login is behind it.
    pub auid: Option<u32>,
    /// The audit session.
    pub session: Option<u32>,
    /// The real uid.
    pub uid: u32,
    /// The terminal, in audit's words: `pts3`.
    pub tty: Option<String>,
    /// Whether it may change packet filters at all.
    pub is_net_admin: bool,
    /// The executable's path; `None` where it may not be read, or is gone.
    pub exe: Option<Vec<u8>>,
    /// The whole command line, arguments separated by NUL.
    pub cmdline: Option<Vec<u8>>,
    /// What its environment says.
    pub claims: Claims,
    /// Its unit or container.
    pub place: Place,
}

#[cfg(test)]
impl Process {
    /// Number 7, an nft in a session of this login, which began so many milliseconds after the boot.
    pub(super) fn of_nft(auid: u32, start: u64) -> Self {
        Self {
            thread: 7,
            pid: 7,
            ppid: 3,
            start: Duration::from_millis(start),
            comm: b"nft".to_vec(),
            auid: Some(auid),
            session: Some(4),
            exe: Some(b"/usr/sbin/nft".to_vec()),
            cmdline: Some(b"nft\0-f\0/etc/x\0".to_vec()),
            ..Self::default()
        }
    }
}

/// The processes above another one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ancestry {
    /// Their names, the outermost first; process 1 is left out.
    pub names: Vec<String>,
    /// What the outermost one of the session says of its ssh client, or the process itself. Not sshd's own processes,
    /// and not the session's first one: what they were told is older than the session.
    pub ssh: Option<String>,
    /// What the nearest of them in the same session says of sudo.
    pub sudo_user: Option<String>,
}

impl Ancestry {
    fn outermost_first(mut self) -> Self {
        self.names.reverse();
        self
    }
}

/// A process and those above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// The process.
    pub process: Process,
    /// Those above it.
    pub ancestry: Ancestry,
}

/// Why /proc says nothing about who made a change.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// It cannot be opened, or is not proc(5).
    #[error("/proc cannot be used: {0}")]
    Unusable(io::Error),
    /// The numbers in it are not those that the kernel announces.
    #[error("/proc here is not that of the host's first pid and user namespaces")]
    Foreign,
}

/// The host's own /proc.
#[derive(Debug)]
pub struct Proc {
    root: OwnedFd,
    forebears: RefCell<HashMap<u32, Forebear>>,
}

/// A process above others.
#[derive(Clone, Debug)]
struct Forebear {
    stat: Stat,
    session: Option<u32>,
    claims: Claims,
}

impl Proc {
    /// Opens /proc, where it counts processes as the kernel does in what it announces.
    ///
    /// # Errors
    /// [`ProcError`]; in a container, above all.
    pub fn open() -> Result<Self, ProcError> {
        let inode = |path: &str| std::fs::metadata(path).map(|metadata| metadata.ino());
        // This process is to be found only in the /proc of its own namespace or of one around it.
        let own = inode("/proc/self/ns/pid").map_err(ProcError::Unusable)?;
        let counts = own == FIRST_PID_NAMESPACE
            || inode("/proc/1/ns/pid").is_ok_and(|first| first == FIRST_PID_NAMESPACE);
        // Login uids are translated for the user namespace of who reads them.
        if !counts || inode("/proc/self/ns/user").is_ok_and(|user| user != FIRST_USER_NAMESPACE) {
            return Err(ProcError::Foreign);
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open("/proc", flags, Mode::empty());
        let root = root.map_err(|error| ProcError::Unusable(error.into()))?;
        Ok(Self { root, forebears: RefCell::default() })
    }

    /// The task with this number, of whatever process; `None` if it is gone or hidden.
    pub fn task(&self, number: u32) -> Option<Process> {
        self.task_unless(number, |_| false)
    }

    /// As [`Proc::task`], but of a process that may not change packet filters only what is at hand.
    pub fn changer(&self, number: u32) -> Option<Process> {
        self.task_unless(number, |process| !process.is_net_admin)
    }

    fn task_unless(&self, number: u32, is_enough: impl Fn(&Process) -> bool) -> Option<Process> {
        let task = Task::open(self.root.as_fd(), number)?;
        let exe = task.exe();
        // First what counts: it may be gone in a moment.
        let essentials = task.essentials(number)?;
        if is_enough(&essentials) {
            return Some(Process { exe, ..essentials });
        }
        let cmdline = task.file("cmdline", LONGEST_COMMAND);
        let claims = task.file("environ", LONGEST_ENVIRONMENT);
        // Another program may have begun between two files.
        let later = task.exe();
        let sure = |text: Option<Vec<u8>>| text.filter(|text| exe == later && !text.is_empty());
        Some(Process {
            cmdline: sure(cmdline),
            claims: sure(claims).map(|text| files::claims(&text)).unwrap_or_default(),
            exe: exe.filter(|exe| later.is_none_or(|later| later == *exe)),
            ..essentials
        })
    }

    /// As [`Proc::task`], but without command line and environment.
    pub fn task_in_short(&self, number: u32) -> Option<Process> {
        let task = Task::open(self.root.as_fd(), number)?;
        let exe = task.exe();
        Some(Process { exe, ..task.essentials(number)? })
    }

    /// A task and the processes above it.
    pub fn sight(&self, number: u32) -> Option<Sight> {
        let process = self.task(number)?;
        let ancestry = self.ancestry(process.ppid, process.session, process.start, &process.claims);
        Some(Sight { process, ancestry })
    }

    /// The processes from `ppid` upwards, above one that had this session and was there at `when` (since boot), and
    /// was told `own`. Each was there before its child, so that it is the parent and not a later process with its
    /// number.
    pub fn ancestry(&self, ppid: u32, session: Option<u32>, when: Duration, own: &Claims) -> Ancestry {
        let mut found = Ancestry::default();
        let (mut next, mut latest) = (ppid, when);
        // What a session's first process was told is from before the session: it was forked by a daemon.
        let mut told = own.ssh.clone().filter(|_| session.is_some());
        while next > 1 && found.names.len() < GENERATIONS {
            let Some(parent) = self.forebear(next).filter(|parent| parent.stat.start <= latest) else {
                return found.outermost_first();
            };
            (next, latest) = (parent.stat.ppid, parent.stat.start);
            let of_session = session.is_some() && parent.session == session;
            let before = std::mem::take(&mut told);
            if of_session {
                found.ssh = before.or(found.ssh);
                found.sudo_user = found.sudo_user.or(parent.claims.sudo_user);
                told = parent.claims.ssh.filter(|_| !parent.stat.comm.starts_with(b"sshd"));
            }
            found.names.push(String::from_utf8_lossy(&parent.stat.comm).into_owned());
        }
        // Below process 1: its parent is gone.
        found.ssh = told.or(found.ssh);
        found.outermost_first()
    }

    /// A process above others. What it was told when its program began is read once.
    fn forebear(&self, number: u32) -> Option<Forebear> {
        let task = Task::open(self.root.as_fd(), number)?;
        let stat = files::stat(&task.file("stat", 4096)?)?;
        let mut forebears = self.forebears.borrow_mut();
        let same = |known: &&Forebear| (known.stat.start, &known.stat.comm) == (stat.start, &stat.comm);
        if let Some(known) = forebears.get(&number).filter(same) {
            return Some(Forebear { stat, ..known.clone() });
        }
        let session = task.file("sessionid", 64).and_then(|text| files::number(&text)).flatten();
        let claims = task.file("environ", LONGEST_ENVIRONMENT).map(|text| files::claims(&text));
        let forebear = Forebear { stat, session, claims: claims.unwrap_or_default() };
        if forebears.len() >= FOREBEARS {
            forebears.clear();
        }
        forebears.insert(number, forebear.clone());
        Some(forebear)
    }

    /// How many tasks were ever started on this machine; `None` where /proc shows processes only.
    pub fn forks(&self) -> Option<u64> {
        let text = read(self.root.as_fd(), "stat", 1 << 20)?;
        let line = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"processes "))?;
        std::str::from_utf8(line).ok()?.trim().parse().ok()
    }

    /// How many tasks have to be started before a number is given again, at least (kernel/pid.c: numbers rise to
    /// `pid_max`, and begin again after the first 300).
    pub fn numbers(&self) -> Option<u64> {
        let text = read(self.root.as_fd(), "sys/kernel/pid_max", 64)?;
        let most: u64 = std::str::from_utf8(&text).ok()?.trim().parse().ok()?;
        // Numbers in use are passed over.
        Some(most.saturating_sub(300) / 2)
    }
}

/// The open directory of one task.
struct Task(OwnedFd);

impl Task {
    fn open(root: BorrowedFd<'_>, number: u32) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(root, number.to_string(), flags, Mode::empty()).ok().map(Self)
    }

    fn file(&self, name: &str, most: usize) -> Option<Vec<u8>> {
        read(self.0.as_fd(), name, most)
    }

    fn exe(&self) -> Option<Vec<u8>> {
        rustix::fs::readlinkat(&self.0, "exe", Vec::new()).ok().map(std::ffi::CString::into_bytes)
    }

    /// What does not change with the program, but for the name.
    fn essentials(&self, number: u32) -> Option<Process> {
        let stat = files::stat(&self.file("stat", 4096)?)?;
        let status = files::status(&self.file("status", 16 * 1024)?)?;
        Some(Process {
            thread: number,
            pid: status.process,
            ppid: stat.ppid,
            start: stat.start,
            comm: stat.comm,
            auid: files::number(&self.file("loginuid", 64)?)?,
            session: self.file("sessionid", 64).and_then(|text| files::number(&text)).flatten(),
            uid: status.uid,
            tty: files::terminal(stat.tty),
            is_net_admin: status.is_net_admin,
            exe: None,
            cmdline: None,
            claims: Claims::default(),
            place: self.file("cgroup", 64 * 1024).map(|text| cgroup::place(&text)).unwrap_or_default(),
        })
    }
}

/// Reads a file below a directory, at most so much of it.
fn read(directory: BorrowedFd<'_>, name: &str, most: usize) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, Path::new(name), flags, Mode::empty()).ok()?;
    let mut bytes = vec![0; most.min(8192)];
    let mut length = 0;
    loop {
        match rustix::io::read(&file, bytes.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(rustix::io::Errno::INTR) => continue,
            // The process ended meanwhile (ESRCH), or may not be read.
            Err(_) => return None,
        }
        if length == bytes.len() {
            if length >= most {
                break;
            }
            bytes.resize((length * 2).min(most), 0);
        }
    }
    bytes.truncate(length);
    Some(bytes)
}

/// Now, on the clock of [`Process::start`].
pub fn since_boot() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}
