//! Matrix products in f32: MatMul, Gemm and their fused forms.

use byoc_graph::{DType, StaticDims};
use smallvec::SmallVec;

use crate::fast::Activation;
use crate::fast::gemm::{Batch, Epilogue, Matrix, Precision, Rhs, Weights, gemm, gemm_batched};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::epilogue;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    domain: &'static str,
    ops: &'static [&'static str],
    since: i64,
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "gemm", domain, ops, since, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry("", &["MatMul"], 1, prepare_matmul),
    entry("com.microsoft", &["FusedMatMul"], 1, prepare_matmul),
    // Inputs: a, b, a bias along the last axis, an addend of the output's shape.
    entry("host", &["MatMul"], 1, prepare_matmul),
    entry("", &["Gemm"], 7, prepare_gemm),
    entry("com.microsoft", &["FusedGemm"], 1, prepare_gemm),
    entry("host", &["Gemm"], 1, prepare_gemm),
];

/// A right operand that was constant.
struct Packed {
    b: Weights,
    /// Its dimensions had one axis only.
    vector: bool,
}

/// How precisely a product of the host keeps its weights.
pub(super) fn precision(node: &NodeDesc<'_>) -> Option<Precision> {
    node.str("weights").map_or(Some(Precision::F32), Precision::named)
}

/// Which operands are read with rows and columns exchanged, and what the product is multiplied by.
struct Form {
    trans_a: bool,
    trans_b: bool,
    alpha: f32,
    activation: Activation,
}

struct MatMul {
    form: Form,
    packed: Option<Packed>,
}

fn prepare_matmul(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
    if flag("transBatchA") || flag("transBatchB") {
        return None;
    }
    let form = Form {
        trans_a: flag("transA"),
        trans_b: flag("transB"),
        alpha: node.float("alpha").unwrap_or(1.0),
        activation: epilogue::activation(node)?,
    };
    let mut packed = None;
    if let Some(b) = node.constant(1).filter(|b| (1..=2).contains(&b.rank())) {
        let data = b.as_slice::<f32>().ok()?;
        let vector = b.rank() == 1;
        if vector && form.trans_b {
            return None;
        }
        let (rows, cols) = if vector { (b.len(), 1) } else { (b.dims()[0], b.dims()[1]) };
        let matrix = Matrix::row_major(&data, rows, cols);
        let matrix = if form.trans_b { matrix.transposed() } else { matrix };
        packed = Some(Packed { b: Weights::pack(node.isa, matrix, precision(node)?), vector });
    }
    Some(Box::new(MatMul { form, packed }))
}

/// An operand as a batch of matrices.
#[derive(Clone, Copy)]
struct Operand<'a> {
    view: TensorView<'a>,
    batch: &'a [usize],
    rows: usize,
    cols: usize,
    /// It is a vector, whose missing axis does not appear in the result.
    vector: bool,
}

impl<'a> Operand<'a> {
    fn new(view: TensorView<'a>, left: bool, transposed: bool) -> Result<Operand<'a>, KernelError> {
        Ok(match *view.dims {
            [] => return Err(KernelError::invalid("a scalar cannot be multiplied as a matrix")),
            [n] => {
                let (rows, cols) = if left { (1, n) } else { (n, 1) };
                Operand { view, batch: &[], rows, cols, vector: true }
            }
            [ref batch @ .., rows, cols] => {
                let (rows, cols) = if transposed { (cols, rows) } else { (rows, cols) };
                Operand { view, batch, rows, cols, vector: false }
            }
        })
    }

    fn matrix(&self, transposed: bool) -> Result<Matrix<'a>, KernelError> {
        let data = self.view.slice::<f32>()?;
        Ok(if transposed && !self.vector {
            Matrix::row_major(data, self.cols, self.rows).transposed()
        } else {
            Matrix::row_major(data, self.rows, self.cols)
        })
    }

    /// Where each matrix of the broadcast batch begins.
    fn starts(&self, batch: &[usize]) -> SmallVec<[usize; 32]> {
        let size = self.rows * self.cols;
        let mut starts = SmallVec::from_elem(0, 1);
        let skip = batch.len() - self.batch.len();
        for (axis, &n) in batch.iter().enumerate() {
            let own = axis.checked_sub(skip).map_or(1, |i| self.batch[i]);
            let stride: usize = match axis.checked_sub(skip) {
                Some(i) if own > 1 => self.batch[i + 1..].iter().product::<usize>() * size,
                _ => 0,
            };
            starts = starts.iter().flat_map(|s: &usize| (0..n).map(move |i| s + i * stride)).collect();
        }
        starts
    }
}

fn broadcast(a: &[usize], b: &[usize]) -> Result<StaticDims, KernelError> {
    crate::kernels::broadcast::broadcast(a, b)
}

impl MatMul {
    /// The epilogue of a product with `n` columns; `dims` is the output's shape.
    fn epilogue<'a>(
        &self,
        inputs: &[Option<View<'a>>],
        n: usize,
        dims: &[usize],
    ) -> Result<Epilogue<'a>, KernelError> {
        let bias = optional(inputs, 2)?.map(|b| b.slice::<f32>()).transpose()?;
        let addend = optional(inputs, 3)?;
        if bias.is_some_and(|b| b.len() != n) || addend.is_some_and(|z| z.dims != dims) {
            return Err(KernelError::invalid("the bias or the addend does not fit the product"));
        }
        Ok(Epilogue {
            alpha: self.form.alpha,
            column_bias: bias,
            addend: addend.map(|z| z.slice::<f32>()).transpose()?,
            activation: self.form.activation,
            ..Epilogue::default()
        })
    }
}

impl Kernel for MatMul {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let a = Operand::new(tensor(inputs, 0)?, true, self.form.trans_a)?;
        let (k, n, b) = match &self.packed {
            Some(packed) => (packed.b.k(), packed.b.n(), None),
            None => {
                let b = Operand::new(tensor(inputs, 1)?, false, self.form.trans_b)?;
                (b.rows, b.cols, Some(b))
            }
        };
        if a.cols != k {
            return Err(KernelError::invalid(format!("a product of {} columns with {k} rows", a.cols)));
        }
        let mut dims = broadcast(a.batch, b.map_or(&[], |b| b.batch))?;
        let batch = dims.clone();
        if !a.vector {
            dims.push(a.rows);
        }
        if !b.map_or(self.packed.as_ref().is_some_and(|p| p.vector), |b| b.vector) {
            dims.push(n);
        }
        let epilogue = self.epilogue(inputs, n, &dims)?;
        let out = outputs.tensor::<f32>(0, &dims)?;
        if out.is_empty() {
            return Ok(());
        }
        let left = a.matrix_of_rows(&batch, self.form.trans_a)?;
        match (b, left) {
            (None, Some(left)) => {
                let packed = &self.packed.as_ref().expect("without b there is a packed one").b;
                gemm(ctx.exec, left, packed.rhs(), out, n, &epilogue);
            }
            (None, None) => {
                let packed = &self.packed.as_ref().expect("without b there is a packed one").b;
                let starts = a.starts(&batch);
                let zeros: SmallVec<[usize; 32]> = SmallVec::from_elem(0, starts.len());
                let batch = Batch { a: &starts, b: &zeros, c_row: n, c_batch: a.rows * n };
                let first = a.matrix(self.form.trans_a)?;
                gemm_batched(ctx.exec, first, packed.rhs(), out, &batch, &epilogue);
            }
            (Some(b), Some(left)) if b.batch.iter().all(|&d| d == 1) => {
                let right = b.matrix(self.form.trans_b)?;
                gemm(ctx.exec, left, Rhs::Plain(right), out, n, &epilogue);
            }
            (Some(b), _) => {
                let (a_starts, b_starts) = (a.starts(&batch), b.starts(&batch));
                let batch = Batch { a: &a_starts, b: &b_starts, c_row: n, c_batch: a.rows * n };
                let (left, right) = (a.matrix(self.form.trans_a)?, b.matrix(self.form.trans_b)?);
                gemm_batched(ctx.exec, left, Rhs::Plain(right), out, &batch, &epilogue);
            }
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1 && self.packed.is_some()
    }

    fn kept_bytes(&self) -> Option<usize> {
        self.packed.as_ref()?.b.kept_bytes()
    }
}

impl<'a> Operand<'a> {
    /// The whole batch as one matrix, where its matrices lie one behind the other and none is repeated.
    fn matrix_of_rows(&self, batch: &[usize], transposed: bool) -> Result<Option<Matrix<'a>>, KernelError> {
        let whole = batch.iter().product::<usize>();
        if self.batch.iter().product::<usize>() != whole || (transposed && whole != 1) {
            return Ok(None);
        }
        if transposed {
            return self.matrix(true).map(Some);
        }
        Ok(Some(Matrix::row_major(self.view.slice()?, whole * self.rows, self.cols)))
    }
}

struct Gemm {
    form: Form,
    beta: f32,
    packed: Option<Weights>,
}

fn prepare_gemm(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let flag = |name: &str| node.int(name).unwrap_or(0) != 0;
    let form = Form {
        trans_a: flag("transA"),
        trans_b: flag("transB"),
        alpha: node.float("alpha").unwrap_or(1.0),
        activation: epilogue::activation(node)?,
    };
    let mut packed = None;
    if let Some(b) = node.constant(1).filter(|b| b.rank() == 2) {
        let data = b.as_slice::<f32>().ok()?;
        let matrix = Matrix::row_major(&data, b.dims()[0], b.dims()[1]);
        let matrix = if form.trans_b { matrix.transposed() } else { matrix };
        packed = Some(Weights::pack(node.isa, matrix, precision(node)?));
    }
    Some(Box::new(Gemm { form, beta: node.float("beta").unwrap_or(1.0), packed }))
}

impl Kernel for Gemm {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let two = |view: TensorView<'_>| match view.rank() {
            2 => Ok(()),
            rank => Err(KernelError::invalid(format!("an operand of rank {rank}, where 2 is needed"))),
        };
        let a = tensor(inputs, 0)?;
        two(a)?;
        let a = Operand::new(a, true, self.form.trans_a)?;
        let left = a.matrix(self.form.trans_a)?;
        let (k, n, right) = match &self.packed {
            Some(packed) => (packed.k(), packed.n(), packed.rhs()),
            None => {
                let b = tensor(inputs, 1)?;
                two(b)?;
                let b = Operand::new(b, false, self.form.trans_b)?;
                (b.rows, b.cols, Rhs::Plain(b.matrix(self.form.trans_b)?))
            }
        };
        if a.cols != k {
            return Err(KernelError::invalid(format!("a product of {} columns with {k} rows", a.cols)));
        }
        let (m, dims) = (a.rows, [a.rows, n]);
        let mut epilogue =
            Epilogue { alpha: self.form.alpha, activation: self.form.activation, ..Epilogue::default() };
        let c = optional(inputs, 2)?;
        let values = c.map(|c| c.slice::<f32>()).transpose()?.unwrap_or_default();
        // The bias along one axis, times beta.
        let mut scaled: Vec<f32> = Vec::new();
        let scale = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * self.beta).collect::<Vec<_>>();
        if let Some(c) = c {
            match *c.dims {
                [] | [1] | [1, 1] => scaled = vec![values[0] * self.beta; n],
                [len] | [1, len] if len == n => {
                    if self.beta == 1.0 {
                        epilogue.column_bias = Some(values);
                    } else {
                        scaled = scale(&mut values.iter().copied());
                    }
                }
                [rows, 1] if rows == m => scaled = scale(&mut values.iter().copied()),
                [rows, cols] if rows == m && cols == n => {
                    epilogue.addend = Some(values);
                    epilogue.beta = self.beta;
                }
                _ => {
                    let message = format!("an addend of {:?} for a product of {dims:?}", c.dims);
                    return Err(KernelError::invalid(message));
                }
            }
            if !scaled.is_empty() {
                let by_row = c.rank() == 2 && c.dims[1] == 1 && c.dims[0] == m && m != 1;
                *(if by_row { &mut epilogue.row_bias } else { &mut epilogue.column_bias }) = Some(&scaled);
            }
        }
        let out = outputs.tensor::<f32>(0, &dims)?;
        if !out.is_empty() {
            gemm(ctx.exec, left, right, out, n, &epilogue);
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input == 1 && self.packed.is_some()
    }

    fn kept_bytes(&self) -> Option<usize> {
        self.packed.as_ref()?.kept_bytes()
    }
}
