//! Images in another size: the nearest element, or a mix of the neighbours along each axis.

use byoc_plugin::{DType, Error, Result};

use super::{name, store};
use crate::kernel::{Kernel, Launch, Source};
use crate::kernels::window::SPACE;
use crate::pointwise::Pointwise;
use crate::shape::{Shape, elements};
use crate::types;

/// Where the place `x` of the output lies in the input, by `coordinate_transformation_mode`.
const COORDINATES: &[(&str, &str)] = &[
    ("half_pixel", "(x + 0.5) / scale - 0.5"),
    ("pytorch_half_pixel", "to > 1 ? (x + 0.5) / scale - 0.5 : 0.0"),
    ("align_corners", "to > 1 ? x * (from - 1.0) / (scale * from - 1.0) : 0.0"),
    ("asymmetric", "x / scale"),
    ("tf_half_pixel_for_nn", "(x + 0.5) / scale"),
];

/// The element that is nearest to the place `x`, by `nearest_mode`.
const NEAREST: &[(&str, &str)] = &[
    ("round_prefer_floor", "ceil(x - 0.5)"),
    ("round_prefer_ceil", "floor(x + 0.5)"),
    ("floor", "floor(x)"),
    ("ceil", "ceil(x)"),
];

/// A row of one of these tables.
type Text = &'static (&'static str, &'static str);

pub fn coordinates(mode: &str) -> Result<Text> {
    find(COORDINATES, mode)
}

pub fn nearest(mode: &str) -> Result<Text> {
    find(NEAREST, mode)
}

fn find(table: &'static [(&str, &str)], mode: &str) -> Result<Text> {
    let unknown = || Error::unsupported(format!("Resize with `{mode}`"));
    table.iter().find(|(name, _)| *name == mode).ok_or_else(unknown)
}

/// The last dimensions as a Resize has them.
#[derive(Debug, Clone)]
pub enum Target {
    Scales(Vec<f64>),
    Sizes(Vec<usize>),
}

pub struct Resize {
    /// For all axes.
    pub target: Target,
    pub coordinates: Text,
    /// `None`: linear.
    pub nearest: Option<Text>,
    pub dtype: DType,
    pub tail: Pointwise,
}

const HELPERS: &str = "// Images of at most three dimensions.
struct Images { u32 from[3], to[3]; };
struct Scales { double along[3]; };
__device__ inline double source_of(double x, double from, double to, double scale) { return COORDINATES; }
__device__ inline u32 within(double x, u32 size) { return x <= 0.0 ? 0 : x >= size - 1.0 ? size - 1 : (u32)x; }
";

const NEAREST_BODY: &str = "            const double x = source;
            at = at * m.from[d] + within(NEAREST, m.from[d]);
";

impl Resize {
    fn text(&self) -> Result<Source> {
        let of = types::of(self.dtype)?;
        let ty = of.computed;
        let mut arguments = vec![format!("const {}* __restrict__ x0", of.stored)];
        arguments.extend(self.tail.addresses()?);
        arguments.push(format!("{}* __restrict__ y", types::of(self.tail.root.dtype)?.stored));
        arguments.push("const u32 n".into());
        arguments.push("const __grid_constant__ Images m".into());
        arguments.push("const __grid_constant__ Scales s".into());
        arguments.extend(self.tail.argument());
        let begin =
            "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        u32 q = i, place[3];
        for (int d = 2; d >= 0; --d) {
            place[d] = q % m.to[d];
            q /= m.to[d];
        }
";
        let computed = match self.nearest {
            Some((_, nearest)) => format!(
                "        u32 at = q;
        for (int d = 0; d < 3; ++d) {{
            const double source = source_of(place[d], m.from[d], m.to[d], s.along[d]);
{}        }}
        const {ty} fresh = ld(x0 + at);
",
                NEAREST_BODY.replace("NEAREST", nearest)
            ),
            None => format!(
                "        {ty} sum = 0;
        for (u32 corner = 0; corner < 8; ++corner) {{
            u32 at = q;
            {ty} weight = 1;
            for (int d = 0; d < 3; ++d) {{
                const double source = source_of(place[d], m.from[d], m.to[d], s.along[d]);
                const double tap = ceil(source) - 1.0 + (double)(corner >> d & 1);
                weight *= ({ty})(1.0 - fabs(tap - source));
                at = at * m.from[d] + within(tap, m.from[d]);
            }}
            if (weight != 0) sum += weight * ld(x0 + at);
        }}
        const {ty} fresh = sum;
"
            ),
        };
        let body = format!("{begin}{computed}{}    }}\n", store(&self.tail, "i", "        ")?);
        let family = if self.nearest.is_some() { "resize_nearest" } else { "resize_linear" };
        let source = Source::new(name(family, &self.tail), &arguments, &body);
        let helpers = HELPERS.replace("COORDINATES", self.coordinates.1);
        Ok(Source { text: format!("{helpers}\n{}", source.text), ..source })
    }

    /// By axis: the new size, and the scale.
    fn axes(&self, x: &[usize]) -> Result<Vec<(usize, f64)>> {
        let count = match &self.target {
            Target::Scales(scales) => scales.len(),
            Target::Sizes(sizes) => sizes.len(),
        };
        if count != x.len() || x.contains(&0) {
            return Err(Error::invalid(format!("Resize of {x:?} along {count} axes")));
        }
        let scaled = |(size, scale): (&usize, &f64)| ((*size as f64 * scale).floor() as usize, *scale);
        let sized = |(size, to): (&usize, &usize)| (*to, *to as f64 / *size as f64);
        Ok(match &self.target {
            Target::Scales(scales) => x.iter().zip(scales).map(scaled).collect(),
            Target::Sizes(sizes) => x.iter().zip(sizes).map(sized).collect(),
        })
    }
}

impl Kernel for Resize {
    fn source(&self) -> Source {
        self.text().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        Ok(self.axes(inputs[0])?.into_iter().map(|(size, _)| size).collect())
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        let (x, count) = (inputs[0], elements(output)?);
        elements(x)?;
        let axes = self.axes(x)?;
        let first = x.len().saturating_sub(SPACE);
        if axes[..first].iter().any(|(_, scale)| *scale != 1.0) {
            return Err(Error::unsupported("Resize along more than the last three axes"));
        }
        let missing = SPACE - (x.len() - first);
        let row = |values: &[usize]| -> Vec<u32> {
            let own = values[first..].iter().map(|size| *size as u32);
            std::iter::repeat_n(1, missing).chain(own).collect()
        };
        let scales = std::iter::repeat_n(1.0, missing).chain(axes[first..].iter().map(|(_, scale)| *scale));
        let scales = scales.flat_map(|scale: f64| [scale.to_bits() as u32, (scale.to_bits() >> 32) as u32]);
        let mut structs = vec![vec![count as u32], [row(x), row(output)].concat(), scales.collect()];
        structs.extend(self.tail.structs(&inputs[1..], output));
        Ok(Launch::over(count, structs))
    }

    fn work(&self, _: &[&[usize]], output: &[usize]) -> f64 {
        8.0 * output.iter().map(|size| *size as f64).product::<f64>()
    }
}
