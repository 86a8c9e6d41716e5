//! A constant right operand, kept as precisely as is asked for.

use super::codes::{Codes, PackedCodes};
use super::half::PackedHalf;
use super::{Matrix, PackedB, Rhs};
use crate::fast::Isa;

/// How precisely the weights of products are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// As the model has them.
    #[default]
    F32,
    /// Rounded, and so is what they are multiplied by; sums are f32.
    Bf16,
    /// Codes of 8 bits, with one scale for each output column.
    Int8,
    /// Codes of 4 bits, with one scale for each output column and 32 rows.
    Int4,
}

impl Precision {
    pub const ALL: [Precision; 4] = [Precision::F32, Precision::Bf16, Precision::Int8, Precision::Int4];

    /// As command lines and attributes write it.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
            Precision::Int4 => "int4",
        }
    }

    pub fn named(name: &str) -> Option<Precision> {
        Precision::ALL.into_iter().find(|precision| precision.name() == name)
    }
}

/// Rows with one scale, in 4 bits.
const BLOCK: usize = 32;

/// A right operand packed once for one instruction set, to be multiplied many times.
pub enum Weights {
    Floats(PackedB),
    Halves(PackedHalf),
    Codes(PackedCodes),
}

impl Weights {
    /// Packs `b`. What is not finite everywhere has no codes, and stays f32.
    pub fn pack(isa: Isa, b: Matrix<'_>, precision: Precision) -> Self {
        let codes = |bits, block| {
            let codes = PackedCodes::quantise(isa, b, Codes { bits, block });
            codes.map_or_else(|| Weights::Floats(PackedB::pack(isa, b)), Weights::Codes)
        };
        match precision {
            Precision::F32 => Weights::Floats(PackedB::pack(isa, b)),
            Precision::Bf16 => Weights::Halves(PackedHalf::pack(isa, b)),
            Precision::Int8 => codes(8, b.rows.max(1).next_multiple_of(2)),
            Precision::Int4 => codes(4, BLOCK),
        }
    }

    pub fn k(&self) -> usize {
        self.rhs().size()[0]
    }

    pub fn n(&self) -> usize {
        self.rhs().size()[1]
    }

    pub fn rhs(&self) -> Rhs<'_> {
        match self {
            Weights::Floats(b) => Rhs::Packed(b),
            Weights::Halves(b) => Rhs::Halves(b),
            Weights::Codes(b) => Rhs::Codes(b),
        }
    }

    /// Bytes that a product reads of it, where those are fewer than the operand had.
    pub fn kept_bytes(&self) -> Option<usize> {
        match self {
            Weights::Floats(_) => None,
            Weights::Halves(b) => Some(b.bytes()),
            Weights::Codes(b) => Some(b.bytes()),
        }
    }
}
