//! `fwdrift log`.

use super::output::Output;
use super::time::Moment;
use crate::config::{Format, Settings};
use crate::ledger::Repository;
use crate::model::{EventKind, LedgerEntry};
use crate::report;
use chrono::Utc;
use clap::builder::PossibleValuesParser;

/// Arguments of `log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only events from this time on: 2026-11-01, an RFC 3339 time, or 7d, 24h, 30m ago
    #[arg(long, value_name = "TIME")]
    since: Option<Moment>,

    /// Only events before this time
    #[arg(long, value_name = "TIME")]
    until: Option<Moment>,

    /// Only events by this author
    #[arg(long, value_name = "NAME")]
    author: Option<String>,

    /// Only events of these kinds
    #[arg(long, value_name = "KIND", value_parser = kinds(), value_delimiter = ',')]
    kind: Vec<String>,

    /// At most so many
    #[arg(short = 'n', long, value_name = "NUMBER")]
    max_count: Option<usize>,
}

fn kinds() -> PossibleValuesParser {
    PossibleValuesParser::new(EventKind::ALL.map(EventKind::as_str))
}

/// Lists the events that fit.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("log", &[Format::Text, Format::Json])?;
    let now = Utc::now();
    let repository = Repository::open(&settings.repo)?;
    let entries: Vec<LedgerEntry> = repository
        .events(&settings.host)?
        .into_iter()
        .filter(|entry| fits(entry, args, now))
        .take(args.max_count.unwrap_or(usize::MAX))
        .collect();
    let text = match settings.format {
        Format::Json => report::log::json(settings.host.as_str(), &entries),
        Format::Text | Format::Markdown | Format::Junit | Format::Sarif => {
            report::log::text(settings.host.as_str(), &entries, now, &output.options())
        }
    };
    output.print(&text)?;
    Ok(0)
}

fn fits(entry: &LedgerEntry, args: &Args, now: chrono::DateTime<Utc>) -> bool {
    let event = &entry.event;
    args.since.is_none_or(|since| event.time >= since.at(now))
        && args.until.is_none_or(|until| event.time < until.at(now))
        && args.author.as_ref().is_none_or(|author| event.author.name == *author)
        && (args.kind.is_empty() || args.kind.iter().any(|kind| kind == event.kind.as_str()))
}
