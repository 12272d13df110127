//! What audit has on disk: rules, log, journal.

use super::tools::path_of;
use super::{RunTool, journald};
use crate::doctor::facts::{AuditFiles, AuditLog, JournalRecords, ServiceManager, Tool, ToolFacts};
use crate::tool::locate;
use chrono::{DateTime, TimeDelta, Utc};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// How much of the end of a log is searched: auditd's usual size of one file (auditd.conf(5), max_log_file).
const SEARCHED: u64 = 8 << 20;

/// AUDIT_NETFILTER_CFG of linux/audit.h.
const NETFILTER_CFG: &str = "_AUDIT_TYPE=1325";

pub(super) fn look(
    log: &Path,
    manager: ServiceManager,
    tools: &[ToolFacts],
    run: &RunTool<'_>,
) -> AuditFiles {
    let log = look_log(log);
    let journal = match (&log, path_of(Tool::Journalctl, tools)) {
        (AuditLog::Missing { .. }, Some(journalctl)) => journal(journalctl, run),
        (AuditLog::Missing { .. } | AuditLog::Unreadable { .. } | AuditLog::Readable { .. }, _) => {
            JournalRecords::NotAsked
        }
    };
    AuditFiles {
        auditctl: locate("auditctl").is_some(),
        augenrules: locate("augenrules").is_some(),
        never_task_in: never_task_in(Path::new("/etc/audit")),
        log,
        journal,
        journald: (manager == ServiceManager::Systemd).then(|| journald::look(Path::new("/"))),
    }
}

/// Files of `rules.d` that hold the rule; `audit.rules`, which is made from them, only if none does.
fn never_task_in(etc_audit: &Path) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| has_never_task(&bytes));
    let mut sources: Vec<PathBuf> = fs::read_dir(etc_audit.join("rules.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rules"))
        .filter(&holds)
        .collect();
    sources.sort();
    if sources.is_empty() {
        sources.extend(Some(etc_audit.join("audit.rules")).filter(holds));
    }
    sources
}

// auditctl(8) takes list and action in either order.
fn has_never_task(rules: &[u8]) -> bool {
    String::from_utf8_lossy(rules).lines().any(|line| {
        let mut words = line.split_whitespace();
        matches!((words.next(), words.next()), (Some("-a" | "-A"), Some("never,task" | "task,never")))
    })
}

fn look_log(configured: &Path) -> AuditLog {
    let path = if configured.is_dir() { configured.join("audit.log") } else { configured.to_owned() };
    let newest = match last_netfilter_cfg(&path) {
        Ok(last) => last,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return AuditLog::Missing { path },
        Err(error) => return AuditLog::Unreadable { path, reason: error.to_string() },
    };
    // The log may have been rotated a moment ago; an unreadable predecessor takes nothing away.
    let mut rotated = path.clone().into_os_string();
    rotated.push(".1");
    let last_netfilter_cfg = newest.or_else(|| last_netfilter_cfg(Path::new(&rotated)).ok().flatten());
    AuditLog::Readable { path, last_netfilter_cfg }
}

fn last_netfilter_cfg(path: &Path) -> io::Result<Option<DateTime<Utc>>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(SEARCHED)))?;
    let mut bytes = Vec::new();
    file.take(SEARCHED).read_to_end(&mut bytes)?;
    Ok(bytes.rsplit(|byte| *byte == b'\n').find_map(record_time))
}

/// The time of a record `[node=NAME ]type=NETFILTER_CFG msg=audit(SECONDS.MILLIS:SERIAL): …`.
fn record_time(line: &[u8]) -> Option<DateTime<Utc>> {
    let mut words = line.splitn(4, |byte| *byte == b' ');
    let mut word = words.next()?;
    if word.starts_with(b"node=") {
        word = words.next()?;
    }
    if word != b"type=NETFILTER_CFG" {
        return None;
    }
    let stamp = std::str::from_utf8(words.next()?.strip_prefix(b"msg=audit(")?).ok()?;
    seconds(stamp.split(':').next()?)
}

fn journal(journalctl: &Path, run: &RunTool<'_>) -> JournalRecords {
    let asked =
        run(journalctl, &["--quiet", "--no-pager", "--lines=1", "--output=short-unix", NETFILTER_CFG]);
    match asked {
        Err(reason) => JournalRecords::Failed(reason),
        Ok(stdout) => {
            let text = String::from_utf8_lossy(&stdout);
            match text.split_whitespace().next().and_then(seconds) {
                Some(time) => JournalRecords::Last(time),
                None => JournalRecords::None,
            }
        }
    }
}

/// `SECONDS.FRACTION` since the epoch.
fn seconds(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.')?;
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
    let micros = TimeDelta::microseconds(digits.parse().ok()?);
    DateTime::from_timestamp(whole.parse().ok()?, 0)?.checked_add_signed(micros)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_rule_is_found_in_both_spellings_and_not_in_comments() {
        assert!(has_never_task(b"-D\n  -a  never,task\n"));
        assert!(has_never_task(b"-A task,never\n"));
        assert!(!has_never_task(b"# -a never,task\n-a always,exit -S connect\n"));
        assert!(!has_never_task(b"\xff\xfe"));
    }

    #[test]
    fn rules_d_is_named_rather_than_the_file_made_from_it() {
        let etc = tempfile::tempdir().unwrap();
        let rules_d = etc.path().join("rules.d");
        fs::create_dir(&rules_d).unwrap();
        fs::write(etc.path().join("audit.rules"), "-a never,task\n").unwrap();
        assert_eq!(never_task_in(etc.path()), [etc.path().join("audit.rules")]);
        fs::write(rules_d.join("10-none.rules"), "-a task,never\n").unwrap();
        fs::write(rules_d.join("old.rules.bak"), "-a task,never\n").unwrap();
        assert_eq!(never_task_in(etc.path()), [rules_d.join("10-none.rules")]);
    }

    fn readable(lines: &str, rotated: Option<&str>) -> Option<DateTime<Utc>> {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("audit.log"), lines).unwrap();
        if let Some(rotated) = rotated {
            fs::write(directory.path().join("audit.log.1"), rotated).unwrap();
        }
        match look_log(directory.path()) {
            AuditLog::Readable { last_netfilter_cfg, .. } => last_netfilter_cfg,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_netfilter_record_gives_its_time() {
        let record = |second: u32| format!("type=NETFILTER_CFG msg=audit({second}.250:7): table=filter:2\n");
        let expect = |second| DateTime::from_timestamp(second, 250_000_000);
        let mut log = record(100) + &record(200) + "type=SYSCALL msg=audit(300.0:8): arch=c000003e\n";
        assert_eq!(readable(&log, None), expect(200));
        write!(log, "node=web-01 {}", record(400)).unwrap();
        assert_eq!(readable(&log, None), expect(400));
        assert_eq!(readable("", Some(&record(50))), expect(50));
        assert_eq!(readable("type=USER_CMD msg='type=NETFILTER_CFG msg=audit(9.0:1)'\n", None), None);
    }

    #[test]
    fn a_missing_log_differs_from_one_that_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(look_log(directory.path()), AuditLog::Missing { .. }));
        let inside_a_file = directory.path().join("file");
        fs::write(&inside_a_file, "").unwrap();
        assert!(matches!(look_log(&inside_a_file.join("audit.log")), AuditLog::Unreadable { .. }));
    }

    #[test]
    fn journald_gives_the_time_of_its_newest_record() {
        let answer = |text: &'static str| journal(Path::new("/x"), &move |_, _| Ok(text.as_bytes().to_vec()));
        assert_eq!(
            answer("1700000000.123456 web-01 audit[1]: NETFILTER_CFG table=filter\n"),
            JournalRecords::Last(DateTime::from_timestamp(1_700_000_000, 123_456_000).unwrap())
        );
        assert_eq!(answer(""), JournalRecords::None);
        assert_eq!(answer("-- No entries --\n"), JournalRecords::None);
    }
}
