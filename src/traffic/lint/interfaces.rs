//! Interfaces that rules name.

use crate::model::text_from_kernel;
use crate::traffic::program::Step;
use crate::traffic::space::NamePattern;
use crate::traffic::test::{Slot, Test};
use std::collections::BTreeSet;

/// The interfaces that steps name in full and that do not exist. A pattern (`veth*`) is for what comes.
pub fn missing(steps: &[Step], existing: &BTreeSet<Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let mut named = BTreeSet::new();
    in_steps(steps, &mut named);
    named.retain(|name| !name.is_empty() && !existing.contains(name));
    named
}

/// Names for people, some of them if there are many.
pub fn listed(names: &BTreeSet<Vec<u8>>) -> String {
    let texts: Vec<String> = names.iter().take(super::NAMED).map(|name| text_from_kernel(name)).collect();
    match names.len() - texts.len() {
        0 => texts.join(", "),
        more => format!("{} and {more} more", texts.join(", ")),
    }
}

fn in_steps(steps: &[Step], named: &mut BTreeSet<Vec<u8>>) {
    for step in steps {
        match step {
            Step::Test(test) => in_test(test, named),
            Step::Branch(alternatives) => {
                for (test, steps) in alternatives {
                    in_test(test, named);
                    in_steps(steps, named);
                }
            }
            Step::Set(_) | Step::Translate(_) | Step::Verdict(_) => {}
        }
    }
}

fn in_test(test: &Test, named: &mut BTreeSet<Vec<u8>>) {
    let mut add = |pattern: &NamePattern| {
        if !pattern.is_prefix {
            named.insert(pattern.name.clone());
        }
    };
    match test {
        Test::Interface(_, pattern) => add(pattern),
        Test::Member(_, elements) => {
            for slot in elements.iter().flatten() {
                match slot {
                    Slot::Name(pattern) => add(pattern),
                    Slot::Range(_) => {}
                }
            }
        }
        Test::Not(test) => in_test(test, named),
        Test::All(tests) | Test::Any(tests) => tests.iter().for_each(|test| in_test(test, named)),
        Test::Cube(_) | Test::In(..) | Test::Hook(_) => {}
    }
}
