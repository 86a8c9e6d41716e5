//! Matrix products and convolutions: a tiled kernel, with two ways to read its operands and two ways to multiply.
//!
//! A block computes 64 × 64 elements of the output, 16 steps of the inner dimension at a time through shared memory. With
//! float32 and float64, 256 threads have 4 × 4 elements each. With float16 and bfloat16, four warps have 32 × 32 elements
//! each, as tiles of 16 × 8 that tensor cores multiply (`mma.sync.m16n8k16`), and so with codes of 8 bits (`m16n8k32`),
//! whose zero points are taken off behind the sums. Sums are of float32, float64, or int32 for codes.
//!
//! A convolution is a product of the weights (output channels × taps) and the windows (taps × pixels), which are never
//! written out: each element is looked up in the image.
//!
//! That is what is left to do where no other of its `ways` is there.

use byoc_plugin::{DType, Error, Result};

use super::window::{self, SPACE, Windows};
use super::{name, store};
use crate::driver::Grid;
use crate::kernel::{Call, Calls, Kernel, Launch, Libraries, Slot, Source};
use crate::pointwise::Pointwise;
use crate::shape::{MAX_RANK, Shape, broadcast, broadcast_strides, elements, words};
use crate::types;

const TILE: usize = 64;
/// Most blocks of a launch's second and third dimension.
const MOST_BLOCKS: usize = 65535;

/// How the operands are read.
pub enum Of {
    /// Matrices, each perhaps transposed.
    Matrices { transposed: [bool; 2] },
    /// Weights and images.
    Images { windows: Windows, groups: usize },
}

/// Factors that are codes of 8 bits: sums of products of what they are less their zero points, in 32 bits.
pub struct Codes {
    /// The right factor's element type.
    pub right: DType,
    /// Whether there is a zero point, for the left and the right factor: one for all, or one for each row or column.
    pub zeros: [bool; 2],
}

pub struct Product {
    pub of: Of,
    /// Of the left factor, and of the right one, too, unless they are codes.
    pub dtype: DType,
    pub codes: Option<Codes>,
    pub tail: Pointwise,
}

/// A product's sizes.
pub(super) struct Sizes {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Matrices that stand for themselves.
    pub batch: Shape,
}

/// Elements as they go through shared memory: 16-bit ones as they are.
const ELEMENT: &str = "
template <class X> __device__ inline X element(const X* p) { return *p; }
__device__ inline unsigned short element(const f16* p) { return p->bits; }
__device__ inline unsigned short element(const bf16* p) { return p->bits; }
";

/// How one matrix lies: strides of rows and columns.
pub(super) struct Matrix {
    shape: [usize; 2],
    strides: [usize; 2],
}

/// The last two dimensions of a tensor; one of a single dimension is a row on the left and a column on the right.
pub(super) fn matrix(shape: &[usize], transposed: bool, left: bool) -> Result<(Vec<usize>, Matrix)> {
    let (batch, rows, columns) = match shape {
        [] => return Err(Error::invalid("a number is no matrix")),
        [size] if left => (vec![], 1, *size),
        [size] => (vec![], *size, 1),
        [batch @ .., rows, columns] => (batch.to_vec(), *rows, *columns),
    };
    let (mut own, mut strides) = ([rows, columns], [columns, 1]);
    if transposed {
        own.reverse();
        strides.reverse();
    }
    Ok((batch, Matrix { shape: own, strides }))
}

/// How a block multiplies.
struct Engine {
    threads: u32,
    body: &'static str,
    helper: &'static str,
}

const CORES: Engine = Engine { threads: 256, body: CORES_BODY, helper: "" };
const TENSOR_CORES: Engine = Engine { threads: 128, body: TENSOR_BODY, helper: TENSOR_HELPER };
const CODE_CORES: Engine =
    Engine { threads: 128, body: include_str!("product_codes.cuh"), helper: TENSOR_HELPER };

const CORES_BODY: &str = "    __shared__ T left[16][65], right[16][65];
    const u32 row = blockIdx.y * 64, column = blockIdx.x * 64;
    const u32 tx = threadIdx.x % 16, ty = threadIdx.x / 16;
    for (u32 batch = blockIdx.z; batch < batches; batch += gridDim.z) {
BASE
        T sum[4][4];
        for (int r = 0; r < 4; ++r)
            for (int c = 0; c < 4; ++c) sum[r][c] = 0;
        for (u32 start = 0; start < k; start += 16) {
            for (u32 e = threadIdx.x; e < 1024; e += 256) {
                {
                    const u32 step = LEFT_ORDER ? e % 16 : e / 64, r = LEFT_ORDER ? e / 16 : e % 64;
                    const u32 i = row + r, s = start + step;
                    left[step][r] = i < m && s < k ? LEFT : (T)0;
                }
                {
                    const u32 step = RIGHT_ORDER ? e % 16 : e / 64, c = RIGHT_ORDER ? e / 16 : e % 64;
                    const u32 j = column + c, s = start + step;
                    right[step][c] = j < n && s < k ? RIGHT : (T)0;
                }
            }
            __syncthreads();
            for (int s = 0; s < 16; ++s) {
                T a[4], b[4];
                for (int r = 0; r < 4; ++r) a[r] = left[s][ty + 16 * r];
                for (int c = 0; c < 4; ++c) b[c] = right[s][tx + 16 * c];
                for (int r = 0; r < 4; ++r)
                    for (int c = 0; c < 4; ++c) sum[r][c] += a[r] * b[c];
            }
            __syncthreads();
        }
        for (int r = 0; r < 4; ++r) {
            for (int c = 0; c < 4; ++c) {
                const u32 i = row + ty + 16 * r, j = column + tx + 16 * c;
                if (i >= m || j >= n) continue;
                const u32 o = (batch * m + i) * n + j;
                const T fresh = sum[r][c];
STORE            }
        }
    }
";

pub(super) const TENSOR_HELPER: &str = include_str!("tensor.cuh");

/// `four` and `pair` are a lane's place in the tiles of `mma`, as its description has it.
const TENSOR_BODY: &str = "    __shared__ __align__(4) unsigned short left[64][24], right[64][24];
    const u32 row = blockIdx.y * 64, column = blockIdx.x * 64;
    const u32 four = threadIdx.x % 32 / 4, pair = threadIdx.x % 4 * 2;
    const u32 down = threadIdx.x / 64 * 32, across = threadIdx.x / 32 % 2 * 32;
    for (u32 batch = blockIdx.z; batch < batches; batch += gridDim.z) {
BASE
        float sum[2][4][4];
#pragma unroll
        for (int t = 0; t < 32; ++t) sum[t / 16][t / 4 % 4][t % 4] = 0;
        for (u32 start = 0; start < k; start += 16) {
            for (u32 e = threadIdx.x; e < 1024; e += 128) {
                {
                    const u32 step = LEFT_ORDER ? e % 16 : e / 64, r = LEFT_ORDER ? e / 16 : e % 64;
                    const u32 i = row + r, s = start + step;
                    left[r][step] = i < m && s < k ? LEFT : 0;
                }
                {
                    const u32 step = RIGHT_ORDER ? e % 16 : e / 64, c = RIGHT_ORDER ? e / 16 : e % 64;
                    const u32 j = column + c, s = start + step;
                    right[c][step] = j < n && s < k ? RIGHT : 0;
                }
            }
            __syncthreads();
#pragma unroll
            for (int t = 0; t < 2; ++t) {
                const u32 r = down + t * 16 + four;
                const u32 a[4] = {two(&left[r][pair]), two(&left[r + 8][pair]), two(&left[r][pair + 8]),
                                  two(&left[r + 8][pair + 8])};
#pragma unroll
                for (int q = 0; q < 4; ++q) {
                    const u32 c = across + q * 8 + four;
                    const u32 b[2] = {two(&right[c][pair]), two(&right[c][pair + 8])};
                    MMA(sum[t][q], a, b);
                }
            }
            __syncthreads();
        }
#pragma unroll
        for (int t = 0; t < 2; ++t) {
#pragma unroll
            for (int q = 0; q < 4; ++q) {
#pragma unroll
                for (int e = 0; e < 4; ++e) {
                    const u32 i = row + down + t * 16 + four + e / 2 * 8, j = column + across + q * 8 + pair + e % 2;
                    if (i >= m || j >= n) continue;
                    const u32 o = (batch * m + i) * n + j;
                    const float fresh = sum[t][q][e];
STORE                }
            }
        }
    }
";

/// What differs between matrices and images.
struct Reading {
    arguments: &'static [&'static str],
    /// Statements for each matrix of the batch.
    base: &'static str,
    left: &'static str,
    right: &'static str,
    /// Whether neighbouring threads read neighbouring steps.
    left_order: &'static str,
    right_order: &'static str,
    /// A row's place among those of all groups.
    row: &'static str,
    helper: &'static str,
}

const MATRICES: Reading = Reading {
    arguments: &[
        "const __grid_constant__ Tail<2> lies",
        "const u32 li",
        "const u32 ls",
        "const u32 rs",
        "const u32 rj",
    ],
    base: "        u32 base[2];\n        places(lies, batch, base);",
    left: "element(x0 + base[0] + i * li + s * ls)",
    right: "element(w0 + base[1] + s * rs + j * rj)",
    left_order: "(ls == 1)",
    right_order: "(rs == 1 && rj != 1)",
    row: "i",
    helper: "",
};

const IMAGES: Reading = Reading {
    arguments: &["const __grid_constant__ Windows w", "const u32 groups", "const u32 channels"],
    base: "        const u32 group = batch % groups, image = batch / groups * groups * channels + group * channels;",
    left: "element(x0 + (group * m + i) * k + s)",
    right: "pixel(w0, w, image, s, j, OUTSIDE)",
    left_order: "true",
    right_order: "false",
    row: "(group * m + i)",
    helper: "
// The element that a tap has under a window, or another number where it lies outside of the image.
template <class X, class N>
__device__ inline auto pixel(const X* x, const Windows& w, u32 channel, u32 tap, u32 window, N outside) {
    u32 at[3];
    bool inside = true;
    for (int d = 2; d >= 0; --d) {
        const int p = (int)(window % w.output[d] * w.strides[d] + tap % w.kernel[d] * w.dilations[d]) - (int)w.before[d];
        window /= w.output[d];
        tap /= w.kernel[d];
        inside = inside && p >= 0 && p < (int)w.image[d];
        at[d] = (u32)p;
    }
    const u32 i = (((channel + tap) * w.image[0] + at[0]) * w.image[1] + at[1]) * w.image[2] + at[2];
    return inside ? element(x + i) : (decltype(element(x)))outside;
}
",
};

/// How instructions name the types of codes.
fn byte(dtype: DType) -> &'static str {
    if dtype == DType::I8 { "s8" } else { "u8" }
}

impl Product {
    fn reading(&self) -> &'static Reading {
        match self.of {
            Of::Matrices { .. } => &MATRICES,
            Of::Images { .. } => &IMAGES,
        }
    }

    fn engine(&self) -> &'static Engine {
        match self.dtype {
            _ if self.codes.is_some() => &CODE_CORES,
            DType::F16 | DType::BF16 => &TENSOR_CORES,
            _ => &CORES,
        }
    }

    pub(super) fn text(&self) -> Result<Source> {
        let (of, reading, engine) = (types::of(self.dtype)?, self.reading(), self.engine());
        let right = types::of(self.codes.as_ref().map_or(self.dtype, |codes| codes.right))?;
        let zeros = self.codes.as_ref().map_or([false; 2], |codes| codes.zeros);
        let named = [("x0", of, true), ("w0", right, true), ("lz", of, zeros[0]), ("rz", right, zeros[1])];
        let there = named.iter().filter(|(.., there)| *there);
        let mut arguments: Vec<String> =
            there.map(|(name, of, _)| format!("const {}* __restrict__ {name}", of.stored)).collect();
        arguments.extend(self.tail.addresses()?);
        arguments.push(format!("{}* __restrict__ y", types::of(self.tail.root.dtype)?.stored));
        arguments.extend(["m", "n", "k", "batches"].map(|size| format!("const u32 {size}")));
        if self.codes.is_some() {
            // Strides of the zero points: 0 where one is for all.
            arguments.extend(["lz_step", "rz_step"].map(|size| format!("const u32 {size}")));
        }
        arguments.extend(reading.arguments.iter().map(|argument| (*argument).to_owned()));
        arguments.extend(self.tail.argument());
        let mma = match (self.dtype, &self.codes) {
            (left, Some(codes)) => format!("mma_{}_{}", byte(left), byte(codes.right)),
            (DType::F16, None) => "mma_half".into(),
            _ => "mma_brain".into(),
        };
        let zero = |there: bool, text: &str| if there { text.to_owned() } else { "0".into() };
        let body = engine
            .body
            .replace("MMA", &mma)
            .replace("LEFT_ZERO", &zero(zeros[0], &format!("(int)lz[{} * lz_step]", reading.row)))
            .replace("RIGHT_ZERO", &zero(zeros[1], "(int)rz[j * rz_step]"))
            .replace("BASE", reading.base)
            .replace("LEFT_ORDER", reading.left_order)
            .replace("RIGHT_ORDER", reading.right_order)
            .replace("LEFT", reading.left)
            .replace("RIGHT", reading.right)
            .replace("OUTSIDE", &zero(zeros[1], "rz[0]"))
            .replace("STORE", &store(&self.tail, "o", "                ")?);
        let (family, first) = match self.of {
            Of::Matrices { .. } => ("matmul", ""),
            Of::Images { .. } => ("conv", window::STRUCT),
        };
        let source = Source::new(name(family, &self.tail), &arguments, &body);
        let sum = if self.codes.is_some() { "int" } else { of.computed };
        let text =
            format!("{first}{}{ELEMENT}{}\ntypedef {sum} T;\n{}", engine.helper, reading.helper, source.text);
        Ok(Source { text, ..source })
    }

    /// How many inputs come before those of the end.
    pub(super) fn factors(&self) -> usize {
        let zeros = self.codes.iter().flat_map(|codes| codes.zeros);
        2 + zeros.filter(|there| *there).count()
    }

    /// By zero point, whether each row or column has its own.
    fn zero_steps(&self, inputs: &[&[usize]], sizes: &Sizes) -> Result<Vec<Vec<u32>>> {
        let Some(codes) = &self.codes else { return Ok(Vec::new()) };
        let mut shapes = inputs[2..].iter();
        let step = |(there, size): (bool, usize)| {
            let count = if there { shapes.next().map_or(1, |shape| shape.iter().product()) } else { 1 };
            match count {
                1 => Ok(vec![0]),
                count if count == size => Ok(vec![1]),
                count => Err(Error::invalid(format!("{count} zero points for {size} rows or columns"))),
            }
        };
        let groups = if let Of::Images { groups, .. } = self.of { groups } else { 1 };
        codes.zeros.into_iter().zip([groups * sizes.m, sizes.n]).map(step).collect()
    }

    pub(super) fn sizes(&self, inputs: &[&[usize]]) -> Result<(Sizes, Vec<Vec<u32>>)> {
        match &self.of {
            Of::Matrices { transposed } => matrices(inputs[0], inputs[1], *transposed),
            Of::Images { windows, groups } => images(inputs[0], inputs[1], windows, *groups),
        }
    }
}

fn matrices(x: &[usize], w: &[usize], transposed: [bool; 2]) -> Result<(Sizes, Vec<Vec<u32>>)> {
    let (left_batch, left) = matrix(x, transposed[0], true)?;
    let (right_batch, right) = matrix(w, transposed[1], false)?;
    if left.shape[1] != right.shape[0] {
        return Err(Error::invalid(format!("the product of {x:?} and {w:?}")));
    }
    let batch = broadcast([left_batch.as_slice(), &right_batch])?;
    let strides = |own: &[usize], matrix: &Matrix| -> Vec<u32> {
        let strides = broadcast_strides(own, &batch);
        words(&strides.iter().map(|s| s * matrix.shape[0] * matrix.shape[1]).collect::<Vec<_>>())
    };
    let mut lies = vec![batch.len() as u32];
    lies.extend(words(&batch));
    lies.extend(strides(&left_batch, &left));
    lies.extend(strides(&right_batch, &right));
    let numbers = [left.strides[0], left.strides[1], right.strides[0], right.strides[1]];
    let mut structs = vec![lies];
    structs.extend(numbers.iter().map(|number| vec![*number as u32]));
    Ok((Sizes { m: left.shape[0], n: right.shape[1], k: left.shape[1], batch }, structs))
}

/// Weights come first, since they are the rows of the product.
fn images(w: &[usize], x: &[usize], windows: &Windows, groups: usize) -> Result<(Sizes, Vec<Vec<u32>>)> {
    let wrong = || Error::invalid(format!("weights {w:?} for images {x:?} in {groups} groups"));
    let ([outputs, channels, kernel @ ..], [images, all, image @ ..]) = (w, x) else { return Err(wrong()) };
    if groups == 0 || outputs % groups != 0 || channels * groups != *all || kernel != windows.kernel {
        return Err(wrong());
    }
    let pixels: usize = windows.fit(image)?.iter().map(|(count, _)| count).product();
    let taps = kernel.iter().product::<usize>() * channels;
    let structs = vec![windows.fields(image)?, vec![groups as u32], vec![*channels as u32]];
    Ok((Sizes { m: outputs / groups, n: pixels, k: taps, batch: vec![*images, groups] }, structs))
}

impl Kernel for Product {
    fn source(&self) -> Source {
        self.text().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn sources(&self) -> Vec<Source> {
        self.all_sources().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn calls(&self, inputs: &[&[usize]], output: &[usize], library: &dyn Libraries) -> Result<Calls> {
        // What cannot be launched is refused, whoever would do it.
        let launch = self.launch(inputs, output)?;
        if let Some(calls) = self.other_ways(inputs, output, library) {
            return Ok(calls);
        }
        let slots = (0..inputs.len()).map(Slot::Input).chain([Slot::Output]).collect();
        Ok(Calls::one(Call::Launch { source: 0, launch, slots }))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        let (Sizes { m, n, batch, .. }, _) = self.sizes(inputs)?;
        if let Of::Images { windows, .. } = &self.of {
            let (w, x) = (inputs[0], inputs[1]);
            let counts = windows.fit(&x[2..])?.into_iter().map(|(count, _)| count);
            return Ok([x[0], w[0]].into_iter().chain(counts).collect());
        }
        let rows = (inputs[0].len() > 1).then_some(m);
        let columns = (inputs[1].len() > 1).then_some(n);
        Ok(batch.into_iter().chain(rows).chain(columns).collect())
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        inputs.iter().try_for_each(|shape| elements(shape).map(drop))?;
        elements(output)?;
        let (sizes, more) = self.sizes(inputs)?;
        let zeros = self.zero_steps(inputs, &sizes)?;
        let Sizes { m, n, k, batch } = sizes;
        let batches = elements(&batch)?;
        let mut structs: Vec<Vec<u32>> = [m, n, k, batches].iter().map(|size| vec![*size as u32]).collect();
        structs.extend(zeros);
        structs.extend(more);
        structs.extend(self.tail.structs(&inputs[self.factors()..], output));
        let rows = m.div_ceil(TILE);
        if rows > MOST_BLOCKS {
            return Err(Error::unsupported(format!("a product of {m} rows")));
        }
        let blocks = [n.div_ceil(TILE) as u32, rows as u32, batches.clamp(1, MOST_BLOCKS) as u32];
        Ok(Launch { grid: Grid { blocks, threads: self.engine().threads }, structs })
    }

    fn work(&self, inputs: &[&[usize]], _: &[usize]) -> f64 {
        let Ok((Sizes { m, n, k, batch }, _)) = self.sizes(inputs) else { return 0.0 };
        2.0 * [m, n, k].iter().chain(&batch).map(|size| *size as f64).product::<f64>()
    }
}

const _: () = assert!(SPACE == 3 && MAX_RANK == 8, "as the kernels' structs have it");
