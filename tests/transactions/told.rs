//! What a transaction changed, in words.

use crate::batches::{Writer, batch, lab};
use crate::support::Lab;
use fwdrift::compare::Known;
use fwdrift::decode::{Told, tell};
use fwdrift::model::{Change, ChangeKind, ObjectKind, Ruleset, Transaction};
use fwdrift::normalise::advance::advance;
use fwdrift::normalise::deeds::deeds;
use fwdrift::normalise::normalise;
use fwdrift::normalise::touched::Touches;
use fwdrift::pipeline;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn told(transaction: &Transaction, context: &Ruleset) -> Told {
    tell(transaction, &[], &BTreeMap::new(), context).unwrap()
}

/// Kind, object, before and after of each change.
fn short(changes: &[Change]) -> Vec<(ChangeKind, ObjectKind, Option<&str>, Option<&str>)> {
    let one = |change: &'_ Change| (change.kind, change.object);
    changes
        .iter()
        .map(|change| {
            let (kind, object) = one(change);
            (kind, object, change.before.as_deref(), change.after.as_deref())
        })
        .collect()
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
