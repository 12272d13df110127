//! What baselines load to, kept by content.
//!
//! The key is a digest over the files, the tools, the kernel release, and the interfaces that
//! the files may name: whatever could make the same files load to something else. A pointer leads from the id of
//! a baseline's git tree to the key, so that the files need not be read while nothing changes. A damaged or missing
//! entry costs a compilation, nothing else. `check` reads the cache and never writes it.

use super::alike;
use super::compile::{CompileError, compile};
use super::stored::{self, Stored};
use crate::compare::{Alike, Equivalence};
use crate::model::{Digest, Files, Ruleset};
use crate::normalise::normalise;
use crate::tool::locate;
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Ending of the name of a file that holds a key.
const POINTER: &str = ".at";

/// Name of the file that holds what is known to mean the same.
const ALIKE: &str = "alike";

/// How many loaded baselines are kept, and how many pointers.
const KEPT: usize = 16;

/// A directory of loaded baselines.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    access: Access,
}

/// Whether a command may write to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only what is there is used.
    Read,
    /// New results are kept.
    ReadWrite,
}

impl Cache {
    /// A cache in a directory, which need not exist.
    pub fn new(directory: PathBuf, access: Access) -> Self {
        Self { directory, access }
    }

    /// The approved state that `files` load to on a host with these interfaces. `tree` names the files: equal ids,
    /// equal files.
    pub fn approved(
        &self,
        tree: &str,
        files: &Files,
        interfaces: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<Ruleset, CompileError> {
        let key = key(files, interfaces);
        let ruleset = self.loaded_as(key, files, interfaces)?;
        self.point(tree, interfaces, key);
        Ok(ruleset)
    }

    /// What `files` load to on a host with these interfaces.
    pub fn loaded(
        &self,
        files: &Files,
        interfaces: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<Ruleset, CompileError> {
        self.loaded_as(key(files, interfaces), files, interfaces)
    }

    fn loaded_as(
        &self,
        key: Digest,
        files: &Files,
        interfaces: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<Ruleset, CompileError> {
        let entry = self.entry(key);
        if let Some(ruleset) = Stored::open(&entry).and_then(Stored::into_ruleset) {
            return Ok(ruleset);
        }
        let ruleset = normalise(&compile(files, interfaces)?)?;
        if self.access == Access::ReadWrite {
            self.keep(&entry, &ruleset);
        }
        Ok(ruleset)
    }

    /// The stored form of the approved state that `tree` names, without reading the files if this host's interfaces
    /// are as they were; none if there is none.
    pub fn stored<E>(
        &self,
        tree: &str,
        interfaces: &BTreeMap<u32, Vec<u8>>,
        files: impl FnOnce() -> Result<Files, E>,
    ) -> Result<Option<Stored>, E> {
        let pointer = self.pointer(tree, interfaces);
        let pointed = std::fs::read_to_string(&pointer).ok();
        let is_plain = |name: &String| name.len() == 32 && name.bytes().all(|b| b.is_ascii_hexdigit());
        let pointed = pointed.filter(is_plain).and_then(|name| Stored::open(&self.directory.join(name)));
        if pointed.is_some() {
            return Ok(pointed);
        }
        let key = key(&files()?, interfaces);
        let found = Stored::open(&self.entry(key));
        if found.is_some() {
            self.point(tree, interfaces, key);
        }
        Ok(found)
    }

    /// Keeps what `files` are known to load to.
    pub fn insert(&self, files: &Files, interfaces: &BTreeMap<u32, Vec<u8>>, ruleset: &Ruleset) {
        self.keep(&self.entry(key(files, interfaces)), ruleset);
    }

    /// What comparisons with the tools that are here have found to mean the same.
    pub fn alike(&self) -> Alike {
        Alike::new(self.equivalences())
    }

    /// Keeps what a comparison found to mean the same.
    pub fn keep_alike(&self, found: &[Equivalence]) {
        if self.access == Access::Read || found.is_empty() {
            return;
        }
        if let Some(bytes) = alike::with(&self.equivalences(), found, tools()) {
            self.write(&self.directory.join(ALIKE), &bytes);
        }
    }

    fn equivalences(&self) -> Vec<Equivalence> {
        let bytes = std::fs::read(self.directory.join(ALIKE)).unwrap_or_default();
        if bytes.is_empty() { Vec::new() } else { alike::read(&bytes, tools()) }
    }

    fn entry(&self, key: Digest) -> PathBuf {
        self.directory.join(key.to_string())
    }

    /// Says under which key the files that `tree` names are stored on this host.
    fn point(&self, tree: &str, interfaces: &BTreeMap<u32, Vec<u8>>, key: Digest) {
        if self.access == Access::ReadWrite {
            self.write(&self.pointer(tree, interfaces), key.to_string().as_bytes());
        }
    }

    fn pointer(&self, tree: &str, interfaces: &BTreeMap<u32, Vec<u8>>) -> PathBuf {
        let mut parts = surroundings();
        parts.push(tree.as_bytes().to_vec());
        for (index, name) in interfaces {
            parts.extend([index.to_le_bytes().to_vec(), name.clone()]);
        }
        self.directory.join(format!("{}{POINTER}", Digest::of(parts.iter().map(Vec::as_slice))))
    }

    fn keep(&self, entry: &Path, ruleset: &Ruleset) {
        if let Some(bytes) = stored::to_bytes(ruleset) {
            self.write(entry, &bytes);
        }
    }

    /// A full disk makes the next run slower, not this one fail.
    fn write(&self, path: &Path, bytes: &[u8]) {
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(bytes)?;
            file.persist(path)?;
            self.prune()
        };
        if let Err(error) = write() {
            tracing::debug!("cannot keep a loaded baseline in {}: {error}", self.directory.display());
        }
    }

    fn prune(&self) -> std::io::Result<()> {
        let (mut entries, mut pointers) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name() == ALIKE {
                continue;
            }
            let is_pointer = entry.file_name().to_string_lossy().ends_with(POINTER);
            let list = if is_pointer { &mut pointers } else { &mut entries };
            list.push((entry.metadata()?.modified()?, entry.path()));
        }
        for mut list in [entries, pointers] {
            list.sort();
            for (_, path) in list.iter().take(list.len().saturating_sub(KEPT)) {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

fn key(files: &Files, interfaces: &BTreeMap<u32, Vec<u8>>) -> Digest {
    let mut parts = surroundings();
    for (path, content) in files {
        parts.extend([path.clone().into_bytes(), content.clone()]);
    }
    for (index, name) in interfaces {
        // An interface whose name occurs in no file cannot change what they load to.
        if files.values().any(|content| contains(content, name)) {
            parts.extend([index.to_le_bytes().to_vec(), name.clone()]);
        }
    }
    Digest::of(parts.iter().map(Vec::as_slice))
}

fn contains(content: &[u8], name: &[u8]) -> bool {
    !name.is_empty() && memchr::memmem::find(content, name).is_some()
}

/// What else decides what files load to: this program, the kernel, the tools. A tool is known by its file, because
/// asking it for its version takes longer than all the rest.
fn surroundings() -> Vec<Vec<u8>> {
    let mut parts = vec![env!("CARGO_PKG_VERSION").as_bytes().to_vec(), kernel_release()];
    for program in [
        "nft",
        "iptables-nft-restore",
        "iptables-legacy-restore",
        "ipset",
        "ebtables-legacy",
        "arptables-legacy",
    ] {
        parts.push(program.as_bytes().to_vec());
        if let Some(metadata) = locate(program).and_then(|path| std::fs::metadata(path).ok()) {
            let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
            for number in [metadata.dev(), metadata.ino(), metadata.len()] {
                parts.push(number.to_le_bytes().to_vec());
            }
            parts.push([seconds.to_le_bytes(), nanoseconds.to_le_bytes()].concat());
        }
    }
    parts
}

/// A digest of the same.
fn tools() -> Digest {
    Digest::of(surroundings().iter().map(Vec::as_slice))
}

fn kernel_release() -> Vec<u8> {
    rustix::system::uname().release().to_bytes().to_vec()
}
