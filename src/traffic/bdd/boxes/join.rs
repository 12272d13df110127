//! Regions that differ in one field only are one region.

use super::blocks::{Values, ValuesId};
use super::{Field, Ranges};
use std::collections::HashMap;

/// Bounds the work. A round joins whatever can be joined along each field, and few have anything left to do.
const MOST_ROUNDS: usize = 16;

/// Disjoint regions, joined until nothing more can be, the largest first.
pub(super) fn join(found: Vec<Vec<ValuesId>>, fields: &[Field], values: &mut Values) -> Vec<Vec<ValuesId>> {
    let mut regions = found;
    for _ in 0..MOST_ROUNDS {
        let before = regions.len();
        for (at, field) in fields.iter().enumerate() {
            regions = join_along(regions, at, *field, values);
        }
        if regions.len() == before {
            break;
        }
    }
    let share = |region: &[ValuesId], values: &Values| {
        region.iter().zip(fields).map(|(numbers, field)| values.share(*numbers, *field)).product::<f64>()
    };
    let mut weighed: Vec<(f64, Vec<ValuesId>)> =
        regions.into_iter().map(|region| (share(&region, values), region)).collect();
    weighed.sort_by(|one, other| other.0.total_cmp(&one.0));
    weighed.into_iter().map(|(_, region)| region).collect()
}

/// Joins the regions that are equal but for the field `at`.
fn join_along(
    regions: Vec<Vec<ValuesId>>,
    at: usize,
    field: Field,
    values: &mut Values,
) -> Vec<Vec<ValuesId>> {
    let mut groups: Vec<(Vec<ValuesId>, Vec<ValuesId>)> = Vec::with_capacity(regions.len());
    let mut places: HashMap<Vec<ValuesId>, usize> = HashMap::with_capacity(regions.len());
    for region in regions {
        let mut others = region;
        let own = std::mem::replace(&mut others[at], ValuesId::ANY);
        match places.get(&others) {
            Some(place) => groups[*place].1.push(own),
            None => {
                places.insert(others.clone(), groups.len());
                groups.push((others, vec![own]));
            }
        }
    }
    let joined = groups.into_iter().map(|(mut region, own)| {
        region[at] = match own.as_slice() {
            [one] => *one,
            several => union(several, field, values),
        };
        region
    });
    joined.collect()
}

fn union(numbers: &[ValuesId], field: Field, values: &mut Values) -> ValuesId {
    let mut all: Ranges = numbers.iter().flat_map(|number| values.ranges(*number).iter().copied()).collect();
    all.sort_unstable();
    let mut union = Ranges::with_capacity(all.len());
    for (low, high) in all {
        match union.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(low) => last.1 = high,
            Some(_) | None => union.push((low, high)),
        }
    }
    if union == [(0, field.most())] { ValuesId::ANY } else { values.number(union) }
}
