//! Rules without which nothing would be decided otherwise.
//!
//! From the last rule of a chain to the first, the fate of each packet that gets to a rule is computed: what follows
//! the rule then says what would become of its packets without it. Rules without packets are left out of that, so that
//! of two equal rules only the later one is at fault. Chains of type nat are not judged: there, the address matters.

use super::beside::{Beside, beside};
use super::sight::{OfKind, verdict};
use crate::traffic::bdd::{Bit, Exhausted, Node, Var};
use crate::traffic::program::{Chain, ChainId, ChainKind, Hook, Program, Step, Verdict};
use crate::traffic::walk::{Caller, Returns, WalkError, Way};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Rules that are asked, in all, who decides in another one's place.
const ASKED: usize = 40_000;
/// `NFT_JUMP_STACK_SIZE`.
const DEEPEST: usize = 16;

/// What becomes of packets from one place on; what is in none of the first three is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Fates {
    accepted: Node,
    rejected: Node,
    taken: Node,
    /// On their way something is done to them, or because of them.
    acted_on: Node,
}

impl Fates {
    const DROPPED: Self =
        Self { accepted: Node::FALSE, rejected: Node::FALSE, taken: Node::FALSE, acted_on: Node::FALSE };

    const ACCEPTED: Self = Self { accepted: Node::TRUE, ..Self::DROPPED };

    /// Each of them changed alike.
    fn each(
        self,
        other: Self,
        mut change: impl FnMut(Node, Node) -> Result<Node, Exhausted>,
    ) -> Result<Self, Exhausted> {
        Ok(Self {
            accepted: change(self.accepted, other.accepted)?,
            rejected: change(self.rejected, other.rejected)?,
            taken: change(self.taken, other.taken)?,
            acted_on: change(self.acted_on, other.acted_on)?,
        })
    }
}

/// Fates from each rule of a chain on, by what follows the chain.
#[derive(Default)]
struct Known {
    fates: HashMap<(ChainId, Fates, Way, Hook), Rc<Vec<Fates>>>,
    /// The variables that some rule changes: what is asked of the others holds before and after.
    changing: HashSet<Var>,
}

/// Where the fates of a rule's packets are computed.
#[derive(Clone, Copy)]
struct Around {
    way: Way,
    hook: Hook,
    /// After the rule.
    next: Fates,
    /// After the chain.
    after: Fates,
    beside: Beside,
    depth: usize,
}

impl OfKind<'_, '_> {
    /// For each rule that decides: whether it is needed, and if not what decides in its place.
    pub(super) fn judge_redundant(&mut self) -> Result<(), WalkError> {
        let changing = changing(self.program);
        let mut known = Known { changing, ..Known::default() };
        let mut left = ASKED;
        for way in 0..self.ways.len() {
            let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
            for (at, passage) in self.ways[way].iter().enumerate() {
                if let Some(Caller { passage: caller, .. }) = passage.from {
                    children.entry(caller).or_default().push(at);
                }
            }
            let mut after: HashMap<usize, Fates> = HashMap::new();
            for at in 0..self.ways[way].len() {
                let after_it = match self.ways[way][at].from {
                    Some(_) => after.remove(&at),
                    None => self.policy(way, at),
                };
                let Some(after_it) = after_it else {
                    self.need_all(way, at);
                    continue;
                };
                let (chain, on, hook) = {
                    let passage = &self.ways[way][at];
                    (passage.chain, passage.way, passage.hook)
                };
                let fates = self.fates(&mut known, chain, after_it, (on, hook), 0)?;
                self.judge_passage(way, at, &fates, &mut left)?;
                for child in children.remove(&at).unwrap_or_default() {
                    let Some(caller) = self.ways[way][child].from else { continue };
                    let follows = match caller.returns {
                        Returns::Back => fates[caller.rule + 1],
                        Returns::Past => after_it,
                    };
                    let entered = self.ways[way][child].entered.clone();
                    let entered = self.walker.joined(&entered)?;
                    after.insert(child, self.only(&known, follows, entered)?);
                }
            }
        }
        Ok(())
    }

    /// What becomes of packets that no rule of a base chain decides about; none of those of type nat.
    fn policy(&self, way: usize, at: usize) -> Option<Fates> {
        let base = self.program.chain(self.ways[way][at].chain)?.base.as_ref()?;
        (base.kind != ChainKind::Nat).then_some(if base.accepts { Fates::ACCEPTED } else { Fates::DROPPED })
    }

    fn need_all(&mut self, way: usize, at: usize) {
        let seen = self.seen.entry(self.ways[way][at].chain).or_default();
        seen.iter_mut().for_each(|seen| seen.needed = true);
    }

    /// Whether the rules of a chain are needed for the packets of one passage.
    fn judge_passage(
        &mut self,
        way: usize,
        at: usize,
        fates: &[Fates],
        left: &mut usize,
    ) -> Result<(), WalkError> {
        let chain = self.ways[way][at].chain;
        for place in 0..self.ways[way][at].arrivals.len() {
            let is_needed = |all: &Self| all.seen.get(&chain).is_none_or(|seen| seen[place].needed);
            if is_needed(self) || self.ways[way][at].arrivals[place].matched.is_empty() {
                continue;
            }
            let mut needed = self.rule(chain, place).and_then(verdict).is_none();
            let matched = self.ways[way][at].arrivals[place].matched.clone();
            for (state, verdict) in matched {
                if needed {
                    break;
                }
                let same = self.same(verdict, fates[place + 1])?;
                let same = self.walker.as_begun(same, state.rewrite)?;
                needed = !self.walker.bdd.implies(state.packets, same)?;
            }
            if needed {
                if let Some(seen) = self.seen.get_mut(&chain) {
                    seen[place].needed = true;
                }
            } else {
                self.find_instead(way, at, place, left)?;
            }
        }
        Ok(())
    }

    /// The packets that would fare as by a verdict, and to which nothing else would be done.
    fn same(&mut self, verdict: Option<Verdict>, fates: Fates) -> Result<Node, WalkError> {
        let same = match verdict {
            Some(Verdict::Accept) => fates.accepted,
            Some(Verdict::Reject) => fates.rejected,
            Some(Verdict::Drop) => {
                let other = self.walker.bdd.or(fates.accepted, fates.rejected)?;
                self.walker.bdd.or(other, fates.taken)?.not()
            }
            Some(
                Verdict::Ask(_)
                | Verdict::Taken
                | Verdict::Continue
                | Verdict::Return
                | Verdict::Jump(_)
                | Verdict::Goto(_),
            )
            | None => Node::FALSE,
        };
        Ok(self.walker.bdd.minus(same, fates.acted_on)?)
    }

    /// What decides about a rule's packets without it: the later rules that they would meet.
    fn find_instead(
        &mut self,
        way: usize,
        at: usize,
        place: usize,
        left: &mut usize,
    ) -> Result<(), WalkError> {
        let passage = &self.ways[way][at];
        let (chain, on, hook) = (passage.chain, passage.way, passage.hook);
        let mut states: Vec<_> = passage.arrivals[place].matched.iter().map(|(state, _)| *state).collect();
        let program = self.program;
        let rules = program.chain(chain).map_or(&[][..], |chain| &chain.rules);
        let (mut found, mut named) = (Vec::new(), true);
        for (later, rule) in rules.iter().enumerate().skip(place + 1) {
            if states.is_empty() || found.len() == super::NAMED || *left == 0 {
                named = states.is_empty();
                break;
            }
            *left -= 1;
            if !self.alive.contains(&(chain, later)) || verdict(rule).is_none() {
                continue;
            }
            for state in &mut states {
                let meant = self.walker.about(&rule.steps, *state, on, hook)?;
                if !meant.is_false() {
                    state.packets = self.walker.bdd.minus(state.packets, meant)?;
                    if !found.contains(&later) {
                        found.push(later);
                    }
                }
            }
            states.retain(|state| !state.packets.is_false());
        }
        if let Some(seen) = self.seen.get_mut(&chain) {
            let instead = &mut seen[place].instead;
            instead.beyond |= !states.is_empty() || !named;
            instead.rules.extend(found);
        }
        Ok(())
    }

    /// The fates of all packets from each rule of a chain on, and after its last rule.
    fn fates(
        &mut self,
        known: &mut Known,
        id: ChainId,
        after: Fates,
        (way, hook): (Way, Hook),
        depth: usize,
    ) -> Result<Rc<Vec<Fates>>, WalkError> {
        let key = (id, after, way, hook);
        if let Some(fates) = known.fates.get(&key) {
            return Ok(Rc::clone(fates));
        }
        let program = self.program;
        let rules = program.chain(id).map_or(&[][..], |chain| &chain.rules);
        if depth > DEEPEST {
            return Err(WalkError::TooDeep(
                program.chain(id).map(|chain| chain.name.clone()).unwrap_or_default(),
            ));
        }
        let mut fates = vec![after];
        let mut next = after;
        for (place, rule) in rules.iter().enumerate().rev() {
            if self.alive.contains(&(id, place)) {
                let beside = program.chain(id).map_or(Beside::Acts, |chain| self.beside_of(chain, place));
                let around = Around { way, hook, next, after, beside, depth };
                next = self.of_steps(known, &rule.steps, around)?;
            }
            fates.push(next);
        }
        fates.reverse();
        let fates = Rc::new(fates);
        known.fates.insert(key, Rc::clone(&fates));
        Ok(fates)
    }

    /// What a rule does besides deciding; to count is something only for a rule that is there for nothing else.
    fn beside_of(&self, chain: &Chain, place: usize) -> Beside {
        let leads = |step: &Step| match step {
            Step::Verdict(verdict) => *verdict != Verdict::Continue,
            Step::Branch(_) => true,
            Step::Test(_) | Step::Set(_) | Step::Translate(_) => false,
        };
        match beside(self.bytes(chain, place)) {
            Beside::Counts if chain.rules.get(place).is_some_and(|rule| rule.steps.iter().any(leads)) => {
                Beside::Nothing
            }
            other => other,
        }
    }

    /// The fates of packets at the first of these steps.
    fn of_steps(&mut self, known: &mut Known, steps: &[Step], around: Around) -> Result<Fates, WalkError> {
        let Some((step, rest)) = steps.split_first() else {
            return Ok(acted_on(around.next, around.beside));
        };
        let Around { way, hook, next, .. } = around;
        match step {
            Step::Test(test) => {
                let inside = self.walker.passing(test, way, hook)?;
                let leads = |step: &Step| matches!(step, Step::Verdict(Verdict::Jump(_) | Verdict::Goto(_)));
                let mut around = around;
                if rest.iter().any(leads) {
                    // A chain is followed only for the packets that get there: most of what comes after is not theirs.
                    around.next = self.only(known, next, inside)?;
                    around.after = self.only(known, around.after, inside)?;
                }
                let then = self.of_steps(known, rest, around)?;
                Ok(then.each(next, |then, otherwise| self.walker.bdd.ite(inside, then, otherwise))?)
            }
            Step::Set(changes) | Step::Translate(changes) => {
                let then = self.of_steps(known, rest, around)?;
                let now: HashMap<u32, Bit> = changes.iter().copied().collect();
                let with = |var: u32| now.get(&var).copied().unwrap_or(Bit::Var(var));
                let then = then.each(then, |then, _| self.walker.bdd.substitute(then, &with))?;
                Ok(Fates { acted_on: Node::TRUE, ..then })
            }
            Step::Branch(alternatives) => {
                let mut fates = next;
                for (test, steps) in alternatives {
                    let inside = self.walker.passing(test, way, hook)?;
                    let then = self.of_steps(known, steps, around)?;
                    fates =
                        then.each(fates, |then, otherwise| self.walker.bdd.ite(inside, then, otherwise))?;
                }
                Ok(fates)
            }
            Step::Verdict(verdict) => {
                let fates = self.of_verdict(known, *verdict, around)?;
                Ok(acted_on(fates, around.beside))
            }
        }
    }

    /// The fates of only some packets, whatever is changed about them; nothing right is said of others.
    fn only(&mut self, known: &Known, fates: Fates, packets: Node) -> Result<Fates, WalkError> {
        let packets = self.walker.bdd.exists(packets, &|var| known.changing.contains(&var))?;
        Ok(fates.each(fates, |fates, _| self.walker.bdd.and(fates, packets))?)
    }

    fn of_verdict(
        &mut self,
        known: &mut Known,
        verdict: Verdict,
        around: Around,
    ) -> Result<Fates, WalkError> {
        let Around { way, hook, next, after, depth, .. } = around;
        Ok(match verdict {
            Verdict::Accept => Fates::ACCEPTED,
            Verdict::Drop => Fates::DROPPED,
            Verdict::Reject => Fates { rejected: Node::TRUE, ..Fates::DROPPED },
            Verdict::Taken => Fates { taken: Node::TRUE, ..Fates::DROPPED },
            Verdict::Ask(var) => Fates {
                accepted: self.walker.bdd.literal(var, true)?,
                acted_on: Node::TRUE,
                ..Fates::DROPPED
            },
            Verdict::Continue => next,
            Verdict::Return => after,
            Verdict::Jump(chain) => self.fates(known, chain, next, (way, hook), depth + 1)?[0],
            Verdict::Goto(chain) => self.fates(known, chain, after, (way, hook), depth + 1)?[0],
        })
    }
}

/// The variables that rules change.
fn changing(program: &Program) -> HashSet<Var> {
    fn in_steps(steps: &[Step], found: &mut HashSet<Var>) {
        for step in steps {
            match step {
                Step::Set(changes) | Step::Translate(changes) => {
                    found.extend(changes.iter().map(|(var, _)| *var))
                }
                Step::Branch(alternatives) => {
                    alternatives.iter().for_each(|(_, steps)| in_steps(steps, found))
                }
                Step::Test(_) | Step::Verdict(_) => {}
            }
        }
    }
    let mut found = HashSet::new();
    for rule in program.chains().flat_map(|(_, chain)| &chain.rules) {
        in_steps(&rule.steps, &mut found);
    }
    found
}

fn acted_on(fates: Fates, beside: Beside) -> Fates {
    match beside {
        Beside::Nothing => fates,
        Beside::Counts | Beside::Acts => Fates { acted_on: Node::TRUE, ..fates },
    }
}
