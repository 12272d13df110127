//! One packet through a [`Program`], rule by rule, as the kernel does it: no packet sets, no diagrams.
//!
//! Input: a program, a path and one [`Packet`] of which every bit is known; output: where it ended. This is the second
//! judge of the set engine. It shares the program with it, so that the kernel is the judge of `lower`.

use crate::kernel;
use fwdrift::traffic::bdd::Bit;
use fwdrift::traffic::evaluate::Packet;
use fwdrift::traffic::program::{BaseChain, ChainId, ChainKind, Hook, Program, Step, Verdict};
use fwdrift::traffic::space::asked::CT_PROTOCOL;
use fwdrift::traffic::space::{Key, Kind, STATES, Side, Space, Word};
use fwdrift::traffic::walk::{Fate, Path, Way};

/// `NF_IP_PRI_CONNTRACK`: conntrack looks at a packet in prerouting and output.
const CONNTRACK: i32 = -200;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It passed all hooks.
    Passed,
    /// It did not pass this one.
    Gone(Hook, Fate),
}

/// A packet's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    pub end: End,
    /// A nat chain translated it.
    pub translated: bool,
    /// A nat chain translates it although it does not begin its connection: as its first packet was.
    pub as_its_first: bool,
}

/// Which part of the engine a path of the lab is.
pub fn way(path: kernel::Path) -> Way {
    Way::host(match path {
        kernel::Path::Input => Path::Input,
        kernel::Path::Forward => Path::Forward,
        kernel::Path::Output => Path::Output,
    })
}

/// Follows a packet.
pub fn walk(program: &Program, space: &Space, way: Way, packet: &Packet) -> Walked {
    let names = [packet.iif.clone(), packet.oif.clone()];
    let of_connection = space.words().iter().filter(|word| match word.key {
        Key::State => true,
        Key::Ct(key, None) => key != CT_PROTOCOL,
        _ => false,
    });
    let state: Vec<_> = of_connection.flat_map(|word| word.start..word.start + word.width).collect();
    let mut walking = Walking {
        program,
        space,
        packet: packet.clone(),
        begun: state.iter().map(|var| (*var, Bit::Const(packet.bit(Bit::Var(*var))))).collect(),
        as_its_first: false,
        was_translated: false,
        translated: false,
        only_translates: false,
    };
    walking.addresses_of_connection();
    for hook in way.hooks() {
        for (side, name) in [Side::In, Side::Out].into_iter().zip(&names) {
            let known = if way.knows(*hook, side) { name.clone() } else { Vec::new() };
            match side {
                Side::In => walking.packet.iif = known,
                Side::Out => walking.packet.oif = known,
            }
        }
        walking.packet.hook = Some(*hook);
        if let Some(fate) = walking.hook(way, *hook) {
            return walking.ended(End::Gone(*hook, fate));
        }
    }
    walking.ended(End::Passed)
}

struct Walking<'p> {
    program: &'p Program,
    space: &'p Space,
    packet: Packet,
    /// What conntrack will find.
    begun: Vec<(u32, Bit)>,
    as_its_first: bool,
    was_translated: bool,
    /// By the present chain.
    translated: bool,
    /// In a nat chain, of a connection that exists.
    only_translates: bool,
}

/// How a rule ends.
enum Done {
    Next,
    Return,
    Fate(Fate),
}

impl Walking<'_> {
    fn ended(self, end: End) -> Walked {
        Walked { end, translated: self.was_translated, as_its_first: self.as_its_first }
    }

    fn addresses_of_connection(&mut self) {
        let Some(direction) = self.space.find(&Key::Direction) else { return };
        let is_reply = self.packet.bit(Bit::Var(direction.start));
        if self.is_error() {
            return;
        }
        if let (Some(asked), Some(header)) =
            (self.space.find(&Key::Ct(CT_PROTOCOL, None)), self.space.find(&Key::Protocol))
        {
            let same: Vec<_> = (0..8).map(|at| (asked.start + at, Bit::Var(header.start + at))).collect();
            self.packet.change(&same);
        }
        let has_ports = matches!(self.protocol(), Some(6 | 17 | 33 | 132 | 136));
        let all = [(8, Key::Saddr), (9, Key::Daddr), (11, Key::Sport), (12, Key::Dport)];
        for (key, header) in all.into_iter().take(if has_ports { 4 } else { 2 }) {
            let words = (self.space.find(&Key::Ct(key, Some(u8::from(is_reply)))), self.space.find(&header));
            if let (Some(asked), Some(header)) = words {
                let same: Vec<_> =
                    (0..asked.width).map(|at| (asked.start + at, Bit::Var(header.start + at))).collect();
                self.packet.change(&same);
            }
            let answers = self.answer(&header).zip(self.space.find(&header));
            if let Some((answer, header)) = answers.filter(|_| self.is("new")) {
                let same: Vec<_> =
                    (0..answer.width).map(|at| (answer.start + at, Bit::Var(header.start + at))).collect();
                self.packet.change(&same);
            }
        }
    }

    /// What an answer has where the packet has this.
    fn answer(&self, header: &Key) -> Option<&Word> {
        let key = match header {
            Key::Saddr => 9,
            Key::Daddr => 8,
            Key::Sport => 12,
            Key::Dport => 11,
            _ => return None,
        };
        self.space.find(&Key::Ct(key, Some(1)))
    }

    fn is(&self, state: &str) -> bool {
        self.space.state(state).is_some_and(|var| self.packet.bit(Bit::Var(var)))
    }

    /// The chains at a hook; what did not pass it has a fate.
    fn hook(&mut self, way: Way, hook: Hook) -> Option<Fate> {
        let mut bases: Vec<(i32, i32, ChainId)> = Vec::new();
        for (id, chain) in self.program.chains() {
            let Some(base) = &chain.base else { continue };
            if base.hook == hook && way.meets(&chain.table, hook) {
                bases.push((priority(base), base.priority, id));
            }
        }
        bases.sort_unstable();
        let before = hook == Hook::Ingress || matches!(hook, Hook::Prerouting | Hook::Output);
        let (early, late): (Vec<_>, Vec<_>) =
            bases.into_iter().partition(|(at, ..)| before && (hook == Hook::Ingress || *at < CONNTRACK));
        if !early.is_empty() {
            // Nothing is known of its connection yet; `notrack` says that it shall have none.
            let none: Vec<_> = STATES
                .iter()
                .filter_map(|(name, _)| Some((self.space.state(name)?, Bit::Const(*name == "invalid"))))
                .collect();
            self.packet.change(&none);
            for (.., id) in early {
                if let Some(fate) = self.base(id) {
                    return Some(fate);
                }
            }
            if !self.is("untracked") {
                self.packet.change(&self.begun.clone());
            }
        }
        let mut translated = false;
        for (.., id) in late {
            let is_nat = self.program.chain(id)?.base.as_ref()?.kind == ChainKind::Nat;
            if is_nat && translated {
                continue;
            }
            self.translated = false;
            if let Some(fate) = self.base(id) {
                return Some(fate);
            }
            translated |= self.translated;
        }
        None
    }

    /// One base chain; a fate if the packet does not get on.
    fn base(&mut self, id: ChainId) -> Option<Fate> {
        let base = self.program.chain(id)?.base.clone()?;
        if !base.devices.is_empty() {
            let name = if base.hook == Hook::Egress { &self.packet.oif } else { &self.packet.iif };
            if !base.devices.contains(name) {
                return None;
            }
        }
        self.only_translates = false;
        if base.kind == ChainKind::Nat && !self.begins() {
            let reply = self.space.find(&Key::Direction).is_some_and(|w| self.packet.bit(Bit::Var(w.start)));
            if !self.is("established") || reply {
                return None;
            }
            self.only_translates = true;
        }
        let fate = match self.chain(id, 0) {
            Some(fate) => fate,
            None if base.accepts => Fate::Accepted,
            None => Fate::Dropped,
        };
        if self.only_translates || fate == Fate::Accepted { None } else { Some(fate) }
    }

    /// Whether nat chains are asked about it (net/netfilter/nf_nat_core.c, `nf_nat_inet_fn`).
    fn begins(&self) -> bool {
        self.is("new") || self.is("related") && !self.is_error()
    }

    /// An error of ICMP is of the connection that it is about; the other family's ICMP is a protocol like any other.
    fn is_error(&self) -> bool {
        let icmp = if self.space.kind() == Kind::Ip6 { 58 } else { 1 };
        self.is("related") && self.protocol() == Some(icmp)
    }

    fn protocol(&self) -> Option<u8> {
        let word = self.space.find(&Key::Protocol)?;
        let bits: Vec<Bit> = (word.start..word.start + word.width).map(Bit::Var).collect();
        self.packet.value(&bits).first().copied()
    }

    fn chain(&mut self, id: ChainId, depth: usize) -> Option<Fate> {
        assert!(depth <= 16, "the kernel allows no deeper jump");
        for rule in &self.program.chain(id)?.rules {
            match self.steps(&rule.steps, depth) {
                Done::Next => {}
                Done::Return => return None,
                Done::Fate(fate) => return Some(fate),
            }
        }
        None
    }

    fn steps(&mut self, steps: &[Step], depth: usize) -> Done {
        for step in steps {
            match step {
                Step::Test(test) if test.holds(&self.packet) => {}
                Step::Test(_) => return Done::Next,
                Step::Set(changes) => self.packet.change(changes),
                Step::Translate(changes) => {
                    self.as_its_first |= self.only_translates || self.is("related");
                    self.translated = true;
                    self.was_translated = true;
                    let mut all = changes.clone();
                    for (var, value) in changes {
                        let Some(header) = self.space.word_of(*var) else { continue };
                        if let Some(answer) = self.answer(&header.key) {
                            all.push((answer.start + (var - header.start), *value));
                        }
                    }
                    self.packet.change(&all);
                }
                Step::Branch(alternatives) => {
                    let taken = alternatives.iter().find(|(test, _)| test.holds(&self.packet));
                    return taken.map_or(Done::Next, |(_, steps)| self.steps(steps, depth));
                }
                Step::Verdict(verdict) => return self.verdict(*verdict, depth),
            }
        }
        Done::Next
    }

    fn verdict(&mut self, verdict: Verdict, depth: usize) -> Done {
        let fate = match verdict {
            Verdict::Accept => Fate::Accepted,
            Verdict::Drop => Fate::Dropped,
            Verdict::Reject => Fate::Rejected,
            Verdict::Taken => Fate::Taken,
            Verdict::Ask(var) if self.packet.bit(Bit::Var(var)) => Fate::Accepted,
            Verdict::Ask(_) => Fate::Dropped,
            Verdict::Continue => return Done::Next,
            Verdict::Return => return Done::Return,
            Verdict::Jump(chain) => return self.chain(chain, depth + 1).map_or(Done::Next, Done::Fate),
            Verdict::Goto(chain) => return self.chain(chain, depth + 1).map_or(Done::Return, Done::Fate),
        };
        Done::Fate(fate)
    }
}

/// nat chains have one place at each hook, and their own order there (nf_nat_core.c, `nf_nat_register_fn`).
fn priority(base: &BaseChain) -> i32 {
    match (base.kind, base.hook) {
        (ChainKind::Nat, Hook::Prerouting | Hook::Output) => -100,
        (ChainKind::Nat, Hook::Postrouting | Hook::Input) => 100,
        (ChainKind::Nat | ChainKind::Filter | ChainKind::Route, _) => base.priority,
    }
}
