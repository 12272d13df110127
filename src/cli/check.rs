//! `fwdrift check`.

use super::diff::BootArgs;
use super::output::Output;
use crate::config::{Format, Settings};
use crate::model::Verdict;
use crate::{pipeline, report};

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read and compare everything, also if nothing was committed since the last recorded look
    #[arg(long)]
    full: bool,
    /// Also compare with what the host would load at its next boot; drift as well if that is not approved
    #[arg(long)]
    boot: bool,
    #[command(flatten)]
    root: BootArgs,
}

/// Compares and prints; the exit code is the verdict.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("check", &[Format::Text, Format::Json])?;
    let result = match args.boot {
        false => pipeline::check(&settings.looking_in_full(args.full))?,
        true => {
            let mut looked = pipeline::look(settings)?;
            looked.result.boot = Some(pipeline::next_boot(&looked, &args.root.boot_root)?);
            looked.result
        }
    };
    let text = match settings.format {
        Format::Json => report::check::json(&result),
        Format::Text | Format::Markdown => report::check::text(&result, &output.options()),
    };
    output.print(&text)?;
    let verdicts = [Some(result.verdict), result.boot.map(|boot| boot.verdict)];
    Ok(worst(verdicts.into_iter().flatten()).exit_code())
}

/// Drift is certain, whatever else could not be seen.
fn worst(verdicts: impl Iterator<Item = Verdict>) -> Verdict {
    verdicts.fold(Verdict::InSync, |worst, verdict| match (worst, verdict) {
        (Verdict::Drift, _) | (_, Verdict::Drift) => Verdict::Drift,
        (Verdict::Unknown, _) | (_, Verdict::Unknown) => Verdict::Unknown,
        (Verdict::InSync, Verdict::InSync) => Verdict::InSync,
    })
}
