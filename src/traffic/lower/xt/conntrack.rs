//! Matches of what connection tracking knows about a packet. Pure.
//!
//! A packet that is invalid or untracked has no connection, and fails most questions about one
//! (net/netfilter/xt_conntrack.c: `ct == NULL`).

use super::{Asked, Free, Info, any_bit, direction, has_connection, masked, masked32, number};
use crate::traffic::bdd::Bit;
use crate::traffic::space::Space;
use crate::traffic::space::asked::{CT_DST, CT_PROTO_DST, CT_PROTO_SRC, CT_PROTOCOL, CT_SRC};
use crate::traffic::test::Test;

/// `NFT_CT_STATUS`, `NFT_CT_EXPIRATION`, `NFT_CT_LABELS`.
const STATUS: u32 = 2;
const EXPIRATION: u32 = 5;
const LABELS: u32 = 13;
/// `IP_CT_DIR_*`.
const ORIGINAL: u8 = 0;
const REPLY: u8 = 1;
/// `IPS_SRC_NAT`, `IPS_DST_NAT`.
const SRC_NAT: u32 = 1 << 4;
const DST_NAT: u32 = 1 << 5;

/// `XT_CONNTRACK_*`, `struct xt_conntrack_mtinfo*`.
mod asks {
    pub const STATE: u16 = 1;
    pub const PROTO: u16 = 1 << 1;
    pub const STATUS: u16 = 1 << 6;
    pub const EXPIRES: u16 = 1 << 7;
    pub const DIRECTION: u16 = 1 << 12;
}

/// The state is one of those in `mask`, whose bits are `XT_CONNTRACK_STATE_*` or, without NAT, `XT_STATE_*`.
fn states(space: &Space, mask: u32, untracked: u32) -> Test {
    let bits = [("invalid", 1), ("established", 1 << 1), ("related", 1 << 2), ("new", 1 << 3)];
    let asked = bits.into_iter().chain([("untracked", untracked)]).filter(|(_, bit)| mask & bit != 0);
    Test::any(asked.filter_map(|(name, _)| Some(Test::bit(Bit::Var(space.state(name)?)))))
}

/// `struct xt_state_info`.
pub(super) fn state(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    Some(states(space, asked.info().u32(0)?, 1 << 6))
}

/// `struct xt_conntrack_mtinfo1`, `2` and `3`.
pub(super) fn conntrack(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const SNAT: u32 = 1 << 6;
    const DNAT: u32 = 1 << 7;
    const UNTRACKED: u32 = 1 << 8;
    let info = asked.info();
    let (flags, inverted) = (info.u16(146)?, info.u16(148)?);
    let (state_mask, status_mask) = match asked.revision {
        1 => (u32::from(info.u8(150)?), u32::from(info.u8(151)?)),
        2 | 3 => (u32::from(info.u16(150)?), u32::from(info.u16(152)?)),
        _ => return None,
    };
    let connection = has_connection(space);
    let rest = of_connection(space, asked, status_mask)?;
    if flags & asks::STATE == 0 {
        return Some(Test::all([connection, rest]));
    }
    let status = space.ct(STATUS, None)?;
    let nat =
        if state_mask & SNAT != 0 { SRC_NAT } else { 0 } | if state_mask & DNAT != 0 { DST_NAT } else { 0 };
    let translated = Test::all([connection.clone(), any_bit(&status, nat)]);
    let state = Test::any([states(space, state_mask, UNTRACKED), translated]);
    let state = state.inverted_if(inverted & asks::STATE != 0);
    // Without a connection, nothing else is looked at.
    let rest = if rest.is_always() { rest } else { Test::any([connection.negated(), rest]) };
    Some(Test::all([state, rest]))
}

/// All but the state.
fn of_connection(space: &mut Space, asked: &Asked<'_>, status_mask: u32) -> Option<Test> {
    let info = asked.info();
    let (flags, inverted) = (info.u16(146)?, info.u16(148)?);
    let mut tests = Vec::new();
    let mut put = |bit: u16, test: Test| {
        if flags & bit != 0 {
            tests.push(test.inverted_if(inverted & bit != 0));
        }
    };
    if flags & asks::DIRECTION != 0 {
        put(asks::DIRECTION, number(&direction(space), 0, 0));
    }
    for (place, (key, way)) in
        [(CT_SRC, ORIGINAL), (CT_DST, ORIGINAL), (CT_SRC, REPLY), (CT_DST, REPLY)].into_iter().enumerate()
    {
        let bit = 1 << (2 + place);
        if flags & bit != 0 {
            put(bit, address(space, info, 32 * place, key, way)?);
        }
    }
    if flags & asks::PROTO != 0 {
        let protocol = u64::from(info.u16(136)?);
        put(asks::PROTO, number(&space.ct(CT_PROTOCOL, None)?, protocol, protocol));
    }
    let ends =
        [(CT_PROTO_SRC, ORIGINAL), (CT_PROTO_DST, ORIGINAL), (CT_PROTO_SRC, REPLY), (CT_PROTO_DST, REPLY)];
    for (place, (key, way)) in ends.into_iter().enumerate() {
        let bit = 1 << (8 + place);
        if flags & bit != 0 {
            let word = space.ct(key, Some(way))?;
            let (low, high) = match asked.revision {
                3 => (info.u16(138 + 2 * place)?, info.u16(154 + 2 * place)?),
                _ => (info.be16(138 + 2 * place)?, info.be16(138 + 2 * place)?),
            };
            put(bit, number(&word, low.into(), high.into()));
        }
    }
    if flags & asks::STATUS != 0 {
        put(asks::STATUS, any_bit(&space.ct(STATUS, None)?, status_mask));
    }
    if flags & asks::EXPIRES != 0 {
        // Seconds here, milliseconds in nf_tables.
        let (low, high) = (u64::from(info.u32(128)?), u64::from(info.u32(132)?));
        put(asks::EXPIRES, number(&space.ct(EXPIRATION, None)?, low * 1000, high * 1000 + 999));
    }
    Some(Test::all(tests))
}

/// An address and, 16 bytes behind it, its mask.
fn address(space: &mut Space, info: Info<'_>, at: usize, key: u32, way: u8) -> Option<Test> {
    let length = space.kind().address_length()?;
    let word = space.ct(key, Some(way))?;
    let (value, mask) = (info.bytes(at, length)?, info.bytes(at + 16, length)?);
    Some(match length {
        4 => masked(&word, mask, value),
        // ipv6_masked_addr_cmp looks at no bit of either beside the mask.
        _ => Test::masked(&word, mask, value),
    })
}

/// `struct xt_connmark_mtinfo1`.
pub(super) fn connmark(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    if asked.revision != 1 {
        return None;
    }
    let info = asked.info();
    let test = masked32(&space.ct_mark(), info.u32(4)?, info.u32(0)?).inverted_if(info.u8(8)? != 0);
    Some(Test::all([has_connection(space), test]))
}

/// `struct xt_connlabel_mtinfo`.
pub(super) fn connlabel(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    const INVERT: u16 = 1;
    const SET: u16 = 2;
    let info = asked.info();
    let (bit, options) = (usize::from(info.u16(0)?), info.u16(2)?);
    let labels = space.ct(LABELS, None)?;
    let test = match labels.len().checked_sub(1 + bit) {
        // It sets the label, which does not fail where the rule could be loaded.
        Some(_) if options & SET != 0 => Test::ALWAYS,
        Some(at) => Test::bit(labels[at]),
        None => return None,
    };
    Some(Test::all([has_connection(space), test]).inverted_if(options & INVERT != 0))
}

/// `struct xt_connbytes_info`.
pub(super) fn connbytes(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let (from, to) = (info.u64(0)?, info.u64(8)?);
    let what = ["packets", "bytes", "avgpkt"].get(usize::from(info.u8(16)?))?;
    let way = ["original", "reply", "both"].get(usize::from(info.u8(17)?))?;
    // An inverted range has its ends swapped.
    let (low, high) = (from.min(to), from.max(to));
    let text = format!("connbytes {low}:{high} --connbytes-mode {what} --connbytes-dir {way}");
    let test = Free { text, inverted: from > to, own: false }.test(space, asked);
    Some(Test::all([has_connection(space), test]))
}
