//! `fwdrift doctor` as a whole, on this machine's kernel, audit and programs, and on a real repository.
//! Needs root in the first namespaces.

use chrono::{TimeDelta, Utc};
use fwdrift::cli::doctor::run;
use fwdrift::config::{Format, GlobalArgs, Settings};
use fwdrift::ledger::{ApprovalMessage, Files, Identity, Repository, write_atomic};
use fwdrift::sys::netns::Netns;
use serde_json::Value;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A namespace with one table.
fn namespace() -> Netns {
    let netns = Netns::create().unwrap();
    let add =
        || Command::new("/usr/sbin/nft").args(["add", "table", "inet", "t"]).stdin(Stdio::null()).status();
    assert!(netns.run(add).unwrap().unwrap().success());
    netns
}

fn settings(netns: &Netns, repo: &Path, format: Format) -> Settings {
    let netns = format!("/proc/{}/fd/{}", std::process::id(), netns.as_fd().as_raw_fd());
    let args = GlobalArgs {
        host: Some("web-01".to_owned()),
        netns: Some(PathBuf::from(netns)),
        repo: Some(repo.to_owned()),
        format,
        ..GlobalArgs::default()
    };
    Settings::resolve(&args).unwrap()
}

/// The findings by name, as `status: detail`.
fn findings(repo: &Path) -> (u8, impl Fn(&str) -> String + use<>) {
    let mut out = Vec::new();
    let code = run(&settings(&namespace(), repo, Format::Json), &mut out).unwrap();
    let document: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["schema"], "fwdrift.doctor/1");
    let said = move |name: &str| {
        let found = document["findings"].as_array().unwrap().iter().find(|finding| finding["name"] == name);
        let finding = found.unwrap_or_else(|| panic!("no finding {name}: {document:#}"));
        format!("{}: {}", finding["status"].as_str().unwrap(), finding["detail"].as_str().unwrap())
    };
    (code, said)
}

fn approve(path: &Path) -> Repository {
    let repository = Repository::create(path).unwrap();
    let identity = Identity { name: "Ann".into(), email: "ann@example.org".into(), login: "ann".into() };
    let files = Files::from([("nft/inet-t.nft".to_owned(), b"table inet t { }\n".to_vec())]);
    let host = fwdrift::model::HostName::parse("web-01").unwrap();
    let lock = repository.lock().unwrap();
    repository.approve(&lock, &host, &files, &identity, &ApprovalMessage::default(), None).unwrap();
    repository
}

#[test]
fn the_namespace_asked_for_is_looked_at_and_audit_is_asked_in_the_first_one() {
    let directory = tempfile::tempdir().unwrap();
    let (code, said) = findings(&directory.path().join("none"));
    assert_eq!(code, 0);
    assert_eq!(said("sources.nf_tables"), "ok: 1 table (1 inet); compared");
    assert_eq!(said("kernel.scratch_namespace"), "ok: a scratch network namespace can be made");
    assert_eq!(said("audit.kernel"), "ok: the kernel has audit");
    assert!(said("repository.state").starts_with("warn: "));
}

#[test]
fn the_repository_and_the_noted_look_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("repo");
    let repository = approve(&path);
    let looked = |note: Option<&str>| {
        if let Some(note) = note {
            write_atomic(&repository.state_dir().join("look-web-01.json"), note.as_bytes()).unwrap();
        }
        let (code, said) = findings(&path);
        assert_eq!(code, 0);
        assert!(said("repository.baseline").starts_with("ok: baselines/web-01 at "));
        said("repository.last_look")
    };
    assert_eq!(looked(None), "warn: nothing was ever recorded");
    let note =
        |age: TimeDelta| format!("{{\"schema\":\"x\",\"time\":\"{}\"}}", (Utc::now() - age).to_rfc3339());
    assert_eq!(looked(Some(&note(TimeDelta::seconds(250)))), "ok: the last look was 4 minutes ago");
    assert_eq!(looked(Some(&note(TimeDelta::hours(5)))), "warn: the last look was 5 hours ago");
    assert!(looked(Some("torn")).contains("look-web-01.json cannot be read"));
}

#[test]
fn a_repository_without_approval_is_no_failure_and_a_damaged_one_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("repo");
    Repository::create(&path).unwrap();
    let (code, said) = findings(&path);
    assert_eq!((code, said("repository.baseline").as_str()), (0, "warn: no approved baseline for web-01"));
    std::fs::write(path.join(".git/config"), "[core\n").unwrap();
    let (code, said) = findings(&path);
    assert!(code == 2 && said("repository.state").starts_with("fail: "));
}

#[test]
fn text_is_for_people_and_an_unknown_namespace_or_form_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let netns = namespace();
    let mut out = Vec::new();
    run(&settings(&netns, directory.path(), Format::Text), &mut out).unwrap();
    let text = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
    assert!(text.starts_with("privileges\n  ok    user "), "{text}");
    let error = run(&settings(&netns, directory.path(), Format::Markdown), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "doctor has no --format markdown");
    let args =
        GlobalArgs { netns: Some("no-such-one".into()), host: Some("a".into()), ..GlobalArgs::default() };
    let error = run(&Settings::resolve(&args).unwrap(), &mut out).unwrap_err();
    assert!(error.to_string().contains("/run/netns/no-such-one"), "{error}");
}
