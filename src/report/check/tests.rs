use super::text;
use crate::model::{Change, ChangeKind, CheckResult, Gap, ObjectKind, Verdict};
use crate::report::fixture::*;

fn check(result: &CheckResult, expect: &str) {
    assert_eq!(plain(&text(result, &options(Some(80)))), expect);
}

/// The part before `next`, for a result with these changes.
fn check_changes(changes: Vec<Change>, expect: &str) {
    let text = plain(&text(&result(changes, vec![]), &options(None)));
    let end = text.find("\nnext\n").expect("drift has a next step");
    assert_eq!(&text[..end], expect);
}

#[test]
fn in_sync_is_one_line() {
    check(&result(vec![], vec![]), "IN SYNC  web-01: no difference from baseline 3f2a91c04d5e\n");
}

#[test]
fn a_re_encoded_object_is_said_and_is_no_drift() {
    let mut result = result(vec![], vec![]);
    result.netns = Some("dmz".into());
    result.summary.re_encoded = 3;
    check(
        &result,
        "IN SYNC  web-01 (netns dmz): no difference from baseline 3f2a91c04d5e; 3 objects re-encoded: other \
         bytes, the same text\n",
    );
}

#[test]
fn unknown_says_what_was_not_seen() {
    check(
        &result(vec![], vec![gap(true)]),
        "\
UNKNOWN  web-01: 1 source could not be looked at; the rest does not differ from baseline 3f2a91c04d5e

not seen
  iptables-legacy
    iptables-legacy-save is not installed, and /proc/net/ip_tables_names lists:
    filter
    hint: install it with `apt-get install iptables`
",
    );
}

#[test]
fn unknown_without_a_gap_still_claims_nothing() {
    let mut result = result(vec![], vec![]);
    result.verdict = Verdict::Unknown;
    let text = plain(&text(&result, &options(None)));
    assert!(text.starts_with("UNKNOWN  web-01: not everything could be looked at"), "{text}");
}

#[test]
fn a_gap_in_evidence_leaves_the_verdict() {
    let gap = Gap { source: "audit".into(), reason: "no log".into(), hint: None, blinds_verdict: false };
    check(
        &result(vec![], vec![gap]),
        "\
IN SYNC  web-01: no difference from baseline 3f2a91c04d5e

not seen
  audit (the verdict does not depend on it)
    no log
",
    );
}

#[test]
fn one_added_rule_tells_the_whole_story() {
    check(
        &result(vec![added()], vec![]),
        "\
DRIFT  web-01: 1 unapproved change against baseline 3f2a91c04d5e

table inet filter
  chain input
    + tcp dport 3306 drop
      by ops1 as root at 2026-11-20T02:14:09Z (4 min before this check)
      evidence: audit-log, on pts0, from 10.0.0.9
      ran: nft insert rule inet filter input tcp dport 3306 drop
      rule 4, id a1b2c3d4e5f6

1 change: 1 added; looked at 2026-11-20T02:18:09Z, generation 42

next
  accept it
    fwdrift approve --reviewed 8c1f2ab01234 -m \"…\"
  or put it back
    nft -a list chain inet filter input         # N: the rule's handle
    nft delete rule inet filter input handle N  # a + rule
",
    );
}

#[test]
fn the_approved_files_are_named_where_the_way_back_needs_them() {
    let removed = object(ObjectKind::Set, ChangeKind::Removed, "bl", "set bl { type ipv4_addr; }");
    let text = plain(&text(&result(vec![removed], vec![]), &options(Some(80))));
    let expect = "
  what was approved
    # the approved files
    git -C /var/lib/fwdrift/repo ls-tree -r 3f2a91c04d5e baselines/web-01/
    git -C /var/lib/fwdrift/repo show 3f2a91c04d5e:FILE  # one of them
";
    assert!(text.ends_with(expect), "{text}");
}

#[test]
fn one_author_and_time_are_said_once() {
    let mut other = rule(ChangeKind::Removed, Some("tcp dport 22 accept"), None);
    other.chain = Some("output".into());
    check_changes(
        vec![added(), other],
        "\
DRIFT  web-01: 2 unapproved changes against baseline 3f2a91c04d5e
  by ops1 as root at 2026-11-20T02:14:09Z (4 min before this check)
  evidence: audit-log, on pts0, from 10.0.0.9
  ran: nft insert rule inet filter input tcp dport 3306 drop

table inet filter
  chain input
    + tcp dport 3306 drop
      rule 4, id a1b2c3d4e5f6
  chain output
    - tcp dport 22 accept
      was rule 2, id a1b2c3d4e5f6

2 changes: 1 added, 1 removed; looked at 2026-11-20T02:18:09Z, generation 42
",
    );
}

#[test]
fn an_unknown_author_has_window_and_candidates() {
    let mut change = rule(ChangeKind::Modified, Some("tcp dport 22 accept"), Some("tcp dport 22 drop"));
    change.author = nobody();
    change.time = None;
    check_changes(
        vec![added(), change],
        "\
DRIFT  web-01: 2 unapproved changes against baseline 3f2a91c04d5e

table inet filter
  chain input
    + tcp dport 3306 drop
      by ops1 as root at 2026-11-20T02:14:09Z (4 min before this check)
      evidence: audit-log, on pts0, from 10.0.0.9
      ran: nft insert rule inet filter input tcp dport 3306 drop
      rule 4, id a1b2c3d4e5f6
    ~ rule 4
      - tcp dport 22 accept
      + tcp dport 22 drop
      by unknown between 2026-11-20T02:10:00Z and 2026-11-20T02:15:00Z
      candidate: ops1, ran: nft -f /root/a.nft
      candidate: ops2, ran: ufw reload
      id a1b2c3d4e5f6

2 changes: 1 added, 1 modified; looked at 2026-11-20T02:18:09Z, generation 42
",
    );
}

#[test]
fn only_the_words_that_changed_stand_out() {
    let change = rule(ChangeKind::Modified, Some("tcp dport 22 accept"), Some("tcp dport 22 drop"));
    let text = text(&result(vec![change], vec![]), &options(None));
    assert!(text.contains("\x1b[31mtcp dport 22 \x1b[0m\x1b[1m\x1b[4m\x1b[31maccept\x1b[0m\n"), "{text:?}");
    assert!(text.contains("\x1b[32mtcp dport 22 \x1b[0m\x1b[1m\x1b[4m\x1b[32mdrop\x1b[0m\n"), "{text:?}");
}

#[test]
fn a_long_line_is_shown_whole_and_without_emphasis() {
    let long = "192.0.2.1, ".repeat(400);
    let change = rule(ChangeKind::Modified, Some(&long), Some(&format!("{long}x")));
    let text = text(&result(vec![change], vec![]), &options(Some(80)));
    assert!(text.contains(&format!("{long}x")));
    assert!(!text.contains("\x1b[4m"));
}

#[test]
fn a_comment_cannot_fake_a_line_of_ours() {
    let hostile = "drop comment \"\x1b[2J\nIN SYNC  web-01: all is well\u{202e}\"";
    let chain = Change {
        chain: Some("x".into()),
        name: None,
        ..object(ObjectKind::Chain, ChangeKind::Added, "x", "chain x {\n\t\tcomment \"\nIN SYNC\"\n\t}")
    };
    check_changes(
        vec![rule(ChangeKind::Added, None, Some(hostile)), chain],
        "\
DRIFT  web-01: 2 unapproved changes against baseline 3f2a91c04d5e
  by ops1 as root at 2026-11-20T02:14:09Z (4 min before this check)
  evidence: audit-log, on pts0, from 10.0.0.9
  ran: nft insert rule inet filter input tcp dport 3306 drop

table inet filter
  chain input
    + drop comment \"\\x1b[2J\\nIN SYNC  web-01: all is well\\u{202e}\"
      rule 4, id a1b2c3d4e5f6
  chain x
    + chain x {
    +         comment \"
    + IN SYNC\"
    +     }
      chain x, id 0f0f0f0f0f0f

2 changes: 2 added; looked at 2026-11-20T02:18:09Z, generation 42
",
    );
}

#[test]
fn a_removed_table_is_cut_and_says_so() {
    let lines: String = (0..4_998).map(|n| format!("\tchain c{n} {{ }}\n")).collect();
    let table = Change {
        name: None,
        ..object(ObjectKind::Table, ChangeKind::Removed, "", &format!("table inet filter {{\n{lines}}}"))
    };
    let text = plain(&text(&result(vec![table], vec![]), &options(None)));
    assert!(
        text.contains("\n  -     chain c18 { }\n  … 4,980 more lines (--format json has all)\n"),
        "{text}"
    );
    assert!(!text.contains("c19"));
    assert!(text.contains("    nft --check -f FILE  # FILE: only the approved lines;"), "{text}");
}

#[test]
fn a_modified_definition_shows_the_lines_that_differ() {
    let mut set = object(ObjectKind::Set, ChangeKind::Modified, "bl", "set bl {\n\ta\n\tb\n\tc\n\tnew\n}");
    set.before = Some("set bl {\n\ta\n\tb\n\tc\n\told\n}".into());
    check_changes(
        vec![set],
        "\
DRIFT  web-01: 1 unapproved change against baseline 3f2a91c04d5e

table inet filter
  ~ set bl
    … 4 unchanged lines
    -     old
    +     new
    = }
    by ops1 as root at 2026-11-20T02:14:09Z (4 min before this check)
    evidence: audit-log, on pts0, from 10.0.0.9
    ran: nft insert rule inet filter input tcp dport 3306 drop
    id 0f0f0f0f0f0f

1 change: 1 modified; looked at 2026-11-20T02:18:09Z, generation 42
",
    );
}

#[test]
fn bytes_that_no_text_shows_have_a_note() {
    let mut change = rule(ChangeKind::Modified, Some("xt match string drop"), Some("xt match string drop"));
    change.note = Some("the bytes of `xt string` differ".into());
    let text = plain(&text(&result(vec![change], vec![]), &options(None)));
    assert!(text.contains("    ~ xt match string drop\n"), "{text}");
    assert!(text.contains("      note: the bytes of `xt string` differ\n"), "{text}");
}

#[test]
fn many_changes_are_counted_not_listed() {
    let text = plain(&text(&result(vec![added(); 1_000], vec![]), &options(None)));
    assert!(text.contains("\n    … 360 more changes (--format json has all)\n"), "{text}");
    assert!(text.contains("\n… 600 more changes (--format json has all)\n"), "{text}");
    assert!(text.contains("\n1,000 changes: 1,000 added; "), "{text}");
}

#[test]
fn an_author_said_just_above_is_not_told_again() {
    let other = Change { author: nobody(), time: None, ..added() };
    let set = object(ObjectKind::Set, ChangeKind::Added, "bl", "set bl { type ipv4_addr; }");
    check_changes(
        vec![other, added(), set],
        "\
DRIFT  web-01: 3 unapproved changes against baseline 3f2a91c04d5e

table inet filter
  chain input
    + tcp dport 3306 drop
      by unknown between 2026-11-20T02:10:00Z and 2026-11-20T02:15:00Z
      candidate: ops1, ran: nft -f /root/a.nft
      candidate: ops2, ran: ufw reload
      rule 4, id a1b2c3d4e5f6
    + tcp dport 3306 drop
      by ops1 as root at 2026-11-20T02:14:09Z (4 min before this check)
      evidence: audit-log, on pts0, from 10.0.0.9
      ran: nft insert rule inet filter input tcp dport 3306 drop
      rule 4, id a1b2c3d4e5f6
  + set bl { type ipv4_addr; }
    by ops1 as root, as above
    set bl, id 0f0f0f0f0f0f

3 changes: 3 added; looked at 2026-11-20T02:18:09Z, generation 42
",
    );
}

#[test]
fn json_is_the_result_and_ends_its_last_line() {
    let mut change = added();
    change.after = Some("drop comment \"\u{202e}\x1b\"".into());
    let result = result(vec![change], vec![gap(true)]);
    let text = super::json(&result);
    assert!(text.ends_with("}\n") && !text.contains(['\u{202e}', '\x1b']), "{text}");
    assert_eq!(serde_json::from_str::<CheckResult>(&text).expect("JSON"), result);
}
