//! One field of a set: which of its values lead to which rest.

use super::{Field, Ranges, Region};
use crate::traffic::bdd::hash::QuickMap;
use crate::traffic::bdd::{Bdd, Exhausted, Node};
use std::collections::HashMap;

/// The number of a list of ranges in [`Values`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct ValuesId(u32);

impl ValuesId {
    /// Any value.
    pub(super) const ANY: ValuesId = ValuesId(0);
}

/// Lists of ranges, each once, so that regions can be compared by numbers.
pub(super) struct Values {
    lists: Vec<Ranges>,
    numbers: HashMap<Ranges, ValuesId>,
}

impl Default for Values {
    /// With the list that stands for any value: it is empty, as no region's is.
    fn default() -> Self {
        Values { lists: vec![Ranges::new()], numbers: HashMap::from([(Ranges::new(), ValuesId::ANY)]) }
    }
}

impl Values {
    pub(super) fn number(&mut self, ranges: Ranges) -> ValuesId {
        if let Some(known) = self.numbers.get(&ranges) {
            return *known;
        }
        let number = ValuesId(self.lists.len() as u32);
        self.lists.push(ranges.clone());
        self.numbers.insert(ranges, number);
        number
    }

    pub(super) fn ranges(&self, number: ValuesId) -> &Ranges {
        &self.lists[number.0 as usize]
    }

    /// The part of all values of the field that is in the list.
    pub(super) fn share(&self, number: ValuesId, field: Field) -> f64 {
        if number == ValuesId::ANY {
            return 1.0;
        }
        let count: f64 = self.ranges(number).iter().map(|(low, high)| (high - low) as f64 + 1.0).sum();
        count / 2f64.powi(field.width as i32)
    }

    pub(super) fn region(&self, numbers: &[ValuesId]) -> Region {
        let values = |number: &ValuesId| (*number != ValuesId::ANY).then(|| self.ranges(*number).clone());
        Region { fields: numbers.iter().map(values).collect() }
    }
}

/// What values of a field lead to.
pub(super) struct Branch {
    pub(super) values: ValuesId,
    /// The set of what is below the field.
    pub(super) rest: Node,
}

/// Whether all values were looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    All,
    Some,
}

/// The branches of `f`, whose root is in the field, but for the empty one; in the order of their least values. `work`
/// goes down with each step; when it is used up, only the values looked at so far are told.
pub(super) fn branches(
    bdd: &mut Bdd,
    f: Node,
    field: Field,
    work: &mut u64,
    values: &mut Values,
) -> Result<(Vec<Branch>, Extent), Exhausted> {
    // Enough that one branch is found in any case: of each two ways on, one leads somewhere.
    let least = 4 * u64::from(field.width);
    let mut walk = Walk { field, left: (*work).max(least), places: QuickMap::default(), found: Vec::new() };
    let before = walk.left;
    let extent = walk.down(bdd, f, 0, 0)?;
    *work = work.saturating_sub(before - walk.left);
    let branches =
        walk.found.into_iter().map(|(rest, ranges)| Branch { values: values.number(ranges), rest });
    Ok((branches.collect(), extent))
}

struct Walk {
    field: Field,
    left: u64,
    /// By node, where it is in `found`.
    places: QuickMap<u32, usize>,
    found: Vec<(Node, Ranges)>,
}

impl Walk {
    /// `f` is what is left when the first `depth` bits of the field are those of `prefix`.
    fn down(&mut self, bdd: &mut Bdd, f: Node, depth: u32, prefix: u128) -> Result<Extent, Exhausted> {
        if f.is_false() {
            return Ok(Extent::All);
        }
        if bdd.var(f) >= self.field.end() {
            self.found(f, prefix, self.field.width - depth);
            return Ok(Extent::All);
        }
        if self.left == 0 {
            return Ok(Extent::Some);
        }
        self.left -= 1;
        bdd.step()?;
        let (low, high) = bdd.branches_at(f, self.field.start + depth);
        if self.down(bdd, low, depth + 1, prefix << 1)? == Extent::Some {
            return Ok(Extent::Some);
        }
        self.down(bdd, high, depth + 1, prefix << 1 | 1)
    }

    fn found(&mut self, rest: Node, prefix: u128, free: u32) {
        let low = prefix.checked_shl(free).unwrap_or(0);
        let high = low | u128::MAX.checked_shr(128 - free).unwrap_or(0);
        let place = *self.places.entry(rest.0).or_insert(self.found.len());
        let Some((_, ranges)) = self.found.get_mut(place) else {
            self.found.push((rest, vec![(low, high)]));
            return;
        };
        match ranges.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(low) => last.1 = high,
            Some(_) | None => ranges.push((low, high)),
        }
    }
}
