//! The whole loop as a story: an outage, who caused it, and the way back. For people who meet fwdrift.
//!
//! In: nothing but this machine's kernel, `nft`, `ip`, `git` and a shell. Out: the story on a writer, with the
//! real output of this very program in between. Two network namespaces without names, a temporary directory
//! and auditing (where it was off) live as long as the run. Must not touch the host's own firewall, accounts
//! or files, and must leave nothing behind, also on Ctrl-C.

mod audit;
mod error;
mod narrator;
mod people;
mod stage;
mod story;

pub use error::DemoError;

use crate::config::ColorChoice;
use narrator::Narrator;
use stage::Stage;
use std::io::Write;
use std::time::Duration;

/// Tells the story to `out`, with a pause after each step. The programs in it print to standard output.
///
/// # Errors
/// [`DemoError`]; also when a step did not come out as told.
pub fn run(out: &mut dyn Write, pause: Duration, color: ColorChoice) -> Result<(), DemoError> {
    let mut narrator = Narrator::new(out, pause)?;
    let stage = Stage::build(color)?;
    let told = story::tell(&stage, &mut narrator);
    // A child that Ctrl-C killed looks like a step gone wrong.
    narrator.interruption().and(told)
}
