//! Directories of files to git trees and back, byte for byte.
//!
//! Role: writes blobs and trees straight into the object database, past every filter.

use super::error::LedgerError;
use crate::model::Files;
use git2::{ObjectType, Oid, Repository, Tree};
use std::collections::BTreeMap;

/// The mode of every file.
pub(super) const FILE_MODE: i32 = 0o100_644;
/// The mode of a directory.
pub(super) const DIR_MODE: i32 = 0o040_000;

/// Keeps an empty baseline's directory alive when a person commits with plain git, which drops empty ones.
const KEEP: &str = ".gitkeep";

/// Writes `files` (checked before) as a tree.
pub(super) fn write(repo: &Repository, files: &Files) -> Result<Oid, LedgerError> {
    let write = || -> Result<Oid, git2::Error> {
        if files.is_empty() {
            let mut builder = repo.treebuilder(None)?;
            builder.insert(KEEP, repo.blob(b"")?, FILE_MODE)?;
            return builder.write();
        }
        let borrowed: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (p.as_str(), b.as_slice())).collect();
        write_level(repo, &borrowed)
    };
    write().map_err(LedgerError::git("write files", repo.commondir()))
}

fn write_level(repo: &Repository, files: &[(&str, &[u8])]) -> Result<Oid, git2::Error> {
    let mut builder = repo.treebuilder(None)?;
    let mut directories: BTreeMap<&str, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (path, bytes) in files {
        match path.split_once('/') {
            Some((directory, rest)) => directories.entry(directory).or_default().push((rest, bytes)),
            None => {
                builder.insert(path, repo.blob(bytes)?, FILE_MODE)?;
            }
        }
    }
    for (directory, below) in directories {
        builder.insert(directory, write_level(repo, &below)?, DIR_MODE)?;
    }
    builder.write()
}

/// Writes a copy of `root` in which the directory `path` is `replacement`.
pub(super) fn with_directory(
    repo: &Repository,
    root: Option<&Tree<'_>>,
    path: &str,
    replacement: Oid,
) -> Result<Oid, LedgerError> {
    let fail = || LedgerError::git("write a directory", repo.commondir());
    let (name, rest) = match path.split_once('/') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    let child = match rest {
        None => replacement,
        Some(rest) => {
            let below = match root {
                Some(root) => directory(repo, root, name)?,
                None => None,
            };
            with_directory(repo, below.as_ref(), rest, replacement)?
        }
    };
    let mut builder = repo.treebuilder(root).map_err(fail())?;
    builder.insert(name, child, DIR_MODE).map_err(fail())?;
    builder.write().map_err(fail())
}

/// The directory `path` in `root`; `None` if nothing of that name is there.
pub(super) fn directory<'r>(
    repo: &'r Repository,
    root: &Tree<'_>,
    path: &str,
) -> Result<Option<Tree<'r>>, LedgerError> {
    let entry = match root.get_path(std::path::Path::new(path)) {
        Ok(entry) => entry,
        Err(error) if error.code() == git2::ErrorCode::NotFound => return Ok(None),
        Err(error) => return Err(damaged(repo, path, error.message())),
    };
    if entry.kind() != Some(ObjectType::Tree) {
        return Err(unusable(repo, path, "it is not a directory"));
    }
    repo.find_tree(entry.id()).map(Some).map_err(|e| damaged(repo, path, e.message()))
}

/// All files below `tree`.
pub(super) fn read(repo: &Repository, tree: &Tree<'_>) -> Result<Files, LedgerError> {
    let mut files = Files::new();
    read_level(repo, tree, "", &mut files)?;
    Ok(files)
}

fn read_level(repo: &Repository, tree: &Tree<'_>, at: &str, files: &mut Files) -> Result<(), LedgerError> {
    for entry in tree.iter() {
        let shown = format!("{at}{}", String::from_utf8_lossy(entry.name_bytes()));
        let name = entry.name().map_err(|_| unusable(repo, &shown, "its name is not UTF-8"))?;
        let path = format!("{at}{name}");
        match (entry.kind(), entry.filemode()) {
            (Some(ObjectType::Tree), _) => {
                let below = repo.find_tree(entry.id()).map_err(|e| damaged(repo, &path, e.message()))?;
                read_level(repo, &below, &format!("{path}/"), files)?;
            }
            (Some(ObjectType::Blob), 0o120_000) => {
                return Err(unusable(repo, &path, "it is a symbolic link"));
            }
            (Some(ObjectType::Blob), _) => {
                if name == KEEP {
                    continue;
                }
                let blob = repo.find_blob(entry.id()).map_err(|e| damaged(repo, &path, e.message()))?;
                files.insert(path, blob.content().to_vec());
            }
            _ => return Err(unusable(repo, &path, "it is a submodule")),
        }
    }
    Ok(())
}

/// The id that `tree` would have without its top-level file `name`. Writes nothing.
pub(super) fn id_without(repo: &Repository, tree: &Tree<'_>, name: &str) -> Result<Oid, LedgerError> {
    let hash = || -> Result<Oid, git2::Error> {
        let mut raw = Vec::new();
        // The form of a tree object: mode, space, name, NUL, binary id; entries stay in their order.
        for entry in tree.iter().filter(|entry| entry.name_bytes() != name.as_bytes()) {
            raw.extend_from_slice(format!("{:o} ", entry.filemode_raw()).as_bytes());
            raw.extend_from_slice(entry.name_bytes());
            raw.push(0);
            raw.extend_from_slice(entry.id().as_bytes());
        }
        Oid::hash_object(ObjectType::Tree, &raw)
    };
    hash().map_err(LedgerError::git("hash a directory", repo.commondir()))
}

/// The id of the tree that [`write`] makes of no files. Writes nothing.
pub(super) fn id_of_empty(repo: &Repository) -> Result<Oid, LedgerError> {
    let hash = || -> Result<Oid, git2::Error> {
        let mut raw = format!("{FILE_MODE:o} {KEEP}\0").into_bytes();
        raw.extend_from_slice(Oid::hash_object(ObjectType::Blob, b"")?.as_bytes());
        Oid::hash_object(ObjectType::Tree, &raw)
    };
    hash().map_err(LedgerError::git("hash a directory", repo.commondir()))
}

/// The error of content that is there and cannot be used.
pub(super) fn unusable(repo: &Repository, path: &str, why: &'static str) -> LedgerError {
    LedgerError::Entry { repository: repo.commondir().to_owned(), path: path.to_owned(), why }
}

/// The error of content that cannot be read.
pub(super) fn damaged(repo: &Repository, path: &str, why: &str) -> LedgerError {
    LedgerError::Damaged { path: repo.commondir().to_owned(), what: format!("{path:?}: {why}") }
}
