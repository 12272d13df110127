//! One turn of `watch`: what was committed since the last look, looked at together.
//!
//! Only what the transactions touched is read anew, and put into the rulesets that the last turn kept. Whenever
//! that is not enough (a new baseline, another interface, a lost announcement, something beside nf_tables), the
//! turn is a full look, with the same answer.

use super::events::{append_events, append_failure, drafts, live_files};
use super::history::{self, Trail, Watched};
use super::kept::{Advanced, Kept, Rules, files_after};
use super::last::remembered;
use super::look::{Checked, Reading, beside_digest, open_netns};
use super::passing::Telling;
use super::{PipelineError, Recorded};
use crate::attribute::{Deed, Look};
use crate::baseline::Access;
use crate::collect;
use crate::collect::transactions::is_after;
use crate::compare::Earlier;
use crate::config::Settings;
use crate::ledger::Repository;
use crate::model::{AuditEvent, Capture, Files, Gap, Name, Ruleset};
use crate::normalise::normalise;
use crate::normalise::scope::Scope;
use crate::normalise::scoped::Scoped;
use crate::record::Memory;
use crate::sys;
use crate::sys::netns::Netns;
use chrono::Utc;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Readings in part before a full one: transactions that come meanwhile may touch more.
const ATTEMPTS: usize = 5;
/// The generations that one event lists as missing.
const LISTED: u32 = 1 << 16;

/// A transaction that was heard of: who made it, what it touched, and what of the ruleset may look different now.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Who, and what.
    pub deed: Arc<Deed>,
    /// Where.
    pub scope: Scope,
}

/// Gives the transactions that were not given yet, up to a generation at least, as far as they come in time.
pub type Hear<'h> = dyn FnMut(u32) -> Vec<Heard> + 'h;

/// What else was heard since the last turn.
#[derive(Debug, Default)]
pub struct Beside {
    /// Audit events of x_tables.
    pub x_tables: Vec<AuditEvent>,
    /// Whether no audit event was lost, and auditing was on.
    pub heard_all: bool,
    /// What was missed, or will be: of the evidence, not of the live state.
    pub gaps: Vec<Gap>,
    /// The sets of ipset by their indices.
    pub ipset: BTreeMap<u16, Name>,
    /// Whether all that the generation does not cover is to be read, too.
    pub poll: bool,
    /// Whether everything is to be read.
    pub full: bool,
    /// How many transactions that left nothing behind may be told in words.
    pub telling: Telling,
}

/// One turn. `waiting` are transactions that were heard; those that came too late for this turn's reading are left there.
pub fn turn(
    settings: &Settings,
    kept: &mut Option<Kept>,
    waiting: &mut Vec<Heard>,
    hear: &mut Hear<'_>,
    beside: Beside,
) -> Result<Recorded, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    let lock = repository.lock()?;
    let turn = Turn { settings, repository: &repository, beside };
    match turn.look(kept, waiting, hear) {
        Ok((checked, rules, old_files)) => {
            let events = drafts(settings, &checked);
            let files = match (events.is_empty(), old_files) {
                // The newest event's: nothing has changed since.
                (true, None) => repository.ledger_files(&settings.host)?.map(|(_, files)| files),
                (false, None) => Some(live_files(&repository, &checked)?),
                (_, files) => files,
            };
            let (entries, memory) =
                append_events(settings, &repository, &lock, &checked, events, files.as_ref())?;
            let Checked { result, reading, differences, re_encoded_in, .. } = checked;
            waiting.retain(|heard| is_later(heard, reading.look.generation));
            *kept = Some(Kept { reading, rules, files, head: memory.head, differences, re_encoded_in });
            Ok(Recorded { result, events: entries })
        }
        Err(error) => {
            if let Err(second) = append_failure(settings, &repository, &lock, &error) {
                tracing::warn!("the gap could not be recorded either: {second}");
            }
            Err(error)
        }
    }
}

struct Turn<'t> {
    settings: &'t Settings,
    repository: &'t Repository,
    beside: Beside,
}

/// What a turn saw, with what the next one needs, and the files of the state if they are known.
type Seen = (Checked, Rules, Option<Files>);

impl Turn<'_> {
    fn look(
        mut self,
        kept: &mut Option<Kept>,
        waiting: &mut Vec<Heard>,
        hear: &mut Hear<'_>,
    ) -> Result<Seen, PipelineError> {
        let memory = remembered(self.repository, &self.settings.host)?;
        let netns = open_netns(self.settings)?;
        let kept = kept.take().filter(|kept| {
            !self.beside.full && kept.is_current(self.repository, &self.settings.host, memory.as_ref())
        });
        if let (Some(kept), Some(memory)) = (kept, &memory)
            && self.is_same_beside(&kept, &netns)?
            && let Some(seen) = self.in_part(kept, memory, &netns, waiting, hear)?
        {
            return Ok(seen);
        }
        self.in_full(memory, &netns, waiting, hear)
    }

    /// Whether what the generation does not cover is as it was, if that is to be asked.
    fn is_same_beside(&self, kept: &Kept, netns: &Netns) -> Result<bool, PipelineError> {
        if !self.beside.poll {
            return Ok(true);
        }
        let seen = collect::glance(netns, kept.reading.settings_list())?;
        let digest = beside_digest(&normalise(&seen.beside)?, &seen.beside.interfaces);
        Ok(digest == kept.reading.beside
            && seen.gaps.is_empty()
            && seen.netns_cookie == kept.reading.look.netns_cookie)
    }

    /// Reads what was touched; none if that does not do.
    fn in_part(
        &mut self,
        mut kept: Kept,
        memory: &Memory,
        netns: &Netns,
        waiting: &mut Vec<Heard>,
        hear: &mut Hear<'_>,
    ) -> Result<Option<Seen>, PipelineError> {
        let time = Utc::now();
        let Some(scoped) = scope_of_all(netns, memory.generation, waiting, hear)? else { return Ok(None) };
        if scoped.ruleset.interfaces != kept.reading.live.interfaces {
            return Ok(None);
        }
        let Ok(Advanced { before, after, handles_before, earlier }) = kept.advance(&scoped) else {
            return Ok(None);
        };
        let Kept { mut reading, rules, files, .. } = kept;
        reading.look = Look { generation: scoped.generation, time, ..reading.look };
        reading.audited = history::is_auditing();
        let watched = Watched {
            before: before.clone(),
            handles_before,
            handles_now: scoped.handles,
            ..self.watched(&reading.look, memory, waiting)
        };
        let checked = self.compared(reading, Some(memory.clone()), Some(watched), earlier)?;
        let files = files.and_then(|files| files_after(files, &before, &after, &checked));
        Ok(Some((checked, rules, files)))
    }

    /// Reads everything.
    fn in_full(
        &mut self,
        memory: Option<Memory>,
        netns: &Netns,
        waiting: &mut Vec<Heard>,
        hear: &mut Hear<'_>,
    ) -> Result<Seen, PipelineError> {
        let mut rules = Rules::default();
        let see = |capture: &Capture, live: &Ruleset| rules = Rules::of(capture, live);
        let mut reading = Reading::take(self.settings, self.repository, Access::ReadWrite, netns, see)?;
        // Both are kept.
        reading.live.share(&reading.approved);
        rules.look_for_lists([&reading.live, &reading.approved]);
        waiting.extend(hear(reading.look.generation));
        let watched = memory
            .as_ref()
            .filter(|memory| history::look_of(memory).same_count(&reading.look))
            .map(|memory| Watched {
                handles_now: rules.handles.clone(),
                ..self.watched(&reading.look, memory, waiting)
            });
        let checked = self.compared(reading, memory, watched, None)?;
        // Most of what was needed is not kept.
        sys::memory::give_back();
        Ok((checked, rules, None))
    }

    /// What was heard between two looks.
    fn watched(&mut self, look: &Look, memory: &Memory, waiting: &[Heard]) -> Watched {
        let is_new = |deed: &&Arc<Deed>| {
            is_after(generation_of(deed), memory.generation)
                && !is_after(generation_of(deed), look.generation)
        };
        // They stay where they are: if what follows fails, the next turn needs them.
        let deeds: Vec<Arc<Deed>> = waiting.iter().map(|heard| &heard.deed).filter(is_new).cloned().collect();
        let known: BTreeSet<u32> = deeds.iter().map(|deed| generation_of(deed)).collect();
        let length = look.generation.wrapping_sub(memory.generation);
        let all =
            (length.saturating_sub(LISTED)..length).map(|step| memory.generation.wrapping_add(step + 1));
        Watched {
            missing: all.filter(|generation| !known.contains(generation)).collect(),
            deeds,
            x_tables: std::mem::take(&mut self.beside.x_tables),
            heard_all: self.beside.heard_all,
            gaps: std::mem::take(&mut self.beside.gaps),
            telling: std::mem::take(&mut self.beside.telling),
            ipset: std::mem::take(&mut self.beside.ipset),
            ..Watched::default()
        }
    }

    fn compared(
        &self,
        reading: Reading,
        memory: Option<Memory>,
        watched: Option<Watched>,
        earlier: Option<Earlier>,
    ) -> Result<Checked, PipelineError> {
        let trail = Trail::new(self.settings, memory.as_ref(), &reading.look);
        let trail = match watched {
            Some(watched) => trail.watched(watched),
            None => trail,
        };
        reading.compared(self.settings, self.repository, Access::ReadWrite, memory, trail, earlier)
    }
}

/// A reading of all that the transactions touched which it is later than; none if only a full one can tell. All those
/// transactions are in `waiting` then, if they came in time.
fn scope_of_all(
    netns: &Netns,
    since: u32,
    waiting: &mut Vec<Heard>,
    hear: &mut Hear<'_>,
) -> Result<Option<Scoped>, PipelineError> {
    let mut scope = Scope::default();
    let mut seen = since;
    for _ in 0..ATTEMPTS {
        waiting.iter().for_each(|heard| scope.extend(heard.scope.clone()));
        let Some(scoped) = collect::scoped(netns, &scope)? else { return Ok(None) };
        let last = waiting.last().map_or(seen, |heard| generation_of(&heard.deed));
        if !is_after(scoped.generation, last) {
            return Ok(Some(scoped));
        }
        // More was committed meanwhile: what it touched may look different, too.
        let more = hear(scoped.generation);
        let mut wider = scope.clone();
        more.iter().for_each(|heard| wider.extend(heard.scope.clone()));
        waiting.extend(more);
        if wider == scope {
            return Ok(Some(scoped));
        }
        (scope, seen) = (wider, last);
    }
    Ok(None)
}

pub(super) fn generation_of(deed: &Deed) -> u32 {
    deed.witnessed.transaction.generation
}

fn is_later(heard: &Heard, generation: u32) -> bool {
    is_after(generation_of(&heard.deed), generation)
}
