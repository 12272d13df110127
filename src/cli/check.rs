//! `fwdrift check`.

use super::diff::BootArgs;
use super::output::Output;
use crate::config::{Format, Settings};
use crate::model::CheckResult;
use crate::model::change::BROKEN_FLOW;
use crate::report::Options;
use crate::{pipeline, report};

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read and compare everything, also if nothing was committed since the last recorded look
    #[arg(long)]
    full: bool,
    /// Also compare with what the host would load at its next boot; drift as well if that is not approved
    #[arg(long, conflicts_with = "all_netns")]
    boot: bool,
    #[command(flatten)]
    root: BootArgs,
}

/// Compares and prints; the exit code is the verdict.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("check", &[Format::Text, Format::Json])?;
    if settings.all_netns {
        let all = pipeline::check_all(&settings.looking_in_full(args.full))?;
        let text = match settings.format {
            Format::Json => report::all::check_json(&all),
            Format::Text | Format::Markdown | Format::Junit | Format::Sarif => {
                let block = |result: &CheckResult| {
                    let program = output.program_for(result.netns.as_deref());
                    report::check::text(result, &Options { program: &program, ..output.options() })
                };
                let blocks: Vec<String> = all.results.iter().map(block).collect();
                report::all::text(&blocks, &all.others, &all.gaps, &output.options())
            }
        };
        output.print(&text)?;
        return Ok(match all.results.iter().any(CheckResult::breaks_a_flow) {
            true => BROKEN_FLOW,
            false => all.verdict.exit_code(),
        });
    }
    let result = match args.boot {
        false => pipeline::check(&settings.looking_in_full(args.full))?,
        true => {
            let mut looked = pipeline::look(settings)?;
            looked.result.boot = Some(pipeline::next_boot(settings, &looked, &args.root.boot_root)?);
            looked.result
        }
    };
    let text = match settings.format {
        Format::Json => report::check::json(&result),
        Format::Text | Format::Markdown | Format::Junit | Format::Sarif => {
            report::check::text(&result, &output.options())
        }
    };
    output.print(&text)?;
    Ok(result.exit_code())
}
