//! Texts and lists cut to a size at which every receiver takes them. Pure.

use crate::model::{Approval, Author, Change, Gap};

/// Characters of an alert's first line.
const LINE: usize = 1_500;
/// Bytes of an alert's details.
const BLOCK: usize = 32 << 10;
/// Characters of one side of a change.
const SIDE: usize = 2_000;
/// Changes of one alert, and the bytes that they may take as JSON.
const CHANGES: usize = 40;
const CHANGES_BYTES: usize = 32 << 10;
/// Characters of a name, a path, a reason.
const NAME: usize = 500;
const CANDIDATES: usize = 5;
const GAPS: usize = 10;

/// The first characters of a text, with `…` where that is not all of it.
pub(super) fn text(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

pub(super) fn line(line: &str) -> String {
    text(line, LINE)
}

/// Whole lines, and a last one that says where the rest is.
pub(super) fn block(block: &str) -> String {
    if block.len() <= BLOCK {
        return block.to_owned();
    }
    let mut end = 0;
    for line in block.split_inclusive('\n') {
        if end + line.len() > BLOCK {
            break;
        }
        end += line.len();
    }
    format!("{}… more than an alert holds\n", &block[..end])
}

pub(super) fn changes(changes: &[Change]) -> Vec<Change> {
    let mut room = CHANGES_BYTES;
    let mut kept = Vec::new();
    for change in changes.iter().take(CHANGES) {
        let change = self::change(change);
        let size = serde_json::to_vec(&change).map_or(usize::MAX, |bytes| bytes.len());
        match room.checked_sub(size) {
            Some(rest) => room = rest,
            None => break,
        }
        kept.push(change);
    }
    kept
}

fn change(change: &Change) -> Change {
    let side = |side: &Option<String>| side.as_deref().map(|side| text(side, SIDE));
    Change {
        before: side(&change.before),
        after: side(&change.after),
        note: side(&change.note),
        impact: change.impact.as_ref().filter(|impact| impact.len() <= GAPS).cloned(),
        author: author(&change.author),
        ..change.clone()
    }
}

pub(super) fn author(author: &Author) -> Author {
    let name = |name: &Option<String>| name.as_deref().map(|name| text(name, NAME));
    Author {
        name: text(&author.name, NAME),
        comm: name(&author.comm),
        exe: name(&author.exe),
        cmdline: author.cmdline.as_deref().map(|line| text(line, SIDE)),
        unit: name(&author.unit),
        parents: author.parents.iter().take(CHANGES).map(|parent| text(parent, NAME)).collect(),
        candidates: author.candidates.iter().take(CANDIDATES).map(self::author).collect(),
        ..author.clone()
    }
}

pub(super) fn gaps(gaps: &[Gap]) -> Vec<Gap> {
    let shorter = |gap: &Gap| Gap {
        source: text(&gap.source, NAME),
        reason: text(&gap.reason, NAME),
        hint: gap.hint.as_deref().map(|hint| text(hint, NAME)),
        blinds_verdict: gap.blinds_verdict,
    };
    gaps.iter().take(GAPS).map(shorter).collect()
}

pub(super) fn approval(approval: &Approval) -> Approval {
    let short = |words: &Option<String>| words.as_deref().map(|words| text(words, SIDE));
    Approval {
        commit: approval.commit.clone(),
        approver: text(&approval.approver, NAME),
        reason: short(&approval.reason),
        ticket: short(&approval.ticket),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(text("äöü", 3), "äöü");
        assert_eq!(text("äöü", 2), "äö…");
        assert_eq!(text("", 0), "");
    }

    #[test]
    fn a_block_is_cut_between_lines() {
        let long = "0123456789\n".repeat(4_000);
        let cut = block(&long);
        assert!(cut.len() <= BLOCK + 40 && cut.ends_with("0123456789\n… more than an alert holds\n"));
        assert!(block(&"x".repeat(BLOCK + 1)).len() < 40);
    }
}
