//! Every table of iptables-legacy, v4 and v6: found, approved, and back in sync after a restart from the files.

use crate::support::{Host, each, lines};

/// The program's number, a table, one rule and that rule changed.
type Case = (&'static str, &'static str, &'static str, &'static str);

const CASES: [Case; 10] = [
    (
        "ip",
        "filter",
        "INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT",
        "INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT",
    ),
    (
        "ip",
        "nat",
        "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80",
        "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.0.0.2:80",
    ),
    (
        "ip",
        "mangle",
        "FORWARD -m string --string \"one two\" --algo bm -j MARK --set-xmark 0x1/0xffffffff",
        "FORWARD -m string --string \"one three\" --algo bm -j MARK --set-xmark 0x1/0xffffffff",
    ),
    (
        "ip",
        "raw",
        "PREROUTING -m comment --comment \"it's \\\"quoted\\\" # -A INPUT\" -j ACCEPT",
        "PREROUTING -m comment --comment \"it's \\\"quoted\\\" # -A OUTPUT\" -j ACCEPT",
    ),
    (
        "ip",
        "security",
        "INPUT -m recent --rcheck --seconds 60 --name a --mask 255.255.255.255 --rsource -j ACCEPT",
        "INPUT -m recent --rcheck --seconds 61 --name a --mask 255.255.255.255 --rsource -j ACCEPT",
    ),
    (
        "ip6",
        "filter",
        "INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT",
        "INPUT -p tcp -m multiport --dports 22,443 -j ACCEPT",
    ),
    (
        "ip6",
        "nat",
        "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::1]:80",
        "PREROUTING -p tcp -m tcp --dport 80 -j DNAT --to-destination [fd00::2]:80",
    ),
    (
        "ip6",
        "mangle",
        "FORWARD -m u32 --u32 \"0x0>>0x10&0xf=0x1\" -j DROP",
        "FORWARD -m u32 --u32 \"0x0>>0x10&0xf=0x2\" -j DROP",
    ),
    (
        "ip6",
        "raw",
        "OUTPUT -m comment --comment \"w\u{f6}rd\" -j ACCEPT",
        "OUTPUT -m comment --comment \"w\u{e4}rd\" -j ACCEPT",
    ),
    (
        "ip6",
        "security",
        "FORWARD -m limit --limit 5/min -j ACCEPT",
        "FORWARD -m limit --limit 6/min -j ACCEPT",
    ),
];

#[test]
fn each_table_of_iptables_legacy_is_compared_approved_and_restored_from_its_file() {
    each(
        &CASES,
        |case| case.2,
        |(family, table, rule, changed)| {
            let (program, version) = if *family == "ip6" { ("ip6tables", "v6") } else { ("iptables", "v4") };
            let host = Host::bare();
            let run = |arguments: &str| host.sh(&format!("{program}-legacy -t {table} {arguments}"));
            run(&format!("-A {rule}"));
            host.run(&["init"]).ended(0);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{rule}: in sync at first");

            // Packets that were counted are the past.
            run(&format!("-D {rule}"));
            run(&format!("-A {rule} -c 7 700"));
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{rule}: counters");

            let chain = rule.split(' ').next().unwrap();
            run(&format!("-R {chain} 1 {}", changed.strip_prefix(chain).unwrap()));
            let expected = format!("modified rule {family} {table}/{chain}: -A {rule} -> -A {changed}");
            // iptables-save escapes it, and iptables-restore takes that back.
            assert_eq!(lines(&host.changes()), [expected.replace('\'', "\\'")]);
            host.run(&["approve", "--yes"]).ended(0);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{rule}: in sync once approved");

            // A restart: nothing is there but what the file gives.
            run("-F");
            assert_eq!(host.changes().len(), 1, "{rule}: flushed");
            let file = host.repo().join(format!("baselines/db-01/iptables/legacy-{version}.rules"));
            host.sh(&format!("{program}-legacy-restore <{}", file.display()));
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{rule}: restarted from its file");
        },
    );
}

#[test]
fn a_file_of_iptables_legacy_with_counters_is_in_sync_with_the_rules_that_it_gives() {
    let host = Host::bare();
    let save = "*filter\n:INPUT DROP [12:3400]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [1:60]\n[5:300] -A INPUT -i lo -j ACCEPT\nCOMMIT\n";
    let file = host.file("baseline/iptables/legacy-v4.rules", save);
    host.sh(&format!("iptables-legacy-restore -c <{file}"));
    host.run(&["init"]).ended(0);
    let committed = host.repo().join("baselines/db-01/iptables/legacy-v4.rules");
    std::fs::write(&committed, save).unwrap();
    host.git(&["commit", "-qam", "as somebody saved it"]);
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
}
