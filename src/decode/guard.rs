//! Keeps texts inside rules from forging lines of a listing. Pure.
//!
//! Comments and log prefixes may hold line breaks, and nft prints them as they are. Before a table is
//! sent to a scratch namespace, line breaks in such texts become a record separator (0x1e); in the
//! listing it becomes a line break again, once lines have been told apart by the parser's caller.

use crate::model::{Chain, Rule, Table};
use crate::netlink::nft::{chain, elem, expr, object, rule, set, table};
use crate::netlink::{Attr, Attrs};
use crate::normalise::expressions;
use std::borrow::Cow;

const SEPARATOR: u8 = 0x1e;

/// The table with line breaks in its comments and log prefixes replaced.
pub fn without_line_breaks(source: &Table) -> Cow<'_, Table> {
    let mut result = Cow::Borrowed(source);
    let mut change = |old: &[u8], userdata: u16, select: &dyn Fn(&mut Table) -> Option<&mut Vec<u8>>| {
        if let Some(new) = replaced(old, userdata)
            && let Some(place) = select(result.to_mut())
        {
            *place = new;
        }
    };
    change(&source.attrs, table::USERDATA, &|t| Some(&mut t.attrs));
    for (name, found) in &source.chains {
        change(&found.attrs, chain::USERDATA, &|t| Some(&mut t.chains.get_mut(name)?.attrs));
        for (place, found) in found.rules.iter().enumerate() {
            change(&found.attrs, rule::USERDATA, &|t| rule_attrs(t.chains.get_mut(name)?, place));
        }
    }
    for (name, found) in &source.anonymous.chains {
        for (place, found) in found.rules.iter().enumerate() {
            change(&found.attrs, rule::USERDATA, &|t| rule_attrs(t.anonymous.chains.get_mut(name)?, place));
        }
    }
    for (name, found) in &source.sets {
        change(&found.attrs, set::USERDATA, &|t| Some(&mut t.sets.get_mut(name)?.attrs));
        for (key, found) in &found.elements {
            for (part, attrs) in found.attrs.iter().enumerate() {
                change(attrs, elem::USERDATA, &|t| {
                    t.sets.get_mut(name)?.elements.get_mut(key)?.attrs.get_mut(part)
                });
            }
        }
    }
    for (name, found) in &source.anonymous.sets {
        for (key, found) in &found.elements {
            for (part, attrs) in found.attrs.iter().enumerate() {
                change(attrs, elem::USERDATA, &|t| {
                    t.anonymous.sets.get_mut(name)?.elements.get_mut(key)?.attrs.get_mut(part)
                });
            }
        }
    }
    for (key, found) in &source.objects {
        change(&found.attrs, object::USERDATA, &|t| Some(&mut t.objects.get_mut(key)?.attrs));
    }
    result
}

fn rule_attrs(chain: &mut Chain, place: usize) -> Option<&mut Vec<u8>> {
    Some(&mut chain.rules.get_mut(place)?.attrs)
}

/// The attributes with line breaks in their texts replaced; none if there are none.
fn replaced(attrs: &[u8], userdata: u16) -> Option<Vec<u8>> {
    if !attrs.contains(&b'\n') {
        return None;
    }
    let mut texts: Vec<&[u8]> = Vec::new();
    if let Some(attr) = Attrs(attrs).find(userdata) {
        texts.extend(userdata_texts(attr));
    }
    for expression in expressions(attrs) {
        let is_log = expression.find(expr::NAME).is_some_and(|name| name.string() == b"log");
        let data = expression.find(expr::DATA).filter(|_| is_log);
        texts.extend(data.and_then(|data| data.nested().find(expr::LOG_PREFIX)).map(|prefix| prefix.payload));
    }
    let start = attrs.as_ptr() as usize;
    let mut copy = attrs.to_vec();
    let mut found = false;
    for text in texts {
        let offset = text.as_ptr() as usize - start;
        for byte in copy[offset..offset + text.len()].iter_mut().filter(|byte| **byte == b'\n') {
            *byte = SEPARATOR;
            found = true;
        }
    }
    found.then_some(copy)
}

/// The values of user data: a list of type (8 bits), length (8 bits), value (libnftnl's udata.c). Only
/// values that are zero-terminated are texts; numbers are left alone.
fn userdata_texts(attr: Attr<'_>) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    let mut rest = attr.payload;
    while let [_, length, tail @ ..] = rest {
        let Some((value, next)) = tail.split_at_checked(usize::from(*length)) else { break };
        if value.len() > 4 && value.last() == Some(&0) {
            texts.push(value);
        }
        rest = next;
    }
    texts
}

/// A text of the listing with the separators shown as the escape that a line break gets in every output.
pub fn restored(text: &str) -> String {
    text.replace(char::from(SEPARATOR), "\\n")
}

/// Whether another object could have the same text: a separator stands for a line break or for itself,
/// `\xff` for a byte or for four characters.
pub fn is_ambiguous(text: &str) -> bool {
    let is_byte =
        |rest: &str| rest.get(..2).is_some_and(|hex| u8::from_str_radix(hex, 16).is_ok_and(|b| b >= 0x80));
    text.contains(char::from(SEPARATOR)) || text.split("\\x").skip(1).any(is_byte)
}

/// Whether a rule tests for a protocol family that its text does not speak of. nft leaves a test out that the rest
/// of the rule implies, and for ICMP it does so whatever family is tested for: `icmp type echo-request` may
/// stand for a rule that never matches.
pub fn hides_family(rule: &Rule, text: &str) -> bool {
    /// `NFT_META_PROTOCOL`, `NFT_META_NFPROTO`.
    const FAMILY_KEYS: [u32; 2] = [1, 15];
    let words = |names: &[&str]| text.split_whitespace().any(|word| names.contains(&word));
    let mut family_loaded = false;
    for expression in expressions(&rule.attrs) {
        let data = expression.find(expr::DATA).map(|data| data.nested());
        match expression.find(expr::NAME).map(|name| name.string()) {
            Some(b"meta") => {
                let key = data.and_then(|data| data.find(expr::META_KEY)?.be32());
                family_loaded = key.is_some_and(|key| FAMILY_KEYS.contains(&key));
            }
            Some(b"cmp") if family_loaded => {
                let value = data.and_then(|data| data.find(expr::CMP_DATA)?.nested().find(expr::DATA_VALUE));
                let is_told = words(&["nfproto", "protocol"])
                    || match value.map(|value| value.payload) {
                        Some([2] | [8, 0]) => words(&["ip", "icmp", "igmp"]),
                        Some([10] | [0x86, 0xdd]) => {
                            words(&["ip6", "icmpv6", "exthdr", "frag", "hbh", "rt", "dst", "mh", "srh"])
                        }
                        Some([8, 6]) => words(&["arp"]),
                        Some([0x81, 0] | [0x88, 0xa8]) => words(&["vlan", "8021q", "8021ad"]),
                        _ => false,
                    };
                if !is_told {
                    return true;
                }
            }
            _ => family_loaded = false,
        }
    }
    false
}
