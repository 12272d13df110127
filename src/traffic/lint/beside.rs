//! What a rule does besides deciding: to count, to log, to change a packet.

use crate::model::Name;
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
pub fn asked_sets(rule_attrs: &[u8]) -> impl Iterator<Item = Name> {
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
