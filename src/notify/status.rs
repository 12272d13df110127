//! How each sink is, for `doctor`. Reads only.

use super::store::{Position, Store};
use crate::config::Settings;
use crate::config::notify::{SinkKind, SinkSettings};
use crate::ledger::Repository;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// How a sink is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkStatus {
    /// Its name.
    pub name: String,
    /// How many alerts wait.
    pub waiting: u64,
    /// How far it is; none before the first `record`.
    pub position: Option<Position>,
    /// Whether what is sent goes over a network in the clear.
    pub exposed: bool,
    /// What will keep it from working.
    pub problems: Vec<String>,
}

/// How every configured sink is.
pub fn status(settings: &Settings) -> Vec<SinkStatus> {
    let repository = Repository::open(&settings.repo).ok();
    let store = repository.map(|found| Store::of(&found, &settings.host, settings.notify.bounds));
    let last = store.as_ref().map_or(0, Store::last);
    let of = |sink: &SinkSettings| {
        let position = store.as_ref().and_then(|store| store.position(&sink.name));
        SinkStatus {
            name: sink.name.clone(),
            waiting: position.as_ref().map_or(0, |position| last.saturating_sub(position.number)),
            position,
            exposed: sink.is_exposed(),
            problems: problems(settings, sink),
        }
    };
    let mut all: Vec<SinkStatus> = settings.notify.sinks.iter().map(of).collect();
    if let Some(directory) = &settings.notify.textfile {
        let is_there = directory.is_dir();
        let problem = (!is_there).then(|| format!("{} is not a directory", directory.display()));
        all.push(SinkStatus {
            name: "textfile".to_owned(),
            waiting: 0,
            position: None,
            exposed: false,
            problems: problem.into_iter().collect(),
        });
    }
    all
}

fn problems(settings: &Settings, sink: &SinkSettings) -> Vec<String> {
    let mut problems = Vec::new();
    for secret in sink.secrets() {
        if let Err(error) = secret.read() {
            problems.push(error.to_string());
        }
        let file = secret.file().or_else(|| settings.config.clone());
        problems.extend(file.and_then(|file| readable_by_others(&file)));
    }
    match &sink.kind {
        SinkKind::Journald { socket } if !socket.exists() => {
            problems.push(format!("{} does not exist: is this a systemd host?", socket.display()));
        }
        SinkKind::Syslog { to: crate::config::notify::SyslogTarget::Unix(path), .. } if !path.exists() => {
            problems.push(format!("{} does not exist: does a syslog daemon run?", path.display()));
        }
        SinkKind::Command(command) => problems.extend(unsafe_program(&command.program)),
        SinkKind::Webhook(webhook) => problems.extend(unreadable(webhook.proof.ca_file.as_ref())),
        SinkKind::Alertmanager(alertmanager) => {
            problems.extend(unreadable(alertmanager.proof.ca_file.as_ref()));
        }
        SinkKind::Mail(mail) => problems.extend(unreadable(mail.ca_file.as_ref())),
        SinkKind::Journald { .. } | SinkKind::Syslog { .. } => {}
    }
    problems.dedup();
    problems
}

fn readable_by_others(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.mode();
    let path = path.display();
    (mode & 0o004 != 0).then(|| format!("everybody can read the secret in {path}: chmod 0600 {path}"))
}

fn unreadable(path: Option<&PathBuf>) -> Option<String> {
    let path = path?;
    let error = std::fs::File::open(path).err()?;
    Some(format!("{} cannot be read: {error}", path.display()))
}

/// A program that root runs must not be one that others can change.
fn unsafe_program(path: &Path) -> Option<String> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Err(error) => Some(format!("{shown} cannot be run: {error}")),
        Ok(found) if !found.is_file() || found.mode() & 0o111 == 0 => Some(format!("{shown} is no program")),
        Ok(found) if found.mode() & 0o022 != 0 => {
            Some(format!("others than its owner can change {shown}: chmod go-w {shown}"))
        }
        Ok(_) => None,
    }
}
