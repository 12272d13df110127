//! What was read from a kernel, before any interpretation: netlink messages and save texts.
//!
//! Role: the output of `collect`, the input of `normalise`. It has a byte form of its own, used for the
//! cache of compiled baselines and for `.exact` files; the form is versioned and never changes in place.

use super::ruleset::Family;
use std::collections::BTreeMap;

/// First bytes of the serialised form.
const MAGIC: &[u8] = b"fwdrift-capture/1\n";

/// One nf_tables message: its type, its family and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// `enum nf_tables_msg_types`, for example `netlink::nft::msg::NEWRULE`.
    pub kind: u8,
    /// `nfgen_family`.
    pub family: u8,
    /// The attributes, as the kernel sent them.
    pub attrs: Vec<u8>,
}

/// The text that `iptables-legacy-save -t TABLE` printed for one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyTable {
    /// `ip` or `ip6`.
    pub family: Family,
    /// `filter`, `nat`, …
    pub table: Vec<u8>,
    /// The whole output.
    pub text: Vec<u8>,
}

/// A consistent reading of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// `NFTA_GEN_ID` at the time of the reading.
    pub generation: u32,
    /// Interface index to name, as it was then.
    pub interfaces: BTreeMap<u32, Vec<u8>>,
    /// All nf_tables messages: tables, chains, sets, elements, objects, flowtables, rules.
    pub messages: Vec<RawMessage>,
    /// The tables of iptables-legacy that /proc names.
    pub legacy: Vec<LegacyTable>,
}

/// A serialised capture that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a capture of this version of fwdrift, or damaged")]
pub struct Unreadable;

impl Capture {
    /// The byte form: magic, then numbers as little-endian 32 bits and byte strings with their length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_u32(&mut out, self.generation);
        put_u32(&mut out, self.interfaces.len() as u32);
        for (index, name) in &self.interfaces {
            put_u32(&mut out, *index);
            put_bytes(&mut out, name);
        }
        put_u32(&mut out, self.messages.len() as u32);
        for message in &self.messages {
            out.extend_from_slice(&[message.kind, message.family]);
            put_bytes(&mut out, &message.attrs);
        }
        put_u32(&mut out, self.legacy.len() as u32);
        for legacy in &self.legacy {
            out.push(legacy.family.number());
            put_bytes(&mut out, &legacy.table);
            put_bytes(&mut out, &legacy.text);
        }
        out
    }

    /// Reads the byte form; anything unexpected is an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut input = Input(bytes.strip_prefix(MAGIC).ok_or(Unreadable)?);
        let generation = input.u32()?;
        let mut interfaces = BTreeMap::new();
        for _ in 0..input.u32()? {
            interfaces.insert(input.u32()?, input.bytes()?.to_vec());
        }
        let mut messages = Vec::new();
        for _ in 0..input.u32()? {
            let (kind, family) = (input.byte()?, input.byte()?);
            messages.push(RawMessage { kind, family, attrs: input.bytes()?.to_vec() });
        }
        let mut legacy = Vec::new();
        for _ in 0..input.u32()? {
            let family = Family::from_number(input.byte()?).ok_or(Unreadable)?;
            let (table, text) = (input.bytes()?.to_vec(), input.bytes()?.to_vec());
            legacy.push(LegacyTable { family, table, text });
        }
        if input.0.is_empty() {
            Ok(Self { generation, interfaces, messages, legacy })
        } else {
            Err(Unreadable)
        }
    }
}

fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (head, tail) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        Ok(self.take(1)?[0])
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| Unreadable)?))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Unreadable> {
        let length = self.u32()? as usize;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_capture_survives_its_byte_form() {
        let capture = Capture {
            generation: 7,
            interfaces: BTreeMap::from([(2, b"eth0".to_vec())]),
            messages: vec![RawMessage { kind: 6, family: 1, attrs: vec![1, 2, 3] }],
            legacy: vec![LegacyTable { family: Family::Ip, table: b"nat".to_vec(), text: b"*nat".to_vec() }],
        };
        assert_eq!(Capture::from_bytes(&capture.to_bytes()), Ok(capture));
    }

    /// The byte form is stored in repositories: this vector never changes, a new form gets a new number.
    #[test]
    fn the_byte_form_of_version_1_is_frozen() {
        let stored = b"fwdrift-capture/1\n\
            \x07\0\0\0\
            \x01\0\0\0\x02\0\0\0\x04\0\0\0eth0\
            \x01\0\0\0\x06\x01\x03\0\0\0abc\
            \x01\0\0\0\x02\x03\0\0\0nat\x04\0\0\0*nat";
        let capture = Capture {
            generation: 7,
            interfaces: BTreeMap::from([(2, b"eth0".to_vec())]),
            messages: vec![RawMessage { kind: 6, family: 1, attrs: b"abc".to_vec() }],
            legacy: vec![LegacyTable { family: Family::Ip, table: b"nat".to_vec(), text: b"*nat".to_vec() }],
        };
        assert_eq!(capture.to_bytes(), stored);
        assert_eq!(Capture::from_bytes(stored), Ok(capture));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Capture::from_bytes(&[MAGIC, &bytes].concat());
        }
    }
}
