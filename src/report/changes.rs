//! The changes themselves: grouped by table and chain, in native syntax, with who and when.

use super::escape::{multi_line, terminal};
use super::style::{ADDED, DIM, HEADING, REMOVED, marker, paint};
use super::time::Reference;
use super::who;
use super::wording::{count, place, table, thousands, what};
use crate::model::{Change, ChangeKind, ObjectKind};
use anstyle::Style;
use similar::{Algorithm, DiffOp, capture_diff_slices};
use std::collections::HashMap;

/// Longer lines than this (bytes) are not searched for the words that changed.
const WORDS_LIMIT: usize = 2_000;
/// Texts with more lines than this are not aligned; they are shown one after the other.
const ALIGN_LIMIT: usize = 20_000;

/// How much is shown, and what times are told relative to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Detail<'a> {
    pub(super) reference: Option<Reference>,
    /// Where all of it can be read.
    pub(super) whole: &'a str,
    /// Lines of one side of one change.
    pub(super) lines: usize,
    /// Changes in one chain or set.
    pub(super) changes: usize,
}

impl Detail<'static> {
    /// Enough to understand; the rest is counted.
    pub(super) const BRIEF: Self = Self { reference: None, whole: "--format json", lines: 20, changes: 40 };
    /// Everything.
    pub(super) const FULL: Self =
        Self { reference: None, whole: "--format json", lines: usize::MAX, changes: usize::MAX };
}

/// All changes under the headings of their tables and chains. Who and when is said once where it is the
/// same for all, or for all of a group.
pub(super) fn blocks(changes: &[Change], detail: Detail<'_>) -> String {
    let all: Vec<&Change> = changes.iter().collect();
    let once = all.len() > 1 && who::same(&all);
    let mut out = String::new();
    let mut above: Option<&Change> = None;
    if let (true, Some(first)) = (once, all.first()) {
        push_who(&mut out, first, "  ", detail);
    }
    for (heading, of_table) in grouped(&all, table) {
        out.push_str(&format!("\n{}\n", paint(HEADING, heading)));
        for (heading, of_place) in grouped(&of_table, place) {
            let indent = if heading.is_some() { "    " } else { "  " };
            if let Some(heading) = &heading {
                out.push_str(&format!("  {}\n", paint(HEADING, heading)));
            }
            let once_here = !once && of_place.len() > 1 && who::same(&of_place);
            if once_here {
                push_who(&mut out, of_place[0], indent, detail);
            }
            for change in of_place.iter().take(detail.changes) {
                let said = once || once_here;
                push_change(&mut out, change, indent, detail);
                if !said {
                    let again = above.is_some_and(|above| who::same(&[above, change]));
                    push_under(&mut out, change, &format!("{indent}  "), again, detail);
                    above = Some(change);
                }
                push_id(&mut out, change, indent);
            }
            let hidden = of_place.len().saturating_sub(detail.changes);
            if hidden > 0 {
                out.push_str(&cut(indent, &count(hidden, "more change", "more changes"), detail.whole));
            }
        }
    }
    out
}

/// Splits into groups by key, in the order of each key's first occurrence.
fn grouped<'a, K: Clone + Eq + std::hash::Hash>(
    changes: &[&'a Change],
    key: impl Fn(&Change) -> K,
) -> Vec<(K, Vec<&'a Change>)> {
    let mut groups: Vec<(K, Vec<&'a Change>)> = vec![];
    let mut places: HashMap<K, usize> = HashMap::new();
    for change in changes {
        let key = key(change);
        let at = *places.entry(key.clone()).or_insert(groups.len());
        if at == groups.len() {
            groups.push((key, vec![]));
        }
        groups[at].1.push(change);
    }
    groups
}

fn push_who(out: &mut String, change: &Change, indent: &str, detail: Detail<'_>) {
    for (at, line) in who::lines(&change.author, change.time, detail.reference).iter().enumerate() {
        let detail_of_known = at > 0 && change.author.is_known();
        let line = if detail_of_known { paint(DIM, line) } else { line.clone() };
        out.push_str(&format!("{indent}{line}\n"));
    }
}

/// Who and when under one change; shortly, where that is just what the change above says.
fn push_under(out: &mut String, change: &Change, indent: &str, again: bool, detail: Detail<'_>) {
    if again {
        out.push_str(&format!("{indent}by {}, as above\n", who::name(&change.author)));
    } else {
        push_who(out, change, indent, detail);
    }
}

fn push_change(out: &mut String, change: &Change, indent: &str, detail: Detail<'_>) {
    let (style, mark) = marker(change.kind);
    let before = change.before.as_deref().map(|text| shown_lines(change, text));
    let after = change.after.as_deref().map(|text| shown_lines(change, text));
    match (change.kind, before, after) {
        (ChangeKind::Modified, Some(before), Some(after)) if before != after => {
            out.push_str(&format!("{indent}{}\n", paint(style, format!("{mark} {}", title(change)))));
            push_both(out, &before, &after, &format!("{indent}  "), detail);
        }
        (ChangeKind::Removed, Some(lines), _)
        | (ChangeKind::Added | ChangeKind::Modified | ChangeKind::Moved, _, Some(lines))
        | (_, Some(lines), None) => push_lines(out, &lines, indent, (style, mark), detail),
        (_, None, _) => {
            out.push_str(&format!("{indent}{}\n", paint(style, format!("{mark} {}", what(change)))));
        }
    }
}

/// What it is, unless its title said so, and the id by which `approve` chooses it.
fn push_id(out: &mut String, change: &Change, indent: &str) {
    let id = terminal(&change.id);
    let line = match change.kind {
        ChangeKind::Modified => format!("id {id}"),
        ChangeKind::Added | ChangeKind::Removed | ChangeKind::Moved => format!("{}, id {id}", what(change)),
    };
    out.push_str(&format!("{indent}  {}\n", paint(DIM, line)));
    if let Some(note) = &change.note {
        out.push_str(&format!("{indent}  note: {}\n", terminal(note)));
    }
}

/// What is modified; the chain's own heading stands above already.
fn title(change: &Change) -> String {
    match change.object {
        ObjectKind::Chain => "definition".to_owned(),
        _ => what(change),
    }
}

/// A rule or an element is one line whatever its comment holds; the rest keeps its line breaks.
pub(super) fn shown_lines(change: &Change, text: &str) -> Vec<String> {
    match change.object {
        ObjectKind::Rule | ObjectKind::Element => vec![terminal(text.trim())],
        _ => multi_line(text.trim_matches('\n')).lines().map(str::to_owned).collect(),
    }
}

fn push_lines(out: &mut String, lines: &[String], indent: &str, gutter: (Style, &str), detail: Detail<'_>) {
    let (style, mark) = gutter;
    for line in lines.iter().take(detail.lines) {
        out.push_str(&format!("{indent}{}\n", paint(style, format!("{mark} {line}"))));
    }
    let hidden = lines.len().saturating_sub(detail.lines);
    if hidden > 0 {
        out.push_str(&cut(indent, &count(hidden, "more line", "more lines"), detail.whole));
    }
}

fn cut(indent: &str, what: &str, whole: &str) -> String {
    format!("{indent}{}\n", paint(DIM, format!("… {what} ({whole} has all)")))
}

/// Before and after. One line each: the words that differ stand out. Several: only the lines that
/// differ, aligned.
fn push_both(out: &mut String, before: &[String], after: &[String], indent: &str, detail: Detail<'_>) {
    if let ([before], [after]) = (before, after) {
        let (before, after) = emphasised(before, after);
        out.push_str(&format!("{indent}{}{before}\n", paint(REMOVED, "- ")));
        out.push_str(&format!("{indent}{}{after}\n", paint(ADDED, "+ ")));
        return;
    }
    if before.len().max(after.len()) > ALIGN_LIMIT {
        push_lines(out, before, indent, (REMOVED, "-"), detail);
        push_lines(out, after, indent, (ADDED, "+"), detail);
        return;
    }
    for op in capture_diff_slices(Algorithm::Histogram, before, after) {
        let (old, new) = (&before[op.old_range()], &after[op.new_range()]);
        if let DiffOp::Equal { .. } = op {
            push_unchanged(out, old, indent);
        } else {
            push_lines(out, old, indent, (REMOVED, "-"), detail);
            push_lines(out, new, indent, (ADDED, "+"), detail);
        }
    }
}

fn push_unchanged(out: &mut String, lines: &[String], indent: &str) {
    if lines.len() <= 2 {
        for line in lines {
            // A gutter of its own: an unchanged line could hold a faked heading, too.
            out.push_str(&format!("{indent}{}\n", paint(DIM, format!("= {line}"))));
        }
    } else {
        let text = format!("… {} unchanged lines", thousands(lines.len()));
        out.push_str(&format!("{indent}{}\n", paint(DIM, text)));
    }
}

/// The two lines with the words that differ in bold and underlined. The input is bounded, and so is the
/// Histogram algorithm's work on it: no deadline, hence no clock, is needed.
fn emphasised(before: &str, after: &str) -> (String, String) {
    if before.len().max(after.len()) > WORDS_LIMIT {
        return (paint(REMOVED, before), paint(ADDED, after));
    }
    let (old, new) = (words(before), words(after));
    let (mut left, mut right) = (String::new(), String::new());
    for op in capture_diff_slices(Algorithm::Histogram, &old, &new) {
        let same = matches!(op, DiffOp::Equal { .. });
        push_words(&mut left, &old[op.old_range()], REMOVED, same);
        push_words(&mut right, &new[op.new_range()], ADDED, same);
    }
    (left, right)
}

fn push_words(out: &mut String, words: &[&str], style: Style, same: bool) {
    if !words.is_empty() {
        let style = if same { style } else { style.bold().underline() };
        out.push_str(&paint(style, words.concat()));
    }
}

/// Words and the spaces between them, each a piece of its own.
fn words(line: &str) -> Vec<&str> {
    let mut pieces = vec![];
    let mut rest = line;
    while !rest.is_empty() {
        let spaces = rest.starts_with(' ');
        let end = rest.find(|c| (c == ' ') != spaces).unwrap_or(rest.len());
        pieces.push(&rest[..end]);
        rest = &rest[end..];
    }
    pieces
}
