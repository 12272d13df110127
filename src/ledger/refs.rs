//! References: read strictly, moved only from the value that was read.

use super::error::LedgerError;
use super::store::sync_dir;
use crate::model::HostName;
use git2::{Commit, ErrorClass, ErrorCode, Oid, Repository};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The branch of approved states.
pub(super) const MAIN: &str = "refs/heads/main";

/// The directory of all baselines on `main`.
pub(super) const BASELINES: &str = "baselines";

/// The branch of a host's ledger.
pub(super) fn live(host: &HostName) -> String {
    format!("refs/heads/live/{host}")
}

/// The directory of a host's baseline on `main`.
pub(super) fn baseline_path(host: &HostName) -> String {
    format!("{BASELINES}/{host}")
}

/// How long another git program may hold a reference's lock: they do so for milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// The commit at a branch; `None` if there is no such branch.
pub(super) fn tip<'r>(repo: &'r Repository, name: &str) -> Result<Option<Commit<'r>>, LedgerError> {
    let damaged = |e: git2::Error| LedgerError::Damaged {
        path: repo.commondir().to_owned(),
        what: format!("{name}: {}", e.message()),
    };
    match repo.find_reference(name) {
        Ok(reference) => reference.peel_to_commit().map(Some).map_err(damaged),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) if error.class() == ErrorClass::Os => {
            Err(LedgerError::git("read a reference", repo.commondir())(error))
        }
        Err(error) => Err(damaged(error)),
    }
}

/// Moves `name` from `old` to `new`; `Ok(false)` if it is no longer at `old`.
///
/// Compares under git's own lock of the reference, so that no other git program can come between.
pub(super) fn advance(
    repo: &Repository,
    name: &str,
    old: Option<Oid>,
    new: Oid,
    log: &str,
) -> Result<bool, LedgerError> {
    // libgit2 syncs each object and its directory, but not the directory above a new one.
    sync_dir(&repo.commondir().join("objects"))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let moved = match old {
            Some(old) => repo.reference_matching(name, new, true, old, log),
            None => repo.reference(name, new, false, log),
        };
        let Err(error) = moved else { return Ok(true) };
        match error.code() {
            ErrorCode::Modified | ErrorCode::Exists => return Ok(false),
            // The branch was deleted since it was read.
            ErrorCode::NotFound if old.is_some() => return Ok(false),
            ErrorCode::Locked if Instant::now() < deadline => sleep(Duration::from_millis(20)),
            ErrorCode::Locked => {
                return Err(LedgerError::RefLocked { name: name.to_owned(), path: lock_path(repo, name) });
            }
            _ => return Err(LedgerError::git("move a reference", repo.commondir())(error)),
        }
    }
}

/// Where git puts the lock of a reference.
pub(super) fn lock_path(repo: &Repository, name: &str) -> PathBuf {
    repo.commondir().join(format!("{name}.lock"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_host_name_makes_a_reference_that_git_takes() {
        for name in [
            "web-01",
            "Web-01.example.org",
            "a",
            "10.0.0.1",
            "db_2",
            "a@b",
            "a@b@c.service",
            &"x".repeat(HostName::MAX_LEN),
        ] {
            assert!(git2::Reference::is_valid_name(&live(&HostName::parse(name).unwrap())), "{name}");
        }
    }
}
