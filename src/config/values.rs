//! Values that are checked once, where they enter.

use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// A host's name as it is used in the repository: in `baselines/<host>` and in the branch `live/<host>`.
///
/// Letters, digits, `.`, `_` and `-`, at most 253; no leading `.` or `-`, no `..`, no trailing `.` or
/// `.lock`. So it is one path component, one component of a git reference (git-check-ref-format(1)),
/// and plain on a terminal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostName(String);

/// Why a text is not a [`HostName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More than 253 bytes.
    #[error("it is longer than 253 characters")]
    TooLong,
    /// A character that is not allowed; shown escaped.
    #[error("it contains {:?}; letters, digits, '.', '_' and '-' are allowed", .0)]
    Character(char),
    /// Allowed characters in a form that git or the file system gives another meaning.
    #[error("it starts with '.' or '-', contains '..', or ends in '.' or '.lock'")]
    Shape,
}

impl HostName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidHost`] names the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        if text.is_empty() {
            return Err(InvalidHost::Empty);
        }
        if text.len() > 253 {
            return Err(InvalidHost::TooLong);
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if let Some(other) = text.chars().find(|c| !allowed(*c)) {
            return Err(InvalidHost::Character(other));
        }
        let misshapen = text.starts_with(['.', '-'])
            || text.contains("..")
            || text.ends_with('.')
            || text.ends_with(".lock");
        if misshapen { Err(InvalidHost::Shape) } else { Ok(Self(text.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A network namespace as it was asked for; it is neither opened nor known to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetnsRef {
    given: PathBuf,
    path: PathBuf,
}

/// Why a text names no network namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetns {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// `.` or `..`, which are directories.
    #[error("'.' and '..' are directories")]
    Directory,
    /// A NUL byte cannot be in a path.
    #[error("it contains a NUL byte")]
    Nul,
}

impl NetnsRef {
    /// Where `ip netns` keeps the namespaces that have names (ip-netns(8)).
    pub const NAMED: &'static str = "/run/netns";

    /// Reads a name (no `/` in it: `/run/netns/NAME`) or a path, which is used as it is.
    ///
    /// # Errors
    /// [`InvalidNetns`] if it cannot be either.
    pub fn parse(given: &Path) -> Result<Self, InvalidNetns> {
        let bytes = given.as_os_str().as_encoded_bytes();
        if bytes.is_empty() {
            return Err(InvalidNetns::Empty);
        }
        if bytes.contains(&0) {
            return Err(InvalidNetns::Nul);
        }
        if bytes == b"." || bytes == b".." {
            return Err(InvalidNetns::Directory);
        }
        let path = if bytes.contains(&b'/') { given.to_owned() } else { Path::new(Self::NAMED).join(given) };
        Ok(Self { given: given.to_owned(), path })
    }

    /// The file to open.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name or path as it was given, for messages and for `netns` in JSON.
    pub fn given(&self) -> String {
        self.given.to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_hostnames_are_taken_as_they_are() {
        for name in ["web-01", "db1.example.org", "WEB_01", "a", "10-0-0-1"] {
            assert_eq!(HostName::parse(name).map(|h| h.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_name_that_leaves_its_directory_or_its_reference_is_refused() {
        for name in ["..", ".", "a..b", "-x", ".git", "web.", "web.lock"] {
            assert_eq!(HostName::parse(name), Err(InvalidHost::Shape), "{name}");
        }
        for (name, bad) in
            [("a/b", '/'), ("a\x1b[2J", '\x1b'), ("(none)", '('), ("a b", ' '), ("wéb", 'é'), ("a\n", '\n')]
        {
            assert_eq!(HostName::parse(name), Err(InvalidHost::Character(bad)));
        }
        assert_eq!(HostName::parse(""), Err(InvalidHost::Empty));
        assert_eq!(HostName::parse(&"a".repeat(254)), Err(InvalidHost::TooLong));
    }

    #[test]
    fn the_message_for_a_control_character_carries_none() {
        let message = HostName::parse("a\x1b]0;x").unwrap_err().to_string();
        assert!(!message.contains('\x1b'), "{message:?}");
    }

    #[test]
    fn a_namespace_is_a_name_in_run_netns_or_a_path() {
        let path = |given: &str| NetnsRef::parse(Path::new(given)).map(|n| n.path().to_owned());
        assert_eq!(path("blue"), Ok(PathBuf::from("/run/netns/blue")));
        assert_eq!(path("/proc/12/ns/net"), Ok(PathBuf::from("/proc/12/ns/net")));
        assert_eq!(path("./here"), Ok(PathBuf::from("./here")));
        assert_eq!(path(".."), Err(InvalidNetns::Directory));
        assert_eq!(path("."), Err(InvalidNetns::Directory));
        assert_eq!(path(""), Err(InvalidNetns::Empty));
        assert_eq!(path("a\0b"), Err(InvalidNetns::Nul));
    }
}
