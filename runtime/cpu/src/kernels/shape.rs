//! Shape and Size: what is known of a tensor without its elements.

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(
    domain: &'static str,
    ops: &'static [&'static str],
    prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>,
) -> Entry {
    Entry { name: "shape", domain, ops, since: 1, dtypes: &[], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry("", &["Shape"], |node| Some(Box::new(Shape::new(node, None)))),
    // Of an image that is kept in blocks of channels, before it was.
    entry("host", &["BlockedShape"], |node| {
        Some(Box::new(Shape::new(node, Some(usize::try_from(node.int("channels")?).ok()?))))
    }),
    entry("", &["Size"], |_| Some(Box::new(Size))),
];

struct Shape {
    start: i64,
    end: i64,
    /// Of an image in blocks.
    channels: Option<usize>,
}

impl Shape {
    fn new(node: &NodeDesc<'_>, channels: Option<usize>) -> Self {
        Shape { start: node.int("start").unwrap_or(0), end: node.int("end").unwrap_or(i64::MAX), channels }
    }
}

struct Size;

impl Kernel for Shape {
    fn run(
        &self,
        _: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let dims = tensor(inputs, 0)?.dims;
        let image = match (self.channels, dims) {
            (Some(channels), &[count, _, height, width, _]) => Some([count, channels, height, width]),
            (Some(_), _) => return Err(KernelError::invalid(format!("{dims:?} are not blocked images"))),
            (None, _) => None,
        };
        let dims = image.as_ref().map_or(dims, |image| &image[..]);
        let rank = dims.len() as i64;
        // Negative ones count from the end, and what lies outside is cut off.
        let axis = |at: i64| if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank) as usize;
        let dims = dims.get(axis(self.start)..axis(self.end)).unwrap_or_default();
        let out = outputs.tensor::<i64>(0, &[dims.len()])?;
        out.iter_mut().zip(dims).for_each(|(out, &dim)| *out = dim as i64);
        Ok(())
    }
}

impl Kernel for Size {
    fn run(
        &self,
        _: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let len = tensor(inputs, 0)?.len();
        outputs.tensor::<i64>(0, &[])?[0] = len as i64;
        Ok(())
    }
}
