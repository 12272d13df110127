//! The main flow, top to bottom: look, compare, attribute, record.
//!
//! ```text
//! collect ─► normalise ─► compare ─► attribute ─► record ─► report
//! ```
//!
//! [`check`] reads and writes nothing; [`record`] appends to the ledger what is new; [`approve`] and
//! [`init`] make the live state, or files, the baseline. Commands (`cli`) call these four.

use crate::baseline::{self, Access, Cache};
use crate::collect;
use crate::compare;
use crate::config::Settings;
use crate::ledger::{ApprovalMessage, Approved, Baseline, Identity, Repository};
use crate::model::{Backend, Change, CheckResult, LedgerEntry, Ruleset, Source, TableKey};
use crate::normalise::normalise;
use crate::policy;
use approval::{choose, lasting, with_other_files};
use context::with_context_of;
use events::{append, append_failure};
use glance::{Glanced, glance};
use look::examine;
use std::path::PathBuf;

mod all;
mod approval;
mod boot;
mod context;
mod diff;
mod error;
mod events;
mod flows;
mod glance;
mod history;
mod impact;
mod kept;
mod last;
mod lines;
mod lint;
mod look;
mod native;
mod passing;
mod place;
mod provenance;
mod sides;
mod trace;
mod turn;
mod words;

pub use all::{check_all, init_all, record_all};
pub use approval::{Request, Selection, counted, subject};
pub use boot::next_boot;
pub use diff::diff;
pub use error::PipelineError;
pub use flows::flows;
pub use kept::Kept;
pub use lint::lint;
pub use look::{Checked, open_netns};
pub use passing::{Effects, Telling};
pub use sides::{Seen, SideError, Sides, level};
pub use trace::{PacketQuestion, trace};
pub use turn::{Beside, Hear, Heard, turn};
pub use words::compared;

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
pub fn check(settings: &Settings) -> Result<CheckResult, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    match glance(settings, &repository, Access::Read)? {
        Some(seen) => Ok(seen.result),
        None => Ok(examine(settings, &repository, Access::Read)?.result),
    }
}

/// As [`check`], and keeps both rulesets: reads everything, whatever is remembered.
pub fn look(settings: &Settings) -> Result<Checked, PipelineError> {
    examine(settings, &Repository::open(&settings.repo)?, Access::Read)
}

/// `check`, then appends what is new to the ledger.
pub fn record(settings: &Settings) -> Result<Recorded, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    let lock = repository.lock()?;
    if let Ok(Some(Glanced { result, nothing_new: Some(memory) })) =
        glance(settings, &repository, Access::ReadWrite)
    {
        memory.write(&repository, &settings.host)?;
        return Ok(Recorded { result, events: Vec::new() });
    }
    match examine(settings, &repository, Access::ReadWrite) {
        Ok(checked) => append(settings, &repository, &lock, checked),
        Err(error) => {
            if let Err(second) = append_failure(settings, &repository, &lock, &error) {
                tracing::warn!("the gap could not be recorded either: {second}");
            }
            Err(error)
        }
    }
}

/// What `approve` did.
#[derive(Debug)]
pub struct Accepted {
    /// The changes that are approved now.
    pub changes: Vec<Change>,
    /// Whether the baseline has kernel settings from now on, and had none before.
    pub adds_settings: bool,
    /// The directory on `main`.
    pub path: String,
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
) -> Result<Option<Accepted>, PipelineError> {
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
    // A baseline of an older version gets the settings with the first approval of everything.
    let adds_settings = request.selection == Selection::All && checked.reading.context.left_out.is_some();
    if chosen.is_empty() && !adds_settings {
        return Ok(None);
    }
    let changes: Vec<Change> =
        checked.result.changes.iter().filter(|change| chosen.contains(&change.id)).cloned().collect();
    let keeps_authored = baseline::is_authored(&checked.reading.baseline.files) && !request.replace_authored;
    if keeps_authored && changes.iter().any(|change| !matches!(change.source, Source::Sysctl | Source::Bpf)) {
        return Err(PipelineError::Authored { path: checked.reading.baseline.path });
    }
    if !confirm(&checked.result, &changes).map_err(PipelineError::Terminal)? {
        return Err(PipelineError::Declined);
    }
    let mut target = compare::apply(
        &checked.reading.approved,
        &checked.reading.live,
        &checked.differences,
        |difference| chosen.contains(&difference.change.id),
    );
    if adds_settings {
        let settings = checked.reading.context.left_out.clone();
        target.tables.extend(settings.map(|table| (TableKey::of_all(Backend::Sysctl), table)));
    }
    let files = if keeps_authored {
        target.tables.retain(|key, _| matches!(key.backend, Backend::Sysctl | Backend::Bpf));
        with_context_of(&checked.reading.baseline.files, &baseline::render(&target)?)
    } else {
        with_other_files(baseline::render(&lasting(&target))?, &checked.reading.baseline.files)
    };
    // Proved before anything is written: a jump is worth nothing without its chain.
    if let Some(needed) = compare::missing(&target) {
        return Err(PipelineError::NeedsOthers { needed });
    }
    let cache = Cache::new(repository.cache_dir(), Access::ReadWrite);
    let loaded = cache.loaded(&files, &target.interfaces);
    loaded.map_err(|error| PipelineError::NeedsOthers { needed: error.to_string() })?;
    let identity = Identity::of_this_process(&repository, &settings.host);
    let message = ApprovalMessage {
        subject: format!("approve: {} on {}", subject(changes.len(), adds_settings), settings.host),
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        changes: chosen.into_iter().collect(),
    };
    let (parent, path) = (checked.reading.baseline.commit.clone(), checked.reading.baseline.path.clone());
    // First who made the changes, if that is not written down yet; then who approved them.
    let found = append(settings, &repository, &lock, checked)?;
    let approved = repository.approve(&lock, &settings.host, &files, &identity, &message, Some(&parent))?;
    let recorded = examine(settings, &repository, Access::ReadWrite)
        .and_then(|checked| append(settings, &repository, &lock, checked))?;
    let events = found.events.into_iter().chain(recorded.events).collect();
    Ok(Some(Accepted { changes, adds_settings, path, approved, identity, events }))
}

/// Makes the repository and the first approved baseline: of the live state, or of `authored` files.
pub fn init(settings: &Settings, authored: &[PathBuf]) -> Result<(Baseline, Recorded), PipelineError> {
    let netns = open_netns(settings)?;
    let list = match Repository::open(&settings.repo) {
        Ok(repository) => policy::parse(&repository.policy()?)?.settings,
        // There is none yet; making it says what is wrong with one that cannot be used.
        Err(_) => policy::Policy::default().settings,
    };
    let (capture, gaps) = collect::capture(&netns, Some(&list))?;
    if let Some(gap) = gaps.into_iter().find(|gap| gap.blinds_verdict && authored.is_empty()) {
        return Err(PipelineError::Blind(gap));
    }
    let mut live = normalise(&capture)?;
    compare::settle(&mut live, &mut Ruleset::default(), &list);
    // All that can fail is done before anything is written.
    let files = if authored.is_empty() {
        let files = baseline::render(&lasting(&live))?;
        if !capture.legacy.is_empty() {
            // What x_tables holds has no other form than its text.
            baseline::compile(&files, &capture.interfaces)?;
        }
        files
    } else {
        let files = baseline::adopt(authored)?;
        baseline::compile(&files, &capture.interfaces)?;
        live.tables.retain(|key, _| key.backend == Backend::Sysctl);
        with_context_of(&files, &baseline::render(&live)?)
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
    let baseline = checked.reading.baseline.clone();
    let recorded = append(settings, &repository, &lock, checked)?;
    Ok((baseline, recorded))
}
