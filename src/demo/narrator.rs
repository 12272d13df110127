//! Prints the story at a pace that can be followed, and notices when somebody wants it to end.

use super::DemoError;
use anstyle::{AnsiColor, Style};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const STEP: Style = AnsiColor::Cyan.on_default().bold();
const COMMAND: Style = Style::new().bold();

/// The voice of the demo.
pub(super) struct Narrator<'a> {
    out: &'a mut dyn Write,
    pause: Duration,
    interrupted: Arc<AtomicBool>,
    steps: usize,
}

impl<'a> Narrator<'a> {
    /// From here on, SIGINT, SIGTERM and SIGHUP end the story, not the process.
    pub(super) fn new(out: &'a mut dyn Write, pause: Duration) -> Result<Self, DemoError> {
        let interrupted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&interrupted)).map_err(DemoError::Signals)?;
        }
        Ok(Self { out, pause, interrupted, steps: 0 })
    }

    /// An error once somebody asked to end.
    pub(super) fn interruption(&self) -> Result<(), DemoError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(DemoError::Interrupted) } else { Ok(()) }
    }

    /// The next step, in a plain sentence or two.
    pub(super) fn step(&mut self, sentence: &str) -> Result<(), DemoError> {
        if self.steps > 0 {
            self.rest()?;
        }
        self.steps += 1;
        let lines: Vec<String> = sentence.lines().map(|line| format!("{STEP}{line}{STEP:#}")).collect();
        self.print(&format!("\n{STEP}{}.{STEP:#} {}\n\n", self.steps, lines.join("\n   ")))
    }

    /// A command line, just before it is run.
    pub(super) fn command(&mut self, line: &str) -> Result<(), DemoError> {
        self.print(&format!("{COMMAND}$ {line}{COMMAND:#}\n"))
    }

    /// Whole lines, as they are.
    pub(super) fn print(&mut self, text: &str) -> Result<(), DemoError> {
        self.interruption()?;
        // Flushed, because the next to print may be another process.
        self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush()).map_err(DemoError::Output)
    }

    fn rest(&self) -> Result<(), DemoError> {
        let end = Instant::now() + self.pause;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.interruption()?;
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.interruption()
    }
}
