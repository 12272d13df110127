//! What is wrong with `fwdrift.toml`: the line, what it is, and what to write instead.

use crate::model::Expect;

/// Why the file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// It is not TOML, or not of this form.
    #[error("fwdrift.toml on main: line {line}: {message}")]
    Syntax {
        /// From 1.
        line: usize,
        /// What is wrong, with the key where there is one.
        message: String,
    },
    /// A name that cannot be one of a setting.
    #[error("fwdrift.toml on main: line {line}: sysctl.{key}: {why}")]
    Setting {
        /// From 1.
        line: usize,
        /// `also` or `ignore`.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A value of a group, a flow or a severity that cannot be meant.
    #[error("fwdrift.toml on main: line {line}: {place}: {why}")]
    Value {
        /// From 1.
        line: usize,
        /// `group "web"`, `flow "web to db": port`, `severity.cut`.
        place: String,
        /// What is wrong with it.
        why: String,
        /// What to write.
        instead: String,
    },
    /// Two flows want the same packets to get through and not to.
    #[error(
        "fwdrift.toml on main: line {line}: flow \"{name}\" ({expect}) contradicts flow \"{other}\" of line {other_line} \
         ({other_expect}): both are about {packets}", expect = expect.as_str(), other_expect = other_expect.as_str()
    )]
    Contradiction {
        /// Of the later one, from 1.
        line: usize,
        /// Of the later one.
        name: String,
        /// Of the later one.
        expect: Expect,
        /// Of the earlier one.
        other: String,
        /// Of the earlier one, from 1.
        other_line: usize,
        /// Of the earlier one.
        other_expect: Expect,
        /// Some that both are about.
        packets: String,
    },
}

impl PolicyError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let instead = match self {
            Self::Syntax { .. } => KEYS.to_owned(),
            Self::Setting { .. } => "`[sysctl]` has the keys `also` and `ignore`".to_owned(),
            Self::Value { instead, .. } => instead.clone(),
            Self::Contradiction { .. } => {
                "leave these packets out of one of the two: `!` before an address or a group's name takes it out of the \
                 list that it stands in, as in `from = [\"any\", \"!web\"]`"
                    .to_owned()
            }
        };
        Some(format!("correct fwdrift.toml and commit it on main; {instead}"))
    }
}

/// All that the file may hold.
const KEYS: &str = "`[sysctl]` has the keys `also` and `ignore`; `[groups]` has names, each with a list of addresses; \
    `[[flow]]` has `name`, `from`, `to`, `proto`, `port`, `interfaces`, `hook`, `expect`, `within_limits`, \
    `owner`, `ticket`, `severity`; `[severity]` has `management_ports`, `opened_to_world`, `management_port`, `flow_cut`, \
    `policy_flip`, `flush`, `opened`, `cut`, `no_effect`, `unknown`";

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
}

impl<'a> Lines<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The line of a byte, from 1.
    pub(super) fn at(self, offset: usize) -> usize {
        let before = &self.bytes[..offset.min(self.bytes.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// A [`PolicyError::Value`].
pub(super) fn value(
    line: usize,
    place: impl Into<String>,
    why: impl Into<String>,
    instead: impl Into<String>,
) -> PolicyError {
    PolicyError::Value { line, place: place.into(), why: why.into(), instead: instead.into() }
}
