//! Pooling: the largest element of a window, or the mean.

use byoc_plugin::{DType, Error, Result};

use super::{name, store};
use crate::kernel::{Kernel, Launch, Source};
use crate::pointwise::Pointwise;
use crate::shape::{Shape, elements};
use crate::types;

/// Most dimensions of an image.
pub const SPACE: usize = 3;
/// Images are no wider, so that places beside them can be counted in 32 bits.
const LARGEST: usize = 1 << 30;

/// How windows lie on an image, as Conv and the poolings have it.
#[derive(Debug, Clone)]
pub struct Windows {
    pub kernel: Vec<usize>,
    pub strides: Vec<usize>,
    pub dilations: Vec<usize>,
    pub pads: Pads,
    /// A last window that is not whole counts.
    pub ceil: bool,
}

#[derive(Debug, Clone)]
pub enum Pads {
    /// Before all axes, then behind them.
    Given(Vec<usize>),
    /// So that there are as many windows as steps; what is odd goes behind, or before.
    Same { behind: bool },
}

impl Windows {
    /// For each axis: how many windows, and what lies before the image.
    pub fn fit(&self, image: &[usize]) -> Result<Vec<(usize, usize)>> {
        let rank = self.kernel.len();
        let large = image.iter().any(|size| *size > LARGEST);
        if image.len() != rank || rank > SPACE || self.strides.contains(&0) || large {
            return Err(Error::unsupported(format!("windows {:?} on {image:?}", self.kernel)));
        }
        (0..rank).map(|axis| self.fit_axis(axis, image[axis])).collect()
    }

    fn fit_axis(&self, axis: usize, size: usize) -> Result<(usize, usize)> {
        let (stride, reach) = (self.strides[axis], self.reach(axis));
        match &self.pads {
            Pads::Given(pads) => {
                let (before, behind) = (pads[axis], pads[axis + self.kernel.len()]);
                let room = (size + before + behind).checked_sub(reach);
                let room = room.ok_or_else(|| Error::invalid("a window is larger than its image"))?;
                let mut count = if self.ceil { room.div_ceil(stride) } else { room / stride } + 1;
                // A window that begins behind the image and its padding before is none.
                if self.ceil && (count - 1) * stride >= size + before {
                    count -= 1;
                }
                Ok((count, before))
            }
            Pads::Same { behind } => {
                let count = size.div_ceil(stride);
                let pad = (count.saturating_sub(1) * stride + reach).saturating_sub(size);
                Ok((count, if *behind { pad / 2 } else { pad.div_ceil(2) }))
            }
        }
    }

    /// Whether each window is one pixel of an image, in their order.
    pub fn is_pixel(&self, image: &[usize]) -> bool {
        let each = |fit: Vec<(usize, usize)>| fit.iter().zip(image).all(|(fit, size)| *fit == (*size, 0));
        let ones = [&self.kernel, &self.strides].into_iter().flatten().all(|size| *size == 1);
        ones && self.fit(image).is_ok_and(each)
    }

    fn reach(&self, axis: usize) -> usize {
        (self.kernel[axis].max(1) - 1) * self.dilations[axis] + 1
    }

    /// The struct `Windows` of the kernels, always with three axes: sizes of image and output, and how windows lie.
    pub fn fields(&self, image: &[usize]) -> Result<Vec<u32>> {
        let fit = self.fit(image)?;
        let missing = SPACE - image.len();
        let row = |values: &dyn Fn(usize) -> usize, one: u32| -> Vec<u32> {
            let own = (0..image.len()).map(|axis| values(axis) as u32);
            std::iter::repeat_n(one, missing).chain(own).collect()
        };
        let rows = [
            row(&|axis| image[axis], 1),
            row(&|axis| fit[axis].0, 1),
            row(&|axis| self.kernel[axis], 1),
            row(&|axis| self.strides[axis], 1),
            row(&|axis| self.dilations[axis], 1),
            row(&|axis| fit[axis].1, 0),
        ];
        Ok(rows.concat())
    }
}

/// That struct, for the kernels that have it.
pub const STRUCT: &str = "// How windows lie on an image.
struct Windows {
    u32 image[3], output[3], kernel[3], strides[3], dilations[3], before[3];
};
";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    Max,
    /// Of what lies in the image, or of padding, too.
    Mean {
        padding: bool,
    },
}

pub struct Pool {
    pub of: Of,
    pub windows: Windows,
    pub dtype: DType,
    pub tail: Pointwise,
}

impl Pool {
    fn text(&self) -> Result<Source> {
        let of = types::of(self.dtype)?;
        let ty = of.computed;
        let mut arguments = vec![format!("const {}* __restrict__ x0", of.stored)];
        arguments.extend(self.tail.addresses()?);
        arguments.push(format!("{}* __restrict__ y", types::of(self.tail.root.dtype)?.stored));
        arguments.push("const u32 n".into());
        arguments.push("const __grid_constant__ Windows w".into());
        // How far padding behind the image counts.
        arguments.extend((0..SPACE).map(|axis| format!("const u32 limit{axis}")));
        arguments.extend(self.tail.argument());
        let zero = || "0".to_owned();
        let (family, start, each, end) = match self.of {
            Of::Max => ("maxpool", of.lowest(), "s = greater_of(s, ld(x0 + here));", "s"),
            Of::Mean { padding: false } => ("avgpool", zero(), "s += ld(x0 + here); ++count;", "s / count"),
            Of::Mean { padding: true } => ("avgpool_padded", zero(), "s += ld(x0 + here);", "s / count"),
        };
        let mut body = String::from(
            "    for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
        u32 q = i;
        int start[3];
        for (int d = 2; d >= 0; --d) {
            start[d] = (int)(q % w.output[d] * w.strides[d]) - (int)w.before[d];
            q /= w.output[d];
        }
        const u32 base = q * w.image[0] * w.image[1] * w.image[2];
",
        );
        let count = match self.of {
            Of::Max => String::new(),
            Of::Mean { padding: false } => "        u32 count = 0;\n".into(),
            // The part of the window that lies in the image and its padding.
            Of::Mean { padding: true } => (0..SPACE).fold("        u32 count = 1;\n".to_owned(), |text, axis| {
                text + &format!(
                    "        {{ u32 in = 0; for (u32 k = 0; k < w.kernel[{axis}]; ++k) in += start[{axis}] + (int)(k * \
                     w.dilations[{axis}]) < (int)limit{axis}; count *= in; }}\n"
                )
            }),
        };
        body += &count;
        body += &format!("        {ty} s = {start};\n");
        body += &format!(
            "        for (u32 a = 0; a < w.kernel[0]; ++a) {{
            const int p = start[0] + (int)(a * w.dilations[0]);
            if (p < 0 || p >= (int)w.image[0]) continue;
            for (u32 b = 0; b < w.kernel[1]; ++b) {{
                const int r = start[1] + (int)(b * w.dilations[1]);
                if (r < 0 || r >= (int)w.image[1]) continue;
                for (u32 c = 0; c < w.kernel[2]; ++c) {{
                    const int v = start[2] + (int)(c * w.dilations[2]);
                    if (v < 0 || v >= (int)w.image[2]) continue;
                    const u32 here = base + ((u32)p * w.image[1] + (u32)r) * w.image[2] + (u32)v;
                    {each}
                }}
            }}
        }}
        const {ty} fresh = {end};
{}    }}
",
            store(&self.tail, "i", "        ")?
        );
        let source = Source::new(name(family, &self.tail), &arguments, &body);
        Ok(Source { text: format!("{STRUCT}\n{}", source.text), ..source })
    }
}

impl Kernel for Pool {
    fn source(&self) -> Source {
        self.text().unwrap_or_else(|error| unreachable!("lowering has checked the types: {error}"))
    }

    fn output(&self, inputs: &[&[usize]]) -> Result<Shape> {
        let x = inputs[0];
        let image = x.get(2..).ok_or_else(|| Error::invalid("pooling of what is no image"))?;
        let windows = self.windows.fit(image)?.into_iter().map(|(count, _)| count);
        Ok(x[..2].iter().copied().chain(windows).collect())
    }

    fn launch(&self, inputs: &[&[usize]], output: &[usize]) -> Result<Launch> {
        elements(inputs[0])?;
        let (image, count) = (&inputs[0][2..], elements(output)?);
        let mut structs = vec![vec![count as u32], self.windows.fields(image)?];
        let mut limits = vec![1; SPACE - image.len()];
        for (axis, size) in image.iter().enumerate() {
            let behind = match &self.windows.pads {
                Pads::Given(pads) => pads[axis + image.len()],
                // As many windows as steps: their padding ends with the last window.
                Pads::Same { .. } => size + self.windows.reach(axis),
            };
            limits.push((size + behind) as u32);
        }
        structs.extend(limits.into_iter().map(|limit| vec![limit]));
        structs.extend(self.tail.structs(&inputs[1..], output));
        Ok(Launch::over(count, structs))
    }

    fn work(&self, _: &[&[usize]], output: &[usize]) -> f64 {
        let window: usize = self.windows.kernel.iter().product();
        window as f64 * output.iter().map(|size| *size as f64).product::<f64>()
    }
}
