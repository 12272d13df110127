//! The baselines that fwdrift ships load with the real nft, and loading one again changes nothing.

use std::path::Path;
use std::process::{Command, Stdio};

/// Runs a script in a network namespace that ends with it; `$0` is the baseline's path.
fn in_fresh_namespace(script: &str, baseline: &Path) -> String {
    let output = Command::new("/usr/bin/unshare")
        .args(["-n", "--", "/bin/sh", "-euc", script])
        .arg(baseline)
        .env_clear()
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", baseline.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn check(role: &str, rules: &[&str]) {
    let baseline =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("baselines").join(role).join("nft/inet-filter.nft");
    let once = in_fresh_namespace("nft -f \"$0\"; nft -s list ruleset", &baseline);
    let twice = in_fresh_namespace("nft -f \"$0\"; nft -f \"$0\"; nft -s list ruleset", &baseline);
    assert_eq!(once, twice);
    for rule in rules {
        assert!(once.lines().any(|line| line.trim() == *rule), "no {rule:?} in\n{once}");
    }
}

#[test]
fn the_web_servers_baseline_loads_and_reaches_the_database() {
    check(
        "web-server",
        &[
            "type filter hook input priority filter; policy drop;",
            "ip daddr 10.0.2.9 tcp dport 3306 accept comment \"the shop's database\"",
        ],
    );
}

#[test]
fn the_database_servers_baseline_loads_and_lets_the_web_servers_in() {
    check(
        "database-server",
        &[
            "elements = { 10.0.1.0/24 }",
            "ip saddr @web_servers tcp dport 3306 counter accept comment \"the shop's web servers\"",
        ],
    );
}
