//! `fwdrift watch`.

use super::alerts::Alerts;
use super::output::{Output, complain};
use super::record::text;
use crate::config::{Format, GlobalArgs, Settings, Verbosity};
use crate::model::Gap;
use crate::notify::Summary;
use crate::pipeline::{PipelineError, Recorded};
use crate::service::Service;
use crate::watch::{Report, watch};

/// Follows every change until somebody asks it to end. The first look must succeed: what a person has to mend first
/// is an error of the start, not one of many lines in a log. Later ones are tried again.
pub fn run(settings: Settings, args: &GlobalArgs, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("watch", &[Format::Text])?;
    let mut service = Service::start()?;
    let alerts = Alerts::open(&settings).in_background();
    let mut said = Said { args, output, alerts, error: None, gaps: Vec::new() };
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
}

impl Report for Said<'_> {
    fn looked(&mut self, recorded: &Recorded) {
        self.error = None;
        let Recorded { result, events } = recorded;
        self.alerts.queue(&result.host, events, Some(&Summary::of(result)), &self.output.options());
        if events.is_empty() {
            return;
        }
        let text = text(recorded, Verbosity::Quiet, &self.output.options());
        if let Err(error) = self.output.print(&text) {
            // The ledger has it; a reader who went away is no reason to stop watching.
            tracing::debug!(%error, "what was recorded cannot be printed");
        }
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
