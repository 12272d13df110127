//! What the last look left: the memory beside the ledger, or what the ledger itself tells.

use super::PipelineError;
use crate::compare::{Difference, Fingerprint, Known};
use crate::ledger::{HostName, Repository};
use crate::model::{Change, Event, EventKind, Ruleset};
use crate::record::Memory;
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The last look: as remembered, else as the ledger's newest event tells it.
pub(super) fn remembered(repository: &Repository, host: &HostName) -> Result<Option<Memory>, PipelineError> {
    let head = repository.head(host)?;
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
        time: seen_at(&entry.event),
        boot_id: entry.event.boot_id,
        generation: entry.event.generation,
        state: entry.event.state,
        baseline: entry.event.baseline_tree,
        head: Some(entry.commit),
        open: changes,
        gaps: entry.event.gaps.into_iter().filter(|gap| gap.blinds_verdict).collect(),
        fingerprints: BTreeMap::new(),
        audited: false,
        full_look: None,
        netns_cookie: entry.event.netns_cookie,
        beside: None,
        review_id: String::new(),
        re_encoded: 0,
        flows: Vec::new(),
        judged: None,
        tally: None,
    }))
}

/// A look that failed saw nothing: what it says was seen at the look before.
fn seen_at(event: &Event) -> DateTime<Utc> {
    match event.kind {
        EventKind::Gap => event.window.from.unwrap_or(event.window.to),
        _ => event.window.to,
    }
}

/// How the last look told its differences.
pub(super) fn known(memory: Option<&Memory>) -> Known {
    let open = memory.into_iter().flat_map(|memory| {
        memory.open.iter().filter_map(|change| Some((change, memory.fingerprints.get(&change.id)?)))
    });
    Known::new(open)
}

/// Differences that were open at the last look keep their ids and words, also where a tool's new version has
/// other ones for the same bytes.
pub(super) fn keep_names(
    differences: &mut [Difference],
    approved: &Ruleset,
    live: &Ruleset,
    memory: Option<&Memory>,
) {
    let Some(memory) = memory else { return };
    let present: BTreeSet<String> = differences.iter().map(|d| d.change.id.clone()).collect();
    let open: BTreeSet<&str> = memory.open.iter().map(|change| change.id.as_str()).collect();
    let mut renamed: Vec<&Change> = memory.open.iter().filter(|c| !present.contains(&c.id)).collect();
    if renamed.is_empty() {
        return;
    }
    for difference in differences.iter_mut().filter(|d| !open.contains(d.change.id.as_str())) {
        let print = Fingerprint::of(difference, approved, live);
        let now = &difference.change;
        let same = |then: &&Change| {
            memory.fingerprints.get(&then.id) == Some(&print)
                && (then.kind, then.source, then.object) == (now.kind, now.source, now.object)
                && (&then.family, &then.table, &then.chain) == (&now.family, &now.table, &now.chain)
                && then.name == now.name
        };
        if let Some(place) = renamed.iter().position(same) {
            let then = renamed.swap_remove(place);
            difference.change = Change { position: difference.change.position, ..then.clone() };
        }
    }
}

/// The fingerprints of differences, by the ids of their changes.
pub(super) fn fingerprints(
    differences: &[Difference],
    approved: &Ruleset,
    live: &Ruleset,
) -> BTreeMap<String, Fingerprint> {
    let print =
        |difference: &Difference| (difference.change.id.clone(), Fingerprint::of(difference, approved, live));
    differences.iter().map(print).collect()
}
