//! A network namespace with one ruleset in it, and a repository that watches it.

use crate::listing::Listing;
use crate::manifest::{self, Entry};
use chrono::DateTime;
use fwdrift::collect::links;
use fwdrift::config::{ColorChoice, Format, NetnsRef, Settings, Verbosity};
use fwdrift::model::{Author, CheckResult, HostName, Ruleset, text_from_kernel};
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

/// The table that is added to every ruleset: its element is in the baseline, and expires.
pub const EXPIRING: &str = "fwdrift_expiring";

/// A namespace under test.
pub struct Live {
    pub entry: Entry,
    pub netns: Netns,
    repo: TempDir,
    changed: AtomicBool,
}

impl Live {
    /// Loads a ruleset into a namespace of its own; none if nft refuses it.
    pub fn load(entry: &Entry) -> Option<Self> {
        let live = Self {
            entry: entry.clone(),
            netns: Netns::create().unwrap(),
            repo: tempfile::tempdir().unwrap(),
            changed: AtomicBool::new(false),
        };
        if live.load_file().is_ok() {
            return Some(live);
        }
        let text = String::from_utf8_lossy(&std::fs::read(&entry.path).unwrap()).into_owned();
        let devices = manifest::devices(&text);
        live.netns.run(|| devices.iter().for_each(|name| drop(links::make(0, name.as_bytes())))).unwrap();
        live.load_file().is_ok().then_some(live)
    }

    fn load_file(&self) -> Result<String, String> {
        let path = self.entry.path.to_str().unwrap();
        let args = ["-j", "-f", path];
        self.nft(if self.entry.is_json { &args } else { &args[1..] })
    }

    /// Runs nft in the namespace.
    pub fn nft(&self, args: &[&str]) -> Result<String, String> {
        let run = || Tool::find("nft").unwrap().args(args.iter().copied()).run();
        let output = self.netns.run(run).unwrap().map_err(|error| error.to_string())?;
        Ok(text_from_kernel(&output.stdout))
    }

    /// Feeds nft a script: one transaction.
    pub fn script(&self, script: &str) -> Result<String, String> {
        let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
        let output = self.netns.run(run).unwrap().map_err(|error| error.to_string())?;
        self.mark_changed();
        Ok(text_from_kernel(&output.stdout))
    }

    /// Notes that the ruleset may no longer be the file's.
    pub fn mark_changed(&self) {
        self.changed.store(true, Ordering::Relaxed);
    }

    /// Loads the file again if anything was changed; whether it was.
    pub fn restore(&self) -> bool {
        let changed = self.changed.load(Ordering::Relaxed);
        if changed {
            self.reload();
        }
        changed
    }

    /// What nft lists, without counters.
    pub fn listing(&self) -> Listing {
        Listing::parse(&self.nft(&["-s", "-a", "list", "ruleset"]).unwrap())
    }

    /// Adds the table whose element expires.
    pub fn add_expiring(&self, timeout: Option<Duration>) {
        let element = match timeout {
            Some(timeout) => format!("elements = {{ 192.0.2.1 timeout {}ms }};", timeout.as_millis()),
            None => String::new(),
        };
        let set = format!("set s {{ type ipv4_addr; flags timeout; {element} }}");
        self.script(&format!("table inet {EXPIRING} {{\n{set}\n}}")).unwrap();
    }

    /// Empties the namespace and loads the file again.
    pub fn reload(&self) {
        self.script("flush ruleset").unwrap();
        self.load_file().unwrap();
        self.add_expiring(None);
        self.changed.store(false, Ordering::Relaxed);
    }

    /// Sends packets through `lo` in both families: counters move, dynamic sets fill.
    pub fn send_packets(&self) {
        let send = || {
            let _ = Tool::find("ip").unwrap().args(["link", "set", "lo", "up"]).run();
            for (from, to) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "[::1]")] {
                let Ok(socket) = std::net::UdpSocket::bind(from) else { continue };
                // A rule may refuse the packet on its way out.
                [22, 53, 80, 443, 5353].iter().for_each(|port| {
                    drop(socket.send_to(b"fwdrift", format!("{to}:{port}")));
                });
            }
        };
        self.netns.run(send).unwrap();
    }

    fn settings(&self) -> Settings {
        let netns = format!("/proc/self/fd/{}", self.netns.as_fd().as_raw_fd());
        Settings {
            config: None,
            repo: self.repo.path().join("repo"),
            host: HostName::parse("h").unwrap(),
            netns: Some(NetnsRef::parse(Path::new(&netns)).unwrap()),
            all_netns: false,
            audit_log: self.repo.path().to_owned(),
            tool_timeout: Duration::from_secs(30),
            full_look_every: Duration::from_secs(3600),
            format: Format::Text,
            color: ColorChoice::Never,
            verbosity: Verbosity::Normal,
        }
    }

    /// Makes the live state the baseline. Returns whether a table needed its exact form.
    pub fn init(&self) -> Result<bool, String> {
        let (baseline, _) = pipeline::init(&self.settings(), &[]).map_err(|error| error.to_string())?;
        Ok(baseline.files.keys().any(|path| path.ends_with(".exact")))
    }

    /// The drift check, by the pipeline, and the approved state. The quick way and the full one have to agree.
    pub fn check(&self) -> Result<(CheckResult, Ruleset), String> {
        let checked = pipeline::look(&self.settings()).map_err(|error| error.to_string())?;
        let quick = pipeline::check(&self.settings()).map_err(|error| error.to_string())?;
        if timeless(&quick) != timeless(&checked.result) {
            return Err(format!(
                "the quick look differs: {quick:#?}\nfrom the full one: {:#?}",
                checked.result
            ));
        }
        Ok((checked.result, checked.approved))
    }

    /// Whether the element that expires is (still) there.
    pub fn is_expiring_present(&self) -> bool {
        self.nft(&["list", "set", "inet", EXPIRING, "s"]).unwrap().contains("192.0.2.1")
    }
}

/// A result without its times: two looks are two moments.
fn timeless(result: &CheckResult) -> CheckResult {
    let mut result = CheckResult { captured_at: DateTime::UNIX_EPOCH, ..result.clone() };
    for change in &mut result.changes {
        change.author = Author::default();
    }
    result
}
