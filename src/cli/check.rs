//! `fwdrift check`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::{pipeline, report};

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read and compare everything, also if nothing was committed since the last recorded look
    #[arg(long)]
    full: bool,
}

/// Compares and prints; the exit code is the verdict.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("check", &[Format::Text, Format::Json])?;
    let result = pipeline::check(&settings.looking_in_full(args.full))?;
    let text = match settings.format {
        Format::Json => report::check::json(&result),
        Format::Text | Format::Markdown => report::check::text(&result, &output.options()),
    };
    output.print(&text)?;
    Ok(result.verdict.exit_code())
}
