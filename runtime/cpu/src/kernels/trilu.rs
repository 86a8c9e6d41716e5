//! Trilu: what of each row lies on the right side of a diagonal, for elements of any whole number of bytes.

use std::ops::Range;

use crate::kernel::{Ctx, Kernel, KernelError, NodeDesc, optional, tensor};
use crate::kernels::loops;
use crate::outputs::Outputs;
use crate::registry::Entry;
use crate::view::View;

const fn entry(domain: &'static str, since: i64) -> Entry {
    Entry { name: "trilu", domain, ops: &["Trilu"], since, dtypes: super::MOVABLE, priority: 10, prepare }
}

pub(super) const ENTRIES: &[Entry] = &[entry("", 14), entry("com.microsoft", 1)];

struct Trilu {
    upper: bool,
}

fn prepare(node: &NodeDesc<'_>) -> Option<Box<dyn Kernel>> {
    Some(Box::new(Trilu { upper: node.int("upper").unwrap_or(1) != 0 }))
}

impl Trilu {
    /// The columns of a row that stay, of the diagonal `k` columns to the right of the first one.
    fn kept(&self, row: usize, columns: usize, k: i64) -> Range<usize> {
        let place = |at: i64| usize::try_from(at).unwrap_or(0).min(columns);
        let diagonal = k.saturating_add(row as i64);
        match self.upper {
            true => place(diagonal)..columns,
            false => 0..place(diagonal.saturating_add(1)),
        }
    }
}

impl Kernel for Trilu {
    fn run(
        &self,
        ctx: &Ctx<'_>,
        inputs: &[Option<View<'_>>],
        outputs: &mut Outputs<'_>,
    ) -> Result<(), KernelError> {
        let x = tensor(inputs, 0)?;
        let &[.., rows, columns] = x.dims else {
            return Err(KernelError::invalid(format!("a matrix is needed, not {:?}", x.dims)));
        };
        let k = match optional(inputs, 1)? {
            None => 0,
            Some(k) => {
                let k = k.to_i64s().filter(|k| k.len() == 1);
                k.ok_or_else(|| KernelError::invalid("the diagonal is not one number"))?[0]
            }
        };
        let held = outputs.holds_input(0);
        let bytes = x.dtype.bits() / 8;
        let out = outputs.bytes(0, x.dtype, x.dims)?;
        loops::rows(ctx.exec, out, columns * bytes, &|row, out| {
            let kept = self.kept(row % rows, columns, k);
            let kept = kept.start * bytes..kept.end * bytes;
            if !held {
                out[kept.clone()].copy_from_slice(&x.bytes()[row * columns * bytes..][kept.clone()]);
            }
            out[..kept.start].fill(0);
            out[kept.end..].fill(0);
        });
        Ok(())
    }

    fn in_place(&self) -> Option<usize> {
        Some(0)
    }
}
