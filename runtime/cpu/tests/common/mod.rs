//! What the kernel tests share: seeded random data and comparisons.
#![allow(dead_code)]

use byoc_cpu::fast::{Exec, Isa};
use byoc_cpu::pool::ThreadPool;

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in -1..1.
    pub fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    pub fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.bits() as u8).collect()
    }
}

/// The instruction sets of this machine.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_supported())
}

/// Runs `kernel` with every instruction set on 1 to 4 threads, checks that the bits do not depend on the
/// threads, and hands each result to `check`.
pub fn everywhere<T>(kernel: impl Fn(Exec<'_>) -> Vec<T>, check: impl Fn(Isa, &[T]))
where
    T: Copy + PartialEq + std::fmt::Debug,
{
    thread_local! {
        static POOLS: Vec<ThreadPool> = (1..=4).map(ThreadPool::new).collect();
    }
    POOLS.with(|pools| {
        for isa in isas() {
            let first = kernel(Exec { pool: &pools[0], isa });
            check(isa, &first);
            for pool in &pools[1..] {
                let again = kernel(Exec { pool, isa });
                assert!(first == again, "{isa:?}: {} threads give other bits", pool.threads());
            }
        }
    });
}

/// Checks every element against the oracle; `scale` is the magnitude of the terms summed up.
pub fn close(what: &str, got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}: length");
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(g) - w).abs();
        assert!(error <= tolerance * w.abs().max(1.0), "{what}: element {i} is {g}, not {w}");
    }
}
