//! fwdrift-watch.service from its start to its stop, as an administrator and bad luck would have it.

use super::container::{Machine, Tree};
use std::time::{Duration, Instant};

const UNIT: &str = "fwdrift-watch.service";

/// A machine with an approved baseline, in which the service runs.
fn watched(tree: Tree) -> Option<Machine> {
    tree.write("etc/fwdrift/config.toml", "[watch]\npoll_seconds = 1\n");
    let machine = tree.boot()?;
    machine.sh("fwdrift init");
    // Returns when the service is ready.
    machine.sh("systemctl enable --quiet --now fwdrift-watch.service");
    assert_eq!(machine.show(UNIT, "ActiveState"), "active");
    Some(machine)
}

fn opens(machine: &Machine, port: u16) {
    machine.sh(&format!("nft insert rule inet filter input tcp dport {port} accept"));
}

#[track_caller]
fn is_recorded(machine: &Machine, port: u16) {
    let rule = format!("+ tcp dport {port} accept");
    machine.until(15, &rule, || machine.log().contains(&rule));
}

fn main_pid(machine: &Machine) -> String {
    machine.show(UNIT, "MainPID")
}

/// Waits for a main process other than this one; systemd's own number for "none" is 0.
#[track_caller]
fn is_replaced(machine: &Machine, pid: &str) {
    machine.until(20, "another main process", || {
        let now = main_pid(machine);
        now != "0" && now != pid && machine.show(UNIT, "ActiveState") == "active"
    });
}

fn signal(machine: &Machine, name: &str) {
    machine.sh(&format!("systemctl kill --kill-who=main --signal={name} {UNIT}"));
}

#[test]
fn it_records_survives_a_kill_reloads_and_stops() {
    let Some(machine) = watched(Tree::new()) else { return };
    let pid = main_pid(&machine);
    assert!(machine.show(UNIT, "StatusText").contains("db-01"));
    opens(&machine, 1001);
    is_recorded(&machine, 1001);
    machine.until(5, "the journal's word on it", || {
        machine.journal(UNIT).contains("+ tcp dport 1001 accept in inet filter input")
    });

    // Killed, and a change made before anything can look.
    signal(&machine, "KILL");
    opens(&machine, 1002);
    is_recorded(&machine, 1002);
    is_replaced(&machine, &pid);
    assert_eq!(machine.show(UNIT, "NRestarts"), "1");

    // A configuration that cannot be used is refused, and nothing else changes.
    let pid = main_pid(&machine);
    machine.tree.write("etc/fwdrift/config.toml", "[watch]\npoll_second = 1\n");
    machine.sh(&format!("systemctl reload {UNIT}"));
    machine.until(5, "a word on the key", || machine.journal(UNIT).contains("unknown key \"poll_second\""));
    opens(&machine, 1003);
    is_recorded(&machine, 1003);

    // One that can be used is: what happens now belongs to another repository.
    let other = "/var/lib/fwdrift/other";
    machine.sh(&format!("fwdrift --config /dev/null --repo {other} init"));
    machine
        .tree
        .write("etc/fwdrift/config.toml", "repo = '/var/lib/fwdrift/other'\n[watch]\npoll_seconds = 1\n");
    machine.sh(&format!("systemctl reload {UNIT}"));
    opens(&machine, 1004);
    machine.until(15, "1004", || machine.log_of(other).contains("+ tcp dport 1004 accept"));
    assert!(!machine.log().contains("1004"), "{}", machine.log());
    assert_eq!(main_pid(&machine), pid);
    assert_eq!(machine.show(UNIT, "ActiveState"), "active");

    let asked = Instant::now();
    machine.sh(&format!("systemctl stop {UNIT}"));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert_eq!(machine.show(UNIT, "Result"), "success");
    assert_eq!(machine.show(UNIT, "ExecMainStatus"), "0");
    assert_eq!(machine.run(&["systemctl", "is-system-running"]).stdout, "running\n");
    // What is written is whole.
    assert_eq!(machine.sh(&format!("git -C {other} fsck --strict")), "");
}

#[test]
fn one_that_does_not_come_round_is_ended_by_the_watchdog_and_started_anew() {
    let tree = Tree::new();
    tree.write("etc/systemd/system/fwdrift-watch.service.d/test.conf", "[Service]\nWatchdogSec=2s\n");
    let Some(machine) = watched(tree) else { return };
    let pid = main_pid(&machine);
    // Two times and a half: it is pinged as long as the loop turns.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(main_pid(&machine), pid);

    signal(&machine, "STOP");
    opens(&machine, 1001);
    is_replaced(&machine, &pid);
    assert!(machine.journal(UNIT).contains("Watchdog timeout"), "{}", machine.journal(UNIT));
    is_recorded(&machine, 1001);
}

#[test]
fn without_a_baseline_it_says_so_and_gives_up_after_some_tries() {
    let tree = Tree::new();
    tree.write("etc/systemd/system/fwdrift-watch.service.d/test.conf", "[Service]\nRestartSec=50ms\n");
    let Some(machine) = tree.boot() else { return };
    machine.run(&["systemctl", "start", UNIT]);
    machine.until(20, "failed for good", || machine.show(UNIT, "ActiveState") == "failed");
    assert_eq!(machine.show(UNIT, "NRestarts"), "20");
    assert_eq!(machine.sh("systemctl --failed --plain --no-legend | cut -d' ' -f1"), format!("{UNIT}\n"));
    let journal = machine.journal(UNIT);
    assert!(journal.contains("hint: run `fwdrift init`"), "{journal}");
    // Mended, it runs.
    machine.sh(&format!("fwdrift init; systemctl reset-failed {UNIT}; systemctl start {UNIT}"));
    assert_eq!(machine.show(UNIT, "ActiveState"), "active");
}

#[test]
fn neither_the_way_down_nor_the_way_up_is_drift() {
    let Some(mut machine) = watched(Tree::new()) else { return };
    machine.reboot();
    machine.until(10, "it runs again", || machine.show(UNIT, "ActiveState") == "active");
    opens(&machine, 1001);
    is_recorded(&machine, 1001);
    // nftables.service takes the rules away on the way down, and loads them on the way up.
    assert_eq!(machine.kinds(), ["approved", "drift"], "{}", machine.log());
}

#[test]
fn the_timer_beside_it_records_nothing_twice() {
    let Some(machine) = watched(Tree::new()) else { return };
    for port in 1001..1006 {
        opens(&machine, port);
        machine.sh("systemctl start fwdrift-record.service");
        is_recorded(&machine, port);
    }
    assert_eq!(
        machine.kinds(),
        ["approved", "drift", "drift", "drift", "drift", "drift"],
        "{}",
        machine.log()
    );
    assert_eq!(machine.show(UNIT, "NRestarts"), "0");
    assert_eq!(machine.run(&["systemctl", "is-system-running"]).stdout, "running\n");
}
