//! Rulesets at any revision of the repository, in git's own notation (gitrevisions(7)).

use super::error::LedgerError;
use super::files::EVENT_FILE;
use super::repository::Repository;
use super::{refs, tree};
use crate::model::{Files, HostName};
use git2::{Commit, ErrorCode};

/// What a revision holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The commit.
    pub commit: String,
    /// The directory of the files in it; none for a ledger commit, whose files are at its top.
    pub path: Option<String>,
    /// The files; none if the commit has none for this host.
    pub files: Option<Files>,
}

impl Repository {
    /// The baseline of `host` at a revision, or the ruleset that a ledger commit recorded; `None` if it names
    /// no commit.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if something cannot be read.
    pub fn revision(&self, host: &HostName, given: &str) -> Result<Option<Revision>, LedgerError> {
        let Some(commit) = self.commit_of(given)? else { return Ok(None) };
        let id = commit.id().to_string();
        let root = commit.tree().map_err(|e| tree::damaged(&self.git, &id, e.message()))?;
        if root.get_name(EVENT_FILE).is_some() {
            let mut files = tree::read(&self.git, &root)?;
            files.remove(EVENT_FILE);
            return Ok(Some(Revision { commit: id, path: None, files: Some(files) }));
        }
        let path = refs::baseline_path(host);
        let directory = tree::directory(&self.git, &root, &path)?;
        let files = directory.map(|directory| tree::read(&self.git, &directory)).transpose()?;
        Ok(Some(Revision { commit: id, path: Some(path), files }))
    }

    fn commit_of(&self, given: &str) -> Result<Option<Commit<'_>>, LedgerError> {
        match self.git.revparse_single(given).and_then(|object| object.peel_to_commit()) {
            Ok(commit) => Ok(Some(commit)),
            Err(error) if error.class() == git2::ErrorClass::Os => {
                Err(LedgerError::git("find a revision", self.git.commondir())(error))
            }
            Err(error) if error.code() == ErrorCode::GenericError => {
                Err(tree::damaged(&self.git, given, error.message()))
            }
            // Unknown, ambiguous, malformed, or something else than a commit.
            Err(_) => Ok(None),
        }
    }
}
