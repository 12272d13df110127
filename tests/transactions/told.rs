//! What a transaction changed, in words.

use crate::batches::{Writer, batch, lab};
use crate::support::Lab;
use fwdrift::compare::Known;
use fwdrift::decode::{Told, tell};
use fwdrift::model::{Change, ChangeKind, ObjectKind, Ruleset, Source, Transaction};
use fwdrift::normalise::advance::advance;
use fwdrift::normalise::deeds::deeds;
use fwdrift::normalise::normalise;
use fwdrift::normalise::touched::Touches;
use fwdrift::pipeline;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What follows a namespace from transaction to transaction.
struct Followed {
    lab: Lab,
    context: Ruleset,
    touches: Touches,
}

impl Followed {
    fn new(script: &str) -> Self {
        let mut lab = Lab::new();
        lab.nft(script);
        lab.hear();
        let capture = lab.capture();
        let mut touches = Touches::default();
        touches.know(&capture.messages, &BTreeMap::new());
        Self { lab, context: normalise(&capture).unwrap(), touches }
    }

    /// Tells of the transactions that were made since.
    fn tell(&mut self) -> Vec<Told> {
        let heard = self.lab.hear();
        heard.iter().map(|transaction| self.tell_one(transaction)).collect()
    }

    fn tell_one(&mut self, transaction: &Transaction) -> Told {
        let renamed = self.touches.touched(transaction, &BTreeMap::new()).renamed;
        let told = tell(transaction, &renamed, &BTreeMap::new(), &self.context).unwrap();
        let deeds = deeds(&transaction.messages, &BTreeMap::new());
        advance(&mut self.context, &deeds.deeds, &renamed);
        told
    }

    /// Kind, object, text before and text after of what a script changes.
    fn check(&mut self, script: &str, expected: &[(ChangeKind, ObjectKind, Option<&str>, Option<&str>)]) {
        self.lab.nft(script);
        let told = self.tell();
        let [told] = &told[..] else { panic!("{told:?}") };
        assert_eq!((short(&told.changes), &told.note), (expected.to_vec(), &None), "{script}");
    }
}

/// Kind, object, before and after of each change.
fn short(changes: &[Change]) -> Vec<(ChangeKind, ObjectKind, Option<&str>, Option<&str>)> {
    changes.iter().map(|c| (c.kind, c.object, c.before.as_deref(), c.after.as_deref())).collect()
}

/// The texts that are gone and the texts that are new, each with what it is the text of.
fn texts(changes: &[Change]) -> Vec<String> {
    let side = |change: &Change, text: &Option<String>, sign| {
        let Change { object, family, table, chain, name, .. } = change;
        // Where among the others a rule was put is not announced: a whole chain's are in the order of their coming.
        let mut lines: Vec<&str> = text.as_ref()?.lines().collect();
        lines.sort_unstable();
        let text = lines.join("|");
        Some(format!("{sign} {object:?} {family} {table} {chain:?} {name:?} {text}"))
    };
    let stay = changes.iter().filter(|change| change.kind != ChangeKind::Moved);
    let mut all: Vec<String> = stay
        .flat_map(|change| [side(change, &change.before, '-'), side(change, &change.after, '+')])
        .flatten()
        .collect();
    all.sort();
    all
}

fn config() -> ProptestConfig {
    let cases = std::env::var("GENERATED_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12);
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 100, ..ProptestConfig::default() }
}

#[test]
fn a_transaction_is_told_as_the_two_readings_around_it_are() {
    proptest!(config(), |(batches in prop::collection::vec(batch(), 3..8))| {
        let mut lab = lab();
        let mut before = lab.capture();
        let (mut writer, mut touches) = (Writer::default(), Touches::default());
        touches.know(&before.messages, &BTreeMap::new());
        for ops in batches {
            writer.run(&lab, &before, &ops);
            for transaction in lab.hear() {
                let touched = touches.touched(&transaction, &BTreeMap::new());
                let (old, capture) = (normalise(&before).unwrap(), lab.capture());
                let new = normalise(&capture).unwrap();
                let told = tell(&transaction, &touched.renamed, &BTreeMap::new(), &old).unwrap();
                prop_assert_eq!(&told.note, &None);
                let expected: Vec<Change> =
                    pipeline::compared(&old, &new, &Known::default()).unwrap().differences
                    .into_iter().map(|difference| difference.change).collect();
                if touched.renamed.is_empty() {
                    prop_assert_eq!(texts(&told.changes), texts(&expected));
                } else {
                    // The rules that jump to such a chain are not announced, and the order of its own is not known.
                    for renamed in &touched.renamed {
                        let told = told.changes.iter().filter(|change| change.object == ObjectKind::Chain);
                        let names: Vec<_> = told.filter_map(|change| change.chain.clone()).collect();
                        let is_told = names.contains(&renamed.old.to_string());
                        prop_assert!(is_told || !old.tables[&renamed.table].chains.contains_key(&renamed.old));
                    }
                }
                for change in &told.changes {
                    let twin = expected.iter().find(|other| other.id == change.id);
                    if let Some(twin) = twin {
                        let blank = Change { position: None, ..twin.clone() };
                        prop_assert_eq!(&blank, change);
                    }
                }
                before = capture;
            }
        }
    });
}

use ChangeKind::{Added, Modified, Removed};
use ObjectKind::{Chain, Counter, Element, Rule, Set, Table};

#[test]
fn what_is_undone_a_moment_later_is_told_in_full() {
    let mut followed = Followed::new("table inet t { chain c { type filter hook input priority 0; }; }");
    followed.lab.nft("insert rule inet t c tcp dport { 22, 80 } ct state new accept comment \"let in\"");
    let rule = "tcp dport { 22, 80 } ct state new accept comment \"let in\"";
    let handles = crate::support::handles(&followed.lab.capture());
    let handle = handles.values().next().unwrap()[0];
    followed.lab.nft(&format!("delete rule inet t c handle {handle}"));
    let told = followed.tell();
    assert_eq!(short(&told[0].changes), [(Added, Rule, None, Some(rule))]);
    assert_eq!(short(&told[1].changes), [(Removed, Rule, Some(rule), None)]);
    assert_eq!((&told[0].note, &told[1].note), (&None, &None));
    let change = &told[0].changes[0];
    assert_eq!(
        (change.family.as_str(), change.table.as_str(), change.chain.as_deref()),
        ("inet", "t", Some("c"))
    );
    assert_eq!((change.author.name.as_str(), change.time), ("unknown", None));
}

#[test]
fn each_kind_of_change_is_told_in_its_own_words() {
    let mut followed = Followed::new(
        "table ip t {
            chain r { accept\n}
            chain c { type filter hook input priority 0; tcp dport 22 accept\n}
            set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 }; }
            map m { type inet_service : verdict; elements = { 22 : accept }; }
        }",
    );
    let handle = |followed: &Followed, chain: &str| {
        let all = crate::support::handles(&followed.lab.capture());
        all.iter().find(|((_, name), _)| name.to_string() == chain).unwrap().1[0]
    };
    let replace = format!("replace rule ip t c handle {} tcp dport 22 drop", handle(&followed, "c"));
    let (was, is) = (Some("tcp dport 22 accept"), Some("tcp dport 22 drop"));
    followed.check(&replace, &[(Modified, Rule, was, is)]);
    let head = |policy| format!("type filter hook input priority filter; policy {policy};");
    let (accept, drop) = (head("accept"), head("drop"));
    followed.check("add chain ip t c { policy drop; }", &[(Modified, Chain, Some(&accept), Some(&drop))]);
    followed.check("add chain ip t c { policy drop; }", &[]);
    followed.check("flush chain ip t r; add rule ip t r accept", &[]);
    followed.check("add chain ip t x; add rule ip t x drop; delete chain ip t x", &[]);
    followed.check(
        "add element ip t s { 192.168.0.0/16 }; delete element ip t s { 10.0.0.0/8 }",
        &[(Removed, Element, Some("10.0.0.0/8"), None), (Added, Element, None, Some("192.168.0.0/16"))],
    );
    followed.check(
        "delete element ip t m { 22 : accept }; add element ip t m { 22 : jump r }",
        &[(Modified, Element, Some("22 : accept"), Some("22 : jump r"))],
    );
    followed.check(
        "add rule ip t c ip saddr @s tcp dport vmap @m",
        &[(Added, Rule, None, Some("ip saddr @s tcp dport vmap @m"))],
    );
    followed.check("add counter ip t n", &[(Added, Counter, None, Some("counter n {\n}"))]);
    followed.check("add rule ip t r counter name n", &[(Added, Rule, None, Some("counter name \"n\""))]);
    let chain = "chain n {\n\ttcp dport { 1, 2 } jump {\n\t\tdrop\n\t}\n}";
    followed.check(
        "add chain ip t n; add rule ip t n tcp dport { 1, 2 } jump { drop; }",
        &[(Added, Chain, None, Some(chain))],
    );
    let other = chain.replace("chain n", "chain o");
    followed.check(
        "rename chain ip t n o",
        &[(Removed, Chain, Some(chain), None), (Added, Chain, None, Some(&other))],
    );
    let set = "set p {\n\ttype inet_service\n\telements = { 5 }\n}";
    followed
        .check("add set ip t p { type inet_service; elements = { 5 }; }", &[(Added, Set, None, Some(set))]);
    followed.check("delete set ip t p", &[(Removed, Set, Some(set), None)]);
    followed
        .check("add table ip t { flags dormant; }", &[(Modified, Table, Some(""), Some("flags dormant"))]);
    followed.lab.nft("delete table ip t; add table ip t; add chain ip t r; add rule ip t r drop");
    let told = followed.tell();
    let kinds: Vec<_> = told[0].changes.iter().map(|change| (change.kind, change.object)).collect();
    assert!(kinds.contains(&(Removed, Set)) && kinds.contains(&(Removed, Chain)), "{told:#?}");
    // A rule of a chain of the same name in a table of the same name is that rule, changed.
    assert!(texts(&told[0].changes).iter().any(|text| text.starts_with("+ Rule ip t Some(\"r\") None drop")));
}

#[test]
fn a_device_that_is_added_to_a_chain_stands_beside_the_others() {
    let mut followed = Followed::new("table netdev t { }");
    followed.lab.run("ip", &["link", "add", "a0", "type", "veth", "peer", "name", "a1"]);
    followed.lab.nft("add chain netdev t c { type filter hook ingress device a0 priority 0; }");
    followed.tell();
    followed.lab.nft("add chain netdev t c { type filter hook ingress devices = { a1 } priority 0; }");
    let told = followed.tell();
    let expected = normalise(&followed.lab.capture()).unwrap();
    assert_eq!(followed.context.digest(), expected.digest());
    let change = &told[0].changes[0];
    assert_eq!((change.kind, change.object), (Modified, Chain));
    assert!(
        change.before.as_ref().unwrap().contains("a0") && !change.before.as_ref().unwrap().contains("a1")
    );
    assert!(change.after.as_ref().unwrap().contains("{ a0, a1 }"), "{change:?}");
    // Of the policy alone, no device is announced.
    followed.lab.nft("add chain netdev t c { policy drop; }");
    let told = followed.tell();
    assert!(told[0].changes[0].after.as_ref().unwrap().contains("{ a0, a1 } priority filter; policy drop"));
}

#[test]
fn what_follows_the_announcements_alone_comes_to_the_same_sets_and_definitions() {
    let mut followed = Followed::new("table ip t { chain c { }; }");
    for script in [
        "add set ip t s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 11.0.0.0/24 }; }",
        "delete element ip t s { 10.0.0.0/8 }; add element ip t s { 12.0.0.0-12.0.0.9 }",
        "add rule ip t c tcp dport { 1, 2 } accept; add rule ip t c drop",
        "add quota ip t q { over 5 mbytes; }; add counter ip t n",
        "add quota ip t q { over 6 mbytes; }; delete counter ip t n",
        "rename chain ip t c d; add chain ip t e",
        "add rule ip t e jump d",
        "flush chain ip t d; add rule ip t d tcp dport { 3, 4 } accept",
    ] {
        followed.lab.nft(script);
        followed.tell();
        let expected = normalise(&followed.lab.capture()).unwrap();
        assert_eq!(followed.context.digest(), expected.digest(), "{script}");
        assert_eq!(followed.context, expected, "{script}");
    }
}

#[test]
fn of_a_large_transaction_some_is_shown_and_the_rest_is_counted() {
    let mut followed = Followed::new("table ip t { chain c { }; }");
    let rules: String =
        (0..500).map(|port| format!("add rule ip t c tcp dport {} accept\n", 1 + port)).collect();
    followed.lab.nft(&rules);
    let told = &followed.tell()[0];
    assert_eq!(told.changes.len(), 200);
    assert_eq!(told.note.as_deref(), Some("300 more things were changed and are not shown"));
    let texts: Vec<_> = told.changes.iter().map(|change| change.after.clone().unwrap()).collect();
    assert_eq!(texts[199], "tcp dport 200 accept");
    followed.lab.nft("delete table ip t");
    let told = &followed.tell()[0];
    assert_eq!(told.changes.len(), 1);
    assert!(told.note.is_some() && told.changes[0].before.as_ref().unwrap().contains("tcp dport 190 accept"));
}

#[test]
fn what_nobody_knows_is_not_made_up() {
    let mut followed =
        Followed::new("table ip t { chain c { tcp dport { 1, 2 } accept\n}; set s { type mark; }; }");
    // Nothing is known of what was there before.
    let mut lab = followed.lab;
    let handle = crate::support::handles(&lab.capture()).values().next().unwrap()[0];
    lab.nft(&format!("delete rule ip t c handle {handle}; delete set ip t s"));
    let transaction = lab.hear().remove(0);
    let told = tell(&transaction, &[], &BTreeMap::new(), &Ruleset::default()).unwrap();
    assert_eq!(told.note.as_deref(), Some("what some of the removed things were is not known"));
    let [change] = &told.changes[..] else { panic!("{told:?}") };
    assert_eq!((change.kind, change.object), (Removed, Rule));
    assert!(change.before.as_ref().unwrap().starts_with("(no tool could show this rule"), "{change:?}");
    // With what is known, it is told.
    followed.lab = lab;
    let told = followed.tell_one(&transaction);
    assert_eq!(told.note, None);
    assert!(told.changes.iter().any(|change| change.before.as_deref() == Some("tcp dport { 1, 2 } accept")));
    assert!(told.changes.iter().any(|change| (change.kind, change.object) == (Removed, Set)));
}

#[test]
fn rules_of_iptables_are_told_in_its_words() {
    let mut followed = Followed::new("");
    let add = |followed: &Followed, arguments: &[&str]| followed.lab.run("iptables-nft", arguments);
    add(&followed, &["-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "22,80", "-j", "ACCEPT"]);
    followed.tell();
    add(&followed, &["-A", "INPUT", "-p", "tcp", "-m", "multiport", "--dports", "23,81", "-j", "DROP"]);
    let told = followed.tell();
    let change = &told[0].changes[0];
    assert_eq!(change.source, Source::IptablesNft);
    assert_eq!(change.after.as_deref(), Some("-A INPUT -p tcp -m multiport --dports 23,81 -j DROP"));
}
