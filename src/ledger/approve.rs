//! Approval: the baseline of a host replaced in one commit on `main`.

use super::error::LedgerError;
use super::files::check_files;
use super::identity::Identity;
use super::lock::Lock;
use super::message::ApprovalMessage;
use super::repository::{CommitId, Repository};
use super::worktree::{self, WorkingTree};
use super::{refs, tree};
use crate::model::{Files, HostName};
use chrono::Utc;
use git2::Commit;

/// What an approval did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approved {
    /// The new commit at `main`.
    pub commit: CommitId,
    /// What became of the files in the working tree.
    pub working_tree: WorkingTree,
}

impl Repository {
    /// Makes `files` the whole content of `baselines/<host>` on `main`, in one commit by `identity`.
    ///
    /// `expected_parent` is the commit at `main` that was reviewed; `None` says that `main` must not exist
    /// yet. Other paths of `main` stay as they are. If `main` is checked out, the working tree follows where
    /// nobody edited it; if something else is, only the branch moves.
    ///
    /// # Errors
    /// [`LedgerError::MainMoved`] if `main` is elsewhere; [`LedgerError::NothingToApprove`] if the directory
    /// has these files already; disk errors. After an error nothing is approved.
    pub fn approve(
        &self,
        lock: &Lock,
        host: &HostName,
        files: &Files,
        identity: &Identity,
        message: &ApprovalMessage,
        expected_parent: Option<&str>,
    ) -> Result<Approved, LedgerError> {
        check_files(files)?;
        let git = self.writer(lock)?;
        let fail = || LedgerError::git("write an approval", git.commondir());
        let path = refs::baseline_path(host);
        let parent = refs::tip(git, refs::MAIN)?;
        let found = parent.as_ref().map(|commit| commit.id().to_string());
        let moved = |found: Option<String>| LedgerError::MainMoved {
            expected: expected_parent.map(str::to_owned),
            found,
        };
        if found.as_deref() != expected_parent {
            return Err(moved(found));
        }
        let root = parent.as_ref().map(Commit::tree).transpose().map_err(fail())?;
        let before = match &root {
            Some(root) => tree::directory(git, root, &path)?.map(|directory| directory.id()),
            None => None,
        };
        let after = tree::write(git, files)?;
        if before == Some(after) {
            return Err(LedgerError::NothingToApprove { path });
        }
        let new_root = tree::with_directory(git, root.as_ref(), &path, after)?;
        let new_root = git.find_tree(new_root).map_err(fail())?;
        let author = identity.signature(host, Utc::now()).map_err(fail())?;
        let text = message.render(host, &identity.login);
        let parents: Vec<&Commit<'_>> = parent.iter().collect();
        let commit = git.commit(None, &author, &author, &text, &new_root, &parents).map_err(fail())?;
        worktree::remember(&self.state_dir(), &path, before)?;
        let old = parent.as_ref().map(Commit::id);
        if !refs::advance(git, refs::MAIN, old, commit, "fwdrift: approve")? {
            let found = refs::tip(git, refs::MAIN)?.map(|commit| commit.id().to_string());
            return Err(moved(found));
        }
        let working_tree = worktree::follow(git, &self.state_dir());
        Ok(Approved { commit: commit.into(), working_tree })
    }

    /// Brings the working tree up to date after an approval that was killed half-way.
    pub(super) fn finish_working_tree(&self, lock: &Lock) -> Result<(), LedgerError> {
        // What cannot be done now stays remembered, and is no reason not to record an event.
        let _ = worktree::follow(self.writer(lock)?, &self.state_dir());
        Ok(())
    }
}
