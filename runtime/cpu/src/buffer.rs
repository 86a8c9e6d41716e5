//! Heap memory for tensors: aligned to cache lines, and kept for the next tensor.

use byoc_graph::{DType, Tensor, TensorError};
use bytemuck::{Pod, Zeroable};
use bytes::Bytes;

use crate::kernel::KernelError;

/// Alignment of buffers, in bytes.
pub const ALIGN: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; ALIGN]);

/// Bytes aligned for every element type and vector. Its size may change; its content is then unspecified.
#[derive(Default)]
pub struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Result<Buffer, KernelError> {
        let mut buffer = Buffer::default();
        buffer.resize(len)?;
        Ok(buffer)
    }

    /// Changes the size; memory is only ever added.
    pub fn resize(&mut self, len: usize) -> Result<(), KernelError> {
        let lines = len.div_ceil(ALIGN);
        if lines > self.lines.len() {
            let mut larger = Vec::new();
            larger.try_reserve_exact(lines).map_err(|_| KernelError::OutOfMemory { bytes: len })?;
            larger.resize(lines, Line::zeroed());
            self.lines = larger;
        }
        self.len = len;
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit without new memory.
    pub fn capacity(&self) -> usize {
        self.lines.len() * ALIGN
    }

    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }

    /// Hands the memory over to a tensor.
    pub fn into_tensor(self, dtype: DType, dims: &[usize]) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(dtype, dims, Bytes::from_owner(self))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Buffers between two uses.
#[derive(Default)]
pub struct BufferPool {
    free: Vec<Buffer>,
}

/// More idle buffers than this are not worth keeping: the smallest goes.
const MAX_FREE: usize = 64;

impl BufferPool {
    /// A buffer of `len` bytes: the smallest free one that is large enough (but not absurdly so), or new memory.
    pub fn take(&mut self, len: usize) -> Result<Buffer, KernelError> {
        let fits = |b: &Buffer| b.capacity() >= len && b.capacity() / 4 <= len.max(ALIGN);
        let best = self.free.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.capacity());
        let mut buffer = match best {
            Some((i, _)) => self.free.swap_remove(i),
            None => Buffer::default(),
        };
        buffer.resize(len)?;
        Ok(buffer)
    }

    pub fn give(&mut self, buffer: Buffer) {
        if buffer.capacity() == 0 {
            return;
        }
        self.free.push(buffer);
        if self.free.len() > MAX_FREE {
            let smallest = (0..self.free.len()).min_by_key(|&i| self.free[i].capacity()).expect("not empty");
            self.free.swap_remove(smallest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_fit_is_reused() {
        let mut pool = BufferPool::default();
        for len in [1000, 200, 4000] {
            pool.give(Buffer::new(len).unwrap());
        }
        assert_eq!(pool.take(150).unwrap().capacity(), 256);
        assert_eq!(pool.take(900).unwrap().capacity(), 1024);
        assert_eq!(pool.take(10).unwrap().capacity(), 64, "4000 bytes for 10 are not worth it");
    }

    #[test]
    fn a_size_beyond_memory_is_an_error() {
        assert!(matches!(Buffer::new(usize::MAX / 2), Err(KernelError::OutOfMemory { .. })));
    }
}
