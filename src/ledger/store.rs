//! Files beside git's own: written whole or not at all.

use super::error::LedgerError;
use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The beginning of the names of temporary files; one that is left belongs to a killed process.
pub(super) const TEMPORARY_PREFIX: &str = ".fwdrift-tmp-";

/// Replaces the content of `path` (mode 0600) so that after a crash at any instant either the old or the
/// new content is there. Missing parent directories are made, mode 0700.
///
/// # Errors
/// [`LedgerError::Io`] with the step that failed; then `path` is as it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    make_private_dir(parent(path))?;
    replace(path, bytes, parent(path)).map_err(LedgerError::io("write", path))?;
    sync_dir(parent(path))
}

/// As [`write_atomic`], with the temporary file in `scratch`, where a killed process may leave it.
pub(super) fn write_atomic_from(scratch: &Path, path: &Path, bytes: &[u8]) -> Result<(), LedgerError> {
    make_private_dir(parent(path))?;
    match replace(path, bytes, scratch) {
        // The git directory may be on another file system than the working tree.
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => write_atomic(path, bytes),
        Err(error) => Err(LedgerError::io("write", path)(error)),
        Ok(()) => sync_dir(parent(path)),
    }
}

fn replace(path: &Path, bytes: &[u8], scratch: &Path) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(scratch)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes `path` and what is missing above it, mode 0700.
pub(super) fn make_private_dir(path: &Path) -> Result<(), LedgerError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(LedgerError::io("make the directory", path))
}

/// Makes a rename or a new name in `directory` reach the disk.
pub(super) fn sync_dir(directory: &Path) -> Result<(), LedgerError> {
    let sync = || File::open(directory)?.sync_all();
    sync().map_err(LedgerError::io("write the directory", directory))
}

/// Makes everything below `directory` reach the disk.
pub(super) fn sync_all_below(directory: &Path) -> Result<(), LedgerError> {
    let fail = || LedgerError::io("write the directory", directory);
    for entry in std::fs::read_dir(directory).map_err(fail())? {
        let entry = entry.map_err(fail())?;
        let kind = entry.file_type().map_err(fail())?;
        if kind.is_dir() {
            sync_all_below(&entry.path())?;
        } else if kind.is_file() {
            File::open(entry.path()).and_then(|f| f.sync_all()).map_err(fail())?;
        }
    }
    sync_dir(directory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_atomic_write_replaces_the_content_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache/x/state.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        let parent = path.parent().unwrap();
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1);
        assert_eq!(parent.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("occupied");
        std::fs::create_dir_all(path.join("x")).unwrap();
        assert!(matches!(write_atomic(&path, b"one"), Err(LedgerError::Io { .. })));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
