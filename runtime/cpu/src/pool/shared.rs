//! What the threads of a pool share, and the protocol by which a loop is published, joined and closed.
//!
//! One word says everything: bits 0..16 count the workers that have entered the loop, bit 16 is set while
//! it may be entered, and the bits above number the loops. The loop's description is written only while the
//! word says "closed, nobody inside", and read only by threads counted in it, so it needs no lock.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

pub(super) const MAX_THREADS: usize = 1024;

const ENTERED: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const LOOP: u64 = 1 << 17;

/// How long an idle worker looks for the next loop before it sleeps: longer than the gap between the steps
/// of a model, since waking a sleeper costs some 30 µs.
const SPIN: Duration = Duration::from_micros(150);

pub(super) type Panic = Box<dyn Any + Send>;
type Body<'a> = &'a (dyn Fn(usize) + Sync);

/// A value alone in its cache lines (two, since the hardware fetches lines in pairs).
#[repr(align(128))]
struct Alone<T>(T);

pub(super) struct Shared {
    word: Alone<AtomicU64>,
    /// Taken by the thread whose loop is running.
    busy: Alone<AtomicBool>,
    job: UnsafeCell<Option<Job>>,
    shares: Box<[Alone<Share>]>,
    panic: Mutex<Option<Panic>>,
    shut: AtomicBool,
    /// How many ask that idle workers sleep at once.
    resting: AtomicUsize,
}

/// The running loop; its lifetime is erased, because the loop outlives every reader.
struct Job {
    body: Body<'static>,
}

/// One thread's part of the pieces, and how to wake that thread.
struct Share {
    next: AtomicUsize,
    end: AtomicUsize,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

// SAFETY: `job` is the only part that is not `Sync` by itself; the module's protocol orders its accesses.
unsafe impl Sync for Shared {}
// SAFETY: a `Job` is a reference to a `Sync` closure.
unsafe impl Send for Shared {}

impl Shared {
    pub(super) fn new(threads: usize) -> Self {
        let share = || {
            Alone(Share {
                next: AtomicUsize::new(0),
                end: AtomicUsize::new(0),
                asleep: AtomicBool::new(false),
                thread: OnceLock::new(),
            })
        };
        Self {
            word: Alone(AtomicU64::new(0)),
            busy: Alone(AtomicBool::new(false)),
            job: UnsafeCell::new(None),
            shares: (0..threads).map(|_| share()).collect(),
            panic: Mutex::new(None),
            shut: AtomicBool::new(false),
            resting: AtomicUsize::new(0),
        }
    }

    pub(super) fn shares(&self) -> usize {
        self.shares.len()
    }

    pub(super) fn set_thread(&self, index: usize, thread: Thread) {
        let _ = self.shares[index].0.thread.set(thread);
    }

    /// Runs a loop with the workers' help, or alone when another loop has them.
    pub(super) fn run(&self, n: usize, body: Body<'_>) -> Option<Panic> {
        if self.busy.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return run_inline(n, body);
        }
        self.publish(n, body);
        let own = self.take_pieces(0, body);
        let word = self.word.0.fetch_and(!OPEN, Ordering::AcqRel);
        if word & ENTERED != 0 {
            self.await_workers();
        }
        let theirs = self.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.busy.0.store(false, Ordering::Release);
        own.or(theirs)
    }

    fn publish(&self, n: usize, body: Body<'_>) {
        let shares = self.shares.len();
        for (i, share) in self.shares.iter().enumerate() {
            // The division first: `i * n` may not overflow.
            let start = |i: usize| n / shares * i + (n % shares).min(i);
            share.0.next.store(start(i), Ordering::Relaxed);
            share.0.end.store(start(i + 1), Ordering::Relaxed);
        }
        // SAFETY: only the lifetime changes; `run` returns after the last reader has left the loop.
        let body: Body<'static> = unsafe { std::mem::transmute::<Body<'_>, Body<'static>>(body) };
        // SAFETY: this thread holds `busy`, and the word is closed with nobody inside, so nobody reads.
        unsafe { *self.job.get() = Some(Job { body }) };
        let word = self.word.0.load(Ordering::Relaxed);
        debug_assert_eq!(word & (OPEN | ENTERED), 0);
        self.word.0.store(word.wrapping_add(LOOP) | OPEN, Ordering::SeqCst);
        for share in self.shares.iter().skip(1).take(n - 1) {
            if share.0.asleep.load(Ordering::SeqCst)
                && share.0.asleep.swap(false, Ordering::SeqCst)
                && let Some(thread) = share.0.thread.get()
            {
                thread.unpark();
            }
        }
    }

    fn await_workers(&self) {
        let mut spins = 0u32;
        while self.word.0.load(Ordering::Acquire) & ENTERED != 0 {
            spins += 1;
            if spins < 20_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Runs pieces, those of `first`'s share before the others', until none is left to begin.
    fn take_pieces(&self, first: usize, body: Body<'_>) -> Option<Panic> {
        let mut panic = None;
        for i in 0..self.shares.len() {
            let share = &self.shares[(first + i) % self.shares.len()].0;
            let end = share.end.load(Ordering::Relaxed);
            // The load first: threads that only look must not make the line bounce.
            while share.next.load(Ordering::Relaxed) < end {
                let piece = share.next.fetch_add(1, Ordering::Relaxed);
                if piece < end {
                    panic = panic.or(run_piece(piece, body));
                }
            }
        }
        panic
    }

    /// What a worker thread does until the pool is dropped.
    pub(super) fn work(&self, index: usize) {
        let mut seen = 0;
        while let Some(word) = self.next_loop(index, seen) {
            if self.word.0.compare_exchange(word, word + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                continue;
            }
            seen = word / LOOP;
            // SAFETY: this thread is counted in the word of an open loop, whose description stays until it leaves.
            if let Some(job) = unsafe { &*self.job.get() }
                && let Some(payload) = self.take_pieces(index, job.body)
            {
                self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
            }
            self.word.0.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits for an open loop other than `seen`; `None` when the pool shuts down.
    fn next_loop(&self, index: usize, seen: u64) -> Option<u64> {
        let ready = || {
            let word = self.word.0.load(Ordering::SeqCst);
            (word & OPEN != 0 && word / LOOP != seen).then_some(word)
        };
        let mut since = Instant::now();
        loop {
            for _ in 0..32 {
                if let Some(word) = ready() {
                    return Some(word);
                }
                std::hint::spin_loop();
            }
            if self.shut.load(Ordering::SeqCst) {
                return None;
            }
            if since.elapsed() > SPIN || self.resting.load(Ordering::Relaxed) > 0 {
                let asleep = &self.shares[index].0.asleep;
                asleep.store(true, Ordering::SeqCst);
                // Whoever publishes or shuts down after this look sees the flag and wakes this thread.
                while asleep.load(Ordering::SeqCst) && ready().is_none() && !self.shut.load(Ordering::SeqCst)
                {
                    std::thread::park();
                }
                asleep.store(false, Ordering::SeqCst);
                since = Instant::now();
            }
        }
    }

    pub(super) fn begin_rest(&self) {
        self.resting.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end_rest(&self) {
        self.resting.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn shut_down(&self) {
        self.shut.store(true, Ordering::SeqCst);
        for share in &self.shares {
            if let Some(thread) = share.0.thread.get() {
                thread.unpark();
            }
        }
    }
}

fn run_piece(piece: usize, body: Body<'_>) -> Option<Panic> {
    catch_unwind(AssertUnwindSafe(|| body(piece))).err()
}

/// The whole loop on the calling thread, with the same treatment of panics.
pub(super) fn run_inline(n: usize, body: Body<'_>) -> Option<Panic> {
    let mut panic = None;
    for piece in 0..n {
        panic = panic.or(run_piece(piece, body));
    }
    panic
}
