//! The ledger of a host: one commit an event on `live/<host>`.

use super::error::LedgerError;
use super::files::{EVENT_FILE, check_ledger_files};
use super::identity::{event_signature, service_signature};
use super::lock::Lock;
use super::repository::{CommitId, Repository};
use super::{message, refs, tree};
use crate::model::{Event, Files, HostName, LedgerEntry};
use crate::report::escape;
use git2::{Commit, Oid};

/// The fewest digits of a commit that name an event.
const SHORTEST_PREFIX: usize = 4;

impl Repository {
    /// Appends the events of one look to the ledger of `host`, with the ruleset as it then was: all, or none.
    ///
    /// Sets each `seq`: one more than the previous event's, 1 for the first. A commit's author is the
    /// event's, its author date `event.time`; the committer is `fwdrift <fwdrift@HOST>` at
    /// `event.recorded_at`. When this returns, the events are on the disk; if it fails or the process is
    /// killed, the ledger is as before.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if the previous event cannot be read (numbering never starts anew);
    /// [`LedgerError::LedgerMoved`] if another program moved the branch; disk errors.
    pub fn append(
        &self,
        lock: &Lock,
        host: &HostName,
        files: &Files,
        events: Vec<Event>,
    ) -> Result<Vec<LedgerEntry>, LedgerError> {
        check_ledger_files(files)?;
        let git = self.writer(lock)?;
        let name = refs::live(host);
        let previous = refs::tip(git, &name)?;
        let mut seq = match &previous {
            Some(commit) => read_event(git, commit)?.seq,
            None => 0,
        };
        let old = previous.as_ref().map(Commit::id);
        let mut newest = previous;
        let mut entries = Vec::new();
        for mut event in events {
            seq += 1;
            event.seq = seq;
            let commit = write_event(git, host, files, &event, newest.as_ref())?;
            entries.push(LedgerEntry { commit: commit.id().to_string(), event });
            newest = Some(commit);
        }
        let Some(newest) = newest.filter(|_| !entries.is_empty()) else { return Ok(entries) };
        let log = format!("fwdrift: event {seq}");
        match refs::advance(git, &name, old, newest.id(), &log)? {
            true => Ok(entries),
            false => Err(LedgerError::LedgerMoved { name }),
        }
    }

    /// The newest event of `host`; `None` if nothing is recorded yet.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if it cannot be read.
    pub fn head(&self, host: &HostName) -> Result<Option<LedgerEntry>, LedgerError> {
        match refs::tip(&self.git, &refs::live(host))? {
            Some(commit) => self.entry(&commit).map(Some),
            None => Ok(None),
        }
    }

    /// All events of `host`, newest first.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] naming the commit that cannot be read.
    pub fn events(&self, host: &HostName) -> Result<Vec<LedgerEntry>, LedgerError> {
        self.commits(host)?.into_iter().map(|id| self.entry(&self.commit(id)?)).collect()
    }

    /// The event of `host` that `id` names: its number, or at least four digits of its commit.
    ///
    /// # Errors
    /// [`LedgerError::UnknownEvent`], [`LedgerError::AmbiguousEvent`], [`LedgerError::Damaged`].
    pub fn event(&self, host: &HostName, id: &str) -> Result<LedgerEntry, LedgerError> {
        let unknown = || LedgerError::UnknownEvent { host: host.to_string(), id: id.to_owned() };
        let commits = self.commits(host)?;
        let by_number = id.parse::<usize>().ok().filter(|_| id.bytes().all(|b| b.is_ascii_digit()));
        if let Some(seq) = by_number.filter(|seq| (1..=commits.len()).contains(seq)) {
            let commit = commits[commits.len() - seq];
            let entry = self.entry(&self.commit(commit)?)?;
            if entry.event.seq != seq as u64 {
                let why = format!("it is event {} at the place of event {seq}", entry.event.seq);
                return Err(tree::damaged(&self.git, &entry.commit, &why));
            }
            return Ok(entry);
        }
        let prefix = id.to_ascii_lowercase();
        if prefix.len() < SHORTEST_PREFIX || !prefix.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(unknown());
        }
        let matching: Vec<Oid> =
            commits.into_iter().filter(|commit| commit.to_string().starts_with(&prefix)).collect();
        match matching.as_slice() {
            [] => Err(unknown()),
            [commit] => self.entry(&self.commit(*commit)?),
            several => Err(LedgerError::AmbiguousEvent {
                host: host.to_string(),
                id: id.to_owned(),
                candidates: several.iter().map(Oid::to_string).collect(),
            }),
        }
    }

    /// The ruleset at the newest event, without `event.json`, and the id of its tree, which is equal to
    /// [`Baseline::tree`](super::Baseline::tree) exactly if the files are.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if something cannot be read.
    pub fn ledger_files(&self, host: &HostName) -> Result<Option<(String, Files)>, LedgerError> {
        let Some(commit) = refs::tip(&self.git, &refs::live(host))? else { return Ok(None) };
        let root =
            commit.tree().map_err(|e| tree::damaged(&self.git, &commit.id().to_string(), e.message()))?;
        let mut files = tree::read(&self.git, &root)?;
        files.remove(EVENT_FILE);
        let id = match files.is_empty() {
            true => tree::id_of_empty(&self.git)?,
            false => tree::id_without(&self.git, &root, EVENT_FILE)?,
        };
        Ok(Some((id.to_string(), files)))
    }

    /// The ledger's commits after `known`, oldest first, and whether `known` is one of the ledger: if not (somebody moved
    /// the branch), or without one, they are all of them.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if a commit cannot be read.
    pub fn commits_after(
        &self,
        host: &HostName,
        known: Option<&str>,
    ) -> Result<(Vec<CommitId>, bool), LedgerError> {
        let mut ids = Vec::new();
        let mut next = refs::tip(&self.git, &refs::live(host))?.map(|commit| commit.id());
        let mut found = false;
        while let Some(id) = next.filter(|_| !found) {
            found = known.is_some_and(|known| id.to_string() == known);
            if !found {
                ids.push(id.into());
                next = self.commit(id)?.parent_ids().next();
            }
        }
        ids.reverse();
        Ok((ids, found))
    }

    /// The event that a commit of the ledger holds.
    ///
    /// # Errors
    /// [`LedgerError::Damaged`] if it cannot be read.
    pub fn event_at(&self, id: &CommitId) -> Result<LedgerEntry, LedgerError> {
        let damaged = |error: git2::Error| tree::damaged(&self.git, id.as_str(), error.message());
        self.entry(&self.commit(Oid::from_str(id.as_str()).map_err(damaged)?)?)
    }

    /// The ids of the ledger's commits, newest first, along first parents.
    fn commits(&self, host: &HostName) -> Result<Vec<Oid>, LedgerError> {
        let mut ids = Vec::new();
        let mut next = refs::tip(&self.git, &refs::live(host))?.map(|commit| commit.id());
        while let Some(id) = next {
            ids.push(id);
            next = self.commit(id)?.parent_ids().next();
        }
        Ok(ids)
    }

    fn commit(&self, id: Oid) -> Result<Commit<'_>, LedgerError> {
        self.git.find_commit(id).map_err(|e| tree::damaged(&self.git, &id.to_string(), e.message()))
    }

    fn entry(&self, commit: &Commit<'_>) -> Result<LedgerEntry, LedgerError> {
        Ok(LedgerEntry { commit: commit.id().to_string(), event: read_event(&self.git, commit)? })
    }
}

/// Writes the commit of an event after `previous`; no branch holds it yet.
fn write_event<'a>(
    git: &'a git2::Repository,
    host: &HostName,
    files: &Files,
    event: &Event,
    previous: Option<&Commit<'_>>,
) -> Result<Commit<'a>, LedgerError> {
    if event.host != host.as_str() {
        let (event, ledger) = (event.host.clone(), host.to_string());
        return Err(LedgerError::WrongHost { event, ledger });
    }
    let fail = || LedgerError::git("write an event", git.commondir());
    let mut content = files.clone();
    content.insert(EVENT_FILE.to_owned(), event_json(git, event)?);
    let tree = tree::write(git, &content)?;
    // libgit2 says that it wrote an object for which there was no room.
    let unwritten = |_| git2::Error::from_str("target OID for the reference doesn't exist");
    let tree = git.find_tree(tree).map_err(unwritten).map_err(fail())?;
    let author = event_signature(&event.author, host, event.time).map_err(fail())?;
    let committer = service_signature(host, event.recorded_at).map_err(fail())?;
    let parents: Vec<&Commit<'_>> = previous.into_iter().collect();
    let text = message::of_event(event);
    let commit = git.commit(None, &author, &committer, &text, &tree, &parents).map_err(fail())?;
    git.find_commit(commit).map_err(unwritten).map_err(fail())
}

fn event_json(git: &git2::Repository, event: &Event) -> Result<Vec<u8>, LedgerError> {
    let json =
        serde_json::to_string_pretty(event).map_err(|e| tree::damaged(git, EVENT_FILE, &e.to_string()))?;
    Ok(format!("{}\n", escape::json(&json)).into_bytes())
}

fn read_event(git: &git2::Repository, commit: &Commit<'_>) -> Result<Event, LedgerError> {
    let place = format!("{}:{EVENT_FILE}", commit.id());
    let damaged = |why: &str| tree::damaged(git, &place, why);
    let root = commit.tree().map_err(|e| damaged(e.message()))?;
    let entry = root.get_name(EVENT_FILE).ok_or_else(|| damaged("it is not there"))?;
    let blob = git.find_blob(entry.id()).map_err(|e| damaged(e.message()))?;
    let event: Event = serde_json::from_slice(blob.content()).map_err(|e| damaged(&e.to_string()))?;
    if event.schema != Event::SCHEMA {
        return Err(damaged(&format!("its schema is {:?}, not {:?}", event.schema, Event::SCHEMA)));
    }
    Ok(event)
}
