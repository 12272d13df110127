//! Values that are checked once, where they enter.

use std::path::{Path, PathBuf};

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
