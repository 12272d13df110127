//! node_exporter, which reads the textfile and serves what it understood.

use crate::receiver::{DROP, Site, have};
use std::os::unix::fs::PermissionsExt;

/// The samples of fwdrift that node_exporter serves; fails if it found anything wrong with the file.
#[track_caller]
fn scrape(site: &Site) -> Vec<String> {
    let text = site.get("http://127.0.0.1:9100/metrics").unwrap();
    assert!(text.contains("\nnode_textfile_scrape_error 0\n"), "{text}");
    text.lines()
        .filter(|line| line.contains("fwdrift_") && !line.contains("mtime"))
        .map(str::to_owned)
        .collect()
}

#[track_caller]
fn value(samples: &[String], name: &str) -> String {
    let line = samples
        .iter()
        .find_map(|line| line.strip_prefix(name))
        .unwrap_or_else(|| panic!("{name}: {samples:#?}"));
    line.trim().to_owned()
}

#[test]
fn node_exporter_serves_the_state_of_the_firewall() {
    if !have("prometheus-node-exporter") {
        return;
    }
    let site = Site::new("[notify.textfile]\ndirectory = 'DIR/metrics'\n");
    std::fs::create_dir(site.host.path("metrics")).unwrap();
    let directory = site.host.path("metrics");
    let server = site.serve(&format!(
        "exec prometheus-node-exporter --collector.disable-defaults --collector.textfile \
         --collector.textfile.directory={} --web.listen-address=127.0.0.1:9100",
        directory.display()
    ));
    server.until("node_exporter", || site.get("http://127.0.0.1:9100/metrics"));
    site.record(0);
    let open = "fwdrift_drift_changes{netns=\"\",severity=\"unknown\"}";
    let samples = scrape(&site);
    for (name, kind) in [
        ("fwdrift_drift_changes", "gauge"),
        ("fwdrift_last_success_timestamp_seconds", "gauge"),
        ("fwdrift_capture_complete", "gauge"),
        ("fwdrift_ruleset_generation", "gauge"),
        ("fwdrift_unattributed_changes_total", "counter"),
    ] {
        assert!(samples.contains(&format!("# TYPE {name} {kind}")), "{name}: {samples:#?}");
        assert!(samples.iter().any(|line| line.starts_with(&format!("# HELP {name} "))), "{name}");
    }
    assert_eq!(value(&samples, open), "0");
    let generation = value(&samples, "fwdrift_ruleset_generation{netns=\"\"}").parse::<u32>().unwrap();
    let mode = std::fs::metadata(directory.join("fwdrift.prom")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "its reader is not root");

    site.host.nft(&format!("{DROP}\nadd table ip another"));
    site.record(1);
    let samples = scrape(&site);
    let of = |severity: &str| value(&samples, &open.replace("unknown", severity));
    assert_eq!(["medium", "info", "unknown"].map(of), ["1", "1", "0"], "{samples:#?}");
    assert_eq!(value(&samples, "fwdrift_unattributed_changes_total{netns=\"\"}"), "2");
    assert_eq!(value(&samples, "fwdrift_ruleset_generation{netns=\"\"}"), (generation + 1).to_string());
    assert_eq!(value(&samples, "fwdrift_capture_complete{netns=\"\"}"), "1");
    let looked = |samples: &[String]| {
        value(samples, "fwdrift_last_success_timestamp_seconds{netns=\"\"}").parse::<f64>().unwrap()
    };
    let then = looked(&samples);
    assert!((chrono::Utc::now().timestamp() as f64 - then).abs() < 60.0);

    // A look that fails says so, and keeps the rest.
    let mut blind = std::process::Command::new(env!("CARGO_BIN_EXE_fwdrift"));
    blind.env_clear().arg("--config").arg(site.host.path("config.toml"));
    assert_eq!(blind.args(["--netns", "/nonexistent/ns", "record"]).output().unwrap().status.code(), Some(2));
    let samples = scrape(&site);
    assert_eq!(value(&samples, "fwdrift_capture_complete{netns=\"\"}"), "0");
    let medium = open.replace("unknown", "medium");
    assert_eq!((value(&samples, &medium), looked(&samples)), ("1".to_owned(), then));

    site.revert();
    let samples = scrape(&site);
    assert_eq!(value(&samples, open), "0");
    assert_eq!(value(&samples, "fwdrift_unattributed_changes_total{netns=\"\"}"), "2");
}

#[test]
fn a_directory_that_is_missing_is_told_and_stops_nothing() {
    let site = Site::new("[notify.textfile]\ndirectory = 'DIR/none'\n");
    let said = site.record(0);
    assert!(
        said.contains("cannot write the metrics in ") && said.contains("hint: make it: install -d "),
        "{said}"
    );
    site.host.nft(DROP);
    site.record(1);
    assert_eq!(site.host.events().len(), 2);
}
