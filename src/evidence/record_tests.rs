//! Fixtures are records as kernel 6.18 made them, in the shapes in which auditd writes them.

use super::*;
use crate::evidence::Assembler;
use crate::model::AuditEvent;
use proptest::prelude::*;

const CFG: &str = r#"table=evx_a:2 family=1 entries=1 op=nft_register_table pid=10771 comm="nft""#;
const CALL: &str = r#"arch=c000003e syscall=46 success=yes exit=80 a0=3 a1=7ffcd5eb9f20 a2=0 a3=7f8f3b513f00 items=0 ppid=10770 pid=10771 auid=1005 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts1 ses=4 comm="nft" exe="/usr/sbin/nft" key=(null)"#;
const STAMP: &str = "msg=audit(1795179312.272:3):";

fn events(lines: &[String]) -> Vec<AuditEvent> {
    let mut assembler = Assembler::default();
    for line in lines {
        if let Some(record) = parse_line(line.as_bytes()) {
            assembler.push(record);
        }
    }
    assembler.finish()
}

fn one(lines: &[String]) -> AuditEvent {
    let found = events(lines);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

fn cfg_of(body: &[u8]) -> Option<NetfilterCfg> {
    match parse_body(NETFILTER_CFG, body) {
        Body::Netfilter(cfg) => Some(cfg),
        _ => None,
    }
}

fn call_of(body: &str) -> Option<Syscall> {
    match parse_body(SYSCALL, body.as_bytes()) {
        Body::Syscall(call) => Some(call),
        _ => None,
    }
}

#[test]
fn an_event_of_three_records_is_read_whole() {
    let event = one(&[
        format!("type=NETFILTER_CFG {STAMP} {CFG}"),
        format!("type=SYSCALL {STAMP} {CALL}"),
        format!("type=PROCTITLE {STAMP} proctitle=6E667400616464007461626C65"),
        format!("type=EOE {STAMP} "),
    ]);
    assert_eq!((event.time.timestamp_millis(), event.serial), (1_795_179_312_272, 3));
    let cfg = &event.netfilter[0];
    assert_eq!((cfg.table.as_slice(), cfg.generation, cfg.family), (b"evx_a".as_slice(), Some(2), 1));
    assert_eq!(
        (cfg.op.as_str(), cfg.pid, cfg.comm.as_slice()),
        ("nft_register_table", 10771, b"nft".as_slice())
    );
    let expected = Syscall {
        auid: Some(1005),
        uid: 0,
        session: Some(4),
        tty: Some(b"pts1".to_vec()),
        pid: 10771,
        ppid: Some(10770),
        comm: Some(b"nft".to_vec()),
        exe: Some(b"/usr/sbin/nft".to_vec()),
        success: Some(true),
        login_name: None,
        uid_name: None,
    };
    assert_eq!(event.syscall, Some(expected));
    assert_eq!(event.proctitle.as_deref(), Some(b"nft\0add\0table".as_slice()));
}

#[test]
fn types_may_be_names_numbers_or_unknown_and_a_node_may_stand_before() {
    for head in ["type=NETFILTER_CFG", "type=1325", "type=UNKNOWN[1325]", "node=web-01 type=NETFILTER_CFG"] {
        let event = one(&[format!("{head} {STAMP} {CFG}")]);
        assert_eq!(event.netfilter[0].pid, 10771, "{head}");
    }
}

#[test]
fn enriched_names_come_from_auditds_part_only() {
    let names = "\u{1d}ARCH=x86_64 SYSCALL=sendmsg AUID=\"ops1\" UID=\"root\" GID=\"root\"";
    let call = call_of(&format!("{CALL}{names}")).unwrap();
    assert_eq!((call.login_name.as_deref(), call.uid_name.as_deref()), (Some("ops1"), Some("root")));
    assert_eq!(call.exe.as_deref(), Some(b"/usr/sbin/nft".as_slice()));
    let unset = CALL.replace("auid=1005", "auid=4294967295").replace("ses=4", "ses=4294967295");
    let call = call_of(&format!("{unset}\u{1d}AUID=\"unset\" UID=\"unknown(0)\"")).unwrap();
    assert_eq!((call.auid, call.session, call.login_name, call.uid_name), (None, None, None, None));
    let early = call_of(&CALL.replace("comm=\"nft\"", "comm=\"nft\" AUID=\"eve\"")).unwrap();
    assert_eq!(early.login_name, None, "before the mark it is no name of auditd's");
}

#[test]
fn odd_bytes_in_names_are_decoded_from_hexadecimal() {
    let line = CALL.replace("comm=\"nft\"", "comm=6E2066742278").replace("\"/usr/sbin/nft\"", "2F746D702F1B");
    let call = call_of(&line).unwrap();
    assert_eq!(call.comm.as_deref(), Some(b"n ft\"x".as_slice()));
    assert_eq!(call.exe.as_deref(), Some(b"/tmp/\x1b".as_slice()));
    assert_eq!(call_of(&CALL.replace("comm=\"nft\"", "comm=6E2")), None, "half a byte");
    assert_eq!(call_of(&CALL.replace("tty=pts1", "tty=(none)")).unwrap().tty, None);
}

const START: &str = r#"pid=600 uid=0 auid=1005 ses=4 subj=unconfined msg='op=PAM:session_open grantors=pam_unix acct="ops5" exe="/usr/sbin/sshd" hostname=192.0.2.7 addr=192.0.2.7 terminal=ssh res=success'"#;

fn session_of(body: &str) -> Option<SessionStart> {
    match parse_body(USER_START, body.as_bytes()) {
        Body::Session(start) => Some(start),
        _ => None,
    }
}

#[test]
fn a_session_is_the_kernels_word_and_its_address_the_programs() {
    let expected = SessionStart { session: 4, auid: 1005, remote: "192.0.2.7".to_owned() };
    assert_eq!(session_of(START), Some(expected.clone()));
    assert_eq!(session_of(&format!("{START}\u{1d}UID=\"root\" AUID=\"ops5\"")), Some(expected.clone()));
    let forged = START.replace("acct=\"ops5\"", "acct=\"x auid=0 ses=9 addr=198.51.100.1 \"");
    assert_eq!(session_of(&forged), Some(expected), "what others chose stands before");
    let inner = START.replace("pid=600 uid=0 auid=1005 ses=4", "pid=600 uid=0");
    assert_eq!(session_of(&inner.replace("op=", "auid=0 ses=9 op=")), None, "no number but the kernel's");
    for (claim, text) in [
        ("of a local login", START.replace("addr=192.0.2.7", "addr=?")),
        ("refused", START.replace("res=success", "res=failed")),
        ("without a session", START.replace("ses=4", "ses=4294967295")),
        ("a name", START.replace("addr=192.0.2.7", "addr=gw.example.org")),
        ("cut", START.replace("res=success'", "res=succe")),
        ("nothing", String::new()),
    ] {
        assert_eq!(session_of(&text), None, "{claim}");
    }
}

#[test]
fn arguments_are_read_in_their_pieces() {
    let read = |text: &str| match parse_body(EXECVE, text.as_bytes()) {
        Body::Execve(pieces) => Some(pieces),
        _ => None,
    };
    let bytes = |text: &str| text.as_bytes().to_vec();
    let expected = vec![(0, bytes("nft")), (1, bytes("a b")), (2, bytes("")), (3, bytes("\u{1b}["))];
    assert_eq!(read(r#"argc=4 a0="nft" a1="a b" a2="" a3=1B5B"#), Some(expected));
    assert_eq!(
        read(r#" a12_len=9 a12[0]="ab" a12[1]=6364"#),
        Some(vec![(12, bytes("ab")), (12, bytes("cd"))])
    );
    assert_eq!(read("argc=1 a0=6"), None, "half a byte");
    assert_eq!(parse_body(EXECVE, b"argc=2 a0=\"nft\" a1=\"cu"), Body::Broken);
}

#[test]
fn text_inside_quotes_is_no_field() {
    let call = call_of(&CALL.replace("comm=\"nft\"", "comm=\"n auid=0 exe=/x\"")).unwrap();
    assert_eq!((call.auid, call.comm.as_deref()), (Some(1005), Some(b"n auid=0 exe=/x".as_slice())));
    assert_eq!(call.exe.as_deref(), Some(b"/usr/sbin/nft".as_slice()));
    let later = call_of(&format!("{CALL} auid=0 uid=7 pid=1")).unwrap();
    assert_eq!((later.auid, later.uid, later.pid), (Some(1005), 0, 10771), "the first of a key counts");
}

#[test]
fn a_tables_name_may_hold_a_forged_record() {
    // All three were made on kernel 6.18 by a raw netlink socket in a namespace.
    let spaces = br#"table=a b:9 family=2 entries=1 op=nft_register_rule pid=7 comm="nft":2 family=1 entries=1 op=nft_register_table pid=12898 comm="python3""#;
    let cfg = cfg_of(spaces).unwrap();
    assert_eq!((cfg.generation, cfg.family, cfg.pid), (Some(2), 1, 12898));
    assert_eq!(cfg.table, br#"a b:9 family=2 entries=1 op=nft_register_rule pid=7 comm="nft""#);
    let mark = b"table=x\x1dAUID=\"root\"\ntype=SYSCALL msg=audit(1.2:3): pid=1 auid=1005:3 family=1 entries=1 op=nft_register_table pid=12898 comm=\"python3\"";
    let cfg = cfg_of(mark).unwrap();
    assert_eq!((cfg.generation, cfg.pid), (Some(3), 12898));
    assert!(cfg.table.starts_with(b"x\x1dAUID=") && cfg.table.ends_with(b"auid=1005"));
    assert_eq!(
        cfg_of(b"table=:4294967295 family=10 entries=0 op=nft_x pid=1 comm=\"n\"").unwrap().table,
        b""
    );
}

#[test]
fn x_tables_records_have_no_generation() {
    let cfg = cfg_of(
        br#"table=filter family=2 entries=4 op=xt_replace pid=10775 subj=unconfined comm="iptables-legacy""#,
    );
    let cfg = cfg.unwrap();
    assert_eq!(
        (cfg.table.as_slice(), cfg.generation, cfg.op.as_str()),
        (b"filter".as_slice(), None, "xt_replace")
    );
    let thread =
        cfg_of(br#"table=mangle family=10 entries=7 op=xt_unregister pid=35 comm="kworker/u8:2""#).unwrap();
    assert_eq!((thread.family, thread.comm.as_slice()), (10, b"kworker/u8:2".as_slice()));
}

#[test]
fn a_record_cut_short_is_broken_and_never_half_believed() {
    for cut in 1..CALL.find(" key=").unwrap() {
        let body = parse_body(SYSCALL, &CALL.as_bytes()[..cut]);
        assert!(matches!(body, Body::Broken), "cut at {cut}: {body:?}");
    }
    for cut in 1..CFG.len() {
        assert_eq!(cfg_of(&CFG.as_bytes()[..cut]), None, "cut at {cut}");
    }
}

#[test]
fn records_of_events_may_come_in_any_order() {
    let mut lines = Vec::new();
    for serial in 1..=20 {
        let stamp = format!("msg=audit(1795179312.2{:02}:{serial}):", serial % 5);
        let pid = format!("pid={}", 500 + serial);
        lines.push(format!("type=NETFILTER_CFG {stamp} {}", CFG.replace("pid=10771", &pid)));
        lines.push(format!("type=SYSCALL {stamp} {}", CALL.replace(" pid=10771", &format!(" {pid}"))));
    }
    let expected = events(&lines);
    assert_eq!(expected.len(), 20);
    assert!(expected.iter().all(|event| event.syscall.is_some()));
    lines.reverse();
    assert_eq!(events(&lines), expected);
    lines.sort();
    assert_eq!(events(&lines), expected);
    lines.extend(lines.clone());
    assert_eq!(events(&lines), expected, "duplicates");
}

#[test]
fn a_contradicted_system_call_is_not_believed() {
    let cfg = format!("type=NETFILTER_CFG {STAMP} {CFG}");
    let call = format!("type=SYSCALL {STAMP} {CALL}");
    let forged = format!("type=SYSCALL {STAMP} {}", CALL.replace("auid=1005", "auid=1006"));
    assert_eq!(one(&[cfg.clone(), forged, call.clone()]).syscall, None, "two logins");
    let other = format!("type=SYSCALL {STAMP} {}", CALL.replace(" pid=10771", " pid=4"));
    assert_eq!(one(&[cfg.clone(), other]).syscall, None, "another process");
    assert!(one(&[cfg, call]).syscall.is_some());
}

#[test]
fn events_about_other_things_are_forgotten() {
    let mut assembler = Assembler::default();
    for serial in 0..20_000 {
        let line = format!("type=SYSCALL msg=audit(1795179312.272:{serial}): {CALL}");
        assembler.push(parse_line(line.as_bytes()).unwrap());
    }
    let line = format!("type=NETFILTER_CFG msg=audit(1795179312.272:19999): {CFG}");
    assembler.push(parse_line(line.as_bytes()).unwrap());
    let found = assembler.finish();
    assert_eq!(found.len(), 1);
    assert!(found[0].syscall.is_some());
}

#[test]
fn switches_of_auditing_are_told() {
    let body = |text: &str| parse_body(CONFIG_CHANGE, text.as_bytes());
    assert_eq!(
        body("op=set audit_enabled=0 old=1 auid=4294967295 ses=4294967295 res=1"),
        Body::Enabled(false)
    );
    assert_eq!(body("op=set audit_enabled=1 old=1 auid=4294967295 ses=4294967295 res=1"), Body::Other);
    assert_eq!(body("op=set audit_backlog_limit=64 old=64 auid=0 ses=1 res=1"), Body::Other);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_line(&bytes);
        for number in [NETFILTER_CFG, SYSCALL, PROCTITLE, CONFIG_CHANGE] {
            let _ = parse_body(number, &bytes);
        }
        let _ = crate::evidence::journal::parse_entry(&bytes);
    }

    #[test]
    fn garbled_records_never_panic(at in 0usize..400, bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
        for text in [format!("type=SYSCALL {STAMP} {CALL}"), format!("type=1325 {STAMP} {CFG}")] {
            let mut line = text.into_bytes();
            let at = at.min(line.len());
            let end = (at + bytes.len()).min(line.len());
            line.splice(at..end, bytes.iter().copied());
            let _ = parse_line(&line);
        }
    }

    #[test]
    fn any_name_of_a_table_is_read_back(name in proptest::collection::vec(any::<u8>(), 0..255), generation: u32) {
        let mut body = b"table=".to_vec();
        body.extend(&name);
        body.extend(format!(":{generation} family=1 entries=1 op=nft_register_table pid=5 comm=\"nft\"").bytes());
        let cfg = cfg_of(&body).unwrap();
        prop_assert_eq!((cfg.table, cfg.generation, cfg.pid), (name, Some(generation), 5));
    }
}
