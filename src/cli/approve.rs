//! `fwdrift approve`.

use super::output::Output;
use crate::config::{Format, Settings};
use crate::ledger::WorkingTree;
use crate::model::{BaselineRef, Change, CheckResult};
use crate::pipeline::{self, Accepted, Request, Selection, subject};
use crate::report;
use crate::report::outcome::{self, Approved};
use std::io::{IsTerminal, Write};

/// Arguments of `approve`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids of the changes to approve, as `check` shows them [default: all]
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// Why: stands in the commit and in the report
    #[arg(short, long, value_name = "REASON")]
    message: Option<String>,

    /// The ticket or change request
    #[arg(long, value_name = "TICKET")]
    ticket: Option<String>,

    /// The id that `check` printed: refuse if the firewall is no longer what was reviewed
    #[arg(long, value_name = "ID")]
    reviewed: Option<String>,

    /// Replace files that a person wrote by captured ones, one file a table
    #[arg(long)]
    replace_authored: bool,

    /// Do not ask for confirmation at a terminal
    #[arg(short, long)]
    yes: bool,
}

/// Approves, and says what was approved by whom.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("approve", &[Format::Text, Format::Json])?;
    let selection = match args.ids.is_empty() {
        true => Selection::All,
        false => Selection::Ids(args.ids.clone()),
    };
    let request = Request {
        selection,
        reviewed: args.reviewed.clone(),
        reason: args.message.clone(),
        ticket: args.ticket.clone(),
        replace_authored: args.replace_authored,
    };
    let ask = args.reviewed.is_none()
        && !args.yes
        && std::io::stdin().is_terminal()
        && settings.format == Format::Text;
    let accepted = pipeline::approve(settings, &request, |result, changes| match ask {
        true => confirmed(result, changes, output),
        false => Ok(true),
    })?;
    if settings.format == Format::Json {
        output.print(&outcome::approve_json(&described(settings, args, accepted.as_ref())))?;
        return Ok(0);
    }
    let Some(accepted) = accepted else {
        output.print(&format!("{}: in sync; there is nothing to approve.\n", settings.host))?;
        return Ok(0);
    };
    let commit = accepted.approved.commit.as_str();
    let identity = report::escape::terminal(&accepted.identity.to_string());
    output.print(&format!(
        "Approved {} on {} as {identity} (commit {}).\n",
        subject(accepted.changes.len(), accepted.adds_settings),
        settings.host,
        &commit[..commit.len().min(10)],
    ))?;
    match accepted.approved.working_tree {
        WorkingTree::Updated | WorkingTree::NotOnMain => {}
        WorkingTree::Kept(paths) => super::output::complain(&format!(
            "note: edited files in the working tree were left as they are: {}\n",
            report::escape::terminal(&paths.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>().join(", "))
        )),
        WorkingTree::Behind(reason) => super::output::complain(&format!(
            "note: the working tree does not follow yet: {}\n",
            report::escape::terminal(&reason)
        )),
    }
    Ok(0)
}

fn described(settings: &Settings, args: &Args, accepted: Option<&Accepted>) -> Approved {
    let baseline = accepted.map(|accepted| BaselineRef {
        commit: accepted.approved.commit.as_str().to_owned(),
        path: accepted.path.clone(),
    });
    Approved {
        host: settings.host.to_string(),
        baseline,
        approver: accepted.map(|accepted| accepted.identity.to_string()),
        reason: args.message.clone(),
        ticket: args.ticket.clone(),
        changes: accepted.map(|accepted| accepted.changes.clone()).unwrap_or_default(),
    }
}

/// Shows what is about to be approved and asks.
fn confirmed(result: &CheckResult, changes: &[Change], output: &mut Output) -> std::io::Result<bool> {
    let mut shown = result.clone();
    shown.changes = changes.to_vec();
    shown.summary = crate::model::Summary::of(changes, result.summary.re_encoded);
    let text = report::check::text(&shown, &output.options());
    output.print(&text)?;
    let mut stderr = std::io::stderr();
    // Without any change, what is left to approve is the settings that the baseline lacks.
    write!(stderr, "Approve {}? [y/N] ", subject(changes.len(), changes.is_empty()))?;
    stderr.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
