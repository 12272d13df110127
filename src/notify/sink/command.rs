//! A program that reads the alert as JSON on its standard input.
//!
//! Exit status 0: done. 65 (`EX_DATAERR` of sysexits.h): refused for good. All else, also a time-out: later again.

use super::Sink;
use crate::config::notify::CommandSettings;
use crate::notify::alert::Alert;
use crate::notify::error::Failure;
use crate::tool::{Tool, ToolError};
use std::time::Duration;

const REFUSED: i32 = 65;
/// What it prints is not kept; one that prints more than this is broken.
const OUTPUT: usize = 1 << 20;
/// Characters of its complaint that are kept.
const COMPLAINT: usize = 300;

pub(super) struct Command {
    settings: CommandSettings,
    timeout: Duration,
}

impl Command {
    pub(super) fn new(settings: &CommandSettings, timeout: Duration) -> Self {
        Self { settings: settings.clone(), timeout }
    }
}

impl Sink for Command {
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure> {
        alerts.iter().try_for_each(|alert| self.run(alert))
    }
}

impl Command {
    fn run(&self, alert: &Alert) -> Result<(), Failure> {
        let program = self.settings.program.display();
        let tool = Tool::at(&self.settings.program)
            .args(self.settings.arguments.iter().cloned())
            .input(format!("{}\n", alert.json()).into_bytes())
            .within(self.timeout)
            .output_limit(OUTPUT);
        match tool.run() {
            Ok(_) => Ok(()),
            Err(ToolError::Failed { status: REFUSED, stderr, .. }) => {
                Err(Failure::refused(format!("{program} refused it (65): {}", short(&stderr))))
            }
            Err(ToolError::Failed { status, stderr, .. }) => {
                Err(Failure::later(format!("{program} ended with status {status}: {}", short(&stderr))))
            }
            // The command line may hold a secret; its program is enough.
            Err(ToolError::Run { source, .. }) => {
                Err(Failure::later(format!("{program} cannot be run: {source}")))
            }
            Err(ToolError::TimedOut { limit, .. }) => Err(Failure::later(format!(
                "{program} did not finish within {} s and was stopped",
                limit.as_secs()
            ))),
            Err(ToolError::Killed { signal, .. }) => {
                Err(Failure::later(format!("{program} died by signal {signal}")))
            }
            Err(ToolError::TooMuch { .. }) => Err(Failure::later(format!("{program} printed too much"))),
            Err(ToolError::Missing { .. } | ToolError::Idle { .. }) => {
                Err(Failure::later(format!("{program} is missing")))
            }
        }
    }
}

fn short(complaint: &str) -> String {
    match complaint.trim() {
        "" => "it said nothing".to_owned(),
        text => text.chars().take(COMPLAINT).collect(),
    }
}
