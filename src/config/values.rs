//! Values that are checked once, where they enter.

use crate::model::{HostName, InvalidHost};
use crate::sys::netns::{Netns, NetnsError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A network namespace as it was asked for.
#[derive(Clone, Debug)]
pub struct NetnsRef {
    given: PathBuf,
    path: PathBuf,
    form: NetnsForm,
    held: Option<Arc<Netns>>,
}

/// How a namespace was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetnsForm {
    /// A name, as it stands in /run/netns, or as a container has it.
    Name(String),
    /// A file, for example /proc/PID/ns/net.
    Path,
    /// That of a process.
    Process(u32),
}

/// Equal if the same was asked for.
impl PartialEq for NetnsRef {
    fn eq(&self, other: &Self) -> bool {
        (&self.given, &self.path, &self.form) == (&other.given, &other.path, &other.form)
    }
}

impl Eq for NetnsRef {}

/// Why a text names no network namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNetns {
    /// Nothing was given.
    #[error("it is empty")]
    Empty,
    /// `.` or `..`, which are directories.
    #[error("'.' and '..' are directories")]
    Directory,
    /// A NUL byte cannot be in a path.
    #[error("it contains a NUL byte")]
    Nul,
    /// `pid:` without the number of a process.
    #[error("'pid:' is followed by the number of a process")]
    Pid,
    /// A name that cannot be part of one in the repository.
    #[error("{} can have no baseline under its name: {reason}", path.display())]
    Name {
        /// Where a namespace of that name would be.
        path: PathBuf,
        /// The rule that the name breaks.
        reason: InvalidHost,
    },
}

impl NetnsRef {
    /// Where `ip netns` keeps the namespaces that have names (ip-netns(8)).
    pub const NAMED: &'static str = "/run/netns";

    /// Reads a path (with a `/`), which is used as it is, `pid:NUMBER`, or else a name. A namespace whose name
    /// begins with `pid:` is reached by its path.
    ///
    /// # Errors
    /// [`InvalidNetns`] if it cannot be any of them.
    pub fn parse(given: &Path) -> Result<Self, InvalidNetns> {
        let bytes = given.as_os_str().as_encoded_bytes();
        if bytes.is_empty() {
            return Err(InvalidNetns::Empty);
        }
        if bytes.contains(&0) {
            return Err(InvalidNetns::Nul);
        }
        if bytes == b"." || bytes == b".." {
            return Err(InvalidNetns::Directory);
        }
        let (path, form) = match bytes.strip_prefix(b"pid:") {
            _ if bytes.contains(&b'/') => (given.to_owned(), NetnsForm::Path),
            Some(number) => {
                let number =
                    str::from_utf8(number).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
                let pid = number.and_then(|text| text.parse().ok()).filter(|pid| *pid > 0);
                let pid = pid.ok_or(InvalidNetns::Pid)?;
                (file_of(pid), NetnsForm::Process(pid))
            }
            None => {
                let name = given.to_string_lossy().into_owned();
                (Path::new(Self::NAMED).join(given), NetnsForm::Name(name))
            }
        };
        Ok(Self { given: given.to_owned(), path, form, held: None })
    }

    /// The namespace that was found under a name. It is held open: whatever happens to the name
    /// or the process meanwhile, it is this one that is looked at.
    pub fn found(name: &str, netns: Arc<Netns>) -> Self {
        let (path, form) = (Path::new(Self::NAMED).join(name), NetnsForm::Name(name.to_owned()));
        Self { given: name.into(), path, form, held: Some(netns) }
    }

    /// The same, held open from now on.
    ///
    /// # Errors
    /// [`NetnsError`] if there is none.
    pub fn hold(self) -> Result<Self, NetnsError> {
        let netns = Arc::new(self.open()?);
        Ok(Self { held: Some(netns), ..self })
    }

    /// As if the number had been given as `pid:NUMBER`; none if it is no number.
    pub fn as_process(&self) -> Option<Self> {
        let NetnsForm::Name(name) = &self.form else { return None };
        let digits = name.bytes().all(|byte| byte.is_ascii_digit());
        let pid = name.parse().ok().filter(|pid| digits && *pid > 0)?;
        let form = NetnsForm::Process(pid);
        Some(Self { given: format!("pid:{pid}").into(), path: file_of(pid), form, held: None })
    }

    /// Opens it.
    ///
    /// # Errors
    /// [`NetnsError`] if there is none.
    pub fn open(&self) -> Result<Netns, NetnsError> {
        match &self.held {
            Some(netns) => netns.again(),
            None => Netns::open(&self.path),
        }
    }

    /// The file to open.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name in the repository of a namespace of `machine`: its own if it was asked for by name.
    ///
    /// # Errors
    /// [`InvalidNetns::Name`] if the name cannot stand there.
    pub fn host(&self, machine: &HostName) -> Result<HostName, InvalidNetns> {
        match &self.form {
            NetnsForm::Name(name) => machine
                .with_netns(name)
                .map_err(|reason| InvalidNetns::Name { path: self.path.clone(), reason }),
            NetnsForm::Path | NetnsForm::Process(_) => Ok(machine.clone()),
        }
    }

    /// How it was asked for.
    pub fn form(&self) -> &NetnsForm {
        &self.form
    }

    /// The name or path as it was given, for messages and for `netns` in JSON.
    pub fn given(&self) -> String {
        self.given.to_string_lossy().into_owned()
    }
}

fn file_of(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_name_in_run_netns_a_path_or_that_of_a_process() {
        let path = |given: &str| NetnsRef::parse(Path::new(given)).map(|n| n.path().to_owned());
        assert_eq!(path("blue"), Ok(PathBuf::from("/run/netns/blue")));
        assert_eq!(path("/proc/12/ns/net"), Ok(PathBuf::from("/proc/12/ns/net")));
        assert_eq!(path("pid:12"), Ok(PathBuf::from("/proc/12/ns/net")));
        assert_eq!(path("12"), Ok(PathBuf::from("/run/netns/12")));
        for given in ["pid:", "pid:0", "pid:x", "pid:+1", "pid:99999999999"] {
            assert_eq!(path(given), Err(InvalidNetns::Pid), "{given}");
        }
        assert_eq!(path("./here"), Ok(PathBuf::from("./here")));
        assert_eq!(path(".."), Err(InvalidNetns::Directory));
        assert_eq!(path("."), Err(InvalidNetns::Directory));
        assert_eq!(path(""), Err(InvalidNetns::Empty));
        assert_eq!(path("a\0b"), Err(InvalidNetns::Nul));
    }
}
