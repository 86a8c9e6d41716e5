//! Products by constant weights in blocks of codes: MatMulNBits.
//!
//! The weights are `[columns, blocks, bytes]`, codes beginning at the lowest bits; scales and zero points belong to a
//! column and a block.

use byoc_graph::{DType, StaticDims};

use crate::fast::gemm::{Codes, Epilogue, Matrix, PackedCodes, Rhs, gemm};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "codes",
    domain: "com.microsoft",
    ops: &["MatMulNBits"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct MatMulBlocks {
    weights: PackedCodes,
    size: [usize; 2],
}

/// Code `i` of bytes that have several.
fn code(bytes: &[u8], bits: usize, i: usize) -> u8 {
    let per_byte = 8 / bits;
    bytes[i / per_byte] >> (i % per_byte * bits) & (u8::MAX >> (8 - bits))
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let size = |name: &str| node.int(name).and_then(|n| usize::try_from(n).ok());
    let (k, n, bits, block) = (size("K")?, size("N")?, size("bits")?, size("block_size")?);
    // Any order of blocks, codes of 2 bits and odd blocks are the reference's.
    let is_known = matches!(bits, 4 | 8) && block >= 16 && block.is_multiple_of(2) && block < 1 << 20;
    (is_known && k > 0 && n > 0 && !node.has_input(4)).then_some(())?;
    let blocks = k.div_ceil(block);
    let (row_bytes, zero_bytes) = (blocks.checked_mul(block * bits)? / 8, (blocks * bits).div_ceil(8));
    let (codes, scales) = (node.constant(1)?, node.constant(2)?);
    let (bytes, scales) = (codes.bytes(), scales.as_slice::<f32>().ok()?);
    let fits = bytes.len() == n.checked_mul(row_bytes)? && scales.len() == n.checked_mul(blocks)?;
    fits.then_some(())?;
    let weight = |col: usize, row: usize| code(&bytes[col * row_bytes..], bits, row);
    let scale = |col: usize, block: usize| scales[col * blocks + block];
    let pack = |zero: Option<&dyn Fn(usize, usize) -> f32>| {
        PackedCodes::of_codes(node.isa, [k, n], Codes { bits, block }, weight, scale, zero)
    };
    let weights = match node.input(3) {
        None => pack(None),
        Some(_) => {
            let zeros = node.constant(3)?;
            match zeros.dtype() {
                DType::U8 if zeros.len() == n * zero_bytes => {
                    let bytes = zeros.bytes();
                    pack(Some(&|col, block| f32::from(code(&bytes[col * zero_bytes..], bits, block))))
                }
                DType::F32 if zeros.len() == n * blocks => {
                    let zeros = zeros.as_slice::<f32>().ok()?;
                    pack(Some(&|col, block| zeros[col * blocks + block]))
                }
                _ => return None,
            }
        }
    };
    Some(Box::new(MatMulBlocks { weights, size: [k, n] }))
}

impl Kernel for MatMulBlocks {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let ([k, n], x) = (self.size, tensor(inputs, 0)?);
        let mut dims = StaticDims::from_slice(x.dims);
        match dims.last_mut() {
            Some(last) if *last == k => *last = n,
            _ => return Err(KernelError::invalid(format!("{:?} cannot be multiplied by {k} rows", x.dims))),
        }
        let bias = optional(inputs, 5)?.map(|b| b.slice::<f32>()).transpose()?;
        if bias.is_some_and(|bias| bias.len() != n) {
            return Err(KernelError::invalid("the bias does not have one element for each column"));
        }
        let out = outputs.tensor::<f32>(0, &dims)?;
        if !out.is_empty() {
            let a = Matrix::row_major(x.slice()?, out.len() / n, k);
            let epilogue = Epilogue { column_bias: bias, ..Epilogue::default() };
            gemm(ctx.exec, a, Rhs::Codes(&self.weights), out, n, &epilogue);
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        (1..4).contains(&input)
    }

    fn kept_bytes(&self) -> Option<usize> {
        Some(self.weights.bytes())
    }
}
