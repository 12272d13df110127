//! The announcements of one transaction, each read by itself: what was put, what was removed. Pure.
//!
//! What belongs to a rule (anonymous sets, bound chains) is announced before it and becomes part of it here. The kernel
//! uses the names of anonymous sets again, also within a transaction, so that the order counts.

use super::{anonymous, elements, strip, xt_set};
use crate::model::{
    Anonymous, Backend, Chain, Digest, Element, ElementKey, Family, Name, RawMessage, Rule, Set, TableKey,
};
use crate::netlink::nft::{self, msg};
use crate::netlink::{Attrs, Malformed};
use std::collections::BTreeMap;

/// What was done to a thing. Whether something that was put was there before, no announcement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// `NFT_MSG_NEW*`.
    Put,
    /// `NFT_MSG_DEL*` and `NFT_MSG_DESTROY*`.
    Removed,
}

/// One deed of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deed {
    /// Where.
    pub table: TableKey,
    /// Put or removed.
    pub act: Act,
    /// What.
    pub on: On,
}

/// What a deed is about. A removal carries a definition only for rules and elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// The table itself: its flags and its comment.
    Table(Option<Vec<u8>>),
    /// A chain's definition.
    Chain(DoneChain),
    /// A rule.
    Rule(DoneRule),
    /// A set's or map's definition.
    Set(Name, Option<Set>),
    /// An element, or one end of an interval.
    Element(Name, ElementKey, Element),
    /// A stateful object by type and name.
    Object(u32, Name, Option<Vec<u8>>),
    /// A flowtable; as with chains, an update names only the devices that came or went.
    Flowtable(Name, Option<Vec<u8>>),
}

/// A chain as it was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneChain {
    /// Its name; of one that was renamed, the new one. The old one is not announced, nor are the rules that jump to it.
    pub name: Name,
    /// `NFTA_CHAIN_HANDLE`.
    pub handle: u64,
    /// Its definition. Where it has devices, it names only those that came or went (see [`names_devices`]). None if the
    /// chain itself was removed.
    pub attrs: Option<Vec<u8>>,
}

/// A rule as it was announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneRule {
    /// Its chain.
    pub chain: Name,
    /// `NFTA_RULE_HANDLE`.
    pub handle: u64,
    /// Its bytes and its digest; none if the kernel did not send them.
    pub rule: Option<Rule>,
    /// What belongs to it, as far as this transaction made it.
    pub own: Anonymous,
    /// Whether that is all: then the digest is that of a full reading.
    pub whole: bool,
}

/// The deeds of a transaction in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// What was understood.
    pub deeds: Vec<Deed>,
    /// Whether that was all.
    pub complete: bool,
}

/// Reads a transaction's messages, in a namespace where the sets of ipset have these names (by index).
pub fn deeds(messages: &[RawMessage], ipset: &BTreeMap<u16, Name>) -> Deeds {
    let mut reader = Reader { ipset, tables: BTreeMap::new(), deeds: Vec::new() };
    let mut complete = true;
    for message in messages {
        complete &= reader.message(message).is_ok();
    }
    Deeds { deeds: reader.deeds, complete }
}

/// Reads a dump as if it was the transaction that made all of it. A dump has the rules of a chain that belongs to a rule
/// behind that rule.
pub(super) fn of_dump(messages: &[RawMessage], ipset: &BTreeMap<u16, Name>) -> Vec<Deed> {
    let mut reader = Reader { ipset, tables: BTreeMap::new(), deeds: Vec::new() };
    let (rules, others): (Vec<_>, Vec<_>) = messages.iter().partition(|found| found.kind == msg::NEWRULE);
    for message in others {
        let _ = reader.message(message);
    }
    let is_bound = |message: &&RawMessage| {
        let chain = Attrs(&message.attrs).find(nft::rule::CHAIN).map(|name| Name(name.string().to_vec()));
        chain.is_some_and(|chain| reader.tables.values().any(|own| own.chains.contains_key(&chain)))
    };
    let (bound, rules): (Vec<_>, Vec<_>) = rules.into_iter().partition(is_bound);
    for message in bound.into_iter().chain(rules) {
        let _ = reader.message(message);
    }
    reader.deeds
}

struct Reader<'a> {
    ipset: &'a BTreeMap<u16, Name>,
    /// What this transaction made for single rules.
    tables: BTreeMap<TableKey, Anonymous>,
    deeds: Vec<Deed>,
}

impl Reader<'_> {
    fn message(&mut self, message: &RawMessage) -> Result<(), Malformed> {
        let attrs = Attrs(&message.attrs);
        let family = Family::from_number(message.family).ok_or(Malformed)?;
        // `NFTA_*_TABLE`, and `NFTA_TABLE_NAME`: all 1.
        let name = Name(attrs.find(nft::table::NAME).ok_or(Malformed)?.string().to_vec());
        let table = TableKey { backend: Backend::NfTables, family, name };
        let act = match message.kind {
            msg::NEWTABLE | msg::NEWCHAIN | msg::NEWRULE | msg::NEWSET => Act::Put,
            msg::NEWSETELEM | msg::NEWOBJ | msg::NEWFLOWTABLE => Act::Put,
            _ => Act::Removed,
        };
        match message.kind {
            msg::NEWTABLE => {
                let attrs = strip::table(attrs)?;
                self.push(table, act, On::Table(Some(attrs)));
            }
            msg::DELTABLE | msg::DESTROYTABLE => {
                self.tables.remove(&table);
                self.push(table, act, On::Table(None));
            }
            msg::NEWCHAIN | msg::DELCHAIN | msg::DESTROYCHAIN => self.chain(table, act, attrs)?,
            msg::NEWRULE | msg::DELRULE | msg::DESTROYRULE => self.rule(table, act, attrs)?,
            msg::NEWSET | msg::DELSET | msg::DESTROYSET => self.set(table, act, attrs)?,
            msg::NEWSETELEM | msg::DELSETELEM | msg::DESTROYSETELEM => self.elements(table, act, attrs)?,
            msg::NEWOBJ | msg::DELOBJ | msg::DESTROYOBJ => {
                let name = name_in(attrs, nft::object::NAME)?;
                let kind = attrs.find(nft::object::TYPE).and_then(|attr| attr.be32()).ok_or(Malformed)?;
                let put = if act == Act::Put { Some(strip::object(attrs, kind)?) } else { None };
                self.push(table, act, On::Object(kind, name, put));
            }
            msg::NEWFLOWTABLE | msg::DELFLOWTABLE | msg::DESTROYFLOWTABLE => {
                let name = name_in(attrs, nft::flowtable::NAME)?;
                let devices = attrs.find(nft::flowtable::HOOK).is_some();
                let put = if devices { Some(strip::flowtable(attrs)?) } else { None };
                self.push(table, act, On::Flowtable(name, put));
            }
            _ => return Err(Malformed),
        }
        Ok(())
    }

    fn push(&mut self, table: TableKey, act: Act, on: On) {
        self.deeds.push(Deed { table, act, on });
    }

    fn chain(&mut self, table: TableKey, act: Act, attrs: Attrs<'_>) -> Result<(), Malformed> {
        let name = name_in(attrs, nft::chain::NAME)?;
        let flags = attrs.find(nft::chain::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
        let stripped = strip::chain(attrs)?;
        if act == Act::Put && flags & nft::chain::F_BINDING != 0 {
            let bound = Chain { attrs: stripped, rules: Vec::new() };
            self.tables.entry(table).or_default().chains.insert(name, bound);
            return Ok(());
        }
        let own = self.tables.get_mut(&table);
        if act == Act::Removed && own.is_some_and(|own| own.chains.remove(&name).is_some()) {
            return Ok(());
        }
        // A removal that names devices is one of these only. (Kernels before 6.4 define the chain that is removed again.)
        let defines = act == Act::Put || names_devices(&stripped);
        let handle = attrs.find(nft::chain::HANDLE).and_then(|attr| attr.be64()).ok_or(Malformed)?;
        let attrs = defines.then_some(stripped);
        self.push(table, act, On::Chain(DoneChain { name, handle, attrs }));
        Ok(())
    }

    fn rule(&mut self, table: TableKey, act: Act, attrs: Attrs<'_>) -> Result<(), Malformed> {
        let chain = name_in(attrs, nft::rule::CHAIN)?;
        let handle = attrs.find(nft::rule::HANDLE).and_then(|attr| attr.be64()).ok_or(Malformed)?;
        if attrs.find(nft::rule::EXPRESSIONS).is_none() {
            let (own, whole) = (Anonymous::default(), false);
            self.push(table, act, On::Rule(DoneRule { chain, handle, rule: None, own, whole }));
            return Ok(());
        }
        let stripped = strip::rule(table.family, attrs)?;
        let named = xt_set::with_names(&stripped, self.ipset);
        let attrs = named.unwrap_or(stripped);
        let mut rule = Rule { digest: Digest::of([&attrs[..]]), attrs: attrs.into() };
        let nothing = Anonymous::default();
        let made = self.tables.get(&table).unwrap_or(&nothing);
        if made.chains.contains_key(&chain) {
            let made = self.tables.entry(table).or_default();
            if let (Act::Put, Some(bound)) = (act, made.chains.get_mut(&chain)) {
                bound.rules.push(rule);
            }
            return Ok(());
        }
        let mut own = anonymous::owned_by(&rule.attrs, made);
        own.sets.values_mut().for_each(elements::pair);
        let is_there = |name: &Name| own.sets.contains_key(name) || own.chains.contains_key(name);
        let of_chains = own.chains.values().flat_map(|chain| &chain.rules);
        let rules = of_chains.chain(std::iter::once(&rule));
        let mut used = rules.clone().flat_map(|rule| anonymous::references(&rule.attrs));
        let whole = !used.any(|name| may_be_owned(&name) && !is_there(&name))
            && !rules.clone().any(|rule| xt_set::has_unnamed(&rule.attrs));
        rule.digest = anonymous::digest_of(&rule, &own);
        self.push(table, act, On::Rule(DoneRule { chain, handle, rule: Some(rule), own, whole }));
        Ok(())
    }

    fn set(&mut self, table: TableKey, act: Act, attrs: Attrs<'_>) -> Result<(), Malformed> {
        let name = name_in(attrs, nft::set::NAME)?;
        if act == Act::Removed {
            let own = self.tables.get_mut(&table).and_then(|own| own.sets.remove(&name));
            if own.is_none() {
                self.push(table, act, On::Set(name, None));
            }
            return Ok(());
        }
        let flags = attrs.find(nft::set::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
        let set = Set { flags, attrs: strip::set(attrs)?, ..Set::default() };
        if flags & nft::set::F_ANONYMOUS != 0 {
            self.tables.entry(table).or_default().sets.insert(name, set);
        } else {
            self.push(table, act, On::Set(name, Some(set)));
        }
        Ok(())
    }

    fn elements(&mut self, table: TableKey, act: Act, attrs: Attrs<'_>) -> Result<(), Malformed> {
        let name = name_in(attrs, nft::elem::LIST_SET)?;
        let Some(list) = attrs.find(nft::elem::LIST_ELEMENTS) else { return Ok(()) };
        let own = self.tables.get_mut(&table).and_then(|own| own.sets.get_mut(&name));
        // Only elements of intervals have ends, and only those have the boundary at zero that says nothing.
        let flags = own.as_ref().map_or(nft::set::F_INTERVAL, |set| set.flags);
        let mut found = Set { flags, ..Set::default() };
        for element in list.nested() {
            elements::add(&mut found, element?.nested())?;
        }
        match (own, act) {
            (Some(set), Act::Put) => set.elements.extend(found.elements),
            (Some(set), Act::Removed) => set.elements.retain(|key, _| !found.elements.contains_key(key)),
            (None, _) => {
                for (key, element) in found.elements {
                    self.push(table.clone(), act, On::Element(name.clone(), key, element));
                }
            }
        }
        Ok(())
    }
}

/// Whether a name looks like one that the kernel gives to what belongs to a rule: `__set3`, `__map0`, `__chain7`.
/// Nothing else tells, where the thing itself is not known.
pub fn may_be_owned(name: &Name) -> bool {
    name.0.starts_with(b"__")
}

/// Whether a chain's definition names devices. The announcement of an update has only those that it adds, if any.
pub fn names_devices(chain_attrs: &[u8]) -> bool {
    let hook = Attrs(chain_attrs).find(nft::chain::HOOK).map(|hook| hook.nested());
    let is_device = |kind: u16| kind == nft::chain::HOOK_DEV || kind == nft::chain::HOOK_DEVS;
    hook.is_some_and(|hook| hook.flatten().any(|attr| is_device(attr.kind)))
}

fn name_in(attrs: Attrs<'_>, kind: u16) -> Result<Name, Malformed> {
    Ok(Name(attrs.find(kind).ok_or(Malformed)?.string().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Ruleset, Transaction};
    use crate::netlink::AttrWriter;
    use crate::normalise::advance::advance;
    use crate::normalise::touched::Touches;
    use proptest::prelude::*;

    fn message(kind: u8, fill: impl FnOnce(&mut AttrWriter)) -> RawMessage {
        let mut attrs = AttrWriter::new();
        attrs.string(nft::table::NAME, b"t");
        fill(&mut attrs);
        RawMessage { kind, family: Family::Inet.number(), attrs: attrs.into_bytes() }
    }

    fn flowtable(kind: u8, devices: &[&[u8]]) -> RawMessage {
        message(kind, |attrs| {
            attrs.string(nft::flowtable::NAME, b"f").nested(nft::flowtable::HOOK, |hook| {
                hook.be32(nft::chain::HOOK_PRIORITY, 7).nested(nft::flowtable::HOOK_DEVS, |list| {
                    devices.iter().for_each(|name| {
                        list.string(1, name);
                    });
                });
            });
        })
    }

    fn devices_of(context: &Ruleset) -> Vec<Vec<u8>> {
        let table = context.tables.values().next().unwrap();
        let hook = Attrs(&table.flowtables[&Name(b"f".to_vec())].attrs).find(nft::flowtable::HOOK).unwrap();
        let list = hook.nested().find(nft::flowtable::HOOK_DEVS).unwrap();
        list.nested().flatten().map(|device| device.string().to_vec()).collect()
    }

    #[test]
    fn the_devices_of_a_flowtable_come_and_go_one_by_one() {
        let mut context = Ruleset::default();
        let mut check = |message: RawMessage, expected: &[&[u8]]| {
            let read = deeds(&[message], &BTreeMap::new());
            assert!(read.complete);
            advance(&mut context, &read.deeds, &[]);
            assert_eq!(devices_of(&context), expected);
        };
        check(flowtable(msg::NEWFLOWTABLE, &[b"a"]), &[b"a"]);
        check(flowtable(msg::NEWFLOWTABLE, &[b"b"]), &[b"b", b"a"]);
        check(flowtable(msg::NEWFLOWTABLE, &[]), &[b"b", b"a"]);
        check(flowtable(msg::DELFLOWTABLE, &[b"a"]), &[b"b"]);
        // The last one, or the whole by a kernel before 6.4.
        advance(&mut context, &deeds(&[flowtable(msg::DELFLOWTABLE, &[b"b"])], &BTreeMap::new()).deeds, &[]);
        assert!(context.tables.values().all(|table| table.flowtables.is_empty()));
        advance(&mut context, &deeds(&[flowtable(msg::NEWFLOWTABLE, &[b"a"])], &BTreeMap::new()).deeds, &[]);
        let gone = message(msg::DELFLOWTABLE, |attrs| {
            attrs.string(nft::flowtable::NAME, b"f");
        });
        advance(&mut context, &deeds(&[gone], &BTreeMap::new()).deeds, &[]);
        assert!(context.tables.values().all(|table| table.flowtables.is_empty()));
    }

    #[test]
    fn a_base_chain_that_is_removed_is_gone_also_where_the_kernel_defines_it_again() {
        let removed = message(msg::DELCHAIN, |attrs| {
            attrs.string(nft::chain::NAME, b"c").put(nft::chain::HANDLE, &7_u64.to_be_bytes());
            attrs.nested(nft::chain::HOOK, |hook| {
                hook.be32(nft::chain::HOOK_NUM, 1).be32(nft::chain::HOOK_PRIORITY, 0);
            });
        });
        let read = deeds(&[removed], &BTreeMap::new());
        let [Deed { act: Act::Removed, on: On::Chain(chain), .. }] = &read.deeds[..] else {
            panic!("{read:?}")
        };
        assert_eq!(chain.attrs, None);
    }

    #[test]
    fn what_is_not_understood_is_told() {
        let table = message(msg::NEWTABLE, |_| {});
        assert!(deeds(std::slice::from_ref(&table), &BTreeMap::new()).complete);
        for bad in [
            RawMessage { kind: 99, ..table.clone() },
            RawMessage { family: 99, ..table.clone() },
            RawMessage { attrs: Vec::new(), ..table.clone() },
            RawMessage { kind: msg::NEWRULE, ..table.clone() },
        ] {
            let read = deeds(&[bad, table.clone()], &BTreeMap::new());
            assert_eq!((read.complete, read.deeds.len()), (false, 1));
        }
    }

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic(
            found in prop::collection::vec((0_u8..40, 0_u8..12, prop::collection::vec(0_u8..20, 0..120)), 0..12)
        ) {
            let mut messages = vec![message(msg::NEWTABLE, |_| {})];
            messages.extend(found.into_iter().map(|(kind, family, bytes)| {
                let mut attrs = AttrWriter::new();
                attrs.string(nft::table::NAME, b"t").raw(&bytes);
                RawMessage { kind, family, attrs: attrs.into_bytes() }
            }));
            let read = deeds(&messages, &BTreeMap::new());
            let mut context = Ruleset::default();
            advance(&mut context, &read.deeds, &[]);
            Touches::default().touched(&Transaction { messages, ..Transaction::default() }, &BTreeMap::new());
        }
    }
}
