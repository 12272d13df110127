//! The changes themselves: grouped by table and chain, in native syntax, with who and when.

use super::effects;
use super::escape::{multi_line, terminal};
use super::style::{ADDED, DIM, HEADING, REMOVED, marker, paint};
use super::time::Reference;
use super::who;
use super::wording::{count, from_to, place, table, thousands, what};
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
    /// Changes in all.
    pub(super) total: usize,
    /// Statements about traffic of one change.
    pub(super) effects: usize,
    /// Of whom something is said.
    pub(super) authors: Authors,
}

/// Of which authors text output speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Authors {
    /// All; of an unknown one, too, as nobody may take silence for an answer.
    All,
    /// Those that are known: the sides of a comparison need not have been made one from the other.
    Known,
}

impl Detail<'static> {
    /// Enough to understand; the rest is counted.
    pub(super) const BRIEF: Self = Self {
        reference: None,
        whole: "--format json",
        lines: 20,
        changes: 40,
        total: 400,
        effects: effects::BRIEF,
        authors: Authors::All,
    };
    /// Everything.
    pub(super) const FULL: Self = Self {
        reference: None,
        whole: "--format json",
        lines: usize::MAX,
        changes: usize::MAX,
        total: usize::MAX,
        effects: usize::MAX,
        authors: Authors::All,
    };
}

/// All changes under the headings of their tables and chains. Who and when is said once where it is the
/// same for all, or for all of a group.
pub(super) fn blocks(changes: &[Change], detail: Detail<'_>) -> String {
    let all: Vec<&Change> = changes.iter().collect();
    let shown = &all[..all.len().min(detail.total)];
    let mut said = Said { for_all: all.len() > 1 && who::same(&all), above: None };
    let mut out = String::new();
    if let (true, Some(first)) = (said.for_all, all.first())
        && is_told(first, detail)
    {
        push_who(&mut out, first, "  ", detail);
    }
    for (heading, of_table) in grouped(shown, table) {
        out.push_str(&format!("\n{}\n", paint(HEADING, heading)));
        for (heading, of_place) in grouped(&of_table, place) {
            if let Some(heading) = &heading {
                out.push_str(&format!("  {}\n", paint(HEADING, heading)));
            }
            let indent = if heading.is_some() { "    " } else { "  " };
            push_group(&mut out, &of_place, indent, &mut said, detail);
        }
    }
    let hidden = all.len() - shown.len();
    if hidden > 0 {
        out.push('\n');
        out.push_str(&cut("", &count(hidden, "more change", "more changes"), detail.whole));
    }
    out
}

/// Whose authorship has been said already.
struct Said<'a> {
    for_all: bool,
    above: Option<&'a Change>,
}

/// The changes of one chain or set.
fn push_group<'a>(
    out: &mut String,
    group: &[&'a Change],
    indent: &str,
    said: &mut Said<'a>,
    detail: Detail<'_>,
) {
    let once = group.len() > 1 && who::same(group);
    if once {
        say_who(out, group[0], indent, said, detail);
    }
    for change in group.iter().take(detail.changes) {
        push_change(out, change, indent, detail);
        if !once {
            say_who(out, change, &format!("{indent}  "), said, detail);
        }
        for line in effects::lines(change, detail.effects, detail.whole) {
            out.push_str(&format!("{indent}  {line}\n"));
        }
        push_id(out, change, indent);
    }
    let hidden = group.len().saturating_sub(detail.changes);
    if hidden > 0 {
        out.push_str(&cut(indent, &count(hidden, "more change", "more changes"), detail.whole));
    }
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

/// Who and when, shortly where that is just what was said last.
fn say_who<'a>(out: &mut String, change: &'a Change, indent: &str, said: &mut Said<'a>, detail: Detail<'_>) {
    if said.for_all || !is_told(change, detail) {
        return;
    }
    if said.above.is_some_and(|above| who::same(&[above, change])) {
        out.push_str(&format!("{indent}by {}, as above\n", who::name(&change.author)));
        return;
    }
    push_who(out, change, indent, detail);
    said.above = Some(change);
}

fn is_told(change: &Change, detail: Detail<'_>) -> bool {
    detail.authors == Authors::All || change.author.is_known()
}

fn push_who(out: &mut String, change: &Change, indent: &str, detail: Detail<'_>) {
    for (at, line) in who::lines(&change.author, change.time, detail.reference).iter().enumerate() {
        let detail_of_known = at > 0 && change.author.is_known();
        let line = if detail_of_known { paint(DIM, line) } else { line.clone() };
        out.push_str(&format!("{indent}{line}\n"));
    }
}

fn push_change(out: &mut String, change: &Change, indent: &str, detail: Detail<'_>) {
    let (style, mark) = marker(change.kind);
    if let Some(line) = from_to(change) {
        out.push_str(&format!("{indent}{}\n", paint(style, format!("{mark} {line}"))));
        return;
    }
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
    let mut rows: Vec<(Style, String)> = vec![];
    for op in capture_diff_slices(Algorithm::Histogram, before, after) {
        let (old, new) = (&before[op.old_range()], &after[op.new_range()]);
        if let DiffOp::Equal { .. } = op {
            rows.extend(unchanged(old));
        } else {
            rows.extend(old.iter().map(|line| (REMOVED, format!("- {line}"))));
            rows.extend(new.iter().map(|line| (ADDED, format!("+ {line}"))));
        }
    }
    for (style, line) in rows.iter().take(detail.lines) {
        out.push_str(&format!("{indent}{}\n", paint(*style, line)));
    }
    let hidden = rows.len().saturating_sub(detail.lines);
    if hidden > 0 {
        out.push_str(&cut(indent, &count(hidden, "more line", "more lines"), detail.whole));
    }
}

/// One or two lines are shown for orientation, with a gutter of their own (an unchanged line could hold
/// a faked heading, too); more are counted.
fn unchanged(lines: &[String]) -> Vec<(Style, String)> {
    match lines.len() {
        0..=2 => lines.iter().map(|line| (DIM, format!("= {line}"))).collect(),
        n => vec![(DIM, format!("… {} unchanged lines", thousands(n)))],
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
