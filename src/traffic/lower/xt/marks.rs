//! Targets that write to a packet or to its marks, and those that hand it on. Pure.

use super::{
    Asked, assign, constant, has_connection, hops_field, masked, replaced, service_field, short_digest,
};
use crate::traffic::bdd::Bit;
use crate::traffic::program::{Step, Verdict};
use crate::traffic::space::{Base, STATES, Space};
use crate::traffic::test::Test;

/// `NFT_META_PRIORITY`.
const PRIORITY: u32 = 2;

/// `struct xt_mark_tginfo2`.
pub(super) fn mark(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    if asked.revision != 2 {
        return None;
    }
    let mark = space.mark();
    Some(assign(&mark, &replaced(&mark, info.u32(4)?, info.u32(0)?)))
}

/// `struct xt_connmark_tginfo1`, `struct xt_connmark_tginfo2`.
pub(super) fn connmark(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let (value, ct_mask, packet_mask) = (info.u32(0)?, info.u32(4)?, info.u32(8)?);
    let (right, by, mode) = match asked.revision {
        1 => (false, 0, info.u8(12)?),
        2 => (info.u8(12)? == 1, usize::from(info.u8(13)?), info.u8(14)?),
        _ => return None,
    };
    let (of_packet, of_connection) = (space.mark(), space.ct_mark());
    let steps = match mode {
        0 => assign(&of_connection, &shifted(&replaced(&of_connection, ct_mask, value), right, by)),
        1 => {
            let source = shifted(&replaced(&of_packet, !packet_mask, 0), right, by);
            let new = combined(space, asked, &replaced(&of_connection, ct_mask, 0), &source);
            assign(&of_connection, &new)
        }
        2 => {
            let source = shifted(&replaced(&of_connection, !ct_mask, 0), right, by);
            let new = combined(space, asked, &replaced(&of_packet, packet_mask, 0), &source);
            assign(&of_packet, &new)
        }
        _ => return None,
    };
    if steps.is_empty() {
        return Some(steps);
    }
    Some(vec![Step::Branch(vec![(has_connection(space), steps)])])
}

/// A number shifted by bits.
fn shifted(word: &[Bit], right: bool, by: usize) -> Vec<Bit> {
    let by = by.min(word.len());
    let zeros = vec![Bit::Const(false); by];
    if right { [&zeros[..], &word[..word.len() - by]].concat() } else { [&word[by..], &zeros].concat() }
}

/// Two words combined by exclusive or; bits that depend on two variables are free.
fn combined(space: &mut Space, asked: &Asked<'_>, one: &[Bit], other: &[Bit]) -> Vec<Bit> {
    let mut free: Option<Vec<Bit>> = None;
    let mut bits = Vec::with_capacity(one.len());
    for (at, (one, other)) in one.iter().zip(other).enumerate() {
        bits.push(match (*one, *other) {
            (bit, Bit::Const(false)) | (Bit::Const(false), bit) => bit,
            (bit, Bit::Const(true)) | (Bit::Const(true), bit) => super::opposite(bit),
            _ => free.get_or_insert_with(|| space.free(&asked.own("marks combined"), 32))[at],
        });
    }
    bits
}

/// `struct xt_hmark_info`: a hash.
pub(super) fn hmark(space: &mut Space, asked: &Asked<'_>) -> Vec<Step> {
    let mark = space.mark();
    let hash = space.free(&format!("mark of HMARK #{}", short_digest(asked.info)), 32);
    assign(&mark, &hash)
}

/// `struct xt_classify_target_info`.
pub(super) fn classify(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let priority = space.meta(PRIORITY)?;
    Some(assign(&priority, &constant(&asked.info().u32(0)?.to_be_bytes())))
}

/// `struct xt_DSCP_info`, `struct xt_tos_target_info`.
pub(super) fn service(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let (value, mask) = match (asked.name, asked.revision) {
        (b"DSCP", 0) => (info.u8(0)? << 2, 0xfc),
        (b"TOS", 1) => (info.u8(0)?, info.u8(1)?),
        _ => return None,
    };
    let field = service_field(space)?;
    Some(assign(&field, &replaced(&field, mask.into(), value.into())))
}

/// `struct ipt_TTL_info`, `struct ip6t_HL_info`.
pub(super) fn hops(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let (mode, value) = (info.u8(0)?, info.u8(1)?);
    let field = hops_field(space)?;
    let new = match mode {
        0 => constant(&[value]),
        1 => space.free(&format!("ttl, increased by {value}"), 8),
        2 => space.free(&format!("ttl, decreased by {value}"), 8),
        _ => return None,
    };
    Some(assign(&field, &new))
}

/// `struct ipt_ECN_info`.
pub(super) fn ecn(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let (what, tcp) = (info.u8(0)?, info.u8(2)?);
    let mut steps = Vec::new();
    if what & 1 != 0 {
        let field = service_field(space)?;
        steps.extend(assign(&field, &replaced(&field, 3, u32::from(info.u8(1)? & 3))));
    }
    let mut mask = 0;
    let mut value = 0;
    // The operation, the bit of the value, and the bit of the flags: ECE and CWR.
    for (bit, from, to) in [(0x10, 1, 0x40), (0x20, 2, 0x80)] {
        if what & bit != 0 {
            mask |= to;
            value |= if tcp & from != 0 { to } else { 0 };
        }
    }
    if mask != 0 {
        let flags = space.payload(Base::Transport, 13, 1);
        steps.extend(assign(&flags, &replaced(&flags, mask, value)));
    }
    Some(steps)
}

/// `struct xt_ct_target_info`; also what `NOTRACK` is, which has none.
pub(super) fn ct(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    const NOTRACK: u16 = 1;
    if asked.name == b"CT" && asked.info().u16(0)? & NOTRACK == 0 {
        return Some(Vec::new());
    }
    let states = STATES
        .into_iter()
        .filter_map(|(name, _)| Some((space.state(name)?, Bit::Const(name == "untracked"))));
    // xt_ct_target leaves alone what conntrack has seen.
    let untracked = vec![Step::Set(states.collect())];
    Some(vec![Step::Branch(vec![(has_connection(space).negated(), untracked)])])
}

/// `synproxy_tg4`: takes the packets of a handshake, and lets others go on.
pub(super) fn synproxy(space: &mut Space) -> Vec<Step> {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    /// With FIN and RST, of which none may be set.
    const ALL: u8 = 0x17;
    let flags = space.payload(Base::Transport, 13, 1);
    let taken = |value: u8| (masked(&flags, &[ALL], &[value]), vec![Step::Verdict(Verdict::Taken)]);
    vec![Step::Branch(vec![taken(SYN), taken(ACK)])]
}

/// `struct xt_tproxy_target_info`, `struct xt_tproxy_target_info_v1`: accepts what a socket of this host takes, and
/// drops all else (net/netfilter/xt_TPROXY.c).
pub(super) fn tproxy(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let (mask, value) = (info.u32(0)?, info.u32(4)?);
    let port = match asked.revision {
        0 => info.be16(12)?,
        1 => info.be16(24)?,
        _ => return None,
    };
    let taken = Test::free(space, &format!("TPROXY --on-port {port}: a transparent socket takes it"));
    let mark = space.mark();
    let mut steps = assign(&mark, &replaced(&mark, mask, value));
    steps.push(Step::Verdict(Verdict::Accept));
    let dropped = vec![Step::Verdict(Verdict::Drop)];
    Some(vec![Step::Branch(vec![(taken.clone(), steps), (taken.negated(), dropped)])])
}

/// `struct xt_NFQ_info`, `struct xt_NFQ_info_v1` to `v3`.
pub(super) fn nfqueue(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let first = info.u16(0)?;
    let count = if asked.revision > 0 { info.u16(2)? } else { 1 };
    let queues = match count {
        0 | 1 => format!("queue {first}"),
        more => format!("queues {first}-{}", u32::from(first) + u32::from(more) - 1),
    };
    let text = format!("the program of {queues} accepts");
    match space.free(&text, 1)[..] {
        [Bit::Var(var)] => Some(vec![Step::Verdict(Verdict::Ask(var))]),
        _ => None,
    }
}
