//! Packets in the rules of chains: the order of nf_tables (net/netfilter/nf_tables_core.c, `nft_do_chain`).

use super::super::bdd::{Bit, Exhausted, Node};
use super::super::program::{BaseChain, ChainId, ChainKind, Hook, Program, Step, Verdict};
use super::super::space::{Key, Kind, NamePattern, Side};
use super::connections::TRANSLATED;
use super::nodes::At;
use super::record::{Arrival, Caller, Returns};
use super::rewrite::Rewrite;
use super::stretch;
use super::way::Way;
use super::{Fate, Met, Piece, State, WalkError, Walker};

/// `NFT_JUMP_STACK_SIZE`.
const DEEPEST: usize = 16;

/// What happens in one base chain.
pub(super) struct Visit<'p> {
    program: &'p Program,
    pub(super) way: Way,
    pub(super) base: ChainId,
    pub(super) hook: Hook,
    /// Packets of connections that exist: a nat chain translates them as it did their first one, and does not ask
    /// its rules whether to drop them.
    translates_only: bool,
    pub(super) accepted: Vec<State>,
    pub(super) pieces: Vec<Piece>,
    /// The passage that is being recorded, if one is.
    passage: Option<usize>,
}

/// Where in the chains a rule is.
#[derive(Clone, Copy)]
struct Place {
    chain: ChainId,
    rule: usize,
    depth: usize,
}

/// Packets that begin a connection, those of one in its first direction, and all others.
type ByAge = (Vec<State>, Vec<State>, Vec<State>);

/// Where packets of one rule go.
#[derive(Default)]
struct Next {
    /// To the next rule of the chain.
    on: Vec<State>,
    /// Out of the chain.
    out: Vec<State>,
    /// Those that the rule is about, before what it does to them; see [`Arrival`].
    matched: Vec<(State, Option<Verdict>)>,
}

impl Walker<'_> {
    /// What gets through one base chain. Decisions are added to `pieces`.
    pub(super) fn base_chain(
        &mut self,
        program: &Program,
        way: Way,
        id: ChainId,
        states: Vec<State>,
        pieces: &mut Vec<Piece>,
    ) -> Result<Vec<State>, WalkError> {
        let Some(base) = program.chain(id).and_then(|chain| chain.base.as_ref()) else { return Ok(states) };
        let (inside, mut past) = self.at_devices(way, base, states)?;
        let (first, known, others) = self.by_age(base, inside)?;
        past.extend(others);
        for (states, translates_only) in [(first, false), (known, true)] {
            if states.is_empty() {
                continue;
            }
            let mut visit = Visit {
                program,
                way,
                base: id,
                hook: base.hook,
                translates_only,
                accepted: Vec::new(),
                pieces: Vec::new(),
                passage: None,
            };
            let undecided = self.chain(&mut visit, id, states, 0, None)?;
            let fate = if base.accepts || translates_only { Fate::Accepted } else { Fate::Dropped };
            for state in undecided {
                self.decide(&mut visit, None, fate, state)?;
            }
            past.append(&mut visit.accepted);
            if !translates_only {
                pieces.append(&mut visit.pieces);
            }
        }
        Ok(self.merged(past)?)
    }

    /// Those that pass a device of the chain, and those that do not.
    fn at_devices(
        &mut self,
        way: Way,
        base: &BaseChain,
        states: Vec<State>,
    ) -> Result<(Vec<State>, Vec<State>), WalkError> {
        if base.devices.is_empty() {
            return Ok((states, Vec::new()));
        }
        let side = if base.hook == Hook::Egress { Side::Out } else { Side::In };
        let at = At { way, hook: base.hook, rewrite: Rewrite::NONE };
        let mut at_device = Node::FALSE;
        for device in &base.devices {
            let one = self.interface(side, &NamePattern::exact(device), at)?;
            at_device = self.bdd.or(at_device, one)?;
        }
        self.split(states, at_device)
    }

    /// For a nat chain: the packets that begin a connection, those of a connection in its first direction, and all
    /// others, which it does not see (net/netfilter/nf_nat_core.c, `nf_nat_inet_fn`).
    fn by_age(&mut self, base: &BaseChain, states: Vec<State>) -> Result<ByAge, WalkError> {
        if base.kind != ChainKind::Nat {
            return Ok((states, Vec::new(), Vec::new()));
        }
        let word = |name| self.space.state(name);
        let (Some(new), Some(established)) = (word("new"), word("established")) else {
            return Ok((states, Vec::new(), Vec::new()));
        };
        let direction = self.space.find(&Key::Direction).map(|word| word.start);
        let mut old: Vec<_> = vec![(established, true)];
        old.extend(direction.map(|var| (var, false)));
        let mut new = self.bdd.literal(new, true)?;
        if let Some(related) = word("related") {
            // An expected connection begins as any other; an error is translated as what it is about.
            let icmp: &[u8] = if self.space.kind() == Kind::Ip6 { &[58] } else { &[1] };
            let protocol = self.space.protocol();
            let icmp = self.bdd.equals(&protocol, icmp)?;
            let related = self.bdd.literal(related, true)?;
            let expected = self.bdd.minus(related, icmp)?;
            new = self.bdd.or(new, expected)?;
        }
        let old = self.bdd.cube(&old)?;
        let (first, rest) = self.split(states, new)?;
        let (known, others) = self.split(rest, old)?;
        Ok((first, known, others))
    }

    fn split(&mut self, states: Vec<State>, by: Node) -> Result<(Vec<State>, Vec<State>), WalkError> {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for state in states {
            let by = self.after(by, state.rewrite)?;
            let packets = self.bdd.and(state.packets, by)?;
            let rest = self.bdd.minus(state.packets, by)?;
            inside.push(State { packets, ..state });
            outside.push(State { packets: rest, ..state });
        }
        inside.retain(|state| !state.packets.is_false());
        outside.retain(|state| !state.packets.is_false());
        Ok((inside, outside))
    }

    /// The packets that leave a chain undecided.
    fn chain(
        &mut self,
        visit: &mut Visit<'_>,
        id: ChainId,
        mut states: Vec<State>,
        depth: usize,
        from: Option<Caller>,
    ) -> Result<Vec<State>, WalkError> {
        let program = visit.program;
        // A chain that is not there cannot be jumped to in a kernel; in a file it decides nothing.
        let Some(chain) = program.chain(id) else { return Ok(states) };
        if depth > DEEPEST {
            return Err(WalkError::TooDeep(chain.name.clone()));
        }
        let caller = visit.passage;
        visit.passage =
            self.record_passage(id, (visit.way, visit.hook), visit.translates_only, from, &states);
        let mut out = Vec::new();
        // A record, and those who ask for each rule on the way, want to know of each rule by itself.
        let by_rule = visit.passage.is_some() || self.met.is_some() || visit.translates_only;
        let mut number = 0;
        while let Some(rule) = chain.rules.get(number).filter(|_| !states.is_empty()) {
            let length = if by_rule { 0 } else { stretch::length(&chain.rules[number..]) };
            if length >= stretch::LONG {
                let rules = &chain.rules[number..number + length];
                states = self.stretch(visit, (id, number), rules, states)?;
                number += length;
                continue;
            }
            number += 1;
            let reached = if visit.passage.is_some() { states.clone() } else { Vec::new() };
            if rule.steps.is_empty() || self.misses(&rule.steps, &states, visit)? {
                let about = if rule.steps.is_empty() { &states[..] } else { &[] };
                let matched = about.iter().map(|state| (*state, None)).collect();
                self.record_arrival(visit.passage, Arrival { reached, matched });
                continue;
            }
            let mut next = Next::default();
            let place = Place { chain: id, rule: number - 1, depth };
            for state in states {
                self.steps(visit, place, &rule.steps, state, &mut next)?;
            }
            self.record_arrival(visit.passage, Arrival { reached, matched: next.matched });
            states = self.merged(next.on)?;
            out.append(&mut next.out);
        }
        visit.passage = caller;
        out.append(&mut states);
        Ok(self.merged(out)?)
    }

    /// Whether the first question of a rule already excludes all packets: then nothing is to be done.
    fn misses(&mut self, steps: &[Step], states: &[State], visit: &Visit<'_>) -> Result<bool, WalkError> {
        let Some(Step::Test(test)) = steps.first() else { return Ok(false) };
        for state in states {
            let at = At { way: visit.way, hook: visit.hook, rewrite: state.rewrite };
            if !self.restrict(state.packets, test, at)?.is_false() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Does the steps of a rule to packets.
    fn steps(
        &mut self,
        visit: &mut Visit<'_>,
        place: Place,
        steps: &[Step],
        mut state: State,
        next: &mut Next,
    ) -> Result<(), WalkError> {
        for step in steps {
            match step {
                Step::Test(test) => {
                    let at = At { way: visit.way, hook: visit.hook, rewrite: state.rewrite };
                    let packets = self.restrict(state.packets, test, at)?;
                    if packets != state.packets {
                        let rest = self.bdd.minus(state.packets, packets)?;
                        next.on.push(State { packets: rest, ..state });
                    }
                    state.packets = packets;
                    if packets.is_false() {
                        return Ok(());
                    }
                }
                Step::Set(changes) => state.rewrite = self.rewrites.then(state.rewrite, changes),
                Step::Translate(changes) => {
                    let changes = [&changes[..], &self.to_answers(changes)].concat();
                    state.rewrite = self.rewrites.then(state.rewrite, &changes);
                    state.rewrite = self.rewrites.then(state.rewrite, &[(TRANSLATED, Bit::Const(true))]);
                }
                Step::Branch(alternatives) => {
                    return self.branch(visit, place, alternatives, state, next);
                }
                Step::Verdict(verdict) => {
                    self.note(visit, place, Some(*verdict), state);
                    return self.verdict(visit, place, *verdict, state, next);
                }
            }
        }
        self.note(visit, place, None, state);
        next.matched.push((state, None));
        next.on.push(state);
        Ok(())
    }

    /// Takes note that packets match a rule, for those who want to know each rule on the way.
    fn note(&mut self, visit: &Visit<'_>, place: Place, verdict: Option<Verdict>, state: State) {
        if let Some(met) = &mut self.met {
            let Visit { base, hook, .. } = *visit;
            let rule = (place.chain, place.rule);
            met.push(Met { base, hook, rule, verdict, packets: state.packets });
        }
    }

    fn branch(
        &mut self,
        visit: &mut Visit<'_>,
        place: Place,
        alternatives: &[(super::super::test::Test, Vec<Step>)],
        mut state: State,
        next: &mut Next,
    ) -> Result<(), WalkError> {
        let at = At { way: visit.way, hook: visit.hook, rewrite: state.rewrite };
        for (test, steps) in alternatives {
            let packets = self.restrict(state.packets, test, at)?;
            if packets.is_false() {
                continue;
            }
            state.packets = self.bdd.minus(state.packets, packets)?;
            self.steps(visit, place, steps, State { packets, ..state }, next)?;
            if state.packets.is_false() {
                return Ok(());
            }
        }
        next.on.push(state);
        Ok(())
    }

    fn verdict(
        &mut self,
        visit: &mut Visit<'_>,
        place: Place,
        verdict: Verdict,
        state: State,
        next: &mut Next,
    ) -> Result<(), WalkError> {
        let at = Some((place.chain, place.rule));
        let called = |returns| visit.passage.map(|passage| Caller { passage, rule: place.rule, returns });
        let (back, past) = (called(Returns::Back), called(Returns::Past));
        next.matched.push((state, Some(verdict)));
        match verdict {
            Verdict::Accept => self.decide(visit, at, Fate::Accepted, state)?,
            Verdict::Drop => self.decide(visit, at, Fate::Dropped, state)?,
            Verdict::Reject => self.decide(visit, at, Fate::Rejected, state)?,
            Verdict::Taken => self.decide(visit, at, Fate::Taken, state)?,
            Verdict::Ask(var) => {
                let yes = self.bdd.literal(var, true)?;
                let accepted = self.bdd.and(state.packets, yes)?;
                let dropped = self.bdd.minus(state.packets, yes)?;
                self.decide(visit, at, Fate::Accepted, State { packets: accepted, ..state })?;
                self.decide(visit, at, Fate::Dropped, State { packets: dropped, ..state })?;
            }
            Verdict::Continue => next.on.push(state),
            Verdict::Return => next.out.push(state),
            Verdict::Jump(chain) => {
                let back = self.chain(visit, chain, vec![state], place.depth + 1, back)?;
                next.on.extend(back);
            }
            Verdict::Goto(chain) => {
                let back = self.chain(visit, chain, vec![state], place.depth + 1, past)?;
                next.out.extend(back);
            }
        }
        Ok(())
    }

    pub(super) fn decide(
        &mut self,
        visit: &mut Visit<'_>,
        rule: Option<(ChainId, usize)>,
        fate: Fate,
        state: State,
    ) -> Result<(), WalkError> {
        if state.packets.is_false() {
            return Ok(());
        }
        let fate = if visit.translates_only && fate != Fate::Taken { Fate::Accepted } else { fate };
        if fate == Fate::Accepted {
            visit.accepted.push(state);
        }
        let same =
            visit.pieces.iter_mut().rev().take(4).find(|piece| piece.rule == rule && piece.fate == fate);
        match same {
            Some(piece) => piece.packets = self.bdd.or(piece.packets, state.packets)?,
            None => visit.pieces.push(Piece {
                base: visit.base,
                hook: visit.hook,
                rule,
                fate,
                packets: state.packets,
            }),
        }
        Ok(())
    }

    /// States with the same changes joined, those without packets left out.
    pub(super) fn merged(&mut self, states: Vec<State>) -> Result<Vec<State>, Exhausted> {
        let mut merged: Vec<State> = Vec::with_capacity(states.len().min(4));
        for state in states.into_iter().filter(|state| !state.packets.is_false()) {
            match merged.iter_mut().find(|known| known.rewrite == state.rewrite) {
                Some(known) => known.packets = self.bdd.or(known.packets, state.packets)?,
                None => merged.push(state),
            }
        }
        Ok(merged)
    }
}

impl Walker<'_> {
    /// The packets that reach the end of a rule's steps, or a verdict in them, whatever they were changed to before.
    pub fn matching(&mut self, steps: &[Step], way: Way) -> Result<Node, WalkError> {
        let at = At { way, hook: Hook::Forward, rewrite: Rewrite::NONE };
        let mut packets = Node::TRUE;
        let mut seen = Node::FALSE;
        for step in steps {
            match step {
                Step::Test(test) => packets = self.restrict(packets, test, at)?,
                // What the rest of the rule asks is not asked of the packet as it came.
                Step::Set(_) | Step::Translate(_) => return Ok(self.bdd.or(seen, packets)?),
                Step::Branch(alternatives) => {
                    for (test, steps) in alternatives {
                        let inside = self.restrict(packets, test, at)?;
                        let more = self.matching(steps, way)?;
                        let more = self.bdd.and(inside, more)?;
                        seen = self.bdd.or(seen, more)?;
                    }
                    return Ok(seen);
                }
                Step::Verdict(_) => {}
            }
        }
        Ok(self.bdd.or(seen, packets)?)
    }
}
