//! Sets of ipset in rules of iptables-nft: `-m set` and `-j SET`. Pure.
//!
//! The kernel's bytes name a set by its index, which is another one after each reboot. So in a rule of ours the
//! index is 0, and the set's name stands beside it, in an attribute that the kernel does not know
//! ([`NAMES`], one for each place). Layouts: linux/netfilter/xt_set.h.

use super::anonymous::{expressions, map_expressions};
use crate::model::{Digest, Name, Rule, Table};
use crate::netlink::nft::expr;
use crate::netlink::{AttrWriter, Attrs, ipset};
use std::collections::{BTreeMap, BTreeSet};

/// The number of the attribute that names the set in the first place; those of the next ones follow.
pub const NAMES: u16 = 0x3f00;

/// A place in a match's or target's bytes that holds a set's index.
struct Place {
    offset: usize,
    /// Whether the packet path adds to this set, or deletes from it.
    writes: bool,
}

/// `struct xt_set_info_v0` is 32 bytes long, `struct xt_set_info` 4.
fn places(name: &[u8], revision: u32) -> &'static [Place] {
    const MATCH: &[Place] = &[Place { offset: 0, writes: false }];
    const TARGET_0: &[Place] = &[Place { offset: 0, writes: true }, Place { offset: 32, writes: true }];
    const TARGET: &[Place] = &[Place { offset: 0, writes: true }, Place { offset: 4, writes: true }];
    const TARGET_3: &[Place] = &[
        Place { offset: 0, writes: true },
        Place { offset: 4, writes: true },
        Place { offset: 8, writes: false },
    ];
    match (name, revision) {
        (b"set", 0..=4) => MATCH,
        (b"SET", 0) => TARGET_0,
        (b"SET", 1 | 2) => TARGET,
        (b"SET", 3) => TARGET_3,
        _ => &[],
    }
}

/// Names the sets in the rules of a table, where `names` (by index) knows them.
pub fn name_sets(table: &mut Table, names: &BTreeMap<u16, Name>) {
    for rule in table.rules_mut() {
        if let Some(named) = with_names(&rule.attrs, names) {
            *rule = Rule { digest: Digest::of([&named[..]]), attrs: named.into() };
        }
    }
}

/// A rule's attributes with names for the indices in them; none if there is nothing to name.
pub fn with_names(rule_attrs: &[u8], names: &BTreeMap<u16, Name>) -> Option<Vec<u8>> {
    if names.is_empty() || !may_use_sets(rule_attrs) {
        return None;
    }
    let named = map_expressions(rule_attrs, |expression| named(expression, names));
    (named != rule_attrs).then_some(named)
}

/// The expression with names for its indices; none if there is nothing to name.
fn named(expression: Attrs<'_>, names: &BTreeMap<u16, Name>) -> Option<Vec<u8>> {
    let (data, places) = extension(expression)?;
    let mut info = data.find(expr::XT_INFO)?.payload.to_vec();
    let mut found = Vec::new();
    for (number, place) in places.iter().enumerate() {
        let bytes = info.get_mut(place.offset..place.offset + 2)?;
        let index = u16::from_ne_bytes([bytes[0], bytes[1]]);
        if index != ipset::NO_INDEX {
            found.push((NAMES + number as u16, names.get(&index)?));
            bytes.fill(0);
        }
    }
    if data.flatten().any(|attr| attr.kind >= NAMES) {
        return None;
    }
    Some(rewritten(expression, data, &info, |out| {
        for (kind, name) in &found {
            out.string(*kind, &name.0);
        }
    }))
}

/// An extension's expression in the form in which the kernel takes it back, with the indices that the sets have
/// where it is sent; none for another expression.
pub fn indexed(expression: Attrs<'_>, indices: &BTreeMap<Name, u16>) -> Option<Vec<u8>> {
    let (data, places) = extension(expression)?;
    let mut info = data.find(expr::XT_INFO)?.payload.to_vec();
    for (number, place) in places.iter().enumerate() {
        let Some(name) = data.find(NAMES + number as u16) else { continue };
        let index = indices.get(&Name(name.string().to_vec())).copied().unwrap_or(ipset::NO_INDEX);
        info.get_mut(place.offset..place.offset + 2)?.copy_from_slice(&index.to_ne_bytes());
    }
    Some(rewritten(expression, data, &info, |_| {}))
}

fn rewritten(
    expression: Attrs<'_>,
    data: Attrs<'_>,
    info: &[u8],
    more: impl FnOnce(&mut AttrWriter),
) -> Vec<u8> {
    let mut out = AttrWriter::new();
    if let Some(name) = expression.find(expr::NAME) {
        out.put(expr::NAME, name.payload);
    }
    out.nested(expr::DATA, |inner| {
        for attr in data.flatten().filter(|attr| attr.kind < NAMES) {
            inner.put(attr.kind, if attr.kind == expr::XT_INFO { info } else { attr.payload });
        }
        more(inner);
    });
    out.into_bytes()
}

/// The attributes of a `set` match or a `SET` target, and where its bytes hold indices.
fn extension<'a>(expression: Attrs<'a>) -> Option<(Attrs<'a>, &'static [Place])> {
    let kind = expression.find(expr::NAME)?.string();
    let data = expression.find(expr::DATA)?.nested();
    let name = data.find(expr::XT_NAME)?.string();
    let fits = matches!((kind, name), (b"match", b"set") | (b"target", b"SET"));
    let places = places(name, data.find(expr::XT_REV)?.be32()?);
    (fits && !places.is_empty()).then_some((data, places))
}

/// Whether a rule still names a set by its index, because no name was known for it.
pub fn has_unnamed(rule_attrs: &[u8]) -> bool {
    let is_unnamed = |(data, places): (Attrs<'_>, &'static [Place])| {
        let index = |place: &Place| {
            let bytes = data.find(expr::XT_INFO)?.payload.get(place.offset..place.offset + 2)?;
            Some(u16::from_ne_bytes([bytes[0], bytes[1]]))
        };
        let named = data.flatten().any(|attr| attr.kind >= NAMES);
        !named && places.iter().filter_map(index).any(|index| index != ipset::NO_INDEX)
    };
    may_use_sets(rule_attrs) && expressions(rule_attrs).filter_map(extension).any(is_unnamed)
}

/// The sets that a rule names.
pub fn used(rule: &Rule) -> BTreeSet<Name> {
    if may_use_sets(&rule.attrs) { in_places(&rule.attrs, |_| true).collect() } else { BTreeSet::new() }
}

/// The sets to which a rule adds, or from which it deletes.
pub fn written(rule_attrs: &[u8]) -> BTreeSet<Name> {
    if may_use_sets(rule_attrs) {
        in_places(rule_attrs, |place| place.writes).collect()
    } else {
        BTreeSet::new()
    }
}

fn in_places(rule_attrs: &[u8], wanted: impl Fn(&Place) -> bool) -> impl Iterator<Item = Name> {
    expressions(rule_attrs).filter_map(extension).flat_map(move |(data, places)| {
        let places = places.iter().enumerate().filter(|(_, place)| wanted(place));
        let names = places.filter_map(move |(number, _)| data.find(NAMES + number as u16));
        names.map(|name| Name(name.string().to_vec())).collect::<Vec<_>>()
    })
}

/// The sets that a line of `iptables-legacy-save` adds to or deletes from.
pub fn written_by_line(line: &[u8]) -> impl Iterator<Item = Name> {
    let target = memchr::memmem::find(line, b"-j SET ").map_or(&[][..], |place| &line[place..]);
    let words: Vec<&[u8]> = target.split(|byte| *byte == b' ').collect();
    let pairs = words.windows(2).filter(|pair| [&b"--add-set"[..], b"--del-set"].contains(&pair[0]));
    pairs.map(|pair| Name(pair[1].to_vec())).collect::<Vec<_>>().into_iter()
}

/// Cheap, and never wrong where it says no.
pub fn may_use_sets(rule_attrs: &[u8]) -> bool {
    [&b"set\0"[..], b"SET\0"].iter().any(|word| memchr::memmem::find(rule_attrs, word).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &[u8], kind: &[u8], revision: u32, info: &[u8]) -> Rule {
        let mut attrs = AttrWriter::new();
        attrs.nested(crate::netlink::nft::rule::EXPRESSIONS, |list| {
            list.nested(1, |expression| {
                expression.string(expr::NAME, kind);
                expression.nested(expr::DATA, |data| {
                    data.string(expr::XT_NAME, name).be32(expr::XT_REV, revision).put(expr::XT_INFO, info);
                });
            });
        });
        Rule { digest: Digest::of([attrs.as_bytes()]), attrs: attrs.into_bytes().into() }
    }

    fn name(text: &str) -> Name {
        Name(text.as_bytes().to_vec())
    }

    fn with(names: &[(u16, &str)], rule: Rule) -> Rule {
        let mut table = Table::default();
        table.chains.entry(name("c")).or_default().rules.push(rule);
        name_sets(&mut table, &names.iter().map(|(index, text)| (*index, name(text))).collect());
        table.chains.remove(&name("c")).unwrap().rules.remove(0)
    }

    #[test]
    fn a_rule_is_the_same_whatever_index_its_set_has_and_another_one_with_another_set() {
        let info = |index: u16| [&index.to_ne_bytes()[..], &[1, 1, 0, 0]].concat();
        let first = with(&[(1, "a"), (2, "b")], rule(b"set", b"match", 4, &info(1)));
        let second = with(&[(7, "a")], rule(b"set", b"match", 4, &info(7)));
        let other = with(&[(1, "a"), (2, "b")], rule(b"set", b"match", 4, &info(2)));
        assert_eq!(first, second);
        assert_ne!(first.digest, other.digest);
        assert_eq!(used(&first), BTreeSet::from([name("a")]));
        assert_eq!(written(&first.attrs), BTreeSet::new());
        // Naming again changes nothing, and the way back has the index of the place that it is sent to.
        assert_eq!(with(&[(0, "wrong")], first.clone()), first);
        let indices = BTreeMap::from([(name("a"), 5)]);
        let back = map_expressions(&first.attrs, |expression| indexed(expression, &indices));
        assert_eq!(back, rule(b"set", b"match", 4, &info(5)).attrs.to_vec());
    }

    #[test]
    fn a_target_writes_to_the_sets_that_it_adds_to_and_deletes_from() {
        let info = |places: &[u16]| -> Vec<u8> {
            places.iter().flat_map(|index| [&index.to_ne_bytes()[..], &[1, 1]].concat()).collect()
        };
        let names = [(0, "a"), (1, "b"), (2, "m")];
        let target = with(&names, rule(b"SET", b"target", 3, &info(&[0, ipset::NO_INDEX, 2])));
        assert_eq!(written(&target.attrs), BTreeSet::from([name("a")]));
        assert_eq!(used(&target), BTreeSet::from([name("a"), name("m")]));
        let both = with(&names, rule(b"SET", b"target", 2, &info(&[0, 1])));
        assert_eq!(written(&both.attrs), BTreeSet::from([name("a"), name("b")]));
        assert!(!has_unnamed(&target.attrs) && !has_unnamed(&both.attrs));
        let unknown = rule(b"SET", b"target", 2, &info(&[9, 1]));
        assert!(has_unnamed(&unknown.attrs));
        assert_eq!(with(&names, unknown.clone()), unknown);
        let line = b"-A INPUT -j SET --add-set seen src --exist --del-set other src,dst";
        assert_eq!(written_by_line(line).collect::<Vec<_>>(), [name("seen"), name("other")]);
    }
}
