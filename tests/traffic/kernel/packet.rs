//! What can be asked: packets, their paths and states. Values only.

use super::Hook;
use std::net::IpAddr;

/// Which hooks a packet passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Ingress, prerouting, input.
    Input,
    /// Ingress, prerouting, forward, postrouting.
    Forward,
    /// Output, postrouting.
    Output,
}

/// A packet to ask about, as it is when it reaches the first hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub l4: L4,
    /// Where it comes in ([`Path::Input`], [`Path::Forward`]); None is the lab's first interface.
    pub iif: Option<String>,
    /// Where it goes out ([`Path::Forward`], [`Path::Output`]); None is the lab's first interface.
    pub oif: Option<String>,
    pub state: State,
    /// The whole octet: DSCP and ECN.
    pub tos: u8,
    /// On the way to the host: the forward hook sees one less.
    pub ttl: u8,
}

impl Path {
    /// In the order of the packet.
    pub fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Input => &[Hook::Ingress, Hook::Prerouting, Hook::Input],
            Self::Forward => &[Hook::Ingress, Hook::Prerouting, Hook::Forward, Hook::Postrouting],
            Self::Output => &[Hook::Output, Hook::Postrouting],
        }
    }
}

impl Packet {
    /// A new connection's packet, first interface to first interface.
    pub fn new(src: IpAddr, dst: IpAddr, l4: L4) -> Self {
        Self { src, dst, l4, iif: None, oif: None, state: State::New, tos: 0, ttl: 64 }
    }

    /// Neighbour discovery and multicast listeners (net/netfilter/nf_conntrack_proto_icmpv6.c).
    pub fn is_never_tracked(&self) -> bool {
        matches!(self.l4, L4::Icmp6 { kind: 130..=136 | 143, .. })
    }
}

/// What follows the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// `flags` as in the header: 2 is SYN, 16 is ACK.
    Tcp {
        sport: u16,
        dport: u16,
        flags: u8,
    },
    Udp {
        sport: u16,
        dport: u16,
    },
    /// Errors quote a UDP packet in place of the identifier.
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    Icmp6 {
        kind: u8,
        code: u8,
        id: u16,
    },
    Sctp {
        sport: u16,
        dport: u16,
    },
    /// Any other protocol, by its number.
    Other(u8),
}

/// What conntrack thinks of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The first of its connection.
    New,
    /// Of a connection that was answered.
    Established(Direction),
    /// An ICMP error about a connection; otherwise, the first packet of a connection that another one expects.
    Related,
    Invalid,
    /// Where the kernel or the ruleset does not track it.
    Untracked,
}

impl State {
    /// As `enum nft_ct_keys`' state bits number it (`NF_CT_STATE_BIT`).
    pub fn bit(self) -> u32 {
        match self {
            Self::Invalid => 1,
            Self::Established(_) => 2,
            Self::Related => 4,
            Self::New => 8,
            Self::Untracked => 64,
        }
    }
}

/// Who sent a packet of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Whoever began it.
    Original,
    /// The other one.
    Reply,
}
