//! Where a kernel puts its results.
//!
//! A kernel asks for memory by output, element type and dimensions. It gets the planned place where the
//! plan foresaw just these, and a heap buffer otherwise; or it hands over a finished value.

use byoc_graph::{DType, Datum, Element, StaticDims, element_count};
use smallvec::SmallVec;

use crate::buffer::{Buffer, BufferPool};
use crate::kernel::KernelError;

/// The outputs of one call, one slot each.
pub struct Outputs<'a> {
    slots: SmallVec<[Slot<'a>; 2]>,
    /// What the kernel made so far, one for each slot.
    results: SmallVec<[Option<Made>; 2]>,
    pool: &'a mut BufferPool,
}

/// One output of one call.
#[derive(Default)]
pub struct Slot<'a> {
    /// Nobody wants this output.
    unused: bool,
    place: Option<Place<'a>>,
}

/// Memory that was set aside for an output.
struct Place<'a> {
    dtype: DType,
    dims: &'a [usize],
    memory: Memory<'a>,
    /// It is the memory of an input, and still holds that input's content.
    holds_input: bool,
}

enum Memory<'a> {
    Borrowed(&'a mut [u8]),
    Owned(Buffer),
}

/// What became of an output.
pub enum Made {
    /// It lies in the place that was planned for it.
    InPlace {
        dtype: DType,
        dims: StaticDims,
    },
    Buffer {
        dtype: DType,
        dims: StaticDims,
        buffer: Buffer,
    },
    /// Apart, so that the others, which every step makes, are small.
    Datum(Box<Datum>),
}

impl<'a> Slot<'a> {
    /// An output without a plan.
    pub fn unplanned() -> Slot<'a> {
        Slot::default()
    }

    /// An output that nobody wants.
    pub fn unused() -> Slot<'a> {
        Slot { unused: true, ..Slot::default() }
    }

    /// An output with a place of the right size.
    pub fn planned(dtype: DType, dims: &'a [usize], memory: &'a mut [u8]) -> Slot<'a> {
        let memory = Memory::Borrowed(memory);
        Slot { place: Some(Place { dtype, dims, memory, holds_input: false }), ..Slot::default() }
    }

    /// An output that may be computed in the planned memory of an input.
    pub fn over_input(dtype: DType, dims: &'a [usize], memory: &'a mut [u8]) -> Slot<'a> {
        let memory = Memory::Borrowed(memory);
        Slot { place: Some(Place { dtype, dims, memory, holds_input: true }), ..Slot::default() }
    }

    /// An output that may be computed in the heap buffer of an input.
    pub fn over_buffer(dtype: DType, dims: &'a [usize], buffer: Buffer) -> Slot<'a> {
        let memory = Memory::Owned(buffer);
        Slot { place: Some(Place { dtype, dims, memory, holds_input: true }), ..Slot::default() }
    }

    /// What became of it, given what the kernel made. A buffer that came in and was not used goes back to the pool.
    fn finish(&mut self, result: Option<Made>, pool: &mut BufferPool) -> Option<Made> {
        let Some(Place { memory: Memory::Owned(buffer), .. }) = &mut self.place else { return result };
        let buffer = std::mem::take(buffer);
        match result {
            Some(Made::InPlace { dtype, dims }) => Some(Made::Buffer { dtype, dims, buffer }),
            result => {
                pool.give(buffer);
                result
            }
        }
    }

    /// Memory for the output; `result` gets what will be there.
    fn memory<'s>(
        &'s mut self,
        result: &'s mut Option<Made>,
        (dtype, dims): (DType, &[usize]),
        pool: &mut BufferPool,
    ) -> Result<&'s mut [u8], KernelError> {
        let planned = self.place.as_ref().is_some_and(|p| p.dtype == dtype && p.dims == dims);
        if planned {
            *result = Some(Made::InPlace { dtype, dims: dims.into() });
        } else {
            let len = element_count(dims).and_then(|n| dtype.byte_len(n));
            let len = len.ok_or_else(|| KernelError::TooLarge { dtype, dims: dims.to_vec() })?;
            let buffer = pool.take(len)?;
            *result = Some(Made::Buffer { dtype, dims: dims.into(), buffer });
        }
        Ok(match (result, &mut self.place) {
            (Some(Made::Buffer { buffer, .. }), _) => buffer.bytes_mut(),
            (_, Some(Place { memory: Memory::Borrowed(bytes), .. })) => bytes,
            (_, Some(Place { memory: Memory::Owned(buffer), .. })) => buffer.bytes_mut(),
            (_, None) => unreachable!("without a place there is a buffer"),
        })
    }
}

impl<'a> Outputs<'a> {
    /// No outputs yet: filled where it lies, it is never moved.
    pub fn empty(pool: &'a mut BufferPool) -> Outputs<'a> {
        Outputs { slots: SmallVec::new(), results: SmallVec::new(), pool }
    }

    pub fn push(&mut self, slot: Slot<'a>) {
        self.slots.push(slot);
        self.results.push(None);
    }

    /// What the kernel made of output `i`.
    pub fn take(&mut self, i: usize) -> Option<Made> {
        let result = self.results.get_mut(i)?.take();
        self.slots.get_mut(i)?.finish(result, self.pool)
    }

    pub fn len(&self) -> usize {
        self.slots.len()
    }

    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether somebody wants output `i`.
    pub fn wanted(&self, i: usize) -> bool {
        self.slots.get(i).is_some_and(|slot| !slot.unused)
    }

    /// Whether the memory of output `i` is that of the input that the kernel named for it
    /// ([`crate::Kernel::in_place`]) and holds its content; that input's view is then empty.
    pub fn holds_input(&self, i: usize) -> bool {
        self.slots.get(i).and_then(|slot| slot.place.as_ref()).is_some_and(|place| place.holds_input)
    }

    /// Memory for output `i`, to be filled completely; its content is unspecified unless it holds an input.
    pub fn bytes(&mut self, i: usize, dtype: DType, dims: &[usize]) -> Result<&mut [u8], KernelError> {
        let slot = self.slots.get_mut(i).zip(self.results.get_mut(i));
        let (slot, result) = slot.ok_or(KernelError::NoSuchOutput(i))?;
        slot.memory(result, (dtype, dims), self.pool)
    }

    /// Memory for output `i` as elements.
    pub fn tensor<T: Element>(&mut self, i: usize, dims: &[usize]) -> Result<&mut [T], KernelError> {
        let bytes = self.bytes(i, T::DTYPE, dims)?;
        bytemuck::try_cast_slice_mut(bytes).map_err(|_| KernelError::Misaligned)
    }

    /// Memory for several outputs at once, starting with the first.
    pub fn many<T: Element, const N: usize>(
        &mut self,
        dims: [&[usize]; N],
    ) -> Result<[&mut [T]; N], KernelError> {
        let mut all: SmallVec<[&mut [T]; N]> = SmallVec::new();
        if self.slots.len() < N {
            return Err(KernelError::NoSuchOutput(N - 1));
        }
        for ((slot, result), dims) in self.slots.iter_mut().zip(&mut self.results).zip(dims) {
            let bytes = slot.memory(result, (T::DTYPE, dims), self.pool)?;
            all.push(bytemuck::try_cast_slice_mut(bytes).map_err(|_| KernelError::Misaligned)?);
        }
        all.into_inner().map_err(|_| KernelError::NoSuchOutput(N - 1))
    }

    /// Hands over a finished value as output `i`.
    pub fn set(&mut self, i: usize, value: Datum) -> Result<(), KernelError> {
        self.set_made(i, Made::Datum(Box::new(value)))
    }

    /// Hands over what another program made.
    pub fn set_made(&mut self, i: usize, made: Made) -> Result<(), KernelError> {
        *self.results.get_mut(i).ok_or(KernelError::NoSuchOutput(i))? = Some(made);
        Ok(())
    }

    /// A temporary buffer from the same pool.
    pub fn scratch(&mut self, len: usize) -> Result<Buffer, KernelError> {
        self.pool.take(len)
    }

    /// Gives a temporary buffer back.
    pub fn recycle(&mut self, buffer: Buffer) {
        self.pool.give(buffer);
    }
}
