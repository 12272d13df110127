//! `fwdrift demo`, run as a newcomer runs it: real namespaces, nft, git and audit records. Needs root.

use fwdrift::evidence::{enable_guard, status};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The demo with its temporary files in `dir`, through another program if one is given.
fn demo(dir: &Path, through: &[&str]) -> Command {
    let words: Vec<&str> = [through, &[env!("CARGO_BIN_EXE_fwdrift"), "demo"]].concat();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", dir);
    command.stdin(Stdio::null());
    command
}

fn run(dir: &Path, through: &[&str]) -> (Output, String) {
    let output = demo(dir, through).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    (output, text)
}

/// Fails unless each of these stands in the text, one after the other.
fn assert_in_order(text: &str, expected: &[&str]) {
    let mut rest = text;
    for part in expected {
        let at = rest.find(part).unwrap_or_else(|| panic!("no {part:?} in the rest of\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

fn is_empty(dir: &Path) -> bool {
    std::fs::read_dir(dir).unwrap().next().is_none()
}

/// The namespaces, rules and accounts that a demo could have left on this machine.
fn host() -> Vec<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let passwd_mounts = mounts.lines().filter(|line| line.contains("/etc/passwd")).count();
    let rules = Command::new("/usr/sbin/nft").args(["-s", "list", "ruleset"]).output().unwrap();
    let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
    vec![passwd, passwd_mounts.to_string(), rules]
}

#[test]
fn the_story_names_the_author_and_the_rule_and_leaves_nothing_behind() {
    // Other tests may turn auditing on and off meanwhile: while this guard lives it must stay on.
    let guard = enable_guard().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (before, begun) = (host(), Instant::now());
    let (output, text) = run(dir.path(), &[]);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    let rule = "+ tcp dport 3306 drop comment \"routine security update\"";
    assert_in_order(
        &text,
        &[
            "Approved baselines/db-01 (commit ",
            "database 10.0.2.9:3306: connected after",
            "IN SYNC  db-01",
            "security update applied",
            "database 10.0.2.9:3306: no answer within 600 ms",
            &format!(
                "db-01: critical, cuts required flow \"shop to database\": firewall changed by ops1 as root: {rule} in \
                 inet filter input"
            ),
            "ran: nft insert rule inet filter input tcp dport 3306 drop",
            "cut     tcp 10.0.1.0/24 → any:3306, new connections",
            "DRIFT  db-01: 1 unapproved change",
            "BROKEN  \"shop to database\"",
            rule,
            "by ops1 as root at 20",
            "evidence: audit-log",
            "approve --reviewed",
            "DROP  tcp 10.0.1.7:40000 → 10.0.2.9:3306",
            "decides: drop",
            "database 10.0.2.9:3306: connected after",
            "db-01: firewall drift reverted by dba2 as root",
            "ran: nft -f -",
            "nothing is open now",
            "reverted ",
            "dba2 as root (audit-log)",
            "drift ",
            "ops1 as root (audit-log)",
            "approved ",
            "0 open, 1 reverted",
            "sign-off",
            "On a real host:",
        ],
    );
    assert!(is_empty(dir.path()));
    assert_eq!(status().unwrap().enabled.min(1), 1, "auditing was on before, and must be after");
    assert_eq!(host(), before);
    drop(guard);
}

#[test]
fn without_audit_the_author_is_unknown_and_the_story_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let without = ["/usr/bin/setpriv", "--bounding-set", "-audit_control,-audit_read"];
    let (output, text) = run(dir.path(), &without);
    assert!(output.status.success(), "{output:?}");
    assert_in_order(
        &text,
        &[
            "audit records are not to be had",
            "firewall changed by an unknown author",
            "by unknown between",
            "audit (the verdict does not depend on it)",
            "reverted by an unknown author",
            "audit (the verdict does not depend on it)",
        ],
    );
    assert!(!text.contains("by ops1"), "{text}");
    assert!(is_empty(dir.path()));
}

#[test]
fn a_signal_ends_it_at_any_step_with_everything_put_back() {
    for delay in [0, 60, 200, 500, 900] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = demo(dir.path(), &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Not before the program runs: until then a signal ends it as any other program.
        while is_empty(dir.path()) {
            assert_eq!(child.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(delay));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(130 | 0)), "after {delay} ms: {code:?}");
        assert!(is_empty(dir.path()), "after {delay} ms");
    }
}

#[test]
fn who_may_not_make_namespaces_gets_one_error_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let (output, text) = run(dir.path(), &["/usr/bin/setpriv", "--bounding-set", "-sys_admin"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{errors}");
    assert_eq!(text, "");
    assert_eq!(errors.lines().count(), 2, "{errors}");
    assert!(errors.contains("\nhint: run it as root"), "{errors}");
    assert!(is_empty(dir.path()));
}
