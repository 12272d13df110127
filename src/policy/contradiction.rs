//! Two flows of which one wants packets to get through and the other not to.

use super::addresses::{Addresses, lowest_common, v4, v6};
use super::error::PolicyError;
use super::flow::{Flow, InterfaceName};
use super::words::protocol_name;

/// An error for the first flow that contradicts an earlier one. What `self` is cannot be known here: it meets `self` and
/// `any`, and no other addresses.
pub(super) fn look_for(flows: &[Flow]) -> Result<(), PolicyError> {
    for (at, flow) in flows.iter().enumerate() {
        for other in flows.iter().take(at).filter(|other| other.expect != flow.expect) {
            if let Some(packets) = common(flow, other) {
                return Err(PolicyError::Contradiction {
                    line: flow.line,
                    name: flow.name.clone(),
                    expect: flow.expect,
                    other: other.name.clone(),
                    other_line: other.line,
                    other_expect: other.expect,
                    packets,
                });
            }
        }
    }
    Ok(())
}

/// Some packets that both are about: `tcp 10.0.1.0 -> 10.0.2.9:3306`; none if there are none.
fn common(one: &Flow, other: &Flow) -> Option<String> {
    let hooks = other.hooks();
    one.hooks().iter().find(|hook| hooks.contains(hook))?;
    meet(&one.interfaces_in, &other.interfaces_in).then_some(())?;
    meet(&one.interfaces_out, &other.interfaces_out).then_some(())?;
    let protocol = match (one.protocols.as_slice(), other.protocols.as_slice()) {
        ([], []) => None,
        ([], some) | (some, []) => some.first().copied(),
        (some, others) => Some(*some.iter().find(|protocol| others.contains(protocol))?),
    };
    let port = match (one.ports.as_slice(), other.ports.as_slice()) {
        ([], []) => None,
        ([], some) | (some, []) => some.first().map(|(low, _)| *low),
        (some, others) => Some(lowest_common(some, others)?),
    };
    let (from, to) = ends(one, other)?;
    let protocol = protocol.map_or("any protocol".to_owned(), protocol_name);
    let port = port.map(|port| format!(", port {port}")).unwrap_or_default();
    Some(format!("{protocol} from {from} to {to}{port}"))
}

/// Addresses at both ends, of one family.
fn ends(one: &Flow, other: &Flow) -> Option<(String, String)> {
    let from = (v4_of(&one.from, &other.from), v6_of(&one.from, &other.from));
    let to = (v4_of(&one.to, &other.to), v6_of(&one.to, &other.to));
    match (from, to) {
        ((Some(from), _), (Some(to), _)) | ((_, Some(from)), (_, Some(to))) => Some((from, to)),
        _ => None,
    }
}

fn v4_of(one: &Addresses, other: &Addresses) -> Option<String> {
    this_host(one, other).or_else(|| lowest_common(&one.v4, &other.v4).map(v4))
}

fn v6_of(one: &Addresses, other: &Addresses) -> Option<String> {
    this_host(one, other).or_else(|| lowest_common(&one.v6, &other.v6).map(v6))
}

fn this_host(one: &Addresses, other: &Addresses) -> Option<String> {
    let can_be = |addresses: &Addresses| addresses.this_host || addresses.any;
    ((one.this_host && can_be(other)) || (other.this_host && can_be(one))).then(|| "self".to_owned())
}

fn meet(one: &[InterfaceName], other: &[InterfaceName]) -> bool {
    one.is_empty() || other.is_empty() || one.iter().any(|one| other.iter().any(|other| one.meets(other)))
}
