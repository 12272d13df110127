//! Opening and making the git repository.
//!
//! Role: tells apart every reason why a repository cannot be used. Of git's configuration only the
//! repository's own file counts: nothing that a user set for themselves changes what is stored.

use super::error::LedgerError;
use super::refs::MAIN;
use super::store::{make_private_dir, sync_all_below, sync_dir};
use git2::{Config, ConfigLevel, ErrorClass, ErrorCode, RepositoryInitOptions, RepositoryOpenFlags};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Names of directories in which a repository is being made; one that is left belongs to a killed `init`.
const UNFINISHED_PREFIX: &str = ".fwdrift-init-";

/// Keeps plain git from changing the bytes of a baseline at checkout (gitattributes(5)).
const ATTRIBUTES: &str = "# fwdrift: baselines are kept byte for byte.\n\
                          baselines/** -text -ident -filter !eol !working-tree-encoding\n";

/// A handle on the repository whose work tree is exactly `path`; no search in the directories above.
pub(super) fn open_handle(path: &Path) -> Result<git2::Repository, LedgerError> {
    expect_repository_dir(path)?;
    let none: [&OsStr; 0] = [];
    let repo = git2::Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none)
        .map_err(|error| refusal(path, error))?;
    if repo.is_bare() {
        return Err(LedgerError::Bare { path: path.to_owned() });
    }
    only_own_config(&repo, None)?;
    Ok(repo)
}

/// A handle for writing: as [`open_handle`], with the settings of the file `forced` above all others.
pub(super) fn open_for_writing(path: &Path, forced: &Path) -> Result<git2::Repository, LedgerError> {
    let repo = open_handle(path)?;
    only_own_config(&repo, Some(forced))?;
    Ok(repo)
}

fn only_own_config(repo: &git2::Repository, forced: Option<&Path>) -> Result<(), LedgerError> {
    let own = repo.commondir().join("config");
    let build = || -> Result<Config, git2::Error> {
        let mut config = Config::new()?;
        config.add_file(&own, ConfigLevel::Local, false)?;
        if let Some(forced) = forced {
            config.add_file(forced, ConfigLevel::App, false)?;
        }
        Ok(config)
    };
    let config = build().map_err(|e| LedgerError::GitConfig { what: e.message().to_owned() })?;
    repo.set_config(&config).map_err(LedgerError::git("set the configuration", repo.commondir()))
}

/// Refuses what is certainly no repository, so that libgit2's "not found" can only mean damage.
fn expect_repository_dir(path: &Path) -> Result<(), LedgerError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(LedgerError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(LedgerError::io("look at", path)(error)),
    };
    let exists = |name: &str| match fs::symlink_metadata(path.join(name)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(LedgerError::io("look at", &path.join(name))(error)),
    };
    if !metadata.is_dir() || !(exists(".git")? || (exists("HEAD")? && exists("objects")?)) {
        return Err(LedgerError::NotARepository { path: path.to_owned() });
    }
    Ok(())
}

/// What libgit2's refusal to open `path` means.
fn refusal(path: &Path, error: git2::Error) -> LedgerError {
    let path_buf = || path.to_owned();
    if error.code() == ErrorCode::Owner {
        return foreign_owner(path);
    }
    let git_dir = if path.join(".git").is_dir() { path.join(".git") } else { path_buf() };
    let extension = |name: &str| {
        let config = Config::open(&git_dir.join("config")).ok()?;
        config.get_string(&format!("extensions.{name}")).ok()
    };
    if extension("objectformat").is_some_and(|format| format != "sha1") {
        return LedgerError::Sha256 { path: path_buf() };
    }
    if extension("refstorage").is_some_and(|storage| storage != "files") {
        return LedgerError::Reftable { path: path_buf() };
    }
    match error.class() {
        ErrorClass::Config => LedgerError::GitConfig { what: error.message().to_owned() },
        ErrorClass::Os => LedgerError::git("open the repository", path)(error),
        _ => LedgerError::Damaged { path: path_buf(), what: error.message().to_owned() },
    }
}

/// Names the first of the directories that git checks which another user owns.
fn foreign_owner(path: &Path) -> LedgerError {
    let me = rustix::process::geteuid().as_raw();
    let owner_of = |p: &Path| fs::metadata(p).map(|m| m.uid()).ok();
    let checked = [path.to_owned(), path.join(".git")];
    let foreign = checked.into_iter().find_map(|p| match owner_of(&p) {
        Some(owner) if owner != me => Some((p, owner)),
        _ => None,
    });
    match foreign {
        Some((path, owner)) => LedgerError::ForeignOwner { path, owner, me },
        // The owner changed between libgit2's look and this one.
        None => LedgerError::ForeignOwner { path: path.to_owned(), owner: me, me },
    }
}

/// Makes a repository at `path` with the first branch `main`, or takes the one that is there.
pub(super) fn create(path: &Path) -> Result<git2::Repository, LedgerError> {
    match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make_private_dir(path)?;
            init_in(path)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(LedgerError::NotARepository { path: path.to_owned() });
        }
        Err(error) => return Err(LedgerError::io("read the directory", path)(error)),
        Ok(entries) => {
            if remove_unfinished(path, entries)? {
                init_in(path)?;
            }
        }
    }
    let repo = match open_handle(path) {
        Err(LedgerError::NotARepository { path }) => return Err(LedgerError::NotEmpty { path }),
        other => other?,
    };
    let git_dir = repo.commondir().to_owned();
    let head = repo.find_reference("HEAD").map_err(LedgerError::git("read HEAD", &git_dir))?;
    let elsewhere = head.symbolic_target().ok().flatten() != Some(MAIN);
    let is_unborn = matches!(repo.head(), Err(e) if e.code() == ErrorCode::UnbornBranch);
    if elsewhere && is_unborn && repo.find_reference(MAIN).is_err() {
        repo.set_head(MAIN).map_err(LedgerError::git("name the first branch", &git_dir))?;
    }
    drop(head);
    Ok(repo)
}

/// Removes what a killed `init` left; true if then nothing is in the directory.
fn remove_unfinished(path: &Path, entries: fs::ReadDir) -> Result<bool, LedgerError> {
    let mut is_empty = true;
    for entry in entries {
        let entry = entry.map_err(LedgerError::io("read the directory", path))?;
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED_PREFIX) {
            let left = entry.path();
            fs::remove_dir_all(&left).map_err(LedgerError::io("remove the unfinished", &left))?;
        } else {
            is_empty = false;
        }
    }
    Ok(is_empty)
}

/// Makes the repository under another name and renames its `.git`, so that it is there whole or not at all.
fn init_in(path: &Path) -> Result<(), LedgerError> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
        .map_err(LedgerError::io("make private", path))?;
    let unfinished = tempfile::Builder::new()
        .prefix(UNFINISHED_PREFIX)
        .tempdir_in(path)
        .map_err(LedgerError::io("write in", path))?;
    let mut options = RepositoryInitOptions::new();
    options.no_reinit(true).external_template(false).initial_head("main");
    git2::Repository::init_opts(unfinished.path(), &options)
        .map_err(LedgerError::git("make a repository", path))?;
    let made: PathBuf = unfinished.path().join(".git");
    let info = made.join("info");
    fs::create_dir_all(&info).map_err(LedgerError::io("make the directory", &info))?;
    let attributes = info.join("attributes");
    fs::write(&attributes, ATTRIBUTES).map_err(LedgerError::io("write", &attributes))?;
    sync_all_below(&made)?;
    let place = path.join(".git");
    fs::rename(&made, &place).map_err(LedgerError::io("make", &place))?;
    sync_dir(path)
}
