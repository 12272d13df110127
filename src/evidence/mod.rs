//! Who changed the packet filter, as the kernel's audit tells it: the edge that reads it.
//!
//! In: `audit.log`, the journal, the audit multicast group, the process connector, /proc, the account database. Out:
//! [`crate::model::AuditEvent`]s, the authors of transactions as they happen, [`crate::model::Gap`]s for what could not
//! be read, names of accounts. Of changes between two looks, `attribute` decides.

mod assemble;
pub mod audit_control;
pub mod background;
pub mod collector;
mod error;
pub mod history;
mod join;
pub mod journal;
mod lore;
mod namespaces;
pub mod people;
pub mod process;
pub mod record;
mod seek;
mod sessions;
pub mod witness;

pub use assemble::Assembler;
pub use audit_control::{AuditStatus, EnableGuard, enable_guard, never_task_rule, status};
pub use collector::{Collector, CollectorReport};
pub use error::EvidenceError;
pub use history::{AuditSource, History};
pub use people::People;
pub use witness::{Attested, Witness};

/// AUDIT_NLGRP_READLOG, as a bit of `nl_groups`.
const READLOG: u32 = 1;
