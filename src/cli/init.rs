//! `fwdrift init`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::ledger::Baseline;
use crate::model::{All, BaselineRef, Verdict};
use crate::pipeline::Recorded;
use crate::report::outcome::{self, Initialised};
use crate::{pipeline, report};
use std::path::PathBuf;

/// Arguments of `init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Adopt files that somebody wrote, in nft syntax or the format of iptables-save, instead of the live state
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "all_netns")]
    from: Vec<PathBuf>,
}

/// Makes the repository and the first baseline.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("init", &[Format::Text, Format::Json])?;
    if settings.all_netns {
        return run_all(settings, output);
    }
    let (baseline, recorded) = pipeline::init(settings, &args.from)?;
    if settings.format == Format::Json {
        output.print(&outcome::init_json(&described(settings, &baseline, &recorded)))?;
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

/// Makes a baseline for each namespace that has none and can have one.
fn run_all(settings: &Settings, output: &mut Output) -> anyhow::Result<u8> {
    let all = pipeline::init_all(settings)?;
    if settings.format == Format::Json {
        let described = |(baseline, recorded): &(Baseline, Recorded)| described(settings, baseline, recorded);
        let results = all.results.iter().map(described).collect();
        let (host, verdict, others, gaps) = (all.host, all.verdict, all.others, all.gaps);
        output.print(&report::all::init_json(&All { host, verdict, results, others, gaps }))?;
        return Ok(verdict.exit_code());
    }
    let made = |(baseline, _): &(Baseline, Recorded)| {
        let short = &baseline.commit[..baseline.commit.len().min(10)];
        format!("Approved {} (commit {short}).\n", baseline.path)
    };
    let blocks: Vec<String> = all.results.iter().map(made).collect();
    output.print(&report::all::text(&blocks, &all.others, &all.gaps, &output.options()))?;
    Ok(all.verdict.exit_code())
}

fn described(settings: &Settings, baseline: &Baseline, recorded: &Recorded) -> Initialised {
    Initialised {
        host: recorded.result.host.clone(),
        repo: settings.repo.to_string_lossy().into_owned(),
        baseline: BaselineRef { commit: baseline.commit.clone(), path: baseline.path.clone() },
        verdict: recorded.result.verdict,
    }
}
