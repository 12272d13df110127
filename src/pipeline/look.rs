//! One look: collect, normalise, compare, attribute. Reads only.
//!
//! Input: the settings and the repository; output: a [`Checked`], the live state beside the approved one,
//! with what the last look left behind.

use super::PipelineError;
use super::history::{self, Trail};
use super::last::{keep_names, known, remembered};
use crate::attribute::Look;
use crate::baseline::{Access, Cache};
use crate::collect;
use crate::compare::{self, Comparison, Difference, Known};
use crate::config::Settings;
use crate::decode::{self, DecodeError};
use crate::ledger::{Baseline, HostName, Repository};
use crate::model::{
    Author, Backend, BaselineRef, Capture, Change, CheckResult, Digest, Evidence, Gap, Ruleset, Source,
    Summary, TableKey, Verdict,
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
    /// The live state of the last look against the present baseline.
    pub(super) between: Vec<Change>,
    pub(super) trail: Trail,
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
    gaps.extend(collect::unread(&netns)?);
    let mut live = normalise(&capture)?;
    let cache = Cache::new(repository.cache_dir(), access);
    let approved = normalise(&cache.compiled(&baseline.files, &capture.interfaces)?)?;
    let memory = remembered(repository, host)?;
    let unseen = stand_in(&mut live, &approved, &gaps);
    leave_out_unapproved_settings(&mut live, &approved);
    let Comparison { mut differences, re_encoded } = compared(&approved, &live, &known(memory.as_ref()))?;
    keep_names(&mut differences, &approved, &live, memory.as_ref());
    let look = Look { boot_id: history::boot_id(), generation: capture.generation, time: captured_at };
    let mut changes: Vec<Change> = differences.iter().map(|d| d.change.clone()).collect();
    for change in memory.iter().flat_map(|memory| &memory.open) {
        if unseen.contains(&change.source) && !changes.iter().any(|known| known.id == change.id) {
            changes.push(change.clone());
        }
    }
    let between = match &memory {
        Some(memory) => {
            since_then((repository, host), &cache, memory, &baseline, (&approved, &live), &changes)?
        }
        None => Vec::new(),
    };
    let trail = Trail::new(settings, memory.as_ref(), &look);
    attribute_new(&mut changes, &between, memory.as_ref(), &baseline, &trail);
    gaps.extend_from_slice(trail.gaps());
    let result = CheckResult {
        schema: "fwdrift.check/1".to_owned(),
        host: host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        baseline: BaselineRef { commit: baseline.commit.clone(), path: baseline.path.clone() },
        captured_at,
        generation: capture.generation,
        verdict: verdict(&changes, &gaps),
        review_id: review_id(&baseline, &live, &changes),
        summary: Summary::of(&changes, re_encoded),
        gaps,
        changes,
    };
    Ok(Checked {
        result,
        live,
        approved,
        differences,
        between,
        trail,
        capture,
        look,
        baseline,
        memory,
        audited,
    })
}

/// "Could not look" is never "empty": where a source could not be read, what is approved stands in for what is
/// missing, so that nothing is called removed. The sources of which that is so.
fn stand_in(live: &mut Ruleset, approved: &Ruleset, gaps: &[Gap]) -> BTreeSet<Source> {
    let blind: BTreeSet<&str> = gaps.iter().map(|gap| gap.source.as_str()).collect();
    let is_unseen =
        |key: &TableKey| key.backend != Backend::NfTables && blind.contains(Source::of(key).as_str());
    for (key, table) in approved.tables.iter().filter(|(key, _)| is_unseen(key)) {
        let found = live.tables.entry(key.clone()).or_insert_with(|| table.clone());
        if !key.backend.has_tables() {
            for (name, set) in &table.sets {
                found.sets.entry(name.clone()).or_insert_with(|| set.clone());
            }
            for (name, object) in &table.objects {
                found.objects.entry(name.clone()).or_insert_with(|| object.clone());
            }
        }
    }
    let others = [Source::IptablesLegacy, Source::Arptables, Source::Ebtables, Source::Ipset];
    let others = others.into_iter().chain([Source::Sysctl, Source::Bpf]);
    others.filter(|source| blind.contains(source.as_str())).collect()
}

/// A baseline without a file of kernel settings says nothing about them: they are not compared.
fn leave_out_unapproved_settings(live: &mut Ruleset, approved: &Ruleset) {
    let settings = TableKey::of_all(Backend::Sysctl);
    if !approved.tables.contains_key(&settings) {
        live.tables.remove(&settings);
    }
}

/// The live state of the last look against the present baseline: what the baseline alone changed.
fn since_then(
    (repository, host): (&Repository, &HostName),
    cache: &Cache,
    memory: &Memory,
    baseline: &Baseline,
    (approved, live): (&Ruleset, &Ruleset),
    now: &[Change],
) -> Result<Vec<Change>, PipelineError> {
    if memory.baseline == baseline.tree {
        return Ok(memory.open.clone());
    }
    if memory.state == live.digest().to_string() {
        return Ok(now.to_vec());
    }
    let Some((_, files)) = repository.ledger_files(host)? else { return Ok(Vec::new()) };
    let then = normalise(&cache.compiled(&files, &live.interfaces)?)?;
    Ok(compared(approved, &then, &known(Some(memory)))?
        .differences
        .into_iter()
        .map(|difference| difference.change)
        .collect())
}

pub(super) fn open_netns(settings: &Settings) -> Result<Netns, PipelineError> {
    let netns = match &settings.netns {
        Some(netns) => Netns::open(netns.path()),
        None => Netns::current(),
    };
    netns.map_err(|error| PipelineError::Collect(error.into()))
}

/// Compares two rulesets, decoding just what differs.
pub fn compared(approved: &Ruleset, live: &Ruleset, known: &Known) -> Result<Comparison, DecodeError> {
    let unmatched = compare::unmatched(approved, live);
    let mut before = decode::decode(approved, &unmatched.baseline)?;
    let mut after = decode::decode(live, &unmatched.live)?;
    let mut comparison = compare::compare_as(approved, live, &before, &after, known);
    for _ in 1..ROUNDS {
        let (old, new) = compare::without_text(&comparison, &before, &after);
        if old.is_empty() && new.is_empty() {
            break;
        }
        before.extend(decode::decode(approved, &old)?);
        after.extend(decode::decode(live, &new)?);
        comparison = compare::compare_as(approved, live, &before, &after, known);
    }
    Ok(comparison)
}

/// Changes seen before keep their author; those that a commit on the baseline made have its author; new ones
/// get theirs from the evidence since the last look.
fn attribute_new(
    changes: &mut [Change],
    between: &[Change],
    memory: Option<&Memory>,
    baseline: &Baseline,
    trail: &Trail,
) {
    let open: HashMap<&str, &Change> =
        memory.into_iter().flat_map(|m| &m.open).map(|change| (change.id.as_str(), change)).collect();
    let asked_for: BTreeSet<&str> = between.iter().map(|change| change.id.as_str()).collect();
    let mut new: Vec<&mut Change> = Vec::new();
    for change in changes {
        if let Some(seen) = open.get(change.id.as_str()) {
            (change.author, change.time) = (seen.author.clone(), seen.time);
        } else if asked_for.contains(change.id.as_str()) {
            (change.author, change.time) = (approver(baseline), Some(baseline.time));
        } else {
            new.push(change);
        }
    }
    let mut found: Vec<Change> = new.iter().map(|change| (**change).clone()).collect();
    trail.attribute(&mut found);
    for (change, found) in new.into_iter().zip(found) {
        *change = found;
    }
}

/// The person whose commit made the baseline what it is.
pub(super) fn approver(baseline: &Baseline) -> Author {
    let name = baseline.approval.approver.split(" <").next().unwrap_or_default().to_owned();
    Author { name, evidence: Evidence::Git, ..Author::default() }
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
