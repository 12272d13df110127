//! The audit history from systemd's journal, where no auditd writes a log.
//!
//! In: `journalctl -o json`. Out: the same records as of `audit.log`. A record is one entry: MESSAGE is the
//! type's name and the kernel's text, `_AUDIT_ID` the serial, `_SOURCE_REALTIME_TIMESTAMP` the time in µs
//! (systemd src/journal/journald-audit.c; checked with systemd 252). Bytes that are no UTF-8 come as an array.

use super::history::{History, Reading};
use super::record::{self, Record};
use super::sessions;
use crate::tool::{Tool, ToolError};
use chrono::{DateTime, Utc};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// About 300,000 records.
const BOUND: usize = 256 << 20;

/// The entries that are asked for, and their meaning here.
const TYPES: [u32; 5] =
    [record::NETFILTER_CFG, record::SYSCALL, record::PROCTITLE, record::CONFIG_CHANGE, record::EXECVE];

pub(super) fn read(
    mut reading: Reading,
    dir: Option<&Path>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> History {
    reading.history.source = match dir {
        Some(dir) => format!("the journal in {}", dir.display()),
        None => "the journal".to_owned(),
    };
    // Slack as in the log files: a few seconds, cut to the window by `Reading`.
    let since = format!("--since=@{}", (from.timestamp() - 6).max(0));
    let until = format!("--until=@{}", to.timestamp() + 7);
    let earlier = [format!("--until=@{}", from.timestamp()), "--reverse".to_owned(), "--lines=1".to_owned()];
    let result = journalctl(dir, &[since, until], &TYPES)
        .and_then(|entries| Ok((entries, journalctl(dir, &earlier, &[])?)));
    let (entries, earlier) = match result {
        Ok(both) => both,
        Err(error) => {
            let hint = error.hint();
            reading.history.gap(format!("cannot read {}: {error}", reading.history.source), hint.as_deref());
            return reading.finish();
        }
    };
    // An entry from before the window shows that the journal reaches back to it.
    let kept_since = lines(&earlier).chain(lines(&entries)).find_map(entry_time);
    reading.history.covers_from = kept_since;
    for line in lines(&entries) {
        reading.take(parse_entry(line));
    }
    if kept_since.is_none() {
        let hint =
            "see `fwdrift doctor`: is auditing on, and does journald (`Audit=`) or auditd keep its records?";
        let reason = format!("{} holds no audit records", reading.history.source);
        reading.history.gap(reason, Some(hint));
    }
    let mut history = reading.finish();
    sessions::from_journal(&mut history.events, dir);
    history
}

/// What the journal has of this boot on how these sessions began. Empty if it cannot be read: that is told elsewhere.
pub(super) fn sessions(dir: Option<&Path>, sessions: &BTreeSet<u32>) -> Vec<Record> {
    let mut filter = vec!["--boot".to_owned()];
    filter.extend(sessions.iter().map(|session| format!("_AUDIT_SESSION={session}")));
    let entries = journalctl(dir, &filter, &[record::USER_START, record::USER_LOGIN]).unwrap_or_default();
    lines(&entries).filter_map(parse_entry).collect()
}

fn lines(output: &[u8]) -> impl Iterator<Item = &[u8]> {
    output.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

fn journalctl(dir: Option<&Path>, window: &[String], types: &[u32]) -> Result<Vec<u8>, ToolError> {
    let fields = "--output-fields=MESSAGE,_AUDIT_TYPE,_AUDIT_ID,_SOURCE_REALTIME_TIMESTAMP";
    let mut args: Vec<String> =
        ["--no-pager", "--quiet", "--all", "--output=json", fields].map(str::to_owned).into();
    args.extend(dir.map(|dir| format!("--directory={}", dir.display())));
    args.extend_from_slice(window);
    args.push("_TRANSPORT=audit".to_owned());
    args.extend(types.iter().map(|number| format!("_AUDIT_TYPE={number}")));
    Ok(Tool::find("journalctl")?.args(args).output_limit(BOUND).run()?.stdout)
}

fn entry_time(line: &[u8]) -> Option<DateTime<Utc>> {
    let entry: Value = serde_json::from_slice(line).ok()?;
    DateTime::from_timestamp_micros(number(&entry, "_SOURCE_REALTIME_TIMESTAMP")?)
}

/// One entry of `journalctl -o json` as an audit record.
pub fn parse_entry(line: &[u8]) -> Option<Record> {
    let entry: Value = serde_json::from_slice(line).ok()?;
    let message = text(entry.get("MESSAGE")?)?;
    let body = message.iter().position(|b| *b == b' ').map_or(&[][..], |at| &message[at + 1..]);
    Some(Record {
        millis: number::<i64>(&entry, "_SOURCE_REALTIME_TIMESTAMP")? / 1000,
        serial: number(&entry, "_AUDIT_ID")?,
        body: record::parse_body(number(&entry, "_AUDIT_TYPE")?, body),
    })
}

fn number<T: std::str::FromStr>(entry: &Value, field: &str) -> Option<T> {
    entry.get(field)?.as_str()?.parse().ok()
}

fn text(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(bytes) => bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::record::Body;

    /// As journald of systemd 252 wrote it on kernel 6.18, but for the fields that aren't asked for.
    const ENTRY: &str = r#"{"_AUDIT_TYPE":"1325","_AUDIT_ID":"21","__REALTIME_TIMESTAMP":"1795179606939511",
        "MESSAGE":"NETFILTER_CFG table=evx_j:2 family=1 entries=3 op=nft_register_chain pid=13049 comm=\"nft\"",
        "_SOURCE_REALTIME_TIMESTAMP":"1795179606936000"}"#;

    #[test]
    fn an_entry_is_the_same_record_as_a_line_of_the_log() {
        let line = br#"type=NETFILTER_CFG msg=audit(1795179606.936:21): table=evx_j:2 family=1 entries=3 op=nft_register_chain pid=13049 comm="nft""#;
        let entry = parse_entry(ENTRY.as_bytes());
        assert!(matches!(&entry, Some(Record { body: Body::Netfilter(_), .. })), "{entry:?}");
        assert_eq!(entry, record::parse_line(line));
    }

    #[test]
    fn bytes_that_are_no_utf8_come_as_an_array() {
        let raw: Vec<u8> =
            [b"NETFILTER_CFG table=\xff\n:9 family=2 entries=1 op=nft_x pid=3 comm=6E".as_slice()].concat();
        let entry = format!(
            r#"{{"_AUDIT_TYPE":"1325","_AUDIT_ID":"1","MESSAGE":{raw:?},"_SOURCE_REALTIME_TIMESTAMP":"5000"}}"#
        );
        let Some(Record { body: Body::Netfilter(cfg), .. }) = parse_entry(entry.as_bytes()) else {
            panic!("no record: {entry}")
        };
        assert_eq!((cfg.table.as_slice(), cfg.generation), (b"\xff\n".as_slice(), Some(9)));
    }
}
