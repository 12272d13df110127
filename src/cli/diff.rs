//! `fwdrift diff`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::{pipeline, report};
use std::path::PathBuf;

/// Arguments of `diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "A side is one of:
  live        what the kernel holds now
  baseline    what is approved now
  boot        what the host would load at its next boot
  REVISION    this host's baseline at a commit (main~3), or what a ledger recorded (live/HOST, live/HOST~1)
  FILE        in nft syntax or the format of iptables-save, or a directory in the layout of a baseline:
              ./x.nft, or an absolute path

Exit status: 0 the same, 1 different, 2 could not determine.")]
pub struct Args {
    /// The first side
    #[arg(value_name = "A")]
    from: String,
    /// The second side
    #[arg(value_name = "B")]
    to: String,
    #[command(flatten)]
    boot: BootArgs,
}

/// Where the boot configuration is.
#[derive(Debug, clap::Args)]
pub struct BootArgs {
    /// Directory that the host boots from, for `boot`
    #[arg(long, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub boot_root: PathBuf,
}

/// Compares two sides and prints how they differ.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("diff", &[Format::Text, Format::Json])?;
    let result = pipeline::diff(settings, &args.from, &args.to, &args.boot.boot_root)?;
    let text = match settings.format {
        Format::Json => report::diff::json(&result),
        Format::Text | Format::Markdown | Format::Junit | Format::Sarif => {
            report::diff::text(&result, &output.options())
        }
    };
    output.print(&text)?;
    Ok(result.verdict.exit_code())
}
