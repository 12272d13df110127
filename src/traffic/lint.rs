//! Rules that do nothing, and objects that nobody uses. Pure.
//!
//! Input: a ruleset; output: findings with codes (docs/findings.md), and what could not be judged. All packets are
//! followed along each way, once for each kind of packet, and each rule is judged by those that reach it: a rule is
//! dead only if it is dead on every way that leads to it. Sets count with the elements that they have now.

mod before;
mod beside;
mod dead;
mod interfaces;
mod objects;
mod redundant;
mod sight;
mod wider;

use super::effects::Budget;
use super::flows::Wanted;
use crate::model::{Item, LintCode, Name, Ruleset, TableKey};
use std::collections::BTreeSet;

/// Rules that one finding names, at most.
const NAMED: usize = 4;

/// A rule: table, chain, place from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// The table.
    pub table: TableKey,
    /// The chain; one that belongs to another rule has the kernel's name.
    pub chain: Name,
    /// The place in the chain, from 0.
    pub place: usize,
}

impl RuleRef {
    /// As what `decode` takes.
    pub fn item(&self) -> Item {
        Item::Rule(self.table.clone(), self.chain.clone(), self.place)
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What it is.
    pub code: LintCode,
    /// What is at fault.
    pub item: Item,
    /// What is wrong, for people. Names are as they are: not escaped.
    pub message: String,
    /// The rules that shadow, repeat or replace it; not always all of them.
    pub related: Vec<RuleRef>,
    /// Packets that it is about, in words.
    pub packets: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// By table, chain and place.
    pub findings: Vec<Found>,
    /// What could not be judged, and why; empty if everything was.
    pub unjudged: Vec<String>,
}

/// What is known beside the ruleset.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The flows that are required; none if nobody said which.
    pub flows: Option<&'a [Wanted]>,
    /// The interfaces that exist, where that is known: of a live ruleset.
    pub interfaces: Option<&'a BTreeSet<Vec<u8>>>,
}

/// Judges a ruleset.
pub fn lint(ruleset: &Ruleset, known: Known<'_>, budget: Budget) -> Report {
    let mut report = Report::default();
    let mut sight = sight::Sight::default();
    for kind in super::space::Kind::ALL {
        sight.add(kind, ruleset, known, budget, &mut report.unjudged);
    }
    report.findings = sight.findings(ruleset);
    report.findings.extend(objects::findings(ruleset));
    report.findings.sort_by(|a, b| (a.item.table(), &a.item, a.code).cmp(&(b.item.table(), &b.item, b.code)));
    report
}

/// `rule 3`, `rules 3 and 5`, `rules 3, 5 and 8`, from places that count from 0.
fn rules(places: &[usize]) -> String {
    let numbers: Vec<String> = places.iter().map(|place| (place + 1).to_string()).collect();
    match &numbers[..] {
        [] => "earlier rules".to_owned(),
        [one] => format!("rule {one}"),
        [first @ .., last] => format!("rules {} and {last}", first.join(", ")),
    }
}
