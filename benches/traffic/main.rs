//! What changes and flows cost to compute: `cargo bench --bench traffic [-- --only NAME] [--rules N] [--wild PERCENT]`.
//!
//! Each ruleset is loaded by nft in a network namespace of its own and read back over netlink; only the computation is
//! timed. Rules are random 5-tuples: prefixes of 8 to 32 bits, ports and ranges of ports, accepted or dropped; `--wild` is
//! the share of rules for any source, and independently for any destination. Needs root and nft.

use fwdrift::collect;
use fwdrift::compare::{Difference, Known};
use fwdrift::model::{Expect, Ruleset};
use fwdrift::normalise::normalise;
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use fwdrift::traffic::effects::{Budget, effects};
use fwdrift::traffic::flows::{Wanted, flows};
use fwdrift::traffic::packets::{Ends, Interfaces};
use fwdrift::traffic::walk::Path;
use std::time::{Duration, Instant};

/// Timed runs of each case; the median counts.
const RUNS: usize = 5;

/// A small generator of numbers, the same at each run (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

struct Options {
    rules: usize,
    wild: u64,
    only: Option<String>,
}

fn main() {
    let options = options();
    println!("{} rules, {} % of them for any source (and any destination)", options.rules, options.wild);
    println!("| case | time (median of {RUNS}) | asked | result | memory |");
    println!("|---|--:|--:|---|--:|");
    let rules = rules(&options);
    let before = load(&rules, "drop");
    let cases: [(&str, Duration, &dyn Fn() -> String); 4] = [
        ("1 rule changed", Duration::from_millis(20), &changed(&before, &rules, 1)),
        ("100 rules changed", Duration::from_secs(1), &changed(&before, &rules, 100)),
        ("policy flipped", Duration::from_secs(5), &flipped(&before, &rules)),
        ("200 required flows", Duration::from_secs(2), &checked(&before)),
    ];
    for (name, asked, case) in cases {
        if options.only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let mut times = Vec::new();
        let mut result = String::new();
        for _ in 0..RUNS {
            let start = Instant::now();
            result = case();
            times.push(start.elapsed());
        }
        times.sort();
        println!("| {name} | {:.1?} | {asked:?} | {result} | {} MB |", times[RUNS / 2], most_memory());
    }
}

fn options() -> Options {
    let mut options = Options { rules: 10_000, wild: 20, only: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().unwrap_or_default();
        match argument.as_str() {
            "--rules" => options.rules = value().parse().unwrap_or(10_000),
            "--wild" => options.wild = value().parse().unwrap_or(20),
            "--only" => options.only = Some(value()),
            _ => {}
        }
    }
    options
}

fn rules(options: &Options) -> Vec<String> {
    let mut random = Random(0x5eed_1234_abcd);
    (0..options.rules).map(|_| rule(&mut random, options.wild)).collect()
}

fn rule(random: &mut Random, wild: u64) -> String {
    let mut words = String::new();
    for end in ["saddr", "daddr"] {
        if random.next(100) >= wild {
            let length = 8 + random.next(25);
            let address = random.next(1 << 32) as u32 & (u32::MAX << (32 - length));
            words.push_str(&format!("ip {end} {}/{length} ", std::net::Ipv4Addr::from(address)));
        }
    }
    let protocol = ["tcp", "udp"][random.next(2) as usize];
    let low = random.next(60_000);
    let ports =
        if random.next(3) == 0 { format!("{low}-{}", low + random.next(5000)) } else { low.to_string() };
    let verdict = if random.next(2) == 0 { "accept" } else { "drop" };
    format!("{words}{protocol} dport {ports} {verdict}")
}

fn load(rules: &[String], policy: &str) -> Ruleset {
    let netns = Netns::create().expect("a network namespace");
    let script = format!(
        "table inet filter {{\n chain input {{\n type filter hook input priority 0; policy {policy};\n{}\n }}\n}}\n",
        rules.join("\n")
    );
    let run = || Tool::find("nft").map(|nft| nft.args(["-f", "-"]).input(script.into_bytes()).run());
    netns.run(run).expect("the namespace").expect("nft").expect("the rules load");
    normalise(&collect::capture(&netns, None).expect("the rules can be read").0).expect("they are understood")
}

fn differences(before: &Ruleset, after: &Ruleset) -> Vec<Difference> {
    pipeline::compared(before, after, &Known::default()).expect("they can be compared").differences
}

fn changed<'r>(before: &'r Ruleset, rules: &[String], count: usize) -> impl Fn() -> String + use<'r> {
    let mut random = Random(0xfeed_beef);
    let mut rules = rules.to_vec();
    for _ in 0..count {
        let at = random.next(rules.len() as u64) as usize;
        rules[at] = rule(&mut random, 0);
    }
    let after = load(&rules, "drop");
    let differences = differences(before, &after);
    move || told(before, &after, &differences)
}

fn flipped<'r>(before: &'r Ruleset, rules: &[String]) -> impl Fn() -> String + use<'r> {
    let after = load(rules, "accept");
    let differences = differences(before, &after);
    move || told(before, &after, &differences)
}

fn told(before: &Ruleset, after: &Ruleset, differences: &[Difference]) -> String {
    let answer = effects(before, after, differences, &[], Budget::default());
    let whole = if answer.incomplete.is_empty() { "all" } else { "the largest" };
    let why = answer.incomplete.first().map(|why| format!(" ({why})")).unwrap_or_default();
    format!("{} changes, {} statements, {whole}{why}", differences.len(), answer.found.len())
}

fn checked(ruleset: &Ruleset) -> impl Fn() -> String + '_ {
    let mut random = Random(0xf10e_5000);
    let mut ends = || {
        let low = random.next(1 << 32) as u32 & 0xffff_ff00;
        Ends { v4: vec![(low.into(), (low | 0xff).into())], ..Ends::default() }
    };
    let wanted: Vec<Wanted> = (0..200)
        .map(|at| Wanted {
            from: ends(),
            to: ends(),
            protocols: vec![6],
            ports: vec![(at * 300, at * 300)],
            iif: Interfaces::OneOf(Vec::new()),
            oif: Interfaces::OneOf(Vec::new()),
            path: Path::Input,
            expect: Expect::Allow,
            within_limits: false,
        })
        .collect();
    move || {
        let found = flows(ruleset, &wanted, Budget::default());
        let count = |holds| found.iter().filter(|found| found.holds == holds).count();
        let (hold, broken, unclear) = (count(Some(true)), count(Some(false)), count(None));
        format!("{hold} hold, {broken} broken, {unclear} inconclusive")
    }
}

/// The largest resident memory of this process so far.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1024
}
