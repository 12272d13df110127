//! arptables and ebtables: through nf_tables, and through the older interface.

use crate::support::{Host, has_arptables_legacy, hold, line, lines, snapshot};
use serde_json::Value;

/// Whether a change is of this program, through nf_tables or through the older interface.
fn of(source: &'static str, legacy: bool) -> impl Fn(&Value) -> bool + Sync {
    move |change| change["source"] == source && (change["legacy"] == true) == legacy
}

/// The baseline's files, but for the host's settings.
fn baseline(host: &Host) -> Vec<String> {
    let root = host.repo().join("baselines");
    let files = snapshot(&root).into_iter().map(|(path, _)| path);
    let below =
        |path: std::path::PathBuf| path.strip_prefix(root.join(crate::support::NAME)).map(|p| p.to_owned());
    files
        .filter_map(|path| below(path).ok())
        .map(|path| path.to_str().unwrap().to_owned())
        .filter(|path| !path.starts_with("context/"))
        .collect()
}

#[test]
fn arptables_nft_rules_are_shown_in_its_own_syntax() {
    hold(
        &[
            (
                "added",
                "arptables-nft -P INPUT DROP; arptables-nft -A INPUT -s 10.0.0.1 -j ACCEPT",
                "arptables-nft -A INPUT -s 10.0.0.2 -j ACCEPT",
                &["added rule arp filter/INPUT: - -> -A INPUT -j ACCEPT -s 10.0.0.2"],
            ),
            (
                "an address inside mangle, which nft does not print",
                "arptables-nft -A OUTPUT --source-mac 02:00:00:00:00:01 -j mangle --mangle-ip-s 10.9.9.9",
                "arptables-nft -D OUTPUT 1; arptables-nft -A OUTPUT --source-mac 02:00:00:00:00:01 -j mangle --mangle-ip-s 10.9.9.8",
                &[
                    "modified rule arp filter/OUTPUT: -A OUTPUT -j mangle --src-mac 02:00:00:00:00:01 --mangle-ip-s 10.9.9.9 -> -A OUTPUT -j mangle --src-mac 02:00:00:00:00:01 --mangle-ip-s 10.9.9.8",
                ],
            ),
            (
                "a policy",
                "arptables-nft -A INPUT -i eth0 -j ACCEPT",
                "arptables-nft -P INPUT DROP",
                &["modified chain arp filter/INPUT: :INPUT ACCEPT -> :INPUT DROP"],
            ),
            (
                "a chain of its own",
                "arptables-nft -N own; arptables-nft -A own -j MARK --set-mark 5; arptables-nft -A INPUT -j own",
                "arptables-nft -F own; arptables-nft -A own -j MARK --set-mark 6",
                &["modified rule arp filter/own: -A own -j MARK --set-mark 5 -> -A own -j MARK --set-mark 6"],
            ),
        ],
        of("arptables", false),
    );
}

#[test]
fn ebtables_nft_rules_are_shown_in_its_own_syntax_also_where_nft_is_blind() {
    hold(
        &[
            (
                "added",
                "ebtables-nft -P FORWARD DROP; ebtables-nft -A FORWARD -p ARP -j ACCEPT",
                "ebtables-nft -A FORWARD -p IPv4 --ip-src 10.0.0.1 --ip-proto tcp --ip-dport 22 -j ACCEPT",
                &[
                    "added rule bridge filter/FORWARD: - -> -A FORWARD -p IPv4 --ip-src 10.0.0.1 --ip-proto tcp --ip-dport 22 -j ACCEPT",
                ],
            ),
            (
                "a type of spanning tree message",
                "ebtables-nft -A FORWARD -d BGA --stp-type 1 -j DROP",
                "ebtables-nft -F FORWARD; ebtables-nft -A FORWARD -d BGA --stp-type 2 -j DROP",
                &[
                    "modified rule bridge filter/FORWARD: -A FORWARD -d BGA --stp-type 1 -j DROP -> -A FORWARD -d BGA --stp-type 2 -j DROP",
                ],
            ),
            (
                "the answer to an ARP request, in nat",
                "ebtables-nft -t nat -A PREROUTING -p ARP --arp-ip-dst 10.0.0.9 -j arpreply --arpreply-mac 02:00:00:00:00:09",
                "ebtables-nft -t nat -F; ebtables-nft -t nat -A PREROUTING -p ARP --arp-ip-dst 10.0.0.9 -j arpreply --arpreply-mac 02:00:00:00:00:0a",
                &[
                    "modified rule bridge nat/PREROUTING: -A PREROUTING -p ARP --arp-ip-dst 10.0.0.9 -j arpreply --arpreply-mac 02:00:00:00:00:09 -> -A PREROUTING -p ARP --arp-ip-dst 10.0.0.9 -j arpreply --arpreply-mac 02:00:00:00:00:0a",
                ],
            ),
            (
                "an address among others",
                "ebtables-nft -A INPUT --among-src 02:00:00:00:00:01=10.0.0.1,02:00:00:00:00:02=10.0.0.2 -j DROP",
                "ebtables-nft -F INPUT; ebtables-nft -A INPUT --among-src 02:00:00:00:00:01=10.0.0.1,02:00:00:00:00:02=10.0.0.3 -j DROP",
                &[
                    "modified rule bridge filter/INPUT: -A INPUT --among-src 2:0:0:0:0:1=10.0.0.1,2:0:0:0:0:2=10.0.0.2 -j DROP -> -A INPUT --among-src 2:0:0:0:0:1=10.0.0.1,2:0:0:0:0:2=10.0.0.3 -j DROP",
                ],
            ),
            (
                "a mark, a tag and a rewritten address",
                "ebtables-nft -A INPUT -p 802_1Q --vlan-id 5 -j mark --mark-set 7 --mark-target ACCEPT; ebtables-nft -t nat -A POSTROUTING -j snat --to-src 02:00:00:00:00:0a --snat-target ACCEPT",
                "ebtables-nft -F INPUT; ebtables-nft -A INPUT -p 802_1Q --vlan-id 6 -j mark --mark-set 7 --mark-target ACCEPT; ebtables-nft -t nat -F POSTROUTING; ebtables-nft -t nat -A POSTROUTING -j snat --to-src 02:00:00:00:00:0b --snat-target ACCEPT",
                &[
                    "modified rule bridge filter/INPUT: -A INPUT -p 802_1Q --vlan-id 5 -j mark --mark-set 0x7 --mark-target ACCEPT -> -A INPUT -p 802_1Q --vlan-id 6 -j mark --mark-set 0x7 --mark-target ACCEPT",
                    "modified rule bridge nat/POSTROUTING: -A POSTROUTING -j snat --to-src 02:00:00:00:00:0a --snat-target ACCEPT -> -A POSTROUTING -j snat --to-src 02:00:00:00:00:0b --snat-target ACCEPT",
                ],
            ),
            (
                "a limit and a log prefix",
                "ebtables-nft -A INPUT --limit 5/s --limit-burst 3 -j ACCEPT; ebtables-nft -A INPUT --log-level info --log-prefix 'one two' -j CONTINUE",
                "ebtables-nft -F INPUT; ebtables-nft -A INPUT --limit 5/s --limit-burst 4 -j ACCEPT; ebtables-nft -A INPUT --log-level info --log-prefix 'one two' -j CONTINUE",
                &[
                    "modified rule bridge filter/INPUT: -A INPUT --limit 5/sec --limit-burst 3 -j ACCEPT -> -A INPUT --limit 5/sec --limit-burst 4 -j ACCEPT",
                ],
            ),
            (
                "the policy of a chain of one's own, which is its last rule",
                "ebtables-nft -N own -P DROP; ebtables-nft -A own -p ARP -j ACCEPT; ebtables-nft -A FORWARD -j own",
                "ebtables-nft -P own ACCEPT",
                &["modified rule bridge filter/own: :own DROP -> :own ACCEPT"],
            ),
            (
                "a policy",
                "ebtables-nft -A FORWARD -i eth0 -j ACCEPT",
                "ebtables-nft -P FORWARD DROP",
                &["modified chain bridge filter/FORWARD: :FORWARD ACCEPT -> :FORWARD DROP"],
            ),
        ],
        of("ebtables", false),
    );
}

#[test]
fn their_baselines_are_files_in_their_own_format_and_a_restart_from_them_is_in_sync() {
    const ARP: &str = "arptables-nft -P OUTPUT DROP; arptables-nft -N own; arptables-nft -A own -s 10.0.0.1 -j ACCEPT; arptables-nft -A INPUT -j own";
    const BRIDGE: &str = "ebtables-nft -N own -P DROP; ebtables-nft -N back -P RETURN; ebtables-nft -N go; ebtables-nft -A own -p ARP --arp-op Request -j ACCEPT; ebtables-nft -A FORWARD -d BGA --stp-type 1 -j own; ebtables-nft -t nat -A OUTPUT -j ACCEPT";
    let host = Host::bare();
    host.sh(ARP);
    host.sh(BRIDGE);
    host.run(&["init"]).ended(0);
    assert_eq!(baseline(&host), ["arptables/nft.rules", "ebtables/nft.rules"]);
    let file = |name: &str| std::fs::read_to_string(host.repo().join("baselines/db-01").join(name)).unwrap();
    assert_eq!(
        file("arptables/nft.rules"),
        "*filter\n:INPUT ACCEPT\n:OUTPUT DROP\n:own -\n-A INPUT -j own\n-A own -j ACCEPT -s 10.0.0.1\n"
    );
    assert!(file("ebtables/nft.rules").contains(":own DROP\n"), "{}", file("ebtables/nft.rules"));
    // A boot: nothing is left but the files.
    host.sh("nft flush ruleset");
    assert_eq!(host.changes().len(), 3);
    let directory = host.repo().join("baselines/db-01");
    let directory = directory.to_str().unwrap();
    host.sh(&format!("arptables-nft-restore <{directory}/arptables/nft.rules; ebtables-nft-restore <{directory}/ebtables/nft.rules"));
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
}

#[test]
fn files_of_arptables_save_and_ebtables_save_are_adopted_as_what_they_are() {
    for (save, restore, rules) in [
        ("arptables-nft-save", "arptables-nft-restore", "arptables-nft -A INPUT -s 10.0.0.1 -j DROP"),
        (
            "ebtables-nft-save",
            "ebtables-nft-restore",
            "ebtables-nft -A INPUT -p IPv4 --ip-src 10.0.0.1 -j DROP",
        ),
    ] {
        for headless in [false, true] {
            let host = Host::bare();
            host.sh(rules);
            let mut saved = host.sh(save);
            if headless {
                saved =
                    saved.lines().filter(|line| !line.starts_with('#')).map(|l| format!("{l}\n")).collect();
                saved = saved.replace("-s 10.0.0.1", "-s 10.0.0.1 --h-length 6");
            }
            let name = if headless { "firewall.save".to_owned() } else { format!("{save}.txt") };
            let path = host.file(&name, &saved);
            host.run(&["init", "--from", &path]).ended(0);
            assert_eq!(lines(&host.changes()), Vec::<String>::new(), "{save}: {saved}");
            assert_eq!(baseline(&host), [format!("{}/nft.rules", restore.split('-').next().unwrap())]);
        }
    }
}

#[test]
fn native_rules_in_tables_of_these_names_are_shown_as_nft_prints_them() {
    let host = Host::new(
        "table bridge filter { chain FORWARD { type filter hook forward priority -200; policy accept; ether type ip accept; }; }",
    );
    host.nft("add rule bridge filter FORWARD ether saddr { 02:00:00:00:00:01, 02:00:00:00:00:02 } drop");
    let changes = host.changes();
    assert_eq!(changes.len(), 1, "{changes:#?}");
    let found = line(&changes[0]);
    assert!(
        found.contains("02:00:00:00:00:01, 02:00:00:00:00:02") && !found.contains("-A FORWARD"),
        "{found}"
    );
}

#[test]
fn who_changed_a_table_of_ebtables_or_arptables_is_known() {
    let host = Host::audited("table inet t {}");
    host.login(3_100_005, "ebtables-nft -A FORWARD -p ARP -j DROP; exit $?");
    host.login(3_100_006, "arptables-nft -A INPUT -s 10.0.0.1 -j DROP; exit $?");
    let legacy = has_arptables_legacy();
    if legacy {
        host.login(3_100_007, "arptables-legacy -A INPUT -s 10.0.0.2 -j DROP; exit $?");
    }
    let events = host.record();
    let changes: Vec<&Value> = events.iter().flat_map(|event| event["changes"].as_array().unwrap()).collect();
    let author = |source: &str, old: bool| {
        let mut found = changes.iter().filter(|c| c["source"] == source && (c["legacy"] == true) == old);
        found.next().unwrap_or_else(|| panic!("{source}: {events:#?}"))["author"]["name"].clone()
    };
    assert_eq!(author("ebtables", false), "uid 3100005");
    assert_eq!(author("arptables", false), "uid 3100006");
    if legacy {
        // x_tables has no generations, and the collector follows those.
        assert_eq!(author("arptables", true), "unknown");
    }
}

#[test]
fn arptables_legacy_rules_added_removed_changed_and_policies_are_named() {
    if !has_arptables_legacy() {
        return;
    }
    hold(
        &[
            (
                "added",
                "arptables-legacy -A INPUT -s 10.0.0.1 -i eth0 -j DROP",
                "arptables-legacy -A INPUT -s 10.0.0.2 -j DROP",
                &["added rule arp filter/INPUT: - -> -A INPUT -j DROP -s 10.0.0.2"],
            ),
            (
                "a rule without a condition",
                "arptables-legacy -A INPUT -j ACCEPT",
                "arptables-legacy -A INPUT",
                &["added rule arp filter/INPUT: - -> -A INPUT"],
            ),
            (
                "changed in a chain of its own",
                "arptables-legacy -N own; arptables-legacy -A own ! -s 10.0.0.5 --h-length 6 -j MARK --set-mark 5; arptables-legacy -A own --dst-mac 02:00:00:00:00:01/ff:ff:ff:00:00:00 -o br+ -j RETURN; arptables-legacy -A INPUT -j own",
                "arptables-legacy -D own 1; arptables-legacy -I own ! -s 10.0.0.5 --h-length 6 -j MARK --set-mark 6",
                &[
                    "modified rule arp filter/own: -A own -j MARK ! -s 10.0.0.5 --h-length 6 --set-mark 5 -> -A own -j MARK ! -s 10.0.0.5 --h-length 6 --set-mark 6",
                ],
            ),
            (
                "what mangle writes",
                "arptables-legacy -A OUTPUT --opcode 1 -j mangle --mangle-ip-s 10.9.9.9; arptables-legacy -A OUTPUT -j CLASSIFY --set-class 1:2",
                "arptables-legacy -F OUTPUT; arptables-legacy -A OUTPUT --opcode 1 -j mangle --mangle-ip-s 10.9.9.8; arptables-legacy -A OUTPUT -j CLASSIFY --set-class 1:2",
                &[
                    "modified rule arp filter/OUTPUT: -A OUTPUT -j mangle --opcode 1 --mangle-ip-s 10.9.9.9 -> -A OUTPUT -j mangle --opcode 1 --mangle-ip-s 10.9.9.8",
                ],
            ),
            (
                "a policy",
                "arptables-legacy -A INPUT -j ACCEPT",
                "arptables-legacy -P OUTPUT DROP",
                &["modified chain arp filter/OUTPUT: :OUTPUT ACCEPT -> :OUTPUT DROP"],
            ),
        ],
        of("arptables", true),
    );
}

#[test]
fn the_baseline_of_arptables_legacy_is_a_file_and_a_change_beside_the_same_table_of_nft_is_told_apart() {
    if !has_arptables_legacy() {
        return;
    }
    let host = Host::bare();
    host.sh("arptables-legacy -A INPUT -s 10.0.0.1 -j DROP; arptables-nft -A INPUT -s 10.0.0.1 -j DROP");
    host.run(&["init"]).ended(0);
    assert_eq!(baseline(&host), ["arptables/legacy.rules", "arptables/nft.rules"]);
    host.sh("arptables-legacy -A INPUT -s 10.0.0.2 -j DROP");
    let changes = host.changes();
    assert_eq!(lines(&changes), ["added rule arp filter/INPUT: - -> -A INPUT -j DROP -s 10.0.0.2"]);
    assert_eq!(changes[0]["legacy"], true);
}

#[test]
fn what_a_rule_of_arptables_legacy_cuts_is_told_and_where_it_cannot_be_that_is_told() {
    if !has_arptables_legacy() {
        return;
    }
    let host = Host::bare();
    host.sh("arptables-legacy -A INPUT -s 10.0.0.1 -j DROP");
    host.run(&["init"]).ended(0);
    host.sh("arptables-legacy -A INPUT -s 10.0.0.2 -j DROP");
    let changes = host.changes();
    let effect = &changes[0]["impact"][0];
    assert_eq!((&effect["effect"], &effect["family"]), (&"cut".into(), &"arp".into()), "{changes:#?}");
    let statement = effect["statement"].as_str().unwrap();
    assert!(
        statement.contains("10.0.0.2") && statement.contains("-A INPUT -j DROP -s 10.0.0.2"),
        "{statement}"
    );
}
