//! The policy for all hosts: `fwdrift.toml` on `main`, reviewed as the baselines are. Pure.
//!
//! Input: the file's bytes; output: values, or an error that names the line, what is wrong and what to write. An unknown
//! key is an error: a misspelt one would be a policy that is not in force. Names are resolved here: who uses the values
//! parses nothing.

mod addresses;
mod contradiction;
mod error;
mod flow;
mod groups;
mod raw;
mod severity;
mod words;

pub use addresses::Addresses;
pub use error::PolicyError;
pub use flow::{Flow, FlowHook, InterfaceName};
pub use severity::{Severities, severity};

use crate::model::SettingsList;
use crate::model::settings::why_not;
use error::Lines;
use groups::Groups;
use std::collections::BTreeMap;
use toml::Spanned;

/// What the file says; all of it may be absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which kernel settings are compared: `[sysctl]` with `also` and `ignore`, lists of names in which `*` stands
    /// for any characters of one part (`net.ipv6.conf.*.accept_ra`, `net.ipv4.conf.cali*.rp_filter`).
    pub settings: SettingsList,
    /// The addresses of each name in `[groups]`.
    pub groups: BTreeMap<String, Addresses>,
    /// The required flows, in the order of the file.
    pub flows: Vec<Flow>,
    /// How much each situation matters.
    pub severities: Severities,
}

/// Reads the file. An empty one says nothing.
pub fn parse(bytes: &[u8]) -> Result<Policy, PolicyError> {
    let lines = Lines::of(bytes);
    let text = std::str::from_utf8(bytes).map_err(|error| PolicyError::Syntax {
        line: lines.at(error.valid_up_to()),
        message: "it is not UTF-8".to_owned(),
    })?;
    let raw: raw::File = toml::from_str(text).map_err(|error: toml::de::Error| PolicyError::Syntax {
        line: lines.at(error.span().map_or(0, |span| span.start)),
        message: error.message().trim_end().to_owned(),
    })?;
    let checked = |key: &'static str, patterns: Vec<Spanned<String>>| -> Result<Vec<String>, PolicyError> {
        let check = |pattern: Spanned<String>| match why_not(pattern.get_ref()) {
            None => Ok(pattern.into_inner()),
            Some(why) => Err(PolicyError::Setting { line: lines.at(pattern.span().start), key, why }),
        };
        patterns.into_iter().map(check).collect()
    };
    let settings = raw.sysctl.unwrap_or_default();
    let (also, ignore) = (checked("also", settings.also)?, checked("ignore", settings.ignore)?);
    let mut groups = Groups::new(&raw.groups, lines);
    let groups_by_name = groups.all()?;
    let mut flows: Vec<_> = raw.flow.iter().chain(&raw.flows).collect();
    flows.sort_by_key(|flow| flow.span().start);
    let flows = flow::flows(&flows, &mut groups, lines)?;
    contradiction::look_for(&flows)?;
    Ok(Policy {
        settings: SettingsList::new(also, ignore),
        groups: groups_by_name,
        flows,
        severities: severity::severities(raw.severity.unwrap_or_default(), lines)?,
    })
}

#[cfg(test)]
mod tests;
