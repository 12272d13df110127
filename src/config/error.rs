//! What can be wrong with flags and with the configuration file.

use super::values::InvalidNetns;
use crate::model::InvalidHost;
use std::io;
use std::path::PathBuf;

/// Why no [`Settings`](super::Settings) could be made. Texts from outside are shown escaped.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `--config` names a file that does not exist.
    #[error("the configuration file {} does not exist", .path.display())]
    Missing {
        /// The file asked for.
        path: PathBuf,
    },
    /// The file exists but cannot be read.
    #[error("cannot read the configuration file {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The file is not text.
    #[error("{}:{line}: not UTF-8", .path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
    },
    /// The file is not TOML, or a value has another type.
    #[error("{}:{line}: {message}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The parser's words.
        message: String,
    },
    /// A key that fwdrift does not know; most likely mistyped, so it is never ignored.
    #[error("{}:{line}: unknown key {key:?}", .path.display())]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key as written.
        key: String,
        /// The valid key that looks most like it.
        nearest: Option<&'static str>,
        /// Every key that is valid there.
        valid: &'static [&'static str],
    },
    /// A value of the right type that cannot be used.
    #[error("{}:{line}: {key}: {reason}", .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// `--host` gives a name that cannot be used in the repository.
    #[error("--host {given:?} cannot be used: {reason}")]
    HostFlag {
        /// The name as given.
        given: String,
        /// The rule it breaks.
        reason: InvalidHost,
    },
    /// This machine's own name cannot be used in the repository.
    #[error("the hostname {given:?} cannot be used as a name in the repository: {reason}")]
    Hostname {
        /// The kernel's hostname.
        given: String,
        /// The rule it breaks.
        reason: InvalidHost,
    },
    /// `--netns` names no namespace.
    #[error("--netns {given:?} names no network namespace: {reason}")]
    NetnsFlag {
        /// The flag's value.
        given: String,
        /// The rule it breaks.
        reason: InvalidNetns,
    },
    /// The command is about one namespace.
    #[error("{command} is about one network namespace, not --all-netns")]
    OneNetns {
        /// The command's name.
        command: &'static str,
    },
    /// `--host HOST@NAME` names one namespace.
    #[error("--host {host} names one network namespace, and --all-netns asks for all")]
    HostOfOne {
        /// The name as given.
        host: String,
    },
    /// A relative path was given, and the working directory is gone.
    #[error("cannot make {} absolute: {source}", .path.display())]
    WorkingDirectory {
        /// The relative path.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The command has no such form of output.
    #[error("{command} has no --format {format}")]
    FormatNotOffered {
        /// The command's name.
        command: &'static str,
        /// The form asked for.
        format: &'static str,
    },
}

impl ConfigError {
    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Missing { .. } => "leave --config out to use the defaults".to_owned(),
            Self::Unreadable { .. } => "run fwdrift as root, or name another file with --config".to_owned(),
            Self::NotUtf8 { .. } => "save the file as UTF-8".to_owned(),
            Self::Syntax { .. } => {
                "the file is TOML: `key = \"text\"`, a key a line (https://toml.io)".to_owned()
            }
            Self::UnknownKey { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { nearest: None, valid, .. } => format!("valid keys: {}", valid.join(", ")),
            Self::Value { .. } => return None,
            Self::HostFlag { reason, .. } => reason.hint(),
            Self::Hostname { .. } => {
                "give the host a name for the repository with --host NAME, or `host = \"NAME\"` in \
                 /etc/fwdrift/config.toml"
                    .to_owned()
            }
            Self::NetnsFlag { .. } => {
                "`ip netns list` shows the names; a path is for example /run/netns/NAME, a process pid:NUMBER"
                    .to_owned()
            }
            Self::OneNetns { .. } => {
                "name it with --netns NAME; check, record and init take --all-netns".to_owned()
            }
            Self::HostOfOne { .. } => "name the host alone, or leave --all-netns out".to_owned(),
            Self::WorkingDirectory { .. } => "give an absolute path".to_owned(),
            Self::FormatNotOffered { .. } => "use --format text or --format json".to_owned(),
        };
        Some(hint)
    }
}
