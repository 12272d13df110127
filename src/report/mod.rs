//! Renderers: what people and programs read of a check, an event, the ledger and a period.
//!
//! Input: values of `model`, the present time and [`Options`]; output: a `String`. Text carries ANSI
//! styles (the command line strips them where they are not wanted). Every text that came from the
//! kernel, a process or a user passes `escape` on its way out. Nothing here reads a file or a clock,
//! and nothing breaks a rule in the middle: output is pasted into chat channels.

pub mod alert;
pub mod all;
pub mod audit;
mod boot;
mod changes;
pub mod check;
pub mod diff;
mod effects;
pub mod escape;
pub mod event;
pub mod flows;
mod gaps;
pub mod lint;
pub mod log;
pub mod outcome;
pub mod show;
mod style;
pub mod time;
pub mod trace;
mod undo;
mod who;
mod wording;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile_tests;

use std::path::Path;

/// What every text renderer needs to know beside the value.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Columns of the terminal: prose wraps there; `None` wraps nothing. Rules and commands never wrap.
    pub width: Option<usize>,
    /// The repository, for the git commands that are shown.
    pub repo: &'a Path,
    /// How to call fwdrift again with the same global options, ready for a shell
    /// (`fwdrift --netns web`); see [`escape::shell_word`].
    pub program: &'a str,
}

/// Pretty JSON with a final line break. A value of `model` or `report` has string keys only and
/// serialises without I/O, so there is no failure to report.
pub(crate) fn pretty<T: serde::Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_else(|e| unreachable!("plain values: {e}"));
    escape::json(&text) + "\n"
}
