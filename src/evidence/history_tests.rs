use super::*;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant, SystemTime};

const BASE: i64 = 1_795_000_000;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(BASE + second, 0).unwrap()
}

fn lines(seconds: std::ops::Range<i64>) -> String {
    seconds
        .map(|second| {
            let head = format!("msg=audit({}.000:{second}):", BASE + second);
            format!(
                "type=NETFILTER_CFG {head} table=t:{second} family=1 entries=1 op=nft_register_rule pid=7 comm=\"nft\"\n"
            )
        })
        .collect()
}

/// Writes a log that was last modified at its last line's time.
fn write(dir: &Path, name: &str, seconds: std::ops::Range<i64>) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, lines(seconds.clone())).unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs((BASE + seconds.end) as u64);
    File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    path
}

fn generations(history: &History) -> Vec<u32> {
    history.events.iter().flat_map(|e| &e.netfilter).filter_map(|cfg| cfg.generation).collect()
}

#[test]
fn rotated_files_are_read_in_order_and_only_as_far_as_needed() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "audit.log.10", 0..100);
    write(dir.path(), "audit.log.9", 100..1000);
    write(dir.path(), "audit.log.2", 1000..2000);
    write(dir.path(), "audit.log.1", 2000..3000);
    write(dir.path(), "audit.log", 3000..3100);
    fs::write(dir.path().join("audit.log.bak"), "not a rotation").unwrap();
    let source = AuditSource::Directory(dir.path().to_owned());
    let history = read(&source, at(1500), at(3050));
    assert_eq!(generations(&history), (1495..=3055).collect::<Vec<u32>>());
    assert_eq!((history.gaps.len(), history.covers_from), (0, Some(at(1000))));
    assert!(history.covers(at(1500)) && history.source.ends_with("and 2 older files"), "{}", history.source);
    let recent = read(&source, at(3090), at(3100));
    assert_eq!(generations(&recent), (3085..3100).collect::<Vec<u32>>());
}

#[test]
fn a_log_that_begins_after_the_window_does_not_cover_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "audit.log", 3000..3100);
    let history = read(&AuditSource::File(path), at(2000), at(3050));
    assert!(!history.covers(at(2000)));
    assert_eq!(history.covers_from, Some(at(3000)));
}

#[test]
fn a_file_last_written_before_the_window_proves_that_the_history_reaches_back() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "audit.log.1", 0..100);
    write(dir.path(), "audit.log", 5000..5010);
    let history = read(&AuditSource::Directory(dir.path().to_owned()), at(1000), at(5010));
    assert!(history.covers(at(1000)) && history.is_unbroken(), "{history:?}");
    assert_eq!(generations(&history), (5000..5010).collect::<Vec<u32>>());
}

#[test]
fn a_compressed_file_of_the_window_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "audit.log.1.gz", 1000..3000);
    write(dir.path(), "audit.log", 3000..3010);
    let history = read(&AuditSource::Directory(dir.path().to_owned()), at(2000), at(3010));
    assert!(!history.covers(at(2000)));
    assert!(
        history.gaps[0].reason.contains("audit.log.1.gz is compressed") && !history.gaps[0].blinds_verdict
    );
    assert!(read(&AuditSource::Directory(dir.path().to_owned()), at(3006), at(3010)).is_unbroken());
}

#[test]
fn a_missing_an_empty_and_a_torn_log_are_gaps() {
    let dir = tempfile::tempdir().unwrap();
    let reasons = |source: &AuditSource| {
        let history = read(source, at(0), at(100));
        history.gaps.iter().map(|gap| gap.reason.clone()).collect::<Vec<_>>().join("; ")
    };
    let file = |name: &str| AuditSource::File(dir.path().join(name));
    assert!(reasons(&file("none")).contains("cannot read"));
    assert!(reasons(&AuditSource::Directory(dir.path().join("none"))).contains("cannot read"));
    assert!(
        reasons(&AuditSource::Directory(dir.path().to_owned()))
            .contains("no audit log holds no audit records")
    );
    write(dir.path(), "empty", 0..0);
    File::options()
        .write(true)
        .open(dir.path().join("empty"))
        .unwrap()
        .set_modified(SystemTime::now())
        .unwrap();
    assert!(reasons(&file("empty")).contains("holds no audit records"));
    fs::write(dir.path().join("torn"), format!("{}type=SYSCALL msg=audit(17", lines(1..3))).unwrap();
    assert!(reasons(&file("torn")).contains("ends in the middle of a record"));
    fs::write(dir.path().join("holed"), format!("{}\0\0\0\0\nrubbish\n{}", lines(1..3), lines(4..6)))
        .unwrap();
    assert!(reasons(&file("holed")).contains("2 audit records are cut short or garbled"));
    assert_eq!(generations(&read(&file("holed"), at(0), at(100))), [1, 2, 4, 5]);
}

#[test]
fn a_refused_file_is_a_gap_with_a_hint() {
    let mut history = History::default();
    let refused = io::Error::from(io::ErrorKind::PermissionDenied);
    unreadable(&mut history, Path::new("/var/log/audit/audit.log"), &refused);
    assert!(history.gaps[0].hint.as_deref().is_some_and(|hint| hint.contains("root")));
    // Root reads everything, so the refusal itself can only be seen by another user.
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "audit.log", 0..3);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    let readable = File::open(&path).is_ok();
    assert_eq!(read(&AuditSource::File(path), at(0), at(3)).is_unbroken(), readable);
}

#[test]
fn switched_off_auditing_and_a_stopped_daemon_are_gaps_inside_the_window_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let text = format!(
        "type=CONFIG_CHANGE msg=audit({}.000:1): op=set audit_enabled=0 old=1 auid=1005 ses=4 res=1\n\
         type=DAEMON_END msg=audit({}.000:2): op=terminate auid=0 pid=1 res=success\n\
         type=DAEMON_START msg=audit({}.000:3): op=start ver=3.0.9 format=enriched res=success\n{}",
        BASE + 50,
        BASE + 60,
        BASE + 61,
        lines(70..80),
    );
    fs::write(&path, text).unwrap();
    let source = AuditSource::File(path);
    let reasons =
        |from| read(&source, at(from), at(100)).gaps.into_iter().map(|gap| gap.reason).collect::<Vec<_>>();
    assert_eq!(reasons(40).len(), 3);
    assert!(reasons(55)[0].starts_with("the audit daemon stopped or lost records at 2026-"));
    assert!(reasons(65).is_empty());
}

#[test]
fn a_window_at_the_end_of_a_large_log_is_read_without_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "audit.log", 0..400_000);
    let begun = Instant::now();
    let history = read(&AuditSource::File(path), at(399_900), at(400_000));
    assert_eq!(history.events.len(), 105);
    assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
}

/// As sshd writes it, at a time of this boot.
fn session_start(at: i64, session: u32, auid: u32, address: &str) -> String {
    format!(
        "type=USER_START msg=audit({at}.000:7): pid=600 uid=0 auid={auid} ses={session} msg='op=PAM:session_open \
         grantors=pam_unix acct=\"ops\" exe=\"/usr/sbin/sshd\" hostname={address} addr={address} terminal=ssh \
         res=success'\n"
    )
}

fn change(at: i64, generation: u32, pid: u32, session: u32, auid: u32) -> String {
    let head = format!("msg=audit({at}.000:{}):", 1000 + generation);
    format!(
        "type=NETFILTER_CFG {head} table=t:{generation} family=1 entries=1 op=nft_register_rule pid={pid} comm=\"nft\"\n\
         type=SYSCALL {head} arch=c000003e syscall=46 success=yes pid={pid} auid={auid} uid=0 tty=pts1 ses={session} \
         comm=\"nft\" exe=\"/usr/sbin/nft\" key=(null)\n"
    )
}

#[test]
fn a_session_that_began_before_the_window_says_from_where() {
    let now = Utc::now().timestamp();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
    write("audit.log.2", session_start(now - 30, 9, 1005, "192.0.2.7"));
    // Whoever is in the session may write such a record, too, but not the first.
    write("audit.log.1", lines(0..3) + &session_start(now - 20, 9, 1005, "198.51.100.1"));
    let others = session_start(now - 9, 10, 1006, "198.51.100.2") + &session_start(now - 8, 9, 1006, "::1");
    write("audit.log", others + &change(now - 5, 2, 70, 9, 1005) + &change(now - 4, 3, 71, 11, 1005));
    let from = DateTime::from_timestamp(now - 6, 0).unwrap();
    let history = read(&AuditSource::Directory(dir.path().to_owned()), from, Utc::now());
    let remotes: Vec<_> = history.events.iter().map(|event| event.background.remote.as_deref()).collect();
    assert_eq!(remotes, [Some("192.0.2.7"), None]);
}

#[test]
fn a_session_of_an_earlier_boot_is_another_one() {
    let boot = Utc::now() - TimeDelta::from_std(crate::evidence::process::since_boot()).unwrap();
    let (before, now) = (boot.timestamp() - 3600, Utc::now().timestamp());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let text = session_start(before, 9, 1005, "192.0.2.7") + &change(now - 5, 2, 70, 9, 1005);
    fs::write(&path, text).unwrap();
    let from = DateTime::from_timestamp(now - 60, 0).unwrap();
    let history = read(&AuditSource::File(path), from, Utc::now());
    assert_eq!((history.events.len(), history.events[0].background.remote.as_deref()), (1, None));
}

#[test]
fn of_many_programs_only_those_that_changed_something_are_read() {
    let started = |serial: u32, pid: u32, argument: &str| {
        let head = format!("msg=audit({BASE}.500:{serial}):");
        format!(
            "type=SYSCALL {head} arch=c000003e syscall=59 success=yes pid={pid} auid=1005 uid=0 tty=pts1 ses=9 \
             comm=\"nft\" exe=\"/usr/sbin/nft\" key=\"exec\"\n\
             type=EXECVE {head} argc=2 a0=\"nft\" a1=\"{argument}\"\n"
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.log");
    let text = started(1, 70, "first") + &started(2, 70, "second") + &started(3, 71, "other");
    fs::write(&path, text + &change(BASE + 1, 2, 70, 9, 1005)).unwrap();
    let history = read(&AuditSource::File(path), at(0), at(10));
    assert_eq!(history.events[0].background.cmdline.as_deref(), Some(b"nft\0second".as_slice()));
    assert_eq!((history.events.len(), history.gaps.len()), (1, 0), "{history:?}");
}
