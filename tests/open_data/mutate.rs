//! The mutations: each one change of the live ruleset, made with nft.

use crate::expect::{Expected, only_in};
use crate::listing::{Listing, Object, Place};
use crate::live::{EXPIRING, Live};
use crate::raw;
use fwdrift::model::ChangeKind;

/// One kind of change. It gives what must be reported, or none where the ruleset has nothing to make it to.
pub type Mutation = fn(&Live, &Listing) -> Option<Vec<Expected>>;

/// All of them, in the order of the table that the test prints.
pub const ALL: [(&str, Mutation); 18] = [
    ("rule added at the end", |live, is| add_rule(live, is, Where::End)),
    ("rule added at the start", |live, is| add_rule(live, is, Where::Start)),
    ("rule added in the middle", |live, is| add_rule(live, is, Where::Middle)),
    ("rule deleted", delete_rule),
    ("rule changed", change_rule),
    ("policy flipped", flip_policy),
    ("element added", add_element),
    ("element removed", remove_element),
    ("set added", add_set),
    ("set removed", |live, is| remove(live, is, &["set"])),
    ("map removed", |live, is| remove(live, is, &["map"])),
    ("chain added", add_chain),
    ("chain removed", |live, is| remove(live, is, &["chain"])),
    ("named counter added", add_object),
    ("named object removed", |live, is| remove(live, is, &OBJECTS)),
    ("table added", add_table),
    ("table removed", remove_table),
    ("everything flushed", flush),
];

/// Stateful objects.
const OBJECTS: [&str; 8] =
    ["counter", "quota", "limit", "ct helper", "ct timeout", "ct expectation", "secmark", "synproxy"];

/// How many places are tried before a mutation counts as not applicable.
const TRIES: usize = 12;

#[derive(Clone, Copy, PartialEq)]
enum Where {
    Start,
    Middle,
    End,
}

/// All chains, the longest first.
fn chains(is: &Listing) -> Vec<(Place, &Object)> {
    let mut found: Vec<(Place, &Object)> = is
        .places(&["chain"])
        .into_iter()
        .filter_map(|place| is.object(&place).map(|chain| (place.clone(), chain)))
        .collect();
    found.sort_by_key(|(_, chain)| std::cmp::Reverse(chain.rules.len()));
    found
}

fn add_rule(live: &Live, is: &Listing, at: Where) -> Option<Vec<Expected>> {
    const RULE: &str = "counter comment \"fwdrift was here\"";
    let (place, chain) = chains(is).into_iter().next()?;
    let path = place.path();
    match at {
        Where::End => drop(live.script(&format!("add rule {path} {RULE}")).unwrap()),
        Where::Start if chain.rules.is_empty() => return None,
        Where::Start => drop(live.script(&format!("insert rule {path} {RULE}")).unwrap()),
        Where::Middle => {
            let behind = chain.rules[chain.rules.len().checked_sub(2)? / 2].handle;
            // To find the handle, nft 1.0.6 reads all rules, and dies of some.
            if live.script(&format!("add rule {path} handle {behind} {RULE}")).is_err() {
                assert!(raw::add_behind(live, &place, behind), "neither nft nor the kernel took it");
            }
        }
    }
    Some(vec![Expected::rule(ChangeKind::Added, &place)])
}

fn delete_rule(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    let (place, chain) = chains(is).into_iter().find(|(_, chain)| !chain.rules.is_empty())?;
    let handle = chain.rules[chain.rules.len() / 2].handle;
    live.script(&format!("delete rule {} handle {handle}", place.path())).unwrap();
    Some(vec![Expected::rule(ChangeKind::Removed, &place)])
}

/// The rule with its verdict turned, or with a comment; where nft does not take its own text, another rule.
fn change_rule(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    let (place, chain) = chains(is).into_iter().find(|(_, chain)| !chain.rules.is_empty())?;
    let rule = &chain.rules[chain.rules.len() / 2];
    let turned = match rule.text.as_str() {
        text if text.ends_with("accept") => format!("{}drop", text.trim_end_matches("accept")),
        text if text.ends_with("drop") => format!("{}accept", text.trim_end_matches("drop")),
        text => format!("{text} comment \"fwdrift was here\""),
    };
    let ways = [turned, "counter comment \"fwdrift was here\"".to_owned()];
    ways.iter().find(|text| {
        live.script(&format!("replace rule {} handle {} {text}", place.path(), rule.handle)).is_ok()
    })?;
    Some(vec![Expected::rule(ChangeKind::Modified, &place)])
}

fn flip_policy(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    for (place, chain) in chains(is) {
        let other = match &chain.head {
            head if head.contains("policy accept;") => "drop",
            head if head.contains("policy drop;") => "accept",
            _ => continue,
        };
        if live.script(&format!("add chain {} {{ policy {other}; }}", place.path())).is_ok() {
            return Some(vec![Expected::head(&place)]);
        }
    }
    None
}

/// Sets and maps that people fill, not the packet path.
fn fillable(is: &Listing) -> impl Iterator<Item = (Place, &Object)> {
    let all = is.places(&["set", "map"]).into_iter();
    all.filter(|place| place.table != EXPIRING)
        .filter_map(|place| is.object(&place).map(|set| (place.clone(), set)))
        .filter(|(place, set)| !is.is_dynamic(place, set))
}

fn add_element(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    for (place, set) in fillable(is).take(TRIES) {
        let by_text = new_element(set).is_some_and(|element| {
            live.script(&format!("add element {} {{ {element} }}", place.path())).is_ok()
        });
        if !by_text && !raw::add_element(live, &place) {
            continue;
        }
        let after = live.listing();
        let (came, went) =
            (only_in(after.object(&place), Some(set)), only_in(Some(set), after.object(&place)));
        if came.len() == 1 && went.is_empty() {
            return Some(vec![Expected::element(ChangeKind::Added, &place)]);
        }
        // It was there already, or nft merged it with a neighbour.
        live.restore();
    }
    None
}

/// An element that no ruleset has, in nft's words; the data of a map are those of its first element.
fn new_element(set: &Object) -> Option<String> {
    let line = set.text.lines().find_map(|line| line.strip_prefix("\ttype "))?;
    let (key, data) = match line.split_once(" : ") {
        Some((key, data)) => (key, Some(data)),
        None => (line, None),
    };
    let values: Option<Vec<&str>> = key.split(" . ").map(value_of).collect();
    let key = values?.join(" . ");
    match data {
        None => Some(key),
        Some("verdict") => Some(format!("{key} : drop")),
        Some(data) => {
            let first = set.elements.first().and_then(|element| element.split_once(" : "));
            Some(format!("{key} : {}", first.map(|(_, data)| data).or_else(|| value_of(data))?))
        }
    }
}

fn value_of(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "ipv4_addr" => "203.0.113.77",
        "ipv6_addr" => "2001:db8::4711",
        "ether_addr" => "02:00:5e:00:53:77",
        "inet_service" => "64977",
        "inet_proto" => "253",
        "mark" => "0x00004711",
        "ifname" => "\"fwdrift0\"",
        _ => return None,
    })
}

fn remove_element(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    for (place, set) in fillable(is).filter(|(_, set)| !set.elements.is_empty()).take(TRIES) {
        let element = &set.elements[set.elements.len() / 2];
        let key = [" : ", " counter", " timeout", " comment", " limit", " quota"]
            .iter()
            .fold(element.as_str(), |key, end| key.split(end).next().unwrap_or(key));
        let by_text = [element.as_str(), key]
            .iter()
            .any(|element| live.script(&format!("delete element {} {{ {element} }}", place.path())).is_ok());
        if !by_text {
            continue;
        }
        let after = live.listing();
        let (came, went) =
            (only_in(after.object(&place), Some(set)), only_in(Some(set), after.object(&place)));
        if came.is_empty() && went.len() == 1 {
            return Some(vec![Expected::element(ChangeKind::Removed, &place)]);
        }
        live.restore();
    }
    None
}

fn added(is: &Listing, kind: &str) -> Option<Place> {
    let table = is.tables.iter().find(|table| table.name != EXPIRING)?;
    let (family, table) = (table.family.clone(), table.name.clone());
    Some(Place { family, table, kind: kind.to_owned(), name: "fwdrift_added".to_owned() })
}

fn add_set(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    let place = added(is, "set")?;
    let content = "type ipv4_addr . inet_service; comment \"new\"; elements = { 192.0.2.1 . 22 }";
    live.script(&format!("add set {} {{ {content}; }}", place.path())).unwrap();
    Some(vec![Expected::object(ChangeKind::Added, &place)])
}

fn add_object(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    let place = added(is, "counter")?;
    live.script(&format!("add counter {}", place.path())).unwrap();
    Some(vec![Expected::object(ChangeKind::Added, &place)])
}

fn add_chain(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    let place = added(is, "chain")?;
    let path = place.path();
    live.script(&format!("add chain {path}\nadd rule {path} counter accept\n")).unwrap();
    Some(vec![Expected::object(ChangeKind::Added, &place)])
}

fn add_table(live: &Live, _: &Listing) -> Option<Vec<Expected>> {
    let chain = "chain c { type filter hook input priority 7; tcp dport { 22, 80 } accept; }";
    live.script(&format!("table inet fwdrift_added {{\nset s {{ type mark; }}\n{chain}\n}}")).unwrap();
    Some(vec![Expected::table(ChangeKind::Added, "inet", "fwdrift_added")])
}

/// The first object of a kind that nothing refers to: the kernel refuses to delete the others.
fn remove(live: &Live, is: &Listing, kinds: &[&str]) -> Option<Vec<Expected>> {
    let places = is.places(kinds).into_iter().filter(|place| place.table != EXPIRING);
    let place = places
        .filter(|place| !is.is_named_elsewhere(place) && !is_idle(is, place))
        .take(TRIES)
        .find(|place| live.script(&format!("delete {} {}", place.kind, place.path())).is_ok())?;
    Some(vec![Expected::object(ChangeKind::Removed, &place)])
}

/// Whether iptables-nft would make the chain itself, and thinks of it as always there.
fn is_idle(is: &Listing, place: &Place) -> bool {
    let tables = ["filter", "nat", "mangle", "raw", "security"];
    place.family.starts_with("ip")
        && tables.contains(&place.table.as_str())
        && is.object(place).is_some_and(|o| o.rules.is_empty() && o.head.contains("policy accept"))
}

fn remove_table(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    let table = is.tables.iter().find(|table| table.name != EXPIRING)?;
    live.script(&format!("delete table {} {}", table.family, table.name)).unwrap();
    Some(vec![Expected::table(ChangeKind::Removed, &table.family, &table.name)])
}

fn flush(live: &Live, is: &Listing) -> Option<Vec<Expected>> {
    live.script("flush ruleset").unwrap();
    Some(crate::expect::all_removed(&is.tables))
}
