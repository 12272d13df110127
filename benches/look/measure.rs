//! Running programs in a case's namespace, with their wall time and the largest memory they had.

use crate::cases::Case;
use fwdrift::netlink::nft::{self, kind, msg, nfgenmsg};
use fwdrift::netlink::{AttrWriter, Attrs};
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;
use fwdrift::tool::Tool;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Makes this program a bare dump.
pub const BARE: &str = "--bare-dump";

/// Makes this program measure another one.
pub const MEASURE: &str = "--measure";

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub seconds: f64,
    /// The largest resident set.
    pub megabytes: f64,
}

impl Usage {
    /// The best time, the largest memory.
    pub fn best_of(all: &[Self]) -> Self {
        let best = all.iter().map(|usage| usage.seconds).fold(f64::INFINITY, f64::min);
        Self { seconds: best, megabytes: all.iter().map(|usage| usage.megabytes).fold(0.0, f64::max) }
    }
}

/// The best of several runs.
pub fn best(runs: usize, run: impl Fn() -> Usage) -> Usage {
    Usage::best_of(&(0..runs).map(|_| run()).collect::<Vec<_>>())
}

/// The machine, for the table's head.
pub fn machine() -> String {
    let uname = rustix::system::uname();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let nft = Tool::find("nft").and_then(|tool| tool.args(["--version"]).run());
    let nft = nft.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let model = model.trim_start_matches([' ', '\t', ':']);
    format!("Linux {}, {nft}, {cpus} × {model}", uname.release().to_string_lossy())
}

/// A namespace with a case in it, and a repository that approves it.
pub struct Host {
    netns: Netns,
    directory: tempfile::TempDir,
}

impl Host {
    pub fn new(case: &Case) -> Self {
        let host = Self { netns: Netns::create().unwrap(), directory: tempfile::tempdir().unwrap() };
        case.scripts.iter().for_each(|script| host.load(script));
        let started = Instant::now();
        assert_eq!(host.run_fwdrift(&["init"], &[0]).0.code(), Some(0), "init");
        eprintln!("{}: init took {:.1} s", case.name, started.elapsed().as_secs_f64());
        host.shell("nft -s list ruleset > $DIR/approved.nft; nft -j list ruleset | jq -S \"$STRIP\" > $DIR/approved.json");
        if let Some(change) = &case.change {
            host.load(change);
        }
        host
    }

    fn load(&self, script: &str) {
        let load = || {
            let limit = Duration::from_secs(300);
            Tool::find("nft")
                .unwrap()
                .args(["-f", "-"])
                .input(script.as_bytes().to_vec())
                .within(limit)
                .run()
                .unwrap()
        };
        self.netns.run(load).unwrap();
    }

    /// One run of fwdrift.
    pub fn fwdrift(&self, args: &[&str]) -> Usage {
        self.run_fwdrift(args, &[0, 1]).1
    }

    fn run_fwdrift(&self, args: &[&str], expected: &[i32]) -> (ExitStatus, Usage) {
        let netns = format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd());
        let config = self.directory.path().join("config.toml");
        std::fs::write(&config, "tool_timeout_seconds = 600\n").unwrap();
        let mut command = Command::new(crate::program());
        command.arg("--config").arg(config).arg("--repo").arg(self.directory.path().join("repo"));
        command.args(["--host", "bench", "--netns", &netns]).args(args);
        let (status, usage) = run(command);
        assert!(status.code().is_some_and(|code| expected.contains(&code)), "{args:?}: {status}");
        (status, usage)
    }

    /// The floor.
    pub fn bare(&self) -> Usage {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(BARE);
        self.netns.run(|| run(command)).unwrap().1
    }

    /// What a careful script would do.
    pub fn nft_text(&self) -> Usage {
        self.shell("nft -s list ruleset | diff - $DIR/approved.nft")
    }

    /// What a script that wants structure would do.
    pub fn nft_json(&self) -> Usage {
        self.shell("nft -j list ruleset | jq -S \"$STRIP\" | diff - $DIR/approved.json")
    }

    fn shell(&self, script: &str) -> Usage {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).env("DIR", self.directory.path());
        command.env("STRIP", "walk(if type == \"object\" then del(.handle, .counter) else . end)");
        self.netns.run(|| run(command)).unwrap().1
    }
}

/// Runs a program to its end. A program's largest memory counts from its fork, so it is started by a small one: this
/// one, run anew as [`MEASURE`].
fn run(command: Command) -> (ExitStatus, Usage) {
    let mut outer = Command::new(std::env::current_exe().unwrap());
    outer.arg(MEASURE).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        outer.env(name, value.unwrap());
    }
    let output = outer.stderr(Stdio::inherit()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let numbers: Vec<f64> = text.split_whitespace().map(|number| number.parse().unwrap()).collect();
    let status = ExitStatus::from_raw(numbers[0] as i32);
    (status, Usage { seconds: numbers[1], megabytes: numbers[2] })
}

/// Runs the program that the arguments name, and prints its wait status, its seconds and its megabytes.
pub fn measure(args: &[String]) {
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    let (status, usage) = measured(command);
    println!("{} {} {}", status.into_raw(), usage.seconds, usage.megabytes);
}

/// Runs a program to its end, which wait4(2) tells with what it used.
#[allow(clippy::zombie_processes)]
fn measured(mut command: Command) -> (ExitStatus, Usage) {
    let started = Instant::now();
    let child = command.spawn().unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: the child is ours and not yet waited for; the pointers are to places of the right size.
    #[allow(unsafe_code)]
    let usage = unsafe {
        assert_eq!(libc::wait4(child.id() as i32, &raw mut status, 0, usage.as_mut_ptr()), child.id() as i32);
        usage.assume_init()
    };
    let seconds = started.elapsed().as_secs_f64();
    (ExitStatus::from_raw(status), Usage { seconds, megabytes: usage.ru_maxrss as f64 / 1024.0 })
}

/// Asks the kernel for all that a look asks for, and drops it.
pub fn bare_dump() {
    let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).unwrap();
    let mut bytes = 0;
    let mut sets = Vec::new();
    for request in [msg::GETTABLE, msg::GETCHAIN, msg::GETSET] {
        let keep = |message: fwdrift::netlink::Message<'_>| {
            bytes += message.payload.len();
            if request == msg::GETSET {
                sets.push(message.payload.to_vec());
            }
        };
        socket.dump(kind(request), &[&nfgenmsg(0)], keep).unwrap();
    }
    for set in sets {
        let (header, attrs) = set.split_at(nft::NFGENMSG);
        let mut list = AttrWriter::new();
        list.put(nft::elem::LIST_TABLE, Attrs(attrs).find(nft::set::TABLE).unwrap().payload);
        list.put(nft::elem::LIST_SET, Attrs(attrs).find(nft::set::NAME).unwrap().payload);
        let body: [&[u8]; 2] = [&nfgenmsg(header[0]), list.as_bytes()];
        socket.dump(kind(msg::GETSETELEM), &body, |message| bytes += message.payload.len()).unwrap();
    }
    for request in [msg::GETOBJ, msg::GETFLOWTABLE, msg::GETRULE] {
        socket.dump(kind(request), &[&nfgenmsg(0)], |message| bytes += message.payload.len()).unwrap();
    }
    assert!(bytes > 0);
}
