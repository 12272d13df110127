//! What the kernel's audit says about one change of a packet filter.
//!
//! Role: the values that `evidence` reads and `attribute` joins with changes. All texts are bytes as
//! the kernel held them, decoded from the record's own encoding: hostile, and not always UTF-8.

use chrono::{DateTime, Utc};

/// One audit event that touched a packet filter: all its records, joined by time and serial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// The kernel's clock when the event began; the record has milliseconds, of a coarse clock (≤ 10 ms behind).
    pub time: DateTime<Utc>,
    /// The event's number, which starts again at each boot.
    pub serial: u64,
    /// One entry a table that the event touched; never empty.
    pub netfilter: Vec<NetfilterCfg>,
    /// The system call; `None` where audit made no such record (`-a never,task`, a kernel thread), where it
    /// was cut short, or where two records contradict each other.
    pub syscall: Option<Syscall>,
    /// The command line, arguments separated by NUL. The kernel cuts it at 128 bytes, and keeps a task's first
    /// one when the task becomes another program (`sh -c '…; exec nft'` stays `sh -c …`), so it describes,
    /// and decides nothing.
    pub proctitle: Option<Vec<u8>>,
    /// What else is known of the process; empty where nobody looked.
    pub background: Background,
}

/// What is known of a process beyond its audit record. It describes, and decides only what a service is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Background {
    /// The address that its session came from.
    pub remote: Option<String>,
    /// The account that called sudo, as the process was told.
    pub sudo_user: Option<String>,
    /// The whole command line, arguments separated by NUL.
    pub cmdline: Option<Vec<u8>>,
    /// The systemd unit, of the host's own manager.
    pub unit: Option<String>,
    /// The id of the container, or its name.
    pub container: Option<String>,
    /// The names of the processes above it, the outermost first.
    pub parents: Vec<String>,
}

/// A NETFILTER_CFG record (kernel/auditsc.c `__audit_log_nfcfg`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetfilterCfg {
    /// The table's name: any bytes, as the kernel writes it without quoting.
    pub table: Vec<u8>,
    /// The nf_tables generation that the commit made; `None` for x_tables and ebtables.
    pub generation: Option<u32>,
    /// `NFPROTO_*`: 1 inet, 2 ip, 3 arp, 5 netdev, 7 bridge, 10 ip6.
    pub family: u8,
    /// What the kernel calls the operation, for example `nft_register_rule` or `xt_replace`.
    pub op: String,
    /// The process (thread group) id, as the host's first pid namespace numbers it.
    pub pid: u32,
    /// The thread's name, which anyone can set.
    pub comm: Vec<u8>,
}

/// A SYSCALL record (kernel/auditsc.c `audit_log_exit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Syscall {
    /// The login uid; `None` where no login is behind the process.
    pub auid: Option<u32>,
    /// The uid of the process.
    pub uid: u32,
    /// The audit session; `None` where there is none.
    pub session: Option<u32>,
    /// The terminal; `None` where there is none.
    pub tty: Option<Vec<u8>>,
    /// The process id.
    pub pid: u32,
    /// The parent's process id.
    pub ppid: Option<u32>,
    /// The thread's name.
    pub comm: Option<Vec<u8>>,
    /// The executable's path.
    pub exe: Option<Vec<u8>>,
    /// Whether the system call succeeded; `None` where the record doesn't say.
    pub success: Option<bool>,
    /// The login's name at the time, where the log was written enriched.
    pub login_name: Option<String>,
    /// The name of `uid` at the time, where the log was written enriched.
    pub uid_name: Option<String>,
}
