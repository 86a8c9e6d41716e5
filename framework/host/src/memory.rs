//! Host memory with an alignment of its own.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ptr::NonNull;

/// Zeroed host memory, aligned to 64 bytes or more.
pub struct AlignedBuffer {
    data: NonNull<u8>,
    len: usize,
    layout: Layout,
}

// SAFETY: the buffer is owned memory like a `Vec<u8>`.
unsafe impl Send for AlignedBuffer {}
// SAFETY: as above.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// The alignment that every buffer has at least.
    pub const ALIGN: usize = 64;

    /// `None` where the size or alignment is impossible, or the memory is not there.
    pub fn new(len: usize, align: usize) -> Option<Self> {
        // Even an empty buffer has an address of its own.
        let layout = Layout::from_size_align(len.max(1), align.max(Self::ALIGN)).ok()?;
        // SAFETY: the layout's size is not zero.
        let data = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(AlignedBuffer { data, len, layout })
    }

    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes, owned.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialised bytes, owned.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.data.as_ptr()
    }

    /// Gives the memory away as a bare pointer; [`AlignedBuffer::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> (*mut u8, usize, usize) {
        let parts = (self.data.as_ptr(), self.len, self.layout.align());
        std::mem::forget(self);
        parts
    }

    /// # Safety
    /// The parts are those of one [`AlignedBuffer::into_raw`], taken back once.
    pub(crate) unsafe fn from_raw(data: *mut u8, len: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len.max(1), align).ok()?;
        Some(AlignedBuffer { data: NonNull::new(data)?, len, layout })
    }
}

impl AsRef<[u8]> for AlignedBuffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for AlignedBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AlignedBuffer({} bytes)", self.len)
    }
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, freed once.
        unsafe { dealloc(self.data.as_ptr(), self.layout) };
    }
}

/// Bytes of the C heap that are in use, as far as the main thread has allocated them: Rust's and plugins' alike.
pub fn heap_in_use() -> usize {
    #[cfg(target_env = "gnu")]
    // SAFETY: asks the allocator, and changes nothing.
    return unsafe { libc::mallinfo2() }.uordblks;
    #[cfg(not(target_env = "gnu"))]
    0
}
