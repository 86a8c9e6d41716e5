//! Commands to words.

use super::command::{Area, Command, Taps, Transfer, Walk};
use super::register::{COUNT, Register};
use super::{ACCUMULATE, Opcode, PER_LANE, word};
use crate::quant::{Quant, Range};

/// The stream that performs these commands; a register is set only where its value changes.
pub fn encode<'a>(commands: impl IntoIterator<Item = &'a Command>) -> Vec<u64> {
    let mut encoder = Encoder { words: Vec::new(), registers: [0; COUNT] };
    for command in commands {
        encoder.command(command);
    }
    encoder.words.push(word(Opcode::End, 0, 0));
    encoder.words
}

struct Encoder {
    words: Vec<u64>,
    registers: [u32; COUNT],
}

impl Encoder {
    fn command(&mut self, command: &Command) {
        match *command {
            Command::Load(transfer) => self.transfer(Opcode::Load, &transfer),
            Command::Store(transfer) => self.transfer(Opcode::Store, &transfer),
            Command::Weights { tile, zero } => {
                self.set(Register::Weights, tile);
                self.set_byte(Register::WeightZero, zero);
                self.start(Opcode::Weights, 0);
            }
            Command::MatMul { area, source, zero, acc, accumulate } => {
                self.area(area);
                self.source(source);
                self.set_byte(Register::SourceZero, zero);
                self.set(Register::Accumulator, acc);
                self.start(Opcode::MatMul, if accumulate { ACCUMULATE } else { 0 });
            }
            Command::Depthwise { area, source, taps, zero, weights, weight_zero, acc, accumulate } => {
                self.area(area);
                self.source(source);
                self.taps(taps);
                self.set_byte(Register::SourceZero, zero);
                self.set(Register::Weights, weights);
                self.set_byte(Register::WeightZero, weight_zero);
                self.set(Register::Accumulator, acc);
                self.start(Opcode::Depthwise, if accumulate { ACCUMULATE } else { 0 });
            }
            Command::Requantise { area, acc, parameters, target, range } => {
                self.area(area);
                self.set(Register::Accumulator, acc);
                self.set(Register::Parameters, parameters);
                self.target(target);
                self.range(range);
                self.start(Opcode::Requantise, 0);
            }
            Command::Add { area, a, a_quant, b, b_quant, target, scale, range } => {
                self.area(area);
                self.source(a);
                self.quant(Register::SourceZero, Register::SourceScale, a_quant);
                self.second(b);
                self.quant(Register::SecondZero, Register::SecondScale, b_quant);
                self.target(target);
                self.set(Register::TargetScale, scale.to_bits());
                self.range(range);
                self.start(Opcode::Add, 0);
            }
            Command::Lookup { area, source, target, table, per_lane } => {
                self.area(area);
                self.source(source);
                self.target(target);
                self.set(Register::Parameters, table);
                self.start(Opcode::Lookup, if per_lane { PER_LANE } else { 0 });
            }
            Command::MaxPool { area, source, taps, target } => {
                self.area(area);
                self.source(source);
                self.taps(taps);
                self.target(target);
                self.start(Opcode::MaxPool, 0);
            }
            Command::Move { area, source, target } => {
                self.area(area);
                self.source(source);
                self.target(target);
                self.start(Opcode::Move, 0);
            }
            Command::Fill { area, target, value } => {
                self.area(area);
                self.target(target);
                self.set_byte(Register::Value, value);
                self.start(Opcode::Fill, 0);
            }
        }
    }

    fn set(&mut self, register: Register, value: u32) {
        let held = &mut self.registers[register as usize];
        if *held != value {
            *held = value;
            self.words.push(word(Opcode::Set, register as u8, value));
        }
    }

    fn set_byte(&mut self, register: Register, value: i8) {
        self.set(register, u32::from(value as u8));
    }

    fn start(&mut self, opcode: Opcode, flags: u8) {
        self.words.push(word(opcode, flags, 0));
    }

    fn transfer(&mut self, opcode: Opcode, transfer: &Transfer) {
        self.set(Register::Dram, transfer.dram);
        self.set(Register::DramRow, transfer.dram_row);
        self.set(Register::DramPlane, transfer.dram_plane);
        self.set(Register::Spm, transfer.spm);
        self.set(Register::SpmRow, transfer.spm_row);
        self.set(Register::SpmPlane, transfer.spm_plane);
        self.set(Register::RowBytes, transfer.row_bytes);
        self.set(Register::DmaRows, transfer.rows);
        self.set(Register::DmaPlanes, transfer.planes);
        self.start(opcode, 0);
    }

    fn area(&mut self, area: Area) {
        self.set(Register::Rows, area.rows);
        self.set(Register::Cols, area.cols);
    }

    fn source(&mut self, walk: Walk) {
        self.set(Register::Source, walk.address);
        self.set(Register::SourceRow, walk.row);
        self.set(Register::SourceCol, walk.col);
    }

    fn second(&mut self, walk: Walk) {
        self.set(Register::Second, walk.address);
        self.set(Register::SecondRow, walk.row);
        self.set(Register::SecondCol, walk.col);
    }

    fn target(&mut self, walk: Walk) {
        self.set(Register::Target, walk.address);
        self.set(Register::TargetRow, walk.row);
        self.set(Register::TargetCol, walk.col);
    }

    fn taps(&mut self, taps: Taps) {
        self.set(Register::TapRows, taps.rows);
        self.set(Register::TapCols, taps.cols);
        self.set(Register::TapRow, taps.row);
        self.set(Register::TapCol, taps.col);
    }

    fn quant(&mut self, zero: Register, scale: Register, quant: Quant) {
        self.set_byte(zero, quant.zero);
        self.set(scale, quant.scale.to_bits());
    }

    fn range(&mut self, range: Range) {
        self.set_byte(Register::TargetZero, range.zero);
        self.set_byte(Register::TargetLow, range.low);
        self.set_byte(Register::TargetHigh, range.high);
    }
}
