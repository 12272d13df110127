//! ufw's part of a boot is what `ufw enable` makes live, and rendering it can touch nothing of the host.

use crate::boot::{boot_to_live, enable, root};
use crate::support::{Host, snapshot};
use std::path::Path;

/// A root with ufw's own files and these changes to its configuration, enabled at boot. None without ufw.
fn ufw(setup: &str) -> Option<Host> {
    if !Path::new("/usr/sbin/ufw").exists() {
        let message = "ufw is not installed: its boot state is NOT TESTED";
        assert!(std::env::var_os("CI").is_none(), "{message}");
        eprintln!("SKIPPED: {message}");
        return None;
    }
    let host = Host::new("");
    let root = root(&host);
    host.sh(&format!(
        "umask 022; cd {root}; mkdir -p etc/default etc/ufw/applications.d lib/ufw usr/share
         for scripts in /lib/ufw /usr/lib/ufw; do [ -d $scripts ] && cp $scripts/ufw-init* lib/ufw; done
         cp -r /usr/share/ufw usr/share; cp usr/share/ufw/iptables/*.rules usr/share/ufw/ufw.conf etc/ufw
         cp /etc/default/ufw etc/default; sed -i s/^IPT_SYSCTL=.*/IPT_SYSCTL=/ etc/default/ufw; {setup}"
    ));
    enable(&host, "ufw", "[Service]\nExecStart=/lib/ufw/ufw-init start quiet\n");
    Some(host)
}

/// The real program on the private root, inside the namespace.
fn command(host: &Host, args: &str) -> String {
    let root = root(host);
    host.sh(&format!("ufw --rootdir={root} --datadir={root} {args}"))
}

#[test]
fn the_boot_state_is_what_enabling_makes_live() {
    for setup in [
        "",
        "sed -i 's/^IPV6=.*/IPV6=no/' etc/default/ufw",
        "sed -i 's/^DEFAULT_INPUT_POLICY=.*/DEFAULT_INPUT_POLICY=\"REJECT\"/' etc/default/ufw",
        "sed -i 's/^MANAGE_BUILTINS=.*/MANAGE_BUILTINS=yes/' etc/default/ufw",
    ] {
        let Some(host) = ufw(setup) else { return };
        command(&host, "allow 22/tcp");
        command(&host, "limit from 10.0.0.0/8 to any port 3306");
        command(&host, "--force enable");
        assert!(host.sh("nft list ruleset").contains("ufw-user-input"));
        let (changes, gaps, providers) = boot_to_live(&host);
        assert_eq!((changes, gaps), (vec![], vec![]), "{setup}");
        assert_eq!(providers[0]["name"], "ufw");
        command(&host, "deny 23/tcp");
        assert_eq!(boot_to_live(&host).0, Vec::<String>::new(), "ufw saves what it loads");
        host.sh("iptables-nft -I ufw-user-input -p tcp --dport 8080 -j ACCEPT");
        let (changes, ..) = boot_to_live(&host);
        assert_eq!(changes.len(), 1, "{changes:?}");
        assert!(changes[0].starts_with("added rule ip filter/ufw-user-input"), "{changes:?}");
    }
}

#[test]
fn a_disabled_ufw_loads_nothing() {
    let Some(host) = ufw("") else { return };
    assert_eq!(boot_to_live(&host), (vec![], vec![], vec![]));
}

#[test]
fn rendering_touches_no_setting_no_file_and_no_namespace_whatever_the_script_does() {
    let setup = "sed -i s/^ENABLED=.*/ENABLED=yes/ etc/ufw/ufw.conf
        sed -i \"s|^IPT_SYSCTL=.*|IPT_SYSCTL=$PWD/etc/ufw/sysctl.conf|\" etc/default/ufw
        echo net.ipv4.conf.all.log_martians=1 > etc/ufw/sysctl.conf
        mkdir touched; chmod 755 touched
        echo \"echo 1 > /proc/sys/net/ipv4/conf/all/log_martians\" >> lib/ufw/ufw-init-functions
        echo \"echo 7 > /proc/sys/kernel/printk_ratelimit_burst\" >> lib/ufw/ufw-init-functions
        echo \"touch $PWD/touched/file\" >> lib/ufw/ufw-init-functions
        echo \"nsenter --net=/proc/1/ns/net true && nft add table ip nsentered\" >> lib/ufw/ufw-init-functions
        sed -i 's/^set -e$//' lib/ufw/*";
    let Some(host) = ufw(setup) else { return };
    let settings = "cat /proc/sys/net/ipv4/conf/all/log_martians /proc/sys/kernel/printk_ratelimit_burst";
    let before = (host.sh(settings), snapshot(&host.path("root")), host.check(0)["generation"].clone());
    let (changes, ..) = boot_to_live(&host);
    // It ran.
    assert!(changes.iter().any(|line| line.contains("ufw-before-input")), "{changes:?}");
    let after = (host.sh(settings), snapshot(&host.path("root")), host.check(0)["generation"].clone());
    assert_eq!(before, after);
}

#[test]
fn hooks_commands_in_the_configuration_and_writable_scripts_are_not_run_but_named() {
    for (setup, words) in [
        ("cp usr/share/ufw/before.init etc/ufw; chmod 755 etc/ufw/before.init", "before.init"),
        ("echo 'IPV6=$(touch /tmp/x)' >> etc/default/ufw", "no plain assignment"),
        ("chmod 777 lib/ufw/ufw-init-functions", "written by others"),
        ("rm -r lib/ufw", "not found"),
    ] {
        let Some(host) = ufw(&format!("sed -i s/^ENABLED=.*/ENABLED=yes/ etc/ufw/ufw.conf\n{setup}")) else {
            return;
        };
        host.nft("add table ip filter; add chain ip filter INPUT");
        let (changes, gaps, _) = boot_to_live(&host);
        // What ufw makes is not known: nothing is called lost.
        assert_eq!(changes, Vec::<String>::new(), "{setup}");
        assert!(gaps[0]["reason"].as_str().unwrap().contains(words), "{gaps:?}");
        assert_eq!(gaps[0]["blinds_verdict"], true);
    }
}
