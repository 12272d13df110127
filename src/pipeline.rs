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
use crate::model::{Change, CheckResult, LedgerEntry};
use crate::normalise::normalise;
use approval::{choose, lasting, with_other_files};
use events::{append, append_failure};
use look::{examine, open_netns};
use std::path::PathBuf;

mod approval;
mod error;
mod events;
mod history;
mod last;
mod look;

pub use approval::{Request, Selection, counted};
pub use error::PipelineError;
pub use look::{Checked, compared};

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
    // Proved before anything is written: a jump is worth nothing without its chain.
    if let Some(needed) = compare::missing(&target) {
        return Err(PipelineError::NeedsOthers { needed });
    }
    let cache = Cache::new(repository.cache_dir(), Access::ReadWrite);
    let loaded = cache.compiled(&files, &target.interfaces);
    loaded.map_err(|error| PipelineError::NeedsOthers { needed: error.to_string() })?;
    let identity = Identity::of_this_process(&repository, &settings.host);
    let message = ApprovalMessage {
        subject: format!("approve: {} on {}", counted(changes.len()), settings.host),
        reason: request.reason.clone(),
        ticket: request.ticket.clone(),
        changes: chosen.into_iter().collect(),
    };
    let (parent, path) = (checked.baseline.commit.clone(), checked.baseline.path.clone());
    // First who made the changes, if that is not written down yet; then who approved them.
    let found = append(settings, &repository, &lock, checked)?;
    let approved = repository.approve(&lock, &settings.host, &files, &identity, &message, Some(&parent))?;
    let recorded = examine(settings, &repository, Access::ReadWrite)
        .and_then(|checked| append(settings, &repository, &lock, checked))?;
    let events = found.events.into_iter().chain(recorded.events).collect();
    Ok(Some(Accepted { changes, path, approved, identity, events }))
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
        let files = baseline::render(&lasting(&live))?;
        if !capture.legacy.is_empty() {
            // What x_tables holds has no other form than its text.
            baseline::compile(&files, &capture.interfaces)?;
        }
        files
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
