//! nft's `include`, kept inside the repository.
//!
//! An authored file may say `include "/etc/nftables.d/*.nft"`. Read from the file system at each check,
//! that would be a part of the approved state which nobody reviewed. So adopting a file copies what it
//! includes to `nft/include/`, and loading it points its includes there.

use crate::model::Files;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An include that cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum IncludeError {
    /// In the repository: the included file was never adopted.
    #[error("{file} includes \"{target}\", which is not part of the baseline (expected at {expected})")]
    NotAdopted {
        /// The including file.
        file: String,
        /// What it says.
        target: String,
        /// Where it should be.
        expected: String,
    },
    /// While adopting: it cannot be read.
    #[error("{file} includes \"{target}\", which cannot be read: {source}")]
    Unreadable {
        /// The including file.
        file: String,
        /// What it says.
        target: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// While adopting: includes nest without end.
    #[error("{file}: includes nest deeper than {DEPTH}")]
    TooDeep {
        /// The file at which it was given up.
        file: String,
    },
}

impl IncludeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotAdopted { expected, .. } => {
                Some(format!("commit the included file to main as {expected}"))
            }
            Self::Unreadable { .. } => Some("mend the include or the file that it names".into()),
            Self::TooDeep { .. } => Some("nft itself follows no more; join some of the files".into()),
        }
    }
}

/// nft itself follows 16 (`MAX_INCLUDE_DEPTH` of its scanner).
const DEPTH: usize = 16;

/// What went wrong while writing the files out.
pub enum MaterialiseError {
    /// An include without its file.
    Include(IncludeError),
    /// The directory.
    Io(std::io::Error),
}

/// Writes the files to a scratch directory, with every include pointing into it.
pub fn materialise(files: &Files) -> Result<tempfile::TempDir, MaterialiseError> {
    let directory = tempfile::Builder::new().prefix("fwdrift-").tempdir().map_err(MaterialiseError::Io)?;
    std::fs::create_dir_all(directory.path().join("nft")).map_err(MaterialiseError::Io)?;
    for (path, content) in files.iter().filter(|(path, _)| path.starts_with("nft/")) {
        let target = directory.path().join(path);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(MaterialiseError::Io)?;
        }
        let rewritten = rewrite(content, |wanted| {
            let stored = stored_path(wanted);
            match exists(files, &stored) {
                true => Ok(directory.path().join(&stored).to_string_lossy().into_owned()),
                false => Err(MaterialiseError::Include(IncludeError::NotAdopted {
                    file: path.clone(),
                    target: wanted.to_owned(),
                    expected: stored,
                })),
            }
        })?;
        std::fs::write(&target, rewritten).map_err(MaterialiseError::Io)?;
    }
    Ok(directory)
}

/// Where an included path is kept: `/etc/nft.d/a.nft` and `nft.d/a.nft` at `nft/include/…`.
fn stored_path(wanted: &str) -> String {
    let parts: Vec<&str> =
        wanted.split('/').filter(|part| !part.is_empty() && *part != "." && *part != "..").collect();
    format!("nft/include/{}", parts.join("/"))
}

/// A pattern may match nothing, as in nft; a plain path must be there.
fn exists(files: &Files, stored: &str) -> bool {
    stored.contains(['*', '?', '[']) || files.contains_key(stored)
}

/// Copies the content with each include's path replaced. nft's lexer takes `include` where a statement
/// may begin, followed by a quoted path.
fn rewrite<E>(content: &[u8], mut replace: impl FnMut(&str) -> Result<String, E>) -> Result<Vec<u8>, E> {
    let mut out = Vec::with_capacity(content.len());
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        match include_in(line) {
            Some((before, path, after)) => {
                out.extend_from_slice(before);
                out.extend_from_slice(replace(&String::from_utf8_lossy(path))?.as_bytes());
                out.extend_from_slice(after);
            }
            None => out.extend_from_slice(line),
        }
    }
    Ok(out)
}

/// Splits `  include "PATH" …` into what is before, the path, and what follows.
fn include_in(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let indent = line.len() - line.trim_ascii_start().len();
    let rest = line[indent..].strip_prefix(b"include")?;
    let gap = rest.len() - rest.trim_ascii_start().len();
    let quoted = rest[gap..].strip_prefix(b"\"")?;
    let start = line.len() - quoted.len();
    let length = quoted.iter().position(|byte| *byte == b'"')?;
    Some((&line[..start], &quoted[..length], &quoted[length..]))
}

/// Reads an authored nft file and all that it includes. Returns the included files at their places in
/// the repository.
pub fn adopt(path: &Path, content: &[u8]) -> Result<Files, IncludeError> {
    let mut files = Files::new();
    let mut seen = BTreeSet::new();
    follow(path, content, &mut files, &mut seen, DEPTH)?;
    Ok(files)
}

fn follow(
    path: &Path,
    content: &[u8],
    files: &mut Files,
    seen: &mut BTreeSet<PathBuf>,
    depth: usize,
) -> Result<(), IncludeError> {
    let file = path.to_string_lossy().into_owned();
    let depth = depth.checked_sub(1).ok_or_else(|| IncludeError::TooDeep { file: file.clone() })?;
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let Some((_, target, _)) = include_in(line) else { continue };
        let target = String::from_utf8_lossy(target).into_owned();
        for (stored, found) in matches(path, &target) {
            if !seen.insert(found.clone()) {
                continue;
            }
            let content = std::fs::read(&found).map_err(|source| IncludeError::Unreadable {
                file: file.clone(),
                target: target.clone(),
                source,
            })?;
            follow(&found, &content, files, seen, depth)?;
            files.insert(stored, content);
        }
    }
    Ok(())
}

/// nft's default include directory (nft(8), `-I`).
const DEFAULT_DIRECTORY: &str = "/etc";

/// The files that an include names: its place in the repository, and where it is now. nft looks for
/// `./x` in the working directory and for `x` in /etc; what is in neither is looked for beside the
/// including file, where it lies in a copy of /etc.
fn matches(including: &Path, target: &str) -> Vec<(String, PathBuf)> {
    let beside = including.parent().unwrap_or(Path::new("."));
    let directories = match target {
        absolute if absolute.starts_with('/') => vec![Path::new("/")],
        dotted if dotted.starts_with("./") => vec![beside, Path::new(".")],
        _ => vec![Path::new(DEFAULT_DIRECTORY), beside],
    };
    let found: Vec<_> = directories.iter().map(|directory| matches_in(directory, target)).collect();
    match found.into_iter().find(|files| !files.is_empty()) {
        Some(files) => files,
        None if target.contains('*') => Vec::new(),
        // Named, so that the error says where it was expected.
        None => vec![(stored_path(target), directories[0].join(target))],
    }
}

fn matches_in(directory: &Path, target: &str) -> Vec<(String, PathBuf)> {
    let path = directory.join(target);
    let Some(pattern) = target.rsplit('/').next().filter(|name| name.contains('*')) else {
        return if path.exists() { vec![(stored_path(target), path)] } else { Vec::new() };
    };
    let directory = path.parent().unwrap_or(Path::new("/"));
    let prefix = target.strip_suffix(pattern).unwrap_or_default();
    let mut found: Vec<(String, PathBuf)> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.to_owned(), entry.path())))
        .filter(|(name, path)| !name.starts_with('.') && fits(pattern, name) && path.is_file())
        .map(|(name, path)| (stored_path(&format!("{prefix}{name}")), path))
        .collect();
    found.sort();
    found
}

/// Whether a name fits a pattern in which `*` stands for anything.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    for (number, part) in parts.iter().enumerate() {
        if number + 1 == parts.len() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(place) => rest = &rest[place + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_include_line_is_found_and_a_comment_is_not() {
        assert_eq!(
            include_in(b"  include \"a/b.nft\"; # x\n"),
            Some((&b"  include \""[..], &b"a/b.nft"[..], &b"\"; # x\n"[..]))
        );
        assert_eq!(include_in(b"# include \"a\"\n"), None);
        assert_eq!(include_in(b"included \"a\"\n"), None);
    }

    #[test]
    fn included_paths_stay_inside_the_repository() {
        assert_eq!(stored_path("../../../etc/passwd"), "nft/include/etc/passwd");
        assert_eq!(stored_path("/etc/nftables.d/a.nft"), "nft/include/etc/nftables.d/a.nft");
    }

    #[test]
    fn stars_match_as_the_shell_does() {
        assert!(fits("*.nft", "web.nft") && fits("1*-a*.nft", "10-ab.nft") && !fits("*.nft", "web.nft.bak"));
    }

    #[test]
    fn adopted_includes_are_read_from_beside_the_file_and_nested() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("d")).unwrap();
        std::fs::write(directory.path().join("d/x.nft"), "include \"vars.nft\"\n").unwrap();
        std::fs::write(directory.path().join("d/vars.nft"), "define p = 22\n").unwrap();
        let main = directory.path().join("main.nft");
        let files = adopt(&main, b"include \"d/*.nft\"\n").unwrap();
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["nft/include/d/vars.nft", "nft/include/d/x.nft"]);
    }
}
