//! Other namespaces, hidden processes, forged names.

use crate::auditing::Alone;
use crate::support::{Person, Watched, run, shell};
use fwdrift::evidence::enable_guard;
use fwdrift::model::Evidence;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const LOGIN: u32 = 3_100_025;

#[test]
fn the_same_generations_in_two_namespaces_at_the_same_time_are_told_apart() {
    const CHANGES: usize = 40;
    let _auditing = enable_guard().unwrap();
    let (mut one, mut other) = (Watched::new(), Watched::new());
    one.prepare();
    other.prepare();
    let paths = [(one.path(), LOGIN), (other.path(), LOGIN + 1)];
    std::thread::scope(|scope| {
        scope.spawn(|| other.during(|| std::thread::sleep(std::time::Duration::from_secs(3))));
        one.during(|| {
            std::thread::scope(|scope| {
                for (path, login) in &paths {
                    scope.spawn(|| {
                        let mut person = Person::new(path, *login);
                        (0..CHANGES).for_each(|number| person.change(number));
                    });
                }
            });
        });
    });
    other.settle();
    for (watched, login) in [(&one, LOGIN), (&other, LOGIN + 1)] {
        assert_eq!(watched.told.len(), CHANGES);
        for told in &watched.told {
            let author = &told.attested.author;
            assert_eq!((author.auid, author.evidence), (Some(login), Evidence::Audit), "{told:?}");
            assert_eq!(told.truth(), login);
        }
    }
    let generations = |watched: &Watched| -> Vec<u32> {
        watched.told.iter().map(|told| told.transaction.generation).collect()
    };
    assert_eq!(generations(&one), generations(&other));
}

#[test]
fn a_change_from_inside_another_pid_namespace_has_its_author() {
    let _auditing = enable_guard().unwrap();
    let mut watched = Watched::new();
    watched.prepare();
    let script = "unshare --pid --fork --mount-proc /bin/sh -c 'nft add chain inet t x; true'";
    let mut command = shell(&watched.path(), Some(LOGIN), script);
    watched.during(|| run(&mut command));
    let author = &watched.last().attested.author;
    assert_eq!((author.auid, author.evidence), (Some(LOGIN), Evidence::Audit));
    assert!(author.pid.unwrap() > 10, "the number that the host knows it by: {author:?}");
}

#[test]
fn a_forged_name_changes_no_author() {
    let _auditing = enable_guard().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for name in ["nft auid=0", "a\" auid=0 b=\"", "n\nauid=0", "\u{1b}[2J"] {
        let program = dir.path().join(name);
        std::fs::copy("/usr/sbin/nft", &program).unwrap();
        let mut watched = Watched::new();
        watched.prepare();
        let mut command = shell(&watched.path(), Some(LOGIN), "\"$PROGRAM\" add chain inet t x; true");
        command.env("PROGRAM", &program);
        watched.during(|| run(&mut command));
        let author = &watched.last().attested.author;
        assert_eq!((author.auid, author.evidence), (Some(LOGIN), Evidence::Audit), "{name:?}");
        assert_eq!(author.comm.as_deref(), Some(name));
        assert!(author.exe.as_deref().unwrap().ends_with(name));
    }
}

/// This test again, behind other programs; what it is inside there is told by the environment.
fn again(test: &str, before: &[&str]) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new(before[0]);
    command.args(&before[1..]).arg(own).args(["--exact", test, "--nocapture"]).env("FWDRIFT_INSIDE", "1");
    command
}

fn is_inside() -> bool {
    std::env::var_os("FWDRIFT_INSIDE").is_some()
}

#[test]
fn in_another_pid_namespace_proc_is_not_asked_and_audit_still_answers() {
    const NAME: &str = "surroundings::in_another_pid_namespace_proc_is_not_asked_and_audit_still_answers";
    if !is_inside() {
        let _auditing = enable_guard().unwrap();
        let output = again(NAME, &["/usr/bin/unshare", "--pid", "--fork", "--mount-proc"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let mut watched = Watched::new();
    let reasons: Vec<&str> = watched.gaps.iter().map(|gap| gap.reason.as_str()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("first pid")), "{reasons:?}");
    watched.prepare();
    let mut command = shell(&watched.path(), Some(LOGIN), "nft add chain inet t x; true");
    watched.during(|| run(&mut command));
    let author = &watched.last().attested.author;
    assert_eq!((author.auid, author.evidence), (Some(LOGIN), Evidence::Audit), "{author:?}");
    assert_eq!((author.unit.as_deref(), author.parents.as_slice()), (None, [].as_slice()));
}

#[test]
fn processes_that_proc_hides_are_unknown() {
    const NAME: &str = "surroundings::processes_that_proc_hides_are_unknown";
    // Without CAP_SYS_PTRACE, hidepid hides from root, too, whoever may do more.
    const HIDE: &str = "mount -t proc -o hidepid=2 proc /proc && exec setpriv --bounding-set=-sys_ptrace \
                        --inh-caps=-sys_ptrace --regid=65534 --clear-groups \"$0\" \"$@\"";
    if is_inside() {
        return hidden_from();
    }
    let Some(_alone) = Alone::new() else { return };
    let mut inner =
        again(NAME, &["/usr/bin/unshare", "-m", "--propagation", "private", "/bin/sh", "-c", HIDE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
    let mut said = BufReader::new(inner.stdout.take().unwrap()).lines();
    let path = said.find_map(|line| line.unwrap().strip_prefix("netns ").map(str::to_owned)).unwrap();
    run(&mut shell(&path, Some(LOGIN), "(echo 'add table inet hidden'; sleep 0.3) | nft -i; true"));
    inner.stdin.take().unwrap().write_all(b"done\n").unwrap();
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    assert!(inner.wait().unwrap().success(), "{rest:#?}");
}

/// Changes by somebody who can be seen, and by the test outside, who cannot.
fn hidden_from() {
    assert!(!std::path::Path::new("/proc/1/status").exists(), "process 1 is hidden");
    let mut watched = Watched::new();
    println!("\nnetns {}", watched.path());
    watched.during(|| std::io::stdin().read_line(&mut String::new()).unwrap());
    let author = &watched.last().attested.author;
    assert!(!author.is_known(), "{author:?}");
    assert_eq!(author.candidates[0].comm.as_deref(), Some("nft"));
    let seen = "(echo 'add table inet seen'; sleep 0.3) | nft -i; true";
    let mut command = shell(&watched.path(), None, seen);
    watched.during(|| run(&mut command));
    let author = &watched.last().attested.author;
    assert_eq!((author.name.as_str(), author.evidence), ("nft (no login)", Evidence::Process), "{author:?}");
}
