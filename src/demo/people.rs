//! Two accounts that exist only for the demo: logins that the kernel believes in, names that only the demo's
//! own children can look up.

use super::DemoError;
use crate::evidence::People;
use crate::tool::{Tool, locate};
use std::path::{Path, PathBuf};
use std::process::Command;

/// An account of the story.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Account {
    /// Makes the change.
    Ops1,
    /// Puts the approved state back.
    Dba2,
}

impl Account {
    const ALL: [Self; 2] = [Self::Ops1, Self::Dba2];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ops1 => "ops1",
            Self::Dba2 => "dba2",
        }
    }
}

/// Above the numbers that distributions and directories give, below those of user namespaces.
const FIRST_UID: u32 = 60_601;

/// Runs "$@" where the file "$0" is in the place of /etc/passwd.
const WITH_PASSWD: &str = r#"mount --bind "$0" /etc/passwd && exec "$@""#;

/// The demo's accounts.
pub(super) struct Accounts {
    uids: [u32; 2],
    /// A copy of /etc/passwd with the two in it; none where no mount namespace may be made.
    passwd: Option<PathBuf>,
    /// Whether a child may take another login.
    pub(super) can_log_in: bool,
}

impl Accounts {
    /// Finds two numbers that nobody has, and writes the copy to `passwd`.
    pub(super) fn make(passwd: PathBuf) -> Result<Self, DemoError> {
        let people = People::new();
        let mut free = (FIRST_UID..).filter(|uid| people.name(*uid).is_none());
        let uids = [free.next().unwrap_or(FIRST_UID), free.next().unwrap_or(FIRST_UID + 1)];
        let mut text = std::fs::read("/etc/passwd").unwrap_or_default();
        for (name, uid) in Account::ALL.map(Account::as_str).iter().zip(uids) {
            text.extend(format!("{name}:x:{uid}:65534:fwdrift demo:/:/usr/sbin/nologin\n").bytes());
        }
        std::fs::write(&passwd, text).map_err(|source| DemoError::File { path: passwd.clone(), source })?;
        let mut accounts = Self { uids, passwd: Some(passwd), can_log_in: true };
        let named = accounts.wrapper().is_some_and(|mut wrapped| {
            wrapped.args(["/bin/sh", "-c", "exit 0"]).output().is_ok_and(|out| out.status.success())
        });
        if !named {
            accounts.passwd = None;
        }
        accounts.can_log_in = accounts.by(Account::Ops1, "exit 0")?.run().is_ok();
        Ok(accounts)
    }

    /// What an account is called by those who look it up.
    pub(super) fn name(&self, account: Account) -> String {
        if self.passwd.is_some() { account.as_str().to_owned() } else { format!("uid {}", self.uid(account)) }
    }

    /// A shell script run by this account's login, with root's rights: as after `sudo`.
    pub(super) fn by(&self, account: Account, script: &str) -> Result<Tool, DemoError> {
        let shell = Tool::find("sh")?;
        if !self.can_log_in {
            return Ok(shell.args(["-c", script]));
        }
        // As a child: audit keeps a task's first command line, also when it becomes another program.
        let enter = format!("echo {} >/proc/self/loginuid && sh -c \"$0\"; exit $?", self.uid(account));
        Ok(shell.args(["-c", &enter, script]))
    }

    /// A program that can look the accounts up. A private mount namespace goes with it.
    pub(super) fn seen_by(&self, program: &Path) -> Command {
        match self.wrapper() {
            Some(mut wrapper) => {
                wrapper.arg(program);
                wrapper
            }
            None => Command::new(program),
        }
    }

    fn wrapper(&self) -> Option<Command> {
        let mut command = Command::new(locate("unshare")?);
        command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", WITH_PASSWD]);
        command.arg(self.passwd.as_ref()?);
        Some(command)
    }

    fn uid(&self, account: Account) -> u32 {
        match account {
            Account::Ops1 => self.uids[0],
            Account::Dba2 => self.uids[1],
        }
    }
}
