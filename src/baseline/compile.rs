//! A baseline's files into a ruleset: the kernel is the parser.
//!
//! The files are loaded with the native tools into a scratch namespace that has the host's interface
//! names and indices, and that is captured like a live one. Nothing of the host changes.

use super::arptables;
use super::include::{self, IncludeError};
use super::layout::{Role, role};
use super::{context, exact, ipset};
use crate::collect::{self, CollectError, nftables};
use crate::decode::{self, DecodeError};
use crate::model::{Backend, Capture, Family, Files};
use crate::normalise::NormaliseError;
use crate::sys::netns::{Netns, NetnsError};
use crate::sys::socket::Socket;
use crate::tool::{Output, Tool, ToolError};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Why a baseline cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// A tool refused a file; its words name the file and the line.
    #[error("{path} does not load:\n{message}")]
    Refused {
        /// The file, as in the repository.
        path: String,
        /// What the tool said, with the repository's paths.
        message: String,
    },
    /// A tool could not be run.
    #[error(transparent)]
    Tool(ToolError),
    /// An include that is not part of the baseline.
    #[error(transparent)]
    Include(#[from] IncludeError),
    /// An exact form that is damaged.
    #[error("{0} is damaged")]
    Exact(String),
    /// A line that is no setting.
    #[error("{path}: line {line} is not of the form NAME = VALUE")]
    Setting {
        /// The file, as in the repository.
        path: String,
        /// From 1.
        line: usize,
    },
    /// There is nothing in it.
    #[error("the baseline holds no ruleset file")]
    Empty,
    /// The scratch directory for the files.
    #[error("cannot write the baseline's files to a scratch directory: {0}")]
    Scratch(std::io::Error),
    /// The scratch namespace.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Entering it.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// Reading it.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A part of it that could not be read.
    #[error("the loaded baseline could not be read whole: {0}")]
    Gap(String),
    /// Understanding it.
    #[error(transparent)]
    Normalise(#[from] NormaliseError),
}

impl CompileError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Refused { .. } | Self::Setting { .. } => {
                Some("mend the file and commit it to main, or approve the live state anew".into())
            }
            Self::Empty => Some("`fwdrift init` writes one from the live state".into()),
            Self::Exact(_) => Some("`fwdrift approve` writes it anew".into()),
            Self::Include(error) => error.hint(),
            Self::Tool(error) => error.hint(),
            Self::Decode(error) => error.hint(),
            Self::Netns(error) => error.hint(),
            Self::Collect(error) => error.hint(),
            Self::Scratch(_) | Self::Gap(_) | Self::Normalise(_) => None,
        }
    }
}

/// Loads `files` on a host with these interfaces (index to name).
pub fn compile(files: &Files, interfaces: &BTreeMap<u32, Vec<u8>>) -> Result<Capture, CompileError> {
    let says_nothing =
        |path| matches!(role(path), Role::Other | Role::NftInclude | Role::Exact | Role::Context(_));
    if files.keys().all(|path| says_nothing(path)) {
        return Err(CompileError::Empty);
    }
    let exact = exact::forms(files)?;
    let prepared = include::materialise(files).map_err(|error| match error {
        include::MaterialiseError::Include(error) => CompileError::Include(error),
        include::MaterialiseError::Io(error) => CompileError::Scratch(error),
    })?;
    let netns = decode::scratch(&devices(files, interfaces))?;
    netns.run(|| load_all(files, &exact, prepared.path()))??;
    let mut capture = read(&netns)?;
    capture.interfaces.extend(interfaces.clone());
    capture.sysctl = context::read(files, Backend::Sysctl)?;
    capture.bpf = context::read(files, Backend::Bpf)?;
    for (_, replacement) in exact.into_values() {
        exact::substitute(&mut capture, replacement);
    }
    Ok(capture)
}

/// The interfaces that files name, name to index: those of the host, and with any index (0) those that nft syntax
/// needs to exist.
pub fn devices(files: &Files, interfaces: &BTreeMap<u32, Vec<u8>>) -> BTreeMap<Vec<u8>, u32> {
    let named = names_in(files);
    let mut devices: BTreeMap<Vec<u8>, u32> = interfaces
        .iter()
        .filter(|(_, name)| named.contains(name.as_slice()))
        .map(|(index, name)| (name.clone(), *index))
        .collect();
    for name in devices_in(files) {
        devices.entry(name).or_insert(0);
    }
    devices
}

fn read(netns: &Netns) -> Result<Capture, CompileError> {
    let (capture, gaps) = collect::capture(netns, None)?;
    match gaps.into_iter().next() {
        None => Ok(capture),
        Some(gap) => Err(CompileError::Gap(gap.reason)),
    }
}

/// Runs the tools, in the scratch namespace: the sets of ipset first, as rules of iptables name them.
fn load_all(files: &Files, exact: &exact::Forms, directory: &Path) -> Result<(), CompileError> {
    ipset::load(files, exact)?;
    for path in files.keys().filter(|path| role(path) == Role::Nft && !exact.contains_key(*path)) {
        let tool = Tool::find("nft").map_err(CompileError::Tool)?;
        // By its path in the repository, as the tool's messages name it.
        let tool = tool.scratch().args(["-f", path]).directory(directory);
        let (result, moved) = observed(tool)?;
        if !moved && matches!(result, Ok(_) | Err(ToolError::Failed { .. })) {
            // The file says nothing, or is wrong, or nft does not work.
            decode::nft_works()?;
        }
        accepted(result, path, directory)?;
    }
    for (path, content) in files {
        let Role::Iptables(backend, family) = role(path) else { continue };
        let program = restore_program(backend, family);
        if (backend, family) == (Backend::Legacy, Family::Arp) {
            arptables::load(program, path, content)?;
            continue;
        }
        let tool = Tool::find(program).map_err(CompileError::Tool)?;
        // A scratch namespace needs no lock against the host's iptables.
        let lock = directory.join("xtables.lock");
        let tool = tool.scratch().env("XTABLES_LOCKFILE", &lock.to_string_lossy()).input(content.clone());
        let (result, moved) = observed(tool)?;
        accepted(result, path, directory)?;
        let has_chain = content.split(|byte| *byte == b'\n').any(|line| line.starts_with(b":"));
        if backend == Backend::NfTables && has_chain && !moved {
            let name = program.to_owned();
            return Err(CompileError::Tool(ToolError::Idle { name, what: "it loaded nothing" }));
        }
    }
    Ok(())
}

/// Runs a tool, and tells whether the scratch namespace's ruleset moved.
fn observed(tool: Tool) -> Result<(Result<Output, ToolError>, bool), CompileError> {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).map_err(DecodeError::Socket)?;
    let mut generation = || nftables::generation(&mut socket).map_err(CollectError::Nftables);
    let before = generation()?;
    let result = tool.run();
    Ok((result, generation()? != before))
}

fn restore_program(backend: Backend, family: Family) -> &'static str {
    match (backend, family) {
        (Backend::Legacy, Family::Arp) => "arptables-legacy",
        (Backend::Legacy, Family::Bridge) => "ebtables-legacy-restore",
        (_, Family::Arp) => "arptables-nft-restore",
        (_, Family::Bridge) => "ebtables-nft-restore",
        (Backend::Legacy, Family::Ip6) => "ip6tables-legacy-restore",
        (Backend::Legacy, _) => "iptables-legacy-restore",
        (_, Family::Ip6) => "ip6tables-nft-restore",
        (_, _) => "iptables-nft-restore",
    }
}

fn accepted<T>(result: Result<T, ToolError>, path: &str, directory: &Path) -> Result<(), CompileError> {
    match result {
        Ok(_) => Ok(()),
        Err(ToolError::Failed { stderr, .. }) => {
            let scratch = format!("{}/", directory.to_string_lossy());
            Err(refusal(path, &stderr.replace(&scratch, "")))
        }
        Err(error) => Err(CompileError::Tool(error)),
    }
}

/// A file that a tool refused with these words.
pub(super) fn refusal(path: &str, said: &str) -> CompileError {
    let lines: Vec<String> = said.lines().map(shortened).collect();
    CompileError::Refused { path: path.to_owned(), message: lines.join("\n") }
}

/// A tool repeats the line that it refuses, whose elements may go into the thousands.
fn shortened(line: &str) -> String {
    const SHOWN: usize = 240;
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{} …", line[..end].trim_end()),
        None => line.to_owned(),
    }
}

/// All words of the files: an interface that none of them names need not exist.
fn names_in(files: &Files) -> BTreeSet<&[u8]> {
    let separators = |byte: &u8| byte.is_ascii_whitespace() || b"\"{},;".contains(byte);
    files.values().flat_map(|content| content.split(separators)).filter(|word| !word.is_empty()).collect()
}

/// Devices that nft syntax needs to exist: after `device`, `devices = {`, `iif`, `oif`.
fn devices_in(files: &Files) -> BTreeSet<Vec<u8>> {
    let mut found = BTreeSet::new();
    for (path, content) in files {
        if !matches!(role(path), Role::Nft | Role::NftInclude) {
            continue;
        }
        for line in content.split(|byte| *byte == b'\n') {
            let words: Vec<&[u8]> = line
                .split(|byte| byte.is_ascii_whitespace() || b"{},;=()".contains(byte))
                .filter(|word| !word.is_empty())
                .collect();
            let start = words.iter().position(|w| [&b"device"[..], b"devices", b"iif", b"oif"].contains(w));
            for word in start.map_or(&[][..], |start| &words[start + 1..]) {
                let name = word.strip_prefix(b"\"").and_then(|w| w.strip_suffix(b"\"")).unwrap_or(word);
                let plausible = name.len() < 16
                    && name.first().is_some_and(|b| b.is_ascii_alphabetic())
                    && name.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
                if plausible && found.len() < 64 {
                    found.insert(name.to_vec());
                }
            }
        }
    }
    found
}
