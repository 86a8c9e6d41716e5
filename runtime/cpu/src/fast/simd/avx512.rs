//! Sixteen lanes by AVX-512 F, BW, DQ, VL and VNNI.

use std::arch::x86_64::*;

use super::Simd;

/// Proof that the CPU has these extensions, and where `DOTS`, AVX-512 BF16 besides.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const DOTS: bool = false>(());

impl<const DOTS: bool> Avx512<DOTS> {
    /// # Safety
    /// The CPU has the instructions that [`super::Isa::Avx512`] names, and AVX-512 BF16 where `DOTS`.
    #[inline(always)]
    pub(in crate::fast) unsafe fn assume() -> Self {
        Self(())
    }
}

impl<const DOTS: bool> Simd for Avx512<DOTS> {
    const LANES: usize = 16;
    type F = __m512;
    type I = __m512i;
    type M = __mmask16;

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> __m512 {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, v: __m512) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_mask_storeu_ps(p, first(n), v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn copy_sign(self, x: __m512, sign: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let mask = _mm512_set1_ps(-0.0);
            _mm512_or_ps(_mm512_and_ps(mask, sign), _mm512_andnot_ps(mask, x))
        }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_sqrt_ps(a) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn pow2(self, n: __m512) -> __m512 {
        self.scale(self.splat(1.0), n)
    }
    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_scalef_ps(x, n) }
    }
    #[inline(always)]
    fn split(self, x: __m512) -> (__m512, __m512) {
        // SAFETY: the token proves the instructions.
        unsafe {
            let bits = _mm512_castps_si512(x);
            let e = _mm512_srai_epi32::<23>(_mm512_sub_epi32(bits, _mm512_set1_epi32(super::ROOT_HALF)));
            let m = _mm512_sub_epi32(bits, _mm512_slli_epi32::<23>(e));
            (_mm512_castsi512_ps(m), _mm512_cvtepi32_ps(e))
        }
    }
    #[inline(always)]
    fn less(self, a: __m512, b: __m512) -> __mmask16 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn is_nan(self, a: __m512) -> __mmask16 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }

    #[inline(always)]
    fn interleave(self, v: [__m512; 4]) -> [__m512; 4] {
        transpose_lanes(transpose_quarters(v))
    }
    #[inline(always)]
    fn deinterleave(self, v: [__m512; 4]) -> [__m512; 4] {
        transpose_quarters(transpose_lanes(v))
    }

    #[inline(always)]
    fn permute(self, v: __m512, places: __m512i) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_permutexvar_ps(places, v) }
    }
    #[inline(always)]
    fn split_groups<const WIDTH: usize>(self, a: __m512, b: __m512) -> [__m512; 2] {
        // SAFETY: the token proves the instructions.
        unsafe {
            match WIDTH {
                8 => [_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0xee>(a, b)],
                4 => [_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b)],
                2 => [_mm512_shuffle_ps::<0x44>(a, b), _mm512_shuffle_ps::<0xee>(a, b)],
                _ => [_mm512_shuffle_ps::<0x88>(a, b), _mm512_shuffle_ps::<0xdd>(a, b)],
            }
        }
    }

    #[inline(always)]
    fn transpose(self, v: &mut [__m512; super::MOST_LANES]) {
        // No closures here: they would be compiled without these instructions.
        let a = transpose_quarters([v[0], v[1], v[2], v[3]]);
        let b = transpose_quarters([v[4], v[5], v[6], v[7]]);
        let c = transpose_quarters([v[8], v[9], v[10], v[11]]);
        let d = transpose_quarters([v[12], v[13], v[14], v[15]]);
        for i in 0..4 {
            let columns = transpose_lanes([a[i], b[i], c[i], d[i]]);
            for k in 0..4 {
                v[4 * k + i] = columns[k];
            }
        }
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn load_i(self, p: *const i32) -> __m512i {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i(self, p: *mut i32, v: __m512i) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_storeu_si512(p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn load_part_i(self, p: *const i32, n: usize) -> __m512i {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_maskz_loadu_epi32(first(n), p) }
    }
    #[inline(always)]
    unsafe fn store_part_i(self, p: *mut i32, n: usize, v: __m512i) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm512_mask_storeu_epi32(p, first(n), v) }
    }
    #[inline(always)]
    fn dot_i16(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_dpwssd_epi32(acc, a, b) }
    }
    #[inline(always)]
    fn dot_u8i8(self, acc: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_dpbusd_epi32(acc, a, b) }
    }
    #[inline(always)]
    fn add_i(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn or_i(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn xor_i(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn and_i(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn bits(self, a: __m512) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_castps_si512(a) }
    }
    #[inline(always)]
    fn float_of(self, a: __m512i) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_castsi512_ps(a) }
    }
    #[inline(always)]
    fn dot_bf16(self, acc: __m512, a: __m512, b: __m512) -> __m512 {
        if !DOTS {
            return super::dot_bf16_by_halves(self, acc, a, b);
        }
        // SAFETY: the token proves the instructions; any bits are bf16 numbers.
        unsafe {
            use std::mem::transmute;
            _mm512_dpbf16_ps(acc, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b))
        }
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_srli_epi32::<BITS>(a) }
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_slli_epi32::<BITS>(a) }
    }
    #[inline(always)]
    fn byte<const BYTE: usize>(self, a: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe {
            let right = _mm512_srl_epi32(a, _mm_cvtsi32_si128(8 * BYTE as i32));
            _mm512_and_si512(right, _mm512_set1_epi32(0xff))
        }
    }
    #[inline(always)]
    fn max_i(self, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_max_epi32(a, b) }
    }
    #[inline(always)]
    fn to_float(self, a: __m512i) -> __m512 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn to_int(self, a: __m512) -> __m512i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm512_cvtps_epi32(a) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8, n: usize) -> __m512i {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe {
            _mm512_cvtepu8_epi32(match n {
                16 => _mm_loadu_si128(p.cast()),
                n => _mm_maskz_loadu_epi8(first(n), p.cast()),
            })
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, n: usize, v: __m512i) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(v);
            match n {
                16 => _mm_storeu_si128(p.cast(), bytes),
                n => _mm_mask_storeu_epi8(p.cast(), first(n), bytes),
            }
        }
    }
}

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n.min(16)) - 1) as __mmask16
}

/// Transposes the 4 × 4 elements in each 128-bit lane.
#[inline(always)]
fn transpose_quarters([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: called only by holders of the token.
    unsafe {
        let (ab, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab, cd),
            _mm512_shuffle_ps::<0xee>(ab, cd),
            _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }
}

/// Transposes the 4 × 4 lanes of 128 bits.
#[inline(always)]
fn transpose_lanes([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: called only by holders of the token.
    unsafe {
        // Lanes 0 and 2 (even) and 1 and 3 (odd) of each pair of vectors.
        let (ab, ab_odd) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (cd, cd_odd) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        [
            _mm512_shuffle_f32x4::<0x88>(ab, cd),
            _mm512_shuffle_f32x4::<0x88>(ab_odd, cd_odd),
            _mm512_shuffle_f32x4::<0xdd>(ab, cd),
            _mm512_shuffle_f32x4::<0xdd>(ab_odd, cd_odd),
        ]
    }
}
