//! What `lint` says about a ruleset: codes, findings, the object of `lint --format json`.
//!
//! Role: the values that `traffic::lint` computes and `report` prints. Codes are stable: one that is out of use is
//! never given to something else. docs/findings.md explains each.

use super::change::{Gap, ObjectKind};
use super::side::SideRef;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum LintCode {
    /// No packet fulfils all conditions of the rule.
    #[serde(rename = "FW001")]
    NeverMatches,
    /// Earlier rules of the chain decide about all its packets, and not as it would.
    #[serde(rename = "FW002")]
    Shadowed,
    /// Earlier rules of the chain do the same with all its packets.
    #[serde(rename = "FW003")]
    Repeated,
    /// What follows does the same with all its packets.
    #[serde(rename = "FW004")]
    Redundant,
    /// None of its packets gets to its chain.
    #[serde(rename = "FW005")]
    NotReached,
    /// A part of what it stops is accepted before.
    #[serde(rename = "FW006")]
    AcceptedBefore,
    /// No packet enters the chain: nothing leads to it.
    #[serde(rename = "FW007")]
    UnusedChain,
    /// Nothing uses the set, map, object or flowtable.
    #[serde(rename = "FW008")]
    Unused,
    /// It leads to a chain without rules.
    #[serde(rename = "FW009")]
    EmptyChain,
    /// It accepts more than the required flows need.
    #[serde(rename = "FW010")]
    Wider,
    /// It names an interface that does not exist.
    #[serde(rename = "FW011")]
    NoInterface,
    /// It accepts what is in a set that is empty.
    #[serde(rename = "FW012")]
    EmptySet,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LintLevel {
    /// To be known; it does no harm.
    Note,
    /// The ruleset does not do what it says.
    Warning,
}

impl LintLevel {
    /// The word in JSON, in SARIF and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
        }
    }
}

impl LintCode {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::NeverMatches,
        Self::Shadowed,
        Self::Repeated,
        Self::Redundant,
        Self::NotReached,
        Self::AcceptedBefore,
        Self::UnusedChain,
        Self::Unused,
        Self::EmptyChain,
        Self::Wider,
        Self::NoInterface,
        Self::EmptySet,
    ];

    /// `FW001`, …
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverMatches => "FW001",
            Self::Shadowed => "FW002",
            Self::Repeated => "FW003",
            Self::Redundant => "FW004",
            Self::NotReached => "FW005",
            Self::AcceptedBefore => "FW006",
            Self::UnusedChain => "FW007",
            Self::Unused => "FW008",
            Self::EmptyChain => "FW009",
            Self::Wider => "FW010",
            Self::NoInterface => "FW011",
            Self::EmptySet => "FW012",
        }
    }

    /// A name for people and for SARIF's `name`.
    pub fn name(self) -> &'static str {
        match self {
            Self::NeverMatches => "never-matches",
            Self::Shadowed => "shadowed",
            Self::Repeated => "repeated",
            Self::Redundant => "redundant",
            Self::NotReached => "not-reached",
            Self::AcceptedBefore => "accepted-before",
            Self::UnusedChain => "unused-chain",
            Self::Unused => "unused",
            Self::EmptyChain => "empty-chain",
            Self::Wider => "wider-than-required",
            Self::NoInterface => "no-such-interface",
            Self::EmptySet => "empty-set",
        }
    }

    /// One sentence on what it means.
    pub fn summary(self) -> &'static str {
        match self {
            Self::NeverMatches => "No packet fulfils all conditions of the rule.",
            Self::Shadowed => "Earlier rules of the chain decide about all packets of the rule.",
            Self::Repeated => "Earlier rules of the chain do the same with all packets of the rule.",
            Self::Redundant => "Without the rule, what follows does the same with all its packets.",
            Self::NotReached => "None of the packets that the rule is about gets to its chain.",
            Self::AcceptedBefore => "A part of what the rule stops is accepted by an earlier rule.",
            Self::UnusedChain => "No packet enters the chain: no base chain leads to it.",
            Self::Unused => "No rule, map or set uses the object.",
            Self::EmptyChain => "The rule or map leads to a chain without rules.",
            Self::Wider => "The rule accepts more new connections than the required flows need.",
            Self::NoInterface => "The rule or chain names an interface that does not exist.",
            Self::EmptySet => "The rule accepts what is in a set, and the set is empty.",
        }
    }

    /// How much it matters.
    pub fn level(self) -> LintLevel {
        match self {
            Self::NeverMatches
            | Self::Shadowed
            | Self::UnusedChain
            | Self::Wider
            | Self::NoInterface
            | Self::EmptySet => LintLevel::Warning,
            Self::Repeated
            | Self::Redundant
            | Self::NotReached
            | Self::AcceptedBefore
            | Self::Unused
            | Self::EmptyChain => LintLevel::Note,
        }
    }
}

impl fmt::Display for LintCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A rule that a finding names besides its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintRule {
    /// The chain, of the same table.
    pub chain: String,
    /// The place in it, from 1.
    pub position: usize,
    /// The rule in native syntax; none if no tool shows it.
    pub text: Option<String>,
    /// The line in the file of the finding, from 1.
    pub line: Option<usize>,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LintFinding {
    /// Its code.
    pub code: LintCode,
    /// How much it matters.
    pub level: LintLevel,
    /// What is wrong, in one or two sentences.
    pub message: String,
    /// The family of the table, in nft's words.
    pub family: String,
    /// The table.
    pub table: String,
    /// What is at fault.
    pub object: ObjectKind,
    /// The chain, of a rule or a chain.
    pub chain: Option<String>,
    /// The name, of what is no rule and no chain.
    pub name: Option<String>,
    /// The place of a rule in its chain, from 1.
    pub position: Option<usize>,
    /// The object in native syntax, where it is a rule.
    pub text: Option<String>,
    /// The rules that shadow, repeat or replace it, in their order; not always all of them.
    pub related: Vec<LintRule>,
    /// Packets that it is about, in words, where that says more.
    pub packets: Vec<String>,
    /// The file that says it, relative to the repository for a baseline; none for what is in no file.
    pub file: Option<String>,
    /// The line in the file, from 1; none if it could not be told.
    pub line: Option<usize>,
    /// The same for the same finding as long as the object and its code stay: 16 hexadecimal digits.
    pub fingerprint: String,
}

/// The object of `lint --format json` (`fwdrift.lint/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LintResult {
    /// Always `fwdrift.lint/1`.
    pub schema: String,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for; `null` for the one that fwdrift runs in.
    pub netns: Option<String>,
    /// What was looked at.
    pub side: SideRef,
    /// By table, chain and place.
    pub findings: Vec<LintFinding>,
    /// What was not judged.
    pub gaps: Vec<Gap>,
}

impl LintResult {
    /// How many findings there are of a level.
    pub fn count(&self, level: LintLevel) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }

    /// 1 if there is a warning, 2 if not everything could be judged, else 0.
    pub fn exit_code(&self) -> u8 {
        if self.count(LintLevel::Warning) > 0 {
            1
        } else if self.gaps.iter().any(|gap| gap.blinds_verdict) {
            2
        } else {
            0
        }
    }
}
