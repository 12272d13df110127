//! Mail through exim, with STARTTLS and a login, read back from the maildir with Python's own parser.

use crate::receiver::{DROP, Server, Site, certificate, have};
use serde_json::Value;
use std::process::Command;

const EXIM: &str = r#"
primary_hostname = localhost
spool_directory = DIR/spool
log_file_path = DIR/spool/%slog
tls_advertise_hosts = TLS
tls_certificate = DIR/cert.pem
tls_privatekey = DIR/key.pem
acl_smtp_mail = mail
acl_smtp_rcpt = accept
acl_smtp_data = data
disable_ipv6 = true
keep_environment =
begin acl
mail:
  accept authenticated = *
  deny message = log in first
data:
  deny condition = ${if exists{DIR/refuse}}
       message = not that one
  accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = DIR/mail
  maildir_format
  batch_max = 10
  user = Debian-exim
  group = Debian-exim
begin retry
begin rewrite
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_condition = ${if and{{eq{$auth2}{fwdrift}}{eq{$auth3}{geheim}}}}
  server_set_id = $auth2
  server_advertise_condition = ${if def:tls_in_cipher}
"#;

/// With an account for exim and a certificate, and STARTTLS where it is wanted.
fn start(site: &Site, tls: bool) -> Server {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::chown(dir.path(), Some(64_999), Some(64_999)).unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    let config = EXIM.replace("DIR", dir.path().to_str().unwrap());
    write("conf", &config.replace("TLS", if tls { "*" } else { ":" }));
    let account = "Debian-exim:x:64999:64999::/:/bin/false\n";
    write("passwd", &(std::fs::read_to_string("/etc/passwd").unwrap() + account));
    write("group", &(std::fs::read_to_string("/etc/group").unwrap() + "Debian-exim:x:64999:\n"));
    certificate(dir.path());
    for name in ["spool", "mail"] {
        std::fs::create_dir(dir.path().join(name)).unwrap();
    }
    let server = site.serve_in(
        dir,
        "mount --bind $D/passwd /etc/passwd; mount --bind $D/group /etc/group; chown -R 64999:64999 $D/spool $D/mail $D/*.pem; \
         exec exim4 -C $D/conf -bdf -oX 127.0.0.1.587",
    );
    let connects = || site.inside(|| std::net::TcpStream::connect(("127.0.0.1", 587))).ok();
    server.until("exim", connects);
    server
}

const PARSE: &str = "
import email, email.policy, glob, json, os, sys
for path in sorted(glob.glob(sys.argv[1] + '/mail/new/*'), key=os.path.getmtime):
    raw = open(path, 'rb').read()
    mail = email.message_from_bytes(raw, policy=email.policy.default)
    headers = {name.lower(): str(value) for name, value in mail.items()}
    print(json.dumps({'headers': headers, 'text': mail.get_content(), 'defects': len(mail.defects),
                      'longest': max(map(len, raw.split(b'\\n'))), 'type': mail.get_content_type()}))
";

fn mails(server: &Server) -> Vec<Value> {
    let output = Command::new("python3").args(["-c", PARSE]).arg(server.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn config(server: &Server) -> String {
    format!(
        "[notify.mail]\nserver = 'localhost'\nfrom = 'fwdrift@db-01.example.org'\nto = ['ops@example.org', \
         'audit@example.org']\nusername = 'fwdrift'\npassword_file = 'DIR/password'\nca_file = {:?}\ntimeout_seconds = 8\n",
        server.path("ca.pem")
    )
}

#[test]
fn one_mail_tells_of_all_that_was_queued_together() {
    if !have("exim4") {
        return;
    }
    let site = Site::new("");
    let server = start(&site, true);
    site.host.file("password", "geheim\n");
    site.configure(&config(&server));
    site.record(0);
    assert_eq!(site.drift(), "");
    let mail = server.until("the mail", || mails(&server).pop());
    let header = |name: &str| {
        mail["headers"][name].as_str().unwrap_or_else(|| panic!("{name} in {mail:#}")).to_owned()
    };
    assert_eq!(header("from"), "fwdrift@db-01.example.org");
    assert_eq!(header("to"), "ops@example.org, audit@example.org");
    let subject = header("subject");
    assert!(
        subject.contains("firewall changed by an unknown author: + tcp dport 3306 drop in inet filter input"),
        "{subject}"
    );
    let commit = site.host.events()[1]["commit"].as_str().unwrap()[..12].to_owned();
    assert_eq!(header("message-id"), format!("<db-01-2-{commit}.1.fwdrift@db-01>"));
    assert_eq!(
        (header("auto-submitted"), header("x-fwdrift-kind")),
        ("auto-generated".into(), "drift".into())
    );
    assert!(header("received").contains("esmtpsa"), "encrypted and logged in: {}", header("received"));
    assert_eq!((&mail["defects"], &mail["type"]), (&0.into(), &"text/plain".into()));
    assert!(mail["longest"].as_u64().unwrap() <= 998, "RFC 5322, section 2.1.1");
    let text = mail["text"].as_str().unwrap();
    let first = text.lines().next().unwrap();
    assert!(first.contains(" added 1 rule in inet filter input ") && first.contains("(approve: "), "{first}");
    assert!(
        text.contains("\n    + tcp dport 3306 drop\n") && text.contains("\nnext\n  accept it\n"),
        "{text}"
    );
    let date: chrono::DateTime<chrono::FixedOffset> =
        chrono::DateTime::parse_from_rfc2822(&header("date")).unwrap();
    assert!((chrono::Utc::now() - date.to_utc()).num_seconds() < 60);

    // Two events that one run finds, recorded by one that tells nobody.
    let quiet =
        site.host.file("quiet.toml", &std::fs::read_to_string(site.host.path("config.toml")).unwrap());
    let text = std::fs::read_to_string(&quiet).unwrap();
    std::fs::write(&quiet, text.split("[notify").next().unwrap()).unwrap();
    site.host.nft("add table ip another");
    let netns = site.host.netns_path();
    let mut approve = Command::new(env!("CARGO_BIN_EXE_fwdrift"));
    approve.env_clear().args(["--config", &quiet, "--netns", &netns, "approve", "-m", "planned"]);
    assert!(approve.output().unwrap().status.success());
    site.record(0);
    let all = server.until("the second mail", || Some(mails(&server)).filter(|all| all.len() == 2));
    let subject = all[1]["headers"]["subject"].as_str().unwrap();
    assert!(subject.ends_with(" (and 1 more)"), "{subject}");
    let text = all[1]["text"].as_str().unwrap();
    assert!(text.contains("added table ip another") && text.contains("approved 2 changes"), "{text}");
    assert_eq!(all.len(), 2);
}

#[test]
fn nothing_is_sent_in_the_clear_or_to_a_stranger() {
    if !have("exim4") {
        return;
    }
    let site = Site::new("");
    site.host.file("password", "geheim\n");
    let stranger = start(&site, true);
    let elsewhere = tempfile::tempdir().unwrap();
    certificate(elsewhere.path());
    let other = elsewhere.path().join("ca.pem");
    let trusted = stranger.path("ca.pem");
    site.configure(&config(&stranger).replace(trusted.to_str().unwrap(), other.to_str().unwrap()));
    site.record(0);
    let said = site.drift();
    assert!(said.contains("alerts to mail: localhost:587: ") && said.contains("certificate"), "{said}");
    drop(stranger);

    let plain = start(&site, false);
    site.configure(&config(&plain));
    let run = site.run(&["record"]);
    assert!(
        run.stderr.contains("alerts to mail: localhost:587: ") && run.stderr.contains("1 alert waits"),
        "{run:?}"
    );
    assert!(mails(&plain).is_empty());
    let log = std::fs::read_to_string(plain.path("spool/mainlog")).unwrap();
    assert!(!log.contains("<="), "{log}");
    drop(plain);

    // A wrong password is mended, and the mail comes.
    let server = start(&site, true);
    site.host.file("password", "falsch\n");
    site.configure(&config(&server));
    let run = site.run(&["record"]);
    assert!(run.stderr.contains("535") && run.stderr.contains("1 alert waits"), "{run:?}");
    assert!(!run.stderr.contains("falsch"));
    site.host.file("password", "geheim\n");
    site.record(1);
    server.until("the mail", || mails(&server).pop());
}

#[test]
fn a_mail_that_the_server_refuses_is_reported_and_not_repeated() {
    if !have("exim4") {
        return;
    }
    let site = Site::new("");
    let server = start(&site, true);
    site.host.file("password", "geheim\n");
    site.configure(&config(&server));
    site.record(0);
    std::fs::write(server.path("refuse"), "").unwrap();
    let said = site.drift();
    assert!(said.contains("550") && said.contains("not that one"), "{said}");
    std::fs::remove_file(server.path("refuse")).unwrap();
    assert_eq!(site.record(1), "");
    site.host.nft(DROP);
    site.record(1);
    let mail = server.until("the next mail", || mails(&server).pop());
    assert!(mail["headers"]["message-id"].as_str().unwrap().starts_with("<db-01-3-"), "{mail:#}");
    assert_eq!(mails(&server).len(), 1);
}
