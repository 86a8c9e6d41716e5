//! Floating-point types of 8, 6 and 4 bits, by their layout.
//!
//! Formats: OCP 8-bit floating point (E4M3, E5M2), its `FNUZ` variants without negative zero and infinity,
//! and OCP microscaling (E2M1, E2M3, E3M2, E8M0).

use byoc_graph::DType;

#[derive(Clone, Copy)]
pub struct Format {
    /// Codes of non-negative finite values, from zero up, are `0..=max`.
    max: u8,
    mantissa_bits: u32,
    bias: i32,
    sign: Option<u8>,
    nan: Option<u8>,
    infinity: Option<u8>,
    /// The code that would be negative zero is NaN.
    unsigned_zero: bool,
}

pub fn format(dtype: DType) -> Option<Format> {
    let common = Format {
        max: 0,
        mantissa_bits: 0,
        bias: 0,
        sign: Some(0x80),
        nan: None,
        infinity: None,
        unsigned_zero: false,
    };
    Some(match dtype {
        DType::F8E4M3FN => Format { max: 0x7e, mantissa_bits: 3, bias: 7, nan: Some(0x7f), ..common },
        DType::F8E4M3FNUZ => {
            Format { max: 0x7f, mantissa_bits: 3, bias: 8, nan: Some(0x80), unsigned_zero: true, ..common }
        }
        DType::F8E5M2 => {
            Format { max: 0x7b, mantissa_bits: 2, bias: 15, nan: Some(0x7e), infinity: Some(0x7c), ..common }
        }
        DType::F8E5M2FNUZ => {
            Format { max: 0x7f, mantissa_bits: 2, bias: 16, nan: Some(0x80), unsigned_zero: true, ..common }
        }
        // Without a code for NaN, negative zero stands for it.
        DType::F4E2M1 => {
            Format { max: 0x7, mantissa_bits: 1, bias: 1, sign: Some(0x8), nan: Some(0x8), ..common }
        }
        DType::F6E2M3 => {
            Format { max: 0x1f, mantissa_bits: 3, bias: 1, sign: Some(0x20), nan: Some(0x20), ..common }
        }
        DType::F6E3M2 => {
            Format { max: 0x1f, mantissa_bits: 2, bias: 3, sign: Some(0x20), nan: Some(0x20), ..common }
        }
        DType::F8E8M0 => Format { max: 0xfe, bias: 127, sign: None, nan: Some(0xff), ..common },
        _ => return None,
    })
}

/// Whether quantised numbers may be of this type. Scales alone are of E8M0.
pub fn is_float8(dtype: DType) -> bool {
    matches!(dtype, DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ)
}

impl Format {
    /// The value of a code between zero and `max`.
    fn magnitude(&self, code: u8) -> f64 {
        let exponent = i32::from(code >> self.mantissa_bits);
        let fraction = f64::from(code & ((1 << self.mantissa_bits) - 1)) / f64::from(1 << self.mantissa_bits);
        if self.sign.is_none() {
            return 2f64.powi(exponent - self.bias);
        }
        match exponent {
            0 => fraction * 2f64.powi(1 - self.bias),
            _ => (1.0 + fraction) * 2f64.powi(exponent - self.bias),
        }
    }

    pub fn decode(&self, code: u8) -> f64 {
        let sign = self.sign.unwrap_or(0);
        let magnitude = code & !sign;
        if (self.unsigned_zero && code == sign) || (!self.unsigned_zero && magnitude > self.max) {
            return match self.infinity {
                Some(infinity) if magnitude == infinity && code & sign != 0 => f64::NEG_INFINITY,
                Some(infinity) if magnitude == infinity => f64::INFINITY,
                _ => f64::NAN,
            };
        }
        if code & sign != 0 { -self.magnitude(magnitude) } else { self.magnitude(code) }
    }

    /// Rounds to nearest even; what is too large becomes the greatest value where `saturate`, else infinity
    /// or NaN.
    pub fn encode(&self, x: f64, saturate: bool) -> u8 {
        let sign = match self.sign {
            Some(bit) if x.is_sign_negative() => bit,
            _ => 0,
        };
        if x.is_nan() {
            return self.nan.map_or(self.max, |nan| if self.unsigned_zero { nan } else { nan | sign });
        }
        let code = self.nearest(x.abs(), saturate);
        match code {
            Some(0) if self.unsigned_zero => 0,
            Some(code) => code | sign,
            None => match (self.infinity, self.nan) {
                (Some(infinity), _) => infinity | sign,
                (None, Some(nan)) if self.unsigned_zero => nan,
                (None, Some(nan)) => nan | sign,
                (None, None) => self.max | sign,
            },
        }
    }

    /// The code nearest to a magnitude; `None` where it lies beyond the greatest value.
    fn nearest(&self, x: f64, saturate: bool) -> Option<u8> {
        let (mut low, mut high) = (0u8, self.max);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.magnitude(middle) <= x { low = middle } else { high = middle - 1 }
        }
        if low < self.max {
            let (below, above) = (x - self.magnitude(low), self.magnitude(low + 1) - x);
            let up = above < below || (above == below && low % 2 == 1);
            return Some(low + u8::from(up));
        }
        // Half a step beyond the greatest value still rounds down to it, and so does the tie if it is even.
        let top = self.magnitude(self.max);
        let half_step = (top - self.magnitude(self.max - 1)) / 2.0;
        let rounds_down = x < top + half_step || (x == top + half_step && self.max.is_multiple_of(2));
        (saturate || (rounds_down && x.is_finite())).then_some(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_a_round_trip() {
        for dtype in DType::ALL.iter().copied().filter(|dtype| dtype.is_float() && dtype.bits() <= 8) {
            let format = format(dtype).unwrap();
            for code in 0..(1u16 << dtype.bits()) {
                let code = code as u8;
                let value = format.decode(code);
                if !value.is_nan() {
                    assert_eq!(format.encode(value, false), code, "{dtype} {code:#x} = {value}");
                }
            }
        }
    }

    #[test]
    fn six_bits_span_what_the_formats_say() {
        let ends = |dtype| {
            let format = format(dtype).unwrap();
            [0x01, 0x08, 0x1f, 0x20, 0x3f].map(|code| format.decode(code))
        };
        assert_eq!(ends(DType::F6E2M3), [0.125, 1.0, 7.5, 0.0, -7.5]);
        assert_eq!(ends(DType::F6E3M2), [0.0625, 0.5, 28.0, 0.0, -28.0]);
    }

    #[test]
    fn too_large_saturates_or_overflows() {
        let e4m3 = format(DType::F8E4M3FN).unwrap();
        assert_eq!(e4m3.decode(e4m3.encode(1e6, true)), 448.0);
        assert!(e4m3.decode(e4m3.encode(1e6, false)).is_nan());
        let e5m2 = format(DType::F8E5M2).unwrap();
        assert_eq!(e5m2.decode(e5m2.encode(-1e6, false)), f64::NEG_INFINITY);
        let e2m1 = format(DType::F4E2M1).unwrap();
        assert_eq!([0.25, 0.75, 2.5, 5.0].map(|x| e2m1.decode(e2m1.encode(x, true))), [0.0, 1.0, 2.0, 4.0]);
    }
}
