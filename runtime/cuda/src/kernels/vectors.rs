//! Products of few rows, as decoding has them: the time is that of reading the weights once, 16 bytes a thread at a time.
//!
//! Weights of `k` rows: eight threads have a strip of columns, 32 of these groups go down the rows, and a grid's second
//! dimension splits the rows further; parts are joined in the order of the rows. Weights of `n` rows: a warp has one.

use byoc_plugin::DType;

use crate::driver::Grid;
use crate::kernel::{Call, Calls, Launch, Slot};
use crate::multiply::Form;
use crate::types::size;

/// Most rows on the left.
pub const MOST_ROWS: usize = 8;
/// Threads side by side, and the rows that go through shared memory together.
const ACROSS: usize = 8;
const STRETCH: usize = 512;
/// As many blocks keep a large GPU reading.
const ENOUGH_BLOCKS: usize = 264;
const THREADS: u32 = 256;
/// Most blocks side by side.
const MOST_BLOCKS: usize = 1 << 30;

/// Elements in 16 bytes.
pub fn pack(dtype: DType) -> usize {
    16 / size(dtype)
}

/// Whether the kernels here are for a product.
pub fn fits(form: &Form) -> bool {
    let along = if form.transposed[1] { form.k } else { form.n };
    form.batch == 1
        && !form.transposed[0]
        && (1..=MOST_ROWS).contains(&form.m)
        && form.k > 0
        && along.is_multiple_of(pack(form.dtype))
        && form.n < MOST_BLOCKS
}

/// In how many parts the rows of the weights are read: by shape alone, so that sums are always the same.
fn splits(form: &Form) -> usize {
    let blocks = form.n.div_ceil(ACROSS * pack(form.dtype));
    (ENOUGH_BLOCKS / blocks.max(1)).clamp(1, form.k.div_ceil(STRETCH))
}

/// Launches of `source` and, where the rows are split, of `join`. `tail` are the structs of the end, and the places of what
/// it reads.
pub fn calls(form: &Form, [source, join]: [usize; 2], tail: (Vec<Vec<u32>>, Vec<Slot>)) -> Calls {
    let number = |value: usize| vec![value as u32];
    let (structs, operands) = tail;
    let sizes = [form.m, form.n, form.k].map(number);
    let mut slots = vec![Slot::Input(0), Slot::Input(1)];
    slots.extend(&operands);
    slots.push(Slot::Output);
    let launch = |blocks: [u32; 3], structs| Launch { grid: Grid { blocks, threads: THREADS }, structs };
    if form.transposed[1] {
        let blocks = [form.n.div_ceil(THREADS as usize / 32) as u32, 1, 1];
        let launch = launch(blocks, [sizes.to_vec(), structs].concat());
        return Calls::one(Call::Launch { source, launch, slots });
    }
    let splits = splits(form);
    let each = form.k.div_ceil(splits).next_multiple_of(STRETCH);
    let parts = form.k.div_ceil(each);
    let scratch = if parts > 1 { (parts * form.m * form.n * sum_size(form.dtype)) as u64 } else { 0 };
    // Where there is one part, nothing is written there.
    slots.push(if parts > 1 { Slot::Scratch(0) } else { Slot::Output });
    let blocks = [form.n.div_ceil(ACROSS * pack(form.dtype)) as u32, parts as u32, 1];
    let more = [sizes.to_vec(), vec![number(each)], structs.clone()].concat();
    let mut list = vec![Call::Launch { source, launch: launch(blocks, more), slots }];
    if parts > 1 {
        let count = form.m * form.n;
        let launch = Launch::over(count, [vec![number(count), number(parts)], structs].concat());
        let slots = [vec![Slot::Scratch(0)], operands, vec![Slot::Output]].concat();
        list.push(Call::Launch { source: join, launch, slots });
    }
    Calls { list, scratch }
}

/// Bytes of a sum.
fn sum_size(dtype: DType) -> usize {
    if dtype == DType::F64 { 8 } else { 4 }
}

/// What both kernels begin with. `T` is the type of sums, `E` the stored one.
pub const HELPER: &str = include_str!("vectors.cuh");

/// The kernel for weights of `k` rows; `ROWS` is how many rows on the left there is room for.
pub const DOWN: &str = "    __shared__ T left[ROWS][512], part[8][ROWS][8 * PACK];
    const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const u32 column = (blockIdx.x * 8 + lane % 8) * PACK, group = threadIdx.x / 8;
    const u32 first = blockIdx.y * each, last = first + each < k ? first + each : k;
    T sum[ROWS][PACK];
#pragma unroll
    for (int t = 0; t < ROWS * PACK; ++t) sum[t / PACK][t % PACK] = 0;
    for (u32 start = first; start < last; start += 512) {
        const u32 stretch = last - start < 512 ? last - start : 512;
        __syncthreads();
        for (u32 e = threadIdx.x; e < ROWS * 512; e += 256) {
            const u32 r = e / 512, s = e % 512;
            left[r][s] = r < m && s < stretch ? ld(x0 + r * k + start + s) : (T)0;
        }
        __syncthreads();
        if (column >= n) continue;
        for (u32 s = group; s < stretch; s += 128) {
            Pack<E> w[4];
#pragma unroll
            for (int u = 0; u < 4; ++u)
                if (s + 32 * u < stretch) w[u] = packed(w0 + (u64)(start + s + 32 * u) * n + column);
#pragma unroll
            for (int u = 0; u < 4; ++u) {
                if (s + 32 * u >= stretch) break;
#pragma unroll
                for (int e = 0; e < PACK; ++e) {
                    const T v = ld(&w[u].of[e]);
#pragma unroll
                    for (int r = 0; r < ROWS; ++r) sum[r][e] += left[r][s + 32 * u] * v;
                }
            }
        }
    }
    // Four groups of a warp, then the eight warps, always in this order.
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
        for (int e = 0; e < PACK; ++e) {
            T s = sum[r][e];
            s += __shfl_xor_sync(0xffffffffu, s, 8);
            s += __shfl_xor_sync(0xffffffffu, s, 16);
            if (lane < 8) part[warp][r][lane * PACK + e] = s;
        }
    }
    __syncthreads();
    for (u32 e = threadIdx.x; e < m * 8 * PACK; e += 256) {
        const u32 r = e / (8 * PACK), c = e % (8 * PACK), j = blockIdx.x * 8 * PACK + c;
        if (j >= n) continue;
        T whole = part[0][r][c];
#pragma unroll
        for (int w = 1; w < 8; ++w) whole += part[w][r][c];
        const u32 o = r * n + j;
        if (gridDim.y > 1) {
            parts[(u64)blockIdx.y * m * n + o] = whole;
            continue;
        }
        const T fresh = whole;
STORE    }
";

/// The kernel that joins parts.
pub const JOIN: &str =
    "    for (u32 o = blockIdx.x * blockDim.x + threadIdx.x; o < n; o += gridDim.x * blockDim.x) {
        T whole = parts[o];
        for (u32 part = 1; part < count; ++part) whole += parts[(u64)part * n + o];
        const T fresh = whole;
STORE    }
";

/// The kernel for weights of `n` rows.
pub const ALONG: &str = "    const u32 lane = threadIdx.x % 32, j = blockIdx.x * 8 + threadIdx.x / 32;
    if (j >= n) return;
    T sum[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; ++r) sum[r] = 0;
    for (u32 s = lane * PACK; s < k; s += 128 * PACK) {
        Pack<E> w[4];
#pragma unroll
        for (int u = 0; u < 4; ++u)
            if (s + 32 * PACK * u < k) w[u] = packed(w0 + (u64)j * k + s + 32 * PACK * u);
#pragma unroll
        for (int u = 0; u < 4; ++u) {
            const u32 at = s + 32 * PACK * u;
            if (at >= k) break;
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                if (r >= m) break;
                const Pack<E> x = packed(x0 + r * k + at);
#pragma unroll
                for (int e = 0; e < PACK; ++e) sum[r] += ld(&x.of[e]) * ld(&w[u].of[e]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
#pragma unroll
        for (int half = 16; half > 0; half /= 2) sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], half);
    }
    if (lane > 0) return;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
        if (r >= m) break;
        const u32 o = r * n + j;
        const T fresh = sum[r];
STORE    }
";
