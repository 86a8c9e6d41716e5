//! RotaryEmbedding of the standard and of ONNX Runtime in f32.
//!
//! `x` is `[batch, heads, rows, size]` or `[batch, rows, heads · size]`; each of its rows has an angle for each pair.

use byoc_graph::DType;

use crate::fast::rotary::{Pairs, turn};
use crate::fast::scratch::with_scratch;
use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(domain: &'static str, since: i64) -> Entry {
    let ops = &["RotaryEmbedding"];
    Entry { name: "rotary", domain, ops, since, dtypes: &[DType::F32], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[entry("", 23), entry("com.microsoft", 1)];

struct RotaryEmbedding {
    /// ONNX Runtime's: positions come before the tables, and one position is that of the first row.
    contrib: bool,
    heads: i64,
    /// Features that are turned; 0 for all.
    width: i64,
    interleaved: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let int = |name: &str| node.int(name).unwrap_or(0);
    let contrib = node.domain() == "com.microsoft";
    // ONNX Runtime's tables alone say how wide the rotation is.
    let width = if contrib { 0 } else { int("rotary_embedding_dim") };
    (int("is_packed_batching") == 0).then(|| {
        let interleaved = int("interleaved") != 0;
        Box::new(RotaryEmbedding { contrib, heads: int("num_heads"), width, interleaved }) as Box<dyn Kernel>
    })
}

/// Sizes of the input.
struct Shape {
    batch: usize,
    heads: usize,
    rows: usize,
    size: usize,
    /// Rows come before heads.
    rows_first: bool,
}

impl RotaryEmbedding {
    fn shape(&self, x: &TensorView<'_>, half: usize) -> Option<Shape> {
        match *x.dims {
            [batch, heads, rows, size] => Some(Shape { batch, heads, rows, size, rows_first: false }),
            [batch, rows, hidden] => {
                let heads = match usize::try_from(self.heads).ok()? {
                    0 if self.contrib => hidden / (2 * half).max(1),
                    heads => heads,
                };
                let size = hidden.checked_div(heads).filter(|size| size * heads == hidden)?;
                Some(Shape { batch, heads, rows, size, rows_first: true })
            }
            _ => None,
        }
    }

    /// Where the angles of each batch and row begin in the tables.
    fn starts(
        &self,
        table: &TensorView<'_>,
        positions: Option<TensorView<'_>>,
        shape: &Shape,
        starts: &mut [usize],
    ) -> Result<(), KernelError> {
        let misfit = || KernelError::invalid(format!("angles of {:?} for these rows", table.dims));
        let half = table.dims.last().copied().unwrap_or(0);
        // An axis of 1 stands for any length.
        let spread = |i: usize, [batch, rows]: [usize; 2]| {
            (i / shape.rows) % batch.max(1) * rows + i % shape.rows % rows.max(1)
        };
        let fits =
            |[batch, rows]: [usize; 2]| [1, shape.batch].contains(&batch) && [1, shape.rows].contains(&rows);
        let Some(positions) = positions else {
            let lead = match *table.dims {
                [batch, rows, _] => [batch, rows],
                [rows, _] => [1, rows],
                _ => return Err(misfit()),
            };
            if !fits(lead) {
                return Err(misfit());
            }
            starts.iter_mut().enumerate().for_each(|(i, start)| *start = spread(i, lead) * half);
            return Ok(());
        };
        let &[count, _] = table.dims else { return Err(misfit()) };
        let given = positions.slice::<i64>()?;
        let first = self.contrib && given.len() == 1;
        let lead = match *positions.dims {
            [batch, rows] if !self.contrib => [batch, rows],
            [rows] if !self.contrib => [1, rows],
            _ => [shape.batch, shape.rows],
        };
        if !first && (!fits(lead) || given.len() != lead[0] * lead[1]) {
            let (batch, rows) = (shape.batch, shape.rows);
            let what = format!("{} positions for {batch} sequences of {rows}", given.len());
            return Err(KernelError::invalid(what));
        }
        for (i, start) in starts.iter_mut().enumerate() {
            let position = match first {
                true => given[0].saturating_add((i % shape.rows) as i64),
                false => given[spread(i, lead)],
            };
            let from_end = position < 0 && !self.contrib;
            let row = if from_end { position.saturating_add(count as i64) } else { position };
            let row = usize::try_from(row).ok().filter(|&row| row < count);
            *start = half
                * row.ok_or_else(|| {
                    KernelError::invalid(format!("index {position} lies outside a dimension of {count}"))
                })?;
        }
        Ok(())
    }
}

impl Kernel for RotaryEmbedding {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let [positions, cos, sin] = if self.contrib { [1, 2, 3] } else { [3, 1, 2] };
        let (cos, sin) = (tensor(inputs, cos)?, tensor(inputs, sin)?);
        let positions = optional(inputs, positions)?;
        let half = cos.dims.last().copied().unwrap_or(0);
        let wrong = || KernelError::invalid(format!("{half} pairs in an input of {:?}", x.dims));
        let shape = self.shape(&x, half).ok_or_else(wrong)?;
        let width = match usize::try_from(self.width).map_err(|_| wrong())? {
            0 if self.contrib => 2 * half,
            0 => shape.size,
            width => width,
        };
        if width > shape.size || width != 2 * half || cos.dims != sin.dims {
            return Err(wrong());
        }
        if self.contrib && positions.is_none() {
            return Err(KernelError::MissingInput(1));
        }
        let (source, tables) = (x.slice::<f32>()?, [cos.slice::<f32>()?, sin.slice::<f32>()?]);
        let out = outputs.tensor::<f32>(0, x.dims)?;
        if out.is_empty() {
            return Ok(());
        }
        with_scratch::<usize, _>(shape.batch * shape.rows, |starts| {
            self.starts(&cos, positions, &shape, starts)?;
            let Shape { heads, rows, size, rows_first, .. } = shape;
            let pairs = Pairs { half, interleaved: self.interleaved };
            let start = |row: usize| match rows_first {
                true => starts[row / heads],
                false => starts[row / rows / heads * rows + row % rows],
            };
            turn(ctx.exec, (source, size), pairs, tables, &start, out);
            Ok(())
        })
    }
}
