//! What could not be seen, with what to do about it.

use super::Options;
use super::escape::terminal;
use super::style::{DIM, WARN, paint};
use super::wording::wrap;
use crate::model::Gap;

/// A block `not seen`, or nothing where there is no gap.
pub(super) fn block(gaps: &[Gap], options: &Options<'_>) -> String {
    if gaps.is_empty() {
        return String::new();
    }
    let mut out = format!("\n{}\n", paint(WARN, "not seen"));
    for gap in gaps {
        let effect = if gap.blinds_verdict { "" } else { " (the verdict does not depend on it)" };
        out.push_str(&format!("  {}{}\n", terminal(&gap.source), paint(DIM, effect)));
        let room = options.width.map(|w| w.saturating_sub(4).max(20));
        for line in wrap(&terminal(&gap.reason), room) {
            out.push_str(&format!("    {line}\n"));
        }
        if let Some(hint) = &gap.hint {
            for line in wrap(&format!("hint: {}", terminal(hint)), room) {
                out.push_str(&format!("    {}\n", paint(DIM, line)));
            }
        }
    }
    out
}
