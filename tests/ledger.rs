//! The ledger against real git, real processes and real file systems.
//!
//! Tests that need a file system of their own mount it in a private mount namespace of a child process;
//! nothing is seen outside. They need root, as fwdrift does.

use chrono::{DateTime, Duration, Utc};
use fwdrift::ledger::*;
use fwdrift::model::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

mod ledger_support;
use ledger_support::*;

// ---------------------------------------------------------------- what is written, git reads

#[test]
fn an_approved_baseline_is_what_git_shows() {
    let place = Place::new();
    let repo = Repository::create(&place.root).unwrap();
    assert!(matches!(Repository::open(&place.root), Err(LedgerError::NoMain { .. })));
    let first = approve(&repo, &web(), &files(1), None).unwrap();
    assert_eq!(first.working_tree, WorkingTree::Updated);

    let repo = Repository::open(&place.root).unwrap();
    let baseline = repo.baseline(&web()).unwrap().unwrap();
    assert_eq!(baseline.files, files(1));
    assert_eq!(baseline.path, "baselines/web-01");
    assert_eq!(baseline.commit, first.commit.as_str());
    assert_eq!(baseline.author, "Ann Example <ann@example.org>");
    assert_eq!(baseline.approval.reason.as_deref(), Some("Needed by the replica.\n\nSee the wiki."));
    assert_eq!(baseline.approval.ticket.as_deref(), Some("CHG-42"));

    let git = |args: &[&str]| git_ok(&place.root, args);
    assert_eq!(git(&["rev-parse", "main:baselines/web-01"]).trim(), baseline.tree);
    assert_eq!(
        git(&["log", "-1", "--format=%an <%ae>|%s", "main"]).trim(),
        "Ann Example <ann@example.org>|approve: 1 change on web-01"
    );
    assert_eq!(git(&["log", "-1", "--format=%(trailers:key=Ticket,valueonly)", "main"]).trim(), "CHG-42");
    assert_eq!(git(&["log", "-1", "--format=%(trailers:key=Fwdrift-Login,valueonly)", "main"]).trim(), "ann");
    assert_eq!(git(&["status", "--porcelain"]), "");
    for (path, bytes) in files(1) {
        assert_eq!(fs::read(place.root.join("baselines/web-01").join(path)).unwrap(), bytes);
    }
    fsck(&place.root);
    assert_eq!(place.root.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn events_are_commits_whose_author_and_date_are_the_changes_own() {
    let place = Place::with_baseline();
    let repo = place.open();
    let mut first = event("ops1");
    let commit = append(&repo, &web(), &files(2), &mut first).unwrap();
    let mut second = event("unknown");
    append(&repo, &web(), &files(3), &mut second).unwrap();
    assert_eq!((first.seq, second.seq), (1, 2));

    let git = |args: &[&str]| git_ok(&place.root, args);
    let header = git(&["log", "-1", "--format=%an <%ae>|%at|%cn <%ce>|%ct|%s", commit.as_str()]);
    let expected = format!(
        "ops1 <ops1@web-01>|{}|fwdrift <fwdrift@web-01>|{}|drift: inet filter input: rule added (ops1)",
        first.time.timestamp(),
        first.recorded_at.timestamp()
    );
    assert_eq!(header.trim(), expected);
    let body = git(&["log", "-1", "--format=%b", commit.as_str()]);
    assert!(body.contains("\n+ tcp dport 3306 drop\n"), "{body}");
    let shown = git(&["show", &format!("{commit}:event.json")]);
    assert!(shown.ends_with("}\n"));
    assert_eq!(serde_json::from_str::<Event>(&shown).unwrap(), first);
    assert_eq!(git(&["log", "--format=%an", "live/web-01"]), "unknown\nops1\n");

    let entries = repo.events(&web()).unwrap();
    assert_eq!(entries.iter().map(|e| e.event.seq).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(entries[1].event, first);
    assert_eq!(repo.head(&web()).unwrap().unwrap(), entries[0]);
    assert_eq!(repo.ledger_files(&web()).unwrap().unwrap().1, files(3));
    // The branch of approved states and the working tree know nothing of it.
    assert_eq!(git(&["status", "--porcelain"]), "");
    fsck(&place.root);
}

#[test]
fn the_diff_of_baseline_and_ledger_is_the_drift_and_equal_files_have_equal_ids() {
    let place = Place::with_baseline();
    let repo = place.open();
    for state in [files(1), Files::new(), files(2)] {
        if repo.baseline(&web()).unwrap().unwrap().files != state {
            approve(&repo, &web(), &state, repo.main_commit().unwrap()).unwrap();
        }
        append(&repo, &web(), &state, &mut event("ops1")).unwrap();
        let baseline = repo.baseline(&web()).unwrap().unwrap();
        assert_eq!(baseline.files, state);
        assert_eq!(repo.ledger_files(&web()).unwrap().unwrap(), (baseline.tree, state));
    }
    append(&repo, &web(), &files(3), &mut event("ops1")).unwrap();
    let diff = git_ok(&place.root, &["diff", "--name-only", "main:baselines/web-01", "live/web-01"]);
    assert_eq!(diff, "event.json\nnft/inet-filter.nft\n");
    fsck(&place.root);
}

#[test]
fn an_event_is_found_by_its_number_and_by_the_beginning_of_its_commit() {
    let place = Place::with_baseline();
    let repo = place.open();
    let commits: Vec<CommitId> =
        (0..40).map(|_| append(&repo, &web(), &files(1), &mut event("ops1")).unwrap()).collect();
    assert_eq!(repo.event(&web(), "7").unwrap().commit, commits[6].as_str());
    assert_eq!(repo.event(&web(), &commits[3].as_str()[..12]).unwrap().event.seq, 4);
    assert_eq!(repo.event(&web(), &commits[3].as_str().to_uppercase()).unwrap().event.seq, 4);
    for unknown in ["41", "0", "-1", "", "abc", "ffffffffffff", "../x", "1\n"] {
        let error = repo.event(&web(), unknown).unwrap_err();
        assert!(matches!(error, LedgerError::UnknownEvent { .. }), "{unknown:?}: {error}");
    }
    assert!(repo.events(&host("other")).unwrap().is_empty());
    assert!(repo.head(&host("other")).unwrap().is_none());
}

#[test]
fn hostile_text_reaches_git_escaped_and_comes_back_exact() {
    let place = Place::with_baseline();
    let repo = place.open();
    let mut bad = event("ops\x1b[31m<root@x>\n1");
    bad.changes[0].after = Some("tcp dport 1 comment \"\x1b]0;x\x07\u{9b}2J\u{202e}\nTicket: FAKE\"".into());
    bad.changes[0].chain = Some("input\n\nFwdrift-Seq: 99".into());
    bad.time = DateTime::from_timestamp(-5, 0).unwrap();
    append(&repo, &web(), &files(1), &mut bad).unwrap();
    let raw = git_ok(&place.root, &["cat-file", "-p", "live/web-01"]);
    let json = git_ok(&place.root, &["show", "live/web-01:event.json"]);
    for text in [&raw, &json] {
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text}");
    }
    let seq =
        git_ok(&place.root, &["log", "-1", "--format=%(trailers:key=Fwdrift-Seq,valueonly)", "live/web-01"]);
    assert_eq!(seq.trim(), "1");
    let subject = git_ok(&place.root, &["log", "-1", "--format=%s", "live/web-01"]);
    assert!(subject.trim_end().len() <= 72, "{subject}");
    assert_eq!(repo.head(&web()).unwrap().unwrap().event, bad);
    let mut cut = event("someone-with-a-very-long-login-name-indeed");
    cut.changes[0].table = "t".repeat(200);
    append(&repo, &web(), &files(1), &mut cut).unwrap();
    let subject = git_ok(&place.root, &["log", "-1", "--format=%s", "live/web-01"]);
    assert_eq!(subject.trim_end().len(), 72);
    fsck(&place.root);
}

#[test]
fn each_kind_of_event_has_a_readable_subject() {
    let place = Place::with_baseline();
    let repo = place.open();
    let check = |expect: &str, alter: &dyn Fn(&mut Event)| {
        let mut event = event("ops1");
        alter(&mut event);
        append(&repo, &web(), &files(1), &mut event).unwrap();
        assert_eq!(git_ok(&place.root, &["log", "-1", "--format=%s", "live/web-01"]).trim_end(), expect);
    };
    check("reverted: inet filter: 2 changes (ops1)", &|e| {
        e.kind = EventKind::Reverted;
        e.changes.push(e.changes[0].clone());
    });
    check("drift: 2 changes in 2 tables (ops1)", &|e| {
        e.changes.push(Change { table: "nat".into(), ..e.changes[0].clone() });
    });
    check("drift: inet filter blocklist: element added (ops1)", &|e| {
        let (object, name) = (ObjectKind::Element, Some("blocklist".to_owned()));
        e.changes[0] = Change { chain: None, object, name, ..e.changes[0].clone() };
    });
    check("drift: inet filter input: chain modified (ops1)", &|e| {
        let name = Some("input".to_owned());
        let kind = ChangeKind::Modified;
        e.changes[0] = Change { kind, object: ObjectKind::Chain, name, ..e.changes[0].clone() };
    });
    check("approved: inet filter input: rule added (Ann Example)", &|e| {
        e.kind = EventKind::Approved;
        let approver = "Ann Example <ann@example.org>".to_owned();
        e.approval = Some(Approval { approver, ..Approval::default() });
    });
    check("gap: audit: 3 records lost (unknown)", &|e| {
        e.kind = EventKind::Gap;
        e.author = Author::unknown(None, Vec::new());
        e.changes.clear();
        let (source, reason) = ("audit".to_owned(), "3 records lost".to_owned());
        e.gaps = vec![Gap { source, reason, hint: None, blinds_verdict: false }];
    });
    check("transient: made and undone between two looks (ops1)", &|e| {
        e.kind = EventKind::Transient;
        e.changes.clear();
    });
    check("checkpoint: open differences: 1 (ops1)", &|e| {
        e.kind = EventKind::Checkpoint;
        e.changes.clear();
    });
}

#[test]
fn bytes_are_kept_whatever_git_is_configured_to_do() {
    let place = Place::new();
    let home = place.dir.path().join("home");
    fs::create_dir(&home).unwrap();
    let hook = home.join("hooks/reference-transaction");
    fs::create_dir(home.join("hooks")).unwrap();
    fs::write(&hook, "#!/bin/sh\nexit 1\n").unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let config = format!(
        "[core]\n autocrlf = true\n hooksPath = {0}/hooks\n attributesFile = {0}/attributes\n fsyncObjectFiles = false\n\
         [commit]\n gpgsign = true\n[user]\n signingKey = nothing\n[init]\n defaultBranch = trunk\n templateDir = {0}/hooks\n\
         [filter \"upper\"]\n clean = tr a-z A-Z\n smudge = tr a-z A-Z\n required = true\n",
        home.display()
    );
    fs::write(home.join(".gitconfig"), config).unwrap();
    fs::write(home.join("attributes"), "* text filter=upper ident\n").unwrap();
    let out = child("bytes", &place.root).env("HOME", &home).output().unwrap();
    assert_success(&out);
    let repo = place.open();
    assert_eq!(repo.baseline(&web()).unwrap().unwrap().files, odd_bytes());
    assert_eq!(repo.ledger_files(&web()).unwrap().unwrap().1, odd_bytes());
    for (path, bytes) in odd_bytes() {
        assert_eq!(fs::read(place.root.join("baselines/web-01").join(path)).unwrap(), bytes);
    }
    // Plain git of that user sees no difference either.
    let status = git(&place.root, &["status", "--porcelain"]).env("HOME", &home).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "");
    fsck(&place.root);
}

// ---------------------------------------------------------------- approving

#[test]
fn an_approval_leaves_other_paths_of_main_alone_and_blames_the_right_commit() {
    let place = Place::with_baseline();
    let repo = place.open();
    let of_web = repo.baseline(&web()).unwrap().unwrap();
    approve(&repo, &host("db-01"), &files(5), repo.main_commit().unwrap()).unwrap();
    fs::write(place.root.join("fwdrift.toml"), "# policy\n").unwrap();
    git_ok(&place.root, &["add", "fwdrift.toml"]);
    git_ok(&place.root, &["commit", "-qm", "policy: first"]);
    let repo = place.open();
    let now = repo.baseline(&web()).unwrap().unwrap();
    assert_eq!((&now.approval, &now.tree), (&of_web.approval, &of_web.tree));
    assert_eq!(Some(&now.commit), repo.main_commit().unwrap().map(|c| c.to_string()).as_ref());
    approve(&repo, &web(), &files(2), repo.main_commit().unwrap()).unwrap();
    assert_eq!(repo.baseline(&host("db-01")).unwrap().unwrap().files, files(5));
    assert_eq!(git_ok(&place.root, &["show", "main:fwdrift.toml"]), "# policy\n");
    assert_eq!(git_ok(&place.root, &["status", "--porcelain"]), "");
    fsck(&place.root);
}

#[test]
fn an_approval_of_another_main_than_the_reviewed_one_is_refused() {
    let place = Place::with_baseline();
    let repo = place.open();
    let reviewed = repo.main_commit().unwrap();
    approve(&repo, &web(), &files(2), reviewed.clone()).unwrap();
    let now = repo.main_commit().unwrap();
    for stale in [reviewed, None] {
        let error = approve(&repo, &web(), &files(3), stale).unwrap_err();
        assert!(matches!(error, LedgerError::MainMoved { .. }), "{error}");
    }
    assert!(matches!(
        approve(&repo, &web(), &files(2), now.clone()),
        Err(LedgerError::NothingToApprove { .. })
    ));
    assert_eq!(repo.main_commit().unwrap(), now);
}

#[test]
fn what_a_person_edited_or_staged_is_never_overwritten() {
    let place = Place::with_baseline();
    let repo = place.open();
    let at = |path: &str| place.root.join("baselines/web-01").join(path);
    fs::write(at("nft/inet-filter.nft"), "edited by a person\n").unwrap();
    fs::write(at("nft/new.nft"), "put there by a person\n").unwrap();
    let mut next = files(2);
    next.insert("nft/new.nft".into(), b"captured\n".to_vec());
    next.insert("nft/other.nft".into(), b"captured\n".to_vec());
    let done = approve(&repo, &web(), &next, repo.main_commit().unwrap()).unwrap();
    let kept = ["baselines/web-01/nft/inet-filter.nft", "baselines/web-01/nft/new.nft"];
    assert_eq!(done.working_tree, WorkingTree::Kept(kept.map(String::from).to_vec()));
    assert_eq!(fs::read_to_string(at("nft/inet-filter.nft")).unwrap(), "edited by a person\n");
    assert_eq!(fs::read_to_string(at("nft/new.nft")).unwrap(), "put there by a person\n");
    assert_eq!(fs::read_to_string(at("nft/other.nft")).unwrap(), "captured\n");
    assert_eq!(repo.baseline(&web()).unwrap().unwrap().files, next);
    fsck(&place.root);
}

#[test]
fn the_working_tree_is_written_only_inside_itself() {
    let place = Place::with_baseline();
    let repo = place.open();
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::remove_dir_all(place.root.join("baselines/web-01/nft")).unwrap();
    std::os::unix::fs::symlink(&outside, place.root.join("baselines/web-01/nft")).unwrap();
    let done = approve(&repo, &web(), &files(2), repo.main_commit().unwrap()).unwrap();
    assert!(matches!(done.working_tree, WorkingTree::Kept(_)));
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn files_become_directories_and_back_in_the_working_tree() {
    let place = Place::with_baseline();
    let repo = place.open();
    let one = |path: &str| Files::from([(path.to_owned(), b"x\n".to_vec())]);
    for state in [one("nft"), one("nft/a/b/c"), one("nft/a"), Files::new(), files(1)] {
        let done = approve(&repo, &web(), &state, repo.main_commit().unwrap()).unwrap();
        assert_eq!(done.working_tree, WorkingTree::Updated);
        assert_eq!(git_ok(&place.root, &["status", "--porcelain"]), "");
    }
    fsck(&place.root);
}

#[test]
fn with_another_branch_checked_out_only_main_moves() {
    let place = Place::with_baseline();
    git_ok(&place.root, &["checkout", "-q", "-b", "topic"]);
    let repo = place.open();
    let done = approve(&repo, &web(), &files(2), repo.main_commit().unwrap()).unwrap();
    assert_eq!(done.working_tree, WorkingTree::NotOnMain);
    assert_eq!(git_ok(&place.root, &["status", "--porcelain"]), "");
    assert_eq!(repo.baseline(&web()).unwrap().unwrap().files, files(2));
}

#[test]
fn a_working_tree_that_could_not_follow_is_mended_by_the_next_writer() {
    let place = Place::with_baseline();
    let repo = place.open();
    let index_lock = place.root.join(".git/index.lock");
    fs::write(&index_lock, "").unwrap();
    let done = approve(&repo, &web(), &files(2), repo.main_commit().unwrap()).unwrap();
    assert!(matches!(done.working_tree, WorkingTree::Behind(_)), "{:?}", done.working_tree);
    approve(&repo, &web(), &files(3), repo.main_commit().unwrap()).unwrap();
    fs::remove_file(&index_lock).unwrap();
    append(&repo, &web(), &files(3), &mut event("ops1")).unwrap();
    assert_eq!(git_ok(&place.root, &["status", "--porcelain"]), "");
    assert_eq!(
        fs::read(place.root.join("baselines/web-01/nft/inet-filter.nft")).unwrap(),
        files(3)["nft/inet-filter.nft"]
    );
}

#[test]
fn a_merged_review_is_read_as_the_baseline_from_the_commit_not_from_the_working_tree() {
    let place = Place::with_baseline();
    let file = place.root.join("baselines/web-01/nft/inet-filter.nft");
    fs::write(&file, "reviewed\n").unwrap();
    git_ok(&place.root, &["commit", "-qam", "Let the replica in\n\nAs asked for.\n\nTicket: CHG-9"]);
    fs::write(&file, "not committed\n").unwrap();
    let baseline = place.open().baseline(&web()).unwrap().unwrap();
    assert_eq!(baseline.files["nft/inet-filter.nft"], b"reviewed\n");
    assert_eq!(baseline.approval.reason.as_deref(), Some("As asked for."));
    assert_eq!(baseline.approval.ticket.as_deref(), Some("CHG-9"));
    assert_eq!(baseline.author, "Tester <tester@example.org>");
}

#[test]
fn who_approves_is_the_login_behind_sudo_and_not_roots_git_configuration() {
    let place = Place::with_baseline();
    let home = place.dir.path();
    fs::write(home.join(".gitconfig"), "[user]\n name = Root\n email = root@example.org\n").unwrap();
    // The kernel's login uid is set as pam_loginuid does it; 1 is `daemon` on every Linux.
    let as_login = ["sh", "-c", "echo 1 > /proc/self/loginuid && exec \"$0\" \"$@\""];
    let identity = |through: &[&str]| {
        let mut command = child_through("identity", &place.root, through);
        assert_success(&command.env("HOME", home).env_remove("SUDO_USER").output().unwrap());
        fs::read_to_string(home.join("identity")).unwrap()
    };
    assert_eq!(identity(&as_login), "daemon <daemon@web-01> daemon");
    git_ok(&place.root, &["config", "user.name", "Shared"]);
    git_ok(&place.root, &["config", "user.email", "shared@example.org"]);
    assert_eq!(identity(&as_login), "Shared <shared@example.org> daemon");
}

// ---------------------------------------------------------------- repositories that cannot be used

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

// ---------------------------------------------------------------- two at once, killed, no room

#[test]
fn two_writers_at_once_leave_no_hole_and_no_repeat() {
    let place = Place::with_baseline();
    let children: Vec<Child> =
        (0..4).map(|_| child("append-20", &place.root).stderr(Stdio::piped()).spawn().unwrap()).collect();
    for child in children {
        assert_success(&child.wait_with_output().unwrap());
    }
    assert_whole(&place.root, 80);
}

#[test]
fn a_second_writer_is_told_who_holds_the_lock_and_readers_are_not_held_up() {
    let place = Place::with_baseline();
    let repo = place.open();
    let held = repo.lock().unwrap();
    let error = place.open().lock_within(std::time::Duration::from_millis(100)).err().unwrap();
    let text = error.to_string();
    assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
    assert!(error.hint().is_some());
    assert!(place.open().baseline(&web()).unwrap().is_some());
    drop(held);
    let free = place.open().lock_within(std::time::Duration::ZERO).unwrap();
    assert!(free.recovered().is_empty());
    let other = Place::with_baseline();
    let error = other.open().append(&free, &web(), &files(1), &mut event("ops1")).unwrap_err();
    assert!(matches!(error, LedgerError::WrongLock { .. }));
}

#[test]
fn killed_at_any_instant_the_ledger_is_whole() {
    let place = Place::with_baseline();
    let rounds = std::env::var("FWDRIFT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    let mut mended = 0;
    for round in 0..rounds {
        let mut process = child("append-forever", &place.root).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(8_000 + (round * 7919) % 23_000));
        process.kill().unwrap();
        process.wait().unwrap();
        // The next run must work at once, and number on.
        mended += place.open().lock().unwrap().recovered().len();
        append(&place.open(), &web(), &files(round), &mut event("ops1")).unwrap();
    }
    let count = place.open().events(&web()).unwrap().len();
    assert!(count as u64 > rounds, "the children appended nothing");
    eprintln!("{rounds} kills, {count} events, {mended} files of killed processes removed");
    assert_whole(&place.root, count);
}

#[test]
fn killed_while_approving_main_and_working_tree_are_whole() {
    let place = Place::with_baseline();
    for round in 0..30u64 {
        let mut process = child("approve-forever", &place.root).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_micros(8_000 + (round * 7919) % 23_000));
        process.kill().unwrap();
        process.wait().unwrap();
        // Git's own lock of the index is the one thing that is left to a person.
        let _ = fs::remove_file(place.root.join(".git/index.lock"));
        drop(place.open().lock().unwrap());
        assert_eq!(git_ok(&place.root, &["status", "--porcelain"]), "", "round {round}");
        assert!(place.open().baseline(&web()).unwrap().is_some());
    }
    fsck(&place.root);
}

#[test]
fn a_reference_lock_left_by_a_killed_fwdrift_is_removed_and_a_foreign_one_is_not() {
    let place = Place::with_baseline();
    let repo = place.open();
    append(&repo, &web(), &files(1), &mut event("ops1")).unwrap();
    let stale = place.root.join(".git/refs/heads/live/web-01.lock");

    fs::write(&stale, "").unwrap();
    let lock = repo.lock().unwrap();
    assert!(lock.recovered().is_empty(), "nobody was killed, so it may be another git's");
    let error = repo.append(&lock, &web(), &files(1), &mut event("ops1")).unwrap_err();
    assert!(matches!(error, LedgerError::RefLocked { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("web-01.lock"));
    drop(lock);
    fs::remove_file(&stale).unwrap();

    fs::write(place.root.join(".git/fwdrift/lock"), "pid 1: killed\n").unwrap();
    fs::write(&stale, "").unwrap();
    let lock = repo.lock().unwrap();
    assert_eq!(lock.recovered(), [stale.canonicalize().unwrap_or(stale)]);
    repo.append(&lock, &web(), &files(1), &mut event("ops1")).unwrap();
    drop(lock);

    let stale = place.root.join(".git/refs/heads/live/web-01.lock");
    fs::File::create(&stale).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(repo.lock().unwrap().recovered().len(), 1, "older than this boot");
    assert_whole(&place.root, 2);
}

#[test]
fn on_a_full_disk_the_event_is_refused_and_recorded_when_there_is_room() {
    let place = Place::with_baseline();
    for free in (0..=64).step_by(4) {
        let out = in_mount_namespace("full-disk", &place.root, &[("FWDRIFT_FREE_KIB", &free.to_string())]);
        assert_success(&out);
    }
}

#[test]
fn with_a_limit_of_file_size_the_event_is_refused_and_the_ledger_whole() {
    let place = Place::with_baseline();
    append(&place.open(), &web(), &files(1), &mut event("ops1")).unwrap();
    let line = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let out = child_through("refused", &place.root, &["sh", "-c", line]).output().unwrap();
    assert_success(&out);
    assert_whole(&place.root, 1);
    append(&place.open(), &web(), &files(2), &mut event("ops1")).unwrap();
    assert_whole(&place.root, 2);
}

#[test]
fn a_read_only_repository_can_be_read_and_refuses_writing_with_a_hint() {
    let place = Place::with_baseline();
    append(&place.open(), &web(), &files(1), &mut event("ops1")).unwrap();
    assert_success(&in_mount_namespace("read-only", &place.root, &[]));
    assert_whole(&place.root, 1);
}

// ---------------------------------------------------------------- the other side of these tests

/// Run by the tests here as a process of its own, with a role; by itself it plays one role once.
#[test]
fn a_process_of_its_own_appends_and_approves() {
    match std::env::var(ROLE) {
        Ok(role) => play(&role, Path::new(&std::env::var_os(ROOT).unwrap())),
        Err(_) => {
            let place = Place::with_baseline();
            play("append-20", &place.root);
            assert_whole(&place.root, 20);
        }
    }
}

fn play(role: &str, root: &Path) {
    match role {
        "append-20" => {
            let repo = Repository::open(root).unwrap();
            for n in 0..20 {
                append(&repo, &web(), &files(n), &mut event("ops1")).unwrap();
            }
        }
        "append-forever" => {
            let repo = Repository::open(root).unwrap();
            for n in 0.. {
                append(&repo, &web(), &files(n), &mut event("ops1")).unwrap();
            }
        }
        "approve-forever" => {
            let repo = Repository::open(root).unwrap();
            for n in 0.. {
                let salt = Utc::now().timestamp_micros() as u64;
                approve(&repo, &web(), &files(salt + n), repo.main_commit().unwrap()).unwrap();
            }
        }
        "bytes" => {
            let repo = Repository::create(root).unwrap();
            approve(&repo, &web(), &odd_bytes(), None).unwrap();
            append(&repo, &web(), &odd_bytes(), &mut event("ops1")).unwrap();
        }
        "refused" => {
            let repo = Repository::open(root).unwrap();
            let big = Files::from([("nft/big.nft".to_owned(), noise(300_000))]);
            let error = append(&repo, &web(), &big, &mut event("ops1")).unwrap_err();
            assert!(error.hint().is_some(), "{error:?}");
        }
        "identity" => {
            let identity = Identity::of_this_process(&Repository::open(root).unwrap(), &web());
            fs::write(root.parent().unwrap().join("identity"), format!("{identity} {}", identity.login))
                .unwrap();
        }
        "broken-configuration" => {
            let error = Repository::open(root).err().unwrap();
            assert!(matches!(error, LedgerError::GitConfig { .. }), "{error:?}");
            assert!(error.to_string().contains(".gitconfig"), "{error}");
        }
        "read-only" => play_read_only(root),
        "full-disk" => play_full_disk(root),
        other => panic!("no role {other:?}"),
    }
}

fn play_read_only(root: &Path) {
    run("mount", &["--bind", root.to_str().unwrap(), root.to_str().unwrap()]);
    run("mount", &["-o", "remount,bind,ro", root.to_str().unwrap()]);
    let repo = Repository::open(root).unwrap();
    assert_eq!(repo.events(&web()).unwrap().len(), 1);
    assert!(repo.baseline(&web()).unwrap().is_some());
    assert_eq!(repo.ledger_files(&web()).unwrap().unwrap().1, files(1));
    let error = repo.lock().err().unwrap();
    assert!(error.hint().unwrap().contains("writable"), "{error:?}");
}

fn play_full_disk(root: &Path) {
    let free: usize = std::env::var("FWDRIFT_FREE_KIB").unwrap().parse().unwrap();
    let small: PathBuf = root.parent().unwrap().join("small");
    fs::create_dir_all(&small).unwrap();
    run("mount", &["-t", "tmpfs", "-o", "size=4m", "fwdrift-test", small.to_str().unwrap()]);
    let root = small.join("repo");
    let repo = Repository::create(&root).unwrap();
    approve(&repo, &web(), &files(1), None).unwrap();
    append(&repo, &web(), &files(1), &mut event("ops1")).unwrap();
    // All room is taken, then `free` KiB given back.
    let (mut n, chunk) = (0, vec![0u8; 4096]);
    let filler = |n: usize| small.join(format!("filler{n}"));
    while fs::write(filler(n), &chunk).is_ok() {
        n += 1;
    }
    let _ = fs::remove_file(filler(n));
    for k in 0..free / 4 {
        fs::remove_file(filler(k)).unwrap();
    }
    let mut recorded = 1;
    let mut failure = None;
    for k in 0..40u64 {
        let state = Files::from([("nft/noise.nft".to_owned(), noise(3000 + k as usize))]);
        match append(&repo, &web(), &state, &mut event("ops1")) {
            Ok(_) => recorded += 1,
            Err(error) => failure = Some(error),
        }
    }
    let failure = failure.expect("the disk never filled up");
    assert!(failure.hint().unwrap().contains("make room"), "{failure:?}");
    assert!(approve(&repo, &web(), &files(7), repo.main_commit().unwrap()).is_err());
    assert_whole(&root, recorded);
    for k in free / 4..n {
        fs::remove_file(filler(k)).unwrap();
    }
    append(&repo, &web(), &files(9), &mut event("ops1")).unwrap();
    approve(&repo, &web(), &files(7), repo.main_commit().unwrap()).unwrap();
    assert_whole(&root, recorded + 1);
    assert_eq!(git_ok(&root, &["status", "--porcelain"]), "");
}
