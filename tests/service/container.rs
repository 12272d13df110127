//! A machine for one test: this system's own /usr, read-only, with the built program in it; an /etc of its own; booted
//! by its own systemd. It ends with the test.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const NSPAWN: &str = "/usr/bin/systemd-nspawn";
/// Units that have no work in such a machine, and would only make its start slower.
const MASKED: [&str; 8] = [
    "console-getty.service",
    "getty.target",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
];
/// What the tools need of the host's configuration.
const FROM_HOST: [&str; 9] = [
    "alternatives",
    "group",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "nsswitch.conf",
    "passwd",
    "protocols",
];
pub const RULES: &str = "table inet filter {\n\tset blocked {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.7 }\n\t}\n\
    \tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n\t\tip saddr @blocked drop\n\
    \t\ttcp dport { 22, 80 } accept\n\t}\n}\n";

/// Says loudly that a test cannot run here; in CI that is a failure.
pub fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "in CI nothing is skipped: {why}");
}

/// What a command inside left behind.
#[derive(Debug)]
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// A tree to boot, before it is booted.
pub struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    /// With nftables.service enabled and [`RULES`] in its file, and both services' units.
    pub fn new() -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let tree = Self { dir };
        for name in ["etc/systemd/system", "etc/fwdrift", "root", "tmp", "usr", "over/bin", "var/lib"] {
            std::fs::create_dir_all(tree.path(name)).unwrap();
        }
        for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
            if let Ok(target) = std::fs::read_link(Path::new("/").join(name)) {
                symlink(target, tree.path(name)).unwrap();
            }
        }
        let etc = FROM_HOST.map(|name| Path::new("/etc").join(name));
        let there = etc.iter().filter(|path| path.exists());
        assert!(
            Command::new("/bin/cp").arg("-a").args(there).arg(tree.path("etc")).status().unwrap().success()
        );
        symlink("/usr/lib/os-release", tree.path("etc/os-release")).unwrap();
        tree.write("etc/machine-id", "5f77d21f4f1d4f0e8a3c2b1a09f8e7d6\n");
        tree.write("etc/hostname", "db-01\n");
        tree.write("etc/nftables.conf", &format!("#!/usr/sbin/nft -f\nflush ruleset\n{RULES}"));
        tree.write("etc/systemd/journald.conf", "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n");
        for unit in MASKED {
            symlink("/dev/null", tree.path(&format!("etc/systemd/system/{unit}"))).unwrap();
        }
        tree.enable("/lib/systemd/system/nftables.service", "sysinit.target");
        std::fs::copy(env!("CARGO_BIN_EXE_fwdrift"), tree.path("over/bin/fwdrift")).unwrap();
        for unit in ["fwdrift-record.service", "fwdrift-record.timer", "fwdrift-watch.service"] {
            std::fs::copy(shipped(unit), tree.path(&format!("etc/systemd/system/{unit}"))).unwrap();
        }
        tree
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), text).unwrap();
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    fn enable(&self, unit: &str, target: &str) {
        let wants = self.path(&format!("etc/systemd/system/{target}.wants"));
        std::fs::create_dir_all(&wants).unwrap();
        symlink(unit, wants.join(Path::new(unit).file_name().unwrap())).unwrap();
    }

    /// Boots it, up to the multi-user target. None, with a loud word, where that cannot be.
    pub fn boot(self) -> Option<Machine> {
        if !Path::new(NSPAWN).exists() {
            skipped("no systemd-nspawn (package systemd-container)");
            return None;
        }
        let log = std::fs::File::create(self.path("boot.log")).unwrap();
        let root = self.dir.path().to_str().unwrap();
        let nspawn = Command::new(NSPAWN)
            .args(["--boot", "--quiet", "--directory", root])
            .args(["--machine", &format!("fwdrift-test-{}", std::process::id())])
            .args(["--private-network", "--register=no", "--keep-unit", "--console=pipe", "--settings=no"])
            .args(["--link-journal=no", "--resolv-conf=off", "--timezone=off"])
            .arg(format!("--overlay-ro=/usr:{root}/over:/usr"))
            .arg("systemd.unit=multi-user.target")
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stderr(log.try_clone().unwrap())
            .stdout(log)
            .spawn()
            .unwrap();
        let mut machine = Machine { nspawn, leader: 0, tree: self };
        machine.find_leader();
        Some(machine)
    }
}

/// A unit or drop-in of the project.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(name)
}

/// A booted machine.
pub struct Machine {
    nspawn: Child,
    /// Its process 1, as this namespace counts.
    leader: u32,
    pub tree: Tree,
}

impl Machine {
    /// Process 1 of the machine is the child of systemd-nspawn that has become systemd.
    fn find_leader(&mut self) {
        let children = format!("/proc/{0}/task/{0}/children", self.nspawn.id());
        let limit = Instant::now() + Duration::from_secs(30);
        loop {
            let pids = std::fs::read_to_string(&children).unwrap_or_default();
            let comm = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let found = pids.split_whitespace().filter_map(|pid| pid.parse().ok());
            if let Some(leader) = found.into_iter().find(|pid| comm(pid) == "systemd\n") {
                self.leader = leader;
                if self.run(&["systemctl", "is-system-running"]).stdout.trim() != "offline"
                    && self.run(&["systemctl", "is-active", "multi-user.target"]).code == Some(0)
                {
                    return;
                }
            }
            assert!(self.nspawn.try_wait().unwrap().is_none(), "nspawn ended:\n{}", self.boot_log());
            assert!(Instant::now() < limit, "the machine did not boot:\n{}", self.boot_log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn boot_log(&self) -> String {
        std::fs::read_to_string(self.tree.path("boot.log")).unwrap_or_default()
    }

    /// A program inside, outside of any unit.
    pub fn run(&self, words: &[&str]) -> Run {
        let output = Command::new("/usr/bin/nsenter")
            .args(["-m", "-u", "-i", "-n", "-p", "-t", &self.leader.to_string(), "--"])
            .args(words)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SYSTEMD_PAGER", "")
            .current_dir("/")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Run { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }

    /// A shell script inside; its output.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.run(&["/bin/sh", "-ec", script]).succeeded()
    }

    /// One property of a unit.
    pub fn show(&self, unit: &str, property: &str) -> String {
        self.run(&["systemctl", "show", "--value", "-p", property, unit]).succeeded().trim().to_owned()
    }

    pub fn journal(&self, unit: &str) -> String {
        self.run(&["journalctl", "--no-pager", "-o", "cat", "-u", unit]).succeeded()
    }

    /// The ledger's events, newest first.
    pub fn log(&self) -> String {
        self.run(&["fwdrift", "log"]).stdout
    }

    /// Waits until it is so; at most `seconds`.
    #[track_caller]
    pub fn until(&self, seconds: u64, what: &str, mut is_so: impl FnMut() -> bool) {
        let limit = Instant::now() + Duration::from_secs(seconds);
        while !is_so() {
            if Instant::now() > limit {
                let journal = self.run(&["journalctl", "--no-pager", "-n", "60"]).stdout;
                panic!("not within {seconds} s: {what}\n{journal}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Process 1 takes all others of its pid namespace with it; systemd-nspawn then ends by itself.
        if self.leader != 0 {
            let _ = Command::new("/bin/kill").args(["-KILL", &self.leader.to_string()]).status();
        } else {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "the machine's console:\n{}", self.boot_log());
        }
    }
}
