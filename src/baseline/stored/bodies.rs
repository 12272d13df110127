//! The bodies of the stored form: what rules, sets and anonymous objects consist of, read when it is needed.

use super::Places;
use crate::model::bytes::{Input, Unreadable};
use crate::model::{Anonymous, Chain, Digest, Element, ElementKey, Item, Name, Rule, Ruleset, TableKey};
use crate::normalise::references;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The bodies of an open file.
#[derive(Debug)]
pub struct Bodies {
    pub(super) places: Places,
    pub(super) file: File,
    /// Where the bodies begin.
    pub(super) start: u64,
}

impl Bodies {
    /// Puts into `ruleset`, whose outline this is of, what the items consist of.
    pub fn fill<'i>(
        &self,
        ruleset: &mut Ruleset,
        items: impl IntoIterator<Item = &'i Item>,
    ) -> std::io::Result<()> {
        let mut filler = self.filler(ruleset);
        items.into_iter().try_for_each(|item| filler.item(item))
    }

    /// Fills a ruleset with single bodies as they are asked for.
    pub(super) fn filler<'a>(&'a self, ruleset: &'a mut Ruleset) -> Filler<'a> {
        Filler { places: &self.places, bytes: Bytes::File(&self.file, self.start), ruleset }
    }

    /// The same, with all bodies read at once.
    pub(super) fn whole_filler<'a>(&'a self, ruleset: &'a mut Ruleset) -> std::io::Result<Filler<'a>> {
        let length = self.file.metadata()?.len().saturating_sub(self.start);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        self.file.read_exact_at(&mut bytes, self.start)?;
        Ok(Filler { places: &self.places, bytes: Bytes::Whole(bytes), ruleset })
    }
}

/// A ruleset that is being filled. What it has already is left as it is.
pub(super) struct Filler<'a> {
    places: &'a Places,
    bytes: Bytes<'a>,
    ruleset: &'a mut Ruleset,
}

impl Filler<'_> {
    fn item(&mut self, item: &Item) -> std::io::Result<()> {
        match item {
            Item::Table(key) => self.table(key),
            Item::Chain(key, name) => self.chain(key, name),
            Item::Rule(key, name, place) => self.rule(key, name, *place),
            Item::Set(key, name) => self.elements(key, name),
            Item::TableHead(_)
            | Item::ChainHead(..)
            | Item::SetHead(..)
            | Item::Element(..)
            | Item::Object(..)
            | Item::Flowtable(..) => Ok(()),
        }
    }

    /// All of a table.
    pub(super) fn table(&mut self, key: &TableKey) -> std::io::Result<()> {
        let Some(table) = self.ruleset.tables.get(key) else { return Ok(()) };
        let chains: Vec<Name> = table.chains.keys().cloned().collect();
        let sets: Vec<Name> = table.sets.keys().cloned().collect();
        chains.iter().try_for_each(|name| self.chain(key, name))?;
        sets.iter().try_for_each(|name| self.elements(key, name))?;
        let Some(places) = self.places.get(key) else { return Ok(()) };
        self.anonymous(key, places.anonymous_sets.keys().chain(places.anonymous_chains.keys()).cloned())
    }

    fn chain(&mut self, key: &TableKey, name: &Name) -> std::io::Result<()> {
        let chain = self.ruleset.tables.get(key).and_then(|table| table.chains.get(name));
        let count = chain.map_or(0, |chain| chain.rules.len());
        (0..count).try_for_each(|place| self.rule(key, name, place))
    }

    fn rule(&mut self, key: &TableKey, name: &Name, place: usize) -> std::io::Result<()> {
        let chain = self.ruleset.tables.get_mut(key).and_then(|table| table.chains.get_mut(name));
        let rule = chain.and_then(|chain| chain.rules.get_mut(place));
        let Some(rule) = rule.filter(|rule| rule.attrs.is_empty()) else { return Ok(()) };
        let places = self.places.get(key).and_then(|table| table.rules.get(name));
        let at = places.and_then(|places| places.get(place)).ok_or_else(damaged)?;
        rule.attrs = self.bytes.string(*at)?.into();
        let used = references(&rule.attrs);
        self.anonymous(key, used)
    }

    /// The elements of a set.
    pub(super) fn elements(&mut self, key: &TableKey, name: &Name) -> std::io::Result<()> {
        let set = self.ruleset.tables.get_mut(key).and_then(|table| table.sets.get_mut(name));
        let place = self.places.get(key).and_then(|table| table.elements.get(name));
        let (Some(set), Some(place)) = (set, place) else { return Ok(()) };
        if set.elements.is_empty() {
            (set.elements, set.order) = self.bytes.parse(*place, read_elements)?;
        }
        Ok(())
    }

    /// Anonymous objects with those names, and those that they use.
    fn anonymous(&mut self, key: &TableKey, names: impl IntoIterator<Item = Name>) -> std::io::Result<()> {
        let (Some(table), Some(places)) = (self.ruleset.tables.get_mut(key), self.places.get(key)) else {
            return Ok(());
        };
        let Anonymous { sets, chains } = &mut table.anonymous;
        let mut wanted: BTreeSet<Name> = names.into_iter().collect();
        while let Some(name) = wanted.pop_first() {
            if let Some(place) = places.anonymous_chains.get(&name) {
                if let Entry::Vacant(free) = chains.entry(name) {
                    let chain = free.insert(self.bytes.parse(*place, read_chain)?);
                    wanted.extend(chain.rules.iter().flat_map(|rule| references(&rule.attrs)));
                }
            } else if let Some(place) = places.anonymous_sets.get(&name)
                && let Some(set) = sets.get_mut(&name).filter(|set| set.elements.is_empty())
            {
                (set.elements, set.order) = self.bytes.parse(*place, read_elements)?;
            }
        }
        Ok(())
    }
}

/// Where bodies are read from.
enum Bytes<'a> {
    File(&'a File, u64),
    Whole(Vec<u8>),
}

impl Bytes<'_> {
    /// What is at a place, at least `length` bytes of it.
    fn at(&self, place: u32, length: usize) -> std::io::Result<Vec<u8>> {
        match self {
            Self::File(file, start) => {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, start + u64::from(place))?;
                Ok(bytes)
            }
            Self::Whole(bytes) => {
                let from = place as usize;
                bytes.get(from..from + length).map(<[u8]>::to_vec).ok_or_else(damaged)
            }
        }
    }

    /// A byte string at a place.
    fn string(&self, place: u32) -> std::io::Result<Vec<u8>> {
        let head = self.at(place, 4)?;
        let length = u32::from_le_bytes(head.try_into().map_err(|_| damaged())?);
        self.at(place + 4, length as usize)
    }

    /// Parses what is at a place, however long it is.
    fn parse<T>(
        &self,
        place: u32,
        parse: impl Fn(&mut Input<'_>) -> Result<T, Unreadable>,
    ) -> std::io::Result<T> {
        if let Self::Whole(bytes) = self {
            let rest = bytes.get(place as usize..).ok_or_else(damaged)?;
            return parse(&mut Input::new(rest)).map_err(|_| damaged());
        }
        let Self::File(file, start) = self else { return Err(damaged()) };
        let at = start + u64::from(place);
        let left = usize::try_from(file.metadata()?.len().saturating_sub(at)).map_err(|_| damaged())?;
        let mut length = left.min(4096);
        loop {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, at)?;
            match parse(&mut Input::new(&bytes)) {
                Ok(found) => return Ok(found),
                Err(Unreadable) if length == left => return Err(damaged()),
                Err(Unreadable) => length = length.saturating_mul(8).min(left),
            }
        }
    }
}

fn damaged() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, "a stored baseline is damaged")
}

fn read_chain(input: &mut Input<'_>) -> Result<Chain, Unreadable> {
    let attrs = input.bytes()?.to_vec();
    let mut rules = Vec::new();
    for _ in 0..input.u32()? {
        let digest = Digest(input.take(16)?.try_into().map_err(|_| Unreadable)?);
        rules.push(Rule { digest, attrs: input.bytes()?.into() });
    }
    Ok(Chain { attrs, rules })
}

/// A set's elements and their order.
type Elements = (BTreeMap<ElementKey, Element>, Vec<ElementKey>);

fn read_elements(input: &mut Input<'_>) -> Result<Elements, Unreadable> {
    let mut elements = BTreeMap::new();
    for _ in 0..input.u32()? {
        let key = read_key(input)?;
        let expires = input.byte()? != 0;
        let mut attrs = Vec::new();
        for _ in 0..input.u32()? {
            attrs.push(input.bytes()?.to_vec());
        }
        elements.insert(key, Element { expires, attrs });
    }
    let mut order = Vec::new();
    for _ in 0..input.u32()? {
        order.push(read_key(input)?);
    }
    Ok((elements, order))
}

fn read_key(input: &mut Input<'_>) -> Result<ElementKey, Unreadable> {
    let (key, end) = (input.bytes()?.to_vec(), input.bytes()?.to_vec());
    Ok(ElementKey { key, end, flags: input.u32()? })
}
