//! The evidence between two looks, read once and used for every change.

use crate::attribute::{self, Attribution, Evidences, Look};
use crate::config::Settings;
use crate::evidence::{self, AuditSource, History, People};
use crate::model::{
    AuditEvent, Author, Change, ChangeKind, Family, Gap, ObjectKind, Ruleset, Set, Source, Window,
};
use crate::netlink::nft::set::F_TIMEOUT;
use crate::record::Memory;
use chrono::{DateTime, Utc};
use std::cell::OnceCell;
use std::path::Path;

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
        }
    }

    fn history(&self) -> &History {
        let from = self.before.as_ref().map_or(self.now.time, |before| before.time);
        self.history.get_or_init(|| {
            let mut history = evidence::history::read(&self.source, from, Utc::now());
            evidence::background::of_the_living(&mut history.events);
            history
        })
    }

    /// What of it could not be read, as far as it was needed.
    pub fn gaps(&self) -> &[Gap] {
        self.history.get().map_or(&[], |history| &history.gaps)
    }

    /// Fills the author and the time of changes that the last look did not show.
    pub fn attribute(&self, changes: &mut [Change]) -> Attribution {
        self.attribute_but(changes, &|_| false)
    }

    /// Fills in who ended changes that the last look showed. An element whose time may have run out in `live`
    /// has no author then, whoever touched its table meanwhile.
    pub fn attribute_ends(&self, changes: &mut [Change], live: &Ruleset) -> Attribution {
        self.attribute_but(changes, &|change| may_have_expired(change, live))
    }

    fn attribute_but(
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

/// Stands for whatever happened to a table.
fn whole_table(family: Family, table: String) -> Change {
    Change {
        id: String::new(),
        kind: ChangeKind::Modified,
        source: Source::Nft,
        family: family.to_string(),
        table,
        chain: None,
        object: ObjectKind::Table,
        name: None,
        before: None,
        after: None,
        position: None,
        note: None,
        legacy: false,
        blind: Vec::new(),
        severity: None,
        impact: None,
        author: Author::default(),
        time: None,
    }
}
