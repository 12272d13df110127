//! Folds anonymous sets and bound chains into the digests of the rules that use them.
//!
//! `tcp dport { 22, 80 }` makes a set of its own, `__set3`; `jump { … }` makes a chain, `__chain1`. The
//! numbers change with each reload, so a rule's digest is taken over its bytes with such names
//! replaced by the digest of what they name.

use crate::model::{Anonymous, Digest, Name, Rule, Set, Table};
use crate::netlink::nft::{elem, expr, rule};
use crate::netlink::{Attr, AttrWriter, Attrs};
use std::collections::BTreeMap;

/// The kernel refuses jumps deeper than 16 (`NFT_JUMP_STACK_SIZE`); bound chains cannot nest deeper.
const DEPTH: usize = 16;

/// Computes the digests of all rules of a table that use anonymous objects.
pub fn fold(table: &mut Table) {
    if table.anonymous.sets.is_empty() && table.anonymous.chains.is_empty() {
        return;
    }
    let fold = Fold { anonymous: &table.anonymous };
    let folded: BTreeMap<Name, Vec<Digest>> = table
        .chains
        .iter()
        .map(|(name, chain)| (name.clone(), chain.rules.iter().map(|rule| fold.rule(rule, DEPTH)).collect()))
        .collect();
    for (name, digests) in folded {
        if let Some(chain) = table.chains.get_mut(&name) {
            for (rule, digest) in chain.rules.iter_mut().zip(digests) {
                rule.digest = digest;
            }
        }
    }
}

struct Fold<'a> {
    anonymous: &'a Anonymous,
}

impl Fold<'_> {
    fn rule(&self, rule: &Rule, depth: usize) -> Digest {
        let used: Vec<Digest> = references(&rule.attrs)
            .into_iter()
            .filter_map(|name| self.content(&name, depth.checked_sub(1)?))
            .collect();
        if used.is_empty() {
            return rule.digest;
        }
        let is_anonymous =
            |name: &Name| self.anonymous.sets.contains_key(name) || self.anonymous.chains.contains_key(name);
        folded(&rule.attrs, &used, is_anonymous)
    }

    /// The digest of an anonymous object; none if the name is an ordinary one.
    fn content(&self, name: &Name, depth: usize) -> Option<Digest> {
        if let Some(set) = self.anonymous.sets.get(name) {
            return Some(self.set(set, depth));
        }
        let chain = self.anonymous.chains.get(name)?;
        let rules: Vec<Digest> = chain.rules.iter().map(|rule| self.rule(rule, depth)).collect();
        let parts = [&b"chain"[..], &chain.attrs];
        Some(Digest::of(parts.into_iter().chain(rules.iter().map(|digest| &digest.0[..]))))
    }

    fn set(&self, set: &Set, depth: usize) -> Digest {
        let mut parts = vec![Digest::of([&b"set"[..], &set.attrs])];
        // A meter's elements are the packet path's.
        for (key, element) in set.lasting_elements() {
            parts.push(element_digest(key, element, self, depth));
        }
        Digest::of(parts.iter().map(|digest| &digest.0[..]))
    }
}

fn element_digest(
    key: &crate::model::ElementKey,
    element: &crate::model::Element,
    fold: &Fold<'_>,
    depth: usize,
) -> Digest {
    let bound: Vec<Digest> = element
        .attrs
        .iter()
        .filter_map(|attrs| verdict_chain(Attrs(attrs).find(elem::DATA)?))
        .filter_map(|name| fold.content(&name, depth.checked_sub(1)?))
        .collect();
    if bound.is_empty() {
        return element.digest(key);
    }
    let parts = [&key.key[..], &key.end];
    Digest::of(parts.into_iter().chain(bound.iter().map(|digest| &digest.0[..])))
}

/// The digest of a rule to which, of these, belongs what it refers to.
pub(super) fn digest_of(rule: &Rule, anonymous: &Anonymous) -> Digest {
    Fold { anonymous }.rule(rule, DEPTH)
}

/// What of these belongs to a rule: its sets, its chains, and what belongs to those.
pub fn owned_by(rule_attrs: &[u8], anonymous: &Anonymous) -> Anonymous {
    let mut owned = Anonymous::default();
    let mut names = references(rule_attrs);
    while let Some(name) = names.pop() {
        if let Some(set) = anonymous.sets.get(&name).filter(|_| !owned.sets.contains_key(&name)) {
            names.extend(verdict_chains(set));
            owned.sets.insert(name, set.clone());
        } else if let Some(chain) = anonymous.chains.get(&name).filter(|_| !owned.chains.contains_key(&name))
        {
            names.extend(chain.rules.iter().flat_map(|rule| references(&rule.attrs)));
            owned.chains.insert(name, chain.clone());
        }
    }
    owned
}

/// The chains to which the elements of a map lead.
pub fn verdict_chains(set: &Set) -> impl Iterator<Item = Name> {
    let parts = set.elements.values().flat_map(|element| &element.attrs);
    parts.filter_map(|attrs| verdict_chain(Attrs(attrs).find(elem::DATA)?))
}

/// The names of sets and chains that a rule refers to, in the order of its expressions.
pub fn references(rule_attrs: &[u8]) -> Vec<Name> {
    let mut names = Vec::new();
    for expression in expressions(rule_attrs) {
        names.extend(reference(expression).map(|attr| Name(attr.string().to_vec())));
    }
    names
}

/// The expressions of a rule, each as its list of attributes.
pub fn expressions(rule_attrs: &[u8]) -> impl Iterator<Item = Attrs<'_>> {
    Attrs(rule_attrs)
        .find(rule::EXPRESSIONS)
        .into_iter()
        .flat_map(|list| list.nested().flatten())
        .map(|expression| expression.nested())
}

/// The sets to which a rule adds elements, or from which it deletes them.
pub fn written_sets(rule_attrs: &[u8]) -> impl Iterator<Item = Name> {
    expressions(rule_attrs)
        .filter(|expression| expression.find(expr::NAME).is_some_and(|name| name.string() == b"dynset"))
        .filter_map(reference)
        .map(|attr| Name(attr.string().to_vec()))
}

/// The names of chains that a rule refers to; [`references`] without those of sets.
pub fn jumps(rule_attrs: &[u8]) -> impl Iterator<Item = Name> {
    let is_verdict = |expression: &Attrs<'_>| {
        expression.find(expr::NAME).is_some_and(|name| name.string() == b"immediate")
    };
    let named = expressions(rule_attrs).filter(is_verdict).filter_map(reference);
    named.map(|attr| Name(attr.string().to_vec()))
}

/// The names of sets that a rule refers to; [`references`] without those of chains.
pub fn used_sets(rule_attrs: &[u8]) -> impl Iterator<Item = Name> {
    let is_verdict = |expression: &Attrs<'_>| {
        expression.find(expr::NAME).is_some_and(|name| name.string() == b"immediate")
    };
    let named = expressions(rule_attrs).filter(move |found| !is_verdict(found)).filter_map(reference);
    named.map(|attr| Name(attr.string().to_vec()))
}

/// The attribute of an expression that names a set or a chain.
fn reference(expression: Attrs<'_>) -> Option<Attr<'_>> {
    let data = expression.find(expr::DATA)?.nested();
    match expression.find(expr::NAME)?.string() {
        b"lookup" => data.find(expr::LOOKUP_SET),
        b"dynset" => data.find(expr::DYNSET_SET_NAME),
        b"objref" => data.find(expr::OBJREF_SET_NAME),
        b"immediate" => data
            .find(expr::IMMEDIATE_DATA)?
            .nested()
            .find(expr::DATA_VERDICT)?
            .nested()
            .find(expr::VERDICT_CHAIN),
        _ => None,
    }
}

/// The chain that an element's verdict jumps to.
pub fn verdict_chain(data: Attr<'_>) -> Option<Name> {
    let chain = data.nested().find(expr::DATA_VERDICT)?.nested().find(expr::VERDICT_CHAIN)?;
    Some(Name(chain.string().to_vec()))
}

/// The rule's attributes with some of its expressions replaced: `replace` gets the attributes of each
/// expression, and gives those of another one, or none to leave it.
pub fn map_expressions(rule_attrs: &[u8], replace: impl Fn(Attrs<'_>) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = AttrWriter::new();
    for attr in Attrs(rule_attrs).flatten() {
        if attr.kind != rule::EXPRESSIONS {
            out.put(attr.kind, attr.payload);
            continue;
        }
        out.nested(rule::EXPRESSIONS, |list| {
            for expression in attr.nested().flatten() {
                let new = replace(expression.nested());
                // Both in the form that the kernel and `strip` give: equal rules have equal bytes.
                list.nested(expression.kind, |inner| {
                    inner.raw(new.as_deref().unwrap_or(expression.payload));
                });
            }
        });
    }
    out.into_bytes()
}

/// The rule's attributes with names of sets and chains replaced.
pub fn rename_references(rule_attrs: &[u8], names: &BTreeMap<Name, Name>) -> Vec<u8> {
    map_expressions(rule_attrs, |expression| {
        let old = reference(expression)?;
        let new = names.get(&Name(old.string().to_vec()))?;
        let mut out = AttrWriter::new();
        rename_in(&mut out, expression.0, old.payload, new);
        Some(out.into_bytes())
    })
}

/// Copies nested attributes, with another string in place of the one whose payload is `old`.
fn rename_in(out: &mut AttrWriter, bytes: &[u8], old: &[u8], new: &Name) {
    for attr in Attrs(bytes).flatten() {
        if !attr.payload.as_ptr_range().contains(&old.as_ptr()) {
            out.put(attr.kind, attr.payload);
        } else if attr.payload.as_ptr() == old.as_ptr() && attr.payload.len() == old.len() {
            out.string(attr.kind, &new.0);
        } else {
            out.nested(attr.kind, |inner| rename_in(inner, attr.payload, old, new));
        }
    }
}

/// The digest of a rule whose bytes and sets are given apart. None of the sets in `content_of` holds a bound
/// chain.
pub fn digest_with(rule_attrs: &[u8], content_of: impl Fn(&Name) -> Option<Digest>) -> Digest {
    let used: Vec<Digest> = references(rule_attrs).iter().filter_map(&content_of).collect();
    if used.is_empty() {
        return Digest::of([rule_attrs]);
    }
    folded(rule_attrs, &used, |name| content_of(name).is_some())
}

/// The digest of an anonymous set's content; none of its elements names a bound chain.
pub fn content_digest(set: &Set) -> Digest {
    Fold { anonymous: &Anonymous::default() }.set(set, DEPTH)
}

/// A rule's digest: over its bytes without the names of anonymous objects, and over what these hold.
fn folded(rule_attrs: &[u8], used: &[Digest], is_anonymous: impl Fn(&Name) -> bool) -> Digest {
    let neutral = with_names_removed(rule_attrs, is_anonymous);
    Digest::of([&neutral[..]].into_iter().chain(used.iter().map(|digest| &digest.0[..])))
}

/// The rule's bytes with the names of anonymous objects blanked: name attributes keep their length only
/// in the number of characters, so the whole attribute is dropped by rewriting the expression list.
fn with_names_removed(rule_attrs: &[u8], is_anonymous: impl Fn(&Name) -> bool) -> Vec<u8> {
    let mut neutral = Vec::with_capacity(rule_attrs.len());
    for attr in Attrs(rule_attrs).flatten().filter(|attr| attr.kind != rule::EXPRESSIONS) {
        neutral.extend_from_slice(&attr.kind.to_ne_bytes());
        neutral.extend_from_slice(attr.payload);
    }
    for expression in expressions(rule_attrs) {
        let hidden = reference(expression).filter(|attr| is_anonymous(&Name(attr.string().to_vec())));
        match hidden {
            None => neutral.extend_from_slice(expression.0),
            Some(name) => write_without(&mut neutral, expression.0, name.payload),
        }
    }
    neutral
}

/// Flattens nested attributes down to the one whose payload is `name`, and leaves that one out.
fn write_without(out: &mut Vec<u8>, bytes: &[u8], name: &[u8]) {
    for attr in Attrs(bytes).flatten() {
        out.extend_from_slice(&attr.kind.to_ne_bytes());
        let holds = attr.payload.as_ptr_range().contains(&name.as_ptr());
        if !holds {
            out.extend_from_slice(&(attr.payload.len() as u32).to_ne_bytes());
            out.extend_from_slice(attr.payload);
        } else if attr.payload.len() != name.len() || attr.payload.as_ptr() != name.as_ptr() {
            write_without(out, attr.payload, name);
        }
    }
}
