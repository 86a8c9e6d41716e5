//! The pool runs every piece once, whoever calls it and whatever the pieces do.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use byoc_cpu::pool::ThreadPool;

fn counts(n: usize) -> Vec<AtomicU32> {
    (0..n).map(|_| AtomicU32::new(0)).collect()
}

fn all_once(counts: &[AtomicU32]) -> bool {
    counts.iter().all(|c| c.load(Ordering::Relaxed) == 1)
}

#[test]
fn runs_every_piece_once() {
    for threads in [0, 1, 2, 3, 4, 9] {
        let pool = ThreadPool::new(threads);
        assert_eq!(pool.threads(), threads.max(1));
        for n in [0, 1, 2, 3, 7, 64, 1000] {
            let hits = counts(n);
            pool.parallel_for(n, &|i| {
                hits[i].fetch_add(1, Ordering::Relaxed);
            });
            assert!(all_once(&hits), "{threads} threads, {n} pieces");
        }
    }
}

#[test]
fn many_short_loops_with_naps_between() {
    let pool = ThreadPool::new(4);
    let total = AtomicUsize::new(0);
    for round in 0..20_000 {
        pool.parallel_for(5, &|i| {
            total.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(total.swap(0, Ordering::Relaxed), 10, "round {round}");
        if round % 1000 == 0 {
            // Long enough for the workers to go to sleep.
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn loops_run_while_the_pool_rests() {
    let pool = ThreadPool::new(4);
    for _ in 0..500 {
        let rest = pool.rest();
        let hits = counts(9);
        pool.parallel_for(9, &|i| {
            hits[i].fetch_add(1, Ordering::Relaxed);
        });
        drop(rest);
        assert!(all_once(&hits));
    }
}

#[test]
fn several_users_at_once() {
    let pool = ThreadPool::new(3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2000 {
                    let hits = counts(17);
                    pool.parallel_for(17, &|i| {
                        hits[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(all_once(&hits));
                }
            });
        }
    });
}

#[test]
fn nested_loops() {
    let pool = ThreadPool::new(3);
    let hits = counts(8 * 8 * 8);
    pool.parallel_for(8, &|a| {
        pool.parallel_for(8, &|b| {
            pool.parallel_for(8, &|c| {
                hits[(a * 8 + b) * 8 + c].fetch_add(1, Ordering::Relaxed);
            });
        });
    });
    assert!(all_once(&hits));
}

#[test]
fn a_panic_reaches_the_caller_after_all_pieces() {
    for threads in [1, 2, 4] {
        let pool = ThreadPool::new(threads);
        for bad in [0, 50, 99] {
            let hits = counts(100);
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                pool.parallel_for(100, &|i| {
                    hits[i].fetch_add(1, Ordering::Relaxed);
                    assert_ne!(i, bad, "piece {i} fails");
                });
            }));
            let message = outcome.unwrap_err();
            assert!(message.downcast_ref::<String>().unwrap().contains(&format!("piece {bad} fails")));
            assert!(all_once(&hits));
        }
        let hits = counts(10);
        pool.parallel_for(10, &|i| {
            hits[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(all_once(&hits), "the pool works on after a panic");
    }
}

#[test]
fn chunks_are_disjoint_and_complete() {
    let pool = ThreadPool::new(3);
    for len in [0, 1, 9, 10, 11, 1003] {
        let mut data = vec![0usize; len];
        pool.parallel_chunks(&mut data, 10, &|index, chunk| {
            for (i, x) in chunk.iter_mut().enumerate() {
                *x += index * 10 + i + 1;
            }
        });
        assert!(data.iter().enumerate().all(|(i, &x)| x == i + 1));
    }
}

#[test]
fn unequal_pieces_are_shared_out() {
    let pool = ThreadPool::new(2);
    let hits = counts(64);
    // All the work is in one thread's share; the other must be able to take from it.
    pool.parallel_for(64, &|i| {
        if i < 32 {
            std::thread::sleep(Duration::from_micros(200));
        }
        hits[i].fetch_add(1, Ordering::Relaxed);
    });
    assert!(all_once(&hits));
}
