//! The main flow, top to bottom: look, compare, attribute, record.
//!
//! ```text
//! collect ─► normalise ─► compare ─► attribute ─► record ─► report
//! ```
//!
//! [`check`] reads and writes nothing; [`record`] appends to the ledger what is new; [`approve`] and
//! [`init`] make the live state, or files, the baseline. Commands (`cli`) call these four.

use crate::attribute::{self, Look};
use crate::baseline::{self, Access, Cache, Files};
use crate::collect;
use crate::compare::{self, Comparison, Difference};
use crate::config::Settings;
use crate::decode::{self, DecodeError};
use crate::ledger::{ApprovalMessage, Approved, Baseline, HostName, Identity, Lock, Repository};
use crate::model::{
    Approval, Author, BaselineRef, Capture, Change, CheckResult, Digest, Event, EventKind, Evidence, Gap,
    LedgerEntry, Ruleset, Summary, Verdict, Window,
};
use crate::normalise::{self, normalise};
use crate::record::{Cause, Draft, Memory, plan};
use crate::sys::netns::Netns;
use chrono::{DateTime, Utc};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

mod error;
mod history;

pub use error::PipelineError;

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
    capture: Capture,
    look: Look,
    baseline: Baseline,
    memory: Option<Memory>,
    audited: bool,
}

/// What `record` did.
#[derive(Debug)]
pub struct Recorded {
    /// The look behind it.
    pub result: CheckResult,
    /// The events that were appended, oldest first.
    pub events: Vec<LedgerEntry>,
}

/// Looks at the live state, compares it with the approved one, and attributes the differences. Reads
/// only.
pub fn check(settings: &Settings) -> Result<Checked, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    examine(settings, &repository, Access::Read)
}

/// `check`, then appends what is new to the ledger.
pub fn record(settings: &Settings) -> Result<Recorded, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    let lock = repository.lock()?;
    let checked = examine(settings, &repository, Access::ReadWrite)?;
    append(settings, &repository, &lock, checked)
}

/// Which of the differences are approved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those with these ids, or unambiguous beginnings of ids.
    Ids(Vec<String>),
}

/// What an approver says.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which differences.
    pub selection: Selection,
    /// The id that `check` printed for the state that was reviewed.
    pub reviewed: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// Under which ticket.
    pub ticket: Option<String>,
    /// Whether files that a person wrote may be replaced by captured ones.
    pub replace_authored: bool,
}

/// What `approve` did.
#[derive(Debug)]
pub struct ApprovalOutcome {
    /// The changes that are approved now.
    pub changes: Vec<Change>,
    /// The commit, and what became of the working tree.
    pub approved: Approved,
    /// By whom.
    pub identity: Identity,
    /// The events that followed from it.
    pub events: Vec<LedgerEntry>,
}

/// Makes differences part of the baseline, as one commit by the person who runs this. `confirm` sees what
/// is about to be approved, and may refuse.
pub fn approve(
    settings: &Settings,
    request: &Request,
    confirm: impl FnOnce(&CheckResult, &[Change]) -> Result<bool, std::io::Error>,
) -> Result<Option<ApprovalOutcome>, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    let lock = repository.lock()?;
    let checked = examine(settings, &repository, Access::ReadWrite)?;
    if let Some(reviewed) = &request.reviewed
        && *reviewed != checked.result.review_id
    {
        let present = checked.result.review_id;
        return Err(PipelineError::NotReviewed { reviewed: reviewed.clone(), present });
    }
    if let Some(gap) = checked.result.gaps.iter().find(|gap| gap.blinds_verdict) {
        return Err(PipelineError::Blind(gap.clone()));
    }
    let chosen = choose(&checked.result.changes, &request.selection)?;
    if chosen.is_empty() {
        return Ok(None);
    }
    if baseline::is_authored(&checked.baseline.files) && !request.replace_authored {
        return Err(PipelineError::Authored { path: checked.baseline.path });
    }
    let changes: Vec<Change> =
        checked.result.changes.iter().filter(|change| chosen.contains(&change.id)).cloned().collect();
    if !confirm(&checked.result, &changes).map_err(PipelineError::Terminal)? {
        return Err(PipelineError::Declined);
    }
    let target = compare::apply(&checked.approved, &checked.live, &checked.differences, |difference| {
        chosen.contains(&difference.change.id)
    });
    let files = with_other_files(baseline::render(&lasting(&target))?, &checked.baseline.files);
    let identity = Identity::of_this_process(&repository, &settings.host);
    let message = ApprovalMessage {
        subject: format!("approve: {} on {}", counted(changes.len()), settings.host),
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        changes: chosen.into_iter().collect(),
    };
    let parent = checked.baseline.commit.clone();
    let approved = repository.approve(&lock, &settings.host, &files, &identity, &message, Some(&parent))?;
    let recorded = examine(settings, &repository, Access::ReadWrite)
        .and_then(|checked| append(settings, &repository, &lock, checked))?;
    Ok(Some(ApprovalOutcome { changes, approved, identity, events: recorded.events }))
}

/// Makes the repository and the first approved baseline: of the live state, or of `authored` files.
pub fn init(settings: &Settings, authored: &[PathBuf]) -> Result<(Baseline, Recorded), PipelineError> {
    let netns = open_netns(settings)?;
    let (capture, gaps) = collect::capture(&netns)?;
    if let Some(gap) = gaps.into_iter().find(|gap| gap.blinds_verdict && authored.is_empty()) {
        return Err(PipelineError::Blind(gap));
    }
    let live = normalise(&capture)?;
    // All that can fail is done before anything is written.
    let files = if authored.is_empty() {
        baseline::render(&lasting(&live))?
    } else {
        let files = baseline::adopt(authored)?;
        baseline::compile(&files, &capture.interfaces)?;
        files
    };
    let repository = Repository::create(&settings.repo)?;
    let lock = repository.lock()?;
    if let Some(existing) = repository.baseline(&settings.host)? {
        let (host, path) = (settings.host.clone(), existing.path);
        return Err(PipelineError::AlreadyInitialised { host, path, repo: settings.repo.clone() });
    }
    let identity = Identity::of_this_process(&repository, &settings.host);
    let origin = if authored.is_empty() { "the live state" } else { "authored files" };
    let message = ApprovalMessage {
        subject: format!("approve: first baseline of {}, from {origin}", settings.host),
        ..ApprovalMessage::default()
    };
    let parent = repository.main_commit()?;
    let parent = parent.as_ref().map(|commit| commit.as_str());
    repository.approve(&lock, &settings.host, &files, &identity, &message, parent)?;
    let checked = examine(settings, &repository, Access::ReadWrite)?;
    let baseline = checked.baseline.clone();
    let recorded = append(settings, &repository, &lock, checked)?;
    Ok((baseline, recorded))
}

/// One look: collect, normalise, compare, attribute.
fn examine(settings: &Settings, repository: &Repository, access: Access) -> Result<Checked, PipelineError> {
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

fn open_netns(settings: &Settings) -> Result<Netns, PipelineError> {
    let netns = match &settings.netns {
        Some(netns) => Netns::open(netns.path()),
        None => Netns::current(),
    };
    netns.map_err(|error| PipelineError::Collect(error.into()))
}

/// Compares two rulesets, decoding just what differs.
fn differences(approved: &Ruleset, live: &Ruleset) -> Result<Comparison, DecodeError> {
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

/// Appends the events that this look makes, and remembers the look.
fn append(
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
    let native = kept.tables.iter().filter(|(key, _)| key.backend == crate::model::Backend::NfTables);
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
    evidence: &history::Evidenced,
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
        let unknown = !author.is_known();
        let mut made = event(checked, memory, draft.kind, author, time, kept.collect(), generations);
        if unknown {
            // Why nobody is named.
            let unseen = evidence.gaps.iter().filter(|gap| !made.gaps.contains(gap)).cloned();
            made.gaps.extend(unseen.collect::<Vec<_>>());
        }
        events.push(made);
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

/// The ids that a selection means.
fn choose(changes: &[Change], selection: &Selection) -> Result<BTreeSet<String>, PipelineError> {
    let Selection::Ids(wanted) = selection else {
        return Ok(changes.iter().map(|change| change.id.clone()).collect());
    };
    let mut chosen = BTreeSet::new();
    for id in wanted {
        let mut fitting = changes.iter().filter(|change| change.id.starts_with(id.as_str()));
        match (fitting.next(), fitting.next()) {
            (Some(change), None) if id.len() >= 4 => drop(chosen.insert(change.id.clone())),
            (Some(_), Some(_)) => return Err(PipelineError::AmbiguousChange(id.clone())),
            _ => return Err(PipelineError::UnknownChange(id.clone())),
        }
    }
    Ok(chosen)
}

/// The ruleset without what the packet path put into dynamic sets: nobody approves that.
fn lasting(ruleset: &Ruleset) -> Ruleset {
    let mut kept = ruleset.clone();
    for set in kept.tables.values_mut().flat_map(|table| table.sets.values_mut()) {
        if set.is_dynamic() {
            set.elements.clear();
        }
    }
    kept
}

/// Rendered files, with those of the old baseline that are no rulesets (a README).
fn with_other_files(mut files: Files, old: &Files) -> Files {
    for (path, content) in old {
        if !path.starts_with("nft/") && !path.starts_with("iptables/") {
            files.insert(path.clone(), content.clone());
        }
    }
    files
}

fn counted(changes: usize) -> String {
    if changes == 1 { "1 change".to_owned() } else { format!("{changes} changes") }
}
