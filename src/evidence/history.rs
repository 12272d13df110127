//! The audit history of a window of time: from auditd's log files, or the journal where there are none.
//!
//! In: where to look, and a window. Out: a [`History`]. What could not be read is a gap, never an error and
//! never "nothing happened". Must not write anything, and reads only what the window needs.

use super::record::{Body, EXECVE, NETFILTER_CFG, PROCTITLE, Record, SYSCALL, parse_line, split_line};
use super::seek::{self, Ended};
use super::{Assembler, journal, sessions};
use crate::model::{AuditEvent, Gap};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Read before and after the window: audit's clock is coarse, and looks take time.
const SLACK: TimeDelta = TimeDelta::seconds(5);
/// How far from the order of time a log is believed to be (an event's time is when its system call began).
const DISORDER: TimeDelta = TimeDelta::seconds(60);
/// Where auditd writes unless its configuration says otherwise (auditd.conf(5), `log_file`).
const STANDARD: &str = "/var/log/audit";
/// Where the history is read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditSource {
    /// `/var/log/audit` if it holds an `audit.log`, else the journal.
    #[default]
    Standard,
    /// A directory with `audit.log`, `audit.log.1`, …
    Directory(PathBuf),
    /// One file in `audit.log`'s format.
    File(PathBuf),
    /// The journal; of this directory, or the host's own.
    Journal(Option<PathBuf>),
}

/// What the audit says about a window of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The events about packet filters, oldest first, of the window and a few seconds around it.
    pub events: Vec<AuditEvent>,
    /// Since when the source is known to be kept; `None` if it holds nothing.
    pub covers_from: Option<DateTime<Utc>>,
    /// What could not be read, or was not written. None of them alters the verdict.
    pub gaps: Vec<Gap>,
    /// What was read, for people: `/var/log/audit/audit.log and 2 older files`.
    pub source: String,
}

impl History {
    /// Whether the source reaches back to `from`.
    pub fn covers(&self, from: DateTime<Utc>) -> bool {
        self.covers_from.is_some_and(|since| since <= from)
    }

    /// Whether nothing is known to be missing.
    pub fn is_unbroken(&self) -> bool {
        self.gaps.is_empty()
    }

    pub(super) fn gap(&mut self, reason: String, hint: Option<&str>) {
        let (source, hint) = ("audit".to_owned(), hint.map(str::to_owned));
        self.gaps.push(Gap { source, reason, hint, blinds_verdict: false });
    }
}

/// Collects the records of a window and what they say about the log itself.
pub(super) struct Reading {
    window: (DateTime<Utc>, DateTime<Utc>),
    assembler: Assembler,
    garbled: usize,
    pub(super) history: History,
}

impl Reading {
    pub(super) fn new(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self { window: (from, to), assembler: Assembler::default(), garbled: 0, history: History::default() }
    }

    /// The window with its slack, in milliseconds.
    fn bounds(&self) -> (i64, i64) {
        ((self.window.0 - SLACK).timestamp_millis(), (self.window.1 + SLACK).timestamp_millis())
    }

    pub(super) fn take(&mut self, record: Option<Record>) {
        let Some(record) = record else {
            self.garbled += 1;
            return;
        };
        let (from, to) = self.bounds();
        if record.millis < from || record.millis > to {
            return;
        }
        let (time, inside) =
            (record.time(), record.time() >= self.window.0 && record.time() <= self.window.1);
        let at = time.format("%F %T%.3f UTC");
        match record.body {
            Body::Enabled(on) if inside => {
                let state = if on { "on" } else { "off" };
                let hint = "changes made while auditing is off have no author; it may have been `auditctl -e`, or \
                            systemd-journald at its start, if journald.conf says `Audit=no`";
                self.history.gap(format!("auditing was turned {state} at {at}"), Some(hint));
            }
            Body::DaemonTrouble if inside => {
                let hint =
                    "records made while no audit daemon runs may be missing; `systemctl status auditd`";
                self.history.gap(format!("the audit daemon stopped or lost records at {at}"), Some(hint));
            }
            Body::DaemonStart if inside => {
                let reason = format!("the audit daemon started at {at}; earlier records may be missing");
                self.history.gap(reason, None);
            }
            _ => self.assembler.push(record),
        }
    }

    pub(super) fn finish(mut self) -> History {
        let broken = self.garbled + self.assembler.broken;
        if broken > 0 {
            self.history.gap(format!("{broken} audit records are cut short or garbled"), None);
        }
        self.history.events = self.assembler.finish();
        self.history
    }
}

/// Reads the window from `from` to `to`, and a few seconds around it.
pub fn read(source: &AuditSource, from: DateTime<Utc>, to: DateTime<Utc>) -> History {
    let reading = Reading::new(from, to);
    match source {
        AuditSource::Standard if no_log_in(Path::new(STANDARD)) => journal::read(reading, None, from, to),
        AuditSource::Standard => read_directory(reading, Path::new(STANDARD)),
        AuditSource::Directory(dir) => read_directory(reading, dir),
        AuditSource::File(path) => {
            let whole = [LogFile { path: path.clone(), age: 0, compressed: false }];
            read_files(reading, &whole)
        }
        AuditSource::Journal(dir) => journal::read(reading, dir.as_deref(), from, to),
    }
}

/// True only if it is certain: a directory that can't be read may hold one.
fn no_log_in(dir: &Path) -> bool {
    let missing = |e: &io::Error| e.kind() == io::ErrorKind::NotFound;
    fs::symlink_metadata(dir.join("audit.log")).is_err_and(|error| missing(&error))
}

struct LogFile {
    path: PathBuf,
    /// 0 is written now; the rotation number of the others.
    age: u64,
    compressed: bool,
}

fn read_directory(mut reading: Reading, dir: &Path) -> History {
    // auditd may rotate while we read: then the list is stale, and is made again.
    for _ in 0..3 {
        let inode = || fs::metadata(dir.join("audit.log")).ok().map(|m| m.ino());
        let before = inode();
        let files = match list(dir) {
            Ok(files) => files,
            Err(error) => {
                unreadable(&mut reading.history, dir, &error);
                return reading.finish();
            }
        };
        let history = read_files(Reading::new(reading.window.0, reading.window.1), &files);
        if inode() == before {
            return history;
        }
    }
    reading.history.gap(format!("{} was rotated again and again while being read", dir.display()), None);
    reading.finish()
}

/// `audit.log*`, newest first: `audit.log`, `audit.log.1`, …; then the dated ones of logrotate.
fn list(dir: &Path) -> io::Result<Vec<LogFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(suffix) =
            path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_prefix("audit.log"))
        else {
            continue;
        };
        let plain = [".gz", ".xz", ".bz2", ".zst"].iter().find_map(|end| suffix.strip_suffix(end));
        let (number, compressed) = (plain.unwrap_or(suffix), plain.is_some());
        let digits =
            |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>().parse::<u64>();
        let age = match number.strip_prefix(['.', '-']) {
            None if number.is_empty() => 0,
            Some(rest) if number.starts_with('.') => match rest.parse() {
                Ok(age) => age,
                Err(_) => continue,
            },
            // A later date is younger.
            Some(rest) => digits(rest).map_or(u64::MAX, |date| u64::MAX - date),
            None => continue,
        };
        found.push(LogFile { path, age, compressed });
    }
    found.sort_by(|a, b| a.age.cmp(&b.age).then_with(|| a.path.cmp(&b.path)));
    Ok(found)
}

/// Opens from the newest backwards, only as far as the window needs; then reads from the oldest on.
fn read_files(mut reading: Reading, files: &[LogFile]) -> History {
    let (from, _) = reading.bounds();
    let mut opened: Vec<(&Path, File, u64)> = Vec::new();
    for file in files {
        match open(file, from) {
            Ok(Opened::Needed { file: handle, length, first }) => {
                opened.push((&file.path, handle, length));
                let since = first.and_then(DateTime::from_timestamp_millis);
                reading.history.covers_from = since.or(reading.history.covers_from);
                if first.is_some_and(|first| first <= from) {
                    break;
                }
            }
            Ok(Opened::Older(modified)) => {
                // Nothing was written between then and the next file's first record.
                reading.history.covers_from = Some(modified);
                break;
            }
            Ok(Opened::Compressed) => {
                let reason = format!("{} is compressed, and was not read", file.path.display());
                reading
                    .history
                    .gap(reason, Some("uncompress it, or let fwdrift look more often than it is rotated"));
                break;
            }
            Err(error) => {
                unreadable(&mut reading.history, &file.path, &error);
                break;
            }
        }
    }
    reading.history.source = match (opened.first(), files.first()) {
        (Some((newest, ..)), _) if opened.len() > 1 => {
            format!("{} and {} older files", newest.display(), opened.len() - 1)
        }
        (Some((newest, ..)), _) => newest.display().to_string(),
        (None, first) => {
            first.map_or_else(|| "no audit log".to_owned(), |file| file.path.display().to_string())
        }
    };
    opened.reverse();
    read_lines(&mut reading, &opened);
    if reading.history.covers_from.is_none() && reading.history.gaps.is_empty() {
        let hint = Some("see `fwdrift doctor`: is auditing on, and auditd running?");
        let reason = format!("{} holds no audit records", reading.history.source);
        reading.history.gap(reason, hint);
    }
    let mut history = reading.finish();
    let plain = files.iter().filter(|file| !file.compressed).map(|file| file.path.as_path());
    sessions::from_files(&mut history.events, &plain.collect::<Vec<_>>());
    history
}

enum Opened {
    Needed {
        file: File,
        length: u64,
        first: Option<i64>,
    },
    /// Last written before the window; nothing older is needed either.
    Older(DateTime<Utc>),
    Compressed,
}

fn open(log: &LogFile, from: i64) -> io::Result<Opened> {
    let file = File::open(&log.path)?;
    let metadata = file.metadata()?;
    let modified = DateTime::<Utc>::from(metadata.modified()?);
    if modified.timestamp_millis() < from - DISORDER.num_milliseconds() {
        return Ok(Opened::Older(modified));
    }
    if log.compressed {
        return Ok(Opened::Compressed);
    }
    let length = metadata.len();
    let first = seek::first_millis(&file, length)?;
    Ok(Opened::Needed { file, length, first })
}

/// Reads twice: first which events are about packet filters, then those. On a busy host nearly all records
/// are about something else, and an event's records may be in two files.
fn read_lines(reading: &mut Reading, opened: &[(&Path, File, u64)]) {
    let (from, to) = reading.bounds();
    let (from, to) = (from - DISORDER.num_milliseconds(), to + DISORDER.num_milliseconds());
    let mut wanted: HashSet<(i64, u64)> = HashSet::new();
    let mut programs = Programs::default();
    let mut starts = Vec::new();
    for (path, file, length) in opened {
        let start = seek::start_of(file, *length, from);
        let found = start.and_then(|start| {
            seek::lines(file, start, *length, |line| {
                let head = split_line(line).map(|(head, _)| head);
                match head {
                    Some(head) if head.number == NETFILTER_CFG => {
                        wanted.insert(head.key());
                        programs.changer(line);
                    }
                    Some(head) if head.number == EXECVE => programs.started(head.key()),
                    _ => {}
                }
                go_on(head.is_none_or(|head| head.millis <= to))
            })?;
            Ok(start)
        });
        match found {
            Ok(start) => starts.push((*path, file, start, *length)),
            Err(error) => unreadable(&mut reading.history, path, &error),
        }
    }
    for (path, file, start, length) in starts {
        let ended = seek::lines(file, start, length, |line| {
            let Some((head, _)) = split_line(line) else {
                reading.take(None);
                return go_on(true);
            };
            if head.number == SYSCALL && programs.is_changers(head.key(), line) {
                wanted.insert(head.key());
            }
            let part = matches!(head.number, SYSCALL | PROCTITLE | EXECVE);
            if !part || wanted.contains(&head.key()) {
                reading.take(parse_line(line));
            }
            go_on(head.millis <= to)
        });
        match ended {
            Ok(Ended::Whole) => {}
            Ok(Ended::Torn) => {
                let hint = "a record being written, a full disk, or a crash; look again";
                reading.history.gap(format!("{} ends in the middle of a record", path.display()), Some(hint));
            }
            Err(error) => unreadable(&mut reading.history, path, &error),
        }
    }
}

/// Which programs were started by those who changed a packet filter: hosts that audit each program have a record of
/// many others.
#[derive(Default)]
struct Programs {
    changers: HashSet<u32>,
    started: HashSet<(i64, u64)>,
}

impl Programs {
    fn changer(&mut self, line: &[u8]) {
        if let Some(Body::Netfilter(cfg)) = parse_line(line).map(|record| record.body) {
            self.changers.insert(cfg.pid);
        }
    }

    fn started(&mut self, key: (i64, u64)) {
        self.started.insert(key);
    }

    /// Whether the system call of this line started a program, in a process that changed a packet filter. EXECVE
    /// records follow it.
    fn is_changers(&self, key: (i64, u64), line: &[u8]) -> bool {
        let pid = || match parse_line(line)?.body {
            Body::Syscall(call) => Some(call.pid),
            _ => None,
        };
        self.started.contains(&key) && pid().is_some_and(|pid| self.changers.contains(&pid))
    }
}

fn go_on(on: bool) -> ControlFlow<()> {
    if on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

fn unreadable(history: &mut History, path: &Path, error: &io::Error) {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => Some("run as root: only root reads the audit log"),
        io::ErrorKind::NotFound => Some("is auditd installed? see `fwdrift doctor`"),
        _ => None,
    };
    history.gap(format!("cannot read {}: {error}", path.display()), hint);
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
