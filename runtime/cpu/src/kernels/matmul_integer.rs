//! MatMulInteger of two matrices that are known only in a run; the left one may be a stack of them.

use std::marker::PhantomData;

use byoc_graph::{DType, Element, StaticDims};

use crate::fast::gemm::{IntMatrix, IntRhs, Quantized, Zero, gemm_int};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::view::{TensorView, View};

struct Product<T, W>(PhantomData<(T, W)>);

pub(super) fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let single = |i: usize| node.shape(i).is_some_and(|shape| shape.iter().all(|d| d.value() == Some(1)));
    let zeros_fit = |i: usize, rows: bool| !node.has_input(i) || single(i) || rows && node.rank(i) == Some(1);
    if node.rank(1)? != 2 || !zeros_fit(2, node.rank(0)? == 2) || !zeros_fit(3, true) {
        return None;
    }
    Some(match (node.dtype(0)?, node.dtype(1)?) {
        (DType::U8, DType::U8) => Box::new(Product::<u8, u8>(PhantomData)),
        (DType::U8, DType::I8) => Box::new(Product::<u8, i8>(PhantomData)),
        (DType::I8, DType::U8) => Box::new(Product::<i8, u8>(PhantomData)),
        (DType::I8, DType::I8) => Box::new(Product::<i8, i8>(PhantomData)),
        _ => return None,
    })
}

/// One zero point, or one for each of `count` rows or columns; 0 where none is given.
pub(super) fn zeros<'a, T: Quantized + Element>(
    view: Option<TensorView<'a>>,
    count: usize,
    each: fn(&'a [T]) -> Zero<'a, T>,
) -> Result<Zero<'a, T>, KernelError> {
    match view.map(|view| view.slice::<T>()).transpose()? {
        None => Ok(Zero::All(T::narrow(0))),
        Some(&[zero]) => Ok(Zero::All(zero)),
        Some(zeros) if zeros.len() == count => Ok(each(zeros)),
        Some(zeros) => Err(KernelError::invalid(format!("{} zero points for {count}", zeros.len()))),
    }
}

impl<T: Quantized + Element, W: Quantized + Element> Kernel for Product<T, W> {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let (a, b) = (tensor(inputs, 0)?, tensor(inputs, 1)?);
        let (Some((&k, outer)), &[b_rows, n]) = (a.dims.split_last(), b.dims) else {
            return Err(KernelError::invalid(format!("a product of {:?} and {:?}", a.dims, b.dims)));
        };
        if k != b_rows {
            return Err(KernelError::invalid(format!("a product of {:?} and {:?}", a.dims, b.dims)));
        }
        let rows: usize = outer.iter().product();
        let mut dims: StaticDims = outer.into();
        dims.push(n);
        let left = zeros(optional(inputs, 2)?, rows, Zero::Rows)?;
        let right = zeros(optional(inputs, 3)?, n, Zero::Columns)?;
        let a = IntMatrix::row_major(a.slice::<T>()?, rows, k, left);
        let b = IntMatrix::row_major(b.slice::<W>()?, k, n, right);
        let out = outputs.tensor::<i32>(0, &dims)?;
        if !out.is_empty() {
            gemm_int(ctx.exec, a, IntRhs::Plain(b), out, n);
        }
        Ok(())
    }
}
