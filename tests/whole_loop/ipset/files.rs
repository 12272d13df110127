//! Sets as files of a baseline, as words of a report, and what can be done with both.

use super::approved;
use crate::support::{Host, each, id_of, kinds, lines};

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
