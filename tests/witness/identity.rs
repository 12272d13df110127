//! Everything about an author: behind sudo and su, over ssh, as a service, in a container, with parents.

use crate::auditing::Alone;
use crate::support::{Told, Watched, is_there, message, run, shell, skipped};
use fwdrift::evidence::enable_guard;
use fwdrift::model::{Author, Evidence};
use rustix::net::netlink::AUDIT;
use std::path::{Path, PathBuf};

const LOGIN: u32 = 3_100_015;
const ADD: &str = "nft 'add chain inet t x; delete chain inet t x'";

/// The author of one change by a script, with auditing on.
fn audited(login: Option<u32>, script: &str) -> Author {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    let author = author_of(&mut watched, login, script);
    assert_eq!(author.evidence, Evidence::Audit, "{author:?} {:?}", watched.gaps);
    author
}

fn author_of(watched: &mut Watched, login: Option<u32>, script: &str) -> Author {
    watched.prepare();
    let mut command = shell(&watched.path(), login, script);
    watched.during(|| run(&mut command));
    let [one] = watched.told.as_slice() else { panic!("{:?}", watched.told) };
    let Told { attested, .. } = one;
    attested.author.clone()
}

#[test]
fn the_login_stays_behind_su_and_behind_another_uid() {
    let author = audited(Some(LOGIN), &format!("/usr/bin/su root -c \"{ADD}; sleep 0.2\""));
    assert_eq!((author.auid, author.uid), (Some(LOGIN), Some(0)));
    let above = author.parents.iter().rev().take(3).map(String::as_str).collect::<Vec<_>>();
    assert_eq!((above[0], above[2]), ("nft", "su"), "with root's shell in between");
    let other = format!(
        "/usr/bin/setpriv --reuid=65534 --inh-caps=+net_admin --ambient-caps=+net_admin {ADD}; sleep 0.2"
    );
    let author = audited(Some(LOGIN), &other);
    assert_eq!((author.auid, author.uid, author.name.as_str()), (Some(LOGIN), Some(65534), "uid 3100015"));
}

#[test]
fn sudo_names_the_account_that_called_it() {
    if !is_there("/usr/bin/sudo") {
        skipped("no sudo on this machine");
        return;
    }
    // An account that exists in a mount namespace only, which may do anything without a password.
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    std::fs::write(file("passwd"), format!("{passwd}fwops:x:{LOGIN}:65534::/:/bin/sh\n")).unwrap();
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap();
    std::fs::write(file("shadow"), format!("{shadow}fwops:*:19000:0:99999:7:::\n")).unwrap();
    std::fs::write(file("sudoers"), "fwops ALL=(ALL) NOPASSWD: ALL\n").unwrap();
    let binds =
        ["passwd", "shadow", "sudoers"].map(|name| format!("mount --bind {} /etc/{name}; ", file(name)));
    let script = format!(
        "exec unshare -m --propagation private /bin/sh -ec \"{} chmod 440 /etc/sudoers; \
         exec setpriv --reuid={LOGIN} --clear-groups --regid=65534 /bin/sh -c 'sudo sh -c \\\"nft add chain inet t x; sleep 0.2\\\"; true'\"",
        binds.concat(),
    );
    let author = audited(Some(LOGIN), &script);
    assert_eq!((author.auid, author.uid), (Some(LOGIN), Some(0)));
    assert_eq!(author.sudo_user.as_deref(), Some("fwops"), "{author:?}");
    let chain = author.parents.join(" ");
    assert!(chain.ends_with("sudo sh nft"), "{chain}");
}

#[test]
fn a_session_over_ssh_says_from_where() {
    let inner = format!(
        "SSH_CONNECTION='192.0.2.7 50022 198.51.100.1 22' /bin/sh -c \"/bin/sh -c \\\"{ADD}; sleep 0.2\\\"; true\"; true"
    );
    assert_eq!(audited(Some(LOGIN), &inner).remote.as_deref(), Some("192.0.2.7"));
    assert_eq!(audited(None, &inner).remote, None, "without a session it is nobody's address");
    let odd = inner.replace("192.0.2.7", "\x1b[2Jroot");
    assert_eq!(audited(Some(LOGIN), &odd).remote, None);
}

#[test]
fn what_sshd_wrote_into_the_audit_trail_counts_more_than_the_environment() {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    watched.prepare();
    let path = watched.path();
    // As sshd does: a thread that becomes part of a new session, and says so.
    watched.during(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::fs::write("/proc/thread-self/loginuid", LOGIN.to_string()).unwrap();
                let text = "op=login id=3100015 exe=\"/usr/sbin/sshd\" hostname=192.0.2.99 addr=192.0.2.99 terminal=/dev/pts/0 res=success\0";
                assert_eq!(crate::support::error_of(&crate::support::ask(AUDIT, &message(1112, 5, text.as_bytes()))), 0);
                let script = format!("SSH_CONNECTION='192.0.2.7 1 ::1 22' /bin/sh -c \"{ADD}; sleep 0.2\"; true");
                run(&mut shell(&path, None, &script));
            });
        });
    });
    let author = &watched.last().attested.author;
    assert_eq!((author.auid, author.remote.as_deref()), (Some(LOGIN), Some("192.0.2.99")), "{author:?}");
}

#[test]
fn a_command_line_is_whole_though_audit_cuts_it() {
    // It waits for more orders after the change, so that it can be looked at.
    let path = format!("/{}", "x".repeat(250));
    let author =
        audited(Some(LOGIN), &format!("(echo 'add chain inet t x'; sleep 0.3) | nft -I {path} -i; true"));
    assert_eq!(author.cmdline, Some(format!("nft -I {path} -i")));
}

/// A cgroup below a slice of this test's own, in the hierarchy that systemd uses. Removed when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(name: &str) -> Self {
        let candidates = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let root = candidates.iter().find(|root| Path::new(root).join("cgroup.procs").is_file()).unwrap();
        let slice = Path::new(root).join(format!("fwdrifttest{}.slice", std::process::id()));
        let path = slice.join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A script that runs in it.
    fn script(&self, script: &str) -> String {
        format!("echo $$ > {}/cgroup.procs; {script}", self.0.display())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
        let _ = std::fs::remove_dir(self.0.parent().unwrap());
    }
}

const ID: &str = "4f3c2b1a0d9e8f7c6b5a4938271605f4e3d2c1b0a9f8e7d6c5b4a39281706f5e";

/// Changes by services and containers; nft is kept for a moment, as a service that lives on is.
fn check_places(audit: bool) {
    let grade = if audit { Evidence::Audit } else { Evidence::Process };
    for (name, login, expected, unit, container) in [
        ("fwtest.service", None, "fwtest.service", Some("fwtest.service"), None),
        ("fwtest.service", Some(LOGIN), "uid 3100015", Some("fwtest.service"), None),
        (&*format!("docker-{ID}.scope"), None, "nft (no login)", None, Some(ID)),
        ("session-9.scope", None, "nft (no login)", None, None),
    ] {
        let cgroup = Cgroup::new(name);
        // It waits for more orders after the change, so that it can be looked at.
        let script = cgroup.script("(echo 'add chain inet t x'; sleep 0.3) | nft -i; true");
        let author = author_of(&mut Watched::new(), login, &script);
        assert_eq!(author.evidence, grade, "{name}: {author:?}");
        assert_eq!((author.name.as_str(), author.auid), (expected, login), "{name}");
        assert_eq!((author.unit.as_deref(), author.container.as_deref()), (unit, container), "{name}");
    }
}

#[test]
fn a_service_is_named_by_its_unit_and_a_container_by_its_id() {
    let _auditing = enable_guard().unwrap();
    check_places(true);
}

#[test]
fn and_so_they_are_without_auditing() {
    let Some(_alone) = Alone::new() else { return };
    check_places(false);
}

#[test]
fn a_program_that_is_called_like_a_login_is_none() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["root", "fwtest.service", "uid 3100015"] {
        let program = dir.path().join(name);
        std::fs::copy("/usr/sbin/nft", &program).unwrap();
        let author = audited(None, &format!("'{}' add chain inet t x; true", program.display()));
        assert_eq!((author.name, author.auid), (format!("{name} (no login)"), None));
    }
}
