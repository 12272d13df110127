//! One command for all network namespaces: each has its own baseline and ledger, and one that fails keeps no other
//! from its turn.

use super::look::open_netns;
use super::{PipelineError, Recorded, check, init, record};
use crate::collect::namespaces::{self, Found};
use crate::collect::{self, CollectError, bpf};
use crate::config::{NetnsRef, Settings};
use crate::ledger::{Baseline, HostName, LedgerError, Repository};
use crate::model::{All, Backend, CheckResult, Gap, Other, Ruleset, Source, TableKey, Verdict, Without};
use crate::normalise::normalise;
use crate::sys::netns::{Netns, NetnsError};
use std::io::ErrorKind;

/// [`check`] for all of them.
pub fn check_all(settings: &Settings) -> Result<All<CheckResult>, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    let mut all = each(settings, Some(&repository), |target, other| match other {
        None => check(target).map(Ok),
        Some(other) => Ok(Err(other)),
    })?;
    all.judge(|result| result.verdict);
    Ok(all.done)
}

/// [`record`] for all of them. A namespace that is gone is a gap in its ledger, once.
pub fn record_all(settings: &Settings) -> Result<All<Recorded>, PipelineError> {
    let repository = Repository::open(&settings.repo)?;
    let mut all = each(settings, Some(&repository), |target, other| match other {
        None => record(target).map(Ok),
        Some(other) if other.state == Without::Gone => match record(target) {
            // It was made again in this moment.
            Ok(recorded) => Ok(Ok(recorded)),
            Err(PipelineError::Collect(CollectError::Netns(_)) | PipelineError::NoBaseline { .. }) => {
                Ok(Err(other))
            }
            Err(error) => Err(error),
        },
        Some(other) => Ok(Err(other)),
    })?;
    all.judge(|recorded| recorded.result.verdict);
    Ok(all.done)
}

/// [`init`] for the present namespace, for those with a name below /run/netns, and for those with rules and a stable
/// name, as far as they have no baseline.
pub fn init_all(settings: &Settings) -> Result<All<(Baseline, Recorded)>, PipelineError> {
    let repository = match Repository::open(&settings.repo) {
        Ok(repository) => Some(repository),
        Err(LedgerError::Missing { .. } | LedgerError::NoMain { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let mut all = each(settings, repository.as_ref(), |target, other| {
        let is_file = target.netns.as_ref().is_some_and(|netns| netns.path().exists());
        match other {
            None => Ok(Err(other_of(target, Without::Initialised, "it has a baseline".to_owned(), None))),
            Some(other) => match other.state {
                Without::NoBaseline => init(target, &[]).map(Ok),
                Without::Empty if is_file && other.host.is_some() => init(target, &[]).map(Ok),
                _ => Ok(Err(other)),
            },
        }
    })?;
    all.judge(|_| Verdict::InSync);
    Ok(all.done)
}

/// What was done so far.
struct Sum<T> {
    done: All<T>,
}

impl<T> Sum<T> {
    fn judge(&mut self, verdict: impl Fn(&T) -> Verdict) {
        let results = self.done.results.iter().map(verdict);
        let others = self.done.others.iter().map(|other| other.state.verdict());
        let gaps = self.done.gaps.iter().filter(|gap| gap.blinds_verdict).map(|_| Verdict::Unknown);
        self.done.verdict = Verdict::worst(results.chain(others).chain(gaps));
    }
}

/// Does the work for the present namespace, for each that is found, and for each that has a baseline and is not
/// found. The work is told why there is nothing to compare, if so; it gives a result or says the same.
fn each<T>(
    settings: &Settings,
    repository: Option<&Repository>,
    work: impl Fn(&Settings, Option<Other>) -> Result<Result<T, Other>, PipelineError>,
) -> Result<Sum<T>, PipelineError> {
    let listing = namespaces::list().map_err(CollectError::Netns)?;
    let mut approved = match repository {
        Some(repository) => repository.namespaces(&settings.host)?,
        None => Vec::new(),
    };
    let (host, gaps) = (settings.host.to_string(), listing.gaps);
    let mut sum =
        Sum { done: All { host, verdict: Verdict::InSync, results: Vec::new(), others: Vec::new(), gaps } };
    let mut turn = |target: &Settings, other: Option<Other>| match work(target, other) {
        Ok(Ok(result)) => sum.done.results.push(result),
        Ok(Err(other)) => sum.done.others.push(other),
        Err(error) => {
            let (reason, hint) = (error.to_string(), error.hint());
            sum.done.others.push(other_of(target, Without::Failed, reason, hint));
        }
    };
    let present = Settings { all_netns: false, ..settings.clone() };
    let has_own = match repository {
        Some(repository) => repository.baseline_id(&settings.host, "")?.is_some(),
        None => false,
    };
    turn(&present, (!has_own).then(|| without_baseline(&present, None)));
    for found in listing.found {
        let target = target(&present, &found);
        let place = target
            .as_ref()
            .and_then(|target| approved.iter().position(|name| Some(name.as_str()) == target.host.netns()));
        match (place, target) {
            (Some(place), Some(target)) => {
                approved.remove(place);
                turn(&target, found.netns.as_ref().err().and_then(|error| left_over(&target, error)));
            }
            (_, target) => {
                let other = unapproved(&present, target.as_ref(), &found);
                turn(target.as_ref().unwrap_or(&present), Some(other));
            }
        }
    }
    for name in approved {
        let Some(target) = named(&present, &name, None) else { continue };
        let reason = "it has a baseline and is not there now".to_owned();
        turn(&target, Some(other_of(&target, Without::Gone, reason, None)));
    }
    Ok(sum)
}

/// The settings for a namespace that was found; none if it can have no baseline.
fn target(settings: &Settings, found: &Found) -> Option<Settings> {
    named(settings, found.name.as_deref()?, found.netns.as_ref().ok())
}

fn named(settings: &Settings, name: &str, netns: Option<&std::sync::Arc<Netns>>) -> Option<Settings> {
    let host: HostName = settings.host.with_netns(name).ok()?;
    let netns = match netns {
        Some(netns) => NetnsRef::found(name, netns.clone()),
        None => NetnsRef::parse(name.as_ref()).ok()?,
    };
    Some(Settings { host, netns: Some(netns), ..settings.clone() })
}

fn other_of(target: &Settings, state: Without, reason: String, hint: Option<String>) -> Other {
    let netns = target.netns.as_ref().map(NetnsRef::given);
    Other { netns, host: Some(target.host.to_string()), state, reason, hint }
}

/// A file below /run/netns that is no namespace (any more): what `ip netns` leaves in other mount namespaces.
fn left_over(target: &Settings, error: &NetnsError) -> Option<Other> {
    let is_gone = match error {
        NetnsError::NotOne { .. } => true,
        NetnsError::Open { source, .. } => source.kind() == ErrorKind::NotFound,
        NetnsError::Create(_) | NetnsError::Enter(_) | NetnsError::Thread(_) => false,
    };
    let reason = format!("it has a baseline and is not there now: {error}");
    is_gone.then(|| other_of(target, Without::Gone, reason, None))
}

/// What there is to say of a namespace for which nothing is approved.
fn unapproved(present: &Settings, target: Option<&Settings>, found: &Found) -> Other {
    let other = match (&found.netns, target) {
        (Err(error), _) => match left_over(present, error) {
            Some(other) => Other { reason: "a file is left, and no namespace".to_owned(), ..other },
            None => other_of(present, Without::Failed, error.to_string(), error.hint()),
        },
        (Ok(_), Some(target)) if found.is_stable => without_baseline(target, None),
        (Ok(netns), _) => without_baseline(present, Some(netns)),
    };
    let host = target.filter(|_| found.is_stable).map(|target| target.host.to_string());
    Other { netns: Some(found.label.clone()), host, ..other }
}

/// Of a namespace without a baseline. One `without_name` can have no baseline that would last.
fn without_baseline(target: &Settings, without_name: Option<&Netns>) -> Other {
    let holds = match without_name {
        Some(netns) => holds_rules(netns),
        None => open_netns(target).and_then(|netns| holds_rules(&netns)),
    };
    match holds {
        Err(error) => other_of(target, Without::Failed, error.to_string(), error.hint()),
        Ok(true) if without_name.is_some() => {
            let reason = "it holds rules, and has no stable name and no baseline".to_owned();
            other_of(target, Without::NoStableName, reason, None)
        }
        // The host's own has a baseline, or nobody has begun.
        Ok(false) if target.netns.is_some() || without_name.is_some() => {
            other_of(target, Without::Empty, "it holds no rules, and has no baseline".to_owned(), None)
        }
        Ok(holds) => {
            let netns = target.netns.as_ref().map(|netns| format!(" --netns {}", netns.given()));
            let hint = format!("`fwdrift init{}` approves its live state", netns.unwrap_or_default());
            let what = if holds { "it holds rules, and has no baseline" } else { "it has no baseline" };
            other_of(target, Without::NoBaseline, what.to_owned(), Some(hint))
        }
    }
}

/// Whether a namespace holds anything that decides about packets.
fn holds_rules(netns: &Netns) -> Result<bool, PipelineError> {
    let (capture, gaps) = collect::capture(netns, None)?;
    // The modules of ebtables are the whole machine's.
    let is_own = |gap: &Gap| gap.blinds_verdict && gap.source != Source::Ebtables.as_str();
    if let Some(gap) = gaps.into_iter().find(is_own) {
        return Err(PipelineError::Blind(gap));
    }
    let (programs, _) = netns.run(bpf::capture).map_err(CollectError::Netns)?;
    Ok(!programs.is_empty() || has_rules(&normalise(&capture)?))
}

/// A legacy table stays until the next boot, however empty.
fn has_rules(ruleset: &Ruleset) -> bool {
    ruleset.tables.iter().any(|(TableKey { backend, .. }, table)| match backend {
        Backend::NfTables => true,
        Backend::Legacy => {
            let says_nothing = |policy: &[u8]| policy == b"ACCEPT" || policy == b"RETURN";
            table.chains.values().any(|chain| !chain.rules.is_empty() || !says_nothing(&chain.attrs))
        }
        Backend::Ipset | Backend::Sysctl | Backend::Bpf => {
            !table.sets.is_empty() || !table.objects.is_empty()
        }
    })
}
