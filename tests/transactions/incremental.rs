//! Random batches on a random ruleset: what they touched, read in part and put into the ruleset before, is the
//! ruleset after; and each touched thing has the digest of the full reading.
//!
//! `GENERATED_CASES` sets the number of cases; without it, 32.

use crate::batches::{Writer, batch, lab};
use crate::support::{Lab, handles, name};
use fwdrift::collect;
use fwdrift::model::{Capture, Digest, Name, Ruleset, TableKey, Transaction};
use fwdrift::normalise::normalise;
use fwdrift::normalise::scope::{Scope, restrict};
use fwdrift::normalise::scoped::{Writers, put};
use fwdrift::normalise::touched::{Act, Thing, Touched, Touches};
use proptest::prelude::*;
use std::cell::Cell;
use std::collections::BTreeMap;

/// The ruleset before, and all that is followed.
struct Followed {
    capture: Capture,
    ruleset: Ruleset,
    writers: Writers,
    touches: Touches,
    scope: Scope,
}

impl Followed {
    fn new(lab: &Lab) -> Self {
        let capture = lab.capture();
        let ruleset = normalise(&capture).unwrap();
        let mut touches = Touches::default();
        touches.know(&capture.messages, &BTreeMap::new());
        let writers = Writers::of(&ruleset);
        Self { capture, ruleset, writers, touches, scope: Scope::default() }
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
