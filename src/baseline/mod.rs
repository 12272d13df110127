//! Edge: approved state as files, and what those files load to.
//!
//! Role: [`render`] writes a ruleset as files that people review; [`Cache::approved`] (or [`compile`])
//! loads files in a scratch namespace; [`adopt`] takes files that somebody wrote. Where the files live
//! (git) is `ledger`'s business.

mod adopt;
mod alike;
mod arptables;
mod cache;
mod compile;
mod context;
mod exact;
mod include;
mod ipset;
mod layout;
mod locate;
mod portable;
mod render;
mod scanner;
mod splice;
mod stored;

pub use crate::model::Files;
pub use adopt::{AdoptError, adopt};
pub use cache::{Access, Cache};
pub use compile::{CompileError, compile, devices};
pub use context::names as context_names;
pub use layout::{context_path, exact_path, is_authored, is_context, is_ruleset, table_path};
pub use locate::{Located, LocatedChain, locate_chain, locate_named};
pub use render::{RenderError, render};
pub use scanner::included_paths;
pub use splice::{NewTexts, splice};
pub use stored::{Bodies, Stored};
