//! The way back: a table as messages that `normalise` reads to the same table. Pure.

use crate::model::{RawMessage, Table, TableKey};
use crate::netlink::AttrWriter;
use crate::netlink::nft::{self, chain, elem, flowtable, msg, object, rule, set, table};

/// Elements are sent in lists below this size: an attribute's length has 16 bits.
const ELEMENTS_PER_MESSAGE: usize = 32 * 1024;

/// The table as the kernel would dump it, without what `normalise` drops.
pub fn denormalise(key: &TableKey, content: &Table) -> Vec<RawMessage> {
    let mut messages = Vec::new();
    let mut put = |kind: u8, head: &[(u16, &[u8])], attrs: &[u8]| {
        let mut out = AttrWriter::new();
        for (number, name) in head {
            out.string(*number, name);
        }
        out.raw(attrs);
        messages.push(RawMessage { kind, family: key.family.number(), attrs: out.into_bytes() });
    };
    let name = &key.name.0[..];
    put(msg::NEWTABLE, &[(table::NAME, name)], &content.attrs);
    let chains = || content.chains.iter().chain(&content.anonymous.chains);
    for (chain_name, found) in chains() {
        put(msg::NEWCHAIN, &[(chain::TABLE, name), (chain::NAME, &chain_name.0)], &found.attrs);
    }
    for (set_name, found) in content.sets.iter().chain(&content.anonymous.sets) {
        put(msg::NEWSET, &[(set::TABLE, name), (set::NAME, &set_name.0)], &found.attrs);
        for list in element_lists(found.elements.values().flat_map(|element| &element.attrs)) {
            put(msg::NEWSETELEM, &[(elem::LIST_TABLE, name), (elem::LIST_SET, &set_name.0)], &list);
        }
    }
    for ((_, object_name), found) in &content.objects {
        put(msg::NEWOBJ, &[(object::TABLE, name), (object::NAME, &object_name.0)], &found.attrs);
    }
    for (flowtable_name, found) in &content.flowtables {
        let head = [(flowtable::TABLE, name), (flowtable::NAME, &flowtable_name.0[..])];
        put(msg::NEWFLOWTABLE, &head, &found.attrs);
    }
    for (chain_name, found) in chains() {
        for entry in &found.rules {
            put(msg::NEWRULE, &[(rule::TABLE, name), (rule::CHAIN, &chain_name.0)], &entry.attrs);
        }
    }
    messages
}

/// Elements as lists (`NFTA_SET_ELEM_LIST_ELEMENTS` attributes), each small enough for one message.
pub fn element_lists<'e>(elements: impl Iterator<Item = &'e Vec<u8>>) -> Vec<Vec<u8>> {
    let mut lists = vec![AttrWriter::new()];
    for element in elements {
        if lists.last().is_some_and(|list| list.as_bytes().len() + element.len() > ELEMENTS_PER_MESSAGE) {
            lists.push(AttrWriter::new());
        }
        if let Some(list) = lists.last_mut() {
            list.nested(nft::LIST_ELEM, |inner| {
                inner.raw(element);
            });
        }
    }
    lists.retain(|list| !list.as_bytes().is_empty());
    let attribute = |list: AttrWriter| {
        let mut attr = AttrWriter::new();
        attr.nested(elem::LIST_ELEMENTS, |inner| {
            inner.raw(list.as_bytes());
        });
        attr.into_bytes()
    };
    lists.into_iter().map(attribute).collect()
}
