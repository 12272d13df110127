//! Mutations of tables, chains, sets, elements and objects, made as in [`crate::edit`].

use crate::edit::{COMMENT, Edit, Ways, flip, flipped, patch, place, tables, with, with_table};
use crate::expect::Expected;
use crate::listing::Place;
use fwdrift::model::{ChangeKind, Element, ElementKey, Name, Ruleset, Set, Table, TableKey};
use fwdrift::netlink::Attrs;
use fwdrift::netlink::nft::{chain, elem, expr, object, set, table};
use fwdrift::normalise::{references, verdict_chain};

/// The kinds that change anything but rules.
pub const OF_OBJECTS: [(&str, Edit); 16] = [
    ("hook priority changed", other_priority),
    ("chain's comment changed", |is| in_chains(is, |attrs| Some(with(attrs, chain::USERDATA, COMMENT)))),
    ("chain renamed", renamed_chain),
    ("table made dormant", |is| in_tables(is, |attrs| patch(attrs, &[table::FLAGS], &flipped))),
    ("table's comment changed", |is| in_tables(is, |attrs| Some(with(attrs, table::USERDATA, COMMENT)))),
    ("element's comment changed", |is| in_elements(is, |attrs| Some(with(attrs, elem::USERDATA, COMMENT)))),
    ("element's data changed", |is| in_elements(is, other_data)),
    ("range widened", widened),
    ("set's flags changed", |is| in_sets(is, other_flags)),
    ("set's timeout changed", |is| in_sets(is, other_timeout)),
    ("set's size changed", |is| in_sets(is, other_size)),
    ("set's comment changed", |is| {
        in_sets(is, |set| Some(with(&set.attrs, set::USERDATA, &with_comment(&set.attrs))))
    }),
    ("quota or limit changed", |is| in_objects(is, &[object::T_QUOTA, object::T_LIMIT])),
    ("other named object changed", |is| {
        in_objects(is, &[object::T_CT_HELPER, object::T_CT_TIMEOUT, object::T_CT_EXPECT, object::T_SYNPROXY])
    }),
    ("named object's comment changed", commented_object),
    ("set renamed", renamed_set),
];

const SET_TIMEOUT: u16 = 11;

fn in_chains(is: &Ruleset, change: fn(&[u8]) -> Option<Vec<u8>>) -> Ways<'_> {
    Box::new(tables(is).flat_map(move |(key, table)| {
        table.chains.iter().filter_map(move |(name, found)| {
            let attrs = change(&found.attrs)?;
            let changed = with_table(is, key, |table| table.chains.get_mut(name).unwrap().attrs = attrs);
            Some((changed, vec![Expected::head(&place(key, "chain", name))]))
        })
    }))
}

fn other_priority(is: &Ruleset) -> Ways<'_> {
    in_chains(is, |attrs| flip(attrs, &[chain::HOOK, chain::HOOK_PRIORITY]))
}

fn in_tables(is: &Ruleset, change: fn(&[u8]) -> Option<Vec<u8>>) -> Ways<'_> {
    Box::new(tables(is).filter_map(move |(key, found)| {
        let attrs = change(&found.attrs)?;
        let changed = with_table(is, key, |table| table.attrs = attrs);
        Some((changed, vec![Expected::table_head(&key.family.to_string(), &key.name.to_string())]))
    }))
}

/// Names that rules and elements of a table refer to.
fn used(table: &Table) -> Vec<Name> {
    let chains = table.chains.values().chain(table.anonymous.chains.values());
    let by_rules = chains.flat_map(|chain| &chain.rules).flat_map(|rule| references(&rule.attrs));
    let sets = table.sets.values().chain(table.anonymous.sets.values());
    let elements = sets.flat_map(|set| set.elements.values()).flat_map(|element| &element.attrs);
    let by_elements = elements.filter_map(|attrs| verdict_chain(Attrs(attrs).find(elem::DATA)?));
    by_rules.chain(by_elements).collect()
}

const RENAMED: &[u8] = b"fwdrift_renamed";

fn removed_and_added(key: &TableKey, kind: &str, name: &Name) -> Vec<Expected> {
    let (old, new) = (place(key, kind, name), place(key, kind, &Name(RENAMED.to_vec())));
    vec![Expected::object(ChangeKind::Removed, &old), Expected::object(ChangeKind::Added, &new)]
}

fn renamed_chain(is: &Ruleset) -> Ways<'_> {
    Box::new(tables(is).flat_map(move |(key, table)| {
        let used = used(table);
        let free: Vec<&Name> = table.chains.keys().filter(|name| !used.contains(name)).collect();
        free.into_iter().map(move |name| {
            let changed = with_table(is, key, |table| {
                let content = table.chains.remove(name).unwrap();
                table.chains.insert(Name(RENAMED.to_vec()), content);
            });
            (changed, removed_and_added(key, "chain", name))
        })
    }))
}

fn renamed_set(is: &Ruleset) -> Ways<'_> {
    Box::new(tables(is).flat_map(move |(key, table)| {
        let used = used(table);
        let free: Vec<&Name> = table.sets.keys().filter(|name| !used.contains(name)).collect();
        free.into_iter().map(move |name| {
            let kind = if table.sets[name].is_map() { "map" } else { "set" };
            let changed = with_table(is, key, |table| {
                let content = table.sets.remove(name).unwrap();
                table.sets.insert(Name(RENAMED.to_vec()), content);
            });
            (changed, removed_and_added(key, kind, name))
        })
    }))
}

fn set_place(key: &TableKey, name: &Name, set: &Set) -> Place {
    place(key, if set.is_map() { "map" } else { "set" }, name)
}

fn in_sets(is: &Ruleset, change: fn(&Set) -> Option<Vec<u8>>) -> Ways<'_> {
    Box::new(tables(is).flat_map(move |(key, table)| {
        table.sets.iter().filter_map(move |(name, found)| {
            let attrs = change(found)?;
            let flags = Attrs(&attrs).find(set::FLAGS).and_then(|flags| flags.be32()).unwrap_or(0);
            let changed = with_table(is, key, |table| {
                let set = table.sets.get_mut(name).unwrap();
                (set.attrs, set.flags) = (attrs, flags);
            });
            Some((changed, vec![Expected::set_head(&set_place(key, name, found))]))
        })
    }))
}

/// With or without `flags timeout`, where no element has one.
fn other_flags(found: &Set) -> Option<Vec<u8>> {
    let expires = found.elements.values().any(|element| element.expires);
    let flags = (found.flags ^ set::F_TIMEOUT).to_be_bytes();
    (!expires && !found.is_dynamic() && Attrs(&found.attrs).find(SET_TIMEOUT).is_none())
        .then(|| with(&found.attrs, set::FLAGS, &flags))
}

/// 4711 s, where the default holds for no element.
fn other_timeout(found: &Set) -> Option<Vec<u8>> {
    (found.flags & set::F_TIMEOUT != 0 && (found.elements.is_empty() || found.is_dynamic()))
        .then(|| with(&found.attrs, SET_TIMEOUT, &4_711_000_u64.to_be_bytes()))
}

fn other_size(found: &Set) -> Option<Vec<u8>> {
    if found.flags & set::F_CONSTANT != 0 {
        // nft prints none, and it bounds nothing.
        return None;
    }
    let old = Attrs(&found.attrs).find(set::DESC).map_or(&[][..], |desc| desc.payload);
    let desc = with(old, set::DESC_SIZE, &54_321_u32.to_be_bytes());
    Some(with(&found.attrs, set::DESC, &desc))
}

/// The user data of a set with another comment (`NFTNL_UDATA_SET_COMMENT` is 7).
fn with_comment(attrs: &[u8]) -> Vec<u8> {
    const SET_COMMENT: u8 = 7;
    let mut rest = Attrs(attrs).find(set::USERDATA).map_or(&[][..], |attr| attr.payload);
    let mut data = Vec::new();
    while let [kind, length, tail @ ..] = rest {
        let (value, next) = tail.split_at(usize::from(*length));
        if *kind != SET_COMMENT {
            data.extend([*kind, *length]);
            data.extend(value);
        }
        rest = next;
    }
    data.push(SET_COMMENT);
    data.extend(&COMMENT[1..]);
    data
}

/// Sets that people fill.
fn fillable(is: &Ruleset) -> impl Iterator<Item = (&TableKey, &Name, &Set)> {
    let all = tables(is).flat_map(|(key, table)| table.sets.iter().map(move |(name, set)| (key, name, set)));
    all.filter(|(_, _, set)| !set.is_dynamic())
}

fn in_elements(is: &Ruleset, change: fn(&[u8]) -> Option<Vec<u8>>) -> Ways<'_> {
    Box::new(fillable(is).flat_map(move |(key, name, found)| {
        found.elements.iter().take(4).filter_map(move |(element_key, element)| {
            let attrs = change(element.attrs.first()?)?;
            let changed = with_table(is, key, |table| {
                let set = table.sets.get_mut(name).unwrap();
                set.elements.get_mut(element_key).unwrap().attrs[0] = attrs;
            });
            Some((changed, vec![Expected::element(ChangeKind::Modified, &set_place(key, name, found))]))
        })
    }))
}

/// What an element maps to: another value (its first byte, as the last one of several values may be padding), or the
/// other verdict.
fn other_data(attrs: &[u8]) -> Option<Vec<u8>> {
    let first = |value: &[u8]| {
        let mut value = value.to_vec();
        *value.first_mut()? ^= 1;
        Some(value)
    };
    patch(attrs, &[elem::DATA, expr::DATA_VALUE], &first).or_else(|| {
        patch(attrs, &[elem::DATA, expr::DATA_VERDICT, expr::VERDICT_CODE], &|code| {
            (code[..3] == [0, 0, 0] && code[3] < 2).then(|| flipped(code)).flatten()
        })
    })
}

/// An element with other data, or, if it has none, with another key.
pub fn other_content(attrs: &[u8]) -> Option<Vec<u8>> {
    match Attrs(attrs).find(elem::DATA) {
        Some(_) => other_data(attrs),
        None => flip(attrs, &[elem::KEY, expr::DATA_VALUE]),
    }
}

/// The end of an interval, moved by one: another element stands where the old one stood.
fn widened(is: &Ruleset) -> Ways<'_> {
    Box::new(fillable(is).flat_map(move |(key, name, found)| {
        found.elements.iter().take(4).filter_map(move |(old, element)| {
            let (end, attrs) = longer(old, element, found)?;
            let changed = with_table(is, key, |table| {
                let set = table.sets.get_mut(name).unwrap();
                set.elements.remove(old);
                let element = Element { attrs, ..element.clone() };
                set.elements.insert(ElementKey { end, ..old.clone() }, element);
            });
            let at = set_place(key, name, found);
            let expected = [ChangeKind::Removed, ChangeKind::Added].map(|kind| Expected::element(kind, &at));
            Some((changed, expected.into()))
        })
    }))
}

fn longer(key: &ElementKey, element: &Element, set: &Set) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
    if set.flags & set::F_INTERVAL == 0 || key.end.is_empty() {
        return None;
    }
    let mut end = key.end.clone();
    // In a concatenation, the last byte of a field may be padding: only of a range is it known not to be.
    let byte = match set.flags & set::F_CONCAT {
        0 => end.len().checked_sub(1)?,
        _ => (0..end.len()).rev().find(|byte| key.key.get(*byte) != end.get(*byte))?,
    };
    end[byte] = end[byte].checked_add(1)?;
    let value = |_: &[u8]| Some(end.clone());
    let attrs = match &element.attrs[..] {
        [start, stop] => vec![start.clone(), patch(stop, &[elem::KEY, expr::DATA_VALUE], &value)?],
        [one] => vec![patch(one, &[elem::KEY_END, expr::DATA_VALUE], &value)?],
        _ => return None,
    };
    Some((end, attrs))
}

fn object_word(kind: u32) -> Option<&'static str> {
    Some(match kind {
        object::T_COUNTER => "counter",
        object::T_QUOTA => "quota",
        object::T_CT_HELPER => "ct helper",
        object::T_LIMIT => "limit",
        object::T_CT_TIMEOUT => "ct timeout",
        object::T_SECMARK => "secmark",
        object::T_CT_EXPECT => "ct expectation",
        object::T_SYNPROXY => "synproxy",
        _ => return None,
    })
}

/// One bit of one of an object's numbers.
fn in_objects<'a>(is: &'a Ruleset, kinds: &'static [u32]) -> Ways<'a> {
    Box::new(tables(is).flat_map(move |(key, table)| {
        let objects = table.objects.iter().filter(move |((kind, _), _)| kinds.contains(kind));
        objects.flat_map(move |(id, found)| {
            let data = Attrs(&found.attrs).find(object::DATA).map_or(&[][..], |data| data.payload);
            let numbers: Vec<u16> = Attrs(data).flatten().map(|attr| attr.kind).collect();
            numbers.into_iter().filter_map(move |number| {
                let attrs = flip(&found.attrs, &[object::DATA, number])?;
                let changed = with_table(is, key, |table| table.objects.get_mut(id).unwrap().attrs = attrs);
                let at = place(key, object_word(id.0)?, &id.1);
                Some((changed, vec![Expected::object(ChangeKind::Modified, &at)]))
            })
        })
    }))
}

fn commented_object(is: &Ruleset) -> Ways<'_> {
    Box::new(tables(is).flat_map(move |(key, table)| {
        table.objects.iter().filter_map(move |(id, found)| {
            let attrs = with(&found.attrs, object::USERDATA, COMMENT);
            let changed = with_table(is, key, |table| table.objects.get_mut(id).unwrap().attrs = attrs);
            let at = place(key, object_word(id.0)?, &id.1);
            Some((changed, vec![Expected::object(ChangeKind::Modified, &at)]))
        })
    }))
}
