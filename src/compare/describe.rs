//! A pair of objects as a change for people: its words, its source, its id. Pure.

use super::Fingerprint;
use super::pairs::Pair;
use crate::model::{
    Author, Backend, Change, ChangeKind, Digest, Family, Item, Name, Ruleset, Source, TableKey, Text,
};
use crate::normalise::is_iptables_shaped;
use std::collections::HashMap;

/// The change of a pair, with an id that is the same at every run for the same drift: it is taken over
/// what the change is, not over where in the chain it stands.
pub(super) fn describe(
    baseline: &Ruleset,
    live: &Ruleset,
    pair: &Pair,
    old: Option<&Text>,
    new: Option<&Text>,
    seen: &mut HashMap<String, u32>,
) -> Change {
    let item = pair.after.as_ref().or(pair.before.as_ref());
    // A table can lose iptables' shape by the very change: what is gone was the old table's.
    let sides = if pair.kind == ChangeKind::Removed { [baseline, live] } else { [live, baseline] };
    let (source, family, table) = match item.map(Item::table) {
        Some(key) => (source_of(key, sides), key.family.to_string(), key.name.to_string()),
        None => (Source::Nft, String::new(), String::new()),
    };
    let text = |side: Option<&Text>| side.map(|text| text.text.clone());
    let blind = if pair.kind == ChangeKind::Modified { blind(old, new) } else { Vec::new() };
    let mut change = Change {
        legacy: is_legacy(source, item),
        chain: pair.chain.as_ref().map(Name::to_string),
        name: pair.name.as_ref().map(Name::to_string),
        before: text(old),
        after: text(new),
        position: pair.position,
        note: note(pair.kind, old, new).or_else(|| alike(&blind)),
        blind,
        author: Author::unknown(None, Vec::new()),
        ..Change::new(pair.kind, source, (family, table), pair.object)
    };
    change.id = id_of(&change, seen);
    change
}

/// Where texts do not say all, the reader is told.
fn note(kind: ChangeKind, old: Option<&Text>, new: Option<&Text>) -> Option<String> {
    let inexact = [old, new].into_iter().flatten().any(|text| !text.exact);
    match (old, new) {
        (Some(old), Some(new)) if old.text == new.text && (inexact || kind == ChangeKind::Modified) => {
            Some("the two have other bytes, but no tool prints the difference".to_owned())
        }
        // A text that no tool made says itself what is missing.
        _ if [old, new].into_iter().flatten().any(|text| text.text.starts_with("(no tool")) => None,
        _ if inexact => Some(
            "the text does not show all of it: nft prints only the names of xt extensions, and not every byte"
                .to_owned(),
        ),
        _ => None,
    }
}

/// The programs that print both sides alike.
fn blind(old: Option<&Text>, new: Option<&Text>) -> Vec<String> {
    let (Some(old), Some(new)) = (old, new) else { return Vec::new() };
    // What nft prints of an inexact text, whosever words it has, is alike, too.
    let shown = old.text == new.text && !old.exact && !new.exact && !old.text.starts_with("(no tool");
    let others = old.others.iter().filter(|other| new.others.contains(other)).map(|(program, _)| *program);
    let others = others.filter(|program| !(shown && *program == "nft"));
    shown.then_some("nft").into_iter().chain(others).map(str::to_owned).collect()
}

fn alike(blind: &[String]) -> Option<String> {
    let print = if blind.len() == 1 { "prints" } else { "print" };
    (!blind.is_empty()).then(|| format!("{} {print} both alike, but the bytes differ", blind.join(" and ")))
}

fn is_legacy(source: Source, item: Option<&Item>) -> bool {
    let legacy = item.is_some_and(|item| item.table().backend == Backend::Legacy);
    legacy && matches!(source, Source::Arptables | Source::Ebtables)
}

fn source_of(key: &TableKey, sides: [&Ruleset; 2]) -> Source {
    match key.backend {
        Backend::NfTables => {
            let table = sides.iter().find_map(|side| side.tables.get(key));
            match (table.is_some_and(|table| is_iptables_shaped(key, table)), key.family) {
                (false, _) => Source::Nft,
                (true, Family::Arp) => Source::Arptables,
                (true, Family::Bridge) => Source::Ebtables,
                (true, _) => Source::IptablesNft,
            }
        }
        _ => Source::of(key),
    }
}

fn id_of(change: &Change, seen: &mut HashMap<String, u32>) -> String {
    let text =
        |option: &Option<String>| option.clone().map_or_else(|| "-".to_owned(), |text| format!("={text}"));
    let parts = [
        change.kind.as_str().to_owned(),
        change.source.as_str().to_owned(),
        change.family.clone(),
        change.table.clone(),
        text(&change.chain),
        change.object.as_str().to_owned(),
        text(&change.name),
        text(&change.before),
        text(&change.after),
    ];
    let base = Digest::of(parts.iter().map(|part| part.as_bytes())).to_string();
    // The same rule may be added twice: the second has an id of its own.
    let count = seen.entry(base.clone()).or_insert(0);
    *count += 1;
    Digest::of([base.as_bytes(), &count.to_le_bytes()]).to_string()[..12].to_owned()
}

/// The id of a change whose texts do not say all: of its words and its bytes.
pub(super) fn id_of_bytes(id: &str, print: &Fingerprint) -> String {
    let side = |digest: &Option<String>| digest.clone().unwrap_or_default();
    let parts = [id.to_owned(), side(&print.before), side(&print.after)];
    Digest::of(parts.iter().map(|part| part.as_bytes())).to_string()[..12].to_owned()
}
