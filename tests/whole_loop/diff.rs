//! `diff` compares any two sides, says which, reads only, and its exit code tells same from different.

use crate::support::{Host, NAME, RULES, ids, kinds, lines, snapshot};
use serde_json::Value;

const OPENED: &str = "add rule inet filter input tcp dport 5432 accept";

fn diff(host: &Host, from: &str, to: &str, code: i32) -> Value {
    let run = host.run(&["diff", from, to, "--format", "json"]);
    assert_eq!(run.code, Some(code), "{from} {to}: {run:?}");
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(result["schema"], "fwdrift.diff/1");
    assert_eq!((&result["from"]["given"], &result["to"]["given"]), (&from.into(), &to.into()));
    result
}

fn found(host: &Host, from: &str, to: &str) -> Vec<String> {
    let run = host.run(&["diff", from, to, "--format", "json"]);
    let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
    let changes = result["changes"].as_array().unwrap();
    assert_eq!(run.code, Some(i32::from(!changes.is_empty())), "{run:?}");
    lines(changes)
}

#[test]
fn every_pair_of_sides_that_say_the_same_is_the_same_and_one_rule_is_one_difference() {
    let host = Host::new(RULES);
    let file = host.file("rules.nft", &format!("flush ruleset\n{RULES}"));
    let root = host.file("root/etc/nftables.conf", &format!("flush ruleset\n{RULES}"));
    let root = root.trim_end_matches("/etc/nftables.conf").to_owned();
    crate::boot::enable_nftables(&host);
    let pairs = |expect: &dyn Fn(&str, &str) -> Vec<String>| {
        let ledger = format!("live/{NAME}");
        let sides = ["live", "baseline", "boot", "main", ledger.as_str(), file.as_str()];
        for from in sides {
            for to in sides {
                let run = host.run(&["diff", from, to, "--boot-root", &root, "--format", "json"]);
                let result: Value = serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{run:?}"));
                let changes = lines(result["changes"].as_array().unwrap());
                assert_eq!(changes, expect(from, to), "{from} {to}");
                assert_eq!(run.code, Some(i32::from(!changes.is_empty())), "{from} {to}");
            }
        }
    };
    pairs(&|_, _| Vec::new());
    host.nft(OPENED);
    pairs(&|from, to| match (from == "live", to == "live") {
        (false, true) => vec!["added rule inet filter/input: - -> tcp dport 5432 accept".to_owned()],
        (true, false) => vec!["removed rule inet filter/input: tcp dport 5432 accept -> -".to_owned()],
        _ => Vec::new(),
    });
}

#[test]
fn a_revision_is_the_baseline_of_this_host_at_that_commit() {
    let host = Host::new(RULES);
    let first = host.git(&["rev-parse", "main"]).trim().to_owned();
    host.nft(OPENED);
    host.run(&["approve", "--yes", "-m", "the database"]).ended(0);
    let expect = ["added rule inet filter/input: - -> tcp dport 5432 accept"];
    for old in [first.as_str(), &first[..10], "main~1", "main^"] {
        assert_eq!(found(&host, old, "main"), expect, "{old}");
        assert_eq!(found(&host, old, "live"), expect, "{old}");
    }
    let result = diff(&host, "main~1", "baseline", 1);
    assert_eq!((&result["from"]["kind"], &result["to"]["kind"]), (&"revision".into(), &"baseline".into()));
    assert_eq!(result["from"]["commit"], first);
    assert_eq!(result["from"]["path"], format!("baselines/{NAME}"));
    assert_eq!(result["summary"]["added"], 1);
    host.git(&["tag", "before-the-change", &first]);
    assert_eq!(found(&host, "before-the-change", "main"), expect);
}

#[test]
fn a_ledgers_revision_is_what_it_recorded_then() {
    let host = Host::new(RULES);
    host.nft(OPENED);
    assert_eq!(kinds(&host.record()), ["drift"]);
    host.nft("flush chain inet filter forward; delete table inet filter");
    host.nft(RULES);
    assert_eq!(kinds(&host.record()), ["reverted"]);
    let (now, then) = (format!("live/{NAME}"), format!("live/{NAME}~1"));
    assert_eq!(found(&host, &now, "live"), Vec::<String>::new());
    assert_eq!(found(&host, &then, "live"), ["removed rule inet filter/input: tcp dport 5432 accept -> -"],);
    assert_eq!(diff(&host, &then, "baseline", 1)["from"]["kind"], "ledger");
}

#[test]
fn a_difference_from_the_baseline_has_the_id_and_the_author_that_check_gives_it() {
    let mut host = Host::bare();
    host.start_audit();
    host.nft(RULES);
    host.run(&["init"]).ended(0);
    host.login(3_100_021, &format!("nft '{OPENED}'"));
    host.record();
    let check = host.check(1);
    let result = diff(&host, "baseline", "live", 1);
    let of = |value: &Value| ids(value["changes"].as_array().unwrap());
    assert_eq!(of(&result), of(&check));
    assert_eq!(result["changes"][0]["author"]["auid"], 3_100_021);
    let text = host.run(&["diff", "baseline", "live"]).ended(1);
    assert!(text.contains("uid 3100021") && text.contains("+ tcp dport 5432 accept"), "{text}");
    // Nobody made the one side from the other here.
    let back = host.run(&["diff", "live", "baseline"]).ended(1);
    assert!(!back.contains("unknown") && back.contains("- tcp dport 5432 accept"), "{back}");
}

#[test]
fn files_of_each_format_and_directories_are_sides() {
    let host = Host::new("");
    host.sh("iptables-nft -A INPUT -p tcp --dport 22 -j ACCEPT; iptables-nft -P FORWARD DROP");
    let saved = host.file("saved.rules", &host.sh("iptables-nft-save"));
    assert_eq!(found(&host, &saved, "live"), Vec::<String>::new());
    let other = std::fs::read_to_string(&saved).unwrap().replace("--dport 22", "--dport 23");
    let other = host.file("other.rules", &other);
    let expect = "modified rule ip filter/INPUT: -A INPUT -p tcp -m tcp --dport 23 -j ACCEPT -> \
                  -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT";
    assert_eq!(found(&host, &other, "live"), [expect]);
    let directory = host.path("copy");
    let directory = directory.to_str().unwrap();
    host.run(&["approve", "--yes", "-m", "x"]).ended(0);
    host.sh(&format!("mkdir -p {directory}; cp -r {}/baselines/{NAME}/. {directory}", host.repo().display()));
    assert_eq!(found(&host, directory, "live"), Vec::<String>::new());
    assert_eq!(diff(&host, directory, "live", 0)["from"]["kind"], "directory");
}

#[test]
fn a_word_that_names_two_things_or_nothing_is_an_error_that_says_how_to_say_it() {
    let host = Host::new(RULES);
    host.git(&["tag", "odd", "main"]);
    let file = host.file("odd", RULES);
    let directory = std::path::Path::new(&file).parent().unwrap();
    let run = |args: &[&str]| -> crate::support::Run {
        host.command(args).current_dir(directory).output().unwrap().into()
    };
    let ambiguous = run(&["diff", "odd", "live"]).failed();
    assert!(ambiguous.contains("./odd") && ambiguous.contains("odd^0"), "{ambiguous}");
    run(&["diff", "./odd", "live"]).ended(0);
    run(&["diff", "odd^0", "live"]).ended(0);
    host.file("only.nft", RULES);
    run(&["diff", "only.nft", "live"]).ended(0);
    for wrong in ["nosuch", "main~99", "main:baselines", "", "-", "a b", "nosuch\x1b[2J", "@{"] {
        let failed = host.run(&["diff", "--", wrong, "live"]).failed();
        assert!(failed.contains("is no side") && !failed.contains('\x1b'), "{wrong:?}: {failed}");
    }
    let failed = host.run(&["diff", "./nosuch.nft", "live"]).failed();
    assert!(failed.contains("./nosuch.nft"), "{failed}");
    let empty = host.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let failed = host.run(&["diff", empty.to_str().unwrap(), "live"]).failed();
    assert!(failed.contains("layout"), "{failed}");
    let refused = host.file("bad.nft", "table inet x { nonsense }\n");
    host.run(&["diff", &refused, "live"]).failed();
    let other = host.run(&["--host", "web-99", "diff", "main", "live"]).failed();
    assert!(other.contains("web-99"), "{other}");
}

#[test]
fn without_a_repository_files_and_the_live_state_can_be_compared() {
    let host = Host::bare();
    host.nft(RULES);
    let file = host.file("rules.nft", RULES);
    assert_eq!(found(&host, "live", &file), Vec::<String>::new());
    assert!(host.run(&["diff", "live", "baseline"]).failed().contains("no repository"));
    assert!(host.run(&["diff", "live", "main"]).failed().contains("no repository"));
}

#[test]
fn diff_writes_nothing() {
    let host = Host::new(RULES);
    host.nft(OPENED);
    let (files, generation) = (snapshot(&host.repo()), host.check(1)["generation"].clone());
    for (from, to) in [("baseline", "live"), ("main", "boot"), ("live", "boot")] {
        host.run(&["diff", from, to, "--boot-root", host.path("").to_str().unwrap()]);
    }
    assert_eq!(snapshot(&host.repo()), files);
    assert_eq!(host.check(1)["generation"], generation);
}
