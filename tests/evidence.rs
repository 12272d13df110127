//! The evidence of who changed what, against this machine's kernel: real nft and iptables in network
//! namespaces of their own, real audit records, real logins (`/proc/self/loginuid`). Needs root in the
//! first namespaces. Auditing is turned on through the guard, and put back.

use chrono::{DateTime, Utc};
use fwdrift::attribute::{Attribution, Evidences, Look, attribute, by_author, is_scratch};
use fwdrift::evidence::history::{self, History};
use fwdrift::evidence::{AuditSource, Collector, CollectorReport, EnableGuard, People, enable_guard, status};
use fwdrift::model::{Author, Change, ChangeKind, Evidence, ObjectKind, Source};
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// No account has it, so its name is the number.
const NOBODY_KNOWN: u32 = 3_100_005;

/// A named network namespace, removed when dropped.
struct Netns {
    name: String,
}

impl Netns {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fwev{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(Command::new("/usr/sbin/ip").args(["netns", "add", &name]));
        Self { name }
    }

    fn file(&self) -> File {
        File::open(format!("/run/netns/{}", self.name)).unwrap()
    }

    /// Runs a piece of this very program inside, in a thread of its own.
    fn inside(&self, work: impl FnOnce() + Send) {
        let file = self.file();
        let enter = || {
            let namespace = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(file.as_fd(), namespace).unwrap();
            work();
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap());
    }

    /// Runs a shell script inside, by this login (`None`: no login).
    fn script(&self, login: Option<u32>, script: &str) {
        run(&mut self.command(login, script));
    }

    fn command(&self, login: Option<u32>, script: &str) -> Command {
        let enter = login.map_or_else(String::new, |uid| format!("echo {uid} > /proc/self/loginuid; "));
        let inside = format!("{enter}exec /usr/bin/nsenter --net=/run/netns/{} /bin/sh -c \"$0\"", self.name);
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", &inside, script]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    /// Runs one nft command by this login.
    fn nft(&self, login: Option<u32>, command: &str) {
        // As a child: audit keeps a task's first command line, also when it becomes another program.
        self.script(login, &format!("nft '{command}'; exit $?"));
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("/usr/sbin/ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A namespace whose audit records are collected while auditing is on.
struct Watched {
    netns: Netns,
    collector: Option<Collector>,
    log: PathBuf,
    _dir: tempfile::TempDir,
    _auditing: EnableGuard,
}

impl Watched {
    fn new() -> Self {
        let auditing = enable_guard().unwrap();
        let netns = Netns::new();
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("audit.log");
        let collector = Collector::start(netns.file().as_fd(), log.clone()).unwrap();
        Self { netns, collector: Some(collector), log, _dir: dir, _auditing: auditing }
    }

    fn settle(&self) {
        assert!(self.collector.as_ref().unwrap().settle().unwrap(), "an audit event did not come");
    }

    fn stop(&mut self) -> CollectorReport {
        self.collector.take().unwrap().stop().unwrap()
    }

    fn look(&self, generation: u32) -> Look {
        Look { boot_id: "this boot".to_owned(), netns_cookie: None, generation, time: Utc::now() }
    }

    fn history(&self, from: DateTime<Utc>) -> History {
        history::read(&AuditSource::File(self.log.clone()), from, Utc::now())
    }

    /// Attributes changes between two looks by what the collector wrote.
    fn attribute(&self, changes: &mut [Change], before: &Look, now: &Look) -> Attribution {
        self.settle();
        let history = self.history(before.time);
        assert_eq!(history.gaps, []);
        let people = People::new();
        let evidences = Evidences {
            history: &history.events,
            names: &|uid| people.name(uid),
            covers_window: history.covers(before.time),
            unbroken: history.is_unbroken(),
            without_transaction: &|_| false,
            scratch: &|event| is_scratch(event, b"/usr/bin/fwdrift"),
        };
        attribute(changes, Some(before), now, &evidences)
    }
}

fn change(table: &str) -> Change {
    Change {
        id: format!("id of {table}"),
        name: Some(table.to_owned()),
        author: Author::unknown(None, Vec::new()),
        ..Change::new(ChangeKind::Added, Source::Nft, ("inet", table), ObjectKind::Table)
    }
}

fn lines_of(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn each_login_is_named_for_its_own_tables_with_the_kernels_time() {
    let watched = Watched::new();
    let before = watched.look(1);
    watched.netns.nft(Some(NOBODY_KNOWN), "add table inet ev_one");
    watched.netns.nft(Some(NOBODY_KNOWN), "add chain inet ev_one c");
    watched.netns.nft(Some(0), "add table inet ev_two");
    watched.netns.nft(None, "add table inet ev_three");
    let now = watched.look(5);
    let mut changes = ["ev_one", "ev_two", "ev_three"].map(change);
    let joined = watched.attribute(&mut changes, &before, &now);
    let names: Vec<_> = changes.iter().map(|c| c.author.name.as_str()).collect();
    assert_eq!(names, ["uid 3100005", "root", "nft (no login)"]);
    assert!(changes.iter().all(|c| c.author.evidence == Evidence::AuditLog));
    let [one, two, three] = &changes;
    assert_eq!((one.author.auid, one.author.uid), (Some(NOBODY_KNOWN), Some(0)));
    assert_eq!((three.author.auid, three.author.exe.as_deref()), (None, Some("/usr/sbin/nft")));
    assert_eq!(two.author.comm.as_deref(), Some("nft"));
    assert_eq!(two.author.cmdline.as_deref(), Some("nft add table inet ev_two"));
    assert!(two.author.session.is_some() && two.author.pid.is_some());
    let times: Vec<_> = changes.iter().map(|c| c.time.unwrap()).collect();
    assert!(times.is_sorted() && times[2] <= now.time, "{times:?}");
    assert!(times[0] >= before.time - chrono::TimeDelta::milliseconds(10));
    assert_eq!(joined.generations_of(one), [2, 3]);
    assert_eq!(joined.generations_of(two), [4]);
    assert_eq!(joined.generations_of_all(&changes), [2, 3, 4, 5]);
    assert_eq!(by_author(changes.into()).len(), 3);
}

#[test]
fn tables_of_iptables_nft_have_authors_too() {
    let watched = Watched::new();
    let before = watched.look(1);
    watched.netns.script(Some(1005), "exec iptables-nft -A INPUT -p tcp --dport 3306 -j DROP");
    watched.netns.script(Some(1006), "exec ip6tables-nft -A INPUT -p tcp --dport 3306 -j DROP");
    let of =
        |family: &str| Change { source: Source::IptablesNft, family: family.to_owned(), ..change("filter") };
    let mut changes = [of("ip"), of("ip6")];
    watched.settle();
    let written = lines_of(&watched.log).join("\n");
    let last =
        (2..9).rev().find(|generation| written.contains(&format!("table=filter:{generation} "))).unwrap();
    watched.attribute(&mut changes, &before, &watched.look(last));
    assert_eq!(changes.each_ref().map(|c| c.author.auid), [Some(1005), Some(1006)], "{written}");
    assert_eq!(changes[0].author.comm.as_deref(), Some("iptables-nft"));
}

#[test]
fn a_table_changed_by_two_logins_is_unknown_with_both_as_candidates() {
    let watched = Watched::new();
    let before = watched.look(1);
    watched.netns.nft(Some(1005), "add table inet ev_shared");
    let between = watched.look(2);
    watched.netns.nft(Some(1006), "add chain inet ev_shared c");
    let now = watched.look(3);
    let mut changes = [change("ev_shared")];
    watched.attribute(&mut changes, &before, &now);
    assert_eq!(changes[0].author.name, "unknown");
    assert_eq!(changes[0].time, None);
    let candidates: Vec<_> = changes[0].author.candidates.iter().map(|c| c.auid).collect();
    assert_eq!(candidates, [Some(1005), Some(1006)]);
    watched.attribute(&mut changes, &between, &now);
    assert_eq!(changes[0].author.auid, Some(1006), "a look between the two tells them apart");
}

#[test]
fn a_change_in_another_namespace_is_never_mixed_in() {
    let mut watched = Watched::new();
    let other = Netns::new();
    let before = watched.look(1);
    // The same names, the same generations, at the same time, by another login.
    std::thread::scope(|scope| {
        for (netns, login) in [(&watched.netns, 1005), (&other, 1006)] {
            scope.spawn(move || {
                netns.nft(Some(login), "add table inet ev_same");
                for _ in 0..20 {
                    netns.nft(Some(login), "add chain inet ev_same c; add rule inet ev_same c accept");
                }
            });
        }
    });
    let now = watched.look(22);
    let mut changes = [change("ev_same")];
    let joined = watched.attribute(&mut changes, &before, &now);
    assert_eq!(changes[0].author.auid, Some(1005), "{:?}", changes[0].author);
    assert_eq!(joined.generations_of(&changes[0]), (2..=22).collect::<Vec<u32>>());
    let report = watched.stop();
    assert_eq!((report.events, report.unmatched, report.overflows), (21, 0, 0));
    assert!(lines_of(&watched.log).iter().all(|line| !line.contains("auid=1006")));
}

#[test]
fn records_of_two_namespaces_in_one_history_are_not_told_apart_by_guessing() {
    let watched = Watched::new();
    let other = Watched::new();
    let before = watched.look(1);
    watched.netns.nft(Some(1005), "add table inet ev_both");
    other.netns.nft(Some(1006), "add table inet ev_other");
    other.settle();
    let now = watched.look(2);
    // As auditd writes them: one log for all namespaces.
    let mut all = std::fs::read(&watched.log).unwrap();
    all.extend(std::fs::read(&other.log).unwrap());
    std::fs::write(&watched.log, all).unwrap();
    let mut changes = [change("ev_both")];
    watched.attribute(&mut changes, &before, &now);
    assert!(!changes[0].author.is_known(), "{:?}", changes[0].author);
    assert_eq!(changes[0].author.candidates.len(), 1);
}

#[test]
fn a_multi_threaded_program_is_joined_though_the_kernel_names_its_thread() {
    // NEWGEN carries the thread's id, audit the process's.
    let mut watched = Watched::new();
    watched.netns.inside(|| {
        add_table(b"ev_thread");
        watched.settle();
    });
    let report = watched.stop();
    assert_eq!((report.events, report.unmatched), (1, 0));
    let written = lines_of(&watched.log);
    let own = format!("pid={}", std::process::id());
    assert!(
        written.iter().any(|line| line.contains("table=ev_thread:2") && line.contains(&own)),
        "{written:?}"
    );
}

#[test]
fn a_burst_of_commits_is_collected_whole() {
    const COMMITS: u64 = 1000;
    let mut watched = Watched::new();
    watched.netns.inside(|| {
        for number in 0..COMMITS {
            add_table(format!("ev_burst{number}").as_bytes());
        }
        watched.settle();
    });
    let report = watched.stop();
    assert_eq!((report.events, report.unmatched, report.dropped, report.overflows), (COMMITS, 0, 0, 0));
    let history = watched.history(Utc::now() - chrono::TimeDelta::minutes(1));
    let generations: Vec<_> = history.events.iter().filter_map(|e| e.netfilter[0].generation).collect();
    assert_eq!(generations, (2..=1001).collect::<Vec<u32>>());
}

#[test]
fn a_tables_name_with_a_forged_record_in_it_names_nobody_else() {
    let watched = Watched::new();
    let before = watched.look(1);
    let forged = "x\ntype=SYSCALL msg=audit(1.000:1): arch=0 pid=1 auid=1007 uid=0 comm=\"n\" exe=\"/n\" y:9 family=2 op=nft_x";
    watched.netns.inside(|| {
        add_table(forged.as_bytes());
        // A thread that is gone can't be told to be this process's.
        watched.settle();
    });
    watched.netns.nft(Some(1005), "add table inet ev_honest");
    let mut changes = [change(forged), change("ev_honest")];
    watched.attribute(&mut changes, &before, &watched.look(3));
    // The newline is not in the log, so the forged table can't be found there by its name.
    assert!(!changes[0].author.is_known());
    assert_eq!(changes[1].author.auid, Some(1005));
    assert!(lines_of(&watched.log).iter().all(|line| !line.starts_with("type=SYSCALL msg=audit(1.000:1)")));
}

#[test]
fn a_task_that_an_audit_rule_hides_has_no_author() {
    // The rule hides tasks forked by one uid that nobody else has; `-a never,task` hides all in the same way.
    let hidden = 3_200_000 + std::process::id();
    let rule = TaskRule::never(hidden);
    let watched = Watched::new();
    let before = watched.look(1);
    let dropped = format!(
        "exec /usr/bin/setpriv --reuid={hidden} --inh-caps=+net_admin --ambient-caps=+net_admin \
         /bin/sh -c 'nft add table inet ev_hidden; true'"
    );
    watched.netns.script(Some(1005), &dropped);
    watched.netns.nft(Some(1005), "add table inet ev_seen");
    let mut changes = [change("ev_hidden"), change("ev_seen")];
    watched.attribute(&mut changes, &before, &watched.look(3));
    assert!(!changes[0].author.is_known(), "{:?}", changes[0].author);
    let candidate = &changes[0].author.candidates[0];
    assert_eq!((candidate.comm.as_deref(), candidate.auid), (Some("nft"), None));
    assert_eq!(changes[1].author.auid, Some(1005));
    assert!(!fwdrift::evidence::never_task_rule().unwrap(), "a rule with a condition does not hide all");
    drop(rule);
}

#[test]
fn a_stopped_collector_has_written_what_was_changed_just_before() {
    for _ in 0..10 {
        let mut watched = Watched::new();
        watched.netns.nft(Some(1005), "add table inet ev_late");
        let report = watched.stop();
        assert_eq!((report.events, report.unmatched, report.dropped, report.overflows), (1, 0, 0, 0));
        let written = lines_of(&watched.log);
        // Where any audit rule is loaded (another test does that), the address is recorded as well.
        let kinds = written.iter().filter_map(|line| line.split(' ').next());
        let kinds: Vec<_> = kinds.filter(|kind| *kind != "type=SOCKADDR").collect();
        let expected = ["DAEMON_START", "NETFILTER_CFG", "SYSCALL", "PROCTITLE", "EOE", "DAEMON_END"]
            .map(|k| format!("type={k}"));
        assert_eq!(kinds, expected);
    }
}

#[test]
fn a_flush_and_a_reset_of_counters_are_told_apart() {
    let watched = Watched::new();
    watched.netns.nft(Some(1005), "add table inet ev_reset; add counter inet ev_reset k");
    let before = watched.look(2);
    watched.netns.nft(Some(1006), "reset counters");
    watched.netns.nft(Some(1005), "flush ruleset");
    watched.netns.nft(Some(1006), "reset counters");
    let mut changes = [change("ev_reset")];
    watched.attribute(&mut changes, &before, &watched.look(3));
    assert_eq!(changes[0].author.auid, Some(1005), "{:?}", changes[0].author);
}

#[test]
fn the_journal_gives_the_same_events() {
    // A real journald, in a mount namespace of its own: nothing of the host's /run or journal is touched.
    // `Audit=` empty: Debian's journald turns auditing off at its start otherwise (journald.conf(5)).
    const LEGACY_LOGIN: u32 = 3_100_066;
    const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";
    let needed = [JOURNALD, "/usr/bin/journalctl", "/usr/bin/perl"];
    if needed.iter().any(|program| !Path::new(program).is_file()) {
        eprintln!("SKIPPED: no systemd-journald on this machine, so no journal to read (or no perl)");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "nothing is skipped in CI");
        return;
    }
    let _auditing = enable_guard().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let table = format!("ev_jrnl{}", std::process::id());
    // As sshd writes it: AUDIT_USER_LOGIN, by a process of the session.
    let told = "op=login id=1005 exe=\\\"/usr/sbin/sshd\\\" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=success\\0";
    let tell = format!(
        "socket(my $s, 16, 3, 9) or die; my $t = \"{told}\";
         send($s, pack(\"LSSLLa*\", 16 + length $t, 1112, 5, 1, 0, $t), 0, pack(\"SSLL\", 16, 0, 0, 0)) or die"
    );
    let script = format!(
        "mount -t tmpfs none /run; mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
         printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=\n' > /run/systemd/journald.conf.d/test.conf
         {JOURNALD} & journald=$!
         for _ in $(seq 100); do [ -e /run/systemd/journal/stdout ] && break; sleep 0.05; done; sleep 0.3
         TELL='{tell}' unshare -n sh -c 'echo 1005 > /proc/self/loginuid; perl -e \"$TELL\"; exec nft add table inet {table}'
         unshare -n nft add table inet {table}_later
         unshare -n sh -c 'echo {LEGACY_LOGIN} > /proc/self/loginuid; exec ip6tables-legacy -t mangle -A INPUT -j ACCEPT'
         sleep 1; kill $journald; wait $journald || true
         cp -r /run/log/journal/*/ {}",
        dir.path().join("kept").display()
    );
    let from = Utc::now();
    let mut unshare = Command::new("/usr/bin/unshare");
    run(unshare
        .args(["-m", "/bin/sh", "-ec", &script])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
    let source = AuditSource::Journal(Some(dir.path().join("kept")));
    let history = history::read(&source, from, Utc::now());
    let of = |name: &str| {
        let named = |e: &&fwdrift::model::AuditEvent| e.netfilter.iter().any(|c| c.table == name.as_bytes());
        history.events.iter().find(named).unwrap_or_else(|| panic!("no {name} in {history:?}"))
    };
    let event = of(&table);
    assert_eq!(event.netfilter[0].generation, Some(2));
    assert_eq!(event.syscall.as_ref().unwrap().auid, Some(1005));
    assert_eq!(event.background.remote.as_deref(), Some("192.0.2.7"), "{event:?}");
    assert!(
        event.proctitle.as_ref().unwrap().starts_with(b"sh\0-c\0"),
        "the kernel keeps the title of the shell"
    );
    assert!(!history.covers(from), "the journal began after that");
    let later = of(&format!("{table}_later"));
    assert_eq!(later.syscall.as_ref().unwrap().auid, None);
    let after = Utc::now();
    assert!(history::read(&source, after, after).covers(after), "there are records from before");
    let mut mangle =
        [Change { source: Source::IptablesLegacy, family: "ip6".to_owned(), ..change("mangle") }];
    let login = |e: &fwdrift::model::AuditEvent| e.syscall.as_ref().and_then(|s| s.auid);
    let evidences = Evidences {
        history: &history.events,
        names: &|_| None,
        covers_window: true,
        unbroken: true,
        without_transaction: &|_| false,
        // Other tests on this machine use x_tables at the same time.
        scratch: &|event| login(event) != Some(LEGACY_LOGIN),
    };
    let look = |time| Look { boot_id: String::new(), netns_cookie: None, generation: 1, time };
    attribute(&mut mangle, Some(&look(from)), &look(Utc::now()), &evidences);
    assert_eq!(mangle[0].author.auid, Some(LEGACY_LOGIN), "{:?}", mangle[0].author);
    let nothing = history::read(&AuditSource::Journal(Some(dir.path().to_owned())), from, Utc::now());
    assert!(nothing.gaps[0].reason.contains("holds no audit records"), "{nothing:?}");
}

#[test]
fn auditing_stays_on_until_the_last_guard_is_gone() {
    let first = enable_guard().unwrap();
    let second = enable_guard().unwrap();
    assert_ne!(status().unwrap().enabled, 0);
    drop(first);
    assert_ne!(status().unwrap().enabled, 0);
    let panicked = std::thread::spawn(|| {
        let _guard = enable_guard().unwrap();
        panic!("a test that fails");
    });
    assert!(panicked.join().is_err());
    assert_ne!(status().unwrap().enabled, 0);
    drop(second);
}

/// An audit rule `-a never,task -F uid=N`, deleted when dropped.
struct TaskRule(Vec<u8>);

impl TaskRule {
    fn never(uid: u32) -> Self {
        // struct audit_rule_data: flags, action, field_count, mask[64], fields[64], values[64], fieldflags[64], buflen
        let mut words = vec![0u32; 3 + 4 * 64 + 1];
        words[..3].copy_from_slice(&[1, 0, 1]);
        words[3..67].fill(u32::MAX);
        words[67] = 1; // AUDIT_UID
        words[131] = uid;
        words[195] = 0x4000_0000; // AUDIT_EQUAL
        let rule: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert_eq!(ask(rustix::net::netlink::AUDIT, &message(1011, 5, &rule)), 0, "add the rule");
        Self(rule)
    }
}

impl Drop for TaskRule {
    fn drop(&mut self) {
        assert_eq!(ask(rustix::net::netlink::AUDIT, &message(1012, 5, &self.0)), 0, "delete the rule");
    }
}

/// Adds a table of family inet from this very thread, by netlink: names may hold any bytes.
fn add_table(name: &[u8]) {
    let generic = |family: u8, resource: u16| [&[family, 0][..], &resource.to_be_bytes()].concat();
    let length = u16::try_from(name.len() + 5).unwrap();
    let mut table = generic(1, 0);
    table.extend(length.to_ne_bytes());
    table.extend([1, 0]);
    table.extend(name);
    table.resize(table.len() + 1, 0);
    table.resize(table.len().next_multiple_of(4), 0);
    let batch =
        [message(16, 1, &generic(0, 10)), message(0xa00, 0x405, &table), message(17, 1, &generic(0, 10))]
            .concat();
    assert_eq!(ask(rustix::net::netlink::NETFILTER, &batch), 0, "add a table");
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// Sends a request and gives the kernel's error number, 0 for success.
fn ask(protocol: rustix::net::Protocol, request: &[u8]) -> i32 {
    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, netlink::SocketAddrNetlink};
    let socket = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, Some(protocol)).unwrap();
    rustix::net::sendto(&socket, request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0)).unwrap();
    let mut answer = [0u8; 4096];
    rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty()).unwrap();
    i32::from_ne_bytes(answer[16..20].try_into().unwrap())
}
