//! Repositories that cannot be used.

use crate::support::{Host, names};
use std::time::{Duration, Instant};

const ON_A_REPOSITORY: [&[&str]; 6] =
    [&["check"], &["record"], &["approve", "-y"], &["log"], &["show", "1"], &["report"]];

/// The script makes `$REPO` on a host that has none; every command but `init` says these words.
#[track_caller]
fn unusable(script: &str, words: &[&str]) {
    let host = Host::new();
    host.sh(&format!("export HOME=/root REPO={}; {script}", host.repo().display()));
    for command in ON_A_REPOSITORY {
        host.fwdrift(command).refused(words);
    }
}

#[test]
fn a_missing_repository_points_to_init() {
    unusable("true", &["there is no repository at", "fwdrift init"]);
    unusable("mkdir $REPO", &["is not a git repository"]);
    unusable("echo x > $REPO", &["is not a git repository", "--repo DIR"]);
    unusable("git init -q -b main $REPO", &["no branch main", "fwdrift init"]);
}

#[test]
fn a_bare_a_sha256_and_a_foreign_repository_are_told_apart() {
    unusable("git init -q --bare -b main $REPO", &["is a bare repository", "git clone"]);
    unusable("git init -q --object-format=sha256 $REPO", &["SHA-256", "--object-format=sha1"]);
    unusable("git init -q -b main $REPO; chown -R 4711 $REPO", &["belongs to uid 4711", "chown -R 0"]);
}

#[test]
fn init_in_a_place_that_is_taken_leaves_it_alone() {
    let host = Host::new();
    let file = host.write("file", "mine");
    host.fwdrift(&["--repo", &file, "init"]).refused(&["is not a git repository"]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
    std::fs::create_dir(host.path("directory")).unwrap();
    host.write("directory/file", "mine");
    host.fwdrift(&["--repo", &host.path("directory"), "init"]).refused(&["is not empty"]);
    assert_eq!(names(host.path("directory").as_ref()), ["file"]);
    host.sh(&format!("git init -q --bare {}", host.path("bare")));
    host.fwdrift(&["--repo", &host.path("bare"), "init"]).refused(&["bare"]);
}

#[test]
fn a_second_init_changes_nothing() {
    let host = Host::approved();
    let before = host.state();
    host.fwdrift(&["init"]).refused(&["already has an approved baseline", "fwdrift approve"]);
    assert_eq!(host.state(), before);
}

#[test]
fn a_host_without_a_baseline_is_told_so() {
    let host = Host::approved();
    for command in [&["check"][..], &["record"], &["approve", "-y"], &["report"]] {
        host.fwdrift(&[&["--host", "db-01"], command].concat()).refused(&["no baseline for db-01", "--host"]);
    }
}

#[test]
fn a_held_lock_is_waited_for_so_long_and_its_holder_is_named() {
    let host = Host::approved();
    host.nft("add rule inet t c tcp dport 23 drop");
    let before = host.state();
    let lock = host.repo().join(".git/fwdrift/lock");
    let ready = host.path("ready");
    let script =
        format!("echo 'pid 4242: fwdrift record' > {0}; touch {ready}; exec sleep 40", lock.display());
    let mut holder = host
        .command(&["/usr/bin/flock", "--no-fork", lock.to_str().unwrap(), "/bin/sh", "-c", &script])
        .spawn()
        .unwrap();
    while !std::path::Path::new(&ready).exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    // Looking needs no lock.
    host.fwdrift(&["check"]).succeeded(1);
    host.fwdrift(&["log"]).succeeded(0);
    let begun = Instant::now();
    host.fwdrift(&["record"]).refused(&["another fwdrift", "30 s", "pid 4242: fwdrift record"]);
    assert!(begun.elapsed() < Duration::from_secs(35), "{:?}", begun.elapsed());
    assert_eq!(host.state(), before);
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn a_read_only_disk_refuses_writers_and_serves_readers() {
    let host = Host::approved();
    host.nft("add rule inet t c tcp dport 23 drop");
    let before = host.state();
    let repo = host.repo();
    let repo = repo.display();
    host.sh(&format!("mount --bind {repo} {repo}; mount -o remount,bind,ro {repo}"));
    host.fwdrift(&["check"]).succeeded(1);
    for command in [&["log"][..], &["show", "1"], &["report"]] {
        host.fwdrift(command).succeeded(0);
    }
    for command in [&["record"][..], &["approve", "-y"]] {
        host.fwdrift(command).refused(&["Read-only file system", "writable"]);
    }
    let below = host.path("repo/new");
    host.fwdrift(&["--repo", &below, "init"]).refused(&["Read-only file system", "writable"]);
    host.sh(&format!("umount {repo}"));
    assert_eq!(host.state(), before);
}

#[test]
fn a_disk_that_fills_up_at_any_point_loses_nothing_and_the_next_run_mends_it() {
    let host = Host::new();
    let repo = host.repo();
    let repo = repo.display();
    // Inodes run out one after the other: each number stops the writer at another place.
    host.sh(&format!("mkdir {repo}; mount -t tmpfs -o size=2m,mode=700,nr_inodes=400 none {repo}"));
    host.fwdrift(&["init"]).succeeded(0);
    host.nft("add rule inet t c tcp dport 23 drop");
    let fill = |free: u32| {
        host.sh(&format!(
            "cd {repo}/.git; mkdir -p pad; n=$(stat -f -c %d .); \
             while [ $n -gt {free} ]; do : > pad/$n; n=$((n-1)); done"
        ));
    };
    let empty = || host.sh(&format!("rm -rf {repo}/.git/pad"));
    let before = host.state();
    let mut refusals = 0;
    for command in [&["record"][..], &["approve", "-y", "-m", "why"]] {
        for free in 0..30 {
            fill(free);
            let run = host.fwdrift(command);
            empty();
            host.git("fsck --strict --no-dangling");
            let ledger = host.git("rev-list --count live/web-01");
            if run.code == Some(2) {
                refusals += 1;
                run.refused(&["make room on the disk"]);
                assert_eq!(host.git("status --short"), "", "{free}");
                continue;
            }
            assert!(matches!(run.code, Some(0 | 1)), "{}", run.stderr);
            assert!(ledger.trim().parse::<u32>().unwrap() >= 2);
            break;
        }
    }
    assert!(refusals > 6, "{refusals}");
    assert_ne!(host.state(), before);
    host.fwdrift(&["check"]).succeeded(0);
    host.fwdrift(&["record"]).succeeded(0);
    let kinds = host.fwdrift(&["--format", "json", "log"]).succeeded(0).stdout;
    let log: serde_json::Value = serde_json::from_str(&kinds).unwrap();
    let kinds: Vec<&str> =
        log["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["approved", "drift", "approved"]);
}

#[test]
fn an_init_on_a_full_disk_can_be_run_again() {
    let host = Host::new();
    let disk = host.path("disk");
    let repo = host.path("disk/repo");
    host.sh(&format!("mkdir {disk}; mount -t tmpfs -o size=4m,nr_inodes=300 none {disk}"));
    let mut refusals = 0;
    for free in 0..90 {
        host.sh(&format!(
            "mkdir {disk}/pad; cd {disk}/pad; n=$(stat -f -c %d .); \
             while [ $n -gt {free} ]; do : > $n; n=$((n-1)); done"
        ));
        let run = host.fwdrift(&["--repo", &repo, "init"]);
        host.sh(&format!("rm -r {disk}/pad"));
        let done = run.code == Some(0);
        if !done {
            refusals += 1;
            run.refused(&["make room on the disk"]);
            // The approval stands, and the first look did not fit any more.
            if host.fwdrift(&["--repo", &repo, "check"]).code == Some(2) {
                assert_eq!(host.fwdrift(&["--repo", &repo, "init"]).code, Some(0), "{free}");
            }
        }
        host.fwdrift(&["--repo", &repo, "check"]).succeeded(0);
        host.fwdrift(&["--repo", &repo, "record"]).succeeded(0);
        host.sh(&format!("git -C {repo} fsck --strict --no-dangling; rm -r {repo}"));
        if done {
            break;
        }
    }
    assert!(refusals > 10, "{refusals}");
}

#[test]
fn another_branch_checked_out_or_edited_files_change_no_verdict_and_are_kept() {
    let host = Host::approved();
    host.git("checkout -q -b draft");
    let edited = host.repo().join("baselines/web-01/nft/inet-t.nft");
    std::fs::write(&edited, "half a thought").unwrap();
    host.fwdrift(&["check"]).succeeded(0);
    host.nft("add rule inet t c tcp dport 23 drop");
    host.fwdrift(&["record"]).succeeded(1);
    assert_eq!(host.fwdrift(&["approve", "-y", "-m", "why"]).code, Some(0));
    host.fwdrift(&["check"]).succeeded(0);
    assert_eq!(std::fs::read_to_string(&edited).unwrap(), "half a thought");
    assert_eq!(host.git("symbolic-ref HEAD").trim(), "refs/heads/draft");
}

#[test]
fn a_lost_main_or_a_ledger_that_is_none_is_an_error_and_nothing_is_written_over_it() {
    let host = Host::approved();
    host.git("branch keep main; git -C \"$REPO\" update-ref -d refs/heads/main");
    for command in ON_A_REPOSITORY {
        host.fwdrift(command).refused(&["no branch main"]);
    }
    host.git("update-ref refs/heads/main keep; git -C \"$REPO\" update-ref refs/heads/live/web-01 keep");
    let before = host.git("for-each-ref");
    for command in [&["check"][..], &["record"], &["approve", "-y"], &["log"], &["show", "1"], &["report"]] {
        host.fwdrift(command).refused(&["event.json"]);
    }
    assert_eq!(host.git("for-each-ref"), before);
}

#[test]
fn a_ledger_that_was_removed_is_begun_again_and_says_nothing_false() {
    let host = Host::approved();
    host.git("update-ref -d refs/heads/live/web-01");
    host.fwdrift(&["check"]).succeeded(0);
    host.nft("add rule inet t c tcp dport 23 drop");
    host.fwdrift(&["record"]).succeeded(1);
    let log = host.fwdrift(&["log"]).succeeded(0).stdout;
    assert!(log.contains("drift"), "{log}");
}
