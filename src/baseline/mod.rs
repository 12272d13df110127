//! Edge: approved state as files, and what those files load to.
//!
//! Role: [`render`] writes a ruleset as files that people review; [`Cache::compiled`] (or [`compile`])
//! loads files in a scratch namespace; [`adopt`] takes files that somebody wrote. Where the files live
//! (git) is `ledger`'s business.

mod adopt;
mod cache;
mod compile;
mod context;
mod include;
mod ipset;
mod layout;
mod render;
mod scanner;

pub use crate::model::Files;
pub use adopt::{AdoptError, adopt};
pub use cache::{Access, Cache};
pub use compile::{CompileError, compile};
pub use layout::{is_authored, is_ruleset};
pub use render::{RenderError, render};
