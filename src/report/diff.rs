//! What `diff` prints: which sides, whether they are the same, each difference, what could not be seen.

use super::changes::{Authors, Detail, blocks};
use super::effects;
use super::escape::terminal;
use super::style::{BAD, DIM, GOOD, WARN, paint};
use super::wording::{count, host, kinds, short, thousands};
use super::{Options, gaps, pretty};
use crate::model::{DiffResult, Provider, Sameness, SideKind, SideRef};

/// Characters of a statement about traffic in the first line.
const STATEMENT: usize = 200;

/// The result as text.
pub fn text(result: &DiffResult, options: &Options<'_>) -> String {
    let mut out = format!("{}\n", headline(result));
    for side in [&result.from, &result.to] {
        if side.kind == SideKind::Boot {
            out.push_str(&providers(&side.providers));
        }
    }
    if !result.changes.is_empty() {
        let from = paint(DIM, format!("- is only in {}", terminal(&result.from.given)));
        let to = paint(DIM, format!("+ is only in {}", terminal(&result.to.given)));
        out.push_str(&format!("  {from}\n  {to}\n"));
        out.push_str(&blocks(&result.changes, Detail { authors: Authors::Known, ..Detail::BRIEF }));
        let n = count(result.changes.len(), "difference", "differences");
        out.push_str(&format!("\n{n}: {}", kinds(&result.summary)));
        if result.summary.re_encoded > 0 {
            let n = thousands(result.summary.re_encoded);
            out.push_str(&format!("; {n} re-encoded (other bytes, the same text)"));
        }
        out.push('\n');
    }
    out.push_str(&gaps::block(&result.gaps, options));
    out
}

/// The result as `fwdrift.diff/1`.
pub fn json(result: &DiffResult) -> String {
    pretty(result)
}

fn headline(result: &DiffResult) -> String {
    let host = host(&result.host, result.netns.as_deref());
    let (from, to) = (side(&result.from), side(&result.to));
    match result.verdict {
        Sameness::Same => format!("{}  {host}: {from} and {to} do not differ", paint(GOOD, "SAME")),
        Sameness::Different => {
            let n = count(result.changes.len(), "difference", "differences");
            let worst = effects::clause(&result.changes, Some(STATEMENT));
            format!("{}  {host}: {n} from {from} to {to}{worst}", paint(BAD, "DIFFERENT"))
        }
        Sameness::Unknown => {
            let rest = format!("what could be seen of {from} and {to} does not differ");
            format!("{}  {host}: not everything could be looked at; {rest}", paint(WARN, "UNKNOWN"))
        }
    }
}

/// `live`, `baseline 539ff31ab012`, `boot`, `live/web-01 (ledger, 539ff31ab012)`.
pub(super) fn side(side: &SideRef) -> String {
    let given = terminal(&side.given);
    let commit = side.commit.as_deref().map(short).unwrap_or_default();
    match side.kind {
        SideKind::Live | SideKind::Boot | SideKind::File | SideKind::Directory => given,
        SideKind::Baseline => format!("{given} {commit}"),
        SideKind::Revision => format!("{given} (baseline {commit})"),
        SideKind::Ledger => format!("{given} (recorded {commit})"),
    }
}

/// Which services load rules at boot.
pub(super) fn providers(providers: &[Provider]) -> String {
    if providers.is_empty() {
        return format!("  {}\n", paint(DIM, "nothing loads a firewall at boot"));
    }
    let mut out = String::new();
    for provider in providers {
        let files: Vec<String> = provider.files.iter().map(|file| terminal(file)).collect();
        let files = if files.is_empty() { "its rules".to_owned() } else { files.join(", ") };
        let name = terminal(&provider.name);
        let line = format!("at boot, {name} loads {files} (enabled by {})", terminal(&provider.enabled_by));
        out.push_str(&format!("  {}\n", paint(DIM, line)));
    }
    out
}
