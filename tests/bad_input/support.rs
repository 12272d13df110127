//! A host made for one test: its own network namespace, its own mounts, its own repository.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const RULES: &str = "table inet t {\n\tchain c {\n\t\ttype filter hook input priority 0; policy accept;\n\
                     \t\ttcp dport 22 accept\n\t}\n}\n";

/// Namespaces that live as long as the shell in them, which ends with its standard input.
pub struct Host {
    holder: Child,
    pub dir: tempfile::TempDir,
}

/// What a program left behind.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Host {
    /// With one table, and no repository.
    pub fn new() -> Self {
        let host = Self::empty();
        host.nft(RULES);
        host
    }

    /// With one table, approved.
    pub fn approved() -> Self {
        let host = Self::new();
        host.fwdrift(&["init"]).succeeded(0);
        host
    }

    /// With no rules.
    pub fn empty() -> Self {
        let mut holder = Command::new("/usr/bin/unshare")
            .args(["-n", "-m", "--propagation", "private", "/bin/sh", "-c", "echo ready; read end"])
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { holder, dir: tempfile::tempdir().unwrap() }
    }

    pub fn repo(&self) -> PathBuf {
        self.dir.path().join("repo")
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.dir.path().join(name), content).unwrap();
        self.path(name)
    }

    /// The file that names the network namespace.
    pub fn netns(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.id()))
    }

    /// A program inside, with a cleared environment.
    pub fn command(&self, program: &[&str]) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command
            .args(["-n", "-m", "-t", &self.holder.id().to_string(), "--"])
            .args(program)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null());
        command
    }

    /// fwdrift inside, on this host's repository.
    pub fn fwdrift_command(&self, prefix: &[&str], args: &[&str]) -> Command {
        let repo = self.repo();
        let copy = self.path("fwdrift");
        let mut words = prefix.to_vec();
        match prefix {
            [] => words.push(env!("CARGO_BIN_EXE_fwdrift")),
            // Other users may have no way into the directory of the build.
            _ => {
                std::fs::copy(env!("CARGO_BIN_EXE_fwdrift"), &copy).unwrap();
                words.push(&copy);
            }
        }
        if !args.contains(&"--repo") {
            words.extend(["--repo", repo.to_str().unwrap()]);
        }
        if !args.contains(&"--host") {
            words.extend(["--host", "web-01"]);
        }
        words.extend(args);
        self.command(&words)
    }

    pub fn fwdrift(&self, args: &[&str]) -> Run {
        run(&mut self.fwdrift_command(&[], args))
    }

    pub fn fwdrift_as(&self, prefix: &[&str], args: &[&str]) -> Run {
        run(&mut self.fwdrift_command(prefix, args))
    }

    /// A shell script inside; its output.
    pub fn sh(&self, script: &str) -> String {
        let result = run(self.command(&["/bin/sh", "-ec", script]).env("PATH", SYSTEM_PATH));
        assert_eq!(result.code, Some(0), "{script}: {}", result.stderr);
        result.stdout
    }

    /// Loads nft syntax.
    pub fn nft(&self, script: &str) {
        let mut command = self.command(&["/usr/sbin/nft", "-f", "-"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{script}");
    }

    /// Puts a shell script in a program's place, inside only.
    pub fn replace_program(&self, program: &str, script: &str) {
        let name = self.write("replacement", format!("#!/bin/sh\n{script}\n"));
        self.sh(&format!("chmod 755 {name}; mount --bind {name} {program}"));
    }

    /// Commits a file of the baseline to main, as a person would.
    pub fn commit(&self, path: &str, content: impl AsRef<[u8]>) {
        let file = self.repo().join("baselines/web-01").join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
        self.git("add -A; git -C \"$REPO\" commit -qm edited");
    }

    /// Git on the repository; its output.
    pub fn git(&self, args: &str) -> String {
        let identity = "-c user.name=ann -c user.email=ann@example.org -c core.quotePath=false";
        let repo = self.repo();
        let repo = repo.to_str().unwrap();
        let args = args.replace("git -C", &format!("git {identity} -C"));
        self.sh(&format!("export HOME=/root REPO={repo}; git {identity} -C {repo} {args}"))
    }

    /// All that the repository says: references, and the state of the working tree. Also proves it whole.
    pub fn state(&self) -> String {
        self.git(
            "fsck --strict --no-dangling; git -C \"$REPO\" for-each-ref; git -C \"$REPO\" status --short",
        )
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

pub fn run(command: &mut Command) -> Run {
    let output = command.output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

impl Run {
    #[track_caller]
    pub fn succeeded(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.stderr, "");
        self
    }

    /// One clear error that holds all these words, with a hint; nothing else.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        let text = &self.stderr;
        assert_eq!(self.code, Some(2), "{}\n{text}", self.stdout);
        assert_eq!(self.stdout, "");
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
        assert_eq!(text.matches("fwdrift: ").count(), 1, "{text}");
        assert!(text.starts_with("fwdrift: ") && text.contains("\nhint: "), "{text}");
        assert!(text.matches("(os error").count() <= 1, "the cause twice: {text}");
        assert!(!text.contains("panicked"), "{text}");
        assert!(!text.contains("/fwdrift-"), "a scratch path: {text}");
        harmless(text);
    }
}

/// Holds nothing that a terminal acts upon, and nothing that reorders or hides.
#[track_caller]
pub fn harmless(text: &str) {
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200b}'..='\u{200f}')
    };
    assert!(!text.chars().any(bad), "{text:?}");
}

/// Whether a process with this argument runs.
pub fn is_running(argument: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    })
}

/// The names in a directory.
pub fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
