//! Required flows: whether their packets get through, both ways.
//!
//! Input: a ruleset and what is wanted; output: for each flow whether it holds, and if not which packets fare
//! otherwise and what decides about them. All flows of one path are followed together.

use super::bdd::Node;
use super::effects::{Budget, DeciderRef};
use super::lower::{self, Common};
use super::packets::{Age, Asked, Ends, Interfaces, Numbers};
use super::program::Program;
use super::space::{Base, Key, Kind, Space};
use super::walk::{Outcome, Path, WalkError, Walker, Way};
use super::words;
use crate::model::{Expect, FlowDirection, Ruleset};
use std::collections::BTreeMap;

/// Packets of one flow that are told of, at most.
const TOLD: usize = 4;

/// A flow that somebody wants, or wants not to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who connects.
    pub from: Ends,
    /// To whom.
    pub to: Ends,
    /// `IPPROTO_*`; empty means any.
    pub protocols: Vec<u8>,
    /// Destination ports; empty means any.
    pub ports: Numbers,
    /// By which interfaces requests come in.
    pub iif: Interfaces,
    /// By which they go out.
    pub oif: Interfaces,
    /// The way of the requests.
    pub path: Path,
    /// Allow or deny.
    pub expect: Expect,
    /// Whether only packets are meant that exceed no rate, quota or count.
    pub within_limits: bool,
}

impl Wanted {
    /// The packets that begin it. Of ICMP, where nothing else is said, echo requests.
    pub fn request(&self) -> Asked {
        let with_ports = !self.protocols.is_empty() && self.protocols.iter().all(|number| has_ports(*number));
        let sports = match self.protocols[..] {
            [ICMP] => echo(8),
            [ICMP6] => echo(128),
            _ if with_ports => vec![(1024, 65_535)],
            _ => Numbers::new(),
        };
        Asked {
            from: self.from.clone(),
            to: self.to.clone(),
            protocols: self.protocols.clone(),
            sports,
            dports: self.ports.clone(),
            iif: self.iif.clone(),
            oif: self.oif.clone(),
            age: Age::First,
            path: self.path,
            within_limits: self.within_limits,
        }
    }

    /// The packets that come back, if nothing is translated.
    pub fn answer(&self) -> Asked {
        let request = self.request();
        let (sports, dports) = match self.protocols[..] {
            [ICMP] => (echo(0), Numbers::new()),
            [ICMP6] => (echo(129), Numbers::new()),
            _ => (request.dports, request.sports),
        };
        Asked {
            from: request.to,
            to: request.from,
            protocols: request.protocols,
            sports,
            dports,
            iif: request.oif,
            oif: request.iif,
            age: Age::Answer,
            path: self.path.back(),
            within_limits: self.within_limits,
        }
    }
}

const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// Type and code of an echo message, as the first 16 bits of the header.
fn echo(kind: u8) -> Numbers {
    let value = u128::from(kind) << 8;
    vec![(value, value)]
}

/// What was found about one flow.
#[derive(Clone, Debug)]
pub struct Found {
    /// Whether it holds; none if that depends on what is not known, or could not be computed.
    pub holds: Option<bool>,
    /// What was looked at, or what of it fares otherwise.
    pub direction: FlowDirection,
    /// Packets that fare otherwise, in words; or what it depends on.
    pub packets: Vec<String>,
    /// One of them.
    pub sample: Option<BTreeMap<String, String>>,
    /// What decides about them.
    pub broken_by: Option<DeciderRef>,
}

impl Found {
    fn holds(expect: Expect) -> Self {
        let direction = match expect {
            Expect::Allow => FlowDirection::Both,
            Expect::Deny => FlowDirection::Request,
        };
        Self { holds: Some(true), direction, packets: Vec::new(), sample: None, broken_by: None }
    }

    /// Nothing could be computed.
    pub fn unknown(why: &str) -> Self {
        Self::inconclusive(FlowDirection::Both, format!("not computed: {why}"))
    }

    fn inconclusive(direction: FlowDirection, why: String) -> Self {
        Self { holds: None, direction, packets: vec![why], sample: None, broken_by: None }
    }

    /// The more serious of two answers about the same flow.
    fn worse(self, other: Self) -> Self {
        let weight = |found: &Self| match found.holds {
            Some(false) => 2,
            None => 1,
            Some(true) => 0,
        };
        if weight(&other) > weight(&self) { other } else { self }
    }
}

/// Checks flows against a ruleset.
pub fn flows(ruleset: &Ruleset, wanted: &[Wanted], budget: Budget) -> Vec<Found> {
    let mut found: Vec<Found> = wanted.iter().map(|flow| Found::holds(flow.expect)).collect();
    for kind in [Kind::Ip4, Kind::Ip6] {
        let meant: Vec<usize> = (0..wanted.len())
            .filter(|at| wanted[*at].from.of(kind).is_some() && wanted[*at].to.of(kind).is_some())
            .collect();
        if meant.is_empty() {
            continue;
        }
        let mut space = Space::new(kind);
        wanted.iter().for_each(|flow| flow.request().ask_interfaces(&mut space));
        let program = lower::lower(ruleset, None, &mut space, &mut Common::default());
        let mut walker = Walker::new(&mut space, budget.nodes);
        walker.bdd.set_max_steps(budget.steps);
        let mut check = Check { walker, program: &program, wanted };
        for path in Path::ALL {
            let flows: Vec<usize> = meant.iter().copied().filter(|at| wanted[*at].path == path).collect();
            if let Err(error) = check.requests(path, &flows, &mut found) {
                for at in &flows {
                    let one = Found::inconclusive(FlowDirection::Both, format!("{error}"));
                    found[*at] = found[*at].clone().worse(one);
                }
            }
        }
    }
    found
}

struct Check<'a, 's> {
    walker: Walker<'s>,
    program: &'a Program,
    wanted: &'a [Wanted],
}

/// Packets of one flow in one direction.
struct Part {
    at: usize,
    direction: FlowDirection,
    asked: Asked,
    region: Node,
}

impl Check<'_, '_> {
    /// All flows whose requests go one way, then their answers.
    fn requests(&mut self, path: Path, flows: &[usize], found: &mut [Found]) -> Result<(), WalkError> {
        let parts = self.parts(flows)?;
        let Some(outcome) = self.judge(path, &parts, found)? else { return Ok(()) };
        let mut answers = Vec::new();
        for part in parts.iter().filter(|part| self.wanted[part.at].expect == Expect::Allow) {
            for asked in self.answers(part, &outcome)? {
                if let Some(region) = self.walker.region(&asked)? {
                    answers.push(Part { at: part.at, direction: FlowDirection::Answer, asked, region });
                }
            }
        }
        self.judge(path.back(), &answers, found)?;
        Ok(())
    }

    fn parts(&mut self, flows: &[usize]) -> Result<Vec<Part>, WalkError> {
        let mut parts = Vec::new();
        for at in flows {
            let asked = self.wanted[*at].request();
            if let Some(region) = self.walker.region(&asked)? {
                parts.push(Part { at: *at, direction: FlowDirection::Request, asked, region });
            }
        }
        Ok(parts)
    }

    /// The answers to requests that got through: from where they got to.
    fn answers(&mut self, part: &Part, outcome: &Outcome) -> Result<Vec<Asked>, WalkError> {
        let mut answers = Vec::new();
        for state in &outcome.through {
            if self.walker.bdd.is_disjoint(state.packets, part.region)? {
                continue;
            }
            let changed = |key: &Key| {
                let word = self.walker.space.find(key)?;
                let changes = self.walker.changes(state.rewrite);
                (word.start..word.start + word.width).try_fold(0u128, |number, var| {
                    match changes.get(&var)? {
                        super::bdd::Bit::Const(is) => Some(number << 1 | u128::from(*is)),
                        super::bdd::Bit::Var(_) | super::bdd::Bit::NotVar(_) => None,
                    }
                })
            };
            let mut answer = self.wanted[part.at].answer();
            if let Some(address) = changed(&Key::Daddr) {
                let one = vec![(address, address)];
                answer.from = match self.walker.space.kind() {
                    Kind::Ip6 => Ends { v6: one, ..Ends::default() },
                    Kind::Ip4 | Kind::Arp | Kind::Other => Ends { v4: one, ..Ends::default() },
                };
            }
            if let Some(port) = changed(&Key::Dport) {
                answer.sports = vec![(port, port)];
            }
            if !answers.iter().any(|known: &Asked| known.from == answer.from && known.sports == answer.sports)
            {
                answers.push(answer);
            }
        }
        Ok(answers)
    }

    /// Follows all parts together, and judges each.
    fn judge(
        &mut self,
        path: Path,
        parts: &[Part],
        found: &mut [Found],
    ) -> Result<Option<Outcome>, WalkError> {
        let mut region = Node::FALSE;
        for part in parts {
            region = self.walker.bdd.or(region, part.region)?;
        }
        if region.is_false() {
            return Ok(None);
        }
        let outcome = self.walker.follow(self.program, Way::host(path), region)?;
        let passed = self.walker.passed(&outcome)?;
        for part in parts {
            let one = self.judged(part, &outcome, passed)?;
            found[part.at] = found[part.at].clone().worse(one);
        }
        Ok(Some(outcome))
    }

    fn judged(&mut self, part: &Part, outcome: &Outcome, passed: Node) -> Result<Found, WalkError> {
        let expect = self.wanted[part.at].expect;
        let wrong = match expect {
            Expect::Allow => self.walker.bdd.minus(part.region, passed)?,
            Expect::Deny => self.walker.bdd.and(part.region, passed)?,
        };
        if wrong.is_false() {
            return Ok(Found::holds(expect));
        }
        let unknown = self.walker.unknown(&part.asked);
        let is_unknown = |var: u32| unknown.iter().any(|(start, end)| (*start..*end).contains(&var));
        // Those that fare well in no case of what is not known.
        let right = self.walker.bdd.minus(part.region, wrong)?;
        let right = self.walker.bdd.exists(right, &is_unknown)?;
        let all = self.walker.bdd.exists(part.region, &is_unknown)?;
        let surely = self.walker.bdd.minus(all, right)?;
        let surely = self.walker.bdd.and(surely, part.region)?;
        let holds = if surely.is_false() { None } else { Some(false) };
        let told = if surely.is_false() { wrong } else { surely };
        let decider = outcome.pieces.iter().find_map(|piece| {
            let decides = piece.fate.passes() == (expect == Expect::Deny);
            let mut meets =
                || self.walker.bdd.is_disjoint(piece.packets, told).is_ok_and(|disjoint| !disjoint);
            (decides && meets()).then(|| piece.clone())
        });
        let of_decider = match &decider {
            Some(piece) => self.walker.bdd.and(told, piece.packets)?,
            None => told,
        };
        let value = self.walker.example(of_decider);
        let sample = words::sample(self.walker.space, Way::host(part.asked.path), &value);
        Ok(Found {
            holds,
            direction: part.direction,
            packets: self.phrases(part, told, holds)?,
            sample: Some(sample),
            broken_by: decider.and_then(|piece| DeciderRef::of(self.program, &piece)),
        })
    }

    /// Packets in words, without what all packets that were asked for have in common.
    fn phrases(&mut self, part: &Part, told: Node, holds: Option<bool>) -> Result<Vec<String>, WalkError> {
        // What is unknown is told only where the answer depends on it.
        let unknown = self.walker.unknown(&part.asked);
        let is_unknown = |start: u32| unknown.iter().any(|(from, to)| (*from..*to).contains(&start));
        let is_told = |key: &Key, start: u32| match key {
            Key::Saddr | Key::Daddr | Key::Protocol => true,
            Key::Sport => part.asked.sports[..] != [(1024, 65_535)],
            Key::Dport => part.asked.dports[..] != [(1024, 65_535)],
            Key::State | Key::Direction | Key::Header(Base::Network | Base::Transport, _) => false,
            Key::Iif | Key::Oif | Key::Meta(_) | Key::Ct(..) | Key::Free(_) | Key::Header(..) => {
                holds.is_none() && is_unknown(start)
            }
        };
        let dropped: Vec<(u32, u32)> = self
            .walker
            .space
            .words()
            .iter()
            .filter(|word| !is_told(&word.key, word.start))
            .map(|word| (word.start, word.start + word.width))
            .collect();
        let told = self
            .walker
            .bdd
            .exists(told, &|var| dropped.iter().any(|(start, end)| (*start..*end).contains(&var)))?;
        let told = self.walker.without_needless(told, part.region, &unknown)?;
        let fields = self.walker.space.fields();
        let regions = self.walker.bdd.regions(told, &fields, TOLD)?;
        let kind = self.walker.space.kind();
        let mut phrases = Vec::new();
        for region in &regions.regions {
            let described = words::describe(self.walker.space, region);
            let mut phrase = described.phrase(kind);
            if !described.conditions.is_empty() {
                phrase.push_str(&format!(", if {}", described.conditions.join(" and ")));
            }
            phrases.push(phrase);
        }
        if !regions.complete {
            phrases.push("and more".to_owned());
        }
        Ok(phrases)
    }
}

/// Whether a protocol has ports.
pub fn has_ports(number: u8) -> bool {
    matches!(number, 6 | 17 | 33 | 132 | 136)
}
