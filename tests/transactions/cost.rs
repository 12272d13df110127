//! What a reading in part costs beside a full one, with as many chains as a large cluster's kube-proxy makes.

use crate::support::Lab;
use fwdrift::collect;
use fwdrift::normalise::normalise;
use fwdrift::normalise::scope::restrict;
use fwdrift::normalise::scoped::{Writers, put};
use fwdrift::normalise::touched::Touches;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

const CHAINS: u32 = 10_000;

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let value = work();
    let taken = start.elapsed();
    println!("{what}: {:.2} ms", taken.as_secs_f64() * 1000.0);
    (value, taken)
}

/// Services of two rules each in a chain of their own, found through a map.
fn services() -> String {
    let mut script = "table ip kube {\n".to_owned();
    let address = |n: u32| format!("10.{}.{}.{}", n >> 16, n >> 8 & 255, n & 255);
    for n in 0..CHAINS {
        write!(script, "chain s{n} {{\nip saddr != 10.0.0.0/8 meta mark set 1\ndnat to {}\n}}\n", address(n))
            .unwrap();
    }
    script += "map services { type ipv4_addr . inet_service : verdict; elements = {\n";
    for n in 0..CHAINS {
        writeln!(script, "{} . 80 : goto s{n},", address(n)).unwrap();
    }
    script += "} }\nchain services { type nat hook prerouting priority -100; ip daddr . tcp dport vmap @services\n}\n}";
    script
}

#[test]
fn a_part_of_ten_thousand_chains_costs_a_fraction_of_the_whole() {
    let mut lab = Lab::new();
    timed("loaded", || lab.nft(&services()));
    // Beyond the budget, as the whole is.
    let first = lab.heard.receive().unwrap();
    assert!(!first.lost && first.transactions[0].left_out > 0);
    let ((capture, mut ruleset), full) = timed("full reading", || {
        let capture = lab.capture();
        let ruleset = normalise(&capture).unwrap();
        (capture, ruleset)
    });
    let (mut writers, _) = timed("writers of all chains", || Writers::of(&ruleset));
    let mut touches = Touches::default();
    timed("chains and rules known", || touches.know(&capture.messages, &BTreeMap::new()));
    timed("only the chains read", || collect::chains(&lab.netns).unwrap());
    let mut scoped_best = Duration::MAX;
    for n in 0..5 {
        let script = format!(
            "add chain ip kube n{n}; add rule ip kube n{n} dnat to 10.9.9.{n}; add rule ip kube s7 tcp dport {{ 1, {n} }} drop
             add element ip kube services {{ 10.9.9.{n} . 80 : goto n{n} }}"
        );
        let transaction = lab.transaction(&script);
        let (touched, _) = timed("touched", || touches.touched(&transaction, &BTreeMap::new()));
        let (scoped, taken) =
            timed("reading in part", || collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap());
        scoped_best = scoped_best.min(taken);
        timed("put", || put(&mut ruleset, &mut writers, &scoped).unwrap());
        timed("restricted", || restrict(&ruleset, &scoped.scope));
        timed("told", || fwdrift::decode::tell(&transaction, &[], &BTreeMap::new(), &ruleset).unwrap());
    }
    assert_eq!(ruleset, lab.ruleset());
    println!("a full reading is {:.0} times as long", full.as_secs_f64() / scoped_best.as_secs_f64());
    assert!(scoped_best < full / 20, "{scoped_best:?} of {full:?}");
}
