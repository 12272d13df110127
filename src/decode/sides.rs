//! The two sides of one transaction: what it removed, and what it put there, each as a small ruleset. Pure.
//!
//! What the rules refer to comes from a context, the ruleset before as far as it is known, and is the same on both
//! sides.

use super::net::{Net, head};
use crate::model::{Anonymous, Chain, Name, Object, Rule, Ruleset, Set, Table, TableKey};
use crate::netlink::Attrs;
use crate::netlink::nft::{chain, elem, expr, set};
use crate::normalise::deeds::Deed;
use crate::normalise::scoped::Writers;
use crate::normalise::touched::Renamed;
use crate::normalise::{expressions, pair_elements, references, verdict_chains};
use std::collections::{BTreeMap, BTreeSet};

/// What a transaction changed, ready to be compared.
#[derive(Debug, Default)]
pub(super) struct Sides {
    pub before: Ruleset,
    pub after: Ruleset,
    /// How many things were left out, because there were too many.
    pub left_out: usize,
    /// How many definitions of removed things are not known.
    pub unknown: usize,
}

/// Puts together what the deeds amount to, of at most `limit` things.
pub(super) fn sides(deeds: &[Deed], renamed: &[Renamed], context: &Ruleset, limit: usize) -> Sides {
    let mut tables: BTreeMap<&TableKey, Net<'_>> = BTreeMap::new();
    for deed in deeds {
        let net = tables
            .entry(&deed.table)
            .or_insert_with(|| Net::new(context.tables.get(&deed.table), deed, renamed));
        net.add(deed);
    }
    for one in renamed {
        if let Some(net) = tables.get_mut(&one.table) {
            net.rename(one);
        }
    }
    let mut sides = Sides::default();
    (sides.before.interfaces, sides.after.interfaces) =
        (context.interfaces.clone(), context.interfaces.clone());
    let mut budget = Budget { left: limit, sides: &mut sides };
    for (key, net) in tables {
        net.finish(key, &mut budget);
    }
    for side in [&mut sides.before, &mut sides.after] {
        let writers = Writers::of(side);
        for (key, table) in &mut side.tables {
            for (name, set) in &mut table.sets {
                set.written_by_rules |= writers.writes(&(key.clone(), name.clone()));
            }
        }
    }
    sides
}

struct Budget<'s> {
    left: usize,
    sides: &'s mut Sides,
}

impl Budget<'_> {
    /// Whether one more thing can be shown.
    fn take(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or_default();
        self.sides.left_out += usize::from(left.is_none());
        left.is_some()
    }
}

impl Net<'_> {
    fn finish(mut self, key: &TableKey, budget: &mut Budget<'_>) {
        budget.sides.unknown += self.unknown;
        let known = self.context.map(|table| table.attrs.clone());
        let start = known.or_else(|| self.attrs.clone()).unwrap_or_default();
        let mut before = Table { attrs: start.clone(), ..Table::default() };
        let mut after = Table { attrs: self.attrs.take().unwrap_or(start), ..Table::default() };
        self.put_definitions(&mut before, &mut after, budget);
        self.put_rules(&mut before, &mut after, budget);
        self.put_elements(&mut before, &mut after, budget);
        self.put_context(&mut before, &mut after);
        if self.existed {
            budget.sides.before.tables.insert(key.clone(), before);
        }
        if self.exists {
            budget.sides.after.tables.insert(key.clone(), after);
        }
    }

    fn put_definitions(&self, before: &mut Table, after: &mut Table, budget: &mut Budget<'_>) {
        for (name, pair) in &self.chains {
            if budget.take() {
                let chain = |attrs: &Vec<u8>| Chain { attrs: attrs.clone(), rules: Vec::new() };
                before.chains.extend(pair.before.as_ref().map(|attrs| (name.clone(), chain(attrs))));
                after.chains.extend(pair.after.as_ref().map(|attrs| (name.clone(), chain(attrs))));
            }
        }
        for (name, pair) in &self.sets {
            if budget.take() {
                let mut old = pair.before.clone();
                let known = self.context.filter(|_| self.removed_sets.contains(name));
                let elements = known.and_then(|table| table.sets.get(name)).map(|set| &set.elements);
                if let (Some(old), Some(elements)) = (&mut old, elements) {
                    let shown = elements.iter().take_while(|_| budget.left > 0 && budget.take());
                    old.elements = shown.map(|(key, element)| (key.clone(), element.clone())).collect();
                    budget.sides.left_out += elements.len() - old.elements.len();
                }
                before.sets.extend(old.map(|set| (name.clone(), set)));
                after.sets.extend(pair.after.as_ref().map(|set| (name.clone(), set.clone())));
            }
        }
        for (id, pair) in &self.objects {
            if budget.take() {
                let object = |attrs: &Vec<u8>| Object { attrs: attrs.clone() };
                before.objects.extend(pair.before.as_ref().map(|attrs| (id.clone(), object(attrs))));
                after.objects.extend(pair.after.as_ref().map(|attrs| (id.clone(), object(attrs))));
            }
        }
        for (name, pair) in &self.flowtables {
            if budget.take() {
                let flowtable = |attrs: &Vec<u8>| Object { attrs: attrs.clone() };
                before.flowtables.extend(pair.before.as_ref().map(|attrs| (name.clone(), flowtable(attrs))));
                after.flowtables.extend(pair.after.as_ref().map(|attrs| (name.clone(), flowtable(attrs))));
            }
        }
    }

    fn put_rules(&mut self, before: &mut Table, after: &mut Table, budget: &mut Budget<'_>) {
        let removed = std::mem::take(&mut self.removed);
        let added = std::mem::take(&mut self.added).into_iter();
        let added: Vec<_> = added.filter_map(|done| Some((done.chain, done.rule?, done.own))).collect();
        for (chain, rule, own) in removed {
            if budget.take() {
                self.need_chain(&chain, before, after);
                // One that was announced as if it was new, and had rules.
                let announced = || self.chains.get(&chain).and_then(|pair| pair.after.clone());
                let fresh = || Chain { attrs: announced().unwrap_or_default(), rules: Vec::new() };
                before.chains.entry(chain.clone()).or_insert_with(fresh);
                put_rule(before, &chain, rule, own);
            }
        }
        for (chain, rule, own) in added {
            if budget.take() {
                self.need_chain(&chain, before, after);
                put_rule(after, &chain, rule, own);
            }
        }
    }

    /// Makes a chain that this transaction did not define; it is the same before and after.
    fn need_chain(&self, name: &Name, before: &mut Table, after: &mut Table) {
        if self.chains.contains_key(name) {
            return;
        }
        let known = self.context.and_then(|table| table.chains.get(name));
        for side in [before, after] {
            let attrs = || known.map(|chain| chain.attrs.clone()).unwrap_or_default();
            side.chains.entry(name.clone()).or_insert_with(|| Chain { attrs: attrs(), rules: Vec::new() });
        }
    }

    fn need_set(&self, name: &Name, before: &mut Table, after: &mut Table) {
        let known = self.context.and_then(|table| table.sets.get(name));
        if self.sets.contains_key(name) {
            return;
        }
        for side in [before, after] {
            side.sets.entry(name.clone()).or_insert_with(|| known.map(head).unwrap_or_default());
        }
    }

    fn put_elements(&mut self, before: &mut Table, after: &mut Table, budget: &mut Budget<'_>) {
        let sides = [std::mem::take(&mut self.removed_elements), std::mem::take(&mut self.added_elements)];
        for (number, elements) in sides.into_iter().enumerate() {
            for (name, elements) in elements {
                self.need_set(&name, before, after);
                let mut found = Set { flags: set::F_INTERVAL, elements, ..Set::default() };
                pair_elements(&mut found);
                let side = if number == 0 { &mut *before } else { &mut *after };
                for (key, element) in found.elements {
                    if budget.take()
                        && let Some(set) = side.sets.get_mut(&name)
                    {
                        set.elements.insert(key, element);
                    }
                }
            }
        }
    }

    /// What the rules and the elements of both sides refer to; and what says whether iptables made the table.
    fn put_context(&self, before: &mut Table, after: &mut Table) {
        let mut wanted = Wanted::default();
        wanted.of(before);
        wanted.of(after);
        if let Some(context) = self.context {
            let is_base = |chain: &Chain| Attrs(&chain.attrs).find(chain::HOOK).is_some();
            let base = context.chains.iter().filter(|(_, chain)| is_base(chain));
            wanted.chains.extend(base.map(|(name, _)| name.clone()));
            wanted.sets.extend(context.sets.keys().next().cloned());
            wanted.objects.extend(context.objects.keys().next().cloned());
            wanted.flowtables.extend(context.flowtables.keys().next().cloned());
        }
        for name in &wanted.sets {
            if self.context.is_some_and(|table| table.sets.contains_key(name)) {
                self.need_set(name, before, after);
            }
        }
        let known = |name: &Name| self.context.is_some_and(|table| table.chains.contains_key(name));
        for name in wanted.chains.iter().filter(|name| known(name)) {
            self.need_chain(name, before, after);
        }
        for name in &wanted.jumps {
            if [&*before, &*after].iter().all(|side| !side.anonymous.chains.contains_key(name)) {
                self.need_chain(name, before, after);
            }
        }
        let Some(context) = self.context else { return };
        for side in [before, after] {
            for id in wanted.objects.iter().filter(|id| !self.objects.contains_key(*id)) {
                side.objects.extend(context.objects.get(id).map(|object| (id.clone(), object.clone())));
            }
            for name in wanted.flowtables.iter().filter(|name| !self.flowtables.contains_key(*name)) {
                side.flowtables
                    .extend(context.flowtables.get(name).map(|found| (name.clone(), found.clone())));
            }
        }
    }
}

fn put_rule(side: &mut Table, chain: &Name, rule: Rule, own: Anonymous) {
    if let Some(chain) = side.chains.get_mut(chain) {
        chain.rules.push(rule);
        side.anonymous.sets.extend(own.sets);
        side.anonymous.chains.extend(own.chains);
    }
}

/// Names that rules and elements refer to.
#[derive(Default)]
struct Wanted {
    /// Of rules: of chains or of sets.
    chains: BTreeSet<Name>,
    sets: BTreeSet<Name>,
    /// Surely of chains.
    jumps: BTreeSet<Name>,
    objects: BTreeSet<(u32, Name)>,
    flowtables: BTreeSet<Name>,
}

impl Wanted {
    fn of(&mut self, table: &Table) {
        let chains = table.chains.values().chain(table.anonymous.chains.values());
        for rule in chains.flat_map(|chain| &chain.rules) {
            let names = references(&rule.attrs);
            self.sets.extend(names.iter().cloned());
            self.chains.extend(names);
            self.jumps.extend(crate::normalise::jumps(&rule.attrs));
            for expression in expressions(&rule.attrs) {
                let Some(data) = expression.find(expr::DATA).map(|data| data.nested()) else { continue };
                match expression.find(expr::NAME).map(|name| name.string()) {
                    Some(b"objref") => {
                        let kind = data.find(expr::OBJREF_IMM_TYPE).and_then(|attr| attr.be32());
                        let name = data.find(expr::OBJREF_IMM_NAME).map(|name| Name(name.string().to_vec()));
                        self.objects.extend(kind.zip(name));
                    }
                    Some(b"flow_offload") => {
                        let name = data.find(expr::FLOW_TABLE_NAME);
                        self.flowtables.extend(name.map(|name| Name(name.string().to_vec())));
                    }
                    _ => {}
                }
            }
        }
        for set in table.sets.values().chain(table.anonymous.sets.values()) {
            self.jumps.extend(verdict_chains(set));
            let kind = Attrs(&set.attrs).find(set::OBJ_TYPE).and_then(|attr| attr.be32());
            let parts = set.elements.values().flat_map(|element| &element.attrs);
            let objects = parts.filter_map(|attrs| Attrs(attrs).find(elem::OBJREF));
            self.objects.extend(objects.filter_map(|name| Some((kind?, Name(name.string().to_vec())))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Family, RawMessage};
    use crate::netlink::{AttrWriter, nft};
    use crate::normalise::deeds::deeds;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic_and_the_limit_holds(
            found in prop::collection::vec((0_u8..40, prop::collection::vec(0_u8..20, 0..120)), 0..40)
        ) {
            let message = |(kind, bytes): (u8, Vec<u8>)| {
                let mut attrs = AttrWriter::new();
                attrs.string(nft::table::NAME, b"t").raw(&bytes);
                RawMessage { kind, family: Family::Ip.number(), attrs: attrs.into_bytes() }
            };
            let messages: Vec<RawMessage> = found.into_iter().map(message).collect();
            let read = deeds(&messages, &BTreeMap::new());
            let sides = sides(&read.deeds, &[], &Ruleset::default(), 3);
            let rules: usize = sides.after.tables.values().map(Table::rule_count).sum();
            prop_assert!(rules <= 3);
        }
    }
}
