//! Cast, CastLike and BitCast.

use byoc_graph::{DType, Tensor};
use bytes::Bytes;

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::minifloat;
use super::numbers::{self, Numbers};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] =
    &[onnx("Cast", 1, cast), onnx("CastLike", 15, cast_like), onnx("BitCast", 26, bit_cast)];

fn cast(call: &Call<'_>) -> Outputs {
    let to = match call.attr("to").and_then(|a| a.as_str()) {
        // Opset 5 and earlier named the type.
        Some(name) => DType::from_name(&name.to_lowercase()).ok_or_else(|| Fault::Attribute {
            name: "to".into(),
            why: format!("is `{name}`, which is no type"),
        })?,
        None => call.dtype_opt("to")?.ok_or_else(|| invalid!("attribute `to` is missing"))?,
    };
    let options = Options::of(call)?;
    Ok(vec![convert(call.tensor(0)?, to, &options)?.into()])
}

fn cast_like(call: &Call<'_>) -> Outputs {
    let options = Options::of(call)?;
    Ok(vec![convert(call.tensor(0)?, call.tensor(1)?.dtype(), &options)?.into()])
}

/// How values that do not fit become small floats.
pub(super) struct Options {
    saturate: bool,
    rounding: Rounding,
}

#[derive(Clone, Copy, PartialEq)]
enum Rounding {
    Nearest,
    Up,
    Down,
}

impl Options {
    pub const PLAIN: Options = Options { saturate: true, rounding: Rounding::Nearest };

    fn of(call: &Call<'_>) -> Result<Options, Fault> {
        let rounding = match call.text_opt("round_mode")?.unwrap_or("nearest") {
            "nearest" => Rounding::Nearest,
            "up" => Rounding::Up,
            "down" => Rounding::Down,
            other => {
                let why = format!("is `{other}`, where `nearest`, `up` and `down` are known");
                return Err(Fault::Attribute { name: "round_mode".into(), why });
            }
        };
        Ok(Options { saturate: call.int_opt("saturate")?.unwrap_or(1) != 0, rounding })
    }
}

pub(super) fn convert(tensor: &Tensor, to: DType, options: &Options) -> Result<Tensor, Fault> {
    let dims = tensor.dims();
    if to == tensor.dtype() {
        return Ok(tensor.clone());
    }
    if to == DType::Str {
        return Ok(Tensor::from_strings(dims, texts(tensor)?)?);
    }
    if let Some(strings) = tensor.strings() {
        return parse(strings, to, dims);
    }
    match numbers::numbers(tensor)? {
        Numbers::Floats(values) if to.is_float() => floats_to(to, dims, &values, options),
        Numbers::Ints(values) if to.is_float() => {
            let values: Vec<f64> = values.iter().map(|&x| x as f64).collect();
            floats_to(to, dims, &values, options)
        }
        Numbers::Floats(values) if to == DType::Bool => {
            Ok(Tensor::from_bools(dims, values.iter().map(|&x| x != 0.0).collect())?)
        }
        // What does not fit is not defined; saturating at 128 bits and wrapping below is as good as any.
        Numbers::Floats(values) => {
            let whole: Vec<i128> = values.iter().map(|&x| x as i128).collect();
            numbers::from_ints(to, dims, &whole)
        }
        Numbers::Ints(values) => numbers::from_ints(to, dims, &values),
    }
}

fn floats_to(to: DType, dims: &[usize], values: &[f64], options: &Options) -> Result<Tensor, Fault> {
    let Some(format) = minifloat::format(to) else {
        return numbers::from_floats(to, dims, values);
    };
    let encode = |x: &f64| match (to, options.rounding) {
        (DType::F8E8M0, rounding) => exponent_code(*x, rounding, options.saturate),
        // Without infinity and NaN there is nothing else that they could do.
        (DType::F4E2M1 | DType::F6E2M3 | DType::F6E3M2, _) => format.encode(*x, true),
        _ => format.encode(*x, options.saturate),
    };
    numbers::from_codes(to, dims, &values.iter().map(encode).collect::<Vec<u8>>())
}

/// E8M0 holds powers of two only: `round_mode` says which one a value between two of them becomes.
fn exponent_code(x: f64, rounding: Rounding, saturate: bool) -> u8 {
    const NAN: u8 = 0xff;
    if x.is_nan() || x < 0.0 {
        return NAN;
    }
    if x == 0.0 {
        return if saturate { 0 } else { NAN };
    }
    let exponent = x.log2();
    let rounded = match rounding {
        Rounding::Up => exponent.ceil(),
        Rounding::Down => exponent.floor(),
        // To the nearest value, not the nearest exponent; a tie goes up.
        Rounding::Nearest if x / exponent.floor().exp2() >= 1.5 => exponent.floor() + 1.0,
        Rounding::Nearest => exponent.floor(),
    };
    match rounded + 127.0 {
        code if code > 254.0 && saturate => 254,
        code if code < 0.0 && saturate => 0,
        code if !(0.0..=254.0).contains(&code) => NAN,
        code => code as u8,
    }
}

fn texts(tensor: &Tensor) -> Result<Vec<Bytes>, Fault> {
    Ok(match numbers::numbers(tensor)? {
        Numbers::Floats(values) => {
            let single = tensor.dtype() != DType::F64;
            values.iter().map(|&x| float_text(x, single).into()).collect()
        }
        Numbers::Ints(values) if tensor.dtype() == DType::Bool => {
            values.iter().map(|&x| Bytes::from_static(if x != 0 { b"True" } else { b"False" })).collect()
        }
        Numbers::Ints(values) => values.iter().map(|x| x.to_string().into()).collect(),
    })
}

/// As numpy prints it: the shortest digits that name the value, in scientific notation where that is usual.
fn float_text(x: f64, single: bool) -> String {
    if x.is_nan() {
        return "NaN".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "INF" } else { "-INF" }.into();
    }
    let magnitude = x.abs();
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = if single { format!("{:e}", x as f32) } else { format!("{x:e}") };
        let (digits, exponent) = text.split_once('e').expect("scientific notation has an exponent");
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    if single { format!("{}", x as f32) } else { format!("{x}") }
}

fn parse(strings: &[Bytes], to: DType, dims: &[usize]) -> Result<Tensor, Fault> {
    let text = |bytes: &Bytes| -> Result<String, Fault> {
        let text = std::str::from_utf8(bytes).map_err(|_| invalid!("{bytes:?} is not text"))?;
        Ok(text.trim().to_owned())
    };
    if to.is_integer() || to == DType::Bool {
        let read = |bytes: &Bytes| {
            let text = text(bytes)?;
            text.parse::<i128>().or_else(|_| match &*text {
                "True" | "true" => Ok(1),
                "False" | "false" => Ok(0),
                other => {
                    other.parse::<f64>().map(|x| x as i128).map_err(|_| invalid!("`{other}` is not a number"))
                }
            })
        };
        let values = strings.iter().map(read).collect::<Result<Vec<i128>, Fault>>()?;
        return numbers::from_ints(to, dims, &values);
    }
    let read = |bytes: &Bytes| {
        let text = text(bytes)?;
        text.parse::<f64>().map_err(|_| invalid!("`{text}` is not a number"))
    };
    let values = strings.iter().map(read).collect::<Result<Vec<f64>, Fault>>()?;
    floats_to(to, dims, &values, &Options::PLAIN)
}

/// The same bits under another type of the same width.
fn bit_cast(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let to = call.dtype_opt("to")?.ok_or_else(|| invalid!("attribute `to` is missing"))?;
    ensure!(
        to.bits() == tensor.dtype().bits() && to != DType::Str && tensor.dtype() != DType::Str,
        "the bits of {} are not those of {to}",
        tensor.dtype()
    );
    Ok(vec![Tensor::from_bytes(to, tensor.dims(), tensor.bytes().clone())?.into()])
}
