//! What a look adds to the ledger: its events, with their authors, and the memory of the look itself.

use super::history::look_of;
use super::last::{fingerprints, remembered};
use super::look::{Checked, approver, beside, blinding};
use super::{PipelineError, Recorded, lasting, passing};
use crate::attribute;
use crate::baseline::{self, Access, Cache};
use crate::config::Settings;
use crate::ledger::{Lock, Repository};
use crate::model::{
    Author, BaselineRef, Change, Checkpoint, Event, EventKind, Files, Gap, LedgerEntry, Verdict, Window,
};
use crate::record::{Cause, Draft, Memory, Tally, plan};
use chrono::Utc;
use std::collections::HashMap;

/// Appends the events that this look makes, all or none, and remembers the look.
pub(super) fn append(
    settings: &Settings,
    repository: &Repository,
    lock: &Lock,
    checked: Checked,
) -> Result<Recorded, PipelineError> {
    let events = drafts(settings, &checked);
    let files = if events.is_empty() { None } else { Some(live_files(repository, &checked)?) };
    let (entries, _) = append_events(settings, repository, lock, &checked, events, files.as_ref())?;
    Ok(Recorded { result: checked.result, events: entries })
}

/// Appends these events, with the live state as files if there are any, and remembers the look.
pub(super) fn append_events(
    settings: &Settings,
    repository: &Repository,
    lock: &Lock,
    checked: &Checked,
    events: Vec<Event>,
    files: Option<&Files>,
) -> Result<(Vec<LedgerEntry>, Memory), PipelineError> {
    let blind = blinding(&checked.result.gaps);
    let had_checkpoint = events.iter().any(|event| event.kind == EventKind::Checkpoint);
    let tally = checked.memory.as_ref().and_then(|memory| memory.tally).filter(|_| !had_checkpoint);
    let is_blind = !blind.is_empty();
    let mut entries = Vec::new();
    if let Some(files) = files.filter(|_| !events.is_empty()) {
        entries = repository.append(lock, &settings.host, files, events)?;
    }
    let head = match entries.last() {
        Some(entry) => Some(entry.commit.clone()),
        None => repository.head(&settings.host)?.map(|entry| entry.commit),
    };
    let memory = Memory {
        schema: Memory::schema(),
        time: checked.reading.look.time,
        boot_id: checked.reading.look.boot_id.clone(),
        generation: checked.reading.look.generation,
        state: checked.reading.state.clone(),
        baseline: checked.reading.baseline.tree.clone(),
        head,
        open: checked.result.changes.clone(),
        fingerprints: fingerprints(&checked.differences, &checked.reading.approved, &checked.reading.live),
        gaps: blind,
        audited: checked.reading.audited,
        full_look: Some(checked.reading.look.time),
        netns_cookie: checked.reading.look.netns_cookie,
        beside: beside(&checked.reading.live, &checked.reading.beside),
        review_id: checked.result.review_id.clone(),
        re_encoded: checked.result.summary.re_encoded,
        flows: checked.result.flows.clone(),
        judged: Some(checked.judged.clone()),
        tally: Some(Tally::with(tally, checked.reading.look.time, is_blind)),
    };
    memory.write(repository, &settings.host)?;
    Ok((entries, memory))
}

/// The live state as files. In sync with captured files, it is what these say.
pub(super) fn live_files(repository: &Repository, checked: &Checked) -> Result<Files, PipelineError> {
    let approved = &checked.reading.baseline.files;
    let sighted = blinding(&checked.result.gaps).is_empty();
    if checked.result.changes.is_empty() && sighted && !baseline::is_authored(approved) {
        let rulesets = approved.iter().filter(|(path, _)| baseline::is_ruleset(path));
        return Ok(rulesets.map(|(path, content)| (path.clone(), content.clone())).collect());
    }
    let kept = lasting(&checked.reading.live);
    let files = baseline::render(&kept)?;
    if sighted {
        let cache = Cache::new(repository.cache_dir(), Access::ReadWrite);
        cache.insert(&files, &checked.reading.live.interfaces, &kept);
    }
    Ok(files)
}

/// A look that failed altogether is a gap: recorded once, until a look succeeds or fails in another way. All
/// else stays as the last look left it.
pub(super) fn append_failure(
    settings: &Settings,
    repository: &Repository,
    lock: &Lock,
    error: &PipelineError,
) -> Result<(), PipelineError> {
    let Some(source) = error.blinded() else { return Ok(()) };
    let gap = Gap {
        source: source.to_owned(),
        reason: error.to_string(),
        hint: error.hint(),
        blinds_verdict: true,
    };
    let host = &settings.host;
    let known = (remembered(repository, host)?, repository.baseline(host)?, repository.ledger_files(host)?);
    let (Some(memory), Some(baseline), Some((_, files))) = known else { return Ok(()) };
    if memory.gaps == [gap.clone()] {
        return Ok(());
    }
    let now = Utc::now();
    let event = Event {
        schema: Event::SCHEMA.to_owned(),
        seq: 0,
        kind: EventKind::Gap,
        host: host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        time: now,
        recorded_at: now,
        window: Window { from: Some(memory.time), to: now },
        author: Author::unknown(None, Vec::new()),
        generations: Vec::new(),
        generation: memory.generation,
        boot_id: memory.boot_id.clone(),
        netns_cookie: memory.netns_cookie,
        state: memory.state.clone(),
        baseline: BaselineRef { commit: baseline.commit, path: baseline.path },
        baseline_tree: memory.baseline.clone(),
        changes: Vec::new(),
        open: memory.open.iter().map(|change| change.id.clone()).collect(),
        approval: None,
        checkpoint: None,
        gaps: vec![gap.clone()],
    };
    let entries = repository.append(lock, host, &files, vec![event])?;
    let head = entries.last().map(|entry| entry.commit.clone());
    Memory { head, gaps: vec![gap], ..memory }.write(repository, host)?;
    Ok(())
}

/// The events of a look, complete but for their numbers.
pub(super) fn drafts(settings: &Settings, checked: &Checked) -> Vec<Event> {
    let Some(memory) = &checked.memory else { return vec![first_event(checked)] };
    let mut events = drafts_since(checked, memory);
    events.extend(checkpoint(settings, checked, memory));
    events
}

/// The statement that fwdrift was looking, where it is due.
fn checkpoint(settings: &Settings, checked: &Checked, memory: &Memory) -> Option<Event> {
    let now = checked.reading.look.time;
    let tally = memory.tally.filter(|tally| tally.is_due(now, settings.checkpoint_every))?;
    let changes = &checked.result.changes;
    let checkpoint = Checkpoint {
        from: tally.since,
        looks: tally.looks,
        blind_looks: tally.blind,
        in_sync: checked.result.verdict == Verdict::InSync,
        drift_since: changes.iter().filter_map(|change| change.time).min(),
    };
    let author = Author { name: "fwdrift".to_owned(), ..Author::default() };
    let event = event(checked, memory, EventKind::Checkpoint);
    let window = Window { from: Some(tally.since), to: now };
    Some(Event { author, window, checkpoint: Some(checkpoint), ..event })
}

/// What happened since a look.
fn drafts_since(checked: &Checked, memory: &Memory) -> Vec<Event> {
    let planned = plan(&memory.open, &checked.between, &checked.result.changes);
    let mut events: Vec<Event> = planned
        .into_iter()
        .flat_map(|draft| match draft.cause {
            Cause::Baseline => vec![by_baseline(draft, checked, memory)],
            Cause::Live => by_author(draft, checked, memory),
        })
        .collect();
    let seen = blinding(&checked.result.gaps);
    if !seen.is_empty() && seen != memory.gaps {
        let author = Author::unknown(None, Vec::new());
        events.push(Event { author, ..event(checked, memory, EventKind::Gap) });
    }
    if let Some(watched) = checked.trail.seen() {
        events.extend(passing::transients(checked, watched, &events, |kind| event(checked, memory, kind)));
        return events;
    }
    let before = look_of(memory);
    let moved =
        before.same_count(&checked.reading.look) && memory.generation < checked.reading.look.generation;
    let same = memory.state == checked.reading.state;
    if moved && same && !events.iter().any(|event| event.kind != EventKind::Gap) {
        let (author, time, generations) = checked.trail.of_everything();
        let time = time.unwrap_or(checked.reading.look.time);
        events.push(Event { author, time, generations, ..event(checked, memory, EventKind::Transient) });
    }
    events
}

/// What a commit on the baseline did, as one event by its author.
fn by_baseline(draft: Draft, checked: &Checked, memory: &Memory) -> Event {
    let (author, time) = (approver(&checked.reading.baseline), checked.reading.baseline.time);
    let mut changes = draft.changes;
    if draft.kind == EventKind::Drift {
        for change in &mut changes {
            (change.author, change.time) = (author.clone(), Some(time));
        }
    }
    let approval = (draft.kind == EventKind::Approved).then(|| checked.reading.baseline.approval.clone());
    Event { author, time, changes, approval, ..event(checked, memory, draft.kind) }
}

/// What was done to the live state, as one event for each author.
fn by_author(draft: Draft, checked: &Checked, memory: &Memory) -> Vec<Event> {
    // What ended keeps the author who made it; somebody else may have ended it.
    let originals: HashMap<String, Change> =
        draft.changes.iter().map(|change| (change.id.clone(), change.clone())).collect();
    let mut changes = draft.changes;
    let attribution = match draft.kind {
        EventKind::Drift => checked.trail.attribute(&mut changes),
        _ => checked.trail.attribute_ends(&mut changes, &checked.reading.live),
    };
    let mut events = Vec::new();
    for (author, group) in attribute::by_author(changes) {
        let generations = attribution.generations_of_all(&group);
        let time = attribute::time_of(&group).unwrap_or(checked.reading.look.time);
        let kept = group.into_iter().map(|change| match draft.kind {
            EventKind::Drift => change,
            _ => originals.get(&change.id).cloned().unwrap_or(change),
        });
        let changes = kept.collect();
        events.push(Event { author, time, changes, generations, ..event(checked, memory, draft.kind) });
    }
    events
}

/// An event of this look that is not the ledger's first.
fn event(checked: &Checked, memory: &Memory, kind: EventKind) -> Event {
    let window = Window { from: Some(memory.time), to: checked.reading.look.time };
    Event { kind, window, ..bare_event(checked) }
}

/// The ledger's first event: the baseline that everything later is compared with.
fn first_event(checked: &Checked) -> Event {
    let bare = bare_event(checked);
    if checked.result.changes.is_empty() {
        return Event {
            kind: EventKind::Approved,
            author: approver(&checked.reading.baseline),
            time: checked.reading.baseline.time,
            approval: Some(checked.reading.baseline.approval.clone()),
            ..bare
        };
    }
    Event {
        kind: EventKind::Drift,
        author: Author::unknown(Some(bare.window), Vec::new()),
        changes: checked.result.changes.clone(),
        ..bare
    }
}

fn bare_event(checked: &Checked) -> Event {
    // The trail may have been read only for what ended.
    let mut gaps = checked.result.gaps.clone();
    gaps.extend(checked.trail.gaps().into_iter().filter(|gap| !checked.result.gaps.contains(gap)));
    Event {
        schema: Event::SCHEMA.to_owned(),
        seq: 0,
        kind: EventKind::Gap,
        host: checked.result.host.clone(),
        netns: checked.result.netns.clone(),
        time: checked.reading.look.time,
        recorded_at: Utc::now(),
        window: Window { from: None, to: checked.reading.look.time },
        author: Author::default(),
        generations: Vec::new(),
        generation: checked.reading.look.generation,
        boot_id: checked.reading.look.boot_id.clone(),
        netns_cookie: checked.reading.look.netns_cookie,
        state: checked.reading.state.clone(),
        baseline: checked.result.baseline.clone(),
        baseline_tree: checked.reading.baseline.tree.clone(),
        changes: Vec::new(),
        open: checked.result.changes.iter().map(|change| change.id.clone()).collect(),
        approval: None,
        checkpoint: None,
        gaps,
    }
}
