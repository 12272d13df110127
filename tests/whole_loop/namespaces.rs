//! Namespaces by name, path and process, and all of them at once. What is about all runs on a machine of its own:
//! with its own /run, its own processes and its own network, so that nobody else's namespaces are found there.

use crate::support::{Host, NAME, RULES, Run, kinds, lines, skipped};
use fwdrift::evidence::{Collector, enable_guard};
use fwdrift::sys::netns::Netns;
use serde_json::Value;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

const WEB: &str = "table ip web { chain in { type filter hook input priority 0; tcp dport 80 accept; }; }";

/// Processes, mounts and a network apart from this machine's; all of it goes with its first process.
struct Machine {
    first: Child,
    pid: u32,
    dir: tempfile::TempDir,
    groups: Vec<PathBuf>,
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("repo = {:?}\nhost = {NAME:?}\n", dir.path().join("repo"));
        std::fs::write(dir.path().join("config.toml"), config).unwrap();
        let script = "mount -t tmpfs none /run; mount -t tmpfs none /var/lib; mkdir /run/netns; echo up; exec sleep 900";
        let mut command = Command::new("/usr/bin/unshare");
        command.args([
            "-mnpf",
            "--mount-proc",
            "--propagation",
            "private",
            "--kill-child",
            "/bin/sh",
            "-ec",
            script,
        ]);
        let mut first = command.stdout(Stdio::piped()).spawn().unwrap();
        first.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", first.id());
        let pid = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        Self { first, pid, dir, groups: Vec::new() }
    }

    fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", self.dir.path());
        command.args(["-t", &self.pid.to_string(), "-m", "-n", "-p", program]).stdin(Stdio::null());
        command
    }

    /// Runs a script on the machine; gives what it printed.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let output = self.enter("/bin/sh").args(["-ec", script]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    fn run(&self, args: &[&str]) -> Run {
        let mut command = self.enter(env!("CARGO_BIN_EXE_fwdrift"));
        command.arg("--config").arg(self.dir.path().join("config.toml")).args(args).output().unwrap().into()
    }

    #[track_caller]
    fn json(&self, args: &[&str], code: i32) -> Value {
        let text = self.run(&[args, &["--format", "json"]].concat()).ended(code);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// Starts a process in a namespace of its own; its number on the machine and here.
    fn contain(&self) -> (String, u32) {
        let known = self.children();
        let pid = self.sh("unshare -n sleep 800 >/dev/null 2>&1 & echo $!");
        let wait = "i=0; while [ \"$(readlink /proc/$1/ns/net)\" = \"$(readlink /proc/self/ns/net)\" ]; do
                    i=$((i+1)); test $i -lt 200; sleep 0.02; done";
        let pid = pid.trim().to_owned();
        self.sh(&format!("set -- {pid}; {wait}"));
        let here = self.children().into_iter().find(|child| !known.contains(child)).unwrap();
        (pid, here)
    }

    /// The processes that the first one has taken over.
    fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Puts a process into a control group of this name, as a container engine does.
    fn group(&mut self, name: &str, here: u32) -> bool {
        let unified = Path::new("/sys/fs/cgroup/unified");
        let root = if unified.exists() { unified } else { Path::new("/sys/fs/cgroup") };
        let group = root.join(name);
        let done = std::fs::create_dir(&group)
            .and_then(|()| std::fs::write(group.join("cgroup.procs"), here.to_string()));
        self.groups.push(group);
        if let Err(error) = &done {
            skipped(&format!("no control group can be made: {error}"));
        }
        done.is_ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        drop(self.first.kill());
        drop(self.first.wait());
        for group in &self.groups {
            for _ in 0..100 {
                if std::fs::remove_dir(group).is_ok() || !group.exists() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

/// `host verdict` of each result, then `netns state` of each other.
fn told(all: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let results = all["results"].as_array().unwrap().iter();
    let results = results.map(|result| format!("{} {}", text(&result["host"]), text(&result["verdict"])));
    let others = all["others"].as_array().unwrap().iter();
    results
        .chain(others.map(|other| format!("{} {}", text(&other["netns"]), text(&other["state"]))))
        .collect()
}

#[test]
fn a_named_namespace_has_a_baseline_and_a_ledger_of_its_own() {
    let machine = Machine::new();
    machine.sh(&format!("nft '{}'; ip netns add blue; ip netns exec blue nft '{WEB}'", RULES));
    machine.run(&["init"]).ended(0);
    let missing = machine.run(&["--netns", "blue", "check"]).failed();
    assert!(missing.contains("db-01@blue") && missing.contains("init --netns blue"), "{missing}");
    machine.run(&["--netns", "blue", "init"]).ended(0);
    machine.run(&["check"]).ended(0);
    machine.run(&["--netns", "blue", "check"]).ended(0);
    machine.sh("ip netns exec blue nft add rule ip web in tcp dport 443 accept");
    machine.run(&["check"]).ended(0);
    let text = machine.run(&["--netns", "blue", "check"]).ended(1);
    assert!(text.starts_with("DRIFT  db-01@blue: 1 unapproved change"), "{text}");
    assert!(text.contains("ip netns exec blue nft delete rule ip web in handle N"), "{text}");
    machine.run(&["record", "-q"]).ended(0);
    // By its path, by its process, and by the name of the host: the same namespace, the same ledger.
    let (path, pid) =
        ("/run/netns/blue", machine.sh("ip netns exec blue sleep 700 >/dev/null 2>&1 & echo $!"));
    let pid = format!("pid:{}", pid.trim());
    machine.sh("sleep 0.3");
    for given in [&["--netns", path][..], &["--netns", &pid], &["--host", "db-01@blue"]] {
        let result = machine.json(&[given, &["check"]].concat(), 1);
        assert_eq!((&result["host"], &result["netns"]), (&"db-01@blue".into(), &"blue".into()), "{given:?}");
        assert_eq!(result["baseline"]["path"], "baselines/db-01@blue");
    }
    machine.run(&["--netns", "blue", "record"]).ended(1);
    let logged =
        |args: &[&str]| machine.json(&[args, &["log"]].concat(), 0)["events"].as_array().unwrap().clone();
    assert_eq!(kinds(&logged(&["--netns", "blue"])), ["drift", "approved"]);
    assert_eq!(kinds(&logged(&["--host", "db-01@blue"])), ["drift", "approved"]);
    assert_eq!(kinds(&logged(&[])), ["approved"]);
    assert_eq!(logged(&["--netns", "blue"])[0]["netns"], "blue");
    machine.run(&["--netns", "blue", "approve", "--yes"]).ended(0);
    machine.run(&["--netns", "blue", "check"]).ended(0);
    machine.run(&["check"]).ended(0);
    let report = machine.run(&["--netns", "blue", "report"]).ended(0);
    assert!(report.contains("db-01@blue"), "{report}");
    machine.run(&["--netns", "blue", "show", "2"]).ended(0);
    // The ledger stays readable when the namespace is gone; a look says what is missing.
    machine.sh("ip netns pids blue | xargs kill; ip netns del blue");
    assert_eq!(kinds(&logged(&["--netns", "blue"])), ["approved", "drift", "approved"]);
    assert!(machine.run(&["--netns", "blue", "check"]).failed().contains("/run/netns/blue"));
}

#[test]
fn digits_are_a_name_where_there_is_one_and_else_a_process() {
    let machine = Machine::new();
    let (pid, _) = machine.contain();
    machine.sh(&format!("nsenter -t {pid} -n nft '{WEB}'"));
    machine.run(&["--netns", &format!("pid:{pid}"), "init"]).ended(0);
    for given in [pid.clone(), format!("pid:{pid}"), format!("/proc/{pid}/ns/net")] {
        let result = machine.json(&["--netns", &given, "check"], 0);
        assert_eq!(
            result["host"], NAME,
            "{given}: without a name it is compared with the baseline that --host names"
        );
    }
    machine.sh(&format!("ip netns add {pid}"));
    let text = machine.run(&["--netns", &pid, "check"]).failed();
    assert!(text.contains(&format!("db-01@{pid}")), "{text}");
    machine.run(&["--netns", &pid, "init"]).ended(0);
    machine.run(&["--netns", &format!("pid:{pid}"), "check"]).ended(0);
    // What has a baseline is never taken for a process.
    machine.sh(&format!("ip netns del {pid}"));
    assert!(machine.run(&["--netns", &pid, "check"]).failed().contains(&format!("/run/netns/{pid}")));
    for (given, words) in
        [("pid:0", "number of a process"), ("pid:x", "number of a process"), ("pid:999999", "/proc/999999")]
    {
        assert!(machine.run(&["--netns", given, "check"]).failed().contains(words), "{given}");
    }
}

#[test]
fn all_namespaces_are_looked_at_and_each_has_its_own_baseline() {
    let machine = Machine::new();
    machine.sh(&format!(
        "nft '{}'; for n in blue green empty; do ip netns add $n; done; touch /run/netns/left
         ip netns add netns-5c2b1f0e-1d2c-4b3a-9f8e-0123456789ab
         ip netns exec blue nft '{WEB}'; ip netns exec green nft '{WEB}'",
        RULES
    ));
    machine.run(&["init"]).ended(0);
    machine.run(&["--netns", "blue", "init"]).ended(0);
    // Rules without a baseline: nobody can say whether they are approved.
    let all = machine.json(&["check", "--all-netns"], 2);
    let uuid = "netns-5c2b1f0e-1d2c-4b3a-9f8e-0123456789ab empty";
    let green =
        ["db-01 in_sync", "db-01@blue in_sync", "empty empty", "green no_baseline", "left gone", uuid];
    assert_eq!(
        (told(&all), &all["schema"]),
        (green.map(str::to_owned).to_vec(), &"fwdrift.check-all/1".into())
    );
    let text = machine.run(&["check", "--all-netns"]).ended(2);
    assert!(
        text.contains(
            "UNKNOWN  db-01@green: it holds rules, and has no baseline; `fwdrift init --netns green`"
        )
    );
    let made = machine.json(&["init", "--all-netns"], 0);
    assert_eq!(told(&made)[..2], ["db-01@empty in_sync", "db-01@green in_sync"], "{made}");
    machine.run(&["check", "--all-netns"]).ended(0);
    assert_eq!(machine.run(&["record", "--all-netns", "-q"]).ended(0), "");
    // Drift in one of them is drift of the whole, found in that one only.
    machine.sh("ip netns exec green nft add rule ip web in tcp dport 443 accept; ip netns exec empty nft add table t");
    let all = machine.json(&["check", "--all-netns"], 1);
    assert_eq!(
        told(&all)[..4],
        ["db-01 in_sync", "db-01@blue in_sync", "db-01@empty drift", "db-01@green drift"]
    );
    assert_eq!(
        lines(all["results"][3]["changes"].as_array().unwrap()),
        ["added rule ip web/in: - -> tcp dport 443 accept"]
    );
    let text = machine.run(&["check", "--all-netns"]).ended(1);
    assert!(text.contains("--netns green approve --reviewed"), "{text}");
    // What other runs do in their scratch namespaces is nobody's firewall.
    for _ in 0..3 {
        let fwdrift = env!("CARGO_BIN_EXE_fwdrift");
        let config = machine.dir.path().join("config.toml");
        let busy = format!(
            "for i in 1 2 3 4; do {fwdrift} --config {} --netns green check >/dev/null & done",
            config.display()
        );
        machine.sh(&busy);
        let all = machine.json(&["check", "--all-netns"], 1);
        assert!(!told(&all).iter().any(|line| line.starts_with("pid ")), "{all}");
    }
    let recorded = machine.json(&["record", "--all-netns"], 1);
    let counts: Vec<usize> = recorded["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["events"].as_array().unwrap().len())
        .collect();
    assert_eq!(counts, [0, 0, 1, 1], "{recorded}");
    assert_eq!(machine.run(&["record", "--all-netns", "-q"]).ended(1), "");
    // What is gone is no drift: a gap in its ledger, once; the others are recorded all the same.
    machine.sh("ip netns del green; ip netns del empty; ip netns exec blue nft add table ip more");
    let recorded = machine.json(&["record", "--all-netns"], 1);
    assert!(told(&recorded).contains(&"db-01@blue drift".to_owned()), "{recorded}");
    assert!(told(&recorded).contains(&"green gone".to_owned()), "{recorded}");
    machine.run(&["--netns", "blue", "approve", "--yes"]).ended(0);
    machine.run(&["record", "--all-netns"]).ended(0);
    machine.run(&["check", "--all-netns"]).ended(0);
    let log = machine.json(&["--netns", "green", "log"], 0);
    assert_eq!(kinds(log["events"].as_array().unwrap()), ["gap", "drift", "approved"]);
    // And when it is back, it is compared with the same baseline.
    machine.sh(&format!("ip netns add green; ip netns exec green nft '{WEB}'"));
    let recorded = machine.json(&["record", "--all-netns"], 0);
    assert!(told(&recorded).contains(&"db-01@green in_sync".to_owned()), "{recorded}");
}

#[test]
fn one_namespace_that_cannot_be_recorded_keeps_no_other_from_it() {
    let machine = Machine::new();
    machine.sh(&format!(
        "for n in a b c; do ip netns add $n; ip netns exec $n nft '{WEB}'; done; nft add table x"
    ));
    machine.run(&["init", "--all-netns"]).ended(0);
    machine.sh("for n in a b c; do ip netns exec $n nft add table ip more; done");
    let repo = machine.dir.path().join("repo");
    let head = std::fs::read_to_string(repo.join(".git/refs/heads/live/db-01@a")).unwrap();
    std::fs::remove_file(repo.join(format!(".git/objects/{}/{}", &head[..2], head[2..].trim()))).unwrap();
    let recorded = machine.json(&["record", "--all-netns"], 1);
    assert_eq!(told(&recorded), ["db-01 in_sync", "db-01@b drift", "db-01@c drift", "a failed"]);
    let reason = recorded["others"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("damaged"), "{reason}");
}

#[test]
fn the_namespaces_of_running_containers_are_found_by_the_names_that_outlive_them() {
    let mut machine = Machine::new();
    let unique = format!("fwdrift{}", machine.pid);
    let id = format!("{:0>64}", format!("{:x}", machine.pid));
    machine.sh(&format!(
        "nft add table x; mkdir -p /var/lib/docker/containers/{id}
         echo '{{\"ID\":\"{id}\",\"Name\":\"/{unique}\",\"Driver\":\"overlay2\"}}' > /var/lib/docker/containers/{id}/config.v2.json"
    ));
    let (stray, _) = machine.contain();
    let (first, here) = machine.contain();
    if !machine.group(&format!("lxc.payload.{unique}"), here) {
        return;
    }
    let (docker, here) = machine.contain();
    assert!(machine.group(&format!("docker-{id}.scope"), here));
    machine.run(&["init"]).ended(0);
    let (lxc_name, docker_name) = (format!("lxc-{unique}"), format!("docker-{unique}"));
    let stray_name = format!("pid {stray} (sleep)");
    let all = machine.json(&["check", "--all-netns"], 0);
    let empty = |name: &str| format!("{name} empty");
    assert_eq!(
        told(&all),
        ["db-01 in_sync".to_owned(), empty(&docker_name), empty(&lxc_name), empty(&stray_name)]
    );
    for pid in [&stray, &first, &docker] {
        machine.sh(&format!("nsenter -t {pid} -n nft '{WEB}'"));
    }
    let all = machine.json(&["check", "--all-netns"], 2);
    let missing = |name: &str| format!("{name} no_baseline");
    let stray_state = format!("{stray_name} no_stable_name");
    assert_eq!(told(&all)[1..], [missing(&docker_name), missing(&lxc_name), stray_state.clone()]);
    machine.run(&["init", "--all-netns"]).ended(0);
    let all = machine.json(&["check", "--all-netns"], 0);
    let in_sync = |name: &str| format!("db-01@{name} in_sync");
    assert_eq!(
        told(&all),
        ["db-01 in_sync".to_owned(), in_sync(&docker_name), in_sync(&lxc_name), stray_state]
    );
    // Made anew: another process and another namespace, the same name.
    machine.sh(&format!("kill {first}"));
    let (second, here) = machine.contain();
    std::fs::write(machine.groups[0].join("cgroup.procs"), here.to_string()).unwrap();
    machine.sh(&format!("nsenter -t {second} -n nft '{WEB}'"));
    machine.run(&["--netns", &lxc_name, "check"]).ended(0);
    machine.sh(&format!("nsenter -t {second} -n nft add table ip evil"));
    let text = machine.run(&["--netns", &lxc_name, "check"]).ended(1);
    assert!(text.contains("nsenter -t PID -n nft delete table ip evil"), "{text}");
    assert!(told(&machine.json(&["check", "--all-netns"], 1)).contains(&format!("db-01@{lxc_name} drift")));
}

#[test]
fn what_is_about_one_namespace_refuses_all_of_them() {
    let machine = Machine::new();
    for command in
        [&["approve"][..], &["log"], &["show", "1"], &["report"], &["diff", "live", "baseline"], &["doctor"]]
    {
        let text = machine.run(&[command, &["--all-netns"]].concat()).failed();
        assert!(text.contains("--all-netns") && text.contains("--netns NAME"), "{text}");
    }
    assert_eq!(machine.run(&["check", "--all-netns", "--netns", "x"]).code, Some(2));
    assert!(
        machine.run(&["--host", "a@b", "check", "--all-netns"]).failed().contains("one network namespace")
    );
}

/// A namespace below this machine's own /run/netns: the audit records are only to be had there.
struct Named(String);

impl Named {
    fn new() -> Self {
        let named = Self(format!("fwdrift-test-{}", std::process::id()));
        named.make();
        named
    }

    fn make(&self) {
        assert!(Command::new("/usr/sbin/ip").args(["netns", "add", &self.0]).status().unwrap().success());
    }

    fn remove(&self) -> bool {
        Command::new("/usr/sbin/ip")
            .args(["netns", "del", &self.0])
            .status()
            .is_ok_and(|status| status.success())
    }

    fn open(&self) -> Netns {
        Netns::open(&Path::new("/run/netns").join(&self.0)).unwrap()
    }

    #[track_caller]
    fn login(&self, uid: u32, commands: &str) {
        let script = "echo $0 > /proc/self/loginuid; /usr/sbin/nft \"$1\"; exit $?";
        let mut sh = Command::new("/bin/sh");
        sh.args(["-ec", script, &uid.to_string(), commands]);
        let status = self.open().run(|| sh.status().unwrap()).unwrap();
        assert!(status.success(), "{commands}");
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        self.remove();
    }
}

#[test]
fn a_namespace_made_anew_under_the_same_name_is_not_joined_with_the_old_one() {
    let host = Host::bare();
    let named = Named::new();
    let log = host.path("audit.log");
    let _auditing = enable_guard().unwrap();
    let first = Collector::start(named.open().as_fd(), log.clone()).unwrap();
    let table = "table ip t { chain c { type filter hook input priority 0; }; }";
    let run = |args: &[&str]| host.here(&[&["--netns", &named.0], args].concat());
    let record = || -> Vec<Value> {
        let result: Value = serde_json::from_str(&run(&["record", "--format", "json"]).stdout).unwrap();
        result["events"].as_array().unwrap().clone()
    };
    named.login(3_100_005, table);
    named.login(3_100_005, "add rule ip t c tcp dport 1 accept");
    run(&["init"]).ended(0);
    assert!(first.settle().unwrap());
    drop(first);
    assert!(named.remove());
    named.make();
    let second = Collector::start(named.open().as_fd(), log).unwrap();
    // As many transactions as the old one had, by one login, and one more by another.
    named.login(3_100_005, table);
    named.login(3_100_005, "add rule ip t c tcp dport 2 accept");
    named.login(3_100_006, "add rule ip t c tcp dport 3 accept");
    assert!(second.settle().unwrap());
    let check: Value = serde_json::from_str(&run(&["check", "--format", "json"]).ended(1)).unwrap();
    let events = record();
    assert_eq!(kinds(&events), ["drift"], "{events:#?}");
    for change in [&check, &events[0]].into_iter().flat_map(|found| found["changes"].as_array().unwrap()) {
        assert_eq!(change["author"]["evidence"], "none", "{change}");
    }
    assert!(record().is_empty());
    // Within the new one, generations count again.
    named.login(3_100_007, "add table ip u");
    assert!(second.settle().unwrap());
    assert_eq!(record()[0]["author"]["auid"], 3_100_007);
    drop(second);
    // Made anew with the same rules: nothing happened between two looks that anybody could have undone.
    assert!(named.remove());
    named.make();
    named.login(
        3_100_005,
        &format!("{table}; add rule ip t c tcp dport 2 accept; add rule ip t c tcp dport 3 accept"),
    );
    named.login(3_100_005, "add table ip u");
    for _ in 0..8 {
        named.login(3_100_008, "add table ip v; delete table ip v");
    }
    assert!(record().is_empty());
}
