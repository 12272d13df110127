//! The approved state of a host, read from the commit at `main`, never from the working tree.

use super::error::LedgerError;
use super::repository::Repository;
use super::{message, refs, tree};
use crate::model::{Approval, Files, HostName};
use chrono::{DateTime, Utc};
use git2::{Commit, ErrorCode, Oid, Tree};
use std::path::Path;

/// The policy for all hosts, on `main`.
pub const POLICY_FILE: &str = "fwdrift.toml";

/// What is approved for a host, and who approved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// The commit at `main` that this was read from.
    pub commit: String,
    /// The directory in that commit, `baselines/<host>`.
    pub path: String,
    /// The id of that directory's tree: equal ids, equal files.
    pub tree: String,
    /// Its files, relative to the directory.
    pub files: Files,
    /// The commit that gave the directory its present content, with its author, reason and ticket.
    pub approval: Approval,
    /// That commit's author, `name <email>`.
    pub author: String,
    /// That commit's author date.
    pub time: DateTime<Utc>,
    /// That commit's whole message.
    pub message: String,
    /// `fwdrift.toml`, the policy for all hosts, at `commit`; empty if there is none.
    pub policy: Vec<u8>,
}

/// Which state is approved, without the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaselineId {
    /// The commit at `main`.
    pub commit: String,
    /// The directory in that commit, `baselines/<host>`.
    pub path: String,
    /// The id of that directory's tree: equal ids, equal files.
    pub tree: String,
    /// The file in that directory that was asked for; none if it is not there.
    pub file: Option<Vec<u8>>,
    /// `fwdrift.toml` at `commit`; empty if there is none.
    pub policy: Vec<u8>,
}

impl Repository {
    /// Which state is approved for `host`, with one small `file` of it; `None` if `main` or the directory does not
    /// exist.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if something cannot be read, or is no directory.
    pub fn baseline_id(&self, host: &HostName, file: &str) -> Result<Option<BaselineId>, LedgerError> {
        let Some(main) = refs::tip(&self.git, refs::MAIN)? else { return Ok(None) };
        let path = refs::baseline_path(host);
        let root = main.tree().map_err(|e| tree::damaged(&self.git, "main", e.message()))?;
        let Some(directory) = tree::directory(&self.git, &root, &path)? else { return Ok(None) };
        let blob = directory.get_path(Path::new(file)).and_then(|entry| self.git.find_blob(entry.id()));
        Ok(Some(BaselineId {
            commit: main.id().to_string(),
            tree: directory.id().to_string(),
            path,
            file: blob.ok().map(|blob| blob.content().to_vec()),
            policy: self.policy_in(&root)?,
        }))
    }

    /// The namespaces of the machine of `host` that have a baseline: what follows the `@`, in order.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if `main` cannot be read.
    pub fn namespaces(&self, host: &HostName) -> Result<Vec<String>, LedgerError> {
        let Some(main) = refs::tip(&self.git, refs::MAIN)? else { return Ok(Vec::new()) };
        let root = main.tree().map_err(|e| tree::damaged(&self.git, "main", e.message()))?;
        let Some(all) = tree::directory(&self.git, &root, refs::BASELINES)? else { return Ok(Vec::new()) };
        let hosts = all.iter().filter_map(|entry| HostName::parse(entry.name().ok()?).ok());
        let of_machine = hosts.filter(|found| found.machine() == host.machine());
        let mut names: Vec<String> =
            of_machine.filter_map(|found| found.netns().map(str::to_owned)).collect();
        names.sort();
        Ok(names)
    }

    /// The commit at the ledger's head; `None` if there is no ledger of `host`.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if the reference cannot be read.
    pub fn head_id(&self, host: &HostName) -> Result<Option<String>, LedgerError> {
        Ok(refs::tip(&self.git, &refs::live(host))?.map(|commit| commit.id().to_string()))
    }

    /// What is approved for `host`; `None` if `main` or the directory does not exist.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if something cannot be read, or is neither a file nor a directory.
    pub fn baseline(&self, host: &HostName) -> Result<Option<Baseline>, LedgerError> {
        let Some(main) = refs::tip(&self.git, refs::MAIN)? else { return Ok(None) };
        let path = refs::baseline_path(host);
        let unreadable = |e: git2::Error| tree::damaged(&self.git, "main", e.message());
        let root = main.tree().map_err(unreadable)?;
        let Some(directory) = tree::directory(&self.git, &root, &path)? else { return Ok(None) };
        let approving = self.last_change(&main, &path, directory.id())?;
        let message = String::from_utf8_lossy(approving.message_bytes()).into_owned();
        let signature = approving.author();
        let author = message::signature_text(&signature);
        let time = DateTime::from_timestamp(signature.when().seconds(), 0)
            .ok_or_else(|| tree::damaged(&self.git, "main", "a commit's date is out of range"))?;
        let (reason, ticket) = message::reason_and_ticket(&message);
        Ok(Some(Baseline {
            commit: main.id().to_string(),
            tree: directory.id().to_string(),
            files: tree::read(&self.git, &directory)?,
            approval: Approval {
                commit: approving.id().to_string(),
                approver: author.clone(),
                reason,
                ticket,
            },
            path,
            author,
            time,
            message,
            policy: self.policy_in(&root)?,
        }))
    }

    /// `fwdrift.toml` at `main`; empty if it is not there.
    ///
    /// # Errors
    /// As [`Repository::baseline`].
    pub fn policy(&self) -> Result<Vec<u8>, LedgerError> {
        let Some(main) = refs::tip(&self.git, refs::MAIN)? else { return Ok(Vec::new()) };
        let root = main.tree().map_err(|e| tree::damaged(&self.git, "main", e.message()))?;
        self.policy_in(&root)
    }

    fn policy_in(&self, root: &Tree<'_>) -> Result<Vec<u8>, LedgerError> {
        let unreadable = |e: git2::Error| tree::damaged(&self.git, POLICY_FILE, e.message());
        let Some(entry) = root.get_name(POLICY_FILE) else { return Ok(Vec::new()) };
        // Not a symbolic link: what it points to is outside the commit.
        match entry.filemode() {
            0o100_644 | 0o100_755 => {
                Ok(self.git.find_blob(entry.id()).map_err(unreadable)?.content().to_vec())
            }
            _ => Err(tree::unusable(&self.git, POLICY_FILE, "it is not a regular file")),
        }
    }

    /// The first commit, along first parents, in which `path` is `directory`: with a merge, the merge.
    fn last_change<'r>(
        &'r self,
        main: &Commit<'r>,
        path: &str,
        directory: Oid,
    ) -> Result<Commit<'r>, LedgerError> {
        let unreadable = |e: git2::Error| tree::damaged(&self.git, "main", e.message());
        let mut commit = main.clone();
        // A shallow clone ends where its history was cut: there the parent is missing.
        while let Some(parent) = first_parent(&commit).map_err(unreadable)? {
            let entry = parent.tree().and_then(|root| root.get_path(Path::new(path)));
            match entry {
                Ok(entry) if entry.id() == directory => commit = parent,
                Ok(_) => break,
                Err(error) if error.code() == ErrorCode::NotFound => break,
                Err(error) => return Err(unreadable(error)),
            }
        }
        Ok(commit)
    }
}

/// The first parent; `None` for a root commit and where a shallow clone was cut.
fn first_parent<'r>(commit: &Commit<'r>) -> Result<Option<Commit<'r>>, git2::Error> {
    if commit.parent_count() == 0 {
        return Ok(None);
    }
    match commit.parent(0) {
        Ok(parent) => Ok(Some(parent)),
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
