//! Value types: rulesets as the kernel holds them, and what is said about them. Pure: no I/O, no clock.

pub mod all;
pub mod audit;
pub mod author;
pub mod change;
pub mod event;
pub mod severity;
pub mod side;

pub use all::{All, Other, Without};
pub use audit::{AuditEvent, Background, NetfilterCfg, Syscall};
pub use author::{Author, Evidence, Window};
pub use change::{
    BaselineRef, Change, ChangeKind, CheckResult, Gap, ObjectKind, Position, Source, Summary, Verdict,
};
pub use event::{Approval, Checkpoint, Event, EventKind, LedgerEntry};
pub use severity::Severity;
pub use side::{
    Approves, BootChange, BootResult, BootState, DiffResult, Provider, Sameness, SideKind, SideRef,
};

pub mod bytes;
pub mod capture;
pub mod files;
pub mod host;
pub mod item;
pub mod lint;
pub mod outline;
pub mod ruleset;
pub mod settings;
pub mod traffic;
pub mod transaction;

pub use capture::{Capture, ContextObject, LegacyTable, RawMessage};
pub use files::Files;
pub use host::{HostName, InvalidHost};
pub use item::{Item, Text};
pub use lint::{LintCode, LintFinding, LintLevel, LintResult, LintRule};
pub use outline::Outline;
pub use ruleset::{
    Anonymous, Backend, Chain, Digest, Element, ElementKey, Family, Name, Object, Rule, Ruleset, Set, Table,
    TableKey, text_from_kernel,
};
pub use settings::SettingsList;
pub use traffic::{
    BaselineLine, Decider, Effect, EffectKind, Expect, FlowDirection, FlowOutcome, FlowsResult, Provenance,
    TraceResult, TraceStep, TraceVerdict,
};
pub use transaction::{Transaction, Witnessed};
