//! The repository as the rest of fwdrift sees it.

use super::error::LedgerError;
use super::lock::Lock;
use super::{open, refs, tree};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A commit's id, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitId(pub(super) String);

impl CommitId {
    /// All forty digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<git2::Oid> for CommitId {
    fn from(id: git2::Oid) -> Self {
        Self(id.to_string())
    }
}

impl fmt::Display for CommitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The git repository that holds baselines and ledgers. Reads take no lock and write nothing.
pub struct Repository {
    pub(super) git: git2::Repository,
    root: PathBuf,
}

impl Repository {
    /// How long a writer waits for another one, unless told otherwise.
    pub const PATIENCE: Duration = Duration::from_secs(30);

    /// Makes a repository at `path` with the first branch `main`, or adopts the one that is there.
    ///
    /// What it makes is private (directory mode 0700); a repository that was there keeps its mode and its
    /// content. Whether it already has baselines, [`Repository::baseline`] tells.
    ///
    /// # Errors
    /// As [`Repository::open`], except that `main` may be absent; [`LedgerError::NotEmpty`] where other
    /// files are.
    pub fn create(path: &Path) -> Result<Self, LedgerError> {
        Ok(Self { git: open::create(path)?, root: path.to_owned() })
    }

    /// Opens the repository whose work tree is exactly `path`.
    ///
    /// # Errors
    /// One variant for each of: missing, no repository, foreign owner, bare, SHA-256, reftable, damaged,
    /// no `main` yet.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let repository = Self { git: open::open_handle(path)?, root: path.to_owned() };
        match refs::tip(&repository.git, refs::MAIN)?.map(|main| main.tree()) {
            None => return Err(LedgerError::NoMain { path: path.to_owned() }),
            Some(Err(error)) => return Err(tree::damaged(&repository.git, "main", error.message())),
            Some(Ok(_)) => {}
        }
        Ok(repository)
    }

    /// The directory that was opened.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// fwdrift's own directory beside git's, `<gitdir>/fwdrift`. It may not exist yet.
    pub fn state_dir(&self) -> PathBuf {
        self.git.commondir().join("fwdrift")
    }

    /// For what can be computed again, `<gitdir>/fwdrift/cache`. It may not exist yet.
    pub fn cache_dir(&self) -> PathBuf {
        self.state_dir().join("cache")
    }

    /// The commit at `main`; `None` before the first approval.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if the branch cannot be read.
    pub fn main_commit(&self) -> Result<Option<CommitId>, LedgerError> {
        Ok(refs::tip(&self.git, refs::MAIN)?.map(|commit| commit.id().into()))
    }

    /// Takes the right to write, waiting up to [`Repository::PATIENCE`]. Mends what a killed fwdrift left.
    ///
    /// # Errors
    /// [`LedgerError::Locked`] with the holder; [`LedgerError::Io`] on a full or read-only disk.
    pub fn lock(&self) -> Result<Lock, LedgerError> {
        self.lock_within(Self::PATIENCE)
    }

    /// As [`Repository::lock`], waiting up to `patience`.
    ///
    /// # Errors
    /// As [`Repository::lock`].
    pub fn lock_within(&self, patience: Duration) -> Result<Lock, LedgerError> {
        let lock = Lock::acquire(&self.root, &self.state_dir(), patience)?;
        self.finish_working_tree(&lock)?;
        Ok(lock)
    }

    pub(super) fn writer<'l>(&self, lock: &'l Lock) -> Result<&'l git2::Repository, LedgerError> {
        lock.writer(&self.state_dir())
    }
}
