//! QGemm by constant weights: a product of integers, and what becomes of the sums.

use byoc_graph::{DType, Element};

use crate::fast::gemm::{IntMatrix, IntRhs, PackedInt, Quantized, Zero, gemm_int};
use crate::fast::quantize::{Requantize, requantize_rows};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "int8",
    domain: "com.microsoft",
    ops: &["QGemm"],
    since: 1,
    dtypes: &[DType::U8, DType::I8],
    priority: 10,
    prepare,
}];

struct QGemm<T> {
    packed: PackedInt,
    k: usize,
    n: usize,
    zero: T,
    bias: Option<Vec<i32>>,
    /// From sums to numbers, or to codes: one, or one for each column.
    scale: Vec<f32>,
    /// The type and zero point of codes.
    codes: Option<(DType, i64)>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    match (node.dtype(0)?, node.dtype(3)?) {
        (DType::U8, DType::U8) => of::<u8, u8>(node),
        (DType::U8, DType::I8) => of::<u8, i8>(node),
        (DType::I8, DType::U8) => of::<i8, u8>(node),
        (DType::I8, DType::I8) => of::<i8, i8>(node),
        _ => None,
    }
}

fn of<T: Quantized + Element, W: Quantized + Element>(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
    let b = node.constant(3).filter(|b| b.rank() == 2 && !flag("transA"))?;
    let (rows, columns) = (b.dims()[0], b.dims()[1]);
    let ([k, n], strides) = match flag("transB") {
        true => ([columns, rows], [1, columns]),
        false => ([rows, columns], [columns, 1]),
    };
    let one_zero = node.constant(2)?.as_slice::<T>().ok()?;
    let &[zero] = &one_zero[..] else { return None };
    let zeros = node.constant(5)?.as_slice::<W>().ok()?;
    let b_zero = match zeros.len() {
        1 => Zero::All(zeros[0]),
        len if len == n => Zero::Columns(&zeros),
        _ => return None,
    };
    let bias = match node.has_input(6) {
        true => {
            let given = node.constant(6)?.as_slice::<i32>().ok()?;
            match given.len() {
                1 => Some(vec![given[0]; n]),
                len if len == n && node.constant(6)?.dims().last() == Some(&n) => Some(given.into_owned()),
                _ => return None,
            }
        }
        false => None,
    };
    let mut factor = node.float("alpha").unwrap_or(1.0) * node.scalar_f32(1)?;
    let codes = match node.has_input(7) {
        true => {
            factor /= node.scalar_f32(7)?;
            let zero = node.constant(8)?;
            let value = *zero.to_i64s()?.first().filter(|_| zero.len() == 1)?;
            matches!(zero.dtype(), DType::U8 | DType::I8).then_some(Some((zero.dtype(), value)))?
        }
        false => None,
    };
    let scale: Vec<f32> = node.constant(4)?.as_slice::<f32>().ok()?.iter().map(|b| factor * b).collect();
    if scale.len() != 1 && scale.len() != n {
        return None;
    }
    let values = b.as_slice::<W>().ok()?;
    let packed = PackedInt::pack(node.isa, IntMatrix::strided(&values, [k, n], strides, b_zero));
    Some(Box::new(QGemm::<T> { packed, k, n, zero, bias, scale, codes }))
}

impl<T: Quantized + Element> Kernel for QGemm<T> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (a, n) = (tensor(inputs, 0)?, self.n);
        let &[rows, k] = a.dims else {
            return Err(KernelError::invalid(format!("a matrix is needed, not {:?}", a.dims)));
        };
        if k != self.k {
            return Err(KernelError::invalid(format!("a product of {:?} with {} rows", a.dims, self.k)));
        }
        let a = IntMatrix::row_major(a.slice::<T>()?, rows, k, Zero::All(self.zero));
        let mut buffer = outputs.scratch(rows * n * size_of::<i32>())?;
        let sums: &mut [i32] = bytemuck::cast_slice_mut(buffer.bytes_mut());
        if !sums.is_empty() {
            gemm_int(ctx.exec, a, IntRhs::<T>::Packed(&self.packed), sums, n);
        }
        let (scale, bias, dims) = (&self.scale[..], self.bias.as_deref(), [rows, n]);
        match self.codes {
            Some((DType::U8, zero)) => {
                let how = Requantize { scale, bias, zero: zero as u8 };
                requantize_rows(ctx.exec, sums, n, &how, outputs.tensor::<u8>(0, &dims)?);
            }
            Some((_, zero)) => {
                let how = Requantize { scale, bias, zero: zero as i8 };
                requantize_rows(ctx.exec, sums, n, &how, outputs.tensor::<i8>(0, &dims)?);
            }
            None => {
                let (out, isa, none) = (outputs.tensor::<f32>(0, &dims)?, ctx.exec.isa, vec![0; n]);
                let bias = bias.unwrap_or(&none);
                loops::rows(ctx.exec, out, n, &|row, out| {
                    let sums = sums[row * n..][..n].iter().zip(bias);
                    loops::vectorised(
                        isa,
                        #[inline(always)]
                        || match scale {
                            [one] => out
                                .iter_mut()
                                .zip(sums)
                                .for_each(|(y, (x, b))| *y = x.wrapping_add(*b) as f32 * one),
                            each => out
                                .iter_mut()
                                .zip(sums)
                                .zip(each)
                                .for_each(|((y, (x, b)), scale)| *y = x.wrapping_add(*b) as f32 * scale),
                        },
                    );
                });
            }
        }
        outputs.recycle(buffer);
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input > 0
    }
}
