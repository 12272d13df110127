//! What `check` prints: the verdict first, then each difference with who and when, what could not be
//! seen, and what to do next. Calm enough to be pasted into an incident channel.

use super::changes::{Detail, blocks};
use super::style::{BAD, DIM, GOOD, HEADING, WARN, paint};
use super::time::{Reference, utc};
use super::undo::{self, Step};
use super::wording::{count, host, kinds, short, thousands};
use super::{Options, effects, flows, gaps, pretty};
use crate::model::{BaselineRef, Change, CheckResult, Gap, Verdict};

/// Characters of a statement about traffic in the first line.
const STATEMENT: usize = 200;
/// Commands up to this length have their remarks aligned.
const REMARK_COLUMN: usize = 56;

/// The result as text. In sync and nothing unseen, it is one line.
pub fn text(result: &CheckResult, options: &Options<'_>) -> String {
    let mut out = headline(result);
    out.push('\n');
    out.push_str(&flows::block(&result.flows));
    if !result.changes.is_empty() {
        let reference = Reference { time: result.captured_at, name: "this check" };
        out.push_str(&blocks(&result.changes, Detail { reference: Some(reference), ..Detail::BRIEF }));
        out.push_str(&counts(result));
    }
    out.push_str(&gaps::block(&result.gaps, options));
    if let Some(boot) = &result.boot {
        out.push_str(&super::boot::text(boot, options));
    }
    if !result.changes.is_empty() {
        let approve = format!("{} approve --reviewed {} -m \"…\"", options.program, review(result));
        let accept = Step { command: approve, remark: String::new() };
        out.push_str(&next(accept, &result.changes, &result.baseline, result.netns.as_deref(), options));
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
            let text = format!("no difference from baseline {baseline}{again}");
            match (flows::trouble(result), result.flows.len()) {
                (Some((word, trouble)), _) => format!("{word}  {host}: {trouble}; {text}"),
                (None, 0) => format!("{}  {host}: {text}", paint(GOOD, "IN SYNC")),
                (None, n) => {
                    let hold = count(n, "required flow holds", "required flows hold");
                    format!("{}  {host}: {text}; {hold}", paint(GOOD, "IN SYNC"))
                }
            }
        }
        Verdict::Drift => {
            let changes = count(result.changes.len(), "unapproved change", "unapproved changes");
            let also = if blind > 0 { format!("; {}", not_seen(blind)) } else { String::new() };
            let worst = effects::clause(&result.changes, Some(STATEMENT));
            let also =
                format!("{worst}{}{also}", flows::also(result, &effects::flows_of_worst(&result.changes)));
            format!("{}  {host}: {changes} against baseline {baseline}{also}", paint(BAD, "DRIFT"))
        }
        Verdict::Unknown => {
            let rest = format!("the rest does not differ from baseline {baseline}");
            let text = format!("{}; {rest}", not_seen(blind));
            match flows::trouble(result) {
                Some((word, trouble)) => format!("{word}  {host}: {trouble}; {text}"),
                None => format!("{}  {host}: {text}", paint(WARN, "UNKNOWN")),
            }
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

fn review(result: &CheckResult) -> String {
    // Whatever it holds, it stays one word of the command.
    super::escape::shell_word(&result.review_id).unwrap_or_else(|| "ID".to_owned())
}

/// `next`: how to accept, how to put back; where the approved files are, if they are needed for that.
pub(super) fn next(
    accept: Step,
    changes: &[Change],
    baseline: &BaselineRef,
    netns: Option<&str>,
    options: &Options<'_>,
) -> String {
    let mut out = format!("\n{}\n", paint(HEADING, "next"));
    push_steps(&mut out, "accept it", &[accept], options.width);
    let back = undo::steps(changes, netns);
    push_steps(&mut out, "or put it back", &back, options.width);
    if back.iter().any(Step::needs_file) {
        push_steps(&mut out, "what was approved", &undo::approved_files(baseline, options), options.width);
    }
    out
}

/// Commands with their remarks as shell comments: beside them, or above where that would not fit.
fn push_steps(out: &mut String, title: &str, steps: &[Step], width: Option<usize>) {
    if steps.is_empty() {
        return;
    }
    out.push_str(&format!("  {title}\n"));
    let length = |text: &str| text.chars().count();
    let lengths = steps.iter().map(|step| length(&step.command));
    let column = lengths.filter(|length| *length <= REMARK_COLUMN).max().unwrap_or(0);
    for Step { command, remark } in steps {
        let together = 4 + length(command).max(column) + 4 + length(remark);
        let fits = width.is_none_or(|width| together <= width);
        let comment = paint(DIM, format!("# {remark}"));
        out.push_str(&match (command.is_empty(), remark.is_empty()) {
            (false, false) if fits => format!("    {command:<column$}  {comment}\n"),
            (false, false) => format!("    {comment}\n    {command}\n"),
            (false, true) => format!("    {command}\n"),
            (true, _) => format!("    {comment}\n"),
        });
    }
}

#[cfg(test)]
mod tests;
