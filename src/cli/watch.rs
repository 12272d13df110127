//! `fwdrift watch`.

use super::alerts::Alerts;
use super::output::{Output, complain};
use super::record::text;
use crate::config::{Format, GlobalArgs, Settings, Verbosity};
use crate::model::{CheckResult, Gap, Verdict};
use crate::notify::Summary;
use crate::pipeline::{PipelineError, Recorded};
use crate::service::Service;
use crate::watch::{Report, watch};
use std::io::IsTerminal;

/// Follows every change until somebody asks it to end. The first look must succeed: what a person has to mend first
/// is an error of the start, not one of many lines in a log. Later ones are tried again.
pub fn run(settings: Settings, args: &GlobalArgs, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("watch", &[Format::Text])?;
    let mut service = Service::start()?;
    let alerts = Alerts::open(&settings).in_background();
    let mut said = Said { args, output, alerts, error: None, gaps: Vec::new(), is_new: true };
    let ended = watch(settings, &mut service, &mut said);
    said.alerts.stop();
    ended?;
    Ok(0)
}

/// Prints what is new, and complains of the same thing once.
struct Said<'a> {
    args: &'a GlobalArgs,
    output: &'a mut Output,
    alerts: Alerts,
    error: Option<String>,
    gaps: Vec<Gap>,
    /// Whether nothing was looked at yet.
    is_new: bool,
}

impl Said<'_> {
    /// Somebody who started it by hand sees nothing else until something happens.
    fn greet(&mut self, result: &CheckResult) {
        if !std::mem::take(&mut self.is_new) || !std::io::stderr().is_terminal() {
            return;
        }
        let state = match (result.verdict, result.changes.len()) {
            (Verdict::InSync, _) => "all is as approved".to_owned(),
            (Verdict::Unknown, _) => "not all of it can be seen".to_owned(),
            (Verdict::Drift, 1) => "1 difference is open".to_owned(),
            (Verdict::Drift, count) => format!("{count} differences are open"),
        };
        complain(&format!("fwdrift: watching {}: {state}; Ctrl-C ends it\n", result.host));
    }
}

impl Report for Said<'_> {
    fn looked(&mut self, recorded: &Recorded) {
        self.error = None;
        let Recorded { result, events } = recorded;
        self.alerts.queue(&result.host, events, Some(&Summary::of(result)), &self.output.options());
        if events.is_empty() {
            self.greet(result);
            return;
        }
        let text = text(recorded, Verbosity::Quiet, &self.output.options());
        if let Err(error) = self.output.print(&text) {
            // The ledger has it; a reader who went away is no reason to stop watching.
            tracing::debug!(%error, "what was recorded cannot be printed");
        }
        self.greet(result);
    }

    fn failed(&mut self, error: &PipelineError) {
        let message = format!("fwdrift: {error}\n{}", hint(error.hint()));
        if self.error.as_ref() != Some(&message) {
            complain(&crate::report::escape::multi_line(&message));
            self.error = Some(message);
        }
    }

    fn gaps(&mut self, gaps: &[Gap]) {
        for gap in gaps.iter().filter(|gap| !self.gaps.contains(gap)) {
            complain(&super::gap_line(gap));
        }
        for gap in self.gaps.iter().filter(|gap| gap.blinds_verdict && !gaps.contains(gap)) {
            complain(&format!("fwdrift: can look at {} again\n", gap.source));
        }
        self.gaps = gaps.to_vec();
    }

    /// Takes the configuration as it is now; one that cannot be used changes nothing.
    fn reload(&mut self) -> Option<Settings> {
        let settings = Settings::resolve(self.args).map_err(anyhow::Error::from);
        match settings.and_then(super::with_found_netns) {
            Ok(settings) => {
                self.alerts = Alerts::open(&settings).in_background();
                Some(settings)
            }
            Err(error) => {
                complain(&super::message(&error));
                complain("fwdrift: the configuration is as before\n");
                None
            }
        }
    }
}

fn hint(hint: Option<String>) -> String {
    hint.map_or_else(String::new, |hint| format!("hint: {hint}\n"))
}
