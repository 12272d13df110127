//! What was seen of each rule, by all kinds of packets on all ways; and what follows from it.

use super::beside::{Beside, accepts, beside, empty_sets, is_filled, uses_ipset};
use super::{Found, Known, RuleRef, interfaces, rules};
use crate::model::{self, Item, LintCode, Name, Ruleset, Table, TableKey};
use crate::traffic::bdd::{Exhausted, Node};
use crate::traffic::effects::{Budget, reachable};
use crate::traffic::lower::{self, Common};
use crate::traffic::program::{Chain, ChainId, Program, Rule, Step, Verdict};
use crate::traffic::space::{Kind, NamePattern, Space};
use crate::traffic::walk::{Layer, Passage, Path, WalkError, Walker, Way};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// What was seen of one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Packets fulfil its conditions where it stands.
    pub matches: bool,
    /// Why none does.
    pub death: Death,
    /// Packets got to its chain.
    pub met: bool,
    /// Something about it could not be told.
    pub unjudged: bool,
    /// It decides something that would be decided otherwise without it.
    pub needed: bool,
    /// What decides the same without it.
    pub instead: Instead,
    /// The rules that accept a part of what it stops.
    pub accepted_by: BTreeSet<usize>,
    /// Of these, the packets in words.
    pub accepted: Vec<String>,
    /// What it accepts beyond the required flows.
    pub wider: Vec<String>,
    /// Interfaces that it names and that do not exist.
    pub missing: BTreeSet<Vec<u8>>,
}

/// Why a rule has no packets, as far as it was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Death {
    /// Packets fulfil its conditions by themselves.
    pub could: bool,
    /// They would if all interfaces were known at its hook.
    pub elsewhere: bool,
    /// Such packets get to its chain.
    pub came: bool,
    /// Rules before it changed what it asks about.
    pub altered: bool,
    /// The rules that took them.
    pub takers: BTreeSet<usize>,
    /// There are more of these.
    pub more: bool,
    /// One of them does something else with them.
    pub otherwise: bool,
}

/// What decides in a rule's place.
#[derive(Clone, Debug, Default)]
pub(super) struct Instead {
    /// Rules of the same chain.
    pub rules: BTreeSet<usize>,
    /// Also something after the chain, or its policy.
    pub beyond: bool,
}

/// What was seen of all rules.
#[derive(Debug, Default)]
pub(super) struct Sight {
    chains: BTreeMap<(TableKey, Name), Vec<Seen>>,
    devices: BTreeMap<(TableKey, Name), BTreeSet<Vec<u8>>>,
}

/// One kind of packet on all its ways.
pub(super) struct OfKind<'a, 's> {
    pub walker: Walker<'s>,
    pub program: &'a Program,
    pub ruleset: &'a Ruleset,
    pub domain: Node,
    /// For each way that could be followed to its end, its passages.
    pub ways: Vec<Vec<Passage>>,
    /// For each of these, the packets that got through.
    pub passed: Vec<Node>,
    pub alive: HashSet<(ChainId, usize)>,
    pub seen: HashMap<ChainId, Vec<Seen>>,
}

impl Sight {
    /// Looks at all rules with the eyes of one kind of packet.
    pub(super) fn add(
        &mut self,
        kind: Kind,
        ruleset: &Ruleset,
        known: Known<'_>,
        budget: Budget,
        unjudged: &mut Vec<String>,
    ) {
        if !ruleset.tables.keys().any(|key| key.backend.has_tables() && lower::meets(kind, key.family)) {
            return;
        }
        let mut space = Space::new(kind);
        for flow in known.flows.unwrap_or_default() {
            flow.request().ask_interfaces(&mut space);
        }
        space.ask_interface(&NamePattern::exact(b"lo"));
        let program = lower::lower(ruleset, None, &mut space, &mut Common::default());
        let mut walker = Walker::new(&mut space, budget.nodes);
        walker.bdd.set_max_steps(budget.steps);
        let seen =
            program.chains().map(|(id, chain)| (id, vec![Seen::default(); chain.rules.len()])).collect();
        let (ways, passed, alive) = (Vec::new(), Vec::new(), HashSet::new());
        let mut all =
            OfKind { walker, program: &program, ruleset, domain: Node::FALSE, ways, passed, alive, seen };
        let mut failed = |what: &str, error: &WalkError| {
            unjudged.push(format!("{} packets, {what}: {error}", kind.as_str()));
        };
        if let Err((path, error)) = all.follow() {
            failed(path.as_str(), &error);
        }
        if let Err(error) = all.judge_dead() {
            failed("rules without packets", &error);
        }
        if let Err(error) = all.judge_redundant() {
            failed("redundant rules", &error);
            all.forget_instead();
        }
        if let Err(error) = all.judge_accepted_before() {
            failed("what is accepted before", &error);
        }
        if let Some(flows) = known.flows
            && let Err(error) = all.judge_wider(flows)
        {
            failed("accepts beyond the required flows", &error);
        }
        let mut seen = std::mem::take(&mut all.seen);
        if let Some(existing) = known.interfaces {
            for (id, chain) in program.chains() {
                for (rule, seen) in chain.rules.iter().zip(seen.entry(id).or_default()) {
                    seen.missing = interfaces::missing(&rule.steps, existing);
                }
                let devices = chain.base.iter().flat_map(|base| &base.devices);
                let missing = devices.filter(|device| !existing.contains(*device)).cloned();
                let place = (chain.table.clone(), chain.name.clone());
                self.devices.entry(place).or_default().extend(missing);
            }
        }
        self.merge(&program, seen);
    }

    fn merge(&mut self, program: &Program, mut of_kind: HashMap<ChainId, Vec<Seen>>) {
        for (id, chain) in program.chains() {
            let new = of_kind.remove(&id).unwrap_or_default();
            let all = self.chains.entry((chain.table.clone(), chain.name.clone())).or_default();
            all.resize_with(chain.rules.len(), Seen::default);
            for (all, new) in all.iter_mut().zip(new) {
                all.merge(new);
            }
        }
    }

    /// What follows from it.
    pub(super) fn findings(&self, ruleset: &Ruleset) -> Vec<Found> {
        let mut found = Vec::new();
        for ((key, name), seen) in &self.chains {
            let Some(table) = ruleset.tables.get(key) else { continue };
            let chain = table.chains.get(name).or_else(|| table.anonymous.chains.get(name));
            for (place, (seen, rule)) in
                seen.iter().zip(chain.iter().flat_map(|chain| &chain.rules)).enumerate()
            {
                let at = RuleRef { table: key.clone(), chain: name.clone(), place };
                found.extend(seen.findings(&at, table, rule));
            }
        }
        for ((key, name), missing) in self.devices.iter().filter(|(_, missing)| !missing.is_empty()) {
            let message =
                format!("it is bound to {}, which does not exist here", interfaces::listed(missing));
            let item = Item::ChainHead(key.clone(), name.clone());
            let (related, packets) = (Vec::new(), Vec::new());
            found.push(Found { code: LintCode::NoInterface, item, message, related, packets });
        }
        found
    }
}

impl Seen {
    fn merge(&mut self, other: Self) {
        self.matches |= other.matches;
        self.met |= other.met;
        self.unjudged |= other.unjudged;
        self.needed |= other.needed;
        self.instead.rules.extend(other.instead.rules);
        self.instead.beyond |= other.instead.beyond;
        self.accepted_by.extend(other.accepted_by);
        self.accepted.extend(other.accepted);
        self.wider.extend(other.wider);
        self.missing.extend(other.missing);
        let Death { could, elsewhere, came, altered, takers, more, otherwise } = other.death;
        self.death.could |= could;
        self.death.elsewhere |= elsewhere;
        self.death.came |= came;
        self.death.altered |= altered;
        self.death.takers.extend(takers);
        self.death.more |= more;
        self.death.otherwise |= otherwise;
    }

    fn findings(&self, at: &RuleRef, table: &Table, rule: &model::Rule) -> Vec<Found> {
        let mut found = Vec::new();
        let mut push = |code, message: String, related: Vec<usize>, packets: &[String]| {
            let related = related.into_iter().map(|place| RuleRef { place, ..at.clone() }).collect();
            found.push(Found { code, item: at.item(), message, related, packets: packets.to_vec() });
        };
        let empty = empty_sets(table, rule);
        let accepts_nothing: Vec<String> = empty
            .iter()
            .filter(|name| accepts(rule) && !is_filled(table, name))
            .map(Name::to_string)
            .collect();
        if !accepts_nothing.is_empty() {
            let message = format!("it accepts what is in {}, and that is empty", accepts_nothing.join(", "));
            push(LintCode::EmptySet, message, Vec::new(), &[]);
        }
        if !self.missing.is_empty() {
            let message =
                format!("it names {}, which does not exist here", interfaces::listed(&self.missing));
            push(LintCode::NoInterface, message, Vec::new(), &[]);
        }
        // A set that somebody fills later makes the rule live.
        let waits = !self.death.could && (!empty.is_empty() || uses_ipset(&rule.attrs));
        if self.met && !self.matches && !self.unjudged && !waits {
            let (code, message, related) = self.dead(at, rule);
            push(code, message, related, &[]);
        }
        if self.matches && !self.needed && !self.unjudged && self.can_go(rule) {
            push(
                LintCode::Redundant,
                self.can_go_because(),
                self.instead.rules.iter().copied().collect(),
                &[],
            );
        }
        if !self.accepted_by.is_empty() {
            let places: Vec<usize> = self.accepted_by.iter().copied().collect();
            let verb = if places.len() == 1 { "accepts" } else { "accept" };
            let message = format!("{} {verb} a part of what this rule is to stop", rules(&places));
            push(LintCode::AcceptedBefore, message, places, &self.accepted);
        }
        if !self.wider.is_empty() {
            let message = "it accepts new connections that no required flow needs".to_owned();
            push(LintCode::Wider, message, Vec::new(), &self.wider);
        }
        found
    }

    fn dead(&self, at: &RuleRef, rule: &model::Rule) -> (LintCode, String, Vec<usize>) {
        let Death { could, elsewhere, came, altered, takers, more, otherwise } = &self.death;
        let places: Vec<usize> = takers.iter().copied().take(super::NAMED).collect();
        let more = *more || takers.len() > places.len();
        let named = if more { format!("{} and others", rules(&places)) } else { rules(&places) };
        let one = places.len() == 1 && !more;
        match (could, came) {
            (false, _) if *elsewhere => {
                let text =
                    "no packet fulfils all its conditions: at its hook, one of the interfaces is not known";
                (LintCode::NeverMatches, text.to_owned(), Vec::new())
            }
            (false, _) => {
                (LintCode::NeverMatches, "no packet fulfils all its conditions".to_owned(), Vec::new())
            }
            (true, false) => {
                let text = format!("none of its packets gets to chain {}", at.chain);
                (LintCode::NotReached, text, Vec::new())
            }
            (true, true) if *altered => {
                let text =
                    "no packet fulfils its conditions any more: earlier rules change what it asks about";
                (LintCode::NeverMatches, text.to_owned(), Vec::new())
            }
            (true, true) if *otherwise || beside(&rule.attrs) == Beside::Acts => {
                let verb = if one { "decides" } else { "decide" };
                (LintCode::Shadowed, format!("{named} {verb} about all its packets before it"), places)
            }
            (true, true) => {
                let verb = if one { "does" } else { "do" };
                (LintCode::Repeated, format!("{named} {verb} the same with all its packets"), places)
            }
        }
    }

    fn can_go(&self, rule: &model::Rule) -> bool {
        beside(&rule.attrs) != Beside::Acts && (!self.instead.rules.is_empty() || self.instead.beyond)
    }

    fn can_go_because(&self) -> String {
        let places: Vec<usize> = self.instead.rules.iter().copied().collect();
        match (&places[..], self.instead.beyond) {
            ([], _) => "without it, the end of the chain does the same with all its packets".to_owned(),
            (places, beyond) => {
                let also = if beyond { " and what follows" } else { "" };
                let verb = if places.len() == 1 && !beyond { "does" } else { "do" };
                format!("without it, {}{also} {verb} the same with all its packets", rules(places))
            }
        }
    }
}

/// What a rule decides about each packet that fulfils its conditions; none if that is nothing, or depends on more.
pub(super) fn verdict(rule: &Rule) -> Option<Verdict> {
    match rule.steps.last() {
        Some(Step::Verdict(verdict @ (Verdict::Accept | Verdict::Drop | Verdict::Reject))) => Some(*verdict),
        _ => None,
    }
}

impl OfKind<'_, '_> {
    /// Follows all packets along all ways.
    fn follow(&mut self) -> Result<(), (Path, WalkError)> {
        self.domain = self.walker.domain().map_err(|error| (Path::Input, error.into()))?;
        let mut failed: Option<(Path, WalkError)> = None;
        for layer in Layer::ALL {
            for path in Path::ALL {
                let way = Way { layer, path };
                let chains = reachable(self.program, way);
                if chains.is_empty() {
                    continue;
                }
                let outcome = match failed {
                    // What is left of the budget would not do for the other ways either.
                    Some((_, WalkError::Exhausted(Exhausted))) => Err(Exhausted.into()),
                    _ => {
                        self.walker.start_record();
                        self.walker
                            .follow(self.program, way, self.domain)
                            .and_then(|outcome| Ok(self.walker.passed(&outcome)?))
                    }
                };
                let passages = self.walker.take_record();
                self.learn(&passages);
                match outcome {
                    Ok(passed) => {
                        self.ways.push(passages);
                        self.passed.push(passed);
                    }
                    Err(error) => {
                        for id in chains {
                            let seen = self.seen.entry(id).or_default();
                            seen.iter_mut().for_each(|seen| seen.unjudged = true);
                        }
                        failed = failed.take().or(Some((path, error)));
                    }
                }
            }
        }
        match failed {
            Some(failed) => Err(failed),
            None => Ok(()),
        }
    }

    fn learn(&mut self, passages: &[Passage]) {
        for passage in passages {
            let seen = self.seen.entry(passage.chain).or_default();
            seen.iter_mut().for_each(|seen| seen.met |= !passage.entered.is_empty());
            for (place, arrival) in passage.arrivals.iter().enumerate() {
                if !arrival.matched.is_empty() {
                    self.alive.insert((passage.chain, place));
                    seen[place].matches = true;
                }
            }
        }
    }

    /// What could not be finished is not said.
    fn forget_instead(&mut self) {
        self.seen.values_mut().flatten().for_each(|seen| seen.needed = true);
    }

    /// The rule at a place, as steps.
    pub(super) fn rule(&self, chain: ChainId, place: usize) -> Option<&Rule> {
        self.program.chain(chain)?.rules.get(place).map(|rule| &**rule)
    }

    /// The rule's bytes.
    pub(super) fn bytes(&self, chain: &Chain, place: usize) -> &[u8] {
        let table = self.ruleset.tables.get(&chain.table);
        table
            .and_then(|table| {
                table.chains.get(&chain.name).or_else(|| table.anonymous.chains.get(&chain.name))
            })
            .and_then(|chain| chain.rules.get(place))
            .map_or(&[], |rule| &rule.attrs[..])
    }
}
