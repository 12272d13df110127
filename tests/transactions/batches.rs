//! Random batches of nft commands, written for the ruleset that is there. With `SHOW` set, they are printed.

use crate::support::{Lab, handles};
use fwdrift::model::{Backend, Capture, Chain, Name, Ruleset, Table, TableKey};
use fwdrift::netlink::{Attrs, nft};
use fwdrift::normalise::normalise;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

/// One operation; what it is done to is looked up in the ruleset as it then is.
#[derive(Clone, Debug)]
pub struct Op {
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
        let table = |(key, table): (&TableKey, &Table)| {
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

fn pick<K, V>(map: &mut BTreeMap<K, V>, at: Index) -> Option<(&K, &mut V)> {
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
        15 => format!("meta mark {n} goto {{ meta mark 1 drop; }}"),
        16 => format!("tcp dport @d{} counter", n % 2),
        _ => format!("meta mark set tcp dport map {{ {} : 1, 2000-3000 : 2 }}", 10 + n),
    }
}

/// An element of a set, by the first letter of its name.
fn element(set: &str, n: u8) -> String {
    match set.as_bytes().first() {
        Some(b'i') => format!("10.{}.0.0/16", n * 2),
        Some(b'k') => format!("{} . 10.0.{n}.0/24", 1000 + u16::from(n)),
        Some(b'm') => {
            format!("{} : {}", 300 + u16::from(n), if n.is_multiple_of(2) { "accept" } else { "drop" })
        }
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

/// Writes batches, and keeps count of what they put into sets.
#[derive(Default)]
pub struct Writer {
    elements: Elements,
}

impl Writer {
    /// Runs a batch; whether the kernel took it.
    pub fn run(&mut self, lab: &Lab, capture: &Capture, ops: &[Op]) -> bool {
        let ruleset = normalise(capture).unwrap();
        let mut model = Model::of(&ruleset, &handles(capture), &self.elements);
        let mut elements = self.elements.clone();
        let script: Vec<String> = ops.iter().filter_map(|op| lines(op, &mut model, &mut elements)).collect();
        let taken = lab.try_nft(&script.join("\n"));
        if std::env::var("SHOW").is_ok() {
            println!("--- {taken}\n{}", script.join("\n"));
        }
        if taken {
            self.elements = elements;
            for (key, table) in model.tables {
                for (set, elements) in table.sets {
                    self.elements.insert((key.clone(), set), elements);
                }
            }
        }
        taken
    }
}

/// A namespace with something in it.
pub fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.run("ip", &["link", "add", "a0", "type", "veth", "peer", "name", "a1"]);
    lab.nft(
        "table ip t0 {
            chain r0 { }
            chain b0 { type filter hook input priority 0; tcp dport { 1, 2 } drop; }
        }
        table inet t1 { }",
    );
    lab.hear();
    lab
}

/// Batches of at most seven operations.
pub fn batch() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec(op(), 1..8)
}
