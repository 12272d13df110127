//! The ways of packets: which hooks they meet, in which order, and which of their interfaces are known there.

use crate::model::{Family, TableKey};
use crate::traffic::program::{BaseChain, Chain, ChainId, ChainKind, Hook, Program};
use crate::traffic::space::Side;

/// `NF_IP_PRI_CONNTRACK`.
const CONNTRACK: i32 = -200;

/// A chain's place among those of its hook: nat chains share one, whatever their priority, which only orders them among
/// themselves (net/netfilter/nf_nat_core.c, `nf_nat_register_fn`; `NF_IP_PRI_NAT_DST`, `NF_IP_PRI_NAT_SRC`).
fn place(base: &BaseChain) -> i32 {
    match (base.kind, base.hook) {
        (ChainKind::Nat, Hook::Prerouting | Hook::Output) => -100,
        (ChainKind::Nat, Hook::Input | Hook::Postrouting) => 100,
        (ChainKind::Nat, Hook::Ingress | Hook::Forward | Hook::Egress)
        | (ChainKind::Filter | ChainKind::Route, _) => base.priority,
    }
}

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Path {
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Forward, Self::Output];

    /// The path of answers.
    pub fn back(self) -> Self {
        match self {
            Self::Input => Self::Output,
            Self::Forward => Self::Forward,
            Self::Output => Self::Input,
        }
    }

    /// As `trace --hook` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }
}

/// Which part of the network stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Layer {
    /// IP: families ip, ip6 and inet, after those of the device.
    Host,
    /// A bridge: family bridge, after those of the device.
    Bridge,
    /// ARP: family arp, after those of the device.
    Arp,
}

impl Layer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Host, Self::Bridge, Self::Arp];
}

/// A way through one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    /// The layer.
    pub layer: Layer,
    /// The path.
    pub path: Path,
}

impl Way {
    /// Through the IP layer.
    pub fn host(path: Path) -> Self {
        Self { layer: Layer::Host, path }
    }

    /// The hooks in the order in which packets meet them.
    pub fn hooks(self) -> &'static [Hook] {
        use Hook::{Egress, Forward, Ingress, Input, Output, Postrouting, Prerouting};
        match (self.layer, self.path) {
            (Layer::Host | Layer::Bridge, Path::Input) => &[Ingress, Prerouting, Input],
            (Layer::Host | Layer::Bridge, Path::Forward) => {
                &[Ingress, Prerouting, Forward, Postrouting, Egress]
            }
            (Layer::Host | Layer::Bridge, Path::Output) => &[Output, Postrouting, Egress],
            (Layer::Arp, Path::Input) => &[Ingress, Input],
            (Layer::Arp, Path::Output) => &[Output, Egress],
            (Layer::Arp, Path::Forward) => &[Forward],
        }
    }

    /// Whether packets on this way meet the chains of a table at a hook.
    pub fn meets(self, table: &TableKey, hook: Hook) -> bool {
        let at_device = matches!(hook, Hook::Ingress | Hook::Egress);
        match table.family {
            Family::Netdev => at_device,
            Family::Inet => self.layer == Layer::Host,
            Family::Ip | Family::Ip6 => self.layer == Layer::Host && !at_device,
            Family::Bridge => self.layer == Layer::Bridge,
            Family::Arp => self.layer == Layer::Arp && !at_device,
            Family::Unspec => false,
        }
    }

    /// The base chains at a hook, in the order in which packets meet them.
    pub fn bases(self, program: &Program, hook: Hook) -> Vec<ChainId> {
        let meets = |chain: &Chain| {
            chain.base.as_ref().is_some_and(|base| base.hook == hook) && self.meets(&chain.table, hook)
        };
        let mut bases: Vec<(i32, bool, i32, ChainId)> = program
            .chains()
            .filter(|(_, chain)| meets(chain))
            .filter_map(|(id, chain)| {
                let base = chain.base.as_ref()?;
                Some((place(base), base.kind == ChainKind::Nat, base.priority, id))
            })
            .collect();
        bases.sort_unstable();
        bases.into_iter().map(|(.., id)| id).collect()
    }

    /// Whether conntrack looks at packets only after they have met this chain.
    pub fn is_before_conntrack(self, base: &BaseChain) -> bool {
        self.layer == Layer::Host
            && match base.hook {
                Hook::Ingress => true,
                Hook::Prerouting | Hook::Output => place(base) < CONNTRACK,
                Hook::Input | Hook::Forward | Hook::Postrouting | Hook::Egress => false,
            }
    }

    /// Whether packets on this way have an interface of a side at all.
    pub fn has(self, side: Side) -> bool {
        match (self.path, side) {
            (Path::Input, Side::Out) | (Path::Output, Side::In) => false,
            (Path::Input, Side::In) | (Path::Output, Side::Out) | (Path::Forward, _) => true,
        }
    }

    /// Whether the interface of a side is known at a hook (`struct nf_hook_state`, net/ipv4/ip_output.c).
    pub fn knows(self, hook: Hook, side: Side) -> bool {
        match (hook, side) {
            (Hook::Ingress | Hook::Prerouting | Hook::Input, Side::In) => true,
            (Hook::Ingress | Hook::Prerouting | Hook::Input, Side::Out) => false,
            (Hook::Forward, _) => true,
            (Hook::Output | Hook::Egress, Side::In) => false,
            (Hook::Output | Hook::Egress | Hook::Postrouting, Side::Out) => true,
            (Hook::Postrouting, Side::In) => self.path == Path::Forward,
        }
    }
}
