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
use std::collections::BTreeSet;

const SEPARATOR: u8 = 0x1e;

/// The table with line breaks in its comments and log prefixes replaced.
pub fn without_line_breaks(source: &Table) -> Cow<'_, Table> {
    let mut result = Cow::Borrowed(source);
    let mut change = |old: &[u8], userdata: u16, put: &dyn Fn(&mut Table, Vec<u8>) -> Option<()>| {
        if let Some(new) = replaced(old, userdata) {
            let _ = put(result.to_mut(), new);
        }
    };
    change(&source.attrs, table::USERDATA, &|t, new| put(&mut t.attrs, new));
    for (name, found) in &source.chains {
        change(&found.attrs, chain::USERDATA, &|t, new| put(&mut t.chains.get_mut(name)?.attrs, new));
        for (place, found) in found.rules.iter().enumerate() {
            change(&found.attrs, rule::USERDATA, &|t, new| put_rule(t.chains.get_mut(name)?, place, new));
        }
    }
    for (name, found) in &source.anonymous.chains {
        for (place, found) in found.rules.iter().enumerate() {
            change(&found.attrs, rule::USERDATA, &|t, new| {
                put_rule(t.anonymous.chains.get_mut(name)?, place, new)
            });
        }
    }
    for (name, found) in &source.sets {
        change(&found.attrs, set::USERDATA, &|t, new| put(&mut t.sets.get_mut(name)?.attrs, new));
        for (key, found) in &found.elements {
            for (part, attrs) in found.attrs.iter().enumerate() {
                change(attrs, elem::USERDATA, &|t, new| {
                    put(t.sets.get_mut(name)?.elements.get_mut(key)?.attrs.get_mut(part)?, new)
                });
            }
        }
    }
    for (name, found) in &source.anonymous.sets {
        for (key, found) in &found.elements {
            for (part, attrs) in found.attrs.iter().enumerate() {
                change(attrs, elem::USERDATA, &|t, new| {
                    put(t.anonymous.sets.get_mut(name)?.elements.get_mut(key)?.attrs.get_mut(part)?, new)
                });
            }
        }
    }
    for (key, found) in &source.objects {
        change(&found.attrs, object::USERDATA, &|t, new| put(&mut t.objects.get_mut(key)?.attrs, new));
    }
    result
}

fn put(attrs: &mut Vec<u8>, new: Vec<u8>) -> Option<()> {
    *attrs = new;
    Some(())
}

fn put_rule(chain: &mut Chain, place: usize, new: Vec<u8>) -> Option<()> {
    chain.rules.get_mut(place)?.attrs = new.into();
    Some(())
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

/// Whether a rule tests for a family or a protocol that its text does not speak of. nft leaves a test out that the
/// rest of the rule implies, and sometimes without a look at its value: `icmp type echo-request` may stand for
/// a rule for another family, and `reject with tcp reset` for one for another protocol, that never match.
pub fn hides_protocol(rule: &Rule, text: &str) -> bool {
    /// `NFT_META_PROTOCOL`, `NFT_META_NFPROTO`, `NFT_META_L4PROTO`.
    const PROTOCOL: u32 = 1;
    const NFPROTO: u32 = 15;
    const L4PROTO: u32 = 16;
    let words: BTreeSet<&str> = text.split(|c: char| c.is_whitespace() || c == ',').collect();
    let told = |names: &[&str]| names.iter().any(|name| words.contains(name));
    let mut loaded = None;
    for expression in expressions(&rule.attrs) {
        let data = expression.find(expr::DATA).map(|data| data.nested());
        let name = expression.find(expr::NAME).map(|name| name.string());
        let key = data.and_then(|data| data.find(expr::META_KEY)?.be32()).filter(|_| name == Some(b"meta"));
        let tested = loaded.filter(|_| name == Some(b"cmp"));
        loaded = key;
        let Some(key) = tested else { continue };
        let value = data.and_then(|data| data.find(expr::CMP_DATA)?.nested().find(expr::DATA_VALUE));
        let names: &[&str] = match (key, value.map_or(&[][..], |value| value.payload)) {
            (NFPROTO, [2]) | (PROTOCOL, [8, 0]) => &["ip", "icmp", "igmp"],
            (NFPROTO, [10]) | (PROTOCOL, [0x86, 0xdd]) => {
                &["ip6", "icmpv6", "exthdr", "frag", "hbh", "rt", "dst", "mh", "srh"]
            }
            (PROTOCOL, [8, 6]) => &["arp"],
            (PROTOCOL, [0x81, 0] | [0x88, 0xa8]) => &["vlan", "8021q", "8021ad"],
            (L4PROTO, [1]) => &["icmp"],
            (L4PROTO, [2]) => &["igmp"],
            (L4PROTO, [6]) => &["tcp"],
            (L4PROTO, [17]) => &["udp"],
            (L4PROTO, [33]) => &["dccp"],
            (L4PROTO, [47]) => &["gre"],
            (L4PROTO, [50]) => &["esp"],
            (L4PROTO, [51]) => &["ah"],
            (L4PROTO, [58]) => &["icmpv6"],
            (L4PROTO, [108]) => &["comp"],
            (L4PROTO, [132]) => &["sctp"],
            (L4PROTO, [136]) => &["udplite"],
            (PROTOCOL | NFPROTO | L4PROTO, _) => &[],
            _ => continue,
        };
        let by_key: &[&str] = match key {
            NFPROTO => &["nfproto"],
            PROTOCOL => &["protocol", "type"],
            _ => &["l4proto", "protocol", "nexthdr"],
        };
        if !told(names) && !told(by_key) {
            return true;
        }
    }
    false
}
