//! Mutations that nft's syntax cannot express, as netlink messages.

use crate::listing::Place;
use crate::live::Live;
use fwdrift::collect::nftables;
use fwdrift::model::{Capture, Family, RawMessage};
use fwdrift::netlink::nft::{self, elem, kind, msg, nfgenmsg, rule, set};
use fwdrift::netlink::{AttrWriter, Attrs, flags, put_message};
use fwdrift::sys::socket::Socket;

/// `NFT_MSG_DELTABLE`.
const DELTABLE: u8 = 2;
/// `NFTNL_UDATA_RULE_COMMENT` (libnftnl's udata.h): type, length, zero-terminated text.
const COMMENT: &[u8] = b"\x00\x11fwdrift was here\x00";
/// Where the value stands in a key.
const VALUE: u16 = nft::expr::DATA_VALUE;

fn family(place: &Place) -> u8 {
    Family::ALL.into_iter().find(|family| family.as_str() == place.family).unwrap().number()
}

fn capture(live: &Live) -> Capture {
    live.netns.run(nftables::capture).unwrap().unwrap()
}

/// Sends messages as one transaction; whether the kernel took it.
pub fn commit(live: &Live, messages: &[(u8, u16, u8, Vec<u8>)]) -> bool {
    let header = [0, 0, (nft::SUBSYSTEM >> 8) as u8, (nft::SUBSYSTEM & 0xff) as u8];
    let mut bytes = Vec::new();
    put_message(&mut bytes, nft::BATCH_BEGIN, flags::REQUEST, 1, &[&header]);
    for (number, (message, more, family, attrs)) in messages.iter().enumerate() {
        let last = if number + 1 == messages.len() { flags::ACK } else { 0 };
        let flags = flags::REQUEST | more | last;
        put_message(&mut bytes, kind(*message), flags, number as u32 + 2, &[&nfgenmsg(*family), attrs]);
    }
    let last = messages.len() as u32 + 1;
    put_message(&mut bytes, nft::BATCH_END, flags::REQUEST, last + 1, &[&header]);
    let send = || {
        let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).unwrap();
        socket.batch(&bytes, 1, last).unwrap().is_empty()
    };
    live.mark_changed();
    live.netns.run(send).unwrap()
}

/// Deletes every table.
pub fn flush(live: &Live) {
    assert!(commit(live, &[(DELTABLE, 0, 0, Vec::new())]), "the kernel keeps its tables");
}

/// Adds a rule that counts, with a comment, behind another one.
pub fn add_behind(live: &Live, chain: &Place, behind: u64) -> bool {
    let mut attrs = AttrWriter::new();
    attrs.string(rule::TABLE, chain.table.as_bytes()).string(rule::CHAIN, chain.name.as_bytes());
    attrs.nested(rule::EXPRESSIONS, |list| {
        list.nested(nft::LIST_ELEM, |expression| {
            expression.string(nft::expr::NAME, b"counter").nested(nft::expr::DATA, |_| {});
        });
    });
    attrs.put(rule::USERDATA, COMMENT).put(rule::POSITION, &behind.to_be_bytes());
    let flags = flags::CREATE | flags::APPEND;
    commit(live, &[(msg::NEWRULE, flags, family(chain), attrs.into_bytes())])
}

/// Adds an element to a set whose type nft's syntax has no plain value for: a key of the right length that
/// the set does not have; the data of a map are those of another element.
pub fn add_element(live: &Live, place: &Place) -> bool {
    let capture = capture(live);
    let named = |message: &RawMessage, table: u16, name: u16| {
        let is = |kind, wanted: &str| {
            Attrs(&message.attrs).find(kind).is_some_and(|attr| attr.string() == wanted.as_bytes())
        };
        message.family == family(place) && is(table, &place.table) && is(name, &place.name)
    };
    let all = |kind: u8| capture.messages.iter().filter(move |message| message.kind == kind);
    let Some(definition) = all(msg::NEWSET).find(|message| named(message, set::TABLE, set::NAME)) else {
        return false;
    };
    let number = |kind| Attrs(&definition.attrs).find(kind).and_then(|attr| attr.be32());
    let (Some(length), Some(kinds)) = (number(set::KEY_LEN), number(set::FLAGS)) else { return false };
    let elements: Vec<Attrs<'_>> = all(msg::NEWSETELEM)
        .filter(|message| named(message, elem::LIST_TABLE, elem::LIST_SET))
        .filter_map(|message| Attrs(&message.attrs).find(elem::LIST_ELEMENTS))
        .flat_map(|list| list.nested().flatten().map(|element| element.nested()))
        .collect();
    let data = elements
        .iter()
        .find_map(|element| [elem::DATA, elem::OBJREF].into_iter().find_map(|kind| element.find(kind)));
    if kinds & (set::F_MAP | set::F_OBJECT) != 0 && data.is_none() {
        return false;
    }
    let mut key = vec![0; length as usize];
    key[length as usize - 1] = 0x4d;
    let mut ends = key.clone();
    ends[length as usize - 1] += 1;
    let boundary = kinds & set::F_INTERVAL != 0 && kinds & set::F_CONCAT == 0;
    let mut attrs = AttrWriter::new();
    attrs.string(elem::LIST_TABLE, place.table.as_bytes()).string(elem::LIST_SET, place.name.as_bytes());
    attrs.nested(elem::LIST_ELEMENTS, |list| {
        list.nested(nft::LIST_ELEM, |element| {
            element.nested(elem::KEY, |value| {
                value.put(VALUE, &key);
            });
            if kinds & set::F_INTERVAL != 0 && !boundary {
                element.nested(elem::KEY_END, |value| {
                    value.put(VALUE, &key);
                });
            }
            if let Some(data) = data {
                element.put(data.kind, data.payload);
            }
        });
        if boundary {
            list.nested(nft::LIST_ELEM, |element| {
                element.nested(elem::KEY, |value| {
                    value.put(VALUE, &ends);
                });
                element.be32(elem::FLAGS, elem::F_INTERVAL_END);
            });
        }
    });
    commit(live, &[(msg::NEWSETELEM, flags::CREATE | flags::EXCL, family(place), attrs.into_bytes())])
}
