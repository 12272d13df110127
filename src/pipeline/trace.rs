//! `trace`: one packet through a side. Reads only.

use super::PipelineError;
use super::impact::{decider, texts_of};
use super::native::native;
use super::place::Place;
use super::provenance::Provenances;
use super::sides::{Seen, Sides};
use crate::config::Settings;
use crate::model::{TraceResult, TraceStep, TraceVerdict};
use crate::traffic::effects::{Budget, DeciderRef};
use crate::traffic::packets::{Age, Asked, Direction, Ends, Interfaces, Numbers};
use crate::traffic::space::{Kind, NamePattern};
use crate::traffic::trace::{Traced, trace as follow};
use crate::traffic::walk::{Fate, Path};
use std::net::IpAddr;
use std::path::Path as FilePath;

/// A packet as a person describes it.
#[derive(Clone, Debug)]
pub struct PacketQuestion {
    /// `IPPROTO_*`.
    pub protocol: u8,
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// Of a protocol with ports; a usual one if not given.
    pub source_port: Option<u16>,
    /// Of a protocol with ports.
    pub destination_port: Option<u16>,
    /// Type and code of ICMP.
    pub icmp: Option<(u8, u8)>,
    /// The way; by the host's addresses if not given.
    pub path: Option<Path>,
    /// By which interface it comes in.
    pub iif: Option<String>,
    /// By which it goes out.
    pub oif: Option<String>,
    /// A state of connection tracking.
    pub state: &'static str,
    /// Whether it answers.
    pub direction: Direction,
}

/// A source port that nobody asks for.
const EPHEMERAL: u16 = 40_000;

/// Follows a packet through a side, given as a word.
pub fn trace(
    settings: &Settings,
    question: &PacketQuestion,
    against: &str,
    boot_root: &FilePath,
) -> Result<TraceResult, PipelineError> {
    let mut sides = Sides::new(settings, boot_root)?;
    let Seen { described, ruleset, gaps, .. } = sides.find(against)?;
    let place = Place::of(settings)?;
    let asked = asked(question, &place);
    let native = native(&ruleset);
    let loaded = native.for_ip().map_err(PipelineError::Traffic)?;
    let kind = if question.source.is_ipv4() { Kind::Ip4 } else { Kind::Ip6 };
    let traced = follow(loaded, kind, &asked, Budget::default());
    let traced = traced.map_err(|error| PipelineError::Traffic(error.to_string()))?;
    let Traced { verdict, steps, packet, conditions } =
        traced.ok_or_else(|| PipelineError::Traffic("there is no such packet".to_owned()))?;
    let rules: Vec<DeciderRef> = steps
        .iter()
        .map(|step| DeciderRef {
            fate: if step.verdict.ends_with("drop") { Fate::Dropped } else { Fate::Accepted },
            table: step.table.clone(),
            chain: step.chain.clone(),
            rule: step.rule,
        })
        .collect();
    let texts = texts_of(&ruleset, rules.iter());
    let provenances = Provenances::of(&sides, settings, &described, &ruleset);
    let last = steps.len().saturating_sub(1);
    let decides = |at: usize, done: &str| match verdict {
        TraceVerdict::Accept => at == last,
        TraceVerdict::Drop | TraceVerdict::Reject => done == "drop" || done == "reject",
        TraceVerdict::Inconclusive => false,
    };
    let steps = steps.iter().zip(&rules).enumerate().map(|(at, (step, of))| {
        let mut rule = decider(of, &texts, provenances.of_rule(of));
        step.verdict.clone_into(&mut rule.verdict);
        TraceStep {
            hook: step.hook.as_str().to_owned(),
            decides: decides(at, &rule.verdict),
            rule,
            conditions: step.conditions.clone(),
        }
    });
    Ok(TraceResult {
        schema: "fwdrift.trace/1".to_owned(),
        host: settings.host.to_string(),
        netns: settings.netns.as_ref().map(|netns| netns.given()),
        packet,
        path: asked.path.as_str().to_owned(),
        verdict,
        conditions,
        steps: steps.collect(),
        gaps,
        against: described,
    })
}

fn asked(question: &PacketQuestion, place: &Place) -> Asked {
    let (from, to) = (end(question.source), end(question.destination));
    let path = question.path.unwrap_or_else(|| match (&question.iif, &question.oif) {
        (Some(_), Some(_)) => Path::Forward,
        (None, Some(_)) => Path::Output,
        (Some(_) | None, None) => place.path(&from, &to),
    });
    let ports = crate::traffic::flows::has_ports(question.protocol);
    let single = |port: u16| -> Numbers { vec![(port.into(), port.into())] };
    let sports = match (question.icmp, question.source_port) {
        (Some((kind, code)), _) => single(u16::from_be_bytes([kind, code])),
        (None, Some(port)) => single(port),
        (None, None) if ports => single(EPHEMERAL),
        (None, None) => Numbers::new(),
    };
    let name = |name: &Option<String>| {
        let named: Vec<NamePattern> = name.iter().map(|name| NamePattern::exact(name.as_bytes())).collect();
        Interfaces::named_or(&named, &place.interfaces)
    };
    Asked {
        from,
        to,
        protocols: vec![question.protocol],
        sports,
        dports: question.destination_port.map(single).unwrap_or_default(),
        iif: name(&question.iif),
        oif: name(&question.oif),
        age: Age::Given(question.state, question.direction),
        path,
        within_limits: false,
    }
}

fn end(address: IpAddr) -> Ends {
    match address {
        IpAddr::V4(address) => {
            let value = u128::from(u32::from(address));
            Ends { v4: vec![(value, value)], ..Ends::default() }
        }
        IpAddr::V6(address) => {
            let value = u128::from(address);
            Ends { v6: vec![(value, value)], ..Ends::default() }
        }
    }
}
