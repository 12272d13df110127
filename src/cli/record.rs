//! `fwdrift record`.

use super::output::Output;
use crate::config::{Format, Settings, Verbosity};
use crate::model::Verdict;
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
    let recorded = pipeline::record(&settings.looking_in_full(args.full))?;
    if settings.format == Format::Json {
        output.print(&report::log::json(settings.host.as_str(), &recorded.events))?;
        return Ok(recorded.result.verdict.exit_code());
    }
    let news = recorded.events.iter().filter(|entry| is_news(entry, settings.verbosity));
    let texts: Vec<String> = news.map(|entry| report::event::text(&entry.event, &output.options())).collect();
    output.print(&texts.join("\n\n"))?;
    if recorded.events.is_empty() && settings.verbosity != Verbosity::Quiet {
        let state = match recorded.result.verdict {
            Verdict::InSync => "in sync with the approved baseline; nothing new".to_owned(),
            Verdict::Drift => format!(
                "nothing new; {} unapproved, recorded before (`{} check` shows them)",
                pipeline::counted(recorded.result.changes.len()),
                output.program()
            ),
            Verdict::Unknown => "nothing new in what could be seen; not all could be".to_owned(),
        };
        output.print(&format!("{}: {state}\n", settings.host))?;
    }
    if recorded.result.verdict == Verdict::Unknown {
        for gap in &recorded.result.gaps {
            super::output::complain(&super::gap_line(gap));
        }
    }
    Ok(recorded.result.verdict.exit_code())
}

/// A transaction without effect is kept in the ledger, but is no reason for a mail.
fn is_news(entry: &crate::model::LedgerEntry, verbosity: Verbosity) -> bool {
    entry.event.kind != crate::model::EventKind::Transient || verbosity != Verbosity::Quiet
}
