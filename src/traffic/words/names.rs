//! Names of protocols and of types of ICMP, and their numbers.

use crate::traffic::space::Kind;

/// `IPPROTO_*` by name (the numbers that IANA assigned).
pub fn protocol_name(number: u8) -> String {
    PROTOCOLS
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// The number of a protocol.
pub fn protocol_number(name: &str) -> Option<u8> {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    known.or_else(|| name.parse().ok())
}

const PROTOCOLS: [(u8, &str); 14] = [
    (1, "icmp"),
    (2, "igmp"),
    (4, "ipencap"),
    (6, "tcp"),
    (17, "udp"),
    (33, "dccp"),
    (41, "ipv6"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (112, "vrrp"),
    (132, "sctp"),
    (136, "udplite"),
];

/// The names that nft has for the types people meet (RFC 792, RFC 4443, RFC 4861).
pub(super) fn icmp_type(kind: Kind, number: u8) -> String {
    icmp_types(kind)
        .iter()
        .find(|(known, _)| *known == number)
        .map_or_else(|| number.to_string(), |(_, name)| (*name).to_owned())
}

/// The number of a type of ICMP, by its name or as a number.
pub fn icmp_type_number(kind: Kind, name: &str) -> Option<u8> {
    let known = icmp_types(kind).iter().find(|(_, known)| *known == name).map(|(number, _)| *number);
    known.or_else(|| name.parse().ok())
}

fn icmp_types(kind: Kind) -> &'static [(u8, &'static str)] {
    match kind {
        Kind::Ip6 => &[
            (1, "destination-unreachable"),
            (2, "packet-too-big"),
            (3, "time-exceeded"),
            (4, "parameter-problem"),
            (128, "echo-request"),
            (129, "echo-reply"),
            (133, "nd-router-solicit"),
            (134, "nd-router-advert"),
            (135, "nd-neighbor-solicit"),
            (136, "nd-neighbor-advert"),
        ],
        _ => &[
            (0, "echo-reply"),
            (3, "destination-unreachable"),
            (5, "redirect"),
            (8, "echo-request"),
            (11, "time-exceeded"),
            (12, "parameter-problem"),
            (13, "timestamp-request"),
            (14, "timestamp-reply"),
        ],
    }
}
