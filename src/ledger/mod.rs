//! Everything that touches git: the approved baseline on `main`, the ledger on `live/<host>`.
//!
//! Role: reads and writes commits through libgit2, in process. Input: files, events and approvals that
//! other stages made; output: commits, and what is read back from them.
//! It must not look at the firewall, decide what an event is, print, or follow the configuration of the
//! user's git (hooks, signing, line endings): what it stores is byte-exact.
//! Reading takes no lock and writes nothing; all writing needs a [`Lock`].

mod approve;
mod baseline;
mod blame;
mod error;
mod events;
mod files;
mod identity;
mod lock;
mod message;
mod open;
mod refs;
mod repository;
mod revision;
mod store;
mod text;
mod tree;
mod worktree;

pub use crate::model::{Files, HostName};
pub use approve::Approved;
pub use baseline::{Baseline, BaselineId, POLICY_FILE};
pub use blame::Blamed;
pub use error::LedgerError;
pub use files::check_files;
pub use identity::{Identity, event_signature, login_behind};
pub use lock::Lock;
pub use message::ApprovalMessage;
pub use repository::{CommitId, Repository};
pub use revision::Revision;
pub use store::write_atomic;
pub use worktree::WorkingTree;
