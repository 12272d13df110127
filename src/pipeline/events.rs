//! What a look adds to the ledger: its events, with their authors, and the memory of the look itself.

use super::history::{self, Trail};
use super::look::{Checked, differences};
use super::{PipelineError, Recorded, lasting};
use crate::attribute::{self, Look};
use crate::baseline::{self, Access, Cache};
use crate::config::Settings;
use crate::ledger::{Lock, Repository};
use crate::model::{
    Approval, Author, Backend, Capture, Change, Event, EventKind, Evidence, Files, Gap, LedgerEntry, Window,
};
use crate::normalise::{self, normalise};
use crate::record::{Cause, Draft, Memory, plan};
use chrono::{DateTime, Utc};
use std::collections::HashMap;

/// Appends the events that this look makes, and remembers the look.
pub(super) fn append(
    settings: &Settings,
    repository: &Repository,
    lock: &Lock,
    checked: Checked,
) -> Result<Recorded, PipelineError> {
    let drafts = drafts(repository, settings, &checked)?;
    let mut entries = Vec::new();
    if !drafts.is_empty() {
        let files = baseline::render(&lasting(&checked.live))?;
        let cache = Cache::new(repository.cache_dir(), Access::ReadWrite);
        cache.insert(&files, &checked.capture.interfaces, &captured_again(&checked));
        for mut event in drafts {
            let commit = repository.append(lock, &settings.host, &files, &mut event)?;
            entries.push(LedgerEntry { commit: commit.as_str().to_owned(), event });
        }
    }
    let head = match entries.last() {
        Some(entry) => Some(entry.commit.clone()),
        None => repository.head(&settings.host)?.map(|entry| entry.commit),
    };
    let memory = Memory {
        schema: Memory::schema(),
        time: checked.look.time,
        boot_id: checked.look.boot_id.clone(),
        generation: checked.look.generation,
        state: checked.live.digest().to_string(),
        baseline: checked.baseline.tree.clone(),
        head,
        open: checked.result.changes.clone(),
        gaps: blinding(&checked.result.gaps),
        audited: checked.audited,
    };
    memory.write(repository, &settings.host)?;
    Ok(Recorded { result: checked.result, events: entries })
}

/// What the ledger's files load to, without loading them: the live state itself.
fn captured_again(checked: &Checked) -> Capture {
    let kept = lasting(&checked.live);
    let native = kept.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables);
    Capture {
        messages: native.flat_map(|(key, table)| normalise::denormalise(key, table)).collect(),
        ..checked.capture.clone()
    }
}

fn blinding(gaps: &[Gap]) -> Vec<Gap> {
    gaps.iter().filter(|gap| gap.blinds_verdict).cloned().collect()
}

/// The events of a look, complete but for their numbers.
fn drafts(
    repository: &Repository,
    settings: &Settings,
    checked: &Checked,
) -> Result<Vec<Event>, PipelineError> {
    let Some(memory) = &checked.memory else { return Ok(vec![first_event(checked)]) };
    let state = checked.live.digest().to_string();
    let now = &checked.result.changes;
    let planned = match (memory.baseline == checked.baseline.tree, memory.state == state) {
        // Neither moved: a change whose words changed with a tool's version is no event.
        (true, true) if memory.open.len() == now.len() => Vec::new(),
        (true, _) => plan(&memory.open, &memory.open, now),
        (false, true) => plan(&memory.open, now, now),
        (false, false) => plan(&memory.open, &between(repository, settings, checked)?, now),
    };
    let evidence = history::read(settings, Some(memory), &checked.look);
    let before = history::look_of(memory);
    let mut events = Vec::new();
    for draft in planned {
        events.extend(attributed(draft, checked, memory, &before, &evidence));
    }
    let seen = blinding(&checked.result.gaps);
    if !seen.is_empty() && seen != memory.gaps {
        let author = Author::unknown(None, Vec::new());
        let gap = event(checked, memory, EventKind::Gap, author, checked.look.time, Vec::new(), Vec::new());
        events.push(gap);
    }
    let moved = memory.boot_id == checked.look.boot_id && memory.generation < checked.look.generation;
    if moved && memory.state == state && !events.iter().any(|event| event.kind != EventKind::Gap) {
        let (author, time, generations) = evidence.of_everything(&before, &checked.look);
        let time = time.unwrap_or(checked.look.time);
        events.push(event(checked, memory, EventKind::Transient, author, time, Vec::new(), generations));
    }
    Ok(events)
}

/// The live state of the last look against the present baseline: what the baseline alone changed.
fn between(
    repository: &Repository,
    settings: &Settings,
    checked: &Checked,
) -> Result<Vec<Change>, PipelineError> {
    let files: Files = match repository.ledger_files(&settings.host)? {
        Some((_, files)) => files,
        None => return Ok(Vec::new()),
    };
    let cache = Cache::new(repository.cache_dir(), Access::ReadWrite);
    let then = normalise(&cache.compiled(&files, &checked.capture.interfaces)?)?;
    let comparison = differences(&checked.approved, &then)?;
    Ok(comparison.differences.into_iter().map(|difference| difference.change).collect())
}

/// One event for each author behind a draft.
fn attributed(
    draft: Draft,
    checked: &Checked,
    memory: &Memory,
    before: &Look,
    evidence: &Trail,
) -> Vec<Event> {
    if draft.cause == Cause::Baseline {
        let approval = &checked.baseline.approval;
        let author = Author {
            name: approval.approver.split(" <").next().unwrap_or_default().to_owned(),
            evidence: Evidence::Git,
            ..Author::default()
        };
        let changes = draft.changes.into_iter().map(|change| match draft.kind {
            EventKind::Drift => {
                Change { author: author.clone(), time: Some(checked.baseline.time), ..change }
            }
            _ => change,
        });
        let changes = changes.collect();
        let mut made = event(checked, memory, draft.kind, author, checked.baseline.time, changes, Vec::new());
        made.approval = (draft.kind == EventKind::Approved).then(|| approval.clone());
        return vec![made];
    }
    // `drift` was attributed when it was found; what ended has its own author, and somebody ended it.
    let originals: HashMap<String, Change> =
        draft.changes.iter().map(|change| (change.id.clone(), change.clone())).collect();
    let mut changes = draft.changes;
    let attribution = evidence.attribute(&mut changes, Some(before), &checked.look);
    let mut events = Vec::new();
    for (author, group) in attribute::by_author(changes) {
        let generations = attribution.generations_of_all(&group);
        let time = attribute::time_of(&group).unwrap_or(checked.look.time);
        let kept = group.into_iter().map(|change| match draft.kind {
            EventKind::Drift => change,
            _ => originals.get(&change.id).cloned().unwrap_or(change),
        });
        events.push(event(checked, memory, draft.kind, author, time, kept.collect(), generations));
    }
    events
}

fn event(
    checked: &Checked,
    memory: &Memory,
    kind: EventKind,
    author: Author,
    time: DateTime<Utc>,
    changes: Vec<Change>,
    generations: Vec<u32>,
) -> Event {
    let window = Window { from: Some(memory.time), to: checked.look.time };
    Event { kind, author, time, changes, generations, window, ..bare_event(checked) }
}

/// The ledger's first event: the baseline that everything later is compared with.
fn first_event(checked: &Checked) -> Event {
    let approval: Approval = checked.baseline.approval.clone();
    let name = approval.approver.split(" <").next().unwrap_or_default().to_owned();
    let author = Author { name, evidence: Evidence::Git, ..Author::default() };
    let open = checked.result.changes.clone();
    let kind = if open.is_empty() { EventKind::Approved } else { EventKind::Drift };
    match kind {
        EventKind::Drift => Event {
            kind,
            author: Author::unknown(Some(bare_event(checked).window), Vec::new()),
            changes: open,
            ..bare_event(checked)
        },
        _ => Event {
            kind,
            author,
            time: checked.baseline.time,
            approval: Some(approval),
            ..bare_event(checked)
        },
    }
}

fn bare_event(checked: &Checked) -> Event {
    Event {
        schema: "fwdrift.event/1".to_owned(),
        seq: 0,
        kind: EventKind::Gap,
        host: checked.result.host.clone(),
        netns: checked.result.netns.clone(),
        time: checked.look.time,
        recorded_at: Utc::now(),
        window: Window { from: None, to: checked.look.time },
        author: Author::default(),
        generations: Vec::new(),
        generation: checked.look.generation,
        boot_id: checked.look.boot_id.clone(),
        state: checked.live.digest().to_string(),
        baseline: checked.result.baseline.clone(),
        baseline_tree: checked.baseline.tree.clone(),
        changes: Vec::new(),
        open: checked.result.changes.iter().map(|change| change.id.clone()).collect(),
        approval: None,
        gaps: checked.result.gaps.clone(),
    }
}
