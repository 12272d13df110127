//! systemd's journal: a journald of its own, read back with journalctl.

use crate::receiver::{Server, Site, have};
use serde_json::Value;
use std::process::Command;

const JOURNALD: &str = "mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /var/log; \
    [ -s /etc/machine-id ] || { echo 2cd54a685cf347c7a4a9eea5732d390c >$D/id; mount --bind $D/id /etc/machine-id; }; \
    exec /usr/lib/systemd/systemd-journald fwdrift-test";

/// Every entry of fwdrift in the journal of a journald.
fn entries(server: &Server) -> Vec<Value> {
    let journal = format!("/proc/{}/root/var/log/journal", server.pid());
    let Ok(mut places) = std::fs::read_dir(&journal) else { return Vec::new() };
    let Some(Ok(place)) = places.next() else { return Vec::new() };
    let mut journalctl = Command::new("journalctl");
    journalctl.args(["--no-pager", "--all", "-o", "json", "-t", "fwdrift", "--directory"]).arg(place.path());
    let output = journalctl.output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn an_entry_has_fields_of_its_own_for_what_is_searched_for() {
    if !have("systemd-journald") {
        return;
    }
    let site = Site::new("");
    let server = site.serve(JOURNALD);
    let socket = format!("/proc/{}/root/run/systemd/journal.fwdrift-test/socket", server.pid());
    server.until("journald", || std::fs::exists(&socket).ok().filter(|there| *there));
    site.configure(&format!("[notify.journald]\nsocket = {socket:?}\n"));
    site.record(0);
    // A comment that tries to be a field, and many changes.
    let rules: Vec<String> = (0..60)
        .map(|n| {
            format!("add rule inet filter input tcp dport {} drop comment \"a\nPRIORITY=0\x1b\"", 8000 + n)
        })
        .collect();
    site.host.nft(&rules.join("\n"));
    assert_eq!(site.record(1), "");
    site.revert();
    let found = server.until("the second entry", || Some(entries(&server)).filter(|found| found.len() == 2));
    let drift = &found[0];
    for (field, value) in [
        ("MESSAGE_ID", "32baa13da79545bd958867cc14fc8d06"),
        ("PRIORITY", "4"),
        ("FWDRIFT_KIND", "drift"),
        ("FWDRIFT_STATUS", "open"),
        ("FWDRIFT_HOST", "db-01"),
        ("FWDRIFT_AUTHOR", "unknown"),
        ("FWDRIFT_EVIDENCE", "none"),
        ("FWDRIFT_CHANGES", "60"),
        ("FWDRIFT_SEQ", "2"),
        ("_TRANSPORT", "journal"),
    ] {
        assert_eq!(drift[field], value, "{field} in {drift:#}");
    }
    let message = drift["MESSAGE"].as_str().unwrap();
    assert!(message.contains("an unknown author added 60 rules in inet filter input between "), "{message}");
    let alert: Value = serde_json::from_str(drift["FWDRIFT_ALERT"].as_str().unwrap()).unwrap();
    let ids: Vec<&Value> = alert["changes"].as_array().unwrap().iter().map(|change| &change["id"]).collect();
    assert!(ids.len() > 10, "{}", ids.len());
    assert_eq!(drift["FWDRIFT_CHANGE_ID"].as_array().unwrap().iter().collect::<Vec<_>>(), ids);
    assert_eq!(alert["changes_total"], 60);
    let reverted = &found[1];
    assert_eq!(reverted["PRIORITY"], "5");
    assert_eq!(reverted["FWDRIFT_RESOLVES"], drift["FWDRIFT_ALERT_ID"]);
}
