//! Random batches on a random ruleset: what they touched, read in part and put into the ruleset before, is the
//! ruleset after; and each touched thing has the digest of the full reading.
//!
//! `GENERATED_CASES` sets the number of cases; without it, 32.

use crate::batches::{Writer, batch, lab};
use crate::support::{Lab, StopOnDrop, handles, key, name};
use fwdrift::collect;
use fwdrift::compare::{self, Commons, Comparison, Earlier, Known, Texts};
use fwdrift::model::outline::SetName;
use fwdrift::model::{Backend, Capture, Digest, Family, Item, Name, Ruleset, TableKey, Text, Transaction};
use fwdrift::normalise::normalise;
use fwdrift::normalise::scope::{Part, Parts, Scope, SetPart, restrict};
use fwdrift::normalise::scoped::{Writers, put};
use fwdrift::normalise::touched::{Act, Thing, Touched, Touches};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The ruleset before, and all that is followed.
struct Followed {
    capture: Capture,
    ruleset: Ruleset,
    writers: Writers,
    touches: Touches,
    scope: Scope,
    /// What is compared with it, and how it compared.
    approved: Ruleset,
    compared: Comparison,
}

impl Followed {
    fn new(lab: &Lab) -> Self {
        let capture = lab.capture();
        let ruleset = normalise(&capture).unwrap();
        let mut touches = Touches::default();
        touches.know(&capture.messages, &names(&capture));
        let writers = Writers::of(&ruleset);
        let approved = ruleset.clone();
        let compared = Comparison::default();
        Self { capture, ruleset, writers, touches, scope: Scope::default(), approved, compared }
    }

    /// Takes over what a batch did, and looks, now or with the next batch.
    fn follow(&mut self, lab: &Lab, transaction: &Transaction, look: bool) {
        let touched = self.touches.touched(transaction, &names(&self.capture));
        assert!(!touched.scope.everything);
        let capture = lab.capture();
        let after = normalise(&capture).unwrap();
        check_touched(&touched, (&self.capture, &normalise(&self.capture).unwrap()), (&capture, &after));
        self.scope.extend(touched.scope);
        self.capture = capture;
        if !look {
            return;
        }
        let scope = std::mem::take(&mut self.scope);
        let scoped = collect::scoped(&lab.netns, &scope).unwrap().unwrap();
        assert_eq!(scoped.generation, transaction.generation);
        let commons = Commons::of(&self.ruleset, &scoped.scope);
        let turned = put(&mut self.ruleset, &mut self.writers, &scoped).unwrap();
        self.compare(&scoped.scope, turned, &commons);
        assert_eq!(self.ruleset.digest(), after.digest(), "{scope:#?}");
        assert_eq!(self.ruleset, after, "{scope:#?}");
        assert_eq!(self.writers, Writers::of(&after));
        let mut part = scoped.ruleset.clone();
        self.writers.mark(&mut part);
        assert_eq!(restrict(&after, &scoped.scope), part);
        let all = handles(&self.capture);
        for (key, chain, found) in scoped.handles.iter() {
            assert_eq!(all.get(&(key.clone(), chain.clone())).map(Vec::as_slice), Some(found));
        }
    }
}

impl Followed {
    /// Comparing what was read, with what was found before, is comparing everything.
    fn compare(&mut self, scope: &Scope, turned: BTreeSet<SetName>, commons: &Commons) {
        let Comparison { differences, re_encoded_in, .. } = std::mem::take(&mut self.compared);
        let found = (differences, re_encoded_in);
        let earlier = Earlier::new(found, scope.clone(), turned, commons, &self.ruleset);
        let part =
            compared(&self.approved, &self.ruleset, &Known::default().with_earlier(Some(earlier.clone())));
        let whole = compared(&self.approved, &self.ruleset, &Known::default());
        let part = earlier.complete(part).unwrap();
        let told =
            |found: &Comparison| found.differences.iter().map(|d| d.change.clone()).collect::<Vec<_>>();
        assert_eq!(told(&part), told(&whole), "{scope:#?}");
        let objects = |found: &Comparison| {
            found.differences.iter().map(|d| (d.before.clone(), d.after.clone())).collect::<Vec<_>>()
        };
        assert_eq!(objects(&part), objects(&whole));
        assert_eq!((part.re_encoded, &part.re_encoded_in), (whole.re_encoded, &whole.re_encoded_in));
        self.compared = part;
    }
}

/// A comparison with words that say which bytes an object has.
fn compared(approved: &Ruleset, live: &Ruleset, known: &Known) -> Comparison {
    let unmatched = compare::unmatched_as(approved, live, known);
    let words = |side: &Ruleset, items: BTreeSet<Item>| -> Texts {
        items.into_iter().map(|item| (item.clone(), Text::new(word(side, &item), true))).collect()
    };
    let (before, after) = (words(approved, unmatched.baseline), words(live, unmatched.live));
    compare::compare_as(approved, live, &before, &after, known)
}

fn word(side: &Ruleset, item: &Item) -> String {
    let table = &side.tables[item.table()];
    let of = |attrs: &[u8]| Digest::of([attrs]).to_string();
    let rules = |chain: &Name| table.chains[chain].rules.iter().map(|rule| rule.digest).collect::<Vec<_>>();
    match item {
        Item::Table(_) => table.digest().to_string(),
        Item::TableHead(_) => of(&table.attrs),
        Item::Chain(_, name) => format!("{} {:?}", of(&table.chains[name].attrs), rules(name)),
        Item::ChainHead(_, name) => of(&table.chains[name].attrs),
        Item::Rule(_, name, place) => rules(name)[*place].to_string(),
        Item::Set(_, name) => format!("{:?}", table.sets[name]),
        Item::SetHead(_, name) => of(&table.sets[name].attrs),
        Item::Element(_, name, key) => table.sets[name].elements[key].digest(key).to_string(),
        Item::Object(_, number, name) => of(&table.objects[&(*number, name.clone())].attrs),
        Item::Flowtable(_, name) => of(&table.flowtables[name].attrs),
    }
}

/// The names of ipset's sets by their indices.
fn names(capture: &Capture) -> BTreeMap<u16, Name> {
    fwdrift::normalise::ipset::names(capture.ipset.as_deref().unwrap_or_default())
}

type Rules = BTreeMap<(TableKey, Name, u64), Digest>;

fn rules(capture: &Capture, ruleset: &Ruleset) -> Rules {
    let mut rules = Rules::new();
    for ((key, chain), handles) in handles(capture) {
        let Some(found) = ruleset.tables[&key].chains.get(&chain) else { continue };
        assert_eq!(handles.len(), found.rules.len());
        for (handle, rule) in handles.into_iter().zip(&found.rules) {
            rules.insert((key.clone(), chain.clone(), handle), rule.digest);
        }
    }
    rules
}

/// Each thing that was touched has the digest of the full readings, and each rule that came or went was touched.
fn check_touched(touched: &Touched, before: (&Capture, &Ruleset), after: (&Capture, &Ruleset)) {
    let (old, new) = (rules(before.0, before.1), rules(after.0, after.1));
    let mut added: BTreeMap<(TableKey, Name, u64), Vec<Option<Digest>>> = BTreeMap::new();
    let mut removed = added.clone();
    for touch in &touched.objects {
        if let Thing::Rule(chain, handle) = &touch.thing {
            let list = if touch.act == Act::Removed { &mut removed } else { &mut added };
            list.entry((touch.table.clone(), chain.clone(), *handle)).or_default().push(touch.digest);
        }
    }
    let is_renamed = |(key, chain, _): &(TableKey, Name, u64)| {
        touched
            .renamed
            .iter()
            .any(|renamed| renamed.table == *key && [&renamed.old, &renamed.new].contains(&chain))
    };
    // A rename touches rules that say the new name.
    let has_rename = |key: &TableKey| touched.renamed.iter().any(|renamed| renamed.table == *key);
    for (id, digest) in new.iter().filter(|(id, digest)| old.get(id) != Some(digest) && !is_renamed(id)) {
        let Some(list) = added.get(id) else {
            assert!(has_rename(&id.0), "{id:?} is not among the touched");
            continue;
        };
        assert!(list.contains(&Some(*digest)), "{id:?} {digest} {list:?}");
    }
    for (id, digest) in old.iter().filter(|(id, digest)| new.get(id) != Some(digest) && !is_renamed(id)) {
        if has_rename(&id.0) && !removed.contains_key(id) {
            continue;
        }
        let list = removed.get(id).unwrap_or_else(|| panic!("{id:?} is not among the removed"));
        assert!(list.contains(&Some(*digest)), "{id:?} {digest} {list:?}");
    }
    check_definitions(touched, after.1);
}

fn check_definitions(touched: &Touched, after: &Ruleset) {
    // The last word on each thing counts.
    let mut last: BTreeMap<(TableKey, Thing), (Act, Option<Digest>)> = BTreeMap::new();
    for touch in &touched.objects {
        last.insert((touch.table.clone(), touch.thing.clone()), (touch.act, touch.digest));
    }
    let of = |attrs: &Vec<u8>| Digest::of([&attrs[..]]);
    for ((key, thing), (act, digest)) in last {
        let table = after.tables.get(&key);
        let found = match &thing {
            Thing::Table => table.map(|table| of(&table.attrs)),
            Thing::Chain(name) => {
                table.and_then(|table| table.chains.get(name)).map(|chain| of(&chain.attrs))
            }
            Thing::Set(name) => table.and_then(|table| table.sets.get(name)).map(|set| of(&set.attrs)),
            Thing::Object(kind, name) => {
                let object = table.and_then(|table| table.objects.get(&(*kind, name.clone())));
                object.map(|object| of(&object.attrs))
            }
            Thing::Element(set, key) => {
                let set = table.and_then(|table| table.sets.get(set));
                let element = set.and_then(|set| set.elements.get(key));
                // Elements are told after all else; which act was the last is not.
                if element.is_some() == (act == Act::Removed) {
                    continue;
                }
                element.map(|element| element.digest(key))
            }
            Thing::Rule(..) | Thing::Flowtable(_) => continue,
        };
        if act == Act::Removed {
            assert!(found.is_none() || matches!(thing, Thing::Element(..)), "{key} {thing:?}");
        } else if let Some(digest) = digest {
            assert_eq!(Some(digest), found, "{key} {thing:?}");
        } else {
            assert!(matches!(thing, Thing::Chain(_)) && key.family.as_str() == "netdev", "{key} {thing:?}");
        }
    }
}

fn config() -> ProptestConfig {
    let cases = std::env::var("GENERATED_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(32);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 300, ..ProptestConfig::default() }
}

#[test]
fn a_ruleset_brought_up_to_date_by_parts_is_that_of_a_full_reading() {
    let (taken, refused) = (Cell::new(0_u32), Cell::new(0_u32));
    let batches = prop::collection::vec((batch(), prop::bool::weighted(0.7)), 4..14);
    proptest!(config(), |(batches in batches)| {
        let mut lab = lab();
        let mut followed = Followed::new(&lab);
        let mut writer = Writer::default();
        for (ops, look) in batches {
            if !writer.run(&lab, &followed.capture, &ops) {
                refused.set(refused.get() + 1);
                prop_assert!(lab.hear().is_empty());
                continue;
            }
            taken.set(taken.get() + 1);
            let heard = lab.hear();
            prop_assert!(heard.len() <= 1);
            for transaction in &heard {
                followed.follow(&lab, transaction, look);
            }
        }
    });
    println!("{} batches were taken, {} were refused", taken.get(), refused.get());
    assert!(taken.get() > refused.get(), "{} taken, {} refused", taken.get(), refused.get());
}

#[test]
fn a_part_that_nobody_asked_for_is_not_there() {
    let mut lab = Lab::new();
    lab.nft(
        "table ip t {\nchain a {\naccept\n}\nchain b {\ntcp dport { 1, 2 } drop\n}\nset s { type mark; }\n}",
    );
    lab.hear();
    let transaction = lab.transaction("add rule ip t a tcp dport { 3, 4 } drop");
    let touched = Touches::default().touched(&transaction, &BTreeMap::new());
    let scoped = collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap();
    let (_, table) = scoped.ruleset.tables.iter().next().unwrap();
    assert_eq!(table.chains.keys().collect::<Vec<_>>(), [&name("a")]);
    assert_eq!(
        (table.chains[&name("a")].rules.len(), table.anonymous.sets.len(), table.sets.len()),
        (2, 1, 0)
    );
}

#[test]
fn rules_that_name_sets_of_ipset_are_the_same_in_part() {
    let mut lab = Lab::new();
    lab.run("ipset", &["create", "unused", "hash:ip"]);
    lab.run("ipset", &["create", "people", "hash:ip"]);
    lab.run("ipset", &["create", "seen", "hash:ip"]);
    let mut followed = Followed::new(&lab);
    let mut rule = |arguments: &[&str]| {
        lab.run("iptables-nft", arguments);
        let heard = lab.hear();
        assert!(!heard.is_empty());
        for transaction in &heard {
            followed.follow(&lab, transaction, true);
        }
        let sets = followed.ruleset.tables.get(&TableKey::of_all(Backend::Ipset)).unwrap();
        sets.sets
            .iter()
            .filter(|(_, set)| set.written_by_rules)
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>()
    };
    assert!(rule(&["-A", "INPUT", "-m", "set", "--match-set", "people", "src", "-j", "ACCEPT"]).is_empty());
    assert_eq!(rule(&["-A", "FORWARD", "-j", "SET", "--add-set", "seen", "src"]), ["seen"]);
    assert_eq!(rule(&["-I", "INPUT", "-j", "SET", "--del-set", "seen", "src"]), ["seen"]);
    assert_eq!(rule(&["-D", "FORWARD", "1"]), ["seen"]);
    assert!(rule(&["-F", "INPUT"]).is_empty());
}

#[test]
fn a_table_that_is_gone_and_things_that_never_were_are_absent() {
    let mut lab = lab();
    let mut followed = Followed::new(&lab);
    let transaction = lab.transaction(
        "table ip gone { chain c { accept\n}; set s { type mark; }; counter n { }; map m { type mark : mark; }; }",
    );
    let touched = followed.touches.touched(&transaction, &BTreeMap::new());
    let transaction = lab.transaction("delete table ip gone");
    followed.follow(&lab, &transaction, true);
    let scoped = collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap();
    assert!(scoped.ruleset.tables.is_empty());
    // Also part by part.
    let Some(Part::Whole) = touched.scope.tables.values().next() else { panic!("{touched:?}") };
    let parts = Parts {
        chains: [name("c")].into(),
        sets: [(name("s"), SetPart::Whole)].into(),
        objects: [(1, name("n"))].into(),
        flowtables: [name("f")].into(),
    };
    for key in [key(Family::Ip, "gone"), key(Family::Ip, "t0")] {
        let scope = Scope { tables: [(key.clone(), Part::Parts(parts.clone()))].into(), ..Scope::default() };
        let scoped = collect::scoped(&lab.netns, &scope).unwrap().unwrap();
        let there = scoped.ruleset.tables.get(&key);
        assert_eq!(there.is_some(), key.name == name("t0"));
        assert!(there.is_none_or(|table| table.chains.is_empty() && table.sets.is_empty()));
    }
}

#[test]
fn a_ruleset_that_is_not_the_one_before_is_not_brought_up_to_date() {
    let mut lab = lab();
    let (mut other, mut writers) = (Ruleset::default(), Writers::default());
    let transaction = lab.transaction("add rule ip t0 r0 accept");
    let touched = Touches::default().touched(&transaction, &BTreeMap::new());
    let scoped = collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap();
    assert!(put(&mut other, &mut writers, &scoped).is_err());
    // Neither is anything, if nobody knows what was touched.
    let all = Scope { everything: true, ..Scope::default() };
    assert!(collect::scoped(&lab.netns, &all).unwrap().is_none());
}

/// One element of a large set is asked for alone; of intervals, all are.
#[test]
fn an_element_is_read_by_itself_and_an_interval_with_its_set() {
    let mut lab = Lab::new();
    let all: Vec<String> = (0..5000).map(|n| format!("10.0.{}.{}", n >> 8, n & 255)).collect();
    lab.nft(&format!(
        "table ip t {{ set s {{ type ipv4_addr; elements = {{ {} }}; }}; set i {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/8, 11.0.0.0/9 }}; }}; }}",
        all.join(", ")
    ));
    lab.hear();
    let mut followed = Followed::new(&lab);
    let transaction = lab.transaction("add element ip t s { 10.9.9.9 }; delete element ip t s { 10.0.0.7 }");
    let touched = Touches::default().touched(&transaction, &BTreeMap::new());
    let scoped = collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap();
    let set = &scoped.ruleset.tables[&key(Family::Ip, "t")].sets[&name("s")];
    assert_eq!(set.elements.len(), 1);
    followed.follow(&lab, &transaction, true);
    let transaction = lab.transaction("add element ip t i { 12.0.0.0/8 }");
    followed.follow(&lab, &transaction, true);
    let set = &followed.ruleset.tables[&key(Family::Ip, "t")].sets[&name("i")];
    assert_eq!(set.elements.len(), 3);
}

#[test]
fn many_chains_and_many_jumps_are_read_as_few_are() {
    let mut lab = lab();
    let mut followed = Followed::new(&lab);
    let chains: String =
        (0..600).map(|n| format!("add chain inet t1 m{n}\nadd rule inet t1 m{n} tcp dport {n}\n")).collect();
    let transaction = lab.transaction(&chains);
    let touched = followed.touches.clone().touched(&transaction, &BTreeMap::new());
    assert!(matches!(touched.scope.tables.values().next(), Some(Part::Parts(_))));
    let scoped = collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap();
    // So many that the table is read as a whole.
    assert!(matches!(scoped.scope.tables.values().next(), Some(Part::Whole)));
    followed.follow(&lab, &transaction, true);
    let jumps: String =
        (0..100).map(|n| format!("add rule inet t1 m0 meta mark {n} jump m{}\n", 1 + n)).collect();
    let transaction =
        lab.transaction(&format!("{jumps}add rule inet t1 m0 jump {{ tcp dport {{ 1, 2 }} drop; }}"));
    followed.follow(&lab, &transaction, true);
    let table = &followed.ruleset.tables[&key(Family::Inet, "t1")];
    assert_eq!((table.anonymous.chains.len(), table.anonymous.sets.len()), (1, 1));
}

/// Two chains and a set that always change together, read in part while they do.
#[test]
fn a_reading_in_part_is_of_one_moment() {
    let mut lab = lab();
    lab.nft("table ip pair { chain a { }; chain b { }; set s { type mark; }; }");
    let written = |n: u32| {
        let rules = format!(
            "add rule ip pair a meta mark {n}; add rule ip pair a tcp dport {{ 1, {} }}; add rule ip pair b meta mark {n}",
            2 + n
        );
        format!(
            "flush chain ip pair a; flush chain ip pair b; flush set ip pair s; {rules}; add element ip pair s {{ {n} }}"
        )
    };
    let transaction = {
        lab.hear();
        lab.transaction(&written(0))
    };
    let mut scope = Touches::default().touched(&transaction, &BTreeMap::new()).scope;
    let whole = Parts { sets: [(name("s"), SetPart::Whole)].into(), ..Parts::default() };
    scope
        .extend(Scope { tables: [(key(Family::Ip, "pair"), Part::Parts(whole))].into(), ..Scope::default() });
    let stop = AtomicBool::new(false);
    let (mut read, mut torn, mut seen) = (0, 0, BTreeSet::new());
    std::thread::scope(|scope_of| {
        let (lab, stop) = (&lab, &stop);
        scope_of.spawn(move || {
            for n in (1..100).cycle() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                lab.nft(&written(n));
            }
        });
        let _guard = StopOnDrop(stop);
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            match collect::scoped(&lab.netns, &scope) {
                Ok(scoped) => {
                    let table = scoped.unwrap().ruleset.tables.remove(&key(Family::Ip, "pair")).unwrap();
                    let [a, b] = ["a", "b"].map(|chain| table.chains[&name(chain)].rules[0].digest);
                    assert_eq!(a, b, "two moments in one reading");
                    assert_eq!(
                        (table.chains[&name("a")].rules.len(), table.sets[&name("s")].elements.len()),
                        (2, 1)
                    );
                    seen.insert(a);
                    read += 1;
                }
                Err(_) => torn += 1,
            }
        }
    });
    println!("{read} readings, {torn} given up, {} different", seen.len());
    assert!(read > 20 && seen.len() > 5, "{read} readings, {torn} given up, {} different", seen.len());
}

/// Of a rename only the new name is announced, and nothing of the rules that jump to the chain.
#[test]
fn a_renamed_chain_brings_its_whole_table_also_where_its_old_name_is_not_known() {
    for knows in [true, false] {
        let mut lab = lab();
        lab.nft("add chain ip t0 old; add rule ip t0 r0 meta mark 7 jump old; add map ip t0 m { type mark : verdict; elements = { 1 : goto old }; }");
        lab.hear();
        let mut followed = Followed::new(&lab);
        if !knows {
            followed.touches = Touches::default();
        }
        let before = followed.ruleset.digest();
        let transaction = lab.transaction("rename chain ip t0 old new");
        let touched = followed.touches.touched(&transaction, &BTreeMap::new());
        assert_eq!(touched.scope.tables.values().collect::<Vec<_>>(), [&Part::Whole]);
        assert_eq!(touched.renamed.len(), usize::from(knows));
        let scoped = collect::scoped(&lab.netns, &touched.scope).unwrap().unwrap();
        put(&mut followed.ruleset, &mut followed.writers, &scoped).unwrap();
        assert_eq!(followed.ruleset, lab.ruleset());
        assert_ne!(followed.ruleset.digest(), before);
    }
}
