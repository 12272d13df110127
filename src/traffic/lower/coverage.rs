//! How much of a ruleset has a model: each expression of each rule is lowered, and counted as free if that made a free
//! variable. Pure.

use super::machine::Registers;
use super::rule::{Flow, Lowering, Making};
use super::{Common, meets, sets};
use crate::model::{Backend, Family, Ruleset, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::expr;
use crate::normalise::expressions;
use crate::traffic::space::{Kind, Nature, Space};
use std::collections::BTreeMap;

/// Uses of one kind of expression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// What they ask or do is known exactly.
    pub modelled: usize,
    /// A free variable stands for at least a part of them.
    pub free: usize,
}

/// Of one or more rulesets.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// By name: nf_tables' own, or `xt match NAME`, `xt target NAME`.
    pub counts: BTreeMap<String, Count>,
    /// How many rules were looked at.
    pub rules: usize,
}

impl Coverage {
    /// Both.
    pub fn add(&mut self, other: Self) {
        self.rules += other.rules;
        for (name, count) in other.counts {
            let sum = self.counts.entry(name).or_default();
            sum.modelled += count.modelled;
            sum.free += count.free;
        }
    }
}

/// Counts the expressions of all rules of nf_tables.
pub fn coverage(ruleset: &Ruleset) -> Coverage {
    let mut coverage = Coverage::default();
    for (key, table) in ruleset.tables.iter().filter(|(key, _)| key.backend == Backend::NfTables) {
        let Some(kind) = kind_of(key) else { continue };
        for (name, chain) in table.chains.iter().chain(&table.anonymous.chains) {
            for rule in &chain.rules {
                coverage.rules += 1;
                let (mut space, mut common) = (Space::new(kind), Common::default());
                let mut sets = sets::Sets::default();
                let (space, common, sets) = (&mut space, &mut common, &mut sets);
                let mut lowering = Lowering { space, ruleset, key, table, chain: name, common, sets };
                lowering.count(&rule.attrs, &mut coverage);
            }
        }
    }
    coverage
}

/// A kind of packet that the rules of a table meet.
fn kind_of(key: &TableKey) -> Option<Kind> {
    let kind = if key.family == Family::Ip6 { Kind::Ip6 } else { Kind::Ip4 };
    let kind = if key.family == Family::Arp { Kind::Arp } else { kind };
    meets(kind, key.family).then_some(kind)
}

impl Lowering<'_> {
    fn count(&mut self, attrs: &[u8], coverage: &mut Coverage) {
        let all: Vec<Attrs<'_>> = expressions(attrs).collect();
        let mut registers = Registers::new();
        for (at, expression) in all.iter().enumerate() {
            let before = self.free_words();
            // Of a map, the rest of the rule would be done for each value.
            let mut making = Making { expressions: &all[..=at], at, registers, steps: Vec::new() };
            let done = self.expression(*expression, &mut making);
            registers = making.registers;
            let count = coverage.counts.entry(name_of(*expression)).or_default();
            match done {
                Some(Flow::On | Flow::End) if self.free_words() == before => count.modelled += 1,
                Some(Flow::On | Flow::End) | None => count.free += 1,
            }
        }
    }

    fn free_words(&self) -> usize {
        self.space.words().iter().filter(|word| word.nature == Nature::Free).count()
    }
}

fn name_of(expression: Attrs<'_>) -> String {
    let text = |name: &[u8]| crate::model::text_from_kernel(name);
    let name = expression.find(expr::NAME).map(|name| text(name.string())).unwrap_or_default();
    let extension = expression.find(expr::DATA).and_then(|data| data.nested().find(expr::XT_NAME));
    match (name.as_str(), extension) {
        ("match" | "target", Some(extension)) => format!("xt {name} {}", text(extension.string())),
        _ => name,
    }
}
