//! Tools that are missing, die, hang, or lie.

use crate::support::{Host, is_running};
use std::time::{Duration, Instant};

const NFT: &str = "/usr/sbin/nft";

/// With this script as nft, every command that needs nft fails with these words: with a change open, in
/// sync, and with an emptied firewall, which looks like nothing to a tool that does nothing.
#[track_caller]
fn every_command_fails(script: &str, words: &[&str]) {
    let host = Host::approved();
    host.replace_program(NFT, script);
    fails(&host, words);
}

#[track_caller]
fn fails(host: &Host, words: &[&str]) {
    let config = host.write("config.toml", "tool_timeout_seconds = 1\n");
    let before = host.state();
    let elsewhere = host.path("elsewhere");
    let refused = |args: &[&str]| {
        let mut words = words.to_vec();
        words.push("nft");
        host.fwdrift(&[&["--config", &config], args].concat()).refused(&words);
    };
    refused(&["check", "--full"]);
    refused(&["--repo", &elsewhere, "init"]);
    host.sh("iptables-nft -N added");
    refused(&["check"]);
    refused(&["record"]);
    refused(&["approve", "-y"]);
    host.sh("umount /usr/sbin/nft; nft flush ruleset");
    assert_eq!(host.state(), before);
    assert!(!std::path::Path::new(&elsewhere).exists());
}

#[test]
fn a_missing_nft_is_named_with_its_package() {
    let host = Host::approved();
    // Not executable, so nothing usable is found.
    let empty = host.write("empty", "");
    host.sh(&format!("chmod 644 {empty}; mount --bind {empty} {NFT}"));
    fails(&host, &["nft is not installed", "package nftables"]);
}

#[test]
fn an_nft_that_dies_by_a_signal_is_said_to() {
    every_command_fails("kill -9 $$", &["died by signal 9", "out-of-memory"]);
}

#[test]
fn an_nft_that_aborts_is_said_to() {
    every_command_fails("ulimit -c 0; kill -6 $$", &["died by signal 6"]);
}

#[test]
fn an_nft_that_hangs_is_stopped_with_all_that_it_started() {
    let begun = Instant::now();
    every_command_fails("sleep 31577.25 & wait", &["did not finish within 1 s", "tool_timeout_seconds"]);
    assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    assert!(!is_running("31577.25"));
}

#[test]
fn an_nft_that_prints_garbage_and_ends_well_is_not_believed() {
    every_command_fails("printf 'table inet t {\\033[2J\\377 }\\n'", &["ended without an error, but"]);
}

#[test]
fn an_nft_that_does_nothing_and_ends_well_is_not_believed() {
    every_command_fails("exit 0", &["it loaded nothing", "install"]);
}

#[test]
fn an_nft_that_prints_100_mb_is_not_believed() {
    every_command_fails("yes 'table inet t {' | head -c 100000000", &["ended without an error, but"]);
}

#[test]
fn an_nft_that_fails_whatever_it_is_asked_does_not_blame_the_baseline() {
    every_command_fails(
        "printf 'boom\\033[31m\\n' >&2; exit 3",
        &["nft does not work here", "boom\\x1b[31m"],
    );
}

#[test]
fn an_nft_that_loads_but_lists_nothing_does_not_hide_a_change() {
    let host = Host::approved();
    host.nft("add rule inet t c tcp dport 23 drop");
    let real = host.path("real-nft");
    host.sh(&format!("cp -p {NFT} {real}"));
    host.replace_program(NFT, &format!("case \"$*\" in *list*) exit 0;; esac; exec {real} \"$@\""));
    host.fwdrift(&["check"]).refused(&["its listing does not show a table that is there"]);
}

#[test]
fn an_emptied_firewall_is_not_in_sync_because_nft_does_nothing() {
    let host = Host::approved();
    host.sh("nft flush ruleset");
    host.replace_program(NFT, "exit 0");
    host.fwdrift(&["check"]).refused(&["it loaded nothing"]);
}

#[test]
fn a_change_in_an_iptables_table_is_found_without_iptables_tools() {
    for script in ["exit 1", "exit 0", "kill -9 $$"] {
        let host = Host::empty();
        host.sh("iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT");
        host.fwdrift(&["init"]).succeeded(0);
        host.sh("iptables-nft -R INPUT 1 -p tcp -m multiport --dports 22,81 -j ACCEPT");
        // The listing alone is missing: the baseline still loads.
        let real = host.path("real");
        host.sh(&format!("cp -p $(readlink -f /usr/sbin/iptables-nft) {real}"));
        let pass = format!("case \"$0 $*\" in *-save*) {script};; esac");
        host.replace_program(
            "$(readlink -f /usr/sbin/iptables-nft)",
            &format!(
                "{pass}; n=${{0##*/}}; [ \"$n\" != none ] || exec {real} \"$@\"; exec {real} \"$n\" \"$@\""
            ),
        );
        let run = host.fwdrift(&["check"]);
        assert_ne!(run.code, Some(0), "{script}: {}", run.stdout);
        if run.code == Some(1) {
            assert!(run.stdout.contains("81") || run.stdout.contains("note: "), "{}", run.stdout);
        } else {
            run.refused(&["iptables"]);
        }
    }
}
