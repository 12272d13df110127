//! Builds the netlink batch that makes chosen objects of a ruleset anew, in another namespace. Pure.
//!
//! To know: `NFTA_SET_ID` must be added to a set; a bound chain is made and referred to by
//! `NFTA_CHAIN_ID`, not by name; and a rule with an xt match needs `NFTA_RULE_COMPAT`, which the
//! kernel does not dump, so it is worked out from the rule's own test of the protocol.

use super::selection::TableSelection;
use crate::model::{Anonymous, ElementKey, Family, Name, Rule, Set, Table, TableKey};
use crate::netlink::nft::{
    self, chain, elem, expr, flowtable, kind, msg, nfgenmsg, object, rule, set, table,
};
use crate::netlink::{AttrWriter, Attrs, flags, put_message};
use crate::normalise::{element_lists, expressions, map_expressions, references, xt_set};
use std::collections::BTreeMap;

/// `NFTA_VERDICT_CHAIN_ID`.
const VERDICT_CHAIN_ID: u16 = 3;
/// `NFT_RULE_COMPAT_F_INV`.
const COMPAT_F_INV: u32 = 1 << 1;

/// A batch under construction, with what each of its messages makes.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// What the message with this sequence number makes, in words, for error messages.
    described: Vec<String>,
    next_id: u32,
    /// The indices that the sets of ipset have where the batch is sent.
    sets: BTreeMap<Name, u16>,
}

impl Batch {
    /// An empty batch, for a namespace in which the sets of ipset have these indices.
    pub fn new(sets: BTreeMap<Name, u16>) -> Self {
        let mut batch = Self { bytes: Vec::new(), described: Vec::new(), next_id: 0, sets };
        batch.frame(nft::BATCH_BEGIN, "begin");
        batch
    }

    /// The sequence number of the first message.
    pub const FIRST: u32 = 1;

    /// Closes the batch. Returns its bytes, and the number of the message that is acknowledged.
    pub fn finish(mut self) -> (Vec<u8>, u32, Vec<String>) {
        let last = self.described.len() as u32;
        self.acknowledge_last();
        self.frame(nft::BATCH_END, "end");
        (self.bytes, last, self.described)
    }

    fn acknowledge_last(&mut self) {
        let mut start = 0;
        let mut rest = &self.bytes[..];
        while rest.len() >= 4 {
            let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
            let step = (length + 3) & !3;
            if step >= rest.len() {
                break;
            }
            start += step;
            rest = &rest[step..];
        }
        let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]) | flags::ACK;
        self.bytes[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
    }

    fn frame(&mut self, message: u16, what: &str) {
        let header = [0, 0, (nft::SUBSYSTEM >> 8) as u8, (nft::SUBSYSTEM & 0xff) as u8];
        self.push(message, flags::REQUEST, &[&header], what.to_owned());
    }

    fn push(&mut self, message: u16, flags: u16, body: &[&[u8]], what: String) {
        self.described.push(what);
        put_message(&mut self.bytes, message, flags, self.described.len() as u32, body);
    }

    fn make(&mut self, message: u8, family: Family, attrs: AttrWriter, what: String) {
        let flags = flags::REQUEST | flags::CREATE | if message == msg::NEWRULE { flags::APPEND } else { 0 };
        let header = nfgenmsg(family.number());
        self.push(kind(message), flags, &[&header, attrs.as_bytes()], what);
    }

    /// Adds the selected objects of one table, in an order in which each finds what it names.
    pub fn add_table(&mut self, key: &TableKey, content: &Table, selection: &TableSelection) {
        let mut attrs = AttrWriter::new();
        attrs.string(table::NAME, &key.name.0).raw(&content.attrs);
        self.make(msg::NEWTABLE, key.family, attrs, format!("table {key}"));
        for (object_kind, name) in &selection.objects {
            self.add_object(key, content, *object_kind, name);
        }
        for name in selection.chains.keys() {
            self.add_chain(key, content, name);
        }
        for name in &selection.flowtables {
            self.add_flowtable(key, content, name);
        }
        for (name, with_elements) in &selection.sets {
            if let Some(set) = content.sets.get(name) {
                self.add_set(key, name, set, size_hint(set).filter(|_| *with_elements));
                if *with_elements {
                    self.add_elements(key, name, set.elements.values().flat_map(|e| &e.attrs));
                }
            }
        }
        for (number, (name, element)) in selection.elements.iter().enumerate() {
            self.add_single_element(key, content, name, element, number);
        }
        for (name, places) in &selection.chains {
            let Some(chain) = content.chains.get(name) else { continue };
            for place in places {
                if let Some(rule) = chain.rules.get(*place) {
                    self.add_rule(key, &content.anonymous, Target::Named(name), rule);
                }
            }
        }
    }

    fn add_object(&mut self, key: &TableKey, content: &Table, object_kind: u32, name: &Name) {
        let Some(found) = content.objects.get(&(object_kind, name.clone())) else { return };
        let mut attrs = AttrWriter::new();
        attrs.string(object::TABLE, &key.name.0).string(object::NAME, &name.0).raw(&found.attrs);
        self.make(msg::NEWOBJ, key.family, attrs, format!("object {name} of table {key}"));
    }

    fn add_chain(&mut self, key: &TableKey, content: &Table, name: &Name) {
        let Some(found) = content.chains.get(name) else { return };
        let mut attrs = AttrWriter::new();
        attrs.string(chain::TABLE, &key.name.0).string(chain::NAME, &name.0).raw(&found.attrs);
        self.make(msg::NEWCHAIN, key.family, attrs, format!("chain {name} of table {key}"));
    }

    fn add_flowtable(&mut self, key: &TableKey, content: &Table, name: &Name) {
        let Some(found) = content.flowtables.get(name) else { return };
        let mut attrs = AttrWriter::new();
        attrs.string(flowtable::TABLE, &key.name.0).string(flowtable::NAME, &name.0).raw(&found.attrs);
        self.make(msg::NEWFLOWTABLE, key.family, attrs, format!("flowtable {name} of table {key}"));
    }

    fn add_set(&mut self, key: &TableKey, name: &Name, content: &Set, size: Option<u32>) {
        self.next_id += 1;
        let mut attrs = AttrWriter::new();
        attrs.string(set::TABLE, &key.name.0).string(set::NAME, &name.0);
        match size {
            None => attrs.raw(&content.attrs),
            Some(size) => {
                let given = Attrs(&content.attrs);
                attrs.raw(without(given, &[set::DESC]).as_bytes());
                attrs.nested(set::DESC, |desc| {
                    desc.be32(set::DESC_SIZE, size);
                    desc.raw(given.find(set::DESC).map_or(&[][..], |desc| desc.payload));
                })
            }
        };
        attrs.be32(set::ID, self.next_id);
        self.make(msg::NEWSET, key.family, attrs, format!("set {name} of table {key}"));
    }

    /// Adds elements to the set that was added last.
    fn add_elements<'e>(&mut self, key: &TableKey, name: &Name, elements: impl Iterator<Item = &'e Vec<u8>>) {
        for list in element_lists(elements) {
            let mut attrs = AttrWriter::new();
            attrs.string(elem::LIST_TABLE, &key.name.0).string(elem::LIST_SET, &name.0);
            attrs.be32(elem::LIST_SET_ID, self.next_id).raw(&list);
            self.make(msg::NEWSETELEM, key.family, attrs, format!("elements of set {name} of table {key}"));
        }
    }

    /// One element in a set of its own, so that its text stands alone in the listing.
    fn add_single_element(
        &mut self,
        key: &TableKey,
        content: &Table,
        name: &Name,
        element: &ElementKey,
        number: usize,
    ) {
        let Some(set) = content.sets.get(name) else { return };
        let Some(found) = set.elements.get(element) else { return };
        let alone = single_element_set(number);
        self.add_set(key, &alone, set, None);
        self.add_elements(key, &alone, found.attrs.iter());
    }

    fn add_rule(&mut self, key: &TableKey, anonymous: &Anonymous, target: Target<'_>, source: &Rule) {
        let mut bound = BTreeMap::new();
        for name in references(&source.attrs) {
            if let Some(set) = anonymous.sets.get(&name) {
                self.add_set(key, &name, set, None);
                self.add_elements(key, &name, set.elements.values().flat_map(|e| &e.attrs));
            } else if let Some(chain) = anonymous.chains.get(&name) {
                let id = self.add_bound_chain(key, &chain.attrs);
                for inner in &chain.rules {
                    self.add_rule(key, anonymous, Target::Bound(id), inner);
                }
                bound.insert(name, id);
            }
        }
        let mut attrs = AttrWriter::new();
        attrs.string(rule::TABLE, &key.name.0);
        match target {
            Target::Named(name) => attrs.string(rule::CHAIN, &name.0),
            Target::Bound(id) => attrs.be32(rule::CHAIN_ID, id),
        };
        attrs.raw(&sendable(&source.attrs, &bound, &self.sets));
        if let Some((protocol, inverted)) = compat_protocol(&source.attrs) {
            attrs.nested(rule::COMPAT, |compat| {
                compat.be32(rule::COMPAT_PROTO, protocol);
                compat.be32(rule::COMPAT_FLAGS, if inverted { COMPAT_F_INV } else { 0 });
            });
        }
        self.make(msg::NEWRULE, key.family, attrs, format!("a rule of {} in table {key}", target.describe()));
    }

    fn add_bound_chain(&mut self, key: &TableKey, attrs_of_chain: &[u8]) -> u32 {
        self.next_id += 1;
        let mut attrs = AttrWriter::new();
        attrs.string(chain::TABLE, &key.name.0).raw(attrs_of_chain).be32(chain::ID, self.next_id);
        self.make(msg::NEWCHAIN, key.family, attrs, format!("a bound chain of table {key}"));
        self.next_id
    }
}

/// Sets with more elements than this are made with a size.
const GROWS: usize = 100;

/// The size with which a large hash set is made although it has none of its own. Without one the kernel
/// lets its hash table grow after the elements came, and a listing made meanwhile leaves some out
/// (net/netfilter/nft_set_hash.c). The listing then says `size`, which `listing::without_sizes` removes.
pub fn size_hint(set: &Set) -> Option<u32> {
    let given = Attrs(&set.attrs).find(set::DESC).and_then(|desc| desc.nested().find(set::DESC_SIZE));
    let hashed = set.flags & (set::F_INTERVAL | set::F_EVAL | set::F_ANONYMOUS) == 0;
    u32::try_from(set.elements.len()).ok().filter(|_| set.elements.len() > GROWS && hashed && given.is_none())
}

/// The name of the set that holds the n-th single element.
pub fn single_element_set(number: usize) -> Name {
    Name(format!("fwdrift-element-{number}").into_bytes())
}

#[derive(Clone, Copy)]
enum Target<'a> {
    Named(&'a Name),
    Bound(u32),
}

impl Target<'_> {
    fn describe(self) -> String {
        match self {
            Self::Named(name) => format!("chain {name}"),
            Self::Bound(_) => "a bound chain".to_owned(),
        }
    }
}

/// The rule's attributes in the form in which the kernel takes them back.
fn sendable(rule_attrs: &[u8], bound: &BTreeMap<Name, u32>, sets: &BTreeMap<Name, u16>) -> Vec<u8> {
    map_expressions(rule_attrs, |expression| {
        let name = expression.find(expr::NAME)?;
        let data = expression.find(expr::DATA)?.nested();
        let data = match name.string() {
            b"immediate" => jump_by_id(data, bound)?,
            b"dynset" => dynset(data)?,
            b"exthdr" => exthdr(data)?,
            b"osf" => osf(data)?,
            _ => return xt_set::indexed(expression, sets),
        };
        let mut out = AttrWriter::new();
        out.put(expr::NAME, name.payload);
        out.nested(expr::DATA, |inner| {
            inner.raw(&data);
        });
        Some(out.into_bytes())
    })
}

/// A jump to a bound chain by id in place of its old name.
fn jump_by_id(data: Attrs<'_>, ids: &BTreeMap<Name, u32>) -> Option<Vec<u8>> {
    let verdict = data.find(expr::IMMEDIATE_DATA)?.nested().find(expr::DATA_VERDICT)?.nested();
    let name = Name(verdict.find(expr::VERDICT_CHAIN)?.string().to_vec());
    let (id, code) = (*ids.get(&name)?, verdict.find(expr::VERDICT_CODE)?);
    let mut out = AttrWriter::new();
    if let Some(register) = data.find(expr::IMMEDIATE_DREG) {
        out.put(expr::IMMEDIATE_DREG, register.payload);
    }
    out.nested(expr::IMMEDIATE_DATA, |value| {
        value.nested(expr::DATA_VERDICT, |verdict| {
            verdict.put(expr::VERDICT_CODE, code.payload).be32(VERDICT_CHAIN_ID, id);
        });
    });
    Some(out.into_bytes())
}

/// Several expressions need `NFT_DYNSET_F_EXPR`, which is not dumped (net/netfilter/nft_dynset.c).
fn dynset(data: Attrs<'_>) -> Option<Vec<u8>> {
    const F_EXPR: u32 = 1 << 1;
    data.find(expr::DYNSET_EXPRESSIONS)?;
    let flags = data.find(expr::DYNSET_FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
    let mut out = without(data, &[expr::DYNSET_FLAGS]);
    out.be32(expr::DYNSET_FLAGS, flags | F_EXPR);
    Some(out.into_bytes())
}

/// Writing an option takes no flags, removing one takes only its type; both dump more
/// (net/netfilter/nft_exthdr.c).
fn exthdr(data: Attrs<'_>) -> Option<Vec<u8>> {
    if data.find(expr::EXTHDR_DREG).is_some() {
        return None;
    }
    let refused: &[u16] = match data.find(expr::EXTHDR_SREG) {
        Some(_) => &[expr::EXTHDR_FLAGS],
        None => &[expr::EXTHDR_FLAGS, expr::EXTHDR_OFFSET, expr::EXTHDR_LEN],
    };
    Some(without(data, refused).into_bytes())
}

/// Flags of 0 are dumped and refused (net/netfilter/nft_osf.c).
fn osf(data: Attrs<'_>) -> Option<Vec<u8>> {
    let flags = data.find(expr::OSF_FLAGS)?;
    let none = flags.payload.iter().all(|byte| *byte == 0);
    none.then(|| without(data, &[expr::OSF_FLAGS]).into_bytes())
}

fn without(attrs: Attrs<'_>, dropped: &[u16]) -> AttrWriter {
    let mut out = AttrWriter::new();
    for attr in attrs.flatten().filter(|attr| !dropped.contains(&attr.kind)) {
        out.put(attr.kind, attr.payload);
    }
    out
}

/// For a rule with xt extensions: the protocol that it tests, and whether it excludes it. iptables-nft
/// tests `meta l4proto`, or the protocol byte of the header; ebtables-nft the type in the Ethernet header, which
/// the kernel takes in the order of the wire (net/netfilter/nft_compat.c, `AF_BRIDGE`).
fn compat_protocol(rule_attrs: &[u8]) -> Option<(u32, bool)> {
    /// `NFT_META_L4PROTO`.
    const L4PROTO: u32 = 16;
    let mut protocol_loaded = false;
    let mut protocol = None;
    let mut has_extension = false;
    for expression in expressions(rule_attrs) {
        let (name, data) = (expression.find(expr::NAME)?, expression.find(expr::DATA));
        let number = |kind| data.and_then(|data| data.nested().find(kind)?.be32());
        match name.string() {
            b"meta" => protocol_loaded = number(expr::META_KEY) == Some(L4PROTO),
            b"payload" => {
                let place =
                    (number(expr::PAYLOAD_BASE), number(expr::PAYLOAD_OFFSET), number(expr::PAYLOAD_LEN));
                protocol_loaded =
                    matches!(place, (Some(1), Some(9 | 6), Some(1)) | (Some(0), Some(12), Some(2)));
            }
            b"cmp" if protocol_loaded => {
                let value = data?.nested().find(expr::CMP_DATA)?.nested().find(expr::DATA_VALUE)?;
                let tested = match *value.payload {
                    [byte] => Some(u32::from(byte)),
                    [high, low] => Some(u32::from(u16::from_ne_bytes([high, low]))),
                    _ => None,
                };
                // Not a comparison of sizes, with which `-p LENGTH` is told.
                let equality = number(expr::CMP_OP).filter(|operator| *operator <= 1);
                protocol = tested.zip(equality.map(|operator| operator == 1)).or(protocol);
                protocol_loaded = false;
            }
            b"match" | b"target" => has_extension = true,
            _ => {}
        }
    }
    protocol.filter(|_| has_extension)
}
