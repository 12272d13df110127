//! One packet's way, for a terminal and for programs.

use super::diff::side;
use super::effects::packet;
use super::escape::terminal;
use super::style::{BAD, DIM, GOOD, HEADING, WARN, paint};
use super::time::utc;
use super::wording::{host, short};
use super::{Options, gaps, pretty, who};
use crate::model::{Provenance, TraceResult, TraceStep, TraceVerdict};

/// The result as text: the verdict first, then each rule on the way with who put it there.
pub fn text(result: &TraceResult, options: &Options<'_>) -> String {
    let word = match result.verdict {
        TraceVerdict::Accept => paint(GOOD, "ACCEPT"),
        TraceVerdict::Drop => paint(BAD, "DROP"),
        TraceVerdict::Reject => paint(BAD, "REJECT"),
        TraceVerdict::Inconclusive => paint(WARN, "INCONCLUSIVE"),
    };
    let whole = host(&result.host, result.netns.as_deref());
    let mut out = format!(
        "{word}  {}, at {} of {whole}, {}\n",
        packet(&result.packet),
        terminal(&result.path),
        side(&result.against)
    );
    for condition in &result.conditions {
        out.push_str(&format!("depends on {}\n", terminal(condition)));
    }
    let mut above = None;
    for step in &result.steps {
        let place = (step.hook.as_str(), step.rule.table.as_str(), step.rule.chain.as_str());
        if above != Some(place) {
            let (hook, table, chain) = place;
            let heading = format!("{} {}", terminal(table), terminal(chain));
            out.push_str(&format!("\n{}  {}\n", paint(HEADING, hook), paint(HEADING, heading)));
            above = Some(place);
        }
        push_step(&mut out, step);
    }
    if result.steps.is_empty() {
        out.push_str("\nno rule matches it, and no chain has a policy for it\n");
    }
    out.push_str(&gaps::block(&result.gaps, options));
    out
}

fn push_step(out: &mut String, step: &TraceStep) {
    let place = step.rule.position.map_or_else(String::new, |place| format!("rule {place}"));
    let text = terminal(step.rule.text.as_deref().unwrap_or("(no text)"));
    let is_policy = step.rule.position.is_none();
    let verdict = &step.rule.verdict;
    let style = match (step.decides, verdict.ends_with("accept")) {
        (true, true) => GOOD,
        (true, false) => BAD,
        (false, _) => DIM,
    };
    let mark = if step.decides { "decides: " } else { "" };
    let done = paint(style, format!("{mark}{}", terminal(verdict)));
    out.push_str(&match is_policy {
        true => format!("  {:<8} {}\n", "", paint(style, format!("{mark}{text}"))),
        false => format!("  {place:<8} {text}\n           {done}\n"),
    });
    if let Some(provenance) = &step.rule.provenance {
        out.push_str(&format!("           {}\n", paint(DIM, of(provenance))));
    }
    for condition in &step.conditions {
        out.push_str(&format!("           if {}\n", terminal(condition)));
    }
}

fn of(provenance: &Provenance) -> String {
    match provenance {
        Provenance::Approved { by, time, commit, path, line } => {
            let (by, path) = (terminal(by), terminal(path));
            format!("approved by {by} at {} in {}, {path}:{line}", utc(*time), short(commit))
        }
        Provenance::Drift { id, author, time } => {
            let when = time.map_or_else(String::new, |time| format!(" at {}", utc(time)));
            format!("drift {}: by {}{when}", terminal(id), who::name(author))
        }
    }
}

/// The result as `fwdrift.trace/1`.
pub fn json(result: &TraceResult) -> String {
    pretty(result)
}
