//! How the rules are asked for: all in one dump, or chain by chain.
//!
//! The kernel begins its walk anew for each buffer that it fills (net/netfilter/nf_tables_api.c
//! `nf_tables_dump_rules`), so that one dump of everything costs the square of the number of rules. Asked for one
//! chain, it goes straight there. With many chains that is quicker, although each is a request of its own.

use crate::model::RawMessage;
use crate::netlink::nft::{chain, msg, nfgenmsg, rule};
use crate::netlink::{AttrWriter, Attrs};

/// A request for one chain costs as much as the walk past so many pairs of rules: 8 µs against 0.06 ns, measured on
/// Linux 6.18.
const PAIRS_A_REQUEST: u64 = 130_000;
/// A chain with more rules than this is worth a thread of its own.
const MANY: u64 = 2_000;

/// One dump of rules.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// `struct nfgenmsg`.
    pub header: [u8; 4],
    /// The chain that is meant; empty for all.
    pub attrs: Vec<u8>,
    /// Whether many rules are expected.
    pub large: bool,
}

/// The dumps that give all rules of these chains (messages of a dump; others are passed over). `NFTA_CHAIN_USE`
/// counts a chain's rules and the jumps to it.
pub(super) fn requests(messages: &[RawMessage]) -> Vec<Request> {
    let chains = || messages.iter().filter(|message| message.kind == msg::NEWCHAIN);
    let used = |message: &RawMessage| {
        Attrs(&message.attrs).find(chain::USE).and_then(|attr| attr.be32()).map_or(0, u64::from)
    };
    let (count, rules) = (chains().count() as u64, chains().map(used).sum::<u64>());
    let everything = || vec![Request { header: nfgenmsg(0), attrs: Vec::new(), large: rules > MANY }];
    if rules.saturating_mul(rules) <= count.saturating_mul(PAIRS_A_REQUEST) || count < 2 {
        return everything();
    }
    let one = |message: &RawMessage| {
        let attrs = Attrs(&message.attrs);
        let mut request = AttrWriter::new();
        request.put(rule::TABLE, attrs.find(chain::TABLE)?.payload);
        request.put(rule::CHAIN, attrs.find(chain::NAME)?.payload);
        let (header, attrs) = (nfgenmsg(message.family), request.into_bytes());
        Some(Request { header, attrs, large: used(message) > MANY })
    };
    let with_rules = chains().filter(|message| used(message) > 0);
    with_rules.map(one).collect::<Option<Vec<Request>>>().unwrap_or_else(everything)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(count: u32, each: u32) -> Vec<RawMessage> {
        let message = |number: u32| {
            let mut attrs = AttrWriter::new();
            attrs.put(chain::TABLE, b"t\0");
            attrs.put(chain::NAME, format!("c{number}\0").as_bytes());
            attrs.put(chain::USE, &each.to_be_bytes());
            RawMessage { kind: msg::NEWCHAIN, family: 1, attrs: attrs.into_bytes() }
        };
        (0..count).map(message).collect()
    }

    #[test]
    fn few_rules_and_single_chains_are_one_dump() {
        for few in [chains(0, 0), chains(1, 100_000), chains(10, 100), chains(10_000, 1)] {
            let all = requests(&few);
            assert_eq!(all.len(), 1);
            assert!(all[0].attrs.is_empty());
        }
    }

    #[test]
    fn many_rules_in_many_chains_are_asked_for_chain_by_chain() {
        let all = requests(&[chains(10_000, 10), chains(5, 0)].concat());
        assert_eq!(all.len(), 10_000);
        assert_eq!(Attrs(&all[7].attrs).find(rule::CHAIN).map(|attr| attr.string()), Some(&b"c7"[..]));
        assert!(!all[7].large);
        assert!(requests(&chains(2, 50_000)).iter().all(|request| request.large));
    }
}
