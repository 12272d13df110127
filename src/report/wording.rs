//! Phrases that several renderers share.

use super::escape;
use super::time::utc;
use crate::model::{Change, ChangeKind, Event, EventKind, ObjectKind, Source, Summary};

/// Hexadecimal digits of a commit that text output shows.
const SHORT: usize = 12;

/// The first digits of a commit or state id.
pub(super) fn short(id: &str) -> String {
    escape::terminal(id).chars().take(SHORT).collect()
}

/// `1 change`, `4,980 changes`.
pub(super) fn count(n: usize, one: &str, many: &str) -> String {
    format!("{} {}", thousands(n), if n == 1 { one } else { many })
}

/// `4,980`.
pub(super) fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, c) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `2 added, 1 moved`; kinds that do not occur are left out.
pub(super) fn kinds(summary: &Summary) -> String {
    let all = [
        (summary.added, "added"),
        (summary.removed, "removed"),
        (summary.modified, "modified"),
        (summary.moved, "moved"),
    ];
    let seen: Vec<String> =
        all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", thousands(*n))).collect();
    if seen.is_empty() { "none".to_owned() } else { seen.join(", ") }
}

/// The host, and the namespace where one was asked for: `web-01`, `web-01 (netns dmz)`.
pub(super) fn host(name: &str, netns: Option<&str>) -> String {
    let name = escape::terminal(name);
    match netns {
        // The name of a namespace with a baseline of its own says it.
        Some(netns) if name.ends_with(&format!("@{netns}")) => name,
        Some(netns) => format!("{name} (netns {})", escape::terminal(netns)),
        None => name,
    }
}

/// `table inet filter`, with the interface where it is not native nft.
pub(super) fn table(change: &Change) -> String {
    let path = escape::terminal(&change.table_path());
    match change.source {
        Source::Nft => format!("table {path}"),
        Source::Ipset | Source::Sysctl | Source::Bpf => path,
        Source::IptablesNft | Source::IptablesLegacy | Source::Arptables | Source::Ebtables => {
            format!("table {path} ({})", change.source.as_str())
        }
    }
}

/// The part of a table that text output groups by: `chain input`, `elements of bl`.
pub(super) fn place(change: &Change) -> Option<String> {
    match (&change.chain, change.object) {
        (Some(chain), _) => Some(format!("chain {}", escape::terminal(chain))),
        (None, ObjectKind::Element) => {
            Some(format!("elements of {}", escape::terminal(change.name.as_deref().unwrap_or("?"))))
        }
        (None, _) => None,
    }
}

/// What changed, in a few words: `rule 4`, `set bl`, `element of bl`.
pub(super) fn what(change: &Change) -> String {
    let name = change.name.as_deref().map(escape::terminal);
    match change.object {
        ObjectKind::Rule => rule(change),
        ObjectKind::Element => "element".to_owned(),
        ObjectKind::Table => format!("table {}", escape::terminal(&change.table)),
        ObjectKind::Chain => match change.chain.as_deref().map(escape::terminal).or(name) {
            Some(chain) => format!("chain {chain}"),
            None => "chain".to_owned(),
        },
        other => match name {
            Some(name) => format!("{other} {name}"),
            None => other.to_string(),
        },
    }
}

fn rule(change: &Change) -> String {
    let place = change.position.unwrap_or_default();
    match (change.kind, place.before, place.after) {
        (ChangeKind::Moved, Some(before), Some(after)) => format!("rule moved from {before} to {after}"),
        (ChangeKind::Added | ChangeKind::Modified | ChangeKind::Moved, _, Some(after)) => {
            format!("rule {after}")
        }
        (ChangeKind::Removed, Some(before), _) => format!("was rule {before}"),
        (ChangeKind::Added | ChangeKind::Removed | ChangeKind::Modified | ChangeKind::Moved, _, _) => {
            "rule".to_owned()
        }
    }
}

/// Where a change is, on one line: `inet filter input`, `inet filter, set bl`.
pub(super) fn path(change: &Change) -> String {
    let table = escape::terminal(&change.table_path());
    match (&change.chain, &change.name) {
        (Some(chain), _) => format!("{table} {}", escape::terminal(chain)),
        (None, Some(name)) => format!("{table}, {}", escape::terminal(name)),
        (None, None) => table,
    }
}

/// The change on one line: marker, then its first line of text. Whole tables, chains and sets are
/// named, not shown.
pub(super) fn one_line(change: &Change) -> String {
    let marker = super::style::marker(change.kind).1;
    let text = match change.kind {
        ChangeKind::Removed => change.before.as_deref(),
        ChangeKind::Added | ChangeKind::Modified | ChangeKind::Moved => change.after.as_deref(),
    };
    if let Some(line) = from_to(change) {
        return format!("{marker} {line}");
    }
    match (change.object, text) {
        (
            ObjectKind::Rule | ObjectKind::Element | ObjectKind::Sysctl | ObjectKind::BpfProgram,
            Some(text),
        ) => {
            format!("{marker} {}", escape::terminal(text.trim()))
        }
        _ => format!("{marker} {}", what(change)),
    }
}

/// `net.ipv4.ip_forward: 0 → 1`: what changed of a kernel setting or a BPF program, where both sides have it.
pub(super) fn from_to(change: &Change) -> Option<String> {
    let name = change.name.as_deref().filter(|_| matches!(change.source, Source::Sysctl | Source::Bpf))?;
    let value =
        |text: &Option<String>| text.as_deref()?.strip_prefix(name)?.strip_prefix(" = ").map(str::to_owned);
    let (before, after) = (value(&change.before)?, value(&change.after)?);
    Some(escape::terminal(&format!("{name}: {before} → {after}")))
}

/// What a checkpoint states: `looked 96 times since 2026-05-14 00:00:00 UTC, in sync`.
pub(super) fn checkpoint(event: &Event) -> String {
    let Some(point) = &event.checkpoint else { return "firewall looked at, nothing new".to_owned() };
    let state = match (point.in_sync, point.drift_since) {
        (true, _) => "in sync".to_owned(),
        (false, Some(since)) => format!("in drift since {}", utc(since)),
        (false, None) => "not in sync".to_owned(),
    };
    let blind = match point.blind_looks {
        0 => String::new(),
        some => format!("; {some} of them could not see everything"),
    };
    format!("looked {} times since {}, {state}{blind}", point.looks, utc(point.from))
}

/// `41 43–57 60`: numbers in order, rows of them as their first and last.
pub(super) fn ranges(numbers: &[u32]) -> String {
    let mut found: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*number) => *last = *number,
            _ => found.push((*number, *number)),
        }
    }
    let text = |(first, last): (u32, u32)| match last - first {
        0 => first.to_string(),
        1 => format!("{first} {last}"),
        _ => format!("{first}–{last}"),
    };
    found.into_iter().map(text).collect::<Vec<_>>().join(" ")
}

/// Whether the changes of such an event are differences that ended, rather than new ones.
pub(super) fn ends(kind: EventKind) -> bool {
    match kind {
        EventKind::Reverted | EventKind::Applied | EventKind::Approved => true,
        EventKind::Drift | EventKind::Transient | EventKind::Gap | EventKind::Checkpoint => false,
    }
}

/// A line above changes that ended: their markers still say how they differed from the baseline.
pub(super) fn ended_heading(kind: EventKind) -> String {
    if ends(kind) { "\nended, of what differed from the baseline:\n".to_owned() } else { String::new() }
}

/// The first characters of a summary, with `…` if that is not all of it.
pub(super) fn clip(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if text.chars().count() > room => {
            format!("{}…", text.chars().take(room.saturating_sub(1)).collect::<String>())
        }
        Some(_) | None => text.to_owned(),
    }
}

/// Breaks prose at spaces so that no line passes `width` (but for words that are longer, and for
/// commands in backticks, which stay whole). Without a width it is one line.
pub(super) fn wrap(text: &str, width: Option<usize>) -> Vec<String> {
    let Some(width) = width else { return vec![text.to_owned()] };
    let mut lines = vec![];
    let mut line = String::new();
    for word in unbreakable(text) {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// The words of a text; what stands in backticks is part of one word.
fn unbreakable(text: &str) -> Vec<String> {
    let mut words = vec![];
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        quoted ^= c == '`';
        if c == ' ' && !quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        let check = |n, expect: &str| assert_eq!(thousands(n), expect);
        check(0, "0");
        check(999, "999");
        check(4_980, "4,980");
        check(1_000_000, "1,000,000");
    }

    #[test]
    fn prose_wraps_and_commands_do_not() {
        let text = "turn it on with `auditctl -e 1 and more` now please";
        assert_eq!(wrap(text, Some(20)), ["turn it on with", "`auditctl -e 1 and more`", "now please"]);
        assert_eq!(wrap(text, None), [text]);
    }
}
