//! Texts of ipset's sets and members, in the syntax of `ipset save`.
//!
//! The sets are made in a scratch namespace under names of ours (`s0`, `s1`, …), and `ipset save` prints them there.
//! The kernel gives the members in the same order each time, so the lines are those of the members. The tool prints
//! names without quotes, which it needs to read them again: they are put in their places afterwards. Left out
//! is what the tool chooses by itself: `hashsize`, `initval`, and a usual `bucketsize`.

mod make;

pub use make::{Maker, refused, stand_ins};

use super::{DecodeError, scratch};
use crate::collect;
use crate::model::{Element, ElementKey, Item, Name, Ruleset, Set, Text, text_from_kernel};
use crate::netlink::ipset::data;
use crate::netlink::{AttrWriter, Attrs};
use crate::normalise::ipset;
use crate::tool::{Tool, ToolError};
use make::stand_in_member;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Why a set has no text.
type Reason = String;

/// What is to be shown of one set.
#[derive(Default)]
struct Wanted {
    /// All its members, or those in `members`.
    whole: bool,
    members: BTreeSet<ElementKey>,
}

/// One set as the tool printed it.
#[derive(Default)]
struct Shown {
    head: String,
    members: BTreeMap<ElementKey, Text>,
    /// The keys in the order in which they belong into a file.
    order: Vec<ElementKey>,
    exact: bool,
}

/// The texts of items of the table of all sets, or why there is none.
pub fn texts(
    ruleset: &Ruleset,
    items: &[&Item],
) -> Result<BTreeMap<Item, Result<Text, Reason>>, DecodeError> {
    let Some(table) = items.first().and_then(|item| ruleset.tables.get(item.table())) else {
        return Ok(items.iter().map(|item| ((*item).clone(), Err(absent()))).collect());
    };
    let mut wanted: BTreeMap<&Name, Wanted> = BTreeMap::new();
    for item in items {
        match item {
            Item::Table(_) => table.sets.keys().for_each(|name| wanted.entry(name).or_default().whole = true),
            Item::Set(_, name) => wanted.entry(name).or_default().whole = true,
            Item::SetHead(_, name) => drop(wanted.entry(name).or_default()),
            Item::Element(_, name, key) => drop(wanted.entry(name).or_default().members.insert(key.clone())),
            _ => {}
        }
    }
    let sets: Vec<(&Name, &Set, Wanted)> =
        wanted.into_iter().filter_map(|(name, wanted)| Some((name, table.sets.get(name)?, wanted))).collect();
    let shown = shown(&sets)?;
    let text = |item: &Item| match item {
        Item::Table(_) => {
            let texts: Vec<Text> =
                table.sets.keys().map(|name| whole(&shown, name)).collect::<Result<_, _>>()?;
            let exact = texts.iter().all(|text| text.exact);
            let texts: Vec<String> = texts.into_iter().map(|text| text.text).collect();
            Ok(Text::new(texts.join("\n"), exact))
        }
        Item::Set(_, name) => whole(&shown, name),
        Item::SetHead(_, name) => {
            let set = one(&shown, name)?;
            Ok(Text::new(set.head.clone(), set.exact))
        }
        Item::Element(_, name, key) => one(&shown, name)?.members.get(key).cloned().ok_or_else(absent),
        _ => Err(absent()),
    };
    Ok(items.iter().map(|item| ((*item).clone(), text(item))).collect())
}

type AllShown<'a> = BTreeMap<&'a Name, Result<Shown, Reason>>;

fn one<'s>(shown: &'s AllShown<'_>, name: &Name) -> Result<&'s Shown, Reason> {
    match shown.get(name) {
        Some(Ok(set)) => Ok(set),
        Some(Err(reason)) => Err(reason.clone()),
        None => Err(absent()),
    }
}

fn whole(shown: &AllShown<'_>, name: &Name) -> Result<Text, Reason> {
    let set = one(shown, name)?;
    let mut text = set.head.clone();
    let mut exact = set.exact;
    for member in set.order.iter().map(|key| set.members.get(key)) {
        let member = member.ok_or_else(absent)?;
        text.push('\n');
        text.push_str(&member.text);
        exact &= member.exact;
    }
    Ok(Text::new(text, exact))
}

fn absent() -> Reason {
    "it is not in the reading".to_owned()
}

/// Makes the sets in a scratch namespace and saves them there.
fn shown<'a>(sets: &[(&'a Name, &Set, Wanted)]) -> Result<AllShown<'a>, DecodeError> {
    let netns = scratch(&BTreeMap::new())?;
    netns.run(|| {
        let mut maker = Maker::new()?;
        let mut stand_ins = BTreeMap::new();
        let mut outcomes: Vec<Result<Printable, Reason>> = Vec::new();
        for (number, (name, set, wanted)) in sets.iter().enumerate() {
            let printable = Printable::of(set, wanted, &mut stand_ins, &mut maker);
            let made = printable.and_then(|printable| {
                maker.make(&scratch_name(number), &printable.set)?;
                Ok(printable)
            });
            outcomes.push(made.map_err(|error| refused(name, error).to_string()));
        }
        let saved = Saved::of_namespace();
        let shown = sets.iter().zip(outcomes).enumerate().map(|(number, ((name, set, _), outcome))| {
            let printed = outcome.and_then(|printable| {
                let saved = saved.as_ref().map_err(ToString::to_string)?;
                saved.shown(name, set, &scratch_name(number), &printable)
            });
            (*name, printed)
        });
        Ok(shown.collect())
    })?
}

/// The name of the n-th set in the scratch namespace.
fn scratch_name(number: usize) -> Name {
    Name(format!("s{number}").into_bytes())
}

/// A set without anything that could break a line or a word of the tool's.
struct Printable {
    set: Set,
    /// Keys in it, each with the member's own and, in a list, the name to print.
    keys: BTreeMap<ElementKey, (ElementKey, Option<Name>)>,
    /// Members whose text does not say all.
    inexact: BTreeSet<ElementKey>,
}

impl Printable {
    fn of(
        set: &Set,
        wanted: &Wanted,
        stand_ins: &mut BTreeMap<Name, Name>,
        maker: &mut Maker,
    ) -> Result<Self, crate::sys::socket::SocketError> {
        let mut printable = Self {
            set: Set { attrs: set.attrs.clone(), ..Set::default() },
            keys: BTreeMap::new(),
            inexact: BTreeSet::new(),
        };
        for (key, element) in ipset::members(set) {
            if !wanted.whole && !wanted.members.contains(key) {
                continue;
            }
            let listed = Attrs(&key.key).find(data::NAME).map(|name| Name(name.string().to_vec()));
            let (clean, changed) = match &listed {
                None => cleaned(&key.key, &[data::IFACE]),
                Some(name) => {
                    let number = stand_ins.len();
                    if !stand_ins.contains_key(name) {
                        let stand = Name(format!("m{number}").into_bytes());
                        maker.make(&stand, &stand_in_member())?;
                        stand_ins.insert(name.clone(), stand);
                    }
                    let mut clean = AttrWriter::new();
                    clean.string(data::NAME, &stand_ins[name].0);
                    (clean.into_bytes(), quoted(&name.0).1)
                }
            };
            let mut inexact = changed;
            let mut attrs = Vec::new();
            for part in &element.attrs {
                let (clean, changed) = cleaned(part, &[data::COMMENT]);
                attrs.push(clean);
                inexact |= changed;
            }
            if inexact {
                printable.inexact.insert(key.clone());
            }
            let clean = ElementKey { key: clean, ..key.clone() };
            printable.keys.insert(clean.clone(), (key.clone(), listed));
            if ipset::is_list(set) {
                printable.set.order.push(clean.clone());
            }
            printable.set.elements.insert(clean, Element { expires: element.expires, attrs });
        }
        Ok(printable)
    }
}

/// The attributes with the strings of these kinds in printable form, and whether that changed any.
fn cleaned(attrs: &[u8], kinds: &[u16]) -> (Vec<u8>, bool) {
    let mut out = AttrWriter::new();
    let mut changed = false;
    for attr in Attrs(attrs).flatten() {
        let text = kinds.contains(&attr.kind).then(|| printable(attr.string()));
        match text {
            Some(Cow::Owned(text)) => {
                changed = true;
                // The longest string of its kind, with its zero (IFNAMSIZ, IPSET_MAX_COMMENT_SIZE).
                let room = if attr.kind == data::IFACE { 15 } else { 255 };
                let text: String = text.chars().filter(char::is_ascii).take(room).collect();
                out.string(attr.kind, text.as_bytes());
            }
            Some(Cow::Borrowed(_)) | None => drop(out.put(attr.kind, attr.payload)),
        }
    }
    (out.into_bytes(), changed)
}

/// The text, with escapes for what the tool cannot read back: control characters, quotes, bytes that are not UTF-8.
fn printable(bytes: &[u8]) -> Cow<'_, str> {
    let harmful = |c: char| c.is_control() || c == '"';
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains(harmful) => Cow::Borrowed(text),
        _ => {
            let text = text_from_kernel(bytes);
            let escaped = text.chars().map(|c| match harmful(c) {
                true => format!("\\x{:02x}", u32::from(c)),
                false => c.to_string(),
            });
            Cow::Owned(escaped.collect())
        }
    }
}

/// A set's name as a word that `ipset restore` reads back, and whether it would not.
fn quoted(name: &[u8]) -> (String, bool) {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:,/+=@%-".contains(byte);
    match printable(name) {
        Cow::Borrowed(text) if !text.is_empty() && name.iter().all(plain) => (text.to_owned(), false),
        Cow::Borrowed(text) => (format!("\"{text}\""), false),
        Cow::Owned(text) => (format!("\"{text}\""), true),
    }
}

/// What `ipset save` printed, and in which order the kernel gave the members.
struct Saved {
    /// Lines by set, without `create NAME` and `add NAME`.
    lines: BTreeMap<Name, Vec<String>>,
    orders: BTreeMap<Name, Vec<ElementKey>>,
}

impl Saved {
    fn of_namespace() -> Result<Self, ToolError> {
        let output = Tool::find("ipset")?.scratch().args(["save"]).run()?;
        let mut lines: BTreeMap<Name, Vec<String>> = BTreeMap::new();
        for line in text_from_kernel(&output.stdout).lines() {
            let mut words = line.splitn(3, ' ');
            if let (Some("create" | "add"), Some(name), Some(rest)) =
                (words.next(), words.next(), words.next())
            {
                lines.entry(Name(name.into())).or_default().push(rest.to_owned());
            }
        }
        let orders = match collect::ipset::capture() {
            Ok(messages) => ipset::orders(&messages),
            Err(error) => {
                tracing::debug!("scratch namespace: {error}");
                BTreeMap::new()
            }
        };
        Ok(Self { lines, orders })
    }

    fn shown(&self, name: &Name, set: &Set, saved_as: &Name, printable: &Printable) -> Result<Shown, Reason> {
        let lines = self.lines.get(saved_as).map(Vec::as_slice).unwrap_or_default();
        let order = self.orders.get(saved_as).map(Vec::as_slice).unwrap_or_default();
        let Some((head, lines)) = lines.split_first().filter(|(_, lines)| lines.len() == order.len()) else {
            return Err("ipset's listing does not have it".to_owned());
        };
        let (word, inexact_name) = quoted(&name.0);
        let mut shown = Shown {
            head: format!("create {word} {}", without_chosen(head)),
            exact: !inexact_name,
            ..Shown::default()
        };
        let default = ipset::default_timeout(set).unwrap_or(0);
        for (line, clean) in lines.iter().zip(order) {
            let Some((key, listed)) = printable.keys.get(clean) else { continue };
            let (member, options) = line.split_once(' ').unwrap_or((line, ""));
            let member = listed.as_ref().map_or_else(|| member.to_owned(), |name| quoted(&name.0).0);
            let mut text = format!("add {word} {member}");
            for option in [options].into_iter().filter(|options| !options.is_empty()) {
                text.push(' ');
                text.push_str(option);
            }
            let expires = printable.set.elements.get(clean).is_some_and(|element| element.expires);
            if expires {
                text = with_whole_timeout(&text, default);
            }
            let exact = shown.exact && !printable.inexact.contains(key);
            shown.members.insert(key.clone(), Text::new(text, exact));
        }
        let listed = ipset::members(set).into_iter().map(|(key, _)| key.clone());
        shown.order = listed.filter(|key| shown.members.contains_key(key)).collect();
        if shown.members.len() == printable.keys.len() {
            Ok(shown)
        } else {
            Err("ipset's listing does not have all its members".to_owned())
        }
    }
}

/// The words of a definition without those that the kernel or the tool chose.
fn without_chosen(head: &str) -> String {
    let mut kept = Vec::new();
    let mut words = head.split(' ');
    while let Some(word) = words.next() {
        match word {
            "hashsize" | "initval" => drop(words.next()),
            "bucketsize" => {
                let size = words.next().unwrap_or_default();
                if size != data::DEFAULT_BUCKETSIZE.to_string() {
                    kept.extend([word, size]);
                }
            }
            word => kept.push(word),
        }
    }
    kept.join(" ")
}

/// A member that expires, without what remains of its time: that of the set, or the longest one.
fn with_whole_timeout(line: &str, default: u32) -> String {
    let Some((before, after)) = line.split_once(" timeout ") else { return line.to_owned() };
    let rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    match default {
        0 => format!("{before} timeout {}{rest}", crate::netlink::ipset::LONGEST_TIMEOUT),
        _ => format!("{before}{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definition_is_shown_without_what_the_kernel_chose() {
        let head = "hash:ip family inet hashsize 2048 maxelem 65536 comment bucketsize 12 initval 0x91";
        assert_eq!(without_chosen(head), "hash:ip family inet maxelem 65536 comment");
        assert_eq!(without_chosen("hash:ip bucketsize 8 initval 0x1"), "hash:ip bucketsize 8");
        assert_eq!(without_chosen("list:set size 8"), "list:set size 8");
    }

    #[test]
    fn what_remains_of_a_time_is_not_shown() {
        let line = "add x 192.0.2.1 timeout 57 comment \"a timeout 5\"";
        assert_eq!(with_whole_timeout(line, 60), "add x 192.0.2.1 comment \"a timeout 5\"");
        assert_eq!(with_whole_timeout("add x 1 timeout 9", 0), "add x 1 timeout 2147483");
    }

    #[test]
    fn a_name_is_a_word_a_quoted_one_or_not_given_back() {
        let check = |name: &[u8], word: &str, lost: bool| assert_eq!(quoted(name), (word.to_owned(), lost));
        check(b"bl-v4.1", "bl-v4.1", false);
        check(b"a b#", "\"a b#\"", false);
        check("ü".as_bytes(), "\"ü\"", false);
        check(b"a\"\nb", "\"a\\x22\\x0ab\"", true);
        check(b"\xff", "\"\\xff\"", true);
    }
}
