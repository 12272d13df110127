//! What is said about traffic: effects of changes, required flows, one packet's way, findings about rules.
//!
//! Role: the values that `traffic` computes, `report` prints and the ledger stores. Texts from rules are as they are;
//! escaping belongs to where they are shown.

use super::author::Author;
use super::change::Gap;
use super::side::SideRef;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which way traffic changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// Was dropped, is accepted.
    Opened,
    /// Was accepted, is dropped.
    Cut,
}

impl EffectKind {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Cut => "cut",
        }
    }
}

/// One statement about packets of which a change altered the fate. Statements of one comparison do not overlap.
///
/// A field that is `None` may have any value. Several values are separated by `, `; ranges are written `LOW-HIGH`,
/// addresses as CIDR where that is exact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Opened or cut.
    pub effect: EffectKind,
    /// The sentence for people.
    pub statement: String,
    /// Where it is decided: `input`, `forward`, `output`, `prerouting`, …
    pub hook: String,
    /// `ip`, `ip6`, `arp` or `other`.
    pub family: String,
    /// `tcp`, `udp`, `icmp`, … or a number.
    pub proto: Option<String>,
    /// Source addresses.
    pub src: Option<String>,
    /// Destination addresses.
    pub dst: Option<String>,
    /// Source ports.
    pub sport: Option<String>,
    /// Destination ports.
    pub dport: Option<String>,
    /// Interfaces that the packets come in by.
    pub iif: Option<String>,
    /// Interfaces that they go out by.
    pub oif: Option<String>,
    /// States of the connection: `new`, `established`, …
    pub state: Option<String>,
    /// Other fields that matter, by nft's name for them: `icmp type`, `ip ttl`, `meta mark`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub other: BTreeMap<String, String>,
    /// One packet of them, field by field.
    pub sample: BTreeMap<String, String>,
    /// What decided before; none if nothing did.
    pub was: Option<Decider>,
    /// What decides now.
    pub now: Option<Decider>,
    /// What fwdrift has no model for, and on which it depends.
    pub conditions: Vec<String>,
    /// The share of all packets of this family at this hook, 0 to 1: for ordering.
    pub share: f64,
    /// The required flow that is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<String>,
}

/// A rule, or a policy, that decides what becomes of a packet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decider {
    /// `accept`, `drop`, `reject`, …
    pub verdict: String,
    /// `FAMILY NAME`.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// The place in the chain, from 1; none for a policy.
    pub position: Option<usize>,
    /// The rule in native syntax, or `policy drop`.
    pub text: Option<String>,
    /// Where it stands in the baseline, if it is approved and its line is certain; of a policy, its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<BaselineLine>,
    /// Who is answerable for it, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

/// A line of a baseline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineLine {
    /// The file, relative to the repository.
    pub path: String,
    /// From 1.
    pub line: usize,
}

/// Who put a rule there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Provenance {
    /// It is part of the baseline.
    Approved {
        /// Who approved it.
        by: String,
        /// When.
        time: DateTime<Utc>,
        /// The commit on `main`, in hexadecimal.
        commit: String,
        /// The file in the baseline.
        path: String,
        /// The line in it, from 1.
        line: usize,
    },
    /// Nobody approved it.
    Drift {
        /// The change, as `check` names it.
        id: String,
        /// Who made it.
        author: Box<Author>,
        /// When; none if only a window is known.
        time: Option<DateTime<Utc>>,
    },
}

/// What a required flow is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It is to get through, and its answers are.
    Allow,
    /// It is not to get through.
    Deny,
}

impl Expect {
    /// The word used in fwdrift.toml, in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// Which packets of a flow a statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowDirection {
    /// Those that begin the connection.
    Request,
    /// Those that come back.
    Answer,
    /// Both.
    Both,
}

impl FlowDirection {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Answer => "answer",
            Self::Both => "both",
        }
    }
}

/// Whether one required flow holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowOutcome {
    /// Its name in fwdrift.toml.
    pub name: String,
    /// What it is to do.
    pub expect: Expect,
    /// Whether it does; none if that depends on what cannot be known.
    pub holds: Option<bool>,
    /// What was looked at (`both`, for a flow that is to be denied `request`); for one that does not hold, what of it
    /// does not.
    pub direction: FlowDirection,
    /// The packets' way through the host: `input`, `forward`, `output`.
    pub path: String,
    /// What decides about the packets that do otherwise than they should.
    pub broken_by: Option<Decider>,
    /// One of these packets, field by field.
    pub sample: Option<BTreeMap<String, String>>,
    /// Which packets do otherwise, in words; what it depends on if inconclusive.
    pub packets: Vec<String>,
    /// Who needs it, from fwdrift.toml.
    pub owner: Option<String>,
    /// From fwdrift.toml.
    pub ticket: Option<String>,
}

/// The object of `flows --format json` (`fwdrift.flows/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowsResult {
    /// Always `fwdrift.flows/1`.
    pub schema: String,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for.
    pub netns: Option<String>,
    /// What was looked at.
    pub against: SideRef,
    /// In the order of fwdrift.toml.
    pub flows: Vec<FlowOutcome>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
}

impl FlowsResult {
    /// 0 if all hold, 3 if one does not, 2 if one cannot be determined or something could not be seen.
    pub fn exit_code(&self) -> u8 {
        if self.flows.iter().any(|flow| flow.holds == Some(false)) {
            3
        } else if self.flows.iter().any(|flow| flow.holds.is_none())
            || self.gaps.iter().any(|gap| gap.blinds_verdict)
        {
            2
        } else {
            0
        }
    }
}

/// What becomes of a packet that is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceVerdict {
    /// It gets through.
    Accept,
    /// It is dropped silently.
    Drop,
    /// It is dropped, and its sender is told.
    Reject,
    /// That depends on what is not known.
    Inconclusive,
}

impl TraceVerdict {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Inconclusive => "inconclusive",
        }
    }
}

/// A rule that a followed packet matches, or a policy that applies to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceStep {
    /// The hook.
    pub hook: String,
    /// The rule or policy, with what it does: `accept`, `drop`, `jump web`, `continue`, …
    #[serde(flatten)]
    pub rule: Decider,
    /// Whether it decides what becomes of the packet at all.
    pub decides: bool,
    /// What it depends on, if the packet does not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
}

/// The object of `trace --format json` (`fwdrift.trace/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceResult {
    /// Always `fwdrift.trace/1`.
    pub schema: String,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for.
    pub netns: Option<String>,
    /// Where the packet was followed.
    pub against: SideRef,
    /// The packet, field by field; what was not asked for is that of a usual packet.
    pub packet: BTreeMap<String, String>,
    /// Its way through the host: `input`, `forward`, `output`.
    pub path: String,
    /// What becomes of it.
    pub verdict: TraceVerdict,
    /// What the verdict depends on, if inconclusive.
    pub conditions: Vec<String>,
    /// Rules and policies in the order in which it meets them.
    pub steps: Vec<TraceStep>,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
}

impl TraceResult {
    /// 0 if the verdict is known, 2 if not, or if something could not be seen.
    pub fn exit_code(&self) -> u8 {
        let is_blind = self.gaps.iter().any(|gap| gap.blinds_verdict);
        if self.verdict == TraceVerdict::Inconclusive || is_blind { 2 } else { 0 }
    }
}
