//! The match `set` and the target `SET`: lookups in sets of ipset. Pure.
//!
//! A set that a rule writes to is what it holds now, or what a free variable says: its members come and go. Counters
//! of members are free.

use super::members::{self, Look};
use super::{Asked, Info, assign, has_transport};
use crate::model::{Backend, Digest, Name, Ruleset, Set, TableKey};
use crate::normalise::ipset as form;
use crate::normalise::xt_set::NAMES;
use crate::traffic::program::Step;
use crate::traffic::space::Space;
use crate::traffic::test::Test;
use std::collections::BTreeMap;

/// `IPSET_INV_MATCH`: bit 0 of the flags; those of the dimensions follow, set for the source.
const INVERT: u8 = 1;

/// How a rule looks into a set.
#[derive(Clone, Copy)]
pub(super) struct Asks {
    /// How many dimensions the rule gives a direction.
    pub dimensions: u8,
    /// Bit n is set if dimension n is that of the source.
    pub sources: u8,
    /// `IPSET_FLAG_*` of a command.
    pub flags: u32,
}

/// `struct xt_set_info_match_v1`, `v3`, `v4`.
pub(super) fn matched(space: &mut Space, asked: &Asked<'_>) -> Option<Test> {
    let info = asked.info();
    let name = name_at(asked, 0)?;
    if asked.revision == 0 {
        return Some(Test::free(space, &format!("set {name}")));
    }
    let flags = if asked.revision >= 3 { info.u32(40)? } else { 0 };
    let asks = Asks { dimensions: info.u8(2)?, sources: info.u8(3)?, flags };
    let mut tests = vec![has(space, asked, &name, asks)];
    if asked.revision >= 3 {
        tests.extend(counters(space, info, asked.revision, &name)?);
    }
    Some(Test::all(tests).inverted_if(asks.sources & INVERT != 0))
}

fn name_at(asked: &Asked<'_>, place: u16) -> Option<Name> {
    Some(Name(asked.data.find(NAMES + place)?.string().to_vec()))
}

/// `struct ip_set_counter_match0`, of which the operation comes first, or `struct ip_set_counter_match`.
fn counters(space: &mut Space, info: Info<'_>, revision: u32, name: &Name) -> Option<Vec<Test>> {
    let mut tests = Vec::new();
    for (at, what) in [(8, "packets"), (24, "bytes")] {
        let (operation, value) = match revision {
            3 => (info.u8(at)?, info.u64(at + 8)?),
            _ => (info.u8(at + 8)?, info.u64(at)?),
        };
        let (words, inverted) = match operation {
            1 => ("eq", false),
            2 => ("eq", true),
            3 => ("lt", false),
            4 => ("gt", false),
            _ => continue,
        };
        let text = format!("set {name} --{what}-{words} {value}");
        tests.push(Test::free(space, &text).inverted_if(inverted));
    }
    Some(tests)
}

/// Whether a set is a list that has another one as a member.
pub(super) fn lists(ruleset: &Ruleset, list: &Name, name: &Name) -> bool {
    let list = sets(ruleset).and_then(|sets| sets.get(list)).filter(|set| form::is_list(set));
    list.is_some_and(|list| list.elements.keys().any(|key| members::name(key).as_ref() == Some(name)))
}

/// Whether a set has the packet.
fn has(space: &mut Space, asked: &Asked<'_>, name: &Name, asks: Asks) -> Test {
    let Some(set) = sets(asked.ruleset).and_then(|sets| sets.get(name)) else {
        return Test::free(space, &format!("set {name}"));
    };
    let found = if form::is_list(set) {
        let names = form::members(set).into_iter().filter_map(|(key, _)| members::name(key));
        let names: Vec<Name> = names.collect();
        let parts: Vec<Test> = names
            .iter()
            // A list cannot be in a list; one that is would be read without an end.
            .filter(|name| !sets(asked.ruleset).and_then(|sets| sets.get(*name)).is_some_and(form::is_list))
            .map(|name| has(space, asked, name, asks))
            .collect();
        Some(Test::any(parts))
    } else {
        looked_up(space, set, &Look { family: asked.family, asks })
    };
    match found {
        None => Test::free(space, &format!("set {name}")),
        Some(test) if set.written_by_rules => {
            Test::any([test, Test::free(space, &format!("set {name} (members come and go)"))])
        }
        Some(test) => test,
    }
}

/// The same lookup is made once, however many rules and rulesets make it.
fn looked_up(space: &mut Space, set: &Set, look: &Look) -> Option<Test> {
    // Whether fragments are told apart changes what a lookup of ports asks.
    let fragments = has_transport(space).is_always();
    let asks = [look.family.number(), look.asks.dimensions, look.asks.sources, u8::from(fragments)];
    let flags = look.asks.flags.to_le_bytes();
    let members = set.elements.iter().flat_map(|(key, element)| {
        [&key.key[..]].into_iter().chain(element.attrs.iter().map(|attrs| &attrs[..]))
    });
    let digest = Digest::of([&asks[..], &flags, &set.attrs].into_iter().chain(members));
    if let Some(known) = space.lookup(&digest) {
        return Some(known);
    }
    let test = members::test(space, set, look)?;
    space.keep_lookup(digest, test.clone());
    Some(test)
}

fn sets(ruleset: &Ruleset) -> Option<&BTreeMap<Name, Set>> {
    Some(&ruleset.tables.get(&TableKey::of_all(Backend::Ipset))?.sets)
}

/// `struct xt_set_info_target_v0` to `v3`: members come and go by it; with `--map-set`, what is kept with a member
/// becomes the packet's.
pub(super) fn target(space: &mut Space, asked: &Asked<'_>) -> Option<Vec<Step>> {
    const MAP_MARK: u32 = 1 << 8;
    const MAP_PRIORITY: u32 = 1 << 9;
    const PRIORITY: u32 = 2;
    let info = asked.info();
    if asked.revision < 3 {
        return Some(Vec::new());
    }
    let flags = info.u32(12)?;
    let Some(name) = name_at(asked, 2).filter(|_| flags & (MAP_MARK | MAP_PRIORITY) != 0) else {
        return Some(Vec::new());
    };
    let asks = Asks { dimensions: info.u8(10)?, sources: info.u8(11)?, flags: 0 };
    let found = has(space, asked, &name, asks);
    let mut steps = Vec::new();
    if flags & MAP_MARK != 0 {
        let mark = space.mark();
        let kept = space.free(&format!("mark kept in set {name}"), 32);
        steps.extend(assign(&mark, &kept));
    }
    if flags & MAP_PRIORITY != 0 {
        let priority = space.meta(PRIORITY)?;
        let kept = space.free(&format!("priority kept in set {name}"), 32);
        steps.extend(assign(&priority, &kept));
    }
    Some(vec![Step::Branch(vec![(found, steps)])])
}
