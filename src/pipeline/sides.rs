//! A side of a comparison, by its name: `live`, `baseline`, `boot`, a revision, a file. Reads only.
//!
//! Input: the word that a person gave; output: a [`Seen`], its ruleset and what could not be seen of it.

use super::look::open_netns;
use super::{PipelineError, context};
use crate::baseline::{self, Access, Cache};
use crate::boot::{self, Unknown};
use crate::collect::{self, CollectError};
use crate::compare;
use crate::config::Settings;
use crate::ledger::{LedgerError, Repository};
use crate::model::{Backend, Files, Gap, Ruleset, SettingsList, SideKind, SideRef, TableKey};
use crate::normalise::normalise;
use chrono::Utc;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Directories nest no deeper than this in the layout of a baseline.
const DEPTH: usize = 8;

/// A side that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// It names nothing.
    #[error("{0:?} is no side: neither a file nor a revision of the repository has this name")]
    Unknown(String),
    /// It names two things.
    #[error("{0:?} is both a file and a revision of the repository")]
    Ambiguous(String),
    /// A commit that knows nothing of this host.
    #[error("{given:?} holds no baseline of {host}")]
    NotThere {
        /// The revision.
        given: String,
        /// The host.
        host: String,
    },
    /// A directory without rules.
    #[error("{} holds no ruleset file in the layout of a baseline (nft/*.nft, iptables/nft-v4.rules …)", .0.display())]
    NoLayout(PathBuf),
    /// A directory that cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl SideError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown(_) => {
                Some("a side is live, baseline, boot, a git revision, or a file such as ./x.nft".to_owned())
            }
            Self::Ambiguous(given) => Some(format!("say ./{given} for the file, {given}^0 for the revision")),
            Self::NotThere { .. } => Some("--host NAME names another host".to_owned()),
            Self::NoLayout(_) => Some("name a file in it, or a directory that holds nft/".to_owned()),
            Self::Unreadable { .. } => Some("name a file that root can read".to_owned()),
        }
    }
}

/// A side as it was found.
#[derive(Debug)]
pub struct Seen {
    /// What it is.
    pub described: SideRef,
    /// Its ruleset.
    pub ruleset: Ruleset,
    /// The files that say it, relative to the directory of a baseline; empty if no files do.
    pub files: Files,
    /// What could not be seen of it.
    pub gaps: Vec<Gap>,
    /// Tables that it may have, which cannot be seen.
    pub unknown: Unknown,
    /// Whether it says anything of BPF programs; of kernel settings a ruleset tells itself.
    pub says_bpf: bool,
    /// Of a live side, the list of kernel settings that it was read with: it has each of them.
    pub listed: Option<SettingsList>,
}

/// Finds sides.
pub struct Sides<'a> {
    settings: &'a Settings,
    boot_root: &'a Path,
    repository: Result<Repository, Option<LedgerError>>,
    interfaces: BTreeMap<u32, Vec<u8>>,
}

impl<'a> Sides<'a> {
    /// Of the host that the settings name. A missing repository matters only to sides that are in it.
    pub fn new(settings: &'a Settings, boot_root: &'a Path) -> Result<Self, PipelineError> {
        let interfaces = open_netns(settings)?.run(collect::links::interfaces);
        let interfaces = interfaces.map_err(CollectError::Netns)?.map_err(CollectError::Links)?;
        let repository = Repository::open(&settings.repo).map_err(Some);
        Ok(Self { settings, boot_root, repository, interfaces })
    }

    /// The repository, if it is there.
    pub fn repository(&self) -> Option<&Repository> {
        self.repository.as_ref().ok()
    }

    /// `fwdrift.toml` on `main`.
    pub fn policy(&mut self) -> Result<Vec<u8>, PipelineError> {
        Ok(self.needs_repository()?.policy()?)
    }

    /// Loads the side that a word names.
    pub fn find(&mut self, given: &str) -> Result<Seen, PipelineError> {
        match given {
            "live" => self.live(),
            "baseline" => self.baseline(),
            "boot" => self.boot(),
            file if is_path(file) => self.file(file),
            _ => {
                let revision = match &self.repository {
                    Ok(repository) => repository.revision(&self.settings.host, given)?,
                    Err(_) => None,
                };
                match (revision, Path::new(given).exists()) {
                    (Some(_), true) => Err(SideError::Ambiguous(given.to_owned()).into()),
                    (None, true) => self.file(given),
                    (Some(found), false) => {
                        let (given, host) = (given.to_owned(), self.settings.host.to_string());
                        let kind = match found.path {
                            Some(_) => SideKind::Revision,
                            None => SideKind::Ledger,
                        };
                        let described = SideRef {
                            commit: Some(found.commit),
                            path: found.path,
                            ..described(&given, kind)
                        };
                        let files = found.files.ok_or(SideError::NotThere { given, host })?;
                        self.compiled(&files, described)
                    }
                    (None, false) => {
                        self.needs_repository()?;
                        Err(SideError::Unknown(given.to_owned()).into())
                    }
                }
            }
        }
    }

    fn needs_repository(&mut self) -> Result<&Repository, PipelineError> {
        match &mut self.repository {
            Ok(repository) => Ok(repository),
            Err(error) => {
                let path = self.settings.repo.clone();
                Err(error.take().unwrap_or(LedgerError::Missing { path }).into())
            }
        }
    }

    fn live(&self) -> Result<Seen, PipelineError> {
        let netns = open_netns(self.settings)?;
        let captured_at = Utc::now();
        let list = self.listed()?;
        let (capture, gaps) = collect::capture(&netns, Some(&list))?;
        let described = SideRef {
            captured_at: Some(captured_at),
            generation: Some(capture.generation),
            ..described("live", SideKind::Live)
        };
        let ruleset = normalise(&capture)?;
        let unknown = Unknown::default();
        Ok(Seen {
            described,
            ruleset,
            files: Files::new(),
            gaps,
            unknown,
            says_bpf: true,
            listed: Some(list),
        })
    }

    /// The settings to read of a live side: what the policy and this host's baseline name, as `check` does.
    fn listed(&self) -> Result<SettingsList, PipelineError> {
        let baseline = match &self.repository {
            Ok(repository) => repository.baseline(&self.settings.host)?,
            Err(_) => None,
        };
        match baseline {
            Some(baseline) => context::listed(&baseline.files, &baseline.policy),
            None => Ok(SettingsList::default()),
        }
    }

    fn baseline(&mut self) -> Result<Seen, PipelineError> {
        let (host, repo) = (self.settings.host.clone(), self.settings.repo.clone());
        let found = self.needs_repository()?.baseline(&host)?;
        let found = found.ok_or(PipelineError::NoBaseline { host, repo })?;
        let described = SideRef {
            commit: Some(found.commit),
            path: Some(found.path),
            ..described("baseline", SideKind::Baseline)
        };
        self.compiled(&found.files, described)
    }

    fn boot(&self) -> Result<Seen, PipelineError> {
        let found = boot::look(self.boot_root, &self.interfaces)?;
        let described = SideRef { providers: found.providers, ..described("boot", SideKind::Boot) };
        let (ruleset, gaps, unknown) = (found.ruleset, found.gaps, found.unknown);
        Ok(Seen { described, ruleset, files: Files::new(), gaps, unknown, says_bpf: false, listed: None })
    }

    fn file(&self, given: &str) -> Result<Seen, PipelineError> {
        let path = Path::new(given);
        let is_directory = path.is_dir();
        let kind = if is_directory { SideKind::Directory } else { SideKind::File };
        let files = if is_directory { directory(path)? } else { baseline::adopt(&[path.to_owned()])? };
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let path = Some(absolute.to_string_lossy().into_owned());
        let seen = self.compiled(&files, SideRef { path, ..described(given, kind) })?;
        Ok(Seen { says_bpf: is_directory, ..seen })
    }

    fn compiled(&self, files: &Files, described: SideRef) -> Result<Seen, PipelineError> {
        let ruleset = match &self.repository {
            Ok(repository) => {
                Cache::new(repository.cache_dir(), Access::Read).loaded(files, &self.interfaces)?
            }
            Err(_) => normalise(&baseline::compile(files, &self.interfaces)?)?,
        };
        let unknown = Unknown::default();
        Ok(Seen {
            described,
            ruleset,
            files: files.clone(),
            gaps: Vec::new(),
            unknown,
            says_bpf: true,
            listed: None,
        })
    }
}

/// Makes two sides comparable: what one of them could not see, or says nothing about, is no difference.
pub fn level(from: &mut Seen, to: &mut Seen) {
    let settings = TableKey::of_all(Backend::Sysctl);
    let lists = (from.listed.take(), to.listed.take());
    match lists {
        (Some(list), None) => compare::settle(&mut from.ruleset, &mut to.ruleset, &list),
        (None, Some(list)) => compare::settle(&mut to.ruleset, &mut from.ruleset, &list),
        _ => {}
    }
    let has_settings = |seen: &Seen| seen.ruleset.tables.contains_key(&settings);
    if !has_settings(from) || !has_settings(to) {
        leave_out(from, to, Backend::Sysctl);
    }
    if !from.says_bpf || !to.says_bpf {
        leave_out(from, to, Backend::Bpf);
    }
    super::look::stand_in(&mut from.ruleset, &to.ruleset, &from.gaps);
    super::look::stand_in(&mut to.ruleset, &from.ruleset, &to.gaps);
    from.unknown.stand_in(&mut from.ruleset, &to.ruleset);
    to.unknown.stand_in(&mut to.ruleset, &from.ruleset);
}

fn leave_out(from: &mut Seen, to: &mut Seen, backend: Backend) {
    for seen in [from, to] {
        seen.ruleset.tables.remove(&TableKey::of_all(backend));
    }
}

fn described(given: &str, kind: SideKind) -> SideRef {
    SideRef {
        given: given.to_owned(),
        kind,
        commit: None,
        path: None,
        captured_at: None,
        generation: None,
        providers: Vec::new(),
    }
}

/// What cannot be meant as a revision: git's names begin with neither.
fn is_path(given: &str) -> bool {
    given.starts_with('/')
        || given.starts_with("./")
        || given.starts_with("../")
        || [".", ".."].contains(&given)
}

/// The ruleset files of a directory.
fn directory(path: &Path) -> Result<Files, SideError> {
    let mut files = Files::new();
    read_below(path, "", DEPTH, &mut files)?;
    match files.is_empty() {
        true => Err(SideError::NoLayout(path.to_owned())),
        false => Ok(files),
    }
}

fn read_below(directory: &Path, at: &str, depth: usize, files: &mut Files) -> Result<(), SideError> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        |source| SideError::Unreadable { path, source }
    };
    for entry in std::fs::read_dir(directory).map_err(unreadable(directory))? {
        let entry = entry.map_err(unreadable(directory))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let (path, inner) = (entry.path(), format!("{at}{name}"));
        let kind = entry.file_type().map_err(unreadable(&path))?;
        if kind.is_dir() && depth > 0 && !name.starts_with('.') {
            read_below(&path, &format!("{inner}/"), depth - 1, files)?;
        } else if kind.is_file() && baseline::is_ruleset(&inner) {
            files.insert(inner, std::fs::read(&path).map_err(unreadable(&path))?);
        }
    }
    Ok(())
}
