//! What can go wrong where the evidence is read, and what to do next.

use crate::sys::netns::NetnsError;
use std::path::PathBuf;
use thiserror::Error;

/// A failure at the evidence edge.
#[derive(Debug, Error)]
pub enum EvidenceError {
    /// A netlink socket could not be opened or used.
    #[error("{operation}: {source}")]
    Netlink {
        /// What was tried, for example `open the audit socket`.
        operation: &'static str,
        /// The kernel's answer.
        source: rustix::io::Errno,
    },
    /// The kernel sent something else than it documents.
    #[error("{operation}: the kernel's answer could not be understood")]
    Answer {
        /// What was asked.
        operation: &'static str,
    },
    /// A network namespace could not be entered.
    #[error("the {which} network namespace: {source}")]
    Namespace {
        /// `watched` or `first`.
        which: &'static str,
        /// Why.
        source: NetnsError,
    },
    /// A file could not be opened, read, written or locked.
    #[error("cannot {operation} {}: {source}", path.display())]
    File {
        /// `open`, `read`, `write to`, `lock`, …
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A thread could not be started, or died.
    #[error("a thread could not be started, or stopped unexpectedly")]
    Thread,
}

impl EvidenceError {
    /// What to do next, where that is known.
    pub fn hint(&self) -> Option<String> {
        use rustix::io::Errno;
        let text = match self {
            Self::Netlink { source, .. } if matches!(*source, Errno::PERM | Errno::ACCESS) => {
                "run as root (audit needs CAP_AUDIT_READ and CAP_AUDIT_CONTROL in the first namespaces)"
            }
            Self::Netlink { source, .. } if *source == Errno::PROTONOSUPPORT => {
                "this kernel was built without CONFIG_AUDIT; authors cannot be known from it"
            }
            Self::Netlink { source, .. } if *source == Errno::CONNREFUSED => {
                "audit answers only in the first namespaces; run fwdrift outside the container"
            }
            Self::Namespace { .. } => "run as root (entering a network namespace needs CAP_SYS_ADMIN)",
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                "run as root"
            }
            _ => return None,
        };
        Some(text.to_owned())
    }
}
