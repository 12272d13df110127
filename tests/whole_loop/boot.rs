//! `boot` is what the host's own files and tools would make: in a private root directory, with the real tools.
//! `check --boot` tells what was never saved from what was never loaded.

use crate::support::{Host, RULES, line, lines, snapshot};
use serde_json::Value;

/// Debian's unit, enabled as `systemctl enable` does it.
pub fn enable_nftables(host: &Host) {
    let unit = "[Unit]\nBefore=network-pre.target\n[Service]\nType=oneshot\n\
                ExecStart=/usr/sbin/nft -f /etc/nftables.conf\nExecStop=/usr/sbin/nft flush ruleset\n";
    enable(host, "nftables", unit);
}

pub fn enable(host: &Host, name: &str, unit: &str) {
    host.file(&format!("root/lib/systemd/system/{name}.service"), unit);
    let wants = host.path("root/etc/systemd/system/sysinit.target.wants");
    std::fs::create_dir_all(&wants).unwrap();
    let target = format!("/lib/systemd/system/{name}.service");
    std::os::unix::fs::symlink(target, wants.join(format!("{name}.service"))).unwrap();
}

pub fn root(host: &Host) -> String {
    let root = host.path("root");
    std::fs::create_dir_all(&root).unwrap();
    root.to_str().unwrap().to_owned()
}

/// `diff boot live`: the differences, the gaps, and the services.
#[track_caller]
pub fn boot_to_live(host: &Host) -> (Vec<String>, Vec<Value>, Vec<Value>) {
    let run = host.run(&["diff", "boot", "live", "--boot-root", &root(host), "--format", "json"]);
    let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let list = |value: &Value| value.as_array().unwrap().clone();
    (lines(&list(&result["changes"])), list(&result["gaps"]), list(&result["from"]["providers"]))
}

/// `check --boot`: the field, with this exit code.
#[track_caller]
fn check_boot(host: &Host, code: i32) -> Value {
    let args = ["check", "--boot", "--boot-root", &root(host), "--format", "json"];
    let result: Value = serde_json::from_str(&host.run(&args).ended(code)).unwrap();
    result["boot"].clone()
}

#[track_caller]
fn text(host: &Host, code: i32) -> String {
    host.run(&["check", "--boot", "--boot-root", &root(host)]).ended(code)
}

/// state, approved, and the line of each difference.
fn told(boot: &Value) -> Vec<String> {
    let changes = boot["changes"].as_array().unwrap().iter();
    let word = |change: &Value, field: &str| change[field].as_str().unwrap().to_owned();
    changes.map(|c| format!("{} {} {}", word(c, "state"), word(c, "approved"), line(c))).collect()
}

fn nftables_conf(host: &Host, rules: &str) {
    host.file("root/etc/nftables.conf", &format!("#!/usr/sbin/nft -f\n\nflush ruleset\n{rules}"));
}

const ADDED: &str = "add rule inet filter input tcp dport 5432 accept";

fn with(rule: &str) -> String {
    RULES.replace("tcp dport 3306 accept\n", &format!("tcp dport 3306 accept\n        {rule}\n"))
}

#[test]
fn saved_and_loaded_and_approved_is_in_sync() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    nftables_conf(&host, RULES);
    let boot = check_boot(&host, 0);
    assert_eq!((&boot["verdict"], told(&boot)), (&"in_sync".into(), vec![]));
    assert_eq!(boot["providers"][0]["name"], "nftables");
    assert_eq!(
        boot["providers"][0]["enabled_by"],
        "/etc/systemd/system/sysinit.target.wants/nftables.service"
    );
    assert_eq!(boot["providers"][0]["files"], serde_json::json!(["/etc/nftables.conf"]));
    assert!(text(&host, 0).contains("the next boot would bring the approved state"));
    assert!(!host.run(&["check", "--format", "json"]).ended(0).contains("\"boot\""));
}

#[test]
fn a_live_rule_that_was_never_saved_would_be_lost() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    nftables_conf(&host, RULES);
    host.nft(ADDED);
    let rule = "added rule inet filter/input: - -> tcp dport 5432 accept";
    // Unapproved: a boot would put right what drifted.
    let boot = check_boot(&host, 1);
    assert_eq!((&boot["verdict"], told(&boot)), (&"in_sync".into(), vec![format!("not_saved boot {rule}")]));
    assert!(text(&host, 1).contains("would lose (live only: neither approved nor saved)"));
    // What booting does, seen from the live state.
    let effect = &boot["changes"][0]["impact"][0];
    let (statement, was) = (effect["statement"].as_str().unwrap(), &effect["was"]["text"]);
    assert!(statement.starts_with("cut  tcp any → any:5432, new connections"), "{statement}");
    assert_eq!((was, &effect["now"]["text"]), (&"tcp dport 5432 accept".into(), &"policy drop".into()));
    assert!(text(&host, 1).contains("cut     tcp any → any:5432"));
    // Approved: a boot would lose an approved rule.
    host.run(&["approve", "--yes", "-m", "the database"]).ended(0);
    host.run(&["check"]).ended(0);
    let boot = check_boot(&host, 1);
    assert_eq!((&boot["verdict"], told(&boot)), (&"drift".into(), vec![format!("not_saved live {rule}")]));
    let said = text(&host, 1);
    assert!(
        said.contains("at the next boot this host would lose (approved and live, never saved)"),
        "{said}"
    );
    assert!(said.contains("tcp dport 5432 accept"), "{said}");
}

#[test]
fn a_saved_rule_that_was_never_loaded_would_come() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    nftables_conf(&host, &with("tcp dport 5432 accept"));
    let boot = check_boot(&host, 1);
    let rule = "removed rule inet filter/input: tcp dport 5432 accept -> -";
    assert_eq!((&boot["verdict"], told(&boot)), (&"drift".into(), vec![format!("not_loaded live {rule}")]));
    assert!(text(&host, 1).contains("would come (saved but never loaded, and not approved)"));
    let effect = &boot["changes"][0]["impact"][0];
    assert_eq!((&effect["effect"], &effect["now"]["provenance"]), (&"opened".into(), &Value::Null));
    assert_eq!(boot["changes"][0]["severity"], "critical");
}

#[test]
fn an_approved_rule_that_is_missing_now_would_come_back() {
    let host = Host::new(&with("tcp dport 5432 accept"));
    enable_nftables(&host);
    nftables_conf(&host, &with("tcp dport 5432 accept"));
    host.nft("flush chain inet filter input");
    for rule in ["ct state established,related accept", "iifname lo accept", "tcp dport 22 accept"] {
        host.nft(&format!("add rule inet filter input {rule}"));
    }
    let boot = check_boot(&host, 1);
    assert_eq!(boot["verdict"], "in_sync");
    let told = told(&boot);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.starts_with("not_saved boot removed rule")), "{told:?}");
    assert!(text(&host, 1).contains("would come back (approved, and missing now)"));
}

#[test]
fn a_modified_rule_is_told_by_the_side_that_left_what_is_approved() {
    let changed = |port: &str| RULES.replace("dport 3306", &format!("dport {port}"));
    for (live, saved, state, verdict) in [
        ("3307", "3306", "not_saved boot", "in_sync"),
        ("3306", "3307", "not_loaded live", "drift"),
        ("3307", "3308", "both_changed neither", "drift"),
    ] {
        let host = Host::new(RULES);
        enable_nftables(&host);
        nftables_conf(&host, &changed(saved));
        host.nft(&format!("flush ruleset; {}", changed(live)));
        let boot = check_boot(&host, 1);
        let rule = format!(
            "{state} modified rule inet filter/input: tcp dport {saved} accept -> tcp dport {live} accept"
        );
        assert_eq!((&boot["verdict"], told(&boot)), (&verdict.into(), vec![rule]));
        assert!(text(&host, 1).contains("at the next boot would change"));
    }
}

#[test]
fn a_whole_table_that_nobody_saved_is_told_apart_by_its_approval() {
    let host = Host::new(&format!("{RULES}\ntable ip own {{ chain c {{ accept; }}; }}\n"));
    enable_nftables(&host);
    nftables_conf(&host, RULES);
    host.nft("add table ip new; add chain ip new c; add rule ip own c drop");
    let boot = check_boot(&host, 1);
    let told = told(&boot);
    assert!(told.iter().any(|line| line.starts_with("not_saved boot added table ip new")), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("not_saved neither added table ip own")), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn nothing_enabled_loads_nothing_and_it_is_said() {
    let host = Host::new(RULES);
    nftables_conf(&host, RULES);
    let boot = check_boot(&host, 1);
    assert_eq!(boot["providers"], serde_json::json!([]));
    assert!(told(&boot)[0].starts_with("not_saved live added table inet filter"), "{boot}");
    let said = text(&host, 1);
    assert!(said.contains("nothing loads a firewall at boot"), "{said}");
}

#[test]
fn a_masked_unit_loads_nothing() {
    let host = Host::new("");
    enable_nftables(&host);
    nftables_conf(&host, RULES);
    assert_eq!(boot_to_live(&host).0.len(), 1);
    std::os::unix::fs::symlink("/dev/null", host.path("root/etc/systemd/system/nftables.service")).unwrap();
    assert_eq!(boot_to_live(&host), (vec![], vec![], vec![]));
}

#[test]
fn includes_stay_inside_the_root_and_a_drop_in_names_another_file() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    host.file(
        "root/etc/systemd/system/nftables.service.d/x.conf",
        "[Service]\nExecStart=\nExecStart=/usr/sbin/nft -f /etc/fw/main.nft\n",
    );
    host.file(
        "root/etc/fw/main.nft",
        "flush ruleset\ninclude \"/etc/fw/defs.nft\"\ninclude \"fw/d/*.nft\"\n",
    );
    host.file("root/etc/fw/defs.nft", "define db = 3306\n");
    host.file("root/etc/fw/d/10.nft", &RULES.replace("3306", "$db"));
    assert_eq!(boot_to_live(&host).0, Vec::<String>::new());
    assert_eq!(boot_to_live(&host).2[0]["files"], serde_json::json!(["/etc/fw/main.nft"]));
}

#[test]
fn a_file_that_nft_refuses_is_said_with_its_line_and_nothing_of_it_counts_as_loaded() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    nftables_conf(&host, "table inet filter { chain input { tcp dport 22 acept; }; }\n");
    let boot = check_boot(&host, 1);
    let gap = &boot["gaps"][0];
    assert_eq!(gap["source"], "boot: nftables");
    let reason = gap["reason"].as_str().unwrap();
    assert!(reason.contains("/etc/nftables.conf") && reason.contains("acept"), "{reason}");
    assert!(!reason.contains("fwdrift-"), "a scratch path: {reason}");
    assert!(told(&boot)[0].starts_with("not_saved live added table inet filter"), "{boot}");
}

#[test]
fn netfilter_persistent_restores_what_its_plugins_restore() {
    let host = Host::new("");
    host.sh(
        "iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT; ip6tables-nft -P INPUT DROP",
    );
    let unit = "[Service]\nExecStart=/usr/sbin/netfilter-persistent start\n";
    enable(&host, "netfilter-persistent", unit);
    host.file("root/etc/iptables/rules.v4", &host.sh("iptables-nft-save"));
    host.file("root/etc/iptables/rules.v6", &host.sh("ip6tables-nft-save"));
    let (_, gaps, _) = boot_to_live(&host);
    assert!(gaps[0]["reason"].as_str().unwrap().contains("no plugins"), "{gaps:?}");
    for plugin in ["15-ip4tables", "25-ip6tables"] {
        host.file(&format!("root/usr/share/netfilter-persistent/plugins.d/{plugin}"), "#!/bin/sh\n");
    }
    let (changes, gaps, providers) = boot_to_live(&host);
    assert_eq!((changes, gaps), (vec![], vec![]));
    assert_eq!(
        providers[0]["files"],
        serde_json::json!(["/etc/iptables/rules.v4", "/etc/iptables/rules.v6"])
    );
    host.sh("iptables-nft -A INPUT -p udp --dport 53 -j ACCEPT");
    assert_eq!(
        boot_to_live(&host).0,
        ["added rule ip filter/INPUT: - -> -A INPUT -p udp -m udp --dport 53 -j ACCEPT"]
    );
    host.file("root/usr/share/netfilter-persistent/plugins.d/50-own", "#!/bin/sh\n");
    assert_eq!(boot_to_live(&host).1[0]["blinds_verdict"], true);
}

#[test]
fn a_set_of_ipset_is_there_before_the_rule_that_needs_it() {
    let host = Host::new("");
    enable(&host, "iptables", "[Service]\nExecStart=/usr/libexec/iptables/iptables.init start\n");
    enable(&host, "ipset", "[Service]\nExecStart=/usr/libexec/ipset/ipset.start-stop start\n");
    host.file("root/etc/sysconfig/ipset", "create bl hash:ip\nadd bl 192.0.2.1\n");
    let rules = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n\
                 -A INPUT -m set --match-set bl src -j DROP\nCOMMIT\n";
    host.file("root/etc/sysconfig/iptables", rules);
    let refused = |gaps: &[Value]| gaps.iter().any(|gap| gap["source"].to_string().contains("boot"));
    let (changes, gaps, _) = boot_to_live(&host);
    assert!(!refused(&gaps), "{gaps:?}");
    assert!(changes.iter().any(|line| line.starts_with("removed table ip filter")), "{changes:?}");
    let root = root(&host);
    host.sh(&format!("ipset restore < {root}/etc/sysconfig/ipset"));
    host.sh(&format!("iptables-nft-restore < {root}/etc/sysconfig/iptables"));
    assert_eq!(boot_to_live(&host).0, Vec::<String>::new());
    // Without the set, the rules are refused here as they would be at boot.
    std::fs::remove_file(host.path("root/etc/sysconfig/ipset")).unwrap();
    let (changes, gaps, _) = boot_to_live(&host);
    assert!(refused(&gaps) && !changes.is_empty(), "{gaps:?}");
}

#[test]
fn services_whose_rules_cannot_be_made_here_are_named_and_their_tables_are_not_called_lost() {
    let host = Host::new(RULES);
    enable(&host, "firewalld", "[Service]\nExecStart=/usr/sbin/firewalld --nofork --nopid\n");
    enable(&host, "docker", "[Service]\nExecStart=/usr/bin/dockerd\n");
    host.nft("add table inet firewalld; add chain inet firewalld x; add table ip nat; add table ip other");
    let (changes, gaps, _) = boot_to_live(&host);
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(changes.iter().all(|line| line.contains("inet filter") || line.contains("ip other")));
    let named = |name: &str| gaps.iter().find(|gap| gap["source"] == format!("boot: {name}")).unwrap();
    assert_eq!(named("firewalld")["blinds_verdict"], true);
    assert_eq!(named("docker")["blinds_verdict"], false);
}

#[test]
fn rules_that_a_shell_line_or_a_hook_loads_make_the_boot_state_unknown() {
    let shell = "[Service]\nExecStart=/bin/sh -c '/usr/sbin/iptables-restore < /root/rules'\n";
    let hook = "iface eth0 inet dhcp\n  pre-up iptables-restore < /etc/iptables.rules\n";
    for source in ["boot: own", "boot: /etc/network/interfaces", "boot: /etc/rc.local"] {
        let host = Host::new(RULES);
        if source.ends_with("own") {
            enable(&host, "own", shell);
        } else if source.ends_with("interfaces") {
            host.file("root/etc/network/interfaces", hook);
        } else {
            let path = host.file("root/etc/rc.local", "#!/bin/sh\nnft -f /root/rules.nft\n");
            host.sh(&format!("chmod 755 {path}"));
        }
        let boot = check_boot(&host, 2);
        assert_eq!((&boot["verdict"], told(&boot)), (&"unknown".into(), vec![]), "{source}");
        assert_eq!(boot["gaps"][0]["source"], source);
    }
    let host = Host::new("");
    host.file("root/etc/rc.local", "#!/bin/sh\n# nft -f /root/rules.nft\nexit 0\n");
    assert_eq!(boot_to_live(&host), (vec![], vec![], vec![]));
}

#[test]
fn two_services_without_an_order_of_which_one_flushes_cannot_be_told() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    nftables_conf(&host, RULES);
    enable(&host, "zz", "[Service]\nExecStart=/usr/sbin/nft -f /etc/zz.nft\n");
    host.file("root/etc/zz.nft", "table ip zz { }\n");
    let (_, gaps, _) = boot_to_live(&host);
    assert!(gaps[0]["reason"].as_str().unwrap().contains("chance"), "{gaps:?}");
    host.file("root/etc/systemd/system/zz.service.d/after.conf", "[Unit]\nAfter=nftables.service\n");
    let (changes, gaps, _) = boot_to_live(&host);
    assert_eq!(gaps, Vec::<Value>::new());
    assert_eq!(changes.len(), 1);
    host.file("root/etc/systemd/system/zz.service.d/after.conf", "[Unit]\nBefore=nftables.service\n");
    assert_eq!(boot_to_live(&host).0, Vec::<String>::new(), "nftables flushes what came before");
}

#[test]
fn runlevels_of_openrc_load_their_files() {
    let host = Host::new(RULES);
    host.file("root/etc/nftables.nft", &format!("flush ruleset\n{RULES}"));
    host.file("root/etc/runlevels/default/nftables", "");
    let (changes, gaps, providers) = boot_to_live(&host);
    assert_eq!((changes, gaps), (vec![], vec![]));
    assert_eq!(providers[0]["enabled_by"], "/etc/runlevels/default/nftables");
}

#[test]
fn counters_and_dynamic_elements_are_no_difference() {
    let rules = "table inet f { counter hits { }; set seen { type ipv4_addr; flags dynamic,timeout; \
                 timeout 1h; }; chain c { type filter hook output priority 0; counter name hits; counter; \
                 add @seen { ip daddr }; }; }\n";
    let host = Host::new(rules);
    enable_nftables(&host);
    nftables_conf(&host, rules);
    host.sh("ip link set lo up; ping -c 1 -W 1 127.0.0.1 >/dev/null || true");
    host.nft("add element inet f seen { 192.0.2.7 }");
    let boot = check_boot(&host, 0);
    assert_eq!(told(&boot), Vec::<String>::new());
}

#[test]
fn reading_the_boot_state_touches_neither_the_live_state_nor_the_files() {
    let host = Host::new(RULES);
    enable_nftables(&host);
    nftables_conf(&host, &with("tcp dport 5432 accept"));
    let before = (snapshot(&host.path("root")), snapshot(&host.repo()), host.check(0)["generation"].clone());
    check_boot(&host, 1);
    boot_to_live(&host);
    let after = (snapshot(&host.path("root")), snapshot(&host.repo()), host.check(0)["generation"].clone());
    assert_eq!(before, after);
}
