//! Rules that no packet fulfils when it gets to them: why, and which rules took their packets.

use super::NAMED;
use super::sight::{Death, OfKind, verdict};
use crate::traffic::bdd::Node;
use crate::traffic::program::{ChainId, Hook};
use crate::traffic::walk::{Passage, WalkError, Way};
use std::collections::{BTreeMap, BTreeSet};

/// Passages through one chain that are asked who took a rule's packets.
const ASKED: usize = 8;

/// The places of passages: which way, which of its passages.
pub(super) type Places = Vec<(usize, usize)>;

impl OfKind<'_, '_> {
    /// For each rule without packets, why it has none.
    pub(super) fn judge_dead(&mut self) -> Result<(), WalkError> {
        let result = self.judge_all_dead();
        if result.is_err() {
            let alive = &self.alive;
            for (chain, seen) in &mut self.seen {
                let dead =
                    seen.iter_mut().enumerate().filter(|(place, _)| !alive.contains(&(*chain, *place)));
                dead.for_each(|(_, seen)| seen.unjudged = true);
            }
        }
        result
    }

    fn judge_all_dead(&mut self) -> Result<(), WalkError> {
        for (chain, places) in self.passages() {
            let rules = self.program.chain(chain).map_or(0, |chain| chain.rules.len());
            for place in (0..rules).filter(|place| !self.alive.contains(&(chain, *place))).collect::<Vec<_>>()
            {
                let death = self.death(chain, place, &places)?;
                if let Some(seen) = self.seen.get_mut(&chain) {
                    seen[place].death = death;
                }
            }
        }
        Ok(())
    }

    /// The passages through each chain.
    pub(super) fn passages(&self) -> BTreeMap<ChainId, Places> {
        let mut found: BTreeMap<ChainId, Places> = BTreeMap::new();
        for (way, passages) in self.ways.iter().enumerate() {
            for (at, passage) in passages.iter().enumerate() {
                found.entry(passage.chain).or_default().push((way, at));
            }
        }
        found
    }

    fn death(&mut self, chain: ChainId, place: usize, passages: &Places) -> Result<Death, WalkError> {
        let mut death = Death::default();
        let program = self.program;
        let Some(rule) = program.chain(chain).and_then(|chain| chain.rules.get(place)) else {
            return Ok(death);
        };
        let hooks: BTreeSet<(Way, Hook)> =
            passages.iter().map(|(way, at)| (self.ways[*way][*at].way, self.ways[*way][*at].hook)).collect();
        let whole = self.whole();
        for (way, hook) in &hooks {
            death.could |= !self.walker.about(&rule.steps, whole, *way, *hook)?.is_false();
        }
        if !death.could {
            for (way, _) in &hooks {
                death.elsewhere |= !self.walker.about(&rule.steps, whole, *way, Hook::Forward)?.is_false();
            }
            return Ok(death);
        }
        let mut asked = 0;
        for (way, at) in passages {
            let came = self.came(*way, *at, place)?;
            if came.is_false() {
                continue;
            }
            death.came = true;
            if asked == ASKED {
                (death.more, death.otherwise) = (true, true);
                break;
            }
            asked += 1;
            self.find_takers(*way, *at, place, came, &mut death)?;
        }
        Ok(death)
    }

    /// The packets of a rule that got to its chain in a passage.
    pub(super) fn came(&mut self, way: usize, at: usize, place: usize) -> Result<Node, WalkError> {
        let passage = &self.ways[way][at];
        let (chain, on, hook) = (passage.chain, passage.way, passage.hook);
        let entered = passage.entered.clone();
        let program = self.program;
        let Some(rule) = program.chain(chain).and_then(|chain| chain.rules.get(place)) else {
            return Ok(Node::FALSE);
        };
        let mut all = Node::FALSE;
        for state in entered {
            let about = self.walker.about(&rule.steps, state, on, hook)?;
            all = self.walker.bdd.or(all, about)?;
        }
        Ok(all)
    }

    /// The packets that reached the rule at a place.
    fn reached(&mut self, way: usize, at: usize, place: usize) -> Result<Node, WalkError> {
        let passage: &Passage = &self.ways[way][at];
        let Some(arrival) = passage.arrivals.get(place) else { return Ok(Node::FALSE) };
        if let [one] = &arrival.reached[..] {
            return Ok(one.packets);
        }
        let states = arrival.reached.clone();
        Ok(self.walker.joined(&states)?)
    }

    /// Who took packets before they could reach a rule. Fewer and fewer of them get further: each taker is found by
    /// halving.
    fn find_takers(
        &mut self,
        way: usize,
        at: usize,
        place: usize,
        came: Node,
        death: &mut Death,
    ) -> Result<(), WalkError> {
        let wanted = self.rule(self.ways[way][at].chain, place).and_then(verdict);
        let chain = self.ways[way][at].chain;
        let takers = self.takers(way, at, place, came, NAMED)?;
        death.altered |= !takers.arrived.is_false();
        // One that would have taken all of them by itself says more than several of which each took a part.
        for (taker, _) in &takers.found {
            let all = self.came(way, at, *taker)?;
            if self.walker.bdd.implies(came, all)? {
                death.otherwise |= wanted.is_none() || self.rule(chain, *taker).and_then(verdict) != wanted;
                death.takers.insert(*taker);
                return Ok(());
            }
        }
        death.more |= takers.more;
        death.otherwise |= takers.more || wanted.is_none();
        for (taker, _) in takers.found {
            death.otherwise |= self.rule(chain, taker).and_then(verdict) != wanted;
            death.takers.insert(taker);
        }
        Ok(())
    }

    /// The rules before a place that took some of these packets, at most `most`, each with what it took.
    pub(super) fn takers(
        &mut self,
        way: usize,
        at: usize,
        place: usize,
        packets: Node,
        most: usize,
    ) -> Result<Takers, WalkError> {
        let mut takers = Takers::default();
        let reached = self.reached(way, at, place)?;
        takers.arrived = self.walker.bdd.and(packets, reached)?;
        let (mut left, mut from) = (packets, 0);
        while left != takers.arrived {
            if takers.found.len() == most {
                takers.more = true;
                break;
            }
            // All that is left reached `from`; the rest of it is gone at `place`.
            let (mut low, mut high, mut rest) = (from, place, takers.arrived);
            while high - low > 1 {
                let middle = low + (high - low) / 2;
                let reached = self.reached(way, at, middle)?;
                let here = self.walker.bdd.and(left, reached)?;
                if here == left {
                    low = middle;
                } else {
                    (high, rest) = (middle, here);
                }
            }
            let taken = self.walker.bdd.minus(left, rest)?;
            takers.found.push((low, taken));
            (left, from) = (rest, high);
        }
        Ok(takers)
    }
}

/// Who took packets.
#[derive(Debug)]
pub(super) struct Takers {
    /// Rules, with what each took.
    pub found: Vec<(usize, Node)>,
    /// Whether there are more.
    pub more: bool,
    /// The packets that nobody took.
    pub arrived: Node,
}

impl Default for Takers {
    fn default() -> Self {
        Self { found: Vec::new(), more: false, arrived: Node::FALSE }
    }
}
