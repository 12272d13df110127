//! What can go wrong with the repository, each with the next step.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// A failure of the ledger. The message says all that happened, with its cause (so there is no `source`);
/// [`LedgerError::hint`] what to do next.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// A relative path that must not be stored in a commit.
    #[error("{path:?} cannot be stored in the repository: {why}")]
    FilePath {
        /// The path as given.
        path: String,
        /// The rule that it breaks.
        why: &'static str,
    },
    /// Nothing is at the path.
    #[error("there is no repository at {}", path.display())]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// Something else than a git repository is at the path.
    #[error("{} is not a git repository", path.display())]
    NotARepository {
        /// The path asked for.
        path: PathBuf,
    },
    /// A new repository was asked for where files already are.
    #[error("{} is not empty and not a git repository", path.display())]
    NotEmpty {
        /// The path asked for.
        path: PathBuf,
    },
    /// Another user owns the repository, and git's rules forbid trusting it.
    #[error("{} belongs to uid {owner}, and this is uid {me}", path.display())]
    ForeignOwner {
        /// What the other user owns.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// The effective uid of this process.
        me: u32,
    },
    /// A repository without a working tree.
    #[error("{} is a bare repository", path.display())]
    Bare {
        /// The path asked for.
        path: PathBuf,
    },
    /// An object format that libgit2 cannot read.
    #[error("{} uses SHA-256 objects, which fwdrift cannot read", path.display())]
    Sha256 {
        /// The path asked for.
        path: PathBuf,
    },
    /// A reference storage that libgit2 cannot read.
    #[error("{} keeps its references in a reftable, which fwdrift cannot read", path.display())]
    Reftable {
        /// The path asked for.
        path: PathBuf,
    },
    /// Content that git or fwdrift wrote cannot be read back.
    #[error("the repository {} is damaged: {what}", path.display())]
    Damaged {
        /// The repository's git directory or work tree.
        path: PathBuf,
        /// What could not be read.
        what: String,
    },
    /// A commit has something else where a plain file or a directory must be.
    #[error("{path:?} in the repository {} cannot be used: {why}", repository.display())]
    Entry {
        /// The repository's git directory.
        repository: PathBuf,
        /// The path inside the commit.
        path: String,
        /// What is there instead.
        why: &'static str,
    },
    /// Nothing has been approved yet.
    #[error("{} has no branch main yet: nothing is approved", path.display())]
    NoMain {
        /// The repository.
        path: PathBuf,
    },
    /// A git configuration file cannot be read.
    #[error("git's configuration cannot be read: {what}")]
    GitConfig {
        /// libgit2's message, which names the file.
        what: String,
    },
    /// Another fwdrift is writing.
    #[error("another fwdrift has been writing to the repository for {} s ({holder})", waited.as_secs())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// Pid and command of the holder, as it wrote them down.
        holder: String,
        /// How long was waited.
        waited: Duration,
    },
    /// Another git program holds the lock of a reference.
    #[error("the reference {name} is locked by another git program ({} exists)", path.display())]
    RefLocked {
        /// The reference.
        name: String,
        /// Its lock file.
        path: PathBuf,
    },
    /// Another process moved `main` since it was read.
    #[error("main is at {}, not at {} as expected", or_absent(found), or_absent(expected))]
    MainMoved {
        /// The commit that the caller had read.
        expected: Option<String>,
        /// The commit that is there now.
        found: Option<String>,
    },
    /// Another process moved the ledger's branch since it was read.
    #[error("{name} was moved by another program while an event was being written")]
    LedgerMoved {
        /// The reference.
        name: String,
    },
    /// The baseline already has exactly these files.
    #[error("{path} on main already has exactly these files: nothing to approve")]
    NothingToApprove {
        /// The directory on `main`.
        path: String,
    },
    /// The lock belongs to another repository.
    #[error("the lock {} does not belong to this repository", path.display())]
    WrongLock {
        /// The lock file.
        path: PathBuf,
    },
    /// The event names another host than the ledger it is appended to.
    #[error("an event of host {event:?} cannot be appended to the ledger of {ledger:?}")]
    WrongHost {
        /// The host that the event names.
        event: String,
        /// The host whose ledger it is.
        ledger: String,
    },
    /// No event has this number or commit.
    #[error("the ledger of {host} has no event {id:?}")]
    UnknownEvent {
        /// The host's name.
        host: String,
        /// The id as given.
        id: String,
    },
    /// Several commits begin with these digits.
    #[error("{id:?} is the beginning of {} commits of {host}'s ledger", candidates.len())]
    AmbiguousEvent {
        /// The host's name.
        host: String,
        /// The id as given.
        id: String,
        /// The commits, newest first.
        candidates: Vec<String>,
    },
    /// A file operation failed.
    #[error("cannot {action} {}: {error}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// libgit2 failed.
    #[error("cannot {action} in {}: {}", path.display(), error.message())]
    Git {
        /// What was tried, as a verb.
        action: &'static str,
        /// The git directory.
        path: PathBuf,
        /// libgit2's error.
        error: git2::Error,
    },
}

fn or_absent(commit: &Option<String>) -> &str {
    commit.as_deref().unwrap_or("no commit")
}

impl LedgerError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::Io { action, path: path.to_owned(), error }
    }

    pub(super) fn git(action: &'static str, path: &Path) -> impl FnOnce(git2::Error) -> Self {
        move |error| Self::Git { action, path: path.to_owned(), error }
    }

    /// What to do next, as a sentence or a command.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::FilePath { .. } => "rename the file".to_owned(),
            Self::Missing { .. } | Self::NoMain { .. } => {
                "run `fwdrift init`, or name another repository with --repo DIR".to_owned()
            }
            Self::NotARepository { .. } => "name the repository's directory with --repo DIR".to_owned(),
            Self::NotEmpty { .. } => "name an empty or a new directory with --repo DIR".to_owned(),
            Self::ForeignOwner { path, owner, me } => foreign_owner_hint(path, *owner, *me),
            Self::Bare { path } => format!("clone it: `git clone {} DIR`, then --repo DIR", path.display()),
            Self::Sha256 { .. } => "make it anew with `git init --object-format=sha1`".to_owned(),
            Self::Reftable { path } => {
                format!("run `git -C {} refs migrate --ref-format=files`", path.display())
            }
            Self::Damaged { path, .. } => {
                format!(
                    "run `git -C {} fsck --full`, and restore from the remote or a backup",
                    path.display()
                )
            }
            Self::Entry { .. } => "replace it with plain files of plain names, and commit that".to_owned(),
            Self::GitConfig { .. } => "mend the file; `git config --list --show-origin` names it".to_owned(),
            Self::Locked { .. } => "wait for it to end; look at that process if it does not".to_owned(),
            Self::RefLocked { path, .. } => {
                format!("if no git program is running, remove {}", path.display())
            }
            Self::MainMoved { .. } => "run `fwdrift check` again and review what it shows".to_owned(),
            Self::LedgerMoved { .. } => "run it again".to_owned(),
            Self::UnknownEvent { .. } => "`fwdrift log` lists the events".to_owned(),
            Self::AmbiguousEvent { candidates, .. } => {
                format!("give more digits of one of: {}", candidates.join(", "))
            }
            Self::NothingToApprove { .. } | Self::WrongLock { .. } | Self::WrongHost { .. } => return None,
            Self::Io { path, error, .. } => return obstacle_hint(&error.to_string(), path),
            Self::Git { path, error, .. } => return obstacle_hint(error.message(), path),
        })
    }
}

fn foreign_owner_hint(path: &Path, owner: u32, me: u32) -> String {
    let path = path.display();
    format!(
        "run as uid {owner}, or `chown -R {me} {path}`, \
         or, if you trust that user, `git config --global --add safe.directory {path}`"
    )
}

/// The hint for an error of the operating system, known by the C library's words for it: libgit2 gives
/// nothing else.
fn obstacle_hint(message: &str, path: &Path) -> Option<String> {
    let path = path.display();
    let has = |words: &str| message.contains(words);
    if has("No space left on device") || has("Disk quota exceeded") {
        Some(format!("make room on the disk of {path}; nothing was lost, the next run records it"))
    } else if has("target OID for the reference doesn't exist") {
        // libgit2 tells no reason for an object that it could not write.
        Some(format!("make room on the disk of {path}; nothing was lost, run it again"))
    } else if has("File too large") {
        Some("raise the limit of file sizes (`ulimit -f`)".to_owned())
    } else if has("Read-only file system") {
        Some(format!("mount the file system of {path} writable, or name another place with --repo DIR"))
    } else if has("Permission denied") || has("Operation not permitted") {
        Some(format!("run as the owner of {path}, usually root"))
    } else {
        None
    }
}
