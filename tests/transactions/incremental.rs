//! Random batches on a random ruleset: what they touched, read in part and put into the ruleset before, is the
//! ruleset after; and each touched thing has the digest of the full reading.
//!
//! `GENERATED_CASES` sets the number of cases; without it, 32.

use crate::support::{Lab, handles, name};
use fwdrift::collect;
use fwdrift::model::{Backend, Capture, Chain, Digest, Name, Ruleset, TableKey, Transaction};
use fwdrift::netlink::{Attrs, nft};
use fwdrift::normalise::normalise;
use fwdrift::normalise::scope::{Scope, restrict};
use fwdrift::normalise::scoped::{Writers, put};
use fwdrift::normalise::touched::{Act, Thing, Touched, Touches};
use proptest::prelude::*;
use proptest::sample::Index;
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// One operation; what it is done to is looked up in the ruleset as it then is.
#[derive(Clone, Debug)]
struct Op {
    kind: u8,
    table: Index,
    place: Index,
    rule: u8,
    number: u8,
}

const KINDS: u8 = 34;

fn op() -> impl Strategy<Value = Op> {
    (0..KINDS, any::<Index>(), any::<Index>(), 0..18_u8, 0..6_u8)
        .prop_map(|(kind, table, place, rule, number)| Op { kind, table, place, rule, number })
}

/// What a script may name, as far as it was written.
struct Model {
    tables: BTreeMap<String, ModelTable>,
}

#[derive(Default)]
struct ModelTable {
    dormant: bool,
    /// Rules by handle; whether it is a base chain.
    chains: BTreeMap<String, (bool, Vec<u64>)>,
    /// Elements as they are written.
    sets: BTreeMap<String, BTreeSet<String>>,
    objects: BTreeSet<String>,
}

impl Model {
    fn of(ruleset: &Ruleset, handles: &BTreeMap<(TableKey, Name), Vec<u64>>, known: &Elements) -> Self {
        let native = ruleset.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables);
        let table = |(key, table): (&TableKey, &fwdrift::model::Table)| {
            let chain = |(name, chain): (&Name, &Chain)| {
                let handles = handles.get(&(key.clone(), name.clone())).cloned().unwrap_or_default();
                let is_base = Attrs(&chain.attrs).find(nft::chain::HOOK).is_some();
                (name.to_string(), (is_base, handles))
            };
            let elements = |name: &Name| known.get(&(key.to_string(), name.to_string())).cloned();
            let sets = table.sets.keys().map(|name| (name.to_string(), elements(name).unwrap_or_default()));
            let content = ModelTable {
                dormant: Attrs(&table.attrs).find(nft::table::FLAGS).and_then(|flags| flags.be32())
                    == Some(1),
                chains: table.chains.iter().map(chain).collect(),
                sets: sets.collect(),
                objects: table.objects.keys().map(|(_, name)| name.to_string()).collect(),
            };
            (key.to_string(), content)
        };
        Self { tables: native.map(table).collect() }
    }
}

type Elements = BTreeMap<(String, String), BTreeSet<String>>;

fn pick<'a, K, V>(map: &'a mut BTreeMap<K, V>, at: Index) -> Option<(&'a K, &'a mut V)> {
    let count = map.len();
    (count > 0).then(|| map.iter_mut().nth(at.index(count))).flatten()
}

/// A rule, of which some name what the table may have.
fn rule(op: &Op, table: &ModelTable) -> String {
    let n = u32::from(op.number);
    let set = |start: &str| table.sets.keys().find(|name| name.starts_with(start)).cloned();
    let object = |start: &str| table.objects.iter().find(|name| name.starts_with(start)).cloned();
    let target = table.chains.iter().find(|(_, (is_base, _))| !is_base).map(|(name, _)| name.clone());
    let plain = format!("tcp dport {} accept", 20 + n);
    match op.rule {
        0 => plain,
        1 => format!("tcp dport {{ {}, {} }} accept", 20 + n, 80 + n),
        2 => format!("udp sport {{ {}-{}, 99 }} counter drop", 100 + n * 10, 105 + n * 10),
        3 => format!("tcp dport vmap {{ {} : accept, {} : drop }}", 1 + n, 70 + n),
        4 => format!("meta mark {n} jump {{ counter accept; tcp dport {{ 1, {} }} drop; }}", 5 + n),
        5 => set("p").map_or(plain, |name| format!("tcp dport @{name} accept")),
        6 => set("m").map_or(plain, |name| format!("tcp dport vmap @{name}")),
        7 => set("d").map_or(plain, |name| format!("meta mark {n} add @{name} {{ tcp dport }}")),
        8 => object("c").map_or(plain, |name| format!("counter name \"{name}\"")),
        9 => object("q").map_or(plain, |name| format!("quota name \"{name}\" drop")),
        10 => target.map_or(plain, |name| format!("tcp sport {} jump {name}", 7 + n)),
        11 => format!("limit rate {}/second accept comment \"why {n}\"", 1 + n),
        12 => format!("log prefix \"a{n}\" meta mark set {n}"),
        13 => format!("tcp dport . tcp sport {{ 1 . {n}, 2 . 3 }} accept"),
        14 => "ct state established,related accept".to_owned(),
        15 => format!("meta mark {n} goto {{ meta mark 1 jump {{ drop; }}; }}"),
        16 => format!("tcp dport @d{} counter", n % 2),
        _ => format!("meta mark set tcp dport map {{ {} : 1, 2000-3000 : 2 }}", 10 + n),
    }
}

/// An element of a set, by the first letter of its name.
fn element(set: &str, n: u8) -> String {
    match set.as_bytes().first() {
        Some(b'i') => format!("10.{}.0.0/16", n * 2),
        Some(b'k') => format!("{} . 10.0.{n}.0/24", 1000 + u16::from(n)),
        Some(b'm') => format!("{} : {}", 300 + u16::from(n), if n % 2 == 0 { "accept" } else { "drop" }),
        _ => format!("{}", 1000 + u16::from(n)),
    }
}

/// The lines of an operation; none where there is nothing to do it to.
fn lines(op: &Op, model: &mut Model, known: &mut Elements) -> Option<String> {
    let n = op.number;
    let name = ["ip t0", "inet t1", "netdev t2"][usize::from(n) % 3];
    match op.kind {
        0 => {
            model.tables.entry(name.to_owned()).or_default();
            return Some(format!("add table {name}"));
        }
        1 if n == 0 => {
            model.tables.clear();
            return Some("flush ruleset".to_owned());
        }
        _ => {}
    }
    let (key, table) = pick(&mut model.tables, op.table)?;
    let key = key.clone();
    let text = rule(op, table);
    let set_name = |start: &str| format!("{start}{}", n % 2);
    Some(match op.kind {
        1 => {
            model.tables.remove(&key);
            format!("delete table {key}")
        }
        2 => {
            // Made anew, with part of what it had.
            let new = ModelTable::default();
            model.tables.insert(key.clone(), new);
            format!(
                "delete table {key}\nadd table {key}\nadd chain {key} r0\nadd rule {key} r0 tcp dport {{ 1, {n} }} drop"
            )
        }
        3 => {
            table.chains.values_mut().for_each(|(_, handles)| handles.clear());
            format!("flush table {key}")
        }
        4 => {
            table.dormant = !table.dormant;
            let flags = if table.dormant { "flags dormant;" } else { "" };
            format!("add table {key} {{ {flags} }}")
        }
        5 | 6 => {
            table.chains.entry(format!("r{n}")).or_default();
            let comment = if op.kind == 5 { " { comment \"one\"; }" } else { "" };
            format!("add chain {key} r{n}{comment}")
        }
        7 | 8 => {
            let chain = format!("b{n}");
            table.chains.entry(chain.clone()).or_default().0 = true;
            let policy = if op.kind == 7 { "drop" } else { "accept" };
            let hook = if key.starts_with("netdev") {
                format!("ingress device a{}", n % 2)
            } else {
                ["input", "forward", "output"][usize::from(n) % 3].to_owned()
            };
            format!("add chain {key} {chain} {{ type filter hook {hook} priority {n}; policy {policy}; }}")
        }
        9 => {
            let (chain, _) = pick(&mut table.chains, op.place)?;
            let chain = chain.clone();
            table.chains.remove(&chain);
            format!("flush chain {key} {chain}\ndelete chain {key} {chain}")
        }
        10 => {
            let (chain, (is_base, _)) = pick(&mut table.chains, op.place)?;
            let (old, new) = (chain.clone(), format!("r{}", 6 + n));
            if *is_base || table.chains.contains_key(&new) {
                return None;
            }
            let content = table.chains.remove(&old)?;
            table.chains.insert(new.clone(), content);
            format!("rename chain {key} {old} {new}")
        }
        11..=14 => {
            let (chain, _) = pick(&mut table.chains, op.place)?;
            let verb = if op.kind == 11 { "insert" } else { "add" };
            format!("{verb} rule {key} {chain} {text}")
        }
        15..=18 => {
            let (chain, (_, handles)) = pick(&mut table.chains, op.place)?;
            let handle = *handles.get(op.table.index(handles.len().max(1)))?;
            match op.kind {
                15 => format!("insert rule {key} {chain} handle {handle} {text}"),
                16 => format!("add rule {key} {chain} handle {handle} {text}"),
                17 => format!("replace rule {key} {chain} handle {handle} {text}"),
                _ => {
                    handles.retain(|known| *known != handle);
                    format!("delete rule {key} {chain} handle {handle}")
                }
            }
        }
        19 => {
            let (chain, (_, handles)) = pick(&mut table.chains, op.place)?;
            handles.clear();
            format!("flush chain {key} {chain}")
        }
        20..=24 => {
            let (start, kind) = [
                ("p", "type inet_service;"),
                ("i", "type ipv4_addr; flags interval;"),
                ("k", "type inet_service . ipv4_addr; flags interval;"),
                ("m", "type inet_service : verdict;"),
                ("d", "type inet_service; size 100; flags dynamic,timeout; timeout 1h;"),
            ][usize::from(op.kind - 20)];
            let set = set_name(start);
            table.sets.entry(set.clone()).or_default();
            let what = if start == "m" { "map" } else { "set" };
            format!("add {what} {key} {set} {{ {kind} }}")
        }
        25 | 26 => {
            let (set, elements) = pick(&mut table.sets, op.place)?;
            let new: Vec<String> = (0..2).map(|more| element(set, n + more)).collect();
            elements.extend(new.iter().cloned());
            format!("add element {key} {set} {{ {} }}", new.join(", "))
        }
        27 => {
            let (set, elements) = pick(&mut table.sets, op.place)?;
            let gone = elements.iter().nth(op.table.index(elements.len().max(1)))?.clone();
            elements.remove(&gone);
            format!("delete element {key} {set} {{ {gone} }}")
        }
        28 => {
            let (set, elements) = pick(&mut table.sets, op.place)?;
            elements.clear();
            format!("flush set {key} {set}")
        }
        29 => {
            let (set, _) = pick(&mut table.sets, op.place)?;
            let set = set.clone();
            table.sets.remove(&set);
            known.remove(&(key.clone(), set.clone()));
            format!("delete set {key} {set}")
        }
        30 => {
            table.objects.insert(set_name("c"));
            format!("add counter {key} {}", set_name("c"))
        }
        31 => {
            table.objects.insert(set_name("q"));
            format!("add quota {key} {} {{ over {} mbytes; }}", set_name("q"), 1 + n)
        }
        32 => {
            let object = table.objects.iter().nth(op.place.index(table.objects.len().max(1)))?.clone();
            table.objects.remove(&object);
            let kind = if object.starts_with('c') { "counter" } else { "quota" };
            format!("delete {kind} {key} {object}")
        }
        _ => {
            // Made and undone at once.
            format!(
                "add chain {key} gone\nadd rule {key} gone tcp dport {{ 3, {n} }} drop\ndelete chain {key} gone"
            )
        }
    })
}

/// The ruleset before, and all that is followed.
struct Followed {
    capture: Capture,
    ruleset: Ruleset,
    writers: Writers,
    touches: Touches,
    elements: Elements,
    scope: Scope,
}

impl Followed {
    fn new(lab: &Lab) -> Self {
        let capture = lab.capture();
        let ruleset = normalise(&capture).unwrap();
        let mut touches = Touches::default();
        touches.know(&capture.messages, &BTreeMap::new());
        let writers = Writers::of(&ruleset);
        Self { capture, ruleset, writers, touches, elements: Elements::new(), scope: Scope::default() }
    }

    /// Takes over what a batch did, and looks, now or with the next batch.
    fn follow(&mut self, lab: &Lab, transaction: &Transaction, look: bool) {
        let touched = self.touches.touched(transaction, &BTreeMap::new());
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
        put(&mut self.ruleset, &mut self.writers, &scoped).unwrap();
        assert_eq!(self.ruleset.digest(), after.digest(), "{scope:#?}");
        assert_eq!(self.ruleset, after, "{scope:#?}");
        assert_eq!(self.writers, Writers::of(&after));
        let mut part = scoped.ruleset.clone();
        self.writers.mark(&mut part);
        assert_eq!(restrict(&after, &scoped.scope), part);
        let all = handles(&self.capture);
        for (chain, found) in &scoped.handles {
            assert_eq!(all.get(chain), Some(found));
        }
    }
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
    let batches =
        prop::collection::vec((prop::collection::vec(op(), 1..8), prop::bool::weighted(0.7)), 4..14);
    proptest!(config(), |(batches in batches)| {
        let mut lab = Lab::new();
        lab.run("ip", &["link", "add", "a0", "type", "veth", "peer", "name", "a1"]);
        lab.nft("table ip t0 {\nchain r0 {\n}\nchain b0 { type filter hook input priority 0; tcp dport { 1, 2 } drop; }\n}\ntable inet t1 {\n}");
        lab.hear();
        let mut followed = Followed::new(&lab);
        for (ops, look) in batches {
            let mut model = Model::of(&followed.ruleset_now(), &handles(&followed.capture), &followed.elements);
            let mut elements = followed.elements.clone();
            let script: Vec<String> = ops.iter().filter_map(|op| lines(op, &mut model, &mut elements)).collect();
            if !lab.try_nft(&script.join("\n")) {
                refused.set(refused.get() + 1);
                prop_assert!(lab.hear().is_empty());
                continue;
            }
            taken.set(taken.get() + 1);
            followed.elements = elements;
            for (key, table) in model.tables {
                for (set, elements) in table.sets {
                    followed.elements.insert((key.clone(), set), elements);
                }
            }
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

impl Followed {
    fn ruleset_now(&self) -> Ruleset {
        normalise(&self.capture).unwrap()
    }
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
