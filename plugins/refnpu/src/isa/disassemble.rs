//! A stream as text: one line a word, a command with the operands it finds in the registers.

use std::fmt::{self, Write as _};

use super::command::{Area, Command, Taps, Transfer, Walk};
use super::decode::{Decoder, Item, StreamError};
use super::register::Register;
use crate::quant::{Quant, Range};

/// One line a word; ends with END.
pub fn disassemble(words: &[u64]) -> Result<String, StreamError> {
    let mut decoder = Decoder::new(words);
    let mut text = String::new();
    loop {
        let at = decoder.position();
        // Writing to a string cannot fail.
        let _ = match decoder.item()? {
            Item::Set(register, value) => {
                writeln!(text, "{at:5}    set {:<13}{}", register.name(), Content(register, value))
            }
            Item::Command(command) => writeln!(text, "{at:5}  {command}"),
            Item::End => {
                let _ = writeln!(text, "{at:5}  end");
                return Ok(text);
            }
        };
    }
}

/// A register's content as its meaning asks.
struct Content(Register, u32);

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Content(register, value) = *self;
        if register.is_float() {
            write!(f, "{:?}", f32::from_bits(value))
        } else if register.is_int8() {
            write!(f, "{}", value as i8)
        } else if matches!(register, Register::Dram) {
            write!(f, "{value:#x}")
        } else {
            write!(f, "{value}")
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Load(t) => write!(f, "load       {} -> {}", Dram(t), Spm(t)),
            Command::Store(t) => write!(f, "store      {} <- {}", Dram(t), Spm(t)),
            Command::Weights { tile, zero } => write!(f, "weights    spm {tile} zero {zero}"),
            Command::MatMul { area, source, zero, acc, accumulate } => {
                write!(f, "matmul     {area} {source} zero {zero} -> acc {acc}{}", Mode(*accumulate))
            }
            Command::Depthwise { area, source, taps, zero, weights, weight_zero, acc, accumulate } => write!(
                f,
                "depthwise  {area} {source} zero {zero} {taps} weights {weights} zero {weight_zero} -> acc {acc}{}",
                Mode(*accumulate)
            ),
            Command::Requantise { area, acc, parameters, target, range } => {
                write!(f, "requantise {area} acc {acc} params {parameters} -> {target} {range}")
            }
            Command::Add { area, a, a_quant, b, b_quant, target, scale, range } => {
                write!(
                    f,
                    "add        {area} {a} {a_quant} + {b} {b_quant} -> {target} scale {scale:?} {range}"
                )
            }
            Command::Lookup { area, source, target, table, per_lane } => {
                let tables = if *per_lane { "tables" } else { "table" };
                write!(f, "lookup     {area} {source} {tables} {table} -> {target}")
            }
            Command::MaxPool { area, source, taps, target } => {
                write!(f, "maxpool    {area} {source} {taps} -> {target}")
            }
            Command::Move { area, source, target } => write!(f, "move       {area} {source} -> {target}"),
            Command::Fill { area, target, value } => write!(f, "fill       {area} {target} with {value}"),
        }
    }
}

struct Dram<'a>(&'a Transfer);
struct Spm<'a>(&'a Transfer);
struct Mode(bool);

impl fmt::Display for Dram<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let t = self.0;
        write!(f, "{}x{}x{} dram {:#x}", t.planes, t.rows, t.row_bytes, t.dram)?;
        steps(f, t.dram_plane, t.dram_row)
    }
}

impl fmt::Display for Spm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spm {}", self.0.spm)?;
        steps(f, self.0.spm_plane, self.0.spm_row)
    }
}

fn steps(f: &mut fmt::Formatter<'_>, outer: u32, inner: u32) -> fmt::Result {
    if (outer, inner) == (0, 0) { Ok(()) } else { write!(f, "[{outer},{inner}]") }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { " accumulate" } else { "" })
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.rows, self.cols)
    }
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spm {}[{},{}]", self.address, self.row, self.col)
    }
}

impl fmt::Display for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "taps {}x{}[{},{}]", self.rows, self.cols, self.row, self.col)
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "scale {:?} zero {}", self.scale, self.zero)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zero {} in {}..{}", self.zero, self.low, self.high)
    }
}
