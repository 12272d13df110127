//! This process: uid, capabilities, login.

use crate::doctor::facts::{Login, ProcessFacts};
use std::fs;
use std::io::IsTerminal;

/// The whole range of uids, mapped to itself: the first user namespace (user_namespaces(7)).
const FIRST_USER_NAMESPACE: [&str; 3] = ["0", "0", "4294967295"];

pub(super) fn look() -> ProcessFacts {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let uid_map = fs::read_to_string("/proc/thread-self/uid_map").unwrap_or_default();
    ProcessFacts {
        euid: rustix::process::geteuid().as_raw(),
        effective: effective(&status),
        user_namespace: !uid_map.is_empty() && !uid_map.split_whitespace().eq(FIRST_USER_NAMESPACE),
        login: login(fs::read_to_string("/proc/thread-self/loginuid").ok().as_deref()),
        interactive: std::io::stdin().is_terminal(),
    }
}

fn effective(status: &str) -> u64 {
    status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0)
}

fn login(loginuid: Option<&str>) -> Login {
    match loginuid.map(|text| text.trim().parse::<u32>()) {
        None | Some(Err(_)) => Login::Absent,
        Some(Ok(u32::MAX)) => Login::Unset,
        Some(Ok(uid)) => Login::Uid(uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read_from_their_line() {
        assert_eq!(effective("CapPrm:\tffffffff\nCapEff:\t0000000000001000\nCapBnd:\t0\n"), 1 << 12);
        assert_eq!(effective("Name:\tx\n"), 0);
    }

    #[test]
    fn an_unset_login_differs_from_one_the_kernel_does_not_keep() {
        assert_eq!(login(Some("4294967295")), Login::Unset);
        assert_eq!(login(Some("1000\n")), Login::Uid(1000));
        assert_eq!(login(None), Login::Absent);
    }
}
