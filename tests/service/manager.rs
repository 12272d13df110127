//! `fwdrift watch` and its manager, over a real notification socket: what is said, and when.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A namespace with an approved table, and a manager's socket.
struct Managed {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    child: Option<Child>,
}

impl Managed {
    fn start(watchdog: Option<Duration>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "[watch]\npoll_seconds = 1\n").unwrap();
        let script = r#"
            nft add table inet t
            "$1" --config "$2" --repo "$3" --host db-01 init >/dev/null
            exec "$1" --config "$2" --repo "$3" --host db-01 watch"#;
        let mut command = Command::new("/usr/bin/unshare");
        command
            .args(["--net", "/bin/sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_fwdrift")])
            .args([&config, &dir.path().join("repo")])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("NOTIFY_SOCKET", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        if let Some(limit) = watchdog {
            command.env("WATCHDOG_USEC", limit.as_micros().to_string());
        }
        let child = command.spawn().unwrap();
        Self { dir, socket, child: Some(child) }
    }

    /// The next message; none if the socket stays silent for 20 s.
    fn next(&self) -> Option<String> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8(bytes[..length].to_vec()).unwrap())
    }

    #[track_caller]
    fn wait_for(&self, beginning: &str) -> String {
        let mut seen = Vec::new();
        while let Some(message) = self.next() {
            if message.starts_with(beginning) {
                return message;
            }
            seen.push(message);
        }
        panic!("no {beginning} after {seen:?}");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("/bin/kill").args([name, &pid]).status().unwrap().success());
    }

    fn config(&self) -> std::path::PathBuf {
        self.dir.path().join("config.toml")
    }

    /// Waits for the end; the exit code, and what was said on standard error.
    fn end(mut self) -> (Option<i32>, String) {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_manager_is_told_of_start_reload_and_end() {
    let managed = Managed::start(None);
    assert_eq!(managed.wait_for("READY"), "READY=1\n");
    assert!(managed.wait_for("STATUS=").contains("db-01"));

    managed.signal("-HUP");
    let message = managed.wait_for("RELOADING");
    // sd_notify(3): the time is what tells this reload from an earlier one, from systemd 253 on.
    let (_, time) = message.trim_end().split_once("\nMONOTONIC_USEC=").unwrap();
    assert!(time.parse::<u64>().unwrap() > 0, "{message}");
    managed.wait_for("READY");

    std::fs::write(managed.config(), "[watch]\npoll_second = 1\n").unwrap();
    managed.signal("-HUP");
    managed.wait_for("RELOADING");
    managed.wait_for("READY");

    let asked = Instant::now();
    managed.signal("-TERM");
    managed.wait_for("STOPPING=1");
    let (code, said) = managed.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(said.contains("config.toml:2: unknown key \"poll_second\""), "{said}");
}

#[test]
fn the_watchdog_is_pinged_at_half_of_its_time_and_not_while_the_process_is_stopped() {
    let managed = Managed::start(Some(Duration::from_millis(600)));
    managed.wait_for("READY");
    managed.wait_for("WATCHDOG=1");
    let begun = Instant::now();
    for _ in 0..5 {
        managed.wait_for("WATCHDOG=1");
    }
    let each = begun.elapsed() / 5;
    assert!((Duration::from_millis(250)..Duration::from_millis(600)).contains(&each), "{each:?}");

    managed.signal("-STOP");
    std::thread::sleep(Duration::from_millis(300));
    managed.socket.set_nonblocking(true).unwrap();
    while managed.next().is_some() {}
    std::thread::sleep(Duration::from_millis(900));
    assert_eq!(managed.next(), None, "a stopped process cannot ping");
    managed.signal("-CONT");
}

#[test]
fn a_watchdog_that_is_meant_for_another_process_is_not_pinged_and_no_manager_is_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let nowhere = dir.path().join("nowhere");
    // A manager's socket that is not there; WATCHDOG_PID of this test.
    let script = r#"
        nft add table inet t
        "$1" --repo "$2" --host db-01 init >/dev/null
        export NOTIFY_SOCKET="$3" WATCHDOG_USEC=100000 WATCHDOG_PID=1
        timeout --preserve-status -s TERM 1 "$1" --repo "$2" --host db-01 watch"#;
    let output = Command::new("/usr/bin/unshare")
        .args(["--net", "/bin/sh", "-ec", script, "sh", env!("CARGO_BIN_EXE_fwdrift")])
        .args([&dir.path().join("repo"), Path::new(&nowhere)])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_second_sigterm_ends_a_process_that_does_not_come_round() {
    let managed = Managed::start(None);
    managed.wait_for("READY");
    // Stopped, it takes both at once when it goes on.
    managed.signal("-STOP");
    managed.signal("-TERM");
    managed.signal("-INT");
    managed.signal("-CONT");
    let (code, said) = managed.end();
    assert_eq!(code, None, "ended by the signal itself: {said}");
}
