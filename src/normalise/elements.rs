//! Elements of sets: their identity, and the pairing of the two halves of an interval.
//!
//! An interval set without concatenation is stored as boundaries: a start, and an end flagged
//! NFT_SET_ELEM_INTERVAL_END (nft_set_rbtree.c). People think of `10.0.0.0/8` as one element, so the
//! two are joined; the boundary at zero that nft adds before the first interval says nothing.

use super::strip;
use crate::model::{Element, ElementKey, Set, Table};
use crate::netlink::nft::{elem, expr, set};
use crate::netlink::{Attrs, Malformed};
use std::collections::BTreeMap;

/// Adds one dumped element to its set.
pub fn add(set: &mut Set, attrs: Attrs<'_>) -> Result<(), Malformed> {
    if is_empty_boundary(set.flags, attrs) {
        return Ok(());
    }
    let value = |kind| {
        attrs.find(kind).and_then(|attr| attr.nested().find(expr::DATA_VALUE)).map(|v| v.payload.to_vec())
    };
    let flags = attrs.find(elem::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
    let key = value(elem::KEY).unwrap_or_default();
    // A range of one value is that value, whether its end was given or not.
    let end = value(elem::KEY_END).filter(|end| *end != key).unwrap_or_default();
    let key = ElementKey { key, end, flags };
    let expires = [elem::TIMEOUT, elem::EXPIRATION].iter().any(|kind| attrs.find(*kind).is_some());
    set.elements.insert(key, Element { expires, attrs: vec![strip::element(attrs)?] });
    Ok(())
}

/// Whether a dumped element of an interval set is the boundary at zero, which says nothing.
pub fn is_empty_boundary(set_flags: u32, attrs: Attrs<'_>) -> bool {
    let flags = attrs.find(elem::FLAGS).and_then(|attr| attr.be32()).unwrap_or(0);
    let key = || attrs.find(elem::KEY).and_then(|attr| attr.nested().find(expr::DATA_VALUE));
    set_flags & set::F_INTERVAL != 0
        && set_flags & set::F_CONCAT == 0
        && flags & elem::F_INTERVAL_END != 0
        && key().is_none_or(|key| key.payload.iter().all(|byte| *byte == 0))
}

/// Joins starts and ends in every interval set of a table.
pub fn pair_intervals(table: &mut Table) {
    table.sets.values_mut().chain(table.anonymous.sets.values_mut()).for_each(pair);
}

/// Joins starts and ends of one set, if it is an interval set.
pub fn pair(set: &mut Set) {
    if set.flags & set::F_INTERVAL != 0 && set.flags & set::F_CONCAT == 0 {
        set.elements = paired(std::mem::take(&mut set.elements));
    }
}

/// Elements sorted by key; at one key an end comes before a start, as the tree has it.
fn paired(boundaries: BTreeMap<ElementKey, Element>) -> BTreeMap<ElementKey, Element> {
    let is_end = |key: &ElementKey| key.flags & elem::F_INTERVAL_END != 0;
    let mut sorted: Vec<(ElementKey, Element)> = boundaries.into_iter().collect();
    sorted.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key).then(is_end(b).cmp(&is_end(a))));
    let mut joined = BTreeMap::new();
    let mut open: Option<(ElementKey, Element)> = None;
    for (key, element) in sorted {
        if key.flags & elem::F_CATCHALL != 0 {
            // No start: the end that follows is the boundary at zero.
            joined.insert(key, element);
        } else if !is_end(&key) {
            joined.extend(open.replace((key, element)));
        } else if let Some((start, mut content)) = open.take() {
            content.attrs.extend(element.attrs);
            joined.insert(ElementKey { end: key.key, ..start }, content);
        } else if key.key.iter().any(|byte| *byte != 0) {
            joined.insert(key, element);
        }
    }
    joined.extend(open);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary(key: u8, end: bool) -> (ElementKey, Element) {
        let flags = if end { elem::F_INTERVAL_END } else { 0 };
        let attrs = vec![vec![key]];
        (ElementKey { key: vec![key], end: vec![], flags }, Element { expires: false, attrs })
    }

    fn check(input: &[(u8, bool)], expect: &[(u8, Option<u8>)]) {
        let joined = paired(input.iter().map(|(key, end)| boundary(*key, *end)).collect());
        let found: Vec<(u8, Option<u8>)> =
            joined.keys().map(|key| (key.key[0], key.end.first().copied())).collect();
        assert_eq!(found, expect);
    }

    #[test]
    fn a_start_and_an_end_are_one_element() {
        check(&[(0, true), (10, false), (20, true)], &[(10, Some(20))]);
    }

    #[test]
    fn adjacent_intervals_share_a_boundary() {
        check(&[(10, false), (20, true), (20, false), (30, true)], &[(10, Some(20)), (20, Some(30))]);
    }

    #[test]
    fn an_interval_up_to_the_maximum_has_no_end() {
        check(&[(0, true), (200, false)], &[(200, None)]);
    }

    #[test]
    fn an_end_without_a_start_is_kept() {
        check(&[(7, true)], &[(7, None)]);
    }
}
