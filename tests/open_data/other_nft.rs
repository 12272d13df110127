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

/// Of the rulesets that both releases list alike, one in so many is tried; of the others, each.
const SAMPLE: usize = 6;

/// `ct mark & 0x0 == 0xffffffff`, of iptables' test suite: nft 1.1.3 makes `== 0x0` of it, nft 1.0.6 does not. That
/// rule matched nothing, and matches everything now.
const OTHER_RULE: &str = "generated/ipt-ext/libxt_connmark.";

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
    let nft = entries.filter(|entry| entry.should_load && matches!(entry.loader, Loader::Nft));
    let (differing, alike): (Vec<Entry>, Vec<Entry>) = nft.partition(|entry| entry.listed_otherwise);
    let chosen = differing.into_iter().chain(alike.into_iter().step_by(SAMPLE));
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
    for (claim, first, second) in [
        ("by this nft, then by another: in sync", None, Some(other)),
        ("by another nft, then by this: in sync", Some(other), None),
    ] {
        let repository = tempfile::tempdir().unwrap();
        let run = |nft, command| fwdrift(&live, repository.path(), nft, command);
        let made = run(first, "init");
        // What one release prints is not always syntax to the other; then nothing is known, and that is said.
        let (outcome, refusal) = match made.and_then(|_| run(second, "check")) {
            Ok(_) => (Outcome::Right, Outcome::NotApplicable),
            Err(error) if error.starts_with("check: Some(2)") && error.contains(".nft does not load:") => {
                (Outcome::NotApplicable, Outcome::Right)
            }
            Err(error) if entry.name.starts_with(OTHER_RULE) && error.contains("1 unapproved change ") => {
                (Outcome::NotApplicable, Outcome::NotApplicable)
            }
            Err(error) => (Outcome::Wrong(error), Outcome::NotApplicable),
        };
        outcomes.push((claim, outcome));
        outcomes.push(("the other's text is refused: said, no drift", refusal));
    }
    Some((false, outcomes))
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
