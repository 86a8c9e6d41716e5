//! Slice, with bounds that may be symbolic.

use smallvec::SmallVec;

use crate::infer::call::{Call, Outcome, Stop, axis, invalid};
use crate::infer::content::Content;
use crate::infer::rules::layout::unknown_dims;
use crate::{Dim, Dims};

/// Exporters write "to the end" as a number so large that no dimension reaches it.
const ENDLESS: i64 = i32::MAX as i64;

pub fn slice(call: &mut Call<'_, '_>) -> Outcome {
    let rank = call.rank(0)?;
    let from_attributes = call.since() < 10;
    let bound = |call: &Call<'_, '_>, name: &str, input: usize| -> Result<Dims, Stop> {
        match from_attributes {
            true => {
                let list = call.ints(name).ok_or_else(|| Stop::Invalid(format!("`{name}` is missing")))?;
                Ok(list.iter().map(|&n| Dim::Static(n)).collect())
            }
            false => call.dims_in(input),
        }
    };
    let axes = match from_attributes {
        true => Ok(call.ints("axes").map(|list| list.into_owned())),
        false if call.has(3) => call.ints_in(3).map(Some),
        false => Ok(None),
    };
    let Ok(axes) = axes else { return call.set_shape(0, unknown_dims(rank)?) };
    let steps = match call.has(4) && !from_attributes {
        true => Some(call.dims_in(4)),
        false => None,
    };
    let count = match (&axes, bound(call, "starts", 1), bound(call, "ends", 2)) {
        (Some(axes), ..) => axes.len(),
        (None, Ok(list), _) | (None, _, Ok(list)) => list.len(),
        (None, Err(Stop::Unknown), Err(_)) => call.length(1)?,
        (None, Err(invalid), _) => return Err(invalid),
    };
    if count > rank {
        return invalid(format!("{count} axes are sliced of a rank of {rank}"));
    }
    let or_unknown = |dims: Result<Dims, Stop>| match dims {
        Err(Stop::Unknown) => unknown_dims(count),
        other => other,
    };
    let bounds = Bounds {
        axes: axes.unwrap_or_else(|| (0..count as i64).collect()),
        starts: or_unknown(bound(call, "starts", 1))?,
        ends: or_unknown(bound(call, "ends", 2))?,
        steps: match steps {
            Some(steps) => or_unknown(steps)?,
            None => Dims::from_elem(Dim::Static(1), count),
        },
    };
    bounds.apply(call)
}

/// The form of the first experiments: no steps, and the axes are optional.
pub fn dynamic_slice(call: &mut Call<'_, '_>) -> Outcome {
    let rank = call.rank(0)?;
    let (Ok(starts), Ok(ends)) = (call.dims_in(1), call.dims_in(2)) else {
        return call.set_shape(0, unknown_dims(rank)?);
    };
    let axes = if call.has(3) { call.ints_in(3)? } else { (0..starts.len() as i64).collect() };
    let steps = Dims::from_elem(Dim::Static(1), starts.len());
    Bounds { axes, starts, ends, steps }.apply(call)
}

struct Bounds {
    axes: Vec<i64>,
    starts: Dims,
    ends: Dims,
    steps: Dims,
}

impl Bounds {
    fn apply(&self, call: &mut Call<'_, '_>) -> Outcome {
        let count = self.axes.len();
        if [self.starts.len(), self.ends.len(), self.steps.len()].iter().any(|&n| n != count) {
            return invalid("starts, ends, axes and steps differ in number");
        }
        let input = call.shape(0)?;
        let mut dims = input.clone();
        for (i, &a) in self.axes.iter().enumerate() {
            let at = axis(a, dims.len())?;
            if self.steps[i] == Dim::Static(0) {
                return invalid("a step of 0 goes nowhere");
            }
            dims[at] = length(&input[at], &self.starts[i], &self.ends[i], &self.steps[i]);
        }
        call.set_shape(0, dims)?;
        self.content(call)
    }

    /// Follows the elements, where all bounds are plain numbers.
    fn content(&self, call: &mut Call<'_, '_>) -> Outcome {
        let Some(content) = call.content(0) else { return Ok(()) };
        let Some(dims) = call.static_shape_out(0) else { return Ok(()) };
        let mut walks: SmallVec<[(i64, i64); 4]> = SmallVec::from_elem((0, 1), dims.len());
        for (i, &a) in self.axes.iter().enumerate() {
            let (Some(start), Some(step)) = (self.starts[i].value(), self.steps[i].value()) else {
                return Ok(());
            };
            let at = axis(a, dims.len())?;
            let n = content.dims()[at] as i64;
            let start = if start < 0 { start.saturating_add(n) } else { start };
            walks[at] = (if step > 0 { start.clamp(0, n) } else { start.clamp(-1, n - 1) }, step);
        }
        let content = Content::build(&dims, |index| {
            let source = index.iter().zip(&walks).map(|(&i, &(start, step))| {
                usize::try_from(step.checked_mul(i as i64)?.checked_add(start)?).ok()
            });
            content.at(&source.collect::<Option<SmallVec<[usize; 4]>>>()?).cloned()
        });
        call.set_content(0, content)
    }
}

/// How many elements a slice of one axis has.
fn length(n: &Dim, start: &Dim, end: &Dim, step: &Dim) -> Dim {
    let zero = Dim::Static(0);
    match step.value() {
        Some(step) if step > 0 => {
            let (Some(from), Some(to)) = (position(n, start), position(n, end)) else {
                return Dim::Unknown;
            };
            let span = match start {
                // To the end, from a place that counts from the end: `from` would say it in a longer way.
                Dim::Static(back @ ..0) if to == *n => n.smaller(&Dim::Static(back.saturating_neg())),
                start if to == *n && start.is_nonnegative() => n.sub(start).larger(&zero),
                _ => to.sub(&from).larger(&zero),
            };
            if step == 1 { span } else { span.ceil_div(&Dim::Static(step)) }
        }
        Some(step) => {
            let (Some(start), Some(end), Some(n)) = (start.value(), end.value(), n.value()) else {
                return reversed(n, start, end, step);
            };
            let place =
                |x: i64| (if x < 0 { x.saturating_add(n) } else { x }).min(n.saturating_sub(1)).max(-1);
            let (start, end) = (place(start), place(end));
            let steps = (start - end).max(0).checked_add(step.saturating_neg() - 1);
            steps.map_or(Dim::Unknown, |span| Dim::Static(span / step.saturating_neg()))
        }
        None => Dim::Unknown,
    }
}

/// A whole axis backwards, whatever its length.
fn reversed(n: &Dim, start: &Dim, end: &Dim, step: i64) -> Dim {
    let from_last = start.value().is_some_and(|s| s == -1 || s >= ENDLESS);
    let to_first = end.value().is_some_and(|e| e <= -ENDLESS);
    if from_last && to_first && step != i64::MIN { n.ceil_div(&Dim::Static(-step)) } else { Dim::Unknown }
}

/// A bound of a forward slice as a place from 0 to n; `None` where it may count from either side.
fn position(n: &Dim, bound: &Dim) -> Option<Dim> {
    let zero = Dim::Static(0);
    match bound {
        Dim::Static(b) if *b >= ENDLESS => Some(n.clone()),
        Dim::Static(b) if *b <= -ENDLESS => Some(zero),
        Dim::Static(0) => Some(zero),
        Dim::Static(b) if *b < 0 => Some(n.add(bound).larger(&zero)),
        known if known.is_nonnegative() => Some(known.smaller(n)),
        _ => None,
    }
}
