//! The form of `fwdrift.toml`, as serde reads it: words with their places, nothing understood yet.

use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};
use std::collections::BTreeMap;
use std::fmt;
use toml::Spanned;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) sysctl: Option<Settings>,
    #[serde(default)]
    pub(super) groups: BTreeMap<String, Spanned<Words>>,
    #[serde(default)]
    pub(super) flow: Vec<Spanned<Flow>>,
    #[serde(default)]
    pub(super) flows: Vec<Spanned<Flow>>,
    pub(super) severity: Option<Severity>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `[sysctl]`")]
pub(super) struct Settings {
    #[serde(default)]
    pub(super) also: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) ignore: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `[[flow]]`")]
pub(super) struct Flow {
    pub(super) name: Spanned<String>,
    pub(super) from: Spanned<Words>,
    pub(super) to: Spanned<Words>,
    pub(super) proto: Option<Spanned<Words>>,
    pub(super) port: Option<Spanned<Words>>,
    pub(super) interfaces: Option<Interfaces>,
    pub(super) hook: Option<Spanned<String>>,
    pub(super) expect: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) within_limits: bool,
    pub(super) owner: Option<String>,
    pub(super) ticket: Option<String>,
    pub(super) severity: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `{ in = …, out = … }`")]
pub(super) struct Interfaces {
    pub(super) r#in: Option<Spanned<Words>>,
    pub(super) out: Option<Spanned<Words>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table `[severity]`")]
pub(super) struct Severity {
    pub(super) management_ports: Option<Spanned<Words>>,
    pub(super) opened_to_world: Option<Spanned<String>>,
    pub(super) management_port: Option<Spanned<String>>,
    pub(super) flow_cut: Option<Spanned<String>>,
    pub(super) policy_flip: Option<Spanned<String>>,
    pub(super) flush: Option<Spanned<String>>,
    pub(super) opened: Option<Spanned<String>>,
    pub(super) cut: Option<Spanned<String>>,
    pub(super) no_effect: Option<Spanned<String>>,
    pub(super) unknown: Option<Spanned<String>>,
}

/// A text or a number.
#[derive(Clone, Debug)]
pub(super) enum Word {
    Text(String),
    Number(i64),
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// One word, or a list of them.
#[derive(Clone, Debug)]
pub(super) enum Words {
    One(Word),
    Many(Vec<Spanned<Word>>),
}

/// The words with the places of each.
pub(super) fn each(words: &Spanned<Words>) -> Vec<(usize, &Word)> {
    match words.get_ref() {
        Words::One(word) => vec![(words.span().start, word)],
        Words::Many(all) => all.iter().map(|word| (word.span().start, word.get_ref())).collect(),
    }
}

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a number")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Word, E> {
        Ok(Word::Text(text.to_owned()))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Word, E> {
        Ok(Word::Number(number))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

struct WordsVisitor;

impl<'de> Visitor<'de> for WordsVisitor {
    type Value = Words;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, or a list of these")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Words, E> {
        WordVisitor.visit_str(text).map(Words::One)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Words, E> {
        WordVisitor.visit_i64(number).map(Words::One)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
        let mut words = Vec::new();
        while let Some(word) = list.next_element()? {
            words.push(word);
        }
        Ok(Words::Many(words))
    }
}

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordsVisitor)
    }
}
