//! Einsum in f32: sums, transposes and batched products, operand by operand from the left.
//!
//! Labels that two operands have and nobody wants behind them are the inner dimension of their product; those that both
//! have and somebody wants make the batch; the others are its rows and columns.

use byoc_graph::{DType, StaticDims, element_count};
use smallvec::SmallVec;

use crate::buffer::Buffer;
use crate::fast::Exec;
use crate::fast::fold::Fold;
use crate::fast::gemm::{Batch, Epilogue, Matrix, Rhs, gemm_batched};
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::kernels::transpose::{Axes, transpose};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "einsum",
    domain: "",
    ops: &["Einsum"],
    since: 12,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// Letters in the order of axes.
type Labels = SmallVec<[u8; 8]>;

struct Einsum {
    terms: Vec<Labels>,
    output: Labels,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let equation: String = node.str("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&equation[..], None),
    };
    let terms: Vec<Labels> = left.split(',').map(labels).collect::<Option<_>>()?;
    let all: Labels = terms.iter().flatten().copied().collect();
    let output = match right {
        Some(right) => labels(right)?,
        None => {
            let once = |label: &u8| all.iter().filter(|other| *other == label).count() == 1;
            let mut once: Labels = all.iter().copied().filter(once).collect();
            once.sort_unstable();
            once
        }
    };
    let known = terms.len() == node.inputs.len() && output.iter().all(|label| all.contains(label));
    known.then(|| Box::new(Einsum { terms, output }) as Box<dyn Kernel>)
}

/// The labels of a term that has neither an ellipsis nor the same label twice.
fn labels(term: &str) -> Option<Labels> {
    let labels: Labels = term.bytes().collect();
    let plain = |(i, label): (usize, &u8)| label.is_ascii_alphabetic() && !labels[..i].contains(label);
    labels.iter().enumerate().all(plain).then_some(labels)
}

/// The size of each letter, 1 where no operand has it.
struct Sizes([usize; 128]);

impl Sizes {
    fn of(&self, label: u8) -> usize {
        self.0[usize::from(label)]
    }

    fn product(&self, labels: &[u8]) -> usize {
        labels.iter().map(|&label| self.of(label)).product()
    }

    /// An axis of 1 fits any other.
    fn add(&mut self, label: u8, dim: usize) -> Result<(), KernelError> {
        let size = &mut self.0[usize::from(label)];
        match (*size, dim) {
            (1, dim) => *size = dim,
            (size, dim) if dim == size || dim == 1 => {}
            (size, dim) => {
                return Err(KernelError::invalid(format!("a label stands for {dim} and {size}")));
            }
        }
        Ok(())
    }

    /// Distances between neighbours along each axis.
    fn strides(&self, labels: &[u8]) -> SmallVec<[usize; 8]> {
        let mut step = 1;
        let mut strides: SmallVec<[usize; 8]> = SmallVec::from_elem(1, labels.len());
        for (stride, &label) in strides.iter_mut().zip(labels).rev() {
            *stride = step;
            step *= self.of(label);
        }
        strides
    }
}

/// A tensor without gaps, whose axes of 1 have no label.
struct Operand<'a> {
    labels: Labels,
    data: Data<'a>,
}

enum Data<'a> {
    Given(&'a [f32]),
    Made(Buffer),
}

impl Operand<'_> {
    fn data(&self) -> Result<&[f32], KernelError> {
        match &self.data {
            Data::Given(data) => Ok(data),
            Data::Made(buffer) => {
                bytemuck::try_cast_slice(buffer.bytes()).map_err(|_| KernelError::Misaligned)
            }
        }
    }

    fn has(&self, label: u8) -> bool {
        self.labels.contains(&label)
    }

    fn recycle(self, outputs: &mut Outputs<'_>) {
        if let Data::Made(buffer) = self.data {
            outputs.recycle(buffer);
        }
    }
}

/// A temporary tensor of these labels.
fn make<'a>(
    outputs: &mut Outputs<'_>,
    sizes: &Sizes,
    labels: &[u8],
    fill: impl FnOnce(&mut [f32]) -> Result<(), KernelError>,
) -> Result<Operand<'a>, KernelError> {
    let dims: SmallVec<[usize; 8]> = labels.iter().map(|&label| sizes.of(label)).collect();
    let bytes = element_count(&dims).and_then(|n| DType::F32.byte_len(n));
    let bytes = bytes.ok_or_else(|| KernelError::TooLarge { dtype: DType::F32, dims: dims.to_vec() })?;
    let mut buffer = outputs.scratch(bytes)?;
    fill(bytemuck::try_cast_slice_mut(buffer.bytes_mut()).map_err(|_| KernelError::Misaligned)?)?;
    Ok(Operand { labels: labels.into(), data: Data::Made(buffer) })
}

impl Kernel for Einsum {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let mut sizes = Sizes([1; 128]);
        for (i, term) in self.terms.iter().enumerate() {
            let x = tensor(inputs, i)?;
            if x.rank() != term.len() {
                let term = String::from_utf8_lossy(term);
                return Err(KernelError::invalid(format!("`{term}` for an operand of {:?}", x.dims)));
            }
            term.iter().zip(x.dims).try_for_each(|(&label, &dim)| sizes.add(label, dim))?;
        }
        let dims: StaticDims = self.output.iter().map(|&label| sizes.of(label)).collect();
        if self.terms.iter().flatten().any(|&label| sizes.of(label) == 0) {
            outputs.tensor::<f32>(0, &dims)?.fill(0.0);
            return Ok(());
        }
        let output: Labels = self.output.iter().copied().filter(|&label| sizes.of(label) != 1).collect();
        let work = Work { exec: ctx.exec, sizes: &sizes };
        let mut so_far: Option<Operand<'_>> = None;
        for (i, term) in self.terms.iter().enumerate() {
            let x = tensor(inputs, i)?;
            let long = term.iter().zip(x.dims).filter(|(_, dim)| **dim != 1);
            let next =
                Operand { labels: long.map(|(&label, _)| label).collect(), data: Data::Given(x.slice()?) };
            let behind = &self.terms[i + 1..];
            let wanted = |label: u8| output.contains(&label) || behind.iter().any(|t| t.contains(&label));
            let before = so_far.take();
            let next = work.sum(next, |l| wanted(l) || before.as_ref().is_some_and(|b| b.has(l)), outputs)?;
            let Some(before) = before else {
                so_far = Some(next);
                continue;
            };
            let before = work.sum(before, |l| wanted(l) || next.has(l), outputs)?;
            if behind.is_empty() {
                return work.last(before, next, &output, &dims, outputs);
            }
            let groups = Groups::new(&before, &next, wanted, &output);
            let labels = groups.labels();
            let product = work.product(before, next, groups, outputs, &labels)?;
            so_far = Some(product);
        }
        let Some(only) = so_far else { return Err(KernelError::MissingInput(0)) };
        let only = work.sum(only, |label| output.contains(&label), outputs)?;
        work.permute(&only, &output, outputs.tensor::<f32>(0, &dims)?)?;
        only.recycle(outputs);
        Ok(())
    }
}

/// The labels of two operands by what they are in their product.
struct Groups {
    batch: Labels,
    rows: Labels,
    columns: Labels,
    inner: Labels,
}

impl Groups {
    /// All but the inner ones in the order of the output, as far as they are there.
    fn new(a: &Operand<'_>, b: &Operand<'_>, wanted: impl Fn(u8) -> bool, output: &[u8]) -> Groups {
        let place = |label: &u8| output.iter().position(|o| o == label).unwrap_or(usize::MAX);
        let group = |from: &Operand<'_>, take: &dyn Fn(u8) -> bool| {
            let mut labels: Labels = from.labels.iter().copied().filter(|&label| take(label)).collect();
            labels.sort_by_key(place);
            labels
        };
        Groups {
            batch: group(a, &|l| b.has(l) && wanted(l)),
            rows: group(a, &|l| !b.has(l)),
            columns: group(b, &|l| !a.has(l)),
            inner: a.labels.iter().copied().filter(|&l| b.has(l) && !wanted(l)).collect(),
        }
    }

    fn labels(&self) -> Labels {
        [&self.batch[..], &self.rows, &self.columns].concat().into()
    }

    /// Rows and columns exchanged.
    fn swapped(self) -> Groups {
        Groups { rows: self.columns, columns: self.rows, ..self }
    }

    /// Labels of the batch that lie outside of the rows in the output, where products may be written in its order.
    fn outside(&self, output: &[u8]) -> Option<usize> {
        (0..=self.batch.len()).rev().find(|&outside| {
            let (before, within) = self.batch.split_at(outside);
            let order = before.iter().chain(&self.rows).chain(within).chain(&self.columns);
            order.eq(output.iter())
        })
    }
}

/// What the steps of one call need.
struct Work<'a> {
    exec: Exec<'a>,
    sizes: &'a Sizes,
}

/// A batch of matrices: where it lies, and how.
struct Batched<'a> {
    operand: Operand<'a>,
    /// From row to row, and from column to column.
    steps: [usize; 2],
}

impl Work<'_> {
    /// The operand without the labels that are not kept, last one first.
    fn sum<'a>(
        &self,
        mut x: Operand<'a>,
        kept: impl Fn(u8) -> bool,
        outputs: &mut Outputs<'_>,
    ) -> Result<Operand<'a>, KernelError> {
        while let Some(at) = x.labels.iter().rposition(|&label| !kept(label)) {
            // Neighbours are summed together.
            let first = x.labels[..at].iter().rposition(|&label| kept(label)).map_or(0, |i| i + 1);
            let (outer, n) = (&x.labels[..first], &x.labels[first..=at]);
            let inner = &x.labels[at + 1..];
            let shape = [outer, n, inner].map(|labels| self.sizes.product(labels));
            let labels: Labels = [outer, inner].concat().into();
            let data = x.data()?;
            let sum = make(outputs, self.sizes, &labels, |out| {
                Fold::Sum.middle(self.exec, data, shape, out);
                Ok(())
            })?;
            std::mem::replace(&mut x, sum).recycle(outputs);
        }
        Ok(x)
    }

    /// Writes the operand with its labels in this order.
    fn permute(&self, x: &Operand<'_>, order: &[u8], out: &mut [f32]) -> Result<(), KernelError> {
        let dims: SmallVec<[usize; 8]> = x.labels.iter().map(|&label| self.sizes.of(label)).collect();
        let place = |label: &u8| x.labels.iter().position(|own| own == label);
        let perm: Option<SmallVec<[usize; 8]>> = order.iter().map(place).collect();
        let perm = perm.filter(|perm| perm.len() == dims.len());
        let perm = perm.ok_or_else(|| KernelError::invalid("labels are missing"))?;
        transpose(self.exec, x.data()?, out, &Axes::new(&dims, perm.into_iter()));
        Ok(())
    }

    /// The last product, in the order of the output.
    fn last(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        output: &[u8],
        dims: &[usize],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let groups = Groups::new(&a, &b, |label| output.contains(&label), output);
        let (a, b, groups) = match groups.outside(output) {
            Some(_) => (a, b, groups),
            None => {
                // (A·B)ᵀ = Bᵀ·Aᵀ
                let swapped = groups.swapped();
                if swapped.outside(output).is_some() { (b, a, swapped) } else { (a, b, swapped.swapped()) }
            }
        };
        if groups.outside(output).is_none() {
            let labels = groups.labels();
            let product = self.product(a, b, groups, outputs, &labels)?;
            self.permute(&product, output, outputs.tensor::<f32>(0, dims)?)?;
            product.recycle(outputs);
            return Ok(());
        }
        let (a, b) = self.operands(a, b, &groups, outputs)?;
        self.multiply(&a, &b, &groups, output, outputs.tensor::<f32>(0, dims)?)?;
        a.operand.recycle(outputs);
        b.operand.recycle(outputs);
        Ok(())
    }

    /// The product in the order of its groups.
    fn product<'a>(
        &self,
        a: Operand<'_>,
        b: Operand<'_>,
        groups: Groups,
        outputs: &mut Outputs<'_>,
        labels: &[u8],
    ) -> Result<Operand<'a>, KernelError> {
        let (a, b) = self.operands(a, b, &groups, outputs)?;
        let product = make(outputs, self.sizes, labels, |out| self.multiply(&a, &b, &groups, labels, out))?;
        a.operand.recycle(outputs);
        b.operand.recycle(outputs);
        Ok(product)
    }

    /// Both operands as matrices, moved only where they do not lie as any.
    fn operands<'a>(
        &self,
        a: Operand<'a>,
        b: Operand<'a>,
        groups: &Groups,
        outputs: &mut Outputs<'_>,
    ) -> Result<(Batched<'a>, Batched<'a>), KernelError> {
        // The inner labels may come in the order of either.
        let mut inner = groups.inner.clone();
        if self.merged(&b.labels, &inner).is_none() {
            inner.sort_by_key(|label| b.labels.iter().position(|own| own == label));
        }
        let a = self.matrices(a, [&groups.rows, &inner], &groups.batch, outputs)?;
        let b = self.matrices(b, [&inner, &groups.columns], &groups.batch, outputs)?;
        Ok((a, b))
    }

    /// The distance along several labels of a tensor as if they were one axis.
    fn merged(&self, labels: &[u8], group: &[u8]) -> Option<usize> {
        let strides = self.sizes.strides(labels);
        let mut step = None;
        for &label in group.iter().rev() {
            let stride = strides[labels.iter().position(|&own| own == label)?];
            match step {
                None => step = Some((stride, stride * self.sizes.of(label))),
                Some((first, next)) if stride == next => step = Some((first, next * self.sizes.of(label))),
                Some(_) => return None,
            }
        }
        Some(step.map_or(1, |(first, _)| first))
    }

    fn matrices<'a>(
        &self,
        x: Operand<'a>,
        sides: [&[u8]; 2],
        batch: &[u8],
        outputs: &mut Outputs<'_>,
    ) -> Result<Batched<'a>, KernelError> {
        let merged = (self.merged(&x.labels, sides[0]), self.merged(&x.labels, sides[1]));
        if let (Some(row), Some(column)) = merged
            && (row == 1 || column == 1)
        {
            return Ok(Batched { operand: x, steps: [row, column] });
        }
        let order: Labels = [batch, sides[0], sides[1]].concat().into();
        let moved = make(outputs, self.sizes, &order, |out| self.permute(&x, &order, out))?;
        x.recycle(outputs);
        Ok(Batched { operand: moved, steps: [self.sizes.product(sides[1]), 1] })
    }

    /// Where the matrices of a batch begin in an operand.
    fn starts(&self, labels: &[u8], batch: &[u8]) -> SmallVec<[usize; 32]> {
        let strides = self.sizes.strides(labels);
        let mut starts: SmallVec<[usize; 32]> = SmallVec::from_elem(0, 1);
        for &label in batch {
            let stride = labels.iter().position(|&own| own == label).map_or(0, |at| strides[at]);
            let n = self.sizes.of(label);
            starts = starts.iter().flat_map(|&start| (0..n).map(move |i| start + i * stride)).collect();
        }
        starts
    }

    /// Products of matrices; `groups.outside(order)` is there.
    fn multiply(
        &self,
        a: &Batched<'_>,
        b: &Batched<'_>,
        groups: &Groups,
        order: &[u8],
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let [m, n, k] =
            [&groups.rows, &groups.columns, &groups.inner].map(|labels| self.sizes.product(labels));
        let outside = groups.outside(order).unwrap_or(groups.batch.len());
        let (x, y) = (a.operand.data()?, b.operand.data()?);
        let of = |operand: &Batched<'_>| self.starts(&operand.operand.labels, &groups.batch);
        let (a_starts, b_starts) = (of(a), of(b));
        if m * n == 1 && groups.batch.len() == outside {
            let steps = [a.steps[1], b.steps[0]];
            dots(self.exec, [x, y], [&a_starts, &b_starts], steps, k, out);
            return Ok(());
        }
        let left = Matrix::strided(x, m, k, a.steps[0], a.steps[1]);
        let right = Matrix::strided(y, k, n, b.steps[0], b.steps[1]);
        // How many products lie side by side within the rows of the output.
        let beside = self.sizes.product(&groups.batch[outside..]);
        let (each, c_row, c_batch) =
            if beside == 1 { (a_starts.len(), n, m * n) } else { (beside, beside * n, n) };
        let parts = a_starts.chunks(each).zip(b_starts.chunks(each));
        for ((a, b), out) in parts.zip(out.chunks_mut(each * m * n)) {
            let batch = Batch { a, b, c_row, c_batch };
            gemm_batched(self.exec, left, Rhs::Plain(right), out, &batch, &Epilogue::default());
        }
        Ok(())
    }
}

/// Sums that are computed side by side.
const LANES: usize = 16;

/// One sum of products for each pair of beginnings.
fn dots(
    exec: Exec<'_>,
    [x, y]: [&[f32]; 2],
    [x_starts, y_starts]: [&[usize]; 2],
    steps: [usize; 2],
    k: usize,
    out: &mut [f32],
) {
    let rows = |range: std::ops::Range<usize>, out: &mut [f32]| {
        let starts = x_starts[range.clone()].iter().zip(&y_starts[range]);
        loops::vectorised(
            exec.isa,
            #[inline(always)]
            || {
                for (out, (&a, &b)) in out.iter_mut().zip(starts) {
                    *out = if steps == [1, 1] {
                        dot(&x[a..a + k], &y[b..b + k])
                    } else {
                        (0..k).map(|i| x[a + i * steps[0]] * y[b + i * steps[1]]).sum()
                    };
                }
            },
        );
    };
    if k * out.len() <= loops::GRAIN {
        return rows(0..out.len(), out);
    }
    let grain = (loops::GRAIN / k).max(1);
    exec.pool.parallel_chunks(out, grain, &|piece, part| {
        rows(piece * grain..piece * grain + part.len(), part);
    });
}

#[inline(always)]
fn dot(x: &[f32], y: &[f32]) -> f32 {
    let (x_whole, x_rest) = x.as_chunks::<LANES>();
    let (y_whole, y_rest) = y.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for (x, y) in x_whole.iter().zip(y_whole) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += x * y;
        }
    }
    let mut total = 0.0;
    for sum in sums {
        total += sum;
    }
    for (x, y) in x_rest.iter().zip(y_rest) {
        total += x * y;
    }
    total
}
