//! The command line: parse, resolve the settings, run one command, turn its outcome into an exit code.
//!
//! One file a command. Results go to stdout, all else to stderr. Exit codes: 0 in sync or done, 1 drift,
//! 2 could not determine, also usage errors.

mod alerts;
mod approve;
mod check;
mod demo;
mod diff;
pub mod doctor;
mod flows;
mod init;
mod lint;
mod log;
mod output;
mod record;
mod report;
mod show;
mod time;
mod trace;
mod watch;

use crate::collect::namespaces;
use crate::config::{ConfigError, GlobalArgs, NetnsForm, Settings, Verbosity};
use crate::demo::DemoError;
use crate::ledger::{LedgerError, Repository};
use crate::model::HostName;
use crate::pipeline::PipelineError;
use crate::report::escape;
use crate::sys::netns::NetnsError;
use crate::watch::WatchError;
use clap::{Parser, Subcommand};
use output::Output;
use std::process::ExitCode;

/// Could not determine, or a usage error.
const UNDETERMINED: u8 = 2;

/// Tells who changed this host's firewall, when, and what changed, against an approved baseline in git.
#[derive(Debug, Parser)]
#[command(name = "fwdrift", version, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the repository and the first approved baseline
    Init(init::Args),
    /// Compare the live firewall with the approved baseline; reads only
    Check(check::Args),
    /// Compare any two of: live, baseline, boot, a git revision, a file; reads only
    Diff(diff::Args),
    /// For cron and timers: check, and append what is new to the ledger
    Record(record::Args),
    /// A service: look again and again, and append what is new to the ledger as it happens
    Watch,
    /// Make the present drift, or chosen changes, part of the baseline
    Approve(approve::Args),
    /// Check the required flows of fwdrift.toml; reads only
    Flows(flows::Args),
    /// Follow one packet: each rule that it matches, which one decides, who put it there; reads only
    Trace(trace::Args),
    /// Rules that do nothing, and what nobody uses; reads only
    Lint(lint::Args),
    /// List the recorded events, newest first
    Log(log::Args),
    /// Show one recorded event in full
    Show(show::Args),
    /// The periodic audit report
    Report(report::Args),
    /// What this host can and cannot see, and what to run to mend it
    Doctor,
    /// Show an outage and how it is found, in a throw-away network namespace of this machine
    Demo(demo::Args),
}

/// Runs the program with the process's arguments.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = run(&cli);
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            output::complain(&message(&error));
            ExitCode::from(UNDETERMINED)
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<u8> {
    let settings = Settings::resolve(&cli.global)?;
    start_logging(settings.verbosity);
    if let Some(command) = cli.command.about_one_netns() {
        settings.require_one_netns(command)?;
    }
    let settings = with_found_netns(settings)?;
    crate::tool::set_time_limit(settings.tool_timeout);
    let mut output = Output::new(&settings, &cli.global);
    match &cli.command {
        Command::Init(args) => init::run(&settings, args, &mut output),
        Command::Check(args) => check::run(&settings, args, &mut output),
        Command::Diff(args) => diff::run(&settings, args, &mut output),
        Command::Record(args) => record::run(&settings, args, &mut output),
        Command::Watch => watch::run(settings, &cli.global, &mut output),
        Command::Approve(args) => approve::run(&settings, args, &mut output),
        Command::Flows(args) => flows::run(&settings, args, &mut output),
        Command::Trace(args) => trace::run(&settings, args, &mut output),
        Command::Lint(args) => lint::run(&settings, args, &mut output),
        Command::Log(args) => log::run(&settings, args, &mut output),
        Command::Show(args) => show::run(&settings, args, &mut output),
        Command::Report(args) => report::run(&settings, args, &mut output),
        Command::Doctor => doctor::run(&settings, output.stream()),
        Command::Demo(args) => demo::run(&settings, args, &mut output),
    }
}

impl Command {
    /// The name of a command that does not take `--all-netns`.
    fn about_one_netns(&self) -> Option<&'static str> {
        match self {
            Self::Init(_) | Self::Check(_) | Self::Record(_) => None,
            Self::Diff(_) => Some("diff"),
            Self::Watch => Some("watch"),
            Self::Approve(_) => Some("approve"),
            Self::Flows(_) => Some("flows"),
            Self::Trace(_) => Some("trace"),
            Self::Lint(_) => Some("lint"),
            Self::Log(_) => Some("log"),
            Self::Show(_) => Some("show"),
            Self::Report(_) => Some("report"),
            Self::Doctor => Some("doctor"),
            Self::Demo(_) => Some("demo"),
        }
    }
}

/// The settings with the namespace that was asked for, as far as only the machine can tell which one that is.
fn with_found_netns(settings: Settings) -> anyhow::Result<Settings> {
    let Some(asked) = settings.netns.clone() else { return Ok(settings) };
    let is_known = |name: &str| {
        let known =
            Repository::open(&settings.repo).and_then(|repository| repository.namespaces(&settings.host));
        known.is_ok_and(|names| names.iter().any(|known| known == name))
    };
    let found = namespaces::settle(asked.clone(), is_known)?;
    // What was a name is a process, or what was a path has a name.
    let host = match asked.form() {
        NetnsForm::Name(name) if asked.form() != found.form() && settings.host.netns() == Some(name) => {
            HostName::parse(settings.host.machine())?
        }
        _ => settings.host.clone(),
    };
    let host = match (host.netns(), found.form()) {
        (None, NetnsForm::Name(_)) => found.host(&host)?,
        _ => host,
    };
    Ok(Settings { host, netns: Some(found), ..settings })
}

/// What happened, and what to do next. Texts of tools and files are hostile until escaped.
fn message(error: &anyhow::Error) -> String {
    let mut text = format!("fwdrift: {}\n", escape::multi_line(&with_causes(error)));
    if let Some(hint) = hint(error) {
        text.push_str(&format!("hint: {}\n", escape::multi_line(&hint)));
    }
    text
}

/// The next step that an edge's error knows.
fn hint(error: &anyhow::Error) -> Option<String> {
    let pipeline = || error.downcast_ref().and_then(PipelineError::hint);
    let config = || error.downcast_ref().and_then(ConfigError::hint);
    let watch = || error.downcast_ref().and_then(WatchError::hint);
    let netns = || error.downcast_ref().and_then(NetnsError::hint);
    let demo = || error.downcast_ref().and_then(DemoError::hint);
    let ledger = || error.downcast_ref().and_then(LedgerError::hint);
    // A plain error is that of the output.
    let output =
        || error.is::<std::io::Error>().then(|| "give it room, or another place to write to".to_owned());
    pipeline().or_else(watch).or_else(config).or_else(netns).or_else(demo).or_else(ledger).or_else(output)
}

/// The error and its causes, each once: most of our messages name their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text.push_str(&format!(": {cause}"));
        }
    }
    text
}

/// One line for what could not be seen.
fn gap_line(gap: &crate::model::Gap) -> String {
    let hint = gap.hint.as_ref().map_or_else(String::new, |hint| format!(" (hint: {hint})"));
    let text = format!("{}: {}{hint}", gap.source, gap.reason);
    format!("fwdrift: could not look at {}\n", escape::terminal(&text))
}

fn start_logging(verbosity: Verbosity) {
    let level = match verbosity {
        Verbosity::Quiet => tracing::Level::ERROR,
        Verbosity::Normal => tracing::Level::WARN,
        Verbosity::Verbose => tracing::Level::INFO,
        Verbosity::Trace => tracing::Level::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .init();
}
