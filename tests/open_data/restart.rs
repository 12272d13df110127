//! A host that starts from its approved files.

use crate::live::{EXPIRING, Live, make_ipsets};
use crate::table::Outcome;
use fwdrift::baseline;
use fwdrift::collect::links;
use fwdrift::decode;
use fwdrift::model::{Files, Ruleset, Verdict};
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;

/// A change is approved; the files that this makes are loaded in an empty namespace with the same interfaces:
/// in sync.
pub fn approved(live: &Live) -> Outcome {
    let before = live.kept();
    live.script(&format!("add chain inet {EXPIRING} approved")).unwrap();
    // The quick look and the full one have to agree on it.
    if let Err(error) = live.check() {
        return Outcome::Wrong(error);
    }
    let files = match live.approve() {
        Ok(files) => files,
        Err(error) => return Outcome::Wrong(format!("approve: {error}")),
    };
    let host = Netns::create().unwrap();
    let loaded = host.run(|| {
        for (index, name) in before.interfaces.iter().filter(|(_, name)| name.as_slice() != b"lo") {
            links::make(*index, name).unwrap();
        }
        make_ipsets(&live.entry);
        load(&files, &before)
    });
    if let Err(error) = loaded.unwrap() {
        return Outcome::Wrong(format!("the files do not load: {error}"));
    }
    match live.check_other(&host) {
        Ok(result) if result.verdict == Verdict::InSync => Outcome::Right,
        Ok(result) => Outcome::Wrong(format!("{:?}: {}", result.verdict, crate::described(&result.changes))),
        Err(error) => Outcome::Wrong(error),
    }
}

/// Loads a baseline's files in the calling thread's namespace with the tools that they are written for; where a
/// table needs its exact form, as fwdrift itself loads it.
fn load(files: &Files, host: &Ruleset) -> Result<(), String> {
    if files.keys().any(|path| path.ends_with(".exact")) {
        let capture = baseline::compile(files, &host.interfaces).map_err(|error| error.to_string())?;
        let ruleset = normalise(&capture).map_err(|error| error.to_string())?;
        return decode::transplant(&ruleset).map(drop).map_err(|error| error.to_string());
    }
    let directory = tempfile::tempdir().unwrap();
    for (path, content) in files {
        let name = path.rsplit('/').next().unwrap();
        let tool = match name.rsplit_once('.') {
            Some((_, "nft")) => {
                let file = directory.path().join(name);
                std::fs::write(&file, content).unwrap();
                Tool::find("nft").unwrap().args(["-f", file.to_str().unwrap()])
            }
            Some((stem, "rules")) => {
                let program = match (stem.contains("legacy"), stem.contains("v6")) {
                    (false, false) => "iptables-nft-restore",
                    (false, true) => "ip6tables-nft-restore",
                    (true, false) => "iptables-legacy-restore",
                    (true, true) => "ip6tables-legacy-restore",
                };
                let lock = directory.path().join("lock");
                let tool = Tool::find(program).unwrap().input(content.clone());
                tool.env("XTABLES_LOCKFILE", lock.to_str().unwrap())
            }
            _ => continue,
        };
        tool.run().map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}
