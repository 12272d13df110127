//! Running another program: the one place that does it.
//!
//! Absolute path, cleared environment, `LC_ALL=C TZ=UTC` (nft prints `meta hour` in local time), a
//! time limit, stderr kept as data, death by a signal told apart from a refusal.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Directories in which programs are looked for. `PATH` is not used: a root tool must not run what a
/// user's environment names.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

static TIME_LIMIT: OnceLock<Duration> = OnceLock::new();

/// Sets the time limit of every tool for this process; the first call counts. The default is 30 s.
pub fn set_time_limit(limit: Duration) {
    let _ = TIME_LIMIT.set(limit);
}

/// Why a tool gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// It is not installed.
    #[error("{name} is not installed")]
    Missing {
        /// The program's name.
        name: String,
    },
    /// It could not be started, or its pipes broke.
    #[error("cannot run {command}: {source}")]
    Run {
        /// The command line.
        command: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It did not finish in time and was killed.
    #[error("{command} did not finish within {} s and was stopped", limit.as_secs())]
    TimedOut {
        /// The command line.
        command: String,
        /// The limit.
        limit: Duration,
    },
    /// It died by a signal.
    #[error("{command} died by signal {signal}")]
    Killed {
        /// The command line.
        command: String,
        /// The signal's number (signal(7)).
        signal: i32,
    },
    /// It ended with an error.
    #[error("{command} failed: {}", if stderr.is_empty() { format!("exit status {status}") } else { stderr.clone() })]
    Failed {
        /// The command line.
        command: String,
        /// Its exit status.
        status: i32,
        /// What it said.
        stderr: String,
    },
}

impl ToolError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { name } => Some(format!("install it ({})", package_of(name))),
            Self::TimedOut { .. } => Some("raise tool_timeout_seconds in /etc/fwdrift/config.toml".into()),
            Self::Killed { signal: 9, .. } => {
                Some("somebody or the out-of-memory killer ended it; see `dmesg`".into())
            }
            Self::Run { .. } | Self::Killed { .. } | Self::Failed { .. } => None,
        }
    }
}

/// What a tool printed.
#[derive(Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, also when it succeeded.
    pub stderr: String,
}

/// A program about to be run.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    line: String,
    input: Vec<u8>,
}

impl Tool {
    /// Finds a program by name in the system's directories.
    pub fn find(name: &str) -> Result<Self, ToolError> {
        let path = locate(name).ok_or_else(|| ToolError::Missing { name: name.to_owned() })?;
        let mut command = Command::new(&path);
        command
            .env_clear()
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own, so that a time-out also ends what the tool started.
            .process_group(0);
        Ok(Self { command, line: name.to_owned(), input: Vec::new() })
    }

    /// Adds arguments.
    pub fn args<S: AsRef<str>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        for arg in args {
            self.line.push(' ');
            self.line.push_str(arg.as_ref());
            self.command.arg(arg.as_ref());
        }
        self
    }

    /// Sets one variable of its otherwise fixed environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it in a directory.
    pub fn directory(mut self, path: &Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Feeds it bytes on standard input.
    pub fn input(mut self, bytes: Vec<u8>) -> Self {
        self.command.stdin(Stdio::piped());
        self.input = bytes;
        self
    }

    /// Runs it to its end; any exit status but 0 is an error.
    pub fn run(self) -> Result<Output, ToolError> {
        let command = self.line.clone();
        let (status, output) = self.run_any()?;
        if let Some(signal) = status.signal() {
            return Err(ToolError::Killed { command, signal });
        }
        match status.code() {
            Some(0) => Ok(output),
            code => Err(ToolError::Failed {
                command,
                status: code.unwrap_or(-1),
                stderr: output.stderr.trim_end().to_owned(),
            }),
        }
    }

    fn run_any(mut self) -> Result<(ExitStatus, Output), ToolError> {
        let limit = *TIME_LIMIT.get_or_init(|| Duration::from_secs(30));
        let broken = |source| ToolError::Run { command: self.line.clone(), source };
        let mut child = self.command.spawn().map_err(broken)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let input = std::mem::take(&mut self.input);
        std::thread::scope(|scope| {
            let writer = scope.spawn(move || {
                // A tool that stops reading early says why on stderr; EPIPE adds nothing.
                if let Some(mut pipe) = stdin {
                    let _ = pipe.write_all(&input);
                }
            });
            let out = scope.spawn(move || read_all(stdout));
            let err = scope.spawn(move || read_all(stderr));
            let status = wait(&mut child, limit);
            let joined = (writer.join(), out.join(), err.join());
            let status = status.map_err(broken)?;
            let (Ok(()), Ok(stdout), Ok(stderr)) = joined else {
                return Err(broken(std::io::Error::other("a pipe's thread panicked")));
            };
            let Some(status) = status else {
                return Err(ToolError::TimedOut { command: self.line.clone(), limit });
            };
            let stderr = String::from_utf8_lossy(&stderr.map_err(broken)?).into_owned();
            Ok((status, Output { stdout: stdout.map_err(broken)?, stderr }))
        })
    }
}

/// The path of a program in the system's directories.
pub fn locate(name: &str) -> Option<PathBuf> {
    DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}

fn package_of(name: &str) -> &str {
    match name {
        "nft" => "package nftables",
        "getent" => "part of libc",
        other if other.starts_with("ip") => "package iptables",
        other => other,
    }
}

fn read_all(pipe: Option<impl Read>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// Waits for the child's end; `None` if the limit passed and it was killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(child),
        rustix::process::PidfdFlags::empty(),
    );
    let deadline = Instant::now() + limit;
    if let Ok(pidfd) = pidfd {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = rustix::event::Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut fds = [rustix::event::PollFd::new(&pidfd, rustix::event::PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&timeout)) {
                Ok(0) if deadline <= Instant::now() => break,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return child.wait().map(Some),
                Err(error) => return Err(error.into()),
            }
        }
    } else {
        // Kernels without pidfd_open (before 5.3) are below our minimum; sandboxes may still refuse it.
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    rustix::process::kill_process_group(
        rustix::process::Pid::from_child(child),
        rustix::process::Signal::KILL,
    )?;
    child.wait()?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_tool_gives_its_own_words() {
        let error = Tool::find("ls").unwrap().args(["/no/such/path"]).run().unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }

    #[test]
    fn the_environment_is_cleared() {
        let output = Tool::find("env").unwrap().run().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.lines().all(|l| l.starts_with("LC_ALL=") || l.starts_with("TZ=") || l.starts_with("PATH="))
        );
    }

    #[test]
    fn death_by_a_signal_is_told_apart() {
        let error = Tool::find("sh").unwrap().args(["-c", "kill -6 $$"]).run().unwrap_err();
        assert!(matches!(error, ToolError::Killed { signal: 6, .. }), "{error}");
    }

    #[test]
    fn large_input_and_output_do_not_deadlock() {
        let output = Tool::find("cat").unwrap().input(vec![b'x'; 3_000_000]).run().unwrap();
        assert_eq!(output.stdout.len(), 3_000_000);
    }
}
