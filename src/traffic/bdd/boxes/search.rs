//! The largest regions first: from the root, field by field, always on from where the most packets are.
//!
//! The share of what is ahead bounds the share of each region in it, so that regions are found in descending order, and
//! after any of them one may stop.

use super::Field;
use super::blocks::{Branch, Extent, Values, ValuesId, branches};
use crate::traffic::bdd::hash::QuickMap;
use crate::traffic::bdd::{Bdd, Exhausted, Node};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// More regions than asked for are looked for, as some will be joined.
const SURPLUS: usize = 4;
const LEAST_FOUND: usize = 1 << 10;
/// Steps within fields: some tens of nanoseconds each.
const MOST_WORK: u64 = 1 << 19;
/// Places looked at in order of their share; after that, the nearest region below each.
const MOST_LOOKED_AT: usize = 1 << 15;

/// What was found: for each region the values of each field.
pub(super) struct Found {
    pub(super) regions: Vec<Vec<ValuesId>>,
    pub(super) complete: bool,
}

/// The largest regions of `f`, in descending order while the bounds allow it.
pub(super) fn largest(
    bdd: &mut Bdd,
    f: Node,
    fields: &[Field],
    limit: usize,
    values: &mut Values,
) -> Result<Found, Exhausted> {
    let mut search = Search {
        fields,
        values,
        shares: QuickMap::default(),
        blocks: QuickMap::default(),
        ways: Vec::new(),
        ahead: BinaryHeap::new(),
        put: 0,
        work: MOST_WORK,
        found: Found { regions: Vec::new(), complete: true },
    };
    let most = limit.saturating_mul(SURPLUS).max(LEAST_FOUND);
    search.arrive(bdd, f, None, 1.0)?;
    let mut looked_at = 0;
    while let Some(place) = search.ahead.pop() {
        if search.found.regions.len() >= most {
            search.found.complete = false;
            break;
        }
        if looked_at >= MOST_LOOKED_AT {
            // No time for the order any more: one region from each place, the largest places first.
            search.found.complete = false;
            search.straight_down(bdd, place)?;
            continue;
        }
        looked_at += 1;
        search.beside(&place);
        search.follow(bdd, place)?;
    }
    Ok(search.found)
}

/// The branches of one node, those with the most packets first.
struct Block {
    field: usize,
    branches: Vec<(f64, Branch)>,
}

/// A branch not yet followed.
struct Place {
    /// The share of all packets that is on this way.
    share: f64,
    /// Of two alike, the one that was seen first goes first: the outcome must not depend on chance.
    number: usize,
    /// The share of the values chosen so far.
    before: f64,
    way: Option<usize>,
    block: u32,
    branch: usize,
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        self.share.total_cmp(&other.share).then(other.number.cmp(&self.number))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Place {}

/// A choice of values, after that of the fields before.
struct Way {
    before: Option<usize>,
    field: usize,
    values: ValuesId,
}

struct Search<'a> {
    fields: &'a [Field],
    values: &'a mut Values,
    shares: QuickMap<u32, f64>,
    /// By the node at their root.
    blocks: QuickMap<u32, Block>,
    ways: Vec<Way>,
    ahead: BinaryHeap<Place>,
    /// How many places there were so far.
    put: usize,
    work: u64,
    found: Found,
}

impl Search<'_> {
    /// At `f`, behind `way`: a region, or more to choose.
    fn arrive(&mut self, bdd: &mut Bdd, f: Node, way: Option<usize>, before: f64) -> Result<(), Exhausted> {
        if f.is_true() {
            self.found.regions.push(self.region(way));
        } else if !f.is_false() {
            self.open(bdd, f)?;
            self.put(f.0, 0, way, before);
        }
        Ok(())
    }

    /// The branches of `f`; once for each node.
    fn open(&mut self, bdd: &mut Bdd, f: Node) -> Result<(), Exhausted> {
        if self.blocks.contains_key(&f.0) {
            return Ok(());
        }
        let var = bdd.var(f);
        let field = self.fields.partition_point(|field| field.end() <= var);
        let width = self.fields[field];
        let (found, extent) = branches(bdd, f, width, &mut self.work, self.values)?;
        if extent == Extent::Some {
            self.found.complete = false;
        }
        let weighed = found.into_iter().map(|branch| {
            (self.values.share(branch.values, width) * bdd.share_from(branch.rest, &mut self.shares), branch)
        });
        let mut branches: Vec<(f64, Branch)> = weighed.collect();
        branches.sort_by(|one, other| other.0.total_cmp(&one.0));
        self.blocks.insert(f.0, Block { field, branches });
        Ok(())
    }

    /// A branch to be followed when its turn comes, if the block has so many.
    fn put(&mut self, block: u32, branch: usize, way: Option<usize>, before: f64) {
        if let Some((share, _)) = self.blocks[&block].branches.get(branch) {
            let number = self.put;
            self.put += 1;
            self.ahead.push(Place { share: before * share, number, before, way, block, branch });
        }
    }

    /// The next branch of the same block.
    fn beside(&mut self, place: &Place) {
        self.put(place.block, place.branch + 1, place.way, place.before);
    }

    fn follow(&mut self, bdd: &mut Bdd, place: Place) -> Result<(), Exhausted> {
        let (rest, way, before) = self.choose(&place);
        self.arrive(bdd, rest, Some(way), before)
    }

    fn straight_down(&mut self, bdd: &mut Bdd, place: Place) -> Result<(), Exhausted> {
        let (mut rest, mut way, mut before) = self.choose(&place);
        while !rest.is_true() {
            self.open(bdd, rest)?;
            let first = Place { share: 0.0, number: 0, before, way: Some(way), block: rest.0, branch: 0 };
            (rest, way, before) = self.choose(&first);
        }
        let region = self.region(Some(way));
        self.found.regions.push(region);
        Ok(())
    }

    /// Takes the place's values: what is below, the way to it and the share of the values on it.
    fn choose(&mut self, place: &Place) -> (Node, usize, f64) {
        let block = &self.blocks[&place.block];
        let branch = &block.branches[place.branch].1;
        let share = self.values.share(branch.values, self.fields[block.field]);
        self.ways.push(Way { before: place.way, field: block.field, values: branch.values });
        (branch.rest, self.ways.len() - 1, place.before * share)
    }

    fn region(&self, way: Option<usize>) -> Vec<ValuesId> {
        let mut region = vec![ValuesId::ANY; self.fields.len()];
        let mut at = way;
        while let Some(number) = at {
            let way = &self.ways[number];
            region[way.field] = way.values;
            at = way.before;
        }
        region
    }
}
