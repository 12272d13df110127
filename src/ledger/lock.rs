//! One writer at a time, and mending what a killed writer left.
//!
//! Role: the exclusive lock `<gitdir>/fwdrift/lock`. The kernel drops it when its holder dies, so it
//! never goes stale; git's own `.lock` files do. The holder's pid stands in the lock file while it is held
//! and is wiped on release: a pid that is still there when the lock is free tells of a killed holder.

use super::error::LedgerError;
use super::open::open_for_writing;
use super::refs::MAIN;
use super::store::{TEMPORARY_PREFIX, make_private_dir, write_atomic};
use super::text::{cut, one_line};
use rustix::fs::OFlags;
use rustix::time::{ClockId, clock_gettime};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

/// Settings of libgit2 for our writes: objects and references reach the disk before the call returns.
/// In a file of ours, because plain git warns of `core.fsyncObjectFiles` where it reads it (git 2.36).
const FORCED_CONFIG: &str = "[core]\n\tfsyncObjectFiles = true\n\tlogAllRefUpdates = true\n\
                             [user]\n\tname = fwdrift\n\temail = fwdrift@localhost\n";

/// The right to write to one repository. Released when dropped, or when the process dies.
pub struct Lock {
    file: File,
    path: PathBuf,
    writer: git2::Repository,
    recovered: Vec<PathBuf>,
}

impl Lock {
    /// Files that a killed fwdrift had left and that were removed when this lock was taken.
    pub fn recovered(&self) -> &[PathBuf] {
        &self.recovered
    }

    /// The handle that writes to the disk, for the repository whose state directory is `state_dir`.
    pub(super) fn writer(&self, state_dir: &Path) -> Result<&git2::Repository, LedgerError> {
        if self.path.parent() != Some(state_dir) {
            return Err(LedgerError::WrongLock { path: self.path.clone() });
        }
        Ok(&self.writer)
    }

    /// Takes the lock in `state_dir` of the repository at `root`, waiting up to `patience`.
    pub(super) fn acquire(root: &Path, state_dir: &Path, patience: Duration) -> Result<Self, LedgerError> {
        make_private_dir(state_dir)?;
        let path = state_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(LedgerError::io("open the lock", &path))?;
        wait(&mut file, &path, patience)?;
        let died = killed_holder(&mut file, &path)?;
        let forced = state_dir.join("libgit2.config");
        if fs::read(&forced).ok().as_deref() != Some(FORCED_CONFIG.as_bytes()) {
            write_atomic(&forced, FORCED_CONFIG.as_bytes())?;
        }
        let writer = open_for_writing(root, &forced)?;
        // The killed holder's mark stays until all that it left is gone: this process may be killed, too.
        let recovered = remove_stale(writer.commondir(), state_dir, died)?;
        write_holder(&mut file).map_err(LedgerError::io("write the lock", &path))?;
        Ok(Self { file, path, writer, recovered })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // If this fails, the next holder only takes a second look at locks made since.
        let _ = self.file.set_len(0);
    }
}

/// Removes git's locks on our references and our temporary files where their maker is surely dead.
///
/// A lock file is stale if it was made before this boot, or after a fwdrift that was then killed took our
/// lock: only fwdrift moves `live/*`, and others hold the lock of `main` for milliseconds, so that one that is
/// still there at a second look is nobody's. Git holds the lock of the index while a person writes a commit
/// message, so only one from before this boot is stale.
fn remove_stale(
    git_dir: &Path,
    state_dir: &Path,
    died: Option<SystemTime>,
) -> Result<Vec<PathBuf>, LedgerError> {
    let boot = boot_time();
    let index = git_dir.join("index.lock");
    let is_stale = |path: &Path, made: SystemTime| {
        boot.is_some_and(|b| made < b) || (path != index && died.is_some_and(|d| made >= d))
    };
    let mut suspects = vec![git_dir.join(format!("{MAIN}.lock")), index.clone()];
    suspects.extend(names_in(&git_dir.join("refs/heads/live"), |name| name.ends_with(".lock")));
    let mut seen: Vec<(PathBuf, SystemTime)> =
        suspects.into_iter().filter_map(|path| modified(&path).map(|made| (path, made))).collect();
    seen.retain(|(path, made)| is_stale(path, *made));
    if !seen.is_empty() {
        sleep(Duration::from_millis(200));
        seen.retain(|(path, made)| modified(path) == Some(*made));
    }
    let mut stale: Vec<PathBuf> = seen.into_iter().map(|(path, _)| path).collect();
    if died.is_some() {
        stale.extend(names_in(state_dir, |name| name.starts_with(TEMPORARY_PREFIX)));
    }
    for path in &stale {
        fs::remove_file(path).map_err(LedgerError::io("remove the stale", path))?;
    }
    Ok(stale)
}

fn wait(file: &mut File, path: &Path, patience: Duration) -> Result<(), LedgerError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(LedgerError::io("take the lock", path)(error)),
            Err(TryLockError::WouldBlock) if start.elapsed() < patience => {
                sleep(Duration::from_millis(20).min(patience.saturating_sub(start.elapsed())));
            }
            Err(TryLockError::WouldBlock) => {
                let text = read_holder(file).unwrap_or_default();
                let holder = if text.is_empty() { "process unknown".to_owned() } else { text };
                return Err(LedgerError::Locked { path: path.to_owned(), holder, waited: start.elapsed() });
            }
        }
    }
}

/// What the holder wrote down, as one harmless line.
fn read_holder(file: &mut File) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    file.take(200).read_to_end(&mut bytes)?;
    Ok(one_line(&String::from_utf8_lossy(&bytes)))
}

/// When the last holder took the lock, if it was killed before it could release it.
fn killed_holder(file: &mut File, path: &Path) -> Result<Option<SystemTime>, LedgerError> {
    let fail = || LedgerError::io("read the lock", path);
    let metadata = file.metadata().map_err(fail())?;
    if metadata.len() == 0 {
        return Ok(None);
    }
    metadata.modified().map(Some).map_err(fail())
}

fn write_holder(file: &mut File) -> std::io::Result<()> {
    use std::io::Seek;
    let command = std::env::args().take(2).collect::<Vec<_>>().join(" ");
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "pid {}: {}", std::process::id(), cut(&one_line(&command), 100))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).ok()?.modified().ok()
}

fn names_in(directory: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_wanted = |entry: &fs::DirEntry| entry.file_name().to_str().is_some_and(&wanted);
    entries.flatten().filter(is_wanted).map(|entry| entry.path()).collect()
}

/// When this machine booted, by today's clock.
fn boot_time() -> Option<SystemTime> {
    let up = clock_gettime(ClockId::Boottime);
    let up = Duration::new(u64::try_from(up.tv_sec).ok()?, u32::try_from(up.tv_nsec).ok()?);
    SystemTime::now().checked_sub(up)
}
