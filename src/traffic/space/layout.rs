//! Where the fields of headers are. Bits are counted from the beginning of the header, as on the wire.

use super::{Base, Key, Kind};

/// A field of a header.
pub(super) struct Part {
    /// Its first bit, from the beginning of the header.
    pub(super) bit: u32,
    /// How many bits.
    pub(super) width: u32,
    /// In nft's words.
    pub(super) name: &'static str,
    /// What its bits are.
    pub(super) what: What,
}

impl Part {
    /// The bit after its last.
    pub(super) fn end(&self) -> u32 {
        self.bit + self.width
    }
}

/// What the bits of a field are.
pub(super) enum What {
    /// A field with a key of its own.
    Is(Key),
    /// The same in each packet of this kind.
    Const(u32),
    /// Just bits.
    Bits,
}

const fn part(bit: u32, width: u32, name: &'static str, what: What) -> Part {
    Part { bit, width, name, what }
}

/// RFC 791.
static IP4: [Part; 12] = [
    part(0, 4, "ip version", What::Const(4)),
    part(4, 4, "ip hdrlength", What::Bits),
    part(8, 6, "ip dscp", What::Bits),
    part(14, 2, "ip ecn", What::Bits),
    part(16, 16, "ip length", What::Bits),
    part(32, 16, "ip id", What::Bits),
    part(48, 3, "ip flags", What::Bits),
    part(51, 13, "ip frag-off", What::Bits),
    part(64, 8, "ip ttl", What::Bits),
    part(72, 8, "meta l4proto", What::Is(Key::Protocol)),
    part(96, 32, "ip saddr", What::Is(Key::Saddr)),
    part(128, 32, "ip daddr", What::Is(Key::Daddr)),
];

/// RFC 8200.
static IP6: [Part; 9] = [
    part(0, 4, "ip6 version", What::Const(6)),
    part(4, 6, "ip6 dscp", What::Bits),
    part(10, 2, "ip6 ecn", What::Bits),
    part(12, 20, "ip6 flowlabel", What::Bits),
    part(32, 16, "ip6 length", What::Bits),
    part(48, 8, "meta l4proto", What::Is(Key::Protocol)),
    part(56, 8, "ip6 hoplimit", What::Bits),
    part(64, 128, "ip6 saddr", What::Is(Key::Saddr)),
    part(192, 128, "ip6 daddr", What::Is(Key::Daddr)),
];

/// RFC 826, for IPv4 over Ethernet.
static ARP: [Part; 9] = [
    part(0, 16, "arp htype", What::Bits),
    part(16, 16, "arp ptype", What::Bits),
    part(32, 8, "arp hlen", What::Bits),
    part(40, 8, "arp plen", What::Bits),
    part(48, 16, "arp operation", What::Bits),
    part(64, 48, "arp saddr ether", What::Bits),
    part(112, 32, "arp saddr ip", What::Bits),
    part(144, 48, "arp daddr ether", What::Bits),
    part(192, 32, "arp daddr ip", What::Bits),
];

/// RFC 9293; ports are where UDP, SCTP and DCCP have them, too.
static TRANSPORT: [Part; 3] = [
    part(0, 16, "th sport", What::Is(Key::Sport)),
    part(16, 16, "th dport", What::Is(Key::Dport)),
    part(104, 8, "tcp flags", What::Bits),
];

macro_rules! link {
    ($kind:expr) => {
        [
            part(0, 48, "ether daddr", What::Bits),
            part(48, 48, "ether saddr", What::Bits),
            part(96, 16, "ether type", $kind),
        ]
    };
}

/// Ethernet II, without a VLAN tag.
static LINK_IP4: [Part; 3] = link!(What::Const(0x0800));
static LINK_IP6: [Part; 3] = link!(What::Const(0x86dd));
static LINK_ARP: [Part; 3] = link!(What::Const(0x0806));
static LINK_OTHER: [Part; 3] = link!(What::Bits);

/// The fields of a header, in order; what lies between and behind them has no name.
pub(super) fn of(kind: Kind, base: Base) -> &'static [Part] {
    match (base, kind) {
        (Base::Link, Kind::Ip4) => &LINK_IP4,
        (Base::Link, Kind::Ip6) => &LINK_IP6,
        (Base::Link, Kind::Arp) => &LINK_ARP,
        (Base::Link, Kind::Other) => &LINK_OTHER,
        (Base::Network, Kind::Ip4) => &IP4,
        (Base::Network, Kind::Ip6) => &IP6,
        (Base::Network, Kind::Arp) => &ARP,
        (Base::Network, Kind::Other) => &[],
        (Base::Transport, Kind::Ip4 | Kind::Ip6) => &TRANSPORT,
        (Base::Transport, Kind::Arp | Kind::Other) => &[],
        (Base::Inner, _) => &[],
    }
}
