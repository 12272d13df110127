//! rsyslog, over each of its inputs: it takes the messages apart as RFC 5424 has it.

use crate::receiver::{DROP_TEXT, Server, Site, have};
use serde_json::Value;

const RSYSLOG: &str = r#"
module(load="imuxsock" SysSock.Use="off")
module(load="imtcp")
module(load="imudp")
module(load="mmpstrucdata")
input(type="imuxsock" Socket="DIR/log" UseSpecialParser="off" ParseHostname="on" IgnoreTimestamp="off" UseSysTimeStamp="off")
input(type="imtcp" address="127.0.0.1" port="6514")
input(type="imudp" address="127.0.0.1" port="6514")
template(name="json" type="list") {
  constant(value="{")
  property(name="msg" outname="msg" format="jsonf")
  constant(value=", ") property(name="hostname" outname="host" format="jsonf")
  constant(value=", ") property(name="app-name" outname="app" format="jsonf")
  constant(value=", ") property(name="msgid" outname="msgid" format="jsonf")
  constant(value=", ") property(name="pri" outname="pri" format="jsonf")
  constant(value=", ") property(name="timereported" dateformat="rfc3339" outname="time" format="jsonf")
  constant(value=", ") property(name="protocol-version" outname="version" format="jsonf")
  constant(value=", ") property(name="inputname" outname="input" format="jsonf")
  constant(value=", \"sd\": ") property(name="$!rfc5424-sd")
  constant(value="}\n")
}
action(type="mmpstrucdata" sd_name.lowercase="off")
action(type="omfile" file="DIR/out" template="json")
"#;

fn start(site: &Site) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let config = RSYSLOG.replace("DIR", dir.path().to_str().unwrap());
    std::fs::write(dir.path().join("conf"), config).unwrap();
    let server = site.serve_in(dir, "exec rsyslogd -n -f $D/conf -i $D/pid");
    // Its sockets are all open before it writes its number.
    server.until("rsyslog", || {
        server.path("log").exists().then_some(()).filter(|()| server.path("pid").exists())
    });
    server
}

fn messages(server: &Server) -> Vec<Value> {
    let text = std::fs::read_to_string(server.path("out")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[test]
fn rsyslog_takes_every_field_apart_over_each_transport() {
    if !have("rsyslogd") {
        return;
    }
    let site = Site::new("");
    let server = start(&site);
    let unix = server.path("log").to_str().unwrap().to_owned();
    for (to, input) in
        [(unix.as_str(), "imuxsock"), ("udp://127.0.0.1:6514", "imudp"), ("tcp://127.0.0.1:6514", "imtcp")]
    {
        let _ = std::fs::remove_file(site.host.repo().join(".git/fwdrift/alerts"));
        site.configure(&format!("[notify.syslog]\nto = {to:?}\nfacility = 'local3'\n"));
        site.record(0);
        let before = messages(&server).len();
        let evil = "x] \\ <0>1 - \x1b[2J";
        site.host.nft(&format!("insert rule inet filter input {DROP_TEXT} comment \"{evil}\""));
        assert_eq!(site.record(1), "", "{to}");
        site.revert();
        let found = || Some(messages(&server)).filter(|found| found.len() >= before + 2);
        let found = server.until("the messages", found);
        let [drift, reverted] = &found[before..] else { panic!("{to}: {found:#?}") };
        assert_eq!((&drift["input"], &drift["version"]), (&input.into(), &"1".into()));
        assert_eq!((&drift["host"], &drift["app"]), (&"db-01".into(), &"fwdrift".into()), "{to}: {drift:#}");
        // local3 is 19; a warning, and a notice.
        assert_eq!((&drift["pri"], &reverted["pri"]), (&"156".into(), &"157".into()));
        assert_eq!((&drift["msgid"], &reverted["msgid"]), (&"DRIFT".into(), &"REVERTED".into()));
        let data = &drift["sd"]["fwdrift@32473"];
        assert_eq!((&data["kind"], &data["status"]), (&"drift".into(), &"open".into()), "{drift:#}");
        let event = &site.host.events()[data["seq"].as_str().unwrap().parse::<usize>().unwrap() - 1];
        assert_eq!(data["changeIds"], event["changes"][0]["id"]);
        let time = |value: &Value| crate::support::time(value).timestamp_micros();
        assert_eq!(time(&drift["time"]), time(&event["time"]), "the event's time, not the message's");
        let message = drift["msg"].as_str().unwrap();
        assert!(message.contains(&format!("{DROP_TEXT} comment \"x] \\ <0>1 - \\x1b[2J\"")), "{message}");
        assert_eq!(reverted["sd"]["fwdrift@32473"]["resolves"], data["id"]);
    }
}

#[test]
fn a_daemon_that_is_away_gets_everything_later() {
    if !have("rsyslogd") {
        return;
    }
    for to in ["tcp://127.0.0.1:6514", "udp://127.0.0.1:6514"] {
        let site = Site::new(&format!("[notify.syslog]\nto = {to:?}\n"));
        site.record(0);
        let said = site.drift();
        assert!(said.contains("syslog at 127.0.0.1:6514: Connection refused"), "{said}");
        let server = start(&site);
        site.revert();
        server.until("both messages", || Some(messages(&server)).filter(|found| found.len() == 2));
        let kinds: Vec<String> =
            messages(&server).iter().map(|m| m["msgid"].as_str().unwrap().to_owned()).collect();
        assert_eq!(kinds, ["DRIFT", "REVERTED"]);
    }
}

#[test]
fn a_tcp_receiver_that_reads_nothing_has_not_got_it() {
    let site = Site::new("[notify]\ntime_limit_seconds = 1\n[notify.syslog]\nto = 'tcp://127.0.0.1:6514'\n");
    let listener = site.inside(|| std::net::TcpListener::bind(("127.0.0.1", 6514)).unwrap());
    site.record(0);
    let said = site.drift();
    assert!(said.contains("alerts to syslog: ") && said.contains("1 alert waits"), "{said}");
    drop(listener);
}
