//! `fwdrift demo`.

use super::output::{Output, complain};
use crate::config::{Format, Settings};
use crate::demo::{self, DemoError};
use std::io::IsTerminal;
use std::time::Duration;

/// How long each step may be looked at before the next, on a terminal.
const PAUSE: Duration = Duration::from_millis(500);

/// What a shell reports of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Make no pauses; there are none anyway where the output is no terminal
    #[arg(long)]
    fast: bool,
}

/// Tells the story.
pub fn run(settings: &Settings, args: &Args, output: &mut Output) -> anyhow::Result<u8> {
    settings.require_format("demo", &[Format::Text])?;
    let pause = if args.fast || !std::io::stdout().is_terminal() { Duration::ZERO } else { PAUSE };
    match demo::run(output.stream(), pause, settings.color) {
        Ok(()) => Ok(0),
        Err(DemoError::Interrupted) => {
            complain("\nfwdrift: interrupted; nothing is left behind\n");
            Ok(INTERRUPTED)
        }
        // Whoever closes the pipe early (`| head`) has read enough.
        Err(DemoError::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        Err(error) => Err(error.into()),
    }
}
