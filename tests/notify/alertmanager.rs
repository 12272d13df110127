//! Alertmanager, asked through its own API.

use crate::receiver::{Server, Site, have};
use serde_json::Value;

const CONFIG: &str = "[notify.alertmanager]\nurl = 'http://127.0.0.1:9093/'\nlabels = { team = 'net', severity = 'page' }\n\
                      generator_url = 'https://wiki.example.org/firewall'\n";

fn start(site: &Site) -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("am.yml"), "route: {receiver: none}\nreceivers: [{name: none}]\n")
        .unwrap();
    let server = site.serve_in(
        dir,
        "exec prometheus-alertmanager --config.file=$D/am.yml --storage.path=$D/data --cluster.listen-address= \
         --web.listen-address=127.0.0.1:9093",
    );
    server.until("Alertmanager", || site.get("http://127.0.0.1:9093/-/ready"));
    server
}

/// The alerts that are active, in the order of their events.
#[track_caller]
fn active(site: &Site) -> Vec<Value> {
    let text = site.get("http://127.0.0.1:9093/api/v2/alerts").unwrap();
    let mut alerts: Vec<Value> = serde_json::from_str(&text).unwrap();
    alerts.sort_by_key(|alert| alert["labels"]["event"].as_str().unwrap().parse::<u64>().unwrap_or(u64::MAX));
    alerts
}

fn names(alerts: &[Value]) -> Vec<&str> {
    alerts.iter().map(|alert| alert["labels"]["alertname"].as_str().unwrap()).collect()
}

#[test]
fn an_alert_is_active_while_the_drift_is_and_resolved_when_it_ends() {
    if !have("prometheus-alertmanager") {
        return;
    }
    let site = Site::new(CONFIG);
    let server = start(&site);
    site.record(0);
    assert_eq!(site.drift(), "");
    let first = active(&site);
    assert_eq!(names(&first), ["FirewallDrift"]);
    let labels = &first[0]["labels"];
    assert_eq!((&labels["host"], &labels["event"]), (&"db-01".into(), &"2".into()));
    assert_eq!((&labels["team"], &labels["severity"]), (&"net".into(), &"page".into()), "own labels win");
    let event = &site.host.events()[1];
    let times = (crate::support::time(&first[0]["startsAt"]), crate::support::time(&event["time"]));
    assert_eq!(times.0.timestamp_millis(), times.1.timestamp_millis());
    let summary = first[0]["annotations"]["summary"].as_str().unwrap();
    assert!(summary.contains("added 1 rule in inet filter input"), "{summary}");
    let description = first[0]["annotations"]["description"].as_str().unwrap();
    assert!(description.contains("\nnext\n  accept it\n"), "{description}");
    assert_eq!(first[0]["generatorURL"], "https://wiki.example.org/firewall");
    let ends = |alert: &Value| crate::support::time(&alert["endsAt"]);
    let minutes = (ends(&first[0]) - chrono::Utc::now()).num_minutes();
    assert!((58..=60).contains(&minutes), "{minutes}");

    // Nothing new: it is sent again all the same, as the same alert.
    site.record(1);
    let again = active(&site);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["fingerprint"], first[0]["fingerprint"]);
    assert!(ends(&again[0]) > ends(&first[0]));

    // Alertmanager remembers nothing over a restart: the next run tells it.
    drop(server);
    let _server = start(&site);
    assert!(active(&site).is_empty());
    site.record(1);
    assert_eq!(active(&site)[0]["fingerprint"], first[0]["fingerprint"]);

    site.host.nft("insert rule inet filter input tcp dport 23 accept");
    site.record(1);
    assert_eq!(active(&site).len(), 2, "each event is an alert of its own");
    site.host.nft("add table ip gone");
    site.host.nft("delete table ip gone");
    site.revert();
    assert!(active(&site).is_empty(), "{:#?}", active(&site));
}

#[test]
fn what_is_approved_or_seen_again_is_resolved_whatever_kinds_are_wanted() {
    if !have("prometheus-alertmanager") {
        return;
    }
    let site = Site::new(&format!("{CONFIG}kinds = ['drift', 'gap']\n"));
    let _server = start(&site);
    site.record(0);
    site.drift();
    assert_eq!(names(&active(&site)), ["FirewallDrift"]);
    site.run(&["approve", "-m", "planned"]).ended(0);
    site.record(0);
    assert!(active(&site).is_empty());
    let mut blind = std::process::Command::new(env!("CARGO_BIN_EXE_fwdrift"));
    blind.env_clear().arg("--config").arg(site.host.path("config.toml"));
    blind.args(["--netns", "/nonexistent/ns", "record", "-q"]);
    assert_eq!(site.inside(|| blind.output().unwrap()).status.code(), Some(2));
    let unseen = active(&site);
    assert_eq!(names(&unseen), ["FirewallUnseen"]);
    assert_eq!(unseen[0]["labels"]["netns"], "/nonexistent/ns");
    site.record(0);
    assert!(active(&site).is_empty());
}
