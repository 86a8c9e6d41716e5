//! Matrix products: MatMul, Gemm, Einsum, Det. Floats accumulate in `f64`, integers modulo their width.

use std::num::Wrapping;

use byoc_graph::Tensor;
use ndarray::{ArrayView2, LinalgScalar};

use super::call::{Call, Outputs};
use super::fault::{Fault, ensure, invalid};
use super::layout::{self, Lanes};
use super::numbers::{self, Numbers, from_floats};
use super::registry::{Entry, onnx};

pub(super) const OPS: &[Entry] =
    &[onnx("Det", 11, det), onnx("Gemm", 1, gemm_operator), onnx("MatMul", 1, matmul)];

/// The product of an `m`×`k` and a `k`×`n` matrix, both row-major.
pub(super) fn product<T: LinalgScalar>(a: &[T], b: &[T], [m, k, n]: [usize; 3]) -> Result<Vec<T>, Fault> {
    let view =
        |data, dims| ArrayView2::from_shape(dims, data).map_err(|_| invalid!("a matrix of another size"));
    let product = view(a, (m, k))?.dot(&view(b, (k, n))?);
    // The product of a matrix with one column may come out column-major; both are the same there.
    Ok(product.as_standard_layout().iter().copied().collect())
}

/// A matrix with rows and columns exchanged.
pub(super) fn transposed<T: Copy>(data: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| data[r * columns + c])).collect()
}

/// How two stacks of matrices go together.
struct Stacks {
    m: usize,
    k: usize,
    n: usize,
    /// Which matrix of either side makes each matrix of the result.
    pairs: Vec<(usize, usize)>,
    dims: Vec<usize>,
}

/// Shapes as numpy's `matmul` has them: a vector is a row on the left and a column on the right.
fn stacks(a: &[usize], b: &[usize]) -> Result<Stacks, Fault> {
    ensure!(!a.is_empty() && !b.is_empty(), "a scalar cannot be multiplied as a matrix");
    let left: Vec<usize> = if a.len() == 1 { vec![1, a[0]] } else { a.to_vec() };
    let right: Vec<usize> = if b.len() == 1 { vec![b[0], 1] } else { b.to_vec() };
    let (front_a, [m, k]) = left.split_last_chunk::<2>().expect("two dimensions at least");
    let (front_b, [k_b, n]) = right.split_last_chunk::<2>().expect("two dimensions at least");
    ensure!(k == k_b, "matrices {a:?} and {b:?} do not fit");
    let front = layout::broadcast([front_a, front_b])?;
    let (from_a, from_b) =
        (layout::broadcast_offsets(front_a, &front)?, layout::broadcast_offsets(front_b, &front)?);
    let mut dims = front;
    dims.extend((a.len() > 1).then_some(*m));
    dims.extend((b.len() > 1).then_some(*n));
    layout::count(&dims)?;
    Ok(Stacks { m: *m, k: *k, n: *n, pairs: from_a.into_iter().zip(from_b).collect(), dims })
}

fn stacked<T: LinalgScalar>(a: &[T], b: &[T], s: &Stacks) -> Result<Vec<T>, Fault> {
    // A stack on the left of a single matrix is one tall matrix.
    if !s.pairs.is_empty() && s.pairs.iter().enumerate().all(|(i, &(a, b))| a == i && b == 0) {
        return product(a, b, [s.m * s.pairs.len(), s.k, s.n]);
    }
    let mut out = Vec::with_capacity(layout::count(&s.dims)?);
    for &(i, j) in &s.pairs {
        let (left, right) = (s.m * s.k, s.k * s.n);
        let (a, b) = (&a[i * left..(i + 1) * left], &b[j * right..(j + 1) * right]);
        out.extend(product(a, b, [s.m, s.k, s.n])?);
    }
    Ok(out)
}

/// `matmul` on plain numbers, with the shape of its result.
pub(super) fn multiply(
    a: &[f64],
    a_dims: &[usize],
    b: &[f64],
    b_dims: &[usize],
) -> Result<(Vec<f64>, Vec<usize>), Fault> {
    let stacks = stacks(a_dims, b_dims)?;
    Ok((stacked(a, b, &stacks)?, stacks.dims))
}

/// Integers that wrap, as far as 64 bits hold them.
fn wrapping(values: Vec<i128>) -> Vec<Wrapping<i64>> {
    values.into_iter().map(|x| Wrapping(x as i64)).collect()
}

fn unwrapped(values: Vec<Wrapping<i64>>) -> Vec<i128> {
    values.into_iter().map(|x| x.0.into()).collect()
}

fn matmul(call: &Call<'_>) -> Outputs {
    let (a, b) = (call.tensor(0)?, call.tensor(1)?);
    let stacks = stacks(a.dims(), b.dims())?;
    let result = match (numbers::numbers(a)?, numbers::numbers(b)?) {
        (Numbers::Floats(a), Numbers::Floats(b)) => Numbers::Floats(stacked(&a, &b, &stacks)?),
        (Numbers::Ints(a), Numbers::Ints(b)) => {
            Numbers::Ints(unwrapped(stacked(&wrapping(a), &wrapping(b), &stacks)?))
        }
        _ => return Err(invalid!("matrices of {} and {}", a.dtype(), b.dtype())),
    };
    Ok(vec![numbers::from_numbers(a.dtype(), &stacks.dims, &result)?.into()])
}

/// A matrix input of Gemm, turned where asked, with its size.
fn turned<T: Copy>(values: Vec<T>, tensor: &Tensor, turn: bool) -> Result<(Vec<T>, usize, usize), Fault> {
    let &[rows, columns] = tensor.dims() else {
        return Err(invalid!("a matrix is needed, not {:?}", tensor.dims()));
    };
    Ok(if turn { (transposed(&values, rows, columns), columns, rows) } else { (values, rows, columns) })
}

fn gemm_operator(call: &Call<'_>) -> Outputs {
    Ok(vec![gemm(call)?.into()])
}

pub(super) fn gemm(call: &Call<'_>) -> Result<Tensor, Fault> {
    let (a, b, c) = (call.tensor(0)?, call.tensor(1)?, call.tensor_opt(2)?);
    let (alpha, beta) = (call.float("alpha")?, call.float("beta")?);
    let (turn_a, turn_b) = (call.flag("transA")?, call.flag("transB")?);
    fn run<T: LinalgScalar>(
        a: (Vec<T>, usize, usize),
        b: (Vec<T>, usize, usize),
    ) -> Result<(Vec<T>, [usize; 2]), Fault> {
        ensure!(a.2 == b.1, "matrices {}×{} and {}×{} do not fit", a.1, a.2, b.1, b.2);
        Ok((product(&a.0, &b.0, [a.1, a.2, b.2])?, [a.1, b.2]))
    }
    let (product, dims) = match (numbers::numbers(a)?, numbers::numbers(b)?) {
        (Numbers::Floats(x), Numbers::Floats(y)) => run(turned(x, a, turn_a)?, turned(y, b, turn_b)?)?,
        (Numbers::Ints(x), Numbers::Ints(y)) => {
            let (product, dims) = run(turned(wrapping(x), a, turn_a)?, turned(wrapping(y), b, turn_b)?)?;
            (product.into_iter().map(|x| x.0 as f64).collect(), dims)
        }
        _ => return Err(invalid!("matrices of {} and {}", a.dtype(), b.dtype())),
    };
    let mut result: Vec<f64> = product.into_iter().map(|x| alpha * x).collect();
    if let Some(c) = c {
        let bias = layout::expand(numbers::floats(c)?, c.dims(), &dims)?;
        result.iter_mut().zip(bias).for_each(|(x, c)| *x += beta * c);
    }
    numbers::from_floats_any(a.dtype(), &dims, &result)
}

/// Determinants, by elimination with partial pivoting.
fn det(call: &Call<'_>) -> Outputs {
    let tensor = call.tensor(0)?;
    let &[.., rows, n] = tensor.dims() else {
        return Err(invalid!("a matrix is needed, not {:?}", tensor.dims()));
    };
    ensure!(rows == n, "a matrix of {rows}×{n} has no determinant");
    let rank = tensor.rank();
    let found = Lanes::new(tensor.dims(), &[rank - 2, rank - 1])?
        .reduce(&numbers::floats(tensor)?, |matrix| determinant(matrix.to_vec(), n));
    Ok(vec![from_floats(tensor.dtype(), &tensor.dims()[..rank - 2], &found)?.into()])
}

fn determinant(mut m: Vec<f64>, n: usize) -> f64 {
    let mut result = 1.0;
    for column in 0..n {
        let pivot = (column..n).max_by(|&a, &b| m[a * n + column].abs().total_cmp(&m[b * n + column].abs()));
        let pivot = pivot.expect("a column is not empty");
        if pivot != column {
            (0..n).for_each(|j| m.swap(pivot * n + j, column * n + j));
            result = -result;
        }
        let head = m[column * n + column];
        result *= head;
        if head == 0.0 {
            return 0.0;
        }
        for row in column + 1..n {
            let factor = m[row * n + column] / head;
            (column..n).for_each(|j| m[row * n + j] -= factor * m[column * n + j]);
        }
    }
    result
}
