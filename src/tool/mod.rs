//! Edge: running another program, the one place that does it.
//!
//! Role: absolute path, cleared environment, `LC_ALL=C TZ=UTC` (nft prints `meta hour` in local time),
//! bounded time and output, stderr kept as data, death by a signal told apart from a refusal. Must not be
//! given a shell line, nor find a program by the caller's `PATH`.

mod error;

pub use error::ToolError;

use crate::attribute::SCRATCH_ARGV0;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, access};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Directories in which programs are looked for. `PATH` is not used: a root tool must not run what a
/// user's environment names.
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// More than any tool has to say; the largest ruleset known prints 80 MB.
const OUTPUT_LIMIT: usize = 1 << 30;
/// Of what a tool complains, as much as a person would read; the rest is dropped.
const STDERR_KEPT: u64 = 64 * 1024;

static TIME_LIMIT: OnceLock<Duration> = OnceLock::new();

/// Sets the time limit of every tool for this process; the first call counts. The default is 30 s.
pub fn set_time_limit(limit: Duration) {
    let _ = TIME_LIMIT.set(limit);
}

fn time_limit() -> Duration {
    *TIME_LIMIT.get_or_init(|| Duration::from_secs(30))
}

/// The path of a program that may be run, in the system's directories.
pub fn locate(name: &str) -> Option<PathBuf> {
    let candidates = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name));
    candidates.into_iter().find(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok())
}

/// What a tool printed.
#[derive(Debug)]
pub struct Output {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, also when it succeeded; its first 64 KiB.
    pub stderr: String,
}

/// A program about to be run.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    name: String,
    args: Vec<String>,
    input: Option<Vec<u8>>,
    time_limit: Duration,
    output_limit: usize,
    is_scratch: bool,
}

impl Tool {
    /// Finds a program by name in the system's directories.
    ///
    /// # Errors
    /// [`ToolError::Missing`].
    pub fn find(name: &str) -> Result<Self, ToolError> {
        let path = locate(name).ok_or_else(|| ToolError::Missing { name: name.to_owned() })?;
        Ok(Self::at(&path))
    }

    /// The program at a path that [`locate`] gave.
    pub fn at(path: &Path) -> Self {
        let mut command = Command::new(path);
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
        Self {
            command,
            name: path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
            args: Vec::new(),
            input: None,
            time_limit: time_limit(),
            output_limit: OUTPUT_LIMIT,
            is_scratch: false,
        }
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
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
        self.input = Some(bytes);
        self
    }

    /// Gives it another time than [`set_time_limit`] says.
    pub fn within(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Stops it once it printed more than `limit` bytes; without this, 1 GiB.
    pub fn output_limit(mut self, limit: usize) -> Self {
        self.output_limit = limit;
        self
    }

    /// Marks the run as fwdrift's own work in a scratch namespace, for [`crate::attribute::is_scratch`].
    pub fn scratch(mut self) -> Self {
        self.is_scratch = true;
        self
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// Any exit status but 0, a signal, the end of its time, more output than allowed.
    pub fn run(self) -> Result<Output, ToolError> {
        let command = self.line();
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

    fn line(&self) -> String {
        let words: Vec<&str> = std::iter::once(&self.name).chain(&self.args).map(String::as_str).collect();
        words.join(" ")
    }

    fn run_any(mut self) -> Result<(ExitStatus, Output), ToolError> {
        let deadline = Instant::now() + self.time_limit;
        if self.is_scratch {
            self.command.arg0(SCRATCH_ARGV0);
            // xtables-*-multi are many programs in one: they go by argv[0], and if that is none, by argv[1].
            if is_multi_call(&self.name) {
                self.command.arg(&self.name);
            }
        }
        self.command.args(&self.args);
        let mut child = self.command.spawn().map_err(|source| self.broken(source))?;
        let result = self.attend(&mut child, deadline);
        if result.is_err() {
            // The child has not been waited for, so its group's number is still its own.
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
        }
        result
    }

    fn broken(&self, source: std::io::Error) -> ToolError {
        ToolError::Run { command: self.line(), source }
    }

    /// Reads until both pipes are closed, then waits for the end. The threads end with their pipes; they
    /// are not joined, as a process that escaped the group could hold one open.
    fn attend(&mut self, child: &mut Child, deadline: Instant) -> Result<(ExitStatus, Output), ToolError> {
        if let (Some(mut pipe), Some(input)) = (child.stdin.take(), self.input.take()) {
            // A tool that stops reading early says why on stderr; EPIPE adds nothing.
            thread::spawn(move || drop(pipe.write_all(&input)));
        }
        let bound = self.output_limit;
        let stdout = drain(child.stdout.take(), bound as u64 + 1, Excess::Refused);
        let stderr = drain(child.stderr.take(), STDERR_KEPT, Excess::Dropped);
        let stdout = self.receive(&stdout, deadline)?;
        if stdout.len() > bound {
            return Err(ToolError::TooMuch { command: self.line(), limit: bound });
        }
        let stderr = String::from_utf8_lossy(&self.receive(&stderr, deadline)?).into_owned();
        match wait(child, deadline).map_err(|source| self.broken(source))? {
            Some(status) => Ok((status, Output { stdout, stderr })),
            None => Err(self.timed_out()),
        }
    }

    fn receive(
        &self,
        from: &Receiver<std::io::Result<Vec<u8>>>,
        deadline: Instant,
    ) -> Result<Vec<u8>, ToolError> {
        match from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => bytes.map_err(|source| self.broken(source)),
            Err(RecvTimeoutError::Timeout) => Err(self.timed_out()),
            Err(RecvTimeoutError::Disconnected) => {
                Err(self.broken(std::io::Error::other("a pipe's thread panicked")))
            }
        }
    }

    fn timed_out(&self) -> ToolError {
        ToolError::TimedOut { command: self.line(), limit: self.time_limit }
    }
}

fn is_multi_call(name: &str) -> bool {
    let stands_alone = name.starts_with("arptables-legacy") || name.starts_with("ebtables-legacy");
    let families = ["iptables", "ip6tables", "arptables", "ebtables"];
    !stands_alone && families.iter().any(|family| name.starts_with(family))
}

/// What becomes of output beyond the limit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Excess {
    /// The pipe is closed.
    Refused,
    /// It is read, so that the tool goes on, and forgotten.
    Dropped,
}

fn drain<R: Read + Send + 'static>(
    pipe: Option<R>,
    limit: u64,
    excess: Excess,
) -> Receiver<std::io::Result<Vec<u8>>> {
    let (send, receive) = channel();
    thread::spawn(move || {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            if let Some(mut pipe) = pipe {
                pipe.by_ref().take(limit).read_to_end(&mut bytes)?;
                if excess == Excess::Dropped {
                    std::io::copy(&mut pipe, &mut std::io::sink())?;
                }
            }
            Ok(bytes)
        };
        // The receiver is gone when the time is up.
        let _ = send.send(read());
    });
    receive
}

/// Waits for the child's end; `None` if the deadline passed.
fn wait(child: &mut Child, deadline: Instant) -> std::io::Result<Option<ExitStatus>> {
    // Kernels without pidfd_open (before 5.3) are below our minimum; sandboxes may still refuse it.
    let Ok(pidfd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else {
        while Instant::now() < deadline {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            thread::sleep(Duration::from_millis(2));
        }
        return Ok(None);
    };
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&timeout)) {
            Ok(0) if deadline <= Instant::now() => return Ok(None),
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return child.wait().map(Some),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Tool {
        Tool::find("sh").unwrap().args(["-c", script])
    }

    #[test]
    fn a_program_is_found_in_a_system_directory_only() {
        assert!(locate("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(locate("no-such-program-of-fwdrift"), None);
        assert_eq!(locate(""), None);
    }

    #[test]
    fn a_failing_tool_gives_its_own_words() {
        let error = Tool::find("ls").unwrap().args(["/no/such/path"]).run().unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }

    #[test]
    fn nothing_of_the_callers_environment_reaches_the_program() {
        let output = Tool::find("env").unwrap().run().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.lines().all(|l| l.starts_with("LC_ALL=") || l.starts_with("TZ=") || l.starts_with("PATH="))
        );
    }

    #[test]
    fn death_by_a_signal_is_told_apart() {
        let error = sh("kill -6 $$").run().unwrap_err();
        assert!(matches!(error, ToolError::Killed { signal: 6, .. }), "{error}");
    }

    #[test]
    fn large_input_and_output_do_not_deadlock() {
        let output = Tool::find("cat").unwrap().input(vec![b'x'; 3_000_000]).run().unwrap();
        assert_eq!(output.stdout.len(), 3_000_000);
    }

    #[test]
    fn a_hanging_program_is_killed_when_its_time_is_up_and_so_is_what_it_started() {
        let begun = Instant::now();
        // The child's child inherits stdout: whoever waits for the pipe to close waits for it.
        for script in ["exec sleep 30", "sleep 30 & exit 0", "exec >&- 2>&-; sleep 30"] {
            let result = sh(script).within(Duration::from_millis(150)).run();
            assert!(matches!(result, Err(ToolError::TimedOut { .. })), "{script}: {result:?}");
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn endless_output_is_stopped_at_the_limit() {
        let result = sh("exec yes").output_limit(1000).run();
        assert!(matches!(result, Err(ToolError::TooMuch { limit: 1000, .. })), "{result:?}");
    }

    #[test]
    fn a_long_complaint_is_cut_and_does_not_end_the_tool() {
        let output = sh("head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done").run().unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.len()), (b"done\n".as_slice(), 64 * 1024));
    }

    #[test]
    fn scratch_work_is_named_so_and_a_multi_call_binary_still_knows_its_part() {
        let output = sh("tr '\\0' ' ' </proc/$$/cmdline").scratch().run().unwrap();
        assert!(output.stdout.starts_with(b"fwdrift-scratch -c "), "{output:?}");
        for program in ["iptables-nft-save", "ip6tables-nft-restore", "iptables-legacy-restore"] {
            let output = Tool::find(program).unwrap().scratch().args(["--version"]).run().unwrap();
            let version = String::from_utf8(output.stdout).unwrap();
            assert!(version.starts_with("ip") && version.contains(" v1."), "{program}: {version}");
        }
        for program in ["arptables-nft-save", "ebtables-nft-save"] {
            let output = Tool::find(program).unwrap().scratch().args(["--version"]).run().unwrap();
            let version = String::from_utf8(output.stdout).unwrap();
            assert!(version.contains("(nf_tables)"), "{program}: {version}");
        }
    }
}
