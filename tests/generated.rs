//! Properties over generated rulesets, on the real kernel: what is the same is told to be the same, each
//! single mutation is found and named, and the differences between two rulesets make the one into the other.
//!
//! `GENERATED_CASES` sets the number of cases of each property; without it, 64.

use fwdrift::collect;
use fwdrift::compare::{self, Difference, Known};
use fwdrift::decode;
use fwdrift::model::{ChangeKind, ObjectKind, Ruleset};
use fwdrift::normalise::normalise;
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::collections::{BTreeMap, BTreeSet};

/// A ruleset that nft can write down. Names are numbers, so that two generated rulesets share some.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Generated {
    tables: BTreeMap<(&'static str, u8), GeneratedTable>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GeneratedTable {
    dormant: bool,
    sets: BTreeMap<u8, GeneratedSet>,
    maps: BTreeMap<u8, BTreeMap<u16, &'static str>>,
    counters: BTreeSet<u8>,
    quotas: BTreeMap<u8, u32>,
    limits: BTreeMap<u8, u32>,
    chains: BTreeMap<u8, GeneratedChain>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GeneratedSet {
    /// Of networks; else of ports.
    networks: bool,
    elements: BTreeSet<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GeneratedChain {
    /// Hook, priority, whether it drops.
    base: Option<(&'static str, i8, bool)>,
    rules: Vec<String>,
}

const FAMILIES: [&str; 3] = ["inet", "ip", "ip6"];
const HOOKS: [&str; 3] = ["input", "forward", "output"];

impl Generated {
    /// In nft's syntax.
    fn text(&self) -> String {
        let mut out = String::new();
        for ((family, name), table) in &self.tables {
            out += &format!("table {family} t{name} {{\n");
            if table.dormant {
                out += "flags dormant;\n";
            }
            table.counters.iter().for_each(|name| out += &format!("counter c{name} {{ }}\n"));
            table
                .quotas
                .iter()
                .for_each(|(name, mb)| out += &format!("quota q{name} {{ over {mb} mbytes }}\n"));
            table
                .limits
                .iter()
                .for_each(|(name, rate)| out += &format!("limit l{name} {{ rate {rate}/second }}\n"));
            for (name, set) in &table.sets {
                let (kind, flags) =
                    if set.networks { ("ipv4_addr", "flags interval;") } else { ("inet_service", "") };
                out += &format!("set s{name} {{ type {kind}; {flags} {} }}\n", set.text());
            }
            for (name, map) in &table.maps {
                let inner: Vec<String> =
                    map.iter().map(|(port, verdict)| format!("{port} : {verdict}")).collect();
                let elements = if inner.is_empty() {
                    String::new()
                } else {
                    format!("elements = {{ {} }}", inner.join(", "))
                };
                out += &format!("map m{name} {{ type inet_service : verdict; {elements} }}\n");
            }
            // Each chain stands before the rules that jump to it.
            let regular = table.chains.iter().filter(|(_, chain)| chain.base.is_none());
            regular.for_each(|(name, _)| out += &format!("chain r{name} {{ }}\n"));
            for (name, chain) in &table.chains {
                out += &format!("chain r{name} {{\n");
                if let Some((hook, priority, drops)) = chain.base {
                    let policy = if drops { "drop" } else { "accept" };
                    out += &format!("type filter hook {hook} priority {priority}; policy {policy};\n");
                }
                chain.rules.iter().for_each(|rule| out += &format!("{rule}\n"));
                out += "}\n";
            }
            out += "}\n";
        }
        out
    }
}

impl GeneratedSet {
    fn text(&self) -> String {
        let element = |n: &u8| {
            if self.networks { format!("10.{n}.0.0/16") } else { format!("{}", 1000 + u16::from(*n)) }
        };
        let all: Vec<String> = self.elements.iter().map(element).collect();
        if all.is_empty() { String::new() } else { format!("elements = {{ {} }}", all.join(", ")) }
    }
}

/// A rule that loads in every table: it names nothing but what is written in it.
fn rule() -> impl Strategy<Value = String> {
    let port = 1_u16..2000;
    let condition = prop_oneof![
        port.clone().prop_map(|p| format!("tcp dport {p}")),
        port.clone().prop_map(|p| format!("udp sport != {p}")),
        (port.clone(), 1_u16..200).prop_map(|(p, n)| format!("tcp dport {p}-{}", p + n)),
        prop::collection::btree_set(port.clone(), 2..5).prop_map(|ports| {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("tcp dport {{ {} }}", ports.join(", "))
        }),
        prop::collection::btree_map(port, select(vec!["accept", "drop", "return"]), 1..4).prop_map(|map| {
            let inner: Vec<String> =
                map.iter().map(|(port, verdict)| format!("{port} : {verdict}")).collect();
            format!("udp dport vmap {{ {} }}", inner.join(", "))
        }),
        (0_u8..4).prop_map(|n| format!("iifname \"eth{n}\"")),
        (0_u8..4).prop_map(|n| format!("oifname \"veth{n}*\"")),
        select(vec!["ct state established,related", "ct state invalid", "ct state { new, untracked }"])
            .prop_map(str::to_owned),
        (1_u32..99).prop_map(|m| format!("meta mark {m}")),
        (1_u32..99).prop_map(|m| format!("meta mark & 0xff == {m}")),
        (1_u16..99).prop_map(|u| format!("meta skuid {u}")),
        (1_u16..99).prop_map(|r| format!("limit rate {r}/minute")),
        Just("tcp flags & (syn | ack) == syn".to_owned()),
        Just("fib daddr type local".to_owned()),
    ];
    let statement = prop_oneof![
        Just(String::new()),
        Just("counter".to_owned()),
        (0_u8..9).prop_map(|n| format!("log prefix \"p{n} \"")),
        (1_u8..9).prop_map(|n| format!("meta mark set {n}")),
    ];
    let end = prop_oneof![
        select(vec!["accept", "drop", "return", "reject", ""]).prop_map(str::to_owned),
        (0_u8..5).prop_map(|n| format!("accept comment \"why {n}\"")),
    ];
    (condition, statement, end).prop_map(|(condition, statement, end)| {
        let ends_itself = condition.contains("vmap");
        let end = if ends_itself { String::new() } else { end };
        format!("{condition} {statement} {end}").split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

fn set() -> impl Strategy<Value = GeneratedSet> {
    (any::<bool>(), prop::collection::btree_set(0_u8..200, 0..6))
        .prop_map(|(networks, elements)| GeneratedSet { networks, elements: apart(elements) })
}

/// Without neighbours: nft merges those of an interval set.
fn apart(elements: BTreeSet<u8>) -> BTreeSet<u8> {
    elements.into_iter().map(|n| n & !1).collect()
}

fn chain() -> impl Strategy<Value = GeneratedChain> {
    let base = prop::option::of((select(HOOKS.to_vec()), -20_i8..20, any::<bool>()));
    (base, prop::collection::vec(rule(), 0..7)).prop_map(|(base, rules)| GeneratedChain { base, rules })
}

fn table() -> impl Strategy<Value = GeneratedTable> {
    let verdicts = prop::collection::btree_map(1_u16..99, select(vec!["accept", "drop", "return"]), 0..4);
    (
        prop::bool::weighted(0.1),
        prop::collection::btree_map(0_u8..4, set(), 0..3),
        prop::collection::btree_map(0_u8..3, verdicts, 0..2),
        prop::collection::btree_set(0_u8..3, 0..2),
        prop::collection::btree_map(0_u8..3, 1_u32..50, 0..2),
        prop::collection::btree_map(0_u8..3, 1_u32..50, 0..2),
        prop::collection::btree_map(0_u8..4, chain(), 0..4),
    )
        .prop_map(|(dormant, sets, maps, counters, quotas, limits, chains)| {
            let mut table = GeneratedTable { dormant, sets, maps, counters, quotas, limits, chains };
            refer(&mut table);
            table
        })
}

/// Rules that name the table's own sets, maps and objects.
fn refer(table: &mut GeneratedTable) {
    let mut rules: Vec<String> = Vec::new();
    // Of the inet family, too: nft adds what the address depends on.
    rules.extend(
        table.sets.iter().filter(|(_, set)| !set.networks).map(|(n, _)| format!("tcp dport @s{n} accept")),
    );
    rules.extend(table.maps.keys().map(|n| format!("tcp dport vmap @m{n}")));
    rules.extend(table.counters.iter().map(|n| format!("counter name \"c{n}\"")));
    rules.extend(table.limits.keys().map(|n| format!("limit name \"l{n}\" drop")));
    let regular = table.chains.iter().find(|(_, chain)| chain.base.is_none()).map(|(name, _)| *name);
    rules.extend(regular.map(|name| format!("meta mark 77 jump r{name}")));
    if let Some((_, chain)) = table.chains.iter_mut().find(|(_, chain)| chain.base.is_some()) {
        chain.rules.extend(rules);
    }
}

fn generated() -> impl Strategy<Value = Generated> {
    let name = (select(FAMILIES.to_vec()), 0_u8..2);
    prop::collection::btree_map(name, table(), 1..3).prop_map(|tables| Generated { tables })
}

/// One change of a generated ruleset, and what must be told of it.
type Told = (ChangeKind, ObjectKind);

/// Makes the change that `kind` says at the place that `at` says; none where there is nothing to make it to.
fn mutated(is: &Generated, kind: usize, at: Index) -> Option<(Generated, Told)> {
    let mut new = is.clone();
    let number = at.index(new.tables.len());
    let table = new.tables.values_mut().nth(number)?;
    let chain_number = at.index(table.chains.len().max(1));
    let chain = table.chains.values_mut().nth(chain_number);
    const MARK: &str = "meta mark 4711 counter accept";
    use {ChangeKind::*, ObjectKind::*};
    let told = match kind {
        0 => {
            let rules = rules_of(chain, 0)?;
            rules.insert(at.index(rules.len() + 1), MARK.to_owned());
            (Added, Rule)
        }
        1 => {
            let rules = rules_of(chain, 1)?;
            rules.remove(at.index(rules.len()));
            (Removed, Rule)
        }
        2 => {
            let rules = rules_of(chain, 1)?;
            let place = at.index(rules.len());
            rules[place] = MARK.to_owned();
            (Modified, Rule)
        }
        3 => {
            let rules = rules_of(chain, 2)?;
            let place = at.index(rules.len() - 1);
            if rules[place] == rules[place + 1] {
                return None;
            }
            rules.swap(place, place + 1);
            (Moved, Rule)
        }
        4 => {
            let rules = rules_of(chain, 1)?;
            let place = at.index(rules.len());
            rules.insert(place, rules[place].clone());
            (Added, Rule)
        }
        5 => {
            let (_, _, drops) = chain?.base.as_mut()?;
            *drops = !*drops;
            (Modified, Chain)
        }
        6 => {
            let (_, priority, _) = chain?.base.as_mut()?;
            *priority += 1;
            (Modified, Chain)
        }
        7 => {
            table.chains.insert(9, GeneratedChain { base: None, rules: vec![MARK.to_owned()] });
            (Added, Chain)
        }
        8 => {
            table.sets.insert(9, GeneratedSet { networks: true, elements: [3].into() });
            (Added, Set)
        }
        9 => {
            let set = table.sets.values_mut().nth(at.index(3))?;
            set.elements.insert(250);
            (Added, Element)
        }
        10 => {
            let elements = &mut table.sets.values_mut().find(|set| !set.elements.is_empty())?.elements;
            let one = *elements.iter().nth(at.index(elements.len()))?;
            elements.remove(&one);
            (Removed, Element)
        }
        11 => {
            let map = table.maps.values_mut().find(|map| !map.is_empty())?;
            let verdict = map.values_mut().next()?;
            *verdict = if *verdict == "drop" { "accept" } else { "drop" };
            (Modified, Element)
        }
        12 => {
            *table.quotas.values_mut().next()? += 1;
            (Modified, Quota)
        }
        13 => {
            *table.limits.values_mut().next()? += 1;
            (Modified, Limit)
        }
        14 => {
            table.counters.insert(9);
            (Added, Counter)
        }
        15 => {
            table.dormant = !table.dormant;
            (Modified, Table)
        }
        16 => {
            new.tables.insert(("inet", 9), GeneratedTable::default());
            (Added, Table)
        }
        _ => {
            let key = *new.tables.keys().nth(number)?;
            new.tables.remove(&key);
            (Removed, Table)
        }
    };
    Some((new, told))
}

/// A chain's rules, if there are so many.
fn rules_of(chain: Option<&mut GeneratedChain>, least: usize) -> Option<&mut Vec<String>> {
    chain.map(|chain| &mut chain.rules).filter(|rules| rules.len() >= least)
}

const MUTATIONS: usize = 18;

/// A namespace with the ruleset in it, and what fwdrift reads there.
fn load(ruleset: &Generated) -> Ruleset {
    let text = ruleset.text();
    let netns = Netns::create().unwrap();
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(text.clone().into_bytes()).run();
    netns.run(run).unwrap().unwrap_or_else(|error| panic!("{error}\n{text}"));
    read(&netns)
}

fn read(netns: &Netns) -> Ruleset {
    let (capture, gaps) = collect::capture(netns, None).unwrap();
    assert!(gaps.is_empty(), "{gaps:?}");
    normalise(&capture).unwrap()
}

fn differences(a: &Ruleset, b: &Ruleset) -> Vec<Difference> {
    pipeline::compared(a, b, &Known::default()).unwrap().differences
}

fn described(found: &[Difference]) -> String {
    let lines = found.iter().map(|d| {
        format!("{:?} {:?} {:?} -> {:?}", d.change.kind, d.change.object, d.change.before, d.change.after)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What a ruleset is when the kernel has made it anew from its messages.
fn made_anew(ruleset: &Ruleset) -> Ruleset {
    let netns = Netns::create().unwrap();
    let _owner = netns.run(|| decode::transplant(ruleset)).unwrap().unwrap();
    read(&netns)
}

fn config() -> ProptestConfig {
    let cases = std::env::var("GENERATED_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64);
    // A seed that failed is printed; the file that proptest would write is not part of the project.
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_ruleset_compared_with_itself_has_no_differences(ruleset in generated()) {
        let (first, second) = (load(&ruleset), load(&ruleset));
        prop_assert_eq!(first.digest(), second.digest());
        let found = differences(&first, &second);
        prop_assert!(found.is_empty(), "{}", described(&found));
    }

    #[test]
    fn each_generated_mutation_is_one_change_of_the_right_kind(
        ruleset in generated(),
        kind in 0..MUTATIONS,
        at in any::<Index>(),
    ) {
        // From the kind that was drawn on, the first that this ruleset has something for.
        let found = (0..MUTATIONS).find_map(|more| mutated(&ruleset, (kind + more) % MUTATIONS, at));
        let (other, told) = found.expect("a chain can always be added");
        prop_assume!(!other.tables.is_empty());
        let found = differences(&load(&ruleset), &load(&other));
        let kinds: Vec<Told> = found.iter().map(|d| (d.change.kind, d.change.object)).collect();
        prop_assert_eq!(&kinds, &vec![told], "{}\n{}\n{}", described(&found), ruleset.text(), other.text());
    }

    #[test]
    fn the_differences_of_two_rulesets_make_the_one_into_the_other(a in generated(), b in generated()) {
        let (a, b) = (load(&a), load(&b));
        let found = differences(&a, &b);
        let target = compare::apply(&a, &b, &found, |_| true);
        prop_assert_eq!(target.digest(), b.digest(), "{}", described(&found));
        prop_assert_eq!(compare::missing(&target), None);
        prop_assert_eq!(made_anew(&target).digest(), b.digest());
        let none = compare::apply(&a, &b, &found, |_| false);
        prop_assert_eq!(none.digest(), a.digest());
    }
}
