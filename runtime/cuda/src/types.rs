//! Element types as CUDA C has them.

use byoc_plugin::{DType, Error, Result};

/// How an element type is stored, and what it is computed in.
#[derive(Debug, PartialEq, Eq)]
pub struct CType {
    pub dtype: DType,
    /// What `ld` and `st` of the prelude take.
    pub stored: &'static str,
    pub computed: &'static str,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Float,
    Int,
    Bool,
}

const fn row(dtype: DType, stored: &'static str, computed: &'static str, kind: Kind) -> CType {
    CType { dtype, stored, computed, kind }
}

/// The types that kernels are generated for.
const TYPES: [CType; 13] = [
    row(DType::F32, "float", "float", Kind::Float),
    row(DType::F64, "double", "double", Kind::Float),
    row(DType::F16, "f16", "float", Kind::Float),
    row(DType::BF16, "bf16", "float", Kind::Float),
    row(DType::I8, "signed char", "signed char", Kind::Int),
    row(DType::I16, "short", "short", Kind::Int),
    row(DType::I32, "int", "int", Kind::Int),
    row(DType::I64, "long long", "long long", Kind::Int),
    row(DType::U8, "unsigned char", "unsigned char", Kind::Int),
    row(DType::U16, "unsigned short", "unsigned short", Kind::Int),
    row(DType::U32, "unsigned int", "unsigned int", Kind::Int),
    row(DType::U64, "unsigned long long", "unsigned long long", Kind::Int),
    row(DType::Bool, "boolean", "bool", Kind::Bool),
];

/// The row of an element type; an error for those that no kernel is generated for.
pub fn of(dtype: DType) -> Result<&'static CType> {
    let row = TYPES.iter().find(|row| row.dtype == dtype);
    row.ok_or_else(|| Error::unsupported(format!("{dtype} is computed by no kernel")))
}

/// Bytes of an element.
pub fn size(dtype: DType) -> usize {
    dtype.bits() as usize / 8
}

/// The number that the bits of a float16 stand for.
pub fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

impl CType {
    pub fn is_float(&self) -> bool {
        self.kind == Kind::Float
    }

    /// The number below which there is none.
    pub fn lowest(&self) -> String {
        match (self.is_float(), self.computed.starts_with("unsigned") || self.kind == Kind::Bool) {
            (true, _) => self.literal(f64::NEG_INFINITY),
            (_, true) => "0".into(),
            _ => format!("({})(1ull << {})", self.computed, self.dtype.bits() - 1),
        }
    }

    /// A number of this type, as it is written in the source.
    pub fn literal(&self, value: f64) -> String {
        let text = match value {
            _ if value.is_nan() => "(0.0 / 0.0)".to_owned(),
            f64::INFINITY => "(1.0 / 0.0)".to_owned(),
            f64::NEG_INFINITY => "(-1.0 / 0.0)".to_owned(),
            _ if self.kind != Kind::Float => format!("{}ll", value as i64),
            _ if value == value.trunc() && value.abs() < 1e7 => format!("{value:.1}"),
            _ => format!("{value:e}"),
        };
        match (self.computed, self.kind) {
            ("double", _) => text,
            ("float", _) if value.is_finite() => format!("{text}f"),
            (computed, _) => format!("({computed})({text})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_the_numbers_of_their_bits() {
        let numbers = [0x3c00, 0xc500, 0x0001, 0x7bff].map(half);
        assert_eq!(numbers, [1.0, -5.0, 2f64.powi(-24), 65504.0]);
        assert!(half(0xfc00) == f64::NEG_INFINITY && half(0x7e00).is_nan());
    }

    #[test]
    fn literals_say_what_they_are() {
        let float = of(DType::F32).unwrap();
        let written = [0.5f32, 1.0, -3.0, 1e-5, 3e9, f32::INFINITY].map(|value| float.literal(value.into()));
        let expected = ["5e-1f", "1.0f", "-3.0f", "9.999999747378752e-6f", "3e9f", "(float)((1.0 / 0.0))"];
        assert_eq!(written, expected);
        assert_eq!(of(DType::I64).unwrap().literal(-7.0), "(long long)(-7ll)");
        assert!(of(DType::F8E5M2).unwrap_err().message.contains("float8e5m2"));
    }
}
