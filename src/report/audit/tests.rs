use super::*;
use crate::model::{ChangeKind, Evidence, LedgerEntry};
use crate::report::fixture::*;

const DAY: (u32, u32) = (0, 12);

/// The report over the hours `since..until` of the day.
fn report(entries: &[LedgerEntry], (since, until): (u32, u32)) -> AuditReport {
    let scope = Scope {
        host: "web-01".into(),
        repo: "/var/lib/fwdrift/repo".into(),
        since: at(since, 0, 0),
        until: at(until, 0, 0),
        generated_at: at(until, 0, 1),
    };
    let baseline = BaselineState {
        baseline: baseline(),
        approver: Some("Ada <ada@example.org>".into()),
        approved_at: Some(at(0, 1, 0)),
    };
    build(scope, entries, baseline, &[])
}

fn change(id: &str) -> Change {
    Change { id: id.into(), ..added() }
}

/// An event recorded at `hour`, a minute after it happened; `open` are the ids open after it.
fn event(seq: u64, kind: EventKind, hour: u32, ids: &[&str], open: &[&str]) -> LedgerEntry {
    let mut changes: Vec<Change> = ids.iter().map(|id| change(id)).collect();
    for change in &mut changes {
        change.time = Some(at(hour - 1, 59, 0));
    }
    let mut entry = entry(seq, kind, changes);
    entry.event.time = at(hour - 1, 59, 0);
    entry.event.recorded_at = at(hour, 0, 0);
    entry.event.window = Window { from: Some(at(hour - 1, 55, 0)), to: at(hour, 0, 0) };
    entry.event.open = open.iter().map(|id| (*id).to_owned()).collect();
    entry
}

/// `id state seconds` of each row.
fn rows(report: &AuditReport) -> Vec<String> {
    let row = |row: &Row| {
        let carried = if row.carried_over { " carried" } else { "" };
        let open = row.open_seconds.map_or("?".to_owned(), |n| n.to_string());
        format!("{} {} {open}{carried}", row.change.id, row.disposition.as_str())
    };
    report.changes.iter().map(row).collect()
}

#[test]
fn a_change_opens_and_ends() {
    let ledger = [
        event(1, EventKind::Drift, 2, &["a", "b", "c"], &["a", "b", "c"]),
        event(2, EventKind::Reverted, 3, &["a"], &["b", "c"]),
        event(3, EventKind::Applied, 4, &["b"], &["c"]),
    ];
    let report = report(&ledger, DAY);
    assert_eq!(rows(&report), ["a reverted 3600", "b applied 7200", "c open 36060"]);
    assert!(report.coverage.findings.is_empty());
    assert_eq!(
        report.summary,
        AuditSummary {
            changes: 3,
            carried_over: 0,
            open: 1,
            reverted: 1,
            applied: 1,
            approved: 0,
            unattributed: 0,
            time_to_detect: Some(Spread { of: 3, median_seconds: 60, max_seconds: 60 }),
            time_to_resolve: Some(Spread { of: 2, median_seconds: 5400, max_seconds: 7200 }),
        }
    );
}

#[test]
fn the_order_of_the_entries_does_not_matter() {
    let mut ledger = vec![
        event(1, EventKind::Drift, 2, &["a"], &["a"]),
        event(2, EventKind::Reverted, 3, &["a"], &[]),
        event(3, EventKind::Drift, 4, &["a"], &["a"]),
    ];
    let forwards = report(&ledger, DAY);
    ledger.reverse();
    assert_eq!(report(&ledger, DAY), forwards);
}

#[test]
fn the_same_change_made_again_is_a_row_of_its_own() {
    let ledger = [
        event(1, EventKind::Drift, 2, &["a"], &["a"]),
        event(2, EventKind::Reverted, 3, &["a"], &[]),
        event(3, EventKind::Drift, 5, &["a"], &["a"]),
    ];
    assert_eq!(rows(&report(&ledger, DAY)), ["a reverted 3600", "a open 25260"]);
}

#[test]
fn what_was_open_before_is_carried_over_and_what_had_ended_is_not() {
    let ledger = [
        event(1, EventKind::Drift, 2, &["a", "b", "c"], &["a", "b", "c"]),
        event(2, EventKind::Reverted, 3, &["a"], &["b", "c"]),
        event(3, EventKind::Reverted, 6, &["b"], &["c"]),
        event(4, EventKind::Drift, 8, &["d"], &["c", "d"]),
    ];
    let report = report(&ledger, (5, 7));
    assert_eq!(rows(&report), ["b reverted 14400 carried", "c open 18060 carried"]);
    assert_eq!(report.ledger.map(|head| head.seq), Some(3));
    assert_eq!(report.summary.time_to_detect, None);
}

#[test]
fn an_unknown_time_makes_the_age_a_minimum() {
    let mut drift = event(1, EventKind::Drift, 2, &["a"], &["a"]);
    drift.event.changes[0].time = None;
    drift.event.changes[0].author = nobody();
    let report = report(&[drift], DAY);
    assert_eq!(rows(&report), ["a open 36000"]);
    assert_eq!(stood_open(&report.changes[0]), "at least 10 h");
    assert_eq!((report.summary.unattributed, report.summary.time_to_detect), (1, None));
}

#[test]
fn an_approver_with_the_authors_name_is_pointed_out() {
    let check = |approver: &str, expect: Option<bool>| {
        let mut end = event(2, EventKind::Approved, 3, &["a"], &[]);
        end.event.approval = Some(Approval { approver: approver.into(), ..Approval::default() });
        let report = report(&[event(1, EventKind::Drift, 2, &["a"], &["a"]), end], DAY);
        let ending = report.changes[0].disposition.ending().cloned();
        assert_eq!(ending.and_then(|e| e.approver_is_author), expect, "{approver}");
    };
    check("ops1 <x@example.org>", Some(true));
    check("Olga <ops1@example.org>", Some(true));
    check("Ada <ada@example.org>", Some(false));
    check("", None);
}

#[test]
fn a_ledger_that_contradicts_itself_is_a_finding() {
    let check = |ledger: &[LedgerEntry], expect: &[&str]| {
        assert_eq!(report(ledger, DAY).coverage.findings, expect);
    };
    check(
        &[event(2, EventKind::Drift, 2, &["a"], &["a"]), event(5, EventKind::Reverted, 3, &["b"], &["c"])],
        &[
            "entry 5 ends b, which no entry opened",
            "entry 5 says that c is open, which no entry opened",
            "entry 5 says that a is not open, but no entry ended it",
            "entry 1 is missing",
            "entries 3 to 4 are missing",
        ],
    );
}

#[test]
fn silence_is_not_called_evidence() {
    let empty = report(&[], DAY);
    assert!(empty.coverage.statement.contains("not by itself proof"));
    assert_eq!((empty.ledger.clone(), empty.coverage.last_look), (None, None));
    let text = plain(&text(&empty, &options(Some(80))));
    assert!(text.contains("  none recorded in this period\n"), "{text}");
    assert!(text.contains("no entry up to the end of this period"), "{text}");
    let with = report(&[event(1, EventKind::Checkpoint, 2, &[], &[])], DAY);
    assert!(with.coverage.statement.starts_with("Checkpoints state"), "{}", with.coverage.statement);
}

/// A drift that was approved, a gap, a transient: all that the renderers distinguish.
fn story() -> AuditReport {
    let mut approved = event(2, EventKind::Approved, 3, &["a1b2c3d4e5f6"], &[]);
    approved.event.author = Author { name: "ada".into(), evidence: Evidence::Git, ..Author::default() };
    let approval = Approval {
        commit: COMMIT.into(),
        approver: "Ada <ada@example.org>".into(),
        reason: Some("needed | *now*".into()),
        ticket: None,
    };
    approved.event.approval = Some(approval.clone());
    let mut blind = event(3, EventKind::Gap, 4, &[], &[]);
    blind.event.gaps = vec![gap(true)];
    let transient = event(4, EventKind::Transient, 5, &[], &[]);
    let mut report = report(
        &[event(1, EventKind::Drift, 2, &["a1b2c3d4e5f6"], &["a1b2c3d4e5f6"]), approved, blind, transient],
        DAY,
    );
    report.approvals = vec![DatedApproval { time: at(2, 58, 0), approval }];
    report
}

#[test]
fn the_text_is_calm_and_whole() {
    let expect = "\
Firewall changes on web-01
2026-11-20T00:00:00Z to 2026-11-20T12:00:00Z, made 2026-11-20T12:00:01Z

summary
  changes           1
  at the end        0 open, 0 reverted, 0 applied, 1 approved
  unknown author    0
  time to detect    median 1 min, longest 1 min (of 1)
  time to resolve   median 1 h, longest 1 h (of 1)
  baseline          3f2a91c04d5e6f708192a3b4c5d6e7f801234567 baselines/web-01
  approved by       Ada <ada@example.org> at 2026-11-20T00:01:00Z
  ledger head       00000004d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0 (entry 4)
  to see it         git -C /var/lib/fwdrift/repo log --stat 00000004d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0

coverage
  first look        2026-11-20T01:55:00Z
  last look         2026-11-20T05:00:00Z
  entries           4, of these 0 checkpoints
  gap               between 2026-11-20T03:55:00Z and 2026-11-20T04:00:00Z (entry 3)
                    iptables-legacy: iptables-legacy-save is not installed, and /proc/net/ip_tables_names lists: filter
  The ledger holds an entry where something happened. A look that found nothing
  new leaves none, so the time between two entries, and after the last one, is
  not by itself proof that fwdrift was looking.

changes

  1. approved, stood open 1 h
     table inet filter
       chain input
         + tcp dport 3306 drop
           by ops1 as root at 2026-11-20T01:59:00Z
           evidence: audit-log, on pts0, from 10.0.0.9
           ran: nft insert rule inet filter input tcp dport 3306 drop
           rule 4, id a1b2c3d4e5f6
     first seen 2026-11-20T02:00:00Z (entry 1, 1 min after it was made)
     approved by ada (evidence: git) at 2026-11-20T02:59:00Z (entry 2)
     approver Ada <ada@example.org>, ticket: none given, reason: needed | *now*

events that left no change
  entry 4: transient by ops1 as root, 2 transactions
    between 2026-11-20T04:55:00Z and 2026-11-20T05:00:00Z

approvals in the period
  2026-11-20T02:58:00Z  3f2a91c04d5e6f708192a3b4c5d6e7f801234567
    approver Ada <ada@example.org>, ticket: none given, reason: needed | *now*
";
    let text = plain(&text(&story(), &options(Some(80))));
    assert_eq!(&text[..text.find("\nhow authors").expect("a legend")], expect);
}

#[test]
fn the_markdown_is_whole_and_inert() {
    let expect = "\
## Changes

### 1. rule 4 in inet filter input: added, approved

```diff
+ tcp dport 3306 drop
```

- Made: 2026-11-20T01:59:00Z by **ops1 as root**, from 10.0.0.9, ran `nft insert rule inet filter input tcp dport 3306 drop` (evidence: audit-log)
- First seen: 2026-11-20T02:00:00Z (entry 1, 1 min after it was made)
- Stood open: 1 h
- Approved: 2026-11-20T02:59:00Z (entry 2) by **ada** (evidence: git)
- Approver: Ada &lt;ada&#64;example.org&gt;; ticket: none given; reason: needed &#124; \\*now\\*
- Change id: `a1b2c3d4e5f6`

## Events that left no change

- Entry 4: transient by **ops1 as root**, 2 transactions, between 2026-11-20T04:55:00Z and 2026-11-20T05:00:00Z

## Approvals in the period

- 2026-11-20T02:58:00Z 3f2a91c04d5e6f708192a3b4c5d6e7f801234567: Approver: Ada &lt;ada&#64;example.org&gt;; ticket: none given; reason: needed &#124; \\*now\\*

";
    let markdown = markdown(&story());
    let start = markdown.find("## Changes").expect("changes");
    let end = markdown.find("## How authors").expect("a legend");
    assert_eq!(&markdown[start..end], expect);
}

#[test]
fn the_json_has_every_field_of_a_row() {
    let value: serde_json::Value = serde_json::from_str(&json(&story())).expect("JSON");
    assert_eq!(value["schema"], "fwdrift.report/1");
    assert_eq!(value["host"], "web-01");
    let row = &value["changes"][0];
    assert_eq!(row["disposition"]["state"], "approved");
    assert_eq!(row["disposition"]["approval"]["reason"], "needed | *now*");
    assert_eq!(row["open_seconds"], 3600);
    assert_eq!(row["change"]["kind"], ChangeKind::Added.as_str());
}

#[test]
fn what_a_change_did_to_traffic_stands_below_it() {
    let mut drift = event(1, EventKind::Drift, 2, &["a"], &["a"]);
    drift.event.changes = vec![Change { id: "a".into(), ..cutting() }];
    let report = report(&[drift], DAY);
    let markdown = markdown(&report);
    let expect = "\
### 1. rule 4 in inet filter input: added, open, critical

```diff
+ tcp dport 3306 drop
```

Traffic:

```text
severity: critical, cuts required flow \"web to db\"
cut     tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at input
        was accepted by \"tcp dport 3306 accept\" (rule 14), now dropped by \"tcp dport 3306 drop\" (rule 1)
        for example tcp 10.0.1.0:1024 → 10.0.2.9:3306
```

- Made: ";
    assert!(markdown.contains(expect), "{markdown}");
    let text = plain(&text(&report, &options(None)));
    let expect = "\n           cut     tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at input\n";
    assert!(text.contains(expect), "{text}");
}
