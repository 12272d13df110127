//! Baseline files that cannot be used, or only just.

use crate::support::Host;
use std::time::{Duration, Instant};

#[test]
fn a_file_that_says_nothing_or_is_no_text_is_not_adopted() {
    let host = Host::new();
    for (content, words) in [
        (&b""[..], &["is empty"][..]),
        (b" \n\t\n", &["is empty"]),
        (b"# only\n\n  # comments\n", &["nothing but comments", "without --from"]),
        (b"table inet t {\0}\n", &["NUL bytes"]),
        (b"\xff\xfe\x80\n", &["nft/hand.nft:1"]),
        (b"table inet t {\n\tchain c {\n\t\ttcp dport bogus\x1b[31m accept\n\t}\n}\n", &["nft/hand.nft:3"]),
        (b"table inet t { chain c {", &["nft/hand.nft"]),
        (b"*filter\n:INPUT ACCEPT\n-A INPUT -j NOSUCH\nCOMMIT\n", &["iptables/nft-v4.rules", "NOSUCH"]),
        (b"include \"nosuch.nft\"\n", &["nosuch.nft", "cannot be read"]),
        (b"include \"hand.nft\"\n", &["nft/include/hand.nft"]),
    ] {
        let file = host.write("hand.nft", content);
        host.fwdrift(&["init", "--from", &file]).refused(words);
        assert!(!host.repo().exists(), "{words:?}");
    }
    host.fwdrift(&["init", "--from", &host.path("none")]).refused(&["cannot read", "none"]);
    host.fwdrift(&["init", "--from", &host.path("")]).refused(&["cannot read"]);
    let one = host.write("one.nft", "add table inet t\n");
    std::fs::create_dir(host.path("d")).unwrap();
    let two = host.write("d/one.nft", "add table inet t\n");
    host.fwdrift(&["init", "--from", &one, &two]).refused(&["nft/one.nft", "different names"]);
    assert!(!host.repo().exists());
}

#[test]
fn includes_that_nest_without_end_are_refused() {
    let host = Host::new();
    for number in 0..30 {
        host.write(&format!("{number}.nft"), format!("include \"{}.nft\"\n", number + 1));
    }
    host.fwdrift(&["init", "--from", &host.path("0.nft")]).refused(&["nest deeper than 16"]);
    assert!(!host.repo().exists());
}

#[test]
fn a_baseline_that_was_broken_by_hand_gives_file_and_line_and_nothing_changes() {
    let host = Host::approved();
    for (path, content, words) in [
        (
            "nft/inet-t.nft",
            &b"table inet t {\n\tbogus\n}\n"[..],
            &["nft/inet-t.nft:2", "commit it to main"][..],
        ),
        ("nft/inet-t.nft", b"include \"gone.nft\"\n", &["not part of the baseline", "nft/include/gone.nft"]),
        ("nft/inet-t.nft", b"table inet t {\0\n}\nbogus\n", &["nft/inet-t.nft"]),
        ("nft/inet-t.nft", b"table inet t { chain c { include \"/etc/passwd\"; }; }\n", &["/etc/passwd"]),
        ("nft/inet-t.nft", b"define x = 1; include \"/etc/passwd\"\n", &["/etc/passwd"]),
        ("iptables/nft-v4.rules", b"*filter\n-A NOSUCH -j ACCEPT\nCOMMIT\n", &["iptables/nft-v4.rules"]),
    ] {
        let good = std::fs::read(host.repo().join("baselines/web-01").join(path)).ok();
        host.commit(path, content);
        let before = host.state();
        for command in [&["check"][..], &["record"], &["approve", "-y"]] {
            host.fwdrift(command).refused(words);
        }
        assert_eq!(host.state(), before);
        match good {
            Some(good) => host.commit(path, good),
            None => {
                drop(host.git(&format!("rm -q baselines/web-01/{path}; git -C \"$REPO\" commit -qm back")))
            }
        }
        host.fwdrift(&["check"]).succeeded(0);
    }
}

#[test]
fn a_baseline_without_files_is_no_approval_of_an_empty_firewall() {
    let host = Host::approved();
    host.git("rm -rq baselines; git -C \"$REPO\" commit -qm gone");
    host.fwdrift(&["check"]).refused(&["no baseline for web-01"]);
    host.commit("README", "no rules here\n");
    host.fwdrift(&["check"]).refused(&["holds no ruleset file"]);
}

#[test]
fn a_comment_that_is_not_utf8_survives_adoption() {
    let host = Host::empty();
    let text = b"table inet t {\n\tchain c {\n\t\ttcp dport 22 accept comment \"caf\xe9\"\n\t}\n}\n";
    let file = host.write("hand.nft", text);
    host.sh(&format!("nft -f {file}"));
    host.fwdrift(&["init", "--from", &file]).succeeded(0);
    host.fwdrift(&["check"]).succeeded(0);
    host.fwdrift(&["record"]).succeeded(0);
    let kept = std::fs::read(host.repo().join("baselines/web-01/nft/hand.nft")).unwrap();
    assert_eq!(kept, text);
}

#[test]
fn an_interface_that_is_not_there_yet_can_be_named() {
    let host = Host::new();
    let file = host.write("hand.nft", "table inet t {\n\tchain c {\n\t\tiif \"nosuch0\" accept\n\t}\n}\n");
    host.fwdrift(&["init", "--from", &file]).succeeded(0);
    host.fwdrift(&["check"]).succeeded(1);
}

#[test]
fn an_exact_form_that_is_damaged_is_said_to_be_and_one_that_disagrees_gives_way_to_the_text() {
    let host = Host::new();
    crate::raw::Raw::new().rule(b"t", b"c", &[crate::raw::accept()], b"two\nlines").send(&host);
    host.fwdrift(&["init"]).succeeded(0);
    let exact = host.repo().join("baselines/web-01/nft/inet-t.exact");
    let good = std::fs::read(&exact).unwrap();
    let before = host.state();
    let half = &good[..good.len() / 2];
    for damaged in [&b""[..], b"nonsense\n", half] {
        host.commit("nft/inet-t.exact", damaged);
        host.fwdrift(&["check"]).refused(&["nft/inet-t.exact is damaged", "fwdrift approve"]);
        host.fwdrift(&["record"]).refused(&["nft/inet-t.exact is damaged"]);
    }
    host.commit("nft/inet-t.exact", &good);
    host.fwdrift(&["check"]).succeeded(0);
    assert_ne!(host.state(), before);
    // Whoever edits the text means the text.
    let text = std::fs::read_to_string(exact.with_extension("nft")).unwrap();
    host.commit("nft/inet-t.nft", text.replace("dport 22", "dport 2222"));
    let run = host.fwdrift(&["--format", "json", "check"]).succeeded(1);
    assert!(run.stdout.contains("2222"), "{}", run.stdout);
}

#[test]
fn a_set_of_60_000_elements_is_read_whole_in_bounded_time() {
    let host = Host::empty();
    let elements: Vec<String> =
        (0u32..60_000).map(|n| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255)).collect();
    let set = format!(
        "table ip t {{\n\tset s {{\n\t\ttype ipv4_addr\n\t\telements = {{ {} }}\n\t}}\n}}\n",
        elements.join(", ")
    );
    let file = host.write("set.nft", &set);
    host.sh(&format!("nft -f {file}"));
    let begun = Instant::now();
    host.fwdrift(&["init", "--from", &file]).succeeded(0);
    host.sh("nft delete element ip t s '{ 10.0.1.7 }'");
    let run = host.fwdrift(&["--format", "json", "check"]).succeeded(1);
    assert_eq!(run.stdout.matches("\"kind\":").count(), 1, "{}", &run.stdout[..3000.min(run.stdout.len())]);
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}

#[test]
fn a_baseline_of_many_megabytes_loads_or_says_why_not_in_bounded_time() {
    let host = Host::empty();
    let comment = "c".repeat(100);
    let rules: String = (0..40_000)
        .map(|n| {
            format!(
                "add rule ip t c ip saddr 10.{}.{}.{} drop comment \"{comment}\"\n",
                n >> 16,
                n >> 8 & 255,
                n & 255
            )
        })
        .collect();
    let text = format!("add table ip t\nadd chain ip t c\n{rules}");
    assert!(text.len() > 5_000_000);
    let file = host.write("rules.nft", &text);
    let begun = Instant::now();
    let run = host.fwdrift(&["init", "--from", &file]);
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    match run.code {
        Some(0) => assert_eq!(host.fwdrift(&["check"]).code, Some(1)),
        _ => run.refused(&["did not finish within 30 s", "tool_timeout_seconds"]),
    }
}
