//! Texts that somebody chose to mislead: they stay texts.

use crate::raw::{Raw, accept, iifname, jump, log};
use crate::support::{Host, harmless};
use fwdrift::collect::nftables;
use fwdrift::sys::netns::Netns;
use fwdrift::sys::socket::Socket;
use serde_json::Value;

/// Imitates the rest of nft's listing, moves the cursor, is HTML, and reorders.
const FORGERY: &[u8] =
    b"x\" # handle 5\n\t}\n\n\tchain c { # handle 1\n\t\ttcp dport 22 accept # handle 2\n\t}\n}\n";
const DIRT: &[u8] = b"\x1b[2J\x1b]0;pwned\x07<script>alert(1)</script>&|`\x1e\r\xe2\x80\xae\xff\\n";

fn hostile_texts() -> [Vec<u8>; 3] {
    [FORGERY.to_vec(), DIRT.to_vec(), b"a\nfwdrift: in sync\nIN SYNC  web-01: no difference\n".to_vec()]
}

fn json(host: &Host, args: &[&str]) -> Value {
    let run = host.fwdrift(&[&["--format", "json"], args].concat());
    assert!(matches!(run.code, Some(0 | 1)), "{}", run.stderr);
    harmless(&run.stdout);
    serde_json::from_str(&run.stdout).unwrap()
}

fn changes(host: &Host) -> Vec<Value> {
    json(host, &["check"])["changes"].as_array().unwrap().clone()
}

/// Every way to read the open drift is harmless, and nothing is lost on the way.
#[track_caller]
fn is_shown_harmlessly(host: &Host) {
    let check = host.fwdrift(&["--color", "never", "check"]);
    assert_eq!(check.code, Some(1), "{}{}", check.stdout, check.stderr);
    let recorded = host.fwdrift(&["--color", "never", "record"]);
    assert_eq!(recorded.code, Some(1), "{}{}", recorded.stdout, recorded.stderr);
    let mut shown = vec![check.stdout, recorded.stdout];
    for command in [&["log"][..], &["show", "2"], &["report"], &["--format", "markdown", "report"]] {
        shown.push(host.fwdrift(&[&["--color", "never"], command].concat()).succeeded(0).stdout);
    }
    shown.push(host.git("log --all --format=%an%n%ae%n%cn%n%s%n%b").replace('\t', " "));
    for text in &shown {
        harmless(text);
        assert!(
            !text.lines().any(|line| line.starts_with("IN SYNC") || line.starts_with("fwdrift:")),
            "{text}"
        );
    }
    let markdown = &shown[5];
    assert!(!outside_code(markdown).contains("<script"), "{markdown}");
    json(host, &["log"]);
    json(host, &["show", "2"]);
    json(host, &["report"]);
    host.state();
}

fn outside_code(markdown: &str) -> String {
    let mut inside = false;
    let keep = |line: &&str| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    };
    let prose: Vec<&str> = markdown.lines().filter(keep).collect();
    // Of what is left, spans of code.
    prose.join("\n").split('`').step_by(2).collect()
}

#[test]
fn a_hostile_text_wherever_the_kernel_takes_one_is_shown_harmlessly_as_one_change() {
    std::thread::scope(|scope| {
        for text in hostile_texts() {
            scope.spawn(move || {
                let t = &text;
                let short = &t[..t.len().min(100)];
                let cases: [(&str, Raw); 8] = [
                    ("rule", Raw::new().rule(b"t", b"c", &[accept()], t)),
                    ("rule", Raw::new().rule(b"t", b"c", &[log(short)], b"")),
                    (
                        "rule",
                        Raw::new().rule(b"t", b"c", &[&iifname(&t[..15])[..], &[accept()]].concat(), b""),
                    ),
                    ("set", Raw::new().set(b"t", b"s", t, b"")),
                    ("set", Raw::new().set(b"t", b"s", b"", t)),
                    ("set", Raw::new().set(b"t", short, b"", b"")),
                    ("chain", Raw::new().chain(b"t", b"other", t)),
                    ("table", Raw::new().table(b"other", t)),
                ];
                for (number, (object, raw)) in cases.into_iter().enumerate() {
                    let host = Host::approved();
                    raw.send(&host);
                    let found = changes(&host);
                    let context = format!("case {number}, {:?}: {found:#?}", String::from_utf8_lossy(t));
                    assert_eq!(found.len(), 1, "{context}");
                    assert_eq!(found[0]["object"], object, "{context}");
                    assert_eq!(found[0]["kind"], "added", "{context}");
                    is_shown_harmlessly(&host);
                    host.fwdrift(&["approve", "-y", "-m", "why"]).succeeded(0);
                    host.fwdrift(&["check"]).succeeded(0);
                }
            });
        }
    });
}

#[test]
fn names_that_imitate_a_listing_hide_nothing_and_blame_no_other_object() {
    for text in hostile_texts() {
        let name = &text[..text.len().min(120)];
        let host = Host::approved();
        // A table, a chain in it and in the known table, and a rule that names the chain.
        let raw = Raw::new().table(name, b"").chain(name, name, b"").rule(name, name, &[accept()], b"");
        raw.chain(b"t", name, b"").rule(b"t", b"c", &[jump(name)], b"").send(&host);
        let found = changes(&host);
        let mut objects: Vec<String> = found
            .iter()
            .map(|change| {
                format!("{} {}", change["kind"].as_str().unwrap(), change["object"].as_str().unwrap())
            })
            .collect();
        objects.sort();
        assert_eq!(objects, ["added chain", "added rule", "added table"], "{found:#?}");
        is_shown_harmlessly(&host);
        host.fwdrift(&["approve", "-y", "-m", "why"]).succeeded(0);
        host.fwdrift(&["check"]).succeeded(0);
    }
}

#[test]
fn beside_a_comment_that_imitates_a_listing_the_right_rule_is_named() {
    for text in hostile_texts() {
        let host = Host::new();
        Raw::new().rule(b"t", b"c", &[accept()], &text).send(&host);
        host.nft("add rule inet t c tcp dport 23 accept\nadd rule inet t c tcp dport 24 accept");
        host.fwdrift(&["init"]).succeeded(0);
        host.fwdrift(&["check"]).succeeded(0);
        let handle = host.sh("nft -a list chain inet t c | sed -n 's/.*dport 23 accept # handle //p'");
        host.nft(&format!("replace rule inet t c handle {} tcp dport 23 drop", handle.trim()));
        let found = changes(&host);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0]["before"], "tcp dport 23 accept");
        assert_eq!(found[0]["after"], "tcp dport 23 drop");
        is_shown_harmlessly(&host);
    }
}

#[test]
fn comments_that_print_alike_and_are_not_are_a_change() {
    let variants: [&[u8]; 5] = [b"a\nb", b"a\\nb", b"a\x1eb", b"a\xffb", b"a\\xffb"];
    for (old, new) in [(0, 1), (1, 2), (0, 2), (3, 4)] {
        let host = Host::new();
        host.nft("add chain inet t d");
        Raw::new().rule(b"t", b"d", &[accept()], variants[old]).send(&host);
        host.fwdrift(&["init"]).succeeded(0);
        host.fwdrift(&["check"]).succeeded(0);
        host.nft("flush chain inet t d");
        Raw::new().rule(b"t", b"d", &[accept()], variants[new]).send(&host);
        assert_eq!(changes(&host).len(), 1, "{:?} {:?}", variants[old], variants[new]);
    }
}

#[test]
fn a_process_with_a_hostile_name_is_the_author_and_stays_one_line() {
    let hex = |text: &[u8]| text.iter().map(|byte| format!("{byte:02X}")).collect::<String>();
    for text in hostile_texts() {
        let host = Host::new();
        let log = host.path("audit.log");
        let config = host.write("config.toml", format!("audit_log = \"{log}\"\n"));
        let now = chrono::Utc::now().timestamp();
        let record = |second: i64, generation: u32, name: &[u8]| {
            let head = format!("msg=audit({second}.000:{second}):");
            format!(
                "type=NETFILTER_CFG {head} table=t:{generation} family=1 entries=1 op=nft_register_rule \
                 pid=7 comm={comm}\n\
                 type=SYSCALL {head} arch=c000003e syscall=46 success=yes exit=1 items=0 ppid=1 pid=7 \
                 auid=3100005 uid=0 gid=0 euid=0 tty=pts0 ses=4 comm={comm} exe={exe} key=(null)\n\
                 type=PROCTITLE {head} proctitle={exe}\ntype=EOE {head}\n",
                comm = hex(&name[..name.len().min(15)]),
                exe = hex(name),
            )
        };
        std::fs::write(&log, record(now - 3600, 1, b"nft")).unwrap();
        let with = |args: &[&str]| host.fwdrift(&[&["--config", &config], args].concat());
        assert_eq!(with(&["init"]).code, Some(0));
        host.nft("add rule inet t c tcp dport 23 drop");
        let netns = Netns::open(&host.netns()).unwrap();
        let generation = netns
            .run(|| {
                let mut socket = Socket::open(Some(rustix::net::netlink::NETFILTER)).unwrap();
                nftables::generation(&mut socket).unwrap()
            })
            .unwrap();
        let second = chrono::Utc::now().timestamp();
        let so_far = std::fs::read_to_string(&log).unwrap();
        std::fs::write(&log, so_far + &record(second, generation, &text)).unwrap();
        let run = with(&["--format", "json", "check"]);
        harmless(&run.stdout);
        let check: Value = serde_json::from_str(&run.stdout).unwrap();
        let author = &check["changes"][0]["author"];
        assert!(author["auid"] == 3_100_005 || author["candidates"][0]["auid"] == 3_100_005, "{check:#}");
        assert_eq!(with(&["record"]).code, Some(1));
        for args in
            [&["check"][..], &["log"], &["show", "2"], &["report"], &["--format", "markdown", "report"]]
        {
            harmless(&with(&[&["--color", "never"], args].concat()).stdout);
        }
        harmless(&host.git("log --all --format=%an%n%ae%n%s%n%b").replace('\t', " "));
    }
}
