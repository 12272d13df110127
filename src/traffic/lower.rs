//! A ruleset's bytes as a [`Program`] for one kind of packet.
//!
//! Input: a [`Ruleset`] whose tables are all in nf_tables' form (those of iptables-legacy have been loaded through
//! iptables-nft); output: chains with their hooks, rules as steps. Nothing is skipped: an expression that is not known
//! becomes a free variable. The machine is that of net/netfilter/nf_tables_core.c.

mod act;
mod ask;
mod compare;
pub mod coverage;
mod load;
mod machine;
mod outside;
mod rule;
mod sets;
mod stateful;
mod xt;

use super::program::{BaseChain, Chain, ChainId, ChainKind, Hook, Program, Rule, Step};
use super::space::{Kind, NamePattern, Space};
use super::test::Test;
use crate::model::{self, Backend, Digest, Family, Name, Ruleset, Table, TableKey};
use crate::netlink::nft::{chain, table};
use crate::netlink::{Attr, Attrs};
pub use outside::Outside;
use rule::{Lowering, Sharing};
use std::collections::HashMap;
use std::sync::Arc;

/// `NFT_TABLE_F_DORMANT`: none of its chains is hooked.
const DORMANT: u32 = 1;
/// `NF_ACCEPT`.
const ACCEPT: u32 = 1;

/// Whether packets of a kind can meet the tables of a family.
pub fn meets(kind: Kind, family: Family) -> bool {
    match family {
        Family::Inet => matches!(kind, Kind::Ip4 | Kind::Ip6),
        Family::Ip => kind == Kind::Ip4,
        Family::Ip6 => kind == Kind::Ip6,
        Family::Arp => kind == Kind::Arp,
        Family::Bridge | Family::Netdev => true,
        Family::Unspec => false,
    }
}

/// What two rulesets that are compared have in common: numbers of chains, and rules that mean the same in both.
#[derive(Default)]
pub struct Common {
    ids: HashMap<(TableKey, Name), ChainId>,
    rules: HashMap<(ChainId, Digest), (Arc<Rule>, Sharing)>,
    /// Rules about other packets than these are left out.
    outside: Option<Outside>,
    /// What stands for these.
    never: Arc<Rule>,
}

impl Common {
    /// For a question that is only about some packets.
    pub fn about(outside: Option<Outside>) -> Self {
        let never = Arc::new(Rule { steps: vec![Step::Test(Test::never())] });
        Self { outside, never, ..Self::default() }
    }

    /// The number of a chain, in both rulesets.
    pub fn id(&mut self, table: &TableKey, chain: &Name) -> ChainId {
        let next = self.ids.len();
        *self.ids.entry((table.clone(), chain.clone())).or_insert(next)
    }

    /// The name of a chain by its number.
    pub fn name(&self, id: ChainId) -> Option<&Name> {
        self.ids.iter().find(|(_, known)| **known == id).map(|((_, name), _)| name)
    }

    /// The number of a chain, if one of the rulesets has it.
    pub fn known_id(&self, table: &TableKey, chain: &Name) -> Option<ChainId> {
        self.ids.get(&(table.clone(), chain.clone())).copied()
    }
}

/// Lowers a whole ruleset for the packets of the space's kind. `other` is the ruleset that it is compared with, if
/// that has been lowered with the same `common`.
pub fn lower(ruleset: &Ruleset, other: Option<&Ruleset>, space: &mut Space, common: &mut Common) -> Program {
    let kind = space.kind();
    let tables = ruleset.tables.iter().filter(|(key, _)| {
        matches!(key.backend, Backend::NfTables | Backend::Legacy) && meets(kind, key.family)
    });
    let mut program = Program::default();
    for (key, table) in tables {
        let twin = other.and_then(|other| other.tables.get(key));
        let same_sets = twin.is_some_and(|twin| twin.sets == table.sets && twin.objects == table.objects)
            && same_ipsets(ruleset, other);
        let mut sets = sets::Sets::default();
        common.rules.reserve(table.rule_count().saturating_sub(common.rules.len()));
        let all = table.chains.iter().chain(&table.anonymous.chains);
        for (name, chain) in all {
            let id = common.id(key, name);
            let base = base_chain(table, chain, key.family);
            for device in base.iter().flat_map(|base| &base.devices) {
                space.ask_interface(&NamePattern::exact(device));
            }
            let mut lowering = Lowering { space, ruleset, key, table, chain: name, common, sets: &mut sets };
            let rules = chain.rules.iter().map(|rule| lowering.shared(id, rule, same_sets)).collect();
            program.put(id, Chain { table: key.clone(), name: name.clone(), base, rules });
        }
    }
    program
}

fn same_ipsets(ruleset: &Ruleset, other: Option<&Ruleset>) -> bool {
    let key = TableKey::of_all(Backend::Ipset);
    other.is_some_and(|other| other.tables.get(&key) == ruleset.tables.get(&key))
}

/// Where a chain is hooked; none if packets enter it only by jumps.
fn base_chain(table: &Table, chain: &model::Chain, family: Family) -> Option<BaseChain> {
    let flags = Attrs(&table.attrs).find(table::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
    let attrs = Attrs(&chain.attrs);
    let hooked = attrs.find(chain::HOOK).filter(|_| flags & DORMANT == 0)?.nested();
    let number = hooked.find(chain::HOOK_NUM).and_then(|attr| attr.be32())?;
    let priority = hooked.find(chain::HOOK_PRIORITY).and_then(|attr| attr.be32())?.cast_signed();
    let kind = match attrs.find(chain::TYPE).map(|attr| attr.string()) {
        Some(b"nat") => ChainKind::Nat,
        Some(b"route") => ChainKind::Route,
        _ => ChainKind::Filter,
    };
    let accepts = attrs.find(chain::POLICY).and_then(|attr| attr.be32()).is_none_or(|code| code == ACCEPT);
    let name = |attr: Attr<'_>| attr.string().to_vec();
    let mut devices: Vec<Vec<u8>> = hooked.find(chain::HOOK_DEV).map(name).into_iter().collect();
    if let Some(list) = hooked.find(chain::HOOK_DEVS) {
        devices.extend(list.nested().flatten().map(name));
    }
    Some(BaseChain { hook: hook(family, number)?, priority, kind, accepts, devices })
}

/// `enum nf_inet_hooks`, `NF_BR_*`, `NF_ARP_*`, `enum nf_dev_hooks`.
fn hook(family: Family, number: u32) -> Option<Hook> {
    match family {
        Family::Inet | Family::Ip | Family::Ip6 | Family::Bridge => match number {
            0 => Some(Hook::Prerouting),
            1 => Some(Hook::Input),
            2 => Some(Hook::Forward),
            3 => Some(Hook::Output),
            4 => Some(Hook::Postrouting),
            // Of a bridge, NF_BR_BROUTING: before the bridge has a say.
            5 => Some(Hook::Ingress),
            _ => None,
        },
        Family::Arp => match number {
            0 => Some(Hook::Input),
            1 => Some(Hook::Output),
            2 => Some(Hook::Forward),
            _ => None,
        },
        Family::Netdev => match number {
            0 => Some(Hook::Ingress),
            1 => Some(Hook::Egress),
            _ => None,
        },
        Family::Unspec => None,
    }
}

/// Whether a rule can do anything at all to packets of a kind: one that asks for an IPv4 address in a table of `inet` does
/// nothing to IPv6.
pub fn can_match(ruleset: &Ruleset, key: &TableKey, chain: &Name, place: usize, kind: Kind) -> bool {
    let Some(table) = ruleset.tables.get(key) else { return false };
    let chains = [table.chains.get(chain), table.anonymous.chains.get(chain)];
    let rule = chains.into_iter().flatten().next().and_then(|chain| chain.rules.get(place));
    let (mut space, mut common, mut sets) = (Space::new(kind), Common::default(), sets::Sets::default());
    let (space, common, sets) = (&mut space, &mut common, &mut sets);
    let mut lowering = Lowering { space, ruleset, key, table, chain, common, sets };
    let lowered = rule.map(|rule| lowering.rule(&rule.attrs));
    lowered.is_some_and(|rule| {
        let never = |step: &Step| matches!(step, Step::Test(test) if test.is_never());
        let acts = |step: &Step| matches!(step, Step::Set(_) | Step::Translate(_) | Step::Verdict(_));
        let first = rule.steps.iter().find(|step| never(step) || acts(step));
        !rule.steps.is_empty() && first.is_none_or(|step| !never(step))
    })
}

/// Whether a rule asks a set of ipset, by itself or through a list that names it.
pub fn names_ipset(attrs: &[u8], name: &Name, ruleset: &Ruleset) -> bool {
    xt::uses_set(attrs) && xt::names_set(attrs, name, ruleset)
}
