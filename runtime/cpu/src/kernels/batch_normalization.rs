//! BatchNormalization in f32 where it could not be folded into a convolution.

use byoc_graph::DType;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

pub(super) const ENTRIES: &[Entry] = &[Entry {
    name: "batch normalisation",
    domain: "",
    ops: &["BatchNormalization"],
    since: 7,
    dtypes: &[DType::F32],
    priority: 10,
    prepare,
}];

/// `x · scale + shift`, one of each for each channel.
struct Affine {
    scale: Vec<f32>,
    shift: Vec<f32>,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    let only_result = node.outputs.iter().skip(1).all(Option::is_none);
    if !only_result || node.int("training_mode").unwrap_or(0) != 0 || node.int("spatial") == Some(0) {
        return None;
    }
    if (1..5).any(|i| node.dtype(i).is_some_and(|dtype| dtype != DType::F32)) {
        return None;
    }
    let epsilon = node.float("epsilon").unwrap_or(1e-5);
    if (1..5).any(|i| node.constant(i).is_none()) {
        return Some(Box::new(Live { epsilon }));
    }
    let parameter = |i: usize| Some(node.constant(i)?.as_slice::<f32>().ok()?.into_owned());
    let (scale, shift, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let channels = scale.len();
    if [&shift, &mean, &variance].iter().any(|p| p.len() != channels) {
        return None;
    }
    let [scale, shift] = affine([&scale, &shift, &mean, &variance], epsilon);
    Some(Box::new(Affine { scale, shift }))
}

/// Factor and addend of each channel for scale, shift, mean and variance.
pub fn affine([scale, shift, mean, variance]: [&[f32]; 4], epsilon: f32) -> [Vec<f32>; 2] {
    // Rounded as other runtimes round: what is quantised next may lie on a tie, and one unit there spreads.
    let factor = |c: usize| scale[c] * (1.0 / (variance[c] + epsilon).sqrt());
    let moved = |c: usize| shift[c] - mean[c] * factor(c);
    [(0..scale.len()).map(factor).collect(), (0..scale.len()).map(moved).collect()]
}

/// `out = x · scale + shift`, channel by channel.
fn apply(
    ctx: &Ctx<'_>,
    inputs: &[Option<View<'_>>],
    [scale, shift]: [&[f32]; 2],
    outputs: &mut Outputs<'_>,
) -> Result<(), KernelError> {
    let x = tensor(inputs, 0)?;
    let channels = scale.len();
    if x.dims.get(1) != Some(&channels) {
        let message = format!("an image of {:?} for {channels} channels", x.dims);
        return Err(KernelError::invalid(message));
    }
    let plane: usize = x.dims[2..].iter().product();
    let held = outputs.holds_input(0);
    let source = if held { &[][..] } else { x.slice::<f32>()? };
    let (out, isa) = (outputs.tensor::<f32>(0, x.dims)?, ctx.exec.isa);
    loops::rows(ctx.exec, out, plane, &|row, part| {
        let (scale, shift) = (scale[row % channels], shift[row % channels]);
        loops::vectorised(
            isa,
            #[inline(always)]
            || {
                if held {
                    part.iter_mut().for_each(|x| *x = *x * scale + shift);
                } else {
                    let x = &source[row * plane..][..plane];
                    part.iter_mut().zip(x).for_each(|(out, x)| *out = x * scale + shift);
                }
            },
        );
    });
    Ok(())
}

impl Kernel for Affine {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        apply(ctx, inputs, [&self.scale, &self.shift], outputs)
    }

    fn owns_input(&self, input: usize) -> bool {
        input > 0
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}

/// Parameters come with each run: they are inputs, or initialisers that an input may replace.
struct Live {
    epsilon: f32,
}

impl Kernel for Live {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let parameter = |i: usize| tensor(inputs, i)?.slice::<f32>();
        let parameters = [parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?];
        if parameters.iter().any(|p| p.len() != parameters[0].len()) {
            return Err(KernelError::invalid("scale, shift, mean and variance differ in number"));
        }
        let [scale, shift] = affine(parameters, self.epsilon);
        apply(ctx, inputs, [&scale, &shift], outputs)
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}
