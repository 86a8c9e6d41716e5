//! Several products of one matrix with constant ones, side by side in rows of one output.
//!
//! `host.Projections` has the inputs x, as many weights as the attribute `count` says, and as many biases, each of which
//! may be missing.

use byoc_graph::{DType, StaticDims};

use crate::fast::gemm::{Epilogue, Matrix, Weights, gemm};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::matmul::precision;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "projections",
    domain: "host",
    ops: &["Projections"],
    since: 1,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

struct Projections {
    weights: Weights,
    bias: Vec<f32>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let count = usize::try_from(node.int("count")?).ok()?;
    let weights = (1..=count).map(|i| node.constant(i)).collect::<Option<Vec<_>>>()?;
    let rows = *weights.first()?.dims().first()?;
    let (mut columns, mut bias) = (Vec::new(), Vec::new());
    for (i, weights) in weights.iter().enumerate() {
        let &[k, n] = weights.dims() else { return None };
        (k == rows && n > 0).then_some(())?;
        columns.push((weights.as_slice::<f32>().ok()?, n));
        match node.constant(1 + count + i) {
            Some(own) if own.len() == n => bias.extend_from_slice(&own.as_slice::<f32>().ok()?),
            Some(_) => return None,
            None => bias.resize(bias.len() + n, 0.0),
        }
    }
    let mut all = Vec::with_capacity(rows * bias.len());
    for row in 0..rows {
        columns.iter().for_each(|(weights, n)| all.extend_from_slice(&weights[row * n..][..*n]));
    }
    let matrix = Matrix::row_major(&all, rows, bias.len());
    let weights = Weights::pack(node.isa, matrix, precision(node)?);
    Some(Box::new(Projections { weights, bias }))
}

impl Kernel for Projections {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let (k, n) = (self.weights.k(), self.weights.n());
        let mut dims = StaticDims::from_slice(x.dims);
        match dims.last_mut() {
            Some(last) if *last == k => *last = n,
            _ => return Err(KernelError::invalid(format!("{:?} cannot be multiplied by {k} rows", x.dims))),
        }
        let out = outputs.tensor::<f32>(0, &dims)?;
        if !out.is_empty() {
            let a = Matrix::row_major(x.slice()?, out.len() / n, k);
            let epilogue = Epilogue { column_bias: Some(&self.bias), ..Epilogue::default() };
            gemm(ctx.exec, a, self.weights.rhs(), out, n, &epilogue);
        }
        Ok(())
    }

    fn owns_input(&self, input: usize) -> bool {
        input > 0
    }

    fn kept_bytes(&self) -> Option<usize> {
        Some(self.weights.kept_bytes()? + size_of_val(&self.bias[..]))
    }
}
