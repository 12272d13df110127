//! Facts into findings. Pure: no I/O and no clock.

mod alerts;
mod audit;
mod host;
mod repository;
mod sources;
mod tools;

#[cfg(test)]
mod tests;

use super::facts::Facts;
use super::finding::Finding;
use chrono::TimeDelta;

/// Judges every fact, in the order in which a person would mend things.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = host::judge(facts);
    findings.extend(tools::judge(facts));
    findings.extend(sources::judge(&facts.sources));
    findings.extend(audit::judge(facts));
    findings.extend(repository::judge(facts));
    findings.extend(alerts::judge(facts));
    findings
}

/// A span in the largest unit that fits: `3 days`, `1 hour`, `40 seconds`.
fn span(delta: TimeDelta) -> String {
    let seconds = delta.num_seconds().max(0);
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", plural(count == 1))
}

fn plural(one: bool) -> &'static str {
    if one { "" } else { "s" }
}
