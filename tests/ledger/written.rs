//! What is written is what plain git reads.

use super::support::*;
use chrono::DateTime;
use fwdrift::ledger::*;
use fwdrift::model::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;

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
fn what_came_after_a_commit_is_found_and_what_is_no_part_of_the_ledger_is_told() {
    let place = Place::with_baseline();
    let repo = place.open();
    assert_eq!(repo.commits_after(&web(), None).unwrap(), (vec![], false));
    let commits: Vec<String> =
        (1..4).map(|n| append(&repo, &web(), &files(n), &mut event("ops1")).unwrap()).collect();
    let after = |known: Option<&str>| {
        let (commits, found) = repo.commits_after(&web(), known).unwrap();
        (commits.iter().map(CommitId::to_string).collect::<Vec<_>>(), found)
    };
    assert_eq!(after(None), (commits.clone(), false));
    assert_eq!(after(Some(&commits[0])), (commits[1..].to_vec(), true));
    assert_eq!(after(Some(&commits[2])), (vec![], true));
    let main = repo.main_commit().unwrap().unwrap();
    assert_eq!(after(Some(main.as_str())), (commits.clone(), false));
    let (ids, _) = repo.commits_after(&web(), None).unwrap();
    assert_eq!(repo.event_at(&ids[1]).unwrap().event.seq, 2);
    assert!(matches!(repo.event_at(&main), Err(LedgerError::Damaged { .. })));
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
    let commits: Vec<String> =
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
