//! One vocabulary of vector instructions, so that each kernel is written once for all instruction sets.
//!
//! A type that implements [`Simd`] is a token: it can be had only where the CPU has the instructions
//! ([`Isa::run`] checks), so its arithmetic is safe to call. Kernels are `#[inline(always)]` functions
//! generic over the token; [`Isa::run`] instantiates them inside functions compiled for the right target.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512;
pub(crate) use portable::Portable;

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, for every CPU.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
}

impl Isa {
    pub const ALL: [Isa; 3] = [Isa::Portable, Isa::Avx2, Isa::Avx512];

    /// The best set that this CPU has.
    pub fn detect() -> Isa {
        let best = Isa::ALL.into_iter().rev().find(|isa| isa.is_supported());
        best.unwrap_or(Isa::Portable)
    }

    pub fn is_supported(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// This set, or the portable one where the CPU lacks it.
    pub(crate) fn or_portable(self) -> Isa {
        if self.is_supported() { self } else { Isa::Portable }
    }

    /// Runs `task` with these instructions, or with portable code where the CPU lacks them.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        match self.or_portable() {
            Isa::Portable => task.run(Portable),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `or_portable` has found the instructions.
            Isa::Avx2 => unsafe { run_avx2(task) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Isa::Avx512 => unsafe { run_avx512(task) },
            #[cfg(not(target_arch = "x86_64"))]
            _ => task.run(Portable),
        }
    }
}

/// A computation that [`Isa::run`] compiles for each instruction set; `run` must be `#[inline(always)]`.
pub(crate) trait Task {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

struct Plain<F>(F);

impl<R, F: FnOnce() -> R> Task for Plain<F> {
    type Output = R;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> R {
        (self.0)()
    }
}

/// Runs a loop that the compiler may vectorise for `isa`. `f` has to be `#[inline(always)]`.
#[inline(always)]
pub(crate) fn vectorised<R>(isa: Isa, f: impl FnOnce() -> R) -> R {
    isa.run(Plain(f))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<T: Task>(task: T) -> T::Output {
    // SAFETY: this function can be entered only where the instructions exist.
    task.run(unsafe { Avx2::assume() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
fn run_avx512<T: Task>(task: T) -> T::Output {
    // SAFETY: this function can be entered only where the instructions exist.
    task.run(unsafe { <Avx512>::assume() })
}

/// [`Simd::dot_bf16`] where no instruction does it: a half with zeros behind it is the number in f32.
#[inline(always)]
fn dot_bf16_by_halves<S: Simd>(s: S, acc: S::F, a: S::F, b: S::F) -> S::F {
    let (a, b) = (s.bits(a), s.bits(b));
    let high = s.splat_i(!0xffff);
    let acc = s.fma(s.float_of(s.and_i(a, high)), s.float_of(s.and_i(b, high)), acc);
    s.fma(s.float_of(s.shift_left::<16>(a)), s.float_of(s.shift_left::<16>(b)), acc)
}

/// The bits of √½, from which on numbers have the exponent 0 in [`Simd::split`].
const ROOT_HALF: i32 = 0x3f35_04f3;

/// No instruction set has more lanes.
pub(crate) const MOST_LANES: usize = 16;

/// Vectors of `f32` (`F`), of `i32` (`I`), and comparison results (`M`).
///
/// Loads and stores take any alignment; the `_part` forms touch only the first `n` elements (`n` at most
/// `LANES`) and read the rest as zero.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    const LANES: usize;
    type F: Copy;
    type I: Copy;
    type M: Copy;

    /// Asks for the cache line at `p`, any address, to be brought to the second-level cache.
    fn prefetch(self, p: *const u8);

    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// `p` is readable for `LANES` elements.
    unsafe fn load(self, p: *const f32) -> Self::F;
    /// # Safety
    /// `p` is writable for `LANES` elements.
    unsafe fn store(self, p: *mut f32, v: Self::F);
    /// # Safety
    /// `p` is readable for `n` elements.
    unsafe fn load_part(self, p: *const f32, n: usize) -> Self::F;
    /// # Safety
    /// `p` is writable for `n` elements.
    unsafe fn store_part(self, p: *mut f32, n: usize, v: Self::F);

    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the instructions can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The larger; `b` when either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The smaller; `b` when either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The bits of `x` where `sign` has none, with the sign bits of `sign`.
    fn copy_sign(self, x: Self::F, sign: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// 2 to the power of `n`, an integer from -126 to 127.
    fn pow2(self, n: Self::F) -> Self::F;
    /// `x · 2^n` for an integer `n` from -300 to 300, down to denormal numbers and up to infinity.
    #[inline(always)]
    fn scale(self, x: Self::F, n: Self::F) -> Self::F {
        // In two factors, since 2ⁿ by itself may be out of range.
        let half = self.round(self.mul(n, self.splat(0.5)));
        self.mul(self.mul(x, self.pow2(half)), self.pow2(self.sub(n, half)))
    }
    /// `(m, e)` with `x = m · 2^e` and m from √½ to √2, for positive normal numbers.
    fn split(self, x: Self::F) -> (Self::F, Self::F);
    /// `a < b`, false for NaN.
    fn less(self, a: Self::F, b: Self::F) -> Self::M;
    fn is_nan(self, a: Self::F) -> Self::M;
    /// `a` where `m`, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;

    /// The elements of four vectors in turn: lane 0 of each, then lane 1 of each, and so on.
    fn interleave(self, v: [Self::F; 4]) -> [Self::F; 4];
    /// The inverse of `interleave`.
    fn deinterleave(self, v: [Self::F; 4]) -> [Self::F; 4];
    /// In each lane the one of `v` that `places` names, from 0 to `LANES - 1`.
    fn permute(self, v: Self::F, places: Self::I) -> Self::F;
    /// Groups of `WIDTH` lanes, counted from zero: the even ones of both vectors, and the odd ones. Those of `a` come
    /// first; where groups are smaller than four lanes, they do so within each four. `WIDTH` is a power of two below
    /// `LANES` (a `WIDTH` of `LANES` gives both vectors as they are).
    fn split_groups<const WIDTH: usize>(self, a: Self::F, b: Self::F) -> [Self::F; 2];
    /// Of the first `LANES` vectors: lane `j` of vector `i` changes places with lane `i` of vector `j`.
    fn transpose(self, v: &mut [Self::F; MOST_LANES]);

    fn splat_i(self, x: i32) -> Self::I;
    /// # Safety
    /// `p` is readable for `LANES` elements.
    unsafe fn load_i(self, p: *const i32) -> Self::I;
    /// # Safety
    /// `p` is writable for `LANES` elements.
    unsafe fn store_i(self, p: *mut i32, v: Self::I);
    /// # Safety
    /// `p` is readable for `n` elements.
    unsafe fn load_part_i(self, p: *const i32, n: usize) -> Self::I;
    /// # Safety
    /// `p` is writable for `n` elements.
    unsafe fn store_part_i(self, p: *mut i32, n: usize, v: Self::I);
    /// `acc + a₀·b₀ + a₁·b₁`, each lane of `a` and `b` holding two 16-bit integers.
    fn dot_i16(self, acc: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// `acc + a₀·b₀ + … + a₃·b₃`, each lane of `a` holding four `u8` and of `b` four `i8`. The sum wraps.
    fn dot_u8i8(self, acc: Self::I, a: Self::I, b: Self::I) -> Self::I;
    fn add_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn or_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn xor_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn and_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn shift_left<const BITS: u32>(self, a: Self::I) -> Self::I;
    /// Zeros come in from the left.
    fn shift_right<const BITS: u32>(self, a: Self::I) -> Self::I;
    /// The bits of each lane as they are.
    fn bits(self, a: Self::F) -> Self::I;
    fn float_of(self, a: Self::I) -> Self::F;
    /// `acc + a₁·b₁ + a₀·b₀`, each lane of `a` and `b` holding two bf16 numbers, of which the second is the higher half.
    #[inline(always)]
    fn dot_bf16(self, acc: Self::F, a: Self::F, b: Self::F) -> Self::F {
        dot_bf16_by_halves(self, acc, a, b)
    }
    /// Byte `BYTE` of each lane, extended by zeros.
    fn byte<const BYTE: usize>(self, a: Self::I) -> Self::I;
    /// The larger as signed integers.
    fn max_i(self, a: Self::I, b: Self::I) -> Self::I;
    fn to_float(self, a: Self::I) -> Self::F;
    /// The nearest integer, ties to even; `a` has to be within the range of `i32`.
    fn to_int(self, a: Self::F) -> Self::I;
    /// A byte for each lane, extended by zeros.
    ///
    /// # Safety
    /// `p` is readable for `n` bytes, `n` at most `LANES`.
    unsafe fn load_bytes(self, p: *const u8, n: usize) -> Self::I;
    /// The lowest byte of each lane.
    ///
    /// # Safety
    /// `p` is writable for `n` bytes, `n` at most `LANES`.
    unsafe fn store_bytes(self, p: *mut u8, n: usize, v: Self::I);
}
