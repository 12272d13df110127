//! A set of packets as few, broad, readable statements: regions, which say for each header field which values it has.
//!
//! Input: a set and the fields that its variables are bits of; output: disjoint regions whose union is the set, or the
//! largest of them where there are too many to read. Makes no node. The work is bounded whatever the set is.

mod blocks;
mod join;
mod search;

use super::{Bdd, Bit, Exhausted, Node, Var};
use blocks::Values;

/// A header field: consecutive variables, most significant first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field {
    /// Its most significant bit.
    pub start: Var,
    /// How many bits, at most 128.
    pub width: u32,
}

impl Field {
    /// The variable after its last.
    fn end(self) -> Var {
        self.start.saturating_add(self.width)
    }

    /// Its largest value.
    fn most(self) -> u128 {
        u128::MAX.checked_shr(128u32.saturating_sub(self.width)).unwrap_or(0)
    }

    fn has(self, var: Var) -> bool {
        (self.start..self.end()).contains(&var)
    }
}

/// Values of a field: ascending, disjoint and not adjacent; both ends included.
pub type Ranges = Vec<(u128, u128)>;

/// The packets each of whose fields has one of these values.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Region {
    /// For each field its values; `None` is any value.
    pub fields: Vec<Option<Ranges>>,
}

/// A set as regions.
#[derive(Clone, PartialEq, Debug)]
pub struct Regions {
    /// Disjoint, the largest first.
    pub regions: Vec<Region>,
    /// Whether they are all of the set. If not, they are the largest that were found.
    pub complete: bool,
    /// What the regions speak of: the fields asked for, and for each variable that belongs to none of these but
    /// matters, a field of one bit. Ascending.
    pub fields: Vec<Field>,
}

impl Bdd {
    /// `f` as at most `limit` regions. `fields` are ascending, do not overlap and are at most 128 bits wide each.
    pub fn regions(&mut self, f: Node, fields: &[Field], limit: usize) -> Result<Regions, Exhausted> {
        let fields = self.with_fields_of_one_bit(f, fields);
        let mut values = Values::default();
        let found = search::largest(self, f, &fields, limit, &mut values)?;
        let joined = join::join(found.regions, &fields, &mut values);
        let complete = found.complete && joined.len() <= limit;
        let regions = joined.iter().take(limit).map(|region| values.region(region)).collect();
        Ok(Regions { regions, complete, fields })
    }

    /// The packets of a region.
    pub fn to_node(&mut self, fields: &[Field], region: &Region) -> Result<Node, Exhausted> {
        let mut all = Node::TRUE;
        for (field, ranges) in fields.iter().zip(&region.fields).rev() {
            let Some(ranges) = ranges else { continue };
            let word: Vec<Bit> = (field.start..field.end()).map(Bit::Var).collect();
            let ends =
                ranges.iter().map(|(low, high)| (low.to_be_bytes().to_vec(), high.to_be_bytes().to_vec()));
            let one = self.union_of_ranges(&word, &ends.collect::<Vec<_>>())?;
            all = self.and(one, all)?;
        }
        Ok(all)
    }

    fn with_fields_of_one_bit(&self, f: Node, fields: &[Field]) -> Vec<Field> {
        let support = self.support(f);
        let loose = support.into_iter().filter(|var| !fields.iter().any(|field| field.has(*var)));
        let mut all = fields.to_vec();
        all.extend(loose.map(|start| Field { start, width: 1 }));
        all.sort_by_key(|field| field.start);
        all
    }
}
