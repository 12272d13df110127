//! What `check` prints: the verdict first, then each difference with who and when, what could not be
//! seen, and what to do next. Calm enough to be pasted into an incident channel.

use super::changes::{Detail, blocks};
use super::style::{BAD, DIM, GOOD, HEADING, WARN, paint};
use super::time::{Reference, utc};
use super::undo::{self, Step};
use super::wording::{count, host, kinds, short, thousands};
use super::{Options, gaps, pretty};
use crate::model::{BaselineRef, Change, CheckResult, Gap, Verdict};

/// The result as text. In sync and nothing unseen, it is one line.
pub fn text(result: &CheckResult, options: &Options<'_>) -> String {
    let mut out = headline(result);
    out.push('\n');
    if !result.changes.is_empty() {
        let reference = Reference { time: result.captured_at, name: "this check" };
        out.push_str(&blocks(&result.changes, Detail { reference: Some(reference), ..Detail::BRIEF }));
        out.push_str(&counts(result));
    }
    out.push_str(&gaps::block(&result.gaps, options));
    if !result.changes.is_empty() {
        let approve = format!("{} approve --reviewed {} -m \"…\"", options.program, short_review(result));
        out.push_str(&next(
            Some(approve),
            &result.changes,
            &result.baseline,
            result.netns.as_deref(),
            options,
        ));
    }
    out
}

/// The result as `fwdrift.check/1`.
pub fn json(result: &CheckResult) -> String {
    pretty(result)
}

fn headline(result: &CheckResult) -> String {
    let host = host(&result.host, result.netns.as_deref());
    let baseline = short(&result.baseline.commit);
    let blind = blinding(&result.gaps);
    match result.verdict {
        Verdict::InSync => {
            let again = match result.summary.re_encoded {
                0 => String::new(),
                n => format!("; {} re-encoded: other bytes, the same text", count(n, "object", "objects")),
            };
            let text = format!("{host}: no difference from baseline {baseline}{again}");
            format!("{}  {text}", paint(GOOD, "IN SYNC"))
        }
        Verdict::Drift => {
            let changes = count(result.changes.len(), "unapproved change", "unapproved changes");
            let also = if blind > 0 { format!("; {}", not_seen(blind)) } else { String::new() };
            format!("{}  {host}: {changes} against baseline {baseline}{also}", paint(BAD, "DRIFT"))
        }
        Verdict::Unknown => {
            let rest = format!("no difference from baseline {baseline} in what could be");
            format!("{}  {host}: {}; {rest}", paint(WARN, "UNKNOWN"), not_seen(blind))
        }
    }
}

fn blinding(gaps: &[Gap]) -> usize {
    gaps.iter().filter(|gap| gap.blinds_verdict).count()
}

fn not_seen(n: usize) -> String {
    if n == 0 {
        return "not everything could be looked at".to_owned();
    }
    format!("{} could not be looked at", count(n, "source", "sources"))
}

fn counts(result: &CheckResult) -> String {
    let mut line =
        format!("{}: {}", count(result.changes.len(), "change", "changes"), kinds(&result.summary));
    if result.summary.re_encoded > 0 {
        line.push_str(&format!("; {} re-encoded (not drift)", thousands(result.summary.re_encoded)));
    }
    let looked = format!("looked at {}, generation {}", utc(result.captured_at), result.generation);
    format!("\n{line}; {looked}\n")
}

fn short_review(result: &CheckResult) -> String {
    // Whatever it holds, it stays one word of the command.
    super::escape::shell_word(&result.review_id).unwrap_or_else(|| "ID".to_owned())
}

/// `next`: how to accept (where a command exists for it), how to put back, where the approved text is.
pub(super) fn next(
    accept: Option<String>,
    changes: &[Change],
    baseline: &BaselineRef,
    netns: Option<&str>,
    options: &Options<'_>,
) -> String {
    let mut out = format!("\n{}\n", paint(HEADING, "next"));
    let accept = accept.map(|command| Step { command, remark: "accept it all".to_owned() });
    push_steps(&mut out, "accept", &accept.into_iter().collect::<Vec<_>>());
    push_steps(&mut out, "put back", &undo::steps(changes, netns));
    push_steps(&mut out, "approved", &undo::approved_files(baseline, options));
    out
}

/// A remark stands above its command, so that no line grows beyond what a terminal shows.
fn push_steps(out: &mut String, label: &str, steps: &[Step]) {
    for (at, step) in steps.iter().enumerate() {
        let label = if at == 0 { label } else { "" };
        out.push_str(&format!("  {label:<10}{}\n", paint(DIM, format!("# {}", step.remark))));
        if !step.command.is_empty() {
            out.push_str(&format!("  {:<10}{}\n", "", step.command));
        }
    }
}
