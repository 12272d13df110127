//! Masks of the lists of `-m recent`. Pure.
//!
//! A list has the mask of the rule that made it, and serves the rules of both families that name it
//! (net/netfilter/xt_recent.c: `recent_mt_check`, `recent_table_lookup`). An IPv4 address is masked as 16 bytes of which
//! the last 12 are zero, so to IPv4 these bytes of the mask are nothing. iptables leaves ones in them where no
//! `--mask` was given, and iptables-restore of its own save leaves zeroes. But if IPv6 rules use the list, too, then
//! with such zeroes their addresses count by their first 32 bits only: then the two are not the same.

use super::anonymous::{expressions, map_expressions, references};
use super::deeds::may_be_owned;
use crate::model::{Backend, Family, Rule, Ruleset};
use crate::netlink::nft::expr;
use crate::netlink::{AttrWriter, Attrs};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Places in `struct xt_recent_mtinfo_v1`: the name, and what of the mask is not for IPv4.
const NAME: std::ops::Range<usize> = 10..210;
const MASK_REST: std::ops::Range<usize> = 216..228;

/// The lists that rules for IPv6 use, as far as a ruleset tells.
#[derive(Debug, Default)]
pub struct Ipv6Lists {
    names: BTreeSet<Vec<u8>>,
    /// Lines of x_tables' rules that use a list.
    lines: Vec<Arc<[u8]>>,
    /// Whether there are rules of which only the digest is at hand.
    is_unsure: bool,
}

impl Ipv6Lists {
    /// Of all rules but those that are for IPv4 alone.
    pub fn of(ruleset: &Ruleset) -> Self {
        let mut found = Self::default();
        for (key, table) in ruleset.tables.iter().filter(|(key, _)| key.family != Family::Ip) {
            for rule in table.chains.values().chain(table.anonymous.chains.values()).flat_map(|c| &c.rules) {
                match key.backend {
                    Backend::NfTables => {
                        found.is_unsure |= rule.attrs.is_empty();
                        found.names.extend(lists(rule).map(<[u8]>::to_vec));
                    }
                    _ if memchr::memmem::find(&rule.attrs, b"-m recent ").is_some() => {
                        found.lines.push(rule.attrs.clone());
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// Whether a rule for IPv6 may use this list.
    fn has(&self, name: &[u8]) -> bool {
        let in_line = |line: &[u8]| memchr::memmem::find(line, name).is_some();
        self.is_unsure || self.names.contains(name) || self.lines.iter().any(|line| in_line(line))
    }
}

/// Whether a rule uses a list: what it means may then depend on other rules.
pub fn uses_list(rule: &Rule) -> bool {
    lists(rule).next().is_some()
}

fn lists(rule: &Rule) -> impl Iterator<Item = &[u8]> {
    let may_use = memchr::memmem::find(&rule.attrs, b"recent\0").is_some();
    expressions(if may_use { &rule.attrs } else { &[] }).filter_map(list)
}

/// Whether two rules for IPv4 mean the same, although the masks of their lists have other bytes.
pub fn are_alike(one: &Rule, other: &Rule, others: &Ipv6Lists) -> bool {
    // A jump to a chain is a name in both; what the kernel named itself may be another thing.
    let whole = |rule: &Rule| uses_list(rule) && !references(&rule.attrs).iter().any(may_be_owned);
    whole(one) && whole(other) && masked(one, others) == masked(other, others)
}

/// The rule's attributes without that part of its masks that is nothing to IPv4.
fn masked(rule: &Rule, lists: &Ipv6Lists) -> Vec<u8> {
    map_expressions(&rule.attrs, |expression| {
        list(expression).filter(|name| !lists.has(name))?;
        let data = expression.find(expr::DATA)?.nested();
        let mut out = AttrWriter::new();
        out.put(expr::NAME, expression.find(expr::NAME)?.payload);
        out.nested(expr::DATA, |inner| {
            for attr in data.flatten() {
                let mut payload = attr.payload.to_vec();
                if let Some(rest) = payload.get_mut(MASK_REST).filter(|_| attr.kind == expr::XT_INFO) {
                    rest.fill(0);
                }
                inner.put(attr.kind, &payload);
            }
        });
        Some(out.into_bytes())
    })
}

/// The name of the list that a `recent` match with a mask uses.
fn list(expression: Attrs<'_>) -> Option<&[u8]> {
    let is_match = expression.find(expr::NAME)?.string() == b"match";
    let data = expression.find(expr::DATA).filter(|_| is_match)?.nested();
    let is_recent = data.find(expr::XT_NAME)?.string() == b"recent" && data.find(expr::XT_REV)?.be32()? == 1;
    let name = data.find(expr::XT_INFO).filter(|_| is_recent)?.payload.get(NAME)?;
    name.split(|byte| *byte == 0).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Chain, Digest, Name, Table, TableKey};
    use crate::netlink::nft::rule::EXPRESSIONS;

    fn rule(name: &str, mask: [u8; 16], seconds: u8) -> Rule {
        let mut info = vec![0; 232];
        info[0] = seconds;
        info[10..10 + name.len()].copy_from_slice(name.as_bytes());
        info[212..228].copy_from_slice(&mask);
        let mut attrs = AttrWriter::new();
        attrs.nested(EXPRESSIONS, |list| {
            list.nested(1, |expression| {
                expression.string(expr::NAME, b"match");
                expression.nested(expr::DATA, |data| {
                    data.string(expr::XT_NAME, b"recent").be32(expr::XT_REV, 1).put(expr::XT_INFO, &info);
                });
            });
        });
        Rule { digest: Digest::of([attrs.as_bytes()]), attrs: attrs.into_bytes().into() }
    }

    fn with(tables: &[(Backend, Family, Rule)]) -> Ruleset {
        let mut ruleset = Ruleset::default();
        for (backend, family, rule) in tables {
            let chain = Chain { rules: vec![rule.clone()], ..Chain::default() };
            let chains = [(Name(b"c".to_vec()), chain)].into();
            let key = TableKey { backend: *backend, family: *family, name: Name(b"filter".to_vec()) };
            ruleset.tables.insert(key, Table { chains, ..Table::default() });
        }
        ruleset
    }

    const ONES: [u8; 16] = [0xff; 16];

    fn four(bytes: [u8; 4]) -> [u8; 16] {
        let mut mask = [0; 16];
        mask[..4].copy_from_slice(&bytes);
        mask
    }

    #[test]
    fn what_an_ipv4_mask_has_behind_its_four_bytes_means_nothing_to_ipv4_alone() {
        let (full, short) = (rule("a", ONES, 5), rule("a", four([0xff; 4]), 5));
        let alone = Ipv6Lists::of(&with(&[(Backend::NfTables, Family::Ip, full.clone())]));
        assert!(are_alike(&full, &short, &alone));
        assert!(!are_alike(&full, &rule("a", four([0xff, 0xff, 0xff, 0]), 5), &alone), "another mask");
        assert!(!are_alike(&full, &rule("b", ONES, 5), &alone), "another list");
        assert!(!are_alike(&full, &rule("a", ONES, 6), &alone), "another time");
    }

    #[test]
    fn it_means_something_where_ipv6_rules_use_the_list() {
        let (full, short) = (rule("a", ONES, 5), rule("a", four([0xff; 4]), 5));
        let alike =
            |other: (Backend, Family, Rule)| are_alike(&full, &short, &Ipv6Lists::of(&with(&[other])));
        assert!(!alike((Backend::NfTables, Family::Ip6, rule("a", ONES, 1))));
        assert!(alike((Backend::NfTables, Family::Ip6, rule("ab", ONES, 1))));
        let line = |text: &[u8]| Rule { digest: Digest::of([text]), attrs: text.into() };
        assert!(!alike((Backend::Legacy, Family::Ip6, line(b"-A c -m recent --set --name a --rsource"))));
        assert!(alike((Backend::Legacy, Family::Ip, line(b"-A c -m recent --set --name a --rsource"))));
        let unread = Rule { attrs: Arc::default(), ..full.clone() };
        assert!(!alike((Backend::NfTables, Family::Ip6, unread)));
    }
}
