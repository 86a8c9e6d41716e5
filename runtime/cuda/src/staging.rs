//! Copies between the host and a GPU by way of memory that the GPU may reach while the host goes on.
//!
//! The driver copies from and to ordinary memory only while the caller waits. A ring of pinned pieces stands between: into
//! one the host copies what is to go, and the GPU has it from there; out of one a function in the stream copies what has
//! come. A piece is used again when the event behind its last use has completed.

use std::ffi::c_void;
use std::sync::{Mutex, PoisonError};

use byoc_plugin::Result;

use crate::driver::Driver;
use crate::gpu::Gpu;

/// Pieces, and their bytes.
const PIECES: usize = 4;
const SIZE: usize = 4 << 20;
/// What is smaller the driver takes at once into memory of its own.
const LEAST: u64 = 64 << 10;

struct Piece {
    address: *mut c_void,
    /// Recorded behind its last use.
    free: u64,
}

/// Belongs to a GPU, in whose context it is made and destroyed.
pub struct Staging {
    pieces: Mutex<Ring>,
}

struct Ring {
    pieces: Vec<Piece>,
    next: usize,
}

// SAFETY: pinned memory belongs to no thread; who uses a piece holds the lock.
unsafe impl Send for Ring {}

/// What a stream copies out of a piece when it gets there.
struct Landing {
    from: *const u8,
    to: *mut u8,
    size: usize,
}

/// Called by the driver, once for each landing.
unsafe extern "C" fn land(landing: *mut c_void) {
    // SAFETY: it was made for this call alone.
    let Landing { from, to, size } = *unsafe { Box::from_raw(landing.cast::<Landing>()) };
    // SAFETY: the piece is this copy's until the event behind it; the host keeps its memory valid until then.
    unsafe { std::ptr::copy_nonoverlapping(from, to, size) };
}

impl Staging {
    /// `None`: there is no such memory, or not enough.
    pub fn new(driver: &Driver) -> Option<Staging> {
        let mut staging = Staging { pieces: Mutex::new(Ring { pieces: Vec::new(), next: 0 }) };
        let ring = staging.pieces.get_mut().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..PIECES {
            let made = driver.pinned_alloc(SIZE).and_then(|address| {
                let free = driver.event_create().inspect_err(|_| driver.pinned_free(address))?;
                Ok(Piece { address, free })
            });
            match made {
                Ok(piece) => ring.pieces.push(piece),
                Err(_) => {
                    staging.give_back(driver);
                    return None;
                }
            }
        }
        Some(staging)
    }

    /// In the context that it was made in.
    pub fn give_back(self, driver: &Driver) {
        for piece in self.pieces.into_inner().unwrap_or_else(PoisonError::into_inner).pieces {
            // An error of the device has ended what used the piece, too.
            let _ = driver.event_wait(piece.free);
            driver.event_destroy(piece.free);
            driver.pinned_free(piece.address);
        }
    }

    /// Whether a copy is worth the detour.
    pub fn is_for(size: u64) -> bool {
        size > LEAST
    }

    /// Has each part of a copy done by way of a piece: `enqueue` gets the piece, the part's offset and size.
    fn in_parts(
        &self,
        driver: &Driver,
        size: u64,
        stream: u64,
        enqueue: impl Fn(*mut c_void, u64, usize) -> Result<()>,
    ) -> Result<()> {
        let mut ring = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while done < size {
            let part = (size - done).min(SIZE as u64);
            let at = ring.next;
            ring.next = (at + 1) % PIECES;
            let piece = &ring.pieces[at];
            driver.event_wait(piece.free)?;
            let enqueued = enqueue(piece.address, done, part as usize);
            // Behind what was enqueued, whether that was all or not.
            let recorded = driver.event_record(piece.free, stream);
            enqueued.and(recorded)?;
            done += part;
        }
        Ok(())
    }

    /// # Safety
    /// There are so many bytes on both sides; the host's may change when this returns.
    pub unsafe fn copy_in(
        &self,
        driver: &Driver,
        to: u64,
        from: *const u8,
        size: u64,
        stream: u64,
    ) -> Result<()> {
        self.in_parts(driver, size, stream, |piece, offset, part| {
            // SAFETY: the caller's promise; the piece is ours while the lock is held, and its last use is done.
            unsafe { std::ptr::copy_nonoverlapping(from.add(offset as usize), piece.cast(), part) };
            // SAFETY: nobody writes to the piece before the event behind this.
            unsafe { driver.copy_in(to + offset, piece, part as u64, stream) }
        })
    }

    /// # Safety
    /// There are so many bytes on both sides, and nobody touches the host's until the stream has got here.
    pub unsafe fn copy_out(
        &self,
        driver: &Driver,
        to: *mut u8,
        from: u64,
        size: u64,
        stream: u64,
    ) -> Result<()> {
        self.in_parts(driver, size, stream, |piece, offset, part| {
            // SAFETY: nobody touches the piece before the event behind this.
            unsafe { driver.copy_out(piece, from + offset, part as u64, stream)? };
            // SAFETY: the caller's promise.
            let to = unsafe { to.add(offset as usize) };
            let landing = Box::into_raw(Box::new(Landing { from: piece.cast(), to, size: part }));
            // SAFETY: the function gets what it was made for, once.
            let called = unsafe { driver.call_host(stream, land, landing.cast()) };
            // SAFETY: it was not taken over.
            called.inspect_err(|_| drop(unsafe { Box::from_raw(landing) }))
        })
    }
}

impl Gpu {
    /// A copy from the host's memory.
    ///
    /// # Safety
    /// As `Driver::copy_in` says.
    pub(crate) unsafe fn host_to_device(
        &self,
        to: u64,
        from: *const u8,
        size: u64,
        stream: u64,
    ) -> Result<()> {
        let driver = self.enter()?;
        match self.staging().filter(|_| Staging::is_for(size)) {
            // SAFETY: the caller's promise.
            Some(staging) => unsafe { staging.copy_in(driver, to, from, size, stream) },
            // SAFETY: the caller's promise.
            None => unsafe { driver.copy_in(to, from.cast(), size, stream) },
        }
    }

    /// A copy to the host's memory.
    ///
    /// # Safety
    /// As `Driver::copy_out` says.
    pub(crate) unsafe fn device_to_host(&self, to: *mut u8, from: u64, size: u64, stream: u64) -> Result<()> {
        let driver = self.enter()?;
        match self.staging().filter(|_| Staging::is_for(size)) {
            // SAFETY: the caller's promise.
            Some(staging) => unsafe { staging.copy_out(driver, to, from, size, stream) },
            // SAFETY: the caller's promise.
            None => unsafe { driver.copy_out(to.cast(), from, size, stream) },
        }
    }
}
