//! Network namespaces: opening, making, and running code inside one.
//!
//! A namespace is entered on a thread of its own, which ends with the work: the rest of the process
//! never leaves the namespace that it was started in (setns(2) acts on the calling thread).

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Why a network namespace could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// The namespace's file could not be opened.
    #[error("cannot open network namespace {path}: {source}")]
    Open {
        /// For example `/run/netns/web`.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// It is a file, but not one of a network namespace.
    #[error("{path} is not a network namespace")]
    NotOne {
        /// The path asked for.
        path: PathBuf,
    },
    /// A new one could not be made.
    #[error("cannot make a scratch network namespace: {0}")]
    Create(std::io::Error),
    /// It could be opened, but not entered.
    #[error("cannot enter the network namespace: {0}")]
    Enter(std::io::Error),
    /// No thread could be started to enter it.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

impl NetnsError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Open { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Some(
                "`ip netns list` shows the named ones; a path works too, and pid:NUMBER of a process".into(),
            ),
            Self::NotOne { .. } => {
                Some("`ip netns list` shows the named ones; else give a path such as /proc/PID/ns/net".into())
            }
            Self::Open { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Some("run as root".into())
            }
            Self::Create(error) | Self::Enter(error)
                if error.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                Some("run as root (CAP_SYS_ADMIN is needed for namespaces)".into())
            }
            Self::Open { .. } | Self::Create(_) | Self::Enter(_) | Self::Thread(_) => None,
        }
    }
}

/// A handle on a network namespace. It lives as long as the handle or a process in it does.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
}

impl Netns {
    /// The namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// The namespace that a file under /run/netns or /proc/PID/ns names.
    pub fn open(path: &Path) -> Result<Self, NetnsError> {
        // Without NONBLOCK, opening a FIFO would wait for its writer.
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
            .map_err(|error| NetnsError::Open { path: path.to_owned(), source: error.into() })?;
        if is_network_namespace(&fd) {
            Ok(Self { fd })
        } else {
            Err(NetnsError::NotOne { path: path.to_owned() })
        }
    }

    /// A new, empty namespace: no interface but `lo`, no rules.
    pub fn create() -> Result<Self, NetnsError> {
        on_thread(|| {
            unshare_net().map_err(NetnsError::Create)?;
            Self::current()
        })?
    }

    /// Runs `work` on a thread inside this namespace; child processes that it starts are inside too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        on_thread(|| {
            rustix::thread::move_into_link_name_space(self.fd.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(|error| NetnsError::Enter(error.into()))?;
            Ok(work())
        })?
    }

    /// Another handle on the same namespace.
    pub fn again(&self) -> Result<Self, NetnsError> {
        self.fd.try_clone().map(|fd| Self { fd }).map_err(NetnsError::Enter)
    }

    /// Device and inode of the namespace, which identify it while it lives.
    pub fn identity(&self) -> std::io::Result<(u64, u64)> {
        let stat = rustix::fs::fstat(&self.fd)?;
        Ok((stat.st_dev, stat.st_ino))
    }
}

/// Of an open file under /run/netns or /proc/PID/ns.
impl From<OwnedFd> for Netns {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)
            .map_err(NetnsError::Thread)?;
        match thread.join() {
            Ok(value) => Ok(value),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Asks the namespace file system itself (`NS_GET_NSTYPE`, ioctl_ns(2)); other files refuse the question.
fn is_network_namespace(fd: &OwnedFd) -> bool {
    use std::os::fd::AsRawFd;
    const NS_GET_NSTYPE: libc::Ioctl = 0xb703;
    // SAFETY: the descriptor is open, and the request takes no argument.
    #[allow(unsafe_code)]
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

fn unshare_net() -> std::io::Result<()> {
    // SAFETY: only NEWNET is unshared; the danger that the function names is that of FILES.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_namespace_is_another_one_and_the_caller_stays_where_it_was() {
        let before = Netns::current().unwrap().identity().unwrap();
        let scratch = Netns::create().unwrap();
        assert_ne!(scratch.identity().unwrap(), before);
        let inside = scratch.run(|| Netns::current().unwrap().identity().unwrap()).unwrap();
        assert_eq!(inside, scratch.identity().unwrap());
        assert_eq!(Netns::current().unwrap().identity().unwrap(), before);
    }

    #[test]
    fn a_file_that_is_no_network_namespace_is_refused_by_its_path() {
        for path in ["/", "/dev/null", "/proc/self/ns/mnt", "/proc/self/status"] {
            let error = Netns::open(Path::new(path)).unwrap_err();
            assert!(matches!(error, NetnsError::NotOne { .. }), "{path}: {error}");
        }
    }

    #[test]
    fn a_missing_namespace_is_an_error_with_a_hint() {
        let error = Netns::open(Path::new("/run/netns/no-such-one")).unwrap_err();
        assert!(error.to_string().contains("/run/netns/no-such-one"), "{error}");
        assert!(error.hint().unwrap().contains("ip netns list"));
    }
}
