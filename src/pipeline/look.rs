//! One look: collect, normalise, compare, attribute. Reads only.
//!
//! Input: the settings and the repository; output: a [`Checked`], the live state beside the approved one,
//! with what the last look left behind.

use super::PipelineError;
use super::context::{self, Context};
use super::flows;
use super::history::{self, Trail};
use super::impact::{self, Pair};
use super::last::{keep_names, known, remembered};
use super::passing::Effects;
use super::place::Judged;
use super::provenance::Provenances;
use super::words::{compared, compared_in_words};
use crate::attribute::Look;
use crate::baseline::{Access, Cache};
use crate::collect;
use crate::compare::{Comparison, Difference, Earlier, Fingerprint, Known, Texts};
use crate::config::Settings;
use crate::ledger::{Baseline, HostName, Repository};
use crate::model::{
    Author, Backend, BaselineRef, Capture, Change, CheckResult, Digest, Evidence, Gap, Item, Ruleset,
    SettingsList, Source, Summary, Table, TableKey, Verdict,
};
use crate::netlink::Attrs;
use crate::netlink::nft::table;
use crate::normalise::normalise;
use crate::policy;
use crate::record::Memory;
use crate::sys::netns::Netns;
use chrono::Utc;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A look at the live state, compared with what is approved.
#[derive(Debug)]
pub struct Checked {
    /// What `check` prints.
    pub result: CheckResult,
    /// Both sides.
    pub(super) reading: Reading,
    /// The differences, with the objects they are about.
    pub differences: Vec<Difference>,
    /// The texts of the live objects among those that were compared.
    pub(super) texts: Texts,
    /// See [`Comparison::re_encoded_in`].
    pub(super) re_encoded_in: BTreeMap<Item, usize>,
    /// The live state of the last look against the present baseline.
    pub(super) between: Vec<Change>,
    pub(super) trail: Trail,
    pub(super) memory: Option<Memory>,
    /// See [`Judged`].
    pub(super) judged: String,
}

impl Checked {
    /// The live state.
    pub fn live(&self) -> &Ruleset {
        &self.reading.live
    }

    /// The approved state, loaded.
    pub fn approved(&self) -> &Ruleset {
        &self.reading.approved
    }

    /// `fwdrift.toml` on `main`.
    pub(super) fn policy(&self) -> &[u8] {
        &self.reading.baseline.policy
    }
}

/// Both rulesets of one look, read and loaded.
#[derive(Debug)]
pub(super) struct Reading {
    /// The live state.
    pub(super) live: Ruleset,
    /// Its digest.
    pub(super) state: String,
    /// The approved state.
    pub(super) approved: Ruleset,
    pub(super) baseline: Baseline,
    pub(super) context: Context,
    /// See [`beside_digest`].
    pub(super) beside: String,
    pub(super) audited: bool,
    pub(super) look: Look,
    /// What could not be read.
    pub(super) gaps: Vec<Gap>,
    /// The sources for which what is approved stands in.
    unseen: BTreeSet<Source>,
}

/// One look: collect, normalise, compare, attribute.
pub(super) fn examine(
    settings: &Settings,
    repository: &Repository,
    access: Access,
) -> Result<Checked, PipelineError> {
    let netns = open_netns(settings)?;
    let reading = Reading::take(settings, repository, access, &netns, |_, _| {})?;
    let memory = remembered(repository, &settings.host)?;
    let trail = Trail::new(settings, memory.as_ref(), &reading.look);
    reading.compared(settings, repository, access, memory, trail, None)
}

impl Reading {
    /// The kernel settings that are read.
    pub(super) fn settings_list(&self) -> &SettingsList {
        self.context.list()
    }

    /// Collects and normalises the live state, and loads the approved one. `see` is shown what the
    /// kernel sent, and what it says.
    pub(super) fn take(
        settings: &Settings,
        repository: &Repository,
        access: Access,
        netns: &Netns,
        see: impl FnOnce(&Capture, &Ruleset),
    ) -> Result<Self, PipelineError> {
        let host = &settings.host;
        let baseline = repository
            .baseline(host)?
            .ok_or_else(|| PipelineError::NoBaseline { host: host.clone(), repo: settings.repo.clone() })?;
        let audited = history::is_auditing();
        let captured_at = Utc::now();
        let list = context::listed(&baseline.files, &baseline.policy)?;
        let (capture, mut gaps) = collect::capture(netns, Some(&list))?;
        let mut live = normalise(&capture)?;
        see(&capture, &live);
        let rest = Capture { messages: Vec::new(), ..capture };
        let beside = beside_digest(&normalise(&rest)?, &rest.interfaces);
        let cache = Cache::new(repository.cache_dir(), access);
        let mut approved = cache.approved(&baseline.tree, &baseline.files, &rest.interfaces)?;
        let unseen = stand_in(&mut live, &approved, &gaps);
        let context = Context::settle(list, &mut live, &mut approved, &mut gaps);
        let (boot_id, netns_cookie) = (history::boot_id(), collect::netns_cookie(netns));
        let look = Look { boot_id, netns_cookie, generation: rest.generation, time: captured_at };
        let state = live.digest().to_string();
        Ok(Self { live, state, approved, baseline, context, beside, audited, look, gaps, unseen })
    }

    /// Compares and attributes; where an earlier comparison stands for the most part, only the rest.
    pub(super) fn compared(
        self,
        settings: &Settings,
        repository: &Repository,
        access: Access,
        memory: Option<Memory>,
        mut trail: Trail,
        earlier: Option<Earlier>,
    ) -> Result<Checked, PipelineError> {
        let Self { live, state, approved, baseline, context, beside, audited, look, mut gaps, unseen } = self;
        let cache = Cache::new(repository.cache_dir(), access);
        let own_gaps = gaps.clone();
        let known = known(memory.as_ref()).with(cache.alike());
        let mut told = known.clone().with_earlier(earlier);
        trail.tell(&mut told);
        let (comparison, texts) = compared_in_words(&approved, &live, &told)?;
        let Comparison { mut differences, re_encoded, re_encoded_in, alike } = comparison;
        cache.keep_alike(&alike);
        keep_names(&mut differences, &approved, &live, memory.as_ref());
        let mut changes: Vec<Change> = differences.iter().map(|d| d.change.clone()).collect();
        for change in memory.iter().flat_map(|memory| &memory.open) {
            if change.is_beside_nf_tables()
                && unseen.contains(&change.source)
                && !changes.iter().any(|known| known.id == change.id)
            {
                changes.push(change.clone());
            }
        }
        let between = match &memory {
            Some(memory) => {
                let sides = (&approved, (&live, state.as_str()), &context);
                since_then(
                    (repository, &settings.host),
                    (&cache, &known),
                    memory,
                    &baseline,
                    sides,
                    &changes,
                )?
            }
            None => Vec::new(),
        };
        trail.learn(&differences, &approved, &live, memory.as_ref());
        attribute_new(&mut changes, &between, memory.as_ref(), Some(&baseline), &trail);
        gaps.extend(trail.gaps());
        let policy = policy::parse(&baseline.policy)?;
        let judged = Judged::of(settings, &policy, &baseline.policy)?;
        // What was judged in another way is of no use.
        let same = memory.as_ref().filter(|memory| judged.is_of(Some(memory)));
        let open = same.map_or(&[][..], |memory| &memory.open);
        if trail.effects() == Effects::Later {
            impact::put_off(&mut changes, open);
        } else if !impact::remembered(&mut changes, open) {
            let pair = Pair {
                before: &approved,
                after: &live,
                differences: &differences,
                baseline: Some(&baseline),
            };
            impact::assess(pair, &mut changes, open, &judged.judges(&policy));
        }
        let provenances = || Provenances::of_look(repository, &baseline, &approved, &differences, &changes);
        let flows = flows::outcomes(&live, &policy.flows, &judged.place, provenances);
        let at = BaselineRef { commit: baseline.commit.clone(), path: baseline.path.clone() };
        let review_id = review_id(&baseline.tree, &changes, &differences, &approved, &live);
        let summary = Summary::of(&changes, re_encoded);
        let result =
            CheckResult { flows, ..result_of(settings, at, &look, changes, gaps, summary, review_id) };
        let judged = judged.digest;
        let reading =
            Self { live, state, approved, baseline, context, beside, audited, look, gaps: own_gaps, unseen };
        Ok(Checked { result, reading, differences, texts, re_encoded_in, between, trail, memory, judged })
    }
}

/// What `check` prints, put together.
pub(super) fn result_of(
    settings: &Settings,
    baseline: BaselineRef,
    look: &Look,
    changes: Vec<Change>,
    gaps: Vec<Gap>,
    summary: Summary,
    review_id: String,
) -> CheckResult {
    CheckResult {
        schema: "fwdrift.check/1".to_owned(),
        host: settings.host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        baseline,
        captured_at: look.time,
        generation: look.generation,
        verdict: verdict(&changes, &gaps),
        review_id,
        gaps,
        changes,
        summary,
        boot: None,
        flows: Vec::new(),
    }
}

/// A digest of what nf_tables' generation does not cover.
pub(super) fn beside_digest(live: &Ruleset, interfaces: &BTreeMap<u32, Vec<u8>>) -> String {
    let mut parts = Vec::new();
    for (key, table) in live.tables.iter().filter(|(key, _)| key.backend != Backend::NfTables) {
        parts.extend([key.to_string().into_bytes(), table.digest().0.to_vec()]);
        // A table's digest is of what lasts; that a member came which expires is a change, too.
        for (name, set) in &table.sets {
            parts.push(name.0.clone());
            parts.extend(set.elements.iter().map(|(key, element)| element.digest(key).0.to_vec()));
        }
    }
    for (index, name) in interfaces {
        parts.extend([index.to_le_bytes().to_vec(), name.clone()]);
    }
    Digest::of(parts.iter().map(Vec::as_slice)).to_string()
}

/// Whether each change of these tables moves the generation. A table with an owner vanishes with its owner, and the
/// generation stays (net/netfilter/nf_tables_api.c, `nft_rcv_nl_event`).
fn is_covered_by_generation(live: &Ruleset) -> bool {
    let flags =
        |table: &Table| Attrs(&table.attrs).find(table::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
    let mut native = live.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables);
    native.all(|(_, table)| flags(table) & table::F_OWNER == 0)
}

/// What the next look compares with its own [`beside_digest`]; none if an equal generation would prove nothing.
pub(super) fn beside(live: &Ruleset, digest: &str) -> Option<String> {
    is_covered_by_generation(live).then(|| digest.to_owned())
}

/// The gaps that the verdict depends on.
pub(super) fn blinding(gaps: &[Gap]) -> Vec<Gap> {
    gaps.iter().filter(|gap| gap.blinds_verdict).cloned().collect()
}

/// "Could not look" is never "empty": where a source could not be read, what is approved stands in for what is
/// missing, so that nothing is called removed. The sources of which that is so.
pub(super) fn stand_in(live: &mut Ruleset, approved: &Ruleset, gaps: &[Gap]) -> BTreeSet<Source> {
    let blind: BTreeSet<&str> = gaps.iter().map(|gap| gap.source.as_str()).collect();
    let is_unseen =
        |key: &TableKey| key.backend != Backend::NfTables && blind.contains(Source::of(key).as_str());
    for (key, table) in approved.tables.iter().filter(|(key, _)| is_unseen(key)) {
        let found = live.tables.entry(key.clone()).or_insert_with(|| table.clone());
        if !key.backend.has_tables() {
            for (name, set) in &table.sets {
                found.sets.entry(name.clone()).or_insert_with(|| set.clone());
            }
            for (name, object) in &table.objects {
                found.objects.entry(name.clone()).or_insert_with(|| object.clone());
            }
        }
    }
    let others = [Source::IptablesLegacy, Source::Arptables, Source::Ebtables, Source::Ipset];
    let others = others.into_iter().chain([Source::Sysctl, Source::Bpf]);
    others.filter(|source| blind.contains(source.as_str())).collect()
}

/// The live state of the last look against the present baseline: what the baseline alone changed.
fn since_then(
    (repository, host): (&Repository, &HostName),
    (cache, known): (&Cache, &Known),
    memory: &Memory,
    baseline: &Baseline,
    (approved, (live, state), context): (&Ruleset, (&Ruleset, &str), &Context),
    now: &[Change],
) -> Result<Vec<Change>, PipelineError> {
    if memory.baseline == baseline.tree {
        return Ok(memory.open.clone());
    }
    if memory.state == state {
        return Ok(now.to_vec());
    }
    let Some((_, files)) = repository.ledger_files(host)? else { return Ok(Vec::new()) };
    let mut then = cache.loaded(&files, &live.interfaces)?;
    context.settle_past(&mut then, approved, live);
    Ok(compared(approved, &then, known)?
        .differences
        .into_iter()
        .map(|difference| difference.change)
        .collect())
}

/// The network namespace that the settings name.
///
/// # Errors
/// If there is none.
pub fn open_netns(settings: &Settings) -> Result<Netns, PipelineError> {
    let netns = match &settings.netns {
        Some(netns) => netns.open(),
        None => Netns::current(),
    };
    netns.map_err(|error| PipelineError::Collect(error.into()))
}

/// Changes seen before keep their author; those that a commit on the baseline made have its author; new ones
/// get theirs from the evidence since the last look.
pub(super) fn attribute_new(
    changes: &mut [Change],
    between: &[Change],
    memory: Option<&Memory>,
    baseline: Option<&Baseline>,
    trail: &Trail,
) {
    let open: HashMap<&str, &Change> =
        memory.into_iter().flat_map(|m| &m.open).map(|change| (change.id.as_str(), change)).collect();
    let asked_for: BTreeSet<&str> = between.iter().map(|change| change.id.as_str()).collect();
    let mut new: Vec<&mut Change> = Vec::new();
    for change in changes {
        if let Some(seen) = open.get(change.id.as_str()) {
            (change.author, change.time) = (seen.author.clone(), seen.time);
        } else if let Some(baseline) = baseline.filter(|_| asked_for.contains(change.id.as_str())) {
            (change.author, change.time) = (approver(baseline), Some(baseline.time));
        } else {
            new.push(change);
        }
    }
    let mut found: Vec<Change> = new.iter().map(|change| (**change).clone()).collect();
    trail.attribute(&mut found);
    for (change, found) in new.into_iter().zip(found) {
        *change = found;
    }
}

/// The person whose commit made the baseline what it is.
pub(super) fn approver(baseline: &Baseline) -> Author {
    let name = baseline.approval.approver.split(" <").next().unwrap_or_default().to_owned();
    Author { name, evidence: Evidence::Git, ..Author::default() }
}

fn verdict(changes: &[Change], gaps: &[Gap]) -> Verdict {
    if !changes.is_empty() {
        Verdict::Drift
    } else if gaps.iter().any(|gap| gap.blinds_verdict) {
        Verdict::Unknown
    } else {
        Verdict::InSync
    }
}

/// Names exactly this live state against exactly this baseline: the baseline, and every difference with its bytes
/// and its place.
pub(super) fn review_id(
    tree: &str,
    changes: &[Change],
    differences: &[Difference],
    approved: &Ruleset,
    live: &Ruleset,
) -> String {
    let place = |place: Option<usize>| place.map_or_else(String::new, |place| place.to_string());
    let mut parts: Vec<String> = changes.iter().map(|change| change.id.clone()).collect();
    parts.extend(differences.iter().map(|difference| {
        let print = Fingerprint::of(difference, approved, live);
        let at = difference.change.position.unwrap_or_default();
        let (before, after) = (print.before.unwrap_or_default(), print.after.unwrap_or_default());
        format!("{before} {} {after} {}", place(at.before), place(at.after))
    }));
    parts.sort_unstable();
    let parts = std::iter::once(tree.as_bytes()).chain(parts.iter().map(String::as_bytes));
    Digest::of(parts).to_string()[..12].to_owned()
}
