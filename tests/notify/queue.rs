//! What the queue promises: nothing is lost by a kill, a full disk or a full queue, and whoever is to be told next is
//! told of that.

use crate::receiver::{DROP, Http, Site, kinds};
use crate::support::{NAME, RULES};
use std::process::Command;

const HOOK: &str = "[notify.webhook]\nurl = 'http://127.0.0.1:8080/'\n";

#[test]
fn killed_between_queueing_and_delivery_it_delivers_in_the_next_run() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "hang");
    site.record(0);
    site.host.nft(DROP);
    let mut child = site.spawn(&["record", "-q"]);
    http.server
        .until("the attempt that hangs", || Some(http.requests()).filter(|requests| requests.len() == 1));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(site.host.events().len(), 2, "it was recorded before");
    site.record(1);
    assert_eq!(http.seqs(), [2]);
    let requests = http.requests();
    assert_eq!(requests[0]["headers"]["idempotency-key"], requests[1]["headers"]["idempotency-key"]);
}

#[test]
fn killed_between_recording_and_queueing_it_queues_in_the_next_run() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    let lock = site.host.repo().join(format!(".git/fwdrift/alerts/{NAME}/queue/lock"));
    let lock = std::fs::File::open(lock).unwrap();
    lock.lock().unwrap();
    site.host.nft(DROP);
    let mut child = site.spawn(&["record", "-q"]);
    let ledger = || site.host.git(&["rev-list", "--count", &format!("live/{NAME}")]);
    http.server.until("the event", || Some(()).filter(|()| ledger() == "2\n"));
    child.kill().unwrap();
    child.wait().unwrap();
    lock.unlock().unwrap();
    assert!(http.requests().is_empty());
    site.record(1);
    assert_eq!(http.seqs(), [2]);
}

#[test]
fn killed_at_any_instant_it_loses_no_alert_and_keeps_their_order() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    let begun = std::time::Instant::now();
    site.drift();
    let usual = begun.elapsed();
    let rounds = 24;
    for round in 0..rounds {
        site.host.nft(&format!("add rule inet filter input tcp dport {} accept", 8000 + round));
        let mut child = site.spawn(&["record", "-q"]);
        std::thread::sleep(usual.mul_f64(f64::from(round) * 1.2 / f64::from(rounds)));
        child.kill().unwrap();
        child.wait().unwrap();
        if round % 5 == 4 {
            site.record(1);
        }
    }
    site.record(1);
    let recorded: Vec<u64> =
        site.host.events()[1..].iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    let mut told = http.seqs();
    let ids: std::collections::HashSet<String> =
        http.alerts().iter().map(|alert| alert["id"].as_str().unwrap().to_owned()).collect();
    assert!(told.is_sorted(), "{told:?}");
    told.dedup();
    assert_eq!(told, recorded);
    assert_eq!(ids.len(), recorded.len(), "an alert that came twice has the same id");
}

#[test]
fn two_runs_at_once_tell_each_alert_once() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    for round in 0..4 {
        site.host.nft(&format!("add rule inet filter input tcp dport {} accept", 8000 + round));
        let mut running: Vec<_> = (0..4).map(|_| site.spawn(&["record", "-q"])).collect();
        running.iter_mut().for_each(|child| assert_eq!(child.wait().unwrap().code(), Some(1)));
    }
    site.record(1);
    assert_eq!(http.seqs(), [2, 3, 4, 5]);
}

/// Runs `record` with a file system of its own for the queue, which is full.
fn record_on_full_disk(site: &Site) -> std::process::Output {
    let program = site.host.command(&["record", "-q"]);
    let queue = site.host.repo().join(".git/fwdrift/alerts");
    let script = "cp -a \"$Q\" /dev/shm/fwdrift-$$; mount -t tmpfs -o size=64k tmpfs \"$Q\"; \
                  cp -a /dev/shm/fwdrift-$$/. \"$Q\"; rm -rf /dev/shm/fwdrift-$$; \
                  cat /dev/zero >\"$Q/ballast\" || true; exec \"$@\"";
    let mut shell = Command::new("unshare");
    shell
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("Q", queue)
        .env("TMPDIR", site.host.path(""));
    shell.args(["-m", "sh", "-c", script, "sh"]).arg(program.get_program()).args(program.get_args());
    site.inside(|| shell.output().unwrap())
}

#[test]
fn where_the_queue_has_no_room_the_drift_is_recorded_and_it_is_told() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    site.host.nft(DROP);
    let output = record_on_full_disk(&site);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("fwdrift: alerts: cannot write ") && said.contains("No space left on device"),
        "{said}"
    );
    assert!(said.contains("hint: make room on the disk"), "{said}");
    assert_eq!(site.host.events().len(), 2);
    assert!(http.requests().is_empty());
    site.record(1);
    assert_eq!(http.seqs(), [2], "as soon as there is room");
}

#[test]
fn a_full_queue_drops_the_oldest_and_says_so() {
    let site = Site::new(&format!("[notify]\nqueue_alerts = 2\n{HOOK}"));
    site.record(0);
    for round in 0..4 {
        site.host.nft(&format!("add rule inet filter input tcp dport {} accept", 8000 + round));
        site.record(1);
    }
    let http = Http::start(&site, 8080, "");
    site.record(1);
    let alerts = http.alerts();
    assert_eq!(kinds(&alerts), "dropped:notice drift:open drift:open");
    let message = alerts[0]["message"].as_str().unwrap();
    assert_eq!(
        message,
        format!("{NAME}: 2 alerts were dropped, as too many waited; `fwdrift log` has every event")
    );
    assert_eq!(http.seqs(), [4, 5]);
    let queue = site.host.repo().join(format!(".git/fwdrift/alerts/{NAME}/queue"));
    let files = std::fs::read_dir(queue).unwrap().count();
    assert!(files <= 4, "{files}");
}

#[test]
fn one_that_is_away_stops_no_other_and_a_new_one_begins_where_it_was_named() {
    let two = "[[notify.webhook]]\nname = 'away'\nurl = 'http://127.0.0.1:8081/'\n\
               [[notify.webhook]]\nname = 'here'\nurl = 'http://127.0.0.1:8080/'\n";
    let site = Site::new(two);
    let here = Http::start(&site, 8080, "");
    site.record(0);
    site.drift();
    assert_eq!(here.seqs(), [2]);
    site.configure(&format!("{two}[notify.command]\nrun = ['/bin/sh', '-c', 'cat >>DIR/in']\n"));
    site.record(1);
    assert!(!site.host.path("in").exists(), "it was not there yet");
    site.revert();
    let told = std::fs::read_to_string(site.host.path("in")).unwrap();
    assert_eq!(told.lines().count(), 1);
    let away = Http::start(&site, 8081, "");
    site.record(0);
    assert_eq!((away.seqs(), here.seqs()), (vec![2, 3], vec![2, 3]));
}

#[test]
fn doctor_has_a_line_for_each_receiver() {
    let config = "[[notify.webhook]]\nname = 'chat'\nurl = 'http://127.0.0.1:8080/'\nsecret_file = 'DIR/key'\n\
                  [[notify.webhook]]\nname = 'far'\nurl = 'http://192.0.2.1/'\nkinds = ['checkpoint']\n";
    let site = Site::new(config);
    site.host.file("key", "geheim");
    let status = |name: &str| {
        let text = site.run(&["doctor", "--format", "json"]).stdout;
        let found: serde_json::Value = serde_json::from_str(&text).unwrap();
        let findings = found["findings"].as_array().unwrap().clone();
        let fits = |f: &serde_json::Value| {
            f["name"] == "alerts.webhook" && f["detail"].as_str().unwrap().contains(name)
        };
        let finding = findings.into_iter().find(fits).unwrap();
        (finding["status"].as_str().unwrap().to_owned(), finding["detail"].as_str().unwrap().to_owned())
    };
    let (state, detail) = status("webhook-chat: ");
    assert!(state == "warn" && detail.contains("everybody can read the secret in "), "{detail}");
    let (state, detail) = status("webhook-far: ");
    assert!(state == "warn" && detail.ends_with("what is sent crosses a network unencrypted"), "{detail}");
    let key = site.host.path("key");
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    site.record(0);
    site.drift();
    let (state, detail) = status("webhook-chat: ");
    assert!(state == "warn" && detail.contains("failing since ") && detail.contains("1 waiting"), "{detail}");
    let _http = Http::start(&site, 8080, "");
    site.record(1);
    let (state, detail) = status("webhook-chat: ");
    assert!(state == "ok" && detail.contains("0 waiting; last delivered "), "{detail}");
}

#[test]
fn all_namespaces_tell_under_their_own_names() {
    // The rest of --all-netns is tested elsewhere; here a namespace has its own queue by its name.
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    let as_blue = |args: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_fwdrift"));
        program.env_clear().arg("--config").arg(site.host.path("config.toml"));
        program.args(["--netns", &site.host.netns_path(), "--host", "db-01@blue"]).args(args);
        site.inside(|| program.output().unwrap()).status.code()
    };
    assert_eq!(as_blue(&["init"]), Some(0));
    assert_eq!(as_blue(&["record", "-q"]), Some(0));
    site.host.nft(&format!("flush ruleset\n{RULES}\nadd table ip blue"));
    assert_eq!(as_blue(&["record", "-q"]), Some(1));
    assert_eq!(http.alerts()[0]["host"], "db-01@blue");
    assert!(site.host.repo().join(".git/fwdrift/alerts/db-01@blue/queue/state.json").exists());
}
