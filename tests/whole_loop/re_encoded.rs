//! The same rules in other bytes: no drift, and known as such from one look to the next, without a tool.

use crate::support::{Host, Run, each, lines};
use serde_json::Value;
use std::path::Path;

/// `10.0.0.0/8` is one byte to nft, and four with a mask where somebody writes it so.
const APPROVED: &str = "table ip t { chain c { ip saddr 10.0.0.0/8 drop; tcp dport 22 accept; }; }";
const OTHERWISE: &str = "flush chain ip t c; table ip t { chain c { ip saddr & 255.0.0.0 == 10.0.0.0 drop; tcp dport 22 accept; }; }";

/// An nft in the system's place that works until it is told not to, and counts how often it is run then. To the cache it
/// is one and the same program.
struct Broken<'h> {
    host: &'h Host,
}

impl<'h> Broken<'h> {
    fn new(host: &'h Host) -> Self {
        let path = |name: &str| host.path(name).to_str().unwrap().to_owned();
        std::fs::copy("/usr/sbin/nft", path("real-nft")).unwrap();
        let [flag, log, real] = ["broken", "runs", "real-nft"].map(path);
        host.file(
            "nft",
            &format!("#!/bin/sh\n[ -e {flag} ] && {{ echo run >>{log}; exit 1; }}\nexec {real} \"$@\"\n"),
        );
        let sh = std::process::Command::new("chmod").args(["0755", &path("nft")]).status().unwrap();
        assert!(sh.success());
        Self { host }
    }

    /// Runs the program with this nft. The mount namespace ends with it.
    fn run(&self, args: &[&str]) -> Run {
        const SCRIPT: &str = r#"mount --bind "$1" /usr/sbin/nft && shift && exec "$@""#;
        let command = self.host.command(args);
        let mut run = std::process::Command::new("unshare");
        run.args(["--mount", "sh", "-c", SCRIPT, "sh"]).arg(self.host.path("nft"));
        run.arg(command.get_program()).args(command.get_args()).env_clear();
        run.env("PATH", "/usr/sbin:/usr/bin").env("TMPDIR", self.host.path("")).output().unwrap().into()
    }

    /// From now on nft fails.
    fn break_it(&self) {
        self.host.file("broken", "");
    }

    /// How often it was run since.
    fn runs(&self) -> usize {
        std::fs::read_to_string(self.host.path("runs")).unwrap_or_default().lines().count()
    }

    fn check(&self, more: &[&str], code: i32) -> Value {
        let args = [&["check", "--format", "json"][..], more].concat();
        serde_json::from_str(&self.run(&args).ended(code)).unwrap()
    }
}

/// Approved, then written otherwise, and looked at once by `record`.
fn remembered(approved: &str, otherwise: &str) -> Host {
    let host = Host::new(approved);
    host.nft(otherwise);
    host
}

fn re_encoded(result: &Value) -> u64 {
    result["summary"]["re_encoded"].as_u64().unwrap()
}

/// Moves the generation, and leaves all as it was.
fn stir(host: &Host) {
    host.nft("add table ip stirred; delete table ip stirred");
    host.nft("add table ip stirred");
    host.nft("delete table ip stirred");
}

#[test]
fn what_was_found_to_mean_the_same_is_known_at_the_next_look_without_any_tool() {
    let host = remembered(APPROVED, OTHERWISE);
    let nft = Broken::new(&host);
    assert_eq!(nft.run(&["record"]).code, Some(0));
    stir(&host);
    nft.break_it();
    for more in [&[][..], &["--full"]] {
        let result = nft.check(more, 0);
        assert_eq!((re_encoded(&result), nft.runs()), (1, 0), "{more:?}: {result:#}");
    }
    assert_eq!(nft.run(&["record"]).code, Some(0));
    assert_eq!(nft.runs(), 0, "record ran nft");
    // The proof that a look would run it: what is not known yet.
    host.nft("table ip t { chain c { ip daddr & 255.0.0.0 == 10.0.0.0 drop; }; }");
    assert_eq!(nft.run(&["check"]).code, Some(2));
    assert!(nft.runs() > 0);
}

#[test]
fn check_alone_remembers_nothing() {
    let host = remembered(APPROVED, OTHERWISE);
    let cache = || crate::support::snapshot(&host.repo().join(".git/fwdrift"));
    let before = cache();
    assert_eq!(re_encoded(&host.check(0)), 1);
    assert_eq!(cache(), before);
    host.record();
    assert_ne!(cache(), before, "record remembers it");
}

#[test]
fn another_release_of_the_tool_is_asked_anew() {
    let host = remembered(APPROVED, OTHERWISE);
    host.record();
    stir(&host);
    let nft = Broken::new(&host);
    // The same file in another place is another program to the cache.
    nft.break_it();
    assert_eq!(nft.run(&["check"]).code, Some(2));
    assert!(nft.runs() > 0);
}

#[test]
fn beside_what_is_known_to_mean_the_same_each_change_is_found_exactly() {
    let cases: [(&str, &str, &[&str]); 6] = [
        (
            "another network in the known spelling",
            "flush chain ip t c; table ip t { chain c { ip saddr & 255.0.0.0 == 11.0.0.0 drop; tcp dport 22 accept; }; }",
            &["modified rule ip t/c: ip saddr 10.0.0.0/8 drop -> ip saddr 11.0.0.0/8 drop"],
        ),
        (
            "the known rule once more",
            "add rule ip t c ip saddr & 255.0.0.0 == 10.0.0.0 drop",
            &["added rule ip t/c: - -> ip saddr 10.0.0.0/8 drop"],
        ),
        (
            "the known rule gone",
            "flush chain ip t c; add rule ip t c tcp dport 22 accept",
            &["removed rule ip t/c: ip saddr 10.0.0.0/8 drop -> -"],
        ),
        (
            "the known rule behind the other one, which is the other one before it",
            "flush chain ip t c; table ip t { chain c { tcp dport 22 accept; ip saddr & 255.0.0.0 == 10.0.0.0 drop; }; }",
            &["moved rule ip t/c: tcp dport 22 accept -> tcp dport 22 accept"],
        ),
        (
            "the known rule in another chain",
            "add chain ip t d; add rule ip t d ip saddr & 255.0.0.0 == 10.0.0.0 drop",
            &["added chain ip t/d: - -> chain d {\n\tip saddr 10.0.0.0/8 drop\n}"],
        ),
        (
            "as it was approved",
            "flush chain ip t c; table ip t { chain c { ip saddr 10.0.0.0/8 drop; tcp dport 22 accept; }; }",
            &[],
        ),
    ];
    each(
        &cases,
        |case| case.0,
        |(claim, made, found)| {
            let host = remembered(APPROVED, OTHERWISE);
            host.record();
            host.nft(made);
            let quick = host.changes();
            assert_eq!(lines(&quick), *found, "{claim}");
            let full = host.run(&["check", "--full", "--format", "json"]);
            let full: Value = serde_json::from_str(&full.stdout).unwrap();
            assert_eq!(lines(full["changes"].as_array().unwrap()), lines(&quick), "{claim}: in full");
        },
    );
}

/// The index of an interface is a number in a rule, and another interface may have it.
#[test]
fn a_rule_with_the_index_of_an_interface_is_known_only_while_the_interfaces_are_as_they_were() {
    let host = Host::bare();
    host.sh("ip link add e0 type veth peer name p0; ip link add e1 type veth peer name p1");
    host.nft("table ip t { chain x { iif e0 ip saddr 10.0.0.0/8 drop; }; }");
    host.run(&["init"]).ended(0);
    host.nft("flush chain ip t x; add rule ip t x iif e0 ip saddr & 255.0.0.0 == 10.0.0.0 drop");
    assert_eq!(re_encoded(&host.check(0)), 1);
    host.record();
    stir(&host);
    assert_eq!(re_encoded(&host.check(0)), 1);
    // The bytes of the live rule stay, and mean another interface.
    host.sh("ip link set e0 name old; ip link set e1 name e0; ip link set old name e1");
    let changes = host.changes();
    assert_eq!(lines(&changes).len(), 1, "{changes:#?}");
    let found = &lines(&changes)[0];
    assert!(found.contains("iif \"e0\"") && found.contains("iif \"e1\""), "{found}");
}

#[test]
fn a_damaged_memory_costs_a_decoding_and_nothing_else() {
    let host = remembered(APPROVED, OTHERWISE);
    host.record();
    let find = |directory: &Path| {
        let files = crate::support::snapshot(directory);
        files.into_iter().map(|(path, _)| path).find(|path| path.ends_with("alike"))
    };
    let file = find(&host.repo().join(".git/fwdrift")).expect("record kept nothing");
    let whole = std::fs::read(&file).unwrap();
    for damaged in [&b""[..], b"nonsense", &whole[..whole.len() - 7], &[&whole[..], &[1; 99]].concat()] {
        std::fs::write(&file, damaged).unwrap();
        stir(&host);
        assert_eq!(re_encoded(&host.check(0)), 1);
        assert_eq!(
            re_encoded(&host.run(&["check", "--full", "--format", "json"]).ended(0).parse().unwrap()),
            1
        );
    }
    host.record();
    assert_eq!(std::fs::read(&file).unwrap().len(), whole.len());
}
