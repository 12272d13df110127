//! `lint`: the rules of one side judged, each finding with its text and its line. Reads only.

use super::PipelineError;
use super::flows::wanted;
use super::native::native;
use super::place::Place;
use super::sides::{Seen, Sides};
use crate::baseline::{self, LocatedChain};
use crate::compare;
use crate::config::Settings;
use crate::decode;
use crate::model::{
    Chain, Digest, Files, Gap, Item, LintFinding, LintResult, LintRule, Name, ObjectKind, Ruleset, SideKind,
    SideRef, Table, TableKey, Text,
};
use crate::policy;
use crate::traffic::effects::Budget;
use crate::traffic::flows::Wanted;
use crate::traffic::lint::{Found, Known, RuleRef, lint as judge};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Judges a side, given as a word.
pub fn lint(settings: &Settings, side: &str, boot_root: &Path) -> Result<LintResult, PipelineError> {
    let mut sides = Sides::new(settings, boot_root)?;
    let policy = match sides.repository() {
        Some(_) => policy::parse(&sides.policy()?)?,
        // A file can be judged without one.
        None => policy::Policy::default(),
    };
    let Seen { described, ruleset, files, mut gaps, .. } = sides.find(side)?;
    let place = Place::of(settings)?;
    let flows: Vec<Wanted> = policy.flows.iter().map(|flow| wanted(flow, &place)).collect();
    let existing: BTreeSet<Vec<u8>> = ruleset.interfaces.values().cloned().collect();
    let known = Known {
        flows: (!flows.is_empty()).then_some(&flows[..]),
        interfaces: (described.kind == SideKind::Live).then_some(&existing),
    };
    let native = native(&ruleset);
    gaps.extend(native.unread.iter().map(|(key, why)| unjudged(format!("table {key}: {why}"))));
    let report = judge(&native.ruleset, known, Budget::default());
    gaps.extend(report.unjudged.into_iter().map(unjudged));
    let texts = decode::decode(&ruleset, &items(&ruleset, &report.findings))?;
    let mut telling =
        Telling { ruleset: &ruleset, files: &files, side: &described, texts, chains: HashMap::new() };
    let mut findings: Vec<LintFinding> = report.findings.iter().map(|found| telling.tell(found)).collect();
    number(&mut findings);
    Ok(LintResult {
        schema: "fwdrift.lint/1".to_owned(),
        host: settings.host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        side: described,
        findings,
        gaps,
    })
}

/// Tells apart what is there several times in one chain.
fn number(findings: &mut [LintFinding]) {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for finding in findings {
        let times = seen.entry(finding.fingerprint.clone()).or_default();
        *times += 1;
        if *times > 1 {
            let parts = [finding.fingerprint.as_bytes(), &times.to_le_bytes()];
            finding.fingerprint = Digest::of(parts).to_string()[..16].to_owned();
        }
    }
}

fn unjudged(reason: String) -> Gap {
    Gap {
        source: "lint".to_owned(),
        reason: format!("not judged: {reason}"),
        hint: None,
        blinds_verdict: true,
    }
}

/// The rules whose texts are wanted. Those of chains that belong to a rule have none of their own.
fn items(ruleset: &Ruleset, findings: &[Found]) -> BTreeSet<Item> {
    let is_there = |item: &Item| match item {
        Item::Rule(key, chain, _) => {
            ruleset.tables.get(key).is_some_and(|table| table.chains.contains_key(chain))
        }
        _ => false,
    };
    let items = findings
        .iter()
        .flat_map(|found| std::iter::once(found.item.clone()).chain(found.related.iter().map(RuleRef::item)));
    items.filter(is_there).collect()
}

/// What findings are told with.
struct Telling<'a> {
    ruleset: &'a Ruleset,
    files: &'a Files,
    side: &'a SideRef,
    texts: BTreeMap<Item, Text>,
    chains: HashMap<(TableKey, Name), Option<LocatedChain>>,
}

impl Telling<'_> {
    fn tell(&mut self, found: &Found) -> LintFinding {
        let key = found.item.table();
        let table = self.ruleset.tables.get(key);
        let (object, chain, name, place) = named(&found.item, table);
        let (path, line) = self.located(&found.item, object);
        let text = self.text(&found.item);
        let rule = match &found.item {
            Item::Rule(_, chain, place) => self.chain(key, chain).and_then(|chain| chain.rules.get(*place)),
            _ => None,
        };
        let digest = rule.map_or_else(String::new, |rule| rule.digest.to_string());
        let identity = [
            found.code.as_str(),
            &key.to_string(),
            object.as_str(),
            chain.as_deref().unwrap_or_default(),
            name.as_deref().unwrap_or_default(),
            &digest,
        ];
        let fingerprint = Digest::of(identity.map(str::as_bytes)).to_string()[..16].to_owned();
        let related = found.related.iter().map(|rule| self.related(rule)).collect();
        LintFinding {
            code: found.code,
            level: found.code.level(),
            message: found.message.clone(),
            family: key.family.as_str().to_owned(),
            table: key.name.to_string(),
            object,
            chain,
            name,
            position: place.map(|place| place + 1),
            text,
            related,
            packets: found.packets.clone(),
            file: path.map(|path| self.shown(&path)),
            line,
            fingerprint,
        }
    }

    fn chain(&self, key: &TableKey, name: &Name) -> Option<&Chain> {
        let table = self.ruleset.tables.get(key)?;
        table.chains.get(name).or_else(|| table.anonymous.chains.get(name))
    }

    fn text(&self, item: &Item) -> Option<String> {
        self.texts.get(item).map(|text| text.text.trim().to_owned())
    }

    fn related(&mut self, rule: &RuleRef) -> LintRule {
        let (_, line) = self.located(&rule.item(), ObjectKind::Rule);
        let text = self.text(&rule.item());
        LintRule { chain: rule.chain.to_string(), position: rule.place + 1, text, line }
    }

    /// The file that says it, relative to the baseline's directory, and the line.
    fn located(&mut self, item: &Item, object: ObjectKind) -> (Option<String>, Option<usize>) {
        let (key, chain, place) = match item {
            Item::Rule(key, chain, place) => (key, chain, Some(*place)),
            Item::ChainHead(key, chain) => (key, chain, None),
            Item::SetHead(key, name) | Item::Object(key, _, name) | Item::Flowtable(key, name) => {
                let found = baseline::locate_named(self.files, key, object.as_str(), name);
                return found.map_or((None, None), |found| (Some(found.path), found.line));
            }
            Item::Table(_) | Item::TableHead(_) | Item::Chain(..) | Item::Set(..) | Item::Element(..) => {
                return (None, None);
            }
        };
        let count = self.chain(key, chain).map_or(0, |chain| chain.rules.len());
        let files = self.files;
        let is_one_file = self.side.kind == SideKind::File;
        let found = self
            .chains
            .entry((key.clone(), chain.clone()))
            .or_insert_with(|| baseline::locate_chain(files, key, chain, count));
        match found {
            None => (None, None),
            Some(found) => {
                let line = match place {
                    Some(place) => found.rules.get(place).copied(),
                    None => found.head,
                };
                // What a file includes has lines of its own.
                let line = line.filter(|_| !is_one_file || !found.path.starts_with("nft/include/"));
                (Some(found.path.clone()), line)
            }
        }
    }

    /// A path for people and for SARIF: from the repository, or as the file was given.
    fn shown(&self, path: &str) -> String {
        match self.side.kind {
            SideKind::Baseline | SideKind::Revision => match &self.side.path {
                Some(directory) => format!("{directory}/{path}"),
                None => path.to_owned(),
            },
            SideKind::Directory => format!("{}/{path}", self.side.given.trim_end_matches('/')),
            SideKind::File => self.side.given.clone(),
            SideKind::Ledger | SideKind::Live | SideKind::Boot => path.to_owned(),
        }
    }
}

/// What an item is, its chain, its name, its place.
fn named(item: &Item, table: Option<&Table>) -> (ObjectKind, Option<String>, Option<String>, Option<usize>) {
    let name = |name: &Name| Some(name.to_string());
    match item {
        Item::Rule(_, chain, place) => (ObjectKind::Rule, name(chain), None, Some(*place)),
        Item::ChainHead(_, chain) | Item::Chain(_, chain) => (ObjectKind::Chain, name(chain), None, None),
        Item::SetHead(_, set) | Item::Set(_, set) | Item::Element(_, set, _) => {
            let is_map = table.and_then(|table| table.sets.get(set)).is_some_and(crate::model::Set::is_map);
            (if is_map { ObjectKind::Map } else { ObjectKind::Set }, None, name(set), None)
        }
        Item::Object(_, kind, object) => {
            (compare::object_kind(item.table().backend, *kind), None, name(object), None)
        }
        Item::Flowtable(_, flowtable) => (ObjectKind::Flowtable, None, name(flowtable), None),
        Item::Table(_) | Item::TableHead(_) => (ObjectKind::Table, None, None, None),
    }
}
