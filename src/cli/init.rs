//! `fwdrift init`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::model::{BaselineRef, Verdict};
use crate::report::outcome::{self, Initialised};
use crate::{pipeline, report};
use std::path::PathBuf;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Adopt files that somebody wrote, in nft syntax or the format of iptables-save, instead of the live state
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,
}

/// Makes the repository and the first baseline.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("init", &[Format::Text, Format::Json])?;
    let (baseline, recorded) = pipeline::init(settings, &args.from)?;
    if settings.format == Format::Json {
        output.print(&outcome::init_json(&Initialised {
            host: settings.host.to_string(),
            repo: settings.repo.to_string_lossy().into_owned(),
            baseline: BaselineRef { commit: baseline.commit, path: baseline.path },
            verdict: recorded.result.verdict,
        }))?;
        return Ok(0);
    }
    let short = &baseline.commit[..baseline.commit.len().min(10)];
    let program = output.program().to_owned();
    let mut text = format!(
        "Approved {} (commit {short}) in {}.\n",
        baseline.path,
        report::escape::terminal(&settings.repo.to_string_lossy()),
    );
    if recorded.result.verdict == Verdict::Drift {
        text.push_str(&format!("The live firewall differs from it: run `{program} check`.\n"));
    } else {
        text.push_str(&format!(
            "From now on:\n  {program} check      by hand\n  {program} record -q  from cron or a timer\n"
        ));
    }
    output.print(&text)?;
    Ok(0)
}
