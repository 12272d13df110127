//! The files that a person sees in the repository's directory follow `main` after an approval.
//!
//! Role: like git's own safe checkout of some directories, but by bytes: no filter, no line endings, no hook.
//! It must never overwrite or remove what a person edited or staged.
//! Which directories are behind, and what they were before, stands in `<gitdir>/fwdrift/behind` from before
//! the branch moves until the files followed, so that a kill in between leaves nothing half done.

use super::error::LedgerError;
use super::refs::{self, MAIN};
use super::store::{write_atomic, write_atomic_from};
use super::tree;
use git2::{Index, IndexEntry, IndexTime, ObjectType, Oid, Repository, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What became of the working tree after the branch moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkingTree {
    /// Its files are those of `main`.
    Updated,
    /// Something else than `main` is checked out; its files were left alone.
    NotOnMain,
    /// These paths were edited, staged or put there by a person, and were left as they are.
    Kept(Vec<String>),
    /// It could not be written, with the reason; the next writing run of fwdrift tries again.
    Behind(String),
}

const JOURNAL: &str = "behind";
const NOTHING: &str = "-";

/// Writes down that `path` in the working tree has, or had, the content `before`.
pub(super) fn remember(state_dir: &Path, path: &str, before: Option<Oid>) -> Result<(), LedgerError> {
    let mut text = fs::read_to_string(state_dir.join(JOURNAL)).unwrap_or_default();
    let before = before.map_or(NOTHING.to_owned(), |id| id.to_string());
    text.push_str(&format!("{before} {path}\n"));
    write_atomic(&state_dir.join(JOURNAL), text.as_bytes())
}

/// Brings all directories that are written down up to `main`.
pub(super) fn follow(git: &Repository, state_dir: &Path) -> WorkingTree {
    let journal = state_dir.join(JOURNAL);
    let text = match fs::read_to_string(&journal) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return WorkingTree::Updated,
        Err(error) => return WorkingTree::Behind(format!("{}: {error}", journal.display())),
    };
    let outcome = match follow_all(git, state_dir, &text) {
        Ok(outcome) => outcome,
        Err(error) => return WorkingTree::Behind(error.to_string()),
    };
    match fs::remove_file(&journal) {
        Ok(()) => outcome,
        Err(error) => WorkingTree::Behind(format!("{}: {error}", journal.display())),
    }
}

fn follow_all(git: &Repository, state_dir: &Path, journal: &str) -> Result<WorkingTree, LedgerError> {
    let fail = || LedgerError::git("update the working tree", git.commondir());
    let head = git.find_reference("HEAD").map_err(fail())?;
    let Some(root) = git.workdir().filter(|_| head.symbolic_target().ok().flatten() == Some(MAIN)) else {
        return Ok(WorkingTree::NotOnMain);
    };
    let Some(main) = refs::tip(git, MAIN)? else { return Ok(WorkingTree::Updated) };
    let main = main.tree().map_err(fail())?;
    let mut directories: BTreeMap<&str, Vec<Option<Oid>>> = BTreeMap::new();
    for (before, path) in journal.lines().filter_map(|line| line.split_once(' ')) {
        let before = Oid::from_str(before).ok();
        directories.entry(path).or_default().push(before);
    }
    let mut index = git.index().map_err(fail())?;
    let mut kept = Vec::new();
    for (path, befores) in directories {
        let target = tree::directory(git, &main, path)?;
        let mut update = Update { git, state_dir, root, index: &mut index, earlier: Vec::new() };
        for before in befores {
            let before = before.and_then(|id| git.find_tree(id).ok());
            update.earlier.push(blobs(before.as_ref(), path).map_err(fail())?);
        }
        let target = blobs(target.as_ref(), path).map_err(fail())?;
        kept.extend(update.run(&target)?);
    }
    index.write().map_err(fail())?;
    Ok(if kept.is_empty() { WorkingTree::Updated } else { WorkingTree::Kept(kept) })
}

type Blobs = BTreeMap<String, Oid>;

/// The path, from the top, and the blob of every file below `tree`, which stands at `at`.
fn blobs(tree: Option<&Tree<'_>>, at: &str) -> Result<Blobs, git2::Error> {
    let mut found = Blobs::new();
    if let Some(tree) = tree {
        tree.walk(git2::TreeWalkMode::PreOrder, |above, entry| {
            if let (Some(ObjectType::Blob), Ok(name)) = (entry.kind(), entry.name()) {
                found.insert(format!("{at}/{above}{name}"), entry.id());
            }
            git2::TreeWalkResult::Ok
        })?;
    }
    Ok(found)
}

/// What is at a path of the working tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    File(Oid),
    /// A directory, a link, or something below one.
    Other,
}

struct Update<'a> {
    git: &'a Repository,
    state_dir: &'a Path,
    root: &'a Path,
    index: &'a mut Index,
    earlier: Vec<Blobs>,
}

impl Update<'_> {
    /// Makes the files those of `target`; gives back the paths that were left alone.
    fn run(&mut self, target: &Blobs) -> Result<Vec<String>, LedgerError> {
        let earlier = self.earlier.iter().flat_map(|blobs| blobs.keys());
        let paths: BTreeSet<String> = earlier.chain(target.keys()).cloned().collect();
        let mut kept = Vec::new();
        // What goes, goes first: a file may become a directory, or a directory a file.
        let (stays, goes): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| target.contains_key(path));
        for path in goes.into_iter().chain(stays) {
            let wanted = target.get(&path).copied();
            let found = self.look(&path)?;
            if !self.is_untouched(&path, found, wanted) {
                kept.push(path);
                continue;
            }
            match wanted {
                None => self.remove(&path, found)?,
                Some(blob) => self.write(&path, found, blob)?,
            }
        }
        Ok(kept)
    }

    /// Whether file and index entry are what `main` has, or had before.
    fn is_untouched(&self, path: &str, found: Found, wanted: Option<Oid>) -> bool {
        let known = |blob: Option<Oid>| {
            blob == wanted || self.earlier.iter().any(|blobs| blobs.get(path).copied() == blob)
        };
        let staged = |stage| self.index.get_path(Path::new(path), stage);
        let file_is_known = match found {
            Found::Nothing => known(None),
            Found::File(blob) => known(Some(blob)),
            Found::Other => false,
        };
        let in_conflict = (1..=3).any(|stage| staged(stage).is_some());
        file_is_known && !in_conflict && known(staged(0).map(|entry| entry.id))
    }

    fn look(&self, path: &str) -> Result<Found, LedgerError> {
        let mut at = self.root.to_owned();
        let components: Vec<&str> = path.split('/').collect();
        for (i, component) in components.iter().enumerate() {
            at.push(component);
            let metadata = match fs::symlink_metadata(&at) {
                Ok(metadata) => metadata,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
                Err(error) => return Err(LedgerError::io("look at", &at)(error)),
            };
            let is_last = i + 1 == components.len();
            if is_last && metadata.is_file() {
                let bytes = fs::read(&at).map_err(LedgerError::io("read", &at))?;
                let blob = Oid::hash_object(ObjectType::Blob, &bytes)
                    .map_err(LedgerError::git("hash a file", self.git.commondir()))?;
                return Ok(Found::File(blob));
            }
            if is_last || !metadata.is_dir() {
                return Ok(Found::Other);
            }
        }
        Ok(Found::Other)
    }

    fn remove(&mut self, path: &str, found: Found) -> Result<(), LedgerError> {
        let full = self.root.join(path);
        if found != Found::Nothing {
            fs::remove_file(&full).map_err(LedgerError::io("remove", &full))?;
        }
        let mut directory = full.parent();
        while let Some(above) = directory.filter(|d| *d != self.root && d.starts_with(self.root)) {
            // Fails, as it should, on the first directory that still has something in it.
            if fs::remove_dir(above).is_err() {
                break;
            }
            directory = above.parent();
        }
        if self.index.get_path(Path::new(path), 0).is_some() {
            self.index
                .remove(Path::new(path), 0)
                .map_err(LedgerError::git("update the index", self.git.commondir()))?;
        }
        Ok(())
    }

    fn write(&mut self, path: &str, found: Found, blob: Oid) -> Result<(), LedgerError> {
        let fail = || LedgerError::git("update the index", self.git.commondir());
        let full: PathBuf = self.root.join(path);
        if found != Found::File(blob) {
            let content = self.git.find_blob(blob).map_err(fail())?;
            write_atomic_from(self.state_dir, &full, content.content())?;
        }
        let metadata = fs::symlink_metadata(&full).map_err(LedgerError::io("look at", &full))?;
        self.index.add(&index_entry(path, blob, &metadata)).map_err(fail())
    }
}

/// An index entry with the file's times and numbers, cut to 32 bits as the index format has them.
fn index_entry(path: &str, blob: Oid, metadata: &fs::Metadata) -> IndexEntry {
    let low = |value: u64| (value & u64::from(u32::MAX)) as u32;
    let time = |seconds: i64, nanoseconds: i64| IndexTime::new(seconds as i32, nanoseconds as u32);
    IndexEntry {
        ctime: time(metadata.ctime(), metadata.ctime_nsec()),
        mtime: time(metadata.mtime(), metadata.mtime_nsec()),
        dev: low(metadata.dev()),
        ino: low(metadata.ino()),
        mode: 0o100_644,
        uid: metadata.uid(),
        gid: metadata.gid(),
        file_size: low(metadata.size()),
        id: blob,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}
