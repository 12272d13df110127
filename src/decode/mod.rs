//! Edge: exact native text of chosen objects, made by the real tools in a scratch namespace.
//!
//! Input: a [`Ruleset`] and the [`Item`]s that a person will read. The objects are sent over netlink
//! into a fresh network namespace, and `nft` (or `iptables-save`, for tables in iptables' shape) lists
//! them there; the live namespace is never touched. An object that no tool can show becomes a [`Text`]
//! that says so, never an omission.

mod context;
mod guard;
mod ipset;
mod iptables;
mod json;
mod listing;
mod net;
mod selection;
mod selftest;
mod sides;
mod transaction;
mod transplant;

use crate::collect::{CollectError, links};
use crate::model::{Backend, Digest, Item, Name, Ruleset, Set, Table, TableKey, Text, text_from_kernel};
use crate::normalise::{hides_bytes, keys_of_own_sets, references, xt_set};
use crate::sys::netns::{Netns, NetnsError};
use crate::sys::socket::{Socket, SocketError};
use crate::tool::{Tool, ToolError};
use listing::{Block, TableListing};
use selection::TableSelection;
pub use selftest::nft_works;
use std::collections::{BTreeMap, BTreeSet};
pub use transaction::{Told, tell};

/// Why a scratch namespace gave no listing.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The netlink socket in it.
    #[error("scratch namespace: {0}")]
    Socket(#[from] SocketError),
    /// The kernel would not make the objects again.
    #[error("the kernel would not make {what} again in a scratch namespace: {source}")]
    Refused {
        /// Which object.
        what: String,
        /// The kernel's reason.
        source: std::io::Error,
    },
    /// The tool failed.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// The tool fails or lies whatever it is asked.
    #[error("nft does not work here: {0}")]
    Unusable(ToolError),
    /// The scratch namespace could not be read.
    #[error("scratch namespace: {0}")]
    Unreadable(Box<CollectError>),
}

impl DecodeError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Netns(error) => error.hint(),
            Self::Tool(error) => error.hint(),
            Self::Unusable(error) => error.hint().or_else(|| Some("install nftables anew".to_owned())),
            Self::Unreadable(error) => error.hint(),
            Self::Socket(_) | Self::Refused { .. } => None,
        }
    }

    /// Whether trying fewer objects could help.
    fn depends_on_objects(&self) -> bool {
        match self {
            Self::Refused { .. } => true,
            Self::Tool(error) => matches!(error, ToolError::Killed { .. } | ToolError::Failed { .. }),
            Self::Netns(_) | Self::Socket(_) | Self::Unusable(_) | Self::Unreadable(_) => false,
        }
    }
}

/// The texts of `items`, one for each.
pub fn decode(ruleset: &Ruleset, items: &BTreeSet<Item>) -> Result<BTreeMap<Item, Text>, DecodeError> {
    let mut texts = BTreeMap::new();
    let mut native = Vec::new();
    let mut of_sets = Vec::new();
    for item in items {
        let text = match item.table().backend {
            Backend::NfTables => {
                native.push(item);
                continue;
            }
            Backend::Legacy => iptables::legacy_text(ruleset, item),
            Backend::Sysctl | Backend::Bpf => context::text(ruleset, item),
            Backend::Ipset => {
                of_sets.push(item);
                continue;
            }
        };
        let text = text.map(|text| Text::new(text, true));
        let text = text.unwrap_or_else(|| unshown(ruleset, item, "it is not in the reading"));
        texts.insert(item.clone(), text);
    }
    if !of_sets.is_empty() {
        for (item, text) in ipset::texts(ruleset, &of_sets)? {
            let text = text.unwrap_or_else(|reason| unshown(ruleset, &item, &reason));
            texts.insert(item, text);
        }
    }
    decode_native(ruleset, &native, &mut texts)?;
    Ok(texts)
}

/// Decodes a group; if the group as a whole fails, its halves, so that one object that no tool
/// understands does not hide the others.
fn decode_native(
    ruleset: &Ruleset,
    items: &[&Item],
    texts: &mut BTreeMap<Item, Text>,
) -> Result<(), DecodeError> {
    if items.is_empty() {
        return Ok(());
    }
    match list_in_scratch(ruleset, items) {
        Ok(found) => texts.extend(found),
        Err(error) if error.depends_on_objects() && items.len() > 1 => {
            tracing::debug!("{error}; trying {} objects in halves", items.len());
            let (left, right) = items.split_at(items.len() / 2);
            decode_native(ruleset, left, texts)?;
            decode_native(ruleset, right, texts)?;
        }
        Err(error) if error.depends_on_objects() => {
            // Is it the object, or would nft fail on any?
            nft_works()?;
            texts.extend(
                items.iter().map(|item| ((*item).clone(), unshown(ruleset, item, &error.to_string()))),
            );
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// A text for what no tool can show: it names the reason and the bytes' digest, so that two different
/// objects never look alike.
fn unshown(ruleset: &Ruleset, item: &Item, reason: &str) -> Text {
    let table = ruleset.tables.get(item.table());
    let digest = table.map(|table| digest_of(table, item));
    let digest = digest.map_or_else(String::new, |digest| format!(", digest {digest}"));
    Text::new(format!("(no tool could show this {}: {reason}{digest})", noun(item)), false)
}

fn noun(item: &Item) -> &'static str {
    match item {
        Item::Table(_) | Item::TableHead(_) => "table",
        Item::Chain(..) | Item::ChainHead(..) => "chain",
        Item::Rule(..) => "rule",
        Item::Set(..) | Item::SetHead(..) => "set",
        Item::Element(..) => "element",
        Item::Object(..) => "object",
        Item::Flowtable(..) => "flowtable",
    }
}

fn digest_of(table: &Table, item: &Item) -> Digest {
    let bytes = |attrs: &Vec<u8>| Digest::of([&attrs[..]]);
    let found = match item {
        Item::Table(_) => Some(table.digest()),
        Item::TableHead(_) => Some(bytes(&table.attrs)),
        Item::Chain(_, name) => table.chains.get(name).map(|chain| {
            Digest::of(
                [&chain.attrs[..]].into_iter().chain(chain.rules.iter().map(|rule| &rule.digest.0[..])),
            )
        }),
        Item::ChainHead(_, name) => table.chains.get(name).map(|chain| bytes(&chain.attrs)),
        Item::Rule(_, chain, place) => {
            table.chains.get(chain).and_then(|chain| chain.rules.get(*place)).map(|rule| rule.digest)
        }
        Item::Set(_, name) | Item::SetHead(_, name) => table.sets.get(name).map(|set| bytes(&set.attrs)),
        Item::Element(_, name, key) => {
            table.sets.get(name).and_then(|set| set.elements.get(key)).map(|element| element.digest(key))
        }
        Item::Object(_, kind, name) => table.objects.get(&(*kind, name.clone())).map(|o| bytes(&o.attrs)),
        Item::Flowtable(_, name) => table.flowtables.get(name).map(|flowtable| bytes(&flowtable.attrs)),
    };
    found.unwrap_or_else(|| table.digest())
}

/// A scratch namespace with these interfaces (name to index, 0 for any).
pub fn scratch(interfaces: &BTreeMap<Vec<u8>, u32>) -> Result<Netns, DecodeError> {
    let netns = Netns::create()?;
    netns.run(|| {
        for (name, index) in interfaces.iter().filter(|(name, _)| name.as_slice() != b"lo") {
            if let Err(error) = links::make(*index, name) {
                tracing::debug!("cannot make interface {}: {error}", text_from_kernel(name));
            }
        }
    })?;
    Ok(netns)
}

fn list_in_scratch(ruleset: &Ruleset, items: &[&Item]) -> Result<BTreeMap<Item, Text>, DecodeError> {
    let mut wanted: BTreeMap<&TableKey, Vec<&Item>> = BTreeMap::new();
    for item in items {
        wanted.entry(item.table()).or_default().push(item);
    }
    let mut selected: Vec<(&TableKey, &Table, TableSelection, Vec<&Item>)> = Vec::new();
    for (key, items) in wanted {
        if let Some(table) = ruleset.tables.get(key) {
            let selection = selection::close(table, items.iter().copied());
            selected.push((key, table, selection, items));
        }
    }
    let interfaces =
        selection::interfaces(ruleset, selected.iter().map(|(_, table, chosen, _)| (*table, chosen)));
    let mut hinted = BTreeSet::new();
    let mut named_sets = BTreeSet::new();
    for (key, table, selection, _) in &selected {
        let whole = selection.sets.iter().filter(|(_, with_elements)| **with_elements).map(|(name, _)| name);
        let sized = whole.filter(|name| table.sets.get(name).and_then(transplant::size_hint).is_some());
        hinted.extend(sized.map(|name| (format!("table {key} {{"), name.to_string())));
        named_sets.extend(selection::sets_of_ipset(table, selection));
    }
    let netns = scratch(&interfaces)?;
    netns.run(|| -> Result<_, DecodeError> {
        let mut batch = transplant::Batch::new(ipset::stand_ins(&named_sets)?);
        for (key, table, selection, _) in &selected {
            batch.add_table(key, &guard::without_line_breaks(table), selection);
        }
        // The socket stays open while the tools run: a table with the owner flag lives as long as it.
        let _owner = load(batch)?;
        let output = Tool::find("nft")?.scratch().args(["-s", "-a", "list", "ruleset"]).run()?;
        let text = listing::without_sizes(&text_from_kernel(&output.stdout), &hinted);
        let listings = listing::parse(&text);
        let mut texts = BTreeMap::new();
        for (key, table, selection, items) in &selected {
            let listing = listings.get(&format!("table {key} {{"));
            if listing.is_none() {
                nft_works()?;
            }
            let saved = iptables::save(ruleset, key, table, selection);
            let mut printed = None;
            let mut rules = RuleTexts::new();
            for item in items {
                let native = listing.and_then(|l| native_text(table, selection, l, item, &mut rules));
                let mut text = saved.as_ref().and_then(|saved| saved.text(item));
                if let Some((text, rule)) = text.as_mut().zip(hiding_rule(table, item)) {
                    let printed = printed.get_or_insert_with(json::list);
                    text.others.extend(native.as_ref().map(|native| ("nft", native.text.clone())));
                    text.others.extend(printed.rule(key, selection, rule).map(|json| ("nft -j", json)));
                }
                // nft's words come first: iptables has words for only one of several encodings.
                let exact = native.as_ref().filter(|native| native.exact);
                let sense = exact.map(|native| format!("{}{}", native.text, unprinted(table, item)));
                let text = text.or(native);
                let text = text.map(|text| Text { sense: sense.filter(|sense| *sense != text.text), ..text });
                let text = text.unwrap_or_else(|| unshown(ruleset, item, "nft's listing does not have it"));
                texts.insert((*item).clone(), text);
            }
        }
        Ok(texts)
    })?
}

/// The chain and the place of a rule of which nft may not print all.
fn hiding_rule<'i>(table: &Table, item: &'i Item) -> Option<(&'i Name, usize)> {
    let Item::Rule(_, name, place) = item else { return None };
    let rule = table.chains.get(name)?.rules.get(*place)?;
    hides_bytes(rule).then_some((name, *place))
}

/// Sends a batch in the calling thread's namespace.
fn load(batch: transplant::Batch) -> Result<Socket, DecodeError> {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER))?;
    let (bytes, last, described) = batch.finish();
    let refusals = socket.batch(&bytes, transplant::Batch::FIRST, last)?;
    match refusals.into_iter().next() {
        None => Ok(socket),
        Some((sequence, source)) => {
            let what = described.get(sequence as usize - 1).cloned().unwrap_or_default();
            Err(DecodeError::Refused { what, source })
        }
    }
}

/// Sends all of a ruleset's nf_tables into the calling thread's namespace (a scratch one).
pub fn transplant(ruleset: &Ruleset) -> Result<Socket, DecodeError> {
    let native = ruleset.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables);
    let rules = native.flat_map(|(_, table)| table.chains.values().chain(table.anonymous.chains.values()));
    let named_sets = rules.flat_map(|chain| &chain.rules).flat_map(xt_set::used).collect();
    let mut batch = transplant::Batch::new(ipset::stand_ins(&named_sets)?);
    for (key, table) in ruleset.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables) {
        let whole = Item::Table(key.clone());
        batch.add_table(key, table, &selection::close(table, std::iter::once(&whole)));
    }
    load(batch)
}

/// Makes a set of ipset in the calling thread's namespace (a scratch one).
pub fn make_set(name: &Name, set: &Set) -> Result<(), DecodeError> {
    ipset::Maker::new()?.make(name, set).map_err(|error| ipset::refused(name, error))
}

/// The interfaces that `transplant` of this ruleset needs, name to index.
pub fn interfaces_of(ruleset: &Ruleset) -> BTreeMap<Vec<u8>, u32> {
    let native = ruleset.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables);
    let selected: Vec<(&Table, TableSelection)> = native
        .map(|(key, table)| (table, selection::close(table, std::iter::once(&Item::Table(key.clone())))))
        .collect();
    selection::interfaces(ruleset, selected.iter().map(|(table, chosen)| (*table, chosen)))
}

/// The texts of a chain's selected rules by their places, taken apart once for all of its rules.
type RuleTexts = BTreeMap<Name, Option<BTreeMap<usize, String>>>;

/// An item's text in nft's listing of its table.
fn native_text(
    table: &Table,
    selection: &TableSelection,
    listing: &TableListing,
    item: &Item,
    rules: &mut RuleTexts,
) -> Option<Text> {
    let block = |head: String| listing.blocks.get(&head);
    let chain_block = |name: &Name| block(format!("chain {name} {{"));
    let set_block = |name: &Name| block(format!("set {name} {{")).or_else(|| block(format!("map {name} {{")));
    let text = match item {
        Item::Table(_) => listing.text.trim_end().to_owned(),
        Item::TableHead(_) => listing.own.join("\n"),
        Item::Chain(_, name) => chain_block(name)?.text(),
        Item::ChainHead(_, name) => chain_block(name)?.chain_head(),
        Item::Rule(_, name, place) => {
            let places = selection.chains.get(name)?;
            let texts = match rules.get(name) {
                Some(texts) => texts,
                None => {
                    let texts = rules_of(table, chain_block(name)?, name, places);
                    let texts = texts.map(|texts| places.iter().copied().zip(texts).collect());
                    rules.entry(name.clone()).or_insert(texts)
                }
            };
            texts.as_ref()?.get(place)?.clone()
        }
        Item::Set(_, name) => set_block(name)?.text(),
        Item::SetHead(_, name) => set_block(name)?.set_head(),
        Item::Element(_, name, key) => {
            let wanted = (name.clone(), key.clone());
            let number = selection.elements.iter().position(|element| *element == wanted)?;
            set_block(&transplant::single_element_set(number))?.elements()?
        }
        Item::Object(_, _, name) => {
            let end = format!(" {name} {{");
            let mut found = listing.blocks.values().filter(|block| block.head.ends_with(&end));
            let object = found.find(|block| {
                !["chain ", "set ", "map ", "flowtable "].iter().any(|start| block.head.starts_with(start))
            })?;
            object.text()
        }
        Item::Flowtable(_, name) => block(format!("flowtable {name} {{"))?.text(),
    };
    let rule = match item {
        Item::Rule(_, name, place) => table.chains.get(name).and_then(|chain| chain.rules.get(*place)),
        _ => None,
    };
    let misleads = rule.is_some_and(|rule| guard::hides_protocol(rule, &text));
    let exact = is_shown_whole(table, item) && !guard::is_ambiguous(&text) && !misleads;
    Some(Text::new(guard::restored(&text), exact))
}

fn rules_of(table: &Table, block: &Block, name: &Name, places: &BTreeSet<usize>) -> Option<Vec<String>> {
    let chain = table.chains.get(name)?;
    let nested: Vec<bool> = places
        .iter()
        .filter_map(|place| chain.rules.get(*place))
        .map(|rule| references(&rule.attrs).iter().any(|name| table.anonymous.chains.contains_key(name)))
        .collect();
    block.rules(&nested)
}

/// What a rule's text may hide, and two encodings of the rule share: the keys of the sets that it owns.
fn unprinted(table: &Table, item: &Item) -> String {
    let Item::Rule(_, chain, place) = item else { return String::new() };
    let rule = table.chains.get(chain).and_then(|chain| chain.rules.get(*place));
    let keys = rule.and_then(|rule| keys_of_own_sets(table, rule));
    keys.map_or_else(String::new, |keys| format!(" {keys}"))
}

/// Whether nft's text says all: it prints only the name of many xt extensions.
fn is_shown_whole(table: &Table, item: &Item) -> bool {
    let whole = |name: &Name, place: usize| {
        let rule = table.chains.get(name).and_then(|chain| chain.rules.get(place));
        rule.is_some_and(|rule| !hides_bytes(rule))
    };
    match item {
        Item::Rule(_, name, place) => whole(name, *place),
        Item::Chain(_, name) => {
            table.chains.get(name).is_some_and(|chain| (0..chain.rules.len()).all(|place| whole(name, place)))
        }
        Item::Table(_) => table.chains.values().flat_map(|chain| &chain.rules).all(|rule| !hides_bytes(rule)),
        Item::TableHead(_)
        | Item::ChainHead(..)
        | Item::Set(..)
        | Item::SetHead(..)
        | Item::Element(..)
        | Item::Object(..)
        | Item::Flowtable(..) => true,
    }
}
