//! Names for single objects of a ruleset, and their native texts.
//!
//! Role: what `compare` asks `decode` for, and what it gets.

use super::ruleset::{ElementKey, Name, TableKey};

/// Something whose native text is wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A whole table.
    Table(TableKey),
    /// A table's flags and comment.
    TableHead(TableKey),
    /// A chain with its rules.
    Chain(TableKey, Name),
    /// A chain's type, hook, priority, policy and comment.
    ChainHead(TableKey, Name),
    /// The rule at a place (from 0) of a chain.
    Rule(TableKey, Name, usize),
    /// A set or map with its elements.
    Set(TableKey, Name),
    /// A set's or map's definition.
    SetHead(TableKey, Name),
    /// One element of a set or map.
    Element(TableKey, Name, ElementKey),
    /// A stateful object, by `NFT_OBJECT_*` and name.
    Object(TableKey, u32, Name),
    /// A flowtable.
    Flowtable(TableKey, Name),
}

impl Item {
    /// The table that it is in.
    pub fn table(&self) -> &TableKey {
        match self {
            Self::Table(key)
            | Self::TableHead(key)
            | Self::Chain(key, _)
            | Self::ChainHead(key, _)
            | Self::Rule(key, ..)
            | Self::Set(key, _)
            | Self::SetHead(key, _)
            | Self::Element(key, ..)
            | Self::Object(key, ..)
            | Self::Flowtable(key, _) => key,
        }
    }
}

/// An object's native text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// nft or iptables syntax, no trailing line break.
    pub text: String,
    /// Whether the text says all that the bytes say. Where it is false, equal texts do not mean equal
    /// objects.
    pub exact: bool,
    /// What programs that were asked besides print of it: the program (`nft`, `nft -j`) and its text.
    pub others: Vec<(&'static str, String)>,
    /// What two encodings of the object have in common, where that is not just `text`.
    pub sense: Option<String>,
}

impl Text {
    /// A text that one program printed.
    pub fn new(text: String, exact: bool) -> Self {
        Self { text, exact, others: Vec::new(), sense: None }
    }

    /// What two encodings of the same object have in common; none if no text says all.
    pub fn meaning(&self) -> Option<&str> {
        self.exact.then(|| self.sense.as_deref().unwrap_or(&self.text))
    }
}
