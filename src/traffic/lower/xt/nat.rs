//! Targets that translate addresses and ports. Pure.
//!
//! An address that the kernel picks from a range is known as far as all of the range have the same beginning; the
//! other bits are free. That a source port changes because another connection has it is left out.

use super::{Asked, End, address, assign, changes, constant, port};
use crate::model::{Family, text_from_kernel};
use crate::traffic::bdd::Bit;
use crate::traffic::program::{Hook, Step, Verdict};
use crate::traffic::space::Space;
use crate::traffic::test::Test;
use std::net::{Ipv4Addr, Ipv6Addr};

/// `NF_NAT_RANGE_*` (linux/netfilter/nf_nat.h).
mod range {
    pub const ADDRESSES: u32 = 1;
    pub const PORTS: u32 = 1 << 1;
    pub const RANDOM: u32 = 1 << 2 | 1 << 4;
    pub const OFFSET: u32 = 1 << 5;
}

/// What a translation may choose from.
struct Choice<'a> {
    flags: u32,
    addresses: (&'a [u8], &'a [u8]),
    ports: (u16, u16),
}

/// `struct nf_nat_ipv4_multi_range_compat`, `struct nf_nat_range` or `struct nf_nat_range2`.
fn choice<'a>(space: &Space, asked: &Asked<'a>) -> Option<Choice<'a>> {
    let info = asked.info();
    if asked.family == Family::Ip && asked.revision == 0 {
        // One range, behind their number.
        return Some(Choice {
            flags: info.u32(4)?,
            addresses: (info.bytes(8, 4)?, info.bytes(12, 4)?),
            ports: (info.be16(16)?, info.be16(18)?),
        });
    }
    let length = space.kind().address_length()?;
    Some(Choice {
        flags: info.u32(0)?,
        addresses: (info.bytes(4, length)?, info.bytes(20, length)?),
        ports: (info.be16(36)?, info.be16(38)?),
    })
}

/// The bits that two values share from the left, and free ones for the rest.
fn picked(space: &mut Space, text: &str, low: &[u8], high: &[u8]) -> Vec<Bit> {
    let (low, high) = (constant(low), constant(high));
    let shared = low.iter().zip(&high).take_while(|(low, high)| low == high).count();
    if shared == low.len() {
        return low;
    }
    let free = space.free(text, low.len() as u32);
    [&low[..shared], &free[shared..]].concat()
}

fn address_text(bytes: &[u8]) -> String {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Ipv4Addr::from(bytes).to_string();
    }
    <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).to_string()).unwrap_or_default()
}

/// `DNAT`, `SNAT`, `REDIRECT`, `MASQUERADE`.
pub(super) fn translate(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let choice = choice(space, asked)?;
    let (end, option) = match asked.name {
        b"SNAT" => (End::Source, "snat"),
        b"MASQUERADE" => (End::Source, "masquerade"),
        b"REDIRECT" => (End::Destination, "redirect"),
        _ => (End::Destination, "dnat"),
    };
    let target = address(space, end)?;
    let new = match asked.name {
        b"MASQUERADE" => Some(space.free("address of masquerade", target.len() as u32)),
        b"REDIRECT" => Some(space.free("address of redirect", target.len() as u32)),
        _ if choice.flags & range::ADDRESSES == 0 => None,
        _ => {
            let (low, high) = choice.addresses;
            let text = format!("address of {option} to {}-{}", address_text(low), address_text(high));
            Some(picked(space, &text, low, high))
        }
    };
    let mut changed = new.map(|new| changes(&target, &new)).unwrap_or_default();
    if choice.flags & (range::PORTS | range::RANDOM) != 0 {
        let target = port(space, end);
        let (low, high) = choice.ports;
        let new = if choice.flags & range::PORTS == 0 {
            space.free(&asked.own(&format!("port of {option}")), 16)
        } else if choice.flags & range::OFFSET != 0 {
            space.free(&asked.own(&format!("port of {option} to {low}-{high}")), 16)
        } else {
            let text = format!("port of {option} to {low}-{high}");
            picked(space, &text, &low.to_be_bytes(), &high.to_be_bytes())
        };
        changed.extend(changes(&target, &new));
    }
    let mut steps = Vec::new();
    if !changed.is_empty() {
        steps.push(Step::Translate(changed));
    }
    steps.push(Step::Verdict(Verdict::Accept));
    Some(steps)
}

/// `NETMAP`: the network's part of an address, of the source or the destination as the hook has it (xt_NETMAP.c,
/// `netmap_tg4`).
pub(super) fn netmap(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let choice = choice(space, asked)?;
    let (low, high) = choice.addresses;
    let (low, high) = (constant(low), constant(high));
    let mut alternatives = Vec::new();
    for end in [End::Source, End::Destination] {
        let target = address(space, end)?;
        let new: Vec<Bit> = target
            .iter()
            .zip(low.iter().zip(&high))
            .map(|(old, (low, high))| if low == high { *low } else { *old })
            .collect();
        let changed = changes(&target, &new);
        let translated = if changed.is_empty() { Vec::new() } else { vec![Step::Translate(changed)] };
        alternatives.push([translated, vec![Step::Verdict(Verdict::Accept)]].concat());
    }
    let is_source = Test::Hook(&[Hook::Postrouting, Hook::Input]);
    let destination = alternatives.pop()?;
    let source = alternatives.pop()?;
    Some(vec![Step::Branch(vec![(is_source.clone(), source), (is_source.negated(), destination)])])
}

/// `struct ip6t_npt_tginfo`, RFC 6296: another prefix, and one word that keeps the checksum.
pub(super) fn prefix(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    let info = asked.info();
    let end = if asked.name == b"SNPT" { End::Source } else { End::Destination };
    let target = address(space, end).filter(|word| word.len() == 128)?;
    let new = constant(info.bytes(16, 16)?);
    let length = usize::from(info.u8(32)?.max(info.u8(33)?)).min(128);
    let prefix = address_text(info.bytes(16, 16)?);
    let free = space.free(&format!("address of {} to {prefix}/{length}", text_from_kernel(asked.name)), 128);
    // ip6t_npt_map_pfx: word 3 for prefixes up to 48 bits, else the first behind word 3 that is not all ones.
    let adjusted = if length <= 48 { 48..64 } else { 64..128 };
    let word: Vec<Bit> = (0..128)
        .map(|at| match at {
            at if at < length => new[at],
            at if adjusted.contains(&at) => free[at],
            at => target[at],
        })
        .collect();
    Some(assign(&target, &word))
}
