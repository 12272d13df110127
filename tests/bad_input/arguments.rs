//! Names and paths on the command line.

use crate::support::Host;

#[test]
fn a_host_name_that_could_leave_its_place_is_refused_and_shown_harmlessly() {
    let host = Host::approved();
    let before = host.state();
    let repo = host.repo();
    let repo = repo.to_str().unwrap();
    let long = "a".repeat(300);
    for name in ["a/b", "..", "../x", "a\nb", "\x1b[2Jx", "a b", "-rf", "x.lock", "", "\u{202e}", &long] {
        for command in [&["check"][..], &["record"], &["log"], &["init"], &["report"]] {
            let given = format!("--host={name}");
            let words = [&[env!("CARGO_BIN_EXE_fwdrift"), "--repo", repo, &given][..], command].concat();
            crate::support::run(&mut host.command(&words)).refused(&["--host", "for example --host web-01"]);
        }
    }
    assert_eq!(host.state(), before);
}

#[test]
fn a_hostname_of_the_machine_that_is_no_name_asks_for_one() {
    let host = Host::new();
    let repo = host.repo();
    for name in ["x..y", "web.lock"] {
        let program = env!("CARGO_BIN_EXE_fwdrift");
        let script = format!(
            "printf %s '{name}' > /proc/sys/kernel/hostname; exec {program} --repo {} init",
            repo.display()
        );
        let run = crate::support::run(
            host.command(&["/usr/bin/unshare", "-u", "/bin/sh", "-c", &script])
                .env("PATH", crate::support::SYSTEM_PATH),
        );
        run.refused(&["the hostname", "--host NAME"]);
    }
    assert!(!repo.exists());
}

#[test]
fn a_namespace_that_is_none_is_named_with_what_to_do() {
    let host = Host::approved();
    let fifo = host.path("fifo");
    host.sh(&format!("mkfifo {fifo}"));
    let directory = host.path("");
    for given in [&fifo, &directory, "/etc/passwd", "/dev/null", "/proc/self/ns/mnt"] {
        host.fwdrift(&["--netns", given, "check"]).refused(&["is not a network namespace", "ip netns list"]);
    }
    host.fwdrift(&["--netns", "no-such\x1b[31m", "check"]).refused(&["/run/netns/no-such", "ip netns list"]);
    for given in [".", ".."] {
        host.fwdrift(&["--netns", given, "check"]).refused(&["names no network namespace", "ip netns list"]);
    }
}

#[test]
fn a_configuration_that_cannot_be_used_gives_its_line() {
    let host = Host::approved();
    for (content, words) in [
        (&b"repo = 5\n"[..], &["config.toml:1"][..]),
        (b"\nreop = '/x'\n", &["config.toml:2", "did you mean `repo`"]),
        (b"host = '\xff'\n", &["not UTF-8"]),
        (b"host = '\x1b[2J'\n", &["config.toml:1"]),
    ] {
        let config = host.write("config.toml", content);
        host.fwdrift(&["--config", &config, "check"]).refused(words);
    }
    host.fwdrift(&["--config", &host.path("none"), "check"]).refused(&["does not exist"]);
}

#[test]
fn ids_that_mean_nothing_change_nothing() {
    let host = Host::approved();
    host.nft("add rule inet t c tcp dport 23 drop");
    let before = host.state();
    host.fwdrift(&["approve", "-y", "ffff\x1b[2J"]).refused(&["no present change", "fwdrift check"]);
    host.fwdrift(&["approve", "-y", ""]).refused(&["no present change", "fwdrift check"]);
    host.fwdrift(&["approve", "--reviewed", "000000000000"]).refused(&["is not what is live now"]);
    host.fwdrift(&["show", "7"]).refused(&["no event", "fwdrift log"]);
    host.fwdrift(&["show", "../\x1b"]).refused(&["no event", "fwdrift log"]);
    host.fwdrift(&["check", "--format", "markdown"]).refused(&["--format markdown"]);
    assert_eq!(host.state(), before);
}
