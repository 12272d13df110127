//! `fwdrift record`.

use super::output::Output;
use crate::config::{Format, Settings, Verbosity};
use crate::model::{All, Other, Verdict};
use crate::pipeline::Recorded;
use crate::report::Options;
use crate::report::all::RecordedOne;
use crate::{pipeline, report};

/// Flags of `record`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Read and compare everything, also if nothing was committed since the last look
    #[arg(long)]
    full: bool,
}

/// Records what is new and prints it. With `-q` nothing is printed when there is nothing new: cron mails
/// whatever is printed.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("record", &[Format::Text, Format::Json])?;
    let settings = settings.looking_in_full(args.full);
    if settings.all_netns {
        return run_all(&settings, output);
    }
    let recorded = pipeline::record(&settings)?;
    if settings.format == Format::Json {
        output.print(&report::log::json(settings.host.as_str(), &recorded.events))?;
        return Ok(recorded.result.verdict.exit_code());
    }
    output.print(&text(&recorded, settings.verbosity, &output.options()))?;
    complain_of_gaps(&recorded);
    Ok(recorded.result.verdict.exit_code())
}

/// As [`run`] for each namespace.
fn run_all(settings: &Settings, output: &mut Output) -> anyhow::Result<u8> {
    let all = pipeline::record_all(settings)?;
    if settings.format == Format::Json {
        let results = all.results.into_iter().map(|recorded| RecordedOne {
            host: recorded.result.host,
            netns: recorded.result.netns,
            verdict: recorded.result.verdict,
            events: recorded.events,
        });
        let (host, verdict, others, gaps) = (all.host, all.verdict, all.others, all.gaps);
        let all = All { host, verdict, results: results.collect(), others, gaps };
        output.print(&report::all::record_json(&all))?;
        return Ok(verdict.exit_code());
    }
    let block = |recorded: &Recorded| {
        let program = output.program_for(recorded.result.netns.as_deref());
        text(recorded, settings.verbosity, &Options { program: &program, ..output.options() })
    };
    let blocks: Vec<String> = all.results.iter().map(block).filter(|text| !text.is_empty()).collect();
    let quiet = settings.verbosity == Verbosity::Quiet;
    let tells = |other: &&Other| !quiet || other.state.verdict() != Verdict::InSync;
    let others: Vec<Other> = all.others.iter().filter(tells).cloned().collect();
    output.print(&report::all::text(&blocks, &others, &all.gaps, &output.options()))?;
    all.results.iter().for_each(complain_of_gaps);
    Ok(all.verdict.exit_code())
}

pub(super) fn complain_of_gaps(recorded: &Recorded) {
    if recorded.result.verdict == Verdict::Unknown {
        for gap in &recorded.result.gaps {
            super::output::complain(&super::gap_line(gap));
        }
    }
}

/// What is new, as text; with `Verbosity::Quiet`, nothing if nothing is.
pub(super) fn text(recorded: &Recorded, verbosity: Verbosity, options: &Options<'_>) -> String {
    let news = recorded.events.iter().filter(|entry| is_news(entry, verbosity));
    let texts: Vec<String> = news.map(|entry| report::event::text(&entry.event, options)).collect();
    if !recorded.events.is_empty() || verbosity == Verbosity::Quiet {
        return texts.join("\n\n");
    }
    let state = match recorded.result.verdict {
        Verdict::InSync => "in sync with the approved baseline; nothing new".to_owned(),
        Verdict::Drift => format!(
            "nothing new; {} unapproved, recorded before (`{} check` shows them)",
            pipeline::counted(recorded.result.changes.len()),
            options.program
        ),
        Verdict::Unknown => "nothing new in what could be seen; not all could be".to_owned(),
    };
    format!("{}: {state}\n", recorded.result.host)
}

/// A transaction without effect is kept in the ledger, but is no reason for a mail.
fn is_news(entry: &crate::model::LedgerEntry, verbosity: Verbosity) -> bool {
    entry.event.kind != crate::model::EventKind::Transient || verbosity != Verbosity::Quiet
}
