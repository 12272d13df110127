use super::*;
use crate::evidence::process::Place;
use crate::evidence::witness::connector::{Deed, Happened};

/// The commit was some time between these two.
const AFTER: u64 = 1000;
const READ: u64 = 1200;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn question(fresh: Option<Process>) -> Question {
    let fresh = fresh.map(|process| Arc::new(Sight { process, ancestry: Ancestry::default() }));
    Question {
        thread: 7,
        comm: b"nft".to_vec(),
        seen_at: DateTime::default(),
        after: ms(AFTER),
        read_at: ms(READ),
        fresh,
        came_round: true,
        committed_at: None,
    }
}

/// Lives of number 7: login, beginning, end. Listening began at 500 ms.
fn lives(lives: &[(u32, u64, Option<u64>)]) -> Tasks {
    let mut tasks = Tasks::default();
    tasks.begin(ms(500));
    for (auid, from, to) in lives {
        let mut take = |deed, at: u64| {
            let happened = Happened { thread: 7, process: 7, deed, at: ms(at) };
            tasks.take(&happened, |_| Some((Process::of_nft(*auid, *from), ms(at))));
        };
        take(Deed::Began, *from);
        take(Deed::Started, *from + 1);
        if let Some(to) = to {
            take(Deed::Ended, *to);
        }
    }
    tasks
}

fn author_of(question: &Question, tasks: &Tasks) -> Author {
    let names = |uid| Some(format!("ops{}", uid % 1000));
    author(question, &find(question, tasks), &Ancestry::default(), &Lore::default(), &names)
}

#[track_caller]
fn check(question: &Question, tasks: &Tasks, expected: &str) {
    assert_eq!(author_of(question, tasks).name, expected);
}

#[test]
fn who_was_there_before_the_commit_and_still_is_made_it() {
    check(&question(Some(Process::of_nft(1005, 980))), &Tasks::default(), "ops5");
    // Its start is cut to 10 ms: it may have begun a moment after.
    check(&question(Some(Process::of_nft(1005, 995))), &Tasks::default(), "unknown");
}

#[test]
fn whoever_began_later_is_believed_only_if_nobody_else_can_have_had_the_number() {
    let young = question(Some(Process::of_nft(1005, 1100)));
    check(&young, &Tasks::default(), "unknown");
    let counted = Question { came_round: false, ..young.clone() };
    check(&counted, &Tasks::default(), "ops5");
    check(&counted, &lives(&[(1006, 1010, Some(1050)), (1005, 1100, None)]), "unknown");
    check(&young, &lives(&[(1005, 1100, None)]), "ops5");
    check(&young, &lives(&[(1006, 900, Some(990)), (1005, 1100, None)]), "ops5");
    check(&young, &lives(&[(1006, 900, Some(1050)), (1005, 1100, None)]), "unknown");
    check(&young, &lives(&[(1006, 1010, Some(1050)), (1005, 1100, None)]), "unknown");
}

#[test]
fn a_number_that_two_had_is_nobodys_with_both_as_candidates() {
    let question = question(Some(Process::of_nft(1005, 1100)));
    let tasks = lives(&[(1006, 900, Some(1050)), (1005, 1100, None)]);
    let logins: Vec<_> = author_of(&question, &tasks).candidates.iter().map(|c| c.auid).collect();
    assert!(logins.contains(&Some(1005)) && logins.contains(&Some(1006)), "{logins:?}");
}

#[test]
fn a_process_that_is_gone_is_remembered_if_it_was_the_only_one() {
    let gone = question(None);
    check(&gone, &lives(&[(1005, 1010, Some(1050))]), "ops5");
    check(&gone, &lives(&[(1005, 900, Some(1050))]), "ops5");
    check(&gone, &lives(&[(1006, 900, Some(990)), (1005, 1010, Some(1050))]), "ops5");
    check(&gone, &lives(&[(1006, 900, Some(1005)), (1005, 1010, Some(1050))]), "unknown");
    check(&gone, &lives(&[]), "unknown");
    check(&gone, &Tasks::default(), "unknown");
    let late = Question { after: ms(400), ..gone.clone() };
    check(&late, &lives(&[(1005, 1010, Some(1050))]), "unknown");
    check(&Question { came_round: false, ..late }, &lives(&[(1005, 1010, Some(1050))]), "ops5");
    assert_eq!(author_of(&gone, &Tasks::default()).candidates[0].comm.as_deref(), Some("nft"));
}

#[test]
fn a_record_without_a_login_says_when_and_that_is_enough() {
    let at = |time| Question { committed_at: Some(ms(time)), ..question(Some(Process::of_nft(1005, 1100))) };
    check(&at(1110), &Tasks::default(), "ops5");
    // Audit's clock may be 10 ms behind, and the start is cut to 10 ms.
    check(&at(1085), &Tasks::default(), "ops5");
    check(&at(1070), &Tasks::default(), "unknown");
}

#[test]
fn a_program_that_was_started_since_is_not_taken_for_the_one_that_did_it() {
    let other =
        Process { comm: b"sh".to_vec(), exe: Some(b"/bin/sh".to_vec()), ..Process::of_nft(1005, 900) };
    let author = author_of(&question(Some(other.clone())), &Tasks::default());
    assert_eq!((author.name.as_str(), author.exe, author.cmdline), ("ops5", None, None));
    assert_eq!(author.comm.as_deref(), Some("nft"), "what the kernel announced");
    let service = Process { auid: None, ..other };
    check(&question(Some(service.clone())), &Tasks::default(), "unknown");
    let place = Place { unit: Some("nftables.service".to_owned()), container: None };
    check(&question(Some(Process { place, ..service })), &Tasks::default(), "nftables.service");
}

#[test]
fn without_a_login_it_is_the_unit_else_the_program_that_is_named() {
    let service = Process { auid: None, session: None, ..Process::of_nft(0, 900) };
    let of = |unit: Option<&str>, exe: Option<&str>| {
        let place = Place { unit: unit.map(str::to_owned), container: None };
        let exe = exe.map(|exe| exe.as_bytes().to_vec());
        author_of(&question(Some(Process { place, exe, ..service.clone() })), &Tasks::default())
    };
    assert_eq!(of(Some("nftables.service"), Some("/usr/sbin/nft")).name, "nftables.service");
    assert_eq!(of(Some("run-5.scope"), Some("/usr/sbin/nft")).name, "nft (no login)");
    assert_eq!(of(None, Some("/tmp/ops5")).name, "ops5 (no login)");
    assert_eq!(of(None, None).name, "unknown");
    assert_eq!(of(None, Some("/usr/sbin/nft")).evidence, Evidence::Process);
}
