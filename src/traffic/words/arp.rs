//! ARP for IPv4 over Ethernet (RFC 826), in the words that people have for it.

use crate::traffic::space::Word;

/// The word for the address of who asks or answers.
pub(super) const SENDER: &str = "arp saddr ip";
/// The word for the address that is asked for, or answered to.
pub(super) const TARGET: &str = "arp daddr ip";
/// The word for what it is.
pub(super) const OPERATION: &str = "arp operation";

/// What a field is in each such packet: nobody wants to read that.
pub(super) fn usual(word: &Word) -> Option<u128> {
    match word.name.as_str() {
        "arp htype" => Some(1),
        "arp ptype" => Some(0x0800),
        "arp hlen" => Some(6),
        "arp plen" => Some(4),
        _ => None,
    }
}

/// `ARPOP_*` (linux/if_arp.h), as nft names them.
pub(super) fn operation(number: u128) -> String {
    const NAMES: [&str; 9] = ["request", "reply", "rrequest", "rreply", "", "", "", "inrequest", "inreply"];
    let name = (number as usize).checked_sub(1).and_then(|at| NAMES.get(at)).filter(|name| !name.is_empty());
    name.map_or_else(|| number.to_string(), |name| (*name).to_owned())
}
