//! Sizes: a layer and the sizes of its operands become a description for the bridge.

use byoc_plugin::{Error, Result};

use crate::bridge::ffi::{Algorithm, Kind, Op, PostOp};
use crate::layer::{Layer, Number, Pads, Post, Size, View, What, Window};

/// The layer as a primitive for operands of these sizes. Its result has the sizes `dims` of what comes back.
pub fn resolve(layer: &Layer, sizes: &[Vec<i64>]) -> Result<Op> {
    let wrong = |what: &str| Error::unsupported(what).at_node(layer.node);
    let of = |i: usize| sizes[layer.inputs[i]].clone();
    let x = of(0);
    let post = layer.post.iter().map(post).collect();
    let mut op = Op { output: layer.output, dims: x.clone(), post, groups: 1, ..Op::default() };
    op.inputs.clone_from(&layer.inputs);
    match &layer.what {
        What::Convolution(window, groups) => {
            (op.kind, op.groups) = (Kind::Convolution, *groups);
            let spatial = slide(&mut op, window, &x[2..]);
            op.dims = [vec![x[0], of(1)[0]], spatial].concat();
        }
        What::Deconvolution(window, groups, more, wanted) => {
            (op.kind, op.groups) = (Kind::Deconvolution, *groups);
            let spatial = spread(&mut op, window, more, wanted.as_deref(), &x[2..])
                .ok_or_else(|| wrong("padding of the output is not among oneDNN's"))?;
            op.dims = [vec![x[0], of(1)[1] * groups], spatial].concat();
        }
        What::Product(turned) => {
            (op.kind, op.axis) = (Kind::Product, *turned);
            op.dims =
                product(&x, &of(1), *turned).ok_or_else(|| wrong("operands that cannot be multiplied"))?;
        }
        What::Pooling(algorithm, window) => {
            (op.kind, op.algorithm) = (Kind::Pooling, *algorithm);
            let (ones, none) = (vec![1; x.len() - 2], vec![0; x.len() - 2]);
            let pads = Pads::Given(none.clone(), none);
            let all = Window { kernel: x[2..].to_vec(), strides: ones.clone(), dilations: ones, pads };
            let spatial = slide(&mut op, window.as_ref().unwrap_or(&all), &x[2..]);
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
            op.dims = broadcast(&x, &of(1)).ok_or_else(|| wrong("operands that cannot be broadcast"))?;
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
            let reduced =
                |i: usize| axes.is_empty() || axes.iter().any(|&a| from_front(a, x.len()) == i as i64);
            op.kernel = x.iter().enumerate().map(|(i, &dim)| if reduced(i) { 1 } else { dim }).collect();
            let kept = x.iter().enumerate().filter(|(i, _)| *keep || !reduced(*i));
            op.dims = kept.map(|(i, &dim)| if reduced(i) { 1 } else { dim }).collect();
        }
        What::Resampling(algorithm, by) => {
            (op.kind, op.algorithm) = (Kind::Resampling, *algorithm);
            op.dims = resampled(&x, by, *algorithm).ok_or_else(|| {
                wrong("scales that oneDNN samples elsewhere: nearest takes whole ones only")
            })?;
        }
        What::View(view) => {
            op.kind = Kind::View;
            op.dims =
                viewed(&x, view, sizes).ok_or_else(|| wrong("a shape with another number of elements"))?;
        }
        What::Transpose(order) => {
            op.kind = Kind::Transpose;
            op.kernel = if order.is_empty() { (0..x.len() as i64).rev().collect() } else { order.clone() };
            op.dims = op.kernel.iter().map(|&axis| x[axis as usize]).collect();
        }
        What::Part(axis, parts, which, count) => {
            (op.kind, op.axis) = (Kind::Part, from_front(*axis, x.len()));
            let whole = x[op.axis as usize];
            // The last of equal parts may be smaller.
            let equal = (whole + count - 1) / count;
            let end = |i: usize| match parts.is_empty() {
                true => (i as i64 * equal).min(whole),
                false => parts[..i].iter().sum(),
            };
            let (begin, end) = (end(*which), end(which + 1));
            if end > whole || begin >= end {
                return Err(wrong("parts that the tensor does not have"));
            }
            (op.begin, op.dims[op.axis as usize]) = (vec![begin], end - begin);
        }
    }
    Ok(op)
}

fn post(post: &Post) -> PostOp {
    match *post {
        Post::Eltwise(f) => {
            PostOp { kind: Kind::Eltwise, algorithm: f.algorithm, alpha: f.alpha, beta: f.beta, value: 0 }
        }
        Post::Binary(algorithm, value) => {
            PostOp { kind: Kind::Binary, algorithm, value, ..PostOp::default() }
        }
    }
}

/// Counts an axis from the front.
fn from_front(axis: i64, rank: usize) -> i64 {
    if axis < 0 { axis + rank as i64 } else { axis }
}

/// Settles a window over an input; the sizes of the output.
fn slide(op: &mut Op, window: &Window, input: &[i64]) -> Vec<i64> {
    (op.kernel, op.strides, op.dilations) =
        (window.kernel.clone(), window.strides.clone(), window.dilations.clone());
    let reach = |i: usize| (window.kernel[i] - 1) * window.dilations[i] + 1;
    let axes = 0..input.len();
    match &window.pads {
        Pads::Given(begin, end) => (op.begin, op.end) = (begin.clone(), end.clone()),
        Pads::Same { behind } => {
            for i in axes.clone() {
                let outputs = (input[i] + window.strides[i] - 1) / window.strides[i];
                let pads = ((outputs - 1) * window.strides[i] + reach(i) - input[i]).max(0);
                let (less, more) = (pads / 2, pads - pads / 2);
                op.begin.push(if *behind { less } else { more });
                op.end.push(if *behind { more } else { less });
            }
        }
    }
    let size = |i: usize| (input[i] + op.begin[i] + op.end[i] - reach(i)) / window.strides[i] + 1;
    axes.map(size).collect()
}

/// As [`slide`], for a transposed convolution. `None` where the output would need padding that is negative.
fn spread(
    op: &mut Op,
    window: &Window,
    more: &[i64],
    wanted: Option<&[i64]>,
    input: &[i64],
) -> Option<Vec<i64>> {
    (op.kernel, op.strides, op.dilations) =
        (window.kernel.clone(), window.strides.clone(), window.dilations.clone());
    let mut sizes = Vec::new();
    for i in 0..input.len() {
        let whole = (input[i] - 1) * window.strides[i] + (window.kernel[i] - 1) * window.dilations[i] + 1;
        let (begin, size) = match (&window.pads, wanted) {
            (Pads::Given(begin, end), None) => (begin[i], whole + more[i] - begin[i] - end[i]),
            (Pads::Given(..), Some(wanted)) => ((whole + more[i] - wanted[i]) / 2, wanted[i]),
            (Pads::Same { behind }, wanted) => {
                let size = wanted.map_or(input[i] * window.strides[i], |wanted| wanted[i]);
                let pads = (whole + more[i] - size).max(0);
                (if *behind { pads / 2 } else { pads - pads / 2 }, size)
            }
        };
        // What oneDNN counts as padding behind: the output is the input's reach without both.
        let end = whole - begin - size;
        if begin < 0 {
            return None;
        }
        op.begin.push(begin);
        op.end.push(end);
        sizes.push(size);
    }
    Some(sizes)
}

fn product(a: &[i64], b: &[i64], turned: i64) -> Option<Vec<i64>> {
    let ends = |dims: &[i64], turned: bool| {
        let (outer, inner) = dims.split_at_checked(dims.len().checked_sub(2)?)?;
        let (rows, columns) = if turned { (inner[1], inner[0]) } else { (inner[0], inner[1]) };
        Some((outer.to_vec(), rows, columns))
    };
    let ((outer_a, rows, inner), (outer_b, other, columns)) =
        (ends(a, turned & 1 != 0)?, ends(b, turned & 2 != 0)?);
    (inner == other).then_some(())?;
    Some([broadcast(&outer_a, &outer_b)?, vec![rows, columns]].concat())
}

pub fn broadcast(a: &[i64], b: &[i64]) -> Option<Vec<i64>> {
    let rank = a.len().max(b.len());
    let at = |dims: &[i64], i: usize| (i + dims.len()).checked_sub(rank).map_or(1, |i| dims[i]);
    let dim = |i: usize| match (at(a, i), at(b, i)) {
        (a, b) if a == b || b == 1 => Some(a),
        (1, b) => Some(b),
        _ => None,
    };
    (0..rank).map(dim).collect()
}

fn resampled(x: &[i64], by: &Size, algorithm: Algorithm) -> Option<Vec<i64>> {
    let sizes: Vec<i64> = match by {
        Size::Sizes(sizes) => sizes.clone(),
        Size::Scales(scales) => {
            let size = |(&dim, &scale): (&i64, &f32)| {
                let exact = dim as f32 * scale;
                (exact.fract() == 0.0).then_some(exact as i64)
            };
            x.iter().zip(scales).map(size).collect::<Option<_>>()?
        }
    };
    let whole = sizes.iter().zip(x).all(|(size, &dim)| dim > 0 && size % dim == 0);
    let fits = sizes.len() == x.len() && sizes[..2] == x[..2] && sizes.iter().all(|&size| size > 0);
    (fits && (algorithm == Algorithm::Bilinear || whole)).then_some(sizes)
}

fn viewed(x: &[i64], view: &View, sizes: &[Vec<i64>]) -> Option<Vec<i64>> {
    let total: i64 = x.iter().product();
    let place =
        |axes: &[i64], rank: usize| -> Vec<i64> { axes.iter().map(|&a| from_front(a, rank)).collect() };
    let dims: Vec<i64> = match view {
        View::Reshape(target, zero_copies) => {
            let dim = |(i, number): (usize, &Number)| match *number {
                Number::Known(0) if *zero_copies => x.get(i).copied(),
                Number::Known(dim) => Some(dim),
                Number::Size(value, axis) => sizes[value].get(axis).copied(),
            };
            let dims: Vec<i64> = target.iter().enumerate().map(dim).collect::<Option<_>>()?;
            let known: i64 = dims.iter().filter(|&&dim| dim != -1).product();
            let rest = if known == 0 { 0 } else { total / known };
            dims.into_iter().map(|dim| if dim == -1 { rest } else { dim }).collect()
        }
        View::Flatten(axis) => {
            let (front, back) = x.split_at_checked(from_front(*axis, x.len()) as usize)?;
            vec![front.iter().product(), back.iter().product()]
        }
        View::Squeeze(axes) => {
            let axes = axes.as_ref().map(|axes| place(axes, x.len()));
            let gone = |i: usize, dim: i64| axes.as_ref().map_or(dim == 1, |axes| axes.contains(&(i as i64)));
            x.iter().enumerate().filter(|(i, dim)| !gone(*i, **dim)).map(|(_, dim)| *dim).collect()
        }
        View::Unsqueeze(axes) => {
            let axes = place(axes, x.len() + axes.len());
            let mut rest = x.iter().copied();
            let rank = (x.len() + axes.len()) as i64;
            (0..rank).map(|i| if axes.contains(&i) { Some(1) } else { rest.next() }).collect::<Option<_>>()?
        }
    };
    (dims.iter().product::<i64>() == total).then_some(dims)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_have_the_sizes_of_the_standard() {
        let reshape =
            |target: &[i64]| View::Reshape(target.iter().copied().map(Number::Known).collect(), true);
        let cases = [
            (reshape(&[0, -1]), Some(vec![2, 60])),
            (reshape(&[7, -1]), None),
            (View::Flatten(-1), Some(vec![24, 5])),
            (View::Unsqueeze(vec![0, -1]), Some(vec![1, 2, 3, 4, 5, 1])),
            (View::Squeeze(None), Some(vec![2, 3, 4, 5])),
        ];
        for (view, want) in cases {
            assert_eq!(viewed(&[2, 3, 4, 5], &view, &[]), want, "{view:?}");
        }
    }

    #[test]
    fn sizes_are_broadcast_from_behind() {
        assert_eq!(broadcast(&[2, 1, 4], &[3, 1]), Some(vec![2, 3, 4]));
        assert_eq!(broadcast(&[], &[3]), Some(vec![3]));
        assert_eq!(broadcast(&[2], &[3]), None);
        assert_eq!(product(&[5, 2, 3], &[4, 3], 2), Some(vec![5, 2, 4]));
    }
}
