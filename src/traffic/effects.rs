//! What the difference between two rulesets does to traffic: opened, cut, or nothing.
//!
//! Input: both rulesets and the differences that `compare` found; output: statements, each with the difference that is
//! answerable for it and what decided before and now. Only the packets that the differences can touch are followed.

mod index;
mod statements;
mod touched;

use super::bdd::{Exhausted, Node};
use super::flows::Wanted;
use super::lower::{self, Common, Outside};
use super::program::{ChainId, Program, Step};
use super::space::{Key, Kind, NamePattern, Side, Space};
use super::walk::{Fate, Layer, Outcome, Path, Piece, WalkError, Walker, Way};
use crate::compare::Difference;
use crate::model::{Effect, EffectKind, Family, Name, Ruleset, TableKey};
pub use index::DeciderIndex;
use std::collections::{BTreeSet, HashMap};

/// How much may be spent.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Nodes of the diagrams of one kind of packet; see [`super::bdd::Bdd`] for their size.
    pub nodes: usize,
    /// Steps of one kind of packet: some ten million a second.
    pub steps: u64,
    /// Statements of one comparison, at each hook.
    pub statements: usize,
}

impl Default for Budget {
    /// Less than 512 MB, and some seconds.
    fn default() -> Self {
        Self { nodes: 6_000_000, steps: 60_000_000, statements: 24 }
    }
}

/// A rule, or a policy, that decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeciderRef {
    /// What it does.
    pub fate: Fate,
    /// The table.
    pub table: TableKey,
    /// The chain of the rule; the base chain of a policy.
    pub chain: Name,
    /// The place in the chain, from 0; none for a policy.
    pub rule: Option<usize>,
}

impl DeciderRef {
    /// The rule or the policy behind a piece.
    pub(super) fn of(program: &Program, piece: &Piece) -> Option<Self> {
        let (id, rule) = match piece.rule {
            Some((chain, rule)) => (chain, Some(rule)),
            None => (piece.base, None),
        };
        let chain = program.chain(id)?;
        Some(Self { fate: piece.fate, table: chain.table.clone(), chain: chain.name.clone(), rule })
    }
}

/// A statement, whose deciders have no texts yet.
#[derive(Clone, Debug)]
pub struct Found {
    /// The place of the difference that is answerable, in the list that was given; none if none of them is alone.
    pub difference: Option<usize>,
    /// The statement; `statement`, `was` and `now` are still to be filled.
    pub effect: Effect,
    /// The packets in words, for the sentence.
    pub phrase: String,
    /// Their way through the host.
    pub path: Path,
    /// What decided before; none if no chain at the hook did.
    pub was: Option<DeciderRef>,
    /// What decides now.
    pub now: Option<DeciderRef>,
    /// Whether another path has the same.
    is_on_several_paths: bool,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Statements that do not overlap, by what they concern.
    pub found: Vec<Found>,
    /// Why there may be more; empty if this is all.
    pub incomplete: Vec<String>,
}

/// What the differences do to traffic. `flows` are required: a statement about packets of one names it.
pub fn effects(
    before: &Ruleset,
    after: &Ruleset,
    differences: &[Difference],
    flows: &[(String, Wanted)],
    budget: Budget,
) -> Answer {
    effects_of(before, after, differences, &|_| true, flows, budget)
}

/// As [`effects`], of some of the differences (by their places in the list): only the packets that those can touch are
/// followed, and only what those are answerable for is told.
pub fn effects_of(
    before: &Ruleset,
    after: &Ruleset,
    differences: &[Difference],
    asked: &dyn Fn(usize) -> bool,
    flows: &[(String, Wanted)],
    budget: Budget,
) -> Answer {
    let mut answer = Answer::default();
    for kind in Kind::ALL {
        let concerned = (0..differences.len())
            .any(|at| asked(at) && touched::concerns(kind, &differences[at], before, after));
        if !concerned {
            continue;
        }
        let question = Question { before, after, differences, asked, flows, budget };
        if let Err(error) = of_kind(kind, &question, &mut answer) {
            answer.incomplete.push(format!("{} packets: {error}", kind.as_str()));
        }
    }
    answer.found.retain(|found| found.difference.is_none_or(asked));
    let mut found = merged(answer.found);
    found.iter_mut().for_each(Found::name_path);
    found.sort_by(|a, b| weight(a).cmp(&weight(b)).then(b.effect.share.total_cmp(&a.effect.share)));
    Answer { found, incomplete: answer.incomplete }
}

/// Statements that say the same of two families, or on two paths, as one.
fn merged(all: Vec<Found>) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::with_capacity(all.len());
    let mut of_difference: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    for one in all {
        let places = of_difference.entry(one.difference).or_default();
        match places.iter().find_map(|at| Some((sameness(&found[*at], &one)?, *at))) {
            Some((Sameness::Family, at)) => found[at].effect.family = "inet".to_owned(),
            Some((Sameness::Path, at)) => found[at].is_on_several_paths = true,
            None => {
                places.push(found.len());
                found.push(one);
            }
        }
    }
    found
}

/// In what two statements differ that otherwise say the same.
enum Sameness {
    /// One is about IPv4, the other about IPv6.
    Family,
    /// One is about packets to this host, the other about packets through it.
    Path,
}

fn sameness(known: &Found, other: &Found) -> Option<Sameness> {
    fn fields(found: &Found) -> impl PartialEq + use<'_> {
        let Found { difference, effect, was, now, .. } = found;
        let Effect {
            effect, hook, proto, src, dst, sport, dport, iif, oif, state, other, conditions, ..
        } = effect;
        (
            (difference, was, now, effect, hook),
            (proto, src, dst, sport, dport),
            (iif, oif, state, other, conditions),
        )
    }
    if fields(known) != fields(other) {
        return None;
    }
    match (known.effect.family.as_str(), other.effect.family.as_str()) {
        ("ip", "ip6") if known.path == other.path => Some(Sameness::Family),
        ("inet", "ip" | "ip6") => Some(Sameness::Path),
        (one, same) if one == same => Some(Sameness::Path),
        (_, _) => None,
    }
}

impl Found {
    /// A hook before routing is met by packets to this host and through it: which of them are meant is said, if not
    /// all are.
    fn name_path(&mut self) {
        let is_of_path = self.effect.hook == self.path.as_str();
        if is_of_path || self.is_on_several_paths {
            return;
        }
        self.phrase.push_str(match self.path {
            Path::Input => ", to this host",
            Path::Forward => ", through this host",
            Path::Output => ", from this host",
        });
    }
}

/// What comes first: required flows, new connections, then those that exist; those of the host with itself last.
fn weight(found: &Found) -> u8 {
    let effect = &found.effect;
    let is_loopback = [&effect.iif, &effect.oif].into_iter().flatten().any(|name| name == "lo");
    let begins = effect.state.as_ref().is_none_or(|states| states.split(", ").any(|state| state == "new"));
    match (&effect.flow, is_loopback, begins) {
        (Some(_), ..) => 0,
        (None, false, true) => 1,
        (None, false, false) => 2,
        (None, true, _) => 3,
    }
}

/// Both rulesets for one kind of packet.
struct Comparison<'a, 's> {
    walker: Walker<'s>,
    before: Program,
    after: Program,
    common: Common,
    differences: &'a [Difference],
    /// Which of them the deciders of either side are part of.
    deciders: [DeciderIndex; 2],
    /// The packets that each difference can touch; all of it is in terms of packets as they begin their way.
    touched: Vec<Option<Node>>,
    /// The packets of required flows and of their answers, on the path that they take.
    flows: Vec<(&'a str, Path, Node)>,
    budget: Budget,
}

/// The packets of required flows, in both directions.
fn of_flows<'f>(
    walker: &mut Walker<'_>,
    flows: &'f [(String, Wanted)],
) -> Result<Vec<(&'f str, Path, Node)>, WalkError> {
    let mut found = Vec::new();
    for (name, wanted) in flows {
        for asked in [wanted.request(), wanted.answer()] {
            if let Some(region) = walker.region(&asked)? {
                found.push((name.as_str(), asked.path, region));
            }
        }
    }
    Ok(found)
}

/// What is asked.
struct Question<'a> {
    before: &'a Ruleset,
    after: &'a Ruleset,
    differences: &'a [Difference],
    asked: &'a dyn Fn(usize) -> bool,
    flows: &'a [(String, Wanted)],
    budget: Budget,
}

fn of_kind(kind: Kind, question: &Question<'_>, answer: &mut Answer) -> Result<(), WalkError> {
    let Question { before, after, differences, asked, flows, budget } = *question;
    let mut space = Space::new(kind);
    flows.iter().for_each(|(_, flow)| flow.request().ask_interfaces(&mut space));
    for name in after.interfaces.values() {
        space.ask_interface(&NamePattern::exact(name));
    }
    let concerned = |at: &usize| asked(*at) && touched::concerns(kind, &differences[*at], before, after);
    let concerned = (0..differences.len()).filter(concerned).map(|at| &differences[at]);
    let mut common = Common::about(Outside::of(kind, before, after, concerned));
    let old = lower::lower(before, None, &mut space, &mut common);
    let new = lower::lower(after, Some(before), &mut space, &mut common);
    let mut walker = Walker::new(&mut space, budget.nodes);
    walker.bdd.set_max_steps(budget.steps);
    let (touched, flows) = (Vec::new(), of_flows(&mut walker, flows)?);
    let deciders = [DeciderIndex::before(differences), DeciderIndex::after(differences)];
    let mut comparison =
        Comparison { walker, before: old, after: new, common, differences, deciders, touched, flows, budget };
    comparison.touched = comparison.find_touched(before, after, asked)?;
    for layer in Layer::ALL {
        for path in Path::ALL {
            let way = Way { layer, path };
            if let Err(error) = comparison.way(way, answer) {
                answer.incomplete.push(format!("{} packets, {}: {error}", kind.as_str(), path.as_str()));
                if error == WalkError::Exhausted(Exhausted) {
                    // What is left of the budget would not do for the other ways either.
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

impl Comparison<'_, '_> {
    /// One way through the host.
    fn way(&mut self, way: Way, answer: &mut Answer) -> Result<(), WalkError> {
        let reached: BTreeSet<ChainId> =
            [&self.before, &self.after].into_iter().flat_map(|program| reachable(program, way)).collect();
        // What only devices filter is told once, of the layer that all devices have.
        let is_own = |id: &ChainId| {
            let chains = [self.before.chain(*id), self.after.chain(*id)];
            chains.into_iter().flatten().any(|chain| chain.table.family != Family::Netdev)
        };
        if reached.is_empty() || (way.layer != Layer::Host && !reached.iter().any(is_own)) {
            return Ok(());
        }
        let mut region = Node::FALSE;
        for at in 0..self.differences.len() {
            let chains = self.chains_of(at);
            let matters = chains.is_none_or(|chains| chains.iter().any(|chain| reached.contains(chain)));
            if let Some(packets) = self.touched[at].filter(|_| matters) {
                region = self.walker.bdd.or(region, packets)?;
            }
        }
        let domain = self.walker.domain()?;
        let region = self.without_absent_interfaces(way, region)?;
        let region = self.walker.bdd.and(region, domain)?;
        if region.is_false() {
            return Ok(());
        }
        let old = self.walker.follow(&self.before, way, region)?;
        let new = self.walker.follow(&self.after, way, region)?;
        let passed_before = self.walker.passed(&old)?;
        let passes_now = self.walker.passed(&new)?;
        let cut = self.walker.bdd.minus(passed_before, passes_now)?;
        let opened = self.walker.bdd.minus(passes_now, passed_before)?;
        self.state(way, EffectKind::Cut, cut, &old, &new, answer)?;
        self.state(way, EffectKind::Opened, opened, &old, &new, answer)
    }

    /// The same packets, with any interface on a side that packets on this way do not have.
    fn without_absent_interfaces(&mut self, way: Way, packets: Node) -> Result<Node, Exhausted> {
        let mut packets = packets;
        for (side, key) in [(Side::In, Key::Iif), (Side::Out, Key::Oif)] {
            if let Some(word) = self.walker.space.find(&key).filter(|_| !way.has(side)) {
                let (start, end) = (word.start, word.start + word.width);
                packets = self.walker.bdd.exists(packets, &|var| (start..end).contains(&var))?;
            }
        }
        Ok(packets)
    }

    /// Statements about packets whose fate changed, by what decides and what decided.
    fn state(
        &mut self,
        way: Way,
        effect: EffectKind,
        packets: Node,
        old: &Outcome,
        new: &Outcome,
        answer: &mut Answer,
    ) -> Result<(), WalkError> {
        if packets.is_false() {
            return Ok(());
        }
        // The place that stops them is the one to speak of; on the other side, the same base chain's decision.
        let (stopping, other) = match effect {
            EffectKind::Cut => (new, old),
            EffectKind::Opened => (old, new),
        };
        let mut passing: HashMap<ChainId, Vec<&Piece>> = HashMap::new();
        for piece in other.pieces.iter().filter(|piece| piece.fate.passes()) {
            passing.entry(piece.base).or_default().push(piece);
        }
        let mut left = packets;
        for piece in stopping.pieces.iter().filter(|piece| !piece.fate.passes()) {
            let here = self.walker.bdd.and(left, piece.packets)?;
            if here.is_false() {
                continue;
            }
            left = self.walker.bdd.minus(left, here)?;
            let mut unexplained = here;
            for twin in passing.get(&piece.base).into_iter().flatten() {
                let both = self.walker.bdd.and(unexplained, twin.packets)?;
                if !both.is_false() {
                    unexplained = self.walker.bdd.minus(unexplained, both)?;
                    self.statements(way, effect, both, Some(piece), Some(twin), answer)?;
                }
            }
            self.statements(way, effect, unexplained, Some(piece), None, answer)?;
        }
        // Taken on another way, or by a translation: nobody here decides.
        self.statements(way, effect, left, None, None, answer)
    }
}

/// The chains that packets on a way can meet.
pub(super) fn reachable(program: &Program, way: Way) -> BTreeSet<ChainId> {
    let mut open: Vec<ChainId> = way.hooks().iter().flat_map(|hook| way.bases(program, *hook)).collect();
    let mut reached = BTreeSet::new();
    while let Some(id) = open.pop() {
        if reached.insert(id)
            && let Some(chain) = program.chain(id)
        {
            open.extend(chain.rules.iter().flat_map(|rule| targets(&rule.steps)));
        }
    }
    reached
}

/// The chains that steps lead to.
pub(super) fn targets(steps: &[Step]) -> Vec<ChainId> {
    use super::program::Verdict;
    let mut found = Vec::new();
    for step in steps {
        match step {
            Step::Verdict(Verdict::Jump(chain) | Verdict::Goto(chain)) => found.push(*chain),
            Step::Branch(alternatives) => {
                found.extend(alternatives.iter().flat_map(|(_, steps)| targets(steps)));
            }
            Step::Test(_) | Step::Set(_) | Step::Translate(_) | Step::Verdict(_) => {}
        }
    }
    found
}
