//! What the files themselves say, as systemd's own tools read them.

use super::container::{shipped, skipped};
use std::collections::BTreeSet;
use std::process::Command;

const SERVICES: [&str; 2] = ["fwdrift-record.service", "fwdrift-watch.service"];
const ANALYZE: &str = "/usr/bin/systemd-analyze";

fn analyze(args: &[&str]) -> Option<(bool, String)> {
    if !std::path::Path::new(ANALYZE).exists() {
        skipped("no systemd-analyze");
        return None;
    }
    let output = Command::new(ANALYZE).args(args).env("SYSTEMD_PAGER", "").output().unwrap();
    let text = [&output.stdout[..], &output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

/// The exposure that systemd calls by one digit before the point and one after it.
#[test]
fn both_services_are_exposed_by_two_point_zero_or_less() {
    for service in SERVICES {
        let file = shipped(service);
        let args = ["security", "--offline=true", "--threshold=20", "--no-pager", file.to_str().unwrap()];
        let Some((passed, text)) = analyze(&args) else { return };
        assert!(passed, "{service}\n{text}");
    }
}

#[test]
fn no_line_of_a_unit_is_unknown_to_systemd() {
    // A directory of its own: the program is not in /usr/bin where the project is built.
    let dir = tempfile::tempdir().unwrap();
    for unit in ["fwdrift-record.service", "fwdrift-record.timer", "fwdrift-watch.service"] {
        let text = std::fs::read_to_string(shipped(unit)).unwrap();
        std::fs::write(dir.path().join(unit), text.replace("/usr/bin/fwdrift", "/bin/true")).unwrap();
    }
    for drop_in in ["legacy", "alerts"] {
        let into = dir.path().join("fwdrift-.service.d");
        std::fs::create_dir_all(&into).unwrap();
        std::fs::copy(shipped(&format!("fwdrift-{drop_in}.conf")), into.join(format!("{drop_in}.conf")))
            .unwrap();
    }
    for unit in ["fwdrift-record.timer", "fwdrift-watch.service"] {
        let file = dir.path().join(unit);
        let Some((passed, text)) = analyze(&["verify", "--man=no", file.to_str().unwrap()]) else { return };
        let ours: Vec<&str> = text.lines().filter(|line| line.contains("fwdrift")).collect();
        assert!(passed && ours.is_empty(), "{unit}\n{text}");
    }
}

/// The settings below the line that says so, without comments.
fn sandbox(service: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(shipped(service)).unwrap();
    let (_, below) = text.split_once("# -- Sandbox").unwrap();
    let below = below.split("[Install]").next().unwrap();
    let is_setting = |line: &&str| !line.is_empty() && !line.starts_with('#');
    below.lines().skip(1).filter(is_setting).map(str::to_owned).collect()
}

#[test]
fn both_services_have_one_sandbox_but_for_reading_audit_records() {
    let (record, watch) = (sandbox(SERVICES[0]), sandbox(SERVICES[1]));
    assert!(record.len() > 25, "{record:?}");
    let only: Vec<&String> = watch.difference(&record).collect();
    let lacking: Vec<&String> = record.difference(&watch).collect();
    let [has] = only[..] else { panic!("{only:?}") };
    let [had] = lacking[..] else { panic!("{lacking:?}") };
    assert_eq!(*has, format!("{had} CAP_AUDIT_READ"));
}

#[test]
fn each_capability_has_its_comment() {
    for service in SERVICES {
        let text = std::fs::read_to_string(shipped(service)).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
        for capability in line.split_whitespace() {
            assert!(text.contains(&format!("\n# {capability} ")), "{service}: {capability}");
        }
    }
}
