//! The generations between two looks, and whether the records account for all of them.

use super::{Look, TableKey, alters};
use crate::model::{AuditEvent, NetfilterCfg};
use std::collections::{BTreeMap, BTreeSet};

/// How many generations are listed one by one.
const LISTED: u32 = 4096;

/// The generations after one look, up to another of the same namespace; they wrap at 2^32.
pub(super) struct Span {
    before: u32,
    length: u32,
}

impl Span {
    /// `None` where generations started again: across a reboot, or where the namespace was made anew.
    pub(super) fn between(before: &Look, now: &Look) -> Option<Self> {
        let same = before.same_count(now);
        let length = now.generation.wrapping_sub(before.generation);
        same.then_some(Self { before: before.generation, length })
    }

    /// How many commits after the first look, from 1; `None` outside the span.
    fn offset(&self, cfg: &NetfilterCfg) -> Option<u32> {
        let offset = cfg.generation?.wrapping_sub(self.before);
        (1..=self.length).contains(&offset).then_some(offset)
    }

    pub(super) fn holds(&self, cfg: &NetfilterCfg) -> bool {
        self.offset(cfg).is_some()
    }

    /// The generations in order; only the newest if there are very many.
    pub(super) fn newest(&self) -> Vec<u32> {
        let first = self.length.saturating_sub(LISTED);
        (first..self.length).map(|offset| self.before.wrapping_add(offset).wrapping_add(1)).collect()
    }

    /// Whether each generation has a record, in the order of time; and those of this table one process each.
    pub(super) fn is_accounted_for(&self, table: &TableKey, events: &[&AuditEvent]) -> bool {
        let mut claims: BTreeMap<u32, Claim> = BTreeMap::new();
        for event in events {
            for cfg in event.netfilter.iter().filter(|cfg| alters(cfg)) {
                let Some(offset) = self.offset(cfg) else { continue };
                let claim = claims.entry(offset).or_default();
                claim.pids.insert(cfg.pid);
                claim.serials.insert(event.serial);
                claim.this_table |= table.names(cfg);
            }
        }
        let all = claims.len() as u64 == u64::from(self.length) && self.length > 0;
        let disputed = claims.values().any(|claim| claim.this_table && claim.pids.len() > 1);
        all && !disputed && in_order(claims.values())
    }
}

#[derive(Default)]
struct Claim {
    pids: BTreeSet<u32>,
    serials: BTreeSet<u64>,
    this_table: bool,
}

/// Commits take turns, so serials rise with generations. Where they don't, a record that fills a hole is
/// another namespace's. Generations with two claims say nothing about the order.
fn in_order<'a>(claims: impl Iterator<Item = &'a Claim>) -> bool {
    let serials = claims.filter(|claim| claim.serials.len() == 1).filter_map(|claim| claim.serials.first());
    serials.is_sorted()
}
