//! `init --from`: files that a person wrote become the baseline, whole or not at all.

use crate::support::{Host, lines, snapshot};

#[test]
fn a_file_with_defines_and_includes_is_adopted_as_it_is() {
    let host = Host::bare();
    let absolute = host.file("elsewhere/ssh.nft", "add rule inet t input tcp dport $ssh accept\n");
    host.file("etc/rules.d/10-web.nft", "add rule inet t input tcp dport { 80, 443 } accept\n");
    host.file("etc/rules.d/20-db.nft", "add rule inet t input ip saddr $net tcp dport 3306 accept\n");
    host.file("etc/vars.nft", "define ssh = 22\ndefine net = 10.0.0.0/8\n");
    let main = format!(
        "#!/usr/sbin/nft -f\ninclude \"./vars.nft\"\ntable inet t {{\n  chain input {{ type filter hook input priority 0; policy drop; }}\n}}\ninclude {absolute:?}\ninclude \"./rules.d/1*.nft\"\ninclude \"{}/rules.d/2*.nft\"\n",
        host.path("etc").display()
    );
    let main = host.file("etc/nftables.conf", &main);
    // nft itself looks for `rules.d` in /etc only, unless it is told of another directory.
    host.sh(&format!("cd {}; nft -I . -f {main}", host.path("etc").display()));
    host.run(&["init", "--from", &main]).ended(0);
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
    let stored = host.git(&["grep", "-h", "", "main"]);
    assert!(stored.contains("define net = 10.0.0.0/8") && stored.contains("$net"), "{stored}");
    // What was adopted does not depend on the files any more.
    std::fs::remove_dir_all(host.path("etc")).unwrap();
    std::fs::remove_dir_all(host.path("elsewhere")).unwrap();
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
    host.nft("add rule inet t input drop");
    assert_eq!(lines(&host.changes()), ["added rule inet t/input: - -> drop"]);
}

#[test]
fn iptables_save_files_are_adopted_beside_nft_files() {
    let host = Host::bare();
    host.sh(
        "iptables-nft -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT; ip6tables-nft -P INPUT DROP",
    );
    host.nft("table inet own { chain c { accept; }; }");
    let v4 = host.file("rules.v4", &host.sh("iptables-nft-save"));
    let v6 = host.file("rules.v6", &host.sh("ip6tables-nft-save"));
    let own = host.file("own.nft", "table inet own { chain c { accept; }; }\n");
    host.run(&["init", "--from", &v4, &v6, &own]).ended(0);
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
    host.sh("iptables-nft -D INPUT 1");
    let found = lines(&host.changes());
    assert_eq!(
        found,
        ["removed rule ip filter/INPUT: -A INPUT -p tcp -m multiport --dports 22,80 -j ACCEPT -> -"]
    );
}

#[test]
fn a_file_that_does_not_load_gives_the_tools_message_and_leaves_no_repository() {
    let host = Host::bare();
    let before = snapshot(&host.path("")).len();
    let nft = host.file("bad.nft", "table inet t {\n  chain c {\n    tcp dport 22 acept\n  }\n}\n");
    let included = host.file("outer.nft", "table ip ok {}\ninclude \"./bad.nft\"\n");
    let save = host.file("bad.rules", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT --no-such\nCOMMIT\n");
    let missing = host.file("missing.nft", "include \"./none.nft\"\n");
    for (file, said) in [
        (nft.as_str(), vec!["bad.nft:3:", "acept"]),
        (&included, vec!["bad.nft:3:", "acept"]),
        (&save, vec!["line", "3"]),
        (&missing, vec!["missing.nft", "none.nft"]),
        ("/nonexistent/x.nft", vec!["/nonexistent/x.nft"]),
    ] {
        let error = host.run(&["init", "--from", file]).failed();
        assert!(said.iter().all(|part| error.contains(part)), "{file}: {error}");
        assert!(!host.repo().exists(), "{file}");
    }
    assert_eq!(snapshot(&host.path("")).len(), before + 4, "nothing but the four files is there");
}

#[test]
fn a_baseline_that_a_commit_broke_gives_the_tools_message_and_changes_nothing() {
    let host = Host::new("table inet t { chain c { accept; }; }");
    let file = host.repo().join("baselines/db-01/nft/inet-t.nft");
    let text = std::fs::read_to_string(&file).unwrap().replace("accept", "acept");
    let line = text.lines().position(|line| line.contains("acept")).unwrap() + 1;
    std::fs::write(&file, text).unwrap();
    host.git(&["commit", "-qam", "oops"]);
    let before = (snapshot(&host.repo()), host.events());
    for command in [&["check"][..], &["record"], &["approve", "--yes"]] {
        let error = host.run(command).failed();
        assert!(error.contains(&format!("inet-t.nft:{line}:")) && error.contains("acept"), "{error}");
    }
    assert_eq!(host.events(), before.1);
    let unlocked = |files: Vec<(std::path::PathBuf, Vec<u8>)>| {
        files.into_iter().filter(|(path, _)| !path.ends_with("fwdrift/lock")).collect::<Vec<_>>()
    };
    assert_eq!(unlocked(snapshot(&host.repo())), unlocked(before.0));
}

#[test]
fn an_authored_baseline_is_replaced_only_when_that_is_said() {
    let host = Host::bare();
    let file = host
        .file("mine.nft", "define web = { 80, 443 }\ntable inet t { chain c { tcp dport $web accept; }; }\n");
    host.nft(&std::fs::read_to_string(&file).unwrap());
    host.run(&["init", "--from", &file]).ended(0);
    host.nft("add rule inet t c udp dport 53 accept");
    let error = host.run(&["approve", "--yes"]).failed();
    assert!(error.contains("--replace-authored"), "{error}");
    assert_eq!(host.changes().len(), 1);
    host.run(&["approve", "--yes", "--replace-authored"]).ended(0);
    assert_eq!(lines(&host.changes()), Vec::<String>::new());
    assert!(host.git(&["grep", "-h", "", "main"]).contains("udp dport 53"));
}

#[test]
fn init_a_second_time_refuses_and_changes_nothing() {
    let host = Host::new("table ip t {}");
    host.nft("add table ip u");
    let head = host.git(&["rev-parse", "main", "live/db-01"]);
    assert!(host.run(&["init"]).failed().contains("already has an approved baseline"));
    assert_eq!(host.git(&["rev-parse", "main", "live/db-01"]), head);
}

#[test]
fn a_live_state_that_differs_from_adopted_files_is_drift_by_nobody_known() {
    let host = Host::bare();
    let file = host.file("mine.nft", "table inet t { chain c { accept; }; }\n");
    host.nft("table inet t { chain c { accept; drop; }; }");
    host.run(&["init", "--from", &file]).ended(0);
    let events = host.events();
    let drift = events.last().unwrap();
    assert_eq!((&drift["kind"], &drift["author"]["name"]), (&"drift".into(), &"unknown".into()));
    assert_eq!(lines(drift["changes"].as_array().unwrap()), ["added rule inet t/c: - -> drop"]);
    assert!(host.record().is_empty(), "a later look shows the same");
    host.nft("flush chain inet t c; add rule inet t c accept");
    assert_eq!(crate::support::kinds(&host.record()), ["reverted"]);
    assert!(host.record().is_empty());
}
