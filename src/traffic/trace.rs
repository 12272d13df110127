//! One packet's way: each rule that it matches, and what decides.
//!
//! Input: a ruleset and a packet, of which what is not said is usual; output: the rules in the order of the way, and the
//! verdict, which is inconclusive where it depends on what the packet does not say.

use super::bdd::Node;
use super::effects::Budget;
use super::lower::{self, Common};
use super::packets::Asked;
use super::program::{Hook, Verdict};
use super::space::{Kind, Space};
use super::walk::{Fate, Met, Piece, WalkError, Walker, Way};
use super::words;
use crate::model::{Name, Ruleset, TableKey, TraceVerdict};
use std::collections::BTreeMap;

/// A rule that the packet matched, or a policy that applied.
#[derive(Clone, Debug)]
pub struct TraceStep {
    /// The hook.
    pub hook: Hook,
    /// The table.
    pub table: TableKey,
    /// The chain.
    pub chain: Name,
    /// The place of the rule, from 0; none for a policy.
    pub rule: Option<usize>,
    /// What it does: `accept`, `drop`, `jump NAME`, `continue`, …
    pub verdict: String,
    /// What it depends on, if the packet does not say it.
    pub conditions: Vec<String>,
}

/// A packet's way.
#[derive(Clone, Debug)]
pub struct Traced {
    /// What becomes of it.
    pub verdict: TraceVerdict,
    /// Rules and policies in order.
    pub steps: Vec<TraceStep>,
    /// The packet, field by field.
    pub packet: BTreeMap<String, String>,
    /// What the verdict depends on.
    pub conditions: Vec<String>,
}

/// Follows one packet of a kind.
pub fn trace(
    ruleset: &Ruleset,
    kind: Kind,
    asked: &Asked,
    budget: Budget,
) -> Result<Option<Traced>, WalkError> {
    let mut space = Space::new(kind);
    asked.ask_interfaces(&mut space);
    let mut common = Common::default();
    let program = lower::lower(ruleset, None, &mut space, &mut common);
    let mut walker = Walker::new(&mut space, budget.nodes);
    walker.bdd.set_max_steps(budget.steps);
    let Some(region) = walker.region(asked)? else { return Ok(None) };
    // One packet: all that is asked for and still open becomes one value, except for what nobody can know.
    let unknown = walker.unknown(asked);
    let is_unknown = |var: u32| unknown.iter().any(|(start, end)| (*start..*end).contains(&var));
    let value = walker.example(region);
    let mut literals = Vec::new();
    for word in walker.space.words() {
        literals.extend(
            (word.start..word.start + word.width)
                .filter(|var| !is_unknown(*var))
                .map(|var| (var, value(var))),
        );
    }
    let packet = walker.bdd.and_cube(region, &literals)?;
    walker.met = Some(Vec::new());
    let outcome = walker.follow(&program, Way::host(asked.path), packet)?;
    let met = walker.met.take().unwrap_or_default();
    let mut steps = Vec::new();
    for entry in in_order(&met, &outcome.pieces) {
        let (base, hook, rule, packets, verdict) = match entry {
            Entry::Met(met) => {
                (met.base, met.hook, Some(met.rule), met.packets, words_of(met.verdict, &common))
            }
            Entry::Policy(piece) => {
                (piece.base, piece.hook, None, piece.packets, piece.fate.as_str().to_owned())
            }
        };
        let Some(chain) = program.chain(rule.map_or(base, |(chain, _)| chain)) else { continue };
        steps.push(TraceStep {
            hook,
            table: chain.table.clone(),
            chain: chain.name.clone(),
            rule: rule.map(|(_, place)| place),
            verdict,
            conditions: conditions(&mut walker, packets, packet)?,
        });
    }
    let passed = walker.passed(&outcome)?;
    let lost = walker.bdd.minus(packet, passed)?;
    let verdict = match (passed.is_false(), lost.is_false()) {
        (false, true) => TraceVerdict::Accept,
        (true, false) if outcome.pieces.iter().any(|piece| piece.fate == Fate::Rejected) => {
            TraceVerdict::Reject
        }
        (true, _) => TraceVerdict::Drop,
        (false, false) => TraceVerdict::Inconclusive,
    };
    let depends = match verdict {
        TraceVerdict::Inconclusive => conditions(&mut walker, lost, packet)?,
        TraceVerdict::Accept | TraceVerdict::Drop | TraceVerdict::Reject => Vec::new(),
    };
    Ok(Some(Traced {
        verdict,
        steps,
        packet: words::sample(walker.space, Way::host(asked.path), &value),
        conditions: depends,
    }))
}

enum Entry<'a> {
    Met(&'a Met),
    Policy(&'a Piece),
}

/// Rules as they were met, and after those of a base chain its policy, if that decided.
fn in_order<'a>(met: &'a [Met], pieces: &'a [Piece]) -> Vec<Entry<'a>> {
    let mut entries = Vec::new();
    let mut bases: Vec<usize> = Vec::new();
    for base in met.iter().map(|met| met.base).chain(pieces.iter().map(|piece| piece.base)) {
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    // Base chains in the order of decisions: each one decides about all that enters it.
    bases.sort_by_key(|base| pieces.iter().position(|piece| piece.base == *base));
    for base in bases {
        entries.extend(met.iter().filter(|met| met.base == base).map(Entry::Met));
        let policy = pieces.iter().filter(|piece| piece.base == base && piece.rule.is_none());
        entries.extend(policy.map(Entry::Policy));
    }
    entries
}

fn words_of(verdict: Option<Verdict>, common: &Common) -> String {
    let to = |chain| common.name(chain).map_or_else(|| "?".to_owned(), |name| name.to_string());
    match verdict {
        None | Some(Verdict::Continue) => "continue".to_owned(),
        Some(Verdict::Accept) => "accept".to_owned(),
        Some(Verdict::Drop) => "drop".to_owned(),
        Some(Verdict::Reject) => "reject".to_owned(),
        Some(Verdict::Taken) => "taken".to_owned(),
        Some(Verdict::Ask(_)) => "queue".to_owned(),
        Some(Verdict::Return) => "return".to_owned(),
        Some(Verdict::Jump(chain)) => format!("jump {}", to(chain)),
        Some(Verdict::Goto(chain)) => format!("goto {}", to(chain)),
    }
}

/// What part of one packet's cases a set is, in words; empty if all of them.
fn conditions(walker: &mut Walker<'_>, part: Node, whole: Node) -> Result<Vec<String>, WalkError> {
    let inside = walker.bdd.and(part, whole)?;
    if inside == whole {
        return Ok(Vec::new());
    }
    let ranges: Vec<(u32, u32)> =
        walker.space.words().iter().map(|word| (word.start, word.start + word.width)).collect();
    let told = walker.without_needless(inside, whole, &ranges)?;
    let fields = walker.space.fields();
    let regions = walker.bdd.regions(told, &fields, 1)?;
    let Some(only) = regions.regions.into_iter().next() else { return Ok(Vec::new()) };
    let described = words::describe(walker.space, &only);
    let mut texts = described.conditions.clone();
    texts.extend(described.iif.map(|name| format!("in by {name}")));
    texts.extend(described.oif.map(|name| format!("out by {name}")));
    texts.extend(described.other.iter().map(|(name, value)| format!("{name} {value}")));
    Ok(texts)
}
