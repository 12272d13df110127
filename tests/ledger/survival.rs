//! Two writers at once, kills at any instant, full and read-only disks.

use super::support::*;
use fwdrift::ledger::*;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

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
    let error = other.open().append(&free, &web(), &files(1), vec![event("ops1")]).unwrap_err();
    assert!(matches!(error, LedgerError::WrongLock { .. }));
}

#[test]
fn killed_at_any_instant_the_ledger_is_whole() {
    let rounds: u64 = std::env::var("FWDRIFT_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(60);
    // Most of a round is waiting for the disk and for the instant: several repositories at once.
    const PLACES: u64 = 4;
    let (events, mended) = std::thread::scope(|scope| {
        let share = |first| move || kill_appenders((first..rounds).step_by(PLACES as usize));
        let threads: Vec<_> = (0..PLACES).map(|first| scope.spawn(share(first))).collect();
        let done = threads.into_iter().map(|thread| thread.join().unwrap());
        done.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert!(events as u64 > rounds, "the children appended nothing");
    eprintln!("{rounds} kills, {events} events, {mended} files of killed processes removed");
}

/// Kills one appending process a round, at another instant each; the ledger's events, the files mended.
fn kill_appenders(rounds: impl Iterator<Item = u64>) -> (usize, usize) {
    let place = Place::with_baseline();
    let mut mended = 0;
    for round in rounds {
        kill_at_work("append-forever", &place, round);
        // The next run must work at once, and number on.
        mended += place.open().lock().unwrap().recovered().len();
        append(&place.open(), &web(), &files(round), &mut event("ops1")).unwrap();
    }
    let count = place.open().events(&web()).unwrap().len();
    assert_whole(&place.root, count);
    (count, mended)
}

/// Kills a process of this role, some time after it set to work.
fn kill_at_work(role: &str, place: &Place, round: u64) {
    let mut process = child(role, &place.root).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains(AT_WORK)), "the process died by itself");
    std::thread::sleep(std::time::Duration::from_micros((round * 7919) % 35_000));
    process.kill().unwrap();
    process.wait().unwrap();
}

#[test]
fn killed_while_approving_main_and_working_tree_are_whole() {
    let place = Place::with_baseline();
    for round in 0..30u64 {
        kill_at_work("approve-forever", &place, round);
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
    let error = repo.append(&lock, &web(), &files(1), vec![event("ops1")]).unwrap_err();
    assert!(matches!(error, LedgerError::RefLocked { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("web-01.lock"));
    drop(lock);
    fs::remove_file(&stale).unwrap();

    fs::write(place.root.join(".git/fwdrift/lock"), "pid 1: killed\n").unwrap();
    fs::write(&stale, "").unwrap();
    let lock = repo.lock().unwrap();
    assert_eq!(lock.recovered(), [stale.canonicalize().unwrap_or(stale)]);
    repo.append(&lock, &web(), &files(1), vec![event("ops1")]).unwrap();
    drop(lock);

    let stale = place.root.join(".git/refs/heads/live/web-01.lock");
    fs::File::create(&stale).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(repo.lock().unwrap().recovered().len(), 1, "older than this boot");
    let index = place.root.join(".git/index.lock");
    fs::write(place.root.join(".git/fwdrift/lock"), "pid 1: killed\n").unwrap();
    fs::write(&index, "").unwrap();
    assert!(repo.lock().unwrap().recovered().is_empty(), "somebody may be writing a commit message");
    fs::File::options().write(true).open(&index).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(repo.lock().unwrap().recovered().len(), 1);
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
