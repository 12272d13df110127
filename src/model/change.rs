//! What differs between two rulesets, in the form that people and programs read.
//!
//! Role: the value types that `compare` produces, `attribute` completes, `report` prints and the
//! ledger stores. Texts are native syntax (nft or iptables). Nothing here escapes anything:
//! escaping belongs to the place where a text is shown (`report::escape`).

use super::author::Author;
use super::ruleset::{Backend, Family, TableKey};
use super::severity::Severity;
use super::side::BootResult;
use super::traffic::{Effect, FlowOutcome};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// In the live state only.
    Added,
    /// In the baseline only.
    Removed,
    /// In both, with another content.
    Modified,
    /// The same rule at another place of its chain, relative to the rules that stayed.
    Moved,
}

impl ChangeKind {
    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Modified => "modified",
            Self::Moved => "moved",
        }
    }
}

/// Which of the host's packet filter interfaces holds an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A native nf_tables table.
    Nft,
    /// An nf_tables table in the shape that iptables-nft makes.
    IptablesNft,
    /// The older x_tables interface, read through `iptables-legacy-save`.
    IptablesLegacy,
    /// arptables' tables, in nf_tables or in x_tables.
    Arptables,
    /// ebtables' tables, in nf_tables or in the bridge code.
    Ebtables,
    /// Sets that `ipset` made.
    Ipset,
    /// Kernel settings under /proc/sys.
    Sysctl,
    /// BPF programs that see packets before or beside netfilter.
    Bpf,
}

impl Source {
    /// Of a table by its name alone: one of nf_tables counts as native.
    pub fn of(key: &TableKey) -> Self {
        match (key.backend, key.family) {
            (Backend::NfTables, _) => Self::Nft,
            (Backend::Legacy, Family::Arp) => Self::Arptables,
            (Backend::Legacy, Family::Bridge) => Self::Ebtables,
            (Backend::Legacy, _) => Self::IptablesLegacy,
            (Backend::Ipset, _) => Self::Ipset,
            (Backend::Sysctl, _) => Self::Sysctl,
            (Backend::Bpf, _) => Self::Bpf,
        }
    }

    /// The word used in JSON and in text.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::IptablesNft => "iptables-nft",
            Self::IptablesLegacy => "iptables-legacy",
            Self::Arptables => "arptables",
            Self::Ebtables => "ebtables",
            Self::Ipset => "ipset",
            Self::Sysctl => "sysctl",
            Self::Bpf => "bpf",
        }
    }
}

/// The kind of object that changed, in nft's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A table; when added or removed, with all that is in it.
    Table,
    /// A chain: its hook, priority, policy, device, flags or comment; when added or removed, with its rules.
    Chain,
    /// A rule of a chain.
    Rule,
    /// A named set's definition; when added or removed, with its elements.
    Set,
    /// A named map's definition; when added or removed, with its elements.
    Map,
    /// One element of a named set or map.
    Element,
    /// A flowtable.
    Flowtable,
    /// A named counter.
    Counter,
    /// A named quota.
    Quota,
    /// A connection tracking helper.
    CtHelper,
    /// A named limit.
    Limit,
    /// A connection limit object.
    CtLimit,
    /// A tunnel template.
    Tunnel,
    /// A connection tracking timeout policy.
    CtTimeout,
    /// A secmark.
    Secmark,
    /// A connection tracking expectation.
    CtExpectation,
    /// A synproxy.
    Synproxy,
    /// A stateful object of a type that this version has no name for.
    Object,
    /// A kernel setting.
    Sysctl,
    /// A BPF program at a hook.
    BpfProgram,
}

impl ObjectKind {
    /// The words that nft uses for it; also what text output shows.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Chain => "chain",
            Self::Rule => "rule",
            Self::Set => "set",
            Self::Map => "map",
            Self::Element => "element",
            Self::Flowtable => "flowtable",
            Self::Counter => "counter",
            Self::Quota => "quota",
            Self::CtHelper => "ct helper",
            Self::Limit => "limit",
            Self::CtLimit => "ct limit",
            Self::Tunnel => "tunnel",
            Self::CtTimeout => "ct timeout",
            Self::Secmark => "secmark",
            Self::CtExpectation => "ct expectation",
            Self::Synproxy => "synproxy",
            Self::Object => "object",
            Self::Sysctl => "sysctl",
            Self::BpfProgram => "bpf program",
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a rule stands in its chain, counted from 1; `None` on the side where it is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Place in the baseline's chain.
    pub before: Option<usize>,
    /// Place in the live chain.
    pub after: Option<usize>,
}

/// One difference between an approved and a live object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Twelve hexadecimal digits, the same at every run for the same drift.
    pub id: String,
    /// Added, removed, modified or moved.
    pub kind: ChangeKind,
    /// The interface that holds the object.
    pub source: Source,
    /// Whether arptables or ebtables rules are held by the older interface, which those words do not say.
    #[serde(default, skip_serializing_if = "is_false")]
    pub legacy: bool,
    /// The kernel's name of the family: `ip`, `ip6`, `inet`, `arp`, `bridge`, `netdev`; `unspec` for what has
    /// none (ipset, sysctl, bpf).
    pub family: String,
    /// The table's name; empty where the source has no tables (ipset, sysctl, bpf).
    pub table: String,
    /// The chain's name, for chains and rules.
    pub chain: Option<String>,
    /// What kind of object changed.
    pub object: ObjectKind,
    /// The object's name; for an element, the name of its set or map; none for rules.
    pub name: Option<String>,
    /// The approved text in native syntax; none where the object was absent.
    pub before: Option<String>,
    /// The live text in native syntax; none where the object is absent.
    pub after: Option<String>,
    /// For rules, the place in the chain.
    pub position: Option<Position>,
    /// What no renderer's text shows about this change (for example "the bytes of `xt string` differ").
    #[serde(default)]
    pub note: Option<String>,
    /// What was asked for both sides and prints them alike, although their bytes differ: `nft`, `nft -j`. An
    /// auditor who reads only that does not see this change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blind: Vec<String>,
    /// How much it matters by the policy; `null` where the effect on traffic was not computed.
    #[serde(default)]
    pub severity: Option<Severity>,
    /// The effect on traffic; `null` means "not computed", never "no effect", which is an empty list.
    #[serde(default)]
    pub impact: Option<Vec<Effect>>,
    /// Why the impact is not complete, or not computed: `inconclusive: …`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub impact_incomplete: Option<String>,
    /// Who made the change, as far as evidence says.
    pub author: Author,
    /// When, by the kernel's clock; `null` if only the author's `window` is known.
    pub time: Option<DateTime<Utc>>,
}

impl Change {
    /// A change of such an object of a table (family and name), of which nothing else is known.
    pub fn new(
        kind: ChangeKind,
        source: Source,
        (family, table): (impl Into<String>, impl Into<String>),
        object: ObjectKind,
    ) -> Self {
        Self {
            id: String::new(),
            kind,
            source,
            legacy: false,
            family: family.into(),
            table: table.into(),
            chain: None,
            object,
            name: None,
            before: None,
            after: None,
            position: None,
            note: None,
            blind: Vec::new(),
            severity: None,
            impact: None,
            impact_incomplete: None,
            author: Author::default(),
            time: None,
        }
    }

    /// Whether another interface than nf_tables holds the object: no generation counts its changes.
    pub fn is_beside_nf_tables(&self) -> bool {
        match self.source {
            Source::Nft | Source::IptablesNft => false,
            Source::Arptables | Source::Ebtables => self.legacy,
            Source::IptablesLegacy | Source::Ipset | Source::Sysctl | Source::Bpf => true,
        }
    }

    /// `family table`, the heading under which text output groups changes; where the source has no tables, its name.
    pub fn table_path(&self) -> String {
        match self.source {
            Source::Ipset | Source::Sysctl | Source::Bpf => self.source.as_str().to_owned(),
            _ => format!("{} {}", self.family, self.table),
        }
    }
}

/// Something that could not be looked at. Never the same as "empty".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// What could not be seen: `nft`, `iptables-legacy`, `audit`, …
    pub source: String,
    /// What happened.
    pub reason: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether the verdict depends on it (then `check` exits 2). A gap in the evidence of who made a
    /// change does not alter the verdict.
    #[serde(default = "yes")]
    pub blinds_verdict: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn yes() -> bool {
    true
}

/// The result of a comparison of the live state with the approved one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// No difference, nothing unseen.
    InSync,
    /// At least one unapproved difference.
    Drift,
    /// No difference in what could be seen, but something could not be.
    Unknown,
}

impl Verdict {
    /// For a status line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in sync",
            Self::Drift => "in drift",
            Self::Unknown => "not all could be seen",
        }
    }

    /// Drift is certain, whatever else could not be seen.
    pub fn worst(verdicts: impl Iterator<Item = Self>) -> Self {
        verdicts.fold(Self::InSync, |worst, verdict| match (worst, verdict) {
            (Self::Drift, _) | (_, Self::Drift) => Self::Drift,
            (Self::Unknown, _) | (_, Self::Unknown) => Self::Unknown,
            (Self::InSync, Self::InSync) => Self::InSync,
        })
    }

    /// The process exit code of `check` (0 in sync, 1 drift, 2 could not determine).
    pub fn exit_code(self) -> u8 {
        match self {
            Self::InSync => 0,
            Self::Drift => 1,
            Self::Unknown => 2,
        }
    }
}

/// The baseline that a host was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaselineRef {
    /// The commit on `main`, in hexadecimal.
    pub commit: String,
    /// The directory in that commit, for example `baselines/web-01`.
    pub path: String,
}

/// How many changes of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of objects added.
    pub added: usize,
    /// Number of objects removed.
    pub removed: usize,
    /// Number of objects modified.
    pub modified: usize,
    /// Number of rules moved.
    pub moved: usize,
    /// Objects whose bytes differ from the baseline's but whose exact text is the same: not drift.
    #[serde(default)]
    pub re_encoded: usize,
}

impl Summary {
    /// Counts `changes` by kind.
    pub fn of(changes: &[Change], re_encoded: usize) -> Self {
        let count = |kind| changes.iter().filter(|c| c.kind == kind).count();
        Self {
            added: count(ChangeKind::Added),
            removed: count(ChangeKind::Removed),
            modified: count(ChangeKind::Modified),
            moved: count(ChangeKind::Moved),
            re_encoded,
        }
    }
}

/// What `check` found: the object of `check --format json` (`fwdrift.check/1`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Always `fwdrift.check/1`.
    pub schema: String,
    /// The host's name in the repository.
    pub host: String,
    /// The network namespace asked for; `null` for the one that fwdrift runs in.
    pub netns: Option<String>,
    /// What the live state was compared with.
    pub baseline: BaselineRef,
    /// When the live state was read.
    pub captured_at: DateTime<Utc>,
    /// The nf_tables generation of the live state (`NFTA_GEN_ID`).
    pub generation: u32,
    /// In sync, drift, or could not determine.
    pub verdict: Verdict,
    /// An id of exactly this live state against exactly this baseline, for `approve --reviewed`.
    pub review_id: String,
    /// What could not be seen.
    pub gaps: Vec<Gap>,
    /// The differences, grouped by table and chain, in the order of the chain.
    pub changes: Vec<Change>,
    /// How many of each kind.
    pub summary: Summary,
    /// What the next boot would bring; only where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootResult>,
    /// The required flows that were checked with the look, in the order of fwdrift.toml.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flows: Vec<FlowOutcome>,
}

impl CheckResult {
    /// The exit code of `check` and `record`: 3 if a required flow is broken, drift or not; else that of the worse of
    /// the two verdicts, where one is of the next boot; 2 as well if a flow cannot be determined.
    pub fn exit_code(&self) -> u8 {
        let verdicts = [Some(self.verdict), self.boot.as_ref().map(|boot| boot.verdict)];
        let unclear = self.flows.iter().any(|flow| flow.holds.is_none()).then_some(Verdict::Unknown);
        match self.breaks_a_flow() {
            true => BROKEN_FLOW,
            false => Verdict::worst(verdicts.into_iter().chain([unclear]).flatten()).exit_code(),
        }
    }

    /// Whether one of the required flows does not hold.
    pub fn breaks_a_flow(&self) -> bool {
        self.flows.iter().any(|flow| flow.holds == Some(false))
    }
}

/// The process exit code that says that a required flow is broken.
pub const BROKEN_FLOW: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    /// As written before there were effects: frozen.
    const OLD: &str = r#"{"id":"a1b2c3d4e5f6","kind":"added","source":"nft","family":"inet","table":"filter",
        "chain":"input","object":"rule","name":null,"before":null,"after":"tcp dport 3306 drop",
        "position":{"before":null,"after":4},"note":null,"severity":null,"impact":null,
        "author":{"name":"ops1","evidence":"none"},"time":null}"#;

    #[test]
    fn a_change_from_before_there_were_effects_is_read_and_written_as_it_was() {
        let change: Change = serde_json::from_str(OLD).unwrap();
        assert_eq!((change.severity, &change.impact, &change.impact_incomplete), (None, &None, &None));
        let value = serde_json::to_value(&change).unwrap();
        assert!(value["severity"].is_null() && value["impact"].is_null());
        assert_eq!(value.get("impact_incomplete"), None);
    }

    #[test]
    fn a_severity_is_a_word_and_no_effect_is_an_empty_list() {
        let mut change: Change = serde_json::from_str(OLD).unwrap();
        change.severity = Some(Severity::Info);
        change.impact = Some(vec![]);
        change.impact_incomplete = Some("inconclusive: too many".to_owned());
        let value = serde_json::to_value(&change).unwrap();
        assert_eq!((&value["severity"], &value["impact"]), (&"info".into(), &serde_json::json!([])));
        assert_eq!(serde_json::from_value::<Change>(value).unwrap(), change);
    }
}
