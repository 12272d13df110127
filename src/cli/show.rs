//! `fwdrift show`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::ledger::Repository;
use crate::report;

/// Arguments of `show`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Number of the event, or the beginning of its commit
    #[arg(value_name = "EVENT")]
    event: String,
}

/// Shows one event in full.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("show", &[Format::Text, Format::Json])?;
    let entry = Repository::open(&settings.repo)?.event(&settings.host, &args.event)?;
    let text = match settings.format {
        Format::Json => report::show::json(&entry),
        Format::Text | Format::Markdown | Format::Junit | Format::Sarif => {
            report::show::text(&entry, &output.options())
        }
    };
    output.print(&text)?;
    Ok(0)
}
