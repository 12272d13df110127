//! One rule: its expressions in order, until one ends it.

use super::machine::Registers;
use super::sets::Sets;
use super::{Common, xt};
use crate::model::{self, Digest, Family, Name, Ruleset, Table, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::expr;
use crate::normalise::{expressions, references};
use crate::traffic::program::{ChainId, Rule, Step};
use crate::traffic::space::{HIDDEN, HIDDEN_LENGTH, Space};
use crate::traffic::test::Test;
use std::sync::Arc;

/// What the rules of one chain are lowered with.
pub(super) struct Lowering<'a> {
    pub(super) space: &'a mut Space,
    pub(super) ruleset: &'a Ruleset,
    pub(super) key: &'a TableKey,
    pub(super) table: &'a Table,
    pub(super) chain: &'a Name,
    pub(super) common: &'a mut Common,
    pub(super) sets: &'a mut Sets,
}

/// When a rule of one ruleset means the same in the other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Always: its bytes say all.
    Always,
    /// If the sets that it may ask are the same.
    WithSameSets,
}

/// Whether the rest of a rule is still to be done.
pub(super) enum Flow {
    /// The next expression.
    On,
    /// The rule has decided, can never match from here on, or the rest has been done.
    End,
}

/// A rule while it is lowered.
pub(super) struct Making<'e> {
    pub(super) expressions: &'e [Attrs<'e>],
    /// The place of the present expression.
    pub(super) at: usize,
    pub(super) registers: Registers,
    pub(super) steps: Vec<Step>,
}

impl<'e> Making<'e> {
    /// What follows the present expression, on a branch of its own that begins with `steps`.
    pub(super) fn behind(&self, steps: Vec<Step>) -> Self {
        let Self { expressions, at, .. } = *self;
        Self { expressions, at: at + 1, registers: self.registers.clone(), steps }
    }

    /// Packets that fail go on with the next rule.
    pub(super) fn test(&mut self, test: Test) -> Flow {
        if test.is_always() {
            return Flow::On;
        }
        let ends = test.is_never();
        match (self.steps.last_mut(), test) {
            (Some(Step::Test(known @ Test::Cube(_))), Test::Cube(more)) => {
                let Test::Cube(mut literals) = std::mem::replace(known, Test::ALWAYS) else {
                    return Flow::On;
                };
                literals.extend(more);
                *known = Test::cube(literals);
                if known.is_never() {
                    return Flow::End;
                }
            }
            (_, test) => self.steps.push(Step::Test(test)),
        }
        if ends { Flow::End } else { Flow::On }
    }
}

impl Lowering<'_> {
    /// A rule, taken from the other ruleset if that has the same and it means the same.
    pub(super) fn shared(&mut self, chain: ChainId, rule: &model::Rule, same_sets: bool) -> Arc<Rule> {
        let Common { outside, never, .. } = &*self.common;
        if outside.as_ref().is_some_and(|outside| outside.excludes(self.key.family, &rule.attrs)) {
            return Arc::clone(never);
        }
        let at = (chain, rule.digest);
        if let Some((known, sharing)) = self.common.rules.get(&at)
            && (*sharing == Sharing::Always || same_sets)
        {
            return Arc::clone(known);
        }
        let used = references(&rule.attrs);
        let is_anonymous = |name: &Name| {
            self.table.anonymous.sets.contains_key(name) || self.table.anonymous.chains.contains_key(name)
        };
        let lowered = Arc::new(self.rule(&rule.attrs));
        if used.iter().any(is_anonymous) {
            return lowered;
        }
        let uses_sets =
            used.iter().any(|name| self.table.sets.contains_key(name)) || xt::uses_set(&rule.attrs);
        let sharing = if uses_sets { Sharing::WithSameSets } else { Sharing::Always };
        self.common.rules.insert(at, (Arc::clone(&lowered), sharing));
        lowered
    }

    pub(super) fn rule(&mut self, attrs: &[u8]) -> Rule {
        let expressions: Vec<Attrs<'_>> = expressions(attrs).collect();
        let making =
            Making { expressions: &expressions, at: 0, registers: Registers::new(), steps: Vec::new() };
        Rule { steps: self.rest(making) }
    }

    /// The steps from the present expression on.
    pub(super) fn rest(&mut self, mut making: Making<'_>) -> Vec<Step> {
        while let Some(expression) = making.expressions.get(making.at).copied() {
            match self.expression(expression, &mut making) {
                Some(Flow::On) => making.at += 1,
                Some(Flow::End) => break,
                // Not of the form that this version knows.
                None => {
                    let text = self.unknown(expression);
                    if let Flow::End = making.test(Test::free(self.space, &text)) {
                        break;
                    }
                    making.at += 1;
                }
            }
        }
        making.steps
    }

    pub(super) fn expression(&mut self, expression: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let name = expression.find(expr::NAME)?.string();
        let data = expression.find(expr::DATA).map_or(Attrs(&[]), |data| data.nested());
        match name {
            b"payload" => self.payload(data, making),
            b"meta" => self.meta(data, making),
            b"ct" => self.ct(data, making),
            b"fib" => self.fib(data, making),
            b"exthdr" => self.exthdr(data, making),
            b"rt" | b"socket" | b"osf" | b"hash" | b"numgen" | b"tunnel" | b"xfrm" => {
                self.free_load(name, data, making)
            }
            b"immediate" => self.immediate(data, making),
            b"cmp" => self.cmp(data, making),
            b"range" => self.range(data, making),
            b"bitwise" => self.bitwise(data, making),
            b"byteorder" => self.byteorder(data, making),
            b"lookup" => self.lookup(data, making),
            b"dynset" => self.dynset(data, making),
            b"objref" => self.objref(data, making),
            b"limit" => self.limit(data, making),
            b"quota" => self.quota(data, making),
            b"connlimit" => self.connlimit(data, making),
            b"nat" => self.nat(data, making),
            b"masq" => self.masquerade(data, making),
            b"redir" => self.redirect(data, making),
            b"tproxy" => self.tproxy(data, making),
            b"notrack" => self.notrack(making),
            b"reject" => Some(self.reject(making)),
            b"queue" => self.queue(data, making),
            b"fwd" => Some(self.taken(making)),
            b"synproxy" => Some(self.synproxy(making)),
            b"counter" | b"log" | b"last" | b"dup" | b"flow_offload" => Some(Flow::On),
            b"match" => self.xt_match(data, making),
            b"target" => self.xt_target(data, making),
            _ => None,
        }
    }

    /// A text for an expression that has no model.
    fn unknown(&self, expression: Attrs<'_>) -> String {
        let name = expression.find(expr::NAME).map(|name| name.string()).unwrap_or_default();
        let name = crate::model::text_from_kernel(name);
        let digest = Digest::of([expression.0]).to_string();
        format!("{name} #{}", &digest[..8])
    }

    /// Where a rule keeps state of its own (a limit's tokens): its chain, and what it asks before.
    pub(super) fn place(&self, making: &Making<'_>) -> String {
        let before = making.expressions[..making.at].iter().map(|expression| expression.0);
        let digest = Digest::of(before).to_string();
        format!("in chain {}{HIDDEN}{}", self.chain, &digest[..HIDDEN_LENGTH])
    }

    fn xt_match(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let place = self.place(making);
        let asked = asked(self.ruleset, self.key.family, data, &place)?;
        Some(making.test(xt::matched(self.space, &asked)))
    }

    fn xt_target(&mut self, data: Attrs<'_>, making: &mut Making<'_>) -> Option<Flow> {
        let place = self.place(making);
        let asked = asked(self.ruleset, self.key.family, data, &place)?;
        making.steps.extend(xt::target(self.space, &asked));
        match making.steps.last() {
            Some(Step::Verdict(_)) => Some(Flow::End),
            _ => Some(Flow::On),
        }
    }
}

fn asked<'a>(ruleset: &'a Ruleset, family: Family, data: Attrs<'a>, place: &'a str) -> Option<xt::Asked<'a>> {
    Some(xt::Asked {
        name: data.find(expr::XT_NAME)?.string(),
        revision: data.find(expr::XT_REV)?.be32()?,
        info: data.find(expr::XT_INFO).map_or(&[], |info| info.payload),
        data,
        family,
        ruleset,
        place,
    })
}
