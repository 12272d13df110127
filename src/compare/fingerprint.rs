//! What a difference is about, in bytes: the same whatever words a tool has for it. Pure.

use super::Difference;
use crate::model::{Chain, Digest, Item, Ruleset, Set};

/// A digest over the names and the canonical bytes of both sides, without places in chains and without words.
/// Equal rules added twice have equal fingerprints.
pub fn fingerprint(difference: &Difference, baseline: &Ruleset, live: &Ruleset) -> Digest {
    let change = &difference.change;
    let option = |text: &Option<String>| text.clone().map_or_else(String::new, |text| format!("={text}"));
    let names = [
        change.kind.as_str(),
        change.source.as_str(),
        &change.family,
        &change.table,
        &option(&change.chain),
        change.object.as_str(),
        &option(&change.name),
    ]
    .map(str::to_owned);
    let sides = [(baseline, &difference.before), (live, &difference.after)]
        .map(|(ruleset, item)| item.as_ref().and_then(|item| digest(ruleset, item)));
    let sides = sides.iter().map(|side| side.as_ref().map_or(&[][..], |digest| &digest.0[..]));
    Digest::of(names.iter().map(String::as_bytes).chain(sides))
}

fn digest(ruleset: &Ruleset, item: &Item) -> Option<Digest> {
    let table = ruleset.tables.get(item.table())?;
    Some(match item {
        Item::Table(_) => table.digest(),
        Item::TableHead(_) => Digest::of([&table.attrs[..]]),
        Item::Chain(_, name) => whole_chain(table.chains.get(name)?),
        Item::ChainHead(_, name) => Digest::of([&table.chains.get(name)?.attrs[..]]),
        Item::Rule(_, name, place) => table.chains.get(name)?.rules.get(*place)?.digest,
        Item::Set(_, name) => whole_set(table.sets.get(name)?),
        Item::SetHead(_, name) => Digest::of([&table.sets.get(name)?.attrs[..]]),
        Item::Element(_, name, key) => table.sets.get(name)?.elements.get(key)?.digest(key),
        Item::Object(_, number, name) => {
            Digest::of([&table.objects.get(&(*number, name.clone()))?.attrs[..]])
        }
        Item::Flowtable(_, name) => Digest::of([&table.flowtables.get(name)?.attrs[..]]),
    })
}

fn whole_chain(chain: &Chain) -> Digest {
    let rules = chain.rules.iter().map(|rule| &rule.digest.0[..]);
    Digest::of([&chain.attrs[..]].into_iter().chain(rules))
}

fn whole_set(set: &Set) -> Digest {
    let elements: Vec<Digest> = set.lasting_elements().map(|(key, element)| element.digest(key)).collect();
    Digest::of([&set.attrs[..]].into_iter().chain(elements.iter().map(|element| &element.0[..])))
}
