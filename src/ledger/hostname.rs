//! The name of a host as it stands in references and paths.

use super::error::LedgerError;
use std::fmt;

/// A host's name that is safe as one component of a git reference and of a path. Its case is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// The longest name, in bytes: what Linux allows for a hostname.
    pub const MAX_LEN: usize = 64;

    /// Takes a name that keeps the rules of git-check-ref-format(1) and of a plain directory name.
    ///
    /// # Errors
    /// [`LedgerError::HostName`] with the rule that the name breaks.
    pub fn parse(name: &str) -> Result<Self, LedgerError> {
        match broken_rule(name) {
            Some(why) => Err(LedgerError::HostName { name: name.to_owned(), why }),
            None => Ok(Self(name.to_owned())),
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The reference of the host's ledger.
    pub fn live_ref(&self) -> String {
        format!("refs/heads/live/{}", self.0)
    }

    /// The directory of the host's baseline on `main`.
    pub fn baseline_path(&self) -> String {
        format!("baselines/{}", self.0)
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn broken_rule(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("it is empty");
    }
    if name.len() > HostName::MAX_LEN {
        return Some("it is longer than 64 bytes");
    }
    if name.starts_with(['-', '.']) {
        return Some("it begins with '-' or '.'");
    }
    if name.ends_with('.') {
        return Some("it ends with '.'");
    }
    if name.to_ascii_lowercase().ends_with(".lock") {
        return Some("it ends with '.lock'");
    }
    if name.contains("..") {
        return Some("it contains '..'");
    }
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
        return Some("it may have only the letters a to z and A to Z, digits, '-', '_' and '.'");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_host_names_are_taken_as_they_are() {
        for name in ["web-01", "Web-01.example.org", "a", "10.0.0.1", "db_2", &"x".repeat(64)] {
            assert_eq!(HostName::parse(name).unwrap().as_str(), name);
            assert!(git2::Reference::is_valid_name(&HostName::parse(name).unwrap().live_ref()));
        }
    }

    #[test]
    fn names_that_would_leave_their_directory_or_break_git_are_refused_with_a_hint() {
        let long = "x".repeat(65);
        let bad = [
            "",
            "..",
            ".",
            "a..b",
            "a/b",
            "/etc",
            "-rf",
            ".git",
            "x.lock",
            "x.LOCK",
            "a b",
            "a\nb",
            "a\x1b[31m",
            "a~1",
            "a^",
            "a:b",
            "a?",
            "a*",
            "a[",
            "a\\b",
            "a.",
            "a\0",
            "@{",
            "a\u{202e}b",
            "h\u{f6}st",
            &long,
        ];
        for name in bad {
            let error = HostName::parse(name).unwrap_err();
            assert!(error.hint().unwrap().contains("--host NAME"), "{name:?}");
            assert!(!error.to_string().chars().any(char::is_control), "{name:?}");
        }
    }
}
