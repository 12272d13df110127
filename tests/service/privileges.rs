//! fwdrift with no more rights than the units leave it, outside of any container: their capabilities, no new privileges,
//! a read-only file system but for the state directory, no home directories. Only here is the kernel's audit to be had,
//! which belongs to the first namespaces. Needs root. (The system call filters are tried in `sandbox`.)

use super::container::shipped;
use fwdrift::evidence::{Collector, enable_guard, status};
use fwdrift::sys::netns::Netns;
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use serde_json::Value;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const RECORD: &str = "fwdrift-record.service";
const WATCH: &str = "fwdrift-watch.service";
const LOGIN: u32 = 3_100_021;

/// In: a state directory, the capabilities for setpriv(1), a command. Runs it as the unit would.
const SANDBOX: &str = r#"
set -e
state=$1 capabilities=$2; shift 2
mount --make-rprivate /
mount --rbind "$state" "$state"
mount --bind "$state/home" /root
mount -t proc -o hidepid=invisible proc /proc
awk '{print $5}' /proc/self/mountinfo | while read -r place; do
    case $place in "$state" | /dev | /dev/* | /proc) ;; *) mount -o remount,bind,ro "$place" 2>/dev/null || : ;; esac
done
mount -t tmpfs tmpfs /tmp
! touch /fwdrift-can-write 2>/dev/null
exec setpriv --no-new-privs --inh-caps=-all --bounding-set="$capabilities" "$@"
"#;

/// What the files' `CapabilityBoundingSet=` lines add up to.
fn capabilities(files: &[&str]) -> Vec<String> {
    let text: String = files.iter().map(|file| std::fs::read_to_string(shipped(file)).unwrap()).collect();
    let lines = text.lines().filter_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    lines.flat_map(str::split_whitespace).map(|name| name[4..].to_lowercase()).collect()
}

/// As setpriv(1) takes them.
fn bounding_set(names: &[String]) -> String {
    names.iter().fold("-all".to_owned(), |set, name| format!("{set},+{name}"))
}

fn sh(script: &str, args: &[&str]) -> Output {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, "sh"]).args(args).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
}

/// A state directory, outside of /tmp and the home directories, which the sandbox hides.
struct State {
    dir: tempfile::TempDir,
}

impl State {
    fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        let path = if name.is_empty() { self.dir.path().to_owned() } else { self.dir.path().join(name) };
        path.to_str().unwrap().to_owned()
    }

    /// With a copy of a program: its own directory may be hidden in the sandbox.
    fn with(&self, program: &Path) -> String {
        let copy = self.path(program.file_name().unwrap().to_str().unwrap());
        std::fs::copy(program, &copy).unwrap();
        copy
    }
}

#[test]
fn record_works_with_the_capabilities_of_its_unit() {
    let state = State::new();
    let fwdrift = state.with(Path::new(env!("CARGO_BIN_EXE_fwdrift")));
    let story = format!(
        r#"
set -e
nft -f "$1"
iptables-nft -A INPUT -p tcp --dport 99 -j DROP
iptables-legacy -A INPUT -p tcp --dport 98 -j DROP
chmod 000 "$2/home"
fwdrift() {{ "{fwdrift}" --repo "$2/repo" --host db-01 "$1"; }}
fwdrift init "$2"
nft insert rule inet filter input tcp dport 3306 drop
iptables-nft -A INPUT -p tcp --dport 97 -j DROP
iptables-legacy -A INPUT -p tcp --dport 96 -j DROP
rm -rf "$2/repo/.git/fwdrift/cache"
exec unshare --mount /bin/sh -c "$3" sh "$2" "$4" "{fwdrift}" --repo "$2/repo" --host db-01 record
"#
    );
    let ruleset = concat!(env!("CARGO_MANIFEST_DIR"), "/baselines/database-server/nft/inet-filter.nft");
    let allowed = bounding_set(&capabilities(&[RECORD, "fwdrift-legacy.conf"]));
    let args = [ruleset, &state.path(""), SANDBOX, &allowed];
    let output = sh("exec unshare --net /bin/sh -c \"$@\"", &[&[story.as_str(), "sh"], &args[..]].concat());
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "3 changes",
        "+ tcp dport 3306 drop",
        "--dport 97",
        "--dport 96",
        "event 2, 3 differences are open now",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
}

/// A process that does not outlive its test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A network namespace that lives as long as this, with the path of its file.
struct Watched {
    holder: Kept,
}

impl Watched {
    fn new() -> Self {
        let holder = Command::new("/usr/bin/unshare").args(["--net", "/bin/sleep", "600"]).spawn().unwrap();
        let watched = Self { holder: Kept(holder) };
        let own = std::fs::read_link("/proc/self/ns/net").unwrap();
        let limit = Instant::now() + Duration::from_secs(10);
        while std::fs::read_link(watched.path()).unwrap() == own {
            assert!(Instant::now() < limit, "no namespace was made");
            std::thread::sleep(Duration::from_millis(5));
        }
        watched
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.holder.0.id()))
    }

    /// A script inside, by a login.
    fn login(&self, script: &str) {
        let enter = "echo \"$2\" > /proc/self/loginuid; nsenter --net=\"$1\" /bin/sh -ec \"$3\"; exit $?";
        let output = sh(enter, &[self.path().to_str().unwrap(), &LOGIN.to_string(), script]);
        assert!(output.status.success(), "{output:?}");
    }
}

/// Does something on a thread that has these capabilities and no others.
fn with_capabilities<T: Send>(names: &[String], work: impl FnOnce() -> T + Send) -> T {
    let set = names.iter().fold(CapabilitySet::empty(), |set, name| {
        set | match name.as_str() {
            "net_admin" => CapabilitySet::NET_ADMIN,
            "sys_admin" => CapabilitySet::SYS_ADMIN,
            "audit_control" => CapabilitySet::AUDIT_CONTROL,
            "audit_read" => CapabilitySet::AUDIT_READ,
            other => panic!("CAP_{other} is new: what needs it?"),
        }
    });
    let sets = CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    std::thread::scope(|scope| {
        let limited = scope.spawn(|| {
            set_capabilities(None, sets).unwrap();
            work()
        });
        limited.join().unwrap()
    })
}

#[test]
fn audit_can_be_asked_and_heard_with_the_capabilities_of_watch_and_not_with_less() {
    let _auditing = enable_guard().unwrap();
    let watched = Watched::new();
    let netns = Netns::open(&watched.path()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("audit.log");
    let start = || Collector::start(netns.as_fd(), log.clone());
    let all = capabilities(&[WATCH]);

    assert!(with_capabilities(&all, status).is_ok());
    let collector = with_capabilities(&all, start).unwrap();
    watched.login("nft add table inet heard");
    assert!(collector.settle().unwrap(), "not all records came");
    drop(collector);
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.contains("table=heard") && text.contains(&format!("auid={LOGIN}")), "{text}");

    let without = |name: &str| all.iter().filter(|other| *other != name).cloned().collect::<Vec<_>>();
    assert!(with_capabilities(&without("audit_control"), status).is_err());
    for name in ["audit_read", "sys_admin"] {
        assert!(with_capabilities(&without(name), start).is_err(), "works without {name}");
    }
    // The service for timers reads what auditd wrote, and only asks.
    let record = capabilities(&[RECORD]);
    assert!(with_capabilities(&record, status).is_ok());
    assert!(with_capabilities(&record, start).is_err());
}

/// Binds a namespace's file to a name, as `ip netns` does, approves what is there, and watches it in the sandbox.
const WATCHING: &str = r#"
set -e
state=$1 capabilities=$2 sandbox=$3 netns=$4; shift 4
mount --bind "$netns" "$state/netns"
"$@" init >/dev/null
exec /bin/sh -c "$sandbox" sh "$state" "$capabilities" "$@" watch
"#;

#[test]
fn watch_names_the_login_behind_a_change_with_the_capabilities_of_its_unit() {
    let _auditing = enable_guard().unwrap();
    let watched = Watched::new();
    watched.login("nft add table inet t");
    let state = State::new();
    let fwdrift = state.with(Path::new(env!("CARGO_BIN_EXE_fwdrift")));
    // What auditd would write.
    let netns = Netns::open(&watched.path()).unwrap();
    let _collector = Collector::start(netns.as_fd(), state.path("audit.log").into()).unwrap();
    let config = format!("audit_log = {:?}\n[watch]\npoll_seconds = 1\n", state.path("audit.log"));
    for (name, text) in [("config.toml", config.as_str()), ("netns", "")] {
        std::fs::write(state.path(name), text).unwrap();
    }
    let (config, repo, name) = (state.path("config.toml"), state.path("repo"), state.path("netns"));
    let global = ["--config", &config, "--repo", &repo, "--host", "db-01", "--netns", &name];
    let notify = UnixDatagram::bind(state.path("notify")).unwrap();
    notify.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut watch = Command::new("/usr/bin/unshare")
        .args(["--mount", "--propagation", "private", "/bin/sh", "-c", WATCHING, "sh", &state.path("")])
        .args([&bounding_set(&capabilities(&[WATCH])), SANDBOX, watched.path().to_str().unwrap(), &fwdrift])
        .args(global)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("NOTIFY_SOCKET", state.path("notify"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .map(Kept)
        .unwrap();
    let mut message = [0; 64];
    let length = notify.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1\n");

    watched.login("nft add table inet made_by_a_login");
    let events = || {
        let command = ["log", "--format", "json"];
        let output = Command::new(&fwdrift).args(&global[..6]).args(command).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["events"].as_array().unwrap().clone()
    };
    let limit = Instant::now() + Duration::from_secs(20);
    let event = loop {
        let newest = events().swap_remove(0);
        if newest["kind"] == "drift" || Instant::now() > limit {
            break newest;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let pid = watch.0.id().to_string();
    assert!(Command::new("/bin/kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = loop {
        match watch.0.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > limit => panic!("it does not stop"),
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    assert_eq!(ended.code(), Some(0));
    assert_eq!(event["author"]["auid"], LOGIN, "{event:#}");
    assert!(event["author"]["evidence"].as_str().unwrap().starts_with("audit"), "{event:#}");
}
