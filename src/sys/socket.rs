//! A netlink socket in the namespace of the thread that opens it: requests, dumps and batches.

use crate::netlink::{self, Malformed, Message, control, flags};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;
use std::time::Duration;

/// Large enough for the kernel's biggest dump buffers; the kernel restarts its walk for each one.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// How many received parts of a dump may wait to be looked at.
const BUFFERS: usize = 8;
/// A kernel that does not answer within this time is an error, not a reason to wait for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// What can go wrong between us and the kernel.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The kernel has no such protocol, or refuses it.
    #[error("cannot open a netlink socket: {0}")]
    Open(std::io::Error),
    /// Sending failed.
    #[error("cannot send to the kernel: {0}")]
    Send(std::io::Error),
    /// Receiving failed, or no answer came.
    #[error("cannot receive from the kernel: {0}")]
    Receive(std::io::Error),
    /// The kernel refused a request.
    #[error("the kernel refused: {0}")]
    Refused(std::io::Error),
    /// The answer was not understood.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

impl SocketError {
    /// The system's error number, where there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(e) | Self::Send(e) | Self::Receive(e) | Self::Refused(e) => e.raw_os_error(),
            Self::Malformed(_) => None,
        }
    }
}

/// Whether a dump was made in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dump {
    /// Nothing changed while it ran.
    Whole,
    /// The kernel said that something changed (`NLM_F_DUMP_INTR`).
    Interrupted,
}

/// An open netlink socket.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// Opens a socket of `protocol` (`None` is NETLINK_ROUTE) in the calling thread's namespace.
    pub fn open(protocol: Option<Protocol>) -> Result<Self, SocketError> {
        let open = || -> rustix::io::Result<OwnedFd> {
            let fd = rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                protocol,
            )?;
            rustix::net::bind(&fd, &SocketAddrNetlink::new(0, 0))?;
            rustix::net::sockopt::set_socket_timeout(
                &fd,
                rustix::net::sockopt::Timeout::Recv,
                Some(ANSWER_TIMEOUT),
            )?;
            // Acknowledgements of a big batch would overflow the default 212 KB.
            let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&fd, 64 * 1024 * 1024);
            Ok(fd)
        };
        let fd = open().map_err(|error| SocketError::Open(error.into()))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BUFFER] })
    }

    /// The number of the network namespace that the socket was opened in: unique until the next boot
    /// (`SO_NETNS_COOKIE`, Linux 5.14). None on older kernels.
    pub fn netns_cookie(&self) -> Option<u64> {
        netns_cookie(&self.fd)
    }

    /// Sends one request that asks for a dump, and passes each message to `each`.
    pub fn dump(
        &mut self,
        kind: u16,
        body: &[&[u8]],
        mut each: impl FnMut(Message<'_>),
    ) -> Result<Dump, SocketError> {
        let sequence = self.send_one(kind, flags::REQUEST | flags::DUMP, body)?;
        let mut state = Dump::Whole;
        self.answers(sequence, |message| {
            if message.flags & flags::DUMP_INTR != 0 {
                state = Dump::Interrupted;
            }
            match message.kind {
                control::DONE => ControlFlow::Break(done(message.payload)),
                control::ERROR => ControlFlow::Break(refused(message.payload)),
                _ => {
                    each(message);
                    ControlFlow::Continue(())
                }
            }
        })?;
        Ok(state)
    }

    /// As [`Self::dump`], with `each` on a thread of its own: the kernel writes the next part while this one is
    /// looked at. Worth it where there is much to dump and much to do.
    pub fn dump_beside(
        &mut self,
        kind: u16,
        body: &[&[u8]],
        mut each: impl FnMut(Message<'_>) + Send,
    ) -> Result<Dump, SocketError> {
        let sequence = self.send_one(kind, flags::REQUEST | flags::DUMP, body)?;
        let (full, parts) = mpsc::sync_channel::<Vec<u8>>(BUFFERS);
        let (spent, empty) = mpsc::sync_channel::<Vec<u8>>(BUFFERS);
        std::thread::scope(|scope| {
            let worker = std::thread::Builder::new().name("dump".into()).spawn_scoped(scope, move || {
                for part in parts {
                    let messages = netlink::for_each_message(&part, |message| {
                        if message.sequence == sequence && message.kind > control::DONE {
                            each(message);
                        }
                        ControlFlow::<()>::Continue(())
                    });
                    // A malformed part ended the receiver, too.
                    let _ = messages;
                    let _ = spent.try_send(part);
                }
            });
            let worker = worker.map_err(SocketError::Receive)?;
            let result = self.pass_on(sequence, &full, &empty);
            drop(full);
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
            result
        })
    }

    /// Receives a dump and passes its parts on, until it ends.
    fn pass_on(
        &mut self,
        sequence: u32,
        full: &mpsc::SyncSender<Vec<u8>>,
        empty: &mpsc::Receiver<Vec<u8>>,
    ) -> Result<Dump, SocketError> {
        let mut state = Dump::Whole;
        loop {
            let mut end = None;
            let length = self.receive_bytes()?;
            let data = self.buffer.get(..length).ok_or(Malformed)?;
            let _ = netlink::for_each_message(data, |message| {
                if message.sequence != sequence {
                    return ControlFlow::Continue(());
                }
                if message.flags & flags::DUMP_INTR != 0 {
                    state = Dump::Interrupted;
                }
                match message.kind {
                    control::DONE => end = Some(done(message.payload)),
                    control::ERROR => end = Some(refused(message.payload)),
                    _ => return ControlFlow::Continue(()),
                }
                ControlFlow::Break(())
            })?;
            let mut part = empty.try_recv().unwrap_or_default();
            part.clear();
            part.extend_from_slice(data);
            // The worker ends only after this side.
            let _ = full.send(part);
            if let Some(result) = end {
                return result.map(|()| state);
            }
        }
    }

    /// Sends one request with an acknowledgement and passes each message of the answer to `each`.
    pub fn request(
        &mut self,
        kind: u16,
        extra_flags: u16,
        body: &[&[u8]],
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), SocketError> {
        let sequence = self.send_one(kind, flags::REQUEST | flags::ACK | extra_flags, body)?;
        self.answers(sequence, |message| match message.kind {
            control::ERROR => ControlFlow::Break(refused(message.payload)),
            _ => {
                each(message);
                ControlFlow::Continue(())
            }
        })
    }

    /// Passes each message of the answer to one request to `each`, until it has the result.
    fn answers(
        &mut self,
        sequence: u32,
        mut each: impl FnMut(Message<'_>) -> ControlFlow<Result<(), SocketError>>,
    ) -> Result<(), SocketError> {
        loop {
            let flow = self.receive(|message| {
                if message.sequence == sequence { each(message) } else { ControlFlow::Continue(()) }
            })?;
            if let ControlFlow::Break(result) = flow {
                return result;
            }
        }
    }

    /// Sends a batch: several messages of which the last one asks for an acknowledgement. Returns the
    /// refusals, as (sequence number, reason). The kernel answers a batch that it refuses as a whole
    /// with its first message (net/netfilter/nfnetlink.c).
    pub fn batch(
        &mut self,
        bytes: &[u8],
        first: u32,
        last: u32,
    ) -> Result<Vec<(u32, std::io::Error)>, SocketError> {
        set_send_buffer(&self.fd, bytes.len().saturating_mul(2)).map_err(SocketError::Send)?;
        rustix::net::send(&self.fd, bytes, SendFlags::empty())
            .map_err(|error| SocketError::Send(error.into()))?;
        let mut refusals = Vec::new();
        loop {
            let flow = self.receive(|message| {
                if message.kind != control::ERROR || !(first..=last).contains(&message.sequence) {
                    return ControlFlow::Continue(());
                }
                if let Err(SocketError::Refused(reason)) = refused(message.payload) {
                    refusals.push((message.sequence, reason));
                }
                if message.sequence == first || message.sequence == last {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            if flow.is_break() {
                return Ok(refusals);
            }
        }
    }

    fn send_one(&mut self, kind: u16, flags: u16, body: &[&[u8]]) -> Result<u32, SocketError> {
        self.sequence += 1;
        let mut bytes = Vec::with_capacity(64);
        netlink::put_message(&mut bytes, kind, flags, self.sequence, body);
        rustix::net::send(&self.fd, &bytes, SendFlags::empty())
            .map_err(|error| SocketError::Send(error.into()))?;
        Ok(self.sequence)
    }

    fn receive<B>(
        &mut self,
        each: impl FnMut(Message<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, SocketError> {
        let received = self.receive_bytes()?;
        let data = self.buffer.get(..received).ok_or(Malformed)?;
        Ok(netlink::for_each_message(data, each)?)
    }

    /// The length of what was received; more than the buffer's if it did not fit.
    fn receive_bytes(&mut self) -> Result<usize, SocketError> {
        loop {
            match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => return Ok(length),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(SocketError::Receive(error.into())),
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// `NLMSG_DONE` carries the dump's own result; kernels before 4.x sent none.
fn done(payload: &[u8]) -> Result<(), SocketError> {
    if payload.len() < 4 { Ok(()) } else { refused(payload) }
}

fn refused(payload: &[u8]) -> Result<(), SocketError> {
    match netlink::error_code(payload)? {
        0 => Ok(()),
        code => Err(SocketError::Refused(std::io::Error::from_raw_os_error(code.saturating_neg()))),
    }
}

/// rustix has no safe form of this option.
fn netns_cookie(fd: &OwnedFd) -> Option<u64> {
    use std::os::fd::AsRawFd;
    const SO_NETNS_COOKIE: libc::c_int = 71;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the pointers are to a number and to its length.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            std::ptr::from_mut(&mut cookie).cast(),
            &raw mut length,
        )
    };
    (result == 0).then_some(cookie)
}

/// A batch must fit into the send buffer as one message; SO_SNDBUFFORCE needs CAP_NET_ADMIN, which
/// loading a ruleset needs anyway. rustix has no safe form of it.
fn set_send_buffer(fd: &OwnedFd, size: usize) -> std::io::Result<()> {
    use std::os::fd::AsRawFd;
    let value = libc::c_int::try_from(size.max(256 * 1024)).unwrap_or(libc::c_int::MAX);
    // SAFETY: the descriptor is open, and the pointer is to a c_int of the length given.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_SNDBUFFORCE,
            std::ptr::from_ref(&value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
