//! The quantised semantics, in one place: codegen, vector unit and look-up tables all use these functions.
//!
//! - Products: `acc = bias + Σ (x − x_zero) · (w − w_zero)` in wrapping int32. Then
//!   `y = saturate(round_half_even(f32(acc) · m) + y_zero)` with one float32 multiplier a channel,
//!   `m = (x_scale · w_scale) / y_scale`, each step rounded to float32.
//! - A float or differently scaled bias is first brought to int32 steps of `x_scale · w_scale`, half to even.
//! - Averages: as products with all weights one, and `m = x_scale / (y_scale · f32(count))`.
//! - Everything elementwise is what the standard's nodes compute in float32, one after the other:
//!   `DequantizeLinear: (q − zero) · scale`, the operator, `QuantizeLinear: saturate(round_half_even(v / scale) + zero)`.
//! - The device knows int8 only. A uint8 `q` with zero `z` is the int8 `q − 128` with zero `z − 128`: the same number.

/// Scale and zero point of a tensor, the zero point as the device's int8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quant {
    pub scale: f32,
    pub zero: i8,
}

/// What becomes of a result on its way to int8: where zero is, and what an activation leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    pub zero: i8,
    pub low: i8,
    pub high: i8,
}

impl Quant {
    pub fn dequantise(self, q: i8) -> f32 {
        (i32::from(q) - i32::from(self.zero)) as f32 * self.scale
    }

    pub fn quantise(self, value: f32) -> i8 {
        round_into(value / self.scale, Range::full(self.zero))
    }

    /// The range of an output whose float value is clipped to `low..=high` before it is quantised. The same as
    /// clipping the quantised value, since quantising never decreases.
    pub fn clipped(self, low: f32, high: f32) -> Range {
        Range { zero: self.zero, low: self.quantise(low), high: self.quantise(high) }
    }
}

impl Range {
    /// All of int8.
    pub const fn full(zero: i8) -> Self {
        Range { zero, low: i8::MIN, high: i8::MAX }
    }
}

/// A sum of products as a quantised number.
#[inline(always)]
pub fn requantise(acc: i32, multiplier: f32, range: Range) -> i8 {
    round_into(acc as f32 * multiplier, range)
}

/// The sum of two quantised numbers, quantised again.
#[inline(always)]
pub fn add(a: (i8, Quant), b: (i8, Quant), scale: f32, range: Range) -> i8 {
    round_into((a.1.dequantise(a.0) + b.1.dequantise(b.0)) / scale, range)
}

/// The multiplier of an average over `count` elements.
pub fn average_multiplier(x_scale: f32, y_scale: f32, count: usize) -> f32 {
    x_scale / (y_scale * count as f32)
}

/// `saturate(round_half_even(scaled) + zero)`. Clamping before rounding is the same, since the bounds are whole
/// numbers, and leaves something so small that adding 1.5 · 2²³ rounds it half to even, without a call.
#[inline(always)]
fn round_into(scaled: f32, range: Range) -> i8 {
    const ROUND: f32 = 12_582_912.0;
    let zero = f32::from(range.zero);
    let clamped = scaled.max(f32::from(range.low) - zero).min(f32::from(range.high) - zero);
    ((clamped + ROUND) - ROUND + zero) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_the_even_neighbour_and_ends_saturate() {
        let range = Range::full(0);
        for (acc, want) in [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2), (300, 127), (-300, -128), (253, 126)] {
            assert_eq!(requantise(acc, 0.5, range), want, "{acc} halves");
        }
        assert_eq!(requantise(i32::MAX, 1e30, range), 127);
        assert_eq!(requantise(3, 0.5, Range { zero: -100, low: -99, high: 0 }), -98);
        assert_eq!(requantise(-3, 0.5, Range { zero: -100, low: -99, high: 0 }), -99);
    }

    #[test]
    fn rounding_agrees_with_the_standard_library() {
        for step in -4000..4000 {
            let value = step as f32 / 16.0;
            let want = (value.round_ties_even() + 7.0).clamp(-128.0, 127.0) as i8;
            assert_eq!(round_into(value, Range::full(7)), want, "{value}");
        }
    }

    #[test]
    fn a_clipped_range_is_the_quantised_clip() {
        let quant = Quant { scale: 0.1, zero: -128 };
        assert_eq!(quant.clipped(0.0, 6.0), Range { zero: -128, low: -128, high: -68 });
        assert_eq!(quant.clipped(0.0, f32::INFINITY).high, 127);
    }
}
