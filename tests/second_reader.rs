//! A second, independent reader of the kernel's state: the `nftables` crate over `nft -j list ruleset`
//! counts the same tables, chains, rules, sets, maps and elements as our own capture.
//!
//! The crate fails a whole document for one object that it does not know, so it is asked for one object at
//! a time; an object that it cannot read is counted by the name of its JSON property, and the test says so.

use fwdrift::collect;
use fwdrift::model::Ruleset;
use fwdrift::normalise::normalise;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;
use nftables::schema::{NfListObject, NfObject};
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    tables: usize,
    chains: usize,
    rules: usize,
    sets: usize,
    maps: usize,
    elements: usize,
}

/// What the crate reads, and how many objects it could not.
fn by_crate(json: &[u8]) -> (Counts, usize) {
    let document: Value = serde_json::from_slice(json).unwrap();
    let mut counts = Counts::default();
    let mut unread = 0;
    for object in document["nftables"].as_array().unwrap() {
        match serde_json::from_value::<NfObject<'_>>(object.clone()) {
            Ok(NfObject::ListObject(object)) => match object {
                NfListObject::Table(_) => counts.tables += 1,
                NfListObject::Chain(_) => counts.chains += 1,
                NfListObject::Rule(_) => counts.rules += 1,
                NfListObject::Set(set) => {
                    counts.sets += 1;
                    counts.elements += set.elem.map_or(0, |elements| elements.len());
                }
                NfListObject::Map(map) => {
                    counts.maps += 1;
                    counts.elements += map.elem.map_or(0, |elements| elements.len());
                }
                NfListObject::Element(_)
                | NfListObject::FlowTable(_)
                | NfListObject::Counter(_)
                | NfListObject::Quota(_)
                | NfListObject::CTHelper(_)
                | NfListObject::Limit(_)
                | NfListObject::MetainfoObject(_)
                | NfListObject::CTTimeout(_)
                | NfListObject::CTExpectation(_)
                | NfListObject::SynProxy(_) => {}
            },
            Ok(NfObject::CmdObject(command)) => panic!("a listing with a command: {command:?}"),
            Err(_) => {
                println!("the crate cannot read {object}");
                unread += 1;
                count_by_name(object, &mut counts);
            }
        }
    }
    (counts, unread)
}

fn count_by_name(object: &Value, counts: &mut Counts) {
    let (name, content) = object.as_object().and_then(|object| object.iter().next()).unwrap();
    let elements = content["elem"].as_array().map_or(0, Vec::len);
    match name.as_str() {
        "table" => counts.tables += 1,
        "chain" => counts.chains += 1,
        "rule" => counts.rules += 1,
        "set" => (counts.sets, counts.elements) = (counts.sets + 1, counts.elements + elements),
        "map" => (counts.maps, counts.elements) = (counts.maps + 1, counts.elements + elements),
        _ => {}
    }
}

fn by_capture(ruleset: &Ruleset) -> Counts {
    let mut counts = Counts { tables: ruleset.tables.len(), ..Counts::default() };
    for table in ruleset.tables.values() {
        counts.chains += table.chains.len();
        counts.rules += table.rule_count();
        for set in table.sets.values() {
            let of_kind = if set.is_map() { &mut counts.maps } else { &mut counts.sets };
            *of_kind += 1;
            counts.elements += set.elements.len();
        }
    }
    counts
}

/// Loads a file or a text into a namespace of its own and compares the two readers; the number of objects
/// that the crate could not read, or none if nft refuses the input here.
fn check(what: &str, args: &[&str], input: Vec<u8>) -> Option<usize> {
    let netns = Netns::create().unwrap();
    let nft = || Tool::find("nft").unwrap();
    netns.run(|| nft().args(args.iter().copied()).input(input).run()).unwrap().ok()?;
    let json = netns.run(|| nft().args(["-j", "list", "ruleset"]).run()).unwrap().unwrap().stdout;
    let (capture, _) = collect::capture(&netns, None).unwrap();
    let (counts, unread) = by_crate(&json);
    assert_eq!(by_capture(&normalise(&capture).unwrap()), counts, "{what}");
    Some(unread)
}

const OWN: &str = "
table inet filter {
    set admins { type ipv4_addr; flags interval; elements = { 192.0.2.0/24, 198.51.100.7, 203.0.113.1-203.0.113.9 } }
    set pairs { type ipv4_addr . inet_service; elements = { 192.0.2.1 . 22, 192.0.2.2 . 443 } }
    map marks { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 1, 172.16.0.0/12 : 2 } }
    map ports { type inet_service : verdict; elements = { 22 : accept, 23 : drop, 80 : jump web } }
    counter seen { packets 0 bytes 0 }
    chain web {
        ip saddr { 192.0.2.1, 192.0.2.2 } accept
        tcp dport vmap { 80 : accept, 443 : drop }
        ip daddr 192.0.2.3 jump { accept; }
    }
    chain input {
        type filter hook input priority filter; policy drop;
        ip saddr @admins tcp dport vmap @ports
        ct state established accept
    }
}
table arp empty { }
";

#[test]
fn the_nftables_crate_counts_what_our_capture_counts() {
    // nftables 0.6 reads neither a verdict map's elements nor a rule with a chain of its own.
    assert_eq!(check("own fixture", &["-f", "-"], OWN.as_bytes().to_vec()), Some(2));
    assert_eq!(check("nothing", &["-f", "-"], Vec::new()), Some(0));
    let baselines = Path::new(env!("CARGO_MANIFEST_DIR")).join("baselines");
    for role in ["web-server", "database-server"] {
        let file = baselines.join(role).join("nft/inet-filter.nft");
        assert_eq!(check(role, &["-f", file.to_str().unwrap()], Vec::new()), Some(0), "{role}");
    }
}

#[test]
fn the_nftables_crate_counts_what_our_capture_counts_in_open_rulesets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/open");
    let files = native_files(&root);
    if files.is_empty() {
        eprintln!("SKIPPED: the open rulesets (../shared/data/open beside the checkout) are not here.");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "nothing is skipped in CI");
        return;
    }
    let (mut compared, mut unread) = (0, 0);
    for file in files {
        let path = file.to_str().unwrap();
        if let Some(count) = check(path, &["-f", path], Vec::new()) {
            compared += 1;
            unread += count;
        }
    }
    println!("{compared} rulesets compared; the crate could not read {unread} of their objects");
    assert!(compared > 100, "only {compared} rulesets load here");
}

/// The rulesets in nft's syntax that the manifests say load.
fn native_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for folder in ["nftables-tests", "real-world"].map(|name| root.join(name)) {
        let manifest = std::fs::read_to_string(folder.join("MANIFEST.nft.tsv")).unwrap_or_default();
        for line in manifest.lines().skip(1) {
            if let [path, "nft", "yes", ..] = line.split('\t').collect::<Vec<_>>()[..] {
                files.push(folder.join(path));
            }
        }
    }
    files
}
