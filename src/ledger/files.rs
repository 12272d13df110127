//! The files of a ruleset on their way into a commit.
//!
//! Role: refuses every path that could leave its directory, hide something from a reader, or make
//! git fsck(1) complain (its `hasDot`, `hasDotdot`, `hasDotgit`, `fullPathname` messages).

use super::error::LedgerError;
use crate::model::Files;

/// The record in a ledger commit, beside the ruleset's files.
pub(super) const EVENT_FILE: &str = "event.json";

/// Whether every path can be stored. The content may be any bytes.
///
/// # Errors
/// [`LedgerError::FilePath`] for the first path that cannot.
pub fn check_files(files: &Files) -> Result<(), LedgerError> {
    for path in files.keys() {
        if let Some(why) = broken_rule(path) {
            return Err(LedgerError::FilePath { path: path.clone(), why });
        }
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            if files.contains_key(above) {
                return Err(LedgerError::FilePath {
                    path: path.clone(),
                    why: "its directory is also the name of a file",
                });
            }
            parent = above;
        }
    }
    Ok(())
}

/// As [`check_files`], for the tree of a ledger commit, where `event.json` has its own place.
pub(super) fn check_ledger_files(files: &Files) -> Result<(), LedgerError> {
    check_files(files)?;
    let is_reserved =
        |path: &&String| path.split('/').next().is_some_and(|top| top.eq_ignore_ascii_case(EVENT_FILE));
    match files.keys().find(is_reserved) {
        Some(path) => Err(LedgerError::FilePath {
            path: path.clone(),
            why: "the ledger keeps its own record under this name",
        }),
        None => Ok(()),
    }
}

fn broken_rule(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path.starts_with('/') {
        return Some("it is an absolute path");
    }
    if path.len() > 1024 {
        return Some("it is longer than 1024 bytes");
    }
    path.split('/').find_map(broken_component)
}

fn broken_component(name: &str) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    match name {
        "" => Some("it has an empty component"),
        "." | ".." => Some("it has a component '.' or '..'"),
        _ if name.len() > 255 => Some("it has a component longer than 255 bytes"),
        _ if lower.starts_with(".git") || lower.starts_with("git~") => {
            Some("git keeps names that begin with '.git' for itself")
        }
        _ if name.contains('\\') => Some("it contains '\\'"),
        _ if !name.chars().all(super::text::is_plain) => {
            Some("it contains a control or another character that cannot be shown")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(paths: &[&str]) -> Result<(), LedgerError> {
        check_files(&paths.iter().map(|p| ((*p).to_owned(), Vec::new())).collect())
    }

    #[test]
    fn ordinary_relative_paths_are_taken() {
        check(&["nft/inet-filter.nft", "iptables/legacy-v4.rules", "a b", ".hidden", "r\u{f6}le.nft"])
            .unwrap();
    }

    #[test]
    fn paths_that_escape_or_deceive_are_refused() {
        let bad = [
            "",
            "/etc/passwd",
            "..",
            "a/../b",
            "./a",
            "a//b",
            "a/",
            ".git/config",
            "a/.GIT/hooks/post-commit",
            ".gitattributes",
            ".gitmodules",
            "git~1",
            "a\\b",
            "a\nb",
            "a\x1b[2J",
            ".g\u{200c}it",
            "a\0b",
        ];
        for path in bad {
            assert!(matches!(check(&[path]), Err(LedgerError::FilePath { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_name_cannot_be_both_a_file_and_a_directory() {
        assert!(check(&["a", "a/b"]).is_err());
        assert!(check(&["a/b", "a/b/c/d"]).is_err());
        check(&["a.b", "a/b"]).unwrap();
    }

    #[test]
    fn the_ledgers_own_record_cannot_be_replaced() {
        let files = Files::from([("event.json".to_owned(), Vec::new())]);
        assert!(check_ledger_files(&files).is_err());
        check_files(&files).unwrap();
    }
}
