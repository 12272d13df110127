//! Accepts beyond what the required flows need.

use super::sight::{OfKind, verdict};
use crate::model::Expect;
use crate::traffic::bdd::Node;
use crate::traffic::flows::Wanted;
use crate::traffic::packets::{Asked, Interfaces};
use crate::traffic::program::{ChainKind, Hook, Verdict};
use crate::traffic::space::{Key, NamePattern, Side};
use crate::traffic::test::Test;
use crate::traffic::walk::{Layer, Path, WalkError};

/// Statements for one rule.
const TOLD: usize = 4;

impl OfKind<'_, '_> {
    /// For each rule of a filter that accepts: the new connections that no flow needs.
    pub(super) fn judge_wider(&mut self, flows: &[Wanted]) -> Result<(), WalkError> {
        for way in 0..self.ways.len() {
            let Some(on) = self.ways[way].first().map(|passage| passage.way) else { continue };
            if on.layer != Layer::Host {
                continue;
            }
            let needed = self.needed(flows, on.path)?;
            for at in 0..self.ways[way].len() {
                self.wider(way, at, needed)?;
            }
        }
        Ok(())
    }

    /// The packets that begin a required connection on a path, whatever else they are like.
    fn needed(&mut self, flows: &[Wanted], path: Path) -> Result<Node, WalkError> {
        let mut all = Node::FALSE;
        for flow in flows.iter().filter(|flow| flow.path == path && flow.expect == Expect::Allow) {
            let request = flow.request();
            let anywhere = |interfaces: Interfaces| match interfaces {
                Interfaces::Named(_) => interfaces,
                Interfaces::OneOf(_) => Interfaces::OneOf(Vec::new()),
            };
            let (iif, oif) = (anywhere(request.iif.clone()), anywhere(request.oif.clone()));
            // Of ICMP, these are the type and the code; of ports it is not said which ones a client has.
            let sports = if request.dports.is_empty() { request.sports.clone() } else { Vec::new() };
            let asked = Asked { sports, iif, oif, within_limits: false, ..request };
            let Some(region) = self.walker.region(&asked)? else { continue };
            // A flow says nothing of what `region` takes to be usual.
            let words = self.walker.space.words().iter().filter(|word| !is_said(&word.key));
            let unsaid: Vec<_> = words.map(|word| word.start..word.start + word.width).collect();
            let is_unsaid = |var: u32| unsaid.iter().any(|vars| vars.contains(&var));
            let broad = self.walker.bdd.exists(region, &is_unsaid)?;
            all = self.walker.bdd.or(all, broad)?;
        }
        Ok(all)
    }

    fn wider(&mut self, way: usize, at: usize, needed: Node) -> Result<(), WalkError> {
        let passage = &self.ways[way][at];
        let (chain, on, hook) = (passage.chain, passage.way, passage.hook);
        let decides = matches!(hook, Hook::Input | Hook::Forward | Hook::Output);
        if !decides || self.base_of(way, at) != Some(ChainKind::Filter) {
            return Ok(());
        }
        let new = self.new_packets()?;
        let new = self.walker.bdd.and(new, self.passed[way])?;
        // What the host says to itself needs no flow.
        let mut asked = new;
        for side in [Side::In, Side::Out] {
            let loopback =
                self.walker.passing(&Test::Interface(side, NamePattern::exact(b"lo")), on, hook)?;
            asked = self.walker.bdd.minus(asked, loopback)?;
        }
        for place in 0..self.ways[way][at].arrivals.len() {
            if self.rule(chain, place).and_then(verdict) != Some(Verdict::Accept) {
                continue;
            }
            let states: Vec<_> = self.ways[way][at].arrivals[place].matched.iter().map(|(s, _)| *s).collect();
            let matched = self.walker.joined(&states)?;
            let new = self.walker.bdd.and(matched, asked)?;
            let more = self.walker.bdd.minus(new, needed)?;
            if !more.is_false() {
                let phrases = self.phrases(more, asked, TOLD)?;
                if let Some(seen) = self.seen.get_mut(&chain).and_then(|seen| seen.get_mut(place)) {
                    let new = phrases.into_iter().filter(|phrase| !seen.wider.contains(phrase));
                    let new: Vec<String> = new.collect();
                    seen.wider.extend(new);
                }
            }
        }
        Ok(())
    }

    /// The type of the base chain from which packets came into a passage.
    pub(super) fn base_of(&self, way: usize, at: usize) -> Option<ChainKind> {
        let mut passage = self.ways[way].get(at)?;
        while let Some(caller) = passage.from {
            passage = self.ways[way].get(caller.passage)?;
        }
        Some(self.program.chain(passage.chain)?.base.as_ref()?.kind)
    }
}

/// Whether a required flow says what this is to be.
fn is_said(key: &Key) -> bool {
    match key {
        Key::State
        | Key::Direction
        | Key::Protocol
        | Key::Iif
        | Key::Oif
        | Key::Daddr
        | Key::Saddr
        | Key::Dport
        | Key::Sport => true,
        Key::Header(..) | Key::Meta(_) | Key::Ct(..) | Key::Free(_) => false,
    }
}
