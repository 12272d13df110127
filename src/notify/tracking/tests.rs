use super::*;
use crate::model::{
    Author, BaselineRef, Change, ChangeKind, Effect, Event, Evidence, Gap, ObjectKind, Severity, Source,
    Window,
};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::path::Path;

fn at(second: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::seconds(1_800_000_000 + second)
}

fn change(id: char, author: &Author) -> Change {
    Change {
        id: id.to_string().repeat(12),
        chain: Some("input".into()),
        after: Some(format!("tcp dport {id} drop")),
        author: author.clone(),
        ..Change::new(ChangeKind::Added, Source::Nft, ("inet", "filter"), ObjectKind::Rule)
    }
}

/// An event whose changes have these one-letter ids, by an unknown author.
fn entry(seq: u64, kind: EventKind, ids: &str) -> LedgerEntry {
    let author = Author::unknown(None, Vec::new());
    entry_by(author, seq, kind, ids)
}

fn entry_by(author: Author, seq: u64, kind: EventKind, ids: &str) -> LedgerEntry {
    let time = at(seq as i64);
    let gap = Gap { source: "nft".into(), reason: "broken".into(), hint: None, blinds_verdict: true };
    LedgerEntry {
        commit: format!("{seq:040x}"),
        event: Event {
            schema: Event::SCHEMA.into(),
            seq,
            kind,
            host: "web-01".into(),
            netns: None,
            time,
            recorded_at: time,
            window: Window { from: None, to: time },
            changes: ids.chars().map(|id| change(id, &author)).collect(),
            author,
            generations: vec![],
            generation: 1,
            boot_id: String::new(),
            netns_cookie: None,
            state: String::new(),
            baseline: BaselineRef { commit: "c0ffee".into(), path: "baselines/web-01".into() },
            baseline_tree: String::new(),
            open: vec![],
            approval: None,
            checkpoint: None,
            gaps: if kind == EventKind::Gap { vec![gap] } else { vec![] },
        },
    }
}

fn options() -> Options<'static> {
    Options { width: None, repo: Path::new("/r"), program: "fwdrift" }
}

fn summary(second: i64, complete: bool, open: u64) -> Summary {
    let open = BTreeMap::from([("unknown".to_owned(), open)]);
    Summary { looked_at: at(second), generation: 1, complete, open }
}

fn state() -> State {
    State::from(None, 1)
}

/// The ids of what an alert resolves.
fn resolved(alert: &Alert) -> Vec<u64> {
    alert.resolves.iter().filter_map(|brief| brief.seq).collect()
}

#[test]
fn an_open_drift_is_told_once_and_again_when_it_came_back() {
    let mut state = state();
    let mut told =
        |seq, kind, ids| state.follow(&entry(seq, kind, ids), &options()).map(|alert| alert.number);
    assert_eq!(told(1, EventKind::Drift, "a"), Some(1));
    // The ledger's branch was moved back, and the drift recorded anew.
    assert_eq!(told(1, EventKind::Drift, "a"), None);
    assert_eq!(told(2, EventKind::Reverted, "a"), Some(2));
    assert_eq!(told(3, EventKind::Drift, "a"), Some(3));
}

#[test]
fn only_what_is_new_of_a_drift_is_told() {
    let mut state = state();
    state.follow(&entry(1, EventKind::Drift, "ab"), &options()).unwrap();
    let alert = state.follow(&entry(2, EventKind::Drift, "abc"), &options()).unwrap();
    assert_eq!(alert.changes_total, 1);
    assert_eq!(alert.changes[0].id, "cccccccccccc");
}

#[test]
fn an_alert_is_over_when_all_of_it_is() {
    for kind in [EventKind::Reverted, EventKind::Applied, EventKind::Approved] {
        let mut state = state();
        state.follow(&entry(1, EventKind::Drift, "ab"), &options()).unwrap();
        state.follow(&entry(2, EventKind::Drift, "c"), &options()).unwrap();
        assert_eq!(resolved(&state.follow(&entry(3, kind, "a"), &options()).unwrap()), Vec::<u64>::new());
        assert_eq!(resolved(&state.follow(&entry(4, kind, "bc"), &options()).unwrap()), [1, 2]);
        assert!(state.open.is_empty());
    }
}

#[test]
fn a_gap_is_open_until_everything_is_seen_again() {
    let mut state = state();
    state.follow(&entry(1, EventKind::Drift, "a"), &options()).unwrap();
    state.follow(&entry(2, EventKind::Gap, ""), &options()).unwrap();
    let another = state.follow(&entry(3, EventKind::Gap, ""), &options()).unwrap();
    assert_eq!(resolved(&another), [2], "a gap tells all that is not seen");
    assert!(state.settle(&summary(4, false, 1), at(99)).is_empty());
    assert!(state.settle(&summary(3, true, 1), at(99)).is_empty(), "a look from before the gap");
    let ended = state.settle(&summary(5, true, 1), at(99));
    assert_eq!(ended.len(), 1);
    assert_eq!((resolved(&ended[0]), ended[0].status), (vec![3], super::super::alert::Status::Ended));
    assert_eq!(state.open.len(), 1, "the drift is still there");
    assert!(state.settle(&summary(6, true, 1), at(99)).is_empty());
}

#[test]
fn a_clock_that_was_set_back_keeps_no_gap_open() {
    let mut state = state();
    state.follow(&entry(50, EventKind::Gap, ""), &options()).unwrap();
    assert_eq!(state.settle(&summary(5, true, 0), at(6)).len(), 1);
}

#[test]
fn where_nothing_is_open_nothing_stays_told() {
    let mut state = state();
    state.follow(&entry(1, EventKind::Drift, "ab"), &options()).unwrap();
    let ended = state.settle(&summary(9, true, 0), at(99));
    assert_eq!(ended.iter().flat_map(resolved).collect::<Vec<_>>(), [1]);
    assert_eq!(ended[0].id, "web-01-1-000000000000-end");
}

#[test]
fn numbers_have_no_hole_and_ids_stay() {
    let run = || {
        let mut state = state();
        let kinds = [EventKind::Drift, EventKind::Transient, EventKind::Reverted, EventKind::Checkpoint];
        let seqs = 1..;
        kinds
            .into_iter()
            .zip(seqs)
            .filter_map(|(kind, seq)| {
                let ids = if kind == EventKind::Transient { "" } else { "a" };
                state.follow(&entry(seq, kind, ids), &options()).map(|alert| (alert.number, alert.id))
            })
            .collect::<Vec<_>>()
    };
    let first = run();
    assert_eq!(first.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(first, run());
}

#[test]
fn changes_without_a_known_author_are_counted() {
    let mut state = state();
    let known = Author { name: "ops1".into(), evidence: Evidence::Audit, ..Author::default() };
    for (seq, entry) in [
        entry(1, EventKind::Drift, "ab"),
        entry_by(known.clone(), 2, EventKind::Drift, "c"),
        entry(3, EventKind::Transient, ""),
        entry_by(known, 4, EventKind::Transient, ""),
        entry(5, EventKind::Reverted, "ab"),
    ]
    .into_iter()
    .enumerate()
    {
        assert!(state.follow(&entry, &options()).is_some(), "{seq}");
    }
    assert_eq!(state.unattributed, 3);
}

#[test]
fn the_memory_of_open_alerts_is_bounded() {
    let mut state = state();
    for seq in 1..1_500 {
        let mut entry = entry(seq, EventKind::Drift, "a");
        entry.event.changes[0].id = format!("{seq:012x}");
        state.follow(&entry, &options()).unwrap();
    }
    assert_eq!(state.open.len(), FOLLOWED);
    assert_eq!(state.open[0].alert.seq, Some(500));
}

fn hostile_effect() -> Effect {
    let long = "x\u{1b}\u{202e}".repeat(2_000);
    let value = serde_json::json!({
        "effect": "cut", "statement": long, "hook": "input", "family": "ip", "conditions": vec![&long; 3], "share": 0.5,
        "sample": { "dport": long }, "src": long,
        "now": { "verdict": "drop", "table": "inet filter", "chain": long, "position": 1, "text": long },
    });
    serde_json::from_value(value).unwrap()
}

#[test]
fn an_alert_is_bounded_whatever_the_rules_hold() {
    let mut state = state();
    let mut entry = entry(1, EventKind::Drift, &"a".repeat(3_000));
    for (at, change) in entry.event.changes.iter_mut().enumerate() {
        change.id = format!("{at:012x}");
        change.after = Some("x\u{1b}\u{202e}".repeat(20_000));
        change.chain = Some("c\n".repeat(100));
        change.severity = Some(if at == 7 { Severity::High } else { Severity::Low });
        change.impact = (at < 4).then(|| vec![hostile_effect(); 30]);
    }
    let alert = state.follow(&entry, &options()).unwrap();
    assert_eq!(alert.changes_total, 3_000);
    assert_eq!(alert.severity, Some(Severity::High));
    let first = alert.changes.first().unwrap();
    let kept = first.impact.as_ref().map(Vec::len).unwrap();
    assert!((1..=10).contains(&kept), "{kept}");
    assert_eq!(first.impact_incomplete, Some(format!("an alert holds no more: {} left out", 30 - kept)));
    let json = alert.json();
    assert!(json.len() < 200_000, "{}", json.len());
    assert!(json.chars().all(|c| !c.is_control() && c != '\u{202e}'));
}
