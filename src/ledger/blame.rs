//! Who approved a line of the baseline, by git's own blame.

use super::error::LedgerError;
use super::repository::Repository;
use chrono::{DateTime, Utc};
use git2::{BlameOptions, Oid};
use std::path::Path;

/// The commit that last touched a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// The commit's author.
    pub by: String,
    /// When.
    pub time: DateTime<Utc>,
    /// In hexadecimal.
    pub commit: String,
}

impl Repository {
    /// Who is answerable for each of the lines (from 1) of a file at a commit, in their order; none for lines that
    /// are not there.
    pub fn blame(
        &self,
        commit: &str,
        path: &str,
        lines: &[usize],
    ) -> Result<Vec<Option<Blamed>>, LedgerError> {
        let root = self.root().to_owned();
        let failed = || LedgerError::git("read who approved", &root);
        let newest = Oid::from_str(commit).map_err(failed())?;
        let mut options = BlameOptions::new();
        options.newest_commit(newest);
        let blame = self.git.blame_file(Path::new(path), Some(&mut options)).map_err(failed())?;
        let found = |line: &usize| {
            let hunk = blame.get_line(*line)?;
            let commit = self.git.find_commit(hunk.final_commit_id()).ok()?;
            let author = commit.author();
            Some(Blamed {
                by: String::from_utf8_lossy(author.name_bytes()).into_owned(),
                time: DateTime::from_timestamp(commit.time().seconds(), 0)?,
                commit: commit.id().to_string(),
            })
        };
        Ok(lines.iter().map(found).collect())
    }
}
