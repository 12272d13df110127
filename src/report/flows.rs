//! Whether the required flows hold: for a terminal and an incident channel, for programs, and for CI (JUnit's XML).
//!
//! The first line of the text is enough at three in the morning: which flow, which rule, who put it there.

mod junit;

pub use junit::junit;

use super::diff::side;
use super::effects::{by, done, packet};
use super::escape::terminal;
use super::style::{BAD, DIM, GOOD, WARN, paint};
use super::time::utc;
use super::wording::{clip, count, host, short, thousands};
use super::{Options, gaps, pretty, who};
use crate::model::{CheckResult, Expect, FlowDirection, FlowOutcome, FlowsResult, Provenance};

/// Flows that the first line names.
const NAMED: usize = 3;
/// Characters of what breaks a flow, in the first line.
const ROOM: usize = 200;
/// Statements about packets that are shown of one flow.
const PACKETS: usize = 5;

/// The result as text.
pub fn text(result: &FlowsResult, options: &Options<'_>) -> String {
    let mut out = format!("{}\n", headline(result));
    let shown = in_order(&result.flows);
    if !shown.is_empty() {
        out.push('\n');
    }
    for flow in shown {
        push_flow(&mut out, flow);
    }
    out.push_str(&gaps::block(&result.gaps, options));
    out
}

/// The result as `fwdrift.flows/1`.
pub fn json(result: &FlowsResult) -> String {
    pretty(result)
}

/// Those that do not hold first, then those that nobody knows of; among equals in the file's order.
fn in_order(flows: &[FlowOutcome]) -> Vec<&FlowOutcome> {
    let mut all: Vec<&FlowOutcome> = flows.iter().collect();
    all.sort_by_key(|flow| match flow.holds {
        Some(false) => 0,
        None => 1,
        Some(true) => 2,
    });
    all
}

fn broken(flows: &[FlowOutcome]) -> Vec<&FlowOutcome> {
    flows.iter().filter(|flow| flow.holds == Some(false)).collect()
}

fn unclear(flows: &[FlowOutcome]) -> Vec<&FlowOutcome> {
    flows.iter().filter(|flow| flow.holds.is_none()).collect()
}

fn headline(result: &FlowsResult) -> String {
    let host = host(&result.host, result.netns.as_deref());
    let side = side(&result.against);
    let blind = result.gaps.iter().filter(|gap| gap.blinds_verdict).count();
    let unseen = match blind {
        0 => String::new(),
        n => format!("; {} could not be looked at", count(n, "source", "sources")),
    };
    let of = |some: &[&FlowOutcome]| match result.flows.len() {
        1 => "the required flow".to_owned(),
        n => format!("{} of {} required flows", thousands(some.len()), thousands(n)),
    };
    let (broken, unclear) = (broken(&result.flows), unclear(&result.flows));
    if let Some(first) = broken.first() {
        let are = if broken.len() == 1 { "is" } else { "are" };
        let why = match broken.len() {
            1 => cause(first).map(|cause| format!(", {}", clip(&cause, Some(ROOM)))).unwrap_or_default(),
            _ => String::new(),
        };
        let text = format!("{} {are} broken in {side}: {}{why}{unseen}", of(&broken), names(&broken));
        return format!("{}  {host}: {text}", paint(BAD, "BROKEN"));
    }
    if !unclear.is_empty() {
        let text = format!("{} cannot be determined in {side}: {}{unseen}", of(&unclear), names(&unclear));
        return format!("{}  {host}: {text}", paint(WARN, "UNKNOWN"));
    }
    let hold = match result.flows.len() {
        0 => "fwdrift.toml on main has no required flow".to_owned(),
        1 => format!("the required flow holds in {side}"),
        n => format!("all {n} required flows hold in {side}"),
    };
    match blind {
        0 => format!("{}  {host}: {hold}", paint(GOOD, "OK")),
        _ => format!("{}  {host}: {hold}, as far as could be seen{unseen}", paint(WARN, "UNKNOWN")),
    }
}

/// `"web to db", "backup" and 4 more`.
fn names(flows: &[&FlowOutcome]) -> String {
    let shown: Vec<String> = flows.iter().take(NAMED).map(|flow| name(flow)).collect();
    match flows.len().saturating_sub(NAMED) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn name(flow: &FlowOutcome) -> String {
    format!("\"{}\"", terminal(&flow.name))
}

/// `dropped by "tcp dport 3306 drop" (rule 1 of inet filter input), put there by ops1 as root at …`.
fn cause(flow: &FlowOutcome) -> Option<String> {
    let decider = flow.broken_by.as_ref()?;
    let who = decider.provenance.as_ref().map(|of| format!(", {}", put_there(of))).unwrap_or_default();
    Some(format!("{} {}{who}", done(decider), by(decider, None)))
}

fn put_there(provenance: &Provenance) -> String {
    match provenance {
        Provenance::Approved { by, time, .. } => {
            format!("approved by {} at {}", terminal(by), utc(*time))
        }
        Provenance::Drift { author, time, .. } => {
            let when = match (time, author.window) {
                (Some(time), _) => format!(" at {}", utc(*time)),
                (None, Some(window)) => format!(" {}", who::window(window)),
                (None, None) => String::new(),
            };
            format!("put there {}{when}, not approved", who::by(author))
        }
    }
}

/// Where that is written.
fn written(provenance: &Provenance) -> String {
    match provenance {
        Provenance::Approved { commit, path, line, .. } => {
            format!("baseline {}, {} line {line}", short(commit), terminal(path))
        }
        Provenance::Drift { id, .. } => format!("change {}", terminal(id)),
    }
}

fn push_flow(out: &mut String, flow: &FlowOutcome) {
    let (word, indent) = match flow.holds {
        Some(true) => (paint(GOOD, "ok"), "      "),
        Some(false) => (paint(BAD, "BROKEN"), "          "),
        None => (paint(WARN, "?"), "     "),
    };
    out.push_str(&format!("  {word}  {} {}\n", name(flow), paint(DIM, format!("({})", asked(flow)))));
    for line in details(flow) {
        out.push_str(&format!("{indent}{line}\n"));
    }
}

/// `allow, request, at input`.
fn asked(flow: &FlowOutcome) -> String {
    let which = match flow.direction {
        FlowDirection::Request => "request",
        FlowDirection::Answer => "answer",
        FlowDirection::Both => "both directions",
    };
    format!("{}, {which}, at {}", flow.expect.as_str(), terminal(&flow.path))
}

/// What of it is otherwise, why, and whom to ask; nothing for one that holds.
fn details(flow: &FlowOutcome) -> Vec<String> {
    if flow.holds == Some(true) {
        return Vec::new();
    }
    let packets = flow.packets.iter().take(PACKETS).map(|text| match flow.holds {
        None => format!("depends on {}", terminal(text)),
        Some(_) => terminal(text),
    });
    let mut lines: Vec<String> = packets.collect();
    let hidden = flow.packets.len().saturating_sub(PACKETS);
    if hidden > 0 {
        let more = count(hidden, "more statement", "more statements");
        lines.push(paint(DIM, format!("… {more} (--format json has all)")));
    }
    if let Some(decider) = &flow.broken_by {
        lines.push(format!("{} {}", done(decider), by(decider, None)));
        if let Some(provenance) = &decider.provenance {
            lines.push(format!("{} ({})", put_there(provenance), written(provenance)));
        }
    } else if flow.holds == Some(false) {
        lines.push(match flow.expect {
            Expect::Allow => "no rule lets it through".to_owned(),
            Expect::Deny => "no rule stands against it".to_owned(),
        });
    }
    lines.extend(flow.sample.as_ref().map(|sample| format!("for example {}", packet(sample))));
    let owner = flow.owner.as_deref().map(|owner| format!("owner: {}", terminal(owner)));
    let ticket = flow.ticket.as_deref().map(|ticket| format!("ticket: {}", terminal(ticket)));
    let whom: Vec<String> = [owner, ticket].into_iter().flatten().collect();
    lines.extend((!whom.is_empty()).then(|| whom.join(", ")));
    lines
}

/// What the first line of `check` says of flows beside its verdict: `; required flow "a" is broken`. Those that were
/// `told` of are left out.
pub(super) fn also(result: &CheckResult, told: &[&str]) -> String {
    let untold = |flow: &&FlowOutcome| !told.contains(&flow.name.as_str());
    let broken: Vec<&FlowOutcome> = broken(&result.flows).into_iter().filter(untold).collect();
    let parts = [sentence(&broken, "broken"), sentence(&unclear(&result.flows), "unclear")];
    parts.into_iter().flatten().map(|part| format!("; {part}")).collect()
}

/// What a line that tells of no flow yet says of them: `; required flow "a" is broken`.
pub fn remark(result: &CheckResult) -> String {
    also(result, &[])
}

/// `required flow "a" is broken`, `required flows "a", "b" are broken`; none for no flow.
fn sentence(flows: &[&FlowOutcome], word: &str) -> Option<String> {
    match flows.len() {
        0 => None,
        1 => Some(format!("required flow {} is {word}", names(flows))),
        _ => Some(format!("required flows {} are {word}", names(flows))),
    }
}

/// The first line of `check` where flows decide its word, without a word on the baseline: what is broken, else what is
/// unclear. None if all hold.
pub(super) fn trouble(result: &CheckResult) -> Option<(String, String)> {
    let (broken, unclear) = (broken(&result.flows), unclear(&result.flows));
    let both = |first: String| match sentence(&unclear, "unclear") {
        Some(second) if !broken.is_empty() => format!("{first}; {second}"),
        Some(_) | None => first,
    };
    match sentence(&broken, "broken") {
        Some(text) => Some((paint(BAD, "BROKEN"), both(text))),
        None => sentence(&unclear, "unclear").map(|text| (paint(WARN, "UNKNOWN"), text)),
    }
}

/// The block of `check` with the flows that do not hold or are unclear; empty if all hold.
pub(super) fn block(flows: &[FlowOutcome]) -> String {
    let mut out = String::new();
    for flow in in_order(flows).into_iter().filter(|flow| flow.holds != Some(true)) {
        if out.is_empty() {
            out.push_str(&format!("\n{}\n", paint(super::style::HEADING, "required flows")));
        }
        push_flow(&mut out, flow);
    }
    out
}

#[cfg(test)]
mod tests;
