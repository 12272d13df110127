//! A loaded ruleset as one file: an outline that is read at once, and bodies that are read when needed.
//!
//! Role: the cache's form of an approved state. It holds no rule in memory unless somebody asks for it. The
//! form belongs to one version of fwdrift ([`MAGIC`]); another one is read as "not there".
//!
//! Layout: magic, length of the index (64 bits), index, bodies. The index names everything in order and says where
//! in the bodies each rule, each set's elements and each anonymous object is.

use crate::model::bytes::{Input, Unreadable, put_bytes, put_u32};
use crate::model::{
    Anonymous, Backend, Chain, Digest, Element, ElementKey, Family, Item, Name, Object, Outline, Rule,
    Ruleset, Set, Table, TableKey,
};
use crate::netlink::nft::set::F_TIMEOUT;
use crate::normalise::references;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

const MAGIC: &[u8] = b"fwdrift-ruleset/2\n";

/// Places in the bodies, of each table.
type Places = BTreeMap<TableKey, TablePlaces>;

#[derive(Debug, Default)]
struct TablePlaces {
    rules: BTreeMap<Name, Box<[u32]>>,
    elements: BTreeMap<Name, u32>,
    anonymous_sets: BTreeMap<Name, u32>,
    anonymous_chains: BTreeMap<Name, u32>,
}

/// An open file of this form.
#[derive(Debug)]
pub struct Stored {
    outline: Outline,
    places: Places,
    file: File,
    bodies: u64,
}

/// The file's bytes; none if the ruleset is too large for its 32-bit places.
pub fn to_bytes(ruleset: &Ruleset) -> Option<Vec<u8>> {
    let mut writer = Writer::default();
    writer.index.extend_from_slice(&ruleset.digest().0);
    put_u32(&mut writer.index, ruleset.interfaces.len() as u32);
    for (index, name) in &ruleset.interfaces {
        put_u32(&mut writer.index, *index);
        put_bytes(&mut writer.index, name);
    }
    put_u32(&mut writer.index, ruleset.tables.len() as u32);
    for (key, table) in &ruleset.tables {
        writer.table(key, table)?;
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(writer.index.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&writer.index);
    bytes.extend_from_slice(&writer.bodies);
    Some(bytes)
}

#[derive(Default)]
struct Writer {
    index: Vec<u8>,
    bodies: Vec<u8>,
}

impl Writer {
    fn table(&mut self, key: &TableKey, table: &Table) -> Option<()> {
        // A new field is one more thing to store.
        let Table { attrs: _, chains: _, sets: _, objects: _, flowtables: _, anonymous: _ } = table;
        self.index.extend_from_slice(&[backend_number(key.backend), key.family.number()]);
        put_bytes(&mut self.index, &key.name.0);
        put_bytes(&mut self.index, &table.attrs);
        put_u32(&mut self.index, table.chains.len() as u32);
        for (name, chain) in &table.chains {
            put_bytes(&mut self.index, &name.0);
            put_bytes(&mut self.index, &chain.attrs);
            put_u32(&mut self.index, chain.rules.len() as u32);
            for rule in &chain.rules {
                self.index.extend_from_slice(&rule.digest.0);
                self.place()?;
                put_bytes(&mut self.bodies, &rule.attrs);
            }
        }
        put_u32(&mut self.index, table.sets.len() as u32);
        for (name, set) in &table.sets {
            put_bytes(&mut self.index, &name.0);
            self.set_head(set);
            let digests = member_digests(key, set);
            self.index.push(u8::from(digests.is_some()));
            let digests = digests.unwrap_or_default();
            put_u32(&mut self.index, digests.len() as u32);
            digests.iter().for_each(|digest| self.index.extend_from_slice(&digest.0));
            self.place()?;
            put_elements(&mut self.bodies, set);
        }
        put_u32(&mut self.index, table.objects.len() as u32);
        for ((kind, name), object) in &table.objects {
            put_u32(&mut self.index, *kind);
            put_bytes(&mut self.index, &name.0);
            put_bytes(&mut self.index, &object.attrs);
        }
        put_u32(&mut self.index, table.flowtables.len() as u32);
        for (name, flowtable) in &table.flowtables {
            put_bytes(&mut self.index, &name.0);
            put_bytes(&mut self.index, &flowtable.attrs);
        }
        put_u32(&mut self.index, table.anonymous.sets.len() as u32);
        for (name, set) in &table.anonymous.sets {
            put_bytes(&mut self.index, &name.0);
            self.set_head(set);
            self.place()?;
            put_elements(&mut self.bodies, set);
        }
        put_u32(&mut self.index, table.anonymous.chains.len() as u32);
        for (name, chain) in &table.anonymous.chains {
            put_bytes(&mut self.index, &name.0);
            self.place()?;
            put_bytes(&mut self.bodies, &chain.attrs);
            put_u32(&mut self.bodies, chain.rules.len() as u32);
            for rule in &chain.rules {
                self.bodies.extend_from_slice(&rule.digest.0);
                put_bytes(&mut self.bodies, &rule.attrs);
            }
        }
        Some(())
    }

    fn set_head(&mut self, set: &Set) {
        let Set { flags, attrs, elements: _, written_by_rules, order: _ } = set;
        put_u32(&mut self.index, *flags);
        self.index.push(u8::from(*written_by_rules));
        put_bytes(&mut self.index, attrs);
    }

    /// Where the next body will be.
    fn place(&mut self) -> Option<()> {
        put_u32(&mut self.index, u32::try_from(self.bodies.len()).ok()?);
        Some(())
    }
}

/// The digests of a set's netlink elements, if it is compared by them: if its elements are there to stay.
fn member_digests(key: &TableKey, set: &Set) -> Option<Vec<Digest>> {
    let lasting = key.backend == Backend::NfTables
        && !set.is_dynamic()
        && set.flags & F_TIMEOUT == 0
        && set.elements.values().all(|element| !element.expires);
    lasting.then(|| {
        let all = set.elements.values().flat_map(|element| &element.attrs);
        let mut digests: Vec<Digest> = all.map(|attrs| Digest::of([&attrs[..]])).collect();
        digests.sort_unstable();
        digests
    })
}

fn put_elements(out: &mut Vec<u8>, set: &Set) {
    put_u32(out, set.elements.len() as u32);
    for (key, element) in &set.elements {
        put_key(out, key);
        out.push(u8::from(element.expires));
        put_u32(out, element.attrs.len() as u32);
        element.attrs.iter().for_each(|attrs| put_bytes(out, attrs));
    }
    put_u32(out, set.order.len() as u32);
    set.order.iter().for_each(|key| put_key(out, key));
}

fn put_key(out: &mut Vec<u8>, key: &ElementKey) {
    put_bytes(out, &key.key);
    put_bytes(out, &key.end);
    put_u32(out, key.flags);
}

fn backend_number(backend: Backend) -> u8 {
    match backend {
        Backend::NfTables => 0,
        Backend::Legacy => 1,
        Backend::Ipset => 2,
        Backend::Sysctl => 3,
        Backend::Bpf => 4,
    }
}

fn backend_of(number: u8) -> Result<Backend, Unreadable> {
    [Backend::NfTables, Backend::Legacy, Backend::Ipset, Backend::Sysctl, Backend::Bpf]
        .into_iter()
        .find(|backend| backend_number(*backend) == number)
        .ok_or(Unreadable)
}

impl Stored {
    /// Opens a file; none if it is not there, or not of this form.
    pub fn open(path: &Path) -> Option<Self> {
        let mut file = File::open(path).ok()?;
        let mut head = [0; MAGIC.len() + 8];
        file.read_exact(&mut head).ok()?;
        let (magic, length) = head.split_at(MAGIC.len());
        let length = u64::from_le_bytes(length.try_into().ok()?);
        let bodies = head.len() as u64 + length;
        if magic != MAGIC || bodies > file.metadata().ok()?.len() {
            return None;
        }
        let mut index = IndexReader { from: BufReader::with_capacity(64 * 1024, (&file).take(length)) };
        let mut stored = (Outline::default(), Places::default());
        read_index(&mut index, &mut stored.0, &mut stored.1).ok()?;
        let (outline, places) = stored;
        let mut stored = Self { outline, places, file, bodies };
        stored.complete_outline().ok()?;
        Some(stored)
    }

    /// The outline.
    pub fn outline(&self) -> &Outline {
        &self.outline
    }

    /// The outline to work with, and the rest of which [`Bodies::fill`] takes what is needed.
    pub fn into_parts(self) -> (Outline, Bodies) {
        (self.outline, Bodies { places: self.places, file: self.file, start: self.bodies })
    }

    /// The whole ruleset.
    pub fn into_ruleset(self) -> Option<Ruleset> {
        let (outline, bodies) = self.into_parts();
        let mut ruleset = outline.ruleset;
        let whole = Bytes::Whole(bodies.read_all().ok()?);
        let tables: Vec<TableKey> = ruleset.tables.keys().cloned().collect();
        for key in tables {
            bodies.fill_table(&whole, &mut ruleset, &key).ok()?;
        }
        Some(ruleset)
    }

    /// What is compared in full from the start: tables that are not nf_tables', and elements that may expire.
    fn complete_outline(&mut self) -> std::io::Result<()> {
        let bodies = Bodies {
            places: std::mem::take(&mut self.places),
            file: self.file.try_clone()?,
            start: self.bodies,
        };
        let bytes = Bytes::File(&bodies.file, bodies.start);
        let keys: Vec<TableKey> = self.outline.ruleset.tables.keys().cloned().collect();
        for key in keys {
            if key.backend != Backend::NfTables {
                bodies.fill_table(&bytes, &mut self.outline.ruleset, &key)?;
                continue;
            }
            let Some(table) = self.outline.ruleset.tables.get(&key) else { continue };
            let full = table.sets.iter().filter(|(name, set)| {
                !set.is_dynamic() && !self.outline.elements.contains_key(&(key.clone(), (*name).clone()))
            });
            let full: Vec<Name> = full.map(|(name, _)| name.clone()).collect();
            for name in full {
                bodies.fill_elements(&bytes, &mut self.outline.ruleset, &key, &name)?;
            }
        }
        self.places = bodies.places;
        Ok(())
    }
}

/// The bodies of an open file.
#[derive(Debug)]
pub struct Bodies {
    places: Places,
    file: File,
    start: u64,
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

impl Bodies {
    /// Puts into `ruleset`, whose outline this is of, what the items consist of.
    pub fn fill<'i>(
        &self,
        ruleset: &mut Ruleset,
        items: impl IntoIterator<Item = &'i Item>,
    ) -> std::io::Result<()> {
        let bytes = Bytes::File(&self.file, self.start);
        for item in items {
            match item {
                Item::Table(key) => self.fill_table(&bytes, ruleset, key)?,
                Item::Chain(key, name) => self.fill_chain(&bytes, ruleset, key, name)?,
                Item::Rule(key, name, place) => self.fill_rule(&bytes, ruleset, key, name, *place)?,
                Item::Set(key, name) => self.fill_elements(&bytes, ruleset, key, name)?,
                Item::TableHead(_)
                | Item::ChainHead(..)
                | Item::SetHead(..)
                | Item::Element(..)
                | Item::Object(..)
                | Item::Flowtable(..) => {}
            }
        }
        Ok(())
    }

    fn read_all(&self) -> std::io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len().saturating_sub(self.start);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged())?];
        self.file.read_exact_at(&mut bytes, self.start)?;
        Ok(bytes)
    }

    fn fill_table(&self, bytes: &Bytes<'_>, ruleset: &mut Ruleset, key: &TableKey) -> std::io::Result<()> {
        let Some(table) = ruleset.tables.get(key) else { return Ok(()) };
        let chains: Vec<Name> = table.chains.keys().cloned().collect();
        let sets: Vec<Name> = table.sets.keys().cloned().collect();
        for name in &chains {
            self.fill_chain(bytes, ruleset, key, name)?;
        }
        for name in &sets {
            self.fill_elements(bytes, ruleset, key, name)?;
        }
        let Some(table) = ruleset.tables.get_mut(key) else { return Ok(()) };
        let Some(places) = self.places.get(key) else { return Ok(()) };
        let all = places.anonymous_sets.keys().chain(places.anonymous_chains.keys()).cloned().collect();
        self.fill_anonymous(bytes, &mut table.anonymous, key, all)
    }

    fn fill_chain(
        &self,
        bytes: &Bytes<'_>,
        ruleset: &mut Ruleset,
        key: &TableKey,
        name: &Name,
    ) -> std::io::Result<()> {
        let count = ruleset.tables.get(key).and_then(|t| t.chains.get(name)).map_or(0, |c| c.rules.len());
        (0..count).try_for_each(|place| self.fill_rule(bytes, ruleset, key, name, place))
    }

    fn fill_rule(
        &self,
        bytes: &Bytes<'_>,
        ruleset: &mut Ruleset,
        key: &TableKey,
        name: &Name,
        place: usize,
    ) -> std::io::Result<()> {
        let Some(table) = ruleset.tables.get_mut(key) else { return Ok(()) };
        let rule = table.chains.get_mut(name).and_then(|chain| chain.rules.get_mut(place));
        let Some(rule) = rule.filter(|rule| rule.attrs.is_empty()) else { return Ok(()) };
        let places = self.places.get(key).and_then(|table| table.rules.get(name));
        let at = places.and_then(|places| places.get(place)).ok_or_else(damaged)?;
        rule.attrs = bytes.string(*at)?.into();
        let used = references(&rule.attrs);
        self.fill_anonymous(bytes, &mut table.anonymous, key, used)
    }

    fn fill_elements(
        &self,
        bytes: &Bytes<'_>,
        ruleset: &mut Ruleset,
        key: &TableKey,
        name: &Name,
    ) -> std::io::Result<()> {
        let set = ruleset.tables.get_mut(key).and_then(|table| table.sets.get_mut(name));
        let place = self.places.get(key).and_then(|table| table.elements.get(name));
        let (Some(set), Some(place)) = (set, place) else { return Ok(()) };
        if set.elements.is_empty() {
            (set.elements, set.order) = bytes.parse(*place, read_elements)?;
        }
        Ok(())
    }

    /// Anonymous objects with those names, and those that they use.
    fn fill_anonymous(
        &self,
        bytes: &Bytes<'_>,
        anonymous: &mut Anonymous,
        key: &TableKey,
        names: Vec<Name>,
    ) -> std::io::Result<()> {
        let Some(places) = self.places.get(key) else { return Ok(()) };
        let mut wanted: BTreeSet<Name> = names.into_iter().collect();
        while let Some(name) = wanted.pop_first() {
            if let Some(place) = places.anonymous_chains.get(&name) {
                if let Entry::Vacant(free) = anonymous.chains.entry(name) {
                    let chain = free.insert(bytes.parse(*place, read_chain)?);
                    wanted.extend(chain.rules.iter().flat_map(|rule| references(&rule.attrs)));
                }
            } else if let Some(place) = places.anonymous_sets.get(&name)
                && let Some(set) = anonymous.sets.get_mut(&name).filter(|set| set.elements.is_empty())
            {
                (set.elements, set.order) = bytes.parse(*place, read_elements)?;
            }
        }
        Ok(())
    }
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

/// Reads the index as it comes from the disk, without holding it.
struct IndexReader<R> {
    from: BufReader<R>,
}

impl<R: Read> IndexReader<R> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|_| Unreadable)?;
        Ok(bytes)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn digest(&mut self) -> Result<Digest, Unreadable> {
        Ok(Digest(self.take()?))
    }

    fn bytes(&mut self) -> Result<Vec<u8>, Unreadable> {
        let length = u64::from(self.u32()?);
        let mut bytes = Vec::new();
        (&mut self.from).take(length).read_to_end(&mut bytes).map_err(|_| Unreadable)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(Unreadable) }
    }

    fn name(&mut self) -> Result<Name, Unreadable> {
        Ok(Name(self.bytes()?))
    }
}

fn read_index<R: Read>(
    index: &mut IndexReader<R>,
    outline: &mut Outline,
    places: &mut Places,
) -> Result<(), Unreadable> {
    outline.state = Some(index.digest()?);
    for _ in 0..index.u32()? {
        outline.ruleset.interfaces.insert(index.u32()?, index.bytes()?);
    }
    for _ in 0..index.u32()? {
        let backend = backend_of(index.byte()?)?;
        let number = index.byte()?;
        let family =
            if number == 0 { Family::Unspec } else { Family::from_number(number).ok_or(Unreadable)? };
        let key = TableKey { backend, family, name: index.name()? };
        let table = read_table(index, &key, outline, places.entry(key.clone()).or_default())?;
        outline.ruleset.tables.insert(key, table);
    }
    Ok(())
}

fn read_table<R: Read>(
    index: &mut IndexReader<R>,
    key: &TableKey,
    outline: &mut Outline,
    places: &mut TablePlaces,
) -> Result<Table, Unreadable> {
    let mut table = Table { attrs: index.bytes()?, ..Table::default() };
    for _ in 0..index.u32()? {
        let name = index.name()?;
        let attrs = index.bytes()?;
        let count = index.u32()? as usize;
        // A damaged count must not ask for all memory.
        let room = count.min(1 << 20);
        let (mut rules, mut found) = (Vec::with_capacity(room), Vec::with_capacity(room));
        for _ in 0..count {
            rules.push(Rule { digest: index.digest()?, attrs: Box::default() });
            found.push(index.u32()?);
        }
        places.rules.insert(name.clone(), found.into_boxed_slice());
        table.chains.insert(name, Chain { attrs, rules });
    }
    for _ in 0..index.u32()? {
        let (name, set) = (index.name()?, read_set_head(index)?);
        let by_digest = index.byte()? != 0;
        let mut digests = Vec::new();
        for _ in 0..index.u32()? {
            digests.push(index.digest()?);
        }
        if by_digest {
            outline.elements.insert((key.clone(), name.clone()), digests);
        }
        places.elements.insert(name.clone(), index.u32()?);
        table.sets.insert(name, set);
    }
    for _ in 0..index.u32()? {
        let (kind, name) = (index.u32()?, index.name()?);
        table.objects.insert((kind, name), Object { attrs: index.bytes()? });
    }
    for _ in 0..index.u32()? {
        let name = index.name()?;
        table.flowtables.insert(name, Object { attrs: index.bytes()? });
    }
    for _ in 0..index.u32()? {
        let (name, set) = (index.name()?, read_set_head(index)?);
        places.anonymous_sets.insert(name.clone(), index.u32()?);
        table.anonymous.sets.insert(name, set);
    }
    for _ in 0..index.u32()? {
        let name = index.name()?;
        places.anonymous_chains.insert(name, index.u32()?);
    }
    Ok(table)
}

fn read_set_head<R: Read>(index: &mut IndexReader<R>) -> Result<Set, Unreadable> {
    let (flags, written_by_rules) = (index.u32()?, index.byte()? != 0);
    Ok(Set { flags, written_by_rules, attrs: index.bytes()?, ..Set::default() })
}
