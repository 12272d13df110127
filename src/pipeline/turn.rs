//! One turn of `watch`: what was committed since the last look, looked at together.
//!
//! Only what the transactions touched is read anew, and put into the rulesets that the last turn kept. Whenever
//! that is not enough (a new baseline, another interface, a lost announcement, something beside nf_tables), the
//! turn is a full look, with the same answer.

use super::events::{append_events, append_failure, drafts, live_files};
use super::history::{self, Trail, Watched};
use super::last::remembered;
use super::look::{Checked, Reading, beside_digest, open_netns};
use super::{PipelineError, Recorded};
use crate::attribute::{self, Deed, Handles, Look};
use crate::baseline::{self, Access};
use crate::collect;
use crate::collect::transactions::is_after;
use crate::config::Settings;
use crate::decode;
use crate::ledger::Repository;
use crate::model::{
    AuditEvent, Author, Backend, Capture, Change, Event, EventKind, Family, Files, Gap, Item, Name, Ruleset,
    TableKey, Witnessed,
};
use crate::netlink::Attrs;
use crate::netlink::nft::{msg, rule};
use crate::normalise::advance::advance;
use crate::normalise::scope::{Part, Scope, restrict};
use crate::normalise::scoped::{Scoped, Writers, put};
use crate::normalise::{deeds, normalise};
use crate::record::Memory;
use crate::sys::netns::Netns;
use chrono::Utc;
use std::collections::{BTreeMap, BTreeSet};

/// Readings in part before a full one: transactions that come meanwhile may touch more.
const ATTEMPTS: usize = 5;
/// How many passing transactions of one turn are told in words; each takes a scratch namespace, some 15 ms.
const TEXTS: usize = 25;
/// The generations that one event lists as missing.
const LISTED: u32 = 1 << 16;

/// A transaction that was heard of: who made it, what it touched, and what of the ruleset may look different now.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Who, and what.
    pub deed: Deed,
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
    /// Whether there is so much to do that the texts of passing transactions are left out.
    pub brief: bool,
}

/// What a turn leaves to the next one.
#[derive(Debug)]
pub struct Kept {
    reading: Reading,
    handles: Handles,
    writers: Writers,
    /// The live state as the ledger's files; none if they are not known.
    files: Option<Files>,
    head: Option<String>,
    state: String,
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
        Ok((checked, handles, writers, old_files)) => {
            let events = drafts(settings, &checked);
            let files = match (events.is_empty(), old_files) {
                // The newest event's: nothing has changed since.
                (true, None) => repository.ledger_files(&settings.host)?.map(|(_, files)| files),
                (false, None) => Some(live_files(&repository, &checked)?),
                (_, files) => files,
            };
            let (entries, memory) =
                append_events(settings, &repository, &lock, &checked, events, files.as_ref())?;
            let Checked { result, reading, .. } = checked;
            waiting.retain(|heard| is_later(heard, reading.look.generation));
            let (head, state) = (memory.head, memory.state);
            *kept = Some(Kept { reading, handles, writers, files, head, state });
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

/// What a turn saw, with what the next one needs: handles, writers, and the files of the state if they are known.
type Seen = (Checked, Handles, Writers, Option<Files>);

impl Turn<'_> {
    fn look(
        mut self,
        kept: &mut Option<Kept>,
        waiting: &mut Vec<Heard>,
        hear: &mut Hear<'_>,
    ) -> Result<Seen, PipelineError> {
        let memory = remembered(self.repository, &self.settings.host)?;
        let netns = open_netns(self.settings)?;
        let kept = kept.take().filter(|kept| !self.beside.full && self.is_current(kept, memory.as_ref()));
        if let (Some(kept), Some(memory)) = (kept, &memory)
            && self.is_same_beside(&kept, &netns)?
            && let Some(seen) = self.in_part(kept, memory, &netns, waiting, hear)?
        {
            return Ok(seen);
        }
        self.in_full(memory, &netns, waiting, hear)
    }

    /// Whether the last turn's rulesets are those of the last look, and of the present baseline.
    fn is_current(&self, kept: &Kept, memory: Option<&Memory>) -> bool {
        let path = baseline::context_path(Backend::Sysctl).unwrap_or_default();
        let tree = self.repository.baseline_id(&self.settings.host, path).ok().flatten().map(|id| id.tree);
        tree.as_ref() == Some(&kept.reading.baseline.tree)
            && memory.is_some_and(|memory| {
                memory.head == kept.head
                    && memory.state == kept.state
                    && memory.baseline == kept.reading.baseline.tree
            })
            && kept.reading.look.boot_id == history::boot_id()
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
        kept: Kept,
        memory: &Memory,
        netns: &Netns,
        waiting: &mut Vec<Heard>,
        hear: &mut Hear<'_>,
    ) -> Result<Option<Seen>, PipelineError> {
        let Kept { mut reading, mut handles, mut writers, files, .. } = kept;
        let time = Utc::now();
        let Some(scoped) = scope_of_all(netns, memory.generation, waiting, hear)? else { return Ok(None) };
        if scoped.ruleset.interfaces != reading.live.interfaces {
            return Ok(None);
        }
        let before = restrict(&reading.live, &scoped.scope);
        let handles_before = handles_of_scope(&handles, &scoped.scope);
        if put(&mut reading.live, &mut writers, &scoped).is_err() {
            return Ok(None);
        }
        replace_handles(&mut handles, &scoped);
        reading.look = Look { generation: scoped.generation, time, ..reading.look };
        reading.audited = history::is_auditing();
        let watched = Watched {
            before: before.clone(),
            handles_before,
            handles_now: handles_of_scope(&handles, &scoped.scope),
            ..self.watched(&reading.look, memory, waiting)
        };
        let checked = self.compared(reading, Some(memory.clone()), Some(watched))?;
        let after = restrict(&checked.reading.live, &scoped.scope);
        let files = files.and_then(|files| self.files_after(files, &before, &after, &checked));
        Ok(Some((checked, handles, writers, files)))
    }

    /// Reads everything.
    fn in_full(
        &mut self,
        memory: Option<Memory>,
        netns: &Netns,
        waiting: &mut Vec<Heard>,
        hear: &mut Hear<'_>,
    ) -> Result<Seen, PipelineError> {
        let mut handles = Handles::new();
        let see = |capture: &Capture| handles = handles_of(capture);
        let reading = Reading::take(self.settings, self.repository, Access::ReadWrite, netns, see)?;
        let writers = Writers::of(&reading.live);
        waiting.extend(hear(reading.look.generation));
        let watched = memory
            .as_ref()
            .filter(|memory| history::look_of(memory).same_count(&reading.look))
            .map(|memory| Watched {
                handles_now: handles.clone(),
                ..self.watched(&reading.look, memory, waiting)
            });
        let checked = self.compared(reading, memory, watched)?;
        Ok((checked, handles, writers, None))
    }

    /// What was heard between two looks.
    fn watched(&mut self, look: &Look, memory: &Memory, waiting: &[Heard]) -> Watched {
        let is_new = |deed: &&Deed| {
            is_after(generation_of(deed), memory.generation)
                && !is_after(generation_of(deed), look.generation)
        };
        // Copies: if what follows fails, the next turn needs them.
        let deeds: Vec<Deed> = waiting.iter().map(|heard| &heard.deed).filter(is_new).cloned().collect();
        let known: BTreeSet<u32> = deeds.iter().map(generation_of).collect();
        let length = look.generation.wrapping_sub(memory.generation);
        let all =
            (length.saturating_sub(LISTED)..length).map(|step| memory.generation.wrapping_add(step + 1));
        Watched {
            missing: all.filter(|generation| !known.contains(generation)).collect(),
            deeds,
            x_tables: std::mem::take(&mut self.beside.x_tables),
            heard_all: self.beside.heard_all,
            gaps: std::mem::take(&mut self.beside.gaps),
            brief: self.beside.brief,
            ipset: std::mem::take(&mut self.beside.ipset),
            ..Watched::default()
        }
    }

    fn compared(
        &self,
        reading: Reading,
        memory: Option<Memory>,
        watched: Option<Watched>,
    ) -> Result<Checked, PipelineError> {
        let trail = Trail::new(self.settings, memory.as_ref(), &reading.look);
        let trail = match watched {
            Some(watched) => trail.watched(watched),
            None => trail,
        };
        reading.compared(self.settings, self.repository, Access::ReadWrite, memory, trail)
    }

    /// The files of the state after a turn, made from those before; none if they have to be written anew.
    fn files_after(
        &self,
        mut files: Files,
        before: &Ruleset,
        after: &Ruleset,
        checked: &Checked,
    ) -> Option<Files> {
        if !before.tables.keys().eq(after.tables.keys()) {
            return None;
        }
        for (key, new) in &after.tables {
            let old = before.tables.get(key)?;
            if old == new {
                continue;
            }
            let text = |chain: &Name, place: usize| {
                let text = checked.texts.get(&Item::Rule(key.clone(), chain.clone(), place))?;
                text.exact.then(|| text.text.clone())
            };
            let content = files.get_mut(&baseline::table_path(key))?;
            *content = baseline::splice(content, old, new, &text)?;
        }
        Some(files)
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

fn generation_of(deed: &Deed) -> u32 {
    deed.witnessed.transaction.generation
}

fn is_later(heard: &Heard, generation: u32) -> bool {
    is_after(generation_of(&heard.deed), generation)
}

/// The handles of all rules of a capture, by chain in order.
fn handles_of(capture: &Capture) -> Handles {
    let mut handles = Handles::new();
    for message in capture.messages.iter().filter(|message| message.kind == msg::NEWRULE) {
        let attrs = Attrs(&message.attrs);
        let text = |kind| attrs.find(kind).map(|attr| Name(attr.string().to_vec()));
        let found = (Family::from_number(message.family), text(rule::TABLE), text(rule::CHAIN));
        let handle = attrs.find(rule::HANDLE).and_then(|attr| attr.be64());
        if let ((Some(family), Some(name), Some(chain)), Some(handle)) = (found, handle) {
            let key = TableKey { backend: Backend::NfTables, family, name };
            handles.entry((key, chain)).or_default().push(handle);
        }
    }
    handles
}

fn is_meant(scope: &Scope, (table, chain): &(TableKey, Name)) -> bool {
    match scope.tables.get(table) {
        _ if scope.everything => true,
        Some(Part::Whole) => true,
        Some(Part::Parts(parts)) => parts.chains.contains(chain),
        None => false,
    }
}

fn handles_of_scope(handles: &Handles, scope: &Scope) -> Handles {
    let meant = handles.iter().filter(|(name, _)| is_meant(scope, name));
    meant.map(|(name, list)| (name.clone(), list.clone())).collect()
}

fn replace_handles(handles: &mut Handles, scoped: &Scoped) {
    handles.retain(|name, _| !is_meant(&scoped.scope, name));
    handles.extend(scoped.handles.iter().map(|(name, list)| (name.clone(), list.clone())));
}

/// The events of transactions that left nothing behind, and of those that nobody heard.
pub(super) fn transients(
    checked: &Checked,
    watched: &Watched,
    events: &[Event],
    make: impl Fn(EventKind) -> Event,
) -> Vec<Event> {
    let used: BTreeSet<u32> = events.iter().flat_map(|event| event.generations.iter().copied()).collect();
    let is_passing = |deed: &Deed| !used.contains(&generation_of(deed));
    // A copy of the ruleset is needed for them: not made where nothing is to be told.
    let texts = if watched.brief || !watched.deeds.iter().any(is_passing) {
        BTreeMap::new()
    } else {
        let context = if watched.before.tables.is_empty() { checked.live() } else { &watched.before };
        let mut words = Words { context: context.clone(), ipset: &watched.ipset, left: TEXTS };
        words.of(watched.deeds.iter(), is_passing)
    };
    let mut found = Vec::new();
    for (author, deeds) in attribute::deeds_by_author(watched.deeds.iter().filter(|deed| is_passing(deed))) {
        let time = deeds.iter().map(|deed| deed.witnessed.at()).max();
        let generations = deeds.iter().map(|deed| generation_of(deed)).collect();
        let by_this = |deed: &&Deed, change: &Change| Change {
            author: author.clone(),
            time: Some(deed.witnessed.at()),
            ..change.clone()
        };
        let told = deeds.iter().filter_map(|deed| Some((deed, texts.get(&generation_of(deed))?)));
        let changes =
            told.flat_map(|(deed, changes)| changes.iter().map(move |change| by_this(deed, change)));
        let changes = changes.collect();
        let event = make(EventKind::Transient);
        let time = time.unwrap_or(event.time);
        found.push(Event { author, time, generations, changes, ..event });
    }
    found.extend(unheard(checked, watched, &used, make));
    found
}

/// Transactions that nobody heard, and that no event accounts for: the history may know who made them; else there is a
/// gap.
fn unheard(
    checked: &Checked,
    watched: &Watched,
    used: &BTreeSet<u32>,
    make: impl Fn(EventKind) -> Event,
) -> Option<Event> {
    let generations: Vec<u32> =
        watched.missing.iter().filter(|missing| !used.contains(missing)).copied().collect();
    let (first, last) = (generations.first()?, generations.last()?);
    let (author, time, _) = checked.trail.of_everything();
    if author.is_known() || !author.candidates.is_empty() {
        let event = make(EventKind::Transient);
        let time = time.unwrap_or(event.time);
        return Some(Event { author, time, generations, ..event });
    }
    let gap = Gap {
        source: "nf_tables".to_owned(),
        reason: match generations.len() {
            1 => format!("one transaction was not seen by itself (generation {first})"),
            count => format!("{count} transactions were not seen one by one (generations {first} to {last})"),
        },
        hint: Some("what they left behind is compared all the same".to_owned()),
        blinds_verdict: false,
    };
    let event = make(EventKind::Gap);
    let gaps = event.gaps.iter().cloned().chain([gap]).collect();
    Some(Event { author: Author::unknown(Some(event.window), Vec::new()), generations, gaps, ..event })
}

/// What transactions did, in words: of the first ones that left nothing behind.
struct Words<'c> {
    /// The ruleset before each of them, as far as it is known.
    context: Ruleset,
    ipset: &'c BTreeMap<u16, Name>,
    left: usize,
}

impl Words<'_> {
    /// Goes over all transactions of a turn, in order; gives the changes of those that are passing.
    fn of<'d>(
        &mut self,
        deeds: impl Iterator<Item = &'d Deed>,
        is_passing: impl Fn(&Deed) -> bool,
    ) -> BTreeMap<u32, Vec<Change>> {
        let mut found = BTreeMap::new();
        for deed in deeds {
            let Deed { witnessed: Witnessed { transaction, .. }, renamed, .. } = deed;
            if is_passing(deed) {
                if self.left == 0 {
                    break;
                }
                self.left -= 1;
                match decode::tell(transaction, renamed, self.ipset, &self.context) {
                    Ok(told) => drop(found.insert(transaction.generation, with_note(told))),
                    Err(error) => tracing::warn!("a passing transaction cannot be shown: {error}"),
                }
            }
            advance(&mut self.context, &deeds::deeds(&transaction.messages, self.ipset).deeds, renamed);
        }
        found
    }
}

fn with_note(told: decode::Told) -> Vec<Change> {
    let mut changes = told.changes;
    if let Some(last) = changes.last_mut() {
        last.note = last.note.take().or(told.note);
    }
    changes
}
