//! `flows`: the required flows of fwdrift.toml against a side. Reads only.

use super::PipelineError;
use super::impact::{decider, texts_of};
use super::native::native;
use super::place::Place;
use super::provenance::Provenances;
use super::sides::{Seen, SideError, Sides};
use crate::config::Settings;
use crate::model::{FlowOutcome, FlowsResult, Gap, Ruleset};
use crate::policy::{self, Addresses, Flow, FlowHook, InterfaceName};
use crate::traffic::effects::Budget;
use crate::traffic::flows::{Found, Wanted, flows as check};
use crate::traffic::packets::{Ends, Interfaces};
use crate::traffic::space::NamePattern;
use crate::traffic::walk::Path;
use std::path::Path as FilePath;

/// Checks all required flows against a side, given as a word. They are those of a policy file, if one is named: then
/// this host's addresses do not count.
pub fn flows(
    settings: &Settings,
    against: &str,
    policy_file: Option<&FilePath>,
    boot_root: &FilePath,
) -> Result<FlowsResult, PipelineError> {
    let mut sides = Sides::new(settings, boot_root)?;
    let policy = match policy_file {
        None => sides.policy()?,
        Some(path) => std::fs::read(path)
            .map_err(|source| PipelineError::Side(SideError::Unreadable { path: path.to_owned(), source }))?,
    };
    let policy = policy::parse(&policy)?;
    let Seen { described, ruleset, gaps, .. } = sides.find(against)?;
    let place = if policy_file.is_some() { Place::default() } else { Place::of(settings)? };
    let provenances = || Provenances::of(&sides, settings, &described, &ruleset);
    let flows = outcomes(&ruleset, &policy.flows, &place, provenances);
    Ok(FlowsResult {
        schema: "fwdrift.flows/1".to_owned(),
        host: settings.host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        flows,
        gaps: gaps.into_iter().chain(no_flows(&policy.flows)).collect(),
        against: described,
    })
}

/// A policy without flows has nothing to check: that is no "all is well".
fn no_flows(flows: &[Flow]) -> Option<Gap> {
    flows.is_empty().then(|| Gap {
        source: "flows".to_owned(),
        reason: "fwdrift.toml on main names no required flow".to_owned(),
        hint: Some("write a [[flow]] with name, from, to, proto and port, and commit it on main".to_owned()),
        blinds_verdict: false,
    })
}

/// Each flow's outcome in a ruleset. Who is answerable for rules is asked only if a flow does not hold.
pub(super) fn outcomes<'p>(
    ruleset: &Ruleset,
    flows: &[Flow],
    place: &Place,
    provenances: impl FnOnce() -> Provenances<'p>,
) -> Vec<FlowOutcome> {
    if flows.is_empty() {
        return Vec::new();
    }
    let wanted: Vec<Wanted> = flows.iter().map(|flow| wanted(flow, place)).collect();
    let loaded = native(ruleset);
    let found = match loaded.for_ip() {
        Ok(native) => check(native, &wanted, Budget::default()),
        Err(why) => wanted.iter().map(|_| Found::unknown(&why)).collect(),
    };
    let provenances = match found.iter().all(|found| found.broken_by.is_none()) {
        true => Provenances::Unknown,
        false => provenances(),
    };
    let texts = texts_of(ruleset, found.iter().filter_map(|found| found.broken_by.as_ref()));
    let outcomes = flows.iter().zip(&wanted).zip(found).map(|((flow, wanted), found)| FlowOutcome {
        name: flow.name.clone(),
        expect: flow.expect,
        holds: found.holds,
        direction: found.direction,
        path: wanted.path.as_str().to_owned(),
        broken_by: found.broken_by.as_ref().map(|of| decider(of, &texts, provenances.of_rule(of))),
        sample: found.sample,
        packets: found.packets,
        owner: flow.owner.clone(),
        ticket: flow.ticket.clone(),
    });
    outcomes.collect()
}

/// A flow of the policy, on this host.
pub(super) fn wanted(flow: &Flow, place: &Place) -> Wanted {
    let from = ends(&flow.from, place);
    let to = ends(&flow.to, place);
    let path = match (flow.hook, flow.from.this_host, flow.to.this_host) {
        (Some(FlowHook::Input), ..) => Path::Input,
        (Some(FlowHook::Forward), ..) => Path::Forward,
        (Some(FlowHook::Output), ..) => Path::Output,
        (None, _, true) => Path::Input,
        (None, true, false) => Path::Output,
        (None, false, false) => match (flow.interfaces_in.is_empty(), flow.interfaces_out.is_empty()) {
            (false, false) => Path::Forward,
            (true, false) => Path::Output,
            (false, true) | (true, true) => place.path(&from, &to),
        },
    };
    let names = |names: &[InterfaceName]| {
        let pattern = |name: &InterfaceName| NamePattern {
            name: name.name.as_bytes().to_vec(),
            is_prefix: name.is_prefix,
        };
        Interfaces::named_or(&names.iter().map(pattern).collect::<Vec<_>>(), &place.interfaces)
    };
    Wanted {
        from,
        to,
        protocols: flow.protocols.clone(),
        ports: flow.ports.iter().map(|(low, high)| (u128::from(*low), u128::from(*high))).collect(),
        iif: names(&flow.interfaces_in),
        oif: names(&flow.interfaces_out),
        path,
        expect: flow.expect,
        within_limits: flow.within_limits,
    }
}

fn ends(addresses: &Addresses, place: &Place) -> Ends {
    let mut ends = Ends {
        v4: addresses.v4.iter().map(|(low, high)| (u128::from(*low), u128::from(*high))).collect(),
        v6: addresses.v6.clone(),
        any: addresses.any,
    };
    if addresses.this_host {
        let own = place.itself();
        ends.v4.extend(own.v4);
        ends.v6.extend(own.v6);
        ends.any |= own.any;
    }
    ends
}
