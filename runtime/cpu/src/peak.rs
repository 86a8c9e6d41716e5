//! What the machine can do at most, measured: multiply-adds from registers alone, and reading from memory.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::fast::{Exec, Isa};
use crate::memory::Aligned;

/// Limits of some threads together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// Operations a second in f32, a multiply-add being two.
    pub flops: f64,
    /// Bytes a second that are read from memory.
    pub bytes: f64,
}

/// Measures for about a tenth of a second.
pub fn measure(exec: Exec<'_>) -> Peak {
    let time = Duration::from_millis(50);
    Peak { flops: flops(exec, time), bytes: read_rate(exec, time) }
}

/// The shortest of the runs that fit the time (at least three), in seconds.
pub fn best(time: Duration, mut run: impl FnMut()) -> f64 {
    run();
    let (begin, mut best, mut runs) = (Instant::now(), f64::INFINITY, 0);
    while begin.elapsed() < time || runs < 3 {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

const STEPS: usize = 20_000;
/// Sums that do not wait for each other, enough to hide the latency of a multiply-add.
const CHAINS: usize = 12;

fn flops(exec: Exec<'_>, time: Duration) -> f64 {
    let threads = exec.pool.threads();
    let (run, lanes): (fn(), usize) = match exec.isa.or_portable() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `or_portable` has found the instructions.
        Isa::Avx512 => (|| unsafe { avx512() }, 16),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => (|| unsafe { avx2() }, 8),
        _ => (portable, 4),
    };
    let rounds = 8;
    let operations = (2 * lanes * CHAINS * STEPS * rounds * threads) as f64;
    operations / best(time, || exec.pool.parallel_for(threads, &|_| (0..rounds).for_each(|_| run())))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() {
    use std::arch::x86_64::*;
    let (x, y) = (black_box(_mm256_set1_ps(0.5)), black_box(_mm256_set1_ps(1.0)));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, x, y);
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() {
    use std::arch::x86_64::*;
    let (x, y) = (black_box(_mm512_set1_ps(0.5)), black_box(_mm512_set1_ps(1.0)));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, y);
        }
    }
    black_box(sums);
}

fn portable() {
    let (x, y) = (black_box([0.5f32; 4]), black_box([1.0f32; 4]));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = std::array::from_fn(|i| sum[i] * x[i] + y[i]);
        }
    }
    black_box(sums);
}

/// Bytes that one thread reads at a time.
const STRETCH: usize = 1 << 20;

fn read_rate(exec: Exec<'_>, time: Duration) -> f64 {
    let mut buffer = Aligned::<u64>::zeroed(beyond_caches() / size_of::<u64>());
    let stretch = STRETCH / size_of::<u64>();
    // Pages that nobody has written to may all be one and the same.
    exec.pool.parallel_chunks(&mut buffer, stretch, &|i, part| part.fill(i as u64));
    let seconds = best(time, || {
        exec.pool.parallel_ranges(buffer.len(), stretch, &|range| {
            black_box(crate::fast::simd::vectorised(
                exec.isa,
                #[inline(always)]
                || lanes_of(&buffer[range]),
            ));
        });
    });
    size_of_val(&buffer[..]) as f64 / seconds
}

/// Something that takes every word of a piece of memory.
#[inline(always)]
fn lanes_of(words: &[u64]) -> [u64; 64] {
    let mut lanes = [0; 64];
    for words in words.as_chunks::<64>().0 {
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane ^= word;
        }
    }
    lanes
}

/// A size of which the last-level cache can keep little.
fn beyond_caches() -> usize {
    const USUAL: usize = 256 << 20;
    let text = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index3/size").unwrap_or_default();
    let kib = text.trim().strip_suffix('K').and_then(|n| n.parse::<usize>().ok());
    kib.map_or(USUAL, |kib| (8192 * kib).clamp(USUAL, 4 * USUAL))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::ThreadPool;

    #[test]
    fn limits_are_those_of_a_machine() {
        let pool = ThreadPool::new(1);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            let peak = measure(Exec { pool: &pool, isa });
            assert!(peak.flops > 1e7 && peak.flops < 1e13, "{isa:?}: {peak:?}");
            assert!(peak.bytes > 1e7 && peak.bytes < 1e13, "{isa:?}: {peak:?}");
        }
    }
}
