//! What the bytes of a rule say beyond its steps: what it does besides deciding, which sets it asks.

use crate::model::{Name, Rule, Table};
use crate::netlink::Attrs;
use crate::netlink::nft::{expr, object};
use crate::normalise::expressions;

/// What a rule does besides deciding; the later ones matter more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Beside {
    /// Nothing.
    Nothing,
    /// It counts.
    Counts,
    /// Something that is missed without it: a log line, a mark, an element of a set. Also what is not known.
    Acts,
}

/// `NFTA_META_SREG`, `NFTA_CT_SREG`, `NFTA_PAYLOAD_SREG`.
const META_SREG: u16 = 3;
const CT_SREG: u16 = 4;
const PAYLOAD_SREG: u16 = 5;

/// What a rule does besides deciding.
pub fn beside(rule_attrs: &[u8]) -> Beside {
    expressions(rule_attrs).map(of_expression).max().unwrap_or(Beside::Nothing)
}

fn of_expression(expression: Attrs<'_>) -> Beside {
    let name = expression.find(expr::NAME).map(|name| name.string()).unwrap_or_default();
    let data = expression.find(expr::DATA).map_or(Attrs(&[]), |data| data.nested());
    let writes = |register| match data.find(register) {
        Some(_) => Beside::Acts,
        None => Beside::Nothing,
    };
    match name {
        b"cmp" | b"range" | b"bitwise" | b"byteorder" | b"lookup" | b"immediate" | b"fib" | b"rt"
        | b"socket" | b"osf" | b"hash" | b"numgen" | b"tunnel" | b"xfrm" | b"limit" | b"quota"
        | b"connlimit" | b"reject" | b"queue" => Beside::Nothing,
        b"meta" => writes(META_SREG),
        b"ct" => writes(CT_SREG),
        b"payload" => writes(PAYLOAD_SREG),
        b"exthdr" if data.find(expr::EXTHDR_DREG).is_some() => Beside::Nothing,
        b"counter" | b"last" => Beside::Counts,
        b"objref" => match data.find(expr::OBJREF_IMM_TYPE).and_then(|attr| attr.be32()) {
            Some(object::T_COUNTER) => Beside::Counts,
            Some(object::T_QUOTA | object::T_LIMIT | object::T_CONNLIMIT) => Beside::Nothing,
            _ => Beside::Acts,
        },
        b"match" => match data.find(expr::XT_NAME).map(|name| name.string()) {
            Some(b"recent" | b"quota" | b"hashlimit") | None => Beside::Acts,
            Some(_) => Beside::Nothing,
        },
        b"target" => match data.find(expr::XT_NAME).map(|name| name.string()) {
            Some(b"REJECT" | b"standard" | b"") => Beside::Nothing,
            _ => Beside::Acts,
        },
        _ => Beside::Acts,
    }
}

/// The sets and maps that a rule asks, as far as it asks whether something is in them.
fn asked_sets(rule_attrs: &[u8]) -> impl Iterator<Item = Name> {
    /// `NFTA_LOOKUP_FLAGS`, `NFT_LOOKUP_F_INV`.
    const FLAGS: u16 = 5;
    const INVERTED: u32 = 1;
    expressions(rule_attrs).filter_map(|expression| {
        let name = expression.find(expr::NAME)?.string();
        let data = expression.find(expr::DATA)?.nested();
        match name {
            b"lookup" => {
                let flags = data.find(FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
                let set = data.find(expr::LOOKUP_SET).filter(|_| flags & INVERTED == 0)?;
                Some(Name(set.string().to_vec()))
            }
            b"objref" => Some(Name(data.find(expr::OBJREF_SET_NAME)?.string().to_vec())),
            _ => None,
        }
    })
}

/// Whether a rule of iptables asks a set of ipset, or writes to one.
pub fn uses_ipset(rule_attrs: &[u8]) -> bool {
    expressions(rule_attrs).any(|expression| {
        let data = expression.find(expr::DATA).map_or(Attrs(&[]), |data| data.nested());
        data.find(expr::XT_NAME).is_some_and(|name| matches!(name.string(), b"set" | b"SET"))
    })
}

/// The named sets without elements in which a rule looks for a packet.
pub fn empty_sets(table: &Table, rule: &Rule) -> Vec<Name> {
    let is_empty = |name: &Name| table.sets.get(name).is_some_and(|set| set.elements.is_empty());
    asked_sets(&rule.attrs).filter(is_empty).collect()
}

/// Whether elements come and go by themselves.
pub fn is_filled(table: &Table, name: &Name) -> bool {
    use crate::netlink::nft::set::F_TIMEOUT;
    table.sets.get(name).is_some_and(|set| set.is_dynamic() || set.flags & F_TIMEOUT != 0)
}

/// Whether the verdict of a rule is `accept`.
pub fn accepts(rule: &Rule) -> bool {
    /// `NF_ACCEPT`.
    const ACCEPT: u32 = 1;
    expressions(&rule.attrs).any(|expression| {
        let data = expression.find(expr::DATA).and_then(|data| data.nested().find(expr::IMMEDIATE_DATA));
        let verdict = data.and_then(|data| data.nested().find(expr::DATA_VERDICT));
        let code = verdict.and_then(|verdict| verdict.nested().find(expr::VERDICT_CODE));
        expression.find(expr::NAME).is_some_and(|name| name.string() == b"immediate")
            && code.and_then(|code| code.be32()) == Some(ACCEPT)
    })
}
