//! Netlink wire format: messages and attributes, read and built over plain bytes.
//!
//! Role: the one place that knows alignment, headers and nesting (linux/netlink.h), and the
//! attribute numbers of nf_tables (linux/netfilter/nf_tables.h). Pure: sockets are in `sys::socket`.

pub mod ipset;
pub mod nft;

use std::ops::ControlFlow;

/// Set on attributes that hold attributes; nf_tables sets it unreliably, so it is masked when read.
const NLA_F_NESTED: u16 = 1 << 15;
/// Set on numbers in network byte order; ipset refuses numbers without it.
const NLA_F_NET_BYTEORDER: u16 = 1 << 14;
const NLA_TYPE_MASK: u16 = !(NLA_F_NESTED | NLA_F_NET_BYTEORDER);
const NLMSG_HEADER: usize = 16;
const NLA_HEADER: usize = 4;

/// `nlmsg_flags` (linux/netlink.h).
pub mod flags {
    /// A request.
    pub const REQUEST: u16 = 0x1;
    /// Ask for an acknowledgement.
    pub const ACK: u16 = 0x4;
    /// The dump was interrupted by a change; its content may be torn.
    pub const DUMP_INTR: u16 = 0x10;
    /// Return all entries.
    pub const DUMP: u16 = 0x300;
    /// Create if it does not exist.
    pub const CREATE: u16 = 0x400;
    /// Fail if it exists.
    pub const EXCL: u16 = 0x200;
    /// Add to the end of the list.
    pub const APPEND: u16 = 0x800;
}

/// Control message types (linux/netlink.h).
pub mod control {
    /// Error or acknowledgement.
    pub const ERROR: u16 = 2;
    /// End of a dump.
    pub const DONE: u16 = 3;
}

/// Bytes that are not a well-formed netlink message or attribute list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed netlink data")]
pub struct Malformed;

/// One message of a received buffer.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub sequence: u32,
    /// `nlmsg_pid`: the port of the socket that asked; 0 is the kernel.
    pub port: u32,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// Calls `each` for every message in `buffer`, until it breaks or the buffer ends.
pub fn for_each_message<'a, B>(
    buffer: &'a [u8],
    mut each: impl FnMut(Message<'a>) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, Malformed> {
    let mut rest = buffer;
    while rest.len() >= NLMSG_HEADER {
        let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
        if length < NLMSG_HEADER || length > rest.len() {
            return Err(Malformed);
        }
        let message = whole_datagram(&rest[..length]).ok_or(Malformed)?;
        if let ControlFlow::Break(value) = each(message) {
            return Ok(ControlFlow::Break(value));
        }
        rest = &rest[align(length).min(rest.len())..];
    }
    Ok(ControlFlow::Continue(()))
}

/// The one message of an audit datagram. Kernels have disagreed on whether `nlmsg_len` counts the header
/// in the multicast group (kernel/audit.c `audit_log_end`), so the datagram's own end counts.
pub fn whole_datagram(bytes: &[u8]) -> Option<Message<'_>> {
    let (header, payload) = bytes.split_at_checked(NLMSG_HEADER)?;
    Some(Message {
        kind: u16::from_ne_bytes([header[4], header[5]]),
        flags: u16::from_ne_bytes([header[6], header[7]]),
        sequence: u32::from_ne_bytes([header[8], header[9], header[10], header[11]]),
        port: u32::from_ne_bytes([header[12], header[13], header[14], header[15]]),
        payload,
    })
}

/// One attribute: its type without the nesting bits, and its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// `nla_type`, masked.
    pub kind: u16,
    /// The payload, without padding.
    pub payload: &'a [u8],
}

impl<'a> Attr<'a> {
    /// The attributes inside this one.
    pub fn nested(&self) -> Attrs<'a> {
        Attrs(self.payload)
    }

    /// A big-endian 32-bit number, as nf_tables uses for all its numbers.
    pub fn be32(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.payload.try_into().ok()?))
    }

    /// A big-endian 64-bit number, such as a handle.
    pub fn be64(&self) -> Option<u64> {
        Some(u64::from_be_bytes(self.payload.try_into().ok()?))
    }

    /// A string, without its terminating zero.
    pub fn string(&self) -> &'a [u8] {
        self.payload.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

/// Walks a list of attributes. A malformed tail ends the walk with an error.
#[derive(Clone, Copy, Debug)]
pub struct Attrs<'a>(pub &'a [u8]);

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.0;
        if rest.is_empty() {
            return None;
        }
        if rest.len() < NLA_HEADER {
            self.0 = &[];
            return Some(Err(Malformed));
        }
        let length = u16::from_ne_bytes([rest[0], rest[1]]) as usize;
        let kind = u16::from_ne_bytes([rest[2], rest[3]]) & NLA_TYPE_MASK;
        if length < NLA_HEADER || length > rest.len() {
            self.0 = &[];
            return Some(Err(Malformed));
        }
        self.0 = &rest[align(length).min(rest.len())..];
        Some(Ok(Attr { kind, payload: &rest[NLA_HEADER..length] }))
    }
}

impl<'a> Attrs<'a> {
    /// The first attribute of this type, if the list is well formed up to it.
    pub fn find(self, kind: u16) -> Option<Attr<'a>> {
        self.flatten().find(|attr| attr.kind == kind)
    }
}

/// Builds a list of attributes.
#[derive(Clone, Debug, Default)]
pub struct AttrWriter(Vec<u8>);

impl AttrWriter {
    /// An empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one attribute. Payloads are at most 65,531 bytes (`nla_len` is 16 bits).
    pub fn put(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        put_attr(&mut self.0, kind, payload);
        self
    }

    /// Appends a zero-terminated string.
    pub fn string(&mut self, kind: u16, text: &[u8]) -> &mut Self {
        let mut bytes = text.to_vec();
        bytes.push(0);
        self.put(kind, &bytes)
    }

    /// Appends a big-endian 32-bit number.
    pub fn be32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes())
    }

    /// Appends a number that says itself that it is in network byte order, as ipset wants it.
    pub fn net(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        self.put(kind | NLA_F_NET_BYTEORDER, payload)
    }

    /// Appends an attribute whose payload is the list that `fill` writes.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut AttrWriter)) -> &mut Self {
        let start = self.0.len();
        put_attr(&mut self.0, kind | NLA_F_NESTED, &[]);
        fill(self);
        let length = (self.0.len() - start) as u16;
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }

    /// As [`Self::nested`], where filling can fail; the list is then not to be used.
    pub fn try_nested<E>(
        &mut self,
        kind: u16,
        fill: impl FnOnce(&mut AttrWriter) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut result = Ok(());
        self.nested(kind, |inner| result = fill(inner));
        result
    }

    /// Starts anew with an empty list, and keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends attributes that are already encoded.
    pub fn raw(&mut self, attrs: &[u8]) -> &mut Self {
        self.0.extend_from_slice(attrs);
        self
    }

    /// The encoded list.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The encoded list so far.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

fn put_attr(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    let length = NLA_HEADER + payload.len();
    out.extend_from_slice(&(length as u16).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(payload);
    out.resize(out.len() + align(length) - length, 0);
}

/// Appends one whole message to `out`.
pub fn put_message(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, body: &[&[u8]]) {
    let length = NLMSG_HEADER + body.iter().map(|part| part.len()).sum::<usize>();
    out.extend_from_slice(&(length as u32).to_ne_bytes());
    out.extend_from_slice(&kind.to_ne_bytes());
    out.extend_from_slice(&flags.to_ne_bytes());
    out.extend_from_slice(&sequence.to_ne_bytes());
    out.extend_from_slice(&0u32.to_ne_bytes());
    for part in body {
        out.extend_from_slice(part);
    }
    out.resize(out.len() + align(length) - length, 0);
}

/// The (negative errno) result that an `NLMSG_ERROR` carries; 0 is an acknowledgement.
pub fn error_code(payload: &[u8]) -> Result<i32, Malformed> {
    let bytes = payload.get(..4).ok_or(Malformed)?;
    Ok(i32::from_ne_bytes(bytes.try_into().map_err(|_| Malformed)?))
}

fn align(length: usize) -> usize {
    (length + 3) & !3
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = AttrWriter::new();
        writer.string(1, b"filter").be32(2, 7).nested(3, |inner| {
            inner.put(1, &[1, 2, 3]);
        });
        let attrs: Vec<Attr> = Attrs(writer.as_bytes()).map(|attr| attr.unwrap()).collect();
        assert_eq!(attrs[0].string(), b"filter");
        assert_eq!(attrs[1].be32(), Some(7));
        assert_eq!(attrs[2].nested().find(1).unwrap().payload, &[1, 2, 3]);
    }

    #[test]
    fn a_datagram_of_two_messages_gives_both() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, 20, flags::REQUEST, 7, &[b"ab", b"c"]);
        put_message(&mut bytes, control::DONE, 0, 8, &[]);
        let mut seen = Vec::new();
        let flow = for_each_message(&bytes, |m| {
            seen.push((m.kind, m.flags, m.sequence, m.payload.to_vec()));
            ControlFlow::<()>::Continue(())
        });
        assert_eq!(flow, Ok(ControlFlow::Continue(())));
        assert_eq!(seen, [(20, flags::REQUEST, 7, b"abc".to_vec()), (control::DONE, 0, 8, Vec::new())]);
    }

    #[test]
    fn an_audit_datagram_ends_where_it_ends_whatever_its_length_says() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, 1300, 0, 0, &[b"abcd"]);
        for length in [4u32, 20, 9999] {
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            let message = whole_datagram(&bytes).unwrap();
            assert_eq!((message.kind, message.payload), (1300, b"abcd".as_slice()));
        }
        assert!(whole_datagram(&bytes[..15]).is_none());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for attr in Attrs(&bytes) {
                if attr.is_err() { break; }
            }
            let _ = for_each_message(&bytes, |_| ControlFlow::<()>::Continue(()));
        }
    }
}
