//! The directory that the host boots from: `/`, or a tree that is laid out like it.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Larger files are not read: no rule file of a boot configuration is that large.
const LARGEST: u64 = 256 * 1024 * 1024;

/// A root directory. All paths given to it are absolute paths of the host.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The tree below a directory.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Whether it is this system's own root.
    pub fn is_host(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where a path of the host is.
    pub fn at(&self, path: &str) -> PathBuf {
        let inner = Path::new(path).components().filter(|part| matches!(part, Component::Normal(_)));
        inner.fold(self.0.clone(), |whole, part| whole.join(part))
    }

    /// Whether something is there.
    pub fn has(&self, path: &str) -> bool {
        self.at(path).exists()
    }

    /// Where the symbolic link at a path points; none if there is no link.
    pub fn link(&self, path: &str) -> Option<PathBuf> {
        std::fs::read_link(self.at(path)).ok()
    }

    /// A file's content; none if it is not there.
    ///
    /// # Errors
    /// It is there and cannot be read, is no file, or is larger than any rule file.
    pub fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let place = self.at(path);
        let metadata = match std::fs::metadata(&place) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::Error::other("it is no file, or larger than 256 MiB"));
        }
        std::fs::read(place).map(Some)
    }

    /// A text; empty if it is not there or cannot be read.
    pub fn text(&self, path: &str) -> String {
        let content = self.read(path).ok().flatten().unwrap_or_default();
        String::from_utf8_lossy(&content).into_owned()
    }

    /// The names in a directory, sorted; none if it is not there.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// The value of a variable in a file of shell assignments (`/etc/default/x`, `/etc/conf.d/x`).
    pub fn variable(&self, path: &str, name: &str) -> Option<String> {
        let text = self.text(path);
        let mut values = text.lines().filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='));
        values.next_back().map(|value| value.trim().trim_matches(['"', '\'']).to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_path_leaves_the_root() {
        let root = Root::new(Path::new("/srv/tree"));
        assert_eq!(root.at("/etc/../../../etc/passwd"), Path::new("/srv/tree/etc/etc/passwd"));
        assert_eq!(root.at("/etc/nftables.conf"), Path::new("/srv/tree/etc/nftables.conf"));
    }

    #[test]
    fn the_last_assignment_counts() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("x"), "#A=0\nA=1\n A=\"2\"\nAB=3\n").unwrap();
        let root = Root::new(directory.path());
        assert_eq!(root.variable("/x", "A"), Some("2".to_owned()));
        assert_eq!(root.variable("/x", "C"), None);
    }
}
