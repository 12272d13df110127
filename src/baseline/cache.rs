//! Compiled baselines, kept by content.
//!
//! The key is a digest over the files, the tools' versions, the kernel release, and the interfaces that
//! the files may name: whatever could make the same files load to something else. A damaged or missing
//! entry costs a compilation, nothing else. `check` reads the cache and never writes it.

use super::compile::{CompileError, compile};
use super::layout::{Role, role};
use crate::model::{Backend, Capture, Digest, Files};
use crate::tool::Tool;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// How many compiled baselines are kept.
const KEPT: usize = 16;

/// A directory of compiled baselines.
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

    /// The compiled form of `files` on a host with these interfaces.
    pub fn compiled(
        &self,
        files: &Files,
        interfaces: &BTreeMap<u32, Vec<u8>>,
    ) -> Result<Capture, CompileError> {
        let entry = self.directory.join(key(files, interfaces).to_string());
        if let Some(capture) = std::fs::read(&entry).ok().and_then(|bytes| Capture::from_bytes(&bytes).ok()) {
            return Ok(capture);
        }
        let capture = compile(files, interfaces)?;
        if self.access == Access::ReadWrite {
            self.keep(&entry, &capture);
        }
        Ok(capture)
    }

    /// Keeps what `files` are known to load to.
    pub fn insert(&self, files: &Files, interfaces: &BTreeMap<u32, Vec<u8>>, capture: &Capture) {
        self.keep(&self.directory.join(key(files, interfaces).to_string()), capture);
    }

    /// A full disk makes the next run slower, not this one fail.
    fn keep(&self, entry: &Path, capture: &Capture) {
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&self.directory)?;
            let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
            file.write_all(&capture.to_bytes())?;
            file.persist(entry)?;
            self.prune()
        };
        if let Err(error) = write() {
            tracing::debug!("cannot keep a compiled baseline in {}: {error}", self.directory.display());
        }
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut entries: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            entries.push((entry.metadata()?.modified()?, entry.path()));
        }
        entries.sort();
        for (_, path) in entries.iter().take(entries.len().saturating_sub(KEPT)) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }
}

fn key(files: &Files, interfaces: &BTreeMap<u32, Vec<u8>>) -> Digest {
    let mut parts: Vec<Vec<u8>> = vec![kernel_release()];
    for program in programs(files) {
        parts.push(version(program));
    }
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

fn programs(files: &Files) -> Vec<&'static str> {
    let mut programs = vec!["nft"];
    let uses = |wanted| {
        files.keys().any(|path| matches!(role(path), Role::Iptables(backend, _) if backend == wanted))
    };
    if uses(Backend::NfTables) {
        programs.push("iptables-nft");
    }
    if uses(Backend::Legacy) {
        programs.push("iptables-legacy");
    }
    programs
}

/// What the tool says of itself; another answer means another key.
fn version(program: &str) -> Vec<u8> {
    match Tool::find(program).and_then(|tool| tool.args(["--version"]).run()) {
        Ok(output) => output.stdout,
        Err(error) => error.to_string().into_bytes(),
    }
}

fn kernel_release() -> Vec<u8> {
    rustix::system::uname().release().to_bytes().to_vec()
}
