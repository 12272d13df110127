//! What this host can and cannot see, and what to run to mend it.
//!
//! Role: `fwdrift doctor`. [`look`] gathers [`Facts`] and is the only part that touches the system;
//! [`judge`] turns them into [`Finding`]s and is pure; [`render_text`] and [`render_json`] write them.
//! It changes nothing: no module is loaded, no table is created, nothing is written. Whatever could
//! load something (listing sets, legacy tables) is asked only where the kernel already holds it.

mod distribution;
mod facts;
mod finding;
mod judge;
mod look;
mod render;

pub use distribution::{Distribution, Manager, Package};
pub use facts::{
    AuditFacts, AuditFiles, AuditLog, AuditState, Facts, Given, IpsetFacts, JournalRecords, JournaldAudit,
    LastLook, Listing, Login, NftTable, ProcessFacts, RepositoryFacts, Schedule, ServiceManager, SourceFacts,
    Tool, ToolFacts, ToolState,
};
pub use finding::{Finding, Status, exit_code};
pub use judge::judge;
pub use look::{RunTool, look};
pub use render::{render_json, render_text};
