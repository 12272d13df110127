//! Expressions whose answer is not in the packet: sockets, routes, hashes, numbers at random. Their value is free, and
//! named by the expression, so that equal questions have equal answers.

use super::machine::host_order;
use super::rule::{Flow, Lowering, Making};
use crate::model::Digest;
use crate::netlink::Attrs;

/// Where each expression has its target register.
fn target(name: &[u8]) -> Option<u16> {
    match name {
        b"rt" | b"osf" | b"numgen" | b"tunnel" => Some(if name == b"tunnel" { 2 } else { 1 }),
        b"xfrm" => Some(1),
        b"socket" | b"hash" => Some(2),
        _ => None,
    }
}

impl Lowering<'_> {
    pub(super) fn free_load(
        &mut self,
        name: &[u8],
        data: Attrs<'_>,
        making: &mut Making<'_>,
    ) -> Option<Flow> {
        let register = data.find(target(name)?)?.be32()?;
        let number = |kind| data.find(kind).and_then(|attr| attr.be32());
        let name = String::from_utf8_lossy(name);
        let digest = Digest::of([data.0]).to_string();
        let text = match &*name {
            "numgen" => {
                let how = if number(3) == Some(1) { "random" } else { "inc" };
                let modulus = number(2).unwrap_or(0);
                format!("numgen {how} mod {modulus} ({})", self.place(making))
            }
            "socket" => {
                let what = ["transparent", "mark", "wildcard", "cgroupv2"];
                let what = number(1).and_then(|key| what.get(key as usize).copied()).unwrap_or("key");
                format!("socket {what}")
            }
            "rt" => {
                let what = ["classid", "nexthop", "nexthop", "mtu", "ipsec"];
                let what = number(2).and_then(|key| what.get(key as usize).copied()).unwrap_or("key");
                format!("rt {what}")
            }
            name => format!("{name} #{}", &digest[..6]),
        };
        let cells = host_order(&self.space.free(&text, 128));
        // Most of these load four bytes; what is compared decides how many matter.
        making.registers.store(register, &cells)?;
        Some(Flow::On)
    }
}
