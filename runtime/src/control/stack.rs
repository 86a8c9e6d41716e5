//! Collects the results of the rounds of a Loop or Scan along a new axis.

use byoc_cpu::{Buffer, KernelError, Outputs, TensorView};
use byoc_graph::{DType, Datum, StaticDims, Tensor};
use bytes::Bytes;

/// Rounds collected so far, one behind the other.
#[derive(Default)]
pub(super) struct Stack {
    element: Option<(DType, StaticDims)>,
    rounds: usize,
    bytes: Vec<u8>,
    strings: Vec<Bytes>,
}

impl Stack {
    /// Adds the result of one round.
    pub fn push(&mut self, round: TensorView<'_>) -> Result<(), KernelError> {
        let element = self.element.get_or_insert_with(|| (round.dtype, round.static_dims()));
        if element.0 != round.dtype || element.1[..] != *round.dims {
            return Err(KernelError::invalid(format!(
                "a collected value is {}{:?} in one round and {}{:?} in another",
                element.0, element.1, round.dtype, round.dims
            )));
        }
        if round.dtype.bits() < 8
            && round.strings().is_none()
            && !round.len().saturating_mul(round.dtype.bits()).is_multiple_of(8)
        {
            return Err(KernelError::invalid(
                "packed elements can be collected only where rounds fill whole bytes",
            ));
        }
        self.rounds += 1;
        self.bytes.try_reserve(round.bytes().len()).map_err(|_| KernelError::OutOfMemory {
            bytes: self.bytes.len().saturating_add(round.bytes().len()),
        })?;
        self.bytes.extend_from_slice(round.bytes());
        self.strings.extend(round.strings().unwrap_or_default().iter().cloned());
        Ok(())
    }

    /// Rank of one round, once there was one.
    pub fn rank(&self) -> Option<usize> {
        self.element.as_ref().map(|(_, dims)| dims.len())
    }

    /// Hands all rounds over as output `i`, along `axis`; `reversed` puts the last one first. `nothing` is the
    /// type of one round, for the case that there was none.
    pub fn finish(
        self,
        outputs: &mut Outputs<'_>,
        i: usize,
        axis: usize,
        reversed: bool,
        nothing: (DType, StaticDims),
    ) -> Result<(), KernelError> {
        let (dtype, inner) = self.element.unwrap_or(nothing);
        if axis > inner.len() {
            return Err(KernelError::invalid(format!("axis {axis} is outside of rank {}", inner.len() + 1)));
        }
        let mut dims = inner.clone();
        dims.insert(axis, self.rounds);
        if dtype == DType::Str {
            let len: usize = inner.iter().product();
            let order = Order::new(self.rounds, &inner, axis, reversed);
            let strings = order.flat_map(|(_, from, n)| self.strings[from..from + n].to_vec());
            debug_assert_eq!(self.strings.len(), len * self.rounds);
            let tensor = Tensor::from_strings(&dims, strings.collect());
            let tensor = tensor.map_err(|e| KernelError::invalid(e.to_string()))?;
            return outputs.set(i, Datum::Tensor(tensor));
        }
        if dtype.bits() < 8 && (axis > 0 || reversed) {
            return Err(KernelError::invalid("packed elements are only collected along the first axis"));
        }
        let out = outputs.bytes(i, dtype, &dims)?;
        if axis == 0 && !reversed {
            out.copy_from_slice(&self.bytes);
            return Ok(());
        }
        let size = dtype.bits() / 8;
        for (to, from, n) in Order::new(self.rounds, &inner, axis, reversed) {
            out[to * size..][..n * size].copy_from_slice(&self.bytes[from * size..][..n * size]);
        }
        Ok(())
    }
}

/// Runs of elements to copy: (to, from, how many), in the order of the result.
struct Order {
    rounds: usize,
    outer: usize,
    inner: usize,
    reversed: bool,
    at: usize,
}

impl Order {
    fn new(rounds: usize, dims: &[usize], axis: usize, reversed: bool) -> Order {
        let (outer, inner) = dims.split_at(axis);
        Order { rounds, outer: outer.iter().product(), inner: inner.iter().product(), reversed, at: 0 }
    }
}

impl Iterator for Order {
    type Item = (usize, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.outer * self.rounds {
            return None;
        }
        let (outer, round) = (self.at / self.rounds, self.at % self.rounds);
        let source = if self.reversed { self.rounds - 1 - round } else { round };
        let item = (self.at * self.inner, (source * self.outer + outer) * self.inner, self.inner);
        self.at += 1;
        Some(item)
    }
}

/// The part of a tensor at `index` along `axis`, copied into `buffer` where it does not lie in one piece.
pub(super) fn slice_at<'a>(
    x: TensorView<'a>,
    axis: usize,
    index: usize,
    dims: &'a [usize],
    buffer: &'a mut Buffer,
) -> Result<TensorView<'a>, KernelError> {
    let size = x.dtype.bits() / 8;
    if size == 0 {
        return Err(KernelError::invalid(format!("{} cannot be scanned", x.dtype)));
    }
    let inner: usize = x.dims[axis + 1..].iter().product::<usize>() * size;
    let outer: usize = x.dims[..axis].iter().product();
    let run = |o: usize| &x.bytes()[(o * x.dims[axis] + index) * inner..][..inner];
    if outer == 1 {
        let part = TensorView::new(x.dtype, dims, run(0));
        if part.is_aligned() {
            return Ok(part);
        }
    }
    buffer.resize(outer * inner)?;
    for (o, chunk) in buffer.bytes_mut().chunks_exact_mut(inner.max(1)).enumerate() {
        chunk.copy_from_slice(run(o));
    }
    Ok(TensorView::new(x.dtype, dims, buffer.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_woven_along_the_axis() {
        // Two rounds of [2, 1] elements, along axis 1.
        let order: Vec<_> = Order::new(2, &[2, 1], 1, false).collect();
        assert_eq!(order, [(0, 0, 1), (1, 2, 1), (2, 1, 1), (3, 3, 1)]);
        let reversed: Vec<_> = Order::new(2, &[2], 0, true).collect();
        assert_eq!(reversed, [(0, 2, 2), (2, 0, 2)]);
    }
}
