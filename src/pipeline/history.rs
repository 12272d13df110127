//! The evidence between two looks, read once and used for every change.

use crate::attribute::{self, Attribution, Evidences, Look};
use crate::config::Settings;
use crate::evidence::{self, AuditSource, History, People};
use crate::model::{AuditEvent, Author, Change, ChangeKind, Family, Gap, ObjectKind, Source, Window};
use crate::record::Memory;
use chrono::{DateTime, Utc};
use std::path::Path;

/// The audit trail since the last look.
pub struct Trail {
    history: History,
    covers_window: bool,
    unbroken: bool,
    people: People,
    own_exe: Vec<u8>,
    /// What could not be read of it.
    pub gaps: Vec<Gap>,
}

/// Reads the audit history from the last look to this one.
pub fn read(settings: &Settings, memory: Option<&Memory>, now: &Look) -> Trail {
    let from = memory.map_or(now.time, |memory| memory.time);
    let history = evidence::history::read(&source(&settings.audit_log), from, Utc::now());
    Trail {
        covers_window: memory.is_some() && history.covers(from),
        unbroken: history.is_unbroken() && memory.is_some_and(|memory| memory.audited),
        people: People::new(),
        own_exe: own_exe(),
        gaps: history.gaps.clone(),
        history,
    }
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
pub fn look_of(memory: &Memory) -> Look {
    Look { boot_id: memory.boot_id.clone(), generation: memory.generation, time: memory.time }
}

impl Trail {
    /// Fills the author and the time of each change.
    pub fn attribute(&self, changes: &mut [Change], before: Option<&Look>, now: &Look) -> Attribution {
        let names = |uid| self.people.name(uid);
        let scratch = |event: &AuditEvent| attribute::is_scratch(event, &self.own_exe);
        let evidences = Evidences {
            history: &self.history.events,
            names: &names,
            covers_window: self.covers_window,
            unbroken: self.unbroken,
            without_transaction: &expired,
            scratch: &scratch,
        };
        attribute::attribute(changes, before, now, &evidences)
    }

    /// Who is behind all transactions since the last look: one author, or unknown.
    pub fn of_everything(&self, before: &Look, now: &Look) -> (Author, Option<DateTime<Utc>>, Vec<u32>) {
        let mut tables: Vec<Change> = Vec::new();
        for cfg in self.history.events.iter().flat_map(|event| &event.netfilter) {
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
        let window = Window { from: Some(before.time), to: now.time };
        let attribution = self.attribute(&mut tables, Some(before), now);
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

/// An element that is gone and had a timeout may have expired, whoever touched its table meanwhile.
fn expired(change: &Change) -> bool {
    let text = change.before.as_deref().or(change.after.as_deref()).unwrap_or_default();
    change.object == ObjectKind::Element && text.contains(" timeout ")
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
        severity: None,
        impact: None,
        author: Author::default(),
        time: None,
    }
}
