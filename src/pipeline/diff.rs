//! `diff`: any two sides compared. Reads only.

use super::PipelineError;
use super::impact::{self, Pair};
use super::last::{keep_names, known, remembered};
use super::place::Judged;
use super::sides::{Seen, Sides, level};
use super::words::compared;
use crate::compare::{Comparison, Known};
use crate::config::Settings;
use crate::model::{Change, DiffResult, Gap, Sameness, SideKind, Summary};
use crate::policy;
use crate::record::Memory;
use std::path::Path;

/// Compares two sides, each given as a word. `boot_root` is the directory that the host boots from.
pub fn diff(
    settings: &Settings,
    from: &str,
    to: &str,
    boot_root: &Path,
) -> Result<DiffResult, PipelineError> {
    let mut sides = Sides::new(settings, boot_root)?;
    let (mut from, mut to) = (sides.find(from)?, sides.find(to)?);
    level(&mut from, &mut to);
    let memory = memory(settings, &sides, &from, &to)?;
    let known = memory.as_ref().map_or_else(Known::default, |memory| known(Some(memory)));
    let Comparison { mut differences, re_encoded, re_encoded_in: _, alike: _ } =
        compared(&from.ruleset, &to.ruleset, &known)?;
    keep_names(&mut differences, &from.ruleset, &to.ruleset, memory.as_ref());
    let mut changes: Vec<Change> = differences.iter().map(|difference| difference.change.clone()).collect();
    for change in &mut changes {
        let open = memory.iter().flat_map(|memory| &memory.open).find(|open| open.id == change.id);
        if let Some(open) = open {
            (change.author, change.time) = (open.author.clone(), open.time);
        }
    }
    let policy = sides.policy().ok().map(|bytes| policy::parse(&bytes)).transpose()?.unwrap_or_default();
    let judged = Judged::of(settings, &policy, &[])?;
    let baseline = match (from.described.kind, sides.repository()) {
        (SideKind::Baseline, Some(repository)) => repository.baseline(&settings.host)?,
        _ => None,
    };
    let (before, after) = (&from.ruleset, &to.ruleset);
    let pair = Pair { before, after, differences: &differences, baseline: baseline.as_ref() };
    impact::assess(pair, &mut changes, &[], &judged.judges(&policy));
    let gaps = [from.gaps, to.gaps].concat();
    Ok(DiffResult {
        schema: "fwdrift.diff/1".to_owned(),
        host: settings.host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        from: from.described,
        to: to.described,
        verdict: verdict(&changes, &gaps),
        summary: Summary::of(&changes, re_encoded),
        gaps,
        changes,
    })
}

/// Of the live state against the baseline more is known: how `check` named the differences, and who made them.
fn memory(
    settings: &Settings,
    sides: &Sides<'_>,
    from: &Seen,
    to: &Seen,
) -> Result<Option<Memory>, PipelineError> {
    let is_check = (from.described.kind, to.described.kind) == (SideKind::Baseline, SideKind::Live);
    match sides.repository() {
        Some(repository) if is_check => remembered(repository, &settings.host),
        _ => Ok(None),
    }
}

fn verdict(changes: &[Change], gaps: &[Gap]) -> Sameness {
    if !changes.is_empty() {
        Sameness::Different
    } else if gaps.iter().any(|gap| gap.blinds_verdict) {
        Sameness::Unknown
    } else {
        Sameness::Same
    }
}
