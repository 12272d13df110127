//! Sockets of another network namespace: the first one, where the kernel tells of audit and of processes, above all.

use super::EvidenceError;
use crate::sys::netns::{Netns, NetnsError};
use rustix::fd::{AsFd, BorrowedFd};
use std::fs::File;

/// Runs `work` in the first network namespace. Where process 1 may not be looked at, the caller is taken to be where
/// the host's processes are.
pub(super) fn in_first<T: Send>(
    work: impl FnOnce() -> Result<T, EvidenceError> + Send,
) -> Result<T, EvidenceError> {
    match File::open("/proc/1/ns/net") {
        Ok(first) => inside("first", first.as_fd(), work),
        Err(_) => work(),
    }
}

/// Runs `work` in a thread of its own inside a network namespace: sockets stay in the one they were made in.
pub(super) fn inside<T: Send>(
    which: &'static str,
    namespace: BorrowedFd<'_>,
    work: impl FnOnce() -> Result<T, EvidenceError> + Send,
) -> Result<T, EvidenceError> {
    let failed = |source| EvidenceError::Namespace { which, source };
    let namespace = namespace.try_clone_to_owned().map_err(|error| failed(NetnsError::Enter(error)))?;
    let namespace = Netns::from(namespace);
    let here = Netns::current().and_then(|here| here.identity().map_err(NetnsError::Enter));
    if here.is_ok_and(|here| namespace.identity().is_ok_and(|there| here == there)) {
        return work();
    }
    namespace.run(work).map_err(failed)?
}
