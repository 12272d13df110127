//! Texts and lists cut to a size at which every receiver takes them. Pure.

use crate::model::{Approval, Author, Change, Decider, Effect, Gap, Provenance};
use std::collections::BTreeMap;

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
/// Statements about traffic of one change, and the bytes that they may take as JSON.
const EFFECTS: usize = 10;
const EFFECTS_BYTES: usize = 8 << 10;
/// Characters of a statement, of a rule in it.
const SHORT: usize = 200;

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

pub(super) fn block(block: &str) -> String {
    both_ends(block, BLOCK)
}

/// The first and the last lines of a text, in `most` bytes: what happened is at its beginning, what to do at its end.
pub(super) fn both_ends(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let fitting = |room: usize, lines: &mut dyn Iterator<Item = &str>| {
        let mut bytes = 0;
        for line in lines {
            if bytes + line.len() > room {
                break;
            }
            bytes += line.len();
        }
        bytes
    };
    let last = fitting(most / 2, &mut text.split_inclusive('\n').rev());
    let first = fitting(most - last, &mut text.split_inclusive('\n'));
    let (first, last) = (&text[..first], &text[text.len() - last..]);
    let left_out = text.lines().count() - first.lines().count() - last.lines().count();
    format!("{first}  … {left_out} more lines …\n{last}")
}

pub(super) fn changes(changes: &[Change]) -> Vec<Change> {
    as_many(changes.iter().take(CHANGES).map(change), CHANGES_BYTES)
}

/// The first ones that have room together, as JSON.
fn as_many<T: serde::Serialize>(all: impl Iterator<Item = T>, mut room: usize) -> Vec<T> {
    let mut kept = Vec::new();
    for one in all {
        let size = serde_json::to_vec(&one).map_or(usize::MAX, |bytes| bytes.len());
        match room.checked_sub(size) {
            Some(rest) => room = rest,
            None => break,
        }
        kept.push(one);
    }
    kept
}

fn change(change: &Change) -> Change {
    let side = |side: &Option<String>| side.as_deref().map(|side| text(side, SIDE));
    let impact =
        change.impact.as_ref().map(|all| as_many(all.iter().take(EFFECTS).map(effect), EFFECTS_BYTES));
    let left_out = change.impact.iter().flatten().count() - impact.iter().flatten().count();
    Change {
        before: side(&change.before),
        after: side(&change.after),
        note: side(&change.note),
        impact,
        impact_incomplete: impact_incomplete(change, left_out),
        author: author(&change.author),
        ..change.clone()
    }
}

/// Says of a list that was cut that it was.
fn impact_incomplete(change: &Change, left_out: usize) -> Option<String> {
    let known = change.impact_incomplete.as_deref().map(|why| text(why, NAME));
    match (known, left_out) {
        (known, 0) => known,
        (None, n) => Some(format!("an alert holds no more: {n} left out")),
        (Some(why), n) => Some(format!("{why}; an alert holds no more: {n} left out")),
    }
}

fn effect(effect: &Effect) -> Effect {
    let name = |name: &Option<String>| name.as_deref().map(|name| text(name, SHORT));
    let fields = |fields: &BTreeMap<String, String>| {
        fields.iter().take(CHANGES).map(|(name, value)| (text(name, SHORT), text(value, SHORT))).collect()
    };
    Effect {
        statement: text(&effect.statement, SHORT),
        src: name(&effect.src),
        dst: name(&effect.dst),
        sport: name(&effect.sport),
        dport: name(&effect.dport),
        iif: name(&effect.iif),
        oif: name(&effect.oif),
        other: fields(&effect.other),
        sample: fields(&effect.sample),
        was: effect.was.as_ref().map(decider),
        now: effect.now.as_ref().map(decider),
        conditions: effect.conditions.iter().take(GAPS).map(|condition| text(condition, SHORT)).collect(),
        flow: name(&effect.flow),
        ..effect.clone()
    }
}

fn decider(decider: &Decider) -> Decider {
    let provenance = decider.provenance.as_ref().map(|provenance| match provenance {
        Provenance::Approved { .. } => provenance.clone(),
        Provenance::Drift { id, author, time } => {
            Provenance::Drift { id: id.clone(), author: Box::new(self::author(author)), time: *time }
        }
    });
    Decider {
        text: decider.text.as_deref().map(|rule| text(rule, SHORT)),
        table: text(&decider.table, SHORT),
        chain: text(&decider.chain, SHORT),
        provenance,
        ..decider.clone()
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
    fn a_block_is_cut_between_lines_and_keeps_both_ends() {
        let long = format!("first\n{}next\n  accept it\n", "0123456789\n".repeat(4_000));
        let cut = block(&long);
        assert!(cut.len() <= BLOCK + 40 && cut.starts_with("first\n0123456789\n"), "{}", cut.len());
        assert!(cut.ends_with("0123456789\nnext\n  accept it\n"));
        let kept = cut.lines().count() - 1;
        assert!(cut.contains(&format!("\n  … {} more lines …\n0123456789\n", 4_003 - kept)));
        assert_eq!(block(&"x".repeat(BLOCK + 1)), "  … 1 more lines …\n");
        assert_eq!(both_ends("a\nb\n", 4), "a\nb\n");
    }
}
