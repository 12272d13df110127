//! The evidence between two looks, read once and used for every change: what `watch` saw of each transaction, and
//! the audit history for all else.

use super::passing::{Effects, Telling};
use crate::attribute::{self, Aim, Attribution, Deed, Evidences, Handled, Look};
use crate::compare::{Difference, Fingerprint, Known};
use crate::config::Settings;
use crate::evidence::{self, AuditSource, History, People};
use crate::model::{
    AuditEvent, Author, Change, ChangeKind, Family, Gap, Name, ObjectKind, Ruleset, Set, Source, TableKey,
    Window,
};
use crate::netlink::nft::set::F_TIMEOUT;
use crate::normalise::handles::Handles;
use crate::normalise::touched::{Act, Thing, Touch};
use crate::record::Memory;
use chrono::{DateTime, Utc};
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

/// The audit trail from the last look to this one; read when it is first needed, and once.
#[derive(Debug)]
pub struct Trail {
    source: AuditSource,
    before: Option<Look>,
    now: Look,
    /// Whether auditing was on at the last look.
    audited: bool,
    people: People,
    own_exe: Vec<u8>,
    history: OnceCell<History>,
    watched: Option<Watched>,
    aims: Aims,
}

/// What `watch` saw since the last look.
#[derive(Debug, Default)]
pub struct Watched {
    /// The transactions, in order.
    pub deeds: Vec<Arc<Deed>>,
    /// The generations that were committed, and of which nothing was heard.
    pub missing: Vec<u32>,
    /// At least what the transactions touched, as the last look showed it.
    pub before: Ruleset,
    /// The handles of those rules.
    pub handles_before: Handles,
    /// The handles of the rules that this look read.
    pub handles_now: Handles,
    /// Audit events of x_tables, which no transaction announces.
    pub x_tables: Vec<AuditEvent>,
    /// Whether each audit event since the last look was heard.
    pub heard_all: bool,
    /// The sets of ipset by their indices.
    pub ipset: BTreeMap<u16, Name>,
    /// What was missed of the evidence.
    pub gaps: Vec<Gap>,
    /// How many transactions that left nothing behind may be told in words.
    pub telling: Telling,
}

/// What the transactions of each change must have done, by the change's id.
#[derive(Debug, Default)]
struct Aims {
    new: HashMap<String, Aim>,
    ended: HashMap<String, Aim>,
}

fn source(path: &Path) -> AuditSource {
    if path == Path::new(crate::config::DEFAULT_AUDIT_LOG) {
        AuditSource::Standard
    } else if path.is_dir() {
        AuditSource::Directory(path.to_owned())
    } else {
        AuditSource::File(path.to_owned())
    }
}

/// The path of this executable, as audit records name it.
fn own_exe() -> Vec<u8> {
    std::env::current_exe().map(|path| path.into_os_string().into_encoded_bytes()).unwrap_or_default()
}

/// `/proc/sys/kernel/random/boot_id` (random(4)).
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned())
}

/// Whether the kernel makes audit records at present; unknown counts as no.
pub fn is_auditing() -> bool {
    evidence::status().is_ok_and(|status| status.enabled != 0)
}

/// A remembered look, as `attribute` wants it.
pub(super) fn look_of(memory: &Memory) -> Look {
    let (boot_id, netns_cookie) = (memory.boot_id.clone(), memory.netns_cookie);
    Look { boot_id, netns_cookie, generation: memory.generation, time: memory.time }
}

impl Trail {
    /// The trail between a remembered look, if there is one, and this one.
    pub fn new(settings: &Settings, memory: Option<&Memory>, now: &Look) -> Self {
        Self {
            source: source(&settings.audit_log),
            before: memory.map(look_of),
            now: now.clone(),
            audited: memory.is_some_and(|memory| memory.audited),
            people: People::new(),
            own_exe: own_exe(),
            history: OnceCell::new(),
            watched: None,
            aims: Aims::default(),
        }
    }

    /// With what `watch` saw since that look.
    pub fn watched(self, watched: Watched) -> Self {
        Self { watched: Some(watched), ..self }
    }

    /// When it is told what changes do to traffic.
    pub fn effects(&self) -> Effects {
        self.watched.as_ref().map_or_else(Effects::default, |watched| watched.telling.effects)
    }

    /// What was seen of each transaction; none if nobody watched.
    pub fn seen(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }

    /// Tells a rule that one author removed apart from one that another added: to a comparison of two states, that is
    /// one rule which was modified.
    pub fn tell(&self, known: &mut Known) {
        for (table, chain, put, digest) in
            self.watched.iter().flat_map(|watched| rules_of_several(&watched.deeds))
        {
            let kind = if put { ChangeKind::Added } else { ChangeKind::Removed };
            known.tell(&table, &chain, kind, &digest);
        }
    }

    /// Learns what the transactions must have done that made, or ended, differences.
    pub fn learn(
        &mut self,
        differences: &[Difference],
        approved: &Ruleset,
        live: &Ruleset,
        memory: Option<&Memory>,
    ) {
        let Some(watched) = &self.watched else { return };
        let before = Handled { ruleset: &watched.before, handles: &watched.handles_before };
        let now = Handled { ruleset: live, handles: &watched.handles_now };
        let open =
            memory.into_iter().flat_map(|memory| memory.open.iter().map(move |change| (memory, change)));
        for (memory, change) in open {
            let print = memory.fingerprints.get(&change.id).cloned().unwrap_or_default();
            self.aims.ended.insert(change.id.clone(), Aim::of_end(change, &print, before, now));
        }
        for difference in differences {
            let id = &difference.change.id;
            if !self.aims.ended.contains_key(id) {
                let print = Fingerprint::of(difference, approved, live);
                self.aims.new.insert(id.clone(), Aim::of_new(difference, &print, before, now));
            }
        }
    }

    fn history(&self) -> &History {
        let from = self.before.as_ref().map_or(self.now.time, |before| before.time);
        self.history.get_or_init(|| match &self.watched {
            // What was heard is what an audit daemon would have written.
            Some(watched) if watched.heard_all && watched.missing.is_empty() => History {
                events: watched.x_tables.clone(),
                covers_from: Some(from),
                source: "the kernel".to_owned(),
                ..History::default()
            },
            _ => {
                let mut history = evidence::history::read(&self.source, from, Utc::now());
                evidence::background::of_the_living(&mut history.events);
                history
            }
        })
    }

    /// What of it could not be read, as far as it was needed.
    pub fn gaps(&self) -> Vec<Gap> {
        let read = self.history.get().into_iter().flat_map(|history| &history.gaps);
        read.chain(self.watched.iter().flat_map(|watched| &watched.gaps)).cloned().collect()
    }

    /// Fills the author and the time of changes that the last look did not show.
    pub fn attribute(&self, changes: &mut [Change]) -> Attribution {
        self.attribute_but(changes, &self.aims.new, &|_| false)
    }

    /// Fills in who ended changes that the last look showed. An element whose time may have run out in `live`
    /// has no author then, whoever touched its table meanwhile.
    pub fn attribute_ends(&self, changes: &mut [Change], live: &Ruleset) -> Attribution {
        self.attribute_but(changes, &self.aims.ended, &|change| may_have_expired(change, live))
    }

    fn attribute_but(
        &self,
        changes: &mut [Change],
        aims: &HashMap<String, Aim>,
        without_transaction: &dyn Fn(&Change) -> bool,
    ) -> Attribution {
        let mut exact = BTreeMap::new();
        let mut rest: Vec<&mut Change> = Vec::new();
        for change in changes {
            match self.made(change, aims, without_transaction) {
                Some(made) => {
                    (change.author, change.time) = (made.author, made.time);
                    exact.insert(change.id.clone(), made.generations);
                }
                None => rest.push(change),
            }
        }
        let mut others: Vec<Change> = rest.iter().map(|change| (**change).clone()).collect();
        let attribution = self.attribute_by_history(&mut others, without_transaction);
        for (change, other) in rest.into_iter().zip(others) {
            *change = other;
        }
        attribution.with_exact(exact)
    }

    /// Who made a change, as far as the transactions that `watch` saw tell.
    fn made(
        &self,
        change: &Change,
        aims: &HashMap<String, Aim>,
        without_transaction: &dyn Fn(&Change) -> bool,
    ) -> Option<attribute::Made> {
        let (watched, aim) = (self.watched.as_ref()?, aims.get(&change.id)?);
        if change.is_beside_nf_tables() {
            return None;
        }
        let window = Window { from: self.before.as_ref().map(|before| before.time), to: self.now.time };
        let may_expire = without_transaction(change);
        let complete = watched.missing.is_empty();
        let made = attribute::made(aim, &watched.deeds, window, complete, may_expire);
        // Nothing that was seen made it, and everything was seen: then nobody knows.
        let nobody = || attribute::Made {
            author: Author::unknown(Some(window), Vec::new()),
            time: None,
            generations: Vec::new(),
        };
        made.or_else(|| (complete && !may_expire).then(nobody))
    }

    fn attribute_by_history(
        &self,
        changes: &mut [Change],
        without_transaction: &dyn Fn(&Change) -> bool,
    ) -> Attribution {
        if changes.is_empty() {
            return Attribution::default();
        }
        let history = self.history();
        let covers = self.before.as_ref().is_some_and(|before| history.covers(before.time));
        let names = |uid| self.people.name(uid);
        let scratch = |event: &AuditEvent| attribute::is_scratch(event, &self.own_exe);
        let evidences = Evidences {
            history: &history.events,
            names: &names,
            covers_window: covers,
            unbroken: history.is_unbroken() && self.audited,
            without_transaction,
            scratch: &scratch,
        };
        attribute::attribute(changes, self.before.as_ref(), &self.now, &evidences)
    }

    /// Who is behind all transactions since the last look: one author, or unknown.
    pub fn of_everything(&self) -> (Author, Option<DateTime<Utc>>, Vec<u32>) {
        let mut tables: Vec<Change> = Vec::new();
        for cfg in self.history().events.iter().flat_map(|event| &event.netfilter) {
            let (Some(family), Ok(table)) =
                (Family::from_number(cfg.family), String::from_utf8(cfg.table.clone()))
            else {
                continue;
            };
            if cfg.generation.is_some()
                && !tables.iter().any(|t| t.table == table && t.family == family.as_str())
            {
                tables.push(whole_table(family, table));
            }
        }
        let window = Window { from: self.before.as_ref().map(|before| before.time), to: self.now.time };
        let attribution = self.attribute(&mut tables);
        let touched: Vec<Change> = tables
            .into_iter()
            .filter(|table| table.author.is_known() || !table.author.candidates.is_empty())
            .collect();
        let generations = attribution.generations_of_all(&touched);
        let time = attribute::time_of(&touched);
        let mut groups = attribute::by_author(touched);
        match (groups.pop(), groups.is_empty()) {
            (Some((author, _)), true) => (author, time, generations),
            (Some((last, _)), false) => {
                let mut candidates: Vec<Author> = groups.into_iter().map(|(author, _)| author).collect();
                candidates.push(last);
                (Author::unknown(Some(window), candidates), None, generations)
            }
            (None, _) => (Author::unknown(Some(window), Vec::new()), None, generations),
        }
    }
}

fn may_have_expired(change: &Change, live: &Ruleset) -> bool {
    let text = change.after.as_deref().unwrap_or_default();
    let times_out = |set: &Set| set.flags & F_TIMEOUT != 0;
    let in_live = live.tables.iter().any(|(key, table)| {
        key.family.as_str() == change.family
            && key.name.to_string() == change.table
            && table.sets.iter().any(|(name, set)| Some(name.to_string()) == change.name && times_out(set))
    });
    change.object == ObjectKind::Element && (text.contains(" timeout ") || in_live)
}

/// The rules that came (true) or went in chains that several authors changed, with their digests.
fn rules_of_several(deeds: &[Arc<Deed>]) -> Vec<(TableKey, String, bool, String)> {
    let mut authors: BTreeMap<(&TableKey, &Name), Vec<&Author>> = BTreeMap::new();
    for deed in deeds {
        for touch in &deed.touches {
            let Thing::Rule(chain, _) = &touch.thing else { continue };
            let known = authors.entry((&touch.table, chain)).or_default();
            let author = &deed.witnessed.author;
            if !known.iter().any(|other| attribute::is_same(other, author)) {
                known.push(author);
            }
        }
    }
    let mut found = Vec::new();
    for deed in deeds {
        for touch in &deed.touches {
            let (Thing::Rule(chain, handle), Some(digest)) = (&touch.thing, touch.digest) else { continue };
            let of_several = authors.get(&(&touch.table, chain)).is_some_and(|authors| authors.len() > 1);
            // A rule that one transaction replaced is one that was modified.
            let is_other = |other: &&Touch| other.table == touch.table && other.act != touch.act;
            let other = deed.touches.iter().filter(is_other);
            let replaced =
                other.map(|other| &other.thing).any(|thing| *thing == Thing::Rule(chain.clone(), *handle));
            if of_several && !replaced {
                let put = touch.act != Act::Removed;
                found.push((touch.table.clone(), chain.to_string(), put, digest.to_string()));
            }
        }
    }
    found
}

/// Stands for whatever happened to a table.
fn whole_table(family: Family, table: String) -> Change {
    Change::new(ChangeKind::Modified, Source::Nft, (family.to_string(), table), ObjectKind::Table)
}
