//! Words to commands. A stream comes from an artefact and is not trusted.

use super::command::{Area, Command, Taps, Transfer, Walk};
use super::register::{COUNT, Register};
use super::{ACCUMULATE, Opcode, PER_LANE};
use crate::quant::{Quant, Range};

/// Why a stream cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("word {at} of the command stream, {word:#018x}, is no command of this device")]
    Word { at: usize, word: u64 },
    #[error("the command stream has no END word")]
    NoEnd,
    #[error("the command at word {at} reaches outside the {memory}")]
    Bounds { at: usize, memory: &'static str },
    #[error("the command at word {at} asks for more work than fits the scratchpad")]
    TooLarge { at: usize },
    #[error("the command at word {at} uses the array before weights were loaded")]
    NoWeights { at: usize },
}

/// Gives a stream's commands, each with the index of its word, until END.
pub struct Decoder<'a> {
    words: &'a [u64],
    next: usize,
    registers: [u32; COUNT],
}

/// What one word says.
pub(super) enum Item {
    End,
    Set(Register, u32),
    Command(Command),
}

impl<'a> Decoder<'a> {
    pub fn new(words: &'a [u64]) -> Self {
        Decoder { words, next: 0, registers: [0; COUNT] }
    }

    /// The index of the next word.
    pub(super) fn position(&self) -> usize {
        self.next
    }

    /// The next command; `None` after END.
    pub fn command(&mut self) -> Result<Option<(usize, Command)>, StreamError> {
        loop {
            let at = self.next;
            match self.item()? {
                Item::End => return Ok(None),
                Item::Set(..) => {}
                Item::Command(command) => return Ok(Some((at, command))),
            }
        }
    }

    pub(super) fn item(&mut self) -> Result<Item, StreamError> {
        let at = self.next;
        let word = *self.words.get(at).ok_or(StreamError::NoEnd)?;
        let bad = StreamError::Word { at, word };
        let opcode = Opcode::from_byte((word >> 56) as u8).ok_or(bad.clone())?;
        let (a, immediate) = ((word >> 48) as u8, word as u32);
        if word >> 32 & 0xffff != 0 {
            return Err(bad);
        }
        if opcode == Opcode::Set {
            let register = Register::from_byte(a).ok_or(bad)?;
            self.registers[register as usize] = immediate;
            self.next += 1;
            return Ok(Item::Set(register, immediate));
        }
        if immediate != 0 || a & !opcode.flags() != 0 {
            return Err(bad);
        }
        // END stays where it is: whoever asks again finds it again.
        let Some(command) = self.started(opcode, a) else { return Ok(Item::End) };
        self.next += 1;
        Ok(Item::Command(command))
    }

    fn started(&self, opcode: Opcode, flags: u8) -> Option<Command> {
        Some(match opcode {
            Opcode::End | Opcode::Set => return None,
            Opcode::Load => Command::Load(self.transfer()),
            Opcode::Store => Command::Store(self.transfer()),
            Opcode::Weights => {
                Command::Weights { tile: self.get(Register::Weights), zero: self.byte(Register::WeightZero) }
            }
            Opcode::MatMul => Command::MatMul {
                area: self.area(),
                source: self.source(),
                zero: self.byte(Register::SourceZero),
                acc: self.get(Register::Accumulator),
                accumulate: flags & ACCUMULATE != 0,
            },
            Opcode::Depthwise => Command::Depthwise {
                area: self.area(),
                source: self.source(),
                taps: self.taps(),
                zero: self.byte(Register::SourceZero),
                weights: self.get(Register::Weights),
                weight_zero: self.byte(Register::WeightZero),
                acc: self.get(Register::Accumulator),
                accumulate: flags & ACCUMULATE != 0,
            },
            Opcode::Requantise => Command::Requantise {
                area: self.area(),
                acc: self.get(Register::Accumulator),
                parameters: self.get(Register::Parameters),
                target: self.target(),
                range: self.range(),
            },
            Opcode::Add => Command::Add {
                area: self.area(),
                a: self.source(),
                a_quant: self.quant(Register::SourceZero, Register::SourceScale),
                b: self.walk(Register::Second, Register::SecondRow, Register::SecondCol),
                b_quant: self.quant(Register::SecondZero, Register::SecondScale),
                target: self.target(),
                scale: f32::from_bits(self.get(Register::TargetScale)),
                range: self.range(),
            },
            Opcode::Lookup => Command::Lookup {
                area: self.area(),
                source: self.source(),
                target: self.target(),
                table: self.get(Register::Parameters),
                per_lane: flags & PER_LANE != 0,
            },
            Opcode::MaxPool => Command::MaxPool {
                area: self.area(),
                source: self.source(),
                taps: self.taps(),
                target: self.target(),
            },
            Opcode::Move => Command::Move { area: self.area(), source: self.source(), target: self.target() },
            Opcode::Fill => {
                Command::Fill { area: self.area(), target: self.target(), value: self.byte(Register::Value) }
            }
        })
    }

    fn get(&self, register: Register) -> u32 {
        self.registers[register as usize]
    }

    fn byte(&self, register: Register) -> i8 {
        self.get(register) as i8
    }

    fn area(&self) -> Area {
        Area { rows: self.get(Register::Rows), cols: self.get(Register::Cols) }
    }

    fn walk(&self, address: Register, row: Register, col: Register) -> Walk {
        Walk { address: self.get(address), row: self.get(row), col: self.get(col) }
    }

    fn source(&self) -> Walk {
        self.walk(Register::Source, Register::SourceRow, Register::SourceCol)
    }

    fn target(&self) -> Walk {
        self.walk(Register::Target, Register::TargetRow, Register::TargetCol)
    }

    fn taps(&self) -> Taps {
        Taps {
            rows: self.get(Register::TapRows),
            cols: self.get(Register::TapCols),
            row: self.get(Register::TapRow),
            col: self.get(Register::TapCol),
        }
    }

    fn quant(&self, zero: Register, scale: Register) -> Quant {
        Quant { scale: f32::from_bits(self.get(scale)), zero: self.byte(zero) }
    }

    fn range(&self) -> Range {
        Range {
            zero: self.byte(Register::TargetZero),
            low: self.byte(Register::TargetLow),
            high: self.byte(Register::TargetHigh),
        }
    }

    fn transfer(&self) -> Transfer {
        Transfer {
            dram: self.get(Register::Dram),
            dram_row: self.get(Register::DramRow),
            dram_plane: self.get(Register::DramPlane),
            spm: self.get(Register::Spm),
            spm_row: self.get(Register::SpmRow),
            spm_plane: self.get(Register::SpmPlane),
            row_bytes: self.get(Register::RowBytes),
            rows: self.get(Register::DmaRows),
            planes: self.get(Register::DmaPlanes),
        }
    }
}
