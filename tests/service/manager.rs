//! `fwdrift watch` and its manager, over a real notification socket: what is said, and when.

use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq)]
enum For {
    It,
    Another,
}

/// A namespace with an approved table, and a manager's socket.
struct Managed {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    child: Option<Child>,
}

impl Managed {
    /// With the environment of systemd's watchdog: a time, and for whom it is.
    fn start(watchdog: Option<(Duration, For)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let config = dir.path().join("config.toml");
        std::fs::write(&config, "[watch]\npoll_seconds = 1\n").unwrap();
        let script = r#"
            nft add table inet t
            "$1" --config "$2" --repo "$3" --host db-01 init >/dev/null
            [ "$WATCHDOG_PID" != own ] || export WATCHDOG_PID=$$
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
        if let Some((limit, whom)) = watchdog {
            let pid = if whom == For::It { "own" } else { "1" };
            command.env("WATCHDOG_USEC", limit.as_micros().to_string()).env("WATCHDOG_PID", pid);
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
    let managed = Managed::start(Some((Duration::from_millis(600), For::It)));
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
fn a_watchdog_that_is_meant_for_another_process_is_not_pinged() {
    let managed = Managed::start(Some((Duration::from_millis(100), For::Another)));
    managed.wait_for("READY");
    managed.socket.set_read_timeout(Some(Duration::from_millis(700))).unwrap();
    while let Some(message) = managed.next() {
        assert!(!message.contains("WATCHDOG"), "{message}");
    }
}

/// What was said, but for what cannot be looked at here.
fn about_manager(said: &str) -> Vec<&str> {
    said.lines().filter(|line| !line.starts_with("fwdrift: could not look at")).collect()
}

#[test]
fn a_manager_that_is_gone_is_no_error() {
    let managed = Managed::start(Some((Duration::from_millis(100), For::It)));
    managed.wait_for("READY");
    std::fs::remove_file(managed.dir.path().join("notify")).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    managed.signal("-TERM");
    let (code, said) = managed.end();
    assert_eq!((code, about_manager(&said)), (Some(0), Vec::new()));
}

#[test]
fn a_manager_that_stopped_listening_keeps_nobody_from_working_and_ending() {
    // A ping a millisecond soon fills the socket, from which nothing is read.
    let managed = Managed::start(Some((Duration::from_millis(2), For::It)));
    managed.wait_for("READY");
    std::thread::sleep(Duration::from_millis(500));
    let asked = Instant::now();
    managed.signal("-TERM");
    let (code, said) = managed.end();
    assert_eq!((code, about_manager(&said)), (Some(0), Vec::new()));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
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

/// script(1) gives it a terminal, and takes it away by ending.
#[test]
fn it_ends_with_its_terminal() {
    if !Path::new("/usr/bin/script").exists() {
        super::container::skipped("no script(1)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (socket_path, pid_file) = (dir.path().join("notify"), dir.path().join("pid"));
    let socket = UnixDatagram::bind(&socket_path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let inner = format!(
        "cd {}; {fwdrift} --repo repo init >/dev/null; echo $$ >pid; exec {fwdrift} --repo repo watch",
        dir.path().display(),
        fwdrift = env!("CARGO_BIN_EXE_fwdrift"),
    );
    let mut terminal = Command::new("/usr/bin/unshare")
        .args(["--net", "/usr/bin/script", "--quiet", "--command", &inner, "/dev/null"])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("SHELL", "/bin/sh")
        .env("NOTIFY_SOCKET", &socket_path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut bytes = [0; 256];
    let mut next = || {
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    assert_eq!(next(), "READY=1\n");
    terminal.kill().unwrap();
    terminal.wait().unwrap();
    while next() != "STOPPING=1\n" {}
    let pid = std::fs::read_to_string(pid_file).unwrap();
    let limit = Instant::now() + Duration::from_secs(10);
    while Path::new("/proc").join(pid.trim()).join("exe").exists() {
        assert!(Instant::now() < limit, "it goes on without its terminal");
        std::thread::sleep(Duration::from_millis(20));
    }
}
