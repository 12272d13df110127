//! A webhook, received by Python's HTTP server; the signature is checked by openssl.

use crate::receiver::{DROP, DROP_TEXT, Http, Site, body, kinds};
use crate::support::{Host, RULES};
use serde_json::Value;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const HOOK: &str = "[notify.webhook]\nurl = 'http://127.0.0.1:8080/hook?x=y'\nsecret = 'geheim'\n";

/// HMAC-SHA256 as openssl makes it.
fn hmac(key: &str, text: &str) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-hmac", key]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = openssl.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn drift_and_its_end_arrive_signed_and_whole() {
    let site = Site::of(Host::audited(RULES), HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    assert!(http.requests().is_empty(), "what was recorded before the first run is no news");
    site.host.login(3_100_005, &format!("nft {DROP:?}"));
    assert_eq!(site.record(1), "");
    site.revert();
    let requests = http.requests();
    assert_eq!(requests.len(), 2, "{requests:#?}");
    for request in &requests {
        let header = |name: &str| request["headers"][name].as_str().unwrap().to_owned();
        let text = format!("{}.{}", header("x-fwdrift-timestamp"), request["body"].as_str().unwrap());
        assert_eq!(header("x-fwdrift-signature"), format!("sha256={}", hmac("geheim", &text)));
        let age = chrono::Utc::now().timestamp() - header("x-fwdrift-timestamp").parse::<i64>().unwrap();
        assert!((0..60).contains(&age), "{age}");
        assert_eq!(header("idempotency-key"), body(request)["id"].as_str().unwrap());
        assert_eq!(header("content-type"), "application/json");
        assert_eq!(request["path"], "/hook?x=y");
    }
    let alerts = http.alerts();
    assert_eq!(kinds(&alerts), "drift:open reverted:ended");
    let drift = &alerts[0];
    assert_eq!(drift["schema"], "fwdrift.alert/1");
    assert_eq!((&drift["number"], &drift["seq"], &drift["open"]), (&1.into(), &2.into(), &1.into()));
    assert_eq!(drift["author"]["auid"], 3_100_005);
    assert_eq!(drift["changes"][0]["after"], DROP_TEXT);
    let message = drift["message"].as_str().unwrap();
    let id = drift["changes"][0]["id"].as_str().unwrap();
    let what =
        format!("added 1 rule in inet filter input at {}Z: + {DROP_TEXT} (approve: ", &time(drift)[..19]);
    assert!(message.starts_with("db-01 (netns /proc/") && message.contains(&what), "{message}");
    assert!(message.contains(&format!(" approve {id} -m \"…\"; undo: nsenter --net=")), "{message}");
    assert!(message.ends_with(" nft delete rule inet filter input handle N)"), "{message}");
    assert_eq!(alerts[1]["resolves"][0]["id"], drift["id"], "{:#?}", alerts[1]);
}

fn time(alert: &Value) -> String {
    alert["time"].as_str().unwrap().to_owned()
}

#[test]
fn the_same_open_drift_is_told_once_and_again_when_it_came_back() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    site.drift();
    site.record(1);
    site.run(&["record", "--full", "-q"]).ended(1);
    // Somebody moves the ledger's branch back: the drift is recorded anew, and not told anew.
    let live = format!("refs/heads/live/{}", crate::support::NAME);
    site.host.git(&["update-ref", &live, &format!("{live}~1")]);
    site.record(1);
    assert_eq!(site.host.events().len(), 2);
    assert_eq!(kinds(&http.alerts()), "drift:open");
    site.revert();
    site.drift();
    assert_eq!(kinds(&http.alerts()), "drift:open reverted:ended drift:open");
    // Approved by another run that tells nobody: the next one does.
    let mut approve = site.host.command(&["approve", "-m", "planned"]);
    assert!(approve.output().unwrap().status.success());
    site.record(0);
    let alerts = http.alerts();
    assert_eq!(kinds(&alerts[3..]), "approved:ended");
    assert_eq!(alerts[3]["resolves"][0]["id"], alerts[2]["id"]);
    assert!(alerts[3]["message"].as_str().unwrap().contains(", reason: planned"), "{:#?}", alerts[3]);
}

#[test]
fn a_transient_change_and_a_blind_look_are_told() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    site.host.nft("add table ip gone\ndelete table ip gone");
    site.host.nft("add table ip gone");
    site.host.nft("delete table ip gone");
    site.record(0);
    let config = site.host.path("config.toml");
    let config = config.to_str().unwrap();
    let mut blind = Command::new(env!("CARGO_BIN_EXE_fwdrift"));
    blind.env_clear().args(["--config", config, "--netns", "/nonexistent/ns", "record", "-q"]);
    let output = site.inside(|| blind.output().unwrap());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    site.record(0);
    let alerts = http.alerts();
    assert_eq!(kinds(&alerts), "transient:notice gap:open gap:ended");
    assert_eq!(alerts[2]["resolves"][0]["id"], alerts[1]["id"]);
    let message = alerts[1]["message"].as_str().unwrap();
    assert!(message.contains("fwdrift is blind") && message.contains("/nonexistent/ns"), "{message}");
}

#[test]
fn an_answer_of_500_is_followed_by_another_attempt_in_the_same_run() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "500 429");
    site.record(0);
    assert_eq!(site.drift(), "");
    let requests = http.requests();
    assert_eq!(
        requests.iter().map(|r| r["answer"].as_str().unwrap()).collect::<Vec<_>>(),
        ["500", "429", "200"]
    );
    let keys: Vec<&Value> = requests.iter().map(|r| &r["headers"]["idempotency-key"]).collect();
    assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
    assert_eq!(http.seqs(), [2]);
}

#[test]
fn an_alert_that_is_refused_is_reported_and_stops_no_other() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "410");
    site.record(0);
    let said = site.drift();
    assert!(said.contains("alerts to webhook: http://127.0.0.1 answered 410 Gone: said"), "{said}");
    assert_eq!(site.revert(), "");
    assert_eq!(kinds(&http.alerts()), "reverted:ended");
    assert_eq!(http.requests().len(), 2, "no second attempt");
}

#[test]
fn a_redirection_is_not_followed() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "302 302 302");
    site.record(0);
    let said = site.drift();
    assert!(said.contains("answered 302 Found"), "{said}");
    assert!(http.requests().iter().all(|request| request["path"] == "/hook?x=y"));
}

#[test]
fn a_receiver_that_was_away_gets_everything_in_order() {
    let site = Site::new(HOOK);
    site.record(0);
    let said = site.drift();
    assert!(
        said.contains("alerts to webhook: http://127.0.0.1: ") && said.contains("1 alert waits"),
        "{said}"
    );
    assert_eq!(site.revert(), "", "cron mails an outage once");
    site.drift();
    let loud = site.run(&["record"]);
    assert!(loud.stderr.contains("3 alerts wait"), "{loud:?}");
    let http = Http::start(&site, 8080, "");
    site.record(1);
    assert_eq!(http.seqs(), [2, 3, 4]);
    assert_eq!(http.alerts().iter().map(|a| a["number"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_receiver_that_hangs_delays_neither_the_record_nor_other_receivers() {
    let hooks = "[notify]\ntime_limit_seconds = 2\n[[notify.webhook]]\nname = 'slow'\nurl = 'http://127.0.0.1:8080/'\n\
                 [[notify.webhook]]\nname = 'quick'\nurl = 'http://127.0.0.1:8081/'\n";
    let site = Site::new(hooks);
    let (slow, quick) = (Http::start(&site, 8080, "hang hang"), Http::start(&site, 8081, ""));
    site.record(0);
    let begun = Instant::now();
    let said = site.drift();
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert!(said.contains("alerts to webhook-slow: ") && !said.contains("quick"), "{said}");
    assert_eq!(quick.seqs(), [2]);
    assert_eq!(slow.seqs(), [0; 0]);
    assert_eq!(site.host.events().len(), 2);
    site.record(1);
    site.record(1);
    assert_eq!((quick.seqs(), slow.seqs()), (vec![2], vec![2]));
}

#[test]
fn only_a_certificate_that_is_trusted_is_talked_to() {
    let hook = "[notify.webhook]\nurl = 'https://localhost:8443/'\nbearer_token_file = 'DIR/token'\n";
    let site = Site::new(hook);
    site.host.file("token", "t0ken\n");
    let http = Http::start_with(&site, 8443, "", true);
    site.record(0);
    let said = site.drift();
    assert!(said.contains("invalid peer certificate: UnknownIssuer"), "{said}");
    assert!(http.requests().is_empty());
    let ca = http.server.path("ca.pem");
    site.configure(&format!("{hook}ca_file = {ca:?}\n"));
    site.record(1);
    assert_eq!(http.seqs(), [2]);
    assert_eq!(http.requests()[0]["headers"]["authorization"], "Bearer t0ken");
}

#[test]
fn a_secret_that_is_missing_costs_an_alert_and_no_record() {
    let site = Site::new("[notify.webhook]\nurl = 'http://127.0.0.1:8080/'\nsecret_file = 'DIR/key'\n");
    let http = Http::start(&site, 8080, "");
    site.record(0);
    let said = site.drift();
    assert!(said.contains("the secret in ") && said.contains("1 alert waits"), "{said}");
    assert_eq!(site.host.events().len(), 2);
    site.host.file("key", "geheim\n");
    site.record(1);
    assert_eq!(http.seqs(), [2]);
    assert!(!said.contains("geheim"));

    // As systemd hands it over.
    site.configure("[notify.webhook]\nurl = 'http://127.0.0.1:8080/'\nsecret_file = 'hook'\n");
    site.host.nft("add table ip another");
    assert!(site.record(1).contains("fwdrift was not started by systemd with credentials"));
    site.host.file("credentials/hook", "geheim");
    let mut record = site.host.command(&["record", "-q"]);
    record.env("CREDENTIALS_DIRECTORY", site.host.path("credentials"));
    assert_eq!(site.inside(|| record.output().unwrap()).status.code(), Some(1));
    assert_eq!(http.seqs(), [2, 3]);
    let signed = |request: &Value| request["headers"]["x-fwdrift-signature"].is_string();
    assert!(http.requests().iter().all(signed));
}

#[test]
fn hostile_text_arrives_as_text() {
    let site = Site::new(HOOK);
    let http = Http::start(&site, 8080, "");
    site.record(0);
    site.host.nft("add rule inet filter input tcp dport 1 drop comment \"x\x1b[2J\u{202e}\u{9b}31m <!channel> $(reboot)\"");
    site.record(1);
    let request = &http.requests()[0];
    let text = request["body"].as_str().unwrap();
    assert!(text.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{text}");
    let alert = body(request);
    assert!(alert["changes"][0]["after"].as_str().unwrap().contains('\u{202e}'), "the value is whole");
    assert!(alert["message"].as_str().unwrap().contains("\\x1b[2J\\u{202e}"), "{alert:#}");
}
