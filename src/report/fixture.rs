//! Values for the tests of the renderers.

use super::Options;
use crate::model::{
    Author, BaselineRef, Change, ChangeKind, CheckResult, Decider, Effect, EffectKind, Event, EventKind,
    Evidence, Expect, FlowDirection, FlowOutcome, Gap, LedgerEntry, ObjectKind, Position, Provenance,
    Severity, Source, Summary, Verdict, Window,
};
use chrono::{DateTime, TimeZone, Utc};
use std::path::Path;

pub(super) const COMMIT: &str = "3f2a91c04d5e6f708192a3b4c5d6e7f801234567";

/// The text without our own styles.
pub(super) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

pub(super) fn options(width: Option<usize>) -> Options<'static> {
    Options { width, repo: Path::new("/var/lib/fwdrift/repo"), program: "fwdrift" }
}

/// 20 November 2026, UTC.
pub(super) fn at(hour: u32, minute: u32, second: u32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 20, hour, minute, second).single().expect("a valid time")
}

pub(super) fn ops1() -> Author {
    Author {
        name: "ops1".into(),
        auid: Some(1001),
        uid: Some(0),
        session: Some(3),
        tty: Some("pts0".into()),
        pid: Some(4242),
        comm: Some("nft".into()),
        exe: Some("/usr/sbin/nft".into()),
        cmdline: Some("nft insert rule inet filter input tcp dport 3306 drop".into()),
        remote: Some("10.0.0.9".into()),
        evidence: Evidence::AuditLog,
        ..Author::default()
    }
}

pub(super) fn nobody() -> Author {
    let candidate = |name: &str, ran: &str| Author {
        name: name.into(),
        cmdline: Some(ran.into()),
        evidence: Evidence::AuditLog,
        ..Author::default()
    };
    let window = Window { from: Some(at(2, 10, 0)), to: at(2, 15, 0) };
    Author::unknown(
        Some(window),
        vec![candidate("ops1", "nft -f /root/a.nft"), candidate("ops2", "ufw reload")],
    )
}

pub(super) fn rule(kind: ChangeKind, before: Option<&str>, after: Option<&str>) -> Change {
    Change {
        id: "a1b2c3d4e5f6".into(),
        chain: Some("input".into()),
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
        position: Some(Position { before: before.map(|_| 2), after: after.map(|_| 4) }),
        author: ops1(),
        time: Some(at(2, 14, 9)),
        ..Change::new(kind, Source::Nft, ("inet", "filter"), ObjectKind::Rule)
    }
}

pub(super) fn added() -> Change {
    rule(ChangeKind::Added, None, Some("tcp dport 3306 drop"))
}

pub(super) fn decider(verdict: &str, position: Option<usize>, text: &str) -> Decider {
    Decider {
        verdict: verdict.into(),
        table: "inet filter".into(),
        chain: "input".into(),
        position,
        text: Some(text.into()),
        baseline: None,
        provenance: None,
    }
}

/// The packets to the database, which a rule lets through on one side and another drops on the other.
pub(super) fn effect(kind: EffectKind) -> Effect {
    let (accepts, drops) = (
        decider("accept", Some(14), "tcp dport 3306 accept"),
        decider("drop", Some(1), "tcp dport 3306 drop"),
    );
    let (was, now) = match kind {
        EffectKind::Opened => (drops, accepts),
        EffectKind::Cut => (accepts, drops),
    };
    let text = |text: &str| Some(text.to_owned());
    let sample =
        [("proto", "tcp"), ("src", "10.0.1.0"), ("sport", "1024"), ("dst", "10.0.2.9"), ("dport", "3306")];
    Effect {
        effect: kind,
        statement: "tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections, at input".into(),
        hook: "input".into(),
        family: "ip".into(),
        proto: text("tcp"),
        src: text("10.0.1.0/24"),
        dst: text("10.0.2.9"),
        sport: None,
        dport: text("3306"),
        iif: None,
        oif: None,
        state: text("new"),
        other: [].into(),
        sample: sample.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        was: Some(was),
        now: Some(now),
        conditions: vec![],
        share: 0.25,
        flow: None,
    }
}

/// A rule that cuts a required flow.
pub(super) fn cutting() -> Change {
    Change {
        severity: Some(Severity::Critical),
        impact: Some(vec![Effect { flow: Some("web to db".into()), ..effect(EffectKind::Cut) }]),
        ..added()
    }
}

pub(super) fn flow(name: &str, holds: Option<bool>) -> FlowOutcome {
    let provenance =
        Provenance::Drift { id: "a1b2c3d4e5f6".into(), author: Box::new(ops1()), time: Some(at(2, 14, 9)) };
    let drops = Decider { provenance: Some(provenance), ..decider("drop", Some(1), "tcp dport 3306 drop") };
    let is_broken = holds == Some(false);
    FlowOutcome {
        name: name.into(),
        expect: Expect::Allow,
        holds,
        direction: if is_broken { FlowDirection::Request } else { FlowDirection::Both },
        path: "input".into(),
        broken_by: is_broken.then_some(drops),
        sample: is_broken.then(|| effect(EffectKind::Cut).sample),
        packets: match holds {
            Some(true) => vec![],
            Some(false) => vec!["tcp 10.0.1.0/24 → 10.0.2.9:3306, new connections".into()],
            None => vec!["limit rate 3/second".into()],
        },
        owner: Some("team-db".into()),
        ticket: Some("NET-12".into()),
    }
}

pub(super) fn object(object: ObjectKind, kind: ChangeKind, name: &str, text: &str) -> Change {
    let text = |on: bool| on.then(|| text.to_owned());
    Change {
        id: "0f0f0f0f0f0f".into(),
        chain: None,
        object,
        name: Some(name.to_owned()),
        before: text(kind == ChangeKind::Removed),
        after: text(kind != ChangeKind::Removed),
        position: None,
        ..rule(kind, None, None)
    }
}

pub(super) fn baseline() -> BaselineRef {
    BaselineRef { commit: COMMIT.into(), path: "baselines/web-01".into() }
}

pub(super) fn result(changes: Vec<Change>, gaps: Vec<Gap>) -> CheckResult {
    let verdict = match (changes.is_empty(), gaps.iter().any(|g| g.blinds_verdict)) {
        (false, _) => Verdict::Drift,
        (true, true) => Verdict::Unknown,
        (true, false) => Verdict::InSync,
    };
    CheckResult {
        schema: "fwdrift.check/1".into(),
        host: "web-01".into(),
        netns: None,
        baseline: baseline(),
        captured_at: at(2, 18, 9),
        generation: 42,
        verdict,
        review_id: "8c1f2ab01234".into(),
        gaps,
        summary: Summary::of(&changes, 0),
        changes,
        boot: None,
        flows: Vec::new(),
    }
}

pub(super) fn gap(blinds_verdict: bool) -> Gap {
    Gap {
        source: "iptables-legacy".into(),
        reason: "iptables-legacy-save is not installed, and /proc/net/ip_tables_names lists: filter".into(),
        hint: Some("install it with `apt-get install iptables`".into()),
        blinds_verdict,
    }
}

pub(super) fn entry(seq: u64, kind: EventKind, changes: Vec<Change>) -> LedgerEntry {
    let open = if kind == EventKind::Drift { changes.iter().map(|c| c.id.clone()).collect() } else { vec![] };
    LedgerEntry {
        commit: format!("{seq:08x}d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0d0"),
        event: Event {
            schema: "fwdrift.event/1".into(),
            seq,
            kind,
            host: "web-01".into(),
            netns: None,
            time: at(2, 14, 9),
            recorded_at: at(2, 15, 0),
            window: Window { from: Some(at(2, 10, 0)), to: at(2, 15, 0) },
            author: ops1(),
            generations: vec![41, 42],
            generation: 42,
            boot_id: "5c4e7bd0-0000-4000-8000-000000000001".into(),
            netns_cookie: None,
            state: "77aa".into(),
            baseline: baseline(),
            baseline_tree: String::new(),
            changes,
            open,
            approval: None,
            checkpoint: None,
            gaps: vec![],
        },
    }
}
