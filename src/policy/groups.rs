//! `[groups]`, and lists of addresses that use their names.

use super::addresses::{Addresses, NotARange, range};
use super::error::{Lines, PolicyError, value};
use super::raw::{Word, Words, each};
use std::collections::BTreeMap;
use toml::Spanned;

/// Groups in groups in groups: more is a mistake.
const DEPTH: usize = 64;
const ANY: &str = "any";
const THIS_HOST: &str = "self";

/// The groups of the file, resolved as they are asked for.
pub(super) struct Groups<'a> {
    raw: &'a BTreeMap<String, Spanned<Words>>,
    lines: Lines<'a>,
    done: BTreeMap<String, Addresses>,
    /// Those that are being resolved, the outermost first.
    within: Vec<String>,
}

impl<'a> Groups<'a> {
    pub(super) fn new(raw: &'a BTreeMap<String, Spanned<Words>>, lines: Lines<'a>) -> Self {
        Self { raw, lines, done: BTreeMap::new(), within: Vec::new() }
    }

    /// The addresses of all groups.
    pub(super) fn all(&mut self) -> Result<BTreeMap<String, Addresses>, PolicyError> {
        for (name, words) in self.raw {
            let line = self.lines.at(words.span().start);
            if !is_name(name) {
                return Err(value(
                    line,
                    place(name),
                    "this cannot be the name of a group",
                    "write a letter or `_`, then letters, digits, `_`, `-` or `.`; `any` and `self` have a meaning of \
                     their own",
                ));
            }
            self.group(name, line)?;
        }
        Ok(self.done.clone())
    }

    /// The addresses of one side of a flow.
    pub(super) fn side(&mut self, words: &Spanned<Words>, place: &str) -> Result<Addresses, PolicyError> {
        let line = self.lines.at(words.span().start);
        let all = each(words);
        if let [(_, Word::Text(text))] = all.as_slice()
            && text == THIS_HOST
        {
            return Ok(Addresses::this_host());
        }
        if all.iter().any(|(_, word)| matches!(word, Word::Text(text) if text == THIS_HOST)) {
            let instead = format!("write a flow of its own with `{THIS_HOST}` alone");
            return Err(value(line, place, format!("`{THIS_HOST}` stands beside other addresses"), instead));
        }
        self.list(words, place)
    }

    /// The union of a list, without what `!` stands before.
    fn list(&mut self, words: &Spanned<Words>, place: &str) -> Result<Addresses, PolicyError> {
        let (mut with, mut without) = (Addresses::default(), Addresses::default());
        let all = each(words);
        for (offset, word) in &all {
            let line = self.lines.at(*offset);
            let text = match word {
                Word::Text(text) => text.as_str(),
                Word::Number(number) => {
                    let instead = "write an address in quotes, as in `\"10.0.1.0/24\"`";
                    return Err(value(line, place, format!("{number} is a number, not an address"), instead));
                }
            };
            match text.strip_prefix('!') {
                Some(text) => without = without.and(&self.word(text, line, place)?),
                None => with = with.and(&self.word(text, line, place)?),
            }
        }
        let line = self.lines.at(words.span().start);
        let left = with.without(&without);
        if left.v4.is_empty() && left.v6.is_empty() {
            let why = if all.is_empty() { "the list is empty" } else { "no address is left of this list" };
            let instead = "write the addresses that are meant, or `any` for all; with `!`, as in `[\"any\", \"!10.0.0.0/8\"]`";
            return Err(value(line, place, why, instead));
        }
        Ok(left)
    }

    fn word(&mut self, text: &str, line: usize, place: &str) -> Result<Addresses, PolicyError> {
        if text == ANY && self.within.is_empty() {
            return Ok(Addresses::any());
        }
        if text == ANY || text == THIS_HOST {
            let instead = format!("write addresses here, and `{text}` in the flow itself");
            return Err(value(line, place, format!("`{text}` has no place here"), instead));
        }
        match range(text) {
            Ok(range) => Ok(Addresses::of(range)),
            Err(NotARange::Wrong(why, instead)) => Err(value(line, place, why, instead)),
            Err(NotARange::NoAddress) if is_name(text) => match self.raw.contains_key(text) {
                true => self.group(text, line),
                false => {
                    let why = format!("there is no group \"{text}\", and it is no address");
                    Err(value(line, place, why, self.names()))
                }
            },
            Err(NotARange::NoAddress) => {
                let instead = "write an address (`10.0.3.5`, `2001:db8::1`), a prefix (`10.0.1.0/24`), a range \
                     (`10.0.0.1-10.0.0.9`), or a group's name; no names of hosts";
                Err(value(line, place, format!("\"{text}\" is no address"), instead))
            }
        }
    }

    /// What could have been meant.
    fn names(&self) -> String {
        let names: Vec<&str> = self.raw.keys().map(String::as_str).take(20).collect();
        match names.as_slice() {
            [] => "write an address, or define the name: `[groups]`, and below it `web = [\"10.0.1.0/24\"]`"
                .to_owned(),
            names => format!("write an address or one of the groups: {}", names.join(", ")),
        }
    }

    /// A group by its name, which somebody uses in this line.
    fn group(&mut self, name: &str, line: usize) -> Result<Addresses, PolicyError> {
        if let Some(done) = self.done.get(name) {
            return Ok(done.clone());
        }
        if let Some(at) = self.within.iter().position(|outer| outer == name) {
            let way: Vec<&str> = self.within[at..].iter().map(String::as_str).chain([name]).collect();
            let why = format!("the group contains itself: {}", way.join(" → "));
            let inner = self.within.last().map_or(name, String::as_str);
            return Err(value(line, place(inner), why, format!("take `{name}` out of this list")));
        }
        if self.within.len() >= DEPTH {
            let why = format!("it is more than {DEPTH} groups deep");
            return Err(value(line, place(name), why, "write the addresses themselves"));
        }
        let Some(words) = self.raw.get(name) else { return Ok(Addresses::default()) };
        self.within.push(name.to_owned());
        let found = self.list(words, &place(name));
        self.within.pop();
        let found = found?;
        self.done.insert(name.to_owned(), found.clone());
        Ok(found)
    }
}

fn place(group: &str) -> String {
    format!("group \"{group}\"")
}

fn is_name(text: &str) -> bool {
    let is_first = |c: char| c.is_alphabetic() || c == '_';
    let is_other = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    text.starts_with(is_first) && text.chars().all(is_other) && text != ANY && text != THIS_HOST
}
