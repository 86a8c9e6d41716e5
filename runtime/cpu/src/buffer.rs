//! Heap memory for tensors: aligned to cache lines, and kept for the next tensor.

use std::sync::{Arc, Mutex, Weak};

use byoc_graph::{DType, Tensor, TensorError};
use bytes::Bytes;

use crate::kernel::KernelError;
use crate::memory::Memory;

/// Alignment of buffers, in bytes.
pub const ALIGN: usize = crate::memory::ALIGN;

/// Bytes aligned for every element type and vector. Its size may change; its content is then unspecified.
#[derive(Default)]
pub struct Buffer {
    memory: Memory,
    len: usize,
    /// Where the memory goes when nobody wants it any more.
    home: Weak<Home>,
}

/// Memory that has come back from tensors which users of a pool were given.
type Home = Mutex<Vec<Memory>>;

impl Buffer {
    /// A buffer of `len` bytes.
    pub fn new(len: usize) -> Result<Buffer, KernelError> {
        let mut buffer = Buffer::default();
        buffer.resize(len)?;
        Ok(buffer)
    }

    /// Changes the size; memory is only ever added.
    pub fn resize(&mut self, len: usize) -> Result<(), KernelError> {
        if len > self.memory.len() {
            self.memory = Memory::zeroed(len).ok_or(KernelError::OutOfMemory { bytes: len })?;
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
        self.memory.len()
    }

    pub fn bytes(&self) -> &[u8] {
        &self.memory.bytes()[..self.len]
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory.bytes_mut()[..self.len]
    }

    /// Hands the memory over to a tensor.
    pub fn into_tensor(self, dtype: DType, dims: &[usize]) -> Result<Tensor, TensorError> {
        Tensor::from_bytes(dtype, dims, Bytes::from_owner(self))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade()
            && let Ok(mut home) = home.try_lock()
            && home.len() < MAX_FREE
        {
            home.push(std::mem::take(&mut self.memory));
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

/// Buffers between two uses, those among them that were given away as tensors and dropped by their users.
#[derive(Default)]
pub struct BufferPool {
    free: Vec<Buffer>,
    home: Arc<Home>,
}

/// More idle buffers than this are not worth keeping: the smallest goes.
const MAX_FREE: usize = 64;

impl BufferPool {
    /// A buffer of `len` bytes: the smallest free one that is large enough (but not absurdly so), or new memory.
    pub fn take(&mut self, len: usize) -> Result<Buffer, KernelError> {
        let mut buffer = match self.best(len) {
            Some(buffer) => buffer,
            None => {
                self.collect();
                self.best(len).unwrap_or_default()
            }
        };
        buffer.resize(len)?;
        buffer.home = Arc::downgrade(&self.home);
        Ok(buffer)
    }

    fn best(&mut self, len: usize) -> Option<Buffer> {
        let fits = |b: &Buffer| b.capacity() >= len && b.capacity() / 4 <= len.max(ALIGN);
        let best = self.free.iter().enumerate().filter(|(_, b)| fits(b)).min_by_key(|(_, b)| b.capacity());
        best.map(|(i, _)| i).map(|i| self.free.swap_remove(i))
    }

    /// Takes in what users have dropped.
    fn collect(&mut self) {
        let back = self.home.try_lock().map(|mut home| std::mem::take(&mut *home)).unwrap_or_default();
        for memory in back {
            let mut buffer = Buffer::default();
            buffer.memory = memory;
            self.give(buffer);
        }
    }

    pub fn give(&mut self, mut buffer: Buffer) {
        if buffer.capacity() == 0 {
            return;
        }
        buffer.home = Weak::new();
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
        let taken = [150, 900, 10].map(|len| pool.take(len).unwrap());
        let capacities = taken.each_ref().map(Buffer::capacity);
        assert_eq!(capacities, [256, 1024, 64], "4000 bytes for 10 are not worth it");
    }

    #[test]
    fn what_users_drop_is_used_again() {
        let mut pool = BufferPool::default();
        let tensor = pool.take(5000).unwrap().into_tensor(DType::U8, &[5000]).unwrap();
        let place = tensor.bytes().as_ptr();
        drop(tensor);
        assert_eq!(pool.take(4900).unwrap().bytes().as_ptr(), place);
    }

    #[test]
    fn a_size_beyond_memory_is_an_error() {
        assert!(matches!(Buffer::new(usize::MAX / 2), Err(KernelError::OutOfMemory { .. })));
    }
}
