//! Zeroed memory, aligned to cache lines. Large pieces come from the system itself, in huge pages where it has
//! them: weights that are read once a run would otherwise cost a miss in the translation buffer every 4 KiB. Those share
//! mappings, see [`crate::chunks`].

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable, cast_slice, cast_slice_mut};
use memmap2::MmapMut;

use crate::chunks::Piece;

/// Alignment, in bytes.
pub(crate) const ALIGN: usize = 64;
/// From here on memory is mapped.
const LARGE: usize = 1 << 20;
/// And from here on what lasts.
const LASTING: usize = 64 << 10;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(crate) struct Line([u8; ALIGN]);

/// A piece of memory, all of it initialised.
pub(crate) enum Memory {
    Heap(Vec<Line>),
    Mapped(MmapMut),
    Piece(Piece),
}

impl Default for Memory {
    fn default() -> Self {
        Memory::Heap(Vec::new())
    }
}

impl Memory {
    /// At least `len` bytes of zeros; `None` where the system has not that much.
    pub(crate) fn zeroed(len: usize) -> Option<Memory> {
        if len >= LARGE {
            let map = MmapMut::map_anon(len.checked_next_multiple_of(ALIGN)?).ok()?;
            // Whether the system follows the advice changes nothing but the speed.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
            return Some(Memory::Mapped(map));
        }
        let mut lines = Vec::new();
        lines.try_reserve_exact(len.div_ceil(ALIGN)).ok()?;
        lines.resize(len.div_ceil(ALIGN), Line::zeroed());
        Some(Memory::Heap(lines))
    }

    /// The same for what lives long.
    fn lasting(len: usize) -> Option<Memory> {
        if len >= LASTING { Piece::zeroed(len).map(Memory::Piece) } else { Memory::zeroed(len) }
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes().len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Memory::Heap(lines) => cast_slice(lines),
            Memory::Mapped(map) => map,
            Memory::Piece(piece) => cast_slice(piece.lines()),
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Heap(lines) => cast_slice_mut(lines),
            Memory::Mapped(map) => map,
            Memory::Piece(piece) => cast_slice_mut(piece.lines_mut()),
        }
    }
}

/// A slice of elements in such memory: what kernels keep of weights.
pub(crate) struct Aligned<T> {
    memory: Memory,
    len: usize,
    marker: PhantomData<T>,
}

impl<T: Pod> Aligned<T> {
    /// # Panics
    /// If the system has not that much memory.
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = len.checked_mul(size_of::<T>()).expect("the size overflows");
        let memory = Memory::lasting(bytes).expect("no memory for packed weights");
        Self { memory, len, marker: PhantomData }
    }
}

impl<T: Pod> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &cast_slice(&self.memory.bytes()[..self.len * size_of::<T>()])[..self.len]
    }
}

impl<T: Pod> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut cast_slice_mut(&mut self.memory.bytes_mut()[..self.len * size_of::<T>()])[..self.len]
    }
}
