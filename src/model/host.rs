//! A host's name as it stands in the repository. Pure.

use serde::Serialize;
use std::fmt;

/// A host's name, safe as one component of a path (`baselines/<host>`), as one of a git reference
/// (`live/<host>`; git-check-ref-format(1)), and on a terminal. Its case is kept.
///
/// Letters, digits, `.`, `_` and `-`, at most [`HostName::MAX_LEN`]; no leading `.` or `-`, no `..`, no
/// trailing `.` or `.lock`. `HOST@NAME` is a network namespace of that host, with a baseline and a ledger of its own;
/// its name follows the same rules, may be [`HostName::MAX_NETNS_LEN`] long, and may contain `@` (a unit's name does).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct HostName(String);

/// The first rule that a text breaks which is not a [`HostName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidHost {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// More characters than these.
    #[error("it is longer than {0} characters")]
    TooLong(usize),
    /// A character that is not allowed; shown escaped.
    #[error("it contains {:?}; letters a to z and A to Z, digits, '.', '_' and '-' are allowed", .0)]
    Character(char),
    /// An option on a command line, or a hidden file.
    #[error("it begins with '-' or '.'")]
    Start,
    /// What git refuses at the end of a reference.
    #[error("it ends with '.' or '.lock'")]
    End,
    /// What git refuses anywhere in a reference.
    #[error("it contains '..'")]
    Dots,
}

impl InvalidHost {
    /// What to do next.
    pub fn hint(self) -> String {
        "pass --host NAME with a plain name, for example --host web-01".to_owned()
    }
}

impl HostName {
    /// The longest name, in bytes: what Linux allows for a hostname (uname(2), `__NEW_UTS_LEN`). A longer
    /// domain name could not be the name that the host's own audit records and prompts show.
    pub const MAX_LEN: usize = 64;

    /// The longest name of a namespace, in bytes: what is left of a file name (`NAME_MAX`) is the host's.
    pub const MAX_NETNS_LEN: usize = 128;

    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidHost`] names the first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        let (machine, netns) = match text.split_once('@') {
            Some((machine, netns)) => (machine, Some(netns)),
            None => (text, None),
        };
        check(machine, Self::MAX_LEN, false)?;
        netns.map(|netns| check(netns, Self::MAX_NETNS_LEN, true)).transpose()?;
        Ok(Self(text.to_owned()))
    }

    /// The name of a namespace of the same machine.
    ///
    /// # Errors
    /// As [`HostName::parse`].
    pub fn with_netns(&self, netns: &str) -> Result<Self, InvalidHost> {
        Self::parse(&format!("{}@{netns}", self.machine()))
    }

    /// The machine: the name before the `@`.
    pub fn machine(&self) -> &str {
        self.0.split_once('@').map_or(&self.0, |(machine, _)| machine)
    }

    /// The namespace: what follows the `@`.
    pub fn netns(&self) -> Option<&str> {
        self.0.split_once('@').map(|(_, netns)| netns)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str, longest: usize, is_netns: bool) -> Result<(), InvalidHost> {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') || (is_netns && c == '@');
    if text.is_empty() {
        return Err(InvalidHost::Empty);
    }
    if text.len() > longest {
        return Err(InvalidHost::TooLong(longest));
    }
    if let Some(other) = text.chars().find(|c| !allowed(*c)) {
        return Err(InvalidHost::Character(other));
    }
    if text.starts_with(['.', '-']) {
        return Err(InvalidHost::Start);
    }
    if text.ends_with('.') || text.to_ascii_lowercase().ends_with(".lock") {
        return Err(InvalidHost::End);
    }
    if text.contains("..") {
        return Err(InvalidHost::Dots);
    }
    Ok(())
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_hostnames_are_taken_as_they_are() {
        let longest = "x".repeat(64);
        for name in
            ["web-01", "Web-01.example.org", "WEB_01", "a", "10.0.0.1", "10-0-0-1", "db_2", longest.as_str()]
        {
            assert_eq!(HostName::parse(name).map(|h| h.to_string()), Ok(name.to_owned()));
        }
    }

    #[test]
    fn a_namespace_of_a_host_follows_the_at_sign() {
        let parts = |name: &str| {
            let host = HostName::parse(name).unwrap();
            (host.machine().to_owned(), host.netns().map(str::to_owned))
        };
        assert_eq!(parts("web-01"), ("web-01".to_owned(), None));
        assert_eq!(parts("web-01@blue"), ("web-01".to_owned(), Some("blue".to_owned())));
        assert_eq!(parts("web-01@a@b.service"), ("web-01".to_owned(), Some("a@b.service".to_owned())));
        let host = HostName::parse("web-01@blue").unwrap();
        assert_eq!(host.with_netns("green").unwrap().as_str(), "web-01@green");
        assert_eq!(host.with_netns("a b"), Err(InvalidHost::Character(' ')));
        assert_eq!(host.with_netns(&"x".repeat(129)), Err(InvalidHost::TooLong(128)));
    }

    #[test]
    fn a_name_that_leaves_its_directory_or_its_reference_is_refused() {
        let check = |name: &str, expect| assert_eq!(HostName::parse(name), Err(expect), "{name:?}");
        for name in ["..", ".", ".git", "-x", "-rf"] {
            check(name, InvalidHost::Start);
        }
        for name in ["web.", "web.lock", "x.LOCK"] {
            check(name, InvalidHost::End);
        }
        check("a..b", InvalidHost::Dots);
        for name in ["", "@", "@blue", "web-01@"] {
            check(name, InvalidHost::Empty);
        }
        check("web-01@..", InvalidHost::Start);
        check("web-01@x.lock", InvalidHost::End);
        check(&"a".repeat(65), InvalidHost::TooLong(64));
    }

    #[test]
    fn a_character_outside_the_plain_ones_is_refused_and_shown_escaped() {
        for (name, bad) in [
            ("a/b", '/'),
            ("/etc", '/'),
            ("a\x1b[2J", '\x1b'),
            ("(none)", '('),
            ("a b", ' '),
            ("a\n", '\n'),
            ("a\0", '\0'),
            ("a~1", '~'),
            ("a^", '^'),
            ("a:b", ':'),
            ("a?", '?'),
            ("a*", '*'),
            ("a[", '['),
            ("a\\b", '\\'),
            ("a@{", '{'),
            ("a\u{202e}b", '\u{202e}'),
            ("h\u{f6}st", '\u{f6}'),
        ] {
            let error = HostName::parse(name).unwrap_err();
            assert_eq!(error, InvalidHost::Character(bad));
            assert!(!error.to_string().chars().any(|c| c.is_control() || c == '\u{202e}'), "{name:?}");
            assert!(error.hint().contains("--host NAME"));
        }
    }
}
