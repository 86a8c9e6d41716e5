//! The threads that plugins may compute on; the runtime brings them.

/// The host's threads.
pub trait ThreadPool: Send + Sync {
    /// How many threads `parallel_for` may use, the caller's own included.
    fn threads(&self) -> usize;

    /// Calls `body` for every index below `n` and returns when all are done. Runs inline when nested.
    fn parallel_for(&self, n: usize, body: &(dyn Fn(usize) + Sync));

    /// Told when nobody computes any more, and when somebody does again: idle threads need not look for work meanwhile.
    fn set_idle(&self, _idle: bool) {}
}

/// No threads but the caller's.
#[derive(Debug, Clone, Copy, Default)]
pub struct SerialPool;

impl ThreadPool for SerialPool {
    fn threads(&self) -> usize {
        1
    }

    fn parallel_for(&self, n: usize, body: &(dyn Fn(usize) + Sync)) {
        (0..n).for_each(body);
    }
}
