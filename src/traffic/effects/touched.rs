//! The packets that a difference can touch: whatever is outside of them fares as before.

use super::Comparison;
use crate::compare::Difference;
use crate::model::{Backend, Item, Name, Ruleset};
use crate::traffic::bdd::{Exhausted, Node, Var};
use crate::traffic::lower;
use crate::traffic::program::{ChainId, Program, Step};
use crate::traffic::space::Kind;
use crate::traffic::walk::{Layer, Path, Way};
use std::collections::BTreeSet;

/// Whether packets of a kind can meet what differs, and be changed or decided about by it.
pub(super) fn concerns(kind: Kind, difference: &Difference, before: &Ruleset, after: &Ruleset) -> bool {
    let items = [(&difference.before, before), (&difference.after, after)];
    items.into_iter().filter_map(|(item, side)| Some((item.as_ref()?, side))).any(|(item, side)| {
        match item.table().backend {
            Backend::NfTables | Backend::Legacy => {
                let can_match = match item {
                    Item::Rule(key, chain, place) => lower::can_match(side, key, chain, *place, kind),
                    _ => true,
                };
                lower::meets(kind, item.table().family) && can_match
            }
            // Rules of either family ask them.
            Backend::Ipset => matches!(kind, Kind::Ip4 | Kind::Ip6),
            Backend::Sysctl | Backend::Bpf => false,
        }
    })
}

/// What a difference can touch, before it is known where packets come from.
enum Reach {
    /// All packets that meet these chains.
    All,
    /// Packets that match one of these rules.
    Rules(Vec<(Side, ChainId, usize)>),
    /// None: what differs decides nothing.
    Nothing,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

impl Comparison<'_, '_> {
    /// For each difference the packets that it can touch; none if it is about other packets.
    pub(super) fn find_touched(
        &mut self,
        before: &Ruleset,
        after: &Ruleset,
        asked: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Option<Node>>, super::WalkError> {
        let changing: BTreeSet<Var> = [&self.before, &self.after].into_iter().flat_map(changed).collect();
        let kind = self.walker.space.kind();
        let mut all = Vec::with_capacity(self.differences.len());
        for (at, difference) in self.differences.iter().enumerate() {
            if !asked(at) || !concerns(kind, difference, before, after) {
                all.push(None);
                continue;
            }
            let mut node = Node::FALSE;
            for (side, item, ruleset) in
                [(Side::Before, &difference.before, before), (Side::After, &difference.after, after)]
            {
                let Some(item) = item else { continue };
                let reached = match self.reach(side, item, ruleset) {
                    Reach::All => Node::TRUE,
                    Reach::Nothing => Node::FALSE,
                    Reach::Rules(rules) => self.matching(&rules)?,
                };
                node = self.walker.bdd.or(node, reached)?;
            }
            let node = self.walker.bdd.exists(node, &|var| changing.contains(&var))?;
            all.push(Some(node));
        }
        Ok(all)
    }

    fn reach(&self, side: Side, item: &Item, ruleset: &Ruleset) -> Reach {
        let rules_with = |name: &Name| {
            let uses = |attrs: &[u8]| {
                if item.table().backend == Backend::Ipset {
                    crate::traffic::lower::names_ipset(attrs, name, ruleset)
                } else {
                    crate::normalise::references(attrs).contains(name)
                }
            };
            let mut found = Vec::new();
            for (key, table) in &ruleset.tables {
                if item.table().backend != Backend::Ipset && key != item.table() {
                    continue;
                }
                for (chain, content) in table.chains.iter().chain(&table.anonymous.chains) {
                    let Some(id) = self.common.known_id(key, chain) else { continue };
                    let asking = content.rules.iter().enumerate().filter(|(_, rule)| uses(&rule.attrs));
                    found.extend(asking.map(|(at, _)| (side, id, at)));
                }
            }
            Reach::Rules(found)
        };
        match item {
            Item::Table(_) | Item::TableHead(_) => Reach::All,
            Item::Chain(key, name) | Item::ChainHead(key, name) => {
                let program = if side == Side::Before { &self.before } else { &self.after };
                let chain = self.common.known_id(key, name).and_then(|id| program.chain(id));
                match chain {
                    Some(chain) if chain.base.is_some() => Reach::All,
                    // Reached only by jumps, which differ themselves if this one came or went.
                    Some(_) | None => Reach::Nothing,
                }
            }
            Item::Rule(key, name, place) => match self.common.known_id(key, name) {
                Some(id) => Reach::Rules(vec![(side, id, *place)]),
                None => Reach::Nothing,
            },
            Item::Set(_, name) | Item::SetHead(_, name) => rules_with(name),
            Item::Element(_, name, _) => rules_with(name),
            Item::Object(_, _, name) => rules_with(name),
            Item::Flowtable(..) => Reach::Nothing,
        }
    }

    /// The packets that match one of these rules, whatever happened to them before.
    fn matching(&mut self, rules: &[(Side, ChainId, usize)]) -> Result<Node, super::WalkError> {
        let mut node = Node::FALSE;
        for (side, chain, place) in rules {
            let program = if *side == Side::Before { &self.before } else { &self.after };
            let Some(rule) = program.chain(*chain).and_then(|chain| chain.rules.get(*place)) else {
                continue;
            };
            let rule = std::sync::Arc::clone(rule);
            let way = Way { layer: Layer::Host, path: Path::Forward };
            let one = self.walker.matching(&rule.steps, way)?;
            node = self.walker.bdd.or(node, one)?;
        }
        Ok(node)
    }

    /// The chains that a difference is in; none if it may be in any.
    pub(super) fn chains_of(&self, at: usize) -> Option<Vec<ChainId>> {
        let difference = &self.differences[at];
        let mut chains = Vec::new();
        for item in [&difference.before, &difference.after].into_iter().flatten() {
            match item {
                Item::Chain(key, name) | Item::ChainHead(key, name) | Item::Rule(key, name, _) => {
                    chains.extend(self.common.known_id(key, name));
                }
                Item::Table(_)
                | Item::TableHead(_)
                | Item::Set(..)
                | Item::SetHead(..)
                | Item::Element(..)
                | Item::Object(..)
                | Item::Flowtable(..) => return None,
            }
        }
        Some(chains)
    }

    /// The difference that is answerable for what a decider does.
    pub(super) fn answerable(
        &mut self,
        packets: Node,
        was: Option<&super::DeciderRef>,
        now: Option<&super::DeciderRef>,
    ) -> Result<Option<usize>, Exhausted> {
        let [before, after] = &self.deciders;
        let exact = was.and_then(|was| before.find(was)).into_iter();
        let exact = exact.chain(now.and_then(|now| after.find(now))).min();
        if exact.is_some() {
            return Ok(exact);
        }
        for (at, touched) in self.touched.iter().enumerate() {
            if let Some(touched) = touched
                && !self.walker.bdd.is_disjoint(*touched, packets)?
            {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

/// The variables that a program changes.
fn changed(program: &Program) -> BTreeSet<Var> {
    fn of(steps: &[Step], found: &mut BTreeSet<Var>) {
        for step in steps {
            match step {
                Step::Set(changes) | Step::Translate(changes) => {
                    found.extend(changes.iter().map(|(var, _)| *var));
                }
                Step::Branch(alternatives) => alternatives.iter().for_each(|(_, steps)| of(steps, found)),
                Step::Test(_) | Step::Verdict(_) => {}
            }
        }
    }
    let mut found = BTreeSet::new();
    for (_, chain) in program.chains() {
        chain.rules.iter().for_each(|rule| of(&rule.steps, &mut found));
    }
    found
}
