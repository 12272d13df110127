//! Approvals: the branch, the working tree, the person.

use super::support::*;
use fwdrift::ledger::*;
use std::fs;

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

#[test]
fn a_baseline_that_is_a_link_or_a_file_is_refused_and_left_alone() {
    let place = Place::with_baseline();
    let commit = |message: &str| {
        git_ok(&place.root, &["add", "-A"]);
        git_ok(&place.root, &["commit", "-qm", message]);
    };
    let check = || {
        let repo = place.open();
        let error = repo.baseline(&web()).unwrap_err();
        assert!(matches!(error, LedgerError::Entry { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("plain files"));
    };
    std::os::unix::fs::symlink("/etc/shadow", place.root.join("baselines/web-01/nft/x.nft")).unwrap();
    commit("a link");
    check();
    fs::remove_dir_all(place.root.join("baselines/web-01")).unwrap();
    fs::write(place.root.join("baselines/web-01"), "a file\n").unwrap();
    commit("a file");
    check();
    fs::remove_dir_all(place.root.join("baselines")).unwrap();
    fs::write(place.root.join("baselines"), "a file\n").unwrap();
    commit("a file above");
    let repo = place.open();
    let error = approve(&repo, &web(), &files(2), repo.main_commit().unwrap()).unwrap_err();
    assert!(matches!(error, LedgerError::Entry { .. }), "{error:?}");
    assert_eq!(git_ok(&place.root, &["show", "main:baselines"]), "a file\n");
}
