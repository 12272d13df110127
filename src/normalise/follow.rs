//! A live reading that follows an outline while it arrives, and keeps only what differs. Pure.
//!
//! A ruleset of 100,000 rules is read without holding any of them: the digest of each is compared with the
//! outline's next one. A rule that the outline's chain has nowhere is kept in full, because somebody
//! will want to read it.

use super::{NormaliseError, add, anonymous, elements, ipset, strip, xt_set};
use crate::model::outline::{SetName, Shared};
use crate::model::{Backend, Digest, Family, Name, Outline, RawMessage, Rule, Ruleset, Set, TableKey};
use crate::netlink::nft::{self, msg, set};
use crate::netlink::{AttrWriter, Attrs, Malformed};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// Elements of a set are kept beside their digests up to this many bytes, so that a small set that differs
/// need not be read again.
const KEPT: usize = 128 * 1024;

/// Why a reading cannot follow an outline: it is then made in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// A message that was not understood.
    Malformed,
    /// A chain that belongs to a rule: its content is known only after the rule's.
    BoundChain,
}

impl From<Malformed> for Unfit {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl From<NormaliseError> for Unfit {
    fn from(_: NormaliseError) -> Self {
        Self::Malformed
    }
}

/// A reading in progress. Give it the kernel's messages in the order of a dump: tables, chains, sets,
/// elements, objects, flowtables, rules.
pub struct Follower<'o> {
    outline: &'o Outline,
    live: Ruleset,
    shared: Shared,
    anonymous: BTreeMap<TableKey, HashMap<Name, AnonymousSet>>,
    written: BTreeSet<SetName>,
    /// The sets of ipset by their indices.
    ipsets: BTreeMap<u16, Name>,
    chain: Option<FollowedChain<'o>>,
    rule: AttrWriter,
}

/// An anonymous set, in few bytes: there may be thousands.
struct AnonymousSet {
    content: Digest,
    flags: u32,
    attrs: Box<[u8]>,
    /// Its elements as netlink attributes.
    elements: Box<[u8]>,
}

/// The elements of one set, as they arrive.
pub struct Members {
    name: SetName,
    flags: u32,
    is_anonymous: bool,
    /// Of the stripped elements; sorted by [`Members::distinct`].
    digests: Vec<Digest>,
    /// The elements themselves, while they are few.
    kept: Option<AttrWriter>,
    element: AttrWriter,
    malformed: bool,
}

/// The chain whose rules arrive at present.
struct FollowedChain<'o> {
    family: u8,
    key: TableKey,
    name: Name,
    approved: Option<&'o [Rule]>,
    /// How many rules are the approved ones, from the first on.
    matched: usize,
    /// All live rules, once one of them differed.
    rules: Option<Vec<Rule>>,
    /// Where the next known rule is looked for first.
    next: usize,
    /// Places of approved rules in the order of their digests.
    places: Vec<u32>,
}

impl<'o> Follower<'o> {
    /// A reading that follows `outline`, in a namespace with these sets of ipset (messages of a capture).
    pub fn new(outline: &'o Outline, ipset: &[RawMessage]) -> Self {
        Self {
            ipsets: ipset::names(ipset),
            outline,
            live: Ruleset::default(),
            shared: Shared::default(),
            anonymous: BTreeMap::new(),
            written: BTreeSet::new(),
            chain: None,
            rule: AttrWriter::new(),
        }
    }

    /// Takes a table, a chain, a set's definition, an element list, an object or a flowtable.
    pub fn add(&mut self, family: u8, kind: u8, attrs: Attrs<'_>) -> Result<(), Unfit> {
        if kind == msg::NEWCHAIN {
            let flags = attrs.find(nft::chain::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
            if flags & nft::chain::F_BINDING != 0 {
                return Err(Unfit::BoundChain);
            }
        }
        let family = Family::from_number(family).ok_or(Unfit::Malformed)?;
        Ok(add(&mut self.live, family, kind, attrs)?)
    }

    /// The collector of a set's elements, by the set's definition; none if they do not matter or have to be given
    /// in full with [`Self::add`]: see [`Self::needs_elements`].
    pub fn members(&self, family: u8, definition: Attrs<'_>) -> Option<Members> {
        let (name, flags) = set_name(family, definition)?;
        let is_anonymous = flags & set::F_ANONYMOUS != 0;
        let by_digest = self.outline.elements.contains_key(&name) && flags & set::F_TIMEOUT == 0;
        (is_anonymous || by_digest).then(|| Members {
            name,
            flags,
            is_anonymous,
            digests: Vec::new(),
            kept: Some(AttrWriter::new()),
            element: AttrWriter::new(),
            malformed: false,
        })
    }

    /// Whether a set's elements take part in the comparison at all: not if the packet path writes them.
    pub fn needs_elements(&self, family: u8, definition: Attrs<'_>) -> bool {
        let Some((name, flags)) = set_name(family, definition) else { return true };
        let approved = self.outline.ruleset.tables.get(&name.0).and_then(|table| table.sets.get(&name.1));
        approved.is_none_or(|approved| !approved.is_dynamic() && flags & set::F_EVAL == 0)
    }

    /// Takes all elements of a set. Returns whether they differ from the approved ones and have to be given again,
    /// in full, with [`Self::add`].
    pub fn add_members(&mut self, mut members: Members) -> Result<bool, Unfit> {
        if members.malformed {
            return Err(Unfit::Malformed);
        }
        if members.is_anonymous {
            return self.add_anonymous(members).map(|()| false);
        }
        members.digests.sort_unstable();
        if self.outline.elements.get(&members.name) == Some(&members.digests) {
            return Ok(false);
        }
        self.shared.other_elements.push(members.name.clone());
        let Some(kept) = members.kept else { return Ok(true) };
        let table = self.live.tables.get_mut(&members.name.0).ok_or(Unfit::Malformed)?;
        let set = table.sets.get_mut(&members.name.1).ok_or(Unfit::Malformed)?;
        add_all(set, kept.as_bytes())?;
        Ok(false)
    }

    fn add_anonymous(&mut self, members: Members) -> Result<(), Unfit> {
        let (key, name) = members.name;
        let table = self.live.tables.get_mut(&key).ok_or(Unfit::Malformed)?;
        let mut set = table.anonymous.sets.remove(&name).ok_or(Unfit::Malformed)?;
        let kept = members.kept.ok_or(Unfit::Malformed)?.into_bytes();
        let (flags, attrs) = (set.flags, set.attrs.clone().into_boxed_slice());
        add_all(&mut set, &kept)?;
        elements::pair(&mut set);
        let content = anonymous::content_digest(&set);
        let found = AnonymousSet { content, flags, attrs, elements: kept.into_boxed_slice() };
        self.anonymous.entry(key).or_default().insert(name, found);
        Ok(())
    }

    /// Takes the next rule.
    pub fn add_rule(&mut self, family: u8, attrs: Attrs<'_>) -> Result<(), Unfit> {
        let find = |kind| attrs.find(kind).map(|attr| attr.string()).ok_or(Unfit::Malformed);
        let (table, chain) = (find(nft::rule::TABLE)?, find(nft::rule::CHAIN)?);
        let is_same =
            |now: &FollowedChain<'_>| now.family == family && now.key.name.0 == table && now.name.0 == chain;
        if !self.chain.as_ref().is_some_and(is_same) {
            self.end_chain()?;
            let key = table_key(family, table).ok_or(Unfit::Malformed)?;
            let name = Name(chain.to_vec());
            let approved = self.outline.chain(&key, &name).map(|chain| &chain.rules[..]);
            self.chain = Some(FollowedChain {
                family,
                key,
                name,
                approved,
                matched: 0,
                rules: None,
                next: 0,
                places: Vec::new(),
            });
        }
        let Some(chain) = self.chain.as_mut() else { return Err(Unfit::Malformed) };
        self.rule.clear();
        strip::rule_into(&mut self.rule, chain.key.family, attrs)?;
        let named = xt_set::with_names(self.rule.as_bytes(), &self.ipsets);
        let stripped = named.as_deref().unwrap_or(self.rule.as_bytes());
        if memchr::memmem::find(stripped, b"dynset\0").is_some() {
            self.written.extend(anonymous::written_sets(stripped).map(|set| (chain.key.clone(), set)));
        }
        if !self.ipsets.is_empty() {
            self.shared.written_ipsets.extend(xt_set::written(stripped));
        }
        let digest = match self.anonymous.get(&chain.key) {
            None => Digest::of([stripped]),
            Some(sets) => anonymous::digest_with(stripped, |name| Some(sets.get(name)?.content)),
        };
        chain.add(digest, stripped);
        Ok(())
    }

    fn end_chain(&mut self) -> Result<(), Unfit> {
        let Some(ended) = self.chain.take() else { return Ok(()) };
        let table = self.live.tables.get_mut(&ended.key).ok_or(Unfit::Malformed)?;
        let chain = table.chains.get_mut(&ended.name).ok_or(Unfit::Malformed)?;
        let approved = ended.approved.unwrap_or_default();
        match ended.rules {
            Some(rules) => chain.rules = rules,
            None if ended.matched == approved.len() => {
                self.shared.chains.entry(ended.key).or_default().insert(ended.name);
            }
            None => chain.rules = approved[..ended.matched].to_vec(),
        }
        Ok(())
    }

    /// The live ruleset as far as it differs, and what it shares with the outline. A rule without `attrs` is one
    /// that the outline's chain has, too.
    pub fn finish(mut self) -> Result<(Ruleset, Shared), Unfit> {
        self.end_chain()?;
        for (key, table) in &mut self.live.tables {
            elements::pair_intervals(table);
            for (name, set) in &mut table.sets {
                set.written_by_rules = self.written.contains(&(key.clone(), name.clone()));
            }
            let Some(sets) = self.anonymous.get(key) else { continue };
            let rules = table.chains.values().flat_map(|chain| &chain.rules);
            let used: BTreeSet<Name> = rules.flat_map(|rule| anonymous::references(&rule.attrs)).collect();
            for name in used {
                if let Some(found) = sets.get(&name) {
                    let mut set = Set { flags: found.flags, attrs: found.attrs.to_vec(), ..Set::default() };
                    add_all(&mut set, &found.elements)?;
                    elements::pair(&mut set);
                    table.anonymous.sets.insert(name, set);
                }
            }
        }
        Ok((self.live, self.shared))
    }
}

impl FollowedChain<'_> {
    fn add(&mut self, digest: Digest, attrs: &[u8]) {
        let approved = self.approved.unwrap_or_default();
        if self.rules.is_none() {
            if approved.get(self.matched).is_some_and(|rule| rule.digest == digest) {
                self.matched += 1;
                return;
            }
            self.next = self.matched;
            self.rules = Some(approved[..self.matched].to_vec());
        }
        let attrs = if self.is_known(approved, digest) { Arc::default() } else { attrs.into() };
        if let Some(rules) = &mut self.rules {
            rules.push(Rule { digest, attrs });
        }
    }

    fn is_known(&mut self, approved: &[Rule], digest: Digest) -> bool {
        if approved.get(self.next).is_some_and(|rule| rule.digest == digest) {
            self.next += 1;
            return true;
        }
        if self.places.is_empty() {
            self.places = (0..approved.len() as u32).collect();
            self.places.sort_unstable_by_key(|place| approved[*place as usize].digest);
        }
        let found = self.places.binary_search_by_key(&digest, |place| approved[*place as usize].digest);
        if let Ok(index) = found {
            self.next = self.places[index] as usize + 1;
        }
        found.is_ok()
    }
}

impl Members {
    /// Takes one dumped element.
    pub fn add(&mut self, attrs: Attrs<'_>) {
        if elements::is_empty_boundary(self.flags, attrs) {
            return;
        }
        self.element.clear();
        if strip::element_into(&mut self.element, attrs).is_err() {
            self.malformed = true;
            return;
        }
        self.digests.push(Digest::of([self.element.as_bytes()]));
        let is_kept = |kept: &AttrWriter| self.is_anonymous || kept.as_bytes().len() < KEPT;
        self.kept = self.kept.take().filter(is_kept);
        if let Some(kept) = &mut self.kept {
            kept.put(nft::LIST_ELEM, attrs.0);
        }
    }

    /// How many elements have come.
    pub fn len(&self) -> usize {
        self.digests.len()
    }

    /// Whether none has come.
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    /// How many different elements have come, and a digest over them.
    pub fn distinct(&mut self) -> (usize, Digest) {
        self.digests.sort_unstable();
        let repeated = self.digests.windows(2).filter(|pair| pair[0] == pair[1]).count();
        (self.digests.len() - repeated, Digest::of(self.digests.iter().map(|digest| &digest.0[..])))
    }

    /// Forgets all that have come.
    pub fn clear(&mut self) {
        self.digests.clear();
        self.kept = Some(AttrWriter::new());
    }
}

fn add_all(set: &mut Set, list: &[u8]) -> Result<(), Malformed> {
    Attrs(list).try_for_each(|element| elements::add(set, element?.nested()))
}

fn table_key(family: u8, name: &[u8]) -> Option<TableKey> {
    let family = Family::from_number(family)?;
    Some(TableKey { backend: Backend::NfTables, family, name: Name(name.to_vec()) })
}

/// The set that a definition is of, and its flags.
fn set_name(family: u8, definition: Attrs<'_>) -> Option<(SetName, u32)> {
    let key = table_key(family, definition.find(set::TABLE)?.string())?;
    let name = Name(definition.find(set::NAME)?.string().to_vec());
    let flags = definition.find(set::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
    Some(((key, name), flags))
}
