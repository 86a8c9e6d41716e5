//! The host's thread pool: one parallel loop at a time, its caller taking part.
//!
//! [`ThreadPool::parallel_for`] runs `body(0), …, body(n - 1)`, each once, and returns when all are done.
//! A steady-state call neither allocates nor locks. Every thread begins with its own contiguous share of the
//! pieces, so that consecutive loops over the same rows find them in the same cache, and helps out elsewhere
//! when its share is done. A call made from inside a piece, or while another user's loop is running, runs on
//! the calling thread alone. A panicking piece does not stop the others; the first panic is raised again in
//! the caller.

mod shared;

use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;

use shared::Shared;

/// A fixed set of worker threads, joined when the pool is dropped.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller of each loop being one of them. Zero counts as one, and a
    /// system that refuses more threads gives a smaller pool.
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared::new(threads.clamp(1, shared::MAX_THREADS)));
        let mut workers = Vec::new();
        for index in 1..shared.shares() {
            let worker = Arc::clone(&shared);
            let spawned =
                std::thread::Builder::new().name(format!("byoc-{index}")).spawn(move || worker.work(index));
            match spawned {
                Ok(handle) => {
                    shared.set_thread(index, handle.thread().clone());
                    workers.push(handle);
                }
                Err(_) => break,
            }
        }
        Self { shared, workers }
    }

    /// How many threads take part in a loop.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `body(i)` for every `i` below `n`, on several threads, in no particular order.
    pub fn parallel_for(&self, n: usize, body: &(dyn Fn(usize) + Sync)) {
        let panic = if n <= 1 || self.workers.is_empty() {
            shared::run_inline(n, body)
        } else {
            self.shared.run(n, body)
        };
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Leaves the cores to others until the result is dropped. Loops run as ever, but have to wake the workers.
    pub fn rest(&self) -> Rest<'_> {
        self.shared.begin_rest();
        Rest(&self.shared)
    }

    /// Cuts `0..len` into ranges of `grain` (the last one shorter) and runs `body` on each.
    pub fn parallel_ranges(&self, len: usize, grain: usize, body: &(dyn Fn(Range<usize>) + Sync)) {
        let grain = grain.max(1);
        self.parallel_for(len.div_ceil(grain), &|piece| {
            let start = piece * grain;
            body(start..len.min(start + grain));
        });
    }

    /// Cuts `data` into chunks of `grain` (the last one shorter) and runs `body(index of chunk, chunk)` on each.
    pub fn parallel_chunks<T: Send>(
        &self,
        data: &mut [T],
        grain: usize,
        body: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let grain = grain.max(1);
        let shared = SharedSlice::new(data);
        self.parallel_ranges(shared.len(), grain, &|range| {
            let index = range.start / grain;
            // SAFETY: the ranges of one loop are disjoint, and each is handed out once.
            body(index, unsafe { shared.range(range) });
        });
    }
}

/// While one lives, idle workers sleep at once instead of looking for work for a while: the cores belong to somebody
/// else's threads.
pub struct Rest<'a>(&'a Shared);

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        self.0.end_rest();
    }
}

impl Default for ThreadPool {
    /// As many threads as this process may use at once, by its affinity mask and its cgroup's quota.
    fn default() -> Self {
        Self::new(std::thread::available_parallelism().map_or(1, |n| n.get()))
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.shut_down();
        for worker in self.workers.drain(..) {
            // A worker's panics are caught piece by piece, so there is none to report here.
            let _ = worker.join();
        }
    }
}

/// A mutable slice whose disjoint parts several threads write at once.
pub(crate) struct SharedSlice<'a, T> {
    start: *mut T,
    len: usize,
    marker: std::marker::PhantomData<&'a mut [T]>,
}

impl<T> Clone for SharedSlice<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedSlice<'_, T> {}

// SAFETY: it stands for a `&mut [T]`, whose parts may go to other threads when `T: Send`; who takes a part
// vouches that no other thread has it.
unsafe impl<T: Send> Send for SharedSlice<'_, T> {}
// SAFETY: as above; a shared reference gives nothing away but through unsafe calls.
unsafe impl<T: Send> Sync for SharedSlice<'_, T> {}

impl<'a, T> SharedSlice<'a, T> {
    pub(crate) fn new(data: &'a mut [T]) -> Self {
        Self { start: data.as_mut_ptr(), len: data.len(), marker: std::marker::PhantomData }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The elements of `range`.
    ///
    /// # Safety
    /// No element of `range` is in use elsewhere while the result lives.
    // Giving out `&mut` from `&self` is the purpose of this type.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn range(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "range outside of the shared slice");
        // SAFETY: the range lies inside the slice (checked above), and the caller vouches that it is not shared.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    pub(crate) fn as_mut_ptr(&self) -> *mut T {
        self.start
    }
}
