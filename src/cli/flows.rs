//! `fwdrift flows`.

use super::diff::BootArgs;
use super::output::Output;
use crate::config::{Format, Settings};
use crate::{pipeline, report};
use std::path::PathBuf;

/// Arguments of `flows`.
#[derive(Debug, clap::Args)]
#[command(after_help = "The required flows are the [[flow]] tables of fwdrift.toml on main (docs/flows.md).

Exit status: 0 all hold, 3 one does not, 2 could not determine.")]
pub struct Args {
    /// What to check: live, baseline, boot, a git revision, a file
    #[arg(value_name = "SIDE", default_value = "live")]
    against: String,
    /// Take the flows from this file instead of fwdrift.toml on main, as for a merge request that changes it. Nothing
    /// of this host counts then: where `self` and `hook` do not tell a flow's path, it is input
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    #[command(flatten)]
    boot: BootArgs,
}

/// Checks the required flows.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("flows", &[Format::Text, Format::Json, Format::Junit])?;
    let result = pipeline::flows(settings, &args.against, args.policy.as_deref(), &args.boot.boot_root)?;
    let text = match settings.format {
        Format::Json => report::flows::json(&result),
        Format::Junit => report::flows::junit(&result, chrono::Utc::now()),
        Format::Text | Format::Markdown | Format::Sarif => report::flows::text(&result, &output.options()),
    };
    output.print(&text)?;
    Ok(result.exit_code())
}
