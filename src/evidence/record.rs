//! One audit record: a line of `audit.log`, or a message of the kernel, as typed fields.
//!
//! In: bytes, hostile ones. Out: a [`Record`], or `None` for what isn't a whole record. Table names are
//! written by the kernel as they are (spaces, newlines, quotes and all, by anyone who owns a network
//! namespace), so a NETFILTER_CFG record is read from its right end. Must not do I/O, must not panic.

mod fields;

use crate::model::{NetfilterCfg, Syscall};
use chrono::{DateTime, Utc};
use fields::{Fields, number, untrusted};
use winnow::ascii::{dec_uint, digit1};
use winnow::combinator::{alt, delimited, opt, preceded, terminated};
use winnow::prelude::*;
use winnow::token::take_while;

/// What a record says, as far as fwdrift needs it (numbers: include/uapi/linux/audit.h).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// NETFILTER_CFG, 1325.
    Netfilter(NetfilterCfg),
    /// SYSCALL, 1300.
    Syscall(Syscall),
    /// PROCTITLE, 1327.
    Proctitle(Vec<u8>),
    /// EXECVE, 1309: arguments by number, in pieces. A long command line takes several records.
    Execve(Vec<(u32, Vec<u8>)>),
    /// USER_START or USER_LOGIN (1105, 1112): a session that began, with an address.
    Session(SessionStart),
    /// EOE, 1320: no more records of this event.
    End,
    /// CONFIG_CHANGE, 1305, that alters `audit_enabled`: whether auditing is on from now. The kernel writes none
    /// when it was off before.
    Enabled(bool),
    /// DAEMON_START, 1200.
    DaemonStart,
    /// DAEMON_END, DAEMON_ABORT or DAEMON_ERR (1201, 1202, 1209): whoever writes the log stopped or lost records.
    DaemonTrouble,
    /// A NETFILTER_CFG, SYSCALL or PROCTITLE record that was cut short or garbled.
    Broken,
    /// Any other type.
    Other,
}

/// Whence a session came, as the program that let it in wrote it down. The numbers are the kernel's own: whoever
/// else may write such records, can do so for the session it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionStart {
    /// The audit session.
    pub session: u32,
    /// The login uid.
    pub auid: u32,
    /// The address of the other side.
    pub remote: String,
}

/// One audit record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The event's time, in milliseconds since 1970.
    pub millis: i64,
    /// The event's serial number.
    pub serial: u64,
    /// What it says.
    pub body: Body,
}

impl Record {
    /// The event's time.
    pub fn time(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.millis).unwrap_or_default()
    }
}

/// NETFILTER_CFG.
pub(super) const NETFILTER_CFG: u32 = 1325;
/// SYSCALL.
pub(super) const SYSCALL: u32 = 1300;
/// PROCTITLE.
pub(super) const PROCTITLE: u32 = 1327;
/// EXECVE.
pub(super) const EXECVE: u32 = 1309;
/// USER_START.
pub(super) const USER_START: u32 = 1105;
/// USER_LOGIN.
pub(super) const USER_LOGIN: u32 = 1112;
/// EOE.
pub(super) const EOE: u32 = 1320;
/// CONFIG_CHANGE.
pub(super) const CONFIG_CHANGE: u32 = 1305;

const NAMES: [(&str, u32); 13] = [
    ("NETFILTER_CFG", NETFILTER_CFG),
    ("SYSCALL", SYSCALL),
    ("PROCTITLE", PROCTITLE),
    ("EOE", EOE),
    ("CONFIG_CHANGE", CONFIG_CHANGE),
    ("SOCKADDR", 1306),
    ("EXECVE", EXECVE),
    ("USER_START", USER_START),
    ("USER_LOGIN", USER_LOGIN),
    ("DAEMON_START", 1200),
    ("DAEMON_END", 1201),
    ("DAEMON_ABORT", 1202),
    ("DAEMON_ERR", 1209),
];

/// auditd's mark between the kernel's fields and the ones it adds when `log_format = ENRICHED`.
const ENRICHMENT: u8 = 0x1d;
/// `(uid_t)-1`, `(unsigned)-1`: no login, no session.
const UNSET: u32 = u32::MAX;

/// The name that auditd writes for a type.
pub(super) fn type_name(number: u32) -> String {
    let known = NAMES.iter().find(|(_, n)| *n == number);
    known.map_or_else(|| format!("UNKNOWN[{number}]"), |(name, _)| (*name).to_owned())
}

/// The head of a line of `audit.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// The record's type; 0 for one that fwdrift doesn't use.
    pub(super) number: u32,
    /// The event's time, in milliseconds since 1970.
    pub(super) millis: i64,
    /// The event's serial number.
    pub(super) serial: u64,
}

impl Head {
    /// What the event's records have in common.
    pub(super) fn key(&self) -> (i64, u64) {
        (self.millis, self.serial)
    }
}

/// Reads the head of a line, and gives the rest.
pub(super) fn split_line(line: &[u8]) -> Option<(Head, &[u8])> {
    let mut input = line;
    let head = head.parse_next(&mut input).ok()?;
    Some((head, input))
}

/// Reads one line of `audit.log`, without its newline: `[node=N ]type=T msg=audit(S.mmm:SERIAL): …`.
pub fn parse_line(line: &[u8]) -> Option<Record> {
    let (head, rest) = split_line(line)?;
    Some(Record { millis: head.millis, serial: head.serial, body: parse_body(head.number, rest) })
}

/// Reads a message as the kernel sends it: `audit(S.mmm:SERIAL): …`, the type apart.
pub fn parse_message(number: u32, message: &[u8]) -> Option<Record> {
    let mut input = message;
    let (millis, serial) = stamp.parse_next(&mut input).ok()?;
    Some(Record { millis, serial, body: parse_body(number, input) })
}

/// As [`parse_message`], but what describes a process is left for when its event turns out to be of use: on a host that
/// audits much, most is not.
pub(super) fn parse_in_short(number: u32, message: &[u8]) -> Option<Record> {
    let mut input = message;
    let (millis, serial) = stamp.parse_next(&mut input).ok()?;
    let body = match number {
        SYSCALL | PROCTITLE | EXECVE => Body::Other,
        _ => parse_body(number, input),
    };
    Some(Record { millis, serial, body })
}

fn head(input: &mut &[u8]) -> ModalResult<Head> {
    let _ = opt((b"node=".as_slice(), take_while(1.., |b: u8| b != b' '), b' ')).parse_next(input)?;
    let number = preceded(b"type=".as_slice(), type_number).parse_next(input)?;
    let (millis, serial) = preceded(b" msg=".as_slice(), stamp).parse_next(input)?;
    Ok(Head { number, millis, serial })
}

/// A type as auditd writes it: a name it knows, `UNKNOWN[n]`, or the number; other names are 0.
fn type_number(input: &mut &[u8]) -> ModalResult<u32> {
    let unknown = delimited(b"UNKNOWN[".as_slice(), dec_uint::<_, u32, _>, b']');
    let bare = terminated(dec_uint::<_, u32, _>, winnow::combinator::peek(b' '));
    let named = take_while(1.., |b: u8| b != b' ').map(|name: &[u8]| {
        NAMES.iter().find(|(known, _)| known.as_bytes() == name).map_or(0, |(_, number)| *number)
    });
    alt((unknown, bare, named)).parse_next(input)
}

/// `audit(SECONDS.mmm:SERIAL):`, and the space after it.
fn stamp(input: &mut &[u8]) -> ModalResult<(i64, u64)> {
    let (seconds, _, fraction, _, serial) = delimited(
        b"audit(".as_slice(),
        (dec_uint::<_, u32, _>, b'.', digit1.verify(|d: &[u8]| d.len() == 3), b':', dec_uint::<_, u64, _>),
        b"):".as_slice(),
    )
    .parse_next(input)?;
    let _ = opt(b' ').parse_next(input)?;
    let millis = fraction.iter().fold(0i64, |n, d| n * 10 + i64::from(d - b'0'));
    Ok((i64::from(seconds) * 1000 + millis, serial))
}

/// Reads the text after `audit(…): ` of a record of this type.
pub(super) fn parse_body(number: u32, text: &[u8]) -> Body {
    let whole = |body: Option<Body>| body.unwrap_or(Body::Broken);
    match number {
        NETFILTER_CFG => whole(netfilter(text).map(Body::Netfilter)),
        SYSCALL => whole(syscall(text).map(Body::Syscall)),
        // A kernel thread has no title.
        PROCTITLE if matches!(text, b"proctitle=\"(null)\"" | b"proctitle=(null)") => Body::Other,
        PROCTITLE => whole(Fields::of(text).bytes("proctitle").map(Body::Proctitle)),
        EOE => Body::End,
        EXECVE => whole(execve(text).map(Body::Execve)),
        USER_START | USER_LOGIN => session(text).map_or(Body::Other, Body::Session),
        CONFIG_CHANGE => {
            let fields = Fields::of(text);
            let (new, old) = (fields.number::<u32>("audit_enabled"), fields.number::<u32>("old"));
            new.filter(|new| Some(*new) != old).map_or(Body::Other, |new| Body::Enabled(new != 0))
        }
        1200 => Body::DaemonStart,
        1201 | 1202 | 1209 => Body::DaemonTrouble,
        _ => Body::Other,
    }
}

/// `table=NAME[:GENERATION] family=F entries=E op=OP pid=P [subj=S ]comm=C`. NAME may hold anything, also
/// a forged copy of the rest; what the kernel appended is what stands after the *last* ` family=`.
fn netfilter(text: &[u8]) -> Option<NetfilterCfg> {
    const MARK: &[u8] = b" family=";
    let text = text.strip_prefix(b"table=")?;
    let at = text.windows(MARK.len()).rposition(|w| w == MARK)?;
    let (name, suffix) = text.split_at(at);
    let fields = Fields::of(suffix);
    let op = String::from_utf8(fields.raw("op")?.to_vec()).ok()?;
    let (table, generation) = if op.starts_with("nft_") {
        let colon = name.iter().rposition(|b| *b == b':')?;
        (name.get(..colon)?, Some(number(name.get(colon + 1..)?)?))
    } else {
        (name, None)
    };
    Some(NetfilterCfg {
        table: table.to_vec(),
        generation,
        family: fields.number("family")?,
        pid: fields.number("pid")?,
        comm: fields.bytes("comm")?,
        op,
    })
}

fn syscall(text: &[u8]) -> Option<Syscall> {
    // The kernel writes no control byte in this record, so the first mark is auditd's.
    let cut = text.iter().position(|b| *b == ENRICHMENT);
    let (kernel, added) = cut.map_or((text, [].as_slice()), |at| text.split_at(at));
    let (fields, names) =
        (Fields::of(kernel), Fields::of(added.strip_prefix(&[ENRICHMENT]).unwrap_or(added)));
    let set = |value: u32| (value != UNSET).then_some(value);
    let auid = set(fields.number("auid")?);
    // `key=` is the record's last field (an LSM's label may follow); without comm or exe it was cut short.
    Some(Syscall {
        auid,
        uid: fields.number("uid")?,
        session: set(fields.number("ses")?),
        tty: fields.bytes("tty"),
        pid: fields.number("pid")?,
        ppid: fields.number("ppid"),
        comm: Some(fields.bytes("comm")?),
        exe: match fields.raw("exe")? {
            b"(null)" => None,
            _ => Some(fields.bytes("exe")?),
        },
        success: fields.raw("success").map(|v| v == b"yes"),
        login_name: auid.and_then(|_| names.name("AUID")),
        uid_name: names.name("UID"),
    })
}

/// `argc=N a0=… a1_len=L a1[0]=… a1[1]=… …`, or further arguments without `argc` (kernel/auditsc.c
/// `audit_log_execve_info`).
fn execve(text: &[u8]) -> Option<Vec<(u32, Vec<u8>)>> {
    let fields = Fields::of(text);
    let arguments = fields.pairs().iter().filter_map(|(key, value)| {
        let digits = key.strip_prefix(b"a")?.split(|byte| *byte == b'[').next()?;
        let index = number(digits).filter(|_| !digits.is_empty())?;
        Some((index, *value))
    });
    arguments.map(|(index, value)| Some((index, untrusted(value)?))).collect()
}

/// `pid=… uid=… auid=A ses=S … msg='op=… acct=… exe=… hostname=… addr=ADDRESS terminal=… res=success'`: the kernel's
/// fields, then what the program wrote (audit_log_acct_message(3)), of which the address is the last part that may
/// hold what others chose.
fn session(text: &[u8]) -> Option<SessionStart> {
    const MESSAGE: &[u8] = b" msg='";
    const ADDRESS: &[u8] = b" addr=";
    let at = text.windows(MESSAGE.len()).position(|window| window == MESSAGE)?;
    let (kernel, message) = (text.get(..at)?, text.get(at + MESSAGE.len()..)?);
    let message = message.get(..message.iter().rposition(|byte| *byte == b'\'')?)?;
    let address = message.windows(ADDRESS.len()).rposition(|window| window == ADDRESS)?;
    let rest = message.get(address + ADDRESS.len()..)?;
    let address = rest.split(|byte| *byte == b' ').next().and_then(|text| std::str::from_utf8(text).ok())?;
    let succeeded = rest.ends_with(b" res=success") || rest.ends_with(b" res=1");
    let fields = Fields::of(kernel);
    let set = |key: &str| fields.number(key).filter(|value| *value != UNSET);
    let (session, auid) = (set("ses")?, set("auid")?);
    let remote = crate::evidence::process::address(address).filter(|_| succeeded)?;
    Some(SessionStart { session, auid, remote })
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
