//! Pad and Tile: along each axis, every place of the output shows one of the input, or none.

use byoc_graph::{DType, StaticDims};
use bytemuck::Pod;
use smallvec::SmallVec;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::loops;
use crate::kernels::words::{by_size, words, words_mut};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::{TensorView, View};

const fn entry(
    ops: &'static [&'static str],
    since: i64,
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "places", domain: "", ops, since, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["Pad"], 2, |node| {
        let edge = match node.str("mode").unwrap_or("constant") {
            "constant" => Edge::Constant,
            "edge" => Edge::Repeat,
            "reflect" => Edge::Reflect,
            _ => return None,
        };
        let given = match node.opset() {
            11.. => None,
            // Its value is an f32, whatever the tensor is.
            _ if node.dtype(0) == Some(DType::F32) => {
                Some((node.ints("pads")?.into(), node.float("value").unwrap_or(0.0)))
            }
            _ => return None,
        };
        Some(Box::new(Pad { edge, given }))
    }),
    entry(&["Tile"], 6, |_| Some(Box::new(Tile))),
];

/// For each place along an axis of the output, the place of the input.
type Places = Vec<Option<usize>>;

/// Longer axes are refused.
const LONGEST: usize = 1 << 26;

/// Places that follow one another in the input, or are all none.
struct Run {
    to: usize,
    from: Option<usize>,
    len: usize,
}

fn runs(places: &Places) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (to, &from) in places.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if from == run.from.map(|f| f + run.len) => run.len += 1,
            _ => runs.push(Run { to, from, len: 1 }),
        }
    }
    runs
}

/// Fills the output from the places of each axis; `blank` stands where there are none.
fn show<T: Pod + Send + Sync>(
    ctx: &Ctx<'_>,
    x: TensorView<'_>,
    axes: &[Places],
    blank: Option<&[u8]>,
    outputs: &mut Outputs<'_>,
) -> Result<(), KernelError> {
    let dims: StaticDims = axes.iter().map(Vec::len).collect();
    let blank = match blank {
        Some(bytes) => bytemuck::try_pod_read_unaligned::<T>(bytes).map_err(|_| KernelError::Misaligned)?,
        None => T::zeroed(),
    };
    let source = words::<T>(x)?;
    let out = words_mut::<T>(outputs.bytes(0, x.dtype, &dims)?)?;
    if out.is_empty() {
        return Ok(());
    }
    let moved =
        |i: &usize| axes[*i].len() != x.dims[*i] || axes[*i].iter().enumerate().any(|(at, p)| *p != Some(at));
    let Some(last) = (0..axes.len()).rev().find(moved) else {
        out.copy_from_slice(source);
        return Ok(());
    };
    // Whatever lies behind the last axis that is moved is one unit.
    let unit: usize = x.dims[last + 1..].iter().product();
    let (inner, runs) = (axes[last].len() * unit, runs(&axes[last]));
    let start = |mut row: usize| {
        let (mut start, mut step) = (0, x.dims[last] * unit);
        for i in (0..last).rev() {
            start += axes[i][row % dims[i]]? * step;
            step *= x.dims[i];
            row /= dims[i];
        }
        Some(start)
    };
    loops::rows(ctx.exec, out, inner, &|row, out| match start(row) {
        None => out.fill(blank),
        Some(start) => {
            for run in &runs {
                let out = &mut out[run.to * unit..][..run.len * unit];
                match run.from {
                    Some(from) => out.copy_from_slice(&source[start + from * unit..][..out.len()]),
                    None => out.fill(blank),
                }
            }
        }
    });
    Ok(())
}

#[derive(Clone, Copy)]
enum Edge {
    Constant,
    Repeat,
    Reflect,
}

impl Edge {
    /// The place that stands at `at`, which may lie outside of `dim`.
    fn source(self, at: i64, dim: usize) -> Option<usize> {
        let last = dim as i64 - 1;
        let inside = |at: i64| (0..=last).contains(&at).then_some(at as usize);
        match self {
            Edge::Constant => inside(at),
            Edge::Repeat => inside(at.clamp(0, last)),
            Edge::Reflect if last == 0 => Some(0),
            // Most places, which need no division.
            Edge::Reflect if (0..=last).contains(&at) => Some(at as usize),
            Edge::Reflect => {
                let at = at.rem_euclid(2 * last);
                inside(at.min(2 * last - at))
            }
        }
    }
}

struct Pad {
    edge: Edge,
    /// Pads and value of the first versions, which have them as attributes.
    given: Option<(SmallVec<[i64; 8]>, f32)>,
}

impl Kernel for Pad {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let wrong = || KernelError::invalid(format!("the pads do not suit {:?}", x.dims));
        let pads = match &self.given {
            Some((pads, _)) => pads.clone(),
            None => tensor(inputs, 1)?.to_i64s().ok_or_else(wrong)?,
        };
        let axes: SmallVec<[i64; 8]> = match optional(inputs, 3)? {
            Some(axes) => axes.to_i64s().ok_or_else(wrong)?,
            None => (0..x.rank() as i64).collect(),
        };
        if pads.len() != 2 * axes.len() {
            return Err(wrong());
        }
        let mut places: Vec<Places> = x.dims.iter().map(|&n| (0..n).map(Some).collect()).collect();
        for (i, &axis) in axes.iter().enumerate() {
            let at = if axis < 0 { axis + x.rank() as i64 } else { axis };
            let axis = usize::try_from(at).ok().filter(|&at| at < x.rank()).ok_or_else(wrong)?;
            let (dim, before, behind) = (x.dims[axis], pads[i], pads[axes.len() + i]);
            let size =
                (dim as i64).checked_add(before).and_then(|n| n.checked_add(behind)).ok_or_else(wrong)?;
            let size = size.max(0);
            let from_nothing = dim == 0 && size > 0 && !matches!(self.edge, Edge::Constant);
            if size > LONGEST as i64 || from_nothing {
                return Err(wrong());
            }
            places[axis] = (0..size).map(|at| self.edge.source(at - before, dim)).collect();
        }
        let value = optional(inputs, 2)?.filter(|v| !v.is_empty());
        if let Some(other) = value.filter(|v| v.dtype != x.dtype) {
            return Err(KernelError::DType { expected: x.dtype, got: other.dtype });
        }
        let blank = match &self.given {
            Some((_, value)) => Some(bytemuck::bytes_of(value)),
            None => value.map(|v| &v.bytes()[..x.dtype.bits() / 8]),
        };
        by_size!(x.dtype, show(ctx, x, &places, blank, outputs))
    }
}

struct Tile;

impl Kernel for Tile {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let times = tensor(inputs, 1)?.to_i64s();
        let wrong = || KernelError::invalid(format!("the repeats do not suit {:?}", x.dims));
        let times = times.filter(|times| times.len() == x.rank()).ok_or_else(wrong)?;
        let repeated = |(&n, &times): (&usize, &i64)| {
            let size = usize::try_from(times).ok().and_then(|times| n.checked_mul(times));
            let size = size.filter(|&size| size <= LONGEST)?;
            Some((0..size).map(|at| Some(at % n)).collect())
        };
        let places: Option<Vec<Places>> = x.dims.iter().zip(&times).map(repeated).collect();
        by_size!(x.dtype, show(ctx, x, &places.ok_or_else(wrong)?, None, outputs))
    }
}
