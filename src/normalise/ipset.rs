//! Sets of ipset as one table, and the way back. Pure.
//!
//! What is compared: of a set its type, family and options; of a member what it is (its key) and what a person
//! added to it (comment, `nomatch`, skb marks). What moves by itself is dropped: `hashsize`, which grows with the
//! members, the random `initval`, references, memory, counts, packets and bytes, remaining timeouts. The revision of
//! the type is the choice of the program that made the set, and is dropped too.
//!
//! Members follow the policy of nf_tables' elements. In a set that a rule adds to or deletes from (`-j SET`), no
//! member is compared: the packet path decides on them. Elsewhere a member with a timeout is a change when somebody
//! adds it, and none when it is gone. A member without a timeout, or with `timeout 0`, lasts, and always counts.

use crate::model::{Element, ElementKey, Name, RawMessage, Set, Table};
use crate::netlink::ipset::{attr, data, msg};
use crate::netlink::{Attr, AttrWriter, Attrs, Malformed};
use std::collections::BTreeMap;

/// The type whose order of members means something: `--add-set` and `--map-set` take the first that fits.
const LIST: &[u8] = b"list:set";
/// Here the kernel itself completes a member that has no MAC address with that of the first packet.
const IP_MAC: &[u8] = b"bitmap:ip,mac";

/// What of a definition moves by itself.
const STATE: [u16; 6] =
    [data::INITVAL, data::HASHSIZE, data::RESIZE, data::ELEMENTS, data::REFERENCES, data::MEMSIZE];
/// What of a member moves by itself.
const MEMBER_STATE: [u16; 5] = [data::TIMEOUT, data::LINENO, data::BYTES, data::PACKETS, data::PAD];
/// What a member is, by net/netfilter/ipset/ip_set_*.c (`*_data_equal`).
const IDENTITY: [u16; 13] = [
    data::IP,
    data::IP_TO,
    data::CIDR,
    data::PORT,
    data::PORT_TO,
    data::PROTO,
    data::MARK,
    data::ETHER,
    data::NAME,
    data::IP2,
    data::CIDR2,
    data::IP2_TO,
    data::IFACE,
];

/// The sets that these messages describe.
pub fn table(messages: &[RawMessage]) -> Result<Table, Malformed> {
    let mut table = Table::default();
    for message in messages {
        let attrs = Attrs(&message.attrs);
        let name = Name(attrs.find(attr::SETNAME).ok_or(Malformed)?.string().to_vec());
        match message.kind {
            msg::CREATE => {
                let set = Set { attrs: definition(attrs)?, ..Set::default() };
                table.sets.insert(name, set);
            }
            msg::ADD => {
                let set = table.sets.get_mut(&name).ok_or(Malformed)?;
                for member in attrs.find(attr::ADT).ok_or(Malformed)?.nested() {
                    add(set, member?.nested())?;
                }
            }
            _ => return Err(Malformed),
        }
    }
    Ok(table)
}

/// The members of each set in the order in which the kernel gave them.
pub fn orders(messages: &[RawMessage]) -> BTreeMap<Name, Vec<ElementKey>> {
    let mut orders = BTreeMap::new();
    let mut set = Set::default();
    for message in messages {
        let attrs = Attrs(&message.attrs);
        let Some(name) = attrs.find(attr::SETNAME).map(|name| Name(name.string().to_vec())) else { continue };
        if message.kind == msg::CREATE {
            set = Set { attrs: definition(attrs).unwrap_or_default(), ..Set::default() };
        }
        let order: &mut Vec<ElementKey> = orders.entry(name).or_default();
        for member in attrs.find(attr::ADT).into_iter().flat_map(|list| list.nested().flatten()) {
            order.extend(parts(&set, member.nested()).map(|(key, _)| key));
        }
    }
    orders
}

/// The names of the sets by their index in the kernel.
pub fn names(messages: &[RawMessage]) -> BTreeMap<u16, Name> {
    let heads = messages.iter().filter(|message| message.kind == msg::CREATE);
    let named = heads.filter_map(|message| {
        let attrs = Attrs(&message.attrs);
        let index = attrs.find(attr::INDEX)?.payload.try_into().ok()?;
        Some((u16::from_be_bytes(index), Name(attrs.find(attr::SETNAME)?.string().to_vec())))
    });
    named.collect()
}

/// A set's type: `hash:ip`.
pub fn type_name(set: &Set) -> &[u8] {
    Attrs(&set.attrs).find(attr::TYPENAME).map(|name| name.string()).unwrap_or_default()
}

/// Whether a set is one of sets.
pub fn is_list(set: &Set) -> bool {
    type_name(set) == LIST
}

/// The timeout that members get that are added without one; none in a set without timeouts.
pub fn default_timeout(set: &Set) -> Option<u32> {
    Attrs(&set.attrs).find(attr::DATA)?.nested().find(data::TIMEOUT)?.be32()
}

/// Whether the live member is the approved one, completed by the kernel: it stores the first MAC address that it sees
/// with a member of a `bitmap:ip,mac` set that has none (ip_set_bitmap_ipmac.c).
pub fn is_completed(approved: &Element, live: &Element) -> bool {
    let ([approved], [live]) = (&approved.attrs[..], &live.attrs[..]) else { return false };
    let without: Vec<Attr<'_>> = Attrs(live).flatten().filter(|attr| attr.kind != data::ETHER).collect();
    Attrs(live).find(data::ETHER).is_some() && Attrs(approved).flatten().eq(without)
}

fn definition(attrs: Attrs<'_>) -> Result<Vec<u8>, Malformed> {
    let name = attrs.find(attr::TYPENAME).ok_or(Malformed)?;
    let mut out = AttrWriter::new();
    out.put(attr::TYPENAME, name.payload);
    out.put(attr::FAMILY, attrs.find(attr::FAMILY).ok_or(Malformed)?.payload);
    let mut options: Vec<Attr<'_>> =
        attrs.find(attr::DATA).ok_or(Malformed)?.nested().collect::<Result<_, _>>()?;
    // Only newer revisions of a type tell their bucket size.
    let usual = |attr: &Attr<'_>| attr.kind == data::BUCKETSIZE && attr.payload == [data::DEFAULT_BUCKETSIZE];
    options.retain(|attr| !STATE.contains(&attr.kind) && !usual(attr));
    options.sort_by_key(|attr| attr.kind);
    out.nested(attr::DATA, |inner| {
        for option in &options {
            match option.kind {
                data::IP | data::IP_TO | data::BITMASK => keep_address(inner, *option),
                kind => {
                    inner.put(kind, option.payload);
                }
            }
        }
    });
    Ok(out.into_bytes())
}

fn add(set: &mut Set, member: Attrs<'_>) -> Result<(), Malformed> {
    let (key, element) = parts(set, member)?;
    if is_list(set) {
        set.order.push(key.clone());
    }
    set.elements.insert(key, element);
    Ok(())
}

/// A member as its key and the rest.
fn parts(set: &Set, member: Attrs<'_>) -> Result<(ElementKey, Element), Malformed> {
    let mut attrs: Vec<Attr<'_>> = member.collect::<Result<_, _>>()?;
    attrs.sort_by_key(|attr| attr.kind);
    let timeout = attrs.iter().find(|attr| attr.kind == data::TIMEOUT).and_then(Attr::be32);
    let flags = attrs.iter().find(|attr| attr.kind == data::CADT_FLAGS).and_then(Attr::be32).unwrap_or(0);
    let is_key = |kind: u16| IDENTITY.contains(&kind) && !(kind == data::ETHER && type_name(set) == IP_MAC);
    let (mut key, mut rest) = (AttrWriter::new(), AttrWriter::new());
    for attr in attrs.iter().filter(|attr| !MEMBER_STATE.contains(&attr.kind)) {
        match attr.kind {
            data::CADT_FLAGS => {}
            data::IP | data::IP_TO | data::IP2 | data::IP2_TO => keep_address(&mut key, *attr),
            kind => {
                let out = if is_key(kind) { &mut key } else { &mut rest };
                out.put(kind, attr.payload);
            }
        }
    }
    if flags & data::F_PHYSDEV != 0 {
        key.be32(data::CADT_FLAGS, data::F_PHYSDEV);
    }
    if flags & !data::F_PHYSDEV != 0 {
        rest.be32(data::CADT_FLAGS, flags & !data::F_PHYSDEV);
    }
    let expires = timeout.is_some_and(|seconds| seconds != 0);
    if expires {
        // That it expires somebody decided, not what remains of its time.
        rest.be32(data::TIMEOUT, 0);
    }
    let key = ElementKey { key: key.into_bytes(), end: Vec::new(), flags: 0 };
    Ok((key, Element { expires, attrs: vec![rest.into_bytes()] }))
}

/// The set as `IPSET_CMD_CREATE` and `IPSET_CMD_ADD` messages, of which [`table`] makes the same set. Their
/// attributes are also what the kernel takes, but for the protocol and the revision.
pub fn messages(name: &Name, set: &Set) -> Vec<RawMessage> {
    let mut head = AttrWriter::new();
    head.string(attr::SETNAME, &name.0);
    for found in Attrs(&set.attrs).flatten() {
        match found.kind {
            attr::DATA => head.nested(attr::DATA, |options| {
                found.nested().flatten().for_each(|option| put_option(options, option));
            }),
            kind => head.put(kind, found.payload),
        };
    }
    let mut messages = vec![RawMessage { kind: msg::CREATE, family: 2, attrs: head.into_bytes() }];
    let mut list = AttrWriter::new();
    let mut close = |list: &mut AttrWriter| {
        let members = std::mem::take(list).into_bytes();
        let mut attrs = AttrWriter::new();
        attrs.string(attr::SETNAME, &name.0).nested(attr::ADT, |inner| {
            inner.raw(&members);
        });
        messages.push(RawMessage { kind: msg::ADD, family: 2, attrs: attrs.into_bytes() });
    };
    for (key, element) in members(set) {
        list.nested(attr::DATA, |member| put_member(member, set, key, element));
        if list.as_bytes().len() > MEMBERS_PER_MESSAGE {
            close(&mut list);
        }
    }
    if !list.as_bytes().is_empty() {
        close(&mut list);
    }
    messages
}

/// An attribute's length has 16 bits; a member has less than 1 KiB.
const MEMBERS_PER_MESSAGE: usize = 32 * 1024;

/// The members of a set, in their order where it has one.
pub fn members(set: &Set) -> Vec<(&ElementKey, &Element)> {
    if is_list(set) {
        set.order.iter().filter_map(|key| set.elements.get_key_value(key)).collect()
    } else {
        set.elements.iter().collect()
    }
}

fn put_member(out: &mut AttrWriter, set: &Set, key: &ElementKey, element: &Element) {
    let mut flags = 0;
    let parts = [&key.key].into_iter().chain(&element.attrs);
    for attr in parts.flat_map(|part| Attrs(part).flatten()) {
        match attr.kind {
            data::CADT_FLAGS => flags |= attr.be32().unwrap_or(0),
            data::TIMEOUT => {}
            _ => put_part(out, attr),
        }
    }
    if flags != 0 {
        out.net(data::CADT_FLAGS, &flags.to_be_bytes());
    }
    if default_timeout(set).is_some() {
        // What remained of it is not known any more, but that it expires.
        let seconds = if element.expires { crate::netlink::ipset::LONGEST_TIMEOUT } else { 0 };
        out.net(data::TIMEOUT, &seconds.to_be_bytes());
    }
}

/// Numbers are refused unless they say that they are in network byte order (`ip_set_attr_netorder`); addresses are
/// numbers in an attribute of their own. A definition and a member use the same numbers for different things.
fn put_option(out: &mut AttrWriter, attr: Attr<'_>) {
    match attr.kind {
        data::IP | data::IP_TO | data::BITMASK => put_address(out, attr),
        kind if attr.payload.len() > 1 => {
            out.net(kind, attr.payload);
        }
        kind => {
            out.put(kind, attr.payload);
        }
    }
}

fn put_part(out: &mut AttrWriter, attr: Attr<'_>) {
    match attr.kind {
        data::IP | data::IP_TO | data::IP2 | data::IP2_TO => put_address(out, attr),
        data::CIDR | data::CIDR2 | data::PROTO | data::ETHER | data::NAME | data::IFACE | data::COMMENT => {
            out.put(attr.kind, attr.payload);
        }
        kind => {
            out.net(kind, attr.payload);
        }
    }
}

/// Without the marks for byte order and nesting, which the kernel sets on some of what it dumps.
fn keep_address(out: &mut AttrWriter, attr: Attr<'_>) {
    let mut inner = AttrWriter::new();
    for address in attr.nested().flatten() {
        inner.put(address.kind, address.payload);
    }
    out.put(attr.kind, inner.as_bytes());
}

fn put_address(out: &mut AttrWriter, attr: Attr<'_>) {
    out.nested(attr.kind, |inner| {
        for address in attr.nested().flatten() {
            inner.net(address.kind, address.payload);
        }
    });
}
