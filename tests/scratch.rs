//! What fwdrift does in scratch namespaces is known as its own in the kernel's audit records, so that it
//! never passes for a change of the host. Needs root in the first namespaces; auditing is turned on through
//! the guard, and put back.

use fwdrift::attribute::is_scratch;
use fwdrift::baseline::{Files, compile, render};
use fwdrift::evidence::{Assembler, EnableGuard, enable_guard, record};
use fwdrift::model::AuditEvent;
use fwdrift::netlink::whole_datagram;
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::netlink::{AUDIT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// How the tables' names begin that are made without a mark.
const LAST: &str = "last_unmarked_";

/// The audit multicast group, and auditing turned on.
struct Listener {
    socket: OwnedFd,
    _auditing: EnableGuard,
}

impl Listener {
    fn new() -> Self {
        let auditing = enable_guard().unwrap();
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::RAW, flags, Some(AUDIT)).unwrap();
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 64 << 20).unwrap();
        bind(&socket, &SocketAddrNetlink::new(0, 1)).unwrap();
        Self { socket, _auditing: auditing }
    }

    /// The events that this process and its children made, up to that of `last`, a table of their making.
    fn events_until(self, last: &str) -> Vec<AuditEvent> {
        let mut records = Assembler::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut ends_with: Option<u64> = None;
        loop {
            let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
            let ready = poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], Some(&patience)).unwrap();
            assert_eq!(ready, 1, "the event of table {last} did not come");
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty()).unwrap();
            let message = whole_datagram(&buffer[..length]).unwrap();
            let Some(record) = record::parse_message(message.kind.into(), message.payload) else { continue };
            if let record::Body::Netfilter(cfg) = &record.body
                && cfg.table == last.as_bytes()
            {
                ends_with = Some(record.serial);
            }
            let is_end = record.body == record::Body::End && Some(record.serial) == ends_with;
            records.push(record);
            if is_end {
                break;
            }
        }
        let me = std::process::id();
        let mine = |event: &AuditEvent| {
            event.netfilter.iter().any(|cfg| cfg.pid == me)
                || event.syscall.as_ref().is_some_and(|syscall| syscall.ppid == Some(me))
        };
        records.finish().into_iter().filter(mine).collect()
    }
}

fn check(path: &str, content: &str, programs: &[&str]) {
    let listener = Listener::new();
    let files = Files::from([(path.to_owned(), content.as_bytes().to_vec())]);
    let capture = compile(&files, &BTreeMap::new()).unwrap();
    render(&normalise(&capture).unwrap()).unwrap();
    // The same kind of work, not marked: the end of the wait, and proof that the mark is what counts.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let last = format!("{LAST}{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let unmarked = || {
        let arguments = ["add", "table", "inet", &last];
        Command::new("/usr/sbin/nft").args(arguments).stdin(Stdio::null()).status().unwrap().success()
    };
    assert!(Netns::create().unwrap().run(unmarked).unwrap());

    let exe = std::env::current_exe().unwrap();
    let events = listener.events_until(&last);
    let (marked, unmarked): (Vec<_>, Vec<_>) =
        events.iter().partition(|event| is_scratch(event, exe.as_os_str().as_bytes()));
    // Those of tests beside this one are among them.
    let mut tables = unmarked.iter().flat_map(|event| &event.netfilter).map(|cfg| &cfg.table);
    assert!(tables.clone().all(|table| table.starts_with(LAST.as_bytes())), "{unmarked:#?}");
    assert!(tables.any(|table| table == last.as_bytes()));
    let ran: BTreeSet<_> = marked
        .iter()
        .filter_map(|event| event.syscall.as_ref()?.exe.as_deref())
        .map(|exe| String::from_utf8_lossy(exe).rsplit('/').next().unwrap_or_default().to_owned())
        .collect();
    for program in programs {
        assert!(ran.contains(*program), "no event of {program}: {ran:?}");
    }
}

#[test]
fn compiling_and_rendering_with_nft_leaves_only_marked_audit_events() {
    let rules = "table inet filter {\n\tset s {\n\t\ttype ipv4_addr\n\t\telements = { 10.0.0.1 }\n\t}\n\
                 \tchain input {\n\t\ttype filter hook input priority 0; policy drop;\n\t\tip saddr @s accept\n\t}\n}\n";
    check("nft/filter.nft", rules, &["nft"]);
}

#[test]
fn compiling_and_rendering_with_iptables_nft_leaves_only_marked_audit_events() {
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT\nCOMMIT\n";
    check("iptables/nft-v4.rules", rules, &["xtables-nft-multi"]);
    check("iptables/nft-v6.rules", rules, &["xtables-nft-multi"]);
}

#[test]
fn compiling_with_iptables_legacy_leaves_only_marked_audit_events() {
    let rules = "*filter\n:INPUT DROP [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A INPUT -p tcp --dport 22 -j ACCEPT\nCOMMIT\n";
    check("iptables/legacy-v4.rules", rules, &["xtables-legacy-multi"]);
}
