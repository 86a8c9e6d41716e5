//! Windows that slide over space: the one engine behind convolution and pooling.

use super::call::Call;
use super::fault::{Fault, ensure, invalid};
use super::layout;

/// A kernel that slides over the spatial axes of an input.
#[derive(Clone, Debug)]
pub struct Window {
    pub input: Vec<usize>,
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    /// Padding before and behind each axis.
    pub pads: Vec<(i64, i64)>,
    /// How many places the kernel takes along each axis.
    pub output: Vec<usize>,
}

/// Which element of the input each tap of the kernel touches, at each place of the output.
pub struct Taps {
    /// Places of the output.
    pub places: usize,
    /// Taps of the kernel.
    pub taps: usize,
    /// `taps` offsets for each place.
    offsets: Vec<u32>,
}

const PADDING: u32 = u32::MAX;

impl Taps {
    /// The offsets that the kernel touches at a place, `None` in the padding.
    pub fn at(&self, place: usize) -> impl Iterator<Item = Option<usize>> + '_ {
        let offsets = &self.offsets[place * self.taps..(place + 1) * self.taps];
        offsets.iter().map(|&o| (o != PADDING).then_some(o as usize))
    }
}

/// A list attribute with one positive entry for each spatial axis; ones where it is missing.
pub(super) fn steps(call: &Call<'_>, name: &str, rank: usize) -> Result<Vec<usize>, Fault> {
    let steps = match call.ints_opt(name)? {
        Some(values) => layout::sizes(&values)?,
        None => vec![1; rank],
    };
    let fits = steps.len() == rank && steps.iter().all(|&s| s > 0 && s < 1 << 31);
    ensure!(fits, "attribute `{name}` is {steps:?} for {rank} spatial axes");
    Ok(steps)
}

impl Window {
    /// The window that the attributes of a convolution or pooling describe.
    pub fn of(call: &Call<'_>, input: &[usize], kernel: &[usize]) -> Result<Window, Fault> {
        let rank = input.len();
        ensure!(rank > 0, "no spatial axes");
        ensure!(kernel.len() == rank, "a kernel of {kernel:?} for {rank} spatial axes");
        ensure!(kernel.iter().all(|&k| k > 0 && k < 1 << 31), "a kernel of {kernel:?}");
        let mut window = Window {
            input: input.to_vec(),
            kernel: kernel.to_vec(),
            strides: steps(call, "strides", rank)?,
            dilations: steps(call, "dilations", rank)?,
            pads: vec![(0, 0); rank],
            output: vec![],
        };
        let auto = call.text_opt("auto_pad")?.unwrap_or("NOTSET");
        match auto {
            "SAME_UPPER" | "SAME_LOWER" => window.pad_to_same(auto == "SAME_LOWER"),
            "VALID" => {}
            "NOTSET" | "" => window.pads = explicit_pads(call, rank)?,
            other => {
                let why = format!("is `{other}`, which is not known");
                return Err(Fault::Attribute { name: "auto_pad".into(), why });
            }
        }
        window.output = window.places(call.int_opt("ceil_mode")?.unwrap_or(0) != 0)?;
        Ok(window)
    }

    /// How far the kernel reaches along an axis.
    pub fn reach(&self, axis: usize) -> i64 {
        (self.kernel[axis] as i64 - 1) * self.dilations[axis] as i64 + 1
    }

    /// Pads so that the output has the input's size, divided by the stride.
    fn pad_to_same(&mut self, more_before: bool) {
        for axis in 0..self.input.len() {
            let places = self.input[axis].div_ceil(self.strides[axis]) as i64;
            let needed = (places - 1) * self.strides[axis] as i64 + self.reach(axis);
            let total = (needed - self.input[axis] as i64).max(0);
            let (less, more) = (total / 2, total - total / 2);
            self.pads[axis] = if more_before { (more, less) } else { (less, more) };
        }
    }

    fn places(&self, round_up: bool) -> Result<Vec<usize>, Fault> {
        let one = |axis: usize| {
            let (before, behind) = self.pads[axis];
            let padded = self.input[axis] as i64 + before + behind;
            let (room, stride) = (padded - self.reach(axis), self.strides[axis] as i64);
            if room < 0 {
                return Err(invalid!(
                    "a kernel of {:?} is larger than its padded input {:?}",
                    self.kernel,
                    self.input
                ));
            }
            let mut places = room / stride + 1;
            // A place that begins in the padding behind is none.
            if round_up && room % stride != 0 && places * stride < self.input[axis] as i64 + before {
                places += 1;
            }
            layout::size(places)
        };
        (0..self.input.len()).map(one).collect()
    }

    /// Where along an axis a tap lies at a place, in coordinates of the input.
    pub fn coordinate(&self, axis: usize, place: usize, tap: usize) -> i64 {
        (place * self.strides[axis] + tap * self.dilations[axis]) as i64 - self.pads[axis].0
    }

    pub fn taps(&self) -> Result<Taps, Fault> {
        let (places, taps) = (layout::count(&self.output)?, layout::count(&self.kernel)?);
        ensure!(layout::count(&self.input)? < PADDING as usize, "an image of {:?} is too large", self.input);
        layout::count(&[places, taps])?;
        // One axis after the other: offsets so far, times what the axis adds.
        let mut offsets: Vec<Vec<u32>> = vec![vec![0]];
        for axis in 0..self.input.len() {
            let dim = self.input[axis] as i64;
            let step = |place: usize, base: &[u32]| {
                let along: Vec<i64> =
                    (0..self.kernel[axis]).map(|tap| self.coordinate(axis, place, tap)).collect();
                let combine = |&base: &u32| {
                    let inside = |&at: &i64| {
                        if base == PADDING || at < 0 || at >= dim {
                            PADDING
                        } else {
                            base * dim as u32 + at as u32
                        }
                    };
                    along.iter().map(inside).collect::<Vec<u32>>()
                };
                base.iter().flat_map(combine).collect::<Vec<u32>>()
            };
            offsets = offsets
                .iter()
                .flat_map(|base| (0..self.output[axis]).map(|place| step(place, base)).collect::<Vec<_>>())
                .collect();
        }
        Ok(Taps { places, taps, offsets: offsets.concat() })
    }
}

/// Attribute `pads`: all befores, then all behinds.
pub(super) fn explicit_pads(call: &Call<'_>, rank: usize) -> Result<Vec<(i64, i64)>, Fault> {
    let Some(pads) = call.ints_opt("pads")? else { return Ok(vec![(0, 0); rank]) };
    let fits = pads.len() == 2 * rank && pads.iter().all(|&p| (0..1 << 31).contains(&p));
    ensure!(fits, "attribute `pads` is {pads:?} for {rank} spatial axes");
    Ok((0..rank).map(|axis| (pads[axis], pads[rank + axis])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taps_know_the_padding() {
        let window = Window {
            input: vec![3],
            kernel: vec![2],
            strides: vec![2],
            dilations: vec![1],
            pads: vec![(1, 0)],
            output: vec![2],
        };
        let taps = window.taps().unwrap();
        assert_eq!(taps.at(0).collect::<Vec<_>>(), [None, Some(0)]);
        assert_eq!(taps.at(1).collect::<Vec<_>>(), [Some(1), Some(2)]);
    }
}
