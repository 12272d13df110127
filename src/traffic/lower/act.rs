//! Expressions that do something to a packet: address translation, rejects, queues, ways out of the stack.

use super::machine::bits;
use super::rule::{Flow, Lowering, Making};
use crate::model::Family;
use crate::netlink::Attrs;
use crate::traffic::bdd::{Bit, Var};
use crate::traffic::program::{Step, Verdict};
use crate::traffic::space::{Base, Key, Kind, Nature, STATES};
use crate::traffic::test::Test;

/// `enum nft_nat_attributes`.
mod attr {
    pub const TYPE: u16 = 1;
    pub const FAMILY: u16 = 2;
    pub const ADDR_MIN: u16 = 3;
    pub const ADDR_MAX: u16 = 4;
    pub const PROTO_MIN: u16 = 5;
    pub const PROTO_MAX: u16 = 6;
    pub const FLAGS: u16 = 7;
}

/// `NF_NAT_RANGE_NETMAP`: only the prefix is replaced.
const NETMAP: u32 = 1 << 6;

/// Which end of a connection is translated.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Source,
    Destination,
}

impl End {
    fn address(self) -> &'static Key {
        match self {
            Self::Source => &Key::Saddr,
            Self::Destination => &Key::Daddr,
        }
    }
}

impl Lowering<'_> {
    pub(super) fn nat(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        let end = if number(attr::TYPE)? == 0 { End::Source } else { End::Destination };
        if self.is_other_family(number(attr::FAMILY)) {
            return Some(Flow::End);
        }
        let mut changed = Vec::new();
        let what = if end == End::Source { "snat" } else { "dnat" };
        let text = format!("{what} ({})", self.place(making));
        if let Some(low) = number(attr::ADDR_MIN) {
            let high = number(attr::ADDR_MAX).unwrap_or(low);
            let length = self.space.kind().address_length()?;
            let low = making.registers.load(low, length)?.to_vec();
            let high = making.registers.load(high, length)?.to_vec();
            let text = format!("address of {text}");
            let value = if number(attr::FLAGS).unwrap_or(0) & NETMAP != 0 {
                self.mapped(end, &bits(&low)?, &bits(&high)?, &text)
            } else {
                self.chosen(&bits(&low)?, &bits(&high)?, &text)
            };
            changed.extend(self.onto_address(end, &value));
        }
        let places = (attr::PROTO_MIN, attr::PROTO_MAX);
        changed.extend(self.ports(data, places, end, &format!("port of {text}"), making)?);
        Some(translated(changed, making))
    }

    /// A value from a range: the bits with which all of them begin, and others that nobody knows before.
    fn chosen(&mut self, low: &[Bit], high: &[Bit], text: &str) -> Vec<Bit> {
        let shared = low.iter().zip(high).take_while(|(low, high)| low == high).count();
        if shared == low.len() {
            return low.to_vec();
        }
        let free = self.space.free(text, low.len() as u32);
        [&low[..shared], &free[shared..]].concat()
    }

    /// An address in another network: the bits that both ends of that share are its part, the others stay
    /// (nft_nat.c, `nft_nat_setup_netmap`).
    fn mapped(&mut self, end: End, low: &[Bit], high: &[Bit], text: &str) -> Vec<Bit> {
        let ends = || low.iter().copied().zip(high.iter().copied());
        let is_known =
            ends().all(|(low, high)| low == high || matches!((low, high), (Bit::Const(_), Bit::Const(_))));
        let rest = match self.address(end) {
            own if is_known && own.len() == low.len() => own,
            _ => self.space.free(text, low.len() as u32),
        };
        ends().zip(rest).map(|((low, high), rest)| if low == high { low } else { rest }).collect()
    }

    /// The new port, if the expression names registers for one: the attributes of its least and its largest value.
    fn ports(
        &mut self,
        data: Attrs<'_>,
        (least, largest): (u16, u16),
        end: End,
        text: &str,
        making: &Making<'_>,
    ) -> Option<Vec<(Var, Bit)>> {
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        let Some(low) = number(least) else { return Some(Vec::new()) };
        let high = number(largest).unwrap_or(low);
        let low = making.registers.load(low, 2)?.to_vec();
        let high = making.registers.load(high, 2)?.to_vec();
        let value = self.chosen(&bits(&low)?, &bits(&high)?, text);
        Some(self.onto_port(end, &value))
    }

    /// Whether an expression is for the other family of IP.
    fn is_other_family(&self, number: Option<u32>) -> bool {
        match number.and_then(|family| Family::from_number(family as u8)) {
            Some(Family::Ip) => self.space.kind() != Kind::Ip4,
            Some(Family::Ip6) => self.space.kind() != Kind::Ip6,
            _ => false,
        }
    }

    fn address(&self, end: End) -> Vec<Bit> {
        let word = self.space.find(end.address());
        word.map(|word| (word.start..word.start + word.width).map(Bit::Var).collect()).unwrap_or_default()
    }

    fn onto_address(&mut self, end: End, value: &[Bit]) -> Vec<(Var, Bit)> {
        self.onto(end.address(), value)
    }

    fn onto_port(&mut self, end: End, value: &[Bit]) -> Vec<(Var, Bit)> {
        let key = if end == End::Source { Key::Sport } else { Key::Dport };
        self.onto(&key, value)
    }

    fn onto(&mut self, key: &Key, value: &[Bit]) -> Vec<(Var, Bit)> {
        let Some(word) = self.space.find(key) else { return Vec::new() };
        let places = (word.start..word.start + word.width).zip(value.iter().copied());
        places.filter(|(var, value)| *value != Bit::Var(*var)).collect()
    }

    pub(super) fn masquerade(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let length = 8 * self.space.kind().address_length()? as u32;
        let address = self.space.free("address of masquerade", length);
        let mut changed = self.onto_address(End::Source, &address);
        // NFTA_MASQ_REG_PROTO_MIN, NFTA_MASQ_REG_PROTO_MAX.
        changed.extend(self.ports(data, (2, 3), End::Source, "port of masquerade", making)?);
        Some(translated(changed, making))
    }

    pub(super) fn redirect(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let length = 8 * self.space.kind().address_length()? as u32;
        let address = self.space.free("address of redirect", length);
        let mut changed = self.onto_address(End::Destination, &address);
        // NFTA_REDIR_REG_PROTO_MIN, NFTA_REDIR_REG_PROTO_MAX.
        changed.extend(self.ports(data, (1, 2), End::Destination, "port of redirect", making)?);
        Some(translated(changed, making))
    }

    /// A socket takes the packet, if there is one; the rule does not match where there is none (nft_tproxy.c).
    pub(super) fn tproxy(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        if self.is_other_family(data.find(1).and_then(|attr| attr.be32())) {
            return Some(making.test(Test::never()));
        }
        let text = format!("a transparent socket listens ({})", self.place(making));
        Some(making.test(Test::free(self.space, &text)))
    }

    /// The packet is of no connection from here on, unless conntrack has given it one already (nft_ct.c,
    /// `nft_notrack_eval`).
    pub(super) fn notrack(&mut self, making: &mut Making<'_>) -> Option<Flow> {
        let changed = STATES
            .iter()
            .filter_map(|(name, _)| Some((self.space.state(name)?, Bit::Const(*name == "untracked"))))
            .collect();
        let (untracked, tracked) = (making.behind(vec![Step::Set(changed)]), making.behind(Vec::new()));
        let has_connection = self.has_connection();
        let branches = vec![
            (has_connection.clone().negated(), self.rest(untracked)),
            (has_connection, self.rest(tracked)),
        ];
        making.steps.push(Step::Branch(branches));
        Some(Flow::End)
    }

    pub(super) fn reject(&mut self, making: &mut Making<'_>) -> Flow {
        making.steps.push(Step::Verdict(Verdict::Reject));
        Flow::End
    }

    pub(super) fn queue(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        // NFTA_QUEUE_NUM, NFTA_QUEUE_TOTAL, NFTA_QUEUE_FLAGS (bit 0: bypass).
        let first = data.find(1).and_then(|attr| attr.payload.try_into().ok()).map_or(0, u16::from_be_bytes);
        let text = format!("the program of queue {first} accepts");
        let at = self.space.word(Key::Free(text.clone()), &text, 1, Nature::Free);
        if let Some(Bit::Var(var)) = self.space.bits_at(at).first() {
            making.steps.push(Step::Verdict(Verdict::Ask(*var)));
        }
        Some(Flow::End)
    }

    /// Takes TCP with SYN or ACK; a packet with neither goes on in the rule, one of another protocol does not match it
    /// (nft_synproxy.c, `nft_synproxy_do_eval`).
    pub(super) fn synproxy(&mut self, making: &mut Making<'_>) -> Flow {
        const TCP: u8 = 6;
        const SYN_OR_ACK: u8 = 0x12;
        if !matches!(self.space.kind(), Kind::Ip4 | Kind::Ip6) {
            return making.test(Test::never());
        }
        if let Flow::End = making.test(Test::equals(&self.space.protocol(), &[TCP])) {
            return Flow::End;
        }
        let flags = self.space.payload(Base::Transport, 13, 1);
        let neither = Test::masked(&flags, &[SYN_OR_ACK], &[0]);
        let taken = vec![Step::Verdict(Verdict::Taken)];
        let rest = self.rest(making.behind(Vec::new()));
        making.steps.push(Step::Branch(vec![(neither.clone().negated(), taken), (neither, rest)]));
        Flow::End
    }

    /// `fwd` takes the packet, whatever it is.
    pub(super) fn taken(&mut self, making: &mut Making<'_>) -> Flow {
        making.steps.push(Step::Verdict(Verdict::Taken));
        Flow::End
    }
}

/// A translation ends the rule: the packet is accepted.
fn translated(changed: Vec<(Var, Bit)>, making: &mut Making<'_>) -> Flow {
    if !changed.is_empty() {
        making.steps.push(Step::Translate(changed));
    }
    making.steps.push(Step::Verdict(Verdict::Accept));
    Flow::End
}
