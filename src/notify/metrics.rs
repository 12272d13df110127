//! The state of the firewall in numbers, for node_exporter's textfile collector.
//!
//! Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>. The file is replaced whole, and is readable
//! for all: it holds no name and no rule.

use crate::ledger::write_atomic;
use crate::model::{CheckResult, HostName, Severity};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The severity of a change that none was computed for.
const NO_SEVERITY: &str = "unknown";

/// What a look found, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// When the look began.
    pub looked_at: DateTime<Utc>,
    /// nf_tables' generation then.
    pub generation: u32,
    /// Whether everything was seen that the verdict depends on.
    pub complete: bool,
    /// Open changes by severity; `unknown` where none was computed.
    pub open: BTreeMap<String, u64>,
}

impl Summary {
    /// Of the result of a look.
    pub fn of(result: &CheckResult) -> Self {
        let mut open = BTreeMap::from([(NO_SEVERITY.to_owned(), 0)]);
        for change in &result.changes {
            let severity = change.severity.map_or(NO_SEVERITY, Severity::as_str);
            *open.entry(severity.to_owned()).or_default() += 1;
        }
        Self {
            looked_at: result.captured_at,
            generation: result.generation,
            complete: !result.gaps.iter().any(|gap| gap.blinds_verdict),
            open,
        }
    }
}

/// Where the numbers of the last look are kept: one that fails has none of its own.
fn memory(directory: &Path) -> PathBuf {
    directory.join("metrics.json")
}

/// The file of a host's numbers in the collector's directory.
pub(super) fn file(directory: &Path, host: &HostName) -> PathBuf {
    match host.netns() {
        Some(netns) => directory.join(format!("fwdrift@{netns}.prom")),
        None => directory.join("fwdrift.prom"),
    }
}

/// Writes the numbers of a look, or says that it failed. `kept` is fwdrift's own directory.
pub(super) fn write(
    directory: &Path,
    kept: &Path,
    host: &HostName,
    look: Option<&Summary>,
    unattributed: u64,
) -> io::Result<()> {
    let last = || serde_json::from_slice(&std::fs::read(memory(kept)).ok()?).ok();
    let summary = match look {
        Some(summary) => {
            let bytes = serde_json::to_vec(summary).unwrap_or_default();
            write_atomic(&memory(kept), &bytes).map_err(io::Error::other)?;
            Some(summary.clone())
        }
        None => last().map(|last: Summary| Summary { complete: false, ..last }),
    };
    let text = text(host.netns().unwrap_or_default(), summary.as_ref(), unattributed);
    // The collector reads `*.prom` only, whole files whenever it likes.
    let mut file = tempfile::Builder::new().prefix(".fwdrift-tmp-").tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.persist(self::file(directory, host)).map_err(|error| error.error)?;
    Ok(())
}

fn text(netns: &str, summary: Option<&Summary>, unattributed: u64) -> String {
    let mut out = String::new();
    let netns = escaped(netns);
    let mut metric = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(out, "{name}{{netns=\"{netns}\"{labels}}} {value}");
        }
    };
    let one = |value: String| vec![(String::new(), value)];
    if let Some(summary) = summary {
        let changes: Vec<(String, String)> = summary
            .open
            .iter()
            .map(|(severity, n)| (format!(",severity=\"{}\"", escaped(severity)), n.to_string()))
            .collect();
        let help = "Unapproved changes of the firewall that are open.";
        metric("fwdrift_drift_changes", "gauge", help, &changes);
        let help = "When fwdrift last looked at the firewall.";
        let seconds = summary.looked_at.timestamp_millis() as f64 / 1000.0;
        metric("fwdrift_last_success_timestamp_seconds", "gauge", help, &one(seconds.to_string()));
        let help = "The nf_tables generation at the last look.";
        metric("fwdrift_ruleset_generation", "gauge", help, &one(summary.generation.to_string()));
    }
    let complete = summary.is_some_and(|summary| summary.complete);
    let help = "Whether the last look saw everything (1) or not (0).";
    metric("fwdrift_capture_complete", "gauge", help, &one(u8::from(complete).to_string()));
    let help = "Recorded changes whose author no evidence decides.";
    metric("fwdrift_unattributed_changes_total", "counter", help, &one(unattributed.to_string()));
    out
}

/// A label's value: backslash, quote and line break are escaped; what else is no plain character becomes `?`.
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd\x1b"), "a\\\"b\\\\c\\nd?");
    }

    #[test]
    fn a_look_that_failed_keeps_the_numbers_and_is_not_complete() {
        let (directory, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let host = HostName::parse("web-01@blue").unwrap();
        let open = BTreeMap::from([("unknown".to_owned(), 2)]);
        let looked_at = DateTime::UNIX_EPOCH + chrono::TimeDelta::milliseconds(1_800_000_000_250);
        let summary = Summary { looked_at, generation: 7, complete: true, open };
        let written = |look: Option<&Summary>| {
            write(directory.path(), kept.path(), &host, look, 3).unwrap();
            std::fs::read_to_string(directory.path().join("fwdrift@blue.prom")).unwrap()
        };
        assert!(!written(None).contains("fwdrift_drift_changes"));
        let text = written(Some(&summary));
        assert!(text.contains("\nfwdrift_drift_changes{netns=\"blue\",severity=\"unknown\"} 2\n"), "{text}");
        assert!(
            text.contains("\nfwdrift_last_success_timestamp_seconds{netns=\"blue\"} 1800000000.25\n"),
            "{text}"
        );
        assert!(text.contains("\nfwdrift_capture_complete{netns=\"blue\"} 1\n"), "{text}");
        assert_eq!(written(None), text.replace("complete{netns=\"blue\"} 1", "complete{netns=\"blue\"} 0"));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
