//! Element types: every `TensorProto.DataType` of opset 28.

use std::fmt;

macro_rules! dtypes {
    ($($variant:ident = $code:literal, $bits:literal, $name:literal, $onnx:literal;)*) => {
        /// The type of a tensor's elements. The discriminant is ONNX's code for it.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DType { $($variant = $code,)* }

        impl DType {
            pub const ALL: &'static [DType] = &[$(DType::$variant,)*];

            /// The element type with this `TensorProto.DataType` code.
            pub fn from_onnx(code: i32) -> Option<DType> {
                match code { $($code => Some(DType::$variant),)* _ => None }
            }

            /// Bits that one element takes; 0 for strings, whose elements vary in length.
            pub const fn bits(self) -> usize {
                match self { $(DType::$variant => $bits,)* }
            }

            /// The name that numpy and ml_dtypes use, as in `where` clauses.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* }
            }

            /// The name of ONNX's textual syntax, as in `float[3]`.
            pub const fn onnx_name(self) -> &'static str {
                match self { $(DType::$variant => $onnx,)* }
            }
        }
    };
}

dtypes! {
    F32 = 1, 32, "float32", "float";
    U8 = 2, 8, "uint8", "uint8";
    I8 = 3, 8, "int8", "int8";
    U16 = 4, 16, "uint16", "uint16";
    I16 = 5, 16, "int16", "int16";
    I32 = 6, 32, "int32", "int32";
    I64 = 7, 64, "int64", "int64";
    Str = 8, 0, "string", "string";
    Bool = 9, 8, "bool", "bool";
    F16 = 10, 16, "float16", "float16";
    F64 = 11, 64, "float64", "double";
    U32 = 12, 32, "uint32", "uint32";
    U64 = 13, 64, "uint64", "uint64";
    C64 = 14, 64, "complex64", "complex64";
    C128 = 15, 128, "complex128", "complex128";
    BF16 = 16, 16, "bfloat16", "bfloat16";
    F8E4M3FN = 17, 8, "float8e4m3fn", "float8e4m3fn";
    F8E4M3FNUZ = 18, 8, "float8e4m3fnuz", "float8e4m3fnuz";
    F8E5M2 = 19, 8, "float8e5m2", "float8e5m2";
    F8E5M2FNUZ = 20, 8, "float8e5m2fnuz", "float8e5m2fnuz";
    U4 = 21, 4, "uint4", "uint4";
    I4 = 22, 4, "int4", "int4";
    F4E2M1 = 23, 4, "float4e2m1", "float4e2m1";
    F8E8M0 = 24, 8, "float8e8m0", "float8e8m0";
    U2 = 25, 2, "uint2", "uint2";
    I2 = 26, 2, "int2", "int2";
    F6E2M3 = 27, 6, "float6e2m3", "float6e2m3";
    F6E3M2 = 28, 6, "float6e3m2", "float6e3m2";
}

impl DType {
    /// ONNX's code for this type.
    pub const fn onnx(self) -> i32 {
        self as i32
    }

    /// Looks a type up by its numpy name or its ONNX name.
    pub fn from_name(name: &str) -> Option<DType> {
        Self::ALL.iter().copied().find(|t| t.name() == name || t.onnx_name() == name)
    }

    /// Bytes that `count` elements take; sub-byte elements are packed. `None` on overflow and for strings.
    pub fn byte_len(self, count: usize) -> Option<usize> {
        match self.bits() {
            0 => None,
            bits if bits >= 8 => count.checked_mul(bits / 8),
            // Whole groups of eight elements first, so that the count of bits cannot overflow.
            bits => Some(count / 8 * bits + (count % 8 * bits).div_ceil(8)),
        }
    }

    pub const fn is_float(self) -> bool {
        use DType::*;
        let small =
            matches!(self, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F8E8M0 | F6E2M3 | F6E3M2 | F4E2M1);
        small || matches!(self, F32 | F64 | F16 | BF16)
    }

    pub const fn is_complex(self) -> bool {
        matches!(self, DType::C64 | DType::C128)
    }

    /// Whole numbers; `bool` is not one.
    pub const fn is_integer(self) -> bool {
        use DType::*;
        matches!(self, U8 | I8 | U16 | I16 | I32 | I64 | U32 | U64 | U4 | I4 | U2 | I2)
    }

    pub const fn is_signed(self) -> bool {
        use DType::*;
        matches!(self, I8 | I16 | I32 | I64 | I4 | I2) || self.is_float()
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A Rust type whose values are the elements of a tensor of `DTYPE`.
pub trait Element: bytemuck::Pod + PartialEq + Send + Sync + 'static {
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),* $(,)?) => {
        $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })*
    };
}

elements! {
    f32 => F32, f64 => F64, half::f16 => F16, half::bf16 => BF16,
    u8 => U8, i8 => I8, u16 => U16, i16 => I16, u32 => U32, i32 => I32, u64 => U64, i64 => I64,
}
