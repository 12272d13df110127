//! A firewall in a namespace of its own, a repository, and the program to test.

use chrono::{DateTime, Utc};
use fwdrift::evidence::{Collector, EnableGuard, enable_guard};
use fwdrift::sys::netns::Netns;
use serde_json::Value;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// What [`Host::new`] approves unless it is told otherwise.
pub const RULES: &str = "table inet filter {
    chain input {
        type filter hook input priority 0; policy drop;
        ct state established,related accept
        iifname \"lo\" accept
        tcp dport 22 accept
        tcp dport 3306 accept
    }
    chain forward { type filter hook forward priority 0; policy drop; }
}
";

/// The host's name in every test.
pub const NAME: &str = "db-01";

/// One watched firewall.
pub struct Host {
    netns: Netns,
    dir: tempfile::TempDir,
    audit: Option<(Collector, EnableGuard)>,
}

/// What a run of the program gave.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Run {
    /// Standard output, where this is the exit code.
    #[track_caller]
    pub fn ended(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stdout
    }

    /// Standard error, where the run failed without a result.
    #[track_caller]
    pub fn failed(self) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(2), ""), "{self:?}");
        self.stderr
    }
}

impl Host {
    /// An empty firewall, no repository; no audit log to read.
    pub fn bare() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "repo = {:?}\nhost = {NAME:?}\naudit_log = {:?}\n",
            dir.path().join("repo"),
            dir.path().join("audit.log")
        );
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        Self { netns: Netns::create().unwrap(), dir, audit: None }
    }

    /// A firewall with these rules, approved.
    #[track_caller]
    pub fn new(rules: &str) -> Self {
        let host = Self::bare();
        host.nft(rules);
        host.run(&["init"]).ended(0);
        host
    }

    /// As [`Host::new`], with auditing on and its records collected from before `init`.
    #[track_caller]
    pub fn audited(rules: &str) -> Self {
        let mut host = Self::bare();
        host.start_audit();
        host.nft(rules);
        host.run(&["init"]).ended(0);
        host
    }

    /// Turns auditing on and collects its records into the log that the configuration names.
    pub fn start_audit(&mut self) {
        let auditing = enable_guard().unwrap();
        let log = self.dir.path().join("audit.log");
        self.audit = Some((Collector::start(self.netns.as_fd(), log).unwrap(), auditing));
    }

    /// What collects the audit records, where auditing is on.
    pub fn collector(&self) -> Option<&Collector> {
        self.audit.as_ref().map(|(collector, _)| collector)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// Writes a file beside the repository and gives its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs a piece of the test inside the namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.netns.run(work).unwrap()
    }

    /// Loads commands or a file's text with nft.
    #[track_caller]
    pub fn nft(&self, commands: &str) {
        let mut nft = command("/usr/sbin/nft");
        nft.args(["-f", "-"]);
        let output = self.inside(|| with_input(nft, commands));
        assert!(output.status.success(), "{commands}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs a shell script inside; gives what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let mut sh = command("/bin/sh");
        sh.args(["-ec", script]);
        succeeded(self.inside(|| sh.output().unwrap()), script)
    }

    /// Runs a shell script inside as somebody who logged in as `uid`.
    #[track_caller]
    pub fn login(&self, uid: u32, script: &str) -> String {
        let mut sh = command("/bin/sh");
        // The script in a child: audit keeps a task's first command line.
        let enter = format!("echo {uid} > /proc/self/loginuid; /bin/sh -ec \"$0\"; exit $?");
        sh.args(["-ec", &enter, script]);
        succeeded(self.inside(|| sh.output().unwrap()), script)
    }

    /// The program with this host's configuration.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut program = command(env!("CARGO_BIN_EXE_fwdrift"));
        // What a killed run leaves goes with the host.
        program.env_clear().env("TMPDIR", self.path("")).arg("--config").arg(self.path("config.toml"));
        program.arg("--netns").arg(self.netns_path()).args(args);
        program
    }

    pub fn netns_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd())
    }

    /// Runs the program from the test's own namespace, after the audit records have come.
    #[track_caller]
    pub fn run(&self, args: &[&str]) -> Run {
        if let Some(collector) = self.collector() {
            assert!(collector.settle().unwrap(), "an audit event did not come");
        }
        self.command(args).output().unwrap().into()
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut program = self.command(args);
        program.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the program on the namespace that the tests themselves run in.
    pub fn here(&self, args: &[&str]) -> Run {
        self.here_through(&[], args)
    }

    /// The same, started by another program (nsenter, say).
    pub fn here_through(&self, starter: &[&str], args: &[&str]) -> Run {
        let fwdrift = [env!("CARGO_BIN_EXE_fwdrift"), "--config"];
        let config = self.path("config.toml").to_str().unwrap().to_owned();
        let all: Vec<&str> =
            starter.iter().chain(&fwdrift).copied().chain([&*config]).chain(args.iter().copied()).collect();
        let mut program = command(all[0]);
        program.env_clear().env("TMPDIR", self.path("")).args(&all[1..]).output().unwrap().into()
    }

    /// `check --format json`, which must end with this code.
    #[track_caller]
    pub fn check(&self, code: i32) -> Value {
        serde_json::from_str(&self.run(&["check", "--format", "json"]).ended(code)).unwrap()
    }

    /// The changes that `check` finds; none if it says that all is in sync.
    #[track_caller]
    pub fn changes(&self) -> Vec<Value> {
        let run = self.run(&["check", "--format", "json"]);
        let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        let changes = result["changes"].as_array().unwrap().clone();
        assert_eq!(run.code, Some(i32::from(!changes.is_empty())), "{run:?}");
        changes
    }

    /// Runs `record`; the events that it appended, oldest first.
    #[track_caller]
    pub fn record(&self) -> Vec<Value> {
        let run = self.run(&["record", "--format", "json"]);
        let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        result["events"].as_array().unwrap().clone()
    }

    /// All recorded events, oldest first.
    #[track_caller]
    pub fn events(&self) -> Vec<Value> {
        let text = self.run(&["log", "--format", "json"]).ended(0);
        let result: Value = serde_json::from_str(&text).unwrap();
        result["events"].as_array().unwrap().iter().rev().cloned().collect()
    }

    /// Plain git in the repository.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let mut git = command("git");
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/nonexistent").env("TZ", "UTC");
        let person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"];
        git.arg("-C").arg(self.repo()).args(person).args(args);
        succeeded(git.output().unwrap(), &args.join(" "))
    }

    /// What the last look left beside the ledger.
    pub fn memory(&self) -> PathBuf {
        self.repo().join(format!(".git/fwdrift/look-{NAME}.json"))
    }
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").stdin(Stdio::null());
    command
}

fn with_input(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeded(output: Output, what: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{what}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// `added rule inet filter/input: - -> tcp dport 80 accept`: one line that says what a change is.
pub fn line(change: &Value) -> String {
    let text = |field: &str| change[field].as_str().unwrap_or("-").to_owned();
    let chain = change["chain"].as_str().map_or_else(String::new, |chain| format!("/{chain}"));
    let name = change["name"].as_str().filter(|_| change["object"] != "chain" && change["object"] != "table");
    let name = name.map_or_else(String::new, |name| format!(" {name}"));
    let path = format!("{} {}{chain}{name}", text("family"), text("table"));
    format!("{} {} {path}: {} -> {}", text("kind"), text("object"), text("before"), text("after"))
}

pub fn lines(changes: &[Value]) -> Vec<String> {
    changes.iter().map(line).collect()
}

/// Says loudly that a test was skipped, which is a failure in CI.
#[track_caller]
pub fn skipped(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{why}: in CI nothing is skipped");
    eprintln!("SKIPPED: {why}");
}

/// Whether there is an arptables of the older interface; without it a test is skipped.
#[track_caller]
pub fn has_arptables_legacy() -> bool {
    let is_there = Path::new("/usr/sbin/arptables-legacy").exists();
    if !is_there {
        skipped("arptables-legacy is not installed");
    }
    is_there
}

/// The kinds of events, in their order.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

/// The ids of changes, sorted.
pub fn ids(changes: &[Value]) -> Vec<String> {
    let mut ids: Vec<String> =
        changes.iter().map(|change| change["id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

/// The id of the one change whose line contains `part`.
#[track_caller]
pub fn id_of(changes: &[Value], part: &str) -> String {
    let fitting: Vec<&Value> = changes.iter().filter(|change| line(change).contains(part)).collect();
    assert_eq!(fitting.len(), 1, "{part:?} in {:#?}", lines(changes));
    fitting[0]["id"].as_str().unwrap().to_owned()
}

pub fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

/// Runs `work` on each case, four at a time (most of it is waiting), and says which cases failed.
pub fn each<T: Sync>(cases: &[T], name: impl Fn(&T) -> &str + Sync, work: impl Fn(&T) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(case)));
                    if outcome.is_err() {
                        failed.lock().unwrap().push(name(case).to_owned());
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), Vec::<String>::new(), "these cases failed");
}

/// What is approved, what is then done, and the lines that name it.
pub type Case = (&'static str, &'static str, &'static str, &'static [&'static str]);

/// Each case is in sync at first, named by just its lines then, and in sync again once approved; `is_ours` holds for
/// every change.
pub fn hold(cases: &[Case], is_ours: impl Fn(&Value) -> bool + Sync) {
    each(
        cases,
        |case| case.0,
        |(claim, approved, made, found)| {
            let host = Host::bare();
            host.sh(approved);
            host.run(&["init"]).ended(0);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{claim}: in sync at first");
            host.sh(made);
            let changes = host.changes();
            assert_eq!(lines(&changes), *found, "{claim}");
            assert!(changes.iter().all(&is_ours), "{claim}: {changes:#?}");
            host.run(&["approve", "--yes"]).ended(0);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{claim}: in sync once approved");
        },
    );
}

/// Whether a change is of this source.
pub fn of(source: &'static str) -> impl Fn(&Value) -> bool + Sync {
    move |change| change["source"] == source
}

/// The mode and content of every file below a directory: equal means that nothing was written.
pub fn snapshot(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push((path.clone(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}
