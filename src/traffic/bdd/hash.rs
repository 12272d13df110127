//! Quick hashing of small numbers that nobody outside chooses: multiplication by odd constants, high bits taken.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

const FIRST: u64 = 0x9e37_79b9_7f4a_7c15;
const SECOND: u64 = 0xd6e8_feb8_6659_fd93;

/// A hash of 32 bits of three numbers.
#[inline]
pub(super) fn mix32([a, b, c]: [u32; 3]) -> u64 {
    let pair = u64::from(a) | (u64::from(b) << 32);
    let folded = (pair.wrapping_mul(FIRST) ^ u64::from(c)).wrapping_mul(SECOND);
    let spread = folded ^ (folded >> 32);
    spread.wrapping_mul(FIRST) >> 32
}

/// The place of three numbers in a table of `size` places, a power of two from 2 to 2^31.
#[inline]
pub(super) fn mix(numbers: [u32; 3], size: usize) -> usize {
    (mix32(numbers) >> (32 - size.trailing_zeros())) as usize
}

/// A hasher of integers.
#[derive(Default, Clone, Copy)]
pub(super) struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(FIRST);
    }
}

/// A map by small numbers.
pub(super) type QuickMap<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// A set of small numbers.
pub(super) type QuickSet<K> = HashSet<K, BuildHasherDefault<Quick>>;
