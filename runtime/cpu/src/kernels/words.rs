//! Elements of which only the size matters.

use bytemuck::Pod;

use crate::kernel::KernelError;
use crate::view::TensorView;

/// Elements as words of their size.
pub(super) fn words<T: Pod>(view: TensorView<'_>) -> Result<&[T], KernelError> {
    bytemuck::try_cast_slice(view.bytes()).map_err(|_| KernelError::Misaligned)
}

pub(super) fn words_mut<T: Pod>(bytes: &mut [u8]) -> Result<&mut [T], KernelError> {
    bytemuck::try_cast_slice_mut(bytes).map_err(|_| KernelError::Misaligned)
}

/// Calls a function generic over a word of as many bytes as an element takes.
macro_rules! by_size {
    ($dtype:expr, $call:ident($($argument:expr),*)) => {
        match $dtype.bits() / 8 {
            1 => $call::<u8>($($argument),*),
            2 => $call::<u16>($($argument),*),
            4 => $call::<u32>($($argument),*),
            _ => $call::<u64>($($argument),*),
        }
    };
}
pub(super) use by_size;

/// Every `step`-th element of `x`, the first first. Small steps have loops of their own, which are vectorised.
#[inline(always)]
pub(super) fn strided<T: Copy>(x: &[T], step: usize, out: &mut [T]) {
    #[inline(always)]
    fn by<const STEP: usize, T: Copy>(x: &[T], out: &mut [T]) {
        let whole = x.len() / STEP;
        let (now, rest) = out.split_at_mut(whole.min(out.len()));
        now.iter_mut().zip(x.chunks_exact(STEP)).for_each(|(out, x)| *out = x[0]);
        // The last element may have less than a step behind it.
        rest.iter_mut().zip(&x[now.len() * STEP..]).for_each(|(out, &x)| *out = x);
    }
    match step {
        1 => out.copy_from_slice(&x[..out.len()]),
        2 => by::<2, T>(x, out),
        3 => by::<3, T>(x, out),
        4 => by::<4, T>(x, out),
        5 => by::<5, T>(x, out),
        6 => by::<6, T>(x, out),
        7 => by::<7, T>(x, out),
        8 => by::<8, T>(x, out),
        _ => out.iter_mut().zip(x.iter().step_by(step)).for_each(|(out, &x)| *out = x),
    }
}
