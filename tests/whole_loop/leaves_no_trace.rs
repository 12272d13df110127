//! Reading creates nothing and loads nothing: the kernel's own audit records say so.

use crate::support::{Host, has_arptables_legacy};
use fwdrift::attribute::SCRATCH_ARGV0;
use fwdrift::evidence::enable_guard;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const NETFILTER_CFG: u16 = 1325;
/// AUDIT_NLGRP_READLOG, as a bit of `nl_groups`.
const READLOG: u32 = 1;

/// Listens to all audit records of the machine.
struct Listener {
    socket: OwnedFd,
}

/// One audit event: its records' types and texts.
type Event = Vec<(u16, String)>;

impl Listener {
    fn new() -> Self {
        let kind = (SocketType::RAW, SocketFlags::CLOEXEC);
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, kind.0, kind.1, Some(AUDIT)).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20).unwrap();
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, READLOG)).unwrap();
        Self { socket }
    }

    /// The events that came until one that contains `last`. The kernel sends them in order.
    fn until(&self, last: &str) -> Vec<Event> {
        let mut events: BTreeMap<String, Event> = BTreeMap::new();
        let mut buffer = vec![0; 64 * 1024];
        let start = Instant::now();
        let mut seen = false;
        while !seen || start.elapsed() < Duration::from_millis(100) {
            assert!(start.elapsed() < Duration::from_secs(20), "the record of {last} did not come");
            let patience = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
            if poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&patience)).unwrap() == 0 {
                if seen {
                    break;
                }
                continue;
            }
            // An overflow is an error here, so that no record is missed.
            let (length, _) = rustix::net::recv(&self.socket, &mut buffer[..], RecvFlags::empty()).unwrap();
            let kind = u16::from_ne_bytes([buffer[4], buffer[5]]);
            let text = String::from_utf8_lossy(&buffer[16..length]).into_owned();
            seen |= text.contains(last);
            let serial = text.split("): ").next().unwrap().to_owned();
            events.entry(serial).or_default().push((kind, text));
        }
        events.into_values().collect()
    }
}

fn field(text: &str, name: &str) -> Option<u32> {
    let start = text.find(&format!(" {name}="))? + name.len() + 2;
    text[start..].split(' ').next()?.parse().ok()
}

/// The changes of packet filters that a process or a child of it made.
fn made_by(events: &[Event], pid: u32) -> Vec<String> {
    let is_its = |event: &&Event| {
        event.iter().any(|(_, text)| field(text, "pid") == Some(pid) || field(text, "ppid") == Some(pid))
    };
    let made = events.iter().filter(|event| event.iter().any(|(kind, _)| *kind == NETFILTER_CFG));
    made.filter(is_its)
        .map(|event| event.iter().map(|(_, text)| &**text).collect::<Vec<_>>().join("\n"))
        .collect()
}

/// Whether a program made it that fwdrift runs in a namespace of its own. A title is in hexadecimal digits (auditd's
/// "Understanding Audit log files": untrusted strings with a NUL in them).
fn is_of_scratch(event: &str) -> bool {
    let title: String = SCRATCH_ARGV0.bytes().map(|byte| format!("{byte:02X}")).collect();
    event.contains(&format!("proctitle={title}00"))
}

/// What a look could have left in the namespace, or in the kernel.
fn state(host: &Host) -> [Option<String>; 6] {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let names = |family: &str| read(&format!("/proc/thread-self/net/{family}_tables_names"));
    let generation = || {
        let mut socket = fwdrift::sys::socket::Socket::open(Some(rustix::net::netlink::NETFILTER)).unwrap();
        fwdrift::collect::nftables::generation(&mut socket).unwrap().to_string()
    };
    host.inside(|| {
        [
            names("ip"),
            names("ip6"),
            names("arp"),
            Some(generation()),
            read("/proc/modules")
                .map(|text| text.lines().filter_map(|line| line.split(' ').next()).collect()),
            read("/proc/thread-self/net/netfilter/nf_log"),
        ]
    })
}

/// Everything that looks, on a host that uses `rules`.
fn check(rules: &str) {
    let _auditing = enable_guard().unwrap();
    let host = Host::bare();
    host.sh(rules);
    host.run(&["init"]).ended(0);
    host.record();
    let before = state(&host);
    let listener = Listener::new();
    let run = |args: &[&str]| {
        let program = host.spawn(args);
        let pid = program.id();
        let output = program.wait_with_output().unwrap();
        // What this machine loads at its boot is not this namespace's state.
        let done = output.status.success() || args.contains(&"--boot");
        assert!(done, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        pid
    };
    let quick = run(&["check"]);
    let others = [run(&["check", "--full"]), run(&["check", "--boot"]), run(&["diff", "baseline", "live"])];
    assert_eq!(state(&host), before);

    // What the listener must see: a table that iptables-legacy registers because it is asked about it.
    let other = Host::bare();
    let asked = other.sh("echo $$; iptables-legacy -t raw -S >&2");
    let asked: u32 = asked.trim().parse().unwrap();
    let marker = format!("fwmark{}", std::process::id());
    other.nft(&format!("add table ip {marker}"));
    let events = listener.until(&format!("table={marker}:"));
    assert!(made_by(&events, asked).iter().any(|event| event.contains("op=xt_register")), "{events:#?}");

    assert_eq!(made_by(&events, quick), Vec::<String>::new(), "an unchanged host is only read");
    for event in others.into_iter().flat_map(|pid| made_by(&events, pid)) {
        // Approved files are loaded in namespaces of fwdrift's own; the live one's generation and its tables' names
        // stood still.
        assert!(event.contains("op=nft_") || event.contains("op=xt_") && is_of_scratch(&event), "{event}");
    }
}

#[test]
fn looking_at_a_host_without_legacy_tables_makes_none_and_loads_nothing() {
    check(
        "nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; nft add rule inet t c tcp dport 22 accept",
    );
}

#[test]
fn looking_at_tables_of_iptables_arptables_and_ebtables_nft_makes_no_legacy_ones() {
    check(
        "iptables-nft -A INPUT -m comment --comment x -j ACCEPT; ip6tables-nft -A INPUT -j ACCEPT; arptables-nft -A INPUT -s 10.0.0.1 -j DROP; ebtables-nft -A FORWARD -d BGA --stp-type 1 -j DROP",
    );
}

#[test]
fn looking_at_legacy_tables_makes_no_other_ones() {
    check("iptables-legacy -t mangle -A INPUT -j ACCEPT; ip6tables-legacy -t raw -A OUTPUT -j ACCEPT");
    if has_arptables_legacy() {
        check("arptables-legacy -A INPUT -s 10.0.0.1 -j DROP");
    }
}
