//! Many rules in a row that just decide: accept, drop or reject what matches.
//!
//! One by one, each rule would be taken away from ever more complicated rests. Here what each rule matches is put
//! together by halves (`Bdd::first_match`), which is much quicker; a [`Piece`] then holds all that its rule matches of what
//! came to the stretch, and the order of the pieces says which one decides.

use super::chains::Visit;
use super::nodes::At;
use super::{Fate, Piece, State, WalkError, Walker};
use crate::traffic::bdd::{Exhausted, Node};
use crate::traffic::program::{ChainId, Rule, Step, Verdict};
use std::sync::Arc;

/// Fewer rules than this are followed one by one.
pub(super) const LONG: usize = 16;
/// Of a stretch of which only so few rules match anything, each takes its own away.
const FEW: usize = 8;

/// How many rules from the first one on just decide.
pub(super) fn length(rules: &[Arc<Rule>]) -> usize {
    rules.iter().take_while(|rule| rule.steps.is_empty() || fate(rule).is_some()).count()
}

/// What a rule that just decides does; none for all other rules.
fn fate(rule: &Rule) -> Option<Fate> {
    let (last, tests) = rule.steps.split_last()?;
    if !tests.iter().all(|step| matches!(step, Step::Test(_))) {
        return None;
    }
    match last {
        Step::Verdict(Verdict::Accept) => Some(Fate::Accepted),
        Step::Verdict(Verdict::Drop) => Some(Fate::Dropped),
        Step::Verdict(Verdict::Reject) => Some(Fate::Rejected),
        // It never matches: its last question has no answer but no.
        Step::Test(test) if test.is_never() => Some(Fate::Dropped),
        Step::Test(_) | Step::Set(_) | Step::Translate(_) | Step::Branch(_) | Step::Verdict(_) => None,
    }
}

impl Walker<'_> {
    /// Follows packets through a stretch whose first rule is at a place of a chain; what no rule matches is left.
    pub(super) fn stretch(
        &mut self,
        visit: &mut Visit<'_>,
        (chain, first): (ChainId, usize),
        rules: &[Arc<Rule>],
        states: Vec<State>,
    ) -> Result<Vec<State>, WalkError> {
        let mut left = Vec::with_capacity(states.len());
        for state in states {
            let mut matched: Vec<(usize, Fate, Node)> = Vec::new();
            for (number, rule) in rules.iter().enumerate() {
                let Some(fate) = fate(rule) else { continue };
                let packets = self.matched(visit, rule, state)?;
                if !packets.is_false() {
                    matched.push((first + number, fate, packets));
                }
            }
            let rest = if matched.len() <= FEW {
                self.one_by_one(visit, chain, &matched, state)?
            } else {
                self.by_halves(visit, chain, &matched, state)?
            };
            left.push(State { packets: rest, ..state });
        }
        Ok(self.merged(left)?)
    }

    fn matched(&mut self, visit: &Visit<'_>, rule: &Rule, state: State) -> Result<Node, WalkError> {
        let at = At { way: visit.way, hook: visit.hook, rewrite: state.rewrite };
        let mut packets = state.packets;
        for step in &rule.steps {
            if let Step::Test(test) = step {
                packets = self.restrict(packets, test, at)?;
                if packets.is_false() {
                    break;
                }
            }
        }
        Ok(packets)
    }

    fn one_by_one(
        &mut self,
        visit: &mut Visit<'_>,
        chain: ChainId,
        matched: &[(usize, Fate, Node)],
        state: State,
    ) -> Result<Node, WalkError> {
        let mut rest = state.packets;
        for (rule, fate, packets) in matched {
            let packets = self.bdd.and(*packets, rest)?;
            rest = self.bdd.minus(rest, packets)?;
            self.decide(visit, Some((chain, *rule)), *fate, State { packets, ..state })?;
        }
        Ok(rest)
    }

    fn by_halves(
        &mut self,
        visit: &mut Visit<'_>,
        chain: ChainId,
        matched: &[(usize, Fate, Node)],
        state: State,
    ) -> Result<Node, WalkError> {
        let verdict = |fate: &Fate| if fate.passes() { Node::TRUE } else { Node::FALSE };
        let entries: Vec<(Node, Node)> =
            matched.iter().map(|(_, fate, packets)| (*packets, verdict(fate))).collect();
        let accepted = self.bdd.first_match(&entries, Node::FALSE)?;
        let union = self.union(matched.iter().map(|(.., packets)| *packets).collect())?;
        visit.accepted.push(State { packets: accepted, ..state });
        let (base, hook) = (visit.base, visit.hook);
        visit.pieces.extend(matched.iter().map(|(rule, fate, packets)| Piece {
            base,
            hook,
            rule: Some((chain, *rule)),
            fate: *fate,
            packets: *packets,
        }));
        Ok(self.bdd.minus(state.packets, union)?)
    }

    /// All packets that are in one of the sets, put together by pairs.
    fn union(&mut self, mut sets: Vec<Node>) -> Result<Node, Exhausted> {
        while sets.len() > 1 {
            let mut pairs = Vec::with_capacity(sets.len().div_ceil(2));
            for pair in sets.chunks(2) {
                pairs.push(match pair {
                    [one, other] => self.bdd.or(*one, *other)?,
                    rest => rest.first().copied().unwrap_or(Node::FALSE),
                });
            }
            sets = pairs;
        }
        Ok(sets.first().copied().unwrap_or(Node::FALSE))
    }
}
