//! Netlink framing (include/uapi/linux/netlink.h): messages and attributes in a buffer. Pure bytes.

/// NLMSG_ERROR.
pub(super) const ERROR: u16 = 2;
/// NLMSG_DONE.
pub(super) const DONE: u16 = 3;
/// NLM_F_REQUEST.
pub(super) const REQUEST: u16 = 1;
/// NLM_F_ACK.
pub(super) const ACK: u16 = 4;

const HEADER: usize = 16;

/// One message of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) payload: &'a [u8],
}

/// A request with its header.
pub(super) fn request(kind: u16, flags: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + payload.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(payload);
    bytes
}

/// The messages of a datagram; stops at the first that doesn't fit.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = Message { kind: u16_at(bytes, 4)?, payload: bytes.get(HEADER..length)? };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The one message of an audit datagram. Kernels have disagreed on whether `nlmsg_len` counts the header
/// there, so the datagram's own end counts.
pub(super) fn whole(bytes: &[u8]) -> Option<Message<'_>> {
    Some(Message { kind: u16_at(bytes, 4)?, payload: bytes.get(HEADER..)? })
}

/// The attributes in `bytes`: type without its flag bits, and value.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let found = (u16_at(bytes, 2)? & 0x3fff, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(found)
    })
}

/// A number in this machine's order.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_datagram_of_two_messages_gives_both() {
        let mut bytes = request(20, REQUEST, 7, b"abc");
        bytes.push(0);
        bytes.extend(request(DONE, 0, 7, b""));
        let kinds: Vec<_> = messages(&bytes).map(|m| (m.kind, m.payload.to_vec())).collect();
        assert_eq!(kinds, [(20, b"abc".to_vec()), (DONE, Vec::new())]);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(messages(&bytes).count() <= 200);
            prop_assert!(attributes(&bytes).count() <= 200);
        }
    }
}
