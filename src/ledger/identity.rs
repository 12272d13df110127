//! Who approves, and whose names stand in ledger commits.
//!
//! Role: names for commit headers. A name from git's configuration is what a person says of themselves;
//! the login uid is what the kernel says, and survives sudo and su. Both are kept.

use super::repository::Repository;
use super::text::{header_local, header_name};
use crate::model::{Author, HostName};
use chrono::{DateTime, Utc};
use git2::{Config, Signature, Time};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// The person who runs an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The name in the commit.
    pub name: String,
    /// The address in the commit.
    pub email: String,
    /// The account behind the process, as [`login_behind`] finds it.
    pub login: String,
}

impl Identity {
    /// The person behind this process.
    ///
    /// `user.name` and `user.email` of the repository, else of that person's own git configuration (behind
    /// sudo, the one in their home, never root's), else `login <login@host>`.
    pub fn of_this_process(repository: &Repository, host: &HostName) -> Self {
        let passwd = passwd();
        let person = person_behind(&passwd);
        let own = git_identity(&[repository.git.commondir().join("config")]);
        let configured = own.or_else(|| git_identity(&personal_configs(person.uid, &passwd)));
        Self::choose(configured, person.name, host)
    }

    fn choose(configured: Option<(String, String)>, login: String, host: &HostName) -> Self {
        let (name, email) = configured.unwrap_or_else(|| (login.clone(), address(&login, host)));
        Self { name, email, login }
    }

    pub(super) fn signature(
        &self,
        host: &HostName,
        time: DateTime<Utc>,
    ) -> Result<Signature<'static>, git2::Error> {
        signature(&self.name, &self.email, host, time)
    }
}

/// The author of a ledger commit, for example `ops1 <ops1@web-01>`; the service's unit where no login is
/// behind the change; `unknown <unknown@web-01>` where no evidence says who.
///
/// # Errors
/// libgit2's, if it refuses the name; every name that comes out of this module's escaping is taken.
pub fn event_signature(
    author: &Author,
    host: &HostName,
    time: DateTime<Utc>,
) -> Result<Signature<'static>, git2::Error> {
    let unit = author.unit.as_deref().filter(|unit| author.auid.is_none() && !unit.is_empty());
    let name = unit.filter(|_| author.is_known()).unwrap_or(&author.name);
    signature(name, &address(name, host), host, time)
}

/// The committer of ledger commits.
pub(super) fn service_signature(
    host: &HostName,
    time: DateTime<Utc>,
) -> Result<Signature<'static>, git2::Error> {
    signature("fwdrift", &address("fwdrift", host), host, time)
}

fn address(name: &str, host: &HostName) -> String {
    let local = header_local(name);
    format!("{}@{}", if local.is_empty() { Author::UNKNOWN } else { &local }, host.machine())
}

fn signature(
    name: &str,
    email: &str,
    host: &HostName,
    time: DateTime<Utc>,
) -> Result<Signature<'static>, git2::Error> {
    let or_unknown = |text: String, other: String| if text.is_empty() { other } else { text };
    let name = or_unknown(header_name(name), Author::UNKNOWN.to_owned());
    let email = or_unknown(header_name(email).replace(' ', "-"), address("", host));
    // Git has no dates before 1970 (fsck's `badDate`).
    Signature::new(&name, &email, &Time::new(time.timestamp().max(0), 0))
}

/// The account behind this process: of the login uid that the kernel keeps (`/proc/self/loginuid`, see
/// pam_loginuid(8)), else the one that sudo names, else of the process's own uid. `uid1234` if it has no name.
pub fn login_behind() -> String {
    person_behind(&passwd()).name
}

/// An account.
#[derive(Debug, PartialEq, Eq)]
struct Person {
    uid: u32,
    name: String,
}

fn passwd() -> String {
    String::from_utf8_lossy(&fs::read("/etc/passwd").unwrap_or_default()).into_owned()
}

fn person_behind(passwd: &str) -> Person {
    let text = fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
    // 4294967295 means that no login is behind the process.
    let auid = text.trim().parse::<u32>().ok().filter(|uid| *uid != u32::MAX);
    let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let own = rustix::process::getuid().as_raw();
    // Anyone can set these variables; but as root they can do everything anyway.
    let sudo = env("SUDO_UID").and_then(|uid| uid.parse().ok()).zip(env("SUDO_USER"));
    let sudo = sudo.filter(|_| own == 0).map(|(uid, name)| Person { uid, name });
    choose_person(auid, sudo, own, passwd)
}

fn choose_person(auid: Option<u32>, sudo: Option<Person>, own: u32, passwd: &str) -> Person {
    let uid = auid.or(sudo.as_ref().map(|person| person.uid)).unwrap_or(own);
    // An account of a directory service is not in the file, but sudo knows its name.
    let from_sudo = sudo.filter(|person| person.uid == uid).map(|person| person.name);
    let from_file = account(passwd, uid).map(|fields| fields[0].to_owned());
    Person { uid, name: from_file.or(from_sudo).unwrap_or_else(|| format!("uid{uid}")) }
}

/// The fields of the account's line in passwd(5).
fn account(passwd: &str, uid: u32) -> Option<Vec<&str>> {
    let lines = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.filter(|fields| fields.len() >= 6).find(|fields| fields[2].parse() == Ok(uid))
}

/// The git configuration files of the account, the strongest first (git-config(1), FILES).
fn personal_configs(uid: u32, passwd: &str) -> Vec<PathBuf> {
    if uid == rustix::process::geteuid().as_raw() {
        return [Config::find_global(), Config::find_xdg()].into_iter().flatten().collect();
    }
    let Some(fields) = account(passwd, uid) else { return Vec::new() };
    let home = Path::new(fields[5]);
    vec![home.join(".gitconfig"), home.join(".config/git/config")]
}

/// The first file that has both a name and an address. Another person's file may be anything: only a plain
/// file is opened, so that a pipe cannot hold up an approval.
fn git_identity(files: &[PathBuf]) -> Option<(String, String)> {
    let read = |path: &PathBuf| -> Option<(String, String)> {
        let is_plain = |path: &Path| fs::metadata(path).is_ok_and(|m| m.is_file() && m.len() < 1 << 20);
        let config = Config::open(Some(path).filter(|p| is_plain(p))?).ok()?;
        let value = |key: &str| config.get_string(key).ok().map(|v| header_name(&v));
        value("user.name").zip(value("user.email")).filter(|(n, e)| !n.is_empty() && !e.is_empty())
    };
    files.iter().find_map(read)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} <{}>", self.name, self.email)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/root:/bin/sh\nops1:x:1001:1001::/home/ops1:/bin/sh\nbroken\n";

    fn host() -> HostName {
        HostName::parse("web-01").unwrap()
    }

    fn shown(author: &Author) -> String {
        super::super::message::signature_text(&event_signature(author, &host(), Utc::now()).unwrap())
    }

    fn check(auid: Option<u32>, sudo: Option<(u32, &str)>, expect: (u32, &str)) {
        let sudo = sudo.map(|(uid, name)| Person { uid, name: name.to_owned() });
        let (uid, name) = expect;
        assert_eq!(choose_person(auid, sudo, 0, PASSWD), Person { uid, name: name.to_owned() });
    }

    #[test]
    fn the_login_behind_sudo_wins_over_root() {
        check(Some(1001), None, (1001, "ops1"));
        check(None, Some((1001, "ops1")), (1001, "ops1"));
        check(None, None, (0, "root"));
        check(Some(0), Some((1001, "ops1")), (0, "root"));
    }

    #[test]
    fn an_account_that_is_not_in_passwd_is_named_by_sudo_or_by_its_number() {
        check(Some(70_000), Some((70_000, "anna")), (70_000, "anna"));
        check(Some(80_000), Some((70_000, "anna")), (80_000, "uid80000"));
    }

    #[test]
    fn behind_sudo_roots_own_git_configuration_is_not_asked() {
        let home = |uid| personal_configs(uid, PASSWD);
        assert_eq!(home(1001)[0], Path::new("/home/ops1/.gitconfig"));
        assert!(home(80_000).is_empty());
    }

    #[test]
    fn without_git_configuration_the_login_is_the_identity() {
        let identity = Identity::choose(None, "ops1".into(), &host());
        assert_eq!(identity.to_string(), "ops1 <ops1@web-01>");
        let named = Identity::choose(Some(("Ann".into(), "ann@x.org".into())), "ops1".into(), &host());
        assert_eq!((named.name.as_str(), named.login.as_str()), ("Ann", "ops1"));
    }

    #[test]
    fn a_git_configuration_that_is_no_plain_file_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (good, broken) = (dir.path().join("good"), dir.path().join("broken"));
        fs::write(&good, "[user]\n name = \"Ann <x>\"\n email = ann@example.org\n").unwrap();
        fs::write(&broken, "[user\n name = X").unwrap();
        let files = [dir.path().to_owned(), dir.path().join("absent"), "/dev/zero".into(), broken, good];
        assert_eq!(git_identity(&files), Some(("Ann ?x?".into(), "ann@example.org".into())));
    }

    #[test]
    fn an_event_is_signed_with_the_login_the_unit_or_unknown() {
        use crate::model::Evidence;
        let known = Author { evidence: Evidence::Audit, ..Author::default() };
        let ops = Author { name: "ops1".into(), auid: Some(1001), unit: Some("x".into()), ..known.clone() };
        assert_eq!(shown(&ops), "ops1 <ops1@web-01>");
        let unit = Author { name: "root".into(), unit: Some("fail2ban.service".into()), ..known };
        assert_eq!(shown(&unit), "fail2ban.service <fail2ban.service@web-01>");
        assert_eq!(shown(&Author::unknown(None, Vec::new())), "unknown <unknown@web-01>");
        assert_eq!(shown(&Author::default()), "unknown <unknown@web-01>");
    }

    #[test]
    fn hostile_names_cannot_forge_a_header() {
        for name in ["a <root@x> 0 +0000\nauthor b", "\x1b[2J", "<>", "...", " ", "\u{202e}", "a\0b", "\n"] {
            let text = shown(&Author { name: name.into(), ..Author::default() });
            assert_eq!(text.matches(['<', '>']).count(), 2, "{name:?} gave {text:?}");
            assert!(!text.chars().any(char::is_control), "{name:?} gave {text:?}");
            assert!(text.ends_with("@web-01>"), "{name:?} gave {text:?}");
        }
    }
}
