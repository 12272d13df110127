//! Mutations of single rules that no syntax is needed for: the live state is read as messages, one of them is
//! changed, and all are made anew over netlink. The kernel says whether it takes it; what it became is
//! nft's to say.

use crate::expect::Expected;
use crate::listing::Place;
use crate::live::EXPIRING;
use fwdrift::model::{ChangeKind, Name, Rule, Ruleset, Table, TableKey};
use fwdrift::netlink::nft::{self, expr, rule};
use fwdrift::netlink::{AttrWriter, Attrs};
use fwdrift::normalise::{expressions, references, rename_references};
use std::collections::BTreeMap;

/// One kind of change: all ways to make it, each with what must be reported.
pub type Edit = fn(&Ruleset) -> Ways<'_>;

/// Rulesets with one change in them.
pub type Ways<'a> = Box<dyn Iterator<Item = (Ruleset, Vec<Expected>)> + 'a>;

/// The kinds that change a rule where it stands, or its place.
pub const OF_RULES: [(&str, Edit); 19] = [
    ("verdict changed", |is| in_expressions(is, b"immediate", other_verdict)),
    ("jump target changed", other_target),
    ("compared value changed: 1 bit", |is| {
        in_expressions(is, b"cmp", |data| flip_value(data, expr::CMP_DATA))
    }),
    ("comparison inverted", |is| in_expressions(is, b"cmp", |data| toggle(data, expr::CMP_OP))),
    ("mask changed: 1 bit", |is| in_expressions(is, b"bitwise", |data| flip_value(data, BITWISE_MASK))),
    ("value set or translated to: 1 bit", |is| {
        in_expressions(is, b"immediate", |data| flip_value(data, expr::IMMEDIATE_DATA))
    }),
    ("source and destination exchanged", |is| in_expressions(is, b"payload", other_field)),
    ("lookup in a named set inverted", inverted_lookup),
    ("log prefix changed", |is| in_expressions(is, b"log", longer_prefix)),
    ("rate changed", |is| in_expressions(is, b"limit", |data| flip(data, &[LIMIT_RATE]))),
    ("counter added to a rule", with_counter),
    ("counter removed from a rule", without_counter),
    ("comment changed", with_comment),
    ("rule duplicated", duplicated),
    ("two rules swapped", swapped),
    ("rule moved to the end", moved_to_the_end),
    ("xt extension changed: 1 bit", in_extensions),
    ("anonymous set: one element gone", |is| in_anonymous(is, Inner::Gone)),
    ("anonymous set or map: one changed", |is| in_anonymous(is, Inner::Changed)),
];

const BITWISE_MASK: u16 = 4;
const LIMIT_RATE: u16 = 1;
const LOOKUP_FLAGS: u16 = 5;

/// `NFTNL_UDATA_*_COMMENT` (libnftnl's udata.h): type 0, length, zero-terminated text.
pub const COMMENT: &[u8] = b"\x00\x11fwdrift was here\x00";

/// The place of an object of a table.
pub fn place(key: &TableKey, kind: &str, name: &Name) -> Place {
    let (family, table) = (key.family.to_string(), key.name.to_string());
    Place { family, table, kind: kind.to_owned(), name: name.to_string() }
}

/// The tables that are the ruleset's own.
pub fn tables(is: &Ruleset) -> impl Iterator<Item = (&TableKey, &Table)> {
    is.tables.iter().filter(|(key, _)| key.name.0 != EXPIRING.as_bytes())
}

/// A copy with one table changed.
pub fn with_table(is: &Ruleset, key: &TableKey, change: impl FnOnce(&mut Table)) -> Ruleset {
    let mut copy = is.clone();
    change(copy.tables.get_mut(key).unwrap());
    copy
}

/// Where all rules are.
fn places(is: &Ruleset) -> impl Iterator<Item = (&TableKey, &Table, &Name, usize, &Rule)> {
    tables(is).flat_map(|(key, table)| {
        table.chains.iter().flat_map(move |(name, chain)| {
            chain.rules.iter().enumerate().map(move |(place, rule)| (key, table, name, place, rule))
        })
    })
}

/// All ways to change the bytes of one rule.
fn in_rules<'a>(is: &'a Ruleset, change: impl Fn(&Table, &Rule) -> Vec<Vec<u8>> + 'a) -> Ways<'a> {
    Box::new(places(is).flat_map(move |(key, table, name, at, rule)| {
        let ways = change(table, rule).into_iter().map(move |attrs| {
            let changed = with_table(is, key, |table| {
                table.chains.get_mut(name).unwrap().rules[at].attrs = attrs.into();
            });
            (changed, vec![Expected::rule_at(&place(key, "chain", name), at)])
        });
        ways.collect::<Vec<_>>()
    }))
}

/// All ways to change the data of one expression of a name.
fn in_expressions<'a>(
    is: &'a Ruleset,
    name: &'static [u8],
    change: fn(&[u8]) -> Option<Vec<u8>>,
) -> Ways<'a> {
    in_rules(is, move |_, rule| {
        let count = expressions(&rule.attrs).count();
        let ways = (0..count).filter_map(|number| nth_expression(&rule.attrs, number, name, &change));
        ways.collect()
    })
}

/// The rule with the data of its n-th expression changed, if that has this name.
fn nth_expression(
    attrs: &[u8],
    wanted: usize,
    name: &[u8],
    change: &dyn Fn(&[u8]) -> Option<Vec<u8>>,
) -> Option<Vec<u8>> {
    let is_it = |found: &[u8]| Attrs(found).find(expr::NAME).is_some_and(|found| found.string() == name);
    patch(attrs, &[rule::EXPRESSIONS], &|list| {
        let mut out = AttrWriter::new();
        for (place, expression) in Attrs(list).flatten().enumerate() {
            if place != wanted {
                out.put(expression.kind, expression.payload);
                continue;
            }
            let data = is_it(expression.payload).then(|| patch(expression.payload, &[expr::DATA], change));
            out.put(expression.kind, &data.flatten()?);
        }
        Some(out.into_bytes())
    })
}

/// The attributes with one changed, which a path of types leads to.
pub fn patch(attrs: &[u8], path: &[u16], change: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (first, rest) = path.split_first()?;
    let mut out = AttrWriter::new();
    let mut found = false;
    for attr in Attrs(attrs).flatten() {
        if attr.kind != *first || found {
            out.put(attr.kind, attr.payload);
            continue;
        }
        found = true;
        let new = if rest.is_empty() { change(attr.payload)? } else { patch(attr.payload, rest, change)? };
        out.put(attr.kind, &new);
    }
    found.then(|| out.into_bytes())
}

/// The attributes with one added or replaced.
pub fn with(attrs: &[u8], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = AttrWriter::new();
    for attr in Attrs(attrs).flatten().filter(|attr| attr.kind != kind) {
        out.put(attr.kind, attr.payload);
    }
    out.put(kind, payload);
    out.into_bytes()
}

/// The lowest bit of the last byte, turned.
pub fn flipped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    *bytes.last_mut()? ^= 1;
    Some(bytes)
}

pub fn flip(attrs: &[u8], path: &[u16]) -> Option<Vec<u8>> {
    patch(attrs, path, &flipped)
}

fn flip_value(data: &[u8], kind: u16) -> Option<Vec<u8>> {
    flip(data, &[kind, expr::DATA_VALUE])
}

/// `NFT_CMP_EQ` to `NFT_CMP_NEQ` and back.
fn toggle(data: &[u8], kind: u16) -> Option<Vec<u8>> {
    patch(data, &[kind], &|payload| flipped(payload).filter(|new| new[3] < 2))
}

/// `NF_DROP` and `NF_ACCEPT`, exchanged.
fn other_verdict(data: &[u8]) -> Option<Vec<u8>> {
    let path = [expr::IMMEDIATE_DATA, expr::DATA_VERDICT, expr::VERDICT_CODE];
    patch(data, &path, &|code| (code[..3] == [0, 0, 0] && code[3] < 2).then(|| flipped(code)).flatten())
}

/// Ports and addresses of a header: the other direction's.
fn other_field(data: &[u8]) -> Option<Vec<u8>> {
    let number = |kind| Attrs(data).find(kind).and_then(|attr| attr.be32());
    let other: u32 =
        match (number(expr::PAYLOAD_BASE)?, number(expr::PAYLOAD_OFFSET)?, number(expr::PAYLOAD_LEN)?) {
            (2, 0, 2) => 2,
            (2, 2, 2) => 0,
            (1, 12, 4) => 16,
            (1, 16, 4) => 12,
            (1, 8, 16) => 24,
            (1, 24, 16) => 8,
            _ => return None,
        };
    patch(data, &[expr::PAYLOAD_OFFSET], &|_| Some(other.to_be_bytes().to_vec()))
}

fn longer_prefix(data: &[u8]) -> Option<Vec<u8>> {
    patch(data, &[expr::LOG_PREFIX], &|prefix| {
        let text = prefix.strip_suffix(b"\0").unwrap_or(prefix);
        (text.len() < 100).then(|| [text, b"X\0"].concat())
    })
}

fn other_target(is: &Ruleset) -> Ways<'_> {
    const PATH: [u16; 3] = [expr::IMMEDIATE_DATA, expr::DATA_VERDICT, expr::VERDICT_CHAIN];
    in_rules(is, |table, rule| {
        let regular =
            table.chains.iter().filter(|(_, chain)| Attrs(&chain.attrs).find(nft::chain::HOOK).is_none());
        let others: Vec<&Name> = regular.map(|(name, _)| name).take(6).collect();
        let count = expressions(&rule.attrs).count();
        let ways = others.into_iter().filter_map(|other| {
            let target = [&other.0[..], b"\0"].concat();
            let change = |data: &[u8]| {
                patch(data, &PATH, &|old| {
                    (old != target && !old.starts_with(b"__chain")).then(|| target.clone())
                })
            };
            nth_expression(&rule.attrs, count.checked_sub(1)?, b"immediate", &change)
        });
        ways.collect()
    })
}

fn inverted_lookup(is: &Ruleset) -> Ways<'_> {
    in_expressions(is, b"lookup", |data| {
        // Of a map it has no meaning.
        Attrs(data).find(LOOKUP_DREG).is_none().then(|| {
            let flags = Attrs(data).find(LOOKUP_FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
            with(data, LOOKUP_FLAGS, &(flags ^ 1).to_be_bytes())
        })
    })
}

const LOOKUP_DREG: u16 = 3;

fn has_counter(rule: &Rule) -> bool {
    expressions(&rule.attrs).any(|e| e.find(expr::NAME).is_some_and(|name| name.string() == b"counter"))
}

fn with_counter(is: &Ruleset) -> Ways<'_> {
    let mut counter = AttrWriter::new();
    counter.nested(nft::LIST_ELEM, |expression| {
        expression.string(expr::NAME, b"counter").nested(expr::DATA, |_| {});
    });
    in_rules(is, move |_, found| {
        let more = |list: &[u8]| Some([counter.as_bytes(), list].concat());
        if has_counter(found) { None } else { patch(&found.attrs, &[rule::EXPRESSIONS], &more) }
            .into_iter()
            .collect()
    })
}

fn without_counter(is: &Ruleset) -> Ways<'_> {
    in_rules(is, |_, found| {
        let less = |list: &[u8]| {
            let mut out = AttrWriter::new();
            for attr in Attrs(list).flatten() {
                if attr.nested().find(expr::NAME).is_none_or(|name| name.string() != b"counter") {
                    out.put(attr.kind, attr.payload);
                }
            }
            Some(out.into_bytes())
        };
        if has_counter(found) { patch(&found.attrs, &[rule::EXPRESSIONS], &less) } else { None }
            .into_iter()
            .collect()
    })
}

fn with_comment(is: &Ruleset) -> Ways<'_> {
    in_rules(is, |_, found| vec![with(&found.attrs, rule::USERDATA, COMMENT)])
}

/// One bit of the first bytes of an extension's data; the kernel refuses some.
fn in_extensions(is: &Ruleset) -> Ways<'_> {
    in_rules(is, |_, found| {
        let count = expressions(&found.attrs).count();
        let bits = (0..count).flat_map(|number| (0..12).map(move |byte| (number, byte)));
        let ways = bits.filter_map(|(number, byte)| {
            let change = |data: &[u8]| {
                patch(data, &[expr::XT_INFO], &|info| {
                    let mut info = info.to_vec();
                    *info.get_mut(byte)? ^= 1;
                    Some(info)
                })
            };
            [&b"match"[..], b"target"]
                .iter()
                .find_map(|name| nth_expression(&found.attrs, number, name, &change))
        });
        ways.collect()
    })
}

/// A copy of a rule, with sets of its own.
fn copied(table: &mut Table, source: &Rule) -> Rule {
    let mut names = BTreeMap::new();
    for name in references(&source.attrs) {
        if let Some(set) = table.anonymous.sets.get(&name).cloned() {
            let copy = Name([&name.0[..], b"9"].concat());
            table.anonymous.sets.insert(copy.clone(), set);
            names.insert(name, copy);
        }
    }
    Rule { attrs: rename_references(&source.attrs, &names).into(), ..source.clone() }
}

/// Rules that own no chain.
fn simple(is: &Ruleset) -> impl Iterator<Item = (&TableKey, &Table, &Name, usize, &Rule)> {
    places(is).filter(|(_, table, _, _, rule)| {
        !references(&rule.attrs).iter().any(|name| table.anonymous.chains.contains_key(name))
    })
}

fn duplicated(is: &Ruleset) -> Ways<'_> {
    Box::new(simple(is).map(|(key, _, name, at, found)| {
        let changed = with_table(is, key, |table| {
            let copy = copied(table, found);
            table.chains.get_mut(name).unwrap().rules.insert(at + 1, copy);
        });
        (changed, vec![Expected::rule(ChangeKind::Added, &place(key, "chain", name))])
    }))
}

fn swapped(is: &Ruleset) -> Ways<'_> {
    let neighbours = places(is).filter(|(_, table, name, at, rule)| {
        table.chains[*name].rules.get(at + 1).is_some_and(|next| next.digest != rule.digest)
    });
    Box::new(neighbours.map(|(key, _, name, at, _)| {
        let changed = with_table(is, key, |table| table.chains.get_mut(name).unwrap().rules.swap(at, at + 1));
        (changed, vec![Expected::rule(ChangeKind::Moved, &place(key, "chain", name))])
    }))
}

fn moved_to_the_end(is: &Ruleset) -> Ways<'_> {
    let movable = places(is).filter(|(_, table, name, at, rule)| {
        table.chains[*name].rules[at + 1..].iter().any(|next| next.digest != rule.digest)
    });
    Box::new(movable.map(|(key, _, name, at, _)| {
        let changed = with_table(is, key, |table| {
            let rules = &mut table.chains.get_mut(name).unwrap().rules;
            let moved = rules.remove(at);
            rules.push(moved);
        });
        (changed, vec![Expected::rule(ChangeKind::Moved, &place(key, "chain", name))])
    }))
}

/// What happens to one element of an anonymous set.
#[derive(Clone, Copy, PartialEq)]
enum Inner {
    Gone,
    Changed,
}

fn in_anonymous(is: &Ruleset, what: Inner) -> Ways<'_> {
    Box::new(places(is).flat_map(move |(key, table, name, at, found)| {
        let sets = references(&found.attrs).into_iter().filter(|set| {
            table
                .anonymous
                .sets
                .get(set)
                .is_some_and(|set| set.elements.len() > usize::from(what == Inner::Gone))
        });
        let ways = sets.filter_map(move |set| {
            let mut content = table.anonymous.sets[&set].clone();
            let last = content.elements.keys().next_back()?.clone();
            let mut element = content.elements.remove(&last)?;
            if what == Inner::Changed {
                element.attrs[0] = crate::edit_objects::other_content(&element.attrs[0])?;
                content.elements.insert(last, element);
            }
            let changed = with_table(is, key, |table| drop(table.anonymous.sets.insert(set, content)));
            Some((changed, vec![Expected::rule_at(&place(key, "chain", name), at)]))
        });
        ways.collect::<Vec<_>>()
    }))
}
