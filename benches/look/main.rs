//! What a look costs, side by side with what a user would otherwise write, and with the floor.
//!
//! Each case is made in a network namespace of its own; then four programs look at it in turn, several times:
//! fwdrift; a bare netlink dump of the same state that throws the bytes away (this program, run anew); and
//! `nft -s list ruleset | diff - file`; and `nft -j list ruleset`, handles and counters removed by jq, then diff.
//! The best time of each counts, and the largest memory. Needs root, nft and jq.
//!
//! `cargo bench --bench look` prints the table; `-- --scale 10` makes every case ten times smaller; `-- --only
//! WORD` runs the cases with that word in their names; `-- --curve` prints fwdrift and the bare dump by size.

mod cases;
mod measure;

use cases::Case;
use measure::{Usage, best};
use std::path::Path;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == measure::BARE) {
        measure::bare_dump();
        return;
    }
    if args.first().is_some_and(|arg| arg == measure::MEASURE) {
        measure::measure(&args[1..]);
        return;
    }
    if args.iter().any(|arg| arg == "--help") {
        println!("cargo bench --bench look [-- --scale N] [-- --only WORD] [-- --curve]");
        return;
    }
    let value = |name: &str| args.iter().position(|arg| arg == name).and_then(|place| args.get(place + 1));
    let scale = value("--scale").map_or(1, |scale| scale.parse().expect("--scale takes a number"));
    let only = value("--only").cloned().unwrap_or_default();
    println!("{}\n", measure::machine());
    if args.iter().any(|arg| arg == "--curve") {
        return curve(scale);
    }
    println!("| case | fwdrift | memory | bare dump | × | nft text, diff | × | nft JSON, jq, diff | × |");
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|");
    for case in cases::all(scale).into_iter().filter(|case| case.name.contains(&only)) {
        row(&case);
    }
}

fn row(case: &Case) {
    let host = measure::Host::new(case);
    let fwdrift = |host: &measure::Host| host.fwdrift(&["check", "--full"]);
    if case.unchanged {
        let (ours, bare) = (best(9, || host.fwdrift(&["check"])), best(3, || host.bare()));
        return print(case, &host, &ours, &bare);
    }
    let (mut ours, mut bare): (Vec<Usage>, Vec<Usage>) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        bare.push(host.bare());
        ours.push(fwdrift(&host));
    }
    print(case, &host, &Usage::best_of(&ours), &Usage::best_of(&bare));
}

fn print(case: &Case, host: &measure::Host, ours: &Usage, bare: &Usage) {
    let (text, json) = (best(3, || host.nft_text()), best(3, || host.nft_json()));
    let times = |other: &Usage| other.seconds / ours.seconds;
    println!(
        "| {} | {:.1} ms | {:.1} MB | {:.1} ms | {:.2} | {:.0} ms | {:.1} | {:.0} ms | {:.1} |",
        case.name,
        ours.seconds * 1e3,
        ours.megabytes,
        bare.seconds * 1e3,
        ours.seconds / bare.seconds,
        text.seconds * 1e3,
        times(&text),
        json.seconds * 1e3,
        times(&json),
    );
}

/// How the cost of a full look grows.
fn curve(scale: usize) {
    println!(
        "| rules | in one chain: fwdrift | memory | bare dump | in chains of ten: fwdrift | memory | bare dump |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for rules in [1_000, 3_000, 10_000, 30_000, 100_000, 300_000] {
        let rules = rules / scale;
        let mut cells = Vec::new();
        for case in [cases::one_chain(rules), cases::many_chains(rules, rules / 10)] {
            let host = measure::Host::new(&case);
            let (mut ours, mut bare) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                bare.push(host.bare());
                ours.push(host.fwdrift(&["check", "--full"]));
            }
            let (ours, bare) = (Usage::best_of(&ours), Usage::best_of(&bare));
            cells.push(format!(
                "{:.1} ms | {:.1} MB | {:.1} ms",
                ours.seconds * 1e3,
                ours.megabytes,
                bare.seconds * 1e3
            ));
        }
        println!("| {rules} | {} |", cells.join(" | "));
    }
}

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_fwdrift"))
}
