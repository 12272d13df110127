//! How much a change matters: `[severity]`, and the judgement over one change by what it opened and cut.
//!
//! Several situations may be there at once: the one that matters most counts.

use super::addresses::{Addresses, in_order, minus, range};
use super::error::{Lines, PolicyError};
use super::flow::Flow;
use super::{raw, words};
use crate::model::{Change, ChangeKind, Effect, EffectKind, Expect, ObjectKind, Severity};
use toml::Spanned;

/// How much each situation matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Severities {
    /// Ports that machines are managed by: ranges in order that do not touch.
    pub management_ports: Vec<(u16, u16)>,
    /// New connections of the whole world get in, or through.
    pub opened_to_world: Severity,
    /// New connections to a management port get in, or through.
    pub management_port: Severity,
    /// A required flow is cut, or one that is to be denied is opened.
    pub flow_cut: Severity,
    /// A chain's policy went from accept to drop, or from drop to accept.
    pub policy_flip: Severity,
    /// A table or a chain was removed with the rules in it.
    pub flush: Severity,
    /// Anything was opened.
    pub opened: Severity,
    /// Anything was cut.
    pub cut: Severity,
    /// Nothing was.
    pub no_effect: Severity,
    /// Not all that it does to traffic is known.
    pub unknown: Severity,
}

/// ssh and telnet, IPMI, NETCONF, Docker, RDP, VNC, WinRM, the API of Kubernetes, kubelet.
const MANAGEMENT_PORTS: [(u16, u16); 9] = [
    (22, 23),
    (623, 623),
    (830, 830),
    (2375, 2376),
    (3389, 3389),
    (5900, 5909),
    (5985, 5986),
    (6443, 6443),
    (10250, 10250),
];

impl Default for Severities {
    fn default() -> Self {
        Self {
            management_ports: MANAGEMENT_PORTS.to_vec(),
            opened_to_world: Severity::Critical,
            management_port: Severity::High,
            flow_cut: Severity::Critical,
            policy_flip: Severity::Critical,
            flush: Severity::Critical,
            opened: Severity::Medium,
            cut: Severity::Medium,
            no_effect: Severity::Info,
            unknown: Severity::Medium,
        }
    }
}

/// `[severity]` over the defaults.
pub(super) fn severities(raw: raw::Severity, lines: Lines<'_>) -> Result<Severities, PolicyError> {
    let default = Severities::default();
    let level = |key: &str, word: Option<Spanned<String>>, otherwise: Severity| match word {
        Some(word) => words::level(&word, &format!("severity.{key}"), lines),
        None => Ok(otherwise),
    };
    Ok(Severities {
        management_ports: match raw.management_ports {
            Some(ports) => words::ports(&ports, "severity.management_ports", lines)?,
            None => default.management_ports,
        },
        opened_to_world: level("opened_to_world", raw.opened_to_world, default.opened_to_world)?,
        management_port: level("management_port", raw.management_port, default.management_port)?,
        flow_cut: level("flow_cut", raw.flow_cut, default.flow_cut)?,
        policy_flip: level("policy_flip", raw.policy_flip, default.policy_flip)?,
        flush: level("flush", raw.flush, default.flush)?,
        opened: level("opened", raw.opened, default.opened)?,
        cut: level("cut", raw.cut, default.cut)?,
        no_effect: level("no_effect", raw.no_effect, default.no_effect)?,
        unknown: level("unknown", raw.unknown, default.unknown)?,
    })
}

/// How much a change with these effects matters. It is for changes whose effect was computed: of others nothing is known,
/// and their severity is none. `flows` are the policy's: what they expect, and a severity of their own.
pub fn severity(change: &Change, effects: &[Effect], policy: &Severities, flows: &[Flow]) -> Severity {
    let of_effects = effects.iter().map(|effect| of_effect(effect, policy, flows));
    let of_change = [
        is_policy_flip(change).then_some(policy.policy_flip),
        is_flush(change).then_some(policy.flush),
        change.impact_incomplete.is_some().then_some(policy.unknown),
    ];
    of_effects.chain(of_change.into_iter().flatten()).max().unwrap_or(policy.no_effect)
}

fn of_effect(effect: &Effect, policy: &Severities, flows: &[Flow]) -> Severity {
    let kind = match effect.effect {
        EffectKind::Opened => Some(policy.opened),
        EffectKind::Cut => Some(policy.cut),
    };
    let enters = effect.effect == EffectKind::Opened && is_new(effect) && comes_from_elsewhere(effect);
    let situations = [
        kind,
        (enters && is_of_the_world(effect)).then_some(policy.opened_to_world),
        (enters && is_management(effect, policy)).then_some(policy.management_port),
        breaks(effect, policy, flows),
    ];
    situations.into_iter().flatten().max().unwrap_or(policy.no_effect)
}

/// If it goes against what the flow expects. A flow that the policy does not hold any more is taken for one to be let
/// through.
fn breaks(effect: &Effect, policy: &Severities, flows: &[Flow]) -> Option<Severity> {
    let name = effect.flow.as_deref()?;
    let flow = flows.iter().find(|flow| flow.name == name);
    let is_against = match flow.map_or(Expect::Allow, |flow| flow.expect) {
        Expect::Allow => effect.effect == EffectKind::Cut,
        Expect::Deny => effect.effect == EffectKind::Opened,
    };
    is_against.then(|| flow.and_then(|flow| flow.severity).unwrap_or(policy.flow_cut))
}

/// A packet that begins a connection, or that connection tracking does not see.
fn is_new(effect: &Effect) -> bool {
    let begins = |state: &str| matches!(state.trim(), "new" | "untracked");
    effect.state.as_deref().is_none_or(|states| states.split(',').any(begins))
}

/// Not from this host itself, and of a family that is routed.
fn comes_from_elsewhere(effect: &Effect) -> bool {
    let is_local = effect.hook == "output" || effect.iif.as_deref() == Some("lo");
    !is_local && matches!(effect.family.as_str(), "ip" | "ip6" | "inet")
}

/// A field of an effect: the values of it, or those that are left out (`not 22`). The end of a list that was too long to
/// write (`… 4 more`) is not known; it is taken for more of the same kind.
fn values(field: &str) -> (bool, impl Iterator<Item = &str>) {
    let (is_without, list) = match field.strip_prefix("not ") {
        Some(list) => (true, list),
        None => (false, field),
    };
    (is_without, list.split(',').map(str::trim).filter(|value| !value.starts_with('…')))
}

/// Ranges that nobody has in the internet: RFC 6890, 1112 (multicast and what is behind).
const NOT_PUBLIC: [&str; 9] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
];
/// Global unicast addresses (RFC 4291, section 2.4).
const PUBLIC_V6: (u128, u128) = (0x2 << 124, (0x4 << 124) - 1);
/// As many public addresses as a /8 holds, of IPv4 and of IPv6.
const WORLD_V4: u64 = 1 << 24;
const WORLD_V6: u128 = 1 << 120;

/// Whether a part of the internet as large as a /8 is among the sources. What cannot be read is taken for all.
fn is_of_the_world(effect: &Effect) -> bool {
    let Some(sources) = &effect.src else { return true };
    let (is_without, sources) = values(sources);
    let mut found = Addresses::default();
    for source in sources {
        match range(source) {
            Ok(range) => found = found.and(&Addresses::of(range)),
            Err(_) => return true,
        }
    }
    if is_without {
        let of_family = |one: &str| effect.family == one || effect.family == "inet";
        let mut all = Addresses::any();
        (all.v4, all.v6) = (
            if of_family("ip") { all.v4 } else { Vec::new() },
            if of_family("ip6") { all.v6 } else { Vec::new() },
        );
        found = all.without(&found);
    }
    let not_public = NOT_PUBLIC.iter().filter_map(|text| range(text).ok());
    let not_public = not_public.fold(Addresses::default(), |all, range| all.and(&Addresses::of(range)));
    let public = found.without(&not_public);
    let v4: u64 = public.v4.iter().map(|(low, high)| u64::from(high - low) + 1).sum();
    let within = |(low, high): &(u128, u128)| {
        let (low, high) = (*low.max(&PUBLIC_V6.0), *high.min(&PUBLIC_V6.1));
        high.checked_sub(low).map_or(0, |span| span + 1)
    };
    let v6: u128 = public.v6.iter().map(within).sum();
    v4 >= WORLD_V4 || v6 >= WORLD_V6
}

/// Whether a management port is among the destination ports of a protocol that has some.
fn is_management(effect: &Effect, policy: &Severities) -> bool {
    has_ports(effect) && policy.management_ports.iter().any(|ports| goes_to(effect, *ports))
}

fn has_ports(effect: &Effect) -> bool {
    let Some(protocols) = &effect.proto else { return true };
    let (is_without, protocols) = values(protocols);
    let named: Vec<Option<u8>> = protocols.map(words::protocol).collect();
    match is_without {
        true => words::with_ports().any(|protocol| !named.contains(&Some(protocol))),
        // A range of protocols, or a name that is not known here, may hold one.
        false => named.iter().any(|protocol| protocol.is_none_or(words::has_ports)),
    }
}

/// Whether one of these ports is among the destinations. What cannot be read is taken for all.
fn goes_to(effect: &Effect, (from, to): (u16, u16)) -> bool {
    let Some(ports) = &effect.dport else { return true };
    let (is_without, ports) = values(ports);
    let mut found = Vec::new();
    for port in ports {
        let (low, high) = port.split_once('-').unwrap_or((port, port));
        match (low.parse::<u16>(), high.parse::<u16>()) {
            (Ok(low), Ok(high)) => found.push((low, high)),
            _ => return true,
        }
    }
    let found = in_order(found);
    match is_without {
        true => !minus(&[(from, to)], &found).is_empty(),
        false => found.iter().any(|(low, high)| *low <= to && *high >= from),
    }
}

/// A base chain that was there before and is there now, with the opposite policy.
fn is_policy_flip(change: &Change) -> bool {
    let word = |text: &Option<String>| text.as_deref().and_then(chain_policy);
    change.object == ObjectKind::Chain
        && matches!(
            (word(&change.before).as_deref(), word(&change.after).as_deref()),
            (Some("accept"), Some("drop")) | (Some("drop"), Some("accept"))
        )
}

/// `accept` or `drop`, from `type filter hook input priority filter; policy drop;`, `:INPUT DROP [0:0]` or `-P INPUT DROP`.
/// The last such line counts: a comment, which may hold line breaks, stands before it.
fn chain_policy(text: &str) -> Option<String> {
    let of_line = |line: &str| {
        let line = line.trim();
        let mut words = line.split_whitespace();
        let word = match words.next()? {
            "type" => words.skip_while(|word| *word != "policy").nth(1)?,
            "-P" => words.nth(1)?,
            first if first.starts_with(':') => words.next()?,
            _ => return None,
        };
        Some(word.trim_end_matches(';').to_ascii_lowercase())
    };
    text.lines().rev().find_map(of_line)
}

/// A table or a chain that is gone with at least one rule.
fn is_flush(change: &Change) -> bool {
    let is_whole = matches!(change.object, ObjectKind::Table | ObjectKind::Chain);
    change.kind == ChangeKind::Removed && is_whole && change.before.as_deref().is_some_and(has_rules)
}

/// Whether a line of a table's or a chain's text is a rule. What is not known to be something else is.
fn has_rules(text: &str) -> bool {
    let mut within_other = false;
    text.lines().map(str::trim).any(|line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        let opens = line.ends_with('{');
        if opens
            && matches!(
                first,
                "set" | "map" | "flowtable" | "counter" | "quota" | "limit" | "ct" | "secmark" | "synproxy"
            )
        {
            within_other = true;
            return false;
        }
        if line == "}" {
            within_other = false;
            return false;
        }
        let is_frame = opens && matches!(first, "table" | "chain");
        let is_head = matches!(first, "" | "type" | "comment" | "flags" | "policy" | "COMMIT" | "-P")
            || first.starts_with([':', '*', '#']);
        !(within_other || is_frame || is_head)
    })
}

#[cfg(test)]
mod tests;
