use super::fixture::*;
use super::*;
use crate::model::{Approval, Author, ChangeKind, EventKind, Evidence, ObjectKind, Source};
#[test]
fn look() {
    let w = std::env::var("W").ok().and_then(|w| w.parse().ok());
    let o = options(w);
    let moved = rule(
        ChangeKind::Moved,
        Some("ct state established,related accept"),
        Some("ct state established,related accept"),
    );
    let mut modi = rule(
        ChangeKind::Modified,
        Some("ip saddr 10.0.0.0/8 tcp dport 22 accept"),
        Some("ip saddr 0.0.0.0/0 tcp dport { 22, 80 } accept"),
    );
    modi.id = "beefbeefbeef".into();
    modi.author = nobody();
    modi.time = None;
    let mut chain = object(
        ObjectKind::Chain,
        ChangeKind::Modified,
        "output",
        "type filter hook output priority filter; policy drop;",
    );
    chain.before = Some("type filter hook output priority filter; policy accept;".into());
    chain.chain = Some("output".into());
    chain.name = None;
    let el = object(
        ObjectKind::Element,
        ChangeKind::Added,
        "bl",
        "192.0.2.7 comment \"\u{1b}[2Jx\nDRIFT web-01\"",
    );
    let big: String = "table ip nat {\n".to_owned()
        + &(0..4999)
            .map(|n| format!("\t\tip saddr 10.0.{}.{} accept\n", n / 256, n % 256))
            .collect::<String>()
        + "}";
    let mut table = object(ObjectKind::Table, ChangeKind::Removed, "nat", &big);
    table.family = "ip".into();
    table.table = "nat".into();
    table.name = None;
    let mut ipt = rule(ChangeKind::Added, None, Some("-A INPUT -p tcp -m multiport --dports 22,80 -j DROP"));
    ipt.source = Source::IptablesNft;
    ipt.family = "ip".into();
    ipt.chain = Some("INPUT".into());
    let many = vec![added(), modi.clone(), moved, chain, el, table, ipt];
    println!("{}", check::text(&result(many.clone(), vec![gap(true), gap(false)]), &o));
    println!("=======\n{}", check::text(&result(vec![added()], vec![]), &o));
    println!("=======\n{}", check::text(&result(vec![added(), added()], vec![]), &o));
    println!("=======\n{}", check::text(&result(vec![], vec![gap(true)]), &o));
    println!("=======\n{}", check::text(&result(vec![], vec![]), &o));
    let mut rev = entry(2, EventKind::Reverted, vec![added()]);
    rev.event.time = at(3, 0, 0);
    rev.event.recorded_at = at(3, 1, 0);
    let mut d3 = entry(3, EventKind::Drift, many);
    d3.event.time = at(4, 0, 0);
    d3.event.recorded_at = at(4, 1, 0);
    d3.event.author = nobody();
    let mut tr = entry(4, EventKind::Transient, vec![]);
    tr.event.recorded_at = at(4, 10, 0);
    tr.event.open = d3.event.open.clone();
    let mut ap = entry(5, EventKind::Approved, vec![modi]);
    ap.event.recorded_at = at(5, 0, 0);
    ap.event.time = at(4, 59, 0);
    ap.event.approval = Some(Approval {
        commit: COMMIT.into(),
        approver: "ops1 <ops1@example.org>".into(),
        reason: Some("office moved".into()),
        ticket: Some("NET-12".into()),
    });
    ap.event.author = Author { name: "ops1".into(), evidence: Evidence::Git, ..Author::default() };
    let all = vec![ap, tr, d3, rev, entry(1, EventKind::Drift, vec![added()])];
    println!("=======LOG\n{}", log::text("web-01", &all, at(6, 0, 0), &o));
    println!("=======SHOW\n{}", show::text(&all[4], &o));
    println!("=======SHOW\n{}", show::text(&all[0], &o));
    println!("=======EVENT\n{}", event::text(&all[4].event, &o));
    println!("=======EVENT\n{}", event::text(&all[2].event, &o));
    let scope = audit::Scope {
        host: "web-01".into(),
        repo: "/var/lib/fwdrift/repo".into(),
        since: at(0, 0, 0),
        until: at(12, 0, 0),
        generated_at: at(12, 0, 0),
    };
    let b = audit::BaselineState {
        baseline: baseline(),
        approver: Some("Ada <ada@example.org>".into()),
        approved_at: Some(at(0, 1, 0)),
    };
    let r = audit::build(scope, &all, b, &[]);
    println!("=======AUDIT\n{}", audit::text(&r, &o));
    println!("=======MD\n{}", audit::markdown(&r));
    println!("=======JSON\n{}", &audit::json(&r)[..600]);
}
