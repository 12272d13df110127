//! Why a tool gave no usable answer, and what to do next.

use std::time::Duration;

/// Why a tool gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{name} is not installed")]
    Missing {
        /// The program's name.
        name: String,
    },
    /// It could not be started, or its pipes broke.
    #[error("cannot run {command}: {source}")]
    Run {
        /// The command line.
        command: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It did not finish in time and was killed.
    #[error("{command} did not finish within {} s and was stopped", limit.as_secs())]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// It printed more than fwdrift is ready to hold, and was killed.
    #[error("{command} printed more than {limit} bytes and was stopped")]
    TooMuch {
        /// The command line.
        command: String,
        /// The bound, in bytes.
        limit: usize,
    },
    /// It ended well, and yet what it was to do is not done.
    #[error("{name} ended without an error, but {what}")]
    Idle {
        /// The program's name.
        name: String,
        /// What is missing.
        what: &'static str,
    },
    /// It died by a signal.
    #[error("{command} died by signal {signal}")]
    Killed {
        /// The command line.
        command: String,
        /// The signal's number (signal(7)).
        signal: i32,
    },
    /// It ended with an error.
    #[error("{command} failed: {}", if stderr.is_empty() { format!("exit status {status}") } else { stderr.clone() })]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it said.
        stderr: String,
    },
}

impl ToolError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { name } => Some(match name.as_str() {
                "nft" => "install it (package nftables)".to_owned(),
                "getent" => "install it (part of libc)".to_owned(),
                "journalctl" => {
                    "install auditd, whose log fwdrift reads, or run on a systemd host".to_owned()
                }
                "ipset" => "install it (package ipset)".to_owned(),
                other if other.starts_with("ip") => "install it (package iptables)".to_owned(),
                other => format!("install it (package {other})"),
            }),
            Self::TimedOut { .. } => Some("raise tool_timeout_seconds in /etc/fwdrift/config.toml".into()),
            Self::Idle { name, .. } => {
                Some(format!("the program is damaged or not the real one: install {name} anew"))
            }
            Self::Killed { signal: 9, .. } => {
                Some("somebody or the out-of-memory killer ended it; see `dmesg`".into())
            }
            Self::Killed { .. } | Self::TooMuch { .. } => {
                Some("run the command by hand; if it does the same there, install the program anew".into())
            }
            Self::Run { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as root".into())
            }
            Self::Run { .. } | Self::Failed { .. } => None,
        }
    }
}
