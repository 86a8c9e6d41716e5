//! The command stream: 64-bit words that set registers and start engines.
//!
//! A word is `opcode(8) | a(8) | 0(16) | immediate(32)`, most significant first. `SET` puts the immediate into
//! register `a`; every other word starts a command, with flags in `a` and its operands in the registers.
//! [`Command`] is one such command with its operands; [`encode`] and [`decode`] go between the two.

mod command;
mod decode;
mod disassemble;
mod encode;
mod register;

pub use command::{Area, Command, Engine, Taps, Transfer, Walk};
pub use decode::{Decoder, StreamError};
pub use disassemble::disassemble;
pub use encode::encode;
pub use register::Register;

/// The first byte of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    End = 0x00,
    Set = 0x01,
    Load = 0x10,
    Store = 0x11,
    Weights = 0x20,
    MatMul = 0x21,
    Depthwise = 0x30,
    Requantise = 0x31,
    Add = 0x32,
    Lookup = 0x33,
    MaxPool = 0x34,
    Move = 0x35,
    Fill = 0x36,
}

/// Flag of `MATMUL` and `DEPTHWISE`: add to what the accumulators hold.
pub const ACCUMULATE: u8 = 1;
/// Flag of `LOOKUP`: every lane has its own table.
pub const PER_LANE: u8 = 1;

const OPCODES: [Opcode; 13] = [
    Opcode::End,
    Opcode::Set,
    Opcode::Load,
    Opcode::Store,
    Opcode::Weights,
    Opcode::MatMul,
    Opcode::Depthwise,
    Opcode::Requantise,
    Opcode::Add,
    Opcode::Lookup,
    Opcode::MaxPool,
    Opcode::Move,
    Opcode::Fill,
];

impl Opcode {
    fn from_byte(byte: u8) -> Option<Self> {
        OPCODES.into_iter().find(|opcode| *opcode as u8 == byte)
    }

    /// The flags that this opcode has.
    fn flags(self) -> u8 {
        match self {
            Opcode::MatMul | Opcode::Depthwise => ACCUMULATE,
            Opcode::Lookup => PER_LANE,
            _ => 0,
        }
    }
}

fn word(opcode: Opcode, a: u8, immediate: u32) -> u64 {
    (opcode as u64) << 56 | u64::from(a) << 48 | u64::from(immediate)
}
