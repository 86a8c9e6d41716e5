//! Shape and Size: what is known of a tensor without its elements.

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, tensor};
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(op: &'static [&'static str], prepare: fn(&NodeDesc<'_>) -> Option<Box<dyn Kernel>>) -> Entry {
    Entry { name: "shape", domain: "", ops: op, since: 1, dtypes: &[], priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[
    entry(&["Shape"], |node| {
        let (start, end) = (node.int("start").unwrap_or(0), node.int("end").unwrap_or(i64::MAX));
        Some(Box::new(Shape { start, end }))
    }),
    entry(&["Size"], |_| Some(Box::new(Size))),
];

struct Shape {
    start: i64,
    end: i64,
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
