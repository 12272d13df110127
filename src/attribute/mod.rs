//! Changes joined with the audit history: who, and when.
//!
//! In: changes that one look showed and the look before it did not, both looks, the audit events between
//! them. Out: each change's `author` and `time`, and the generations that were joined. Pure: no I/O, no
//! clock. Must not guess: where the records do not decide, the author is unknown, with window and candidates.

mod group;
mod made;
mod person;
mod span;

pub use group::{by_author, deeds_by_author, is_same, time_of};
pub use made::{Aim, Deed, Handled, Made, made};
pub use person::{command_line, login, service, witnessed};

use crate::model::{AuditEvent, Author, Change, NetfilterCfg, Source, Window};
use chrono::{DateTime, TimeDelta, Utc};
use person::Who;
use span::Span;
use std::collections::{BTreeMap, BTreeSet};

/// How far a record's time may be off the window when its generation is within the looks' generations.
const SLACK: TimeDelta = TimeDelta::seconds(5);
/// Audit's clock is up to one tick (10 ms at HZ=100) behind.
const COARSE_CLOCK: TimeDelta = TimeDelta::milliseconds(10);

/// One look at the live state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// `/proc/sys/kernel/random/boot_id`: generations count from each boot.
    pub boot_id: String,
    /// `SO_NETNS_COOKIE` of the namespace, where the kernel tells it: one made anew under an old name counts anew,
    /// too.
    pub netns_cookie: Option<u64>,
    /// The nf_tables generation that the look showed (`NFTA_GEN_ID`).
    pub generation: u32,
    /// When the look *began*: what was changed before it is in it.
    pub time: DateTime<Utc>,
}

impl Look {
    /// Whether the generations of both looks are of one count.
    pub fn same_count(&self, other: &Self) -> bool {
        self.boot_id == other.boot_id && self.netns_cookie == other.netns_cookie
    }
}

/// What is known about the time between two looks.
#[derive(Clone, Copy)]
pub struct Evidences<'a> {
    /// The audit events of that time; others do no harm.
    pub history: &'a [AuditEvent],
    /// The login name of a uid, for records that bring none along.
    pub names: &'a dyn Fn(u32) -> Option<String>,
    /// Whether the history reaches back to the look before (`History::covers`).
    pub covers_window: bool,
    /// Whether nothing in it is known to be missing: `History::is_unbroken`, and auditing was on at the look
    /// before (the kernel does not record being turned on). x_tables changes need it: unlike nf_tables
    /// generations, their records have no numbers by which a missing one would show.
    pub unbroken: bool,
    /// Which changes came about without any transaction, such as an element whose time ran out: those have no
    /// author, whoever changed the table meanwhile.
    pub without_transaction: &'a dyn Fn(&Change) -> bool,
    /// Which events fwdrift itself made in scratch namespaces ([`is_scratch`]): their generations are small
    /// numbers, as those of a host that has just booted, and would be a second claim to them.
    pub scratch: &'a dyn Fn(&AuditEvent) -> bool,
}

/// `argv[0]` of the programs that fwdrift runs in scratch namespaces, so that their audit events are known.
pub const SCRATCH_ARGV0: &str = "fwdrift-scratch";

/// The user as whom fwdrift runs scripts of others in scratch namespaces, where what they start keeps its own
/// `argv[0]`. Above all ranges that are given to people, services and containers (systemd's UIDS-GIDS).
pub const SCRATCH_UID: u32 = 0x7ffe_0000;

/// Whether fwdrift, whose executable is `own_exe`, made this event in a scratch namespace: by itself, through
/// a program that it ran as [`SCRATCH_ARGV0`], or through a script that it ran as [`SCRATCH_UID`]. Who imitates that only takes away the record of their own change,
/// which leaves its author unknown.
pub fn is_scratch(event: &AuditEvent, own_exe: &[u8]) -> bool {
    let exe = event.syscall.as_ref().and_then(|syscall| syscall.exe.as_deref());
    let argv0 = event.proctitle.as_deref().and_then(|title| title.split(|b| *b == 0).next());
    let uid = event.syscall.as_ref().map(|syscall| syscall.uid);
    exe == Some(own_exe) || argv0 == Some(SCRATCH_ARGV0.as_bytes()) || uid == Some(SCRATCH_UID)
}

/// Which generations made which table's changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    tables: BTreeMap<TableKey, Vec<u32>>,
    since_last_look: Vec<u32>,
    /// Of single changes, by their ids.
    exact: BTreeMap<String, Vec<u32>>,
}

impl Attribution {
    /// The generations joined with a change; for an unknown author all since the last look (the newest 4,096
    /// of them). Empty for x_tables.
    pub fn generations_of(&self, change: &Change) -> &[u32] {
        if let Some(exact) = self.exact.get(&change.id) {
            return exact;
        }
        let joined = TableKey::of(change).and_then(|key| self.tables.get(&key));
        match joined {
            Some(generations) if change.author.is_known() => generations,
            _ if change.is_beside_nf_tables() => &[],
            _ => &self.since_last_look,
        }
    }

    /// The generations of several changes, in the order of commits, each once.
    pub fn generations_of_all(&self, changes: &[Change]) -> Vec<u32> {
        let wanted: BTreeSet<u32> = changes.iter().flat_map(|c| self.generations_of(c)).copied().collect();
        if !self.exact.is_empty() {
            return wanted.into_iter().collect();
        }
        self.since_last_look.iter().copied().filter(|generation| wanted.contains(generation)).collect()
    }

    /// With the generations of single changes, which are known better.
    pub fn with_exact(self, exact: BTreeMap<String, Vec<u32>>) -> Self {
        Self { exact, ..self }
    }
}

/// A table as audit names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct TableKey {
    legacy: bool,
    family: u8,
    name: Vec<u8>,
}

impl TableKey {
    fn of(change: &Change) -> Option<Self> {
        let legacy = match change.source {
            Source::Nft | Source::IptablesNft => false,
            Source::IptablesLegacy => true,
            Source::Arptables | Source::Ebtables => change.legacy,
            // Neither a record nor a generation names a change of these.
            Source::Ipset | Source::Sysctl | Source::Bpf => {
                return None;
            }
        };
        Some(Self { legacy, family: family_number(&change.family)?, name: change.table.clone().into_bytes() })
    }

    fn names(&self, cfg: &NetfilterCfg) -> bool {
        let alters = if self.legacy { cfg.op.starts_with("xt_replace") } else { alters(cfg) };
        alters && cfg.family == self.family && cfg.table == self.name
    }
}

/// `NFPROTO_*` (include/uapi/linux/netfilter.h).
fn family_number(family: &str) -> Option<u8> {
    Some(match family {
        "inet" => 1,
        "ip" => 2,
        "arp" => 3,
        "netdev" => 5,
        "bridge" => 7,
        "ip6" => 10,
        _ => return None,
    })
}

/// A record of a commit. Resetting counters is audited too, with the generation that is in force, but it
/// commits nothing (net/netfilter/nf_tables_api.c `audit_log_rule_reset`).
fn alters(cfg: &NetfilterCfg) -> bool {
    cfg.generation.is_some() && !cfg.op.starts_with("nft_reset")
}

/// What the records say about one table.
struct Decision {
    author: Author,
    time: Option<DateTime<Utc>>,
    generations: Vec<u32>,
}

/// Fills `author` and `time` of each change. `changes` are those that `now` shows and `before` did not.
///
/// An nf_tables table has a known author when each generation after `before` up to `now` (of the same namespace)
/// has a record, no generation of the table is claimed by two processes (one would be another network
/// namespace's), and all the table's records have a SYSCALL part with one and the same login, or, where
/// there is no login, one and the same executable and uid (and unit, as far as it is known). An x_tables table has one under the last condition,
/// if the history covers the window and is unbroken. All else is unknown.
pub fn attribute(
    changes: &mut [Change],
    before: Option<&Look>,
    now: &Look,
    evidences: &Evidences<'_>,
) -> Attribution {
    let window = Window { from: before.map(|look| look.time), to: now.time };
    let span = before.and_then(|before| Span::between(before, now));
    let mut decided: BTreeMap<TableKey, Decision> = BTreeMap::new();
    for change in changes.iter_mut() {
        let key = TableKey::of(change).filter(|_| !(evidences.without_transaction)(change));
        let Some(key) = key else {
            (change.author, change.time) = (Author::unknown(Some(window), Vec::new()), None);
            continue;
        };
        let decision =
            decided.entry(key.clone()).or_insert_with(|| decide(&key, span.as_ref(), window, evidences));
        (change.author, change.time) = (decision.author.clone(), decision.time);
    }
    Attribution {
        tables: decided.into_iter().map(|(key, decision)| (key, decision.generations)).collect(),
        since_last_look: span.as_ref().map_or_else(Vec::new, Span::newest),
        exact: BTreeMap::new(),
    }
}

fn decide(key: &TableKey, span: Option<&Span>, window: Window, evidences: &Evidences<'_>) -> Decision {
    let slack = if key.legacy { COARSE_CLOCK } else { SLACK };
    let timely = |event: &&AuditEvent| {
        window.from.is_none_or(|from| event.time >= from - slack) && event.time <= window.to + SLACK
    };
    let foreign = |event: &&AuditEvent| (evidences.scratch)(event);
    let timely: Vec<&AuditEvent> = evidences.history.iter().filter(timely).filter(|e| !foreign(e)).collect();
    let within = |cfg: &NetfilterCfg| key.legacy || span.is_none_or(|span| span.holds(cfg));
    let of_table = |event: &&AuditEvent| event.netfilter.iter().any(|cfg| key.names(cfg) && within(cfg));
    let records: Vec<&AuditEvent> = timely.iter().copied().filter(of_table).collect();
    let complete = evidences.covers_window
        && match (key.legacy, span) {
            (true, span) => evidences.unbroken && span.is_some(),
            (false, Some(span)) => span.is_accounted_for(key, &timely),
            (false, None) => false,
        };
    let authors = records.iter().map(|event| Who::of(event)).collect::<Vec<_>>();
    let one = match authors.split_first() {
        Some((Some(first), rest)) if rest.iter().all(|who| who.as_ref() == Some(first)) => {
            complete && person::is_one_service(&records)
        }
        _ => false,
    };
    if !one {
        let candidates = person::candidates(&records, evidences.names);
        let author = Author::unknown(Some(window), candidates);
        return Decision { author, time: None, generations: Vec::new() };
    }
    let generations = records.iter().flat_map(|event| &event.netfilter).filter(|cfg| key.names(cfg));
    let mut generations: Vec<u32> = generations.filter_map(|cfg| cfg.generation).collect();
    generations.dedup();
    Decision {
        author: person::author(&records, evidences.names),
        time: records.iter().map(|event| event.time).max(),
        generations,
    }
}

#[cfg(test)]
mod tests;
