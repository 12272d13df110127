//! `fwdrift report`.

use super::output::Output;
use super::time::Moment;
use crate::config::{Format, Settings};
use crate::ledger::Repository;
use crate::model::{BaselineRef, EventKind, LedgerEntry};
use crate::pipeline::PipelineError;
use crate::report::audit::{self, BaselineState, DatedApproval, Scope};
use chrono::{TimeDelta, Utc};

/// What a report covers if nobody says: the days of a month.
const DEFAULT_PERIOD: TimeDelta = TimeDelta::days(30);

/// Arguments of `report`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start of the period: 2026-11-01, an RFC 3339 time, or 90d ago [default: 30d]
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,

    /// End of the period, itself not included [default: now]
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,
}

/// Prints the audit report of the period.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("report", &[Format::Text, Format::Markdown, Format::Json])?;
    let now = Utc::now();
    let repository = Repository::open(&settings.repo)?;
    let baseline = repository.baseline(&settings.host)?.ok_or_else(|| PipelineError::NoBaseline {
        host: settings.host.clone(),
        repo: settings.repo.clone(),
    })?;
    let events = repository.events(&settings.host)?;
    let scope = Scope {
        host: settings.host.to_string(),
        repo: settings.repo.to_string_lossy().into_owned(),
        since: args.since.map_or(now - DEFAULT_PERIOD, |since| since.at(now)),
        until: args.until.map_or(now, |until| until.at(now)),
        generated_at: now,
    };
    let state = BaselineState {
        baseline: BaselineRef { commit: baseline.commit, path: baseline.path },
        approver: Some(baseline.author),
        approved_at: Some(baseline.time),
    };
    let report = audit::build(scope, &events, state, &approvals(&events));
    let text = match settings.format {
        Format::Json => audit::json(&report),
        Format::Markdown => audit::markdown(&report),
        Format::Text | Format::Junit | Format::Sarif => audit::text(&report, &output.options()),
    };
    output.print(&text)?;
    Ok(0)
}

/// The approvals that the ledger knows, each once.
fn approvals(events: &[LedgerEntry]) -> Vec<DatedApproval> {
    let mut found: Vec<DatedApproval> = Vec::new();
    for event in events.iter().map(|entry| &entry.event).filter(|event| event.kind == EventKind::Approved) {
        if let Some(approval) = &event.approval
            && !found.iter().any(|known| known.approval.commit == approval.commit)
        {
            found.push(DatedApproval { time: event.time, approval: approval.clone() });
        }
    }
    found
}
