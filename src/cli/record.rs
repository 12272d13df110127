//! `fwdrift record`.

use super::alerts::Alerts;
use super::output::Output;
use crate::config::{Format, Settings, Verbosity};
use crate::model::change::BROKEN_FLOW;
use crate::model::{All, Other, Verdict, Without};
use crate::notify::Summary;
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
    let mut alerts = Alerts::open(&settings);
    let code = match settings.all_netns {
        true => run_all(&settings, output, &mut alerts),
        false => run_one(&settings, output, &mut alerts),
    };
    // After the result is printed: a receiver that hangs delays nobody who reads it.
    alerts.deliver();
    code
}

fn run_one(settings: &Settings, output: &mut Output, alerts: &mut Alerts) -> anyhow::Result<u8> {
    let recorded = pipeline::record(settings);
    let (host, options) = (settings.host.as_str(), output.options());
    match &recorded {
        Ok(Recorded { result, events }) => alerts.queue(host, events, Some(&Summary::of(result)), &options),
        Err(_) => alerts.queue(host, &[], None, &options),
    }
    let recorded = recorded?;
    if settings.format == Format::Json {
        output.print(&report::log::json(settings.host.as_str(), &recorded.events))?;
        return Ok(recorded.result.exit_code());
    }
    output.print(&text(&recorded, settings.verbosity, &output.options()))?;
    complain_of_gaps(&recorded);
    Ok(recorded.result.exit_code())
}

/// As [`run_one`] for each namespace.
fn run_all(settings: &Settings, output: &mut Output, alerts: &mut Alerts) -> anyhow::Result<u8> {
    let all = pipeline::record_all(settings)?;
    for Recorded { result, events } in &all.results {
        let program = output.program_for(result.netns.as_deref());
        let options = Options { program: &program, ..output.options() };
        alerts.queue(&result.host, events, Some(&Summary::of(result)), &options);
    }
    for other in all.others.iter().filter(|other| matches!(other.state, Without::Gone | Without::Failed)) {
        let program = output.program_for(other.netns.as_deref());
        let options = Options { program: &program, ..output.options() };
        alerts.queue(other.host.as_deref().unwrap_or_default(), &[], None, &options);
    }
    let breaks_a_flow = all.results.iter().any(|recorded| recorded.result.breaks_a_flow());
    let code = if breaks_a_flow { BROKEN_FLOW } else { all.verdict.exit_code() };
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
        return Ok(code);
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
    Ok(code)
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
    format!("{}: {state}{}\n", recorded.result.host, report::flows::remark(&recorded.result))
}

/// A transaction without effect is kept in the ledger, but is no reason for a mail.
fn is_news(entry: &crate::model::LedgerEntry, verbosity: Verbosity) -> bool {
    entry.event.kind != crate::model::EventKind::Transient || verbosity != Verbosity::Quiet
}
