//! Sizes: a layer and the sizes of its operands become a description for the bridge.

use byoc_plugin::shapes::{self, Placed, Window, from_front};
use byoc_plugin::{Error, Result};

use crate::bridge::ffi::{Algorithm, Kind, Op};
use crate::layer::{Layer, What};

/// The layer as a primitive for operands of these sizes. Its result has the sizes `dims` of what comes back.
pub fn resolve(layer: &Layer, sizes: &[Vec<i64>]) -> Result<Op> {
    let wrong = |what: &str| Error::unsupported(what).at_node(layer.node);
    let of = |i: usize| sizes[layer.inputs[i]].clone();
    let x = of(0);
    let mut op = Op { output: layer.output, dims: x.clone(), groups: 1, dtype: layer.dtype, ..Op::default() };
    op.inputs.clone_from(&layer.inputs);
    op.zero.extend(layer.zero);
    op.post.clone_from(&layer.post);
    match &layer.what {
        What::Convolution(window, groups) => {
            (op.kind, op.groups) = (Kind::Convolution, *groups);
            let spatial = place(&mut op, window, window.slide(&x[2..]));
            op.dims = [vec![x[0], of(1)[0]], spatial].concat();
        }
        What::Deconvolution(window, groups, more, wanted) => {
            (op.kind, op.groups) = (Kind::Deconvolution, *groups);
            let placed = window.spread(&x[2..], more, wanted.as_deref());
            let placed = placed.ok_or_else(|| wrong("padding of the output is not among oneDNN's"))?;
            let spatial = place(&mut op, window, placed);
            op.dims = [vec![x[0], of(1)[1] * groups], spatial].concat();
        }
        What::Product(turned) => {
            (op.kind, op.axis) = (Kind::Product, *turned);
            let dims = shapes::matmul(&x, &of(1), [turned & 1 != 0, turned & 2 != 0]);
            op.dims = dims.ok_or_else(|| wrong("operands that cannot be multiplied"))?;
        }
        What::Pooling(algorithm, window) => {
            (op.kind, op.algorithm) = (Kind::Pooling, *algorithm);
            let window = window.clone().unwrap_or_else(|| Window::whole(&x[2..]));
            let spatial = place(&mut op, &window, window.slide(&x[2..]));
            op.dims = [x[..2].to_vec(), spatial].concat();
        }
        What::Softmax(axis, algorithm) => {
            (op.kind, op.algorithm, op.axis) = (Kind::Softmax, *algorithm, from_front(*axis, x.len()));
        }
        What::LayerNorm(epsilon) => (op.kind, op.alpha) = (Kind::LayerNorm, *epsilon),
        What::BatchNorm(epsilon) => (op.kind, op.alpha) = (Kind::BatchNorm, *epsilon),
        What::Lrn(size, alpha, beta) => {
            (op.kind, op.axis, op.alpha, op.beta) = (Kind::Lrn, *size, *alpha, *beta);
        }
        What::Concat(axis) => {
            (op.kind, op.axis) = (Kind::Concat, from_front(*axis, x.len()));
            op.dims[op.axis as usize] = (0..layer.inputs.len()).map(|i| of(i)[op.axis as usize]).sum();
        }
        What::Eltwise(function) => {
            op.kind = Kind::Eltwise;
            (op.algorithm, op.alpha, op.beta) = (function.algorithm, function.alpha, function.beta);
        }
        What::Binary(algorithm) => {
            (op.kind, op.algorithm) = (Kind::Binary, *algorithm);
            let dims = shapes::broadcast(&x, &of(1));
            op.dims = dims.ok_or_else(|| wrong("operands that cannot be broadcast"))?;
            if op.dims != x && matches!(*algorithm, Algorithm::Sub | Algorithm::Div) {
                return Err(wrong("the first operand is broadcast, oneDNN broadcasts the second"));
            }
            if op.dims != x {
                op.inputs.swap(0, 1);
            }
            if op.dims != sizes[op.inputs[0]] {
                return Err(wrong("both operands are broadcast, oneDNN broadcasts one"));
            }
        }
        What::Prelu => op.kind = Kind::Prelu,
        What::Reduction(algorithm, axes, keep) => {
            (op.kind, op.algorithm) = (Kind::Reduction, *algorithm);
            op.alpha = if *algorithm == Algorithm::NormL2 { 2.0 } else { 1.0 };
            (op.kernel, op.dims) = (shapes::reduced(&x, axes, true), shapes::reduced(&x, axes, *keep));
        }
        What::Resampling(algorithm, scaling) => {
            (op.kind, op.algorithm) = (Kind::Resampling, *algorithm);
            let nearest = *algorithm == Algorithm::Nearest;
            let size = |(&to, &dim): (&i64, &i64)| to > 0 && dim > 0 && (!nearest || to % dim == 0);
            let fits = |to: &Vec<i64>| to[..2] == x[..2] && to.iter().zip(&x).all(size);
            op.dims = scaling.apply(&x).filter(fits).ok_or_else(|| {
                wrong("scales that oneDNN samples elsewhere: nearest takes whole ones only")
            })?;
        }
        What::View(view) => {
            op.kind = Kind::View;
            let dims = view.apply(&x, sizes);
            op.dims = dims.ok_or_else(|| wrong("a shape with another number of elements"))?;
        }
        What::Transpose(order) => {
            op.kind = Kind::Transpose;
            op.kernel = if order.is_empty() { (0..x.len() as i64).rev().collect() } else { order.clone() };
            op.dims = op.kernel.iter().map(|&axis| x[axis as usize]).collect();
        }
        What::Part(axis, parts, which, count) => {
            (op.kind, op.axis) = (Kind::Part, from_front(*axis, x.len()));
            let part = shapes::part(x[op.axis as usize], parts, *which, *count);
            let (begin, len) = part.ok_or_else(|| wrong("parts that the tensor does not have"))?;
            (op.begin, op.dims[op.axis as usize]) = (vec![begin], len);
        }
        What::Dequantise(axis) => (op.kind, op.axis) = (Kind::Dequantise, from_front(*axis, x.len())),
    }
    Ok(op)
}

/// About as many multiplications as the primitive takes as long as.
pub fn work(op: &Op, sizes: &[Vec<i64>]) -> i64 {
    let each = match op.kind {
        Kind::Convolution | Kind::Deconvolution => sizes[op.inputs[1]][1..].iter().product(),
        Kind::Product => sizes[op.inputs[0]].last().copied().unwrap_or(1),
        _ => MOVED,
    };
    op.dims.iter().product::<i64>().saturating_mul(each.max(MOVED))
}

/// Multiplications in the time that an element takes to be read and written.
const MOVED: i64 = 16;

/// Settles a window; the sizes of what comes out.
fn place(op: &mut Op, window: &Window, placed: Placed) -> Vec<i64> {
    op.kernel.clone_from(&window.kernel);
    op.strides.clone_from(&window.strides);
    op.dilations.clone_from(&window.dilations);
    (op.begin, op.end) = (placed.begin, placed.end);
    placed.sizes
}
