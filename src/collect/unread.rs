//! What holds packet filter state that this version does not compare: named, so that nobody takes it for
//! looked at. Nothing is loaded or created by asking.

use crate::model::Gap;

/// A gap for each kind of state that the calling thread's namespace holds and that is not compared. The
/// verdict is about the rest, so these do not alter it.
pub fn gaps() -> Vec<Gap> {
    let mut gaps = Vec::new();
    let arp = std::fs::read_to_string("/proc/thread-self/net/arp_tables_names").unwrap_or_default();
    if !arp.is_empty() {
        gaps.push(gap("arptables-legacy", "a table exists and is not compared by this version"));
    }
    let modules = std::fs::read_to_string("/proc/modules").unwrap_or_default();
    if modules.lines().any(|line| line.starts_with("ebtable_")) {
        gaps.push(gap("ebtables-legacy", "a table may exist and is not compared by this version"));
    }
    gaps
}

fn gap(source: &str, reason: &str) -> Gap {
    Gap { source: source.to_owned(), reason: reason.to_owned(), hint: None, blinds_verdict: false }
}
