//! Whatever text a field holds, no renderer lets it act.

use super::fixture::*;
use super::{alert, audit, check, event, log, show};
use crate::model::{
    Approval, Author, Change, ChangeKind, Decider, Effect, EffectKind, EventKind, Gap, LedgerEntry,
    ObjectKind, Severity, Source,
};
use proptest::prelude::*;

/// Texts that attack, mixed with any others.
fn hostile() -> impl Strategy<Value = String> {
    let attacks = [
        "\x1b[5m",
        "\x1b]0;x\x07",
        "\n",
        "\r",
        "\t",
        "\u{9b}5m",
        "\u{7f}",
        "\u{202e}",
        "\u{2066}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\u{ffff}",
        "`",
        "```",
        "````\n",
        "~~~",
        "<script>",
        "</pre>",
        "<!--",
        "&lt;",
        "|",
        "\\",
        "\\`",
        "](http://x)",
        "\n# DRIFT",
        "\n\nnext\n",
        "'; reboot; '",
        "$(reboot)",
        " ",
        "a",
    ];
    let piece = prop_oneof![3 => prop::sample::select(attacks.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn author(s: &str, known: bool) -> Author {
    let some = || Some(s.to_owned());
    let full = Author {
        name: s.to_owned(),
        tty: some(),
        comm: some(),
        exe: some(),
        cmdline: some(),
        unit: Some(format!("unit {s}")),
        remote: some(),
        ..ops1()
    };
    if known { full } else { Author::unknown(nobody().window, vec![full.clone(), full]) }
}

fn change(s: &str, kind: ChangeKind, object: ObjectKind, source: Source, known: bool) -> Change {
    let inside = matches!(object, ObjectKind::Rule | ObjectKind::Chain);
    Change {
        id: s.to_owned(),
        source,
        family: s.to_owned(),
        table: s.to_owned(),
        chain: inside.then(|| s.to_owned()),
        object,
        name: (!inside).then(|| s.to_owned()),
        before: (kind != ChangeKind::Added).then(|| format!("b{s}")),
        after: (kind != ChangeKind::Removed).then(|| s.to_owned()),
        note: Some(s.to_owned()),
        legacy: false,
        blind: Vec::new(),
        author: author(s, known),
        severity: Some(Severity::High),
        impact: Some(vec![hostile_effect(s, EffectKind::Cut), hostile_effect(s, EffectKind::Opened)]),
        impact_incomplete: Some(s.to_owned()),
        ..rule(kind, None, None)
    }
}

fn hostile_effect(s: &str, kind: EffectKind) -> Effect {
    let decider = Decider {
        verdict: s.to_owned(),
        table: s.to_owned(),
        chain: s.to_owned(),
        text: Some(s.to_owned()),
        ..decider("", (kind == EffectKind::Cut).then_some(1), "")
    };
    Effect {
        statement: s.to_owned(),
        was: Some(decider.clone()),
        now: Some(decider),
        conditions: vec![s.to_owned()],
        sample: [(s.to_owned(), s.to_owned()), ("src".to_owned(), s.to_owned())].into(),
        flow: (kind == EffectKind::Opened).then(|| s.to_owned()),
        ..effect(kind)
    }
}

fn entry_of(s: &str, kind: EventKind, changes: Vec<Change>, known: bool) -> LedgerEntry {
    let mut entry = entry(1, kind, changes);
    entry.commit = s.to_owned();
    let event = &mut entry.event;
    event.host = s.to_owned();
    event.netns = Some(s.to_owned());
    event.author = author(s, known);
    event.boot_id = s.to_owned();
    event.state = s.to_owned();
    event.baseline.commit = s.to_owned();
    event.baseline.path = s.to_owned();
    event.open = vec![s.to_owned()];
    event.approval = Some(approval(s));
    event.gaps = vec![gap_of(s)];
    entry
}

fn approval(s: &str) -> Approval {
    Approval {
        commit: s.to_owned(),
        approver: s.to_owned(),
        reason: Some(s.to_owned()),
        ticket: Some(s.to_owned()),
    }
}

fn gap_of(s: &str) -> Gap {
    Gap { source: s.to_owned(), reason: s.to_owned(), hint: Some(s.to_owned()), blinds_verdict: true }
}

/// Everything that the renderers make of these entries; the last is Markdown.
fn outputs(s: &str, entries: &[LedgerEntry], width: Option<usize>) -> Vec<String> {
    let o = options(width);
    let mut check_result = result(entries[0].event.changes.clone(), vec![gap_of(s)]);
    check_result.host = s.to_owned();
    check_result.netns = Some(s.to_owned());
    check_result.review_id = s.to_owned();
    check_result.baseline = entries[0].event.baseline.clone();
    let scope = audit::Scope {
        host: s.to_owned(),
        repo: s.to_owned(),
        since: at(0, 0, 0),
        until: at(12, 0, 0),
        generated_at: at(12, 0, 0),
    };
    let state = audit::BaselineState {
        baseline: check_result.baseline.clone(),
        approver: Some(s.to_owned()),
        approved_at: None,
    };
    let approvals = [audit::DatedApproval { time: at(1, 0, 0), approval: approval(s) }];
    let report = audit::build(scope, entries, state, &approvals);
    vec![
        check::text(&check_result, &o),
        log::text(s, entries, at(12, 0, 0), &o),
        show::text(&entries[0], &o),
        event::subject(&entries[0].event),
        alert::headline(&entries[0].event, &o),
        event::text(&entries[0].event, &o),
        audit::text(&report, &o),
        check::json(&check_result),
        log::json(s, entries),
        show::json(&entries[0]),
        audit::json(&report),
        audit::markdown(&report),
    ]
}

/// The styles that we emit; blinking (`5`) is the attacker's.
fn without_our_styles(text: &str) -> String {
    let codes = ["0m", "1m", "2m", "4m", "31m", "32m", "33m", "36m"];
    let mut pieces = text.split("\x1b[");
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        match codes.iter().find_map(|code| piece.strip_prefix(code)) {
            Some(rest) => plain.push_str(rest),
            None => plain.extend(["\x1b[", piece]),
        }
    }
    plain
}

/// Markdown without fenced blocks and code spans, as CommonMark delimits them.
fn outside_of_code(markdown: &str) -> String {
    let mut out = String::new();
    let mut fence: Option<usize> = None;
    for line in markdown.lines() {
        let start = line.trim_start_matches(' ');
        let ticks = start.len() - start.trim_start_matches('`').len();
        match fence {
            Some(open) if ticks >= open && start.trim_end().len() == ticks => fence = None,
            Some(_) => {}
            None if ticks >= 3 => fence = Some(ticks),
            None => out.push_str(&(without_spans(line) + "\n")),
        }
    }
    assert_eq!(fence, None, "every fence is closed");
    out
}

fn without_spans(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        if c == '\\' {
            let end = rest.chars().take(2).map(char::len_utf8).sum();
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        if c != '`' {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let ticks = rest.len() - rest.trim_start_matches('`').len();
        let mut after = &rest[ticks..];
        rest = loop {
            let start = after.find('`').unwrap_or_else(|| panic!("an open code span: {line}"));
            let run = after[start..].len() - after[start..].trim_start_matches('`').len();
            let next = &after[start + run..];
            if run == ticks {
                break next;
            }
            after = next;
        };
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_field_acts_in_a_terminal_or_in_markdown(
        s in hostile(),
        t in hostile(),
        kind in prop::sample::select(vec![ChangeKind::Added, ChangeKind::Removed, ChangeKind::Modified, ChangeKind::Moved]),
        object in prop::sample::select(vec![ObjectKind::Rule, ObjectKind::Chain, ObjectKind::Table, ObjectKind::Set, ObjectKind::Element]),
        source in prop::sample::select(vec![Source::Nft, Source::IptablesNft, Source::IptablesLegacy]),
        event in prop::sample::select(EventKind::ALL.to_vec()),
        known: bool,
        width in prop::option::of(0_usize..200),
    ) {
        let changes = vec![change(&s, kind, object, source, known), change(&t, kind, object, source, !known)];
        let mut second = entry_of(&t, event, changes.clone(), !known);
        second.event.seq = 2;
        let entries = [entry_of(&s, EventKind::Drift, changes, known), second];
        for text in outputs(&s, &entries, width) {
            let text = without_our_styles(&text);
            let bad = text.chars().find(|c| *c != '\n' && super::escape::terminal(&c.to_string()) != c.to_string());
            prop_assert_eq!(bad, None, "{:?}", text);
        }
        let markdown = outputs(&s, &entries, None).pop().unwrap_or_default();
        let prose = outside_of_code(&markdown);
        prop_assert!(!prose.contains(['<', '>']), "{}", prose);
    }

    /// Every line is one that we meant: a heading of ours, or indented, or with a gutter.
    #[test]
    fn no_field_fakes_a_line_of_the_check(s in hostile()) {
        let fake = format!("x\nIN SYNC  web-01\n{s}");
        for object in [ObjectKind::Rule, ObjectKind::Table, ObjectKind::Set, ObjectKind::Element] {
            let change = change(&fake, ChangeKind::Modified, object, Source::Nft, true);
            let entries = [entry_of(&fake, EventKind::Drift, vec![change], true)];
            for text in outputs(&fake, &entries, Some(80)) {
                prop_assert!(!without_our_styles(&text).lines().any(|l| l.trim_start().starts_with("IN SYNC")), "{}", text);
            }
        }
    }
}
