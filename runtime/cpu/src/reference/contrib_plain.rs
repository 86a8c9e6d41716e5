//! Operators of ONNX Runtime's that the standard has too, or nearly so.

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::generate::range;
use super::index::gather_nd;
use super::layout;
use super::matmul::multiply;
use super::numbers::{self, from_floats};
use super::registry::{Entry, contrib};
use super::slice_concat::{pad, trilu};
use super::special::gelu_tanh;

pub(super) const OPS: &[Entry] = &[
    contrib("CDist", pairwise_distances),
    contrib("ExpandDims", expand_dims),
    contrib("GatherND", gather_nd),
    contrib("GemmFastGelu", gemm_fast_gelu),
    contrib("Inverse", inverse),
    contrib("Pad", pad),
    contrib("Range", range),
    contrib("Trilu", trilu),
];

fn expand_dims(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let at = layout::axis(call.whole_scalar(1)?, x.rank() + 1)?;
    let mut dims = x.dims().to_vec();
    dims.insert(at, 1);
    Ok(vec![x.reshaped(&dims)?.into()])
}

fn gemm_fast_gelu(call: &Call<'_>) -> Outputs {
    let (x, w) = (call.tensor(0)?, call.tensor(1)?);
    let (mut out, dims) = multiply(&numbers::floats(x)?, x.dims(), &numbers::floats(w)?, w.dims())?;
    if let Some(bias) = call.floats_opt(2)? {
        let bias = layout::expand(bias, call.tensor(2)?.dims(), &dims)?;
        out.iter_mut().zip(bias).for_each(|(x, b)| *x += b);
    }
    out.iter_mut().for_each(|x| *x = gelu_tanh(*x));
    Ok(vec![from_floats(x.dtype(), &dims, &out)?.into()])
}

/// Distances between the rows of two matrices.
fn pairwise_distances(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let (&[m, n], &[k, width]) = (a.dims(), b.dims()) else {
        return Err(invalid!("matrices are needed, not {:?} and {:?}", a.dims(), b.dims()));
    };
    ensure!(n == width, "rows of {n} and of {width}");
    let root = match call.text_opt("metric")?.unwrap_or("sqeuclidean") {
        "euclidean" => f64::sqrt as fn(f64) -> f64,
        "sqeuclidean" => |x| x,
        other => return Err(Fault::Unsupported(format!("distance `{other}`"))),
    };
    let (left, right) = (numbers::floats(a)?, numbers::floats(b)?);
    layout::count(&[m, k])?;
    let row = |all: &[f64], i: usize| all[i * n..(i + 1) * n].to_vec();
    let distance = |(i, j): (usize, usize)| {
        let sum: f64 = row(&left, i).iter().zip(row(&right, j)).map(|(a, b)| (a - b) * (a - b)).sum();
        root(sum)
    };
    let y: Vec<f64> = (0..m).flat_map(|i| (0..k).map(move |j| (i, j))).map(distance).collect();
    Ok(vec![from_floats(a.dtype(), &[m, k], &y)?.into()])
}

/// Inverts square matrices by Gauss and Jordan's elimination, the largest element of a column first.
fn inverse(call: &Call<'_>) -> Outputs {
    let x = call.tensor(0)?;
    let n = match *x.dims() {
        [.., rows, columns] if rows == columns => rows,
        _ => return Err(invalid!("square matrices are needed, not {:?}", x.dims())),
    };
    let mut values = numbers::floats(x)?;
    for matrix in values.chunks_mut((n * n).max(1)) {
        invert(matrix, n)?;
    }
    Ok(vec![from_floats(x.dtype(), x.dims(), &values)?.into()])
}

fn invert(a: &mut [f64], n: usize) -> Result<(), Fault> {
    let mut inverse = vec![0.0; n * n];
    (0..n).for_each(|i| inverse[i * n + i] = 1.0);
    for column in 0..n {
        let size = |row: &usize| a[row * n + column].abs();
        let pivot = (column..n).max_by(|i, j| size(i).total_cmp(&size(j))).unwrap_or(column);
        ensure!(a[pivot * n + column] != 0.0, "a matrix without an inverse");
        for k in 0..n {
            a.swap(pivot * n + k, column * n + k);
            inverse.swap(pivot * n + k, column * n + k);
        }
        let scale = a[column * n + column];
        for k in 0..n {
            a[column * n + k] /= scale;
            inverse[column * n + k] /= scale;
        }
        for row in (0..n).filter(|&row| row != column) {
            let factor = a[row * n + column];
            for k in 0..n {
                a[row * n + k] -= factor * a[column * n + k];
                inverse[row * n + k] -= factor * inverse[column * n + k];
            }
        }
    }
    a.copy_from_slice(&inverse);
    Ok(())
}
