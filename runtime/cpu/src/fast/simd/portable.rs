//! Four lanes in plain Rust, which any compiler target turns into its own baseline vectors.

use super::Simd;

#[derive(Clone, Copy)]
pub(crate) struct Portable;

type F = [f32; 4];
type I = [i32; 4];

#[inline(always)]
fn zip(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    const LANES: usize = 4;
    type F = F;
    type I = I;
    type M = [bool; 4];

    #[inline(always)]
    fn prefetch(self, _: *const u8) {}

    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F {
        // SAFETY: the caller's promise; arrays of `f32` need no more alignment than `f32`.
        unsafe { p.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: F) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<F>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> F {
        // SAFETY: only the first `n` elements are read, which the caller promises.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, v: F) {
        for (i, &x) in v.iter().enumerate().take(n) {
            // SAFETY: only the first `n` elements are written, which the caller promises.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    fn add(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn sqrt(self, a: F) -> F {
        std::array::from_fn(|i| a[i].sqrt())
    }
    #[inline(always)]
    fn mul(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: F, b: F) -> F {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn fma(self, a: F, b: F, c: F) -> F {
        // Not `mul_add`, which is a slow library call where the baseline target has no FMA.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn max(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn min(self, a: F, b: F) -> F {
        zip(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn copy_sign(self, x: F, sign: F) -> F {
        zip(x, sign, f32::copysign)
    }
    #[inline(always)]
    fn round(self, a: F) -> F {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn pow2(self, n: F) -> F {
        n.map(|n| f32::from_bits(((n as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn split(self, x: F) -> (F, F) {
        let e = x.map(|x| (x.to_bits() as i32).wrapping_sub(super::ROOT_HALF) >> 23);
        let m = |i: usize| f32::from_bits((x[i].to_bits() as i32).wrapping_sub(e[i] << 23) as u32);
        (std::array::from_fn(m), e.map(|e| e as f32))
    }
    #[inline(always)]
    fn less(self, a: F, b: F) -> [bool; 4] {
        std::array::from_fn(|i| a[i] < b[i])
    }
    #[inline(always)]
    fn is_nan(self, a: F) -> [bool; 4] {
        a.map(f32::is_nan)
    }
    #[inline(always)]
    fn select(self, m: [bool; 4], a: F, b: F) -> F {
        std::array::from_fn(|i| if m[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn interleave(self, v: [F; 4]) -> [F; 4] {
        // Four vectors of four lanes: a transposition, its own inverse.
        std::array::from_fn(|i| std::array::from_fn(|j| v[j][i]))
    }
    #[inline(always)]
    fn deinterleave(self, v: [F; 4]) -> [F; 4] {
        self.interleave(v)
    }

    #[inline(always)]
    fn permute(self, v: F, places: I) -> F {
        places.map(|place| v[place as usize % 4])
    }
    #[inline(always)]
    fn split_groups<const WIDTH: usize>(self, a: F, b: F) -> [F; 2] {
        match WIDTH {
            2 => [[a[0], a[1], b[0], b[1]], [a[2], a[3], b[2], b[3]]],
            1 => [[a[0], a[2], b[0], b[2]], [a[1], a[3], b[1], b[3]]],
            _ => [a, b],
        }
    }

    #[inline(always)]
    fn transpose(self, v: &mut [F; super::MOST_LANES]) {
        let [a, b, c, d, ..] = v;
        [*a, *b, *c, *d] = self.interleave([*a, *b, *c, *d]);
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> I {
        [x; 4]
    }
    #[inline(always)]
    unsafe fn load_i(self, p: *const i32) -> I {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_i(self, p: *mut i32, v: I) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<I>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_part_i(self, p: *const i32, n: usize) -> I {
        // SAFETY: only the first `n` elements are read, which the caller promises.
        std::array::from_fn(|i| if i < n { unsafe { *p.add(i) } } else { 0 })
    }
    #[inline(always)]
    unsafe fn store_part_i(self, p: *mut i32, n: usize, v: I) {
        for (i, &x) in v.iter().enumerate().take(n) {
            // SAFETY: only the first `n` elements are written, which the caller promises.
            unsafe { *p.add(i) = x }
        }
    }
    #[inline(always)]
    fn dot_i16(self, acc: I, a: I, b: I) -> I {
        std::array::from_fn(|i| {
            let low = i32::from(a[i] as i16) * i32::from(b[i] as i16);
            let high = (a[i] >> 16) * (b[i] >> 16);
            acc[i].wrapping_add(low.wrapping_add(high))
        })
    }
    #[inline(always)]
    fn dot_u8i8(self, acc: I, a: I, b: I) -> I {
        std::array::from_fn(|i| {
            let (a, b) = (a[i].to_le_bytes(), b[i].to_le_bytes());
            let term = |j: usize| i32::from(a[j]) * i32::from(b[j] as i8);
            acc[i].wrapping_add(term(0) + term(1) + term(2) + term(3))
        })
    }
    #[inline(always)]
    fn add_i(self, a: I, b: I) -> I {
        std::array::from_fn(|i| a[i].wrapping_add(b[i]))
    }
    #[inline(always)]
    fn or_i(self, a: I, b: I) -> I {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    fn xor_i(self, a: I, b: I) -> I {
        std::array::from_fn(|i| a[i] ^ b[i])
    }
    #[inline(always)]
    fn and_i(self, a: I, b: I) -> I {
        std::array::from_fn(|i| a[i] & b[i])
    }
    #[inline(always)]
    fn bits(self, a: F) -> I {
        a.map(|a| a.to_bits() as i32)
    }
    #[inline(always)]
    fn float_of(self, a: I) -> F {
        a.map(|a| f32::from_bits(a as u32))
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, a: I) -> I {
        a.map(|a| (a as u32 >> BITS) as i32)
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, a: I) -> I {
        a.map(|a| a << BITS)
    }
    #[inline(always)]
    fn byte<const BYTE: usize>(self, a: I) -> I {
        a.map(|a| i32::from(a.to_le_bytes()[BYTE]))
    }
    #[inline(always)]
    fn max_i(self, a: I, b: I) -> I {
        std::array::from_fn(|i| a[i].max(b[i]))
    }
    #[inline(always)]
    fn to_float(self, a: I) -> F {
        a.map(|a| a as f32)
    }
    #[inline(always)]
    fn to_int(self, a: F) -> I {
        a.map(|a| a.round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8, n: usize) -> I {
        // SAFETY: only the first `n` bytes are read, which the caller promises.
        std::array::from_fn(|i| if i < n { i32::from(unsafe { *p.add(i) }) } else { 0 })
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, n: usize, v: I) {
        for (i, &x) in v.iter().enumerate().take(n) {
            // SAFETY: only the first `n` bytes are written, which the caller promises.
            unsafe { *p.add(i) = x as u8 }
        }
    }
}
