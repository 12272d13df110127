//! `fwdrift lint`.

use super::diff::BootArgs;
use super::output::Output;
use crate::config::{Format, Settings};
use crate::{pipeline, report};

/// Arguments of `lint`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "docs/findings.md explains each code. Accepts beyond the required flows are only found where
fwdrift.toml on main has [[flow]] tables, interfaces that do not exist only in `live`.

Exit status: 0 no warnings, 1 at least one, 2 could not determine."
)]
pub struct Args {
    /// What to look at: live, baseline, boot, a git revision, a file
    #[arg(value_name = "SIDE", default_value = "live")]
    side: String,
    #[command(flatten)]
    boot: BootArgs,
}

/// Judges the rules of one side.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("lint", &[Format::Text, Format::Json, Format::Sarif])?;
    let result = pipeline::lint(settings, &args.side, &args.boot.boot_root)?;
    let text = match settings.format {
        Format::Json => report::lint::json(&result),
        Format::Sarif => report::lint::sarif(&result, &output.options()),
        Format::Text | Format::Markdown | Format::Junit => report::lint::text(&result, &output.options()),
    };
    output.print(&text)?;
    Ok(result.exit_code())
}
