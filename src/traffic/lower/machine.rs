//! The registers of a rule: bytes whose bits are constants, or bits of the packet.
//!
//! Layout: 64 bytes; `NFT_REG_1` to `NFT_REG_4` are 16 bytes each, `NFT_REG32_00` to `NFT_REG32_15` four bytes each, over
//! the same bytes (include/uapi/linux/netfilter/nf_tables.h).

use super::super::bdd::Bit;
use super::super::space::Side;

/// One byte of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Its bits, most significant first.
    Bits([Bit; 8]),
    /// A byte of the name of an interface, by its place in the name.
    Name(Side, u8),
    /// A byte of the index of an interface, in the host's byte order.
    Index(Side, u8),
}

impl Cell {
    /// A byte with this value.
    pub fn constant(byte: u8) -> Self {
        Self::Bits(std::array::from_fn(|at| Bit::Const(byte >> (7 - at) & 1 == 1)))
    }
}

/// The bytes of a number that the kernel holds in the host's byte order; `bits` are most significant first.
pub fn host_order(bits: &[Bit]) -> Vec<Cell> {
    let mut cells = wire_order(bits);
    if cfg!(target_endian = "little") {
        cells.reverse();
    }
    cells
}

/// The bytes of what the kernel holds as it is on the wire. A last part of less than a byte stands in its low bits.
pub fn wire_order(bits: &[Bit]) -> Vec<Cell> {
    let padding = (8 - bits.len() % 8) % 8;
    let padded: Vec<Bit> =
        std::iter::repeat_n(Bit::Const(false), padding).chain(bits.iter().copied()).collect();
    padded.chunks_exact(8).map(|byte| Cell::Bits(std::array::from_fn(|at| byte[at]))).collect()
}

/// The bits of cells that hold bits only.
pub fn bits(cells: &[Cell]) -> Option<Vec<Bit>> {
    let mut bits = Vec::with_capacity(cells.len() * 8);
    for cell in cells {
        let Cell::Bits(byte) = cell else { return None };
        bits.extend_from_slice(byte);
    }
    Some(bits)
}

/// How many bytes there are.
const LENGTH: usize = 64;

/// All registers of one rule.
#[derive(Clone)]
pub struct Registers([Cell; LENGTH]);

impl Registers {
    /// As they are when a rule begins; what is in them then does not matter to any rule that the kernel accepts.
    pub fn new() -> Self {
        Self([Cell::Bits([Bit::Const(false); 8]); LENGTH])
    }

    fn start(register: u32) -> Option<usize> {
        match register {
            1..=4 => Some((register as usize - 1) * 16),
            8..=23 => Some((register as usize - 8) * 4),
            _ => None,
        }
    }

    /// `length` bytes from a register on.
    pub fn load(&self, register: u32, length: usize) -> Option<&[Cell]> {
        let start = Self::start(register)?;
        self.0.get(start..start.checked_add(length)?)
    }

    /// Puts cells into a register; what is left of the last four bytes becomes zero.
    pub fn store(&mut self, register: u32, cells: &[Cell]) -> Option<()> {
        let start = Self::start(register)?;
        let end = start + cells.len().next_multiple_of(4);
        let place = self.0.get_mut(start..end)?;
        place.fill(Cell::constant(0));
        place[..cells.len()].copy_from_slice(cells);
        Some(())
    }
}
