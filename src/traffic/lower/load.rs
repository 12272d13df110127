//! Expressions that put something about the packet into a register: `payload`, `meta`, `ct`, `fib`, and those whose
//! value is not in the packet.

use super::machine::{Cell, bits, host_order, wire_order};
use super::rule::{Flow, Lowering, Making};
use crate::model::Family;
use crate::netlink::Attrs;
use crate::traffic::bdd::Bit;
use crate::traffic::program::{Hook, Step};
use crate::traffic::space::{Base, Key, Kind, NamePattern, Nature, STATES, Side};
use crate::traffic::test::Test;

/// A user or group that nobody is: here, a packet without a socket.
const NO_SOCKET: [u8; 4] = [0xff; 4];
/// Bytes of a name of an interface (`IFNAMSIZ`).
const NAME_LENGTH: u8 = 16;

/// `enum nft_payload_attributes`.
mod payload {
    pub const DREG: u16 = 1;
    pub const BASE: u16 = 2;
    pub const OFFSET: u16 = 3;
    pub const LEN: u16 = 4;
    pub const SREG: u16 = 5;
}

/// `enum nft_meta_attributes`, `enum nft_ct_attributes`, and those of `fib`, `exthdr` and others that share places.
mod attr {
    pub const DREG: u16 = 1;
    pub const KEY: u16 = 2;
    pub const META_SREG: u16 = 3;
    pub const CT_DIRECTION: u16 = 3;
    pub const CT_SREG: u16 = 4;
    pub const FIB_RESULT: u16 = 2;
    pub const FIB_FLAGS: u16 = 3;
    pub const EXTHDR_TYPE: u16 = 2;
    pub const EXTHDR_OFFSET: u16 = 3;
    pub const EXTHDR_LEN: u16 = 4;
    pub const EXTHDR_FLAGS: u16 = 5;
    pub const EXTHDR_OP: u16 = 6;
    pub const EXTHDR_SREG: u16 = 7;
}

/// `NFT_META_*` keys with a meaning of their own here.
mod meta {
    pub const PROTOCOL: u32 = 1;
    pub const IIF: u32 = 4;
    pub const OIF: u32 = 5;
    pub const IIFNAME: u32 = 6;
    pub const OIFNAME: u32 = 7;
    pub const IIFTYPE: u32 = 8;
    pub const OIFTYPE: u32 = 9;
    pub const SKUID: u32 = 10;
    pub const SKGID: u32 = 11;
    pub const IIFGROUP: u32 = 21;
    pub const OIFGROUP: u32 = 22;
    pub const NFPROTO: u32 = 15;
    pub const L4PROTO: u32 = 16;
    pub const BRI_IIFNAME: u32 = 17;
    pub const BRI_OIFNAME: u32 = 18;
    pub const NFTRACE: u32 = 12;
    pub const PRANDOM: u32 = 24;
    pub const IIFKIND: u32 = 26;
    pub const OIFKIND: u32 = 27;
    pub const BRI_IIFVPROTO: u32 = 29;
    pub const SDIF: u32 = 33;
    pub const SDIFNAME: u32 = 34;
}

/// `NFT_CT_*` keys with a meaning of their own here.
mod ct {
    pub const STATE: u32 = 0;
    pub const DIRECTION: u32 = 1;
    pub const HELPER: u32 = 6;
    pub const L3PROTOCOL: u32 = 7;
    pub const PROTOCOL: u32 = 10;
    pub const PKTS: u32 = 14;
    pub const AVGPKT: u32 = 16;
    pub const PROTO_SRC: u32 = 11;
    pub const PROTO_DST: u32 = 12;
    pub const LABELS: u32 = 13;
    pub const SRC_IP: u32 = 19;
    pub const DST_IP: u32 = 20;
    pub const SRC_IP6: u32 = 21;
    pub const DST_IP6: u32 = 22;
}

impl Lowering<'_> {
    pub(super) fn payload(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let number = |kind| data.find(kind)?.be32();
        let base = match number(payload::BASE)? {
            0 => Base::Link,
            1 => Base::Network,
            2 => Base::Transport,
            3 => Base::Inner,
            _ => return None,
        };
        let (offset, length) = (number(payload::OFFSET)?, number(payload::LEN)?);
        if length == 0 || length > 64 || offset > 1 << 12 {
            return None;
        }
        let bits_there = self.space.payload(base, offset, length);
        if let Some(source) = number(payload::SREG) {
            let value = bits(making.registers.load(source, length as usize)?)?;
            making.steps.extend(set(&bits_there, &value));
            return Some(Flow::On);
        }
        making.registers.store(number(payload::DREG)?, &wire_order(&bits_there))?;
        Some(self.has_transport(base, making))
    }

    /// The transport header of a packet that has none cannot be read, and the rule does not match
    /// (nft_payload.c: `NFT_PKTINFO_L4PROTO`, `fragoff`).
    fn has_transport(&mut self, base: Base, making: &mut Making<'_>) -> Flow {
        match (base, self.space.kind()) {
            (Base::Transport | Base::Inner, Kind::Arp | Kind::Other) => making.test(Test::never()),
            // A packet that is sent has no link header before it leaves (nft_payload.c, `skb_mac_header_was_set`).
            (Base::Link, _) => match self.key.family {
                Family::Inet | Family::Ip | Family::Ip6 => making.test(exists(Side::In)),
                Family::Arp | Family::Bridge | Family::Netdev | Family::Unspec => Flow::On,
            },
            (Base::Network, _) => Flow::On,
            (Base::Transport | Base::Inner, Kind::Ip4 | Kind::Ip6) => {
                // Only where a rule tells fragments apart: all others see whole packets.
                let Some(word) = self.space.find(&Key::Header(Base::Network, 51)) else { return Flow::On };
                if self.space.kind() == Kind::Ip6 {
                    return Flow::On;
                }
                let first = (word.start..word.start + word.width).map(|var| (var, false)).collect();
                making.test(Test::Cube(first))
            }
        }
    }

    pub(super) fn meta(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let key = data.find(attr::KEY)?.be32()?;
        if let Some(source) = data.find(attr::META_SREG).and_then(|attr| attr.be32()) {
            return self.set_meta(key, source, making);
        }
        let target = data.find(attr::DREG)?.be32()?;
        if key == meta::IIFTYPE {
            return self.type_of_device(target, making);
        }
        let names = |side| (0..NAME_LENGTH).map(|at| Cell::Name(side, at)).collect();
        let index = |side| (0..4).map(|at| Cell::Index(side, at)).collect();
        let cells: Vec<Cell> = match key {
            meta::IIFNAME => names(Side::In),
            meta::OIFNAME => names(Side::Out),
            meta::IIF => index(Side::In),
            meta::OIF => index(Side::Out),
            meta::NFPROTO => vec![Cell::constant(self.nfproto())],
            meta::L4PROTO => self.l4proto(making)?,
            meta::PROTOCOL => {
                let bits = self.space.payload(Base::Link, 12, 2);
                wire_order(&bits)
            }
            meta::NFTRACE => return None,
            meta::BRI_IIFNAME => wire_order(&self.space.free("meta ibrname", 128)),
            meta::BRI_OIFNAME => wire_order(&self.space.free("meta obrname", 128)),
            meta::IIFKIND => wire_order(&self.space.free("meta iifkind", 128)),
            meta::OIFKIND => wire_order(&self.space.free("meta oifkind", 128)),
            meta::BRI_IIFVPROTO => wire_order(&self.space.free("meta ibrvproto", 16)),
            meta::SDIF => host_order(&self.space.free("meta sdif", 32)),
            meta::SDIFNAME => wire_order(&self.space.free("meta sdifname", 128)),
            meta::PRANDOM => {
                let text = format!("meta random ({})", self.place(making));
                host_order(&self.space.free(&text, 32))
            }
            key => host_order(&self.space.meta(key)?),
        };
        making.registers.store(target, &cells)?;
        Some(match (key, self.space.kind()) {
            // What has no such protocol breaks the rule (nft_meta.c, `NFT_META_L4PROTO`).
            (meta::L4PROTO, Kind::Arp | Kind::Other) => making.test(Test::never()),
            // So does what has no such interface (`nft_meta_store_ifgroup`).
            (meta::IIFGROUP, _) => making.test(exists(Side::In)),
            (meta::OIFTYPE | meta::OIFGROUP, _) => making.test(exists(Side::Out)),
            // And what has no socket: a packet on its way through, and what the largest number stands for.
            (meta::SKUID | meta::SKGID, _) => {
                let word = self.space.meta(key)?;
                let is_through = Test::all([exists(Side::In), exists(Side::Out)]);
                making.test(Test::all([Test::equals(&word, &NO_SOCKET).negated(), is_through.negated()]))
            }
            _ => Flow::On,
        })
    }

    /// `meta iiftype`: the kernel asks the packet's device (nft_meta.c, `nft_meta_store_iftype`), which is the outgoing one
    /// from postrouting on; at output some packets have none yet, and break the rule.
    fn type_of_device(&mut self, target: u32, making: &mut Making<'_>) -> Option<Flow> {
        const LEAVING: &[Hook] = &[Hook::Postrouting, Hook::Egress];
        const SENT: &[Hook] = &[Hook::Output];
        let mut branches = Vec::new();
        let has_device = Test::free(self.space, "a packet that is sent has a device");
        let coming = Test::all([exists(Side::In), Test::Hook(LEAVING).negated(), Test::Hook(SENT).negated()]);
        for (test, key) in [
            (coming, meta::IIFTYPE),
            (Test::Hook(LEAVING), meta::OIFTYPE),
            (Test::all([Test::Hook(SENT), has_device]), meta::OIFTYPE),
        ] {
            let mut rest = making.behind(Vec::new());
            rest.registers.store(target, &host_order(&self.space.meta(key)?))?;
            branches.push((test, self.rest(rest)));
        }
        making.steps.push(Step::Branch(branches));
        Some(Flow::End)
    }

    fn l4proto(&mut self, _making: &mut Making<'_>) -> Option<Vec<Cell>> {
        Some(match self.space.kind() {
            Kind::Ip4 | Kind::Ip6 => wire_order(&self.space.protocol()),
            Kind::Arp | Kind::Other => vec![Cell::constant(0)],
        })
    }

    fn nfproto(&self) -> u8 {
        match (self.key.family, self.space.kind()) {
            (Family::Inet, Kind::Ip6) => Family::Ip6.number(),
            (Family::Inet, _) => Family::Ip.number(),
            (family, _) => family.number(),
        }
    }

    fn set_meta(&mut self, key: u32, source: u32, making: &mut Making<'_>) -> Option<Flow> {
        // Tracing does nothing to the packet.
        if key == meta::NFTRACE {
            return Some(Flow::On);
        }
        let target = self.space.meta(key)?;
        let value = making.registers.load(source, target.len() / 8)?.to_vec();
        making.steps.extend(set(&target, &from_host(value)?));
        Some(Flow::On)
    }

    pub(super) fn ct(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let key = data.find(attr::KEY)?.be32()?;
        if let Some(source) = data.find(attr::CT_SREG).and_then(|attr| attr.be32()) {
            return self.set_ct(key, source, making);
        }
        let direction = data.find(attr::CT_DIRECTION).and_then(|attr| attr.payload.first().copied());
        let target = data.find(attr::DREG)?.be32()?;
        // All but the state breaks the rule where there is no connection (nft_ct.c, `nft_ct_get_eval`).
        // So do addresses of the other family.
        let exists = match (key, self.space.kind()) {
            (ct::STATE, _) => Test::ALWAYS,
            (ct::SRC_IP | ct::DST_IP, Kind::Ip6) | (ct::SRC_IP6 | ct::DST_IP6, Kind::Ip4) => Test::never(),
            _ => self.has_connection(),
        };
        let cells = match key {
            ct::STATE => host_order(&self.state_bits()),
            ct::DIRECTION => {
                wire_order(&self.space.bits(Key::Direction, "ct direction", 1, Nature::Modelled))
            }
            ct::L3PROTOCOL => vec![Cell::constant(match self.space.kind() {
                Kind::Ip6 => Family::Ip6.number(),
                _ => Family::Ip.number(),
            })],
            ct::PROTOCOL => wire_order(&self.space.ct(key, None)?),
            ct::HELPER => wire_order(&self.space.free("ct helper", 128)),
            ct::PKTS..=ct::AVGPKT => {
                let what = ["packets", "bytes", "avgpkt"][(key - ct::PKTS) as usize];
                let way = ["original ", "reply "].get(direction.map_or(2, usize::from)).unwrap_or(&"");
                host_order(&self.space.free(&format!("ct {way}{what}"), 64))
            }
            ct::PROTO_SRC | ct::PROTO_DST => wire_order(&self.space.ct(key, direction)?),
            8 | 9 | 19..=22 => wire_order(&self.space.ct(key, direction)?),
            key => host_order(&self.space.ct(key, direction)?),
        };
        making.registers.store(target, &cells)?;
        Some(making.test(exists))
    }

    /// The packet is neither invalid nor untracked.
    pub(super) fn has_connection(&self) -> Test {
        let none = ["invalid", "untracked"].iter();
        Test::Cube(none.filter_map(|name| Some((self.space.state(name)?, false))).collect())
    }

    /// The register that `ct state` loads: one bit for each state.
    pub(super) fn state_bits(&self) -> Vec<Bit> {
        let mut bits = vec![Bit::Const(false); 32];
        for (name, number) in STATES {
            if let Some(var) = self.space.state(name) {
                bits[31 - number as usize] = Bit::Var(var);
            }
        }
        bits
    }

    fn set_ct(&mut self, key: u32, source: u32, making: &mut Making<'_>) -> Option<Flow> {
        if key == ct::LABELS {
            return Some(Flow::On);
        }
        let target = self.space.ct(key, None)?;
        let value = making.registers.load(source, target.len() / 8)?.to_vec();
        making.steps.extend(set(&target, &from_host(value)?));
        Some(Flow::On)
    }

    pub(super) fn fib(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        const RESULT_OIF: u32 = 1;
        const RESULT_OIFNAME: u32 = 2;
        const RESULT_ADDRTYPE: u32 = 3;
        const F_PRESENT: u32 = 1 << 5;
        let flags = data.find(attr::FIB_FLAGS)?.be32()?;
        let asked: Vec<&str> = ["saddr", "daddr", "mark", "iif", "oif"]
            .into_iter()
            .enumerate()
            .filter(|(at, _)| flags & 1 << at != 0)
            .map(|(_, name)| name)
            .collect();
        let asked = asked.join(" . ");
        let cells = match data.find(attr::FIB_RESULT)?.be32()? {
            RESULT_OIF | RESULT_OIFNAME if flags & F_PRESENT != 0 => {
                wire_order(&self.space.free(&format!("fib {asked} oif exists"), 1))
            }
            RESULT_OIF => host_order(&self.space.free(&format!("fib {asked} oif"), 32)),
            RESULT_OIFNAME => wire_order(&self.space.free(&format!("fib {asked} oifname"), 128)),
            RESULT_ADDRTYPE => host_order(&self.space.fib_type(&asked)),
            _ => return None,
        };
        making.registers.store(data.find(attr::DREG)?.be32()?, &cells)?;
        Some(Flow::On)
    }

    pub(super) fn exthdr(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        const F_PRESENT: u32 = 1;
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        // Writing to an option decides nothing.
        if number(attr::EXTHDR_SREG).is_some() {
            return Some(Flow::On);
        }
        let target = number(attr::DREG);
        let kind = *data.find(attr::EXTHDR_TYPE)?.payload.first()?;
        let header = match number(attr::EXTHDR_OP).unwrap_or(0) {
            0 => format!("exthdr {kind}"),
            1 => format!("tcp option {kind}"),
            2 => format!("ip option {kind}"),
            3 => format!("sctp chunk {kind}"),
            4 => format!("dccp option {kind}"),
            _ => return None,
        };
        // Without a register, an option is taken out: that decides nothing either.
        let Some(target) = target else { return Some(Flow::On) };
        let exists = self.space.free(&format!("{header} exists"), 1);
        if number(attr::EXTHDR_FLAGS).unwrap_or(0) & F_PRESENT != 0 {
            making.registers.store(target, &wire_order(&exists))?;
            return Some(Flow::On);
        }
        let (offset, length) = (number(attr::EXTHDR_OFFSET)?, number(attr::EXTHDR_LEN)?);
        let text = format!("{header} @{},{}", offset * 8, length * 8);
        let value = self.space.free(&text, 8 * length.min(16));
        making.registers.store(target, &wire_order(&value))?;
        Some(making.test(Test::all(exists.into_iter().map(Test::bit))))
    }
}

/// The packet has an interface of this side, and that is known where the rule is.
fn exists(side: Side) -> Test {
    Test::Interface(side, NamePattern::exact(b"")).negated()
}

/// Bits that are written over others.
pub(super) fn set(target: &[Bit], value: &[Bit]) -> Option<Step> {
    let changed: Vec<_> = target
        .iter()
        .zip(value)
        .filter_map(|(target, value)| match target {
            Bit::Var(var) if *value != Bit::Var(*var) => Some((*var, *value)),
            Bit::Var(_) | Bit::NotVar(_) | Bit::Const(_) => None,
        })
        .collect();
    (!changed.is_empty()).then_some(Step::Set(changed))
}

/// The bits of a number that a register holds in the host's byte order, most significant first.
pub(super) fn from_host(mut cells: Vec<Cell>) -> Option<Vec<Bit>> {
    if cfg!(target_endian = "little") {
        cells.reverse();
    }
    bits(&cells)
}
