//! A netlink socket that listens to multicast groups: announcements, not answers.
//!
//! Opened in the calling thread's namespace, and staying there. What the kernel could not deliver is told as
//! [`Received::Lost`], never swallowed.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType};
use std::os::fd::AsRawFd;

/// 64 MB: what lost nothing with a reader stalled for 1.5 s under 44,000 messages.
const RECEIVE_BUFFER: usize = 64 << 20;
/// No announcement is longer than the kernel's largest skb for them.
const LONGEST: usize = 1 << 20;

/// What one reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received<'b> {
    /// One datagram: one or more whole netlink messages.
    Datagram(&'b [u8]),
    /// Nothing is there now.
    Empty,
    /// Announcements were lost: the buffer was full (ENOBUFS), or one was cut.
    Lost,
}

/// A socket that was bound to groups.
#[derive(Debug)]
pub struct Multicast {
    fd: OwnedFd,
    groups: u32,
    buffer: Vec<u8>,
}

impl Multicast {
    /// Listens to `groups` (a bit each) of a netlink protocol.
    ///
    /// # Errors
    /// The kernel's: EPERM without the capability that the group asks for, EPROTONOSUPPORT without the protocol.
    pub fn open(protocol: Protocol, groups: u32) -> Result<Self, Errno> {
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let fd = rustix::net::socket_with(family, SocketType::RAW, flags, Some(protocol))?;
        if let Err(error) = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, RECEIVE_BUFFER) {
            tracing::warn!(%error, "the receive buffer stays small; announcements may be lost");
        }
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self { fd, groups, buffer: vec![0; LONGEST] })
    }

    /// Leaves the groups: what waits can still be received, and nothing comes after it.
    ///
    /// # Errors
    /// The kernel's.
    pub fn leave(&self) -> Result<(), Errno> {
        self.subscribe(0)
    }

    /// Joins the groups again.
    ///
    /// # Errors
    /// The kernel's.
    pub fn join(&self) -> Result<(), Errno> {
        self.subscribe(self.groups)
    }

    /// A bound socket may be bound again, to the same port and other groups (af_netlink.c, `netlink_bind`).
    fn subscribe(&self, groups: u32) -> Result<(), Errno> {
        let own = SocketAddrNetlink::try_from(rustix::net::getsockname(&self.fd)?)?;
        rustix::net::bind(&self.fd, &SocketAddrNetlink::new(own.pid(), groups))
    }

    /// How many datagrams this socket could not take since it was opened (`SK_MEMINFO_DROPS`, Linux 4.12). It tells
    /// the two causes of ENOBUFS apart: this one, and an announcement that the kernel could not make.
    pub fn dropped(&self) -> Option<u32> {
        /// `SO_MEMINFO`, and the place of the number in it (linux/sock_diag.h).
        const SO_MEMINFO: libc::c_int = 55;
        const DROPS: usize = 8;
        let mut numbers = [0u32; 16];
        let mut length = size_of_val(&numbers) as libc::socklen_t;
        // SAFETY: the descriptor is open, and the pointers are to an array and to its length in bytes.
        #[allow(unsafe_code)]
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                numbers.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        (result == 0 && length as usize > DROPS * size_of::<u32>()).then(|| numbers[DROPS])
    }

    /// Reads the next datagram, without waiting.
    ///
    /// # Errors
    /// The kernel's, but for EAGAIN, EINTR and ENOBUFS.
    pub fn receive(&mut self) -> Result<Received<'_>, Errno> {
        loop {
            match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
                Ok((length, whole)) if whole <= length => {
                    return Ok(Received::Datagram(self.buffer.get(..length).unwrap_or_default()));
                }
                Ok(_) | Err(Errno::NOBUFS) => return Ok(Received::Lost),
                Err(Errno::AGAIN) => return Ok(Received::Empty),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl AsFd for Multicast {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
