//! The few styles of the text output. Always emitted; the command line strips them where needed.

use crate::model::ChangeKind;
use anstyle::{AnsiColor, Style};
use std::fmt::Display;

pub(super) const HEADING: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const WARN: Style = AnsiColor::Yellow.on_default().bold();
pub(super) const ADDED: Style = AnsiColor::Green.on_default();
pub(super) const REMOVED: Style = AnsiColor::Red.on_default();
pub(super) const MODIFIED: Style = AnsiColor::Yellow.on_default();
pub(super) const MOVED: Style = AnsiColor::Cyan.on_default();

/// `text` in `style`; `text` holds no line break.
pub(super) fn paint(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// The style and the marker of a kind of change.
pub(super) fn marker(kind: ChangeKind) -> (Style, &'static str) {
    match kind {
        ChangeKind::Added => (ADDED, "+"),
        ChangeKind::Removed => (REMOVED, "-"),
        ChangeKind::Modified => (MODIFIED, "~"),
        ChangeKind::Moved => (MOVED, "→"),
    }
}
