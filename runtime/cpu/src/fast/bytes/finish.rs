//! From 32-bit sums to 8-bit integers, with what a model does to them before the next operator.

use crate::fast::simd::Simd;

/// The most elements that are read beyond the last channel.
pub(super) const SLACK: usize = 64;

/// How 8-bit integers stand for numbers: `(code - zero) · scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coding {
    pub signed: bool,
    pub zero: i32,
    pub scale: f32,
}

impl Coding {
    /// The least and the greatest code, less the zero point.
    fn range(&self) -> (f32, f32) {
        let (least, most) = if self.signed { (-128, 127) } else { (0, 255) };
        ((least - self.zero) as f32, (most - self.zero) as f32)
    }

    /// What makes each of four bytes unsigned when it is exclusively or-ed with them: signed ones rise by 128.
    pub(super) fn flip(&self) -> i32 {
        if self.signed { 0x8080_8080_u32 as i32 } else { 0 }
    }

    /// The zero point among unsigned codes.
    pub(super) fn unsigned_zero(&self) -> i32 {
        self.zero + if self.signed { 128 } else { 0 }
    }

    /// One number as a code.
    pub(super) fn code(&self, x: f32) -> u8 {
        let (low, high) = self.range();
        let nearest = (x / self.scale).max(low).min(high).round_ties_even();
        (nearest as i32 + self.zero) as u8
    }

    /// Constants for vectors.
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&self, s: S) -> Codes<S> {
        let (low, high) = self.range();
        Codes {
            s,
            flip: s.splat_i(self.flip() & 0xff),
            less: s.splat_i(-self.unsigned_zero()),
            zero: s.splat_i(self.zero),
            scale: s.splat(self.scale),
            low: s.splat(low),
            high: s.splat(high),
        }
    }
}

/// A [`Coding`] in vectors.
#[derive(Clone, Copy)]
pub(super) struct Codes<S: Simd> {
    s: S,
    flip: S::I,
    less: S::I,
    zero: S::I,
    scale: S::F,
    low: S::F,
    high: S::F,
}

impl<S: Simd> Codes<S> {
    /// Codes, one byte to a lane, as numbers.
    #[inline(always)]
    pub fn decode(&self, bytes: S::I) -> S::F {
        let s = self.s;
        s.mul(s.to_float(s.add_i(s.xor_i(bytes, self.flip), self.less)), self.scale)
    }

    /// Numbers as codes.
    #[inline(always)]
    pub fn encode(&self, x: S::F) -> S::I {
        self.encode_scaled(self.s.div(x, self.scale))
    }

    /// Numbers that are divided by the scale already.
    #[inline(always)]
    fn encode_scaled(&self, x: S::F) -> S::I {
        let s = self.s;
        s.add_i(s.to_int(s.min(s.max(x, self.low), self.high)), self.zero)
    }

    /// The number that is left when `x`, divided by the scale already, becomes a code.
    #[inline(always)]
    fn round(&self, x: S::F) -> S::F {
        let s = self.s;
        s.mul(s.round(s.min(s.max(x, self.low), self.high)), self.scale)
    }
}

/// What is done to codes before they are stored: they become numbers, `x · scale[c] + shift[c]` where there is
/// such a pair, cut off at `low` and `high`, and then codes of `to`.
#[derive(Clone, Debug)]
pub struct Then {
    pub affine: Option<[Vec<f32>; 2]>,
    pub low: f32,
    pub high: f32,
    pub to: Coding,
}

/// `saturate(round_to_even(sum · multiplier[c]) + zero)`, and what follows.
#[derive(Clone, Debug)]
pub struct Finish {
    multipliers: Vec<f32>,
    to: Coding,
    then: Option<Then>,
}

impl Finish {
    /// With one multiplier, or one for each of `channels`.
    ///
    /// # Panics
    /// If the sizes do not fit together.
    pub fn new(channels: usize, multipliers: &[f32], to: Coding, then: Option<Then>) -> Self {
        let one = multipliers.len() == 1;
        assert!(one || multipliers.len() == channels, "one multiplier, or one for each channel");
        let each: Vec<f32> = (0..channels).map(|c| multipliers[if one { 0 } else { c }]).collect();
        let then = then
            .map(|then| Then { affine: then.affine.map(|pair| pair.map(|x| around(&x, channels))), ..then });
        Self { multipliers: around(&each, channels), to, then }
    }

    /// How the results are coded.
    pub fn coding(&self) -> Coding {
        self.then.as_ref().map_or(self.to, |then| then.to)
    }

    /// Whether something is done to codes before they are stored.
    pub(super) fn continues(&self) -> bool {
        self.then.is_some()
    }

    /// What turns sums into codes.
    #[inline(always)]
    pub(super) fn vectors<S: Simd>(&self, s: S) -> FinishVectors<'_, S> {
        let to = self.to.vectors(s);
        let (low, high, last) = match &self.then {
            None => (0.0, 0.0, to),
            Some(then) => (then.low, then.high, then.to.vectors(s)),
        };
        FinishVectors {
            s,
            multipliers: &self.multipliers,
            affine: self.then.as_ref().and_then(|then| then.affine.as_ref()),
            to,
            low: s.splat(low),
            high: s.splat(high),
            last,
        }
    }
}

/// A [`Finish`] in vectors.
pub(super) struct FinishVectors<'a, S: Simd> {
    s: S,
    multipliers: &'a [f32],
    affine: Option<&'a [Vec<f32>; 2]>,
    to: Codes<S>,
    low: S::F,
    high: S::F,
    last: Codes<S>,
}

/// What [`FinishVectors`] has of some neighbouring channels.
#[derive(Clone, Copy)]
pub(super) struct ChannelVectors<S: Simd> {
    multiplier: S::F,
    affine: Option<[S::F; 2]>,
}

impl<S: Simd> FinishVectors<'_, S> {
    /// # Safety
    /// `channel` is one of the channels.
    #[inline(always)]
    pub unsafe fn channels<const THEN: bool>(&self, channel: usize) -> ChannelVectors<S> {
        let s = self.s;
        // SAFETY: the vectors reach `SLACK` elements beyond the last channel.
        unsafe {
            let affine = match self.affine {
                Some([scale, shift]) if THEN => {
                    Some([s.load(scale.as_ptr().add(channel)), s.load(shift.as_ptr().add(channel))])
                }
                _ => None,
            };
            ChannelVectors { multiplier: s.load(self.multipliers.as_ptr().add(channel)), affine }
        }
    }

    /// The codes of sums. `THEN` is what [`Finish::continues`] says.
    #[inline(always)]
    pub fn apply<const THEN: bool>(&self, sums: S::I, channels: ChannelVectors<S>) -> S::I {
        let s = self.s;
        let scaled = s.mul(s.to_float(sums), channels.multiplier);
        if !THEN {
            return self.to.encode_scaled(scaled);
        }
        let mut x = self.to.round(scaled);
        if let Some([scale, shift]) = channels.affine {
            x = s.add(s.mul(x, scale), shift);
        }
        self.last.encode(s.min(s.max(x, self.low), self.high))
    }
}

/// One value for each channel, and on as many as a vector may read beyond the last, from the first again.
pub(super) fn around<T: Copy>(values: &[T], channels: usize) -> Vec<T> {
    assert_eq!(values.len(), channels, "one value for each channel");
    values.iter().copied().cycle().take(channels + if channels > 0 { SLACK } else { 0 }).collect()
}
