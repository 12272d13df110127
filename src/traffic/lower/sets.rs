//! Sets and maps: what their elements say, and the expressions that ask them.

use super::machine::{Cell, bits};
use super::rule::{Flow, Lowering, Making};
use crate::model::{Element, ElementKey, Name, Set};
use crate::netlink::Attrs;
use crate::netlink::nft::{elem, expr, object, set};
use crate::traffic::bdd::Bit;
use crate::traffic::program::{Step, Verdict};
use crate::traffic::space::{NamePattern, Side};
use crate::traffic::test::{Elements, Part, Range, Slot, Test};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// `enum nft_lookup_attributes`.
mod lookup {
    pub const SET: u16 = 1;
    pub const SREG: u16 = 2;
    pub const DREG: u16 = 3;
    pub const FLAGS: u16 = 5;
    pub const F_INV: u32 = 1;
}

/// `enum nft_set_desc_attributes`, `enum nft_set_field_attributes`.
mod desc {
    pub const CONCAT: u16 = 2;
    pub const FIELD_LEN: u16 = 1;
}

/// A set's name, and of what the parts of the key are.
type Asked = (Name, Vec<Place>);

/// Elements as ranges, by the set's name: several rules may ask the same set.
#[derive(Default)]
pub(super) struct Sets {
    ranges: HashMap<Name, Arc<[Range]>>,
    slots: HashMap<Asked, Elements>,
}

/// A part of a key: where its bytes are, and whether they name an interface.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    from: usize,
    to: usize,
    /// Whether the bytes are an interface's name or index, and of which side.
    interface: Option<(Side, IsIndex)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum IsIndex {
    Yes,
    No,
}

impl Lowering<'_> {
    pub(super) fn set_named(&self, name: &Name) -> Option<&Set> {
        self.table.sets.get(name).or_else(|| self.table.anonymous.sets.get(name))
    }

    pub(super) fn lookup(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let name = Name(data.find(lookup::SET)?.string().to_vec());
        let flags = data.find(lookup::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
        let set = self.set_named(&name)?;
        let length = key_length(set)?;
        let cells = making.registers.load(data.find(lookup::SREG)?.be32()?, length)?.to_vec();
        let target = data.find(lookup::DREG).and_then(|attr| attr.be32());
        let Some(target) = target.filter(|_| set.flags & set::F_MAP != 0) else {
            let test = self.member(&name, &cells)?;
            return Some(making.test(test.inverted_if(flags & lookup::F_INV != 0)));
        };
        let groups = self.groups(&name, &cells)?;
        let mut branches = Vec::with_capacity(groups.len());
        for (content, test) in groups {
            let steps = match content {
                Content::Verdict(verdict) => vec![Step::Verdict(verdict)],
                Content::Value(bytes) => {
                    let mut registers = making.registers.clone();
                    let cells: Vec<Cell> = bytes.iter().map(|byte| Cell::constant(*byte)).collect();
                    registers.store(target, &cells)?;
                    self.rest(Making {
                        expressions: making.expressions,
                        at: making.at + 1,
                        registers,
                        steps: Vec::new(),
                    })
                }
            };
            branches.push((test, steps));
        }
        if branches.iter().any(|(_, steps)| !steps.is_empty()) || !making.steps.is_empty() {
            making.steps.push(Step::Branch(branches));
        }
        Some(Flow::End)
    }

    /// Whether a key is in a set.
    pub(super) fn member(&mut self, name: &Name, cells: &[Cell]) -> Option<Test> {
        let set = self.set_named(name)?;
        let is_dynamic = set.is_dynamic();
        let catches_all = set.elements.keys().any(is_catchall);
        let test = if catches_all { Test::ALWAYS } else { self.any_element(name, cells)? };
        if is_dynamic {
            let text = format!("in set {name}, whose elements come and go");
            return Some(Test::any([test, Test::free(self.space, &text)]));
        }
        Some(test)
    }

    /// Whether a key is one of the elements that have a key.
    fn any_element(&mut self, name: &Name, cells: &[Cell]) -> Option<Test> {
        if let Some(bits) = bits(cells)
            && !self.is_concatenation_of_ranges(name)
        {
            let ranges = match self.sets.ranges.get(name) {
                Some(known) => Arc::clone(known),
                None => {
                    let set = self.set_named(name)?;
                    let closed = with_next(set);
                    let ranges: Arc<[Range]> =
                        closed.filter_map(|(element, next)| range(set, element, next)).collect();
                    self.sets.ranges.insert(name.clone(), Arc::clone(&ranges));
                    ranges
                }
            };
            return Some(match &ranges[..] {
                [] => Test::never(),
                [(low, high)] => Test::between(&bits, low, high),
                _ => Test::In(bits, ranges),
            });
        }
        let lengths = self.set_named(name).and_then(field_lengths).unwrap_or_else(|| by_content(cells));
        let (parts, places) = parts_of(&lengths, cells)?;
        let slots = match self.sets.slots.get(&(name.clone(), places.clone())) {
            Some(known) => Arc::clone(known),
            None => {
                let set = self.set_named(name)?;
                let all = with_next(set).filter(|((key, _), _)| !is_catchall(key));
                let slots: Elements =
                    all.map(|(e, next)| self.slots(set, e, next, &places)).collect::<Option<_>>()?;
                self.sets.slots.insert((name.clone(), places), Arc::clone(&slots));
                slots
            }
        };
        self.ask_all(&slots);
        Some(member_of(parts, slots))
    }

    fn ask_all(&mut self, slots: &[Vec<Slot>]) {
        for slot in slots.iter().flatten() {
            match slot {
                Slot::Name(pattern) => self.space.ask_interface(pattern),
                Slot::Range(_) => {}
            }
        }
    }

    fn is_concatenation_of_ranges(&self, name: &Name) -> bool {
        self.set_named(name)
            .is_some_and(|set| set.flags & set::F_CONCAT != 0 && set.flags & set::F_INTERVAL != 0)
    }

    /// What one element says of each part.
    fn slots(
        &self,
        set: &Set,
        element: (&ElementKey, &Element),
        next: Option<&ElementKey>,
        places: &[Place],
    ) -> Option<Vec<Slot>> {
        let (low, high) = range(set, element, next)?;
        let slot = |place: &Place| {
            let (low, high) = (low.get(place.from..place.to)?, high.get(place.from..place.to)?);
            Some(match place.interface {
                None => Slot::Range((low.to_vec(), high.to_vec())),
                Some((_, IsIndex::Yes)) => {
                    Slot::Name(self.interface_at(u32::from_ne_bytes(low.try_into().ok()?)))
                }
                Some((_, IsIndex::No)) => Slot::Name(name_between(low, high)?),
            })
        };
        places.iter().map(slot).collect()
    }

    /// The elements of a map by what they map to, each with the question whether a key is one of them.
    fn groups(&mut self, name: &Name, cells: &[Cell]) -> Option<Vec<(Content, Test)>> {
        let set = self.set_named(name)?.clone();
        let mut by_content: BTreeMap<Vec<u8>, (Attrs<'_>, Set)> = BTreeMap::new();
        let mut rest = None;
        for ((key, element), next) in with_next(&set) {
            let content = element.attrs.iter().find_map(|attrs| Attrs(attrs).find(elem::DATA))?;
            if is_catchall(key) {
                rest = Some(content.nested());
                continue;
            }
            let group = by_content.entry(content.payload.to_vec()).or_insert_with(|| {
                let head = Set { flags: set.flags, attrs: set.attrs.clone(), ..Set::default() };
                (content.nested(), head)
            });
            // The next element may be in another group.
            let ends_before = next.filter(|_| is_open(&set, key)).and_then(|next| before(&next.key));
            let key = ElementKey { end: ends_before.unwrap_or_else(|| key.end.clone()), ..key.clone() };
            group.1.elements.insert(key, element.clone());
        }
        let mut groups = Vec::with_capacity(by_content.len() + 1);
        for (content, of_group) in by_content.into_values() {
            let test = self.of_elements(&of_group, cells)?;
            groups.push((self.content(content)?, test));
        }
        if let Some(content) = rest {
            let others = Test::any(groups.iter().map(|(_, test)| test.clone())).negated();
            groups.push((self.content(content)?, others));
        }
        if set.is_dynamic() {
            // An element that the packet path added maps to what nobody can know from here.
            let text = format!("in map {name}, whose elements come and go");
            let free = Test::free(self.space, &text);
            let none = Test::any(groups.iter().map(|(_, test)| test.clone())).negated();
            let bit = self.space.free(&format!("verdict of map {name}"), 1);
            if let Some(Bit::Var(var)) = bit.first() {
                groups.push((Content::Verdict(Verdict::Ask(*var)), Test::all([none, free])));
            }
        }
        Some(groups)
    }

    /// Whether a key is one of the elements of a set that has no name.
    fn of_elements(&mut self, set: &Set, cells: &[Cell]) -> Option<Test> {
        let concatenated = set.flags & set::F_CONCAT != 0 && set.flags & set::F_INTERVAL != 0;
        if let Some(bits) = bits(cells)
            && !concatenated
        {
            let ranges = set.elements.iter().filter_map(|element| range(set, element, None)).collect();
            return Some(Test::in_ranges(&bits, ranges));
        }
        let lengths = field_lengths(set).unwrap_or_else(|| by_content(cells));
        let (parts, places) = parts_of(&lengths, cells)?;
        let slots: Elements =
            set.elements.iter().map(|e| self.slots(set, e, None, &places)).collect::<Option<_>>()?;
        self.ask_all(&slots);
        Some(member_of(parts, slots))
    }

    fn content(&mut self, content: Attrs<'_>) -> Option<Content> {
        if let Some(verdict) = content.find(expr::DATA_VERDICT) {
            return Some(Content::Verdict(self.verdict(verdict.nested())?));
        }
        Some(Content::Value(content.find(expr::DATA_VALUE)?.payload.to_vec()))
    }

    /// `dynset`: adds to a set, or updates it; that fails only where an expression of the element says so.
    pub(super) fn dynset(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let name = Name(data.find(expr::DYNSET_SET_NAME)?.string().to_vec());
        let single = data.find(expr::DYNSET_EXPR).map(|attr| attr.nested());
        let list = data.find(expr::DYNSET_EXPRESSIONS).map(|list| list.nested());
        let list = list.into_iter().flat_map(|list| list.flatten().map(|attr| attr.nested()));
        let decides = single.into_iter().chain(list).any(|expression| {
            let name = expression.find(expr::NAME).map(|name| name.string());
            !matches!(name, Some(b"counter" | b"last"))
        });
        if !decides {
            return Some(Flow::On);
        }
        let text = format!("limit of set {name} ({})", self.place(making));
        Some(making.test(Test::free(self.space, &text)))
    }

    pub(super) fn objref(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        if let Some(set) = data.find(expr::OBJREF_SET_NAME) {
            let name = Name(set.string().to_vec());
            let kind = self
                .set_named(&name)
                .and_then(|set| Attrs(&set.attrs).find(set::OBJ_TYPE).and_then(|attr| attr.be32()))?;
            return self.object(kind, &format!("of map {name}"), making);
        }
        let kind = data.find(expr::OBJREF_IMM_TYPE)?.be32()?;
        let name = Name(data.find(expr::OBJREF_IMM_NAME)?.string().to_vec());
        let definition = self.table.objects.get(&(kind, name.clone()));
        let digest = definition.map(|found| crate::model::Digest::of([&found.attrs[..]]).to_string());
        let text = format!("{name} #{}", &digest.unwrap_or_default().get(..6).unwrap_or_default());
        self.object(kind, &text, making)
    }

    /// What a stateful object decides.
    fn object(&mut self, kind: u32, name: &str, making: &mut Making<'_>) -> Option<Flow> {
        let word = match kind {
            object::T_QUOTA => "quota",
            object::T_LIMIT => "limit",
            object::T_CONNLIMIT => "ct count",
            object::T_SYNPROXY => return Some(self.synproxy(making)),
            object::T_COUNTER
            | object::T_CT_HELPER
            | object::T_TUNNEL
            | object::T_CT_TIMEOUT
            | object::T_SECMARK
            | object::T_CT_EXPECT => return Some(Flow::On),
            _ => "object",
        };
        Some(making.test(Test::free(self.space, &format!("{word} name {name}"))))
    }
}

/// What an element maps to.
enum Content {
    Verdict(Verdict),
    Value(Vec<u8>),
}

fn is_catchall(key: &ElementKey) -> bool {
    key.flags & elem::F_CATCHALL != 0
}

/// Bytes of a set's keys.
fn key_length(set: &Set) -> Option<usize> {
    Some(Attrs(&set.attrs).find(set::KEY_LEN)?.be32()? as usize)
}

/// The lengths of a concatenation's parts, where the set says them.
fn field_lengths(set: &Set) -> Option<Vec<usize>> {
    let concat = Attrs(&set.attrs).find(set::DESC)?.nested().find(desc::CONCAT)?;
    let length = |field: Attrs<'_>| Some(field.find(desc::FIELD_LEN)?.be32()? as usize);
    let lengths: Option<Vec<usize>> = concat.nested().flatten().map(|field| length(field.nested())).collect();
    lengths.filter(|lengths| !lengths.is_empty())
}

/// The parts of a key by what its cells are: runs of bits, and names and indices of interfaces.
fn by_content(cells: &[Cell]) -> Vec<usize> {
    let mut lengths = Vec::new();
    let mut from = 0;
    for (at, cell) in cells.iter().enumerate() {
        let begins = match cell {
            Cell::Name(_, 0) | Cell::Index(_, 0) => true,
            Cell::Name(..) | Cell::Index(..) => false,
            Cell::Bits(_) => at > 0 && !matches!(cells[at - 1], Cell::Bits(_)),
        };
        if begins && at > from {
            lengths.push(at - from);
            from = at;
        }
    }
    lengths.push(cells.len() - from);
    lengths
}

/// What the key's cells are, part by part, and where their bytes stand.
fn parts_of(lengths: &[usize], cells: &[Cell]) -> Option<(Vec<Part>, Vec<Place>)> {
    let (mut parts, mut places) = (Vec::new(), Vec::new());
    let mut from = 0;
    for length in lengths {
        let of_part = cells.get(from..from + length)?;
        let (part, interface) = match of_part.first()? {
            Cell::Bits(_) => (Part::Bits(bits(of_part)?), None),
            Cell::Name(side, 0) => (Part::Interface(*side), Some((*side, IsIndex::No))),
            Cell::Index(side, 0) => (Part::Interface(*side), Some((*side, IsIndex::Yes))),
            Cell::Name(..) | Cell::Index(..) => return None,
        };
        parts.push(part);
        places.push(Place { from, to: from + length, interface });
        from += length.next_multiple_of(4);
    }
    Some((parts, places))
}

fn member_of(parts: Vec<Part>, slots: Elements) -> Test {
    match (&parts[..], &slots[..]) {
        (_, []) => Test::never(),
        ([Part::Interface(side)], [one]) => match &one[..] {
            [Slot::Name(pattern)] => Test::Interface(*side, pattern.clone()),
            _ => Test::Member(parts, slots),
        },
        _ => Test::Member(parts, slots),
    }
}

/// Elements in order, each with the one behind it.
fn with_next(set: &Set) -> impl Iterator<Item = ((&ElementKey, &Element), Option<&ElementKey>)> {
    let next = set.elements.keys().skip(1).map(Some).chain([None]);
    set.elements.iter().zip(next)
}

/// Whether an element of an interval set ends where the next one begins: nft leaves out an end that is also a start.
fn is_open(set: &Set, key: &ElementKey) -> bool {
    key.end.is_empty()
        && set.flags & set::F_INTERVAL != 0
        && set.flags & set::F_CONCAT == 0
        && key.flags & (elem::F_INTERVAL_END | elem::F_CATCHALL) == 0
}

/// The values of an element, both ends included; none of the catch-all one, and of ends without a start. `next` is the
/// element behind it, where one can be left without an end.
///
/// The end of an interval is excluded where the set is a tree of boundaries, and included in a concatenation
/// (`NFTA_SET_ELEM_KEY_END`).
fn range(set: &Set, (key, element): (&ElementKey, &Element), next: Option<&ElementKey>) -> Option<Range> {
    if is_catchall(key) || key.flags & elem::F_INTERVAL_END != 0 {
        return None;
    }
    let low = key.key.clone();
    if set.flags & set::F_INTERVAL == 0 {
        return Some((low.clone(), low));
    }
    if set.flags & set::F_CONCAT != 0 {
        let high = if key.end.is_empty() { low.clone() } else { key.end.clone() };
        return Some((low, high));
    }
    // Newer kernels may say both ends in one element; two elements are boundaries, of which the second is excluded.
    if !key.end.is_empty() && element.attrs.len() < 2 {
        return Some((low, key.end.clone()));
    }
    let high = match (key.end.is_empty(), next) {
        (true, Some(next)) => before(&next.key)?,
        (true, None) => vec![0xff; low.len()],
        (false, _) => before(&key.end)?,
    };
    (low <= high).then_some((low, high))
}

/// The value before another one, of the same length.
fn before(value: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = value.to_vec();
    for byte in bytes.iter_mut().rev() {
        let (less, borrowed) = byte.overflowing_sub(1);
        *byte = less;
        if !borrowed {
            return Some(bytes);
        }
    }
    None
}

/// The names of interfaces between two values: one name, or all that begin alike.
fn name_between(low: &[u8], high: &[u8]) -> Option<NamePattern> {
    if low == high {
        let end = low.iter().position(|byte| *byte == 0).unwrap_or(low.len());
        return Some(NamePattern::exact(&low[..end]));
    }
    let common = low.iter().zip(high).take_while(|(low, high)| low == high).count();
    let is_prefix =
        low[common..].iter().all(|byte| *byte == 0) && high[common..].iter().all(|byte| *byte == 0xff);
    is_prefix.then(|| NamePattern { name: low[..common].to_vec(), is_prefix: true })
}
