//! What `watch` costs, and how soon a change is in the ledger.
//!
//! Three measurements, each in a network namespace of its own, with the program as a process of its own:
//!
//! * *latency*: from the moment when nft has committed a rule to the moment when the ledger's branch has moved;
//! * *idle*: wake-ups and memory over some seconds in which nothing happens;
//! * *churn*: share of one core while a program commits 20 transactions a second in a ruleset of 10,000 chains, as
//!   kube-proxy does, and how many of these were decoded.
//!
//! `cargo bench --bench watch` prints them; `-- --only WORD` just one; `-- --seconds N` the length of the last two; with
//! `-- --audit` auditing is on meanwhile, so that authors come from its records and not from looking at every process that begins
//! on the machine. Needs root and nft.

use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use std::fmt::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1));
    let only = value("--only").cloned().unwrap_or_default();
    let seconds = value("--seconds").map_or(20, |seconds| seconds.parse().expect("--seconds takes a number"));
    let audit = args.iter().any(|arg| arg == "--audit");
    let _auditing = audit.then(|| fwdrift::evidence::enable_guard().expect("auditing cannot be turned on"));
    let all: [(&str, &dyn Fn()); 3] =
        [("latency", &|| latency(1_000, 200)), ("idle", &|| idle(seconds)), ("churn", &|| churn(seconds))];
    for (_, measure) in all.iter().filter(|(name, _)| name.contains(&only)) {
        measure();
    }
}

/// A firewall, its repository and a running `watch`.
struct Host {
    netns: Netns,
    directory: tempfile::TempDir,
    watch: Option<Child>,
}

impl Host {
    fn new(rules: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let repo = directory.path().join("repo");
        std::fs::write(
            directory.path().join("config.toml"),
            format!("repo = {repo:?}\nhost = \"bench\"\n{config}"),
        )
        .unwrap();
        let mut host = Self { netns: Netns::create().unwrap(), directory, watch: None };
        host.nft(rules);
        assert!(host.fwdrift(&["init"]).output().unwrap().status.success());
        host.watch =
            Some(host.fwdrift(&["watch"]).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        std::thread::sleep(Duration::from_secs(3));
        host
    }

    fn fwdrift(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fwdrift"));
        let netns = format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_fd().as_raw_fd());
        command
            .arg("--config")
            .arg(self.directory.path().join("config.toml"))
            .args(["--netns", &netns])
            .args(args);
        command
    }

    fn nft(&self, script: &str) {
        let load = || {
            let nft = Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec());
            nft.within(Duration::from_secs(300)).run().unwrap()
        };
        self.netns.run(load).unwrap();
    }

    /// The kernel's handle of the last rule.
    fn last_handle(&self) -> String {
        let list = || {
            let nft = Tool::find("nft").unwrap().args(["-a", "list", "chain", "inet", "bench", "c0"]);
            nft.within(Duration::from_secs(60)).run().unwrap()
        };
        let listed = self.netns.run(list).unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let last = text.lines().rfind(|line| line.contains(" # handle ")).unwrap();
        last.rsplit(' ').next().unwrap().to_owned()
    }

    /// What the ledger's branch points at.
    fn head(&self) -> String {
        std::fs::read_to_string(self.branch()).unwrap_or_default()
    }

    fn branch(&self) -> PathBuf {
        self.directory.path().join("repo/.git/refs/heads/live/bench")
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.watch.as_ref().unwrap().id().to_string())
    }

    fn status(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(self.process().join("status")).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time of the program and of the tools that it ran.
    fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(self.process().join("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        // utime, stime, cutime, cstime (proc_pid_stat(5)), in ticks of 10 ms.
        let ticks: u64 = fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    fn log(&self) -> serde_json::Value {
        let output = self.fwdrift(&["log", "--format", "json"]).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(mut watch) = self.watch.take() {
            let _ = watch.kill();
            let _ = watch.wait();
        }
    }
}

fn rules(chains: usize, each: usize) -> String {
    let mut script = "table inet bench {\n".to_owned();
    for chain in 0..chains {
        let _ = writeln!(script, "\tchain c{chain} {{");
        for rule in 0..each {
            let number = u32::try_from(chain * each + rule).unwrap() + 0x0a00_0000;
            let _ = writeln!(
                script,
                "\t\tip saddr {} tcp dport {} accept",
                std::net::Ipv4Addr::from(number),
                rule + 1
            );
        }
        script.push_str("\t}\n");
    }
    script.push_str("}\n");
    script
}

fn latency(rules_in_chain: usize, changes: usize) {
    let host = Host::new(&rules(1, rules_in_chain), "");
    let mut times: Vec<Duration> = Vec::new();
    for change in 0..changes {
        let before = host.head();
        // Every other one undoes the one before.
        match change % 2 {
            0 => host.nft(&format!("add rule inet bench c0 udp dport {} drop\n", 1 + change)),
            _ => host.nft(&format!("delete rule inet bench c0 handle {}\n", host.last_handle())),
        };
        let committed = Instant::now();
        while host.head() == before {
            assert!(committed.elapsed() < Duration::from_secs(20), "change {change} was not recorded");
            std::thread::sleep(Duration::from_micros(300));
        }
        times.push(committed.elapsed());
        std::thread::sleep(Duration::from_millis(150));
    }
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "latency, {rules_in_chain} rules, {changes} changes: median {:.1} ms, 99th percentile {:.1} ms, longest {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn idle(seconds: u64) {
    let host = Host::new(&rules(1, 1_000), "[watch]\npoll_seconds = 10\n");
    let (wakes, time) = (host.status("voluntary_ctxt_switches"), host.processor_time());
    std::thread::sleep(Duration::from_secs(seconds));
    println!(
        "idle, 1000 rules, {seconds} s with a poll every 10 s: {} wake-ups, {} ms of processor time, {:.1} MB resident",
        host.status("voluntary_ctxt_switches") - wakes,
        (host.processor_time() - time).as_millis(),
        host.status("VmRSS") as f64 / 1024.0
    );
}

fn churn(seconds: u64) {
    let host = Host::new(&rules(10_000, 4), "");
    std::thread::sleep(Duration::from_secs(3));
    let (time, started) = (host.processor_time(), Instant::now());
    let events = host.log()["events"].as_array().unwrap().len();
    let mut transactions = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        let chain = transactions * 37 % 10_000;
        let script =
            format!("add chain inet bench new{chain}\nadd rule inet bench new{chain} tcp dport 80 accept\n");
        host.nft(&script);
        host.nft(&format!("delete chain inet bench new{chain}\n"));
        transactions += 2;
        let due = started + Duration::from_millis(50) * u32::try_from(transactions).unwrap();
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    let (elapsed, used) = (started.elapsed(), host.processor_time() - time);
    std::thread::sleep(Duration::from_secs(11));
    let log = host.log();
    let new = log["events"].as_array().unwrap();
    let new = &new[..new.len() - events];
    let listed: usize = new.iter().map(|event| event["generations"].as_array().unwrap().len()).sum();
    let decoded: usize = new.iter().map(|event| event["changes"].as_array().unwrap().len()).sum();
    println!(
        "churn, 40000 rules in 10000 chains, {transactions} transactions in {:.0} s: {:.1} % of one core, {:.1} MB resident; \
         {listed} transactions in {} events, {decoded} changes in words",
        elapsed.as_secs_f64(),
        used.as_secs_f64() / elapsed.as_secs_f64() * 100.0,
        host.status("VmRSS") as f64 / 1024.0,
        new.len()
    );
}
