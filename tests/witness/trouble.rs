//! Auditing that goes and comes, records that are lost, numbers of processes that come round.

use crate::auditing::Alone;
use crate::support::{Told, Watched, add_table, is_there, run, shell, skipped};
use fwdrift::evidence::enable_guard;
use fwdrift::model::Evidence;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const LOGIN: u32 = 3_100_035;
/// Stays for a moment after the change, so that it can be looked at.
const CHANGE: &str = "(echo 'add chain inet t x; delete chain inet t x'; sleep 0.2) | nft -i; true";

fn grade_after(watched: &mut Watched, script: &str) -> Evidence {
    let mut command = shell(&watched.path(), Some(LOGIN), script);
    watched.during(|| run(&mut command));
    let Told { attested, .. } = watched.last();
    if attested.author.is_known() {
        assert_eq!(attested.author.auid, Some(LOGIN));
    }
    attested.author.evidence
}

fn reasons(watched: &mut Watched) -> Vec<String> {
    std::mem::take(&mut watched.gaps).into_iter().map(|gap| gap.reason).collect()
}

#[track_caller]
fn is_among(reasons: &[String], part: &str) {
    assert!(reasons.iter().any(|reason| reason.contains(part)), "{part:?} in {reasons:?}");
}

#[test]
fn auditing_that_is_turned_off_and_on_is_told_and_the_ladder_follows() {
    let Some(alone) = Alone::new() else { return };
    alone.turn(true);
    let mut watched = Watched::new();
    watched.prepare();
    assert_eq!(grade_after(&mut watched, CHANGE), Evidence::Audit);
    assert_eq!(reasons(&mut watched), [""; 0]);
    alone.turn(false);
    watched.turn(Duration::from_millis(50));
    is_among(&reasons(&mut watched), "auditing was turned off at 20");
    assert!(!watched.witness.hears_all(Instant::now()));
    assert_eq!(grade_after(&mut watched, CHANGE), Evidence::Process);
    alone.turn(true);
    // The kernel does not record that it was turned on: the first record of a change shows it, or being asked.
    assert_eq!(grade_after(&mut watched, CHANGE), Evidence::Audit);
    is_among(&reasons(&mut watched), "auditing is on again");
    alone.turn(false);
    watched.settle();
    reasons(&mut watched);
    alone.turn(true);
    watched.witness.ask(Instant::now());
    watched.settle();
    is_among(&reasons(&mut watched), "auditing is on again");
}

#[test]
fn records_that_the_kernel_could_not_keep_are_a_gap_and_no_author_is_wrong() {
    /// Fewer do, most of the time.
    const MOST: usize = 20_000;
    let lost = || fwdrift::evidence::status().unwrap().lost;
    let Some(alone) = Alone::new() else { return };
    alone.turn(true);
    let mut watched = Watched::new();
    watched.prepare();
    alone.shorten_queue();
    let netns = watched.netns.again().unwrap();
    let before = lost();
    let commits = watched.during(|| {
        netns
            .run(|| {
                std::fs::write("/proc/thread-self/loginuid", LOGIN.to_string()).unwrap();
                let enough = |number: &usize| !number.is_multiple_of(100) || lost() < before + 3000;
                let last = (1..MOST)
                    .take_while(enough)
                    .inspect(|number| add_table(format!("lost{number}").as_bytes()))
                    .count();
                // It is looked at while it is there.
                std::thread::sleep(Duration::from_millis(1000));
                last
            })
            .unwrap()
    });
    alone.restore_queue();
    let of =
        |grade: Evidence| watched.told.iter().filter(|told| told.attested.author.evidence == grade).count();
    let counts = [of(Evidence::Audit), of(Evidence::Process), of(Evidence::None)];
    println!("a queue of one record: audit, process, unknown: {counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), commits);
    assert!(counts[0] < commits, "nothing was lost, so nothing was tested");
    let wrong = |told: &&Told| told.attested.author.is_known() && told.attested.author.auid != Some(LOGIN);
    assert_eq!(watched.told.iter().filter(wrong).count(), 0);
    watched.witness.ask(Instant::now());
    watched.settle();
    is_among(&reasons(&mut watched), "audit records, until 20");
}

#[test]
fn x_tables_are_told_of_at_once_with_who_replaced_them() {
    if !is_there("/usr/sbin/iptables-legacy") {
        skipped("no iptables-legacy");
        return;
    }
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    let path = watched.path();
    let script = "exec iptables-legacy -A INPUT -p tcp --dport 22 -j ACCEPT";
    watched.during(|| run(&mut shell(&path, Some(LOGIN), script)));
    // Other tests use x_tables at the same time.
    let own = |event: &&fwdrift::model::AuditEvent| {
        event.syscall.as_ref().is_some_and(|call| call.auid == Some(LOGIN))
    };
    let ops: Vec<&str> =
        watched.x_tables.iter().filter(own).flat_map(|e| &e.netfilter).map(|cfg| cfg.op.as_str()).collect();
    assert!(ops.contains(&"xt_replace"), "{ops:?} {:?}", watched.x_tables);
    watched.x_tables.clear();
    let own_work =
        "exec perl -e 'exec {\"/usr/sbin/iptables-legacy\"} \"fwdrift-scratch\", @ARGV' -- -A INPUT -j DROP";
    let mut command = shell(&path, Some(LOGIN), own_work);
    let _ = watched.during(|| command.output());
    assert_eq!(watched.x_tables.iter().filter(own).count(), 0, "{:?}", watched.x_tables);
}

/// Starts a process with a number of its own choice: `clone3` with `set_tid` (clone(2)).
const WITH_NUMBER: &str = r#"
    my ($number, @command) = @ARGV;
    my $numbers = pack("l", $number);
    my $args = pack("Q11", 0, 0, 0, 0, 17, 0, 0, 0, unpack("Q", pack("P", $numbers)), 1, 0);
    my $child = syscall(435, $args, length $args);
    die "clone3: $!" if $child < 0;
    exec @command if $child == 0;
    waitpid($child, 0);
    exit($? >> 8);
"#;

#[test]
fn a_number_that_was_given_to_another_process_names_neither() {
    if !cfg!(target_arch = "x86_64") || !is_there("/usr/bin/perl") {
        skipped("needs perl on x86_64");
        return;
    }
    let Some(alone) = Alone::new() else { return };
    for audit in [false, true] {
        alone.turn(audit);
        let mut watched = Watched::new();
        watched.prepare();
        // Nobody listens until the number has its second owner, who stays and looks like the first.
        let (number, mut second) = (0..100).find_map(|attempt| two_owners(&watched.path(), attempt)).unwrap();
        watched.settle();
        drop(second.stdin.take());
        second.wait().unwrap();
        let told = watched.last();
        assert_eq!(told.transaction.thread, number);
        let author = &told.attested.author;
        if audit {
            assert_eq!((author.auid, author.evidence), (Some(LOGIN), Evidence::Audit));
            assert_ne!(author.cmdline.as_deref(), Some("nft -i"), "of the second owner");
        } else {
            assert!(!author.is_known(), "{author:?}");
        }
    }
}

#[test]
fn a_thread_that_is_gone_is_unknown_and_does_not_make_the_next_one_so() {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    watched.prepare();
    let netns = watched.netns.again().unwrap();
    // Nobody listens before the thread has ended: then nothing says whose it was, as its process's number is another.
    netns.run(|| add_table(b"gone")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    watched.settle();
    let author = &watched.last().attested.author;
    assert!(!author.is_known(), "{author:?}");
    assert_eq!(author.candidates[0].pid, Some(watched.last().transaction.thread));
    assert_eq!(grade_after(&mut watched, "nft add chain inet t x; true"), Evidence::Audit);
    // Nor does it if another namespace's records are all that comes meanwhile.
    netns.run(|| add_table(b"gone too")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let other = Watched::new();
    let path = other.path();
    watched.during(|| {
        for _ in 0..40 {
            run(&mut shell(&path, Some(LOGIN + 1), "nft 'add table inet o; delete table inet o'"));
        }
    });
    assert!(!watched.last().attested.author.is_known());
    assert_eq!(grade_after(&mut watched, "nft delete chain inet t x; true"), Evidence::Audit);
    assert!(!watched.witness.hears_all(Instant::now()), "two records were missed");
}

/// A change by a process whose number another one then has, and keeps. `None` if anyone else got the number.
fn two_owners(path: &str, attempt: u32) -> Option<(u32, Child)> {
    let number = 20_000 + (std::process::id() + 97 * attempt) % 10_000;
    let change = format!("exec perl -e '{WITH_NUMBER}' {number} nft add chain inet t x{attempt}");
    let made = shell(path, Some(LOGIN), &change).stderr(Stdio::null()).status().unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let stay = format!("exec perl -e '{WITH_NUMBER}' {number} nft -i");
    let mut second = shell(path, Some(LOGIN + 1), &stay).stdin(Stdio::piped()).spawn().unwrap();
    let comm = format!("/proc/{number}/comm");
    while made.success() && second.try_wait().unwrap().is_none() {
        if std::fs::read_to_string(&comm).is_ok_and(|name| name == "nft\n") {
            return Some((number, second));
        }
    }
    drop(second.stdin.take());
    second.wait().unwrap();
    None
}
