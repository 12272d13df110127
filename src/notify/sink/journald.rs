//! The journal's native protocol: fields of bytes in one datagram, or in a sealed memory file where they are too many.
//!
//! <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>

use super::{Priority, Sink, socket_failure};
use crate::notify::alert::{Alert, AlertKind, Status};
use crate::notify::error::Failure;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(super) struct Journald {
    socket: PathBuf,
    timeout: Duration,
}

impl Journald {
    pub(super) fn new(socket: &Path, timeout: Duration) -> Self {
        Self { socket: socket.to_owned(), timeout }
    }
}

impl Sink for Journald {
    fn send(&self, alerts: &[Alert]) -> Result<(), Failure> {
        let place = self.socket.display();
        let failed = |error: io::Error| socket_failure("the journal at", &place, &error);
        let socket = UnixDatagram::unbound().map_err(failed)?;
        socket.set_write_timeout(Some(self.timeout)).map_err(failed)?;
        socket.connect(&self.socket).map_err(failed)?;
        for alert in alerts {
            let entry = entry(alert);
            match socket.send(&entry) {
                Ok(_) => {}
                Err(error) if is_too_large(&error) => send_file(&socket, &entry).map_err(failed)?,
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(())
    }
}

/// EMSGSIZE; ENOBUFS where the kernel could not find that much memory in one piece.
fn is_too_large(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::MSGSIZE | rustix::io::Errno::NOBUFS))
}

/// Passes the entry as a file that nobody can change any more.
fn send_file(socket: &UnixDatagram, entry: &[u8]) -> io::Result<()> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = std::fs::File::from(memfd_create("fwdrift-alert", flags)?);
    file.write_all(entry)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(io::Error::other("no room to pass a file"));
    }
    sendmsg(socket, &[], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The catalogue's name of each kind of message (sd-journal's `MESSAGE_ID`, made with `systemd-id128 new`).
fn message_id(alert: &Alert) -> &'static str {
    match (alert.kind, alert.status) {
        (AlertKind::Drift, Status::Ended) => "7b6b6fd20ff24753975e5e033b3d30db",
        (AlertKind::Drift, _) => "32baa13da79545bd958867cc14fc8d06",
        (AlertKind::Reverted, _) => "232a825f321c4a178426972d7e6eaaad",
        (AlertKind::Applied, _) => "d1a2534e0a3d4716bade2b7a4435c023",
        (AlertKind::Transient, _) => "6f63cbd3f84a4498932210e3a7338738",
        (AlertKind::Approved, _) => "456b4cdc854c4052b2e19af921b7d747",
        (AlertKind::Gap, Status::Ended) => "dd50b866517a4e119f9fe06a44909dd8",
        (AlertKind::Gap, _) => "144af5bdfd954dee865743bd0ce802eb",
        (AlertKind::Checkpoint, _) => "23b5ae99db974b9e960cc7c05b3aae5a",
        (AlertKind::Dropped, _) => "9406b0c91a2942e5bb41bc7650054cbb",
    }
}

fn entry(alert: &Alert) -> Vec<u8> {
    let mut out = Vec::new();
    let mut field = |name: &str, value: &str| push_field(&mut out, name, value.as_bytes());
    field("MESSAGE", &alert.message);
    field("MESSAGE_ID", message_id(alert));
    field("PRIORITY", &(Priority::of(alert) as u8).to_string());
    field("SYSLOG_IDENTIFIER", "fwdrift");
    field("FWDRIFT_ALERT_ID", &alert.id);
    field("FWDRIFT_KIND", alert.kind.as_str());
    field("FWDRIFT_STATUS", alert.status.as_str());
    field("FWDRIFT_HOST", &alert.host);
    field("FWDRIFT_TIME", &crate::report::time::utc(alert.time));
    field("FWDRIFT_CHANGES", &alert.changes_total.to_string());
    field("FWDRIFT_OPEN", &alert.open.to_string());
    if alert.seq.is_some() {
        field("FWDRIFT_AUTHOR", &alert.author.name);
        field("FWDRIFT_EVIDENCE", alert.author.evidence.as_str());
    }
    let number = |n: Option<u32>| n.map(|n| n.to_string());
    let known = [
        ("FWDRIFT_NETNS", alert.netns.clone()),
        ("FWDRIFT_SEVERITY", alert.severity.map(|severity| severity.as_str().to_owned())),
        ("FWDRIFT_SEQ", alert.seq.map(|seq| seq.to_string())),
        ("FWDRIFT_COMMIT", alert.commit.clone()),
        ("FWDRIFT_GENERATION", number(alert.generation)),
        ("FWDRIFT_AUID", number(alert.author.auid)),
        ("FWDRIFT_UNIT", alert.author.unit.clone()),
        ("FWDRIFT_REMOTE", alert.author.remote.clone()),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            field(name, &value);
        }
    }
    for change in &alert.changes {
        field("FWDRIFT_CHANGE_ID", &change.id);
    }
    for ended in &alert.resolves {
        field("FWDRIFT_RESOLVES", &ended.id);
    }
    field("FWDRIFT_ALERT", &alert.json());
    out
}

/// `NAME=VALUE`, or with its length where a line break is in it.
fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_line_break_cannot_make_a_field_of_its_own() {
        let mut out = Vec::new();
        push_field(&mut out, "A", b"b");
        push_field(&mut out, "C", b"d\nPRIORITY=0");
        assert_eq!(out, b"A=b\nC\n\x0c\0\0\0\0\0\0\0d\nPRIORITY=0\n");
    }

    #[test]
    fn every_message_id_is_documented() {
        let documentation = include_str!("../../../docs/alerts.md");
        let mut alert = Alert::dropped("web-01", chrono::Utc::now(), (1, 2));
        let mut ids = std::collections::HashSet::new();
        let kinds = crate::model::EventKind::ALL.map(AlertKind::from).into_iter().chain([AlertKind::Dropped]);
        for kind in kinds {
            for status in [Status::Open, Status::Ended, Status::Notice] {
                (alert.kind, alert.status) = (kind, status);
                ids.insert(message_id(&alert));
            }
        }
        assert_eq!(ids.len(), 10);
        assert!(ids.iter().all(|id| id.len() == 32 && documentation.contains(&format!("| `{id}` |"))));
    }

    /// Against a journald of its own, as an alert is never that large: it is the kernel that may lack the memory.
    #[test]
    fn an_entry_that_is_too_large_for_a_datagram_arrives_as_a_file() {
        let journald = "/usr/lib/systemd/systemd-journald";
        if !Path::new(journald).exists() || !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "in CI nothing is skipped");
            eprintln!("SKIPPED: no {journald}, or not root");
            return;
        }
        let script = format!(
            "mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log; mkdir -p /etc; \
             [ -s /etc/machine-id ] || {{ echo 2cd54a685cf347c7a4a9eea5732d390c >/run/id; \
             mount --bind /run/id /etc/machine-id; }}; exec {journald} large"
        );
        let mut server =
            std::process::Command::new("unshare").args(["-m", "sh", "-ec", &script]).spawn().unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", server.id()));
        let socket = root.join("run/systemd/journal.large/socket");
        let begun = std::time::Instant::now();
        while !socket.exists() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut alert = Alert::dropped("web-01", chrono::Utc::now(), (1, 2));
        alert.details = "x".repeat(600_000);
        let sent = Journald::new(&socket, Duration::from_secs(5)).send(&[alert.clone()]);
        let mut found = Vec::new();
        while found.is_empty() && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
            let Some(Ok(place)) = std::fs::read_dir(root.join("var/log/journal")).unwrap().next() else {
                continue;
            };
            let mut journalctl = std::process::Command::new("journalctl");
            journalctl.args(["--all", "-o", "json", "-t", "fwdrift", "--directory"]).arg(place.path());
            found = journalctl.output().unwrap().stdout;
        }
        server.kill().unwrap();
        server.wait().unwrap();
        assert_eq!(sent, Ok(()));
        let found: serde_json::Value = serde_json::from_slice(&found).unwrap();
        assert_eq!(found["FWDRIFT_ALERT"], alert.json());
        assert_eq!(found["MESSAGE"], alert.message);
    }
}
