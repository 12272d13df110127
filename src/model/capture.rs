//! What was read from a kernel, before any interpretation: netlink messages and save texts.
//!
//! Role: the output of `collect`, the input of `normalise`. It has a byte form of its own, used for the
//! cache of compiled baselines and for `.exact` files; the form is versioned and never changes in place.

use super::bytes::{Input, Unreadable, put_bytes, put_u32};
use super::ruleset::{Backend, Family};
use std::collections::BTreeMap;

/// First bytes of the serialised form of nf_tables and legacy tables.
const MAGIC: &[u8] = b"fwdrift-capture/1\n";
/// First bytes of the form that has the other sources, too.
const MAGIC_2: &[u8] = b"fwdrift-capture/2\n";

/// One message of nf_tables or of ipset: its type, its family and its attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// `enum nf_tables_msg_types` or `enum ipset_cmd`, for example `netlink::nft::msg::NEWRULE`.
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

/// Something beside the rules that decides what they do: a kernel setting, a BPF program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContextObject {
    /// Its name: `net.ipv4.ip_forward`.
    pub name: Vec<u8>,
    /// Its value, without a line break.
    pub value: Vec<u8>,
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
    /// The sets of ipset: for each an `IPSET_CMD_CREATE` message with the attributes of its head, then
    /// `IPSET_CMD_ADD` messages with its name and lists of members (`IPSET_ATTR_ADT`), as `IPSET_CMD_LIST` gave them.
    /// None if they were not asked for, or could not be read.
    pub ipset: Option<Vec<RawMessage>>,
    /// Kernel settings. None if they were not asked for.
    pub sysctl: Option<Vec<ContextObject>>,
    /// BPF programs. None if they were not asked for.
    pub bpf: Option<Vec<ContextObject>>,
}

impl Capture {
    /// What was read of a backend that holds [`ContextObject`]s; none for the others.
    pub fn context(&self, backend: Backend) -> Option<&[ContextObject]> {
        match backend {
            Backend::Sysctl => self.sysctl.as_deref(),
            Backend::Bpf => self.bpf.as_deref(),
            Backend::NfTables | Backend::Legacy | Backend::Ipset => None,
        }
    }

    /// The byte form: magic, then numbers as little-endian 32 bits and byte strings with their length. Version 2
    /// is version 1 and the sources that came later, and is written only where there are any.
    pub fn to_bytes(&self) -> Vec<u8> {
        let more = self.ipset.is_some() || self.sysctl.is_some() || self.bpf.is_some();
        let mut out = if more { MAGIC_2.to_vec() } else { MAGIC.to_vec() };
        put_u32(&mut out, self.generation);
        put_u32(&mut out, self.interfaces.len() as u32);
        for (index, name) in &self.interfaces {
            put_u32(&mut out, *index);
            put_bytes(&mut out, name);
        }
        put_messages(&mut out, &self.messages);
        put_u32(&mut out, self.legacy.len() as u32);
        for legacy in &self.legacy {
            out.push(legacy.family.number());
            put_bytes(&mut out, &legacy.table);
            put_bytes(&mut out, &legacy.text);
        }
        if more {
            out.push(u8::from(self.ipset.is_some()));
            put_messages(&mut out, self.ipset.as_deref().unwrap_or_default());
            for objects in [&self.sysctl, &self.bpf] {
                out.push(u8::from(objects.is_some()));
                put_u32(&mut out, objects.as_ref().map_or(0, Vec::len) as u32);
                for object in objects.iter().flatten() {
                    put_bytes(&mut out, &object.name);
                    put_bytes(&mut out, &object.value);
                }
            }
        }
        out
    }

    /// Reads the byte form; anything unexpected is an error.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let (rest, more) = match bytes.strip_prefix(MAGIC) {
            Some(rest) => (rest, false),
            None => (bytes.strip_prefix(MAGIC_2).ok_or(Unreadable)?, true),
        };
        let mut input = Input::new(rest);
        let generation = input.u32()?;
        let mut interfaces = BTreeMap::new();
        for _ in 0..input.u32()? {
            interfaces.insert(input.u32()?, input.bytes()?.to_vec());
        }
        let messages = read_messages(&mut input)?;
        let mut legacy = Vec::new();
        for _ in 0..input.u32()? {
            let family = Family::from_number(input.byte()?).ok_or(Unreadable)?;
            let (table, text) = (input.bytes()?.to_vec(), input.bytes()?.to_vec());
            legacy.push(LegacyTable { family, table, text });
        }
        let mut capture = Self { generation, interfaces, messages, legacy, ..Self::default() };
        if more {
            let (is_there, messages) = (input.byte()? != 0, read_messages(&mut input)?);
            capture.ipset = is_there.then_some(messages);
            capture.sysctl = read_context(&mut input)?;
            capture.bpf = read_context(&mut input)?;
        }
        if input.is_empty() { Ok(capture) } else { Err(Unreadable) }
    }
}

fn put_messages(out: &mut Vec<u8>, messages: &[RawMessage]) {
    put_u32(out, messages.len() as u32);
    for message in messages {
        out.extend_from_slice(&[message.kind, message.family]);
        put_bytes(out, &message.attrs);
    }
}

fn read_messages(input: &mut Input<'_>) -> Result<Vec<RawMessage>, Unreadable> {
    let mut messages = Vec::new();
    for _ in 0..input.u32()? {
        let (kind, family) = (input.byte()?, input.byte()?);
        messages.push(RawMessage { kind, family, attrs: input.bytes()?.to_vec() });
    }
    Ok(messages)
}

fn read_context(input: &mut Input<'_>) -> Result<Option<Vec<ContextObject>>, Unreadable> {
    let is_there = input.byte()? != 0;
    let mut objects = Vec::new();
    for _ in 0..input.u32()? {
        let (name, value) = (input.bytes()?.to_vec(), input.bytes()?.to_vec());
        objects.push(ContextObject { name, value });
    }
    Ok(is_there.then_some(objects))
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
            ..Capture::default()
        };
        assert_eq!(Capture::from_bytes(&capture.to_bytes()), Ok(capture.clone()));
        let context = vec![ContextObject { name: b"net.ipv4.ip_forward".to_vec(), value: b"1".to_vec() }];
        let more = Capture { ipset: Some(Vec::new()), sysctl: Some(context), ..capture };
        assert_eq!(Capture::from_bytes(&more.to_bytes()), Ok(more));
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
            ..Capture::default()
        };
        assert_eq!(capture.to_bytes(), stored);
        assert_eq!(Capture::from_bytes(stored), Ok(capture));
    }

    #[test]
    fn the_byte_form_of_version_2_is_frozen() {
        let stored = b"fwdrift-capture/2\n\
            \x07\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
            \x01\x01\0\0\0\x02\x02\x03\0\0\0abc\
            \x01\x01\0\0\0\x01\0\0\0n\x01\0\0\0v\
            \0\0\0\0\0";
        let capture = Capture {
            generation: 7,
            ipset: Some(vec![RawMessage { kind: 2, family: 2, attrs: b"abc".to_vec() }]),
            sysctl: Some(vec![ContextObject { name: b"n".to_vec(), value: b"v".to_vec() }]),
            ..Capture::default()
        };
        assert_eq!(capture.to_bytes(), stored);
        assert_eq!(Capture::from_bytes(stored), Ok(capture));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Capture::from_bytes(&[MAGIC, &bytes].concat());
            let _ = Capture::from_bytes(&[MAGIC_2, &bytes].concat());
        }
    }
}
