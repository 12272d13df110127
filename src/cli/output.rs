//! Standard output: colours where they are wanted, the terminal's width, a quiet end on a broken pipe.

use crate::config::{GlobalArgs, Settings};
use crate::report::{Options, escape};
use anstream::AutoStream;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// Where results go.
pub struct Output {
    stream: AutoStream<std::io::Stdout>,
    width: Option<usize>,
    repo: PathBuf,
    program: String,
}

impl Output {
    /// Standard output, as the settings want it.
    pub fn new(settings: &Settings, args: &GlobalArgs) -> Self {
        let stdout = std::io::stdout();
        let width = if stdout.is_terminal() {
            rustix::termios::tcgetwinsize(&stdout).ok().map(|size| usize::from(size.ws_col))
        } else {
            None
        };
        Self {
            stream: AutoStream::new(stdout, settings.color.into()),
            width: width.filter(|width| *width >= 40),
            repo: settings.repo.clone(),
            program: program(args),
        }
    }

    /// What renderers need to know.
    pub fn options(&self) -> Options<'_> {
        Options { width: self.width, repo: &self.repo, program: &self.program }
    }

    /// How to call fwdrift again on the same host and repository.
    pub fn program(&self) -> &str {
        &self.program
    }

    /// How to call it on one of all namespaces; none for the present one.
    pub fn program_for(&self, netns: Option<&str>) -> String {
        match netns.map(|name| escape::shell_word(name).unwrap_or_else(|| "…".to_owned())) {
            Some(name) => format!("{} --netns {name}", self.program),
            None => self.program.clone(),
        }
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut dyn Write {
        &mut self.stream
    }

    /// Prints a result. Whoever closes the pipe early (`| head`) has read enough.
    pub fn print(&mut self, text: &str) -> std::io::Result<()> {
        let written = self.stream.write_all(text.as_bytes()).and_then(|()| self.stream.flush());
        match written {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => {
                Err(std::io::Error::new(error.kind(), format!("cannot write to standard output: {error}")))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Prints to standard error; nothing can be done if that fails.
pub fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The program's name with the global options that choose host and repository, for the next command.
fn program(args: &GlobalArgs) -> String {
    let mut words = vec!["fwdrift".to_owned()];
    let paths = [("--config", &args.config), ("--repo", &args.repo), ("--netns", &args.netns)];
    let mut option = |flag: &str, value: String| {
        words.push(flag.to_owned());
        words.push(escape::shell_word(&value).unwrap_or_else(|| "…".to_owned()));
    };
    for (flag, path) in paths {
        if let Some(path) = path {
            option(flag, path.to_string_lossy().into_owned());
        }
    }
    if let Some(host) = &args.host {
        option("--host", host.clone());
    }
    words.join(" ")
}
