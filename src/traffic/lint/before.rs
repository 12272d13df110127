//! Packets that a rule is to stop, and that an earlier rule accepts.
//!
//! Only where it surprises: the two rules overlap, neither is an exception from the other, and what is accepted are
//! new connections from outside. An accept of what is established, and a drop before an accept, are how rulesets
//! are written.

use super::sight::{OfKind, verdict};
use crate::traffic::bdd::Node;
use crate::traffic::program::{ChainId, Verdict};
use crate::traffic::space::{Key, NamePattern, Side};
use crate::traffic::walk::{Rewrite, State, WalkError};
use crate::traffic::words;

/// Passages through one chain that are looked at.
const LOOKED_AT: usize = 6;
/// Earlier rules that are looked at for one rule.
const TAKERS: usize = 8;
/// Statements for one pair of rules.
const TOLD: usize = 2;

impl OfKind<'_, '_> {
    /// For each rule that stops packets from or to certain addresses: which rules accept some of them before.
    pub(super) fn judge_accepted_before(&mut self) -> Result<(), WalkError> {
        for (chain, passages) in self.passages() {
            let program = self.program;
            let rules = program.chain(chain).map_or(0, |chain| chain.rules.len());
            for place in 0..rules {
                let stops = self.rule(chain, place).and_then(verdict);
                if matches!(stops, Some(Verdict::Drop | Verdict::Reject))
                    && self.alive.contains(&(chain, place))
                {
                    for (way, at) in passages.iter().take(LOOKED_AT) {
                        self.accepted_before(chain, place, *way, *at)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn accepted_before(
        &mut self,
        chain: ChainId,
        place: usize,
        way: usize,
        at: usize,
    ) -> Result<(), WalkError> {
        let came = self.came(way, at, place)?;
        if came.is_false() || !self.is_about_addresses(came) {
            return Ok(());
        }
        let surprising = self.strangers(way, at)?;
        let takers = self.takers(way, at, place, came, TAKERS)?;
        for (taker, taken) in takers.found {
            if self.rule(chain, taker).and_then(verdict) != Some(Verdict::Accept) {
                continue;
            }
            let of_taker = self.came(way, at, taker)?;
            if self.walker.bdd.is_disjoint(taken, surprising)? || self.walker.bdd.implies(of_taker, came)? {
                continue;
            }
            let told = self.walker.bdd.and(taken, surprising)?;
            let phrases = self.phrases(told, surprising, TOLD)?;
            if let Some(seen) = self.seen.get_mut(&chain).and_then(|seen| seen.get_mut(place))
                && seen.accepted_by.insert(taker)
            {
                seen.accepted.extend(phrases);
            }
        }
        Ok(())
    }

    fn is_about_addresses(&self, packets: Node) -> bool {
        let addresses = [Key::Saddr, Key::Daddr].map(|key| self.walker.space.find(&key));
        let support = self.walker.bdd.support(packets);
        addresses
            .into_iter()
            .flatten()
            .any(|word| support.range(word.start..word.start + word.width).next().is_some())
    }

    /// New connections, but for those of the host with itself: those of strangers.
    fn strangers(&mut self, way: usize, at: usize) -> Result<Node, WalkError> {
        let (on, hook) = (self.ways[way][at].way, self.ways[way][at].hook);
        let mut packets = self.new_packets()?;
        for side in [Side::In, Side::Out] {
            let loopback = crate::traffic::test::Test::Interface(side, NamePattern::exact(b"lo"));
            let inside = self.walker.passing(&loopback, on, hook)?;
            packets = self.walker.bdd.minus(packets, inside)?;
        }
        Ok(packets)
    }

    /// The packets that begin a connection.
    pub(super) fn new_packets(&mut self) -> Result<Node, WalkError> {
        match self.walker.space.state("new") {
            Some(var) => Ok(self.walker.bdd.and_cube(self.domain, &[(var, true)])?),
            None => Ok(self.domain),
        }
    }

    /// Packets in words, without the fields that make no difference among those of `among`.
    pub(super) fn phrases(
        &mut self,
        packets: Node,
        among: Node,
        most: usize,
    ) -> Result<Vec<String>, WalkError> {
        let mut packets = packets;
        let words = [Key::State, Key::Direction, Key::Iif, Key::Oif].map(|key| self.walker.space.find(&key));
        let words: Vec<_> =
            words.into_iter().flatten().map(|word| word.start..word.start + word.width).collect();
        for word in words {
            let broad = self.walker.bdd.exists(packets, &|var| word.contains(&var))?;
            let difference = self.walker.bdd.minus(broad, packets)?;
            if self.walker.bdd.is_disjoint(difference, among)? {
                packets = broad;
            }
        }
        let fields = self.walker.space.fields();
        let found = self.walker.bdd.regions(packets, &fields, most)?;
        let kind = self.walker.space.kind();
        let mut phrases = Vec::new();
        for region in &found.regions {
            let described = words::describe(self.walker.space, region);
            let mut phrase = described.phrase(kind);
            if !described.conditions.is_empty() {
                phrase.push_str(&format!(", if {}", described.conditions.join(" and ")));
            }
            phrases.push(phrase);
        }
        if !found.complete {
            phrases.push("and more".to_owned());
        }
        Ok(phrases)
    }

    /// All packets, as they begin.
    pub(super) fn whole(&self) -> State {
        State { rewrite: Rewrite::NONE, packets: self.domain }
    }
}
