//! `doctor::look` against this machine's kernel and programs, in a network namespace of its own.

use fwdrift::config::{GlobalArgs, Settings};
use fwdrift::doctor::{AuditFacts, Facts, Given, RepositoryFacts, judge, look};
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs each program in a fresh network namespace that holds one table.
fn in_fresh_namespace(path: &Path, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = Command::new("/usr/bin/unshare")
        .args([
            "-n",
            "--",
            "/bin/sh",
            "-c",
            "/usr/sbin/nft add table inet fwdrift_test && exec \"$0\" \"$@\"",
        ])
        .arg(path)
        .args(arguments)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    if output.status.success() { Ok(output.stdout) } else { Err(format!("{}", output.status)) }
}

fn facts() -> Facts {
    let args = GlobalArgs { host: Some("web-01".to_owned()), ..GlobalArgs::default() };
    let settings = Settings::resolve(&args).unwrap();
    look(&settings, given(), chrono::Utc::now(), &in_fresh_namespace)
}

fn given() -> Given {
    Given {
        scratch_namespace: Ok(()),
        audit: AuditFacts::Unknown { reason: "not asked in this test".to_owned() },
        repository: RepositoryFacts::Missing,
        alerts: Vec::new(),
    }
}

#[test]
fn the_tables_of_the_namespace_are_listed() {
    let tables = facts().sources.nft.unwrap();
    let shown: Vec<_> = tables.iter().map(|table| format!("{} {}", table.family, table.name)).collect();
    assert_eq!(shown, ["inet fwdrift_test"]);
}

#[test]
fn nft_is_found_with_its_version() {
    let findings = judge(&facts());
    let nft = findings.iter().find(|finding| finding.name == "tools.nft").unwrap();
    assert!(nft.detail.contains("/nft, nftables v"), "{}", nft.detail);
}

#[test]
fn looking_makes_no_legacy_table() {
    // Every program is followed by a listing of the legacy tables of the namespace that it ran in.
    let listed = std::cell::RefCell::new(Vec::new());
    let args = GlobalArgs { host: Some("web-01".to_owned()), ..GlobalArgs::default() };
    let settings = Settings::resolve(&args).unwrap();
    look(&settings, given(), chrono::Utc::now(), &|path, arguments| {
        let script = "\"$0\" \"$@\" >&2; cat /proc/thread-self/net/ip_tables_names \
                      /proc/thread-self/net/ip6_tables_names /proc/thread-self/net/arp_tables_names 2>/dev/null || true";
        let command = [&["-c", script, path.to_str().unwrap()], arguments].concat();
        let tables = in_fresh_namespace(Path::new("/bin/sh"), &command).unwrap();
        listed.borrow_mut().extend(tables);
        Ok(Vec::new())
    });
    assert_eq!(String::from_utf8_lossy(&listed.into_inner()), "");
}
