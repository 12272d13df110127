//! What connection tracking and address translation have to do with packets on their way: which addresses their connection
//! has, what chains before conntrack see of it, and what a translation changes for answers
//! (net/netfilter/nf_conntrack_core.c, nf_nat_core.c).

use super::{Rewrite, State, Walker};
use crate::traffic::bdd::{Bit, Exhausted, Node, Var};
use crate::traffic::space::asked::CT_PROTOCOL;
use crate::traffic::space::{Key, Kind, STATES, Word};

/// No bit of a packet: set while it is at the hook where a nat chain has translated it.
pub(super) const TRANSLATED: Var = Var::MAX - 1;

impl Walker<'_> {
    /// The region as it begins: the addresses that its connection has are those that the packet has, in its direction.
    pub(super) fn beginning(&mut self, region: Node) -> Result<Vec<State>, Exhausted> {
        const SAME: [(u32, Key); 4] = [(8, Key::Saddr), (9, Key::Daddr), (11, Key::Sport), (12, Key::Dport)];
        let mut states = Vec::new();
        let Some(direction) = self.space.find(&Key::Direction).map(|word| word.start) else {
            return Ok(vec![State { rewrite: Rewrite::NONE, packets: region }]);
        };
        let asked =
            |way: u8| SAME.iter().any(|(key, _)| self.space.find(&Key::Ct(*key, Some(way))).is_some());
        let protocols = (self.space.find(&Key::Ct(CT_PROTOCOL, None)), self.space.find(&Key::Protocol));
        let mut same_protocol = Vec::new();
        if let (Some(asked), Some(header)) = protocols {
            same_protocol.extend((0..asked.width).map(|at| (asked.start + at, Bit::Var(header.start + at))));
        }
        if !asked(0) && !asked(1) && same_protocol.is_empty() {
            return Ok(vec![State { rewrite: Rewrite::NONE, packets: region }]);
        }
        let (with_ports, without, rest) = self.by_tuple(region)?;
        states.push(State { rewrite: Rewrite::NONE, packets: rest });
        for (packets, known) in [(with_ports, &SAME[..]), (without, &SAME[..2])] {
            for way in [0, 1] {
                let packets = self.bdd.and_cube(packets, &[(direction, way == 1)])?;
                let mut changes = same_protocol.clone();
                for (key, header) in known {
                    let words = (self.space.find(&Key::Ct(*key, Some(way))), self.space.find(header));
                    if let (Some(asked), Some(header)) = words {
                        let bits = 0..asked.width;
                        changes.extend(bits.map(|at| (asked.start + at, Bit::Var(header.start + at))));
                    }
                }
                let rewrite = self.rewrites.then(Rewrite::NONE, &changes);
                let answers = self.answers(known.iter().map(|(_, header)| header));
                // Only of a connection that begins here is it known that nothing has been translated yet.
                let begins = match self.space.state("new") {
                    Some(new) if !answers.is_empty() => self.bdd.and_cube(packets, &[(new, true)])?,
                    Some(_) | None => Node::FALSE,
                };
                let packets = self.bdd.minus(packets, begins)?;
                states.push(State { rewrite, packets });
                states.push(State { rewrite: self.rewrites.then(rewrite, &answers), packets: begins });
            }
        }
        states.retain(|state| !state.packets.is_false());
        Ok(states)
    }

    /// The addresses and ports that answers have, as those of the packet itself.
    fn answers<'k>(&self, headers: impl Iterator<Item = &'k Key>) -> Vec<(Var, Bit)> {
        let mut changes = Vec::new();
        for header in headers {
            let Some(header) = self.space.find(header) else { continue };
            if let Some(answer) = self.answer(header) {
                changes.extend((0..answer.width).map(|at| (answer.start + at, Bit::Var(header.start + at))));
            }
        }
        changes
    }

    /// Where an answer has what a packet has in this field; none if no rule asks for that.
    fn answer(&self, header: &Word) -> Option<&Word> {
        let key = match header.key {
            Key::Saddr => 9,
            Key::Daddr => 8,
            Key::Sport => 12,
            Key::Dport => 11,
            _ => return None,
        };
        self.space.find(&Key::Ct(key, Some(1)))
    }

    /// What an address translation does to answers.
    pub(super) fn to_answers(&self, changes: &[(Var, Bit)]) -> Vec<(Var, Bit)> {
        let mirrored = |(var, value): &(Var, Bit)| {
            let header = self.space.word_of(*var)?;
            Some((self.answer(header)?.start + (var - header.start), *value))
        };
        changes.iter().filter_map(mirrored).collect()
    }

    /// The packets whose connection has their ports; those of protocols without ports; and errors, whose connection is
    /// that of another packet.
    fn by_tuple(&mut self, region: Node) -> Result<(Node, Node, Node), Exhausted> {
        let protocol = self.space.protocol();
        let icmp = if self.space.kind() == Kind::Ip6 { 58 } else { 1 };
        let mut errors = self.bdd.equals(&protocol, &[icmp])?;
        if let Some(related) = self.space.state("related") {
            errors = self.bdd.and_cube(errors, &[(related, true)])?;
        }
        let rest = self.bdd.and(region, errors)?;
        let others = self.bdd.minus(region, errors)?;
        // TCP, UDP, DCCP, SCTP, UDP-Lite.
        let ranges = [6, 17, 33, 132, 136].map(|number| (vec![number], vec![number]));
        let ports = self.bdd.union_of_ranges(&protocol, &ranges)?;
        Ok((self.bdd.and(others, ports)?, self.bdd.minus(others, ports)?, rest))
    }

    /// Packets as chains see them that come before conntrack: of no connection.
    pub(super) fn before_conntrack(&mut self, states: Vec<State>) -> Result<Vec<State>, Exhausted> {
        let none: Vec<(Var, Bit)> = STATES
            .iter()
            .filter_map(|(name, _)| Some((self.space.state(name)?, Bit::Const(*name == "invalid"))))
            .collect();
        let change = |state: State| State { rewrite: self.rewrites.then(state.rewrite, &none), ..state };
        let states = states.into_iter().map(change).collect();
        self.merged(states)
    }

    /// The same packets when conntrack has looked at them; not at those that are not to be tracked.
    pub(super) fn after_conntrack(&mut self, states: Vec<State>) -> Result<Vec<State>, Exhausted> {
        let space = &*self.space;
        let untracked = space.state("untracked");
        let of_connection = |var| {
            let word = space.word_of(var).map(|word| &word.key);
            match word {
                Some(Key::State) => true,
                Some(Key::Ct(key, None)) => *key != CT_PROTOCOL,
                _ => false,
            }
        };
        let rewrites = &mut self.rewrites;
        let change = |state: State| match untracked.map(|var| rewrites.of(state.rewrite, var)) {
            Some(Bit::Const(true)) => state,
            _ => State { rewrite: rewrites.without(state.rewrite, of_connection), ..state },
        };
        let states = states.into_iter().map(change).collect();
        self.merged(states)
    }

    /// Whether a nat chain of this hook translated it.
    pub(super) fn is_translated(&self, state: State) -> bool {
        self.rewrites.of(state.rewrite, TRANSLATED) == Bit::Const(true)
    }

    /// Those that were translated, for the next chain that is no nat chain.
    pub(super) fn translated(&mut self, states: &mut Vec<State>) -> Vec<State> {
        let rewrites = &mut self.rewrites;
        let states = states.drain(..);
        states
            .map(|state| State { rewrite: rewrites.without(state.rewrite, |var| var == TRANSLATED), ..state })
            .collect()
    }
}
