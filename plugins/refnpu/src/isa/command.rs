//! One command with its operands.

use crate::quant::{Quant, Range};

/// A part of the device that works through its commands in order, beside the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Dma,
    Array,
    Vector,
}

/// How many vectors of 32 bytes a command computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub rows: u32,
    pub cols: u32,
}

/// Where the vector of row `r` and column `c` is: `address + r · row + c · col`, in bytes of the scratchpad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    pub address: u32,
    pub row: u32,
    pub col: u32,
}

/// The window of taps in front of each output vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taps {
    pub rows: u32,
    pub cols: u32,
    pub row: u32,
    pub col: u32,
}

/// A block of bytes, `planes × rows × row_bytes`, between the device's memory and the scratchpad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub dram: u32,
    pub dram_row: u32,
    pub dram_plane: u32,
    pub spm: u32,
    pub spm_row: u32,
    pub spm_plane: u32,
    pub row_bytes: u32,
    pub rows: u32,
    pub planes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Command {
    Load(Transfer),
    Store(Transfer),
    /// Puts a tile of weights, `[output lane][input lane]`, into the array.
    Weights {
        tile: u32,
        zero: i8,
    },
    /// Streams vectors through the array into the accumulators.
    MatMul {
        area: Area,
        source: Walk,
        zero: i8,
        acc: u32,
        accumulate: bool,
    },
    /// Each lane by itself: a window of taps times weights `[tap][lane]`.
    Depthwise {
        area: Area,
        source: Walk,
        taps: Taps,
        zero: i8,
        weights: u32,
        weight_zero: i8,
        acc: u32,
        accumulate: bool,
    },
    /// Accumulators to int8, with 32 biases and 32 multipliers at `parameters`.
    Requantise {
        area: Area,
        acc: u32,
        parameters: u32,
        target: Walk,
        range: Range,
    },
    Add {
        area: Area,
        a: Walk,
        a_quant: Quant,
        b: Walk,
        b_quant: Quant,
        target: Walk,
        scale: f32,
        range: Range,
    },
    /// Each byte replaced by its entry in a table of 256, or of 32 such tables.
    Lookup {
        area: Area,
        source: Walk,
        target: Walk,
        table: u32,
        per_lane: bool,
    },
    MaxPool {
        area: Area,
        source: Walk,
        taps: Taps,
        target: Walk,
    },
    Move {
        area: Area,
        source: Walk,
        target: Walk,
    },
    Fill {
        area: Area,
        target: Walk,
        value: i8,
    },
}

impl Area {
    pub fn vectors(self) -> u64 {
        u64::from(self.rows) * u64::from(self.cols)
    }
}

impl Taps {
    pub fn count(self) -> u64 {
        u64::from(self.rows) * u64::from(self.cols)
    }
}

impl Walk {
    /// Vectors one behind the other, in rows of `cols`.
    pub fn dense(address: u32, cols: u32) -> Self {
        Walk { address, row: cols * 32, col: 32 }
    }
}

impl Transfer {
    /// Bytes one behind the other on both sides.
    pub fn flat(dram: u32, spm: u32, bytes: u32) -> Self {
        Transfer {
            dram,
            dram_row: 0,
            dram_plane: 0,
            spm,
            spm_row: 0,
            spm_plane: 0,
            row_bytes: bytes,
            rows: 1,
            planes: 1,
        }
    }

    pub fn bytes(&self) -> u64 {
        u64::from(self.row_bytes).saturating_mul(u64::from(self.rows) * u64::from(self.planes))
    }
}

impl Command {
    pub fn engine(&self) -> Engine {
        match self {
            Command::Load(_) | Command::Store(_) => Engine::Dma,
            Command::Weights { .. } | Command::MatMul { .. } => Engine::Array,
            _ => Engine::Vector,
        }
    }
}
