//! Repositories, events and child processes for the tests of the ledger.

use chrono::{DateTime, Duration};
use fwdrift::ledger::*;
use fwdrift::model::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

pub const ROLE: &str = "FWDRIFT_TEST_ROLE";
pub const ROOT: &str = "FWDRIFT_TEST_ROOT";
/// What a process says when it sets to work.
pub const AT_WORK: &str = "fwdrift-test: at work";

/// A repository in a directory of its own.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub root: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap().join("repo");
        Self { dir, root }
    }

    pub fn with_baseline() -> Self {
        let place = Self::new();
        approve(&Repository::create(&place.root).unwrap(), &web(), &files(1), None).unwrap();
        place
    }

    pub fn open(&self) -> Repository {
        Repository::open(&self.root).unwrap()
    }
}

pub fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

pub fn web() -> HostName {
    host("web-01")
}

pub fn files(n: u64) -> Files {
    BTreeMap::from([
        ("nft/inet-filter.nft".to_owned(), format!("table inet filter {{ # {n}\n}}\n").into_bytes()),
        ("iptables/legacy-v4.rules".to_owned(), b"*filter\nCOMMIT\n".to_vec()),
    ])
}

/// Line endings, bytes and keywords that git would change if it were let to.
pub fn odd_bytes() -> Files {
    BTreeMap::from([
        ("nft/crlf.nft".to_owned(), b"a\r\nb\nc\r".to_vec()),
        ("nft/bytes.nft".to_owned(), vec![0, 255, 13, 10, 0x1b, b'x']),
        ("nft/ident.nft".to_owned(), b"$Id$\n".to_vec()),
        ("empty".to_owned(), Vec::new()),
    ])
}

/// Bytes that do not compress.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u64 + 88_172_645_463_325_252;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

pub fn approve(
    repo: &Repository,
    host: &HostName,
    files: &Files,
    expected: Option<CommitId>,
) -> Result<Approved, LedgerError> {
    let ann = Identity { name: "Ann Example".into(), email: "ann@example.org".into(), login: "ann".into() };
    let message = ApprovalMessage {
        subject: format!("approve: 1 change on {host}"),
        reason: Some("Needed by the replica.\n\nSee the wiki.".into()),
        ticket: Some("CHG-42".into()),
        changes: vec!["0123456789ab".into()],
    };
    let lock = repo.lock()?;
    repo.approve(&lock, host, files, &ann, &message, expected.as_ref().map(CommitId::as_str))
}

/// Appends one event; gives its commit, and sets its number.
pub fn append(
    repo: &Repository,
    host: &HostName,
    files: &Files,
    event: &mut Event,
) -> Result<String, LedgerError> {
    let lock = repo.lock()?;
    let entries = repo.append(&lock, host, files, vec![event.clone()])?;
    event.seq = entries[0].event.seq;
    Ok(entries[0].commit.clone())
}

/// A rule added by `name`, three minutes before it was recorded.
pub fn event(name: &str) -> Event {
    let recorded_at = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
    let time = recorded_at - Duration::minutes(3);
    let author =
        Author { name: name.to_owned(), auid: Some(1001), evidence: Evidence::Audit, ..Author::default() };
    let change = Change {
        id: "0123456789ab".into(),
        chain: Some("input".into()),
        after: Some("tcp dport 3306 drop".into()),
        position: Some(Position { before: None, after: Some(3) }),
        author: author.clone(),
        time: Some(time),
        ..Change::new(ChangeKind::Added, Source::Nft, ("inet", "filter"), ObjectKind::Rule)
    };
    Event {
        schema: "fwdrift.event/1".into(),
        seq: 0,
        kind: EventKind::Drift,
        host: "web-01".into(),
        netns: None,
        time,
        recorded_at,
        window: Window { from: None, to: recorded_at },
        author,
        generations: vec![7],
        generation: 7,
        boot_id: "b".into(),
        netns_cookie: None,
        state: "0123456789abcdef".into(),
        baseline_tree: String::new(),
        baseline: BaselineRef { commit: "c".into(), path: "baselines/web-01".into() },
        changes: vec![change],
        open: vec!["0123456789ab".into()],
        approval: None,
        checkpoint: None,
        gaps: Vec::new(),
    }
}

/// Plain git, with nobody's configuration.
pub fn git(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new("git");
    command.arg("-C").arg(directory).args(args).env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("LC_ALL", "C").env("HOME", "/nonexistent");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Tester");
        command.env(format!("GIT_{role}_EMAIL"), "tester@example.org");
    }
    command
}

pub fn git_ok(directory: &Path, args: &[&str]) -> String {
    let out = git(directory, args).output().unwrap();
    assert_success(&out);
    String::from_utf8(out.stdout).unwrap()
}

pub fn fsck(root: &Path) {
    let out = git(root, &["fsck", "--strict", "--full", "--no-dangling"]).output().unwrap();
    assert_success(&out);
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let complaints: Vec<&str> = said.lines().filter(|l| !l.starts_with("notice:")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
}

/// The ledger of web-01 has exactly `count` events, numbered without hole or repeat, and git agrees.
pub fn assert_whole(root: &Path, count: usize) {
    let numbers: Vec<u64> =
        Repository::open(root).unwrap().events(&web()).unwrap().iter().map(|e| e.event.seq).collect();
    assert_eq!(numbers, (1..=count as u64).rev().collect::<Vec<_>>());
    assert_eq!(git_ok(root, &["rev-list", "--count", "live/web-01"]).trim(), count.to_string());
    fsck(root);
}

pub fn assert_success(out: &Output) {
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{}\n{stdout}\n{stderr}", out.status);
}

/// This test program again, playing `role` on the repository at `root`.
pub fn child(role: &str, root: &Path) -> Command {
    child_through(role, root, &[])
}

/// As [`child`], started by the command `through`.
pub fn child_through(role: &str, root: &Path, through: &[&str]) -> Command {
    let me = std::env::current_exe().unwrap();
    let mut line: Vec<std::ffi::OsString> = through.iter().map(Into::into).collect();
    line.push(me.into());
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).args([
        "--exact",
        "roles::a_process_of_its_own_appends_and_approves",
        "--nocapture",
    ]);
    command.env(ROLE, role).env(ROOT, root).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// As [`child`], where its mounts are seen by nobody else.
pub fn in_mount_namespace(role: &str, root: &Path, env: &[(&str, &str)]) -> Output {
    let through = ["unshare", "--mount", "--propagation", "private"];
    let mut command = child_through(role, root, &through);
    command.envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.output().unwrap()
}

pub fn run(program: &str, args: &[&str]) {
    assert_success(&Command::new(program).args(args).output().unwrap());
}
