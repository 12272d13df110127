//! What is known about a host before anything is judged: plain values, no behaviour.

use super::distribution::Distribution;
use crate::model::BaselineRef;
use crate::notify::SinkStatus;
use chrono::{DateTime, Utc};
use std::path::PathBuf;

/// Names that were listed, or why they could not be.
pub type Listing = Result<Vec<String>, String>;

/// Facts that other modules establish; the caller of [`look`](super::look) brings them.
#[derive(Clone, Debug)]
pub struct Given {
    /// Whether `unshare(CLONE_NEWNET)` worked in a thread of its own; else the kernel's words.
    pub scratch_namespace: Result<(), String>,
    /// What the kernel says about its audit subsystem.
    pub audit: AuditFacts,
    /// What was found at the repository's path.
    pub repository: RepositoryFacts,
    /// How everybody is who is told of what is recorded.
    pub alerts: Vec<SinkStatus>,
}

/// Everything that [`judge`](super::judge) needs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// When the facts were gathered.
    pub now: DateTime<Utc>,
    /// This host's name in the repository.
    pub host: String,
    /// The repository's path.
    pub repo: PathBuf,
    /// Package manager and name.
    pub distribution: Distribution,
    /// What starts services.
    pub service_manager: ServiceManager,
    /// This process.
    pub process: ProcessFacts,
    /// `uname -r`.
    pub kernel_release: String,
    /// See [`Given::scratch_namespace`].
    pub scratch_namespace: Result<(), String>,
    /// What holds packet filter state.
    pub sources: SourceFacts,
    /// Every program that fwdrift may run, in the order of [`Tool::ALL`].
    pub tools: Vec<ToolFacts>,
    /// See [`Given::audit`].
    pub audit: AuditFacts,
    /// What audit has on disk.
    pub audit_files: AuditFiles,
    /// See [`Given::repository`].
    pub repository: RepositoryFacts,
    /// What runs `fwdrift record` regularly.
    pub schedule: Schedule,
    /// See [`Given::alerts`].
    pub alerts: Vec<SinkStatus>,
}

/// What starts services at boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceManager {
    /// systemd is running (sd_booted(3): `/run/systemd/system` exists).
    Systemd,
    /// OpenRC is running (`/run/openrc` exists).
    OpenRc,
    /// Neither.
    Other,
}

/// This process, from `/proc/thread-self`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessFacts {
    /// Effective uid.
    pub euid: u32,
    /// Effective capabilities, bit n for capability n (`CapEff`; linux/capability.h).
    pub effective: u64,
    /// Whether this is not the host's first user namespace, where capabilities reach less far.
    pub user_namespace: bool,
    /// The audit login uid.
    pub login: Login,
    /// Whether a person is at a terminal.
    pub interactive: bool,
}

/// `/proc/self/loginuid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// The kernel keeps none (no CONFIG_AUDIT).
    Absent,
    /// 4294967295: no login is behind this process.
    Unset,
    /// The uid that logged in.
    Uid(u32),
}

/// What holds packet filter state in the namespace looked at.
#[derive(Clone, Debug)]
pub struct SourceFacts {
    /// The tables of nf_tables; else why they cannot be listed.
    pub nft: Result<Vec<NftTable>, String>,
    /// Tables of iptables-legacy (`/proc/net/ip_tables_names`).
    pub ip_legacy: Listing,
    /// Tables of ip6tables-legacy (`/proc/net/ip6_tables_names`).
    pub ip6_legacy: Listing,
    /// Tables of arptables-legacy (`/proc/net/arp_tables_names`).
    pub arp_legacy: Listing,
    /// Modules of ebtables-legacy that are loaded; the kernel lists its tables nowhere.
    pub ebtables_modules: Vec<String>,
    /// Sets of ipset.
    pub ipset: IpsetFacts,
}

/// A table of nf_tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftTable {
    /// The kernel's name of the family.
    pub family: String,
    /// The table's name.
    pub name: String,
}

/// Sets of ipset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IpsetFacts {
    /// The kernel module is not loaded, so there is no set; asking would load it.
    NotLoaded,
    /// The names of the sets; else why they cannot be listed.
    Loaded(Listing),
}

/// A program that fwdrift may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named as the program is")]
pub enum Tool {
    Nft,
    IptablesNftSave,
    IptablesNftRestore,
    Ip6tablesNftSave,
    Ip6tablesNftRestore,
    IptablesLegacySave,
    Ip6tablesLegacySave,
    Ipset,
    Git,
    Journalctl,
    Getent,
}

impl Tool {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 11] = [
        Self::Nft,
        Self::IptablesNftSave,
        Self::IptablesNftRestore,
        Self::Ip6tablesNftSave,
        Self::Ip6tablesNftRestore,
        Self::IptablesLegacySave,
        Self::Ip6tablesLegacySave,
        Self::Ipset,
        Self::Git,
        Self::Journalctl,
        Self::Getent,
    ];

    /// The program's file name.
    pub fn program(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::IptablesNftSave => "iptables-nft-save",
            Self::IptablesNftRestore => "iptables-nft-restore",
            Self::Ip6tablesNftSave => "ip6tables-nft-save",
            Self::Ip6tablesNftRestore => "ip6tables-nft-restore",
            Self::IptablesLegacySave => "iptables-legacy-save",
            Self::Ip6tablesLegacySave => "ip6tables-legacy-save",
            Self::Ipset => "ipset",
            Self::Git => "git",
            Self::Journalctl => "journalctl",
            Self::Getent => "getent",
        }
    }
}

/// A program and what was found of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolFacts {
    /// The program.
    pub tool: Tool,
    /// What was found.
    pub state: ToolState,
}

/// What was found of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolState {
    /// In none of the directories that are searched.
    Missing,
    /// There, and it answers.
    Found {
        /// Where.
        path: PathBuf,
        /// The first line of what it says about itself; none where asking would touch the kernel.
        version: Option<String>,
    },
    /// There, but it does not run.
    Broken {
        /// Where.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// What the kernel says about audit (AUDIT_GET, AUDIT_LIST_RULES; linux/audit.h).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditFacts {
    /// The kernel has no audit (NETLINK_AUDIT: EPROTONOSUPPORT).
    NotCompiledIn,
    /// It was not possible to ask.
    Unknown {
        /// What happened.
        reason: String,
    },
    /// The kernel answered.
    Known(AuditState),
}

/// The kernel's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditState {
    /// 0 off, 1 on, 2 on and locked until the next boot.
    pub enabled: u32,
    /// The pid of the audit daemon; 0 for none.
    pub daemon_pid: u32,
    /// Records lost since boot.
    pub lost: u32,
    /// How many records may wait.
    pub backlog_limit: u32,
    /// Whether the rule `-a never,task` is loaded; none if the rules could not be listed.
    pub never_task: Option<bool>,
}

/// What audit has on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFiles {
    /// Whether `auditctl` is installed.
    pub auditctl: bool,
    /// Whether `augenrules` is, which makes the rules of `/etc/audit/rules.d` (augenrules(8)).
    pub augenrules: bool,
    /// Files under `/etc/audit` with a line `-a never,task`.
    pub never_task_in: Vec<PathBuf>,
    /// The log.
    pub log: AuditLog,
    /// NETFILTER_CFG records of journald; asked only where there is no log.
    pub journal: JournalRecords,
    /// What journald does to auditing whenever it starts; none without systemd.
    pub journald: Option<JournaldAudit>,
}

/// What journald does to auditing whenever it starts (journald.conf(5), `Audit=`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournaldAudit {
    /// It turns it on.
    TurnsOn,
    /// It leaves it as it is.
    Leaves,
    /// It turns it off, also under a running auditd.
    TurnsOff {
        /// The file that says so, maybe in a comment on what is the default.
        said_in: PathBuf,
    },
}

/// The audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditLog {
    /// No such file.
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is there, but cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        reason: String,
    },
    /// It can be read.
    Readable {
        /// The file.
        path: PathBuf,
        /// The time of the newest NETFILTER_CFG record in it or its newest predecessor.
        last_netfilter_cfg: Option<DateTime<Utc>>,
    },
}

/// The newest NETFILTER_CFG record of journald.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalRecords {
    /// There is a log, or no journalctl.
    NotAsked,
    /// journalctl failed.
    Failed(String),
    /// It has none.
    None,
    /// Its time.
    Last(DateTime<Utc>),
}

/// What was found at the repository's path.
#[derive(Clone, Debug, PartialEq)]
pub enum RepositoryFacts {
    /// Nothing.
    Missing,
    /// Something that fwdrift cannot use.
    Unusable {
        /// What is wrong.
        reason: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// A repository.
    Present {
        /// This host's approved baseline.
        baseline: Option<BaselineRef>,
        /// When `record` looked last.
        last_look: LastLook,
    },
}

/// When `record` looked at the firewall last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastLook {
    /// Nothing was ever recorded.
    Never,
    /// When the look began.
    At(DateTime<Utc>),
    /// No look is noted; when the newest event was recorded.
    Event(DateTime<Utc>),
    /// The note cannot be read.
    Unreadable {
        /// Its file.
        path: PathBuf,
        /// What happened.
        reason: String,
    },
}

/// What runs `fwdrift record` regularly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// systemd's timer, installed.
    Timer {
        /// It starts at boot.
        enabled: bool,
        /// It is waiting now.
        active: bool,
    },
    /// systemd is running, and could not be asked.
    TimerUnknown(String),
    /// A file of cron.d.
    Cron(PathBuf),
    /// Nothing that doctor knows.
    Nothing,
}
