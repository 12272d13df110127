//! Sets of ipset: what of them is drift and what is not, in files, in rules of iptables, and in words.

use crate::support::{Host, each, hold, id_of, kinds, lines, of};
use serde_json::Value;

/// A set of each type that most kernels have, with the options that change what it holds.
const ALL_TYPES: &str = r#"
    ipset create v4 hash:ip comment skbinfo; ipset add v4 192.0.2.1 comment 'a host; $(x) \ #'
    ipset add v4 192.0.2.2 skbmark 0x1/0xff skbprio 1:10 skbqueue 3
    ipset create v6 hash:ip family inet6 netmask 64 maxelem 100; ipset add v6 2001:db8::1
    ipset create nets hash:net forceadd; ipset add nets 10.0.0.0/8; ipset add nets 10.1.0.0/16 nomatch
    ipset create ports hash:ip,port counters; ipset add ports 192.0.2.1,udp:53; ipset add ports 192.0.2.1,icmp:8/0
    ipset create three hash:ip,port,ip; ipset add three 192.0.2.1,tcp:80,192.0.2.9
    ipset create pairs hash:ip,port,net; ipset add pairs 192.0.2.1,tcp:80,10.0.0.0/8
    ipset create netport hash:net,port family inet6; ipset add netport 2001:db8::/32,tcp:443
    ipset create ifaces hash:net,iface; ipset add ifaces 10.0.0.0/8,eth0; ipset add ifaces 10.0.0.0/8,physdev:eth0
    ipset add ifaces 0.0.0.0/0,wg wildcard
    ipset create map bitmap:ip range 192.0.2.0/24; ipset add map 192.0.2.7
    ipset create macs bitmap:ip,mac range 192.0.2.0/24; ipset add macs 192.0.2.7,02:00:00:00:00:01
    ipset create bits bitmap:port range 1-1024; ipset add bits 22
    ipset create timed hash:ip timeout 600; ipset add timed 192.0.2.1; ipset add timed 192.0.2.2 timeout 0
    ipset create never hash:ip timeout 0; ipset add never 192.0.2.1; ipset add never 192.0.2.2 timeout 60
    ipset create bucket hash:ip bucketsize 8 hashsize 64
    ipset create all list:set comment; ipset add all v4; ipset add all nets comment second; ipset add all map"#;

#[track_caller]
fn approved(script: &str) -> Host {
    let host = Host::bare();
    host.sh(script);
    host.run(&["init"]).ended(0);
    host
}

#[test]
fn sets_of_all_types_are_approved_and_in_sync_and_their_files_are_plain() {
    let host = approved(ALL_TYPES);
    host.check(0);
    let files = host.git(&["ls-tree", "-r", "--name-only", "main"]);
    assert!(!files.contains(".exact"), "{files}");
    let file = |name: &str| host.git(&["show", &format!("main:baselines/db-01/ipset/{name}.ipset")]);
    assert_eq!(
        file("v4"),
        "# captured by fwdrift, one set a file\ncreate v4 hash:ip family inet maxelem 65536 comment skbinfo\n\
         add v4 192.0.2.1 comment \"a host; $(x) \\ #\"\nadd v4 192.0.2.2 skbmark 0x1/0xff skbprio 1:10 skbqueue 3\n"
    );
    assert!(
        file("all").ends_with("\nadd all v4\nadd all nets comment \"second\"\nadd all map\n"),
        "{}",
        file("all")
    );
    assert!(
        file("timed").ends_with("\nadd timed 192.0.2.1\nadd timed 192.0.2.2 timeout 0\n"),
        "{}",
        file("timed")
    );
    assert!(file("bucket").contains("bucketsize 8"), "{}", file("bucket"));
    // The files are what `ipset restore` reads: an emptied host that has loaded them is in sync.
    let all: String =
        ["v4", "v6", "nets", "ports", "three", "pairs", "netport", "ifaces", "map", "macs", "bits"]
            .into_iter()
            .chain(["timed", "never", "bucket", "all"])
            .map(file)
            .collect();
    let path = host.file("all.ipset", &all);
    host.sh(&format!("ipset flush; ipset destroy; ipset restore -file {path}"));
    host.check(0);
}

#[test]
fn each_kind_of_change_is_named_exactly_and_alone() {
    const BL: &str =
        "ipset create bl hash:ip comment; ipset add bl 192.0.2.1 comment old; ipset add bl 192.0.2.2";
    const HEAD: &str = "create bl hash:ip family inet maxelem 65536 comment";
    assert_eq!(HEAD.len(), 51);
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
fn a_rule_that_matches_a_set_is_shown_as_iptables_text_and_found_by_the_sets_name() {
    hold(
        &[
            (
                "another set of the same type",
                "ipset create a hash:ip; ipset create b hash:ip; iptables-nft -A INPUT -m set --match-set a src -j DROP",
                "iptables-nft -R INPUT 1 -m set --match-set b src -j DROP",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m set --match-set a src -j DROP -> -A INPUT -m set --match-set b src -j DROP",
                ],
            ),
            (
                "another direction",
                "ipset create a hash:ip,port family inet6; ip6tables-nft -A INPUT -m set ! --match-set a src,dst -j DROP",
                "ip6tables-nft -R INPUT 1 -m set ! --match-set a dst,dst -j DROP",
                &[
                    "modified rule ip6 filter/INPUT: -A INPUT -m set ! --match-set a src,dst -j DROP -> -A INPUT -m set ! --match-set a dst,dst -j DROP",
                ],
            ),
            (
                "a target's set",
                "ipset create a hash:ip timeout 9; ipset create b hash:ip timeout 9; iptables-nft -A INPUT -p tcp -j SET --add-set a src --exist --timeout 5",
                "iptables-nft -R INPUT 1 -p tcp -j SET --add-set a src --del-set b dst --exist --timeout 5",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -p tcp -j SET --add-set a src --exist --timeout 5 -> -A INPUT -p tcp -j SET --add-set a src --exist --timeout 5 --del-set b dst",
                ],
            ),
            (
                "counters of a match",
                "ipset create a hash:ip counters; iptables-nft -A INPUT -m set --match-set a src --packets-gt 5 -j DROP",
                "iptables-nft -R INPUT 1 -m set --match-set a src --packets-gt 6 -j DROP",
                &[
                    "modified rule ip filter/INPUT: -A INPUT -m set --match-set a src --packets-gt 5 -j DROP -> -A INPUT -m set --match-set a src --packets-gt 6 -j DROP",
                ],
            ),
        ],
        of("iptables-nft"),
    );
    hold(
        &[(
            "legacy",
            "ipset create a hash:ip; ipset create b hash:ip; iptables-legacy -A INPUT -m set --match-set a src -j DROP",
            "iptables-legacy -R INPUT 1 -m set --match-set b src -j DROP",
            &[
                "modified rule ip filter/INPUT: -A INPUT -m set --match-set a src -j DROP -> -A INPUT -m set --match-set b src -j DROP",
            ],
        )],
        of("iptables-legacy"),
    );
}

#[test]
fn a_rule_is_the_same_rule_when_its_set_has_another_index() {
    const RULES: &str = "iptables-nft -P FORWARD DROP; iptables-nft -A INPUT -m set --match-set a src -j DROP; iptables-nft -A INPUT -m set --match-set b src -j ACCEPT; iptables-nft -A OUTPUT -j SET --add-set c dst";
    let host = approved(&format!("for s in a b c; do ipset create $s hash:ip; done; {RULES}"));
    let rules = host.git(&["show", "main:baselines/db-01/iptables/nft-v4.rules"]);
    assert!(rules.contains("\n-A INPUT -m set --match-set b src -j ACCEPT\n"), "{rules}");
    let files = host.git(&["ls-tree", "-r", "--name-only", "main"]);
    assert!(!files.contains(".exact") && !files.contains(".nft"), "{files}");
    // As after a reboot: the sets come back in another order, and so with other indices.
    host.sh(&format!("iptables-nft -F; ipset destroy; for s in pad c b a; do ipset create $s hash:ip; done; ipset destroy pad; {RULES}"));
    host.check(0);
    // And the other way round: the same indices, now of other sets.
    host.sh("iptables-nft -F; ipset destroy; for s in b a c; do ipset create $s hash:ip; done");
    host.sh("iptables-nft -A INPUT -m set --match-set b src -j DROP; iptables-nft -A INPUT -m set --match-set a src -j ACCEPT; iptables-nft -A OUTPUT -j SET --add-set c dst");
    assert_eq!(host.changes().len(), 2, "{:#?}", host.changes());
}

#[test]
fn hostile_names_and_comments_are_approved_found_and_harm_nobody() {
    let hostile = r##"ipset create 'a b' hash:ip comment; ipset add 'a b' 192.0.2.1 comment 'x; reboot $(id) `id`'
        ipset create '#c"' hash:ip; ipset create "$(printf '\033[2J\377')" hash:ip; ipset create ../../etc hash:ip
        ipset create -- hash:ip 2> /dev/null || true; ipset create "$(printf 'n\nadd n 1')" hash:ip
        ipset create 'list:set' hash:ip; ipset create l list:set; ipset add l 'a b'; ipset add l '#c"'
        iptables-nft -A INPUT -m set --match-set 'a b' src -j DROP
        iptables-nft -A INPUT -m set --match-set '#c"' src -j DROP"##;
    let host = approved(hostile);
    host.check(0);
    let files = host.git(&["ls-tree", "-r", "--name-only", "main"]);
    for path in ["ipset/a%20b.ipset", "ipset/%23c%22.exact", "ipset/%2E%2E%2F%2E%2E%2Fetc.ipset"] {
        assert!(files.contains(path), "{path} in {files}");
    }
    host.sh(r##"ipset add '#c"' 192.0.2.7; ipset add "$(printf 'n\nadd n 1')" 192.0.2.8; ipset del 'a b' 192.0.2.1"##);
    let changes = host.changes();
    assert_eq!(
        lines(&changes),
        [
            r##"added element unspec  #c": - -> add "#c\x22" 192.0.2.7"##,
            r#"removed element unspec  a b: add "a b" 192.0.2.1 comment "x; reboot $(id) `id`" -> -"#,
            "added element unspec  n\nadd n 1: - -> add \"n\\x0aadd n 1\" 192.0.2.8",
        ]
    );
    let said = host.run(&["check"]).ended(1);
    assert!(!said.contains('\u{1b}'), "{said}");
    host.run(&["approve", "--yes"]).ended(0);
    host.check(0);
}

#[test]
fn a_part_is_approved_and_the_rest_stays_drift() {
    let host =
        approved("ipset create a hash:ip; ipset create b hash:ip; ipset create l list:set; ipset add l b");
    host.sh("ipset add a 192.0.2.1; ipset add a 192.0.2.2; ipset add l a before b; ipset create c hash:net");
    let changes = host.changes();
    let ids = [id_of(&changes, "192.0.2.2"), id_of(&changes, "add l a")];
    host.run(&["approve", "--yes", &ids[0], &ids[1]]).ended(0);
    assert_eq!(
        lines(&host.changes()),
        [
            "added element unspec  a: - -> add a 192.0.2.1",
            "added set unspec  c: - -> create c hash:net family inet maxelem 65536"
        ]
    );
}

#[test]
fn the_way_back_that_is_printed_works() {
    let cases = [
        ("added", "ipset create bl hash:ip", "ipset add bl 192.0.2.1"),
        (
            "removed",
            "ipset create bl hash:net comment; ipset add bl 10.0.0.0/8 comment 'it is a $HOME \\'",
            "ipset flush bl",
        ),
        (
            "changed",
            "ipset create bl hash:ip comment; ipset add bl 192.0.2.1 comment one",
            "ipset add bl 192.0.2.1 comment two -exist",
        ),
        ("a set added", "ipset create bl hash:ip", "ipset create 'a $(reboot) b' hash:ip"),
        (
            "a timeout",
            "ipset create bl hash:ip timeout 9; ipset add bl 192.0.2.1 timeout 0",
            "ipset flush bl",
        ),
        (
            "v6 port",
            "ipset create bl hash:ip,port family inet6; ipset add bl 2001:db8::1,tcp:80",
            "ipset flush bl",
        ),
    ];
    each(
        &cases,
        |case| case.0,
        |(claim, before, made)| {
            let host = approved(before);
            host.sh(made);
            let said = host.run(&["check"]).ended(1);
            let commands: Vec<&str> = said
                .lines()
                .filter_map(|line| line.trim_start().split_once(" ipset ").map(|(_, rest)| rest))
                .map(|rest| rest.split("  #").next().unwrap())
                .collect();
            assert!(!commands.is_empty(), "{claim}: {said}");
            for command in commands {
                host.sh(&format!("ipset {command}"));
            }
            host.check(0);
        },
    );
}

#[test]
fn the_log_tells_of_sets_and_names_no_author_that_nobody_knows() {
    let host = Host::audited("table inet t {}");
    host.login(1000, "ipset create bl hash:ip; ipset add bl 192.0.2.1");
    let events = host.record();
    assert_eq!(kinds(&events), ["drift"]);
    assert_eq!(events[0]["changes"][0]["author"]["evidence"], "none", "{events:#?}");
    let log = host.run(&["log"]).ended(0);
    assert!(log.contains("set bl") && log.contains("unknown"), "{log}");
    let report = host.run(&["report"]).stdout;
    assert!(report.contains("ipset") && report.contains("bl"), "{report}");
    host.sh("ipset destroy bl");
    assert_eq!(kinds(&host.record()), ["reverted"]);
}

#[test]
fn authored_files_of_any_number_of_sets_are_adopted_and_a_wrong_line_is_named() {
    let host = Host::bare();
    let text = "# by hand\ncreate web hash:ip family inet hashsize 4096\nadd web 192.0.2.1\ncreate l list:set\nadd l web\n";
    let sets = host.file("web sets.ipset", text);
    let more = host.file("more.ipset", "create more hash:net\nadd more 10.0.0.0/8");
    let rules = host.file(
        "rules.v4",
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m set --match-set web src -j DROP\nCOMMIT\n",
    );
    host.sh(&format!(
        "ipset restore -file '{sets}'; ipset restore -file {more}; iptables-nft-restore {rules}"
    ));
    host.run(&["init", "--from", &sets, "--from", &more, "--from", &rules]).ended(0);
    host.check(0);
    assert_eq!(host.git(&["show", "main:baselines/db-01/ipset/web_sets.ipset"]), text);
    host.sh("ipset add more 172.16.0.0/12");
    assert_eq!(lines(&host.changes()), ["added element unspec  more: - -> add more 172.16.0.0/12"]);
    let wrong = Host::bare();
    let wrong_file = wrong.file("bad.ipset", "create a hash:ip\nadd a 192.0.2.1\nadd a nonsense!\n");
    let said = wrong.run(&["init", "--from", &wrong_file]).failed();
    assert!(said.contains("ipset/bad.ipset does not load") && said.contains("line 3"), "{said}");
}

#[test]
fn without_the_tool_sets_are_compared_all_the_same_and_are_not_shown() {
    let host = Host::bare();
    host.sh("ipset create bl hash:net; ipset add bl 10.0.0.0/8; ipset create l list:set; ipset add l bl");
    host.sh("iptables-nft -P FORWARD DROP; iptables-nft -A INPUT -m set --match-set bl src -j DROP");
    let without_tool = |arguments: &str| {
        let program = format!("{:?}", host.command(&[]));
        let hidden = "mount --bind /dev/null \"$(readlink -f \"$(command -v ipset)\")\"";
        let run = format!("{hidden}; {program} {arguments} || echo \"exit $?\"");
        host.sh(&format!("unshare -m --propagation private sh -ec '{run}' 2>&1"))
    };
    let made = without_tool("init");
    assert!(made.contains("Approved") && !made.contains("differs"), "{made}");
    assert!(!without_tool("check").contains("exit"));
    host.check(0);
    host.sh("ipset add bl 172.16.0.0/12");
    let found = without_tool("check");
    assert!(found.contains("no tool could show this element: ipset is not installed"), "{found}");
    assert!(found.ends_with("exit 1\n"), "{found}");
    assert_eq!(lines(&host.changes()), ["added element unspec  bl: - -> add bl 172.16.0.0/12"]);
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
