//! Edge: tells people and programs what was recorded.
//!
//! ```text
//! ledger ─► queue on disk ─► one delivery a sink ─► journald, syslog, webhook, Alertmanager, mail, command
//!             (state.json)     (position.json)
//! ```
//!
//! [`Notifier::queue`] turns the ledger's new events into alerts and stores them; what follows the ledger cannot lose an
//! event to a kill between the two. Each sink has its own position in the queue, so that one that is away stops no
//! other, and each is delivered to in order, at least once, with an id that stays the same. Nothing here decides what an
//! event is, and no failure here keeps anything from being recorded.

mod alert;
mod background;
mod bounded;
mod deliver;
mod error;
mod metrics;
mod notifier;
mod sink;
mod status;
mod store;
mod tracking;

pub use alert::{Alert, AlertKind, Brief, Status};
pub use background::Background;
pub use deliver::Delivered;
pub use error::NotifyError;
pub use metrics::Summary;
pub use notifier::Notifier;
pub use status::{SinkStatus, status};
pub use store::Position;
