//! The text files of a process in /proc, as values (proc_pid_stat(5), proc_pid_status(5)). Pure; all texts hostile.

use std::net::IpAddr;
use std::time::Duration;

/// `USER_HZ`, the unit of times in `stat`: 100 on every architecture that Rust knows.
const TICKS: u32 = 100;
/// `(uid_t)-1`: no login, no session.
const UNSET: u32 = u32::MAX;
/// `CAP_NET_ADMIN` (linux/capability.h).
const NET_ADMIN: u32 = 12;

/// What `stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// The thread's name.
    pub(super) comm: Vec<u8>,
    /// The parent process.
    pub(super) ppid: u32,
    /// Device number of the terminal; 0 for none.
    pub(super) tty: u32,
    /// When the thread started, since boot, cut to 10 ms.
    pub(super) start: Duration,
}

/// `PID (COMM) STATE PPID PGRP SESSION TTY … STARTTIME …`; COMM may hold anything.
pub(super) fn stat(text: &[u8]) -> Option<Stat> {
    let open = text.iter().position(|byte| *byte == b'(')?;
    let close = text.iter().rposition(|byte| *byte == b')')?;
    let comm = text.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The state is the third field of the file, and the first one here.
    let field = |number: usize| fields.get(number - 3);
    let ticks: u64 = field(22)?.parse().ok()?;
    let tty: i32 = field(7)?.parse().ok()?;
    Some(Stat {
        comm,
        ppid: field(4)?.parse().ok()?,
        tty: tty.cast_unsigned(),
        start: Duration::from_millis(ticks.saturating_mul(1000 / u64::from(TICKS))),
    })
}

/// What `status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The thread's process.
    pub(super) process: u32,
    /// The real uid, which audit calls `uid`.
    pub(super) uid: u32,
    /// Whether it may change packet filters (in the user namespace it is in).
    pub(super) is_net_admin: bool,
}

/// Lines of `KEY:\tVALUE…`.
pub(super) fn status(text: &[u8]) -> Option<Status> {
    let line = |key: &str| {
        text.split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(key.as_bytes())?.strip_prefix(b":"))
            .and_then(|value| std::str::from_utf8(value).ok())
            .map(str::trim)
    };
    let capabilities = u64::from_str_radix(line("CapPrm")?, 16).ok()?;
    Some(Status {
        process: line("Tgid")?.parse().ok()?,
        uid: line("Uid")?.split_ascii_whitespace().next()?.parse().ok()?,
        is_net_admin: capabilities & (1 << NET_ADMIN) != 0,
    })
}

/// A number in a file of its own, where all bits set mean that there is none.
pub(super) fn number(text: &[u8]) -> Option<Option<u32>> {
    let number: u32 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    Some((number != UNSET).then_some(number))
}

/// The terminal as audit names it (`tty->name`), for the kinds on which people work; admin-guide/devices.txt.
pub(super) fn terminal(device: u32) -> Option<String> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    match (major, minor) {
        (4, 0..64) => Some(format!("tty{minor}")),
        (4, _) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".to_owned()),
        (136..144, _) => Some(format!("pts{}", (major - 136) * 256 + minor)),
        (229, _) => Some(format!("hvc{minor}")),
        _ => None,
    }
}

/// What a process was told when its program began: anyone can set their own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `SUDO_USER`: the account that called sudo (sudo(8)).
    pub sudo_user: Option<String>,
    /// The client's address in `SSH_CONNECTION` or `SSH_CLIENT` (ssh(1)).
    pub ssh: Option<String>,
}

/// The longest name of an account that is believed (`LOGIN_NAME_MAX`).
const LONGEST_NAME: usize = 256;

/// Reads `environ`.
pub(super) fn claims(text: &[u8]) -> Claims {
    let variable = |name: &str| {
        text.split(|byte| *byte == 0)
            .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    let sudo_user = variable("SUDO_USER").filter(|name| !name.is_empty() && name.len() <= LONGEST_NAME);
    let ssh = variable("SSH_CONNECTION").or_else(|| variable("SSH_CLIENT"));
    Claims {
        sudo_user: sudo_user.map(str::to_owned),
        ssh: ssh.and_then(|value| value.split(' ').next()).and_then(address),
    }
}

/// An IP address, also one with a zone (`fe80::1%eth0`).
pub(in crate::evidence) fn address(text: &str) -> Option<String> {
    let (bare, zone) = text.split_once('%').unwrap_or((text, ""));
    let plain = zone.len() < 16 && zone.bytes().all(|byte| byte.is_ascii_graphic());
    (plain && bare.parse::<IpAddr>().is_ok()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_numbers_in_it_moves_no_field() {
        let line = b"4242 (nft) S 1 (x) R 77 1 1 34819 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 12345 8 2 x\n";
        let read = stat(line).unwrap();
        assert_eq!((read.comm.as_slice(), read.ppid), (b"nft) S 1 (x".as_slice(), 77));
        assert_eq!(read.start, Duration::from_millis(123_450));
        assert_eq!(terminal(read.tty).as_deref(), Some("pts3"));
        assert_eq!(stat(b"4242 (nft"), None);
        assert_eq!(stat(b"4242 (nft) S 1"), None);
        assert_eq!(stat(b""), None);
    }

    #[test]
    fn status_names_process_uid_and_whether_it_may() {
        let text = b"Name:\tTgid:\nTgid:\t7\nPid:\t9\nUid:\t1000\t0\t0\t0\nCapPrm:\t0000000000001000\n";
        assert_eq!(status(text), Some(Status { process: 7, uid: 1000, is_net_admin: true }));
        let without = b"Tgid:\t7\nUid:\t0\t0\t0\t0\nCapPrm:\t0000000000000fff\n";
        assert_eq!(status(without).map(|status| status.is_net_admin), Some(false));
        assert_eq!(status(b"Tgid:\t7\n"), None);
    }

    #[test]
    fn no_login_differs_from_one_that_cannot_be_read() {
        assert_eq!(number(b"4294967295"), Some(None));
        assert_eq!(number(b"1005\n"), Some(Some(1005)));
        assert_eq!(number(b""), None);
    }

    #[test]
    fn terminals_have_audits_names() {
        let of =
            |major: u32, minor: u32| terminal(((minor & 0xf_ff00) << 12) | (major << 8) | (minor & 0xff));
        assert_eq!(of(136, 12).as_deref(), Some("pts12"));
        assert_eq!(of(137, 4).as_deref(), Some("pts260"));
        assert_eq!(of(136, 300).as_deref(), Some("pts300"));
        assert_eq!((of(4, 1).as_deref(), of(4, 64).as_deref()), (Some("tty1"), Some("ttyS0")));
        assert_eq!(of(0, 0), None);
    }

    #[test]
    fn claims_are_names_and_addresses_or_nothing() {
        let ssh = |value: &str| claims(format!("A=1\0SSH_CONNECTION={value}\0").as_bytes()).ssh;
        assert_eq!(ssh("192.0.2.7 50000 198.51.100.1 22").as_deref(), Some("192.0.2.7"));
        assert_eq!(ssh("fe80::1%eth0 5 ::1 22").as_deref(), Some("fe80::1%eth0"));
        assert_eq!(ssh("\x1b[2J 5 6 7"), None);
        assert_eq!(ssh("fe80::1%\n 5 6 7"), None);
        assert_eq!(claims(b"SSH_CLIENT=2001:db8::7 5 22\0").ssh.as_deref(), Some("2001:db8::7"));
        assert_eq!(claims(b"SUDO_USER=ops1\0X=SUDO_USER=eve\0").sudo_user.as_deref(), Some("ops1"));
        assert_eq!(claims(b"XSUDO_USER=ops1\0SUDO_USER=\0"), Claims::default());
        assert_eq!(claims(&[b"SUDO_USER=".as_slice(), &[b'x'; 300]].concat()), Claims::default());
    }
}
