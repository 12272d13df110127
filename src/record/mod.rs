//! From looks to events: what is new since the last look, who did it, and what is written down.
//!
//! Role: decides which events a look makes ([`plan`], pure) and remembers looks ([`Memory`], an edge).
//! The commits themselves are `ledger`'s.

mod memory;
mod plan;

pub use memory::{Memory, Tally};
pub use plan::{Cause, Draft, plan};
