//! Two releases of nft: a baseline that one wrote, checked by the other. The program runs as it is installed,
//! with the other release in the place of the system's, as after a package upgrade: a bind mount in a mount
//! namespace of its own.

use crate::live::Live;
use crate::manifest::{self, Entry, Loader};
use crate::table::{Outcome, Results};
use crate::{Claims, say};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the rulesets that both releases list alike, one in so many is tried; of the others, each. `OPEN_DATA_ALL=1`
/// tries all.
const SAMPLE: usize = 6;

/// The other release: `scripts/other-nft` puts it there, `OTHER_NFT` names another one.
fn other() -> Option<PathBuf> {
    let named = std::env::var_os("OTHER_NFT").map(PathBuf::from);
    let place = Path::new(env!("CARGO_BIN_EXE_fwdrift")).parent()?.parent()?.join("other-nft/nft");
    named.or(Some(place)).filter(|path| path.is_file())
}

#[test]
fn a_baseline_that_one_release_of_nft_wrote_is_in_sync_for_another() {
    let Some(folder) = crate::folder_or_skip() else { return };
    let Some(other) = other() else {
        say("\nSKIPPED: there is no second release of nft (scripts/other-nft fetches one).\n");
        return;
    };
    let only = std::env::var("OPEN_DATA_ONLY").unwrap_or_default();
    let entries = manifest::read(&folder).into_iter().filter(|entry| entry.name.contains(&only));
    let loads = entries.filter(|entry| entry.should_load && !entry.is_legacy());
    let (differing, alike): (Vec<Entry>, Vec<Entry>) = loads.partition(|entry| entry.listed_otherwise);
    let step = if std::env::var("OPEN_DATA_ALL").is_ok_and(|all| all == "1") { 1 } else { SAMPLE };
    let chosen = differing.into_iter().chain(alike.into_iter().step_by(step));
    let jobs = chosen.map(|entry| {
        let other = other.clone();
        (entry.name.clone(), move || examine(&entry, &other))
    });
    let results: Results = crate::in_parallel(jobs);
    say(&format!("\n{}", results.table()));
    assert!(results.loaded > 0, "nothing loads");
    assert!(results.wrong.is_empty(), "{}", results.wrong.join("\n\n"));
}

fn examine(entry: &Entry, other: &Path) -> Claims {
    let live = Live::load(entry)?;
    let mut outcomes = Vec::new();
    let mut exact = false;
    for (claim, exact_claim, first, second) in [
        ("by this nft, then by another: in sync", "the same, with an exact form: in sync", None, Some(other)),
        (
            "by another nft, then by this: in sync",
            "the same way back, with an exact form: in sync",
            Some(other),
            None,
        ),
    ] {
        let repository = tempfile::tempdir().unwrap();
        let run = |nft, command| fwdrift(&live, repository.path(), nft, command);
        let outcome = match run(first, "init").and_then(|_| run(second, "check")) {
            Ok(_) => Outcome::Right,
            Err(error) => Outcome::Wrong(error),
        };
        let has_exact = has_exact_form(repository.path());
        exact |= has_exact;
        outcomes.push((if has_exact { exact_claim } else { claim }, outcome));
    }
    Some((exact, outcomes))
}

fn has_exact_form(repository: &Path) -> bool {
    let folder = std::fs::read_dir(repository.join("repo/baselines/h/nft"));
    let mut files = folder.into_iter().flatten().map(|file| file.unwrap().path());
    files.any(|path| path.extension().is_some_and(|ending| ending == "exact"))
}

/// Rules in words that the two releases do not share, beside such as no text gives back.
const OTHER_WORDS: &str = "iptables-nft -A INPUT -m limit --limit 1/sec -m string --string x --algo bm -j DROP\n\
    iptables-nft -A INPUT -m limit --limit 2/sec -j ACCEPT\n";

#[test]
fn an_exact_form_holds_for_another_release_of_nft_as_long_as_nobody_edits_its_text() {
    let Some(other) = other() else {
        say("\nSKIPPED: there is no second release of nft (scripts/other-nft fetches one).\n");
        return;
    };
    for (first, second) in [(None, Some(&*other)), (Some(&*other), None)] {
        let live = Live::empty(&Entry::of_file("/dev/null".into(), Loader::Nft));
        live.run("sh", &["-ec", OTHER_WORDS], None).unwrap();
        let repository = tempfile::tempdir().unwrap();
        let run = |nft, command| fwdrift(&live, repository.path(), nft, command);
        run(first, "init").unwrap();
        assert!(has_exact_form(repository.path()));
        let text = repository.path().join("repo/baselines/h/nft/ip-filter.nft");
        let listed = std::fs::read_to_string(&text).unwrap();
        assert_ne!(
            listed.contains("burst 5 packets"),
            second.is_some(),
            "both releases list it alike: {listed}"
        );
        run(second, "check").unwrap();
        // A change of the live rules is a change of just these.
        live.run("iptables-nft", &["-A", "INPUT", "-j", "DROP"], None).unwrap();
        let found = run(second, "check").unwrap_err();
        assert!(found.contains("1 unapproved change ") && found.contains("+ -A INPUT -j DROP"), "{found}");
        live.run("iptables-nft", &["-D", "INPUT", "3"], None).unwrap();
        run(second, "check").unwrap();
        // Edited, the text is the truth, and nft does not read it.
        for (before, after) in [("1/second", "3/second"), ("2/second", "3/second"), ("drop", "accept")] {
            assert!(listed.contains(before), "{listed}");
            std::fs::write(&text, listed.replacen(before, after, 1)).unwrap();
            commit(repository.path());
            let found = run(second, "check").unwrap_err();
            assert!(found.starts_with("check: Some(2)") && found.contains("does not load"), "{found}");
        }
        std::fs::write(&text, &listed).unwrap();
        commit(repository.path());
        run(second, "check").unwrap();
    }
}

fn commit(repository: &Path) {
    let mut git = Command::new("git");
    git.arg("-C").arg(repository.join("repo")).args([
        "-c",
        "user.name=Ada",
        "-c",
        "user.email=ada@example.org",
    ]);
    assert!(git.args(["commit", "-q", "-a", "-m", "edited"]).status().unwrap().success());
}

/// Runs fwdrift on the live namespace, with a release of nft in the system's place. Anything but 0 is an error.
fn fwdrift(live: &Live, repository: &Path, nft: Option<&Path>, command: &str) -> Result<(), String> {
    let netns = format!("/proc/{}/fd/{}", std::process::id(), live.netns.as_fd().as_raw_fd());
    let program = env!("CARGO_BIN_EXE_fwdrift");
    let mut run = match nft {
        None => Command::new(program),
        Some(nft) => {
            const SCRIPT: &str = r#"mount --bind "$1" /usr/sbin/nft && shift && exec "$@""#;
            let mut run = Command::new("unshare");
            run.args(["--mount", "sh", "-c", SCRIPT, "sh"]).args([nft, Path::new(program)]);
            run
        }
    };
    run.args(["--config", "/dev/null", "--host", "h", "--netns", &netns, "--repo"])
        .arg(repository.join("repo"));
    let output = run.arg(command).output().unwrap();
    match output.status.code() {
        Some(0) => Ok(()),
        code => {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            Err(format!("{command}: {code:?}\n{}{}", text(&output.stdout), text(&output.stderr)))
        }
    }
}
