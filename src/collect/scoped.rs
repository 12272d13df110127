//! Reads a part of nf_tables: what some transactions touched, and no more.
//!
//! The same consistency as in [`super::nftables`]. Each thing is asked for by its name, so that the cost is that of
//! the part, not of the ruleset. Sets and chains that belong to single rules are read where a rule that was read refers
//! to them.

use super::follow::{Stop, gone, whole};
use super::nftables::{NftablesError, Wanted, dump, elements, generation, is_gone};
use super::{CollectError, ipset, links, rules};
use crate::model::{ElementKey, Name, RawMessage, TableKey};
use crate::netlink::nft::{self, NFGENMSG, chain, elem, expr, flowtable, msg, object, rule, set, table};
use crate::netlink::{AttrWriter, Attrs};
use crate::normalise::scope::{Part, Parts, Scope, SetPart};
use crate::normalise::scoped::{Scoped, scoped as normalised};
use crate::normalise::{self, Unfit, xt_set};
use crate::sys::netns::Netns;
use crate::sys::socket::{Dump, Socket};
use std::collections::BTreeSet;
use std::time::Duration;

/// Readings before giving up, a second or so: one takes a millisecond, and may well fit between two transactions of a
/// thousand in a second.
const READINGS: u32 = 60;
/// The longest pause between two.
const PAUSE: Duration = Duration::from_millis(20);
/// Where more than this many chains of a table are meant, all of it is read: two requests a chain cost more than one
/// dump.
const CHAINS: usize = 512;
/// Where more than this many elements of a set are meant, all of them are read.
const ELEMENTS: usize = 64;
/// Where rules jump to more chains than this, all of the family's are listed to see which belong to the rules.
const JUMPS: usize = 64;

/// A consistent reading of what a scope names, in a namespace. None if only a full reading can tell: for a scope that
/// is everything, or messages that are not understood. It may be of a later generation than the transactions that the
/// scope comes from: before the result is put into a ruleset, the scope has to cover all up to that one.
///
/// # Errors
/// Of the namespace, the socket, or [`NftablesError::Torn`] where transactions come without pause.
pub fn scoped(netns: &Netns, scope: &Scope) -> Result<Option<Scoped>, CollectError> {
    if scope.everything {
        return Ok(None);
    }
    netns.run(|| read(scope))?
}

/// The chains of all tables, as a dump gives them, and the generation at the time.
///
/// # Errors
/// As of [`scoped`].
pub fn chains(netns: &Netns) -> Result<(u32, Vec<RawMessage>), CollectError> {
    let read = || -> Result<(u32, Vec<RawMessage>), NftablesError> {
        let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
        for attempt in 1..=READINGS {
            let (before, mut found) = (generation(&mut socket)?, Vec::new());
            let state = dump(&mut socket, msg::GETCHAIN, &nft::nfgenmsg(0), &[], &mut found)?;
            if state == Dump::Whole && generation(&mut socket)? == before {
                return Ok((before, found));
            }
            std::thread::sleep(PAUSE.min(Duration::from_millis(1) * attempt));
        }
        Err(NftablesError::Torn)
    };
    Ok(netns.run(read)??)
}

fn read(scope: &Scope) -> Result<Option<Scoped>, CollectError> {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).map_err(NftablesError::Socket)?;
    let interfaces = links::interfaces().map_err(CollectError::Links)?;
    for attempt in 1..=READINGS {
        let before = generation(&mut socket)?;
        let mut reader = Reader { socket: &mut socket, scope: Scope::default(), found: Found::default() };
        let read = scope.tables.iter().try_for_each(|(key, part)| reader.table(key, part));
        let Reader { scope, found, .. } = reader;
        // A set of ipset that a rule uses keeps its index.
        let names = match read {
            Ok(()) if found.rules.iter().any(|rule| xt_set::may_use_sets(&rule.attrs)) => ipset::heads()?,
            _ => Vec::new(),
        };
        match read {
            Ok(()) if generation(&mut socket)? == before => {
                let names = normalise::ipset::names(&names);
                return Ok(normalised(before, scope, interfaces, &found.into_messages(), &names).ok());
            }
            Ok(()) | Err(Stop::Interrupted) => {
                std::thread::sleep(PAUSE.min(Duration::from_millis(1) * attempt))
            }
            Err(Stop::Unfit) => return Ok(None),
            Err(Stop::Failed(error)) => return Err(error.into()),
        }
    }
    Err(NftablesError::Torn.into())
}

/// Messages in the order in which [`normalise`] needs them.
#[derive(Default)]
struct Found {
    heads: Vec<RawMessage>,
    elements: Vec<RawMessage>,
    objects: Vec<RawMessage>,
    rules: Vec<RawMessage>,
}

impl Found {
    fn into_messages(self) -> Vec<RawMessage> {
        [self.heads, self.elements, self.objects, self.rules].concat()
    }
}

struct Reader<'s> {
    socket: &'s mut Socket,
    /// What is read in fact.
    scope: Scope,
    found: Found,
}

impl Reader<'_> {
    fn table(&mut self, key: &TableKey, part: &Part) -> Result<(), Stop> {
        let head = self.one(key, msg::GETTABLE, table::NAME, None)?;
        let is_there = head.is_some();
        self.found.heads.extend(head);
        let part = match part {
            Part::Parts(parts) if parts.chains.len() <= CHAINS => Part::Parts(parts.clone()),
            Part::Parts(_) | Part::Whole => Part::Whole,
        };
        let part = match part {
            part if !is_there => part,
            Part::Whole => self.whole_table(key).map(|()| Part::Whole)?,
            Part::Parts(parts) => Part::Parts(self.parts(key, parts)?),
        };
        self.scope.tables.insert(key.clone(), part);
        Ok(())
    }

    fn whole_table(&mut self, key: &TableKey) -> Result<(), Stop> {
        let chains = self.all_chains(key)?;
        let mut requests = rules::requests(&chains);
        for request in requests.iter_mut().filter(|request| request.attrs.is_empty()) {
            request.header = nft::nfgenmsg(key.family.number());
            request.attrs = in_table(key, rule::TABLE).into_bytes();
        }
        self.found.heads.extend(chains);
        for set in self.all(key, msg::GETSET, in_table(key, set::TABLE))? {
            self.all_elements(&set)?;
            self.found.heads.push(set);
        }
        for (request, of_table) in [(msg::GETOBJ, object::TABLE), (msg::GETFLOWTABLE, flowtable::TABLE)] {
            let found = self.all(key, request, in_table(key, of_table))?;
            self.found.objects.extend(found);
        }
        for request in requests {
            let state =
                dump(self.socket, msg::GETRULE, &request.header, &request.attrs, &mut self.found.rules);
            whole(state.map_err(gone)?)?;
        }
        Ok(())
    }

    /// The parts as they were read: sets of intervals in full.
    fn parts(&mut self, key: &TableKey, mut parts: Parts) -> Result<Parts, Stop> {
        let first_rule = self.found.rules.len();
        for name in &parts.chains {
            let Some(found) = self.one(key, msg::GETCHAIN, chain::TABLE, Some((chain::NAME, name)))? else {
                continue;
            };
            if is_bound(&found) {
                // Which rule it belongs to is not known.
                return Err(Stop::Unfit);
            }
            self.found.heads.push(found);
            self.rules_of(key, name)?;
        }
        self.belongings(key, &parts.chains, first_rule)?;
        for (name, part) in &mut parts.sets {
            self.set(key, name, part)?;
        }
        for (kind, name) in &parts.objects {
            let mut request = in_table(key, object::TABLE);
            request.string(object::NAME, &name.0).be32(object::TYPE, *kind);
            let found = self.ask(key, msg::GETOBJ, &request)?;
            self.found.objects.extend(found);
        }
        for name in &parts.flowtables {
            let found = self.one(key, msg::GETFLOWTABLE, flowtable::TABLE, Some((flowtable::NAME, name)))?;
            self.found.objects.extend(found);
        }
        Ok(parts)
    }

    fn rules_of(&mut self, key: &TableKey, chain: &Name) -> Result<(), Stop> {
        let mut request = in_table(key, rule::TABLE);
        request.string(rule::CHAIN, &chain.0);
        let found = self.all(key, msg::GETRULE, request)?;
        self.found.rules.extend(found);
        Ok(())
    }

    /// The sets and the chains that belong to the rules from the given one on, and what belongs to these.
    fn belongings(&mut self, key: &TableKey, known: &BTreeSet<Name>, first_rule: usize) -> Result<(), Stop> {
        let (mut next, mut seen) = (first_rule, BTreeSet::new());
        let mut seen_chains = known.clone();
        while next < self.found.rules.len() {
            let new = &self.found.rules[next..];
            next = self.found.rules.len();
            let used: BTreeSet<Name> = new
                .iter()
                .flat_map(|rule| normalise::used_sets(&rule.attrs))
                .filter(|name| !seen.contains(name))
                .collect();
            let mut jumps: BTreeSet<Name> =
                new.iter().flat_map(|rule| normalise::jumps(&rule.attrs)).collect();
            for name in &used {
                let found = self.one(key, msg::GETSET, set::TABLE, Some((set::NAME, name)))?;
                if let Some(found) = found.filter(is_anonymous) {
                    let first = self.found.elements.len();
                    self.all_elements(&found)?;
                    self.found.heads.push(found);
                    jumps.extend(self.found.elements[first..].iter().flat_map(targets));
                }
            }
            seen.extend(used);
            jumps.retain(|name| seen_chains.insert(name.clone()));
            for chain in self.bound(key, &jumps)? {
                let name = Attrs(&chain.attrs).find(chain::NAME).map(|name| Name(name.string().to_vec()));
                self.found.heads.push(chain);
                self.rules_of(key, &name.unwrap_or_default())?;
            }
        }
        Ok(())
    }

    /// Those of these chains that belong to a rule.
    fn bound(&mut self, key: &TableKey, names: &BTreeSet<Name>) -> Result<Vec<RawMessage>, Stop> {
        let mut found = Vec::new();
        if names.len() > JUMPS {
            let name_of = |message: &RawMessage| {
                let name = Attrs(&message.attrs).find(chain::NAME)?;
                Some(Name(name.string().to_vec()))
            };
            found = self.all_chains(key)?;
            found.retain(|message| name_of(message).is_some_and(|name| names.contains(&name)));
        } else {
            for name in names {
                found.extend(self.one(key, msg::GETCHAIN, chain::TABLE, Some((chain::NAME, name)))?);
            }
        }
        found.retain(is_bound);
        Ok(found)
    }

    fn set(&mut self, key: &TableKey, name: &Name, part: &mut SetPart) -> Result<(), Stop> {
        let Some(found) = self.one(key, msg::GETSET, set::TABLE, Some((set::NAME, name)))? else {
            return Ok(());
        };
        if is_anonymous(&found) {
            // It went with its rule, and another rule's has its name now; or which rule it belongs to is not known.
            return if *part == SetPart::Whole { Ok(()) } else { Err(Stop::Unfit) };
        }
        let flags = Attrs(&found.attrs).find(set::FLAGS).and_then(|flags| flags.be32()).unwrap_or(0);
        match part {
            SetPart::Elements(keys) if flags & set::F_INTERVAL == 0 && keys.len() <= ELEMENTS => {
                for element in keys.iter() {
                    self.element(key, name, element)?;
                }
            }
            SetPart::Elements(_) | SetPart::Whole => {
                *part = SetPart::Whole;
                self.all_elements(&found)?;
            }
        }
        self.found.heads.push(found);
        Ok(())
    }

    fn element(&mut self, key: &TableKey, set: &Name, element: &ElementKey) -> Result<(), Stop> {
        let mut request = in_table(key, elem::LIST_TABLE);
        request.string(elem::LIST_SET, &set.0);
        request.nested(elem::LIST_ELEMENTS, |list| {
            list.nested(nft::LIST_ELEM, |asked| {
                if element.flags != 0 {
                    asked.be32(elem::FLAGS, element.flags);
                }
                if element.flags & elem::F_CATCHALL == 0 {
                    asked.nested(elem::KEY, |value| {
                        value.put(expr::DATA_VALUE, &element.key);
                    });
                }
            });
        });
        let found = self.ask(key, msg::GETSETELEM, &request)?;
        self.found.elements.extend(found);
        Ok(())
    }

    fn all_elements(&mut self, set: &RawMessage) -> Result<(), Stop> {
        let wanted = Wanted::of(set.family, &set.attrs).ok_or(Unfit::Malformed)?;
        let (found, state) = elements(self.socket, &wanted).map_err(gone)?;
        whole(state)?;
        self.found.elements.extend(found);
        Ok(())
    }

    /// The kernel lists chains by family only.
    fn all_chains(&mut self, key: &TableKey) -> Result<Vec<RawMessage>, Stop> {
        let mut found = self.all(key, msg::GETCHAIN, AttrWriter::new())?;
        let is_here = |message: &RawMessage| {
            Attrs(&message.attrs).find(chain::TABLE).is_some_and(|name| name.string() == key.name.0)
        };
        found.retain(is_here);
        Ok(found)
    }

    fn all(&mut self, key: &TableKey, request: u8, attrs: AttrWriter) -> Result<Vec<RawMessage>, Stop> {
        let mut found = Vec::new();
        let header = nft::nfgenmsg(key.family.number());
        let state = dump(self.socket, request, &header, attrs.as_bytes(), &mut found).map_err(gone)?;
        whole(state)?;
        Ok(found)
    }

    /// A table, or a thing of it by its name; none if it is not there.
    fn one(
        &mut self,
        key: &TableKey,
        request: u8,
        of_table: u16,
        name: Option<(u16, &Name)>,
    ) -> Result<Option<RawMessage>, Stop> {
        let mut attrs = in_table(key, of_table);
        if let Some((kind, name)) = name {
            attrs.string(kind, &name.0);
        }
        self.ask(key, request, &attrs)
    }

    fn ask(&mut self, key: &TableKey, request: u8, attrs: &AttrWriter) -> Result<Option<RawMessage>, Stop> {
        let mut found = None;
        let header = nft::nfgenmsg(key.family.number());
        let asked = self.socket.request(nft::kind(request), 0, &[&header, attrs.as_bytes()], |message| {
            if let Some((header, attrs)) = message.payload.split_at_checked(NFGENMSG) {
                let kind = (message.kind & 0xff) as u8;
                found = Some(RawMessage { kind, family: header[0], attrs: attrs.to_vec() });
            }
        });
        match asked.map_err(NftablesError::Socket) {
            Ok(()) => Ok(found),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn in_table(key: &TableKey, attribute: u16) -> AttrWriter {
    let mut request = AttrWriter::new();
    request.string(attribute, &key.name.0);
    request
}

fn has_flag(message: &RawMessage, attribute: u16, flag: u32) -> bool {
    let flags = Attrs(&message.attrs).find(attribute).and_then(|flags| flags.be32());
    flags.is_some_and(|flags| flags & flag != 0)
}

fn is_bound(chain: &RawMessage) -> bool {
    has_flag(chain, chain::FLAGS, chain::F_BINDING)
}

fn is_anonymous(found: &RawMessage) -> bool {
    has_flag(found, set::FLAGS, set::F_ANONYMOUS)
}

/// The chains to which elements of a list lead.
fn targets(list: &RawMessage) -> Vec<Name> {
    let list = Attrs(&list.attrs).find(elem::LIST_ELEMENTS);
    let elements = list.into_iter().flat_map(|list| list.nested().flatten());
    let data = elements.filter_map(|element| element.nested().find(elem::DATA));
    data.filter_map(normalise::verdict_chain).collect()
}
