//! Changes of sets and members: each named exactly and alone, and none where things moved by themselves.

use super::approved;
use crate::support::{Host, each, hold, lines, of};
use serde_json::Value;

#[test]
fn each_kind_of_change_is_named_exactly_and_alone() {
    const BL: &str =
        "ipset create bl hash:ip comment; ipset add bl 192.0.2.1 comment old; ipset add bl 192.0.2.2";
    hold(
        &[
            (
                "a set added",
                BL,
                "ipset create new hash:net; ipset add new 10.0.0.0/8",
                &[
                    "added set unspec  new: - -> create new hash:net family inet maxelem 65536\nadd new 10.0.0.0/8",
                ],
            ),
            (
                "a set removed",
                "ipset create bl hash:ip; ipset add bl 192.0.2.1; ipset create other hash:ip",
                "ipset destroy bl",
                &[
                    "removed set unspec  bl: create bl hash:ip family inet maxelem 65536\nadd bl 192.0.2.1 -> -",
                ],
            ),
            (
                "a set renamed",
                "ipset create bl hash:ip",
                "ipset rename bl white",
                &[
                    "removed set unspec  bl: create bl hash:ip family inet maxelem 65536 -> -",
                    "added set unspec  white: - -> create white hash:ip family inet maxelem 65536",
                ],
            ),
            (
                "another type",
                "ipset create bl hash:ip",
                "ipset destroy bl; ipset create bl hash:net",
                &[
                    "modified set unspec  bl: create bl hash:ip family inet maxelem 65536 -> create bl hash:net family inet maxelem 65536",
                ],
            ),
            (
                "another maxelem",
                "ipset create bl hash:ip; ipset add bl 192.0.2.1",
                "ipset destroy bl; ipset create bl hash:ip maxelem 10; ipset add bl 192.0.2.1",
                &[
                    "modified set unspec  bl: create bl hash:ip family inet maxelem 65536 -> create bl hash:ip family inet maxelem 10",
                ],
            ),
            (
                "another default timeout",
                "ipset create bl hash:ip timeout 60",
                "ipset destroy bl; ipset create bl hash:ip timeout 70",
                &[
                    "modified set unspec  bl: create bl hash:ip family inet maxelem 65536 timeout 60 -> create bl hash:ip family inet maxelem 65536 timeout 70",
                ],
            ),
            (
                "a member added",
                BL,
                "ipset add bl 192.0.2.3 comment new",
                &["added element unspec  bl: - -> add bl 192.0.2.3 comment \"new\""],
            ),
            (
                "a member removed",
                BL,
                "ipset del bl 192.0.2.2",
                &["removed element unspec  bl: add bl 192.0.2.2 -> -"],
            ),
            (
                "a comment changed",
                BL,
                "ipset add bl 192.0.2.1 comment new -exist",
                &[
                    "modified element unspec  bl: add bl 192.0.2.1 comment \"old\" -> add bl 192.0.2.1 comment \"new\"",
                ],
            ),
            (
                "an exception made",
                "ipset create bl hash:net; ipset add bl 10.0.0.0/8",
                "ipset add bl 10.0.0.0/8 nomatch -exist",
                &["modified element unspec  bl: add bl 10.0.0.0/8 -> add bl 10.0.0.0/8 nomatch"],
            ),
            (
                "a port of a bridge in place of an interface",
                "ipset create bl hash:net,iface; ipset add bl 10.0.0.0/8,eth0",
                "ipset flush bl; ipset add bl 10.0.0.0/8,physdev:eth0",
                &[
                    "removed element unspec  bl: add bl 10.0.0.0/8,eth0 -> -",
                    "added element unspec  bl: - -> add bl 10.0.0.0/8,physdev:eth0",
                ],
            ),
            (
                "the contents of two sets swapped",
                "ipset create a hash:ip; ipset add a 192.0.2.1; ipset create b hash:ip; ipset add b 192.0.2.2",
                "ipset swap a b",
                &[
                    "removed element unspec  a: add a 192.0.2.1 -> -",
                    "added element unspec  a: - -> add a 192.0.2.2",
                    "added element unspec  b: - -> add b 192.0.2.1",
                    "removed element unspec  b: add b 192.0.2.2 -> -",
                ],
            ),
            (
                "a set added to a list",
                "ipset create a hash:ip; ipset create b hash:ip; ipset create l list:set; ipset add l b",
                "ipset add l a before b",
                &["added element unspec  l: - -> add l a"],
            ),
            (
                "the order of a list",
                "ipset create a hash:ip; ipset create b hash:ip; ipset create l list:set; ipset add l a; ipset add l b",
                "ipset del l b; ipset add l b before a",
                &[
                    "modified set unspec  l: create l list:set size 8\nadd l a\nadd l b -> create l list:set size 8\nadd l b\nadd l a",
                ],
            ),
            (
                "a member that lasts is gone from a set with timeouts",
                "ipset create bl hash:ip timeout 60; ipset add bl 192.0.2.1 timeout 0",
                "ipset del bl 192.0.2.1",
                &["removed element unspec  bl: add bl 192.0.2.1 timeout 0 -> -"],
            ),
            (
                "a member that lasted expires now",
                "ipset create bl hash:ip timeout 60; ipset add bl 192.0.2.1 timeout 0",
                "ipset add bl 192.0.2.1 timeout 500 -exist",
                &["modified element unspec  bl: add bl 192.0.2.1 timeout 0 -> add bl 192.0.2.1"],
            ),
            (
                "a member that expires is added by hand",
                "ipset create bl hash:ip timeout 0",
                "ipset add bl 192.0.2.1 timeout 500",
                &["added element unspec  bl: - -> add bl 192.0.2.1 timeout 2147483"],
            ),
        ],
        of("ipset"),
    );
}

#[test]
fn what_moves_by_itself_is_no_drift() {
    let same: &[(&str, &str, &str)] = &[
        (
            "counters",
            "ip link set lo up; ipset create c hash:ip counters; ipset add c 127.0.0.1; iptables-nft -A INPUT -m set --match-set c src -j ACCEPT",
            "echo x | bash -c 'cat > /dev/udp/127.0.0.1/9'; ipset list c | grep '127.0.0.1 packets [1-9]'",
        ),
        (
            "a larger hash, with the same members in the end",
            "ipset create g hash:ip hashsize 64 maxelem 5000",
            "seq 0 2999 | while read n; do echo add g 10.0.$((n / 250)).$((n % 250)); done | ipset restore; ipset flush g; ipset list g | grep -v 'hashsize 64 '",
        ),
        (
            "a member that expired",
            "ipset create t hash:ip timeout 600; ipset add t 192.0.2.1",
            "ipset del t 192.0.2.1",
        ),
        (
            "a member whose time began anew",
            "ipset create t hash:ip timeout 600; ipset add t 192.0.2.1 timeout 100",
            "ipset add t 192.0.2.1 timeout 500 -exist",
        ),
        (
            "flushed and filled in another order",
            "ipset create r hash:ip; for n in 1 2 3 4 5; do ipset add r 192.0.2.$n; done",
            "ipset flush r; for n in 5 3 1 2 4; do ipset add r 192.0.2.$n; done",
        ),
        (
            "destroyed and made again, in another order of sets",
            "ipset create a hash:ip; ipset create b hash:net; ipset add b 10.0.0.0/8",
            "ipset destroy; ipset create b hash:net hashsize 2048; ipset add b 10.0.0.0/8; ipset create a hash:ip",
        ),
        (
            "members that a rule adds",
            "ip link set lo up; ipset create seen hash:ip; iptables-nft -A INPUT -j SET --add-set seen src",
            "echo x | bash -c 'cat > /dev/udp/127.0.0.1/9'; ipset list seen | grep -q 127.0.0.1",
        ),
        (
            "members that a legacy rule deletes",
            "ip link set lo up; ipset create seen hash:ip; ipset add seen 127.0.0.1; iptables-legacy -A INPUT -j SET --del-set seen src",
            "echo x | bash -c 'cat > /dev/udp/127.0.0.1/9'; ! ipset list seen | grep -q 127.0.0.1",
        ),
        (
            "an address that the kernel completed",
            "ipset create m bitmap:ip,mac range 192.0.2.0/24; ipset add m 192.0.2.1",
            "ipset add m 192.0.2.1,02:00:00:00:00:01",
        ),
    ];
    each(
        same,
        |case| case.0,
        |(claim, before, made)| {
            let host = approved(before);
            host.check(0);
            host.sh(made);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{claim}");
            assert_eq!(host.record(), Vec::<Value>::new(), "{claim}");
        },
    );
}

#[test]
fn sets_that_are_swapped_while_they_are_read_are_seen_as_they_were_or_not_at_all() {
    // The kernel refuses to swap a set that it is listing; the long one in the middle leaves it time for the others.
    let long = "(echo create b hash:ip; seq 0 19999 | awk '{ printf \"add b 10.%d.%d.%d\\n\", $1/62500, $1/250%250, $1%250 }') | ipset restore";
    let pair = "ipset create c hash:ip; ipset add c 192.0.2.2";
    let host = approved(&format!("ipset create a hash:ip; ipset add a 192.0.2.1; {long}; {pair}"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut seen = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                host.sh("for n in 1 2 3 4 5 6 7 8; do ipset swap a c || true; done 2> /dev/null; sleep 0.01");
            }
        });
        seen.extend((0..8).map(|_| host.run(&["check", "--format", "json"])));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for run in seen {
        let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
        // In sync, both sets swapped, or a gap: never one set's members twice.
        let changes = lines(result["changes"].as_array().unwrap());
        assert!([0, 4].contains(&changes.len()), "{changes:#?}");
        let gaps = result["gaps"].as_array().unwrap();
        let blind: Vec<&Value> = gaps.iter().filter(|gap| gap["blinds_verdict"] == true).collect();
        assert!(blind.iter().all(|gap| gap["source"] == "ipset"), "{blind:#?}");
    }
}

#[test]
fn twenty_thousand_members_are_read_compared_and_shown() {
    let host = Host::bare();
    host.sh("(echo create big hash:ip maxelem 100000; seq 0 19999 | awk '{ printf \"add big 10.%d.%d.%d\\n\", $1/62500, $1/250%250, $1%250 }') | ipset restore");
    host.run(&["init"]).ended(0);
    let started = std::time::Instant::now();
    host.check(0);
    eprintln!("20,000 members in sync: {:?}", started.elapsed());
    host.sh("ipset del big 10.0.7.7; ipset add big 192.0.2.1");
    assert_eq!(
        lines(&host.changes()),
        [
            "removed element unspec  big: add big 10.0.7.7 -> -",
            "added element unspec  big: - -> add big 192.0.2.1"
        ]
    );
    let started = std::time::Instant::now();
    host.sh("ipset flush big");
    assert_eq!(host.changes().len(), 20_000);
    eprintln!("20,000 members gone: {:?}", started.elapsed());
}
