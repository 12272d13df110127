//! A firewall that is written while it is read, and one that uses what a tool or the kernel does not know.

use crate::support::{Host, Run};
use serde_json::Value;
use std::fmt::Write;
use std::process::{Child, Stdio};

/// Switches between two states in transactions, without pause; ends by itself.
struct Writer(Child);

impl Writer {
    fn start(host: &Host, on: &str, off: &str) -> Self {
        let (on, off) = (host.write("on.nft", on), host.write("off.nft", off));
        let script = format!("while :; do nft -f {on}; sleep 0.05; nft -f {off}; sleep 0.05; done");
        let mut command = host.command(&["timeout", "60", "/bin/sh", "-c", &script]);
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_child(&self.0),
            rustix::process::Signal::TERM,
        );
        let _ = self.0.wait();
    }
}

/// Either state, both of its two changes or none; or an error that says why not.
fn is_whole(run: &Run, seen: &mut [usize; 3]) {
    match run.code {
        Some(0 | 1) => {
            let result: Value = serde_json::from_str(&run.stdout).unwrap();
            let changes = result["changes"].as_array().unwrap().len();
            assert!([0, 2].contains(&changes), "a torn state: {}", run.stdout);
            seen[changes / 2] += 1;
        }
        Some(2) => {
            assert!(run.stderr.contains("changed during"), "{}", run.stderr);
            seen[2] += 1;
        }
        other => panic!("{other:?}: {}", run.stderr),
    }
}

fn never_torn(host: &Host, on: &str, off: &str) {
    host.nft(off);
    host.fwdrift(&["init"]).succeeded(0);
    let writer = Writer::start(host, on, off);
    let mut seen = [0; 3];
    for number in 0..15 {
        let args: &[&str] = match number % 3 {
            0 => &["--format", "json", "check"],
            1 => &["--format", "json", "check", "--full"],
            _ => &["--format", "json", "diff", "baseline", "live"],
        };
        is_whole(&host.fwdrift(args), &mut seen);
    }
    drop(writer);
    eprintln!("unchanged {}, both changes {}, gave up {}", seen[0], seen[1], seen[2]);
    assert!(seen[0] + seen[1] > 0, "not one look ended");
}

#[test]
fn rules_that_change_all_the_time_are_seen_whole_or_not_at_all() {
    let host = Host::empty();
    let mut rules = "table inet t {\n\tchain a { }\n\tchain m {\n".to_owned();
    (0..2000).for_each(|number| {
        let _ = writeln!(rules, "\t\ttcp dport {} accept", number + 1);
    });
    rules.push_str("\t}\n\tchain z { }\n}\n");
    host.nft(&rules);
    let off = "flush chain inet t a\nflush chain inet t z\n";
    let on = format!("{off}add rule inet t a udp dport 1 drop\nadd rule inet t z udp dport 2 drop\n");
    never_torn(&host, &on, off);
}

#[test]
fn sets_that_change_all_the_time_are_seen_whole_or_not_at_all() {
    let host = Host::empty();
    let addresses = |from: u32| {
        let list: Vec<String> = (0..3000).map(|n| std::net::Ipv4Addr::from(from + n).to_string()).collect();
        list.join(", ")
    };
    host.nft("table inet t {\n\tset s { type ipv4_addr; size 10000; }\n\tset r { type ipv4_addr; flags interval; }\n}\n");
    host.nft(&format!("add element inet t s {{ {} }}\n", addresses(0x0a00_0000)));
    let off =
        "add element inet t s { 192.0.2.1, 192.0.2.2 }\ndelete element inet t s { 192.0.2.1, 192.0.2.2 }\n";
    never_torn(&host, "add element inet t s { 192.0.2.1, 192.0.2.2 }\n", off);
}

#[test]
fn a_baseline_with_a_feature_that_this_kernel_lacks_is_refused_by_name() {
    let host = Host::approved();
    let table = "table inet f {\n\tflowtable ft {\n\t\thook ingress priority 0; devices = { lo };\n\t}\n}\n";
    let file = host.write("flow.nft", table);
    let loads = host.sh(&format!("unshare -n nft -f {file} && echo yes || echo no"));
    host.commit("nft/flow.nft", table);
    if loads.contains("yes") {
        eprintln!("this kernel has flowtables: nothing that it lacks is known");
        return;
    }
    host.fwdrift(&["check"]).refused(&["nft/flow.nft", "flowtable"]);
    host.fwdrift(&["record"]).refused(&["nft/flow.nft", "flowtable"]);
}

#[test]
fn a_table_that_iptables_calls_incompatible_is_compared_and_shown_by_nft() {
    let host = Host::empty();
    host.sh("iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT");
    host.nft("add rule ip filter INPUT ct state vmap { new : drop }\n");
    // The fact that this is about: no rules, a comment, and exit code 0.
    let said = host.sh("iptables-nft-save");
    assert!(said.contains("incompatible"), "{said}");
    host.fwdrift(&["init"]).succeeded(0);
    host.fwdrift(&["check", "--full"]).succeeded(0);
    host.nft("add rule ip filter INPUT ct state vmap { established : accept }\n");
    let run = host.fwdrift(&["--format", "json", "check"]);
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    let changes = result["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert_eq!(changes[0]["after"], "ct state vmap { established : accept }");
}
