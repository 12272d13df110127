//! Who made a change, and how it is known.
//!
//! Role: the value that `attribute` produces. A wrong author is worse than none: where the evidence
//! does not decide, the name is `unknown`, with the window of time and the candidates.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How an author is known, from the strongest to the weakest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evidence {
    /// A kernel audit record joined by generation and pid while the change happened.
    Audit,
    /// The process that the kernel named, looked up while it was alive.
    Process,
    /// The audit history: one login made all the changes to that table in the window.
    AuditLog,
    /// A commit in the repository (approvals and baseline changes).
    Git,
    /// Nothing decides it.
    #[default]
    None,
}

impl Evidence {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Process => "process",
            Self::AuditLog => "audit-log",
            Self::Git => "git",
            Self::None => "none",
        }
    }
}

/// A span of time within which a change was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The last look that did not show the change; `null` if there was none.
    pub from: Option<DateTime<Utc>>,
    /// The first look that did.
    pub to: DateTime<Utc>,
}

/// The person or service behind a change. Numbers are as the host's first namespaces see them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The login name (which survives sudo and su), or the service, or `unknown`.
    pub name: String,
    /// The audit login uid; `null` where no login is behind the process.
    pub auid: Option<u32>,
    /// The uid of the process at the time.
    pub uid: Option<u32>,
    /// The audit session id.
    pub session: Option<u32>,
    /// The terminal, as the audit record names it.
    pub tty: Option<String>,
    /// The process id.
    pub pid: Option<u32>,
    /// The process name; anyone can set their own, so it proves nothing.
    pub comm: Option<String>,
    /// The executable's path.
    pub exe: Option<String>,
    /// The command line, arguments separated by spaces.
    pub cmdline: Option<String>,
    /// The systemd unit, where it is known.
    pub unit: Option<String>,
    /// The address that the login came from, where it is known.
    pub remote: Option<String>,
    /// The account that called sudo, as sudo told the process (`SUDO_USER`): a claim of the process, beside `auid`.
    #[serde(default)]
    pub sudo_user: Option<String>,
    /// The id of the container that the process ran in, as its cgroup names it.
    #[serde(default)]
    pub container: Option<String>,
    /// The names of the processes above it and its own, the outermost first: `sshd`, `bash`, `sudo`, `nft`. Empty
    /// where nobody looked while they lived.
    #[serde(default)]
    pub parents: Vec<String>,
    /// How all this is known.
    pub evidence: Evidence,
    /// Those who may have made the change, where the evidence does not decide.
    #[serde(default)]
    pub candidates: Vec<Author>,
    /// When it was made, as closely as it is known without a record of its own.
    #[serde(default)]
    pub window: Option<Window>,
}

impl Author {
    /// The name of an author that no evidence decides.
    pub const UNKNOWN: &'static str = "unknown";

    /// An unknown author, with the window and the candidates.
    pub fn unknown(window: Option<Window>, candidates: Vec<Author>) -> Self {
        Self {
            name: Self::UNKNOWN.to_owned(),
            evidence: Evidence::None,
            candidates,
            window,
            ..Self::default()
        }
    }

    /// Whether evidence names this author.
    pub fn is_known(&self) -> bool {
        self.evidence != Evidence::None
    }
}
