//! `[[flow]]`: traffic that must get through, or must not.

use super::addresses::Addresses;
use super::error::{Lines, PolicyError, value};
use super::groups::Groups;
use super::{raw, words};
use crate::model::{Expect, Severity};
use toml::Spanned;

/// A required flow: which packets begin it, and what is to become of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its name; no other flow has it.
    pub name: String,
    /// The line of its name in fwdrift.toml, from 1.
    pub line: usize,
    /// Where it begins.
    pub from: Addresses,
    /// Where it goes.
    pub to: Addresses,
    /// IP protocol numbers, in order; empty for any.
    pub protocols: Vec<u8>,
    /// Destination ports, inclusive ranges in order that do not touch; empty for any. If there are some, each protocol
    /// has ports.
    pub ports: Vec<(u16, u16)>,
    /// By which interfaces it comes in; empty for any.
    pub interfaces_in: Vec<InterfaceName>,
    /// By which it goes out; empty for any.
    pub interfaces_out: Vec<InterfaceName>,
    /// Its way through the host; none if it is to be found by its addresses.
    pub hook: Option<FlowHook>,
    /// Whether it is to get through.
    pub expect: Expect,
    /// Whether only packets are meant that exceed no rate limit, quota or number of connections.
    pub within_limits: bool,
    /// Who needs it.
    pub owner: Option<String>,
    /// Where that is written.
    pub ticket: Option<String>,
    /// How much it matters if it is broken; none for `[severity]`'s `flow_cut`.
    pub severity: Option<Severity>,
}

/// An interface by its name, or several by how their names begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceName {
    /// Without the `*`; never empty.
    pub name: String,
    /// Whether only the beginning is given.
    pub is_prefix: bool,
}

impl InterfaceName {
    /// Whether one interface can have both names.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match (self.is_prefix, other.is_prefix) {
            (false, false) => self.name == other.name,
            (true, false) => other.name.starts_with(&self.name),
            (false, true) => self.name.starts_with(&other.name),
            (true, true) => self.name.starts_with(&other.name) || other.name.starts_with(&self.name),
        }
    }
}

/// A packet's way through the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FlowHook {
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
}

impl FlowHook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Input, Self::Forward, Self::Output];

    /// The word used in fwdrift.toml, and nft's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
        }
    }
}

impl Flow {
    /// The ways that its packets can take, by `hook` and by where `self` stands. From `self` to `self` is two.
    pub fn hooks(&self) -> Vec<FlowHook> {
        let by_addresses: &[FlowHook] = match (self.from.this_host, self.to.this_host) {
            (true, true) => &[FlowHook::Output, FlowHook::Input],
            (true, false) => &[FlowHook::Output],
            (false, true) => &[FlowHook::Input],
            (false, false) => &FlowHook::ALL,
        };
        by_addresses.iter().copied().filter(|hook| self.hook.is_none_or(|only| only == *hook)).collect()
    }
}

/// All flows, each by itself without a fault.
pub(super) fn flows(
    all: &[&Spanned<raw::Flow>],
    groups: &mut Groups<'_>,
    lines: Lines<'_>,
) -> Result<Vec<Flow>, PolicyError> {
    let mut flows: Vec<Flow> = Vec::with_capacity(all.len());
    for raw in all {
        let flow = flow(raw.get_ref(), groups, lines)?;
        if let Some(other) = flows.iter().find(|other| other.name == flow.name) {
            let why = format!("the flow of line {} has this name as well", other.line);
            return Err(value(flow.line, place(&flow.name), why, "give each flow a name of its own"));
        }
        flows.push(flow);
    }
    Ok(flows)
}

fn place(name: &str) -> String {
    format!("flow \"{name}\"")
}

fn flow(raw: &raw::Flow, groups: &mut Groups<'_>, lines: Lines<'_>) -> Result<Flow, PolicyError> {
    let name = raw.name.get_ref().clone();
    let line = lines.at(raw.name.span().start);
    if name.trim().is_empty() || name.contains(char::is_control) {
        let instead = "write a name for people, as in `name = \"web to db\"`";
        return Err(value(line, "flow", "its name is empty, or holds a control character", instead));
    }
    let place = place(&name);
    let at = |key: &str| format!("{place}: {key}");
    let names = |words: &Option<Spanned<raw::Words>>, key: &str| match words {
        Some(words) => words::interfaces(words, &at(key), lines),
        None => Ok(Vec::new()),
    };
    let level = |word: &Spanned<String>| words::level(word, &at("severity"), lines);
    let hook = |word: &Spanned<String>| {
        words::choice(word, &at("hook"), &FlowHook::ALL.map(|hook| (hook.as_str(), hook)), lines)
    };
    let expect = |word: &Spanned<String>| {
        words::choice(
            word,
            &at("expect"),
            &[Expect::Allow, Expect::Deny].map(|one| (one.as_str(), one)),
            lines,
        )
    };
    let protocols = raw.proto.as_ref().map(|words| words::protocols(words, &place, lines)).transpose()?;
    let (r#in, out) = raw.interfaces.as_ref().map_or((&None, &None), |both| (&both.r#in, &both.out));
    let flow = Flow {
        line,
        from: groups.side(&raw.from, &at("from"))?,
        to: groups.side(&raw.to, &at("to"))?,
        protocols: protocols.unwrap_or_default(),
        ports: match &raw.port {
            Some(words) => words::ports(words, &at("port"), lines)?,
            None => Vec::new(),
        },
        interfaces_in: names(r#in, "interfaces.in")?,
        interfaces_out: names(out, "interfaces.out")?,
        hook: raw.hook.as_ref().map(hook).transpose()?,
        expect: raw.expect.as_ref().map(expect).transpose()?.unwrap_or(Expect::Allow),
        within_limits: raw.within_limits,
        owner: raw.owner.clone(),
        ticket: raw.ticket.clone(),
        severity: raw.severity.as_ref().map(level).transpose()?,
        name,
    };
    check_ports(&flow, raw, &place, lines)?;
    check_families(&flow, raw, &place, lines)?;
    check_way(&flow, &place)?;
    Ok(flow)
}

/// A port says something only of protocols that have ports.
fn check_ports(flow: &Flow, raw: &raw::Flow, place: &str, lines: Lines<'_>) -> Result<(), PolicyError> {
    let Some(port) = &raw.port else { return Ok(()) };
    let line = lines.at(port.span().start);
    let without: Vec<u8> =
        flow.protocols.iter().copied().filter(|protocol| !words::has_ports(*protocol)).collect();
    let why = match (flow.protocols.is_empty(), without.first()) {
        (true, _) => "there is a port, and no protocol that has ports".to_owned(),
        (false, Some(protocol)) => {
            format!("there is a port, and {} has none", words::protocol_name(*protocol))
        }
        (false, None) => return Ok(()),
    };
    let instead = "write `proto = \"tcp\"` (or udp, sctp, dccp, udplite, or a list of these) beside `port`, and other \
                   protocols in a flow of their own without a port";
    Err(value(line, format!("{place}: port"), why, instead))
}

/// Both ends must be of one family, and of the protocols' one.
fn check_families(flow: &Flow, raw: &raw::Flow, place: &str, lines: Lines<'_>) -> Result<(), PolicyError> {
    let v4 = flow.from.has_v4() && flow.to.has_v4();
    let v6 = flow.from.has_v6() && flow.to.has_v6();
    if !v4 && !v6 {
        let family = |addresses: &Addresses| if addresses.has_v4() { "IPv4" } else { "IPv6" };
        let why =
            format!("`from` has only {} addresses and `to` only {}", family(&flow.from), family(&flow.to));
        let line = lines.at(raw.to.span().start);
        return Err(value(
            line,
            place,
            why,
            "write addresses of one family on both sides; or of both, on both sides",
        ));
    }
    let line = raw.proto.as_ref().map_or(flow.line, |proto| lines.at(proto.span().start));
    let wrong = |why: &str, instead: &str| Err(value(line, format!("{place}: proto"), why, instead));
    match flow.protocols.as_slice() {
        [1] if !v4 => wrong("icmp is IPv4's, and the addresses are IPv6's", "write `proto = \"icmpv6\"`"),
        [58] if !v6 => wrong("icmpv6 is IPv6's, and the addresses are IPv4's", "write `proto = \"icmp\"`"),
        _ => Ok(()),
    }
}

/// Hook, interfaces and `self` must leave a way.
fn check_way(flow: &Flow, place: &str) -> Result<(), PolicyError> {
    let hooks = flow.hooks();
    if hooks.is_empty() {
        let hook = flow.hook.map_or("", FlowHook::as_str);
        let why = format!("no packet takes the way `{hook}` from or to `self` as this flow does");
        let instead = "leave `hook` out: from `self` is output, to `self` is input";
        return Err(value(flow.line, place, why, instead));
    }
    let comes_in = hooks.iter().any(|hook| *hook != FlowHook::Output);
    let goes_out = hooks.iter().any(|hook| *hook != FlowHook::Input);
    if !flow.interfaces_in.is_empty() && !comes_in {
        let why = "it begins at this host, and has an interface that it comes in by";
        return Err(value(flow.line, place, why, "write `interfaces = { out = … }` instead of `in`"));
    }
    if !flow.interfaces_out.is_empty() && !goes_out {
        let why = "it ends at this host, and has an interface that it goes out by";
        return Err(value(flow.line, place, why, "write `interfaces = { in = … }` instead of `out`"));
    }
    Ok(())
}
