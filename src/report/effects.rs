//! What a change did to traffic, in words: statements with the rules that decided before and decide now.
//!
//! Input: the effects of changes; output: lines without line breaks of anybody else's. Of what was not computed
//! nothing is said: silence is not "no effect".

use super::escape::terminal;
use super::style::{ADDED, BAD, DIM, REMOVED, WARN, paint};
use super::wording::{clip, count};
use crate::model::{Change, Decider, Effect, EffectKind, ObjectKind, Provenance, Severity};
use anstyle::Style;
use std::collections::{BTreeMap, BTreeSet};

/// Statements of one change where not all is shown.
pub(super) const BRIEF: usize = 5;
/// Columns of `opened`, the longer of the two words, and the two after it.
const GUTTER: usize = 8;
/// Required flows that are named in one line.
const FLOWS: usize = 3;
const NO_EFFECT: &str = "no effect on traffic";
/// Fields of a sample packet that are part of its line's form.
const OF_PACKET: [&str; 5] = ["proto", "src", "dst", "sport", "dport"];

/// The colour of a severity.
pub(super) fn severity_style(severity: Severity) -> Style {
    match severity {
        Severity::Critical | Severity::High => BAD,
        Severity::Medium => WARN,
        Severity::Low | Severity::Info => DIM,
    }
}

/// The lines below a change: its severity, then statement by statement, at most `limit` of them; `whole` says where
/// all can be read.
pub(super) fn lines(change: &Change, limit: usize, whole: &str) -> Vec<String> {
    let mut lines: Vec<String> = summary(change).into_iter().collect();
    let effects = change.impact.as_deref().unwrap_or_default();
    for effect in effects.iter().take(limit) {
        lines.extend(of_effect(effect, change));
    }
    let hidden = effects.len().saturating_sub(limit);
    if hidden > 0 {
        let more = count(hidden, "more statement", "more statements");
        lines.push(paint(DIM, format!("… {more} ({whole} has all)")));
    }
    if let Some(why) = &change.impact_incomplete {
        lines.push(paint(WARN, format!("traffic: {}", terminal(why))));
    }
    lines
}

/// `severity: critical, cuts required flow "web to db"`, `no effect on traffic`.
fn summary(change: &Change) -> Option<String> {
    let flows = of_flows(change.impact.iter().flatten());
    let what = flows.or(is_without_effect(change).then(|| NO_EFFECT.to_owned()));
    match (change.severity, what) {
        (Some(severity), what) => {
            let word = paint(severity_style(severity), severity);
            let what = what.map(|what| format!(", {what}")).unwrap_or_default();
            Some(format!("severity: {word}{what}"))
        }
        (None, Some(what)) => Some(what),
        (None, None) => None,
    }
}

/// Required flows that are cut; if none is, those that are opened. In the order of their names.
fn flows<'a>(effects: impl Iterator<Item = &'a Effect>) -> Option<(EffectKind, Vec<&'a str>)> {
    let concerned = effects.filter_map(|effect| Some((effect.effect, effect.flow.as_deref()?)));
    let all: BTreeSet<(EffectKind, &str)> = concerned.collect();
    let kind = all.iter().map(|(kind, _)| *kind).max()?;
    Some((kind, all.into_iter().filter(|(of, _)| *of == kind).map(|(_, name)| name).collect()))
}

/// `cuts required flow "web to db"`.
fn of_flows<'a>(effects: impl Iterator<Item = &'a Effect>) -> Option<String> {
    let (kind, all) = flows(effects)?;
    let verb = match kind {
        EffectKind::Cut => "cuts",
        EffectKind::Opened => "opens",
    };
    let named: Vec<String> = all.iter().take(FLOWS).map(|name| format!("\"{}\"", terminal(name))).collect();
    let more = match all.len().saturating_sub(FLOWS) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let noun = if all.len() == 1 { "flow" } else { "flows" };
    Some(format!("{verb} required {noun} {}{more}", named.join(", ")))
}

/// The required flows that [`worst`] names.
pub(super) fn flows_of_worst(changes: &[Change]) -> Vec<&str> {
    let severity = changes.iter().filter_map(|change| change.severity).max();
    let worst = changes.iter().filter(|change| change.severity.is_some() && change.severity == severity);
    let (_, mut names) =
        flows(worst.flat_map(|change| change.impact.iter().flatten())).unwrap_or((EffectKind::Cut, vec![]));
    names.truncate(FLOWS);
    names
}

fn of_effect(effect: &Effect, change: &Change) -> Vec<String> {
    let style = match effect.effect {
        EffectKind::Opened => ADDED,
        EffectKind::Cut => REMOVED,
    };
    let word = effect.effect.as_str();
    let indent = " ".repeat(GUTTER);
    let mut lines = vec![
        format!("{}{}", paint(style, format!("{word:<GUTTER$}")), body(effect)),
        format!("{indent}{}", decided(effect, change)),
        format!("{indent}for example {}", packet(&effect.sample)),
    ];
    // Mostly the statement names them.
    let untold = effect.conditions.iter().filter(|condition| !effect.statement.contains(condition.as_str()));
    let conditions: Vec<String> = untold.map(|text| terminal(text)).collect();
    if !conditions.is_empty() {
        lines.push(format!("{indent}depends on {}", conditions.join(", ")));
    }
    lines
}

/// Which packets: the statement without the word that stands before it, and without who decides, which follows.
fn body(effect: &Effect) -> String {
    let ends = ["; was ", "; now "].iter().filter_map(|word| effect.statement.find(word)).min();
    let text = effect.statement[..ends.unwrap_or(effect.statement.len())].trim();
    let rest = text.strip_prefix(effect.effect.as_str()).filter(|rest| rest.starts_with([' ', ':']));
    terminal(rest.unwrap_or(text).trim_start_matches([' ', ':']))
}

/// `was accepted by "tcp dport 3306 accept" (rule 14), now dropped by "…" (rule 1)`.
fn decided(effect: &Effect, change: &Change) -> String {
    let (before, after) = match effect.effect {
        EffectKind::Opened => ("dropped", "accepted"),
        EffectKind::Cut => ("accepted", "dropped"),
    };
    let is_own = |decider: &Decider| match &decider.provenance {
        Some(Provenance::Drift { id, .. }) => *id == change.id && decider.position.is_some(),
        Some(Provenance::Approved { .. }) | None => false,
    };
    let side = |decider: &Option<Decider>, otherwise: &str| match decider {
        Some(decider) if is_own(decider) && change.object == ObjectKind::Rule => {
            format!("{} by this rule", done(decider))
        }
        Some(decider) => format!("{} {}", done(decider), by(decider, Some(change))),
        None => format!("{otherwise}, as nothing decides it"),
    };
    format!("was {}, now {}", side(&effect.was, before), side(&effect.now, after))
}

/// What a verdict does to a packet.
pub(super) fn done(decider: &Decider) -> String {
    match decider.verdict.as_str() {
        "accept" => "accepted".to_owned(),
        "drop" => "dropped".to_owned(),
        "reject" => "rejected".to_owned(),
        other => format!("given {}", terminal(other)),
    }
}

/// `by "tcp dport 3306 accept" (rule 14, baseline line 21)`, with the chain if it is another one than the change's;
/// `by policy drop of inet filter input (baseline line 7)`.
pub(super) fn by(decider: &Decider, change: Option<&Change>) -> String {
    let chain = format!("{} {}", terminal(&decider.table), terminal(&decider.chain));
    let is_same = change.is_some_and(|change| {
        change.chain.as_deref() == Some(&decider.chain) && change.table_path() == decider.table
    });
    let of = if is_same { String::new() } else { format!(" of {chain}") };
    let line = decider.baseline.as_ref().map(|at| format!("baseline line {}", at.line));
    let beside = line.as_ref().map(|line| format!(" ({line})")).unwrap_or_default();
    match (decider.position, &decider.text) {
        (Some(position), Some(text)) => {
            let line = line.map(|line| format!(", {line}")).unwrap_or_default();
            format!("by \"{}\" (rule {position}{of}{line})", terminal(text.trim()))
        }
        (Some(position), None) => format!("by rule {position}{of}{beside}"),
        (None, Some(text)) => format!("by {} of {chain}{beside}", terminal(text.trim())),
        (None, None) => format!("by {chain}"),
    }
}

/// `tcp 10.0.1.0:1024 → 10.0.2.9:3306, state new`: what has no place in that form stands behind it.
pub(super) fn packet(sample: &BTreeMap<String, String>) -> String {
    let field = |name: &str| sample.get(name).map(|value| terminal(value));
    let end = |address: Option<String>, port: Option<String>| match (address, port) {
        (Some(address), Some(port)) if address.contains(':') => Some(format!("[{address}]:{port}")),
        (Some(address), Some(port)) => Some(format!("{address}:{port}")),
        (Some(address), None) => Some(address),
        (None, Some(port)) => Some(format!("port {port}")),
        (None, None) => None,
    };
    let ends = match (end(field("src"), field("sport")), end(field("dst"), field("dport"))) {
        (None, None) => None,
        (from, to) => {
            let any = || "any".to_owned();
            Some(format!("{} → {}", from.unwrap_or_else(any), to.unwrap_or_else(any)))
        }
    };
    let head: Vec<String> = [field("proto"), ends].into_iter().flatten().collect();
    let others = sample.iter().filter(|(name, _)| !OF_PACKET.contains(&name.as_str()));
    let others = others.map(|(name, value)| format!("{} {}", terminal(name), terminal(value)));
    let parts: Vec<String> =
        [head.join(" ")].into_iter().filter(|head| !head.is_empty()).chain(others).collect();
    if parts.is_empty() { "any packet".to_owned() } else { parts.join(", ") }
}

/// The statement that matters most among the changes of the highest severity, and that severity:
/// `critical: cuts required flow "web to db"`. None where no severity is known. `room` limits a statement.
pub(super) fn worst(changes: &[Change], room: Option<usize>) -> Option<(Severity, String)> {
    let severity = changes.iter().filter_map(|change| change.severity).max()?;
    let worst = || changes.iter().filter(|change| change.severity == Some(severity));
    let effects = || worst().flat_map(|change| change.impact.iter().flatten());
    // The first of a change is what matters most about it.
    let firsts = || worst().filter_map(|change| change.impact.as_ref()?.first());
    let largest = || firsts().max_by(|one, other| one.share.total_cmp(&other.share));
    let told = of_flows(effects()).or_else(|| largest().map(sentence));
    let told = told.or_else(|| changes.iter().all(is_without_effect).then(|| NO_EFFECT.to_owned()));
    Some((severity, told.map(|text| clip(&text, room)).unwrap_or_default()))
}

fn is_without_effect(change: &Change) -> bool {
    change.impact.as_ref().is_some_and(Vec::is_empty) && change.impact_incomplete.is_none()
}

fn sentence(effect: &Effect) -> String {
    format!("{} {}", effect.effect.as_str(), body(effect))
}

/// [`worst`] as the end of a first line: `, critical: cuts required flow "web to db"`; empty where nothing is known.
pub(super) fn clause(changes: &[Change], room: Option<usize>) -> String {
    match worst(changes, room) {
        Some((severity, told)) if told.is_empty() => {
            format!(", {}", paint(severity_style(severity), severity))
        }
        Some((severity, told)) => format!(", {}: {told}", paint(severity_style(severity), severity)),
        None => String::new(),
    }
}

/// [`worst`] as the begin of an alert's line: `critical, cuts required flow "web to db": `, plain; empty where nothing is
/// known.
pub(super) fn lead(changes: &[Change], room: usize) -> String {
    match worst(changes, Some(room)) {
        Some((severity, told)) if told.is_empty() => format!("{severity}: "),
        Some((severity, told)) => format!("{severity}, {told}: "),
        None => String::new(),
    }
}

/// As [`lead`], for a line that has to stay short: of effects, only required flows.
pub(super) fn short_lead(changes: &[Change]) -> String {
    let Some(severity) = changes.iter().filter_map(|change| change.severity).max() else {
        return String::new();
    };
    match of_flows(changes.iter().filter_map(|change| change.impact.as_ref()).flatten()) {
        Some(flows) => format!("{severity}, {flows}: "),
        None => format!("{severity}: "),
    }
}

#[cfg(test)]
mod tests;
