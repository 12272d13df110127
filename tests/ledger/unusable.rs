//! Repositories that cannot be used, each refused in its own words.

use super::support::*;
use fwdrift::ledger::*;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

#[test]
fn each_unusable_repository_has_an_error_and_a_hint_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let init = |name: &str, args: &[&str]| {
        let mut all = vec!["init", "-q"];
        all.extend(args);
        all.push(name);
        git_ok(dir.path(), &all);
    };
    init("bare", &["--bare"]);
    init("sha256", &["--object-format=sha256"]);
    init("reftable", &["--ref-format=reftable"]);
    init("unborn", &[]);
    init("no-head", &[]);
    fs::remove_file(at("no-head/.git/HEAD")).unwrap();
    fs::create_dir(at("plain")).unwrap();
    fs::write(at("file"), "").unwrap();
    let check = |name: &str, is_it: fn(&LedgerError) -> bool| {
        let error = Repository::open(&at(name)).err().unwrap_or_else(|| panic!("{name} was opened"));
        assert!(is_it(&error), "{name}: {error:?}");
        assert!(error.hint().is_some(), "{name}");
    };
    check("missing", |e| matches!(e, LedgerError::Missing { .. }));
    check("plain", |e| matches!(e, LedgerError::NotARepository { .. }));
    check("file", |e| matches!(e, LedgerError::NotARepository { .. }));
    check("bare", |e| matches!(e, LedgerError::Bare { .. }));
    check("sha256", |e| matches!(e, LedgerError::Sha256 { .. }));
    check("reftable", |e| matches!(e, LedgerError::Reftable { .. }));
    check("unborn", |e| matches!(e, LedgerError::NoMain { .. }));
    check("no-head", |e| matches!(e, LedgerError::Damaged { .. }));
}

#[test]
fn a_repository_of_another_user_is_refused_with_its_owner() {
    let place = Place::with_baseline();
    let out = Command::new("chown").args(["-R", "65534"]).arg(&place.root).output().unwrap();
    assert!(out.status.success(), "this test needs root");
    match Repository::open(&place.root) {
        Err(error @ LedgerError::ForeignOwner { owner: 65534, .. }) => {
            assert!(error.hint().unwrap().contains("chown -R"), "{error:?}");
        }
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert!(matches!(Repository::create(&place.root), Err(LedgerError::ForeignOwner { .. })));
    chown(&place.root, Some(0), None).unwrap();
    assert!(matches!(Repository::open(&place.root), Err(LedgerError::ForeignOwner { .. })));
}

#[test]
fn a_repository_that_the_user_declared_safe_is_opened_and_a_broken_configuration_is_named() {
    let place = Place::with_baseline();
    run("chown", &["-R", "65534", place.root.to_str().unwrap()]);
    let home = place.dir.path();
    fs::write(home.join(".gitconfig"), format!("[safe]\n directory = {}\n", place.root.display())).unwrap();
    assert_success(&child("append-20", &place.root).env("HOME", home).output().unwrap());
    fs::write(home.join(".gitconfig"), "[core\n broken").unwrap();
    assert_success(&child("broken-configuration", &place.root).env("HOME", home).output().unwrap());
    run("chown", &["-R", "0", place.root.to_str().unwrap()]);
    assert_whole(&place.root, 20);
}

#[test]
fn damage_is_an_error_and_never_a_new_beginning() {
    let place = Place::with_baseline();
    let repo = place.open();
    for _ in 0..3 {
        append(&repo, &web(), &files(1), &mut event("ops1")).unwrap();
    }
    let id = git_ok(&place.root, &["rev-parse", "live/web-01:event.json"]);
    let object = place.root.join(".git/objects").join(&id[..2]).join(id[2..].trim());
    let whole = fs::read(&object).unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for broken in [flipped, Vec::new()] {
        fs::write(&object, broken).unwrap();
        let repo = place.open();
        assert!(matches!(repo.head(&web()), Err(LedgerError::Damaged { .. })));
        let error = append(&repo, &web(), &files(1), &mut event("ops1")).unwrap_err();
        assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
    }
    fs::write(&object, whole).unwrap();
    fs::write(place.root.join(".git/refs/heads/live/web-01"), "").unwrap();
    let error = append(&place.open(), &web(), &files(1), &mut event("ops1")).unwrap_err();
    assert!(matches!(error, LedgerError::Damaged { .. }), "{error:?}");
    fs::write(place.root.join(".git/refs/heads/main"), "0".repeat(40)).unwrap();
    assert!(matches!(Repository::open(&place.root), Err(LedgerError::Damaged { .. })));
}

#[test]
fn an_ordinary_repository_is_adopted_and_other_files_are_not() {
    let dir = tempfile::tempdir().unwrap();
    git_ok(dir.path(), &["init", "-q", "-b", "trunk", "adopted"]);
    let adopted = dir.path().join("adopted");
    let repo = Repository::create(&adopted).unwrap();
    approve(&repo, &web(), &files(1), None).unwrap();
    assert_eq!(git_ok(&adopted, &["status", "--porcelain", "--branch"]), "## main\n");

    git_ok(dir.path(), &["clone", "-q", "adopted", "clone"]);
    let clone = Repository::create(&dir.path().join("clone")).unwrap();
    assert_eq!(clone.baseline(&web()).unwrap().unwrap().files, files(1));

    fs::create_dir(dir.path().join("full")).unwrap();
    fs::write(dir.path().join("full/x"), "x").unwrap();
    assert!(matches!(Repository::create(&dir.path().join("full")), Err(LedgerError::NotEmpty { .. })));
    // What a killed init left is no obstacle.
    let begun = dir.path().join("begun");
    fs::create_dir_all(begun.join(".fwdrift-init-abc/.git/objects")).unwrap();
    Repository::create(&begun).unwrap();
    assert_eq!(fs::read_dir(&begun).unwrap().count(), 1);
}
