//! The second oracle: generated programs, in which a packet that is walked rule by rule must end as the packet sets say.
//! No kernel is asked; programs need not be any that `lower` makes.

use crate::concrete::{bit_of, code};
use crate::naive::{self, End};
use crate::sampling::Dice;
use fwdrift::model::{Backend, Family, Name, TableKey};
use fwdrift::traffic::bdd::{Bit, Node, Var};
use fwdrift::traffic::evaluate::Packet;
use fwdrift::traffic::program::{BaseChain, Chain, ChainKind, Hook, Program, Rule, Step, Verdict};
use fwdrift::traffic::space::{Key, Kind, NamePattern, Nature, Side, Space};
use fwdrift::traffic::test::{Part, Slot, Test};
use fwdrift::traffic::walk::{Fate, Path, Walker, Way};
use proptest::prelude::*;
use std::sync::Arc;

/// Words that the tests are about, by number.
const WORDS: u8 = 9;
const NAMES: [(&[u8], bool); 4] = [(b"eth0", false), (b"eth1", false), (b"eth", true), (b"", true)];

/// A question before the variables are known.
#[derive(Clone, Debug)]
enum Asks {
    Equals(u8, u8),
    Between(u8, u8, u8),
    Ranges(u8, Vec<(u8, u8)>),
    State(u8),
    Interface(bool, u8),
    /// Address and port, or interface and port.
    Member(bool, Vec<(u8, u8)>),
    Not(Box<Asks>),
    All(Vec<Asks>),
    Any(Vec<Asks>),
}

/// A step before the variables are known.
#[derive(Clone, Debug)]
enum Does {
    Asks(Asks),
    Sets(u8, u8),
    Copies(u8, u8),
    Untracks,
    Translates(u8, u8),
    Branches(Vec<(Asks, Vec<Does>)>),
    Ends(Ends),
}

#[derive(Clone, Copy, Debug)]
enum Ends {
    Accept,
    Drop,
    Reject,
    Ask,
    Continue,
    Return,
    /// To one of the chains behind this one.
    Jump(u8),
    Goto(u8),
}

#[derive(Clone, Debug)]
struct Base {
    hook: u8,
    priority: i8,
    kind: u8,
    accepts: bool,
    rules: Vec<Vec<Does>>,
}

fn asks() -> impl Strategy<Value = Asks> {
    let pairs = || prop::collection::vec((0u8..12, 0u8..12), 1..5);
    let leaf = prop_oneof![
        (0..WORDS, 0u8..12).prop_map(|(word, value)| Asks::Equals(word, value)),
        (0..WORDS, 0u8..12, 0u8..12).prop_map(|(word, a, b)| Asks::Between(word, a, b)),
        (0..WORDS, pairs()).prop_map(|(word, ranges)| Asks::Ranges(word, ranges)),
        (0u8..5).prop_map(Asks::State),
        (any::<bool>(), 0u8..4).prop_map(|(side, name)| Asks::Interface(side, name)),
        (any::<bool>(), pairs()).prop_map(|(named, elements)| Asks::Member(named, elements)),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|asks| Asks::Not(Box::new(asks))),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Asks::All),
            prop::collection::vec(inner, 1..3).prop_map(Asks::Any),
        ]
    })
}

fn ends() -> impl Strategy<Value = Ends> {
    prop_oneof![
        3 => Just(Ends::Accept),
        2 => Just(Ends::Drop),
        1 => Just(Ends::Reject),
        1 => Just(Ends::Ask),
        1 => Just(Ends::Continue),
        1 => Just(Ends::Return),
        2 => (0u8..3).prop_map(Ends::Jump),
        1 => (0u8..3).prop_map(Ends::Goto),
    ]
}

fn rule() -> impl Strategy<Value = Vec<Does>> {
    let changes = prop_oneof![
        (0..WORDS, 0u8..12).prop_map(|(word, value)| Does::Sets(word, value)),
        (0..WORDS, 0..WORDS).prop_map(|(to, from)| Does::Copies(to, from)),
        Just(Does::Untracks),
        (0u8..4, 0u8..12).prop_map(|(word, value)| Does::Translates(word, value)),
    ];
    let simple = (
        prop::collection::vec(asks().prop_map(Does::Asks), 0..3),
        prop::option::weighted(0.3, changes),
        prop::option::weighted(0.8, ends()),
    );
    let simple = simple.prop_map(|(asks, changes, ends)| {
        asks.into_iter().chain(changes).chain(ends.map(Does::Ends)).collect::<Vec<_>>()
    });
    let simple = simple.boxed();
    let branch =
        (prop::collection::vec(asks().prop_map(Does::Asks), 0..2), simple.clone(), simple.clone(), asks());
    let branch = branch.prop_map(|(mut steps, one, other, by)| {
        // Alternatives do not overlap.
        let not = Asks::Not(Box::new(by.clone()));
        steps.push(Does::Branches(vec![(by, one), (not, other)]));
        steps
    });
    prop_oneof![4 => simple, 1 => branch]
}

fn base() -> impl Strategy<Value = Base> {
    let rules = prop::collection::vec(rule(), 0..5);
    (0u8..6, any::<i8>(), 0u8..4, any::<bool>(), rules)
        .prop_map(|(hook, priority, kind, accepts, rules)| Base { hook, priority, kind, accepts, rules })
}

/// The words, as bits.
fn word(space: &mut Space, number: u8) -> Vec<Bit> {
    let key = match number {
        0 => Key::Saddr,
        1 => Key::Daddr,
        2 => Key::Sport,
        3 => Key::Dport,
        4 => Key::Protocol,
        5 => return space.mark(),
        6 => return space.ct_mark(),
        7 => return space.ct(8, Some(0)).expect("an address"),
        _ => return space.free("what nobody knows", 8),
    };
    let word = space.find(&key).expect("each IPv4 packet has it").clone();
    (word.start..word.start + word.width).map(Bit::Var).collect()
}

fn bytes(word: &[Bit], value: u8) -> Vec<u8> {
    let mut bytes = vec![0; word.len() / 8];
    *bytes.last_mut().expect("no word is empty") = value;
    bytes
}

fn pattern(number: u8) -> NamePattern {
    let (name, is_prefix) = NAMES[usize::from(number) % NAMES.len()];
    NamePattern { name: name.to_vec(), is_prefix }
}

fn test(space: &mut Space, asks: &Asks) -> Test {
    match asks {
        Asks::Equals(number, value) => {
            let word = word(space, *number);
            Test::equals(&word, &bytes(&word, *value))
        }
        Asks::Between(number, a, b) => {
            let word = word(space, *number);
            Test::between(&word, &bytes(&word, *a), &bytes(&word, *b))
        }
        Asks::Ranges(number, ranges) => {
            let word = word(space, *number);
            let ranges = ranges.iter().map(|(a, b)| (bytes(&word, *a.min(b)), bytes(&word, *a.max(b))));
            Test::in_ranges(&word, ranges.collect())
        }
        Asks::State(number) => {
            let (name, _) = fwdrift::traffic::space::STATES[usize::from(*number)];
            Test::bit(Bit::Var(space.state(name).expect("there is a state")))
        }
        Asks::Interface(is_in, name) => {
            Test::interface(space, if *is_in { Side::In } else { Side::Out }, pattern(*name))
        }
        Asks::Member(named, elements) => {
            let (address, port) = (word(space, 1), word(space, 3));
            let mut slots: Vec<Vec<Slot>> = Vec::new();
            for (a, b) in elements {
                let ports = Slot::Range((bytes(&port, *a.min(b)), bytes(&port, *a.max(b))));
                let first = if *named {
                    space.ask_interface(&pattern(*a));
                    Slot::Name(pattern(*a))
                } else {
                    Slot::Range((bytes(&address, *b), bytes(&address, b.saturating_add(*a))))
                };
                slots.push(vec![first, ports]);
            }
            let first = if *named { Part::Interface(Side::In) } else { Part::Bits(address) };
            Test::Member(vec![first, Part::Bits(port)], slots.into())
        }
        Asks::Not(asks) => test(space, asks).negated(),
        Asks::All(all) => Test::all(all.iter().map(|asks| test(space, asks)).collect::<Vec<_>>()),
        Asks::Any(all) => Test::any(all.iter().map(|asks| test(space, asks)).collect::<Vec<_>>()),
    }
}

/// `chain` is the number of the inner chain that the rule is in; base chains come before all.
fn steps(space: &mut Space, does: &[Does], from: usize, kind: ChainKind) -> Vec<Step> {
    let mut made = Vec::new();
    for one in does {
        let step = match one {
            Does::Asks(asks) => Step::Test(test(space, asks)),
            Does::Sets(to, value) => {
                let word = word(space, *to);
                let value = bytes(&word, *value);
                Step::Set(written(&word, &constant(&value)))
            }
            Does::Copies(to, from) => {
                let (to, from) = (word(space, *to), word(space, *from));
                let count = to.len().min(from.len());
                Step::Set(written(&to[to.len() - count..], &from[from.len() - count..]))
            }
            Does::Untracks => {
                let names = fwdrift::traffic::space::STATES.into_iter();
                let all =
                    names.filter_map(|(name, _)| Some((space.state(name)?, Bit::Const(name == "untracked"))));
                Step::Set(all.collect())
            }
            Does::Translates(to, value) => {
                let word = word(space, *to);
                let value = bytes(&word, *value);
                let changes = written(&word, &constant(&value));
                // Only the rules of nat chains translate.
                made.push(match kind {
                    ChainKind::Nat => Step::Translate(changes),
                    ChainKind::Filter | ChainKind::Route => Step::Set(changes),
                });
                Step::Verdict(Verdict::Accept)
            }
            Does::Branches(all) => {
                let one =
                    |(asks, does): &(Asks, Vec<Does>)| (test(space, asks), steps(space, does, from, kind));
                Step::Branch(all.iter().map(one).collect())
            }
            Does::Ends(ends) => Step::Verdict(match ends {
                Ends::Accept => Verdict::Accept,
                Ends::Drop => Verdict::Drop,
                Ends::Reject => Verdict::Reject,
                Ends::Ask => match space.free("a program accepts", 1)[0] {
                    Bit::Var(var) => Verdict::Ask(var),
                    Bit::Const(_) | Bit::NotVar(_) => unreachable!("a free bit is a variable"),
                },
                Ends::Continue => Verdict::Continue,
                Ends::Return => Verdict::Return,
                Ends::Jump(to) if from + usize::from(*to) < INNER => {
                    Verdict::Jump(BASES + from + usize::from(*to))
                }
                Ends::Goto(to) if from + usize::from(*to) < INNER => {
                    Verdict::Goto(BASES + from + usize::from(*to))
                }
                Ends::Jump(_) | Ends::Goto(_) => Verdict::Return,
            }),
        };
        made.push(step);
        if matches!(made.last(), Some(Step::Verdict(_) | Step::Branch(_))) {
            break;
        }
    }
    made
}

const BASES: usize = 4;
const INNER: usize = 3;

fn constant(value: &[u8]) -> Vec<Bit> {
    value.iter().flat_map(|byte| (0..8).rev().map(move |n| Bit::Const(byte >> n & 1 == 1))).collect()
}

fn written(to: &[Bit], value: &[Bit]) -> Vec<(Var, Bit)> {
    let var = |bit: &Bit| match bit {
        Bit::Var(var) => Some(*var),
        Bit::Const(_) | Bit::NotVar(_) => None,
    };
    to.iter().zip(value).filter_map(|(to, value)| Some((var(to)?, *value))).collect()
}

fn program(space: &mut Space, bases: &[Base], inner: &[Vec<Vec<Does>>]) -> Program {
    let mut program = Program::default();
    let table = TableKey { backend: Backend::NfTables, family: Family::Inet, name: Name(b"t".to_vec()) };
    let mut put = |id: usize, base: Option<BaseChain>, rules: &[Vec<Does>], from: usize| {
        let kind = base.as_ref().map_or(ChainKind::Filter, |base| base.kind);
        let rules =
            rules.iter().map(|rule| Arc::new(Rule { steps: steps(space, rule, from, kind) })).collect();
        let name = Name(format!("c{id}").into_bytes());
        program.put(id, Chain { table: table.clone(), name, base, rules });
    };
    for (id, base) in bases.iter().enumerate() {
        let hooks =
            [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting, Hook::Ingress];
        let hook = hooks[usize::from(base.hook) % hooks.len()];
        let is_nat = base.kind == 0 && !matches!(hook, Hook::Forward | Hook::Ingress);
        let base_chain = BaseChain {
            hook,
            // No two alike: their order would be that in which they were made.
            priority: 8 * i32::from(base.priority) + id as i32,
            kind: if is_nat { ChainKind::Nat } else { ChainKind::Filter },
            accepts: base.accepts,
            devices: Vec::new(),
        };
        put(id, Some(base_chain), &base.rules, 0);
    }
    for (at, rules) in inner.iter().enumerate() {
        put(BASES + at, None, rules, at + 1);
    }
    program
}

/// A packet of the domain at random, from a set if there is one in it.
fn packet(walker: &mut Walker<'_>, set: Node, domain: Node, way: Way, dice: &mut Dice) -> Packet {
    let inside = walker.bdd.and(set, domain).unwrap();
    let from = if inside.is_false() { domain } else { inside };
    let (salt, style) = (dice.next(), dice.below(4));
    let prefers = |var: Var| match style {
        0 => false,
        1 => true,
        _ => Dice(salt ^ u64::from(var)).next() & 1 == 1,
    };
    let chosen = walker.bdd.one(from, &prefers).expect("the domain is not empty");
    let mut packet = Packet::default();
    for word in walker.space.words() {
        for var in word.start..word.start + word.width {
            packet.put_var(var, prefers(var) && word.nature == Nature::Free || style == 3 && prefers(var));
        }
    }
    for (var, value) in chosen {
        packet.put_var(var, value);
    }
    // Names that go with the codes.
    for (side, key) in [(Side::In, Key::Iif), (Side::Out, Key::Oif)] {
        let names: [&[u8]; 4] = [b"eth0", b"eth1", b"eth7", b"wan0"];
        let word = walker.space.find(&key).expect("each packet has interfaces").clone();
        let value = (word.start..word.start + word.width)
            .fold(0, |value, var| value << 1 | u128::from(packet.bit(Bit::Var(var))));
        let known = names.into_iter().find(|name| code(walker.space, name) == value);
        let name = known.unwrap_or(b"wan0");
        let number = code(walker.space, name);
        crate::concrete::put(&mut packet, &word, number);
        let name = if way.has(side) { name.to_vec() } else { Vec::new() };
        match side {
            Side::In => packet.iif = name,
            Side::Out => packet.oif = name,
        }
    }
    packet
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packet_by_packet_the_sets_are_right(
        bases in prop::collection::vec(base(), 1..=BASES),
        inner in prop::collection::vec(prop::collection::vec(rule(), 0..4), INNER),
        seed in any::<u64>(),
    ) {
        let mut space = Space::new(Kind::Ip4);
        let program = program(&mut space, &bases, &inner);
        let mut walker = Walker::new(&mut space, 1_000_000);
        let domain = walker.domain().unwrap();
        let mut dice = Dice(seed);
        for path in Path::ALL {
            let way = Way::host(path);
            let outcome = walker.follow(&program, way, domain).unwrap();
            let passed = walker.passed(&outcome).unwrap();
            let mut sets = vec![passed, passed.not(), domain];
            sets.extend(outcome.pieces.iter().map(|piece| piece.packets));
            for number in 0..4 * sets.len() {
                let set = sets[number % sets.len()];
                let packet = packet(&mut walker, set, domain, way, &mut dice);
                let walked = naive::walk(&program, walker.space, way, &packet);
                let passes = match walked.end {
                    End::Passed => true,
                    End::Gone(_, fate) => fate == Fate::Taken,
                };
                let in_sets = walker.bdd.contains(passed, &bit_of(&packet));
                prop_assert_eq!(passes, in_sets, "{:?}: {:?}\n{:?}\n{:?}", way, walked, program, packet);
            }
        }
    }
}
