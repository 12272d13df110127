//! A host that is being watched.

use crate::support::Host;
use serde_json::Value;
use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A running `fwdrift watch`.
pub struct Watching<'h> {
    host: &'h Host,
    child: Option<Child>,
    manager: UnixDatagram,
}

impl<'h> Watching<'h> {
    /// Starts it, and waits until it says that it is ready.
    pub fn start(host: &'h Host) -> Self {
        Self::start_with(host, host.command(&["watch"]))
    }

    /// Starts this program instead.
    pub fn start_with(host: &'h Host, mut program: std::process::Command) -> Self {
        let path = host.path("notify");
        let _ = std::fs::remove_file(&path);
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let errors = std::fs::File::create(host.path("watch.err")).unwrap();
        program.env("NOTIFY_SOCKET", &path).stdout(Stdio::null()).stderr(errors);
        let mut watching = Self { host, child: Some(program.spawn().unwrap()), manager };
        watching.wait_for("READY=1");
        // A manager that reads nothing holds up whoever tells it something.
        let rest = watching.manager.try_clone().unwrap();
        std::thread::spawn(move || while rest.recv(&mut [0; 4096]).is_ok() {});
        watching
    }

    fn wait_for(&mut self, message: &str) {
        let mut buffer = [0; 4096];
        loop {
            let length = self
                .manager
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("{message}: {error}: {}", self.complaints()));
            if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == message) {
                return;
            }
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// What it wrote to standard error.
    pub fn complaints(&self) -> String {
        std::fs::read_to_string(self.host.path("watch.err")).unwrap()
    }

    pub fn signal(&self, name: &str) {
        let status =
            std::process::Command::new("kill").args([name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Ends it as a service manager does.
    pub fn stop(mut self) {
        self.signal("-TERM");
        assert_eq!(self.child.take().unwrap().wait().unwrap().code(), Some(0), "{}", self.complaints());
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.signal("-KILL");
        self.child.take().unwrap().wait().unwrap();
    }

    /// The events once they satisfy a condition, oldest first.
    #[track_caller]
    pub fn events_when(&self, what: &str, is_enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let events = events(self.host);
            if is_enough(&events) {
                return events;
            }
            assert!(Instant::now() < end, "{what}: {events:#?}\n{}", self.complaints());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The events once all generations up to the present one are in them.
    #[track_caller]
    pub fn events_up_to_now(&self) -> Vec<Value> {
        let now = generation(self.host);
        self.events_when(&format!("generation {now}"), |events| generations(events).contains(&now))
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// All recorded events, oldest first; whatever the audit log of the test lacks.
fn events(host: &Host) -> Vec<Value> {
    let log = host.command(&["log", "--format", "json"]).output().unwrap();
    let log: Value = serde_json::from_slice(&log.stdout).unwrap_or_else(|_| panic!("{log:?}"));
    log["events"].as_array().unwrap().iter().rev().cloned().collect()
}

/// The kernel's present generation.
pub fn generation(host: &Host) -> u64 {
    host.inside(|| {
        let netfilter = Some(rustix::net::netlink::NETFILTER);
        let mut socket = fwdrift::sys::socket::Socket::open(netfilter).unwrap();
        fwdrift::collect::nftables::generation(&mut socket).unwrap().into()
    })
}

/// All generations that these events list.
pub fn generations(events: &[Value]) -> BTreeSet<u64> {
    events.iter().flat_map(generations_of).collect()
}

pub fn generations_of(event: &Value) -> Vec<u64> {
    event["generations"].as_array().unwrap().iter().map(|number| number.as_u64().unwrap()).collect()
}
