//! Eight lanes by AVX2 and FMA.

use std::arch::x86_64::*;

use super::Simd;

/// Proof that the CPU has AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has the instructions that [`super::Isa::Avx2`] names.
    #[inline(always)]
    pub(in crate::fast) unsafe fn assume() -> Self {
        Self(())
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    type F = __m256;
    type I = __m256i;
    type M = __m256;

    #[inline(always)]
    fn prefetch(self, p: *const u8) {
        // SAFETY: the token proves the instructions.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, p: *const f32, n: usize) -> __m256 {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm256_maskload_ps(p, first(n)) }
    }
    #[inline(always)]
    unsafe fn store_part(self, p: *mut f32, n: usize, v: __m256) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { self.store_part_i(p.cast(), n, _mm256_castps_si256(v)) }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_div_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn copy_sign(self, x: __m256, sign: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let mask = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_and_ps(mask, sign), _mm256_andnot_ps(mask, x))
        }
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_sqrt_ps(a) }
    }
    #[inline(always)]
    fn round(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn pow2(self, n: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    fn split(self, x: __m256) -> (__m256, __m256) {
        // SAFETY: the token proves the instructions.
        unsafe {
            let bits = _mm256_castps_si256(x);
            let e = _mm256_srai_epi32::<23>(_mm256_sub_epi32(bits, _mm256_set1_epi32(super::ROOT_HALF)));
            let m = _mm256_sub_epi32(bits, _mm256_slli_epi32::<23>(e));
            (_mm256_castsi256_ps(m), _mm256_cvtepi32_ps(e))
        }
    }
    #[inline(always)]
    fn less(self, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn is_nan(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a) }
    }
    #[inline(always)]
    fn select(self, m: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_blendv_ps(b, a, m) }
    }

    #[inline(always)]
    fn interleave(self, v: [__m256; 4]) -> [__m256; 4] {
        let [a, b, c, d] = transpose_quarters(v);
        // SAFETY: the token proves the instructions.
        unsafe {
            [
                _mm256_permute2f128_ps::<0x20>(a, b),
                _mm256_permute2f128_ps::<0x20>(c, d),
                _mm256_permute2f128_ps::<0x31>(a, b),
                _mm256_permute2f128_ps::<0x31>(c, d),
            ]
        }
    }
    #[inline(always)]
    fn deinterleave(self, [a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
        // SAFETY: the token proves the instructions.
        unsafe {
            transpose_quarters([
                _mm256_permute2f128_ps::<0x20>(a, c),
                _mm256_permute2f128_ps::<0x31>(a, c),
                _mm256_permute2f128_ps::<0x20>(b, d),
                _mm256_permute2f128_ps::<0x31>(b, d),
            ])
        }
    }

    #[inline(always)]
    fn permute(self, v: __m256, places: __m256i) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_permutevar8x32_ps(v, places) }
    }
    #[inline(always)]
    fn split_groups<const WIDTH: usize>(self, a: __m256, b: __m256) -> [__m256; 2] {
        // SAFETY: the token proves the instructions.
        unsafe {
            match WIDTH {
                4 => [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)],
                2 => [_mm256_shuffle_ps::<0x44>(a, b), _mm256_shuffle_ps::<0xee>(a, b)],
                1 => [_mm256_shuffle_ps::<0x88>(a, b), _mm256_shuffle_ps::<0xdd>(a, b)],
                _ => [a, b],
            }
        }
    }

    #[inline(always)]
    fn transpose(self, v: &mut [__m256; super::MOST_LANES]) {
        let [a, b, c, d, e, f, g, h, ..] = *v;
        let (low, high) = (transpose_quarters([a, b, c, d]), transpose_quarters([e, f, g, h]));
        for i in 0..4 {
            // SAFETY: the token proves the instructions.
            unsafe {
                v[i] = _mm256_permute2f128_ps::<0x20>(low[i], high[i]);
                v[i + 4] = _mm256_permute2f128_ps::<0x31>(low[i], high[i]);
            }
        }
    }

    #[inline(always)]
    fn splat_i(self, x: i32) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn load_i(self, p: *const i32) -> __m256i {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store_i(self, p: *mut i32, v: __m256i) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm256_storeu_si256(p.cast(), v) }
    }
    #[inline(always)]
    unsafe fn load_part_i(self, p: *const i32, n: usize) -> __m256i {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe { _mm256_maskload_epi32(p, first(n)) }
    }
    #[inline(always)]
    unsafe fn store_part_i(self, p: *mut i32, n: usize, v: __m256i) {
        // Not by a mask, since masked stores take tens of cycles on several processors.
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe {
            let (mut p, mut rest) = (p, _mm256_castsi256_si128(v));
            if n >= 8 {
                return _mm256_storeu_si256(p.cast(), v);
            }
            if n & 4 != 0 {
                _mm_storeu_si128(p.cast(), rest);
                (p, rest) = (p.add(4), _mm256_extracti128_si256::<1>(v));
            }
            if n & 2 != 0 {
                _mm_storel_epi64(p.cast(), rest);
                (p, rest) = (p.add(2), _mm_unpackhi_epi64(rest, rest));
            }
            if n & 1 != 0 {
                *p = _mm_cvtsi128_si32(rest);
            }
        }
    }
    #[inline(always)]
    fn dot_i16(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_add_epi32(acc, _mm256_madd_epi16(a, b)) }
    }
    #[inline(always)]
    fn dot_u8i8(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // Even and odd bytes as 16-bit integers, since `vpmaddubsw` would saturate.
        // SAFETY: the token proves the instructions.
        unsafe {
            let low = _mm256_set1_epi16(0xff);
            let even = _mm256_madd_epi16(
                _mm256_and_si256(a, low),
                _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(b)),
            );
            let odd = _mm256_madd_epi16(_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
            _mm256_add_epi32(acc, _mm256_add_epi32(even, odd))
        }
    }
    #[inline(always)]
    fn add_i(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_add_epi32(a, b) }
    }
    #[inline(always)]
    fn or_i(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_or_si256(a, b) }
    }
    #[inline(always)]
    fn xor_i(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_xor_si256(a, b) }
    }
    #[inline(always)]
    fn and_i(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_and_si256(a, b) }
    }
    #[inline(always)]
    fn bits(self, a: __m256) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_castps_si256(a) }
    }
    #[inline(always)]
    fn float_of(self, a: __m256i) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_castsi256_ps(a) }
    }
    #[inline(always)]
    fn shift_right<const BITS: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_srl_epi32(a, _mm_cvtsi32_si128(BITS as i32)) }
    }
    #[inline(always)]
    fn shift_left<const BITS: u32>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_sll_epi32(a, _mm_cvtsi32_si128(BITS as i32)) }
    }
    #[inline(always)]
    fn byte<const BYTE: usize>(self, a: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe {
            let right = _mm256_srl_epi32(a, _mm_cvtsi32_si128(8 * BYTE as i32));
            _mm256_and_si256(right, _mm256_set1_epi32(0xff))
        }
    }
    #[inline(always)]
    fn max_i(self, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_max_epi32(a, b) }
    }
    #[inline(always)]
    fn to_float(self, a: __m256i) -> __m256 {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_cvtepi32_ps(a) }
    }
    #[inline(always)]
    fn to_int(self, a: __m256) -> __m256i {
        // SAFETY: the token proves the instructions.
        unsafe { _mm256_cvtps_epi32(a) }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8, n: usize) -> __m256i {
        let mut bytes = [0; 8];
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe {
            if n == 8 {
                return _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
            }
            p.copy_to_nonoverlapping(bytes.as_mut_ptr(), n);
            _mm256_cvtepu8_epi32(_mm_loadl_epi64(bytes.as_ptr().cast()))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, n: usize, v: __m256i) {
        // SAFETY: the token proves the instructions, the caller the memory.
        unsafe {
            let low = _mm256_and_si256(v, _mm256_set1_epi32(0xff));
            let (a, b) = (_mm256_castsi256_si128(low), _mm256_extracti128_si256::<1>(low));
            let words = _mm_packus_epi32(a, b);
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
            match n {
                8 => p.cast::<[u8; 8]>().write_unaligned(bytes),
                n => p.copy_from_nonoverlapping(bytes.as_ptr(), n),
            }
        }
    }
}

/// A mask of the first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __m256i {
    // SAFETY: called only by holders of the token.
    unsafe {
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
    }
}

/// Transposes the 4 × 4 elements in each 128-bit lane.
#[inline(always)]
fn transpose_quarters([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: called only by holders of the token.
    unsafe {
        let (ab, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab, cd),
            _mm256_shuffle_ps::<0xee>(ab, cd),
            _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }
}
