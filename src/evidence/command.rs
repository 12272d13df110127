//! Runs one of the two programs that evidence needs (`journalctl`, `getent`): absolute path, cleared
//! environment, bounded time and output. Must not be given a shell, nor a path from outside.

use super::EvidenceError;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What a program did.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

/// Finds a program in the directories of the system's own programs.
pub(super) fn find(program: &'static str) -> Result<PathBuf, EvidenceError> {
    let found = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().map(|dir| Path::new(dir).join(program));
    found.into_iter().find(|path| path.is_file()).ok_or(EvidenceError::MissingProgram { program })
}

/// Runs `program` to its end; killed after `limit`, or once it printed more than `bound` bytes.
pub(super) fn run(
    program: &Path,
    args: &[String],
    limit: Duration,
    bound: usize,
) -> Result<Output, EvidenceError> {
    let deadline = Instant::now() + limit;
    let mut child = Command::new(program)
        .args(args)
        .env_clear()
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| EvidenceError::Start { program: program.to_owned(), source })?;
    let result = read_to_end(&mut child, program, deadline, limit, bound);
    if result.is_err() {
        // It may have ended by itself meanwhile; the error that counts is the one at hand.
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn read_to_end(
    child: &mut Child,
    program: &Path,
    deadline: Instant,
    limit: Duration,
    bound: usize,
) -> Result<Output, EvidenceError> {
    let stdout = drain(child.stdout.take(), bound);
    let stderr = drain(child.stderr.take(), 64 * 1024);
    let timeout = || EvidenceError::Timeout { program: program.to_owned(), limit };
    let receive = |from: &mpsc::Receiver<Vec<u8>>| match from
        .recv_timeout(deadline.saturating_duration_since(Instant::now()))
    {
        Ok(bytes) => Ok(bytes),
        Err(RecvTimeoutError::Timeout) => Err(timeout()),
        Err(RecvTimeoutError::Disconnected) => Ok(Vec::new()),
    };
    let stdout = receive(&stdout)?;
    if stdout.len() > bound {
        return Err(EvidenceError::TooMuch { program: program.to_owned(), limit: bound });
    }
    let stderr = receive(&stderr)?;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Output { status, stdout, stderr }),
            Ok(None) if Instant::now() >= deadline => return Err(timeout()),
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Err(source) => return Err(EvidenceError::Start { program: program.to_owned(), source }),
        }
    }
}

/// Reads at most one byte more than `bound`, in a thread that ends with its pipe.
fn drain<R: Read + Send + 'static>(pipe: Option<R>, bound: usize) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            let _ = pipe.take(bound as u64 + 1).read_to_end(&mut bytes);
        }
        // The receiver is gone when the time is up.
        let _ = send.send(bytes);
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration, bound: usize) -> Result<Output, EvidenceError> {
        run(Path::new("/bin/sh"), &["-c".to_owned(), script.to_owned()], limit, bound)
    }

    #[test]
    fn a_hanging_program_is_killed_when_its_time_is_up() {
        let begun = Instant::now();
        let result = sh("exec sleep 30", Duration::from_millis(150), 100);
        assert!(matches!(result, Err(EvidenceError::Timeout { .. })), "{result:?}");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn endless_output_is_stopped_at_the_bound() {
        let result = sh("exec yes", Duration::from_secs(20), 1000);
        assert!(matches!(result, Err(EvidenceError::TooMuch { limit: 1000, .. })), "{result:?}");
    }

    #[test]
    fn nothing_of_the_callers_environment_reaches_the_program() {
        let output = sh(
            "/usr/bin/env | /usr/bin/grep -c -E '^(HOME|PATH|USER|CARGO)='",
            Duration::from_secs(20),
            1000,
        );
        let text = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(text.trim(), "0");
    }
}
