//! One look: collect, normalise, compare, attribute. Reads only.
//!
//! Input: the settings and the repository; output: a [`Checked`], the live state beside the approved one,
//! with what the last look left behind.

use super::PipelineError;
use super::history;
use crate::attribute::Look;
use crate::baseline::{Access, Cache};
use crate::collect;
use crate::compare::{self, Comparison, Difference};
use crate::config::Settings;
use crate::decode::{self, DecodeError};
use crate::ledger::{Baseline, HostName, Repository};
use crate::model::{
    BaselineRef, Capture, Change, CheckResult, Digest, EventKind, Gap, LedgerEntry, Ruleset, Summary, Verdict,
};
use crate::normalise::normalise;
use crate::record::Memory;
use crate::sys::netns::Netns;
use chrono::Utc;
use std::collections::{BTreeSet, HashMap};

/// Comparisons are repeated with more texts at most this often: equal texts can shift an alignment.
const ROUNDS: usize = 4;

/// A look at the live state, compared with what is approved.
#[derive(Debug)]
pub struct Checked {
    /// What `check` prints.
    pub result: CheckResult,
    /// The live state.
    pub live: Ruleset,
    /// The approved state, loaded.
    pub approved: Ruleset,
    /// The differences, with the objects they are about.
    pub differences: Vec<Difference>,
    pub(super) capture: Capture,
    pub(super) look: Look,
    pub(super) baseline: Baseline,
    pub(super) memory: Option<Memory>,
    pub(super) audited: bool,
}

/// One look: collect, normalise, compare, attribute.
pub(super) fn examine(
    settings: &Settings,
    repository: &Repository,
    access: Access,
) -> Result<Checked, PipelineError> {
    let host = &settings.host;
    let baseline = repository
        .baseline(host)?
        .ok_or_else(|| PipelineError::NoBaseline { host: host.clone(), repo: settings.repo.clone() })?;
    let netns = open_netns(settings)?;
    let audited = history::is_auditing();
    let captured_at = Utc::now();
    let (capture, mut gaps) = collect::capture(&netns)?;
    let live = normalise(&capture)?;
    let cache = Cache::new(repository.cache_dir(), access);
    let compiled = cache.compiled(&baseline.files, &capture.interfaces)?;
    let approved = normalise(&compiled)?;
    let comparison = differences(&approved, &live)?;
    let look = Look { boot_id: history::boot_id(), generation: capture.generation, time: captured_at };
    let head = repository.head(host)?;
    let memory = remembered(repository, host, head)?;
    let mut changes: Vec<Change> = comparison.differences.iter().map(|d| d.change.clone()).collect();
    gaps.extend(attribute_new(settings, &mut changes, memory.as_ref(), &look));
    let review_id = review_id(&baseline, &live, &changes);
    let result = CheckResult {
        schema: "fwdrift.check/1".to_owned(),
        host: host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        baseline: BaselineRef { commit: baseline.commit.clone(), path: baseline.path.clone() },
        captured_at,
        generation: capture.generation,
        verdict: verdict(&changes, &gaps),
        review_id,
        summary: Summary::of(&changes, comparison.re_encoded),
        gaps,
        changes,
    };
    let differences = comparison.differences;
    Ok(Checked { result, live, approved, differences, capture, look, baseline, memory, audited })
}

pub(super) fn open_netns(settings: &Settings) -> Result<Netns, PipelineError> {
    let netns = match &settings.netns {
        Some(netns) => Netns::open(netns.path()),
        None => Netns::current(),
    };
    netns.map_err(|error| PipelineError::Collect(error.into()))
}

/// Compares two rulesets, decoding just what differs.
pub(super) fn differences(approved: &Ruleset, live: &Ruleset) -> Result<Comparison, DecodeError> {
    let unmatched = compare::unmatched(approved, live);
    let mut before = decode::decode(approved, &unmatched.baseline)?;
    let mut after = decode::decode(live, &unmatched.live)?;
    let mut comparison = compare::compare(approved, live, &before, &after);
    for _ in 1..ROUNDS {
        let (old, new) = compare::without_text(&comparison, &before, &after);
        if old.is_empty() && new.is_empty() {
            break;
        }
        before.extend(decode::decode(approved, &old)?);
        after.extend(decode::decode(live, &new)?);
        comparison = compare::compare(approved, live, &before, &after);
    }
    Ok(comparison)
}

/// Changes seen before keep their author; new ones get theirs from the evidence since the last look.
fn attribute_new(
    settings: &Settings,
    changes: &mut [Change],
    memory: Option<&Memory>,
    now: &Look,
) -> Vec<Gap> {
    let known: HashMap<&str, &Change> =
        memory.into_iter().flat_map(|m| &m.open).map(|change| (change.id.as_str(), change)).collect();
    let mut new: Vec<Change> = Vec::new();
    for change in changes.iter_mut() {
        match known.get(change.id.as_str()) {
            Some(seen) => (change.author, change.time) = (seen.author.clone(), seen.time),
            None => new.push(change.clone()),
        }
    }
    if new.is_empty() {
        return Vec::new();
    }
    let evidence = history::read(settings, memory, now);
    evidence.attribute(&mut new, memory.map(history::look_of).as_ref(), now);
    let attributed: HashMap<String, Change> = new.into_iter().map(|c| (c.id.clone(), c)).collect();
    for change in changes.iter_mut() {
        if let Some(found) = attributed.get(&change.id) {
            (change.author, change.time) = (found.author.clone(), found.time);
        }
    }
    evidence.gaps
}

fn verdict(changes: &[Change], gaps: &[Gap]) -> Verdict {
    if !changes.is_empty() {
        Verdict::Drift
    } else if gaps.iter().any(|gap| gap.blinds_verdict) {
        Verdict::Unknown
    } else {
        Verdict::InSync
    }
}

/// Names exactly this live state against exactly this baseline.
fn review_id(baseline: &Baseline, live: &Ruleset, changes: &[Change]) -> String {
    let mut ids: Vec<&str> = changes.iter().map(|change| change.id.as_str()).collect();
    ids.sort_unstable();
    let live = live.digest();
    let parts = [baseline.tree.as_bytes(), &live.0].into_iter().chain(ids.iter().map(|id| id.as_bytes()));
    Digest::of(parts).to_string()[..12].to_owned()
}

/// The last look: as remembered, else as the ledger's newest event tells it.
fn remembered(
    repository: &Repository,
    host: &HostName,
    head: Option<LedgerEntry>,
) -> Result<Option<Memory>, PipelineError> {
    let commit = head.as_ref().map(|entry| entry.commit.as_str());
    if let Some(memory) = Memory::read(repository, host, commit) {
        return Ok(Some(memory));
    }
    let Some(entry) = head else { return Ok(None) };
    let open: BTreeSet<&String> = entry.event.open.iter().collect();
    let mut found: HashMap<String, Change> = HashMap::new();
    if !open.is_empty() {
        for past in repository.events(host)? {
            if past.event.kind == EventKind::Drift {
                for change in past.event.changes {
                    if open.contains(&change.id) {
                        found.entry(change.id.clone()).or_insert(change);
                    }
                }
            }
            if found.len() == open.len() {
                break;
            }
        }
    }
    let changes = entry.event.open.iter().filter_map(|id| found.get(id).cloned()).collect();
    Ok(Some(Memory {
        schema: Memory::schema(),
        time: entry.event.window.to,
        boot_id: entry.event.boot_id,
        generation: entry.event.generation,
        state: entry.event.state,
        baseline: entry.event.baseline_tree,
        head: Some(entry.commit),
        open: changes,
        gaps: entry.event.gaps,
        audited: false,
    }))
}
