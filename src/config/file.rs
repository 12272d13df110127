//! `/etc/fwdrift/config.toml`: read, checked, with the line of everything that is wrong.

use super::error::ConfigError;
use super::nearest::nearest;
use super::values::{NetnsForm, NetnsRef};
use crate::model::HostName;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use toml::{Spanned, Value};

/// Every key of the file.
pub(super) const KEYS: [&str; 7] =
    ["repo", "host", "netns", "audit_log", "tool_timeout_seconds", "full_look_hours", "watch"];
/// Every key of its table `[watch]`.
const WATCH_KEYS: [&str; 1] = ["poll_seconds"];

/// Longest time that one run of a tool may be given, in seconds.
const LONGEST_TIMEOUT: u64 = 3600;
/// Longest time between two full looks, in hours: a week.
const LONGEST_HOURS: u64 = 168;
/// Longest time between two looks of `watch`, in seconds.
const LONGEST_POLL: u64 = 3600;

/// What the file says; an absent key is absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ConfigFile {
    pub repo: Option<PathBuf>,
    pub host: Option<HostName>,
    pub netns: Option<NetnsRef>,
    pub audit_log: Option<PathBuf>,
    pub tool_timeout: Option<Duration>,
    pub full_look: Option<Duration>,
    pub poll: Option<Duration>,
}

/// The file's shape, before its values are checked.
#[derive(Deserialize)]
struct Raw {
    repo: Option<Spanned<PathBuf>>,
    host: Option<Spanned<String>>,
    netns: Option<Spanned<PathBuf>>,
    audit_log: Option<Spanned<PathBuf>>,
    tool_timeout_seconds: Option<Spanned<u64>>,
    full_look_hours: Option<Spanned<u64>>,
    watch: Option<RawWatch>,
}

#[derive(Deserialize)]
struct RawWatch {
    poll_seconds: Option<Spanned<u64>>,
}

/// The tables, with the places of their keys.
#[derive(Deserialize)]
struct Tables {
    watch: Option<Keys>,
}

type Keys = BTreeMap<Spanned<String>, Value>;

impl ConfigFile {
    /// Reads `path`; `Ok(None)` if there is no such file.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, ConfigError> {
        match std::fs::read(path) {
            Ok(bytes) => Self::parse(path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigError::Unreadable { path: path.to_owned(), source }),
        }
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(bytes).map_err(|error| ConfigError::NotUtf8 {
            path: path.to_owned(),
            line: line_of(bytes, error.valid_up_to()),
        })?;
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: line_of(bytes, error.span().map_or(0, |span| span.start)),
            message: error.message().trim_end().to_owned(),
        };
        // Two passes: serde's own "unknown field" error has no nearest key and stops at a wrong type first.
        let checker = Checker { path, bytes };
        checker.known(&toml::from_str(text).map_err(syntax)?, &KEYS)?;
        let tables: Tables = toml::from_str(text).map_err(syntax)?;
        checker.known(&tables.watch.unwrap_or_default(), &WATCH_KEYS)?;
        checker.check(toml::from_str(text).map_err(syntax)?)
    }
}

/// Turns the shape into values, and a bad value into an error with its line.
struct Checker<'a> {
    path: &'a Path,
    bytes: &'a [u8],
}

impl Checker<'_> {
    fn known(&self, keys: &Keys, valid: &'static [&'static str]) -> Result<(), ConfigError> {
        let unknown = keys.keys().filter(|key| !valid.contains(&key.get_ref().as_str()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        Err(ConfigError::UnknownKey {
            path: self.path.to_owned(),
            line: line_of(self.bytes, key.span().start),
            key: key.get_ref().clone(),
            nearest: nearest(key.get_ref(), valid),
            valid,
        })
    }

    fn check(&self, raw: Raw) -> Result<ConfigFile, ConfigError> {
        Ok(ConfigFile {
            repo: raw.repo.map(|path| self.absolute("repo", path)).transpose()?,
            host: self.each("host", raw.host, |name| {
                HostName::parse(&name).map_err(|why| format!("{name:?} cannot be used: {why}"))
            })?,
            netns: self.each("netns", raw.netns, |given| {
                let netns = NetnsRef::parse(&given).map_err(|why| why.to_string())?;
                if let NetnsForm::Process(_) = netns.form() {
                    return Err("a process does not last as long as a configuration".to_owned());
                }
                if netns.path().is_absolute() { Ok(netns) } else { Err(relative(&given)) }
            })?,
            audit_log: raw.audit_log.map(|path| self.absolute("audit_log", path)).transpose()?,
            tool_timeout: self.each(
                "tool_timeout_seconds",
                raw.tool_timeout_seconds,
                |seconds| match seconds {
                    1..=LONGEST_TIMEOUT => Ok(Duration::from_secs(seconds)),
                    _ => Err(format!("{seconds} is not between 1 and {LONGEST_TIMEOUT}")),
                },
            )?,
            full_look: self.each("full_look_hours", raw.full_look_hours, |hours| match hours {
                0..=LONGEST_HOURS => Ok(Duration::from_secs(hours * 3600)),
                _ => Err(format!("{hours} is not between 0 and {LONGEST_HOURS}")),
            })?,
            poll: self.each("poll_seconds", raw.watch.and_then(|watch| watch.poll_seconds), |seconds| {
                match seconds {
                    1..=LONGEST_POLL => Ok(Duration::from_secs(seconds)),
                    _ => Err(format!("{seconds} is not between 1 and {LONGEST_POLL}")),
                }
            })?,
        })
    }

    // A service's working directory is not the administrator's, so a relative path would mean two places.
    fn absolute(&self, key: &'static str, path: Spanned<PathBuf>) -> Result<PathBuf, ConfigError> {
        let line = path.span().start;
        let path = path.into_inner();
        if path.is_absolute() { Ok(path) } else { Err(self.error(key, line, relative(&path))) }
    }

    fn each<T, V>(
        &self,
        key: &'static str,
        value: Option<Spanned<T>>,
        check: impl Fn(T) -> Result<V, String>,
    ) -> Result<Option<V>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let start = value.span().start;
        check(value.into_inner()).map(Some).map_err(|reason| self.error(key, start, reason))
    }

    fn error(&self, key: &'static str, offset: usize, reason: String) -> ConfigError {
        ConfigError::Value { path: self.path.to_owned(), line: line_of(self.bytes, offset), key, reason }
    }
}

fn relative(path: &Path) -> String {
    format!("{path:?} is not an absolute path")
}

/// The line, from 1, that holds the byte at `offset`.
fn line_of(bytes: &[u8], offset: usize) -> usize {
    1 + bytes[..offset.min(bytes.len())].iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &[u8]) -> String {
        let error = ConfigFile::parse(Path::new("c.toml"), text).unwrap_err();
        match error.hint() {
            Some(hint) => format!("{error} | {hint}"),
            None => error.to_string(),
        }
    }

    #[test]
    fn every_key_is_read() {
        let text = "# comment\nrepo = '/srv/repo'\nhost = 'web-01'\nnetns = 'blue'\n\
                    audit_log = '/var/log/audit/audit.log'\ntool_timeout_seconds = 5\n[watch]\npoll_seconds = 3\n";
        let file = ConfigFile::parse(Path::new("c.toml"), text.as_bytes()).unwrap();
        assert_eq!(file.repo, Some(PathBuf::from("/srv/repo")));
        assert_eq!(file.host.unwrap().as_str(), "web-01");
        assert_eq!(file.netns.unwrap().path(), Path::new("/run/netns/blue"));
        assert_eq!(file.audit_log, Some(PathBuf::from("/var/log/audit/audit.log")));
        assert_eq!(file.tool_timeout, Some(Duration::from_secs(5)));
        assert_eq!(file.poll, Some(Duration::from_secs(3)));
    }

    #[test]
    fn an_empty_file_says_nothing() {
        assert_eq!(ConfigFile::parse(Path::new("c.toml"), b"").unwrap(), ConfigFile::default());
    }

    #[test]
    fn an_unknown_key_gives_its_line_and_the_nearest_valid_one() {
        assert_eq!(
            error(b"repo = '/x'\n\naudit-log = 'x'\n"),
            "c.toml:3: unknown key \"audit-log\" | did you mean `audit_log`?"
        );
        assert_eq!(
            error(b"[webhook]\nurl = 'x'\n"),
            "c.toml:1: unknown key \"webhook\" | valid keys: repo, host, netns, audit_log, tool_timeout_seconds, full_look_hours, watch"
        );
        assert_eq!(
            error(b"host = 'a'\n[watch]\npoll_second = 1\n"),
            "c.toml:3: unknown key \"poll_second\" | did you mean `poll_seconds`?"
        );
        assert_eq!(error(b"[watch]\nx = 1\n"), "c.toml:2: unknown key \"x\" | valid keys: poll_seconds");
    }

    #[test]
    fn the_first_unknown_key_in_the_file_is_the_one_named() {
        assert!(error(b"zzz = 1\naaa = 1\n").starts_with("c.toml:1: unknown key \"zzz\""));
    }

    #[test]
    fn a_key_with_escape_sequences_is_shown_escaped() {
        assert!(!error(b"\"a\\u001b[2J\" = 1\n").contains('\x1b'));
    }

    #[test]
    fn values_that_cannot_be_used_give_their_line() {
        assert_eq!(error(b"\nrepo = 'repo'\n"), "c.toml:2: repo: \"repo\" is not an absolute path");
        assert_eq!(error(b"netns = './x'"), "c.toml:1: netns: \"./x\" is not an absolute path");
        assert_eq!(
            error(b"tool_timeout_seconds = 0"),
            "c.toml:1: tool_timeout_seconds: 0 is not between 1 and 3600"
        );
        assert_eq!(
            error(b"[watch]\npoll_seconds = 0"),
            "c.toml:2: poll_seconds: 0 is not between 1 and 3600"
        );
        assert!(error(b"host = '../x'").starts_with("c.toml:1: host: \"../x\" cannot be used"));
    }

    #[test]
    fn a_wrong_type_bad_syntax_and_bad_encoding_give_their_line() {
        assert!(
            error(b"\nhost = 5\n").starts_with("c.toml:2: invalid type: integer"),
            "{}",
            error(b"\nhost = 5\n")
        );
        assert!(error(b"\n\nhost\n").starts_with("c.toml:3: "), "{}", error(b"\n\nhost\n"));
        assert!(error(b"host = 'a'\nhost = 'b'\n").starts_with("c.toml:2: duplicate key"));
        assert!(error(b"repo = '/x'\nhost = '\xff'\n").starts_with("c.toml:2: not UTF-8"));
    }
}
