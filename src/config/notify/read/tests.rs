use super::*;
use crate::config::notify::{MailTls, Secret};

fn parse(text: &str) -> Result<NotifySettings, String> {
    read(Path::new("c.toml"), text, Some(Path::new("/run/credentials/x"))).map_err(|error| {
        match error.hint() {
            Some(hint) => format!("{error} | {hint}"),
            None => error.to_string(),
        }
    })
}

#[track_caller]
fn error(text: &str, expect: &str) {
    let found = parse(text).unwrap_err();
    assert!(found.contains(expect), "{text}\n{found}");
}

#[test]
fn without_the_table_nobody_is_told() {
    let settings = parse("repo = '/x'\n").unwrap();
    assert!(settings.is_silent());
    assert_eq!(settings, NotifySettings::default());
}

#[test]
fn every_sink_has_defaults() {
    let text = "[notify]\ntime_limit_seconds = 5\nqueue_alerts = 3\nqueue_megabytes = 2\n\
                [notify.journald]\n[notify.syslog]\n[notify.textfile]\ndirectory = '/var/lib/x'\n\
                [notify.command]\nrun = ['/bin/tell', '-x']\nkinds = ['gap', 'drift']\ntimeout_seconds = 3\n";
    let settings = parse(text).unwrap();
    let names: Vec<&str> = settings.sinks.iter().map(|sink| sink.name.as_str()).collect();
    assert_eq!(names, ["journald", "syslog", "command"]);
    assert_eq!(settings.textfile, Some("/var/lib/x".into()));
    assert_eq!(settings.time_limit, Duration::from_secs(5));
    assert_eq!(settings.bounds, QueueBounds { alerts: 3, bytes: 2 << 20 });
    let [journald, syslog, command] = settings.sinks.as_slice() else { panic!("{settings:?}") };
    assert_eq!(journald.kind, SinkKind::Journald { socket: "/run/systemd/journal/socket".into() });
    assert_eq!(journald.kinds.len(), EventKind::ALL.len() - 1);
    assert!(!journald.kinds.contains(&EventKind::Checkpoint));
    let to = SyslogTarget::Unix("/dev/log".into());
    assert_eq!(syslog.kind, SinkKind::Syslog { to, facility: 10 });
    assert_eq!(command.kinds, [EventKind::Drift, EventKind::Gap]);
    assert_eq!(command.timeout, Duration::from_secs(3));
    let arguments = vec!["-x".to_owned()];
    assert_eq!(command.kind, SinkKind::Command(CommandSettings { program: "/bin/tell".into(), arguments }));
}

#[test]
#[cfg(feature = "http")]
fn a_webhook_is_one_table_or_several_with_names() {
    let one = parse("[notify.webhook]\nurl = 'https://x/y'\nsecret_file = 'hook-key'\n").unwrap();
    assert_eq!(one.sinks[0].name, "webhook");
    let SinkKind::Webhook(webhook) = &one.sinks[0].kind else { panic!("{one:?}") };
    let directory = Some("/run/credentials/x".into());
    assert_eq!(webhook.secret, Some(Secret::Credential { name: "hook-key".into(), directory }));

    let two = "[[notify.webhook]]\nname = 'chat'\nurl = 'https://x/'\n[[notify.webhook]]\nname = 'pager'\nurl = 'https://y/'\n";
    let names: Vec<String> = parse(two).unwrap().sinks.into_iter().map(|sink| sink.name).collect();
    assert_eq!(names, ["webhook-chat", "webhook-pager"]);

    let twice = two.replace("pager", "chat");
    error(&twice, "c.toml:5: notify.webhook.name: another webhook has this name");
    error(
        &two.replace("name = 'pager'\n", ""),
        "c.toml:4: notify.webhook: each of several webhooks needs a name",
    );
    error(
        "[notify.webhook]\n",
        "c.toml:1: notify.webhook: url is missing: write url = \"https://example.org/hook\"",
    );
    error(
        "[notify.webhook]\nurl='http://a'\nname='a b'\n",
        "c.toml:3: notify.webhook.name: a name has letters",
    );
    error(
        "[notify.webhook]\nurl='https://x'\nsecret='a'\nsecret_file='/b'\n",
        "c.toml:4: notify.webhook.secret_file: ",
    );
    error("[notify.webhook]\nurl='https://x'\nsecret_file='a/b'\n", "neither an absolute path nor the name");
    error(
        "[notify.webhook]\nurl='https://x'\nbearer_token='a'\nusername='b'\npassword='c'\n",
        "exclude each other",
    );
}

#[test]
#[cfg(feature = "http")]
fn alertmanager_has_labels_and_times() {
    let text = "[notify.alertmanager]\nurl = 'http://127.0.0.1:9093'\nlabels = { team = 'net' }\nresolve_after_minutes = 5\n";
    let settings = parse(text).unwrap();
    let SinkKind::Alertmanager(found) = &settings.sinks[0].kind else { panic!("{settings:?}") };
    assert_eq!((found.refresh.as_secs(), found.resolve_after.as_secs()), (60, 300));
    assert_eq!(found.labels["team"], "net");
    error(
        &text.replace("team", "'1x'"),
        "c.toml:3: notify.alertmanager.labels: \"1x\" is not a label's name",
    );
    error(
        &text.replace("'net'", "5"),
        "c.toml:3: notify.alertmanager.labels: it is a table, not a table of texts",
    );
    error(
        &text.replace("= 5", "= 0"),
        "c.toml:4: notify.alertmanager.resolve_after_minutes: 0 is not between",
    );
}

#[test]
#[cfg(feature = "mail")]
fn mail_is_encrypted_unless_it_is_said_otherwise() {
    let text = "[notify.mail]\nserver = 'mx'\nfrom = 'a@x.org'\nto = ['b@y.org']\n";
    let mail = |more: &str| match &parse(&format!("{text}{more}")).unwrap().sinks[0].kind {
        SinkKind::Mail(mail) => mail.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!((mail("").tls, mail("").port), (MailTls::StartTls, 587));
    assert_eq!((mail("tls = 'implicit'").tls, mail("tls = 'implicit'").port), (MailTls::Implicit, 465));
    assert_eq!(mail("tls = 'none'\nport = 2525").port, 2525);
    assert!(mail("tls = 'none'").is_exposed());
    error(&format!("{text}tls = 'tls'\n"), "c.toml:5: notify.mail.tls: \"tls\" is none of");
    error(&format!("{text}tls = 'none'\nusername = 'u'\npassword = 'p'"), "never sent without encryption");
    error(
        &format!("{text}username = 'u'\n"),
        "c.toml:5: notify.mail.username: password or password_file is missing",
    );
    error(
        &text.replace("b@y.org", "Ops <b@y.org>"),
        "c.toml:4: notify.mail.to: \"Ops <b@y.org>\" is not a mail address",
    );
    error(
        &text.replace("b@y.org", "b@y.org\\r\\nBcc: c@z.org").replace("['", "[\"").replace("']", "\"]"),
        "not a mail address",
    );
    error(&text.replace("'mx'", "'mx:25'"), "c.toml:2: notify.mail.server: it is no name or address");
}

#[test]
fn what_is_wrong_has_its_line_and_what_to_write() {
    error("notify = 5\n", "c.toml:1: notify: it is a number, not a table: write [notify]");
    error("[notify.sylog]\n", "c.toml:1: unknown key \"notify.sylog\" | did you mean `syslog`?");
    error(
        "[notify.syslog]\nfacilty = 'user'\n",
        "c.toml:2: unknown key \"notify.syslog.facilty\" | did you mean `facility`?",
    );
    error("[notify.journald]\nzzz = 1\n", "valid keys: socket, kinds, timeout_seconds");
    error("[notify.syslog]\n\nto = 'log'\n", "c.toml:3: notify.syslog.to: \"log\" is neither a path");
    error("[notify.syslog]\nfacility = 'mail'\n", "is none of user, daemon");
    error("[notify.syslog]\nkinds = ['drfit']\n", "did you mean \"drift\"?");
    error("[notify.syslog]\nkinds = []\n", "the list is empty");
    error("[notify.syslog]\nkinds = 'drift'\n", "it is a text, not a list of texts");
    error("[[notify.syslog]]\n[[notify.syslog]]\n", "there can be one only: write [notify.syslog]");
    error("[notify.command]\nrun = ['tell']\n", "is not an absolute path; no PATH is searched");
    error("[notify.command]\n", "run is missing");
    error("[notify.textfile]\n", "directory is missing");
    error("[notify]\nqueue_alerts = 0\n", "c.toml:2: notify.queue_alerts: 0 is not between 1 and 1000000");
    error("[notify.journald]\nsocket = 'run/x'\n", "is not an absolute path");
    error("[notify.journald]\nsocket = \"/run/\\u001b[2J\"\n", "it contains a control character");
}

#[test]
#[cfg(not(all(feature = "http", feature = "mail")))]
fn a_sink_that_was_not_built_in_is_an_error_that_says_so() {
    if cfg!(not(feature = "http")) {
        error(
            "[notify.webhook]\nurl = 'https://x'\n",
            "c.toml:1: notify.webhook: this fwdrift was built without it",
        );
        error(
            "\n[notify.alertmanager]\n",
            "c.toml:2: notify.alertmanager: this fwdrift was built without it",
        );
    }
    if cfg!(not(feature = "mail")) {
        error("[notify.mail]\n", "cargo feature `mail`");
    }
}

#[test]
#[cfg(all(feature = "http", feature = "mail"))]
fn every_configuration_in_the_documentation_can_be_pasted() {
    let text = include_str!("../../../../docs/alerts.md");
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let mut sinks = Vec::new();
    for block in blocks {
        let settings = parse(block).unwrap_or_else(|error| panic!("{block}\n{error}"));
        sinks.extend(settings.sinks.into_iter().map(|sink| sink.name));
    }
    assert_eq!(sinks, ["journald", "syslog", "webhook", "alertmanager", "mail", "command"]);
}
