//! Differences that nft prints alike, and none that it prints alike: each shown on the real kernel.

use fwdrift::collect;
use fwdrift::compare::{Comparison, Known};
use fwdrift::decode;
use fwdrift::model::{ChangeKind, Name, ObjectKind, Ruleset, Set, Table};
use fwdrift::netlink::nft::{elem, expr, rule};
use fwdrift::netlink::{AttrWriter, Attrs};
use fwdrift::normalise::normalise;
use fwdrift::pipeline;
use fwdrift::sys::netns::Netns;
use fwdrift::tool::Tool;

fn read(netns: &Netns) -> Ruleset {
    normalise(&collect::capture(netns, None).unwrap().0).unwrap()
}

fn load(script: &str) -> Ruleset {
    let netns = Netns::create().unwrap();
    let run = || Tool::find("nft").unwrap().args(["-f", "-"]).input(script.as_bytes().to_vec()).run();
    netns.run(run).unwrap().unwrap();
    read(&netns)
}

/// Made anew in another namespace, with one thing changed: the ruleset, and how nft lists it.
fn changed(ruleset: &Ruleset, change: impl FnOnce(&mut Table)) -> (Ruleset, String) {
    let mut other = ruleset.clone();
    change(other.tables.values_mut().next().unwrap());
    let netns = Netns::create().unwrap();
    let _owner = netns.run(|| decode::transplant(&other)).unwrap().unwrap();
    let list = || Tool::find("nft").unwrap().args(["-s", "list", "ruleset"]).run();
    let listed = netns.run(list).unwrap().unwrap().stdout;
    (read(&netns), String::from_utf8_lossy(&listed).into_owned())
}

fn compared(before: &Ruleset, after: &Ruleset) -> Comparison {
    pipeline::compared(before, after, &Known::default()).unwrap()
}

/// The attributes with the one that a path leads to changed.
fn patch(attrs: &[u8], path: &[u16], change: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut out = AttrWriter::new();
    for attr in Attrs(attrs).flatten() {
        match path {
            [kind] if *kind == attr.kind => out.put(attr.kind, &change(attr.payload)),
            [kind, rest @ ..] if *kind == attr.kind => out.put(attr.kind, &patch(attr.payload, rest, change)),
            _ => out.put(attr.kind, attr.payload),
        };
    }
    out.into_bytes()
}

/// One rule was changed, nft prints both alike, and the report says so.
fn is_one_silent_change(found: &Comparison) {
    let [one] = &found.differences[..] else { panic!("{found:?}") };
    assert_eq!((one.change.kind, one.change.object), (ChangeKind::Modified, ObjectKind::Rule));
    assert_eq!(one.change.before, one.change.after);
    assert!(one.change.note.as_ref().unwrap().contains("no tool prints the difference"));
}

/// A rule with the value of its first comparison changed.
fn with_first_value(attrs: &[u8], change: &dyn Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    patch(attrs, &[rule::EXPRESSIONS], &|list| {
        let mut out = AttrWriter::new();
        let mut done = false;
        for one in Attrs(list).flatten() {
            let is_it = !done && one.nested().find(expr::NAME).unwrap().string() == b"cmp";
            done |= is_it;
            let path = [expr::DATA, expr::CMP_DATA, expr::DATA_VALUE];
            out.put(one.kind, &if is_it { patch(one.payload, &path, change) } else { one.payload.to_vec() });
        }
        out.into_bytes()
    })
}

fn only_set(table: &mut Table) -> (&Name, &mut Set) {
    table.sets.iter_mut().chain(&mut table.anonymous.sets).next().unwrap()
}

#[test]
fn an_element_whose_padding_is_not_zero_never_matches_and_is_no_re_encoding() {
    let ruleset = load("table ip t {\nchain c {\nip saddr . tcp dport { 10.0.0.2 . 80 } accept\n}\n}\n");
    let listed = |change: fn(&mut Table)| changed(&ruleset, change);
    let (_, before) = listed(|_| {});
    let (other, after) = listed(|table| {
        let (_, set) = only_set(table);
        let element = set.elements.values_mut().next().unwrap();
        element.attrs[0] =
            patch(&element.attrs[0], &[elem::KEY, expr::DATA_VALUE], &|key| [&key[..7], b"\x01"].concat());
    });
    assert_eq!(before, after, "nft prints the padding now");
    is_one_silent_change(&compared(&ruleset, &other));
}

#[test]
fn a_name_with_more_behind_its_first_nul_is_another_name() {
    let texts = [
        ("iifname { \"eth0\" } accept", 15),
        ("osf name \"Linux\" accept", 12),
        ("ct helper \"ftp\" accept", 12),
    ];
    for (text, value) in texts {
        let ruleset = load(&format!("table ip t {{\nchain c {{\n{text}\n}}\n}}\n"));
        let (_, before) = changed(&ruleset, |_| {});
        let behind = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes[value] = b'x';
            bytes
        };
        let (other, after) = changed(&ruleset, |table| {
            if let Some(set) = table.anonymous.sets.values_mut().next() {
                let element = set.elements.values_mut().next().unwrap();
                element.attrs[0] = patch(&element.attrs[0], &[elem::KEY, expr::DATA_VALUE], &behind);
            } else {
                let found = &mut table.chains.values_mut().next().unwrap().rules[0];
                found.attrs = with_first_value(&found.attrs, &behind).into();
            }
        });
        assert_eq!(before, after, "nft prints all of it now");
        is_one_silent_change(&compared(&ruleset, &other));
    }
}

#[test]
fn a_single_value_is_the_same_element_whether_its_end_is_given_or_not() {
    let set = "type ipv4_addr . inet_service; flags interval; elements = { 10.0.0.1 . 22 };";
    let ruleset = load(&format!("table ip t {{\nset s {{\n{set}\n}}\n}}\n"));
    let (other, _) = changed(&ruleset, |table| {
        let (_, set) = only_set(table);
        let element = set.elements.values_mut().next().unwrap();
        let mut attrs = AttrWriter::new();
        for attr in Attrs(&element.attrs[0]).flatten().filter(|attr| attr.kind != elem::KEY_END) {
            attrs.put(attr.kind, attr.payload);
        }
        assert_ne!(attrs.as_bytes().len(), element.attrs[0].len(), "nft gives no end now");
        element.attrs[0] = attrs.into_bytes();
    });
    let found = compared(&ruleset, &other);
    assert!(found.differences.is_empty(), "{found:?}");
}

#[test]
fn the_element_that_catches_all_is_the_same_with_and_without_a_boundary_at_zero() {
    let set = "type ipv4_addr; flags interval; elements = { *, 10.0.0.0/8 };";
    let ruleset = load(&format!("table ip t {{\nset s {{\n{set}\n}}\n}}\n"));
    let (other, _) = changed(&ruleset, |table| {
        let (_, set) = only_set(table);
        // All but the boundary: a start and an end, and the element without a key.
        let all = set.elements.values_mut().flat_map(|element| &mut element.attrs);
        let is_zero = |attrs: &&mut Vec<u8>| {
            let key = Attrs(attrs).find(elem::KEY).and_then(|key| key.nested().find(expr::DATA_VALUE));
            key.is_some_and(|key| key.payload == [0; 4])
        };
        assert_eq!(all.filter(is_zero).count(), 0, "the boundary belongs to an element");
    });
    assert!(compared(&ruleset, &other).differences.is_empty());
    assert_eq!(ruleset.tables.values().next().unwrap().sets.values().next().unwrap().elements.len(), 2);
}

#[test]
fn a_test_that_nft_leaves_out_of_a_rule_is_compared() {
    for text in ["icmp type echo-request accept", "meta mark 1 reject with tcp reset"] {
        let ruleset = load(&format!("table inet t {{\nchain c {{\n{text}\n}}\n}}\n"));
        let (_, before) = changed(&ruleset, |_| {});
        let (other, after) = changed(&ruleset, |table| {
            let found = &mut table.chains.values_mut().next().unwrap().rules[0];
            found.attrs = with_first_value(&found.attrs, &|value| match value {
                [number] => vec![number ^ 1],
                other => other.to_vec(),
            })
            .into();
        });
        assert_ne!(ruleset.digest(), other.digest(), "{text}: nothing was changed");
        if before == after {
            is_one_silent_change(&compared(&ruleset, &other));
        } else {
            assert_eq!(compared(&ruleset, &other).differences.len(), 1, "{text}");
        }
    }
}
