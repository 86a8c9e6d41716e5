//! What executions ask of the driver, a line each: that a steady run allocates nothing, waits for nothing and, with graphs, is one
//! launch, can be seen on any GPU.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Calls of a driver so far.
#[derive(Default)]
pub struct Counts {
    pub launches: AtomicU64,
    pub allocations: AtomicU64,
    pub waits: AtomicU64,
}

impl Counts {
    fn now(&self) -> [u64; 3] {
        [&self.launches, &self.allocations, &self.waits].map(|count| count.load(Ordering::Relaxed))
    }
}

pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub struct Trace(Mutex<File>);

impl Trace {
    /// Lines go to the end of a file.
    pub fn open(path: &Path) -> std::io::Result<Trace> {
        Ok(Trace(Mutex::new(File::options().create(true).append(true).open(path)?)))
    }

    /// Notes what work does. Other threads' calls meanwhile count, too.
    pub fn note<T>(&self, region: &str, counts: &Counts, work: impl FnOnce() -> T) -> T {
        let before = counts.now();
        let done = work();
        let after = counts.now();
        let [launches, allocations, waits] = [0, 1, 2].map(|i: usize| after[i] - before[i]);
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever reads it misses what cannot be written.
        let _ = writeln!(file, "{region}: launches {launches}, allocations {allocations}, waits {waits}");
        done
    }
}
