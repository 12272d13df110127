//! The other side of the tests: what a process of its own does.

use super::support::*;
use chrono::Utc;
use fwdrift::ledger::*;
use std::fs;
use std::path::{Path, PathBuf};

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
            println!("{AT_WORK}");
            for n in 0.. {
                append(&repo, &web(), &files(n), &mut event("ops1")).unwrap();
            }
        }
        "approve-forever" => {
            let repo = Repository::open(root).unwrap();
            println!("{AT_WORK}");
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
