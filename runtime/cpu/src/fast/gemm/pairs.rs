//! Exact integer arithmetic: bytes, less their zero points, multiplied as pairs of 16-bit integers.
//!
//! Subtracting the zero points while packing leaves differences of at most 9 bits, whose products no
//! instruction can saturate, and saves the usual corrections by sums of rows and columns.

use bytemuck::Pod;

use super::tile::Arith;
use crate::fast::simd::Simd;

/// An 8-bit type of quantised tensors.
pub trait Quantized: Pod + Send + Sync {
    const MIN: i32;
    const MAX: i32;
    fn widen(self) -> i32;
    /// `x` must be from `MIN` to `MAX`.
    fn narrow(x: i32) -> Self;
}

impl Quantized for u8 {
    const MIN: i32 = 0;
    const MAX: i32 = 255;
    #[inline(always)]
    fn widen(self) -> i32 {
        i32::from(self)
    }
    #[inline(always)]
    fn narrow(x: i32) -> Self {
        x as u8
    }
}

impl Quantized for i8 {
    const MIN: i32 = -128;
    const MAX: i32 = 127;
    #[inline(always)]
    fn widen(self) -> i32 {
        i32::from(self)
    }
    #[inline(always)]
    fn narrow(x: i32) -> Self {
        x as i8
    }
}

/// Two 16-bit integers as one word.
#[inline(always)]
pub(crate) fn pair(low: i32, high: i32) -> i32 {
    low & 0xffff | high << 16
}

/// Words of two 16-bit integers, sums of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Pairs;

impl Arith for Pairs {
    type Word = i32;
    type Out = i32;
    type Finish<'a> = ();
    type V<S: Simd> = S::I;

    #[inline(always)]
    fn zero<S: Simd>(s: S) -> S::I {
        s.splat_i(0)
    }
    #[inline(always)]
    unsafe fn broadcast<S: Simd>(s: S, p: *const i32) -> S::I {
        // SAFETY: the caller's promise.
        s.splat_i(unsafe { *p })
    }
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, p: *const i32) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { s.load_i(p) }
    }
    #[inline(always)]
    fn multiply_add<S: Simd>(s: S, acc: S::I, a: S::I, b: S::I) -> S::I {
        s.dot_i16(acc, a, b)
    }
    #[inline(always)]
    unsafe fn load_out<S: Simd>(s: S, p: *const i32, n: usize) -> S::I {
        // SAFETY: the caller's promise.
        unsafe { if n == S::LANES { s.load_i(p) } else { s.load_part_i(p, n) } }
    }
    #[inline(always)]
    unsafe fn store_out<S: Simd>(s: S, p: *mut i32, n: usize, v: S::I) {
        // SAFETY: the caller's promise.
        unsafe { if n == S::LANES { s.store_i(p, v) } else { s.store_part_i(p, n, v) } }
    }
    fn covers(_: &(), _: usize, _: usize, _: usize) -> bool {
        true
    }
    #[inline(always)]
    unsafe fn finish<S: Simd>(_: S, _: &(), v: S::I, _: usize, _: usize, _: usize, _: usize) -> S::I {
        v
    }
}
