//! fwdrift-record.timer starts fwdrift-record.service, whose outcome is no failure while it can look.

use super::container::Tree;

const UNIT: &str = "fwdrift-record.service";

#[test]
fn the_timer_fires_drift_is_no_failure_and_blindness_is_one() {
    let tree = Tree::new();
    // The moment of a host in the first minute after a boot is its own: not waited for here.
    let at_once = "[Timer]\nRandomizedDelaySec=0\nAccuracySec=10ms\n";
    tree.write("etc/systemd/system/fwdrift-record.timer.d/test.conf", at_once);
    let Some(machine) = tree.boot() else { return };
    machine.sh("fwdrift init; nft insert rule inet filter input tcp dport 3306 drop");
    // As if the machine had been off since its last look, an hour ago (Persistent=).
    machine.sh("mkdir -p /var/lib/systemd/timers
         touch -d '1 hour ago' /var/lib/systemd/timers/stamp-fwdrift-record.timer
         systemctl enable --quiet --now fwdrift-record.timer");
    machine.until(15, "the timer's look", || machine.log().contains("+ tcp dport 3306 drop"));
    machine.until(10, "its end", || machine.show(UNIT, "ActiveState") == "inactive");
    assert_eq!(machine.show(UNIT, "Result"), "success");
    assert_eq!(machine.show(UNIT, "ExecMainStatus"), "1");
    assert!(machine.journal(UNIT).contains("+ tcp dport 3306 drop in inet filter input"));
    // Within five minutes and what the timer may add.
    let next = machine.sh("next=$(systemctl show --value -p NextElapseUSecRealtime fwdrift-record.timer)
         echo $(($(date -d \"$next\" +%s) - $(date +%s)))");
    let next: i64 = next.trim().parse().unwrap();
    assert!((0..=300).contains(&next), "{next} s");
    assert_eq!(machine.run(&["systemctl", "is-system-running"]).stdout, "running\n");

    // A look that cannot look fails the unit.
    machine.sh("mv /var/lib/fwdrift/repo /var/lib/fwdrift/gone");
    assert_ne!(machine.run(&["systemctl", "start", UNIT]).code, Some(0));
    assert_eq!(machine.show(UNIT, "ExecMainStatus"), "2");
    assert_eq!(machine.show(UNIT, "Result"), "exit-code");
}
