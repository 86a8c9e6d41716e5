//! The most multiply-adds a second that the machine can do, from registers alone.

use std::time::{Duration, Instant};

use byoc_cpu::fast::{Exec, Isa};

const STEPS: usize = 20_000;
const CHAINS: usize = 12;

/// GFLOP/s of all threads of `exec` together, and how they were reached.
pub fn flops(exec: Exec<'_>) -> f64 {
    let threads = exec.pool.threads();
    let (run, lanes): (fn(), usize) = match exec.isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `Isa::detect` chose it.
        Isa::Avx512 => (|| unsafe { avx512() }, 16),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        Isa::Avx2 => (|| unsafe { avx2() }, 8),
        _ => (portable, 4),
    };
    let rounds = 64;
    let operations = (2 * lanes * CHAINS * STEPS * rounds * threads) as f64;
    let seconds = best(Duration::from_millis(300), || {
        exec.pool.parallel_for(threads, &|_| (0..rounds).for_each(|_| run()));
    });
    operations / seconds / 1e9
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2() {
    use std::arch::x86_64::*;
    let (x, y) = (std::hint::black_box(_mm256_set1_ps(0.5)), std::hint::black_box(_mm256_set1_ps(1.0)));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, x, y);
        }
    }
    std::hint::black_box(sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512() {
    use std::arch::x86_64::*;
    let (x, y) = (std::hint::black_box(_mm512_set1_ps(0.5)), std::hint::black_box(_mm512_set1_ps(1.0)));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = _mm512_fmadd_ps(*sum, x, y);
        }
    }
    std::hint::black_box(sums);
}

fn portable() {
    let (x, y) = (std::hint::black_box([0.5f32; 4]), std::hint::black_box([1.0f32; 4]));
    let mut sums = [y; CHAINS];
    for _ in 0..STEPS {
        for sum in &mut sums {
            *sum = std::array::from_fn(|i| sum[i] * x[i] + y[i]);
        }
    }
    std::hint::black_box(sums);
}
