//! What works outside of the services' sandbox works inside, too, and each part of it that could be had without is
//! shown to be needed.

use super::container::{Machine, Tree, shipped};
use serde_json::Value;

const SERVICES: [&str; 2] = ["fwdrift-record.service", "fwdrift-watch.service"];
/// A bit of everything: native rules, an ipset, a named namespace; rules that only iptables can print; settings.
const APPROVED: &str = "
    ip netns add blue
    ip netns exec blue nft add table inet t
    ipset create hosts hash:ip
    ipset add hosts 192.0.2.1
    iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT
    fwdrift init --all-netns";
const DRIFT: &str = "
    nft insert rule inet filter input tcp dport 3306 drop
    nft add element inet filter blocked { 192.0.2.8 }
    ip netns exec blue nft add chain inet t c
    ipset add hosts 192.0.2.2
    iptables-nft -A INPUT -m string --algo bm --string secret -j DROP
    sysctl -qw net.ipv4.ip_forward=1";

/// fwdrift in the sandbox of a service. What it says on standard output.
fn within(machine: &Machine, service: &str, settings: &str, args: &str) -> String {
    run_within(machine, service, settings, &format!("/usr/bin/fwdrift {args}"))
}

/// A command in the sandbox of a service: its unit, with another command.
fn run_within(machine: &Machine, service: &str, settings: &str, command: &str) -> String {
    let text = std::fs::read_to_string(shipped(service)).unwrap();
    let is_of_the_command = |line: &&str| {
        ["Type=", "Exec", "Restart", "Watchdog", "SuccessExit"].iter().any(|start| line.starts_with(start))
    };
    let kept: Vec<&str> = text.lines().filter(|line| !is_of_the_command(line)).collect();
    let own = format!(
        "[Service]\nType=oneshot\nSuccessExitStatus=0 1 2\nExecStart={command}\n\
         StandardOutput=truncate:/run/probe\nStandardError=truncate:/run/probe.err\n{settings}\n"
    );
    machine.tree.write("etc/systemd/system/fwdrift-probe.service", &(kept.join("\n") + "\n" + &own));
    machine.sh("systemctl daemon-reload; systemctl reset-failed; systemctl start fwdrift-probe");
    machine.sh("cat /run/probe")
}

/// What a `check` saw of each namespace, without the times.
#[derive(Debug, PartialEq)]
struct Seen {
    verdict: String,
    changes: Vec<String>,
    gaps: Vec<Value>,
}

impl Seen {
    fn of(text: &str) -> Vec<Self> {
        let whole: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text:?}"));
        let results = whole["results"].as_array().cloned().unwrap_or_else(|| vec![whole]);
        let change = |change: &Value| format!("{} {} → {}", change["id"], change["before"], change["after"]);
        let seen = |result: &Value| Self {
            verdict: result["verdict"].as_str().unwrap().to_owned(),
            changes: result["changes"].as_array().unwrap().iter().map(change).collect(),
            gaps: result["gaps"].as_array().unwrap().clone(),
        };
        results.iter().map(seen).collect()
    }

    fn gap(&self, source: &str) -> Option<&Value> {
        self.gaps.iter().find(|gap| gap["source"] == source)
    }
}

fn outside(machine: &Machine, args: &str) -> String {
    machine.sh(&format!("fwdrift {args} || :"))
}

#[test]
fn a_check_in_either_sandbox_sees_what_one_outside_sees() {
    let Some(machine) = Tree::new().boot() else { return };
    machine.sh(APPROVED);
    machine.sh(DRIFT);
    let all = "check --full --all-netns --format json";
    let expected = Seen::of(&outside(&machine, all));
    let counts: Vec<usize> = expected.iter().map(|seen| seen.changes.len()).collect();
    assert_eq!(counts, [5, 1], "{expected:#?}");
    assert!(expected.iter().all(|seen| seen.verdict == "drift"), "{expected:#?}");
    for service in SERVICES {
        assert_eq!(Seen::of(&within(&machine, service, "", all)), expected, "{service}");
    }
    // Nothing of it comes without the two that everything rests on.
    let (watch, one) = (SERVICES[1], "check --full --format json");
    for capability in ["CAP_NET_ADMIN", "CAP_SYS_ADMIN"] {
        let text = within(&machine, watch, &format!("CapabilityBoundingSet=~{capability}"), one);
        assert!(text.is_empty() || Seen::of(&text)[0].verdict == "unknown", "{capability}: {text}");
    }
    // And the BPF programs are not seen without the call.
    let without = Seen::of(&within(&machine, watch, "SystemCallFilter=~bpf", one));
    assert!(without[0].gap("bpf").is_some(), "{without:#?}");
}

#[test]
fn legacy_tables_are_told_of_without_the_drop_in_and_read_with_it() {
    let Some(machine) = Tree::new().boot() else { return };
    machine.sh("iptables-legacy -A INPUT -p tcp --dport 98 -j DROP; fwdrift init");
    machine.sh("iptables-legacy -A INPUT -p tcp --dport 97 -j DROP");
    let check = "check --format json";
    for service in SERVICES {
        let seen = Seen::of(&within(&machine, service, "", check));
        assert_eq!(seen[0].verdict, "unknown");
        let gap = seen[0].gap("iptables-legacy").unwrap();
        assert!(gap["hint"].as_str().is_some_and(|hint| hint.contains("fwdrift-legacy.conf")), "{gap}");
    }
    // One directory for both services.
    let drop_in = std::fs::read_to_string(shipped("fwdrift-legacy.conf")).unwrap();
    machine.tree.write("etc/systemd/system/fwdrift-.service.d/legacy.conf", &drop_in);
    let expected = Seen::of(&outside(&machine, check));
    assert_eq!((expected[0].verdict.as_str(), expected[0].changes.len()), ("drift", 1), "{expected:#?}");
    for service in SERVICES {
        assert_eq!(Seen::of(&within(&machine, service, "", check)), expected, "{service}");
    }
}

#[test]
fn watch_sees_the_login_the_command_line_and_the_unit_of_others_but_not_into_them() {
    let Some(machine) = Tree::new().boot() else { return };
    machine.sh("systemd-run --quiet --unit=other sleep 600");
    let pid = machine.show("other.service", "MainPID");
    let read = "for file in loginuid sessionid cgroup cmdline comm stat status; do \
                cat /proc/$$1/$$file | tr '\\\\0' ' ' || echo no $$file; done; \
                for link in exe cwd ns/net; do readlink /proc/$$1/$$link || echo no $$link; done";
    let command = format!("/bin/sh -c \"{read}\" sh {pid}");
    let seen = run_within(&machine, SERVICES[1], "", &command);
    assert!(seen.contains("other.service") && seen.contains("sleep 600"), "{seen}");
    assert!(seen.ends_with("no exe\nno cwd\nno ns/net\n") && seen.matches("no ").count() == 3, "{seen}");
    let drop_in = std::fs::read_to_string(shipped("fwdrift-processes.conf")).unwrap();
    let seen = run_within(&machine, SERVICES[1], &drop_in, &command);
    assert!(seen.contains("/sleep\n/\nnet:["), "{seen}");
}

#[test]
fn alerts_find_a_way_out_with_their_drop_in_and_not_without() {
    let Some(machine) = Tree::new().boot() else { return };
    // Nobody listens at that port: it is refused by the machine, or not even asked for.
    let connect = "/bin/bash -c \"exec 2>&1; : </dev/tcp/127.0.0.1/9\"";
    let closed = run_within(&machine, SERVICES[1], "", connect);
    assert!(closed.contains("Address family not supported"), "{closed}");
    let drop_in = std::fs::read_to_string(shipped("fwdrift-alerts.conf")).unwrap();
    let open = run_within(&machine, SERVICES[1], &drop_in, connect);
    assert!(open.contains("Connection refused"), "{open}");
}
