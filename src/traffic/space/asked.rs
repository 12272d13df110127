//! What rules ask beside headers: `meta` and `ct` keys, routing. Numbers are most significant bit first, whatever the
//! byte order in which the kernel loads them.

use super::super::bdd::Bit;
use super::{Key, Nature, Space};

/// `NFT_META_MARK`.
pub const META_MARK: u32 = 3;
/// `NFT_CT_MARK`.
pub const CT_MARK: u32 = 3;
/// `NFT_CT_SRC`; the keys for one family alone are taken as this one.
pub const CT_SRC: u32 = 8;
/// `NFT_CT_DST`.
pub const CT_DST: u32 = 9;
/// `NFT_CT_PROTOCOL`: of an error, it is that of the connection that it is about.
pub const CT_PROTOCOL: u32 = 10;
/// `NFT_CT_PROTO_SRC`.
pub const CT_PROTO_SRC: u32 = 11;
/// `NFT_CT_PROTO_DST`.
pub const CT_PROTO_DST: u32 = 12;

/// `NFT_META_*` with a number as its value: key, nft's name, bits.
const META: [(u32, &str, u32); 19] = [
    (0, "meta length", 32),
    (2, "meta priority", 32),
    (META_MARK, "meta mark", 32),
    (8, "meta iiftype", 16),
    (9, "meta oiftype", 16),
    (10, "meta skuid", 32),
    (11, "meta skgid", 32),
    (13, "meta rtclassid", 32),
    (14, "meta secmark", 32),
    (19, "meta pkttype", 8),
    (20, "meta cpu", 32),
    (21, "meta iifgroup", 32),
    (22, "meta oifgroup", 32),
    (23, "meta cgroup", 32),
    (25, "meta ipsec", 8),
    (28, "meta ibrpvid", 16),
    (30, "meta time", 64),
    (31, "meta day", 8),
    (32, "meta hour", 32),
];

/// `NFT_CT_*` with a number as its value.
const CT: [(u32, &str, u32); 11] = [
    (2, "ct status", 32),
    (CT_MARK, "ct mark", 32),
    (4, "ct secmark", 32),
    (5, "ct expiration", 32),
    (CT_PROTOCOL, "ct protocol", 8),
    (CT_PROTO_SRC, "proto-src", 16),
    (CT_PROTO_DST, "proto-dst", 16),
    (13, "ct label", 128),
    (17, "ct zone", 16),
    (18, "ct event", 32),
    (23, "ct id", 32),
];

impl Space {
    /// The number that a `meta` key has; none for keys that are no number, or not known.
    pub fn meta(&mut self, key: u32) -> Option<Vec<Bit>> {
        let (_, name, width) = META.into_iter().find(|(known, ..)| *known == key)?;
        Some(self.bits(Key::Meta(key), name, width, Nature::Modelled))
    }

    /// The mark of the packet (`meta mark`, 32 bits).
    pub fn mark(&mut self) -> Vec<Bit> {
        self.bits(Key::Meta(META_MARK), "meta mark", 32, Nature::Modelled)
    }

    /// The mark of its connection (`ct mark`, 32 bits).
    pub fn ct_mark(&mut self) -> Vec<Bit> {
        self.bits(Key::Ct(CT_MARK, None), "ct mark", 32, Nature::Modelled)
    }

    /// The number that a `ct` key has, of a direction (0 original, 1 reply) where that matters; none for keys that
    /// are no number, or not known.
    pub fn ct(&mut self, key: u32, direction: Option<u8>) -> Option<Vec<Bit>> {
        let way = match direction {
            Some(0) => "ct original",
            Some(_) => "ct reply",
            None => "ct",
        };
        let address = match key {
            CT_SRC | 19 | 21 => Some((CT_SRC, "saddr")),
            CT_DST | 20 | 22 => Some((CT_DST, "daddr")),
            _ => None,
        };
        if let Some((key, name)) = address {
            let width = 8 * self.kind().address_length()? as u32;
            return Some(self.bits(
                Key::Ct(key, direction),
                &format!("{way} {name}"),
                width,
                Nature::Modelled,
            ));
        }
        let (_, name, width) = CT.into_iter().find(|(known, ..)| *known == key)?;
        let name = if name.starts_with("ct ") { name.to_owned() } else { format!("{way} {name}") };
        Some(self.bits(Key::Ct(key, direction), &name, width, Nature::Modelled))
    }

    /// The type that routing gives to an address (`RTN_*`, linux/rtnetlink.h), asked with the flags of `fib`
    /// (`NFTA_FIB_F_*`) that say which address and which interface count. It depends on the host's routes, which
    /// no ruleset tells.
    pub fn fib_type(&mut self, asked: &str) -> Vec<Bit> {
        self.bits(Key::Free(format!("fib {asked} type")), &format!("fib {asked} type"), 32, Nature::Free)
    }
}
