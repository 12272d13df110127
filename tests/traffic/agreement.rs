//! The kernel is the oracle: packets from both sides of every boundary that the engine claims are sent, and the two
//! must agree on each. The packet-by-packet evaluator must agree with the packet sets as well.
//!
//! `TRAFFIC_PACKETS=100000` asks about that many packets or a little more; without it, about 13,000.
//! `TRAFFIC_ONLY=part/of/a/name` restricts it to some rulesets, `TRAFFIC_SEED` makes other generated ones.

use crate::concrete::{Asked, bit_of, concrete};
use crate::kernel::{self, Lab, Packet, Path, Seen};
use crate::naive::{self, End, Walked};
use crate::sampling::{self, Dice, Wanted};
use fwdrift::model::Ruleset;
use fwdrift::traffic::bdd::{Bit, Node, Var};
use fwdrift::traffic::evaluate;
use fwdrift::traffic::lower::{Common, lower};
use fwdrift::traffic::program::{Chain, ChainId, Hook, Program, Step, Verdict};
use fwdrift::traffic::space::{Base, Key, Kind, Space};
use fwdrift::traffic::test::{Part, Test};
use fwdrift::traffic::walk::{Fate, Outcome, Piece, Walker};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

const PATHS: [Path; 3] = [Path::Input, Path::Forward, Path::Output];
/// Nodes of one ruleset's packet sets.
const NODES: usize = 4_000_000;
/// Values that variables without a model are tried with: none set, all set, and at random.
const FILLINGS: u64 = 6;
/// Disagreements of one ruleset that are looked into.
const MOST_WRONG: usize = 8;

/// What was asked and how it went.
#[derive(Default, Debug)]
pub struct Tally {
    pub rulesets: usize,
    pub asked: usize,
    pub agreed: usize,
    pub conditional: usize,
    pub not_asked: BTreeMap<String, usize>,
    /// Rulesets that could not be looked at; why.
    pub skipped: BTreeMap<String, usize>,
    pub wrong: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.rulesets += other.rulesets;
        self.asked += other.asked;
        self.agreed += other.agreed;
        self.conditional += other.conditional;
        for (why, count) in other.not_asked {
            *self.not_asked.entry(why).or_default() += count;
        }
        for (why, count) in other.skipped {
            *self.skipped.entry(why).or_default() += count;
        }
        self.wrong.extend(other.wrong);
    }

    pub fn not(&mut self, why: &str) {
        // Numbers of interfaces and the like would make each reason one of its own.
        let why: String = why.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
        *self.not_asked.entry(why).or_default() += 1;
    }

    pub fn skip(&mut self, why: &str) {
        *self.skipped.entry(why.to_owned()).or_default() += 1;
    }

    fn row(&self, name: &str) -> String {
        let not: usize = self.not_asked.values().sum();
        format!(
            "{name:<28}{:>9}{:>9}{:>9}{:>12}{:>10}{:>14}\n",
            self.rulesets,
            self.asked,
            self.agreed,
            self.conditional,
            not,
            self.wrong.len()
        )
    }
}

/// Prints the table of all parts and fails if anything disagrees.
#[track_caller]
pub fn conclude(parts: &[(&str, Tally)]) {
    let mut text = format!(
        "\n{:<28}{:>9}{:>9}{:>9}{:>12}{:>10}{:>14}\n",
        "", "rulesets", "packets", "agreed", "conditional", "not asked", "disagreements"
    );
    for (name, tally) in parts {
        text.push_str(&tally.row(name));
        for (why, count) in &tally.not_asked {
            writeln!(text, "    not asked: {count:>6}  {why}").unwrap();
        }
        for (why, count) in &tally.skipped {
            writeln!(text, "    rulesets left out: {count:>6}  {why}").unwrap();
        }
    }
    say(&text);
    let wrong: Vec<&String> = parts.iter().flat_map(|(_, tally)| &tally.wrong).collect();
    let shown: Vec<&str> = wrong.iter().take(12).map(|text| text.as_str()).collect();
    assert!(wrong.is_empty(), "{} disagreements\n{}", wrong.len(), shown.join("\n\n"));
}

/// Written past the test harness, which keeps what passing tests print.
pub fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The engine's side of one ruleset for one kind of packet.
struct Side<'s> {
    kind: Kind,
    program: Program,
    walker: Walker<'s>,
}

/// Asks the lab about packets of a ruleset that it has loaded; `ruleset` is the same as the engine reads it.
pub fn compare(lab: &mut Lab, name: &str, ruleset: &Ruleset, wanted: Wanted, dice: &mut Dice) -> Tally {
    let mut tally = Tally { rulesets: 1, ..Tally::default() };
    for kind in [Kind::Ip4, Kind::Ip6] {
        let mut space = Space::new(kind);
        let program = lower(ruleset, None, &mut space, &mut Common::default());
        if program.chains().all(|(_, chain)| chain.base.is_none()) {
            continue;
        }
        let mut side = Side { kind, program, walker: Walker::new(&mut space, NODES) };
        for path in PATHS {
            let interfaces = lab.interfaces();
            let sampled = sampling::sample(&mut side.walker, &side.program, path, &interfaces, wanted, dice);
            match sampled {
                Ok(packets) => ask(lab, name, &mut side, path, packets, &mut tally),
                Err(error) => tally.skip(&format!("{error}")),
            }
        }
    }
    tally
}

/// What the engine says of one packet.
enum Said {
    /// Whatever the free variables are.
    Surely(Walked),
    Conditional,
    Outside(String),
}

fn ask(lab: &mut Lab, name: &str, side: &mut Side<'_>, path: Path, packets: Vec<Packet>, tally: &mut Tally) {
    let domain = side.walker.domain().unwrap();
    let outcome = side.walker.follow(&side.program, naive::way(path), domain).unwrap();
    let passed = side.walker.passed(&outcome).unwrap();
    let mut sent = Vec::new();
    for packet in packets {
        match said(lab, side, path, &packet, passed) {
            Ok(Said::Surely(walked)) => match unfit(&walked) {
                None => sent.push((packet, walked)),
                Some(why) => tally.not(why),
            },
            Ok(Said::Conditional) => tally.conditional += 1,
            Ok(Said::Outside(why)) => tally.not(&why),
            Err(wrong) => tally.wrong.push(format!("{name}: {path:?} {packet:?}\n  {wrong}")),
        }
    }
    let asked: Vec<Packet> = sent.iter().map(|(packet, _)| packet.clone()).collect();
    let seen = lab.verdicts(path, &asked);
    for ((packet, walked), mut seen) in sent.into_iter().zip(seen) {
        if tally.wrong.len() > MOST_WRONG {
            tally.not("after too many disagreements");
            continue;
        }
        if !agrees(&walked, &seen) {
            // Alone, in case that another packet was in its way.
            seen = lab.verdicts(path, std::slice::from_ref(&packet)).remove(0);
        }
        if let Seen::NotAsked(why) = &seen {
            tally.not(why);
            continue;
        }
        if agrees(&walked, &seen) {
            tally.asked += 1;
            tally.agreed += 1;
        } else if is_possible(lab, side, path, &packet, &seen, (&outcome, passed)) {
            tally.conditional += 1;
        } else {
            tally.asked += 1;
            tally.wrong.push(format!(
                "{name}: {:?} {path:?} {packet:?}\n  fwdrift says {:?}, the kernel {seen:?}",
                side.kind, walked.end
            ));
        }
    }
}

/// Why the lab cannot judge what the engine says.
fn unfit(walked: &Walked) -> Option<&'static str> {
    match walked.end {
        _ if walked.as_its_first => Some("the lab's connections were never translated"),
        End::Gone(_, Fate::Taken) => Some("taken out of the stack"),
        End::Gone(Hook::Egress, _) => Some("the lab does not look behind egress"),
        End::Gone(..) | End::Passed => None,
    }
}

fn agrees(walked: &Walked, seen: &Seen) -> bool {
    match (&walked.end, seen) {
        (_, Seen::NotAsked(_)) | (End::Passed, Seen::Accepted) => true,
        (End::Gone(hook, _), Seen::Dropped(at)) => is_at(*hook, *at),
        (End::Passed, Seen::Dropped(_)) | (End::Gone(..), Seen::Accepted) => false,
    }
}

/// The verdict of both evaluators, with several values of what nobody knows; an error if they differ.
fn said(lab: &Lab, side: &mut Side<'_>, path: Path, packet: &Packet, passed: Node) -> Result<Said, String> {
    let of = concrete(side.walker.space, &Asked::new(lab, path, packet));
    let space = &*side.walker.space;
    let redirects = space.find(&Key::Free("address of redirect".to_owned())).is_some();
    if redirects && !has_address_of_scope(packet) {
        return Ok(Said::Outside("redirect finds no address of the interface".to_owned()));
    }
    if asks_hops_before_routing(space, &side.program, path) {
        return Ok(Said::Outside("rules ask for hops before and after routing".to_owned()));
    }
    let mut first: Option<Walked> = None;
    for filling in 0..FILLINGS {
        let mut filled = of.packet.clone();
        fill(&mut filled, space, &of.unknown, filling);
        let walked = naive::walk(&side.program, space, naive::way(path), &filled);
        let in_sets = side.walker.bdd.contains(passed, &bit_of(&filled));
        let passes = match walked.end {
            End::Passed => true,
            End::Gone(_, fate) => fate.passes(),
        };
        // A translated packet of a known connection is one thing to the sets, whatever its first one was.
        if passes != in_sets {
            return Err(format!("packet by packet {walked:?}, the sets say that it passes: {in_sets}"));
        }
        if walked.translated && asks_types(space) {
            return Ok(Said::Outside("a translated address may be of another type".to_owned()));
        }
        match &first {
            None => first = Some(walked),
            Some(known) if known.end == walked.end => {}
            Some(_) => return Ok(Said::Conditional),
        }
        if of.unknown.is_empty() {
            break;
        }
    }
    Ok(first.map_or(Said::Conditional, Said::Surely))
}

/// Whether the engine says the same for some value of what nobody knows: exactly, as few values may decide.
fn is_possible(
    lab: &Lab,
    side: &mut Side<'_>,
    path: Path,
    packet: &Packet,
    seen: &Seen,
    (outcome, passed): (&Outcome, Node),
) -> bool {
    let of = concrete(side.walker.space, &Asked::new(lab, path, packet));
    let with = |var: Var| match of.unknown.contains(&var) {
        true => Bit::Var(var),
        false => Bit::Const(of.packet.bit(Bit::Var(var))),
    };
    let is_there = |piece: &&Piece| {
        let at = matches!(seen, Seen::Dropped(hook) if is_at(piece.hook, *hook));
        at && matches!(piece.fate, Fate::Dropped | Fate::Rejected)
    };
    let dropped = outcome.pieces.iter().filter(is_there).map(|piece| piece.packets);
    let sets: Vec<Node> = if *seen == Seen::Accepted { vec![passed] } else { dropped.collect() };
    sets.into_iter().any(|set| !side.walker.bdd.substitute(set, &with).unwrap().is_false())
}

fn is_at(hook: Hook, seen: kernel::Hook) -> bool {
    hook.as_str() == format!("{seen:?}").to_lowercase()
}

/// Whether rules ask for the types that routing gives to addresses: the engine has one word for an address before and
/// after its translation.
fn asks_types(space: &Space) -> bool {
    space.words().iter().any(|word| matches!(&word.key, Key::Free(text) if text.starts_with("fib ")))
}

/// Whether the interface that a packet comes in by has an address for `redirect`, which drops it otherwise
/// (net/netfilter/nf_nat_redirect.c, `nf_nat_redirect_ipv6`). Those of the lab have global addresses.
fn has_address_of_scope(packet: &Packet) -> bool {
    match packet.dst {
        IpAddr::V4(_) => true,
        IpAddr::V6(dst) => dst.segments()[0] & 0xe000 == 0x2000 && packet.iif.as_deref() != Some("lo"),
    }
}

fn fill(packet: &mut evaluate::Packet, space: &Space, unknown: &[Var], filling: u64) {
    for var in unknown {
        let of_word = space.word_of(*var).map_or(0, |word| word.start + word.width - var);
        let value = match filling {
            0 => false,
            1 => true,
            // Small numbers are what rules ask for.
            seed if seed % 2 == 0 && of_word > 3 => false,
            seed => Dice(seed << 32 | u64::from(*var)).next() & 1 == 1,
        };
        packet.put_var(*var, value);
    }
}

/// A router takes one hop off between the two; the engine knows one number.
fn asks_hops_before_routing(space: &Space, program: &Program, path: Path) -> bool {
    let bit = if space.kind() == Kind::Ip4 { 64 } else { 56 };
    let Some(word) = space.find(&Key::Header(Base::Network, bit)).filter(|_| path == Path::Forward) else {
        return false;
    };
    let hops = word.start..word.start + word.width;
    let before = |chain: &Chain| {
        chain.base.as_ref().is_some_and(|base| matches!(base.hook, Hook::Ingress | Hook::Prerouting))
    };
    let mut ahead: Vec<ChainId> =
        program.chains().filter(|(_, chain)| before(chain)).map(|(id, _)| id).collect();
    let mut at = 0;
    while let Some(chain) = ahead.get(at).map(|id| program.chain(*id)) {
        at += 1;
        let rules = chain.iter().flat_map(|chain| &chain.rules);
        let mut steps: Vec<&Step> = rules.flat_map(|rule| &rule.steps).collect();
        while let Some(step) = steps.pop() {
            let tested = match step {
                Step::Test(test) => reads(test, &hops),
                Step::Set(changes) | Step::Translate(changes) => {
                    changes.iter().any(|(var, _)| hops.contains(var))
                }
                Step::Branch(branches) => {
                    steps.extend(branches.iter().flat_map(|(_, steps)| steps));
                    branches.iter().any(|(test, _)| reads(test, &hops))
                }
                Step::Verdict(Verdict::Jump(to) | Verdict::Goto(to)) if !ahead.contains(to) => {
                    ahead.push(*to);
                    false
                }
                Step::Verdict(_) => false,
            };
            if tested {
                return true;
            }
        }
    }
    false
}

fn reads(test: &Test, vars: &Range<Var>) -> bool {
    let of_bits = |bits: &[Bit]| {
        bits.iter().any(|bit| matches!(bit, Bit::Var(var) | Bit::NotVar(var) if vars.contains(var)))
    };
    match test {
        Test::Cube(literals) => literals.iter().any(|(var, _)| vars.contains(var)),
        Test::In(word, _) => of_bits(word),
        Test::Interface(..) | Test::Hook(_) => false,
        Test::Member(parts, _) => parts.iter().any(|part| matches!(part, Part::Bits(word) if of_bits(word))),
        Test::Not(test) => reads(test, vars),
        Test::All(tests) | Test::Any(tests) => tests.iter().any(|test| reads(test, vars)),
    }
}

/// How many packets a run asks about.
pub fn budget() -> usize {
    let text = std::env::var("TRAFFIC_PACKETS").unwrap_or_default();
    text.parse().unwrap_or(10_000)
}

pub fn only() -> String {
    std::env::var("TRAFFIC_ONLY").unwrap_or_default()
}

pub fn seed() -> u64 {
    std::env::var("TRAFFIC_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Compares one ruleset in a lab of its own; for tests of single claims.
#[track_caller]
pub fn check(rules: &str) -> Tally {
    let mut lab = Lab::new(&["eth0", "eth1"]);
    lab.load_nft(rules).unwrap();
    check_loaded(&mut lab, rules)
}

/// Compares what is said of these packets of IPv4, for what no boundary between packets leads to.
#[track_caller]
pub fn check_packets(rules: &str, path: Path, packets: &[Packet]) {
    let mut lab = Lab::new(&["eth0", "eth1"]);
    lab.load_nft(rules).unwrap();
    let mut space = Space::new(Kind::Ip4);
    let program = lower(&lab.ruleset(), None, &mut space, &mut Common::default());
    let mut side = Side { kind: Kind::Ip4, program, walker: Walker::new(&mut space, NODES) };
    let mut tally = Tally::default();
    ask(&mut lab, rules, &mut side, path, packets.to_vec(), &mut tally);
    assert!(tally.wrong.is_empty(), "{:#?}", tally.wrong);
    assert_eq!(tally.agreed, packets.len(), "{tally:?}");
}

#[track_caller]
pub fn check_loaded(lab: &mut Lab, rules: &str) -> Tally {
    let ruleset = lab.ruleset();
    let wanted = Wanted { inside: 20, beside: 3, most: 160 };
    let tally = compare(lab, rules, &ruleset, wanted, &mut Dice(1));
    let shown: Vec<&str> = tally.wrong.iter().take(6).map(|text| text.as_str()).collect();
    assert!(tally.wrong.is_empty(), "{} disagreements\n{}", tally.wrong.len(), shown.join("\n"));
    assert!(tally.agreed > 50, "{tally:?}");
    tally
}
