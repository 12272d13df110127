//! What is not drift is not reported: counters, quotas, expiry, the packet path, a reload.

use crate::support::{Host, RULES, lines};
use std::net::UdpSocket;
use std::time::Duration;

#[track_caller]
fn assert_in_sync(host: &Host) {
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
}

#[test]
fn packets_move_counters_quotas_and_dynamic_sets_and_that_is_no_drift() {
    let host = Host::bare();
    host.sh("ip link set lo up");
    host.nft(
        "table inet t {
            counter seen {}
            quota q { over 10 mbytes; }
            limit l { rate 1/second; }
            set talkers { type ipv4_addr; flags dynamic, timeout; timeout 1m; size 100; }
            set plain { type ipv4_addr; flags dynamic; size 100; counter; }
            map last { type ipv4_addr : inet_service; flags dynamic, timeout; timeout 1m; size 100; }
            chain input {
                type filter hook input priority 0; policy accept;
                counter name \"seen\" quota name \"q\" limit name \"l\" counter
                add @talkers { ip saddr } add @plain { ip saddr }
                udp dport 7 update @last { ip saddr : udp dport } quota over 5 mbytes drop
                udp dport 7 meter m { ip saddr limit rate 1/second } accept
                ct count over 100 reject
            }
        }",
    );
    host.run(&["init"]).ended(0);
    let before = host.sh("nft list ruleset");
    host.inside(|| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..20 {
            // A refused port is as good: the packet was seen.
            let _ = socket.send_to(b"x", "127.0.0.1:7");
        }
    });
    let after = host.sh("nft list ruleset");
    assert_ne!(before, after, "the packets left a trace");
    assert!(after.contains("elements = { 127.0.0.1"), "{after}");
    assert_in_sync(&host);
    assert!(host.record().is_empty(), "nothing was committed, so nothing is recorded");
}

#[test]
fn an_element_that_expired_is_no_drift_and_one_that_was_added_is() {
    let host = Host::new(
        "table ip t { set s { type ipv4_addr; flags timeout; elements = { 10.0.0.1 timeout 1500ms, 10.0.0.2 timeout 1h }; }; }",
    );
    std::thread::sleep(Duration::from_millis(1700));
    assert!(!host.sh("nft list ruleset").contains("10.0.0.1 "));
    assert_in_sync(&host);
    host.nft("add element ip t s { 10.0.0.9 timeout 1h }");
    let found = lines(&host.changes());
    assert_eq!(found, ["added element ip t s: - -> 10.0.0.9 timeout 1h"]);
}

#[test]
fn a_reload_in_another_order_with_other_handles_is_no_drift() {
    let host = Host::new(&format!(
        "{RULES}table ip a {{ set s {{ type ipv4_addr; }}; chain c {{}}; }}\ntable ip6 b {{}}"
    ));
    host.nft("add table ip x; delete table ip x");
    host.nft(&format!("flush ruleset; table ip6 b {{}}\ntable ip a {{ chain c {{}}; set s {{ type ipv4_addr; }}; }}\n{RULES}"));
    assert_in_sync(&host);
}

#[test]
fn a_set_that_the_packet_path_fills_is_approved_without_its_elements() {
    let host = Host::bare();
    host.nft("table ip t { set s { type ipv4_addr; flags dynamic; size 9; elements = { 10.0.0.1 }; }; }");
    host.run(&["init"]).ended(0);
    assert!(!host.git(&["grep", "-h", "", "main"]).contains("10.0.0.1"));
    assert_in_sync(&host);
}
